//! Rows that are as good as another.

use serde_json::{Map, Value};

use crate::dataverse::answer::{Answer, json_answer};
use crate::dataverse::context::Context;
use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::functions::{Call, entity, platform};
use crate::dataverse::odata::QueryOptions;
use crate::dataverse::read;
use crate::dataverse::records::{self, Cell, Cells};
use crate::dataverse::schema::Table;
use crate::dataverse::write::duplicates_of;

/// Rows of a page, when the request does not say.
const PAGE: usize = 50;

pub(super) fn retrieve(call: &Call<'_, '_>) -> Outcome<Answer> {
    let context = call.context();
    let entity = call
        .arguments
        .required("BusinessEntity")?
        .as_object()
        .cloned()
        .unwrap_or_default();
    let table = entity::typed(context, &entity)?;
    let table = table.ok_or_else(|| {
        Fault::syntax("'BusinessEntity' says by '@odata.type' of which table it is.")
    })?;
    let name = call.arguments.text("MatchingEntityName")?;
    let matching = context
        .schema
        .by_name(name)
        .ok_or_else(|| platform::no_table(name))?;
    let cells = cells(context, table, &entity)?;
    // The rules compare rows of one table.
    let mut found = if matching.name == table.name {
        duplicates_of(context, table, &cells)?
    } else {
        Vec::new()
    };
    let paging = |name: &str| {
        let info = call
            .arguments
            .get("PagingInfo")
            .and_then(|info| info.get(name));
        info.and_then(Value::as_u64)
            .and_then(|value| usize::try_from(value).ok())
    };
    let count = paging("Count").unwrap_or(PAGE).max(1);
    let skipped = count.saturating_mul(paging("PageNumber").unwrap_or(1).saturating_sub(1));
    found = found.into_iter().skip(skipped).take(count).collect();
    let mut rows = Vec::new();
    for id in found {
        let answer = read::one(context, matching, id, &QueryOptions::default())?;
        let mut row: Map<String, Value> = serde_json::from_slice(answer.body()).unwrap_or_default();
        row.remove("@odata.context");
        rows.push(Value::Object(row));
    }
    let metadata = format!("{}#{}", context.metadata(), matching.set);
    let body = Map::from_iter([
        ("@odata.context".to_owned(), Value::from(metadata)),
        ("value".to_owned(), Value::Array(rows)),
    ]);
    Ok(json_answer(
        axum::http::StatusCode::OK,
        &Value::Object(body),
    ))
}

/// The row that is meant, or one that is not there yet, as far as it is given.
fn cells(context: &Context<'_>, table: &Table, entity: &Map<String, Value>) -> Outcome<Cells> {
    let mut cells = match entity
        .get(&table.key)
        .and_then(Value::as_str)
        .and_then(|id| id.parse().ok())
    {
        Some(id) => records::load(context.db, context.schema, table, id)?
            .ok_or_else(|| Fault::no_row(&table.name, id))?,
        None => Cells::new(),
    };
    for (name, value) in entity {
        if let (Some(_), Some(text)) = (table.column(name), value.as_str()) {
            cells.insert(name.clone(), Cell::text(text));
        }
    }
    Ok(cells)
}

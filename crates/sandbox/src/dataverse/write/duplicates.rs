//! Duplicate detection, with the rules that a new organization has.

use axum::http::StatusCode;
use rusqlite::{params_from_iter, types::Value};
use uuid::Uuid;

use crate::dataverse::context::Context;
use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::records::{Cell, Cells};
use crate::dataverse::schema::Table;
use crate::dataverse::store::quoted;

/// Tables, and columns that make two of their rows duplicates when they hold the same.
const RULES: [(&str, &[&str]); 6] = [
    ("account", &["name"]),
    ("account", &["emailaddress1"]),
    ("account", &["websiteurl"]),
    ("contact", &["emailaddress1"]),
    ("contact", &["firstname", "lastname"]),
    ("lead", &["emailaddress1"]),
];
/// Duplicates that are looked for at most, as in Dataverse.
const DUPLICATES_MAX: usize = 1_000;

/// Rows of a table that a row with these cells would duplicate. The row itself, when its key is
/// among the cells, is not one of them.
pub(crate) fn duplicates_of(
    context: &Context<'_>,
    table: &Table,
    cells: &Cells,
) -> Outcome<Vec<Uuid>> {
    let itself = cells
        .get(&table.key)
        .and_then(Cell::as_text)
        .unwrap_or_default();
    let mut all = Vec::new();
    for (_, columns) in RULES.iter().filter(|(name, _)| *name == table.name) {
        let values: Option<Vec<&str>> = columns
            .iter()
            .map(|column| cells.get(*column)?.as_text())
            .collect();
        let Some(values) = values else {
            continue;
        };
        let same: Vec<String> = columns
            .iter()
            .map(|column| format!("{} = ?", quoted(column)))
            .collect();
        let key = quoted(&table.key);
        let sql = format!(
            "SELECT {key} FROM {} WHERE {} AND {key} <> ? LIMIT {DUPLICATES_MAX}",
            quoted(&table.name),
            same.join(" AND ")
        );
        let mut statement = context.db.prepare_cached(&sql)?;
        let parameters = values
            .into_iter()
            .chain([itself])
            .map(|text| Value::Text(text.to_owned()));
        let found =
            statement.query_map(params_from_iter(parameters), |row| row.get::<_, String>(0))?;
        for id in found {
            if let Ok(id) = id?.parse::<Uuid>()
                && !all.contains(&id)
            {
                all.push(id);
            }
        }
    }
    Ok(all)
}

/// Refuses a new row that duplicates another, for a caller who asked to be told.
pub(super) fn refuse(context: &Context<'_>, table: &Table, id: Uuid, cells: &Cells) -> Outcome<()> {
    if !asked(context, table) {
        return Ok(());
    }
    let mut whole = cells.clone();
    whole.insert(table.key.clone(), Cell::text(id.to_string()));
    if duplicates_of(context, table, &whole)?.is_empty() {
        return Ok(());
    }
    let text = "A record was not created or updated because a duplicate of the current record already exists.";
    Err(Fault::new(
        StatusCode::PRECONDITION_FAILED,
        "0x80040333",
        text,
    ))
}

/// The same for a change: only rules whose columns it touches count.
pub(super) fn refuse_change(
    context: &Context<'_>,
    table: &Table,
    id: Uuid,
    old: &Cells,
    cells: &Cells,
) -> Outcome<()> {
    if !asked(context, table) {
        return Ok(());
    }
    let mut relevant = Cells::new();
    for (_, columns) in RULES.iter().filter(|(name, _)| *name == table.name) {
        if columns.iter().any(|column| cells.contains_key(*column)) {
            for column in *columns {
                let cell = cells.get(*column).or_else(|| old.get(*column));
                relevant.extend(cell.map(|cell| ((*column).to_owned(), cell.clone())));
            }
        }
    }
    refuse(context, table, id, &relevant)
}

/// Detection is off unless the request says that it is not to be suppressed.
fn asked(context: &Context<'_>, table: &Table) -> bool {
    let suppressed = context
        .header("mscrm.suppressduplicatedetection")
        .map(str::trim);
    table.duplicate_detection && suppressed.is_some_and(|value| value.eq_ignore_ascii_case("false"))
}

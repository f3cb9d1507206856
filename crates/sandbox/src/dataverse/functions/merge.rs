//! Two rows that are one: what hung on the one hangs on the other afterwards.

use axum::http::StatusCode;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::dataverse::answer::{Answer, no_content};
use crate::dataverse::context::Context;
use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::functions::{Call, entity};
use crate::dataverse::records::{self, Cell, Cells};
use crate::dataverse::schema::{Relationship, Table};
use crate::dataverse::security::{Access, privilege_id};
use crate::dataverse::store::{quoted, type_column};
use crate::dataverse::write::update_from;

/// Tables whose rows can be merged.
const MERGED: [&str; 4] = ["account", "contact", "lead", "incident"];
const PRIVILEGE: &str = "prvMerge";
/// State and status reason of what was merged into another.
const OVER: (i64, i64) = (1, 2);
const CASE_OVER: (i64, i64) = (2, 2000);

pub(super) fn merge(call: &Call<'_, '_>) -> Outcome<Answer> {
    let context = call.context();
    let object = |name: &str| -> Outcome<Map<String, Value>> {
        Ok(call
            .arguments
            .required(name)?
            .as_object()
            .cloned()
            .unwrap_or_default())
    };
    let (table, master) = entity::meant(context, &object("Target")?, None)?;
    let (other, subordinate) = entity::meant(context, &object("Subordinate")?, None)?;
    if table.name != other.name || !MERGED.contains(&table.name.as_str()) {
        return Err(Fault::argument(format!(
            "Merge takes two rows of the same table, which is one of {}; these are of '{}' and '{}'.",
            MERGED.join(", "),
            table.name,
            other.name
        )));
    }
    if master == subordinate {
        return Err(refused(
            "0x80045305",
            "Merge cannot be performed on master and sub-entities that are identical.",
        ));
    }
    demand(context, table, &[master, subordinate])?;
    for id in [master, subordinate] {
        let row = records::load(context.db, context.schema, table, id)?
            .ok_or_else(|| Fault::no_row(&table.name, id))?;
        if row.get("statecode").and_then(Cell::as_whole).unwrap_or(0) != 0 {
            return Err(refused(
                "0x80045304",
                "Merge is not allowed: the record is not active.",
            ));
        }
    }
    if let Some(content) = call
        .arguments
        .get("UpdateContent")
        .and_then(Value::as_object)
    {
        let mut content = content.clone();
        content.retain(|name, _| *name != table.key && name != "@odata.type");
        update_from(context, table, master, &content)?;
    }
    for relationship in relationships(context, table) {
        hang_over(context, relationship, table, subordinate, master)?;
    }
    retire(context, table, subordinate, master)?;
    Ok(no_content())
}

fn refused(code: &'static str, text: &str) -> Fault {
    Fault::new(StatusCode::BAD_REQUEST, code, text)
}

fn demand(context: &Context<'_>, table: &Table, ids: &[Uuid]) -> Outcome<()> {
    if context.caller.holds(PRIVILEGE).is_none() {
        let text = format!(
            "Principal user (Id={}, type=8) is missing {PRIVILEGE} privilege (Id={}).",
            context.caller.id,
            privilege_id(PRIVILEGE)
        );
        return Err(Fault::new(StatusCode::FORBIDDEN, "0x80040220", text));
    }
    ids.iter()
        .try_for_each(|id| context.demand_row(Access::Write, table, *id))
}

/// Lookups that lead to the table, but for the one that says what was merged.
fn relationships<'s>(context: &Context<'s>, table: &Table) -> Vec<&'s Relationship> {
    let Some(own) = context.schema.index_of(&table.name) else {
        return Vec::new();
    };
    let all = context.schema.relationships.iter();
    all.filter(|one| (one.referenced == own || one.also.contains(&own)) && one.column != "masterid")
        .collect()
}

/// Points every row that pointed at the one at the other.
fn hang_over(
    context: &Context<'_>,
    relationship: &Relationship,
    to: &Table,
    old: Uuid,
    new: Uuid,
) -> Outcome<()> {
    let table = context.schema.table(relationship.referencing);
    let Some(column) = table.column(&relationship.column) else {
        return Ok(());
    };
    let of_table = if column.has_several_targets() {
        format!(" AND {} = ?2", quoted(&type_column(&column.name)))
    } else {
        " AND ?2 <> ''".to_owned()
    };
    let sql = format!(
        "SELECT {} FROM {} WHERE {} = ?1{of_table}",
        quoted(&table.key),
        quoted(&table.name),
        quoted(&column.name)
    );
    let mut statement = context.db.prepare_cached(&sql)?;
    let found = statement.query_map([old.to_string(), to.name.clone()], |row| {
        row.get::<_, String>(0)
    })?;
    let ids: Vec<String> = found.collect::<rusqlite::Result<_>>()?;
    for id in ids.iter().filter_map(|id| id.parse::<Uuid>().ok()) {
        // A row that hung on the one and is the other would hang on itself.
        let itself = table.name == to.name && id == new;
        let cell = if itself {
            Cell::NULL
        } else {
            Cell::row(&to.name, new)
        };
        records::update(
            context.db,
            table,
            id,
            &Cells::from([(column.name.clone(), cell)]),
        )?;
    }
    Ok(())
}

fn retire(context: &Context<'_>, table: &Table, id: Uuid, master: Uuid) -> Outcome<()> {
    let (state, status) = if table.name == "incident" {
        CASE_OVER
    } else {
        OVER
    };
    let cells = Cells::from([
        ("merged".to_owned(), true.into()),
        ("masterid".to_owned(), Cell::row(&table.name, master)),
        ("statecode".to_owned(), state.into()),
        ("statuscode".to_owned(), status.into()),
        ("modifiedon".to_owned(), context.now.timestamp().into()),
        (
            "modifiedby".to_owned(),
            Cell::row("systemuser", context.caller.id),
        ),
    ]);
    records::update(context.db, table, id, &cells)?;
    Ok(())
}

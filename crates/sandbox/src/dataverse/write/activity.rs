//! Activities: what all of them have, and the row of `activitypointer` that shows each.

use rusqlite::Connection;
use uuid::Uuid;

use crate::dataverse::records::{Cell, Cells};
use crate::dataverse::schema::{Column, Kind, Schema, Table, TableKind};
use crate::dataverse::store::{quoted, type_column};
use crate::dataverse::write::create::set;

/// What a new activity says of itself.
pub(super) fn describe(table: &Table, cells: &mut Cells) {
    if table.kind != TableKind::Activity {
        return;
    }
    set(table, cells, "activitytypecode", Cell::text(&*table.name));
    set(table, cells, "instancetypecode", Cell::whole(0));
    set(table, cells, "isregularactivity", true.into());
}

/// Minutes between the start and the end that are planned.
pub(super) fn plan(table: &Table, old: &Cells, cells: &mut Cells) {
    const ENDS: [&str; 2] = ["scheduledstart", "scheduledend"];
    if table.kind != TableKind::Activity || !ENDS.iter().any(|name| cells.contains_key(*name)) {
        return;
    }
    let moment = |name: &str| {
        cells
            .get(name)
            .or_else(|| old.get(name))
            .and_then(Cell::as_whole)
    };
    let [start, end] = ENDS.map(moment);
    let minutes = start.zip(end).map(|(start, end)| (end - start).max(0) / 60);
    let minutes = minutes.map_or(Cell::NULL, Cell::whole);
    set(table, cells, "scheduleddurationminutes", minutes);
}

/// Keeps the row of `activitypointer` that shows an activity: the columns that both have.
pub(crate) fn shadow_activity(
    db: &Connection,
    schema: &Schema,
    table: &Table,
    id: Uuid,
) -> rusqlite::Result<()> {
    if table.kind != TableKind::Activity {
        return Ok(());
    }
    let Some(pointer) = schema.by_name("activitypointer") else {
        return Ok(());
    };
    let (mut names, mut values) = (Vec::new(), Vec::new());
    for column in &pointer.columns {
        let Some(own) = table.column(&column.name).filter(|own| is_kept(own)) else {
            continue;
        };
        names.push(quoted(&column.name));
        values.push(quoted(&own.name));
        if column.has_several_targets() {
            names.push(quoted(&type_column(&column.name)));
            values.push(target(schema, own));
        }
    }
    let sql = format!(
        "INSERT OR REPLACE INTO activitypointer ({}) SELECT {} FROM {} WHERE {} = ?1",
        names.join(", "),
        values.join(", "),
        quoted(&table.name),
        quoted(&table.key)
    );
    db.prepare_cached(&sql)?
        .execute([id.to_string()])
        .map(|_| ())
}

fn is_kept(column: &Column) -> bool {
    !matches!(column.kind, Kind::Parties { .. } | Kind::Image)
}

/// The SQL for the table of a lookup's row.
fn target(schema: &Schema, column: &Column) -> String {
    match &column.kind {
        Kind::Lookup { targets, .. } if targets.len() == 1 => {
            let name = targets
                .first()
                .map_or("", |only| schema.table(*only).name.as_str());
            format!(
                "CASE WHEN {} IS NULL THEN NULL ELSE '{}' END",
                quoted(&column.name),
                name.replace('\'', "''")
            )
        }
        Kind::Lookup { .. } => quoted(&type_column(&column.name)),
        _ => "NULL".to_owned(),
    }
}

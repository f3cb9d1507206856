//! Links between rows: a lookup of one of them, or a pair in a table of their own.

use axum::http::StatusCode;
use rusqlite::OptionalExtension as _;
use uuid::Uuid;

use crate::dataverse::context::Context;
use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::read::{self, Parent};
use crate::dataverse::records::{self, Cell, Cells};
use crate::dataverse::schema::{CollectionBy, ManyToMany, Side, Single, Table};
use crate::dataverse::security::Access;
use crate::dataverse::store::quoted;
use crate::dataverse::write::{change, parties, reference};

/// Levels of a hierarchy that are looked through for a loop.
const LEVELS: usize = 100;

/// Puts a row into a collection of another.
pub(crate) fn attach(context: &Context<'_>, parent: Parent<'_>, child: Uuid) -> Outcome<()> {
    refuse_parties(context, parent)?;
    let target = context.schema.table(parent.collection.target);
    match &parent.collection.by {
        CollectionBy::OneToMany(relationship) => {
            let column = column_of(context, *relationship);
            refuse_read_only(target, &column, parent)?;
            let cell = Cell::row(&parent.table.name, parent.id);
            change::apply(context, target, child, Cells::from([(column, cell)]))
        }
        CollectionBy::ManyToMany(link, side) => {
            let Some(link) = context.schema.many_to_many.get(*link) else {
                return Err(Fault::no_segment(&parent.collection.name));
            };
            pair(context, link, *side, parent, child)
        }
    }
}

/// Takes a row out of a collection of another.
pub(crate) fn detach(context: &Context<'_>, parent: Parent<'_>, child: Uuid) -> Outcome<()> {
    refuse_parties(context, parent)?;
    let target = context.schema.table(parent.collection.target);
    match &parent.collection.by {
        CollectionBy::OneToMany(relationship) => {
            let target = reference::concrete(context, target, child)?;
            let column = column_of(context, *relationship);
            refuse_read_only(target, &column, parent)?;
            let row = records::load(context.db, context.schema, target, child)?;
            let row = row.ok_or_else(|| Fault::no_row(&target.name, child))?;
            let linked = row.get(&column).and_then(Cell::as_row)
                == Some((parent.table.name.as_str(), parent.id));
            if !linked {
                return Err(not_linked(parent, target, child));
            }
            change::apply(context, target, child, Cells::from([(column, Cell::NULL)]))
        }
        CollectionBy::ManyToMany(link, side) => {
            let Some(link) = context.schema.many_to_many.get(*link) else {
                return Err(Fault::no_segment(&parent.collection.name));
            };
            demand_pair(context, parent, target, child)?;
            let found = found(context, link, *side, parent, child)?;
            let id = found.ok_or_else(|| not_linked(parent, target, child))?;
            records::delete(
                context.db,
                context.schema.table(link.intersect),
                id,
                context.now.timestamp(),
            )?;
            Ok(())
        }
    }
}

/// Makes a lookup lead to a row.
pub(super) fn point<'s>(
    context: &Context<'s>,
    table: &'s Table,
    id: Uuid,
    single: &Single,
    address: &str,
) -> Outcome<()> {
    let mut expected = vec![single.target];
    expected.extend(&single.also);
    let (index, target) = reference::resolve_among(context, address, &expected)?;
    let cell = Cell::row(&context.schema.table(index).name, target);
    change::apply(
        context,
        table,
        id,
        Cells::from([(writable(table, single)?, cell)]),
    )
}

/// Empties a lookup, when it leads to the table that the property names.
pub(super) fn clear<'s>(
    context: &Context<'s>,
    table: &'s Table,
    id: Uuid,
    single: &Single,
) -> Outcome<()> {
    read::must_exist(context, table, id)?;
    let column = writable(table, single)?;
    if read::followed(context, table, id, single)?.is_none() {
        return Ok(());
    }
    change::apply(context, table, id, Cells::from([(column, Cell::NULL)]))
}

fn writable(table: &Table, single: &Single) -> Outcome<String> {
    let column = table
        .columns
        .get(single.column)
        .filter(|column| column.access.update);
    let column = column
        .ok_or_else(|| Fault::argument(format!("The property '{}' is read-only.", single.name)))?;
    Ok(column.name.clone())
}

/// The platform alone says who made a row.
fn refuse_read_only(target: &Table, column: &str, parent: Parent<'_>) -> Outcome<()> {
    if target
        .column(column)
        .is_some_and(|column| column.access.update)
    {
        return Ok(());
    }
    let text = format!("The collection '{}' is read-only.", parent.collection.name);
    Err(Fault::argument(text))
}

fn column_of(context: &Context<'_>, relationship: usize) -> String {
    context
        .schema
        .relationships
        .get(relationship)
        .map(|one| one.column.clone())
        .unwrap_or_default()
}

/// Parties are written with their activity, all at once.
fn refuse_parties(context: &Context<'_>, parent: Parent<'_>) -> Outcome<()> {
    if parties::are(context.schema, parent.collection) {
        let text = format!(
            "Activity parties are not linked one by one: send the whole list as '{}' with the activity.",
            parent.collection.name
        );
        return Err(Fault::argument(text));
    }
    Ok(())
}

fn not_linked(parent: Parent<'_>, target: &Table, child: Uuid) -> Fault {
    let text = format!(
        "{} With Id = {child} Does Not Exist in {} of {} With Id = {}",
        target.name, parent.collection.name, parent.table.name, parent.id
    );
    Fault::new(StatusCode::NOT_FOUND, "0x80040217", text)
}

// === pairs ===

fn pair(
    context: &Context<'_>,
    link: &ManyToMany,
    side: Side,
    parent: Parent<'_>,
    child: Uuid,
) -> Outcome<()> {
    let target = context.schema.table(parent.collection.target);
    for (table, id) in [(parent.table, parent.id), (target, child)] {
        read::must_exist(context, table, id)?;
    }
    demand_pair(context, parent, target, child)?;
    if found(context, link, side, parent, child)?.is_some() {
        return Err(Fault::new(
            StatusCode::PRECONDITION_FAILED,
            "0x80040237",
            "Cannot insert duplicate key.",
        ));
    }
    let table = context.schema.table(link.intersect);
    let (own, other) = columns(link, side);
    let cells = Cells::from([
        (table.key.clone(), Cell::text(Uuid::new_v4().to_string())),
        (own.clone(), Cell::text(parent.id.to_string())),
        (other.clone(), Cell::text(child.to_string())),
    ]);
    records::insert(context.db, table, &cells)?;
    Ok(())
}

fn demand_pair(
    context: &Context<'_>,
    parent: Parent<'_>,
    target: &Table,
    child: Uuid,
) -> Outcome<()> {
    context.demand_row(Access::Append, target, child)?;
    context.demand_row(Access::AppendTo, parent.table, parent.id)
}

/// Columns of the near and the far side.
fn columns(link: &ManyToMany, side: Side) -> (&String, &String) {
    match side {
        Side::First => (&link.first_column, &link.second_column),
        Side::Second => (&link.second_column, &link.first_column),
    }
}

fn found(
    context: &Context<'_>,
    link: &ManyToMany,
    side: Side,
    parent: Parent<'_>,
    child: Uuid,
) -> Outcome<Option<Uuid>> {
    let table = context.schema.table(link.intersect);
    let (own, other) = columns(link, side);
    let sql = format!(
        "SELECT {} FROM {} WHERE {} = ?1 AND {} = ?2",
        quoted(&table.key),
        quoted(&table.name),
        quoted(own),
        quoted(other)
    );
    let ids = [parent.id.to_string(), child.to_string()];
    let found = context
        .db
        .prepare_cached(&sql)?
        .query_row(ids, |row| row.get::<_, String>(0))
        .optional()?;
    Ok(found.and_then(|id| id.parse().ok()))
}

// === hierarchies ===

/// A row must not become its own ancestor.
pub(super) fn refuse_loop(
    context: &Context<'_>,
    table: &Table,
    id: Uuid,
    cells: &Cells,
) -> Outcome<()> {
    for (name, cell) in cells.iter().filter(|(name, _)| name.starts_with("parent")) {
        let Some((target, mut above)) = cell.as_row().filter(|(target, _)| *target == table.name)
        else {
            continue;
        };
        let sql = format!(
            "SELECT {} FROM {} WHERE {} = ?1",
            quoted(name),
            quoted(target),
            quoted(&table.key)
        );
        let mut statement = context.db.prepare_cached(&sql)?;
        for _ in 0..LEVELS {
            if above == id {
                let code = match table.name.as_str() {
                    "account" => "0x80040507",
                    "contact" => "0x8004050a",
                    _ => "0x80040387",
                };
                let text = format!(
                    "Creating this parental association would create a loop in {} hierarchy.",
                    table.label_plural
                );
                return Err(Fault::new(StatusCode::BAD_REQUEST, code, text));
            }
            let next = statement
                .query_row([above.to_string()], |row| row.get::<_, Option<String>>(0))
                .optional()?;
            match next.flatten().and_then(|text| text.parse().ok()) {
                Some(next) => above = next,
                None => break,
            }
        }
    }
    Ok(())
}

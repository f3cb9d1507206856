//! Deletes, and what they do to the rows that point at the deleted one.

use uuid::Uuid;

use crate::dataverse::context::Context;
use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::records::{self, Cell, Cells};
use crate::dataverse::schema::{ManyToMany, OnDelete, Relationship, Table, TableIndex, TableKind};
use crate::dataverse::security::Access;
use crate::dataverse::store::{quoted, type_column};
use crate::dataverse::write::{activity, create, fault, parties, reference};

/// Cascades deeper than this come from a loop.
const LEVELS_MAX: usize = 50;

/// Deletes a row, with what its relationships say of the rows that point at it.
///
/// # Errors
/// When there is no such row, another one forbids it, or the caller may not do it.
pub(crate) fn delete_row<'s>(context: &Context<'s>, table: &'s Table, id: Uuid) -> Outcome<()> {
    let table = reference::concrete(context, table, id)?;
    if table.kind != TableKind::ActivityPointer && !create::stands_alone(table) {
        return Err(fault::not_writable("Delete", table));
    }
    remove(context, table, id, 0)
}

fn remove<'s>(context: &Context<'s>, table: &'s Table, id: Uuid, level: usize) -> Outcome<()> {
    context.demand(Access::Delete, table)?;
    if !records::exists(context.db, table, id)? {
        return Err(Fault::no_row(&table.name, id));
    }
    context.demand_row(Access::Delete, table, id)?;
    let index = context.schema.index_of(&table.name);
    if level < LEVELS_MAX
        && let Some(index) = index
    {
        release(context, table, index, id, level)?;
    }
    records::delete(context.db, table, id, context.now.timestamp())?;
    if table.kind == TableKind::Activity
        && let Some(pointer) = context.schema.by_name("activitypointer")
    {
        records::delete(context.db, pointer, id, context.now.timestamp())?;
    }
    Ok(())
}

/// Frees a row of everything that points at it.
fn release<'s>(
    context: &Context<'s>,
    table: &'s Table,
    index: TableIndex,
    id: Uuid,
    level: usize,
) -> Outcome<()> {
    let schema = context.schema;
    let own = |one: &&Relationship| one.referenced == index || one.also.contains(&index);
    // What forbids a delete comes before anything is touched.
    for relationship in schema.relationships.iter().filter(own) {
        if relationship.on_delete == OnDelete::Restrict
            && !pointing(context, relationship, table, id)?.is_empty()
        {
            return Err(fault::associated(table));
        }
    }
    for relationship in schema.relationships.iter().filter(own) {
        let referencing = schema.table(relationship.referencing);
        // The rows that show activities follow the activities themselves.
        if referencing.kind == TableKind::ActivityPointer {
            continue;
        }
        match relationship.on_delete {
            OnDelete::Cascade => {
                for child in pointing(context, relationship, table, id)? {
                    cascade(context, referencing, child, level + 1)?;
                }
            }
            OnDelete::RemoveLink => {
                for child in pointing(context, relationship, table, id)? {
                    unlink(context, referencing, &relationship.column, child)?;
                }
            }
            OnDelete::Restrict | OnDelete::NoCascade => {}
        }
    }
    for link in schema
        .many_to_many
        .iter()
        .filter(|link| link.first == index || link.second == index)
    {
        part(context, link, index, id)?;
    }
    Ok(())
}

fn cascade<'s>(context: &Context<'s>, table: &'s Table, id: Uuid, level: usize) -> Outcome<()> {
    if !records::exists(context.db, table, id)? {
        // Another way led to it already.
        return Ok(());
    }
    if table.name == parties::TABLE {
        records::delete(context.db, table, id, context.now.timestamp())?;
        return Ok(());
    }
    remove(context, table, id, level)
}

/// The rows whose lookup leads to the row.
fn pointing(
    context: &Context<'_>,
    relationship: &Relationship,
    table: &Table,
    id: Uuid,
) -> Outcome<Vec<Uuid>> {
    let referencing = context.schema.table(relationship.referencing);
    let Some(column) = referencing.column(&relationship.column) else {
        return Ok(Vec::new());
    };
    let mut sql = format!(
        "SELECT {} FROM {} WHERE {} = ?1",
        quoted(&referencing.key),
        quoted(&referencing.name),
        quoted(&column.name)
    );
    if column.has_several_targets() {
        sql.push_str(&format!(
            " AND {} = '{}'",
            quoted(&type_column(&column.name)),
            table.name.replace('\'', "''")
        ));
    }
    let mut statement = context.db.prepare_cached(&sql)?;
    let found = statement.query_map([id.to_string()], |row| row.get::<_, String>(0))?;
    let mut all = Vec::new();
    for key in found {
        all.extend(key?.parse::<Uuid>());
    }
    // A row that points at itself is deleted with itself.
    all.retain(|found| *found != id);
    Ok(all)
}

fn unlink(context: &Context<'_>, table: &Table, column: &str, id: Uuid) -> Outcome<()> {
    let mut cells = Cells::from([(column.to_owned(), Cell::NULL)]);
    if table.name == parties::TABLE {
        create::set(table, &mut cells, "ispartydeleted", true.into());
    }
    records::update(context.db, table, id, &cells)?;
    activity::shadow_activity(context.db, context.schema, table, id)?;
    Ok(())
}

/// Pairs of a many-to-many relationship go with either of their rows.
fn part(context: &Context<'_>, link: &ManyToMany, index: TableIndex, id: Uuid) -> Outcome<()> {
    let table = context.schema.table(link.intersect);
    let sides = [
        (link.first, &link.first_column),
        (link.second, &link.second_column),
    ];
    for (_, column) in sides.into_iter().filter(|(side, _)| *side == index) {
        let sql = format!(
            "DELETE FROM {} WHERE {} = ?1",
            quoted(&table.name),
            quoted(column)
        );
        context.db.prepare_cached(&sql)?.execute([id.to_string()])?;
    }
    Ok(())
}

//! Rows that change, and upserts.

use uuid::Uuid;

use crate::dataverse::context::Context;
use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::read::Parent;
use crate::dataverse::records::{self, Cell, Cells};
use crate::dataverse::schema::{Required, Table, TableKind};
use crate::dataverse::security::Access;
use crate::dataverse::write::create::{self, Origin, create_row};
use crate::dataverse::write::payload::{Child, Draft, Intent, Object};
use crate::dataverse::write::{
    Key, activity, calculated, duplicates, fault, links, money, owner, parties, reference, rights,
    state,
};

/// What an upsert came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Upserted {
    Created,
    Updated,
}

/// Changes a row as a body says.
///
/// # Errors
/// When there is no such row, the body does not fit the table, or the caller may not do it.
pub(crate) fn update_from<'s>(
    context: &Context<'s>,
    table: &'s Table,
    id: Uuid,
    body: &Object,
) -> Outcome<()> {
    let table = changeable(context, table, id)?;
    let old = existing(context, table, id)?;
    let mut draft = Draft::read(context, table, body, Intent::Update)?;
    let cells = std::mem::take(&mut draft.cells);
    change(context, table, id, &old, cells)?;
    if let Some(list) = draft.parties.take() {
        parties::replace(context, table, id, &list)?;
    }
    for (collection, child) in draft.behind {
        if let Child::Existing(child) = child {
            links::attach(
                context,
                Parent {
                    table,
                    id,
                    collection,
                },
                child,
            )?;
        }
    }
    Ok(())
}

/// Changes cells of a row: as an update of just these columns.
pub(super) fn apply<'s>(
    context: &Context<'s>,
    table: &'s Table,
    id: Uuid,
    cells: Cells,
) -> Outcome<()> {
    let table = changeable(context, table, id)?;
    let old = existing(context, table, id)?;
    change(context, table, id, &old, cells)
}

/// Updates a row, or makes it when there is none with this key.
///
/// # Errors
/// As [`update_from`] and [`create::create_from`].
pub(crate) fn upsert_from<'s>(
    context: &Context<'s>,
    table: &'s Table,
    key: Key,
    body: &Object,
) -> Outcome<(Uuid, Upserted)> {
    let found = match key.find(context, table)? {
        Some(id) if records::exists(context.db, table, id)? => Some(id),
        _ => None,
    };
    if let Some(id) = found {
        update_from(context, table, id, body)?;
        return Ok((id, Upserted::Updated));
    }
    let id = match &key {
        Key::Id(id) => Some(*id),
        Key::Alternate(_) => None,
    };
    let origin = Origin {
        id,
        cells: key.cells(context, table)?,
        ..Origin::default()
    };
    let id = create_row(context, table, body, origin)?;
    Ok((id, Upserted::Created))
}

/// The table whose row is really changed.
fn changeable<'s>(context: &Context<'s>, table: &'s Table, id: Uuid) -> Outcome<&'s Table> {
    let table = reference::concrete(context, table, id)?;
    if table.kind != TableKind::ActivityPointer && !create::stands_alone(table) {
        return Err(fault::not_writable("Update", table));
    }
    Ok(table)
}

fn existing(context: &Context<'_>, table: &Table, id: Uuid) -> Outcome<Cells> {
    context.demand(Access::Write, table)?;
    let old = records::load(context.db, context.schema, table, id)?;
    let old = old.ok_or_else(|| Fault::no_row(&table.name, id))?;
    context.demand_row(Access::Write, table, id)?;
    Ok(old)
}

fn change(
    context: &Context<'_>,
    table: &Table,
    id: Uuid,
    old: &Cells,
    mut cells: Cells,
) -> Outcome<()> {
    rights::demand_links(context, table, Some(id), &changed_only(old, &cells))?;
    keep_required(table, &cells)?;
    duplicates::refuse_change(context, table, id, old, &cells)?;
    links::refuse_loop(context, table, id, &cells)?;
    owner::own_anew(context, table, id, old, &mut cells)?;
    state::settle(table, id, Some(old), &mut cells, context.now)?;
    money::convert(context, table, old, &mut cells)?;
    calculated::complete(table, old, &mut cells);
    create::set(
        table,
        &mut cells,
        "modifiedon",
        Cell::whole(context.now.timestamp()),
    );
    create::set(
        table,
        &mut cells,
        "modifiedby",
        Cell::row("systemuser", context.caller.id),
    );
    let behind = context
        .caller
        .behind
        .as_ref()
        .map_or(Cell::NULL, |behind| Cell::row("systemuser", behind.id));
    create::set(table, &mut cells, "modifiedonbehalfby", behind);
    records::update(context.db, table, id, &cells)?
        .ok_or_else(|| Fault::no_row(&table.name, id))?;
    activity::shadow_activity(context.db, context.schema, table, id)?;
    Ok(())
}

/// Only lookups that lead elsewhere than before need a right to append.
fn changed_only(old: &Cells, cells: &Cells) -> Cells {
    let changed = cells
        .iter()
        .filter(|(name, cell)| old.get(*name) != Some(*cell));
    changed
        .map(|(name, cell)| (name.clone(), cell.clone()))
        .collect()
}

fn keep_required(table: &Table, cells: &Cells) -> Outcome<()> {
    for (name, cell) in cells.iter().filter(|(_, cell)| cell.is_null()) {
        let Some(column) = table.column(name) else {
            continue;
        };
        if column.required == Required::System
            && (column.is_lookup() || *name == table.title)
            && cell.is_null()
        {
            return Err(fault::missing(column));
        }
    }
    Ok(())
}

//! Who owns a row, and what follows from it.

use uuid::Uuid;

use crate::dataverse::context::Context;
use crate::dataverse::error::Outcome;
use crate::dataverse::records::{Cell, Cells};
use crate::dataverse::schema::{Ownership, Table};
use crate::dataverse::security::{Access, Depth};
use crate::dataverse::store::quoted;

/// A new row is the caller's own, unless the body says whose it is.
pub(super) fn own_new(
    context: &Context<'_>,
    table: &Table,
    id: Uuid,
    cells: &mut Cells,
) -> Outcome<()> {
    if !owned(table) {
        return Ok(());
    }
    let depth = context.demand(Access::Create, table)?;
    let named = cells
        .get("ownerid")
        .and_then(Cell::as_row)
        .map(|(kind, owner)| (kind.to_owned(), owner));
    let caller = context.caller;
    let Some((kind, owner)) = named.filter(|(_, owner)| *owner != caller.id) else {
        assign(cells, "systemuser", caller.id, caller.business_unit);
        return Ok(());
    };
    context.demand(Access::Assign, table)?;
    let unit = unit_of(context, &kind, owner)?.unwrap_or(caller.business_unit);
    let reached = match depth {
        Depth::Global => true,
        Depth::Deep => caller.units_below.contains(&unit),
        Depth::Local => caller.business_unit == unit,
        Depth::Basic => caller.teams.contains(&owner),
    };
    if !reached {
        return Err(caller.out_of_reach(Access::Create, table, id));
    }
    assign(cells, &kind, owner, unit);
    Ok(())
}

/// A row that gets another owner: only who may assign it does so.
pub(super) fn own_anew(
    context: &Context<'_>,
    table: &Table,
    id: Uuid,
    old: &Cells,
    cells: &mut Cells,
) -> Outcome<()> {
    if !owned(table) {
        return Ok(());
    }
    let Some((kind, owner)) = cells
        .get("ownerid")
        .and_then(Cell::as_row)
        .map(|(kind, owner)| (kind.to_owned(), owner))
    else {
        // A row always has an owner.
        cells.remove("ownerid");
        return Ok(());
    };
    if old
        .get("ownerid")
        .and_then(Cell::as_row)
        .is_some_and(|(_, before)| before == owner)
    {
        return Ok(());
    }
    context.demand_row(Access::Assign, table, id)?;
    let unit = unit_of(context, &kind, owner)?.unwrap_or(context.caller.business_unit);
    assign(cells, &kind, owner, unit);
    Ok(())
}

/// Whether a table's rows have an owner that is a lookup: for users and teams it is just an id.
fn owned(table: &Table) -> bool {
    table.ownership == Ownership::User
        && table
            .column("ownerid")
            .is_some_and(|column| column.is_lookup())
}

fn assign(cells: &mut Cells, kind: &str, owner: Uuid, unit: Uuid) {
    let user = kind == "systemuser";
    let own = Cell::row(kind, owner);
    let (of_user, of_team) = if user {
        (own.clone(), Cell::NULL)
    } else {
        (Cell::NULL, own.clone())
    };
    cells.insert("ownerid".to_owned(), own);
    cells.insert("owninguser".to_owned(), of_user);
    cells.insert("owningteam".to_owned(), of_team);
    cells.insert(
        "owningbusinessunit".to_owned(),
        Cell::row("businessunit", unit),
    );
}

/// The business unit of a user or a team.
fn unit_of(context: &Context<'_>, kind: &str, owner: Uuid) -> Outcome<Option<Uuid>> {
    let Some(table) = context.schema.by_name(kind) else {
        return Ok(None);
    };
    let sql = format!(
        "SELECT businessunitid FROM {} WHERE {} = ?1",
        quoted(&table.name),
        quoted(&table.key)
    );
    let mut statement = context.db.prepare_cached(&sql)?;
    let mut rows = statement.query([owner.to_string()])?;
    let unit: Option<String> = match rows.next()? {
        Some(row) => row.get(0)?,
        None => None,
    };
    Ok(unit.and_then(|unit| unit.parse().ok()))
}

//! New rows, with those that come along in the same body.

use uuid::Uuid;

use crate::dataverse::context::Context;
use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::read::Parent;
use crate::dataverse::records::{self, Cell, Cells};
use crate::dataverse::schema::{CollectionBy, Kind, Required, Table, TableKind};
use crate::dataverse::security::Access;
use crate::dataverse::write::payload::{Child, Draft, Intent, Object};
use crate::dataverse::write::{
    activity, calculated, duplicates, fault, links, money, numbers, owner, parties, payload,
    rights, state,
};

/// Rows nested in rows deeper than this are an attack, not a deep insert.
const LEVELS_MAX: usize = 16;

/// Makes a row from a body.
///
/// # Errors
/// When the body does not fit the table, or the caller may not do it.
pub(crate) fn create_from<'s>(
    context: &Context<'s>,
    table: &'s Table,
    body: &Object,
    parent: Option<Parent<'s>>,
) -> Outcome<Uuid> {
    create_row(
        context,
        table,
        body,
        Origin {
            parent,
            ..Origin::default()
        },
    )
}

/// What is known of a new row besides its body.
#[derive(Default)]
pub(super) struct Origin<'s> {
    /// The row in whose collection it is made.
    pub(super) parent: Option<Parent<'s>>,
    /// The key that an upsert named.
    pub(super) id: Option<Uuid>,
    /// Columns of the alternate key that an upsert named.
    pub(super) cells: Cells,
    /// How deep in a body it stands.
    pub(super) level: usize,
}

pub(super) fn create_row<'s>(
    context: &Context<'s>,
    table: &'s Table,
    body: &Object,
    origin: Origin<'s>,
) -> Outcome<Uuid> {
    if origin.level > LEVELS_MAX {
        return Err(Fault::syntax(format!(
            "Rows are nested more than {LEVELS_MAX} levels deep in the request."
        )));
    }
    let table = payload::meant(context, table, body);
    if !stands_alone(table) {
        return Err(fault::not_writable("Create", table));
    }
    context.demand(Access::Create, table)?;
    let mut draft = Draft::read(context, table, body, Intent::Create)?;
    let mut cells = std::mem::take(&mut draft.cells);
    for (single, nested) in &draft.ahead {
        let target = context.schema.table(single.target);
        let id = create_row(
            context,
            target,
            nested,
            Origin {
                level: origin.level + 1,
                ..Origin::default()
            },
        )?;
        if let Some(column) = table.columns.get(single.column) {
            cells.insert(column.name.clone(), Cell::row(&target.name, id));
        }
    }
    cells.extend(origin.cells);
    if let Some(parent) = origin.parent {
        point_at_parent(context, table, parent, &mut cells);
    }
    let id = origin.id.or(draft.id).unwrap_or_else(Uuid::new_v4);
    insert(context, table, id, cells)?;
    if let Some(list) = draft.parties.take() {
        parties::replace(context, table, id, &list)?;
    }
    for (collection, child) in draft.behind {
        let parent = Parent {
            table,
            id,
            collection,
        };
        match child {
            Child::Existing(child) => links::attach(context, parent, child)?,
            Child::New(nested) => {
                let target = context.schema.table(collection.target);
                let origin = Origin {
                    parent: Some(parent),
                    level: origin.level + 1,
                    ..Origin::default()
                };
                create_row(context, target, nested, origin)?;
            }
        }
    }
    if let Some(parent) = origin
        .parent
        .filter(|parent| matches!(parent.collection.by, CollectionBy::ManyToMany(..)))
    {
        links::attach(context, parent, id)?;
    }
    Ok(id)
}

/// Whether rows of a table are written by themselves.
pub(super) fn stands_alone(table: &Table) -> bool {
    let by_itself = !matches!(
        table.kind,
        TableKind::Intersect | TableKind::ActivityPointer
    );
    by_itself && table.name != parties::TABLE && table.name != "principalobjectaccess"
}

fn point_at_parent(context: &Context<'_>, table: &Table, parent: Parent<'_>, cells: &mut Cells) {
    if let CollectionBy::OneToMany(relationship) = parent.collection.by
        && let Some(relationship) = context.schema.relationships.get(relationship)
        && table
            .column(&relationship.column)
            .is_some_and(|column| column.access.create)
    {
        let parent = Cell::row(&parent.table.name, parent.id);
        cells.insert(relationship.column.clone(), parent);
    }
}

/// Puts a row in, with everything that the platform adds. Its lookups are checked; they lead to rows
/// that exist.
fn insert(context: &Context<'_>, table: &Table, id: Uuid, mut cells: Cells) -> Outcome<()> {
    cells.retain(|_, cell| !cell.is_null());
    rights::demand_links(context, table, None, &cells)?;
    duplicates::refuse(context, table, id, &cells)?;
    owner::own_new(context, table, id, &mut cells)?;
    state::settle(table, id, None, &mut cells, context.now)?;
    defaults(table, &mut cells);
    numbers::give(context, table, &mut cells)?;
    fill_units(context, table, &mut cells);
    activity::describe(table, &mut cells);
    let nothing = Cells::new();
    money::convert(context, table, &nothing, &mut cells)?;
    calculated::complete(table, &nothing, &mut cells);
    stamp_new(context, table, &mut cells);
    require(table, &cells)?;
    cells.insert(table.key.clone(), Cell::text(id.to_string()));
    cells.retain(|_, cell| !cell.is_null());
    records::insert(context.db, table, &cells)?;
    activity::shadow_activity(context.db, context.schema, table, id)?;
    Ok(())
}

/// Completes a row that is put in without a request: what a request would have added, but for its
/// state, owner and stamps. Its money is in the organization's own currency.
pub(crate) fn furnish(table: &Table, cells: &mut Cells) {
    defaults(table, cells);
    activity::describe(table, cells);
    money::in_base(table, cells);
    calculated::complete(table, &Cells::new(), cells);
}

/// Choices and booleans take their defaults.
fn defaults(table: &Table, cells: &mut Cells) {
    for column in &table.columns {
        let default = match &column.kind {
            Kind::Boolean { default, .. } => Cell::from(*default),
            Kind::Choice {
                default: Some(default),
                ..
            } => Cell::whole(*default),
            _ => continue,
        };
        if !cells.contains_key(&column.name) {
            cells.insert(column.name.clone(), default);
        }
    }
}

/// Tables of business units begin in the caller's own, and everything is in the organization.
fn fill_units(context: &Context<'_>, table: &Table, cells: &mut Cells) {
    let caller = context.caller;
    let wanted = [
        (
            "businessunitid",
            Cell::row("businessunit", caller.business_unit),
        ),
        ("administratorid", Cell::row("systemuser", caller.id)),
    ];
    for (name, cell) in wanted {
        let needed = table
            .column(name)
            .is_some_and(|column| column.is_lookup() && column.required == Required::System);
        if needed && !cells.contains_key(name) {
            cells.insert(name.to_owned(), cell);
        }
    }
    if let Some(column) = table.column("organizationid") {
        let organization = context.organization.id;
        let own = if column.is_lookup() {
            Cell::row("organization", organization)
        } else {
            Cell::text(organization.to_string())
        };
        cells.insert(column.name.clone(), own);
    }
}

/// When and by whom. A row that was migrated brings the moment at which it was really made.
fn stamp_new(context: &Context<'_>, table: &Table, cells: &mut Cells) {
    let now = Cell::whole(context.now.timestamp());
    let migrated = cells.remove("overriddencreatedon");
    if migrated.is_some() {
        set(table, cells, "overriddencreatedon", now.clone());
    }
    set(
        table,
        cells,
        "createdon",
        migrated.unwrap_or_else(|| now.clone()),
    );
    set(table, cells, "modifiedon", now);
    let user = |id| Cell::row("systemuser", id);
    for name in ["createdby", "modifiedby"] {
        set(table, cells, name, user(context.caller.id));
    }
    if let Some(behind) = &context.caller.behind {
        for name in ["createdonbehalfby", "modifiedonbehalfby"] {
            set(table, cells, name, user(behind.id));
        }
    }
}

/// Sets a cell of a column that the table has.
pub(super) fn set(table: &Table, cells: &mut Cells, name: &str, cell: Cell) {
    if table.column(name).is_some() {
        cells.insert(name.to_owned(), cell);
    }
}

/// Only what the system itself needs must be there: what forms insist on, the API does not.
fn require(table: &Table, cells: &Cells) -> Outcome<()> {
    for column in table
        .columns
        .iter()
        .filter(|column| column.required == Required::System && column.access.create)
    {
        let needed = column.name == table.title || column.is_lookup();
        if needed && !cells.contains_key(&column.name) {
            return Err(fault::missing(column));
        }
    }
    Ok(())
}

//! Parties of activities: who called, who was written to. The list is written as a whole.

use uuid::Uuid;

use crate::dataverse::context::Context;
use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::records::{self, Cell, Cells};
use crate::dataverse::schema::{Collection, CollectionBy, Kind, Schema, Table};
use crate::dataverse::store::quoted;
use crate::dataverse::write::create::{Origin, create_row};
use crate::dataverse::write::payload::{Draft, Intent, Object};
use crate::dataverse::write::rights;

pub(super) const TABLE: &str = "activityparty";
const ACTIVITY: &str = "activityid";
const PARTICIPATION: &str = "participationtypemask";
const SENDER: i64 = 1;
/// Parties of one activity, more than any has.
const PARTIES_MAX: usize = 1_000;

/// Whether a collection holds the parties of an activity.
pub(super) fn are(schema: &Schema, collection: &Collection) -> bool {
    let CollectionBy::OneToMany(relationship) = collection.by else {
        return false;
    };
    let by_activity = schema
        .relationships
        .get(relationship)
        .is_some_and(|one| one.column == ACTIVITY);
    by_activity && schema.table(collection.target).name == TABLE
}

/// Gives an activity these parties and no others.
pub(super) fn replace<'s>(
    context: &Context<'s>,
    activity: &Table,
    id: Uuid,
    list: &[&Object],
) -> Outcome<()> {
    let Some(table) = context.schema.by_name(TABLE) else {
        return Ok(());
    };
    if list.len() > PARTIES_MAX {
        return Err(Fault::argument(format!(
            "An activity has at most {PARTIES_MAX} parties."
        )));
    }
    let mut rows = Vec::with_capacity(list.len());
    for item in list {
        rows.push(party(context, table, activity, id, item)?);
    }
    let sent = |row: &Cells| row.get(PARTICIPATION).and_then(Cell::as_whole) == Some(SENDER);
    if rows.iter().filter(|row| sent(row)).count() > 1 {
        return Err(Fault::argument(
            "Communication activity cannot have more than one Sender party",
        ));
    }
    let sql = format!("DELETE FROM {TABLE} WHERE {ACTIVITY} = ?1");
    context.db.prepare_cached(&sql)?.execute([id.to_string()])?;
    for row in rows {
        records::insert(context.db, table, &row)?;
    }
    Ok(())
}

fn party<'s>(
    context: &Context<'s>,
    table: &'s Table,
    activity: &Table,
    id: Uuid,
    item: &Object,
) -> Outcome<Cells> {
    let mut draft = Draft::read(context, table, item, Intent::Create)?;
    let mut cells = std::mem::take(&mut draft.cells);
    for (single, nested) in draft.ahead {
        let target = context.schema.table(single.target);
        let made = create_row(
            context,
            target,
            nested,
            Origin {
                level: 1,
                ..Origin::default()
            },
        )?;
        if let Some(column) = table.columns.get(single.column) {
            cells.insert(column.name.clone(), Cell::row(&target.name, made));
        }
    }
    cells.retain(|_, cell| !cell.is_null());
    cells.remove(ACTIVITY);
    rights::demand_links(context, activity, Some(id), &cells)?;
    if !cells.contains_key(PARTICIPATION) {
        return Err(Fault::argument(
            "Attribute 'participationtypemask' cannot be NULL.",
        ));
    }
    address(context, activity, &mut cells)?;
    if !["partyid", "addressused", "unresolvedpartyname"]
        .iter()
        .any(|name| cells.contains_key(*name))
    {
        return Err(Fault::argument(
            "An activity party leads to a row, through a property such as partyid_contact@odata.bind, or has an addressused.",
        ));
    }
    cells.insert(ACTIVITY.to_owned(), Cell::row(&activity.name, id));
    cells.insert(
        table.key.clone(),
        Cell::text(draft.id.unwrap_or_else(Uuid::new_v4).to_string()),
    );
    for column in &table.columns {
        if let Kind::Boolean { default, .. } = column.kind {
            cells
                .entry(column.name.clone())
                .or_insert(Cell::from(default));
        }
    }
    Ok(cells)
}

/// An e-mail goes to the address that its party has at that moment.
fn address(context: &Context<'_>, activity: &Table, cells: &mut Cells) -> Outcome<()> {
    if activity.name != "email" || cells.contains_key("addressused") {
        return Ok(());
    }
    let Some((target, id)) = cells.get("partyid").and_then(Cell::as_row) else {
        return Ok(());
    };
    let column = match target {
        "systemuser" => "internalemailaddress",
        "queue" | "team" => "emailaddress",
        _ => "emailaddress1",
    };
    let Some(table) = context
        .schema
        .by_name(target)
        .filter(|table| table.column(column).is_some())
    else {
        return Ok(());
    };
    let sql = format!(
        "SELECT {} FROM {} WHERE {} = ?1",
        quoted(column),
        quoted(&table.name),
        quoted(&table.key)
    );
    let mut statement = context.db.prepare_cached(&sql)?;
    let mut rows = statement.query([id.to_string()])?;
    let found: Option<String> = match rows.next()? {
        Some(row) => row.get(0)?,
        None => None,
    };
    if let Some(found) = found {
        cells.insert("addressused".to_owned(), Cell::text(found));
    }
    Ok(())
}

//! Queues: what waits in them, and who works on it.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::dataverse::answer::{Answer, no_content};
use crate::dataverse::context::Context;
use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::functions::{Call, entity, team};
use crate::dataverse::records::{self, Cells};
use crate::dataverse::schema::Table;
use crate::dataverse::write::{create_from, delete_row, update_from};

const ITEM: &str = "queueitem";

pub(super) fn add(call: &Call<'_, '_>) -> Outcome<Answer> {
    let (context, (queues, queue)) = (call.context(), call.row()?);
    let target = call
        .arguments
        .required("Target")?
        .as_object()
        .cloned()
        .unwrap_or_default();
    let (table, id) = entity::meant(context, &target, None)?;
    let items = context
        .schema
        .by_name(ITEM)
        .ok_or_else(|| Fault::no_segment(ITEM))?;
    let index = context.schema.index_of(&table.name);
    let single = index
        .and_then(|index| items.navigation_of("objectid", index))
        .ok_or_else(|| {
            Fault::argument(format!(
                "Rows of '{}' cannot be put into a queue.",
                table.name
            ))
        })?;
    let properties = call
        .arguments
        .get("QueueItemProperties")
        .and_then(Value::as_object)
        .cloned();
    let mut body = properties.unwrap_or_default();
    body.retain(|name, _| name != "@odata.type" && *name != items.key);
    body.insert(
        "queueid@odata.bind".to_owned(),
        json!(format!("/{}({queue})", queues.set)),
    );
    let item = match waiting(context, id)? {
        // It waits in one queue at a time.
        Some(item) => {
            update_from(context, items, item, &body)?;
            item
        }
        None => {
            body.insert(
                format!("{}@odata.bind", single.name),
                json!(format!("/{}({id})", table.set)),
            );
            create_from(context, items, &body, None)?
        }
    };
    name(context, items, item, table, id)?;
    Ok(call.answer("AddToQueueResponse", json!({"QueueItemId": item})))
}

/// The item by which a row waits already.
fn waiting(context: &Context<'_>, id: Uuid) -> Outcome<Option<Uuid>> {
    use rusqlite::OptionalExtension as _;
    let sql = "SELECT queueitemid FROM queueitem WHERE objectid = ?1 LIMIT 1";
    let found = context
        .db
        .prepare_cached(sql)?
        .query_row([id.to_string()], |row| row.get::<_, String>(0));
    Ok(found.optional()?.and_then(|id| id.parse().ok()))
}

/// An item is called as what waits, and says since when it does.
fn name(context: &Context<'_>, items: &Table, item: Uuid, table: &Table, id: Uuid) -> Outcome<()> {
    let title = records::title(context.db, table, id)?.unwrap_or_default();
    let cells = Cells::from([
        ("title".to_owned(), title.into()),
        ("enteredon".to_owned(), context.now.timestamp().into()),
        (
            "objecttypecode".to_owned(),
            i64::from(table.type_code).into(),
        ),
    ]);
    records::update(context.db, items, item, &cells)?;
    Ok(())
}

pub(super) fn remove(call: &Call<'_, '_>) -> Outcome<Answer> {
    let (items, item) = call.row()?;
    delete_row(call.context(), items, item)?;
    Ok(no_content())
}

pub(super) fn pick(call: &Call<'_, '_>) -> Outcome<Answer> {
    let (context, (items, item)) = (call.context(), call.row()?);
    if call
        .arguments
        .get("RemoveQueueItem")
        .and_then(Value::as_bool)
        == Some(true)
    {
        return remove(call);
    }
    let worker = match call.arguments.get("SystemUser").and_then(Value::as_object) {
        Some(user) => entity::meant(context, user, context.schema.by_name("systemuser"))?.1,
        None => context.caller.id,
    };
    work(
        context,
        items,
        item,
        json!(format!("/systemusers({worker})")),
    )
}

pub(super) fn release(call: &Call<'_, '_>) -> Outcome<Answer> {
    let (items, item) = call.row()?;
    work(call.context(), items, item, Value::Null)
}

fn work<'s>(context: &Context<'s>, items: &'s Table, item: Uuid, worker: Value) -> Outcome<Answer> {
    let body = Map::from_iter([("workerid_systemuser@odata.bind".to_owned(), worker)]);
    update_from(context, items, item, &body)?;
    records::update(
        context.db,
        items,
        item,
        &Cells::from([(
            "workeridmodifiedon".to_owned(),
            context.now.timestamp().into(),
        )]),
    )?;
    Ok(no_content())
}

/// A user, or every member of a team, becomes a member of the queue.
pub(super) fn add_principal(call: &Call<'_, '_>) -> Outcome<Answer> {
    let (context, (queues, queue)) = (call.context(), call.row()?);
    let principal = call
        .arguments
        .required("Principal")?
        .as_object()
        .cloned()
        .unwrap_or_default();
    let (table, id) = entity::meant(context, &principal, None)?;
    let users = match table.name.as_str() {
        "systemuser" => vec![id],
        "team" => team::members(context, id)?,
        other => {
            return Err(Fault::argument(format!(
                "A principal is a user or a team, no row of '{other}'."
            )));
        }
    };
    for user in users {
        team::join(context, queues, queue, "queuemembership_association", user)?;
    }
    Ok(call.answer("AddPrincipalToQueueResponse", json!({})))
}

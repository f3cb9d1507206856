//! Who is in a team, and which rows are on a marketing list.

use axum::http::StatusCode;
use serde_json::Value;
use uuid::Uuid;

use crate::dataverse::answer::{Answer, no_content};
use crate::dataverse::context::Context;
use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::functions::{Call, entity};
use crate::dataverse::read::Parent;
use crate::dataverse::records::{self, Cell};
use crate::dataverse::schema::Table;
use crate::dataverse::write::{attach, detach};

const MEMBERSHIP: &str = "teammembership_association";

pub(super) fn add_members(call: &Call<'_, '_>) -> Outcome<Answer> {
    let (context, (teams, team)) = (call.context(), call.row()?);
    refuse_default(
        context,
        teams,
        team,
        (
            "0x8004830b",
            "Can't add members to the default business unit team.",
        ),
    )?;
    for user in users(call)? {
        join(context, teams, team, MEMBERSHIP, user)?;
    }
    Ok(no_content())
}

pub(super) fn remove_members(call: &Call<'_, '_>) -> Outcome<Answer> {
    let (context, (teams, team)) = (call.context(), call.row()?);
    refuse_default(
        context,
        teams,
        team,
        (
            "0x8004830c",
            "Can't remove members from the default business unit team.",
        ),
    )?;
    for user in users(call)? {
        leave(context, teams, team, MEMBERSHIP, user)?;
    }
    Ok(no_content())
}

/// Who is in a business unit is in its team, and nobody else is.
fn refuse_default(
    context: &Context<'_>,
    teams: &Table,
    team: Uuid,
    (code, text): (&'static str, &str),
) -> Outcome<()> {
    let row = records::load(context.db, context.schema, teams, team)?
        .ok_or_else(|| Fault::no_row(&teams.name, team))?;
    if row.get("isdefault").and_then(Cell::as_whole) == Some(1) {
        return Err(Fault::new(StatusCode::BAD_REQUEST, code, text));
    }
    Ok(())
}

fn users(call: &Call<'_, '_>) -> Outcome<Vec<Uuid>> {
    let context = call.context();
    let known = context.schema.by_name("systemuser");
    let mut all = Vec::new();
    for member in call.arguments.list("Members")? {
        let member = member
            .as_object()
            .ok_or_else(|| Fault::argument("A member is an object with the key of a user."))?;
        let (table, id) = entity::meant(context, member, known)?;
        if table.name != "systemuser" {
            return Err(Fault::argument(format!(
                "A member is a user, no row of '{}'.",
                table.name
            )));
        }
        all.push(id);
    }
    Ok(all)
}

/// The users of a team.
pub(super) fn members(context: &Context<'_>, team: Uuid) -> Outcome<Vec<Uuid>> {
    let mut statement = context
        .db
        .prepare_cached("SELECT systemuserid FROM teammembership WHERE teamid = ?1")?;
    let found = statement.query_map([team.to_string()], |row| row.get::<_, String>(0))?;
    let ids: Vec<String> = found.collect::<rusqlite::Result<_>>()?;
    Ok(ids.iter().filter_map(|id| id.parse().ok()).collect())
}

fn parent<'s>(table: &'s Table, id: Uuid, collection: &str) -> Outcome<Parent<'s>> {
    let collection = table
        .collection(collection)
        .ok_or_else(|| Fault::no_segment(collection))?;
    Ok(Parent {
        table,
        id,
        collection,
    })
}

pub(super) fn join<'s>(
    context: &Context<'s>,
    table: &'s Table,
    id: Uuid,
    collection: &str,
    member: Uuid,
) -> Outcome<()> {
    match attach(context, parent(table, id, collection)?, member) {
        // It is there already: that is what was wanted.
        Err(fault) if fault.status == StatusCode::PRECONDITION_FAILED => Ok(()),
        done => done,
    }
}

fn leave<'s>(
    context: &Context<'s>,
    table: &'s Table,
    id: Uuid,
    collection: &str,
    member: Uuid,
) -> Outcome<()> {
    detach(context, parent(table, id, collection)?, member)
}

pub(super) fn add_list_members(call: &Call<'_, '_>) -> Outcome<Answer> {
    let (context, (lists, list)) = (call.context(), call.row()?);
    for member in call.arguments.list("Members")? {
        let (collection, id) = listed(context, member)?;
        join(context, lists, list, collection, id)?;
    }
    Ok(no_content())
}

pub(super) fn add_list_member(call: &Call<'_, '_>) -> Outcome<Answer> {
    let (context, (lists, list)) = (call.context(), call.row()?);
    let (collection, id) = listed(context, call.arguments.required("Entity")?)?;
    join(context, lists, list, collection, id)?;
    Ok(no_content())
}

pub(super) fn remove_list_member(call: &Call<'_, '_>) -> Outcome<Answer> {
    let (context, (lists, list)) = (call.context(), call.row()?);
    let (collection, id) = listed(context, call.arguments.required("Entity")?)?;
    leave(context, lists, list, collection, id)?;
    Ok(no_content())
}

/// A row that can be on a list, and the collection in which it then is.
fn listed(context: &Context<'_>, member: &Value) -> Outcome<(&'static str, Uuid)> {
    let member = member.as_object().cloned().unwrap_or_default();
    let (table, id) = entity::meant(context, &member, None)?;
    let collection = match table.name.as_str() {
        "account" => "listaccount_association",
        "contact" => "listcontact_association",
        "lead" => "listlead_association",
        other => {
            return Err(Fault::argument(format!(
                "A list holds accounts, contacts or leads, no rows of '{other}'."
            )));
        }
    };
    Ok((collection, id))
}

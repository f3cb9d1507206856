//! Rows that are shared with users and teams who would not reach them otherwise.

use axum::http::StatusCode;
use rusqlite::{OptionalExtension as _, params};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::dataverse::answer::{Answer, no_content};
use crate::dataverse::context::Context;
use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::functions::privileges::RIGHTS;
use crate::dataverse::functions::{Call, entity};
use crate::dataverse::read;
use crate::dataverse::records::{self, Cell, Cells};
use crate::dataverse::schema::{Ownership, Table};
use crate::dataverse::security::Access;

const SHARES: &str = "principalobjectaccess";

pub(super) fn grant(call: &Call<'_, '_>) -> Outcome<Answer> {
    let share = Share::of(call)?;
    let held = share.mask(call.context())?.unwrap_or(0);
    share.set(call.context(), held | mask(call)?)?;
    Ok(no_content())
}

pub(super) fn modify(call: &Call<'_, '_>) -> Outcome<Answer> {
    let share = Share::of(call)?;
    share.set(call.context(), mask(call)?)?;
    Ok(no_content())
}

pub(super) fn revoke(call: &Call<'_, '_>) -> Outcome<Answer> {
    Share::of(call)?.end(call.context())?;
    Ok(no_content())
}

/// A row and the user or team that it is shared with.
struct Share<'s> {
    table: &'s Table,
    id: Uuid,
    principal: (&'s Table, Uuid),
}

impl<'s> Share<'s> {
    fn of(call: &Call<'_, 's>) -> Outcome<Self> {
        let context = call.context();
        let (table, id) = target(call)?;
        context.demand_row(Access::Share, table, id)?;
        if table.ownership != Ownership::User {
            return Err(Fault::argument(format!(
                "Rows of '{}' have no owner and cannot be shared.",
                table.name
            )));
        }
        let named = match call.arguments.get("Revokee") {
            Some(revokee) => revokee.as_object(),
            None => call
                .arguments
                .required("PrincipalAccess")?
                .get("Principal")
                .and_then(Value::as_object),
        };
        let named = named.ok_or_else(|| {
            Fault::argument("'PrincipalAccess' names a user or a team as its 'Principal'.")
        })?;
        let principal = entity::meant(context, named, None)?;
        if !matches!(principal.0.name.as_str(), "systemuser" | "team") {
            let text = format!(
                "A row is shared with a user or a team, not with a row of '{}'.",
                principal.0.name
            );
            return Err(Fault::new(StatusCode::BAD_REQUEST, "0x8004020c", text));
        }
        read::must_exist(context, principal.0, principal.1)?;
        Ok(Self {
            table,
            id,
            principal,
        })
    }

    fn found(&self, context: &Context<'_>) -> Outcome<Option<(Uuid, i64)>> {
        let sql = "SELECT principalobjectaccessid, accessrightsmask FROM principalobjectaccess WHERE objectid = ?1 AND principalid = ?2";
        let found = context.db.prepare_cached(sql)?.query_row(
            params![self.id.to_string(), self.principal.1.to_string()],
            |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)),
        );
        Ok(found
            .optional()?
            .and_then(|(id, mask)| Some((id.parse().ok()?, mask))))
    }

    fn mask(&self, context: &Context<'_>) -> Outcome<Option<i64>> {
        Ok(self.found(context)?.map(|(_, mask)| mask))
    }

    fn set(&self, context: &Context<'_>, mask: i64) -> Outcome<()> {
        let table = context
            .schema
            .by_name(SHARES)
            .ok_or_else(|| Fault::no_segment(SHARES))?;
        let mut cells = Cells::from([
            ("accessrightsmask".to_owned(), mask.into()),
            ("changedon".to_owned(), context.now.timestamp().into()),
        ]);
        if let Some((id, _)) = self.found(context)? {
            records::update(context.db, table, id, &cells)?;
            return Ok(());
        }
        cells.extend([
            (table.key.clone(), Cell::text(Uuid::new_v4().to_string())),
            ("objectid".to_owned(), Cell::text(self.id.to_string())),
            ("objecttypecode".to_owned(), Cell::text(&*self.table.name)),
            (
                "principalid".to_owned(),
                Cell::text(self.principal.1.to_string()),
            ),
            (
                "principaltypecode".to_owned(),
                Cell::text(&*self.principal.0.name),
            ),
            ("inheritedaccessrightsmask".to_owned(), 0.into()),
        ]);
        records::insert(context.db, table, &cells)?;
        Ok(())
    }

    fn end(&self, context: &Context<'_>) -> Outcome<()> {
        let table = context
            .schema
            .by_name(SHARES)
            .ok_or_else(|| Fault::no_segment(SHARES))?;
        if let Some((id, _)) = self.found(context)? {
            records::delete(context.db, table, id, context.now.timestamp())?;
        }
        Ok(())
    }
}

fn target<'s>(call: &Call<'_, 's>) -> Outcome<(&'s Table, Uuid)> {
    let target = call
        .arguments
        .required("Target")?
        .as_object()
        .cloned()
        .unwrap_or_default();
    let (table, id) = entity::meant(call.context(), &target, None)?;
    read::must_exist(call.context(), table, id)?;
    Ok((table, id))
}

/// `"ReadAccess, WriteAccess"` as bits.
fn mask(call: &Call<'_, '_>) -> Outcome<i64> {
    let given = call
        .arguments
        .required("PrincipalAccess")?
        .get("AccessMask");
    let wrong = |text: &str| {
        let all: Vec<&str> = RIGHTS.iter().map(|(access, _)| access.right()).collect();
        let text = format!(
            "The access rights '{text}' are not known; there are {}.",
            all.join(", ")
        );
        Fault::new(StatusCode::BAD_REQUEST, "0x8004020d", text)
    };
    match given {
        Some(Value::Number(bits)) => bits.as_i64().ok_or_else(|| wrong(&bits.to_string())),
        Some(Value::String(text)) => text.split(',').map(str::trim).try_fold(0, |bits, name| {
            let found = RIGHTS.iter().find(|(access, _)| access.right() == name);
            let bit = found
                .map(|(_, bit)| *bit)
                .or_else(|| (name == "None").then_some(0));
            Ok(bits | bit.ok_or_else(|| wrong(name))?)
        }),
        _ => Err(wrong("")),
    }
}

/// Who a row is shared with, and how far.
pub(super) fn principals(call: &Call<'_, '_>) -> Outcome<Answer> {
    let context = call.context();
    let (table, id) = target(call)?;
    context.demand_row(Access::Read, table, id)?;
    let sql = "SELECT principalid, principaltypecode, accessrightsmask FROM principalobjectaccess \
               WHERE objectid = ?1 AND accessrightsmask <> 0 ORDER BY principalid";
    let mut statement = context.db.prepare_cached(sql)?;
    let found = statement.query_map([id.to_string()], |row| {
        Ok((
            row.get::<_, String>(0)?,
            row.get::<_, String>(1)?,
            row.get::<_, i64>(2)?,
        ))
    })?;
    let mut all = Vec::new();
    for row in found {
        let (principal, of, mask) = row?;
        let key = context
            .schema
            .by_name(&of)
            .map_or("ownerid", |table| table.key.as_str());
        let who = Map::from_iter([
            (
                "@odata.type".to_owned(),
                json!(format!("#Microsoft.Dynamics.CRM.{of}")),
            ),
            (key.to_owned(), json!(principal)),
            ("ownerid".to_owned(), json!(principal)),
        ]);
        all.push(json!({"AccessMask": names(mask), "Principal": who}));
    }
    Ok(call.answer(
        "RetrieveSharedPrincipalsAndAccessResponse",
        json!({"PrincipalAccesses": all}),
    ))
}

fn names(mask: i64) -> String {
    let held: Vec<&str> = RIGHTS
        .iter()
        .filter(|(_, bit)| mask & bit != 0)
        .map(|(access, _)| access.right())
        .collect();
    if held.is_empty() {
        "None".to_owned()
    } else {
        held.join(", ")
    }
}

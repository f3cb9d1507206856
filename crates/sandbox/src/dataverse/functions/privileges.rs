//! Privileges that users and roles hold, and what they may do with one row.

use axum::http::StatusCode;
use rusqlite::OptionalExtension as _;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::dataverse::answer::Answer;
use crate::dataverse::context::Context;
use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::functions::{Call, entity};
use crate::dataverse::read;
use crate::dataverse::schema::Table;
use crate::dataverse::security::{Access, Depth, Member, privilege_id};

/// Accesses in the order in which the platform lists the rights to a row, with their bits.
pub(super) const RIGHTS: [(Access, i64); 8] = [
    (Access::Read, 1),
    (Access::Write, 2),
    (Access::Append, 4),
    (Access::AppendTo, 16),
    (Access::Create, 32),
    (Access::Delete, 65_536),
    (Access::Share, 262_144),
    (Access::Assign, 524_288),
];

/// The bit of an access among the rights to a row.
pub(crate) fn right_bit(access: Access) -> i64 {
    RIGHTS
        .iter()
        .find(|(known, _)| *known == access)
        .map_or(0, |(_, bit)| *bit)
}

pub(super) fn of_user(call: &Call<'_, '_>) -> Outcome<Answer> {
    let all = call.context().organization.roles.privileges();
    of_member(call, all.into_iter())
}

/// The privileges of names, as far as the user holds them.
pub(super) fn by_names(call: &Call<'_, '_>) -> Outcome<Answer> {
    let asked = match call.arguments.optional_text("PrivilegeName") {
        Some(name) => vec![name],
        None => call.arguments.texts("PrivilegeNames")?,
    };
    let roles = &call.context().organization.roles;
    of_member(
        call,
        asked.into_iter().filter_map(|name| roles.privilege(name)),
    )
}

/// The privileges of identifiers, as far as the user holds them.
pub(super) fn by_ids(call: &Call<'_, '_>) -> Outcome<Answer> {
    let asked = match call.arguments.optional_text("PrivilegeId") {
        Some(id) => vec![id],
        None => call.arguments.texts("PrivilegeIds")?,
    };
    let asked: Vec<Uuid> = asked.into_iter().filter_map(|id| id.parse().ok()).collect();
    let all = call.context().organization.roles.privileges();
    of_member(
        call,
        all.into_iter()
            .filter(|name| asked.contains(&privilege_id(name))),
    )
}

fn of_member<'n>(call: &Call<'_, '_>, names: impl Iterator<Item = &'n str>) -> Outcome<Answer> {
    let (context, (table, id)) = (call.context(), call.row()?);
    let member = if id == context.caller.id && context.caller.behind.is_none() {
        Some(context.caller.clone())
    } else {
        context.demand_row(Access::Read, table, id)?;
        principal(context, table, id)?
    };
    let held = names.filter_map(|name| Some((name, member.as_ref()?.holds(name)?)));
    let unit = member
        .as_ref()
        .map_or(context.organization.business_unit, |member| {
            member.business_unit
        });
    let privileges: Vec<Value> = held.map(|(name, depth)| shown(name, depth, unit)).collect();
    let kind = format!("{}Response", call.arguments.operation());
    Ok(call.answer(&kind, json!({"RolePrivileges": privileges})))
}

pub(super) fn of_role(call: &Call<'_, '_>) -> Outcome<Answer> {
    let context = call.context();
    let id = call.arguments.text("RoleId")?.parse().unwrap_or_default();
    if let Some(table) = context.schema.by_name("role") {
        context.demand_row(Access::Read, table, id)?;
    }
    let role = context
        .organization
        .roles
        .find(id)
        .ok_or_else(|| Fault::no_row("role", id))?;
    let all = context.organization.roles.privileges();
    let held = all
        .into_iter()
        .filter_map(|name| Some((name, role.depth(&name.to_ascii_lowercase())?)));
    let unit = context.organization.business_unit;
    let privileges: Vec<Value> = held.map(|(name, depth)| shown(name, depth, unit)).collect();
    Ok(call.answer(
        "RetrieveRolePrivilegesRoleResponse",
        json!({"RolePrivileges": privileges}),
    ))
}

fn shown(name: &str, depth: Depth, unit: Uuid) -> Value {
    json!({
        "Depth": depth.name(),
        "PrivilegeId": privilege_id(name),
        "BusinessUnitId": unit,
        "PrivilegeName": name,
        "RecordFilterId": Uuid::nil(),
        "RecordFilterUniqueName": "",
    })
}

/// What a user or a team may do with a row.
pub(super) fn principal_access(call: &Call<'_, '_>) -> Outcome<Answer> {
    let (context, (table, id)) = (call.context(), call.row()?);
    let target = call
        .arguments
        .required("Target")?
        .as_object()
        .cloned()
        .unwrap_or_default();
    let (of, row) = entity::meant(context, &target, None)?;
    read::must_exist(context, table, id)?;
    read::must_exist(context, of, row)?;
    let mut held = Vec::new();
    if let Some(member) = principal(context, table, id)? {
        let own = Context {
            caller: &member,
            ..*context
        };
        for (access, _) in RIGHTS {
            if own.demand_row(access, of, row).is_ok() {
                held.push(access.right());
            }
        }
    }
    let rights = if held.is_empty() {
        "None".to_owned()
    } else {
        held.join(", ")
    };
    Ok(call.answer(
        "RetrievePrincipalAccessResponse",
        json!({"AccessRights": rights}),
    ))
}

/// A user or a team as somebody who could call; none when it could not.
pub(super) fn principal(context: &Context<'_>, table: &Table, id: Uuid) -> Outcome<Option<Member>> {
    if table.name == "team" {
        return team(context, id);
    }
    match context
        .organization
        .member_by(context.db, "systemuserid", id)
    {
        // A user who is disabled, or without a role, may do nothing.
        Err(fault) if fault.status == StatusCode::FORBIDDEN => Ok(None),
        found => found?.map_or_else(
            || Err(Fault::no_row(&table.name, id)),
            |member| Ok(Some(member)),
        ),
    }
}

fn team(context: &Context<'_>, id: Uuid) -> Outcome<Option<Member>> {
    let sql = "SELECT businessunitid FROM team WHERE teamid = ?1";
    let unit = context
        .db
        .prepare_cached(sql)?
        .query_row([id.to_string()], |row| row.get::<_, Option<String>>(0));
    let Some(unit) = unit.optional()? else {
        return Err(Fault::no_row("team", id));
    };
    let unit = unit
        .and_then(|unit| unit.parse().ok())
        .unwrap_or(context.organization.business_unit);
    let sql = "SELECT roleid FROM teamroles WHERE teamid = ?1";
    let mut statement = context.db.prepare_cached(sql)?;
    let ids = statement.query_map([id.to_string()], |row| row.get::<_, String>(0))?;
    let mut roles = Vec::new();
    for role in ids {
        roles.extend(
            role?
                .parse()
                .ok()
                .and_then(|id| context.organization.roles.find(id))
                .cloned(),
        );
    }
    let member = Member {
        id,
        business_unit: unit,
        units_below: vec![unit],
        teams: vec![id],
        roles,
        behind: None,
    };
    Ok(Some(member))
}

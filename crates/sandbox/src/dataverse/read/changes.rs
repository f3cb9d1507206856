//! Change tracking: what came, went and changed since a version.
//!
//! A delta token is `version!moment`, as in Dataverse; it is good for seven days.

use axum::http::StatusCode;
use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use rusqlite::types::Value as Sql;
use serde_json::{Map, Value, json};

use crate::dataverse::answer::{Answer, json_answer};
use crate::dataverse::context::Context;
use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::odata::{Comparison, QueryOptions};
use crate::dataverse::plan::{Condition, Order, Query, Sources, Term};
use crate::dataverse::read::collection::{PAGE_MAX, preferred_size, with_token};
use crate::dataverse::read::present::Presenter;
use crate::dataverse::read::rows;
use crate::dataverse::read::shape::Shape;
use crate::dataverse::schema::Table;
use crate::dataverse::security::{Access, Depth};
use crate::dataverse::store;

const MOMENT: &str = "%m/%d/%Y %H:%M:%S";
/// How long a token is good (`ExpireChangeTrackingInDays`).
const DAYS: i64 = 7;

/// Whether a first reading is asked to be followed by changes; refused where that cannot be.
pub(super) fn wanted(
    context: &Context<'_>,
    table: &Table,
    options: &QueryOptions,
    nested: bool,
) -> Outcome<bool> {
    if context.prefers("odata.track-changes").is_none() {
        return Ok(false);
    }
    allowed(context, table)?;
    let forbidden = ["$filter", "$orderby", "$expand", "$top", "$count"];
    if let Some(name) = forbidden
        .into_iter()
        .find(|name| options.text(name).is_some())
    {
        return Err(Fault::syntax(format!(
            "The query option {name} is not supported with change tracking."
        )));
    }
    if nested {
        return Err(Fault::syntax(
            "Change tracking is not supported for the rows of a relationship.",
        ));
    }
    Ok(true)
}

fn allowed(context: &Context<'_>, table: &Table) -> Outcome<()> {
    if !table.change_tracking {
        let text = format!("Entity: {} is not enabled for change tracking.", table.name);
        return Err(Fault::new(StatusCode::BAD_REQUEST, "0x80072491", text));
    }
    // Rows that one may not see must not be told of when they go.
    if context.demand_read(table)? != Depth::Global {
        return Err(context.caller.denied(Access::Read, table));
    }
    Ok(())
}

pub(super) fn now(context: &Context<'_>) -> Outcome<i64> {
    Ok(store::current_version(context.db)?)
}

pub(super) fn link(context: &Context<'_>, address: &str, version: i64) -> String {
    let token = format!("{version}!{}", context.now.format(MOMENT));
    with_token(address, "$deltatoken", &token)
}

fn version_of(context: &Context<'_>, table: &Table, token: &str) -> Outcome<i64> {
    allowed(context, table)?;
    let malformed = || {
        Fault::argument(format!(
            "The delta token '{token}' is not valid: take the one of an @odata.deltaLink as it is."
        ))
    };
    let (version, moment) = token.split_once('!').ok_or_else(malformed)?;
    let version = version.parse::<i64>().map_err(|_| malformed())?;
    let moment = NaiveDateTime::parse_from_str(moment, MOMENT).map_err(|_| malformed())?;
    let moment: DateTime<Utc> = moment.and_utc();
    if context.now - moment > TimeDelta::days(DAYS) {
        let text = "The version or the token that is used to retrieve the changes has expired. Read the table anew.";
        return Err(Fault::new(StatusCode::BAD_REQUEST, "0x80044352", text));
    }
    Ok(version)
}

fn query<'s>(table: &'s Table, version: i64) -> Query<'s> {
    let mut query = Query::of(table, &mut Sources::default());
    let root = query.select.root;
    if let Some(term) = root.term("versionnumber") {
        query.select.condition = Condition::Compare(
            term.clone(),
            Comparison::Gt,
            Term::Value(Sql::Integer(version)),
        );
        query.order.push(Order {
            term,
            descending: false,
        });
    }
    query
}

/// Rows that changed, and keys of those that are gone. Versions are one after the other: a page
/// ends at the version of its last row, and the next one begins there.
pub(super) fn since<'s>(
    context: &Context<'s>,
    table: &'s Table,
    options: &QueryOptions,
    token: &str,
    address: &str,
) -> Outcome<Answer> {
    let version = version_of(context, table, token)?;
    let shape = Shape::of(context, table, options)?;
    let size = preferred_size(context)?.unwrap_or(PAGE_MAX).min(PAGE_MAX);
    let mut query = query(table, version);
    query.limit = Some(size + 1);
    let root = query.select.root;
    let mut rows = rows::fetch(context, &mut query, root, &shape.columns, Vec::new())?;
    let more = rows.len() as u64 > size;
    rows.truncate(usize::try_from(size).unwrap_or(usize::MAX));
    let (until, next) = match rows.last() {
        Some(last) if more => (last.version, "@odata.nextLink"),
        _ => (now(context)?, "@odata.deltaLink"),
    };
    let presenter = Presenter::new(context);
    let shown = rows
        .iter()
        .map(|row| Value::Object(presenter.row(&shape, row)));
    let mut values: Vec<Value> = shown.collect();
    for id in deleted(context, table, version, until)? {
        values.push(json!({
            "@odata.context": format!("{}#{}/$deletedEntity", context.metadata(), table.set),
            "id": id,
            "reason": "deleted",
        }));
    }
    let mut body = Map::new();
    let fragment = format!("{}{}/$delta", table.set, shape.listed());
    presenter.context_of(&mut body, &fragment);
    body.insert(next.to_owned(), link(context, address, until).into());
    body.insert("value".to_owned(), Value::Array(values));
    let mut answer = json_answer(StatusCode::OK, &Value::Object(body));
    context.applied(&mut answer, vec!["odata.track-changes".to_owned()]);
    Ok(answer)
}

/// Keys of rows that went after a version, and not after another.
fn deleted(context: &Context<'_>, table: &Table, after: i64, until: i64) -> Outcome<Vec<String>> {
    let sql = format!(
        "SELECT id FROM {} WHERE tbl = ?1 AND version > ?2 AND version <= ?3 ORDER BY version",
        store::DELETED
    );
    let mut statement = context.db.prepare_cached(&sql)?;
    let ids = statement.query_map(rusqlite::params![table.name, after, until], |row| {
        row.get(0)
    })?;
    Ok(ids.collect::<Result<_, _>>()?)
}

/// How many changes there are.
pub(super) fn count(context: &Context<'_>, table: &Table, token: &str) -> Outcome<usize> {
    let version = version_of(context, table, token)?;
    let mut query = query(table, version);
    let root = query.select.root;
    let rows = rows::fetch(context, &mut query, root, &[], Vec::new())?;
    Ok(rows.len() + deleted(context, table, version, i64::MAX)?.len())
}

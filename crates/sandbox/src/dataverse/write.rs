//! Creating, changing and deleting rows.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::filter::moment;
use crate::dataverse::old_schema::{self, Column, Kind, Table};
use crate::dataverse::populate::stamp;
use crate::dataverse::rows::{Row, reference};
use crate::dataverse::{Request, query};

/// `POST /contacts`.
pub(crate) fn create(request: &Request<'_>, table: &'static Table) -> Outcome<Response> {
    request.demand("Create", table)?;
    let body = object(request)?;
    let id = match body.get(table.key) {
        Some(value) => guid(value).ok_or_else(|| wrong_type(table.key, "Edm.Guid"))?,
        None => Uuid::new_v4(),
    };
    if table.name == "phonecall"
        && body
            .get("statecode")
            .is_some_and(|state| *state != json!(0))
    {
        let text = "A new activity is open; its state is changed afterwards.";
        return Err(Fault::new(StatusCode::BAD_REQUEST, "0x80048408", text));
    }
    let changes = changes(request, table, &body)?;
    request
        .organization
        .put(&request.world.state, table, id, |existing| {
            if existing.is_some() {
                let text = "A record with matching key values already exists.";
                return Err(Fault::new(
                    StatusCode::PRECONDITION_FAILED,
                    "0x80040237",
                    text,
                ));
            }
            Ok(born(request, table, changes))
        })?;
    if request.returns_representation() {
        return query::written(request, table, id, StatusCode::CREATED);
    }
    Ok(no_content(request, table, id))
}

/// `PATCH /contacts(…)`: an update, or without `If-Match` an upsert.
pub(crate) fn update(request: &Request<'_>, table: &'static Table, id: Uuid) -> Outcome<Response> {
    let body = object(request)?;
    let exists = request.organization.view().row(table, id).is_some();
    request.demand(if exists { "Write" } else { "Create" }, table)?;
    if_match(
        request,
        table,
        id,
        request.organization.view().row(table, id),
    )?;
    let changes = changes(request, table, &body)?;
    request
        .organization
        .put(&request.world.state, table, id, |existing| {
            if_match(request, table, id, existing)?;
            Ok(match existing {
                None => born(request, table, changes),
                Some(row) => altered(request, table, row, changes),
            })
        })?;
    if request.returns_representation() {
        let status = if exists {
            StatusCode::OK
        } else {
            StatusCode::CREATED
        };
        return query::written(request, table, id, status);
    }
    Ok(no_content(request, table, id))
}

/// `DELETE /contacts(…)`.
pub(crate) fn delete(request: &Request<'_>, table: &'static Table, id: Uuid) -> Outcome<Response> {
    request.demand("Delete", table)?;
    request
        .organization
        .remove(&request.world.state, table, id, |existing| {
            if existing.is_none() {
                return Err(Fault::no_row(table.name, id));
            }
            if_match(request, table, id, existing)
        })?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `PUT /contacts(…)/telephone1`.
pub(crate) fn set_property(
    request: &Request<'_>,
    table: &'static Table,
    id: Uuid,
    name: &str,
) -> Outcome<Response> {
    let body = object(request)?;
    let value = body.get("value").cloned().ok_or_else(|| {
        Fault::syntax("The body of a single property is an object with the member 'value'.")
    })?;
    one_property(request, table, id, name, value)
}

/// `DELETE /contacts(…)/telephone1`.
pub(crate) fn clear_property(
    request: &Request<'_>,
    table: &'static Table,
    id: Uuid,
    name: &str,
) -> Outcome<Response> {
    one_property(request, table, id, name, Value::Null)
}

fn one_property(
    request: &Request<'_>,
    table: &'static Table,
    id: Uuid,
    name: &str,
    value: Value,
) -> Outcome<Response> {
    request.demand("Write", table)?;
    let body = Map::from_iter([(name.to_owned(), value)]);
    let changes = changes(request, table, &body)?;
    request
        .organization
        .put(&request.world.state, table, id, |existing| {
            let row = existing.ok_or_else(|| Fault::no_row(table.name, id))?;
            Ok(altered(request, table, row, changes))
        })?;
    Ok(no_content(request, table, id))
}

// === what a body says ===

fn object(request: &Request<'_>) -> Outcome<Map<String, Value>> {
    match serde_json::from_slice(request.body) {
        Ok(Value::Object(body)) => Ok(body),
        Ok(_) => Err(Fault::syntax("A JSON object is expected as the body.")),
        Err(error) => Err(Fault::new(
            StatusCode::BAD_REQUEST,
            "0x80048d19",
            format!(
                "Error identified in Payload provided by the user for Entity :'', For more information on this error please follow this help link. InnerException : {error}"
            ),
        )),
    }
}

/// The columns that a body writes.
fn changes(
    request: &Request<'_>,
    table: &'static Table,
    body: &Map<String, Value>,
) -> Outcome<Map<String, Value>> {
    let mut changes = Map::new();
    for (name, value) in body {
        if let Some(property) = name.strip_suffix("@odata.bind") {
            let (column, target) = table
                .navigation(property)
                .ok_or_else(|| undeclared(property, table))?;
            changes.insert(column.name.to_owned(), bound(request, target, value)?);
        } else if name.contains('@') || name == table.key {
            // Annotations come back with a row that was read, and the key was read before.
        } else if name == "phonecall_activity_parties" && table.name == "phonecall" {
            changes.insert(name.clone(), value.clone());
        } else if let Some(column) = table.column(name) {
            if column.read_only {
                continue;
            }
            changes.insert(name.clone(), accepted(column, value)?);
        } else if table.lookup_value(name).is_some() {
            // Read-only, and part of every row that is read.
        } else if table.navigation(name).is_some() {
            return Err(Fault::not_yet("deep insert"));
        } else {
            return Err(undeclared(name, table));
        }
    }
    Ok(changes)
}

fn undeclared(name: &str, table: &Table) -> Fault {
    let text = format!(
        "Error identified in Payload provided by the user for Entity :'{}', InnerException : \
         Microsoft.OData.ODataException: An undeclared property '{name}' which only has property \
         annotations in the payload but no property value was found in the payload. In OData, only \
         declared navigation properties and declared named streams can be represented as \
         properties without values.",
        table.set
    );
    Fault::new(StatusCode::BAD_REQUEST, "0x80048d19", text)
}

/// The row that `@odata.bind` points at: relative, with or without a slash, or absolute.
fn bound(request: &Request<'_>, target: &'static str, value: &Value) -> Outcome<Value> {
    let Some(address) = value.as_str() else {
        return if value.is_null() {
            Ok(Value::Null)
        } else {
            Err(wrong_type("@odata.bind", "Edm.String"))
        };
    };
    let relative = address
        .strip_prefix(&request.base)
        .unwrap_or(address)
        .trim_start_matches('/');
    let parsed = relative
        .strip_suffix(')')
        .and_then(|open| open.split_once('('));
    let found = parsed.and_then(|(set, key)| Some((old_schema::by_set(set)?, key)));
    let Some((table, key)) = found.filter(|(table, _)| table.name == target) else {
        let text = format!("The URI '{address}' is not valid for a '{target}'.");
        return Err(Fault::new(StatusCode::BAD_REQUEST, "0x80048d19", text));
    };
    let id = query::resolve(request, table, key)?;
    if request.organization.view().row(table, id).is_none() {
        return Err(Fault::no_row(table.name, id));
    }
    Ok(reference(table.name, id))
}

fn accepted(column: &Column, value: &Value) -> Outcome<Value> {
    if value.is_null() {
        return Ok(Value::Null);
    }
    let fits = match (&column.kind, value) {
        (Kind::Text(max), Value::String(text)) => {
            if text.encode_utf16().count() > *max {
                let text = format!(
                    "A validation error occurred. The length of the '{}' attribute of the entity \
                     exceeded the maximum allowed length of '{max}'.",
                    column.name
                );
                return Err(Fault::new(StatusCode::BAD_REQUEST, "0x80044331", text));
            }
            true
        }
        (Kind::Choice(choices), Value::Number(number)) => {
            if !choices
                .iter()
                .any(|(known, _)| number.as_i64() == Some(*known))
            {
                let text = format!(
                    "A validation error occurred. The value {number} of '{}' is outside the valid \
                     range.",
                    column.name
                );
                return Err(Fault::new(StatusCode::BAD_REQUEST, "0x80044330", text));
            }
            true
        }
        (Kind::Whole, Value::Number(number)) => number.is_i64(),
        (Kind::Decimal, Value::Number(_)) | (Kind::Boolean, Value::Bool(_)) => true,
        (Kind::DateTime | Kind::Date, Value::String(text)) => moment(text).is_some(),
        (Kind::Guid, value) => guid(value).is_some(),
        _ => false,
    };
    if fits {
        Ok(value.clone())
    } else {
        Err(wrong_type(column.name, kind_name(&column.kind)))
    }
}

fn kind_name(kind: &Kind) -> &'static str {
    match kind {
        Kind::Text(_) => "Edm.String",
        Kind::Whole | Kind::Choice(_) => "Edm.Int32",
        Kind::Decimal => "Edm.Decimal",
        Kind::Boolean => "Edm.Boolean",
        Kind::DateTime => "Edm.DateTimeOffset",
        Kind::Date => "Edm.Date",
        Kind::Guid => "Edm.Guid",
        Kind::Lookup(_) => "a navigation property with @odata.bind",
    }
}

fn wrong_type(name: &str, expected: &str) -> Fault {
    let text = format!("Cannot convert the value of '{name}' to the expected type '{expected}'.");
    Fault::new(StatusCode::BAD_REQUEST, "0x80048d19", text)
}

fn guid(value: &Value) -> Option<Uuid> {
    value.as_str()?.parse().ok()
}

fn if_match(request: &Request<'_>, table: &Table, id: Uuid, existing: Option<&Row>) -> Outcome<()> {
    match (request.header("if-match"), existing) {
        (Some(_), None) => return Err(Fault::no_row(table.name, id)),
        (Some(etag), Some(row)) if etag != "*" && etag != row.etag() => {
            let text = "The version of the existing record doesn't match the RowVersion property provided.";
            return Err(Fault::new(
                StatusCode::PRECONDITION_FAILED,
                "0x80060882",
                text,
            ));
        }
        _ => {}
    }
    if request.header("if-none-match") == Some("*") && existing.is_some() {
        let text = "A record with matching key values already exists.";
        return Err(Fault::new(
            StatusCode::PRECONDITION_FAILED,
            "0x80040237",
            text,
        ));
    }
    Ok(())
}

// === what the service adds ===

fn born(
    request: &Request<'_>,
    table: &'static Table,
    changes: Map<String, Value>,
) -> Map<String, Value> {
    let me = reference("systemuser", request.member.id);
    let now = stamp(request.world.clock.now());
    let mut values = Map::from_iter([("createdon".to_owned(), now.into())]);
    if table.column("ownerid").is_some() {
        values.insert("createdby".to_owned(), me.clone());
        values.insert("ownerid".to_owned(), me);
    }
    if table.column("statecode").is_some() {
        values.insert("statecode".to_owned(), 0.into());
        values.insert("statuscode".to_owned(), 1.into());
    }
    match table.name {
        "phonecall" => {
            values.insert("activitytypecode".to_owned(), "phonecall".into());
            values.insert("directioncode".to_owned(), true.into());
        }
        "incident" => {
            let id = Uuid::new_v4().simple().to_string().to_uppercase();
            let number = u32::from_str_radix(&id[..5], 16).unwrap_or_default() % 100_000;
            values.insert(
                "ticketnumber".to_owned(),
                format!("CAS-{number:05}-{}", &id[6..12]).into(),
            );
        }
        _ => {}
    }
    altered(request, table, &Row { version: 0, values }, changes)
}

fn altered(
    request: &Request<'_>,
    table: &'static Table,
    row: &Row,
    changes: Map<String, Value>,
) -> Map<String, Value> {
    let mut values = row.values.clone();
    values.extend(changes);
    values.insert(
        "modifiedon".to_owned(),
        stamp(request.world.clock.now()).into(),
    );
    if table.column("modifiedby").is_some() {
        values.insert(
            "modifiedby".to_owned(),
            reference("systemuser", request.member.id),
        );
    }
    if table.name == "contact" {
        let part = |name: &str| {
            values
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let parts = [part("firstname"), part("middlename"), part("lastname")];
        let full: Vec<&str> = parts
            .iter()
            .map(String::as_str)
            .filter(|part| !part.is_empty())
            .collect();
        values.insert("fullname".to_owned(), full.join(" ").into());
    }
    values.retain(|_, value| !value.is_null());
    values
}

fn no_content(request: &Request<'_>, table: &Table, id: Uuid) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    if let Ok(address) = HeaderValue::from_str(&format!("{}{}({id})", request.base, table.set)) {
        response
            .headers_mut()
            .insert("odata-entityid", address.clone());
        response.headers_mut().insert(header::LOCATION, address);
    }
    response
}

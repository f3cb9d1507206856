//! Requests that write: what stands in their headers and bodies, and what is answered.

use axum::http::StatusCode;
use serde_json::Value;
use uuid::Uuid;

use crate::dataverse::answer::{Answer, no_content, no_content_for};
use crate::dataverse::context::Context;
use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::read::{self, Parent};
use crate::dataverse::records;
use crate::dataverse::resource::Request;
use crate::dataverse::schema::{Kind, Single, Table};
use crate::dataverse::write::payload::{Object, object};
use crate::dataverse::write::{
    Key, Upserted, create_from, delete_row, fault, links, parties, reference, rights, update_from,
    upsert_from,
};

/// `POST /contacts`, and `POST /accounts(…)/contact_customer_accounts`.
pub(crate) fn create<'s>(
    request: &Request<'_, 's>,
    table: &'s Table,
    parent: Option<Parent<'s>>,
) -> Outcome<Answer> {
    let context = request.context;
    rights::demand_bypass(context)?;
    if let Some(parent) = parent {
        read::must_exist(context, parent.table, parent.id)?;
    }
    let body = object(table, &request.operation.body)?;
    let id = create_from(context, table, &body, parent)?;
    written(request, table, id, StatusCode::CREATED)
}

/// `PATCH /contacts(…)`: updates, or makes the row when there is none and the request allows it.
pub(crate) fn upsert<'s>(request: &Request<'_, 's>, table: &'s Table, key: Key) -> Outcome<Answer> {
    let context = request.context;
    rights::demand_bypass(context)?;
    let body = object(table, &request.operation.body)?;
    if context.header("if-match").is_some() {
        let id = key.existing(context, table)?;
        demand_match(context, table, id)?;
        update_from(context, table, id, &body)?;
        return written(request, table, id, StatusCode::OK);
    }
    if context.header("if-none-match").map(str::trim) == Some("*")
        && let Some(id) = key.find(context, table)?
        && records::exists(context.db, table, id)?
    {
        return Err(Fault::duplicate_key());
    }
    let (id, done) = upsert_from(context, table, key, &body)?;
    let status = match done {
        Upserted::Created => StatusCode::CREATED,
        Upserted::Updated => StatusCode::OK,
    };
    written(request, table, id, status)
}

/// `DELETE /contacts(…)`.
pub(crate) fn delete<'s>(request: &Request<'_, 's>, table: &'s Table, id: Uuid) -> Outcome<Answer> {
    let context = request.context;
    rights::demand_bypass(context)?;
    demand_match(context, table, id)?;
    delete_row(context, table, id)?;
    Ok(no_content())
}

/// `PUT /contacts(…)/telephone1`.
pub(crate) fn set_property<'s>(
    request: &Request<'_, 's>,
    table: &'s Table,
    id: Uuid,
    name: &str,
) -> Outcome<Answer> {
    // Their bytes are sent as they are.
    if table
        .column(name)
        .is_some_and(|column| column.kind == Kind::Image)
    {
        return Err(Fault::not_yet("contents of image columns"));
    }
    let mut body = object(table, &request.operation.body)?;
    let Some(value) = body.remove("value") else {
        let text = format!(
            "The body of a single property is an object with the member 'value', the new value of '{name}'."
        );
        return Err(Fault::syntax(text));
    };
    property(request, table, id, name, value)
}

/// `DELETE /contacts(…)/telephone1`.
pub(crate) fn clear_property<'s>(
    request: &Request<'_, 's>,
    table: &'s Table,
    id: Uuid,
    name: &str,
) -> Outcome<Answer> {
    property(request, table, id, name, Value::Null)
}

fn property<'s>(
    request: &Request<'_, 's>,
    table: &'s Table,
    id: Uuid,
    name: &str,
    value: Value,
) -> Outcome<Answer> {
    let context = request.context;
    rights::demand_bypass(context)?;
    let known = table
        .column(name)
        .is_some_and(|column| !column.is_parties())
        || table.lookup_value(name).is_some();
    if !known {
        return Err(Fault::no_segment(name));
    }
    demand_match(context, table, id)?;
    update_from(
        context,
        table,
        id,
        &Object::from_iter([(name.to_owned(), value)]),
    )?;
    Ok(no_content())
}

/// `PUT /accounts(…)/primarycontactid/$ref`.
pub(crate) fn link_single<'s>(
    request: &Request<'_, 's>,
    table: &'s Table,
    id: Uuid,
    single: &'s Single,
) -> Outcome<Answer> {
    let context = request.context;
    rights::demand_bypass(context)?;
    let address = named(table, &request.operation.body)?;
    links::point(context, table, id, single, &address)?;
    Ok(no_content())
}

/// `DELETE /accounts(…)/primarycontactid/$ref`.
pub(crate) fn unlink_single<'s>(
    request: &Request<'_, 's>,
    table: &'s Table,
    id: Uuid,
    single: &'s Single,
) -> Outcome<Answer> {
    rights::demand_bypass(request.context)?;
    links::clear(request.context, table, id, single)?;
    Ok(no_content())
}

/// `POST /accounts(…)/contact_customer_accounts/$ref`.
pub(crate) fn link<'s>(request: &Request<'_, 's>, parent: Parent<'s>) -> Outcome<Answer> {
    let context = request.context;
    rights::demand_bypass(context)?;
    read::must_exist(context, parent.table, parent.id)?;
    let address = named(parent.table, &request.operation.body)?;
    let (_, child) =
        reference::resolve_reference(context, &address, Some(parent.collection.target))?;
    links::attach(context, parent, child)?;
    Ok(no_content())
}

/// `DELETE /accounts(…)/contact_customer_accounts(…)/$ref`.
pub(crate) fn unlink<'s>(
    request: &Request<'_, 's>,
    parent: Parent<'s>,
    id: Uuid,
) -> Outcome<Answer> {
    rights::demand_bypass(request.context)?;
    read::must_exist(request.context, parent.table, parent.id)?;
    links::detach(request.context, parent, id)?;
    Ok(no_content())
}

/// `DELETE /accounts(…)/contact_customer_accounts/$ref?$id=…`.
pub(crate) fn unlink_named<'s>(request: &Request<'_, 's>, parent: Parent<'s>) -> Outcome<Answer> {
    let address = request.options.text("$id").ok_or_else(|| {
        Fault::syntax("To unlink a row of a collection, name it: …/$ref?$id=<its address>, or …(<its key>)/$ref.")
    })?;
    let target = parent.collection.target;
    let (_, child) = reference::resolve_reference(request.context, address, Some(target))?;
    unlink(request, parent, child)
}

/// `PUT /emails(…)/email_activity_parties`: the whole list anew.
pub(crate) fn replace_parties<'s>(
    request: &Request<'_, 's>,
    parent: Parent<'s>,
) -> Outcome<Answer> {
    let context = request.context;
    if !parties::are(context.schema, parent.collection) {
        return Err(Fault::method_not_allowed());
    }
    rights::demand_bypass(context)?;
    let mut body = object(parent.table, &request.operation.body)?;
    let list = body.remove("value").unwrap_or(Value::Null);
    if !list.is_array() {
        return Err(fault::node(parent.table, "value", &list, "StartArray"));
    }
    let body = Object::from_iter([(parent.collection.name.clone(), list)]);
    update_from(context, parent.table, parent.id, &body)?;
    Ok(no_content())
}

/// The address in a body of `$ref`.
fn named(table: &Table, body: &[u8]) -> Outcome<String> {
    match object(table, body)?.remove("@odata.id") {
        Some(Value::String(address)) => Ok(address),
        _ => Err(Fault::syntax(
            "The body of a $ref is an object with the member '@odata.id', the address of a row.",
        )),
    }
}

/// The answer to a row that was written: the row itself when it is wanted back.
fn written<'s>(
    request: &Request<'_, 's>,
    table: &'s Table,
    id: Uuid,
    status: StatusCode,
) -> Outcome<Answer> {
    if request.context.returns_representation() {
        return read::representation(request.context, table, id, &request.options, status);
    }
    Ok(no_content_for(request.context, table, id))
}

/// Refuses a row that is not there, or is of another version than the client saw.
fn demand_match(context: &Context<'_>, table: &Table, id: Uuid) -> Outcome<()> {
    let Some(wanted) = context.header("if-match") else {
        return Ok(());
    };
    if !records::exists(context.db, table, id)? {
        return Err(Fault::no_row(&table.name, id));
    }
    if wanted.trim() == "*" {
        return Ok(());
    }
    if !table.optimistic_concurrency || table.column("versionnumber").is_none() {
        let text = format!(
            "Optimistic concurrency isn't enabled for entity type {}.",
            table.name
        );
        return Err(Fault::new(StatusCode::BAD_REQUEST, "0x8006088d", text));
    }
    let version = records::version(context.db, table, id)?
        .unwrap_or_default()
        .to_string();
    let same = |etag: &str| etag.trim().trim_start_matches("W/").trim_matches('"') == version;
    if wanted.split(',').any(same) {
        Ok(())
    } else {
        Err(Fault::version_mismatch())
    }
}

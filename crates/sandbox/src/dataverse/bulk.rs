//! Bulk messages: many rows of one table in one request, all or nothing.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::dataverse::answer::{Answer, no_content};
use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::functions::{Call, Subject, typed};
use crate::dataverse::odata::{Aliases, segments};
use crate::dataverse::schema::Table;
use crate::dataverse::write::{Key, create_from, update_from, upsert_from};

type Object = Map<String, Value>;

/// `POST /accounts/Microsoft.Dynamics.CRM.CreateMultiple`.
pub(crate) fn create_multiple(call: &Call<'_, '_>) -> Outcome<Answer> {
    let mut ids = Vec::new();
    each(call, |table, target| {
        ids.push(create_from(call.context(), table, target, None)?);
        Ok(())
    })?;
    Ok(call.answer("CreateMultipleResponse", json!({"Ids": ids})))
}

/// `POST /accounts/Microsoft.Dynamics.CRM.UpdateMultiple`.
pub(crate) fn update_multiple(call: &Call<'_, '_>) -> Outcome<Answer> {
    each(call, |table, target| {
        let key = key(call, table, target)?.ok_or_else(|| no_key(table))?;
        let id = key.existing(call.context(), table)?;
        update_from(call.context(), table, id, &without_key(table, target))
    })?;
    Ok(no_content())
}

/// `POST /accounts/Microsoft.Dynamics.CRM.UpsertMultiple`.
pub(crate) fn upsert_multiple(call: &Call<'_, '_>) -> Outcome<Answer> {
    each(call, |table, target| {
        let context = call.context();
        match key(call, table, target)? {
            Some(key) => upsert_from(context, table, key, &without_key(table, target)).map(|_| ()),
            None => create_from(context, table, target, None).map(|_| ()),
        }
    })?;
    Ok(no_content())
}

/// Only elastic tables have it, and there are none here.
pub(crate) fn delete_multiple(_: &Call<'_, '_>) -> Outcome<Answer> {
    let text = "DeleteMultiple has not yet been implemented.";
    Err(Fault::new(StatusCode::NOT_IMPLEMENTED, "0x80040219", text))
}

/// Does something with every target. The first that fails ends it, and the message says which.
fn each<'s>(
    call: &Call<'_, 's>,
    mut work: impl FnMut(&'s Table, &Object) -> Outcome<()>,
) -> Outcome<()> {
    let Subject::Set(table) = call.subject else {
        return Err(Fault::argument("The operation is called on an entity set."));
    };
    let targets = call.arguments().list("Targets")?;
    if targets.is_empty() {
        return Err(Fault::argument("The collection 'Targets' holds no row."));
    }
    for (index, target) in targets.iter().enumerate() {
        let done = target_of(call, table, target).and_then(|target| work(table, target));
        done.map_err(|fault| Fault {
            message: format!("{} (Targets[{index}])", fault.message),
            ..fault
        })?;
    }
    Ok(())
}

/// A target says of which table it is, and it is of this one.
fn target_of<'t>(call: &Call<'_, '_>, table: &Table, target: &'t Value) -> Outcome<&'t Object> {
    let target = target
        .as_object()
        .ok_or_else(|| Fault::payload(table, "A target is an object."))?;
    let named = typed(call.context(), target)?;
    match named {
        Some(named) if named.name == table.name => Ok(target),
        Some(named) => Err(Fault::payload(
            table,
            format!(
                "All targets must be of the type 'Microsoft.Dynamics.CRM.{}'; one is of the type 'Microsoft.Dynamics.CRM.{}'.",
                table.name, named.name
            ),
        )),
        None => Err(Fault::payload(
            table,
            format!(
                "The annotation '@odata.type' is missing; each target has it, with the value 'Microsoft.Dynamics.CRM.{}'.",
                table.name
            ),
        )),
    }
}

/// The key that a target brings: its address, its identifier, or none.
fn key(call: &Call<'_, '_>, table: &Table, target: &Object) -> Outcome<Option<Key>> {
    if let Some(address) = target.get("@odata.id").and_then(Value::as_str) {
        return of_address(call, table, address).map(Some);
    }
    let Some(id) = target.get(&table.key).filter(|id| !id.is_null()) else {
        return Ok(None);
    };
    let id = id
        .as_str()
        .and_then(|text| text.trim_matches(['{', '}']).parse::<Uuid>().ok());
    let id = id.ok_or_else(|| {
        Fault::payload(
            table,
            format!("The value of '{}' is no identifier.", table.key),
        )
    })?;
    Ok(Some(Key::Id(id)))
}

/// `accounts(accountnumber='A1')`, whole or relative; the row need not be there.
fn of_address(call: &Call<'_, '_>, table: &Table, address: &str) -> Outcome<Key> {
    let behind = address
        .split_once("/api/data/")
        .and_then(|(_, rest)| rest.split_once('/'));
    let path = behind.map_or(address.trim_start_matches('/'), |(_, path)| path);
    let segments = segments(path)?;
    match segments.as_slice() {
        [segment] if segment.name == table.set => {
            Key::of(call.context(), table, segment.key(&Aliases::default())?)
        }
        _ => Err(Fault::payload(
            table,
            format!(
                "The value '{address}' of '@odata.id' is no address of a row of '{}'.",
                table.set
            ),
        )),
    }
}

fn no_key(table: &Table) -> Fault {
    Fault::payload(
        table,
        format!("The key '{}' is missing, and so is '@odata.id'.", table.key),
    )
}

fn without_key(table: &Table, target: &Object) -> Object {
    target
        .iter()
        .filter(|(name, _)| **name != table.key)
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

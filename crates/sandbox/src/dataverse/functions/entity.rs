//! Rows that functions and actions are told of: by address, or as an object with a type and a key.

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::dataverse::context::Context;
use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::schema::Table;
use crate::dataverse::write::resolve_reference;

/// The row of an address: `accounts(…)`, with a slash in front, or whole.
pub(super) fn at<'s>(context: &Context<'s>, address: &str) -> Outcome<(&'s Table, Uuid)> {
    let (table, id) = resolve_reference(context, address, None)?;
    Ok((context.schema.table(table), id))
}

/// The row that an object means; its table may be known from elsewhere.
pub(super) fn meant<'s>(
    context: &Context<'s>,
    object: &Map<String, Value>,
    known: Option<&'s Table>,
) -> Outcome<(&'s Table, Uuid)> {
    for name in ["@odata.id", "@id"] {
        if let Some(address) = object.get(name).and_then(Value::as_str) {
            return at(context, address);
        }
    }
    let table = typed(context, object)?
        .or(known)
        .or_else(|| keyed(context, object));
    let table = table.ok_or_else(|| {
        Fault::syntax("An object that means a row has the annotation '@odata.type', such as 'Microsoft.Dynamics.CRM.account'.")
    })?;
    let id = object
        .get(&table.key)
        .and_then(Value::as_str)
        .and_then(|text| text.trim_matches(['{', '}']).parse().ok());
    let id = id.ok_or_else(|| {
        Fault::syntax(format!(
            "The key '{}' of the row of '{}' is missing, or no identifier.",
            table.key, table.name
        ))
    })?;
    Ok((table, id))
}

/// The table that an object's type names.
pub(crate) fn typed<'s>(
    context: &Context<'s>,
    object: &Map<String, Value>,
) -> Outcome<Option<&'s Table>> {
    let Some(text) = object.get("@odata.type").and_then(Value::as_str) else {
        return Ok(None);
    };
    let name = text.trim_start_matches('#');
    let name = name
        .strip_prefix("Microsoft.Dynamics.CRM.")
        .or_else(|| name.strip_prefix("mscrm."))
        .unwrap_or(name);
    let table = context.schema.by_name(name).ok_or_else(|| {
        Fault::syntax(format!(
            "A type named '{text}' could not be resolved by the model. When a model is available, each type name must resolve to a valid type."
        ))
    })?;
    Ok(Some(table))
}

/// The table whose key stands in an object; of several with a key of that name, the one that it is
/// named after.
fn keyed<'s>(context: &Context<'s>, object: &Map<String, Value>) -> Option<&'s Table> {
    let mut found: Vec<&Table> = context
        .schema
        .tables
        .iter()
        .filter(|table| object.contains_key(&table.key))
        .collect();
    if found.len() > 1 {
        found.retain(|table| table.key.strip_suffix("id") == Some(table.name.as_str()));
    }
    found.pop().filter(|_| found.is_empty())
}

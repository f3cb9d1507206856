//! What the writer refuses, in Dataverse's words and codes.

use axum::http::StatusCode;
use serde_json::Value;
use uuid::Uuid;

use crate::dataverse::error::Fault;
use crate::dataverse::schema::{Column, Table};

fn bad(code: &'static str, message: String) -> Fault {
    Fault::new(StatusCode::BAD_REQUEST, code, message)
}

/// Beginning of what OData's own reader says.
const ODATA: &str = "Microsoft.OData.ODataException:";

/// A member that is no property of the table.
pub(super) fn unknown_member(table: &Table, name: &str) -> Fault {
    let name = shortened(name);
    let inner = format!(
        "Microsoft.Crm.CrmException: Invalid property '{name}' was found in entity 'Microsoft.Dynamics.CRM.{}'. \
         ---> {ODATA} Does not support untyped value in non-open type.",
        table.name
    );
    Fault::payload(table, inner)
}

/// `name@odata.bind` where `name` is no navigation property.
pub(super) fn undeclared(table: &Table, name: &str) -> Fault {
    let name = shortened(name);
    let inner = format!(
        "{ODATA} An undeclared property '{name}' which only has property annotations in the payload but no property \
         value was found in the payload. In OData, only declared navigation properties and declared named streams \
         can be represented as properties without values."
    );
    Fault::payload(table, inner)
}

/// An annotation of the whole row must have a name with a period.
pub(super) fn annotation_name(table: &Table, name: &str) -> Fault {
    let name = shortened(name);
    let inner = format!(
        "System.ArgumentException: '{name}' is an invalid instance annotation name. An instance annotation name must \
         contain a period that is not at the start or end of the name."
    );
    Fault::payload(table, inner)
}

/// A body of another type than the table's.
pub(super) fn other_type(table: &Table, value: &Value) -> Fault {
    let shown = value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned);
    let inner = format!(
        "{ODATA} A resource with type '{}' was found, but it is not assignable to the expected type \
         'Microsoft.Dynamics.CRM.{}'.",
        shortened(shown.trim_start_matches('#')),
        table.name
    );
    Fault::payload(table, inner)
}

pub(super) fn literal(table: &Table, value: &Value, edm: &str) -> Fault {
    let shown = value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned);
    let inner = format!(
        "{ODATA} Cannot convert the literal '{}' to the expected type '{edm}'.",
        shortened(&shown)
    );
    Fault::payload(table, inner)
}

/// A decimal as text, or the other way round.
pub(super) fn compatibility(table: &Table, edm: &str) -> Fault {
    let inner = format!(
        "{ODATA} Cannot convert a value to target type '{edm}' because of conflict between input format string/number \
         and parameter 'IEEE754Compatible' false/true."
    );
    Fault::payload(table, inner)
}

/// Something of another shape than a property takes.
pub(super) fn node(table: &Table, name: &str, value: &Value, expected: &str) -> Fault {
    let found = match value {
        Value::Object(_) => "StartObject",
        Value::Array(_) => "StartArray",
        _ => "PrimitiveValue",
    };
    let inner = format!(
        "{ODATA} A '{found}' node was found when trying to read the value of the property '{name}'; however, a \
         '{expected}' node was expected."
    );
    Fault::payload(table, inner)
}

/// A lookup written by its value.
pub(super) fn lookup_value() -> Fault {
    Fault::syntax(
        "CRM do not support direct update of Entity Reference properties, Use Navigation properties instead.",
    )
}

pub(super) fn too_long(table: &Table, column: &Column, max: usize) -> Fault {
    let text = format!(
        "A validation error occurred.  The length of the '{}' attribute of the '{}' entity exceeded the maximum \
         allowed length of '{max}'.",
        column.name, table.name
    );
    bad("0x80044331", text)
}

pub(super) fn choice(table: &Table, column: &Column, value: i64, accepted: &[i64]) -> Fault {
    let accepted: Vec<String> = accepted.iter().map(i64::to_string).collect();
    let text = format!(
        "A validation error occurred. The value {value} of '{}' on record of type '{}' is outside the valid range. \
         Accepted Values: {}",
        column.name,
        table.name,
        accepted.join(",")
    );
    bad("0x8004431a", text)
}

pub(super) fn whole_range(table: &Table, column: &Column) -> Fault {
    bad("0x8004432f", range(table, column))
}

pub(super) fn decimal_range(table: &Table, column: &Column) -> Fault {
    bad("0x80044330", range(table, column))
}

fn range(table: &Table, column: &Column) -> String {
    format!(
        "A validation error occurred.  The value of '{}' on record of type '{}' is outside the valid range.",
        column.name, table.name
    )
}

/// SQL Server's calendar begins in 1753.
pub(super) fn too_early(moment: &str) -> Fault {
    let text = format!(
        "Date is less than the minimum value supported by CrmDateTime. Actual value: {moment}, Minimum value \
         supported: 01/01/1753 00:00:00"
    );
    bad("0x80040239", text)
}

pub(super) fn status(table: &Table, status: i64, state: &str, id: Uuid) -> Fault {
    let text = format!(
        "{status} is not a valid status code for state code {}State.{state} on {} with Id {id}.",
        table.schema_name, table.name
    );
    bad("0x80048408", text)
}

pub(super) fn missing(column: &Column) -> Fault {
    Fault::argument(format!("Attribute '{}' cannot be NULL.", column.name))
}

/// A table whose rows are not written by themselves.
pub(super) fn not_writable(method: &str, table: &Table) -> Fault {
    let text = format!(
        "The '{method}' method does not support entities of type '{}'.",
        table.name
    );
    bad("0x80040800", text)
}

pub(super) fn associated(table: &Table) -> Fault {
    let text = format!(
        "The {} cannot be deleted because it is associated with another record.",
        table.label
    );
    Fault::new(StatusCode::METHOD_NOT_ALLOWED, "0x80040227", text)
}

/// A text that is small enough for a message.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 200;
    if text.chars().count() <= SHOWN {
        return text.to_owned();
    }
    text.chars().take(SHOWN).chain("…".chars()).collect()
}

//! FetchXML: its own syntax tree, what it means in the schema, and its rows as JSON.

mod aggregate;
mod answer;
mod build;
mod columns;
mod conditions;
mod links;
mod parse;
mod tree;

use axum::http::StatusCode;

use crate::dataverse::error::Fault;
use crate::dataverse::schema::{Column, Table};

pub(crate) use answer::answer;
pub(crate) use parse::parse;

/// A refusal with one of the query builder's codes.
fn refused(code: &'static str, message: impl Into<String>) -> Fault {
    Fault::new(StatusCode::BAD_REQUEST, code, message)
}

const CACHE: &str = "MetadataCacheDetails: ProviderType=Dynamic, StandardCache=True, IsLoadedInStagedContext = False";

fn no_entity(name: &str) -> Fault {
    refused(
        "0x80041102",
        format!(
            "The entity with a name = '{name}' with namemapping = 'Logical' was not found in the MetadataCache. {CACHE}"
        ),
    )
}

fn no_attribute(table: &Table, name: &str) -> Fault {
    refused(
        "0x80041103",
        format!(
            "'{}' entity doesn't contain attribute with Name = '{name}' and NameMapping = 'Logical'. {CACHE}",
            table.name
        ),
    )
}

/// A column of a table that can be read.
fn column_of<'s>(table: &'s Table, name: &str) -> Result<&'s Column, Fault> {
    table.column(name).ok_or_else(|| no_attribute(table, name))
}

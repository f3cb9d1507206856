//! Which row an address means: `/contacts(…)`, the same without the slash, or the whole URL.

use axum::http::StatusCode;
use uuid::Uuid;

use crate::dataverse::context::Context;
use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::odata::{Aliases, Segment, segments};
use crate::dataverse::read;
use crate::dataverse::records;
use crate::dataverse::schema::{Table, TableIndex, TableKind};
use crate::dataverse::write::key::Key;

/// Bytes of an address, as many as a URL in a batch may have.
const ADDRESS_MAX: usize = 64 << 10;

/// The row that an `@odata.id` or a bind leads to. It exists.
///
/// # Errors
/// When the address cannot be read, leads to another table than the expected one, or to no row.
pub(crate) fn resolve_reference(
    context: &Context<'_>,
    text: &str,
    expected: Option<TableIndex>,
) -> Outcome<(TableIndex, Uuid)> {
    resolve_among(context, text, expected.as_slice())
}

/// The same where several tables may be meant; none for any.
pub(super) fn resolve_among(
    context: &Context<'_>,
    text: &str,
    expected: &[TableIndex],
) -> Outcome<(TableIndex, Uuid)> {
    if text.len() > ADDRESS_MAX {
        return Err(unreadable("…"));
    }
    let relative = relative(text)?;
    let segments = segments(relative)?;
    let Some((first, rest)) = segments.split_first() else {
        return Err(unreadable(text));
    };
    let schema = context.schema;
    let table = schema
        .by_set(&first.name)
        .ok_or_else(|| Fault::no_segment(&first.name))?;
    let (table, id) = follow(context, table, row(context, table, first)?, rest)?;
    if !records::exists(context.db, table, id)? {
        return Err(Fault::no_row(&table.name, id));
    }
    let table = concrete(context, table, id)?;
    let index = schema
        .index_of(&table.name)
        .ok_or_else(|| unreadable(text))?;
    let pointer = |index: &TableIndex| schema.table(*index).kind == TableKind::ActivityPointer;
    if expected.is_empty() || expected.contains(&index) {
        return Ok((index, id));
    }
    if table.kind == TableKind::Activity
        && let Some(pointer) = expected.iter().copied().find(pointer)
    {
        return Ok((pointer, id));
    }
    let wanted: Vec<&str> = expected
        .iter()
        .map(|index| schema.table(*index).set.as_str())
        .collect();
    let message = format!(
        "The URI '{text}' is not valid here: it must lead to a row of {}.",
        wanted.join(" or ")
    );
    Err(Fault::new(StatusCode::BAD_REQUEST, "0x80048d19", message))
}

fn row(context: &Context<'_>, table: &Table, segment: &Segment) -> Outcome<Uuid> {
    let key = segment.key(&Aliases::default())?;
    Key::of(context, table, key)?.existing(context, table)
}

/// Goes along lookups, as in `accounts(…)/primarycontactid`.
fn follow<'s>(
    context: &Context<'s>,
    table: &'s Table,
    id: Uuid,
    rest: &[Segment],
) -> Outcome<(&'s Table, Uuid)> {
    let (mut table, mut id) = (table, id);
    for segment in rest {
        let single = table
            .single(&segment.name)
            .ok_or_else(|| Fault::no_segment(&segment.name))?;
        let found = read::followed(context, table, id, single)?;
        (table, id) = found.ok_or_else(|| Fault::no_segment(&segment.name))?;
    }
    Ok((table, id))
}

/// The table that an activity is really of, when it is named as just an activity.
pub(super) fn concrete<'s>(
    context: &Context<'s>,
    table: &'s Table,
    id: Uuid,
) -> Outcome<&'s Table> {
    if table.kind != TableKind::ActivityPointer {
        return Ok(table);
    }
    let sql = "SELECT activitytypecode FROM activitypointer WHERE activityid = ?1";
    let mut statement = context.db.prepare_cached(sql)?;
    let mut rows = statement.query([id.to_string()])?;
    let name: Option<String> = match rows.next()? {
        Some(row) => row.get(0)?,
        None => None,
    };
    Ok(name
        .and_then(|name| context.schema.by_name(&name))
        .unwrap_or(table))
}

/// What stands behind the service's address. Its host and version are not compared: clients write
/// those of the organization, whatever address they reached it at.
fn relative(text: &str) -> Outcome<&str> {
    let text = text.trim();
    if let Some(number) = text.trim_start_matches('/').strip_prefix('$') {
        let name = number.split('/').next().unwrap_or_default();
        return Err(Fault::syntax(format!(
            "Content-ID Reference: '${name}' does not exist in the batch context."
        )));
    }
    if let Some((_, behind)) = text.split_once("/api/data/") {
        return behind
            .split_once('/')
            .map(|(_, rest)| rest)
            .ok_or_else(|| unreadable(text));
    }
    if text.contains("://") {
        return Err(unreadable(text));
    }
    Ok(text.trim_start_matches('/'))
}

fn unreadable(text: &str) -> Fault {
    Fault::syntax(format!(
        "Invalid URI '{text}': it leads to no row. A row's address is like /contacts(…)."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_published_form_of_an_address_is_read() {
        for text in [
            "contacts(1)",
            "/contacts(1)",
            " /contacts(1)",
            "https://contoso.crm.dynamics.com/api/data/v9.0/contacts(1)",
            "/api/data/v9.2/contacts(1)",
            "[Organization URI]/api/data/v8.2/contacts(1)",
        ] {
            assert_eq!(relative(text).expect("an address"), "contacts(1)", "{text}");
        }
        for text in [
            "https://contoso.crm.dynamics.com/contacts(1)",
            "$1",
            "/$1/primarycontactid",
            "/api/data/v9.2",
        ] {
            assert!(relative(text).is_err(), "{text}");
        }
    }
}

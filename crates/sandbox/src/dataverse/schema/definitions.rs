//! Tables, columns, relationships, keys and choices as data, to read: `EntityDefinitions` and its
//! kin.

mod attribute;
mod changes;
mod entity;
mod filter;
mod item;
mod label;
mod option_set;
mod relationship;
mod shape;
mod walk;

use serde_json::{Map, Value, json};

use super::model::Schema;
use super::service_document::DEFINITION_SETS;
use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::odata::{QueryOptions, Segment};
use shape::Shaper;
use walk::{Many, One, Place};

/// Whether the first segment of a path leads to definitions.
pub(crate) fn owns(segment: &str) -> bool {
    segment == changes::NAME || DEFINITION_SETS.iter().any(|(set, _)| *set == segment)
}

/// A read of definitions.
pub(crate) struct DefinitionsRequest<'a> {
    /// The whole path below the version of the API.
    pub(crate) segments: &'a [Segment],
    pub(crate) options: &'a QueryOptions,
    /// Address of the metadata document, with which contexts begin.
    pub(crate) metadata: &'a str,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum DefinitionsAnswer {
    Json(Value),
    /// A raw value or a count.
    Text(String),
    /// There is no value: 204.
    Nothing,
}

/// Options that definitions take; everything comes in one answer.
const OPTIONS: [&str; 4] = ["$select", "$filter", "$expand", "$count"];

/// Answers a read.
///
/// # Errors
/// When the path, or a name in the options, leads to nothing.
pub(crate) fn answer(
    schema: &Schema,
    request: &DefinitionsRequest<'_>,
) -> Outcome<DefinitionsAnswer> {
    let options = request.options;
    if let [segment] = request.segments
        && segment.name == changes::NAME
    {
        let query = changes::query(segment, &options.aliases)?;
        let body = changes::changes(schema, &query, request.metadata)?;
        return Ok(DefinitionsAnswer::Json(body));
    }
    for name in options.names() {
        if name.starts_with('$') && !OPTIONS.contains(&name) && name != "$format" {
            return Err(Fault::syntax(format!(
                "The query parameter {name} is not supported"
            )));
        }
    }
    let context = |fragment: &str| format!("{}#{fragment}", request.metadata);
    match walk::walk(schema, request.segments, &options.aliases)? {
        Place::Many(many) => listed(schema, request, many),
        Place::One(one) => shown(schema, request, &one),
        Place::Count(items, declared) => {
            let items = shaper(schema, request, &declared).kept(items, options)?;
            Ok(DefinitionsAnswer::Text(items.len().to_string()))
        }
        Place::Value(value, fragment) => Ok(single_value(value, &context(&fragment))),
        Place::Text(Value::String(text)) => Ok(DefinitionsAnswer::Text(text)),
        Place::Text(Value::Null) | Place::Nothing => Ok(DefinitionsAnswer::Nothing),
        Place::Text(value) => Ok(DefinitionsAnswer::Text(value.to_string())),
    }
}

fn shaper<'s, 'd>(
    schema: &'s Schema,
    request: &DefinitionsRequest<'d>,
    declared: &'d str,
) -> Shaper<'s, 'd> {
    Shaper {
        schema,
        metadata: request.metadata,
        declared,
    }
}

fn listed(
    schema: &Schema,
    request: &DefinitionsRequest<'_>,
    many: Many<'_>,
) -> Outcome<DefinitionsAnswer> {
    let options = request.options;
    let shaper = shaper(schema, request, &many.declared);
    let items = shaper.kept(many.items, options)?;
    let selected = shaper.selection(options)?;
    let mut body = Map::new();
    let context = format!("{}#{}{selected}", request.metadata, many.context);
    body.insert("@odata.context".to_owned(), json!(context));
    if options.flag("$count")? {
        body.insert("@odata.count".to_owned(), json!(items.len()));
    }
    let values: Outcome<Vec<Value>> = items
        .iter()
        .map(|item| {
            let inside = format!("{}({})", many.context, item.metadata_id(schema));
            shaper.shaped(item, options, &inside).map(Value::Object)
        })
        .collect();
    body.insert("value".to_owned(), Value::Array(values?));
    Ok(DefinitionsAnswer::Json(Value::Object(body)))
}

fn shown(
    schema: &Schema,
    request: &DefinitionsRequest<'_>,
    one: &One<'_>,
) -> Outcome<DefinitionsAnswer> {
    let shaper = shaper(schema, request, &one.declared);
    let selected = shaper.selection(request.options)?;
    let shaped = shaper.shaped(&one.item, request.options, &one.inside)?;
    let mut body = Map::new();
    let context = format!("{}#{}{selected}/$entity", request.metadata, one.context);
    body.insert("@odata.context".to_owned(), json!(context));
    body.extend(shaped);
    Ok(DefinitionsAnswer::Json(Value::Object(body)))
}

/// A property by itself: complex values stand as they are, others as `value`.
fn single_value(value: Value, context: &str) -> DefinitionsAnswer {
    let mut body = Map::new();
    body.insert("@odata.context".to_owned(), json!(context));
    match value {
        Value::Null => return DefinitionsAnswer::Nothing,
        Value::Object(members) => body.extend(members),
        other => {
            body.insert("value".to_owned(), other);
        }
    }
    DefinitionsAnswer::Json(Value::Object(body))
}

#[cfg(test)]
mod tests;

//! Follows a path through the definitions.

use axum::http::StatusCode;
use serde_json::Value;
use uuid::Uuid;

use super::super::model::Schema;
use super::super::vocabulary::{bare, vocabulary};
use super::item::{Item, Related};
use super::option_set::Choices;
use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::odata::{Aliases, Expression, Literal, Segment};

/// Several definitions of one type or of types that derive from it.
pub(super) struct Many<'a> {
    pub(super) declared: String,
    pub(super) items: Vec<Item<'a>>,
    /// Fragment of the context, without what is selected.
    pub(super) context: String,
}

pub(super) struct One<'a> {
    pub(super) declared: String,
    pub(super) item: Item<'a>,
    pub(super) context: String,
    /// The context of what it leads to begins so.
    pub(super) inside: String,
}

/// Where a path leads.
pub(super) enum Place<'a> {
    Many(Many<'a>),
    One(One<'a>),
    /// How many there are of a type.
    Count(Vec<Item<'a>>, String),
    /// A property, with its context.
    Value(Value, String),
    /// A property by itself.
    Text(Value),
    /// A navigation property that leads nowhere.
    Nothing,
}

pub(super) fn walk<'a>(
    schema: &'a Schema,
    segments: &[Segment],
    aliases: &Aliases,
) -> Outcome<Place<'a>> {
    let Some((first, rest)) = segments.split_first() else {
        return Err(Fault::no_segment(""));
    };
    let mut place = keyed(schema, root(schema, first)?, first, aliases)?;
    for segment in rest {
        place = match place {
            Place::Many(many) => in_many(schema, many, segment, aliases)?,
            Place::One(one) => in_one(schema, one, segment, aliases)?,
            Place::Value(value, context) => in_value(value, &context, segment)?,
            _ => return Err(Fault::no_segment(&segment.name)),
        };
    }
    Ok(place)
}

fn root<'a>(schema: &'a Schema, segment: &Segment) -> Outcome<Many<'a>> {
    let (declared, items) = match segment.name.as_str() {
        "EntityDefinitions" => {
            let tables = schema.tables.iter().enumerate();
            let tables = tables.map(|(index, table)| Item::Entity(index, table));
            ("EntityMetadata", tables.collect())
        }
        "RelationshipDefinitions" => {
            let one_to_many = schema.relationships.iter().map(Item::OneToMany);
            let many_to_many = schema.many_to_many.iter().map(Item::ManyToMany);
            (
                "RelationshipMetadataBase",
                one_to_many.chain(many_to_many).collect(),
            )
        }
        "GlobalOptionSetDefinitions" => {
            let sets = schema.option_sets.iter();
            let sets = sets.map(|set| Item::OptionSet(Choices::Global(set)));
            ("OptionSetMetadataBase", sets.collect())
        }
        other => return Err(Fault::no_segment(other)),
    };
    Ok(Many {
        declared: declared.to_owned(),
        items,
        context: segment.name.clone(),
    })
}

/// The one that a key names, when there is a key.
fn keyed<'a>(
    schema: &'a Schema,
    many: Many<'a>,
    segment: &Segment,
    aliases: &Aliases,
) -> Outcome<Place<'a>> {
    if segment.inside.is_none() {
        return Ok(Place::Many(many));
    }
    let parts = segment.key(aliases)?;
    let [part] = parts.as_slice() else {
        return Err(Fault::syntax("A definition has a key of one part."));
    };
    let property = part.name.as_deref().unwrap_or("MetadataId");
    let (found, written) = match (&part.value, property) {
        (Expression::Literal(Literal::Guid(id)), "MetadataId") => {
            let same = |item: &&Item<'a>| item.metadata_id(schema) == *id;
            (many.items.iter().find(same), id.to_string())
        }
        (Expression::Literal(Literal::Text(text)), "MetadataId") => {
            let id = text.parse::<Uuid>().map_err(|_| {
                Fault::syntax(format!(
                    "The key value '{text}' is not valid: it must be a GUID."
                ))
            })?;
            let same = |item: &&Item<'a>| item.metadata_id(schema) == id;
            (many.items.iter().find(same), id.to_string())
        }
        (Expression::Literal(Literal::Text(text)), property) => {
            let same = |item: &&Item<'a>| item.is_named(property, text);
            (many.items.iter().find(same), format!("'{text}'"))
        }
        _ => {
            return Err(Fault::syntax(format!(
                "The key value of '{}' is not valid: give LogicalName='…', SchemaName='…', Name='…' or a GUID.",
                segment.name
            )));
        }
    };
    let item = found
        .cloned()
        .ok_or_else(|| missing(&many.declared, &written))?;
    let inside = format!("{}({written})", many.context);
    Ok(Place::One(One {
        declared: many.declared,
        item,
        context: many.context,
        inside,
    }))
}

/// The platform looks definitions up in a cache, and says so.
fn missing(declared: &str, written: &str) -> Fault {
    let text = match declared {
        "EntityMetadata" => format!(
            "The entity with a name = {written} with namemapping = 'Logical' was not found in the MetadataCache."
        ),
        other => format!("Could not find an item of type {other} with the key {written}."),
    };
    Fault::new(StatusCode::NOT_FOUND, "0x80040217", text)
}

/// The type that a segment casts to, when it is one that the declared type can be.
fn cast(declared: &str, segment: &Segment) -> Outcome<Option<String>> {
    let Some(name) = segment.qualified() else {
        return Ok(None);
    };
    let all = vocabulary();
    if !all.derives(name, declared) && !all.derives(declared, name) {
        return Err(Fault::no_segment(&segment.name));
    }
    Ok(Some(name.to_owned()))
}

fn in_many<'a>(
    schema: &'a Schema,
    many: Many<'a>,
    segment: &Segment,
    aliases: &Aliases,
) -> Outcome<Place<'a>> {
    if segment.name == "$count" {
        return Ok(Place::Count(many.items, many.declared));
    }
    let Some(name) = cast(&many.declared, segment)? else {
        return Err(Fault::no_segment(&segment.name));
    };
    let mut items = many.items;
    items.retain(|item| vocabulary().derives(item.type_name(), &name));
    let context = format!("{}/Microsoft.Dynamics.CRM.{name}", many.context);
    keyed(
        schema,
        Many {
            declared: name,
            items,
            context,
        },
        segment,
        aliases,
    )
}

fn in_one<'a>(
    schema: &'a Schema,
    one: One<'a>,
    segment: &Segment,
    aliases: &Aliases,
) -> Outcome<Place<'a>> {
    if let Some(name) = cast(&one.declared, segment)? {
        if !vocabulary().derives(one.item.type_name(), &name) {
            return Err(missing(&name, &one.item.metadata_id(schema).to_string()));
        }
        let context = format!("{}/Microsoft.Dynamics.CRM.{name}", one.context);
        let inside = format!("{}/Microsoft.Dynamics.CRM.{name}", one.inside);
        return Ok(Place::One(One {
            declared: name,
            item: one.item,
            context,
            inside,
        }));
    }
    let all = vocabulary();
    let context = format!("{}/{}", one.inside, segment.name);
    if let Some(to) = all.navigation(&one.declared, &segment.name) {
        let declared = bare(to).to_owned();
        return match one.item.related(schema, &segment.name) {
            Some(Related::Many(items)) => keyed(
                schema,
                Many {
                    declared,
                    items,
                    context,
                },
                segment,
                aliases,
            ),
            Some(Related::One(Some(item))) => {
                let inside = context.clone();
                Ok(Place::One(One {
                    declared,
                    item,
                    context,
                    inside,
                }))
            }
            Some(Related::One(None)) | None => Ok(Place::Nothing),
        };
    }
    if all.property(&one.declared, &segment.name).is_none() {
        return Err(Fault::no_segment(&segment.name));
    }
    let value = one
        .item
        .members(schema)
        .remove(&segment.name)
        .unwrap_or_default();
    Ok(Place::Value(value, context))
}

fn in_value<'a>(value: Value, context: &str, segment: &Segment) -> Outcome<Place<'a>> {
    if segment.name == "$value" {
        return Ok(Place::Text(value));
    }
    match value {
        Value::Object(mut members) if members.contains_key(&segment.name) => {
            let value = members.remove(&segment.name).unwrap_or_default();
            Ok(Place::Value(value, format!("{context}/{}", segment.name)))
        }
        _ => Err(Fault::no_segment(&segment.name)),
    }
}

//! `RetrieveMetadataChanges`: definitions by a query in JSON, with the members of every type in
//! one answer.

use serde_json::{Map, Value, json};

use super::super::model::Schema;
use super::filter::compared;
use super::item::{Item, Related};
use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::odata::{Aliases, Comparison, Expression, Literal, Segment};

/// Name of the function.
pub(super) const NAME: &str = "RetrieveMetadataChanges";
/// Filters nested deeper than this are an attack, not a query.
const DEPTH_MAX: usize = 20;

/// What is expanded, and the part of the query that says how.
const EXPANDED: [(&str, &str); 5] = [
    ("Attributes", "AttributeQuery"),
    ("Keys", "KeyQuery"),
    ("OneToManyRelationships", "RelationshipQuery"),
    ("ManyToOneRelationships", "RelationshipQuery"),
    ("ManyToManyRelationships", "RelationshipQuery"),
];

/// The query among the arguments of the function.
pub(super) fn query(segment: &Segment, aliases: &Aliases) -> Outcome<Value> {
    let arguments = match segment.inside.as_deref() {
        None | Some("") => Vec::new(),
        Some(inside) => Expression::arguments(inside, aliases)?,
    };
    let given = arguments
        .iter()
        .find(|argument| argument.name.as_deref() == Some("Query"));
    let text = match given.map(|argument| &argument.value) {
        Some(Expression::Literal(Literal::Json(text) | Literal::Text(text))) => text,
        _ => {
            return Err(Fault::argument(format!(
                "{NAME} needs the parameter Query, an EntityQueryExpression in JSON."
            )));
        }
    };
    serde_json::from_str(text)
        .map_err(|error| Fault::syntax(format!("The parameter Query is not JSON: {error}")))
}

/// Answers a query; `metadata` is the address of the metadata document. Everything counts as
/// changed: the sandbox does not change its definitions while it runs.
///
/// # Errors
/// When the query is not one.
pub(super) fn changes(schema: &Schema, query: &Value, metadata: &str) -> Outcome<Value> {
    let tables = schema.tables.iter().enumerate();
    let tables = tables.map(|(index, table)| Item::Entity(index, table));
    let found = queried(schema, tables.collect(), query)?;
    Ok(json!({
        "@odata.context": format!("{metadata}#Microsoft.Dynamics.CRM.RetrieveMetadataChangesResponse"),
        "ServerVersionStamp": "1!01/01/1900 00:00:00",
        "DeletedMetadata": null,
        "EntityMetadata": found,
    }))
}

/// Which members a query wants.
enum Wanted<'q> {
    All,
    Named(Vec<&'q str>),
}

impl<'q> Wanted<'q> {
    fn of(query: &'q Value) -> Self {
        let properties = &query["Properties"];
        if properties["AllProperties"] == true {
            return Self::All;
        }
        let names = properties["PropertyNames"].as_array();
        let names = names.into_iter().flatten().filter_map(Value::as_str);
        Self::Named(names.collect())
    }

    fn holds(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            // These tell what a definition is of, and come in any case.
            Self::Named(names) => {
                names.contains(&name) || ["LogicalName", "MetadataId", "HasChanged"].contains(&name)
            }
        }
    }
}

fn queried(schema: &Schema, items: Vec<Item<'_>>, query: &Value) -> Outcome<Vec<Value>> {
    let wanted = Wanted::of(query);
    let mut found = Vec::new();
    for item in items {
        let mut members = item.members(schema);
        if !holds(&query["Criteria"], &members, 0)? {
            continue;
        }
        members.retain(|name, _| wanted.holds(name));
        let mut shaped = Map::new();
        if !matches!(item, Item::Entity(..)) {
            let name = format!("#Microsoft.Dynamics.CRM.{}", item.type_name());
            shaped.insert("@odata.type".to_owned(), json!(name));
        }
        shaped.extend(members);
        expand(schema, &item, query, &wanted, &mut shaped)?;
        found.push(Value::Object(shaped));
    }
    Ok(found)
}

fn expand(
    schema: &Schema,
    item: &Item<'_>,
    query: &Value,
    wanted: &Wanted<'_>,
    shaped: &mut Map<String, Value>,
) -> Outcome<()> {
    for (property, part) in EXPANDED {
        let related = wanted
            .holds(property)
            .then(|| item.related(schema, property));
        if let Some(Some(Related::Many(items))) = related {
            let all = json!({"Properties": {"AllProperties": true}});
            let inner = query
                .get(part)
                .filter(|inner| inner.is_object())
                .unwrap_or(&all);
            let items = queried(schema, items, inner)?;
            shaped.insert(property.to_owned(), Value::Array(items));
        }
    }
    for property in ["OptionSet", "GlobalOptionSet"] {
        let related = wanted
            .holds(property)
            .then(|| item.related(schema, property));
        if let Some(Some(Related::One(Some(choices)))) = related {
            let members = Value::Object(choices.members(schema));
            shaped.insert(property.to_owned(), members);
        }
    }
    Ok(())
}

/// Whether a filter holds; nothing at all holds always.
fn holds(filter: &Value, members: &Map<String, Value>, depth: usize) -> Outcome<bool> {
    if depth > DEPTH_MAX {
        return Err(Fault::argument(
            "The filter of the query is nested too deeply.",
        ));
    }
    let either = filter["FilterOperator"] == "Or";
    let mut held = Vec::new();
    for condition in filter["Conditions"].as_array().into_iter().flatten() {
        held.push(condition_holds(condition, members)?);
    }
    for inner in filter["Filters"].as_array().into_iter().flatten() {
        held.push(holds(inner, members, depth + 1)?);
    }
    Ok(held.is_empty()
        || if either {
            held.contains(&true)
        } else {
            !held.contains(&false)
        })
}

fn condition_holds(condition: &Value, members: &Map<String, Value>) -> Outcome<bool> {
    let name = condition["PropertyName"].as_str().unwrap_or_default();
    let own = members.get(name).unwrap_or(&Value::Null);
    // Managed properties are compared by what they hold.
    let own = own.get("Value").unwrap_or(own);
    let given = condition["Value"]
        .get("Value")
        .unwrap_or(&condition["Value"]);
    let same = |given: &Value| compared(own, Comparison::Eq, &read_as(own, given));
    let among = || given.as_array().is_some_and(|all| all.iter().any(&same));
    let operator = condition["ConditionOperator"].as_str().unwrap_or("Equals");
    Ok(match operator {
        "Equals" => same(given),
        "NotEquals" => !same(given),
        "In" => among(),
        "NotIn" => !among(),
        "GreaterThan" => compared(own, Comparison::Gt, &read_as(own, given)),
        "LessThan" => compared(own, Comparison::Lt, &read_as(own, given)),
        other => {
            return Err(Fault::argument(format!(
                "The condition operator '{other}' is not one of Equals, NotEquals, In, NotIn, GreaterThan, LessThan."
            )));
        }
    })
}

/// Values come as text, whatever their type is.
fn read_as(own: &Value, given: &Value) -> Value {
    match (own, given.as_str()) {
        (Value::Bool(_), Some(text)) => text
            .to_lowercase()
            .parse::<bool>()
            .map_or_else(|_| given.clone(), Value::from),
        (Value::Number(_), Some(text)) => text
            .parse::<f64>()
            .map_or_else(|_| given.clone(), Value::from),
        _ => given.clone(),
    }
}

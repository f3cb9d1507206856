//! `BulkDelete`: what fits a query is deleted. In Dataverse a job does it some time later; here it
//! is done before the answer, and the job says that it is done.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::dataverse::answer::Answer;
use crate::dataverse::context::Context;
use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::functions::{Call, platform};
use crate::dataverse::odata::QueryOptions;
use crate::dataverse::read;
use crate::dataverse::records::{self, Cell, Cells};
use crate::dataverse::schema::Table;
use crate::dataverse::security::Access;
use crate::dataverse::write::delete_row;

/// Filters in filters deeper than this are an attack, not a query.
const LEVELS_MAX: usize = 20;

pub(super) fn delete(call: &Call<'_, '_>) -> Outcome<Answer> {
    let context = call.context();
    let name = call.arguments.text("JobName")?;
    for query in call.arguments.list("QuerySet")? {
        let of = query
            .get("EntityName")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let table = context
            .schema
            .by_name(of)
            .ok_or_else(|| platform::no_table(of))?;
        context.demand(Access::Delete, table)?;
        let filter = match query.get("Criteria").filter(|criteria| !criteria.is_null()) {
            Some(criteria) => group(table, criteria, 0)?,
            None => None,
        };
        sweep(context, table, filter.as_deref())?;
    }
    let job = job(context, name)?;
    Ok(call.answer("BulkDeleteResponse", json!({"JobId": job})))
}

/// Deletes page after page. A row that cannot be deleted stays, and the others go.
fn sweep<'s>(context: &Context<'s>, table: &'s Table, filter: Option<&str>) -> Outcome<()> {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("$select", &table.key);
    if let Some(filter) = filter {
        query.append_pair("$filter", filter);
    }
    let options = QueryOptions::parse(&query.finish())?;
    loop {
        let answer = read::many(context, table, None, &options, "")?;
        let page: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
        let rows = page
            .get("value")
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let mut gone = 0_usize;
        for row in rows {
            let id = row
                .get(&table.key)
                .and_then(Value::as_str)
                .and_then(|id| id.parse().ok());
            gone += usize::from(
                id.is_some_and(|id| alone(context, || delete_row(context, table, id)).is_ok()),
            );
        }
        if gone == 0 {
            return Ok(());
        }
    }
}

/// Does something whole or not at all, inside of what is going on.
fn alone(context: &Context<'_>, work: impl FnOnce() -> Outcome<()>) -> Outcome<()> {
    context.db.execute_batch("SAVEPOINT bulk_delete")?;
    let done = work();
    let end = if done.is_ok() {
        "RELEASE bulk_delete"
    } else {
        "ROLLBACK TO bulk_delete; RELEASE bulk_delete"
    };
    context.db.execute_batch(end)?;
    done
}

/// The job, as one that succeeded.
fn job(context: &Context<'_>, name: &str) -> Outcome<Uuid> {
    let id = Uuid::new_v4();
    let Some(table) = context.schema.by_name("asyncoperation") else {
        return Ok(id);
    };
    let now = || Cell::whole(context.now.timestamp());
    let mut cells = Cells::from([
        ("name".to_owned(), Cell::text(name)),
        // A bulk deletion.
        ("operationtype".to_owned(), 13.into()),
        ("statecode".to_owned(), 3.into()),
        ("statuscode".to_owned(), 30.into()),
        ("createdon".to_owned(), now()),
        ("startedon".to_owned(), now()),
        ("completedon".to_owned(), now()),
        (
            "ownerid".to_owned(),
            Cell::row("systemuser", context.caller.id),
        ),
    ]);
    cells.retain(|name, _| table.column(name).is_some());
    cells.insert(table.key.clone(), Cell::text(id.to_string()));
    records::insert(context.db, table, &cells)?;
    Ok(id)
}

// === criteria as a filter ===

fn group(table: &Table, filter: &Value, level: usize) -> Outcome<Option<String>> {
    if level > LEVELS_MAX {
        return Err(Fault::syntax(
            "The filters of the query are nested too deeply.",
        ));
    }
    let word = match filter
        .get("FilterOperator")
        .map(|word| word.as_str().unwrap_or("And"))
    {
        None | Some("And") => " and ",
        Some("Or") => " or ",
        Some(other) => {
            return Err(Fault::argument(format!(
                "The filter operator '{other}' is neither And nor Or."
            )));
        }
    };
    let list = |name: &str| {
        filter
            .get(name)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let mut parts = Vec::new();
    for condition in list("Conditions") {
        parts.push(self::condition(table, &condition)?);
    }
    for inner in list("Filters") {
        parts.extend(group(table, &inner, level + 1)?.map(|inner| format!("({inner})")));
    }
    Ok((!parts.is_empty()).then(|| parts.join(word)))
}

fn condition(table: &Table, condition: &Value) -> Outcome<String> {
    let text = |name: &str| {
        condition
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let (attribute, operator) = (text("AttributeName"), text("Operator"));
    let column = table
        .column(attribute)
        .ok_or_else(|| Fault::no_property(attribute, &table.name))?;
    let property = column.property();
    let given = condition
        .get("Values")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let values: Vec<String> = given.iter().map(literal).collect::<Outcome<_>>()?;
    let one = || {
        values
            .first()
            .cloned()
            .ok_or_else(|| Fault::argument(format!("The operator '{operator}' takes a value.")))
    };
    let compared = |word: &str| Ok(format!("{property} {word} {}", one()?));
    let called = |name: &str| Ok(format!("{name}({property},{})", one()?));
    match operator {
        "Equal" => compared("eq"),
        "NotEqual" => compared("ne"),
        "GreaterThan" => compared("gt"),
        "GreaterEqual" => compared("ge"),
        "LessThan" => compared("lt"),
        "LessEqual" => compared("le"),
        "Null" => Ok(format!("{property} eq null")),
        "NotNull" => Ok(format!("{property} ne null")),
        "Like" | "Contains" => called("contains"),
        "BeginsWith" => called("startswith"),
        "EndsWith" => called("endswith"),
        "In" | "NotIn" => Ok(listed(operator, &property, &given)),
        // Every other operator is a function of the same name.
        other if other.bytes().all(|byte| byte.is_ascii_alphanumeric()) && !other.is_empty() => {
            let values = match values.as_slice() {
                [] => String::new(),
                [one] => format!(",PropertyValue={one}"),
                _ => return Ok(listed(operator, &property, &given)),
            };
            Ok(format!(
                "Microsoft.Dynamics.CRM.{other}(PropertyName='{property}'{values})"
            ))
        }
        other => Err(Fault::argument(format!(
            "The operator '{other}' is not known."
        ))),
    }
}

fn listed(operator: &str, property: &str, given: &[Value]) -> String {
    let texts: Vec<String> = given
        .iter()
        .map(|value| quoted(&plain(bare(value))))
        .collect();
    format!(
        "Microsoft.Dynamics.CRM.{operator}(PropertyName='{property}',PropertyValues=[{}])",
        texts.join(",")
    )
}

/// `{"Value": "…", "Type": "System.Guid"}` as the value alone.
fn bare(value: &Value) -> &Value {
    value.get("Value").unwrap_or(value)
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A value as a literal of OData: by its type, and as a text when that says nothing.
fn literal(value: &Value) -> Outcome<String> {
    let own = bare(value);
    let kind = value
        .get("Type")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let text = plain(own);
    Ok(match (own, kind) {
        (Value::Object(_) | Value::Array(_), _) => {
            return Err(Fault::argument(
                "A value of a condition is a text, a number or a truth value.",
            ));
        }
        (Value::Number(_) | Value::Bool(_) | Value::Null, _) => text,
        (_, "System.Guid") => text
            .parse::<Uuid>()
            .map_err(|_| Fault::argument(format!("'{text}' is no identifier.")))?
            .to_string(),
        (_, "System.Int32" | "System.Int64" | "System.Decimal" | "System.Double") => {
            text.parse::<f64>()
                .map_err(|_| Fault::argument(format!("'{text}' is no number.")))?;
            text
        }
        (_, "System.Boolean") => text.to_ascii_lowercase(),
        (_, "System.DateTime") => text,
        _ => quoted(&text),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataverse::schema::Schema;

    fn filter(criteria: &Value) -> Outcome<Option<String>> {
        let schema = Schema::standard();
        group(schema.by_name("contact").expect("a table"), criteria, 0)
    }

    #[test]
    fn criteria_become_filters() {
        let id = "3adbf27c-8efb-e511-80d2-00155db07c77";
        let criteria = json!({"FilterOperator": "Or", "Conditions": [
            {"AttributeName": "contactid", "Operator": "In", "Values": [{"Value": id, "Type": "System.Guid"}]},
            {"AttributeName": "lastname", "Operator": "Equal", "Values": [{"Value": "O'Brien", "Type": "System.String"}]},
        ], "Filters": [{"Conditions": [{"AttributeName": "parentcustomerid", "Operator": "Null", "Values": []}]}]});
        let wanted = format!(
            "Microsoft.Dynamics.CRM.In(PropertyName='contactid',PropertyValues=['{id}']) or lastname eq 'O''Brien' or (_parentcustomerid_value eq null)"
        );
        assert_eq!(filter(&criteria).ok(), Some(Some(wanted)));
        assert_eq!(filter(&json!({})).ok(), Some(None));
    }

    #[test]
    fn criteria_that_mean_nothing_are_refused() {
        let one = |attribute: &str, operator: &str| json!({"Conditions": [{"AttributeName": attribute, "Operator": operator, "Values": []}]});
        assert!(filter(&one("nothing", "Null")).is_err());
        assert!(filter(&one("lastname", "Equal")).is_err());
        assert!(filter(&one("lastname", "x) or (1")).is_err());
        assert!(filter(&json!({"FilterOperator": "Nor"})).is_err());
        let mut deep = json!({});
        for _ in 0..50 {
            deep = json!({"Filters": [deep]});
        }
        assert!(filter(&deep).is_err());
    }
}

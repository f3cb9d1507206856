//! `$filter` over values that are in memory.

use std::cmp::Ordering;

use serde_json::Value;

use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::odata::{Comparison, Expression, Literal};

/// Whether a condition holds for something whose values a function gives by their names.
pub(super) fn holds(
    condition: &Expression,
    value: &dyn Fn(&str) -> Outcome<Value>,
) -> Outcome<bool> {
    match condition {
        Expression::And(parts) => parts
            .iter()
            .try_fold(true, |all, part| Ok(holds(part, value)? && all)),
        Expression::Or(parts) => parts
            .iter()
            .try_fold(false, |any, part| Ok(holds(part, value)? || any)),
        Expression::Not(inner) => Ok(!holds(inner, value)?),
        Expression::Compare(left, comparison, right) => Ok(compare(
            &operand(left, value)?,
            *comparison,
            &operand(right, value)?,
        )),
        Expression::Call(name, arguments) => {
            let mut texts = Vec::new();
            for argument in arguments {
                texts.push(
                    operand(&argument.value, value)?
                        .as_str()
                        .unwrap_or_default()
                        .to_lowercase(),
                );
            }
            match (name.as_str(), texts.as_slice()) {
                ("contains", [text, part]) => Ok(text.contains(part.as_str())),
                ("startswith", [text, part]) => Ok(text.starts_with(part.as_str())),
                ("endswith", [text, part]) => Ok(text.ends_with(part.as_str())),
                _ => Err(Fault::syntax(format!(
                    "An unknown function with name '{name}' was found."
                ))),
            }
        }
        other => match operand(other, value)? {
            Value::Bool(holds) => Ok(holds),
            _ => Err(Fault::syntax(
                "The $filter expression must evaluate to a single boolean value.",
            )),
        },
    }
}

fn operand(expression: &Expression, value: &dyn Fn(&str) -> Outcome<Value>) -> Outcome<Value> {
    Ok(match expression {
        Expression::Path(path) => value(&path.join("/"))?,
        Expression::Literal(literal) => match literal {
            Literal::Null => Value::Null,
            Literal::Boolean(value) => Value::Bool(*value),
            Literal::Whole(value) => Value::from(*value),
            Literal::Decimal(value) => Value::from(*value),
            Literal::Text(text) | Literal::Member(_, text) | Literal::Json(text) => {
                Value::from(text.as_str())
            }
            Literal::Guid(id) => Value::from(id.to_string()),
            Literal::Moment(at) => {
                Value::from(at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true))
            }
            Literal::Date(date) => Value::from(date.to_string()),
        },
        _ => {
            return Err(Fault::syntax(
                "The $filter expression compares properties with literals.",
            ));
        }
    })
}

fn compare(left: &Value, comparison: Comparison, right: &Value) -> bool {
    let order = match (left, right) {
        (Value::String(left), Value::String(right)) => {
            Some(left.to_lowercase().cmp(&right.to_lowercase()))
        }
        (Value::Number(left), Value::Number(right)) => left.as_f64().partial_cmp(&right.as_f64()),
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
        (Value::Null, Value::Null) => Some(Ordering::Equal),
        _ => None,
    };
    match comparison {
        Comparison::Eq => order == Some(Ordering::Equal),
        Comparison::Ne => order != Some(Ordering::Equal),
        Comparison::Gt => order == Some(Ordering::Greater),
        Comparison::Ge => order.is_some_and(Ordering::is_ge),
        Comparison::Lt => order == Some(Ordering::Less),
        Comparison::Le => order.is_some_and(Ordering::is_le),
    }
}

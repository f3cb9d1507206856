//! Filters over definitions: their members are compared in memory.

use std::cmp::Ordering;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::super::vocabulary::{bare, vocabulary};
use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::odata::{Argument, Comparison, Expression, Lambda, Literal, Quantifier};

const FUNCTIONS: [&str; 5] = ["contains", "startswith", "endswith", "tolower", "toupper"];

/// Refuses names that the declared type does not have, and functions that definitions do not take.
pub(super) fn check(expression: &Expression, declared: &str) -> Outcome<()> {
    match expression {
        Expression::And(parts) | Expression::Or(parts) | Expression::List(parts) => {
            parts.iter().try_for_each(|part| check(part, declared))
        }
        Expression::Not(inner) => check(inner, declared),
        Expression::Compare(left, _, right) => {
            check(left, declared)?;
            check(right, declared)
        }
        Expression::Call(name, arguments) => {
            if !FUNCTIONS.contains(&name.as_str()) {
                return Err(Fault::syntax(format!(
                    "An unknown function with name '{name}' was found. Definitions take {}.",
                    FUNCTIONS.join(", ")
                )));
            }
            let expected = if name.starts_with("to") { 1 } else { 2 };
            if arguments.len() != expected {
                return Err(Fault::syntax(format!(
                    "No function signature for the function with name '{name}' matches the specified arguments."
                )));
            }
            arguments
                .iter()
                .try_for_each(|argument| check(&argument.value, declared))
        }
        Expression::Lambda(lambda) => check_lambda(lambda, declared),
        Expression::Path(path) => type_of(path, declared).map(|_| ()),
        Expression::Literal(Literal::Member(kind, member)) => check_member(kind, member),
        Expression::Literal(_) => Ok(()),
    }
}

/// The type of the last part of a path.
fn type_of(path: &[String], declared: &str) -> Outcome<String> {
    let all = vocabulary();
    let mut holder = declared.to_owned();
    for part in path {
        let next = all.property(&holder, part).map(bare).map(str::to_owned);
        holder = next.ok_or_else(|| Fault::no_property(part, &holder))?;
    }
    Ok(holder)
}

fn check_lambda(lambda: &Lambda, declared: &str) -> Outcome<()> {
    let holder = type_of(&lambda.path, declared)?;
    let Some(body) = &lambda.body else {
        return Ok(());
    };
    check(&without_variable(body, &lambda.variable), &holder)
}

fn check_member(kind: &str, member: &str) -> Outcome<()> {
    let kind = bare(kind);
    let found = vocabulary().enums.iter().find(|one| one.name == kind);
    // Flags can be given several at once.
    let known = |one: &str| {
        found.is_some_and(|kind| kind.members.iter().any(|(name, _)| name == one.trim()))
    };
    if member.split(',').all(known) {
        return Ok(());
    }
    Err(Fault::syntax(format!(
        "The string 'Microsoft.Dynamics.CRM.{kind}'{member}'' is not a valid enumeration type constant."
    )))
}

/// Paths of a lambda's body without the variable that they begin with.
fn without_variable(body: &Expression, variable: &str) -> Expression {
    let inner = |part: &Expression| without_variable(part, variable);
    match body {
        Expression::And(parts) => Expression::And(parts.iter().map(inner).collect()),
        Expression::Or(parts) => Expression::Or(parts.iter().map(inner).collect()),
        Expression::List(parts) => Expression::List(parts.iter().map(inner).collect()),
        Expression::Not(part) => Expression::Not(Box::new(inner(part))),
        Expression::Compare(left, how, right) => {
            Expression::Compare(Box::new(inner(left)), *how, Box::new(inner(right)))
        }
        Expression::Call(name, arguments) => {
            let argument = |one: &Argument| Argument {
                name: one.name.clone(),
                value: inner(&one.value),
            };
            Expression::Call(name.clone(), arguments.iter().map(argument).collect())
        }
        Expression::Path(path) if path.first().is_some_and(|first| first == variable) => {
            Expression::Path(path.iter().skip(1).cloned().collect())
        }
        other => other.clone(),
    }
}

/// Whether a filter that was checked holds for a definition.
pub(super) fn holds(expression: &Expression, members: &Map<String, Value>) -> Outcome<bool> {
    match expression {
        Expression::And(parts) => {
            for part in parts {
                if !holds(part, members)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        Expression::Or(parts) => {
            for part in parts {
                if holds(part, members)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Expression::Not(inner) => holds(inner, members).map(|held| !held),
        Expression::Compare(left, how, right) => {
            let (left, right) = (value(left, members)?, value(right, members)?);
            Ok(compared(&left, *how, &right))
        }
        Expression::Lambda(lambda) => quantified(lambda, members),
        other => match value(other, members)? {
            Value::Bool(held) => Ok(held),
            Value::Null => Ok(false),
            _ => Err(Fault::syntax(
                "The $filter expression must evaluate to a single boolean value.",
            )),
        },
    }
}

fn quantified(lambda: &Lambda, members: &Map<String, Value>) -> Outcome<bool> {
    let all = lookup(&lambda.path, members);
    let Value::Array(all) = all else {
        return Ok(lambda.quantifier == Quantifier::All);
    };
    let Some(body) = &lambda.body else {
        return Ok(!all.is_empty());
    };
    let body = without_variable(body, &lambda.variable);
    for one in all {
        let held = match &one {
            Value::Object(members) => holds(&body, members)?,
            // A list of texts: the variable is the text itself, an empty path.
            other => scalar_holds(&body, other)?,
        };
        if held == (lambda.quantifier == Quantifier::Any) {
            return Ok(held);
        }
    }
    Ok(lambda.quantifier == Quantifier::All)
}

/// A body over plain values, whose paths are empty.
fn scalar_holds(body: &Expression, one: &Value) -> Outcome<bool> {
    let mut members = Map::new();
    members.insert(String::new(), one.clone());
    holds(&named(body), &members)
}

/// Empty paths as the name under which [`scalar_holds`] puts the value.
fn named(body: &Expression) -> Expression {
    match body {
        Expression::Compare(left, how, right) => {
            Expression::Compare(Box::new(named(left)), *how, Box::new(named(right)))
        }
        Expression::And(parts) => Expression::And(parts.iter().map(named).collect()),
        Expression::Or(parts) => Expression::Or(parts.iter().map(named).collect()),
        Expression::Not(part) => Expression::Not(Box::new(named(part))),
        Expression::Call(name, arguments) => {
            let argument = |one: &Argument| Argument {
                name: one.name.clone(),
                value: named(&one.value),
            };
            Expression::Call(name.clone(), arguments.iter().map(argument).collect())
        }
        Expression::Path(path) if path.is_empty() => Expression::Path(vec![String::new()]),
        other => other.clone(),
    }
}

fn lookup(path: &[String], members: &Map<String, Value>) -> Value {
    let mut parts = path.iter();
    let mut found = parts.next().and_then(|first| members.get(first));
    for part in parts {
        found = found.and_then(|value| value.get(part));
    }
    found.cloned().unwrap_or_default()
}

fn value(expression: &Expression, members: &Map<String, Value>) -> Outcome<Value> {
    Ok(match expression {
        Expression::Path(path) => lookup(path, members),
        Expression::Literal(literal) => literal_value(literal),
        Expression::Call(name, arguments) => {
            let mut values = Vec::with_capacity(arguments.len());
            for argument in arguments {
                values.push(value(&argument.value, members)?);
            }
            called(name, &values)
        }
        other => Value::Bool(holds(other, members)?),
    })
}

fn literal_value(literal: &Literal) -> Value {
    match literal {
        Literal::Null => Value::Null,
        Literal::Boolean(value) => Value::from(*value),
        Literal::Whole(value) => Value::from(*value),
        Literal::Decimal(value) => Value::from(*value),
        Literal::Text(text) | Literal::Json(text) | Literal::Member(_, text) => {
            Value::from(text.as_str())
        }
        Literal::Guid(id) => Value::from(id.to_string()),
        Literal::Moment(moment) => {
            Value::from(moment.to_rfc3339_opts(chrono::SecondsFormat::Secs, true))
        }
        Literal::Date(date) => Value::from(date.to_string()),
    }
}

fn called(name: &str, values: &[Value]) -> Value {
    let text = |index: usize| values.get(index).and_then(Value::as_str);
    let lower = |index: usize| text(index).map(str::to_lowercase);
    match name {
        "tolower" => text(0)
            .map(|text| Value::from(text.to_lowercase()))
            .unwrap_or_default(),
        "toupper" => text(0)
            .map(|text| Value::from(text.to_uppercase()))
            .unwrap_or_default(),
        _ => {
            let (Some(whole), Some(part)) = (lower(0), lower(1)) else {
                return Value::Null;
            };
            Value::from(match name {
                "startswith" => whole.starts_with(&part),
                "endswith" => whole.ends_with(&part),
                _ => whole.contains(&part),
            })
        }
    }
}

pub(super) fn compared(left: &Value, how: Comparison, right: &Value) -> bool {
    let order = order(left, right);
    match how {
        Comparison::Eq => order == Some(Ordering::Equal),
        Comparison::Ne => order != Some(Ordering::Equal),
        Comparison::Gt => order == Some(Ordering::Greater),
        Comparison::Ge => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        Comparison::Lt => order == Some(Ordering::Less),
        Comparison::Le => matches!(order, Some(Ordering::Less | Ordering::Equal)),
    }
}

fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Null, Value::Null) => Some(Ordering::Equal),
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
        (Value::Number(left), Value::Number(right)) => left.as_f64()?.partial_cmp(&right.as_f64()?),
        (Value::String(left), Value::String(right)) => {
            // Identifiers may be written in capitals.
            match (left.parse::<Uuid>(), right.parse::<Uuid>()) {
                (Ok(left), Ok(right)) => Some(left.cmp(&right)),
                _ => Some(left.cmp(right)),
            }
        }
        _ => None,
    }
}

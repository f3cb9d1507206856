//! Values as people read them: in English (United States), times in UTC.

use std::cell::RefCell;
use std::collections::HashMap;

use chrono::DateTime;
use rusqlite::types::Value;
use uuid::Uuid;

use crate::dataverse::context::Context;
use crate::dataverse::records::{self, Cell};
use crate::dataverse::schema::{Column, Kind};

/// Names of rows that lookups point at: each is looked up once in an answer.
#[derive(Debug, Default)]
pub(crate) struct Titles(RefCell<HashMap<(String, Uuid), Option<String>>>);

impl Titles {
    pub(crate) fn of(&self, context: &Context<'_>, table: &str, id: Uuid) -> Option<String> {
        let key = (table.to_owned(), id);
        if let Some(known) = self.0.borrow().get(&key) {
            return known.clone();
        }
        let found = context
            .schema
            .by_name(table)
            .and_then(|table| records::title(context.db, table, id).ok().flatten());
        self.0.borrow_mut().insert(key, found.clone());
        found
    }
}

/// A cell as text for people; none where the value itself is that text.
pub(crate) fn formatted(
    context: &Context<'_>,
    titles: &Titles,
    column: &Column,
    cell: &Cell,
) -> Option<String> {
    match (&column.kind, cell) {
        (_, Cell::Row(table, id)) => titles.of(context, table, *id),
        (_, Cell::Value(value)) => plain(context, column, value),
    }
}

fn plain(context: &Context<'_>, column: &Column, value: &Value) -> Option<String> {
    match (&column.kind, value) {
        (Kind::Choice { options, .. }, Value::Integer(whole)) => options
            .iter()
            .find(|option| option.value == *whole)
            .map(|option| option.label.clone()),
        (Kind::Choices { options, .. }, Value::Text(text)) => {
            let label = |value: &str| {
                let value: i64 = value.trim().parse().ok()?;
                options
                    .iter()
                    .find(|option| option.value == value)
                    .map(|option| option.label.clone())
            };
            Some(
                text.split(',')
                    .filter_map(label)
                    .collect::<Vec<_>>()
                    .join("; "),
            )
        }
        (Kind::State { options }, Value::Integer(whole)) => options
            .iter()
            .find(|option| option.value == *whole)
            .map(|option| option.label.clone()),
        (Kind::Status { options }, Value::Integer(whole)) => options
            .iter()
            .find(|option| option.value == *whole)
            .map(|option| option.label.clone()),
        (Kind::Boolean { no, yes, .. }, Value::Integer(whole)) => {
            Some(if *whole == 0 { no.clone() } else { yes.clone() })
        }
        (Kind::DateTime, value) => {
            moment(value).map(|at| at.format("%-m/%-d/%Y %-I:%M %p").to_string())
        }
        (Kind::Date, value) => moment(value).map(|at| at.format("%-m/%-d/%Y").to_string()),
        (Kind::Whole { .. } | Kind::Big | Kind::Version, Value::Integer(whole)) => {
            Some(grouped(&whole.to_string()))
        }
        (Kind::Decimal { precision, .. } | Kind::Double { precision, .. }, value) => {
            real(value).map(|real| grouped(&format!("{real:.*}", usize::from(*precision))))
        }
        (Kind::Money { precision, .. }, value) => real(value).map(|real| {
            let text = grouped(&format!("{:.*}", usize::from(*precision), real.abs()));
            if real < 0.0 {
                format!("-${text}")
            } else {
                format!("${text}")
            }
        }),
        (Kind::EntityName, Value::Text(name)) => context
            .schema
            .by_name(name)
            .map(|table| table.label.clone()),
        _ => None,
    }
}

fn real(value: &Value) -> Option<f64> {
    match value {
        Value::Real(real) => Some(*real),
        Value::Integer(whole) => Some(*whole as f64),
        _ => None,
    }
}

fn moment(value: &Value) -> Option<DateTime<chrono::Utc>> {
    match value {
        Value::Integer(seconds) => DateTime::from_timestamp(*seconds, 0),
        _ => None,
    }
}

/// `1234567.80` as `1,234,567.80`.
pub(crate) fn grouped(number: &str) -> String {
    let (sign, digits) = match number.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", number),
    };
    let (whole, fraction) = match digits.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (digits, None),
    };
    let mut text = String::from(sign);
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    if let Some(fraction) = fraction {
        text.push('.');
        text.push_str(fraction);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_stand_in_groups_of_three() {
        assert_eq!(grouped("1234567.80"), "1,234,567.80");
        assert_eq!(grouped("-123"), "-123");
        assert_eq!(grouped("-1234"), "-1,234");
    }
}

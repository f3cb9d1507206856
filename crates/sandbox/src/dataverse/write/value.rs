//! A JSON value as a cell of a column: its type as OData reads it, then its range as the platform
//! checks it.

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use rusqlite::types::Value as Sql;
use serde_json::Value;
use uuid::Uuid;

use crate::dataverse::context::Context;
use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::records::Cell;
use crate::dataverse::schema::{Column, Kind, Table};
use crate::dataverse::write::fault;

/// Reads values for one table.
pub(super) struct Values<'c> {
    table: &'c Table,
    /// Whether the client writes decimals and long numbers as text (OData JSON format 4.0, 3.2).
    numbers_as_text: bool,
}

impl<'c> Values<'c> {
    pub(super) fn of(context: &Context<'_>, table: &'c Table) -> Self {
        let kind = context
            .header("content-type")
            .unwrap_or_default()
            .to_ascii_lowercase()
            .replace(' ', "");
        Self {
            table,
            numbers_as_text: kind.contains("ieee754compatible=true"),
        }
    }

    /// The cell that a value makes. What is not kept, such as an image, makes an empty one.
    pub(super) fn cell(&self, column: &Column, value: &Value) -> Outcome<Cell> {
        if value.is_null() {
            return Ok(Cell::NULL);
        }
        if value.is_object() || value.is_array() {
            return Err(fault::node(
                self.table,
                &column.name,
                value,
                "PrimitiveValue",
            ));
        }
        match &column.kind {
            Kind::Text { max, .. } | Kind::Memo { max } => self.text(column, value, *max),
            Kind::EntityName => self.text(column, value, 128),
            Kind::Choices { options, .. } => {
                let known: Vec<i64> = options.iter().map(|option| option.value).collect();
                self.choices(column, value, &known)
            }
            Kind::Whole { min, max } => {
                let whole = self.int32(value)?;
                if whole < *min || whole > *max {
                    return Err(fault::whole_range(self.table, column));
                }
                Ok(Cell::whole(whole))
            }
            Kind::Choice { .. } | Kind::State { .. } | Kind::Status { .. } => {
                self.choice(column, value)
            }
            Kind::Big | Kind::Version => self.int64(value),
            Kind::Decimal {
                precision,
                min,
                max,
            }
            | Kind::Money {
                precision,
                min,
                max,
            } => {
                let real = self.decimal(value)?;
                self.within(column, real, (*min, *max), *precision)
            }
            Kind::Double {
                precision,
                min,
                max,
            } => {
                let real = self.double(value)?;
                self.within(column, real, (*min, *max), *precision)
            }
            Kind::Boolean { .. } => self.boolean(value),
            Kind::DateTime => self.moment(value),
            Kind::Date => self.date(value),
            Kind::Guid | Kind::Key => {
                let id = self.guid(value)?;
                Ok(Cell::text(id.to_string()))
            }
            Kind::Image => Err(Fault::not_yet("contents of image columns")),
            Kind::Lookup { .. } | Kind::Parties { .. } => {
                Err(fault::unknown_member(self.table, &column.name))
            }
        }
    }

    pub(super) fn guid(&self, value: &Value) -> Outcome<Uuid> {
        let parsed = value.as_str().and_then(|text| text.trim().parse().ok());
        parsed.ok_or_else(|| fault::literal(self.table, value, "Edm.Guid"))
    }

    /// Empty text is kept as no text at all, as the platform does.
    fn text(&self, column: &Column, value: &Value, max: usize) -> Outcome<Cell> {
        let text = value
            .as_str()
            .ok_or_else(|| fault::literal(self.table, value, "Edm.String"))?;
        // A text of so many bytes has at most so many code units: most need not be counted.
        if text.len() > max && text.encode_utf16().count() > max {
            return Err(fault::too_long(self.table, column, max));
        }
        Ok(if text.is_empty() {
            Cell::NULL
        } else {
            Cell::text(text)
        })
    }

    fn choices(&self, column: &Column, value: &Value, known: &[i64]) -> Outcome<Cell> {
        let wrong = || fault::literal(self.table, value, "Edm.String");
        let text = value.as_str().ok_or_else(wrong)?;
        let mut chosen = Vec::new();
        for part in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let one: i64 = part.parse().map_err(|_| wrong())?;
            if !known.contains(&one) {
                return Err(fault::choice(self.table, column, one, known));
            }
            chosen.push(one);
        }
        chosen.sort_unstable();
        chosen.dedup();
        if chosen.is_empty() {
            return Ok(Cell::NULL);
        }
        let chosen: Vec<String> = chosen.iter().map(i64::to_string).collect();
        Ok(Cell::text(chosen.join(",")))
    }

    fn choice(&self, column: &Column, value: &Value) -> Outcome<Cell> {
        let whole = self.int32(value)?;
        let known: Vec<i64> = match &column.kind {
            Kind::Choice { options, .. } => options.iter().map(|option| option.value).collect(),
            Kind::State { options } => options.iter().map(|option| option.value).collect(),
            Kind::Status { options } => options.iter().map(|option| option.value).collect(),
            _ => Vec::new(),
        };
        if known.contains(&whole) {
            Ok(Cell::whole(whole))
        } else {
            Err(fault::choice(self.table, column, whole, &known))
        }
    }

    /// Text that holds a number is taken, as OData's reader does for all but decimals and long ones.
    fn int32(&self, value: &Value) -> Outcome<i64> {
        let whole = match value {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        let whole = whole.and_then(|whole| i32::try_from(whole).ok());
        whole
            .map(i64::from)
            .ok_or_else(|| fault::literal(self.table, value, "Edm.Int32"))
    }

    fn int64(&self, value: &Value) -> Outcome<Cell> {
        let whole = match value {
            Value::Number(number) => number.as_i64(),
            Value::String(text) if self.numbers_as_text => text.trim().parse().ok(),
            Value::String(_) => return Err(fault::compatibility(self.table, "Edm.Int64")),
            _ => None,
        };
        whole
            .map(Cell::whole)
            .ok_or_else(|| fault::literal(self.table, value, "Edm.Int64"))
    }

    fn decimal(&self, value: &Value) -> Outcome<f64> {
        match value {
            Value::Number(number) => number
                .as_f64()
                .ok_or_else(|| fault::literal(self.table, value, "Edm.Decimal")),
            Value::String(text) if self.numbers_as_text => {
                let real = text
                    .trim()
                    .parse()
                    .ok()
                    .filter(|real: &f64| real.is_finite());
                real.ok_or_else(|| fault::literal(self.table, value, "Edm.Decimal"))
            }
            Value::String(_) => Err(fault::compatibility(self.table, "Edm.Decimal")),
            _ => Err(fault::literal(self.table, value, "Edm.Decimal")),
        }
    }

    fn double(&self, value: &Value) -> Outcome<f64> {
        let real = match value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text
                .trim()
                .parse()
                .ok()
                .filter(|real: &f64| real.is_finite()),
            _ => None,
        };
        real.ok_or_else(|| fault::literal(self.table, value, "Edm.Double"))
    }

    fn within(
        &self,
        column: &Column,
        real: f64,
        bounds: (f64, f64),
        precision: u8,
    ) -> Outcome<Cell> {
        if real < bounds.0 || real > bounds.1 {
            return Err(fault::decimal_range(self.table, column));
        }
        Ok(Cell::Value(Sql::Real(rounded(real, precision))))
    }

    fn boolean(&self, value: &Value) -> Outcome<Cell> {
        let truth = match value {
            Value::Bool(truth) => Some(*truth),
            Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
            Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
            _ => None,
        };
        truth
            .map(Cell::from)
            .ok_or_else(|| fault::literal(self.table, value, "Edm.Boolean"))
    }

    /// A moment without its offset from UTC is none: OData insists on it.
    fn moment(&self, value: &Value) -> Outcome<Cell> {
        let moment = value.as_str().and_then(moment);
        let moment =
            moment.ok_or_else(|| fault::literal(self.table, value, "Edm.DateTimeOffset"))?;
        kept(moment)
    }

    fn date(&self, value: &Value) -> Outcome<Cell> {
        let date: Option<NaiveDate> = value
            .as_str()
            .and_then(|text| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok());
        let date = date.ok_or_else(|| fault::literal(self.table, value, "Edm.Date"))?;
        kept(date.and_time(chrono::NaiveTime::MIN).and_utc())
    }
}

/// The first moment that the platform keeps, 1753-01-01.
const FIRST: i64 = -6_847_804_800;

fn kept(moment: DateTime<Utc>) -> Outcome<Cell> {
    if moment.timestamp() < FIRST {
        return Err(fault::too_early(
            &moment.format("%m/%d/%Y %H:%M:%S").to_string(),
        ));
    }
    Ok(Cell::whole(moment.timestamp()))
}

fn moment(text: &str) -> Option<DateTime<Utc>> {
    if let Ok(moment) = DateTime::parse_from_rfc3339(text) {
        return Some(moment.with_timezone(&Utc));
    }
    // Seconds may be left out.
    if let Some(bare) = text.strip_suffix('Z') {
        return NaiveDateTime::parse_from_str(bare, "%Y-%m-%dT%H:%M")
            .ok()
            .map(|moment| moment.and_utc());
    }
    DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M%:z")
        .ok()
        .map(|moment| moment.with_timezone(&Utc))
}

pub(super) fn rounded(real: f64, precision: u8) -> f64 {
    let factor = 10_f64.powi(i32::from(precision));
    let scaled = real * factor;
    // Beyond this a double has no such digits left.
    if scaled.abs() < 9.0e15 {
        scaled.round() / factor
    } else {
        real
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_needs_its_offset_and_not_its_seconds() {
        for text in [
            "2024-03-01T00:30:00Z",
            "2024-03-01T02:30:00+02:00",
            "2024-03-01T00:30Z",
            "2024-02-29T17:30-07:00",
        ] {
            assert_eq!(
                moment(text).map(|at| at.timestamp()),
                Some(1_709_253_000),
                "{text}"
            );
        }
        for text in [
            "2024-03-01",
            "2024-03-01T00:30:00",
            "3/1/2024",
            "",
            "2024-02-30T00:00:00Z",
        ] {
            assert_eq!(moment(text), None, "{text}");
        }
    }

    #[test]
    fn the_calendar_begins_in_1753() {
        let first: DateTime<Utc> = "1753-01-01T00:00:00Z".parse().expect("a moment");
        assert!(kept(first).is_ok());
        assert!(kept(first - chrono::TimeDelta::seconds(1)).is_err());
    }

    #[test]
    fn decimals_are_rounded_to_their_precision() {
        assert_eq!(rounded(1.005_001, 2), 1.01);
        assert_eq!(rounded(-2.345_67, 4), -2.3457);
        assert_eq!(rounded(1e300, 2), 1e300);
    }
}

//! Reading what people wrote – JSON of the control API, TOML of a scenario, forms of the page – with
//! errors that name the field, what is allowed, and what was probably meant.

use std::ops::RangeInclusive;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value};
use uuid::Uuid;

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {detail}")]
pub struct Problem {
    /// Which, with the way to it, such as `step[2].fault.kind`.
    pub field: String,
    /// What is wrong, and what is allowed.
    pub detail: String,
}

impl Problem {
    pub(crate) fn new(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            detail: detail.into(),
        }
    }
}

/// The fields of one object. Whoever reads it asks for every field that there can be, and then
/// calls [`Fields::finish`]: what nobody asked for is unknown.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    map: &'a Map<String, Value>,
    path: String,
    known: Vec<&'static str>,
}

pub(crate) type Read<T> = Result<T, Problem>;

impl<'a> Fields<'a> {
    pub(crate) fn of(value: &'a Value, path: &str) -> Read<Self> {
        let Value::Object(map) = value else {
            let whole = if path.is_empty() { "(the whole)" } else { path };
            return Err(Problem::new(whole, "must be an object with named fields"));
        };
        Ok(Self {
            map,
            path: path.to_owned(),
            known: Vec::new(),
        })
    }

    /// The way to a field.
    pub(crate) fn at(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    pub(crate) fn problem(&self, name: &str, detail: impl Into<String>) -> Problem {
        Problem::new(self.at(name), detail)
    }

    pub(crate) fn value(&mut self, name: &'static str) -> Option<&'a Value> {
        self.known.push(name);
        self.map.get(name).filter(|value| !value.is_null())
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.map.get(name).is_some_and(|value| !value.is_null())
    }

    pub(crate) fn text(&mut self, name: &'static str) -> Read<Option<String>> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(text)) if text.len() <= 2_000 => Ok(Some(text.clone())),
            Some(Value::String(_)) => Err(self.problem(name, "is longer than 2,000 bytes")),
            // A form cannot say whether digits are a number.
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(_) => Err(self.problem(name, "must be a text")),
        }
    }

    pub(crate) fn whole(
        &mut self,
        name: &'static str,
        range: RangeInclusive<u64>,
    ) -> Read<Option<u64>> {
        let Some(value) = self.value(name) else {
            return Ok(None);
        };
        let number = match value {
            Value::String(text) => text.trim().parse().ok(),
            other => other.as_u64(),
        };
        match number.filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => {
                let (least, most) = (range.start(), range.end());
                Err(self.problem(
                    name,
                    format!("must be a whole number from {least} to {most}"),
                ))
            }
        }
    }

    pub(crate) fn number(
        &mut self,
        name: &'static str,
        range: RangeInclusive<f64>,
    ) -> Read<Option<f64>> {
        let Some(value) = self.value(name) else {
            return Ok(None);
        };
        let number = match value {
            Value::String(text) => text.trim().parse().ok(),
            other => other.as_f64(),
        };
        match number.filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => {
                let (least, most) = (range.start(), range.end());
                Err(self.problem(name, format!("must be a number from {least} to {most}")))
            }
        }
    }

    pub(crate) fn flag(&mut self, name: &'static str) -> Read<Option<bool>> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            // A ticked box of a form, and its words.
            Some(Value::String(text)) if matches!(text.as_str(), "true" | "on") => Ok(Some(true)),
            Some(Value::String(text)) if matches!(text.as_str(), "false" | "off") => {
                Ok(Some(false))
            }
            Some(_) => Err(self.problem(name, "must be true or false")),
        }
    }

    pub(crate) fn id(&mut self, name: &'static str) -> Read<Option<Uuid>> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        match text.trim().parse() {
            Ok(id) => Ok(Some(id)),
            Err(_) => Err(self.problem(name, format!("'{text}' is no GUID"))),
        }
    }

    /// One word of several.
    pub(crate) fn choice<T: Clone>(
        &mut self,
        name: &'static str,
        all: &[(&'static str, T)],
    ) -> Read<Option<T>> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        let wanted = text.trim().to_ascii_lowercase().replace('_', "-");
        if let Some((_, found)) = all.iter().find(|(word, _)| *word == wanted) {
            return Ok(Some(found.clone()));
        }
        let words: Vec<&str> = all.iter().map(|(word, _)| *word).collect();
        let meant = meant(&wanted, &words);
        let detail = format!("'{text}' is none of {}{meant}", words.join(", "));
        Err(self.problem(name, detail))
    }

    /// A span of time: seconds as a number, or a text such as `2h30m`, `-90d`, `250ms`.
    pub(crate) fn span(&mut self, name: &'static str) -> Read<Option<TimeDelta>> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        match parse_span(&text) {
            Some(span) => Ok(Some(span)),
            None => {
                let detail = format!(
                    "'{text}' is no span of time; write seconds, or numbers with ms, s, m, h or d, \
                     such as 90d, 2h30m or -15m"
                );
                Err(self.problem(name, detail))
            }
        }
    }

    /// A moment, as RFC 3339 writes it.
    pub(crate) fn moment(&mut self, name: &'static str) -> Read<Option<DateTime<Utc>>> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        match DateTime::parse_from_rfc3339(text.trim()) {
            Ok(moment) => Ok(Some(moment.with_timezone(&Utc))),
            Err(_) => {
                let detail = format!("'{text}' is no moment; write it as 2026-03-31T12:00:00Z");
                Err(self.problem(name, detail))
            }
        }
    }

    /// Refuses what nobody asked for.
    pub(crate) fn finish(self) -> Read<()> {
        let mut names = self.map.keys();
        let Some(unknown) = names.find(|name| !self.known.contains(&name.as_str())) else {
            return Ok(());
        };
        let meant = meant(unknown, &self.known);
        let known = self.known.join(", ");
        Err(self.problem(
            unknown,
            format!("is unknown here{meant} Known are: {known}"),
        ))
    }
}

fn meant(word: &str, known: &[&str]) -> String {
    nearest(word, known).map_or_else(
        || ".".to_owned(),
        |name| format!("; did you mean '{name}'?"),
    )
}

/// The known word that a misspelt one is nearest to, when it is near enough to be meant.
pub(crate) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    let far = (word.chars().count() / 3).max(2);
    known
        .iter()
        .map(|name| {
            let distance = strsim::damerau_levenshtein(&word, &name.to_ascii_lowercase());
            (distance, *name)
        })
        .filter(|(distance, _)| *distance <= far)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// `2h30m`, `-90d`, `250ms`, `1.5h`; bare numbers are seconds.
pub(crate) fn parse_span(text: &str) -> Option<TimeDelta> {
    let text = text.trim();
    let (back, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut milliseconds = 0.0_f64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest
            .find(|character: char| !character.is_ascii_digit() && character != '.')
            .unwrap_or(rest.len());
        let (number, tail) = rest.split_at_checked(digits)?;
        let unit_end = tail
            .find(|character: char| !character.is_ascii_alphabetic())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(unit_end)?;
        let scale = match unit {
            "ms" => 1.0,
            "" | "s" => 1_000.0,
            "m" | "min" => 60_000.0,
            "h" => 3_600_000.0,
            "d" => 86_400_000.0,
            _ => return None,
        };
        milliseconds += number.parse::<f64>().ok()? * scale;
        rest = tail.trim_start();
    }
    // Three centuries are more than anything here can use, and far from any overflow.
    if !(0.0..1.0e13).contains(&milliseconds) {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the range was checked in the line above"
    )]
    let whole = milliseconds.round() as i64;
    TimeDelta::try_milliseconds(if back { -whole } else { whole })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn spans_are_read_in_every_unit() {
        for (text, seconds) in [
            ("90", 90.0),
            ("2h30m", 9_000.0),
            ("-15m", -900.0),
            ("91d", 7_862_400.0),
            ("1.5h", 5_400.0),
            ("250ms", 0.25),
            ("1h 5s", 3_605.0),
        ] {
            let span = parse_span(text).expect(text);
            assert!((span.num_milliseconds() as f64 - seconds * 1_000.0).abs() < 0.5);
        }
        for text in ["", "-", "h", "5x", "1e400", "9999999999d", "--5", "é"] {
            assert_eq!(parse_span(text), None, "{text}");
        }
    }

    #[test]
    fn an_unknown_field_is_named_with_what_was_meant() {
        let value = json!({"retry_aftr": 5});
        let mut fields = Fields::of(&value, "fault").unwrap();
        fields.whole("retry_after", 0..=10).unwrap();
        let problem = fields.finish().unwrap_err();
        assert_eq!(problem.field, "fault.retry_aftr");
        assert!(
            problem.detail.contains("did you mean 'retry_after'?"),
            "{problem}"
        );
    }

    #[test]
    fn numbers_out_of_range_say_the_range() {
        let value = json!({"requests": 0, "share": "2", "when": "befor"});
        let mut fields = Fields::of(&value, "").unwrap();
        let problem = fields.whole("requests", 1..=9).unwrap_err();
        assert!(problem.detail.contains("from 1 to 9"), "{problem}");
        assert!(fields.number("share", 0.0..=1.0).is_err());
        let problem = fields
            .choice("when", &[("before", 1), ("after", 2)])
            .unwrap_err();
        assert!(
            problem.detail.contains("did you mean 'before'?"),
            "{problem}"
        );
    }

    proptest::proptest! {
        #[test]
        fn no_span_does_harm(text in "[-+]?[0-9.]{0,12}[smhd]{0,2}[0-9. ]{0,6}\\PC{0,4}") {
            let _ = parse_span(&text);
        }
    }
}

//! What a written column means: its kind with the bounds that are not written, its format and
//! what a caller may do with it.

use super::model::{Access, Choice, Kind, LookupSort, Schema, StateOption, StatusOption};
use super::raw::{RawColumn, RawKind};

/// Dataverse's own bounds of whole numbers, decimals and money.
const WHOLE: (i64, i64) = (-2_147_483_648, 2_147_483_647);
const DECIMAL: (f64, f64) = (-100_000_000_000.0, 100_000_000_000.0);
const MONEY: (f64, f64) = (-922_337_203_685_477.0, 922_337_203_685_477.0);
/// Lengths that the platform gives when none is asked for.
const TEXT_MAX: usize = 100;
const MEMO_MAX: usize = 2_000;

pub(super) fn kind(
    schema: &Schema,
    raw: &RawColumn,
    siblings: &[RawColumn],
) -> Result<Kind, String> {
    let bounds = |(least, most): (f64, f64)| (raw.min.unwrap_or(least), raw.max.unwrap_or(most));
    Ok(match raw.kind {
        RawKind::Text => Kind::Text {
            max: length(raw, TEXT_MAX)?,
            format: text_format(raw.format.as_deref())?,
        },
        RawKind::Memo => Kind::Memo {
            max: length(raw, MEMO_MAX)?,
        },
        RawKind::Whole => Kind::Whole {
            min: whole(raw.min, WHOLE.0)?,
            max: whole(raw.max, WHOLE.1)?,
        },
        RawKind::Big => Kind::Big,
        RawKind::Decimal => {
            let (min, max) = bounds(DECIMAL);
            Kind::Decimal {
                precision: raw.precision.unwrap_or(2),
                min,
                max,
            }
        }
        RawKind::Double => {
            let (min, max) = bounds(DECIMAL);
            Kind::Double {
                precision: raw.precision.unwrap_or(2),
                min,
                max,
            }
        }
        RawKind::Money => {
            let (min, max) = bounds(MONEY);
            Kind::Money {
                precision: raw.precision.unwrap_or(2),
                min,
                max,
            }
        }
        RawKind::Boolean => Kind::Boolean {
            no: raw.no.clone().unwrap_or_else(|| "No".to_owned()),
            yes: raw.yes.clone().unwrap_or_else(|| "Yes".to_owned()),
            default: raw.on,
        },
        RawKind::Choice | RawKind::Choices => choice(schema, raw)?,
        RawKind::State => Kind::State {
            options: states(raw)?,
        },
        RawKind::Status => Kind::Status {
            options: statuses(raw, siblings)?,
        },
        RawKind::Datetime => Kind::DateTime,
        RawKind::Date => Kind::Date,
        RawKind::Guid => Kind::Guid,
        RawKind::Key => Kind::Key,
        RawKind::Lookup => lookup(schema, raw, LookupSort::Simple)?,
        RawKind::Customer => lookup(schema, raw, LookupSort::Customer)?,
        RawKind::Owner => Kind::Lookup {
            targets: ["systemuser", "team"]
                .iter()
                .filter_map(|name| schema.index_of(name))
                .collect(),
            sort: LookupSort::Owner,
        },
        RawKind::Parties => Kind::Parties {
            mask: raw.mask.ok_or("is a party list without a 'mask'")?,
        },
        RawKind::Version => Kind::Version,
        RawKind::EntityName => Kind::EntityName,
        RawKind::Image => Kind::Image,
    })
}

fn length(raw: &RawColumn, otherwise: usize) -> Result<usize, String> {
    let Some(max) = raw.max else {
        return Ok(otherwise);
    };
    // The platform's longest memo; the comparison also keeps the conversion exact.
    if !(1.0..=1_073_741_823.0).contains(&max) {
        return Err(format!("cannot hold {max} characters"));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range was checked above"
    )]
    Ok(max as usize)
}

fn whole(bound: Option<f64>, otherwise: i64) -> Result<i64, String> {
    let Some(bound) = bound else {
        return Ok(otherwise);
    };
    if !(-9.0e15..=9.0e15).contains(&bound) {
        return Err(format!("has the bound {bound}, which is no whole number"));
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the range was checked above"
    )]
    Ok(bound as i64)
}

pub(super) fn choices(raw: &[(i64, String)]) -> Vec<Choice> {
    raw.iter()
        .map(|(value, label)| Choice {
            value: *value,
            label: label.clone(),
        })
        .collect()
}

fn choice(schema: &Schema, raw: &RawColumn) -> Result<Kind, String> {
    let options = match &raw.global {
        None => choices(&raw.options),
        Some(name) => schema
            .option_sets
            .iter()
            .find(|set| &set.name == name)
            .map(|set| set.options.clone())
            .ok_or_else(|| format!("names the choice '{name}', which is not there"))?,
    };
    let mut values: Vec<i64> = options.iter().map(|option| option.value).collect();
    values.sort_unstable();
    if values.windows(2).any(|pair| pair.first() == pair.last()) {
        return Err("has two options of one value".to_owned());
    }
    if let Some(value) = raw
        .default
        .filter(|value| values.binary_search(value).is_err())
    {
        return Err(format!("defaults to {value}, which is none of its options"));
    }
    let global = raw.global.clone();
    Ok(if raw.kind == RawKind::Choices {
        Kind::Choices { options, global }
    } else {
        Kind::Choice {
            options,
            global,
            default: raw.default,
        }
    })
}

fn states(raw: &RawColumn) -> Result<Vec<StateOption>, String> {
    if raw.states.is_empty() {
        return Err("has no 'states'".to_owned());
    }
    let states = raw.states.iter().map(|(value, label, status)| StateOption {
        value: *value,
        label: label.clone(),
        default_status: *status,
    });
    Ok(states.collect())
}

fn statuses(raw: &RawColumn, siblings: &[RawColumn]) -> Result<Vec<StatusOption>, String> {
    if raw.statuses.is_empty() {
        return Err("has no 'statuses'".to_owned());
    }
    if !siblings.iter().any(|column| column.kind == RawKind::State) {
        return Err("stands in a table without a state".to_owned());
    }
    let statuses = raw
        .statuses
        .iter()
        .map(|(value, label, state)| StatusOption {
            value: *value,
            label: label.clone(),
            state: *state,
        });
    Ok(statuses.collect())
}

fn lookup(schema: &Schema, raw: &RawColumn, sort: LookupSort) -> Result<Kind, String> {
    if raw.to.is_empty() {
        return Err("points at nothing".to_owned());
    }
    let targets = raw.to.keys().map(|target| {
        schema
            .index_of(target)
            .ok_or_else(|| format!("points at '{target}', which is no table"))
    });
    Ok(Kind::Lookup {
        targets: targets.collect::<Result<_, _>>()?,
        sort,
    })
}

/// Letters of what a caller may do: create, update, read.
pub(super) fn access(letters: &str) -> Access {
    Access {
        create: letters.contains('c'),
        update: letters.contains('u'),
        read: letters.contains('r'),
    }
}

fn text_format(written: Option<&str>) -> Result<&'static str, String> {
    Ok(match written.unwrap_or("text") {
        "text" => "Text",
        "email" => "Email",
        "url" => "Url",
        "phone" => "Phone",
        "ticker" => "TickerSymbol",
        "text-area" => "TextArea",
        "json" => "Json",
        "rich-text" => "RichText",
        other => {
            return Err(format!(
                "has the format '{other}', which text does not have"
            ));
        }
    })
}

/// The format of columns that are not text, as their definitions name it.
pub(super) fn format(raw: &RawColumn) -> Result<&'static str, String> {
    Ok(match (raw.kind, raw.format.as_deref()) {
        (RawKind::Text, _) => "",
        (RawKind::Date, None) | (RawKind::Datetime, Some("date-only")) => "DateOnly",
        (RawKind::Datetime, None) => "DateAndTime",
        (RawKind::Whole, None) => "None",
        (RawKind::Whole, Some("duration")) => "Duration",
        (RawKind::Whole, Some("time-zone")) => "TimeZone",
        (RawKind::Whole, Some("language")) => "Language",
        (RawKind::Whole, Some("locale")) => "Locale",
        (RawKind::Memo, Some("json")) => "Json",
        (RawKind::Memo, Some("rich-text")) => "RichText",
        (RawKind::Memo, Some("text")) => "Text",
        (RawKind::Memo, None) => "TextArea",
        (_, None) => "",
        (_, Some(other)) => {
            return Err(format!(
                "has the format '{other}', which its type does not have"
            ));
        }
    })
}

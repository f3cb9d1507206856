//! Numbers that the platform gives, such as a case's.

use chrono::{DateTime, Utc};
use rand::Rng as _;

use crate::dataverse::context::Context;
use crate::dataverse::error::Outcome;
use crate::dataverse::records::{Cell, Cells};
use crate::dataverse::schema::Table;
use crate::dataverse::store;

/// Letters and digits of a random part.
const LETTERS: &[u8; 36] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/// Fills the numbered columns that the body left out.
pub(super) fn give(context: &Context<'_>, table: &Table, cells: &mut Cells) -> Outcome<()> {
    for column in &table.columns {
        let Some(format) = &column.auto_number else {
            continue;
        };
        if cells.contains_key(&column.name) {
            continue;
        }
        let number = store::next_number(context.db, &format!("{}.{}", table.name, column.name))?;
        cells.insert(
            column.name.clone(),
            Cell::text(filled(format, number, context.now)),
        );
    }
    Ok(())
}

/// A format such as `CAS-{SEQNUM:5}-{RANDSTRING:6}` with its parts filled in.
fn filled(format: &str, number: i64, now: DateTime<Utc>) -> String {
    let mut text = String::new();
    let mut rest = format;
    while let Some((before, part)) = rest.split_once('{') {
        text.push_str(before);
        let Some((part, after)) = part.split_once('}') else {
            rest = part;
            continue;
        };
        let (name, detail) = part.split_once(':').unwrap_or((part, ""));
        let width: usize = detail.parse().unwrap_or(1);
        match name {
            "SEQNUM" => text.push_str(&format!("{number:0width$}")),
            "RANDSTRING" => text.push_str(&random(width)),
            "DATETIMEUTC" => text.push_str(&now.format(&pattern(detail)).to_string()),
            _ => {}
        }
        rest = after;
    }
    text.push_str(rest);
    text
}

fn random(width: usize) -> String {
    let mut rng = rand::rng();
    let letters = (0..width.min(6)).filter_map(|_| LETTERS.get(rng.random_range(0..LETTERS.len())));
    letters.map(|letter| char::from(*letter)).collect()
}

/// A pattern of .NET such as `yyyyMMddhhmmss` in our own words.
fn pattern(dotnet: &str) -> String {
    let pairs = [
        ("yyyy", "%Y"),
        ("MM", "%m"),
        ("dd", "%d"),
        ("HH", "%H"),
        ("hh", "%I"),
        ("mm", "%M"),
        ("ss", "%S"),
    ];
    let safe = dotnet.replace('%', "");
    pairs
        .iter()
        .fold(safe, |text, (theirs, ours)| text.replace(theirs, ours))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_filled_part_by_part() {
        let now: DateTime<Utc> = "2024-05-14T10:20:30Z".parse().expect("a moment");
        let number = filled("CAS-{SEQNUM:5}-{RANDSTRING:6}", 1_001, now);
        assert!(
            number.starts_with("CAS-01001-") && number.len() == "CAS-01001-ABCDEF".len(),
            "{number}"
        );
        assert_eq!(
            filled("R{DATETIMEUTC:yyyyMMddHHmm}/{SEQNUM:3}", 7, now),
            "R202405141020/007"
        );
        assert_eq!(filled("plain {", 7, now), "plain ");
    }
}

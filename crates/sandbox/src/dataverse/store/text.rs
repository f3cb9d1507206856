//! How Dataverse compares text: without regard to case and to spaces at the end, but with regard to
//! accents, as SQL Server's usual collation does; and its wildcards.

use std::cmp::Ordering;
use std::sync::Arc;

use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::{Connection, Result};

/// Name of the collation of every text column.
pub(crate) const COLLATION: &str = "CRM";
/// Name of the function behind `contains`, `startswith`, `endswith` and FetchXML's `like`.
pub(crate) const LIKE: &str = "crm_like";

pub(super) fn install(connection: &Connection) -> Result<()> {
    connection.create_collation(COLLATION, compare)?;
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    connection.create_scalar_function(LIKE, 2, flags, like_function)
}

fn like_function(context: &Context<'_>) -> Result<Option<bool>> {
    type Failure = Box<dyn std::error::Error + Send + Sync + 'static>;
    // The pattern is the same for every row of a statement: it is read once.
    let pattern: Arc<Pattern> =
        context.get_or_create_aux(1, |value| Ok::<_, Failure>(Pattern::parse(value.as_str()?)))?;
    let text = match context.get_raw(0) {
        rusqlite::types::ValueRef::Text(text) => String::from_utf8_lossy(text),
        rusqlite::types::ValueRef::Integer(whole) => whole.to_string().into(),
        rusqlite::types::ValueRef::Real(real) => real.to_string().into(),
        _ => return Ok(None),
    };
    Ok(Some(pattern.fits(&text)))
}

fn fold(character: char) -> char {
    // One character for one: a text must not change its length while it is compared.
    let mut lower = character.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(only), None) => only,
        _ => character,
    }
}

/// The collation. Also used wherever a text is compared outside of SQLite.
pub(crate) fn compare(left: &str, right: &str) -> Ordering {
    let (left, right) = (left.trim_end_matches(' '), right.trim_end_matches(' '));
    if left.is_ascii() && right.is_ascii() {
        let left = left.bytes().map(|byte| byte.to_ascii_lowercase());
        return left.cmp(right.bytes().map(|byte| byte.to_ascii_lowercase()));
    }
    left.chars().map(fold).cmp(right.chars().map(fold))
}

/// A pattern: `%` any run, `_` any character, `[a-c]` one of them, `[^a-c]` none of them.
#[derive(Debug)]
pub(crate) struct Pattern {
    pieces: Vec<Piece>,
    /// The text of a pattern that only wants it somewhere, in lower case and ASCII.
    inside: Option<Vec<u8>>,
}

#[derive(Debug, PartialEq)]
enum Piece {
    Run,
    One,
    Character(char),
    Class {
        not: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Pattern {
    pub(crate) fn parse(text: &str) -> Self {
        let characters: Vec<char> = text.chars().map(fold).collect();
        let mut pieces = Vec::new();
        let mut at = 0;
        while let Some(&character) = characters.get(at) {
            at += 1;
            let piece = match character {
                '%' if pieces.last() == Some(&Piece::Run) => continue,
                '%' => Piece::Run,
                '_' => Piece::One,
                '[' => match class(characters.get(at..).unwrap_or_default()) {
                    Some((piece, length)) => {
                        at += length;
                        piece
                    }
                    None => Piece::Character('['),
                },
                other => Piece::Character(other),
            };
            pieces.push(piece);
        }
        let inside = inside(&pieces);
        Self { pieces, inside }
    }

    /// Whether the whole text fits: greedy with one way back, which is enough for `%`.
    pub(crate) fn fits(&self, text: &str) -> bool {
        match &self.inside {
            Some(wanted) if text.is_ascii() => holds(text.as_bytes(), wanted),
            _ => self.fits_slowly(text),
        }
    }

    fn fits_slowly(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().map(fold).collect();
        let pieces = &self.pieces;
        let (mut at, mut piece) = (0, 0);
        let mut back: Option<(usize, usize)> = None;
        while let Some(&character) = text.get(at) {
            let fits = match pieces.get(piece) {
                Some(Piece::Run) => {
                    piece += 1;
                    back = Some((piece, at));
                    continue;
                }
                Some(other) => other.takes(character),
                None => false,
            };
            match (fits, back) {
                (true, _) => {
                    at += 1;
                    piece += 1;
                }
                (false, Some((after, from))) => {
                    back = Some((after, from + 1));
                    piece = after;
                    at = from + 1;
                }
                (false, None) => return false,
            }
        }
        pieces
            .get(piece..)
            .unwrap_or_default()
            .iter()
            .all(|piece| *piece == Piece::Run)
    }
}

/// What `contains` looks for, when it is plain ASCII: most telephone numbers are found so.
fn inside(pieces: &[Piece]) -> Option<Vec<u8>> {
    let [Piece::Run, middle @ .., Piece::Run] = pieces else {
        return None;
    };
    let bytes = middle.iter().map(|piece| match piece {
        Piece::Character(character) if character.is_ascii() => u8::try_from(*character).ok(),
        _ => None,
    });
    bytes.collect()
}

fn holds(text: &[u8], wanted: &[u8]) -> bool {
    let Some((first, rest)) = wanted.split_first() else {
        return true;
    };
    let mut left = text;
    while let Some(at) = left
        .iter()
        .position(|byte| byte.to_ascii_lowercase() == *first)
    {
        left = left.get(at + 1..).unwrap_or_default();
        match left.get(..rest.len()) {
            Some(next) if next.eq_ignore_ascii_case(rest) => return true,
            Some(_) => {}
            None => return false,
        }
    }
    false
}

impl Piece {
    fn takes(&self, character: char) -> bool {
        match self {
            Self::Run | Self::One => true,
            Self::Character(wanted) => *wanted == character,
            Self::Class { not, ranges } => {
                let inside = ranges
                    .iter()
                    .any(|(from, to)| (*from..=*to).contains(&character));
                inside != *not
            }
        }
    }
}

/// What stands between brackets, and how many characters it took.
fn class(rest: &[char]) -> Option<(Piece, usize)> {
    let (not, begin) = (
        rest.first() == Some(&'^'),
        usize::from(rest.first() == Some(&'^')),
    );
    // A closing bracket right at the start stands for itself.
    let end = rest.iter().skip(begin + 1).position(|c| *c == ']')? + begin + 1;
    let inside = rest.get(begin..end)?;
    let mut ranges = Vec::new();
    let mut left = inside;
    while let [first, tail @ ..] = left {
        match tail {
            ['-', last, tail @ ..] => {
                ranges.push((*first, *last));
                left = tail;
            }
            _ => {
                ranges.push((*first, *first));
                left = tail;
            }
        }
    }
    Some((Piece::Class { not, ranges }, end + 1))
}

/// What every text begins with that fits a pattern, as far as that can be told.
pub(crate) fn prefix(pattern: &str) -> &str {
    let end = pattern.find(['%', '_', '[']).unwrap_or(pattern.len());
    pattern.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(pattern: &str, text: &str) -> bool {
        Pattern::parse(pattern).fits(text)
    }

    #[test]
    fn case_and_spaces_at_the_end_do_not_count_and_accents_do() {
        assert_eq!(compare("Ångström ", "åNGSTRÖM"), Ordering::Equal);
        assert_eq!(compare("Zoe", "Zoë"), Ordering::Less);
        assert_eq!(compare("a", " a"), Ordering::Greater);
    }

    #[test]
    fn wildcards_are_those_of_sql_server() {
        assert!(fits("%555%01", "+1 (555) 01") && !fits("%555%02", "+1 (555) 01"));
        assert!(fits("b[ai]t", "BIT") && !fits("b[^ai]t", "bit") && fits("b[^ai]t", "but"));
        assert!(fits("[a-c]_", "bx") && !fits("[a-c]_", "dx"));
        assert!(fits("100[%]", "100%") && !fits("100[%]", "1000"));
        assert!(fits("a[", "a[") && fits("[]]", "]"));
        assert!(fits("%ab%", "xAB") && fits("%aab%", "aaab") && !fits("%ab%", "a"));
        assert!(fits("%é%", "CAFÉ") && fits("%a%", "ÉA") && !fits("%é%", "cafe"));
        assert!(fits("%%", "") && !fits("", "x") && fits("%a%b%", "xxaxxbxx"));
    }

    #[test]
    fn the_beginning_of_a_pattern_reaches_to_its_first_wildcard() {
        assert_eq!(prefix("Smi%th"), "Smi");
        assert_eq!(prefix("[a]b"), "");
        assert_eq!(prefix("plain"), "plain");
    }
}

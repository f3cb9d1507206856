//! `$filter`: the operators and functions of text, numbers, dates and lookups.

use std::cmp::Ordering;

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::Value;
use uuid::Uuid;

use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::old_schema::{self, Kind, Table};
use crate::dataverse::rows::{Row, View, shown};

/// Parentheses deeper than this are an attack, not a query.
const DEPTH_MAX: usize = 100;

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Open,
    Close,
    Comma,
}

#[derive(Debug)]
pub(crate) enum Filter {
    And(Box<Filter>, Box<Filter>),
    Or(Box<Filter>, Box<Filter>),
    Not(Box<Filter>),
    Compare(Operand, Operator, Operand),
    /// `contains`, `startswith`, `endswith`: a pattern with wildcards.
    Like(Operand, Vec<Piece>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Eq,
    Ne,
    Gt,
    Ge,
    Lt,
    Le,
}

#[derive(Debug)]
pub(crate) enum Operand {
    /// Names of navigation properties, and of the column at their end.
    Path(
        Vec<(&'static Table, &'static str)>,
        &'static Table,
        &'static str,
    ),
    Value(Value),
}

/// A piece of a pattern: Dataverse knows SQL Server's wildcards.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Piece {
    Any,
    One,
    Char(char),
    Class {
        not: bool,
        ranges: Vec<(char, char)>,
    },
}

struct Parser<'a> {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    table: &'static Table,
    aliases: &'a [(String, String)],
}

/// Reads a filter over a table.
pub(crate) fn parse(
    text: &str,
    table: &'static Table,
    aliases: &[(String, String)],
) -> Outcome<Filter> {
    let mut parser = Parser {
        tokens: tokens(text)?,
        at: 0,
        depth: 0,
        table,
        aliases,
    };
    let filter = parser.or()?;
    match parser.tokens.get(parser.at) {
        None => Ok(filter),
        Some(_) => Err(parser.syntax()),
    }
}

fn tokens(text: &str) -> Outcome<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            ' ' | '\t' => {}
            '(' => tokens.push(Token::Open),
            ')' => tokens.push(Token::Close),
            ',' => tokens.push(Token::Comma),
            '\'' => {
                let mut value = String::new();
                loop {
                    match characters.next() {
                        Some('\'') if characters.peek() == Some(&'\'') => {
                            characters.next();
                            value.push('\'');
                        }
                        Some('\'') => break,
                        Some(other) => value.push(other),
                        None => {
                            let text = format!(
                                "There is an unterminated string literal at position {} in '{text}'.",
                                text.len()
                            );
                            return Err(Fault::syntax(text));
                        }
                    }
                }
                tokens.push(Token::Text(value));
            }
            other => {
                let mut word = String::from(other);
                while let Some(next) =
                    characters.next_if(|c| !matches!(c, ' ' | '\t' | '(' | ')' | ',' | '\''))
                {
                    word.push(next);
                }
                tokens.push(Token::Word(word));
            }
        }
    }
    Ok(tokens)
}

impl Parser<'_> {
    fn syntax(&self) -> Fault {
        Fault::syntax(format!(
            "Syntax error at position {} in the filter.",
            self.at + 1
        ))
    }

    fn next(&mut self) -> Outcome<Token> {
        let token = self
            .tokens
            .get(self.at)
            .cloned()
            .ok_or_else(|| self.syntax())?;
        self.at += 1;
        Ok(token)
    }

    fn expect(&mut self, wanted: &Token) -> Outcome<()> {
        if self.next()? == *wanted {
            Ok(())
        } else {
            Err(self.syntax())
        }
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = matches!(self.tokens.get(self.at), Some(Token::Word(known)) if known == word);
        self.at += usize::from(found);
        found
    }

    fn or(&mut self) -> Outcome<Filter> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Fault::syntax(
                "The recursion limit has been exceeded while parsing the query.",
            ));
        }
        let mut left = self.and()?;
        while self.take_word("or") {
            left = Filter::Or(Box::new(left), Box::new(self.and()?));
        }
        self.depth -= 1;
        Ok(left)
    }

    fn and(&mut self) -> Outcome<Filter> {
        let mut left = self.not()?;
        while self.take_word("and") {
            left = Filter::And(Box::new(left), Box::new(self.not()?));
        }
        Ok(left)
    }

    fn not(&mut self) -> Outcome<Filter> {
        let mut negations = 0_usize;
        while self.take_word("not") {
            negations += 1;
        }
        let inner = self.comparison()?;
        Ok(if negations % 2 == 1 {
            Filter::Not(Box::new(inner))
        } else {
            inner
        })
    }

    fn comparison(&mut self) -> Outcome<Filter> {
        if self.tokens.get(self.at) == Some(&Token::Open) {
            self.at += 1;
            let inner = self.or()?;
            self.expect(&Token::Close)?;
            return Ok(inner);
        }
        if let Some(Token::Word(word)) = self.tokens.get(self.at).cloned()
            && self.tokens.get(self.at + 1) == Some(&Token::Open)
        {
            return self.function(&word);
        }
        let left = self.operand()?;
        let Token::Word(word) = self.next()? else {
            return Err(self.syntax());
        };
        let operator = match word.as_str() {
            "eq" => Operator::Eq,
            "ne" => Operator::Ne,
            "gt" => Operator::Gt,
            "ge" => Operator::Ge,
            "lt" => Operator::Lt,
            "le" => Operator::Le,
            _ => return Err(self.syntax()),
        };
        let right = self.operand()?;
        check_types(&left, &right)?;
        Ok(Filter::Compare(left, operator, right))
    }

    fn function(&mut self, name: &str) -> Outcome<Filter> {
        if !matches!(name, "contains" | "startswith" | "endswith") {
            if name.starts_with("Microsoft.Dynamics.CRM.") || name.contains('/') {
                return Err(Fault::not_yet(&format!("the filter function {name}")));
            }
            return Err(Fault::syntax(format!(
                "An unknown function with name '{name}' was found."
            )));
        }
        self.at += 2;
        let subject = self.operand()?;
        self.expect(&Token::Comma)?;
        let Operand::Value(Value::String(text)) = self.operand()? else {
            return Err(self.syntax());
        };
        self.expect(&Token::Close)?;
        let mut pieces = pattern(&text);
        if matches!(name, "contains" | "endswith") {
            pieces.insert(0, Piece::Any);
        }
        if matches!(name, "contains" | "startswith") {
            pieces.push(Piece::Any);
        }
        Ok(Filter::Like(subject, pieces))
    }

    fn operand(&mut self) -> Outcome<Operand> {
        match self.next()? {
            Token::Text(text) => Ok(Operand::Value(Value::String(text))),
            Token::Word(word) => self.word(&word),
            _ => Err(self.syntax()),
        }
    }

    fn word(&self, word: &str) -> Outcome<Operand> {
        if let Some(value) = literal(word) {
            return Ok(Operand::Value(value));
        }
        if word.starts_with('@') {
            let found = self.aliases.iter().find(|(name, _)| name == word);
            let text = found
                .map(|(_, value)| value.as_str())
                .ok_or_else(|| self.syntax())?;
            return match tokens(text)?.as_slice() {
                [Token::Text(text)] => Ok(Operand::Value(Value::String(text.clone()))),
                [Token::Word(word)] if !word.starts_with('@') => self.word(word),
                _ => Err(self.syntax()),
            };
        }
        let mut table = self.table;
        let mut way = Vec::new();
        let mut parts = word.split('/').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_some() {
                let (column, target) = table
                    .navigation(part)
                    .ok_or_else(|| Fault::no_property(part, table.name))?;
                way.push((table, column_name(table, column.name)));
                table = old_schema::by_name(target).ok_or_else(|| Fault::no_segment(target))?;
                continue;
            }
            let column = table.lookup_value(part).or_else(|| {
                table
                    .column(part)
                    .filter(|column| !matches!(column.kind, Kind::Lookup(_)))
            });
            let column = column.ok_or_else(|| Fault::no_property(part, table.name))?;
            return Ok(Operand::Path(way, table, column_name(table, column.name)));
        }
        Err(self.syntax())
    }
}

fn column_name(table: &'static Table, name: &str) -> &'static str {
    table.column(name).map_or("", |column| column.name)
}

fn literal(word: &str) -> Option<Value> {
    match word {
        "null" => return Some(Value::Null),
        "true" => return Some(Value::Bool(true)),
        "false" => return Some(Value::Bool(false)),
        _ => {}
    }
    if let Ok(id) = word.parse::<Uuid>() {
        return Some(Value::String(id.to_string()));
    }
    let starts_like_a_number = word.starts_with(|c: char| c.is_ascii_digit() || c == '-');
    if !starts_like_a_number {
        return None;
    }
    if let Ok(whole) = word.parse::<i64>() {
        return Some(whole.into());
    }
    if word.parse::<NaiveDate>().is_ok() || DateTime::parse_from_rfc3339(word).is_ok() {
        return Some(Value::String(word.to_owned()));
    }
    word.parse::<f64>()
        .ok()
        .and_then(serde_json::Number::from_f64)
        .map(Value::Number)
}

/// A text is compared with texts, a number with numbers: Dataverse refuses the rest.
fn check_types(left: &Operand, right: &Operand) -> Outcome<()> {
    let ((Operand::Path(_, table, name), Operand::Value(value))
    | (Operand::Value(value), Operand::Path(_, table, name))) = (left, right)
    else {
        return Ok(());
    };
    let Some(column) = table.column(name) else {
        return Ok(());
    };
    let fits = match (&column.kind, value) {
        (_, Value::Null)
        | (Kind::Text(_), Value::String(_))
        | (Kind::Whole | Kind::Decimal | Kind::Choice(_), Value::Number(_))
        | (Kind::Boolean, Value::Bool(_)) => true,
        (Kind::Guid | Kind::Lookup(_), Value::String(text)) => text.parse::<Uuid>().is_ok(),
        (Kind::DateTime | Kind::Date, Value::String(text)) => moment(text).is_some(),
        _ => false,
    };
    if fits {
        return Ok(());
    }
    let (is, given) = (
        edm(&column.kind),
        match value {
            Value::String(_) => "Edm.String",
            Value::Number(_) => "Edm.Int32",
            _ => "Edm.Boolean",
        },
    );
    Err(Fault::syntax(format!(
        "A binary operator with incompatible types was detected. Found operand types '{is}' and \
         '{given}' for operator kind 'Equal'."
    )))
}

fn edm(kind: &Kind) -> &'static str {
    match kind {
        Kind::Text(_) => "Edm.String",
        Kind::Whole | Kind::Choice(_) => "Edm.Int32",
        Kind::Decimal => "Edm.Decimal",
        Kind::Boolean => "Edm.Boolean",
        Kind::DateTime => "Edm.DateTimeOffset",
        Kind::Date => "Edm.Date",
        Kind::Guid | Kind::Lookup(_) => "Edm.Guid",
    }
}

pub(crate) fn moment(text: &str) -> Option<DateTime<Utc>> {
    if let Ok(date) = text.parse::<NaiveDate>() {
        return Some(date.and_hms_opt(0, 0, 0)?.and_utc());
    }
    DateTime::parse_from_rfc3339(text)
        .ok()
        .map(|moment| moment.with_timezone(&Utc))
}

/// Wildcards: `%` any run, `_` any character, `[a-c]` one of them, `[^a-c]` none of them.
fn pattern(text: &str) -> Vec<Piece> {
    let characters: Vec<char> = text.to_lowercase().chars().collect();
    let mut pieces = Vec::new();
    let mut at = 0;
    while let Some(&character) = characters.get(at) {
        at += 1;
        match character {
            '%' => pieces.push(Piece::Any),
            '_' => pieces.push(Piece::One),
            '[' => match characters[at..].iter().position(|c| *c == ']') {
                Some(length) if length > 0 => {
                    pieces.push(class(&characters[at..at + length]));
                    at += length + 1;
                }
                _ => pieces.push(Piece::Char('[')),
            },
            other => pieces.push(Piece::Char(other)),
        }
    }
    pieces
}

fn class(inside: &[char]) -> Piece {
    let (not, inside) = match inside {
        ['^', rest @ ..] if !rest.is_empty() => (true, rest),
        all => (false, all),
    };
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < inside.len() {
        if let [from, '-', to, ..] = inside[at..] {
            ranges.push((from, to));
            at += 3;
        } else {
            ranges.push((inside[at], inside[at]));
            at += 1;
        }
    }
    Piece::Class { not, ranges }
}

/// Whether a text fits a pattern: greedy with one way back, which is enough for `%`.
fn like(text: &str, pieces: &[Piece]) -> bool {
    let text: Vec<char> = text.to_lowercase().chars().collect();
    let (mut at, mut piece) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while at < text.len() {
        let fits = match pieces.get(piece) {
            Some(Piece::Any) => {
                back = Some((piece + 1, at));
                piece += 1;
                continue;
            }
            Some(Piece::One) => true,
            Some(Piece::Char(wanted)) => *wanted == text[at],
            Some(Piece::Class { not, ranges }) => {
                ranges
                    .iter()
                    .any(|(from, to)| (*from..=*to).contains(&text[at]))
                    != *not
            }
            None => false,
        };
        if fits {
            at += 1;
            piece += 1;
        } else if let Some((after, from)) = back {
            back = Some((after, from + 1));
            piece = after;
            at = from + 1;
        } else {
            return false;
        }
    }
    pieces[piece..].iter().all(|piece| *piece == Piece::Any)
}

impl Filter {
    /// Whether a row passes. What is compared with nothing is unknown, and unknown does not pass;
    /// neither does its opposite.
    pub(crate) fn passes(
        &self,
        view: &View<'_>,
        table: &'static Table,
        id: Uuid,
        row: &Row,
    ) -> bool {
        self.judge(view, table, id, row) == Some(true)
    }

    fn judge(&self, view: &View<'_>, table: &'static Table, id: Uuid, row: &Row) -> Option<bool> {
        let judge = |filter: &Filter| filter.judge(view, table, id, row);
        match self {
            Filter::And(left, right) => match (judge(left), judge(right)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Filter::Or(left, right) => match (judge(left), judge(right)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
            Filter::Not(inner) => judge(inner).map(|passes| !passes),
            Filter::Compare(left, operator, right) => {
                let (left, right) = (
                    left.value(view, table, id, row),
                    right.value(view, table, id, row),
                );
                match (operator, left.is_null(), right.is_null()) {
                    (Operator::Eq, true, true) => Some(true),
                    // `ne` lets rows without a value pass.
                    (Operator::Ne, one, other) if one || other => Some(one != other),
                    (Operator::Eq, one, other) if one != other => Some(false),
                    (_, true, _) | (_, _, true) => None,
                    _ => {
                        let order = compare(&left, &right)?;
                        Some(match operator {
                            Operator::Eq => order.is_eq(),
                            Operator::Ne => order.is_ne(),
                            Operator::Gt => order.is_gt(),
                            Operator::Ge => order.is_ge(),
                            Operator::Lt => order.is_lt(),
                            Operator::Le => order.is_le(),
                        })
                    }
                }
            }
            Filter::Like(subject, pieces) => {
                let value = subject.value(view, table, id, row);
                value.as_str().map(|text| like(text, pieces))
            }
        }
    }
}

impl Operand {
    fn value(&self, view: &View<'_>, table: &'static Table, id: Uuid, row: &Row) -> Value {
        match self {
            Operand::Value(value) => value.clone(),
            Operand::Path(way, _, name) => follow(view, table, id, row, way, name),
        }
    }
}

fn follow(
    view: &View<'_>,
    table: &'static Table,
    id: Uuid,
    row: &Row,
    way: &[(&'static Table, &'static str)],
    name: &str,
) -> Value {
    let Some(((_, lookup), rest)) = way.split_first() else {
        return table
            .column(name)
            .map_or(Value::Null, |column| shown(row, id, table, column));
    };
    match row.lookup(lookup) {
        Some((table, id)) => match view.row(table, id) {
            Some(row) => follow(view, table, id, row, rest, name),
            None => Value::Null,
        },
        None => Value::Null,
    }
}

/// Texts without regard to case, times as moments, numbers by size.
pub(crate) fn compare(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::String(left), Value::String(right)) => match (moment(left), moment(right)) {
            (Some(left), Some(right)) => Some(left.cmp(&right)),
            _ => Some(left.to_lowercase().cmp(&right.to_lowercase())),
        },
        (Value::Number(left), Value::Number(right)) => left.as_f64()?.partial_cmp(&right.as_f64()?),
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
        (Value::Null, Value::Null) => Some(Ordering::Equal),
        // Rows without a value come first.
        (Value::Null, _) => Some(Ordering::Less),
        (_, Value::Null) => Some(Ordering::Greater),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(text: &str, pattern_text: &str) -> bool {
        like(text, &pattern(pattern_text))
    }

    #[test]
    fn wildcards_are_those_of_sql_server() {
        assert!(fits("(425) 555-0100", "%555%0100"));
        assert!(fits("Smith", "sm_th") && fits("Smyth", "SM_TH"));
        assert!(fits("carson", "[c-d]arson") && !fits("barson", "[c-d]arson"));
        assert!(fits("barson", "[^c-d]arson") && !fits("smith", "smit"));
        assert!(fits("a%b", "a[%]b") && !fits("axb", "a[%]b"));
        assert!(fits("", "%") && !fits("", "_"));
    }

    #[test]
    fn mistakes_are_told_and_depth_is_bounded() {
        let contacts = old_schema::by_set("contacts").expect("contacts");
        for wrong in [
            "",
            "(",
            "telephone1 eq",
            "telephone1 like 'x'",
            "nosuch eq 1",
            "telephone1 eq 'x",
            "telephone1 eq 5",
            "contains(telephone1,'x'",
        ] {
            assert!(parse(wrong, contacts, &[]).is_err(), "{wrong}");
        }
        let deep = format!(
            "{}telephone1 eq 'x'{}",
            "(".repeat(50_000),
            ")".repeat(50_000)
        );
        assert!(parse(&deep, contacts, &[]).is_err());
        assert!(
            parse(
                "not (telephone1 eq 'O''Neill') and parentcustomerid_account/name ne null",
                contacts,
                &[]
            )
            .is_ok()
        );
    }
}

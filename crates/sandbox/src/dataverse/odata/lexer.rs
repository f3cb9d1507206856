//! Words, literals and signs of an OData expression, with their places for error messages.

use chrono::{DateTime, NaiveDate, Utc};
use uuid::Uuid;

use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::odata::expression::Literal;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// A name, an operator or a path such as `a/b/c`.
    Word(String),
    Literal(Literal),
    /// A value that stands between braces: JSON.
    Json(String),
    /// `@p1`.
    Alias(String),
    Open,
    Close,
    OpenList,
    CloseList,
    Comma,
    Colon,
    Equals,
}

/// Tokens of one expression: more would make SQLite refuse the statement.
const TOKENS_MAX: usize = 8_000;

/// Characters that end a word.
const STOPS: &[char] = &[
    ' ', '\t', '\r', '\n', '(', ')', '[', ']', ',', '\'', '"', '=', ':', '{', '}',
];

/// Tokens and the place where each begins, in characters.
pub(super) fn tokens(text: &str) -> Outcome<Vec<(usize, Token)>> {
    let mut lexer = Lexer {
        text,
        rest: text,
        at: 0,
        tokens: Vec::new(),
    };
    while let Some(first) = lexer.rest.chars().next() {
        lexer.step(first)?;
        if lexer.tokens.len() > TOKENS_MAX {
            return Err(Fault::syntax(
                "The recursion limit has been exceeded while parsing the query.",
            ));
        }
    }
    Ok(lexer.tokens)
}

struct Lexer<'a> {
    text: &'a str,
    rest: &'a str,
    /// How many characters were read.
    at: usize,
    tokens: Vec<(usize, Token)>,
}

impl<'a> Lexer<'a> {
    fn push(&mut self, at: usize, token: Token) {
        self.tokens.push((at, token));
    }

    fn advance(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        self.rest = rest;
        self.at += taken.chars().count();
        taken
    }

    fn step(&mut self, first: char) -> Outcome<()> {
        let at = self.at;
        let sign = match first {
            ' ' | '\t' | '\r' | '\n' => {
                self.advance(1);
                return Ok(());
            }
            '(' => Token::Open,
            ')' => Token::Close,
            '[' => Token::OpenList,
            ']' => Token::CloseList,
            ',' => Token::Comma,
            ':' => Token::Colon,
            '=' => Token::Equals,
            '\'' | '"' => {
                let text = self.quoted(first)?;
                self.push(at, Token::Literal(Literal::Text(text)));
                return Ok(());
            }
            '{' => {
                let json = self.json()?;
                self.push(at, Token::Json(json));
                return Ok(());
            }
            _ => return self.word(at),
        };
        self.advance(1);
        self.push(at, sign);
        Ok(())
    }

    /// A literal in quotes; a doubled quote stands for one (OData 4.0 ABNF, `string`).
    fn quoted(&mut self, quote: char) -> Outcome<String> {
        let mut value = String::new();
        let mut characters = self.rest.char_indices().skip(1).peekable();
        while let Some((at, character)) = characters.next() {
            if character != quote {
                value.push(character);
                continue;
            }
            if characters.peek().is_some_and(|(_, next)| *next == quote) {
                characters.next();
                value.push(quote);
                continue;
            }
            self.advance(at + character.len_utf8());
            return Ok(value);
        }
        Err(Fault::syntax(format!(
            "There is an unterminated string literal at position {} in '{}'.",
            self.text.chars().count(),
            self.text
        )))
    }

    /// Everything up to the brace that closes the first one.
    fn json(&mut self) -> Outcome<String> {
        let (mut depth, mut quote) = (0_usize, None);
        let mut escaped = false;
        for (at, character) in self.rest.char_indices() {
            match (quote, character) {
                (Some(_), '\\') if !escaped => escaped = true,
                (Some(open), other) => {
                    if other == open && !escaped {
                        quote = None;
                    }
                    escaped = false;
                }
                (None, '"' | '\'') => quote = Some(character),
                (None, '{') => depth += 1,
                (None, '}') => {
                    depth -= 1;
                    if depth == 0 {
                        return Ok(self.advance(at + 1).to_owned());
                    }
                }
                (None, _) => {}
            }
        }
        Err(self.syntax(self.at))
    }

    fn word(&mut self, at: usize) -> Outcome<()> {
        let mut end = self.rest.find(STOPS).unwrap_or(self.rest.len());
        // A time of day has colons, and so has an offset: `2024-01-05T10:11:12+01:00`.
        if self.rest.get(..end).is_some_and(starts_like_a_moment) {
            let moment =
                |c: char| !(c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '+' | '.'));
            end = self.rest.find(moment).unwrap_or(self.rest.len());
        }
        if end == 0 {
            return Err(self.syntax(at));
        }
        let word = self.advance(end).to_owned();
        // `Namespace.Type'Member'` is one literal of an enumeration.
        if self.rest.starts_with('\'') && !word.contains('/') && !word.starts_with('@') {
            let member = self.quoted('\'')?;
            let token = match word.as_str() {
                "guid" => member
                    .parse()
                    .map(Literal::Guid)
                    .map_err(|_| self.syntax(at))?,
                _ => Literal::Member(word, member),
            };
            self.push(at, Token::Literal(token));
            return Ok(());
        }
        let token = if word == "@" {
            return Err(self.syntax(at));
        } else if word.starts_with('@') {
            Token::Alias(word)
        } else {
            literal(&word).map_or(Token::Word(word), Token::Literal)
        };
        self.push(at, token);
        Ok(())
    }

    fn syntax(&self, at: usize) -> Fault {
        Fault::syntax(format!("Syntax error at position {at} in '{}'.", self.text))
    }
}

fn starts_like_a_moment(word: &str) -> bool {
    word.len() >= 11
        && word
            .get(..10)
            .is_some_and(|date| date.parse::<NaiveDate>().is_ok())
        && word
            .as_bytes()
            .get(10)
            .is_some_and(|c| c.eq_ignore_ascii_case(&b'T'))
}

/// What a bare word stands for, when it is a literal.
pub(super) fn literal(word: &str) -> Option<Literal> {
    match word {
        "null" => return Some(Literal::Null),
        "true" => return Some(Literal::Boolean(true)),
        "false" => return Some(Literal::Boolean(false)),
        _ => {}
    }
    if word.len() == 36
        && let Ok(id) = word.parse::<Uuid>()
    {
        return Some(Literal::Guid(id));
    }
    let starts_like_a_number =
        word.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'));
    if !starts_like_a_number {
        return None;
    }
    if let Ok(date) = word.parse::<NaiveDate>() {
        return Some(Literal::Date(date));
    }
    if let Some(moment) = moment(word) {
        return Some(Literal::Moment(moment));
    }
    number(word)
}

fn number(word: &str) -> Option<Literal> {
    let bare = word.trim_end_matches(['L', 'l', 'M', 'm', 'D', 'd', 'F', 'f']);
    if let Ok(whole) = bare.parse::<i64>() {
        return Some(Literal::Whole(whole));
    }
    bare.parse::<f64>()
        .ok()
        .filter(|value| value.is_finite())
        .map(Literal::Decimal)
}

/// A point in time with its offset; Dataverse also takes one without seconds.
fn moment(word: &str) -> Option<DateTime<Utc>> {
    let upper = word.to_ascii_uppercase();
    if let Ok(moment) = DateTime::parse_from_rfc3339(&upper) {
        return Some(moment.with_timezone(&Utc));
    }
    DateTime::parse_from_str(&upper.replace('Z', "+00:00"), "%Y-%m-%dT%H:%M%:z")
        .ok()
        .map(|moment| moment.with_timezone(&Utc))
}

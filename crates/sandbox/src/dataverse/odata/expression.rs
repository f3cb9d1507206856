//! Expressions of `$filter`, as they are written: names are not looked up here.

use chrono::{DateTime, NaiveDate, Utc};
use uuid::Uuid;

use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::odata::lexer::{Token, tokens};
use crate::dataverse::odata::options::Aliases;

/// Parentheses, negations and lambdas nested deeper than this are an attack, not a query.
const DEPTH_MAX: usize = 100;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expression {
    And(Vec<Expression>),
    Or(Vec<Expression>),
    Not(Box<Expression>),
    Compare(Box<Expression>, Comparison, Box<Expression>),
    /// `contains(name,'x')`, `Microsoft.Dynamics.CRM.Today(PropertyName='createdon')`.
    Call(String, Vec<Argument>),
    Lambda(Box<Lambda>),
    /// `primarycontactid/fullname`, in parts.
    Path(Vec<String>),
    Literal(Literal),
    /// `['1','2']`.
    List(Vec<Expression>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Eq,
    Ne,
    Gt,
    Ge,
    Lt,
    Le,
}

/// `Account_Tasks/any(t:t/statecode eq 0)`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Lambda {
    pub(crate) path: Vec<String>,
    pub(crate) quantifier: Quantifier,
    pub(crate) variable: String,
    /// None for `any()`.
    pub(crate) body: Option<Expression>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quantifier {
    Any,
    All,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Argument {
    pub(crate) name: Option<String>,
    pub(crate) value: Expression,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Literal {
    Null,
    Boolean(bool),
    Whole(i64),
    Decimal(f64),
    Text(String),
    Guid(Uuid),
    Moment(DateTime<Utc>),
    Date(NaiveDate),
    /// `Microsoft.Dynamics.CRM.EndpointAccessType'Default'`.
    Member(String, String),
    /// An object, as its text.
    Json(String),
}

impl Literal {
    /// Its type's name, as OData's own messages give it.
    pub(crate) fn edm(&self) -> &'static str {
        match self {
            Self::Null => "<null>",
            Self::Boolean(_) => "Edm.Boolean",
            Self::Whole(value) if i32::try_from(*value).is_ok() => "Edm.Int32",
            Self::Whole(_) => "Edm.Int64",
            Self::Decimal(_) => "Edm.Double",
            Self::Text(_) | Self::Json(_) => "Edm.String",
            Self::Guid(_) => "Edm.Guid",
            Self::Moment(_) => "Edm.DateTimeOffset",
            Self::Date(_) => "Edm.Date",
            Self::Member(..) => "Edm.Enum",
        }
    }
}

impl Comparison {
    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "eq" => Self::Eq,
            "ne" => Self::Ne,
            "gt" => Self::Gt,
            "ge" => Self::Ge,
            "lt" => Self::Lt,
            "le" => Self::Le,
            _ => return None,
        })
    }

    /// Its name in OData's messages.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Eq => "Equal",
            Self::Ne => "NotEqual",
            Self::Gt => "GreaterThan",
            Self::Ge => "GreaterThanOrEqual",
            Self::Lt => "LessThan",
            Self::Le => "LessThanOrEqual",
        }
    }

    /// The comparison with its sides exchanged.
    pub(crate) fn mirrored(self) -> Self {
        match self {
            Self::Gt => Self::Lt,
            Self::Ge => Self::Le,
            Self::Lt => Self::Gt,
            Self::Le => Self::Ge,
            same => same,
        }
    }
}

impl Expression {
    /// Reads a filter.
    pub(crate) fn filter(text: &str, aliases: &Aliases) -> Outcome<Self> {
        let mut parser = Parser::new(text, aliases)?;
        let expression = parser.or()?;
        parser.end()?;
        match expression {
            Self::Literal(Literal::Boolean(_))
            | Self::And(_)
            | Self::Or(_)
            | Self::Not(_)
            | Self::Compare(..)
            | Self::Call(..)
            | Self::Lambda(_) => Ok(expression),
            // A lone boolean column is a filter; a lone text is not: the planner says which it is.
            Self::Path(_) => Ok(expression),
            Self::Literal(_) | Self::List(_) => Err(Fault::syntax(
                "The $filter expression must evaluate to a single boolean value.",
            )),
        }
    }

    /// Reads `Name=value,Other=value`, as functions take them.
    pub(crate) fn arguments(text: &str, aliases: &Aliases) -> Outcome<Vec<Argument>> {
        if text.trim().is_empty() {
            return Ok(Vec::new());
        }
        let mut parser = Parser::new(text, aliases)?;
        let arguments = parser.list_of_arguments()?;
        parser.end()?;
        Ok(arguments)
    }
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<(usize, Token)>,
    at: usize,
    depth: usize,
    aliases: &'a Aliases,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, aliases: &'a Aliases) -> Outcome<Self> {
        Ok(Self {
            text,
            tokens: tokens(text)?,
            at: 0,
            depth: 0,
            aliases,
        })
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(_, token)| token)
    }

    fn place(&self) -> usize {
        let end = || self.text.chars().count();
        self.tokens
            .get(self.at)
            .map_or_else(end, |(place, _)| *place)
    }

    fn syntax(&self) -> Fault {
        Fault::syntax(format!(
            "Syntax error at position {} in '{}'.",
            self.place(),
            self.text
        ))
    }

    fn next(&mut self) -> Outcome<Token> {
        let token = self.peek().cloned().ok_or_else(|| {
            Fault::syntax(format!(
                "Expression expected at position {} in '{}'.",
                self.place(),
                self.text
            ))
        })?;
        self.at += 1;
        Ok(token)
    }

    fn take(&mut self, wanted: &Token) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn close(&mut self) -> Outcome<()> {
        if self.take(&Token::Close) {
            return Ok(());
        }
        Err(Fault::syntax(format!(
            "')' or operator expected at position {} in '{}'.",
            self.place(),
            self.text
        )))
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Word(known)) if known == word);
        self.at += usize::from(found);
        found
    }

    fn end(&self) -> Outcome<()> {
        if self.peek().is_none() {
            Ok(())
        } else {
            Err(self.syntax())
        }
    }

    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Outcome<T>) -> Outcome<T> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(too_deep());
        }
        let found = inner(self);
        self.depth -= 1;
        found
    }

    fn or(&mut self) -> Outcome<Expression> {
        self.deeper(|parser| {
            let mut parts = vec![parser.and()?];
            while parser.take_word("or") {
                parts.push(parser.and()?);
            }
            Ok(one_or(parts, Expression::Or))
        })
    }

    fn and(&mut self) -> Outcome<Expression> {
        let mut parts = vec![self.not()?];
        while self.take_word("and") {
            parts.push(self.not()?);
        }
        Ok(one_or(parts, Expression::And))
    }

    fn not(&mut self) -> Outcome<Expression> {
        if !self.take_word("not") {
            return self.comparison();
        }
        let inner = self.deeper(Self::not)?;
        Ok(Expression::Not(Box::new(inner)))
    }

    fn comparison(&mut self) -> Outcome<Expression> {
        let left = if self.take(&Token::Open) {
            let inner = self.or()?;
            self.close()?;
            inner
        } else {
            self.operand()?
        };
        let Some(Token::Word(word)) = self.peek() else {
            return Ok(left);
        };
        let Some(comparison) = Comparison::of(word) else {
            return Ok(left);
        };
        self.at += 1;
        let right = if self.take(&Token::Open) {
            let inner = self.operand()?;
            self.close()?;
            inner
        } else {
            self.operand()?
        };
        Ok(Expression::Compare(
            Box::new(left),
            comparison,
            Box::new(right),
        ))
    }

    fn operand(&mut self) -> Outcome<Expression> {
        match self.next()? {
            Token::Literal(literal) => Ok(Expression::Literal(literal)),
            Token::Json(text) => Ok(Expression::Literal(Literal::Json(text))),
            Token::Alias(name) => self.alias(&name),
            Token::OpenList => self.deeper(Self::list),
            Token::Word(word) => self.word(word),
            _ => {
                self.at -= 1;
                Err(self.syntax())
            }
        }
    }

    /// What an alias stands for; one that nobody set is null (OData 4.0 part 2, 5.3.1).
    fn alias(&mut self, name: &str) -> Outcome<Expression> {
        let aliases = self.aliases;
        let Some(text) = aliases.text(name) else {
            return Ok(Expression::Literal(Literal::Null));
        };
        // Aliases inside of aliases would never have to end.
        let none = Aliases::default();
        Parser::new(text, &none)?.whole_value()
    }

    fn whole_value(mut self) -> Outcome<Expression> {
        let value = self.operand()?;
        self.end()?;
        Ok(value)
    }

    fn list(&mut self) -> Outcome<Expression> {
        let mut values = Vec::new();
        if self.take(&Token::CloseList) {
            return Ok(Expression::List(values));
        }
        loop {
            values.push(self.operand()?);
            if self.take(&Token::CloseList) {
                return Ok(Expression::List(values));
            }
            if !self.take(&Token::Comma) {
                return Err(self.syntax());
            }
        }
    }

    fn word(&mut self, word: String) -> Outcome<Expression> {
        if self.peek() != Some(&Token::Open) {
            let parts = word.split('/').map(str::to_owned).collect();
            return Ok(Expression::Path(parts));
        }
        self.at += 1;
        match word.rsplit_once('/') {
            Some((path, "any")) => self.deeper(|parser| parser.lambda(path, Quantifier::Any)),
            Some((path, "all")) => self.deeper(|parser| parser.lambda(path, Quantifier::All)),
            _ => self.deeper(|parser| parser.call(word)),
        }
    }

    fn lambda(&mut self, path: &str, quantifier: Quantifier) -> Outcome<Expression> {
        let path = path.split('/').map(str::to_owned).collect();
        if quantifier == Quantifier::Any && self.take(&Token::Close) {
            let lambda = Lambda {
                path,
                quantifier,
                variable: String::new(),
                body: None,
            };
            return Ok(Expression::Lambda(Box::new(lambda)));
        }
        let Token::Word(variable) = self.next()? else {
            self.at -= 1;
            return Err(self.syntax());
        };
        if !self.take(&Token::Colon) {
            return Err(self.syntax());
        }
        let body = Some(self.or()?);
        self.close()?;
        let lambda = Lambda {
            path,
            quantifier,
            variable,
            body,
        };
        Ok(Expression::Lambda(Box::new(lambda)))
    }

    fn call(&mut self, name: String) -> Outcome<Expression> {
        if self.take(&Token::Close) {
            return Ok(Expression::Call(name, Vec::new()));
        }
        let arguments = self.list_of_arguments()?;
        if !self.take(&Token::Close) {
            return Err(Fault::syntax(format!(
                "')' or ',' expected at position {} in '{}'.",
                self.place(),
                self.text
            )));
        }
        Ok(Expression::Call(name, arguments))
    }

    fn list_of_arguments(&mut self) -> Outcome<Vec<Argument>> {
        let mut arguments = Vec::new();
        loop {
            let named = match (self.peek(), self.tokens.get(self.at + 1)) {
                (Some(Token::Word(name)), Some((_, Token::Equals))) => Some(name.clone()),
                _ => None,
            };
            if named.is_some() {
                self.at += 2;
            }
            let value = self.operand()?;
            arguments.push(Argument { name: named, value });
            if !self.take(&Token::Comma) {
                return Ok(arguments);
            }
        }
    }
}

fn one_or(mut parts: Vec<Expression>, many: fn(Vec<Expression>) -> Expression) -> Expression {
    match parts.len() {
        1 => parts.remove(0),
        _ => many(parts),
    }
}

fn too_deep() -> Fault {
    Fault::syntax("The recursion limit has been exceeded while parsing the query.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Outcome<Expression> {
        let aliases = Aliases::from([("@p1", "'createdon'"), ("@p2", "12"), ("@p3", "revenue")]);
        Expression::filter(text, &aliases)
    }

    fn path(text: &str) -> Expression {
        Expression::Path(text.split('/').map(str::to_owned).collect())
    }

    #[test]
    fn and_binds_closer_than_or_and_not_closest() {
        let read = parsed("a eq 1 or not b eq 2 and c").expect("a filter");
        let Expression::Or(parts) = read else {
            panic!("an or")
        };
        assert_eq!(parts.len(), 2);
        let Expression::And(inner) = &parts[1] else {
            panic!("an and")
        };
        assert!(matches!(inner[0], Expression::Not(_)));
        assert_eq!(inner[1], path("c"));
    }

    #[test]
    fn quotes_are_doubled_inside_of_texts() {
        let read = parsed("name eq 'O''Neill (x)'").expect("a filter");
        let Expression::Compare(left, Comparison::Eq, right) = read else {
            panic!("a comparison")
        };
        assert_eq!(*left, path("name"));
        assert_eq!(
            *right,
            Expression::Literal(Literal::Text("O'Neill (x)".into()))
        );
    }

    #[test]
    fn literals_are_told_apart() {
        for (text, edm) in [
            ("1", "Edm.Int32"),
            ("-5000000000", "Edm.Int64"),
            ("1.5", "Edm.Double"),
            ("null", "<null>"),
            ("2024-01-05", "Edm.Date"),
            ("2024-01-05T10:11:12Z", "Edm.DateTimeOffset"),
            ("2024-01-05T10:11:12.5+01:00", "Edm.DateTimeOffset"),
            ("2024-01-05T10:11Z", "Edm.DateTimeOffset"),
            ("3ADBF27C-8efb-e511-80d2-00155db07c77", "Edm.Guid"),
            ("'x'", "Edm.String"),
            ("true", "Edm.Boolean"),
        ] {
            let read = parsed(&format!("a eq {text}")).expect(text);
            let Expression::Compare(_, _, right) = read else {
                panic!("a comparison")
            };
            let Expression::Literal(literal) = *right else {
                panic!("a literal: {text}")
            };
            assert_eq!(literal.edm(), edm, "{text}");
        }
    }

    #[test]
    fn functions_take_named_arguments_lists_and_aliases() {
        let read = parsed("Microsoft.Dynamics.CRM.LastXHours(PropertyName=@p1,PropertyValue=@p2)")
            .expect("a call");
        let Expression::Call(name, arguments) = read else {
            panic!("a call")
        };
        assert_eq!(name, "Microsoft.Dynamics.CRM.LastXHours");
        assert_eq!(
            arguments[0].value,
            Expression::Literal(Literal::Text("createdon".into()))
        );
        assert_eq!(arguments[1].value, Expression::Literal(Literal::Whole(12)));
        let read = parsed("Microsoft.Dynamics.CRM.In(PropertyName='a',PropertyValues=['1',\"2\"])")
            .expect("a call");
        let Expression::Call(_, arguments) = read else {
            panic!("a call")
        };
        assert!(matches!(&arguments[1].value, Expression::List(list) if list.len() == 2));
    }

    #[test]
    fn an_alias_may_name_a_column_and_an_unset_one_is_null() {
        let read = parsed("@p3 ne @p9").expect("a filter");
        let wanted = Expression::Compare(
            Box::new(path("revenue")),
            Comparison::Ne,
            Box::new(Expression::Literal(Literal::Null)),
        );
        assert_eq!(read, wanted);
    }

    #[test]
    fn lambdas_nest() {
        let read =
            parsed("a/any(c:c/t eq 'x' and c/b/all(o:o/d ne 'y')) and a/any()").expect("a filter");
        let Expression::And(parts) = read else {
            panic!("an and")
        };
        assert!(matches!(&parts[0], Expression::Lambda(lambda) if lambda.variable == "c"));
        assert!(matches!(&parts[1], Expression::Lambda(lambda) if lambda.body.is_none()));
    }

    #[test]
    fn what_cannot_be_read_says_where() {
        for text in [
            "",
            "a eq",
            "eq 1",
            "(a eq 1",
            "a eq 1)",
            "a eq 'x",
            "a any 1",
            "contains(a,'b'",
            "a eq [",
            "{",
            "a/any(x",
            "''",
            "a eq @",
        ] {
            assert!(parsed(text).is_err(), "{text}");
        }
        let deep = format!("{}a eq 1{}", "(".repeat(5_000), ")".repeat(5_000));
        assert!(parsed(&deep).is_err());
        assert!(parsed(&"not ".repeat(5_000)).is_err());
    }
}

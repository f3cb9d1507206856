//! What is asked of the rows, after every name was looked up, and its SQL. OData and FetchXML both
//! end here: what they share, they share by construction.

mod calendar;
mod filter;
mod functions;
mod sql;
mod terms;

use rusqlite::types::Value;

use crate::dataverse::odata::Comparison;
use crate::dataverse::schema::{Column, Table};

pub(crate) use filter::{Names, condition, literal_value, related, title};
pub(crate) use functions::{Hierarchy, Operand, Operator, ids, operator};
pub(crate) use sql::Statement;

/// A table's place in a statement: `s0`, `s1`, …
pub(crate) type SourceId = usize;

/// Gives every source of a request a name of its own, whatever it is nested in.
#[derive(Debug, Default)]
pub(crate) struct Sources(SourceId);

impl Sources {
    pub(crate) fn next(&mut self) -> SourceId {
        self.0 += 1;
        self.0 - 1
    }
}

/// Tables, how they hang together, and which of their rows count.
#[derive(Debug, Clone)]
pub(crate) struct Select<'s> {
    pub(crate) root: Source<'s>,
    pub(crate) joins: Vec<Join<'s>>,
    pub(crate) condition: Condition<'s>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'s> {
    pub(crate) id: SourceId,
    pub(crate) table: &'s Table,
}

#[derive(Debug, Clone)]
pub(crate) struct Join<'s> {
    pub(crate) source: Source<'s>,
    pub(crate) kind: JoinKind,
    pub(crate) on: Condition<'s>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JoinKind {
    Inner,
    Left,
}

#[derive(Debug, Clone)]
pub(crate) enum Condition<'s> {
    Always,
    Never,
    And(Vec<Condition<'s>>),
    Or(Vec<Condition<'s>>),
    /// What is not known to be true: Dataverse counts an empty column as different from any value.
    Not(Box<Condition<'s>>),
    Compare(Term<'s>, Comparison, Term<'s>),
    IsNull(Term<'s>),
    In(Term<'s>, Vec<Value>),
    /// A pattern with SQL Server's wildcards.
    Like(Term<'s>, String),
    /// From a moment on, and before another; seconds since 1970.
    Within(Term<'s>, Option<i64>, Option<i64>),
    /// One of the values in a text such as `1,3`.
    HasChoice(Term<'s>, Vec<i64>),
    /// There is a row.
    Exists(Box<Select<'s>>),
    /// A column's value is among those that another select gives.
    InSelect(Term<'s>, Term<'s>, Box<Select<'s>>),
    /// A column's value is the least that another select gives: of many rows, one is taken.
    IsFirst(Term<'s>, Term<'s>, Box<Select<'s>>),
}

#[derive(Debug, Clone)]
pub(crate) enum Term<'s> {
    Column(SourceId, &'s Column),
    /// Logical name of the table that a lookup with several targets points at.
    Target(SourceId, &'s Column),
    Value(Value),
    /// What people call the row that a lookup points at, in one of these tables.
    Title(SourceId, &'s Column, Vec<&'s Table>),
    /// What people call a choice.
    Label(SourceId, &'s Column),
    /// A part of a moment, for groups.
    Part(SourceId, &'s Column, DatePart),
    /// How many rows there are.
    CountOf(Box<Select<'s>>),
    /// One value for all rows of a group.
    Aggregate(Aggregate, Box<Term<'s>>),
}

/// What rows are grouped by, of a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DatePart {
    Day,
    Week,
    Month,
    Quarter,
    Year,
    FiscalPeriod,
    FiscalYear,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aggregate {
    /// Rows, whatever they hold.
    Count,
    /// Rows whose column is not empty.
    CountColumn,
    /// Values of a column that differ.
    CountDistinct,
    Sum,
    Average,
    /// The average of whole numbers, which is one.
    WholeAverage,
    Least,
    Greatest,
}

impl<'s> Condition<'s> {
    pub(crate) fn and(self, other: Condition<'s>) -> Self {
        match (self, other) {
            (Self::Always, other) => other,
            (own, Self::Always) => own,
            (Self::And(mut all), other) => {
                all.push(other);
                Self::And(all)
            }
            (own, other) => Self::And(vec![own, other]),
        }
    }

    pub(crate) fn negated(self) -> Self {
        Self::Not(Box::new(self))
    }

    /// Two columns hold the same.
    pub(crate) fn same(left: Term<'s>, right: Term<'s>) -> Self {
        Self::Compare(left, Comparison::Eq, right)
    }
}

impl<'s> Term<'s> {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Value(Value::Text(text.into()))
    }
}

impl<'s> Source<'s> {
    /// A column by its name; none when the schema has no such column, which the caller has checked.
    pub(crate) fn term(&self, column: &str) -> Option<Term<'s>> {
        self.table
            .column(column)
            .map(|column| Term::Column(self.id, column))
    }

    pub(crate) fn key(&self) -> Term<'s> {
        self.term(&self.table.key)
            .unwrap_or(Term::Value(Value::Null))
    }
}

/// How rows are put in order.
#[derive(Debug, Clone)]
pub(crate) struct Order<'s> {
    pub(crate) term: Term<'s>,
    pub(crate) descending: bool,
}

/// Rows of a select: what is read of them, in which order, and which page.
#[derive(Debug)]
pub(crate) struct Query<'s> {
    pub(crate) select: Select<'s>,
    pub(crate) columns: Vec<Term<'s>>,
    pub(crate) order: Vec<Order<'s>>,
    /// What the rows are grouped by.
    pub(crate) group: Vec<Term<'s>>,
    pub(crate) distinct: bool,
    pub(crate) limit: Option<u64>,
    pub(crate) offset: u64,
    /// The order's values of the last row of the page before.
    pub(crate) after: Option<Vec<Value>>,
}

impl<'s> Query<'s> {
    pub(crate) fn of(table: &'s Table, sources: &mut Sources) -> Self {
        let root = Source {
            id: sources.next(),
            table,
        };
        Self {
            select: Select {
                root,
                joins: Vec::new(),
                condition: Condition::Always,
            },
            columns: Vec::new(),
            order: Vec::new(),
            group: Vec::new(),
            distinct: false,
            limit: None,
            offset: 0,
            after: None,
        }
    }
}

//! Filters and conditions.

use std::borrow::Borrow;

use crate::dataverse::error::Outcome;
use crate::dataverse::fetch::build::Builder;
use crate::dataverse::fetch::tree::{self, Filter, Part};
use crate::dataverse::fetch::{no_attribute, refused};
use crate::dataverse::plan::{Condition, Operand, Operator, Source, Term, operator, title};
use crate::dataverse::schema::{Column, Kind};

/// What a condition speaks of.
pub(super) enum Subject<'s> {
    Kept(Term<'s>, &'s Column),
    /// Text that is computed, such as the name behind a lookup.
    Made(Term<'s>, Box<Column>),
}

impl<'s> Subject<'s> {
    fn column(&self) -> &Column {
        match self {
            Self::Kept(_, column) => column,
            Self::Made(_, column) => column.borrow(),
        }
    }

    pub(super) fn term(&self) -> Term<'s> {
        match self {
            Self::Kept(term, _) | Self::Made(term, _) => term.clone(),
        }
    }
}

impl<'s> Builder<'_, 's> {
    pub(super) fn filter(&mut self, filter: &Filter, source: Source<'s>) -> Outcome<Condition<'s>> {
        let mut all = Vec::new();
        for part in &filter.parts {
            all.push(match part {
                Part::Condition(condition) => self.condition(condition, source)?,
                Part::Filter(inner) => self.filter(inner, source)?,
                Part::Link(link) => self.restriction(source, link)?,
            });
        }
        Ok(match (all.is_empty(), filter.any) {
            // A filter of nothing restricts nothing.
            (true, _) => Condition::Always,
            (false, true) => Condition::Or(all),
            (false, false) => Condition::And(all),
        })
    }

    fn condition(&self, condition: &tree::Condition, source: Source<'s>) -> Outcome<Condition<'s>> {
        let source = match &condition.entity {
            Some(name) => self.place_of(name)?,
            None => source,
        };
        let subject = self.subject(source, &condition.attribute)?;
        let operator = operator(&condition.operator).ok_or_else(|| {
            refused(
                "0x80041120",
                format!(
                    "Invalid condition operator specified: '{}'.",
                    condition.operator
                ),
            )
        })?;
        if let Some(other) = &condition.value_of {
            return self.columns_compared(&subject, operator, other, source);
        }
        let operands: Vec<Operand> = condition.values.iter().cloned().map(Operand).collect();
        operator.condition(self.context, subject.term(), subject.column(), &operands)
    }

    /// `valueof`: another column of the row, or one of a linked table.
    fn columns_compared(
        &self,
        subject: &Subject<'s>,
        operator: Operator,
        other: &str,
        source: Source<'s>,
    ) -> Outcome<Condition<'s>> {
        let Operator::Compare(comparison) = operator else {
            return Err(refused(
                "0x80041120",
                "The operators of a condition with 'valueof' are eq, ne, gt, ge, lt and le.",
            ));
        };
        let other = match other.rsplit_once('.') {
            Some((place, name)) => self.subject(self.place_of(place)?, name)?,
            None => self.subject(source, other)?,
        };
        let (left, right) = (subject.column(), other.column());
        if kind_of(left) != kind_of(right) {
            return Err(refused(
                "0x80040203",
                format!(
                    "The attributes '{}' and '{}' cannot be compared: they are of different types.",
                    left.name, right.name
                ),
            ));
        }
        Ok(Condition::Compare(subject.term(), comparison, other.term()))
    }

    /// A column by its name, or the text behind it: `owneridname`, `statecodename`.
    pub(super) fn subject(&self, source: Source<'s>, name: &str) -> Outcome<Subject<'s>> {
        let table = source.table;
        if let Some(column) = table.column(name) {
            if matches!(column.kind, Kind::Parties { .. } | Kind::Image) {
                return Err(refused(
                    "0x80041103",
                    format!("The attribute '{name}' cannot be used in a condition or an order."),
                ));
            }
            return Ok(Subject::Kept(Term::Column(source.id, column), column));
        }
        let base = name
            .strip_suffix("name")
            .and_then(|base| table.column(base));
        let term = base.and_then(|column| self.shown_as(source, column));
        term.map(|term| Subject::Made(term, Box::new(Column::text(name))))
            .ok_or_else(|| no_attribute(table, name))
    }

    /// What people read in place of a column's value, where they read something else.
    pub(super) fn shown_as(&self, source: Source<'s>, column: &'s Column) -> Option<Term<'s>> {
        match &column.kind {
            Kind::Lookup { .. } => title(self.context.schema, source.id, column),
            Kind::Choice { .. }
            | Kind::State { .. }
            | Kind::Status { .. }
            | Kind::Boolean { .. } => Some(Term::Label(source.id, column)),
            _ => None,
        }
    }
}

/// Which columns can be compared with each other.
fn kind_of(column: &Column) -> &'static str {
    match column.edm() {
        "Edm.Int32" | "Edm.Int64" | "Edm.Decimal" | "Edm.Double" => "number",
        "Edm.DateTimeOffset" | "Edm.Date" => "moment",
        other => other,
    }
}

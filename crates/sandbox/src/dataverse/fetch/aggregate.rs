//! Queries of aggregates: what is counted and summed up, and by what rows are grouped.

use crate::dataverse::error::Outcome;
use crate::dataverse::fetch::build::{Builder, Linked, Place};
use crate::dataverse::fetch::columns::{Output, Shown, needed, unique};
use crate::dataverse::fetch::refused;
use crate::dataverse::fetch::tree::{Attribute, Entity, Function};
use crate::dataverse::plan::{Aggregate, Term};
use crate::dataverse::schema::{Column, Kind};

/// Rows that one query may sum up.
pub(super) const ROWS_MAX: u64 = 50_000;

impl<'s> Builder<'_, 's> {
    pub(super) fn aggregates(
        &self,
        entity: &Entity,
        root: &Place<'s>,
        linked: &[Linked<'_, 's>],
    ) -> Outcome<Vec<Output<'s>>> {
        let mut outputs = Vec::new();
        self.aggregates_of(entity, root, linked, &mut outputs)?;
        if outputs.is_empty() {
            return Err(refused(
                "0x8004112f",
                "A query with aggregate='true' has at least one attribute with an aggregate or groupby.",
            ));
        }
        unique(outputs)
    }

    fn aggregates_of(
        &self,
        entity: &Entity,
        place: &Place<'s>,
        linked: &[Linked<'_, 's>],
        outputs: &mut Vec<Output<'s>>,
    ) -> Outcome<()> {
        if entity.selected.all {
            return Err(refused(
                "0x80041107",
                "A query with aggregate='true' cannot have all-attributes.",
            ));
        }
        for attribute in &entity.selected.attributes {
            outputs.push(self.aggregated(attribute, place)?);
        }
        for Linked { link, place, inner } in linked {
            self.aggregates_of(&link.entity, place, inner, outputs)?;
        }
        Ok(())
    }

    fn aggregated(&self, attribute: &Attribute, place: &Place<'s>) -> Outcome<Output<'s>> {
        let source = place.source;
        let column = needed(source, &attribute.name)?;
        let name = attribute.alias.clone().ok_or_else(|| {
            refused(
                "0x8004110b",
                format!(
                    "The attribute '{}' of a query with aggregate='true' needs an alias.",
                    attribute.name
                ),
            )
        })?;
        let term = Term::Column(source.id, column);
        let (term, shown) = match (attribute.aggregate, attribute.group) {
            (Some(_), true) => {
                return Err(refused(
                    "0x80041137",
                    "An attribute can either be an aggregate or a Group By but not both",
                ));
            }
            (None, false) => {
                return Err(refused(
                    "0x80041107",
                    format!(
                        "The attribute '{}' needs an aggregate or groupby='true': the query has aggregate='true'.",
                        attribute.name
                    ),
                ));
            }
            (None, true) => match attribute.part {
                None => (term, Shown::Aliased),
                Some(part) if matches!(column.kind, Kind::DateTime | Kind::Date) => {
                    (Term::Part(source.id, column, part), Shown::Part(part))
                }
                Some(_) => {
                    return Err(refused(
                        "0x80041135",
                        format!(
                            "The attribute '{}' holds no dates to group by.",
                            attribute.name
                        ),
                    ));
                }
            },
            (Some(function), false) => {
                let (aggregate, shown) = of(function, attribute, column)?;
                (Term::Aggregate(aggregate, Box::new(term)), shown)
            }
        };
        Ok(Output {
            name,
            table: source.table,
            column,
            term,
            shown,
        })
    }
}

fn of(function: Function, attribute: &Attribute, column: &Column) -> Outcome<(Aggregate, Shown)> {
    let number = matches!(
        column.kind,
        Kind::Whole { .. }
            | Kind::Big
            | Kind::Decimal { .. }
            | Kind::Double { .. }
            | Kind::Money { .. }
    );
    let orderly = number || matches!(column.kind, Kind::DateTime | Kind::Date);
    let fits = match function {
        Function::Count | Function::CountColumn => true,
        Function::Sum | Function::Average => number,
        Function::Least | Function::Greatest => orderly,
    };
    if !fits {
        return Err(refused(
            "0x8004112f",
            format!(
                "The attribute '{}' is of a type that this aggregate cannot be used with.",
                attribute.name
            ),
        ));
    }
    Ok(match function {
        Function::Count => (Aggregate::Count, Shown::Count),
        Function::CountColumn if attribute.distinct => (Aggregate::CountDistinct, Shown::Count),
        Function::CountColumn => (Aggregate::CountColumn, Shown::Count),
        Function::Sum => (Aggregate::Sum, Shown::Total),
        Function::Average if matches!(column.kind, Kind::Whole { .. } | Kind::Big) => {
            (Aggregate::WholeAverage, Shown::Total)
        }
        Function::Average => (Aggregate::Average, Shown::Total),
        Function::Least => (Aggregate::Least, Shown::Total),
        Function::Greatest => (Aggregate::Greatest, Shown::Total),
    })
}

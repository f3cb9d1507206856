//! The operators that OData calls `Microsoft.Dynamics.CRM.LastXDays` and FetchXML `last-x-days`.

use chrono::{DateTime, NaiveDate, Utc};
use rusqlite::types::Value;
use uuid::Uuid;

use crate::dataverse::context::Context;
use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::odata::Comparison;
use crate::dataverse::plan::calendar::{Period, Unit};
use crate::dataverse::plan::{Condition, Term};
use crate::dataverse::schema::{Column, Kind};

/// What an operator compares with, as it was written.
#[derive(Debug, Clone)]
pub(crate) struct Operand(pub(crate) String);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Compare(Comparison),
    IsNull,
    Like(LikeKind),
    In,
    Between,
    ContainValues,
    /// The unit around now, moved by so many.
    Unit(Unit, i64),
    /// The last or next seven days.
    Seven(Direction),
    /// So many units, as the operand says.
    Count(Unit, Direction),
    On,
    OnOrAfter,
    OnOrBefore,
    FiscalYear,
    /// A quarter of any year.
    FiscalPeriod,
    FiscalPeriodAndYear(Reach),
    UserId,
    UserTeams,
    UserOrTeams,
    BusinessId,
    UserLanguage,
    Hierarchy(Hierarchy),
    Not(Negated),
}

/// Operators that are another's opposite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Negated {
    IsNull,
    Like(LikeKind),
    In,
    Between,
    ContainValues,
    UserId,
    BusinessId,
    Under,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LikeKind {
    Pattern,
    Begin,
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Last,
    Next,
    OlderThan,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    In,
    OrAfter,
    OrBefore,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    pub(crate) upwards: bool,
    pub(crate) with_itself: bool,
}

/// The operator of a name, as either language spells it.
pub(crate) fn operator(name: &str) -> Option<Operator> {
    let canonical: String = name
        .chars()
        .filter(|c| *c != '-')
        .map(|c| c.to_ascii_lowercase())
        .collect();
    comparison(&canonical)
        .or_else(|| caller(&canonical))
        .or_else(|| moment(&canonical))
        .or_else(|| counted(&canonical))
}

fn comparison(name: &str) -> Option<Operator> {
    use Operator as O;
    Some(match name {
        "eq" => O::Compare(Comparison::Eq),
        "ne" | "neq" => O::Compare(Comparison::Ne),
        "gt" => O::Compare(Comparison::Gt),
        "ge" => O::Compare(Comparison::Ge),
        "lt" => O::Compare(Comparison::Lt),
        "le" => O::Compare(Comparison::Le),
        "null" => O::IsNull,
        "notnull" => O::Not(Negated::IsNull),
        "like" => O::Like(LikeKind::Pattern),
        "notlike" => O::Not(Negated::Like(LikeKind::Pattern)),
        "beginswith" | "beginwith" => O::Like(LikeKind::Begin),
        "notbeginwith" => O::Not(Negated::Like(LikeKind::Begin)),
        "endswith" | "endwith" => O::Like(LikeKind::End),
        "notendwith" => O::Not(Negated::Like(LikeKind::End)),
        "in" => O::In,
        "notin" => O::Not(Negated::In),
        "between" => O::Between,
        "notbetween" => O::Not(Negated::Between),
        "containvalues" => O::ContainValues,
        "notcontainvalues" | "doesnotcontainvalues" => O::Not(Negated::ContainValues),
        _ => return None,
    })
}

fn caller(name: &str) -> Option<Operator> {
    use Operator as O;
    let hierarchy = |upwards, with_itself| {
        O::Hierarchy(Hierarchy {
            upwards,
            with_itself,
        })
    };
    Some(match name {
        "equserid" | "equaluserid" => O::UserId,
        "neuserid" | "notequaluserid" => O::Not(Negated::UserId),
        "equserteams" | "equaluserteams" => O::UserTeams,
        "equseroruserteams" | "equaluseroruserteams" => O::UserOrTeams,
        "equseroruserhierarchy" | "equaluseroruserhierarchy" => O::UserId,
        "equseroruserhierarchyandteams" | "equaluseroruserhierarchyandteams" => O::UserOrTeams,
        "eqbusinessid" | "equalbusinessid" => O::BusinessId,
        "nebusinessid" | "notequalbusinessid" => O::Not(Negated::BusinessId),
        "equserlanguage" | "equaluserlanguage" => O::UserLanguage,
        "above" => hierarchy(true, false),
        "eqorabove" | "aboveorequal" => hierarchy(true, true),
        "under" => hierarchy(false, false),
        "eqorunder" | "underorequal" => hierarchy(false, true),
        "notunder" => O::Not(Negated::Under),
        _ => return None,
    })
}

fn moment(name: &str) -> Option<Operator> {
    use Operator as O;
    Some(match name {
        "today" => O::Unit(Unit::Day, 0),
        "yesterday" => O::Unit(Unit::Day, -1),
        "tomorrow" => O::Unit(Unit::Day, 1),
        "last7days" | "lastsevendays" => O::Seven(Direction::Last),
        "next7days" | "nextsevendays" => O::Seven(Direction::Next),
        "on" => O::On,
        "onorafter" => O::OnOrAfter,
        "onorbefore" => O::OnOrBefore,
        "infiscalyear" => O::FiscalYear,
        "infiscalperiod" => O::FiscalPeriod,
        "infiscalperiodandyear" => O::FiscalPeriodAndYear(Reach::In),
        "inorafterfiscalperiodandyear" => O::FiscalPeriodAndYear(Reach::OrAfter),
        "inorbeforefiscalperiodandyear" => O::FiscalPeriodAndYear(Reach::OrBefore),
        other => {
            let (moved, rest) = [("last", -1), ("this", 0), ("next", 1)]
                .iter()
                .find_map(|(word, moved)| Some((*moved, other.strip_prefix(word)?)))?;
            let unit = match rest {
                "week" => Unit::Week,
                "month" => Unit::Month,
                "year" => Unit::Year,
                "fiscalperiod" => Unit::FiscalPeriod,
                "fiscalyear" => Unit::FiscalYear,
                _ => return None,
            };
            O::Unit(unit, moved)
        }
    })
}

fn counted(name: &str) -> Option<Operator> {
    let words = [
        ("lastx", Direction::Last),
        ("nextx", Direction::Next),
        ("olderthanx", Direction::OlderThan),
    ];
    let (direction, rest) = words
        .iter()
        .find_map(|(word, direction)| Some((*direction, name.strip_prefix(word)?)))?;
    let unit = match rest {
        "minutes" if direction == Direction::OlderThan => Unit::Minute,
        "hours" => Unit::Hour,
        "days" => Unit::Day,
        "weeks" => Unit::Week,
        "months" => Unit::Month,
        "years" => Unit::Year,
        "fiscalperiods" if direction != Direction::OlderThan => Unit::FiscalPeriod,
        "fiscalyears" if direction != Direction::OlderThan => Unit::FiscalYear,
        _ => return None,
    };
    Some(Operator::Count(unit, direction))
}

impl Operator {
    /// What the operator says of a column.
    pub(crate) fn condition<'s>(
        self,
        context: &Context<'s>,
        term: Term<'s>,
        column: &Column,
        operands: &[Operand],
    ) -> Outcome<Condition<'s>> {
        if self.speaks_of_time() {
            return self.about_time(context, term, column, operands);
        }
        Ok(match self {
            Self::Not(negated) => negated
                .opposite()
                .condition(context, term, column, operands)?
                .negated(),
            Self::Compare(comparison) => Condition::Compare(
                term,
                comparison,
                Term::Value(operands_one(column, operands)?.value(column)?),
            ),
            Self::IsNull => Condition::IsNull(term),
            Self::Like(kind) => {
                Condition::Like(term, kind.pattern(&operands_one(column, operands)?.0))
            }
            Self::In => Condition::In(term, values(column, operands)?),
            Self::Between => {
                let [low, high] = operands else {
                    return Err(wrong_count(column, "two values"));
                };
                let (low, high) = (low.value(column)?, high.value(column)?);
                Condition::Compare(term.clone(), Comparison::Ge, Term::Value(low))
                    .and(Condition::Compare(term, Comparison::Le, Term::Value(high)))
            }
            Self::ContainValues => {
                let choices = operands.iter().map(|operand| operand.whole(column));
                let choices: Vec<i64> = choices.collect::<Outcome<_>>()?;
                match column.kind {
                    Kind::Choices { .. } => Condition::HasChoice(term, choices),
                    _ => Condition::In(term, choices.into_iter().map(Value::Integer).collect()),
                }
            }
            Self::Hierarchy(hierarchy) => {
                let id = operands_one(column, operands)?.guid(column)?;
                Condition::In(term, ids(&context.hierarchy(column, id, hierarchy)?))
            }
            about_caller => about_caller.about_caller(context, term),
        })
    }

    /// Operators that compare with whoever asks; what is none of them matches nothing.
    fn about_caller<'s>(self, context: &Context<'s>, term: Term<'s>) -> Condition<'s> {
        let caller = context.caller;
        match self {
            Self::UserId => Condition::same(term, Term::text(caller.id.to_string())),
            Self::UserTeams => Condition::In(term, ids(&caller.teams)),
            Self::UserOrTeams => {
                let mut all = caller.teams.clone();
                all.push(caller.id);
                Condition::In(term, ids(&all))
            }
            Self::BusinessId => Condition::same(term, Term::text(caller.business_unit.to_string())),
            Self::UserLanguage => Condition::same(term, Term::Value(Value::Integer(1033))),
            _ => Condition::Never,
        }
    }

    fn about_time<'s>(
        self,
        context: &Context<'s>,
        term: Term<'s>,
        column: &Column,
        operands: &[Operand],
    ) -> Outcome<Condition<'s>> {
        if !matches!(column.kind, Kind::DateTime | Kind::Date) {
            return Err(Fault::argument(format!(
                "The operator is not valid for the attribute '{}': it takes dates and times.",
                column.name
            )));
        }
        if self == Self::FiscalPeriod {
            let quarter = operands_one(column, operands)?.whole(column)?;
            return any_year(context, term, quarter, column);
        }
        let period = self.period(context.now, column, operands)?;
        Ok(Condition::Within(term, period.from, period.to))
    }

    /// The stretch of time that an operator names.
    fn period(self, now: DateTime<Utc>, column: &Column, operands: &[Operand]) -> Outcome<Period> {
        let day = || -> Outcome<Period> {
            Ok(Period::day(operands_one(column, operands)?.date(column)?))
        };
        Ok(match self {
            Self::Unit(unit, moved) => Period::unit(now, unit, moved),
            Self::Seven(Direction::Next) => Period::next(now, Unit::Day, 7),
            Self::Seven(_) => Period::last(now, Unit::Day, 7),
            Self::Count(unit, direction) => {
                let count = operands_one(column, operands)?.count(column)?;
                match direction {
                    Direction::Last => Period::last(now, unit, count),
                    Direction::Next => Period::next(now, unit, count),
                    Direction::OlderThan => Period::older(now, unit, count),
                }
            }
            Self::OnOrAfter => Period { to: None, ..day()? },
            Self::OnOrBefore => Period {
                from: None,
                ..day()?
            },
            Self::FiscalYear => {
                let year = operands_one(column, operands)?.whole(column)?;
                let found = Period::fiscal(year, None);
                found.ok_or_else(|| wrong_count(column, "a fiscal year"))?
            }
            Self::FiscalPeriodAndYear(reach) => {
                let wrong = || wrong_count(column, "a fiscal period and a year");
                let [period, year] = operands else {
                    return Err(wrong());
                };
                let found = Period::fiscal(year.whole(column)?, Some(period.whole(column)?));
                let period = found.ok_or_else(wrong)?;
                match reach {
                    Reach::In => period,
                    Reach::OrAfter => Period { to: None, ..period },
                    Reach::OrBefore => Period {
                        from: None,
                        ..period
                    },
                }
            }
            _ => day()?,
        })
    }

    fn speaks_of_time(self) -> bool {
        matches!(
            self,
            Self::Unit(..)
                | Self::Seven(_)
                | Self::Count(..)
                | Self::On
                | Self::OnOrAfter
                | Self::OnOrBefore
                | Self::FiscalYear
                | Self::FiscalPeriod
                | Self::FiscalPeriodAndYear(_)
        )
    }
}

impl Negated {
    fn opposite(self) -> Operator {
        match self {
            Self::IsNull => Operator::IsNull,
            Self::Like(kind) => Operator::Like(kind),
            Self::In => Operator::In,
            Self::Between => Operator::Between,
            Self::ContainValues => Operator::ContainValues,
            Self::UserId => Operator::UserId,
            Self::BusinessId => Operator::BusinessId,
            Self::Under => Operator::Hierarchy(Hierarchy {
                upwards: false,
                with_itself: false,
            }),
        }
    }
}

impl LikeKind {
    fn pattern(self, text: &str) -> String {
        match self {
            Self::Pattern => text.to_owned(),
            Self::Begin => format!("{text}%"),
            Self::End => format!("%{text}"),
        }
    }
}

/// A quarter of every year that anybody could mean.
fn any_year<'s>(
    context: &Context<'s>,
    term: Term<'s>,
    quarter: i64,
    column: &Column,
) -> Outcome<Condition<'s>> {
    use chrono::Datelike as _;
    let this = i64::from(context.now.year());
    let years = (this - 50..=this + 50).map(|year| {
        let period = Period::fiscal(year, Some(quarter))?;
        Some(Condition::Within(term.clone(), period.from, period.to))
    });
    let all: Option<Vec<Condition<'s>>> = years.collect();
    all.map(Condition::Or)
        .ok_or_else(|| wrong_count(column, "a fiscal period from 1 to 4"))
}

/// Identifiers as SQL keeps them.
pub(crate) fn ids(all: &[Uuid]) -> Vec<Value> {
    all.iter().map(|id| Value::Text(id.to_string())).collect()
}

fn operands_one<'o>(column: &Column, operands: &'o [Operand]) -> Outcome<&'o Operand> {
    match operands {
        [only] => Ok(only),
        _ => Err(wrong_count(column, "one value")),
    }
}

fn values(column: &Column, operands: &[Operand]) -> Outcome<Vec<Value>> {
    if operands.is_empty() {
        return Err(wrong_count(column, "at least one value"));
    }
    operands
        .iter()
        .map(|operand| operand.value(column))
        .collect()
}

fn wrong_count(column: &Column, wanted: &str) -> Fault {
    Fault::argument(format!(
        "The operator for the attribute '{}' takes {wanted}.",
        column.name
    ))
}

impl Operand {
    /// The operand as a value of a column.
    pub(crate) fn value(&self, column: &Column) -> Outcome<Value> {
        let text = self.0.trim();
        let value = match &column.kind {
            Kind::Text { .. } | Kind::Memo { .. } | Kind::EntityName | Kind::Choices { .. } => {
                Some(Value::Text(self.0.clone()))
            }
            Kind::Whole { .. }
            | Kind::Big
            | Kind::Version
            | Kind::Choice { .. }
            | Kind::State { .. }
            | Kind::Status { .. } => text.parse().ok().map(Value::Integer),
            Kind::Decimal { .. } | Kind::Double { .. } | Kind::Money { .. } => text
                .parse::<f64>()
                .ok()
                .filter(|real| real.is_finite())
                .map(Value::Real),
            Kind::Boolean { .. } => match text.to_ascii_lowercase().as_str() {
                "1" | "true" => Some(Value::Integer(1)),
                "0" | "false" => Some(Value::Integer(0)),
                _ => None,
            },
            Kind::DateTime | Kind::Date => {
                moment_of(text).map(|moment| Value::Integer(moment.timestamp()))
            }
            Kind::Guid | Kind::Key | Kind::Lookup { .. } => {
                guid_of(text).map(|id| Value::Text(id.to_string()))
            }
            Kind::Parties { .. } | Kind::Image => None,
        };
        value.ok_or_else(|| self.unfit(column))
    }

    fn whole(&self, column: &Column) -> Outcome<i64> {
        self.0.trim().parse().map_err(|_| self.unfit(column))
    }

    /// How many units; none of them and fewer are refused.
    fn count(&self, column: &Column) -> Outcome<i64> {
        self.whole(column).and_then(|count| {
            if count > 0 {
                return Ok(count);
            }
            Err(Fault::argument(format!(
                "The value '{count}' for the attribute '{}' has to be greater than 0.",
                column.name
            )))
        })
    }

    fn date(&self, column: &Column) -> Outcome<NaiveDate> {
        moment_of(self.0.trim())
            .map(|moment| moment.date_naive())
            .ok_or_else(|| self.unfit(column))
    }

    fn guid(&self, column: &Column) -> Outcome<Uuid> {
        guid_of(self.0.trim()).ok_or_else(|| self.unfit(column))
    }

    fn unfit(&self, column: &Column) -> Fault {
        Fault::argument(format!(
            "The value '{}' is not valid for the attribute '{}' of type '{}'.",
            self.0,
            column.name,
            column.edm()
        ))
    }
}

fn guid_of(text: &str) -> Option<Uuid> {
    text.trim_start_matches('{')
        .trim_end_matches('}')
        .parse()
        .ok()
}

/// Dates and times as people write them into queries.
pub(crate) fn moment_of(text: &str) -> Option<DateTime<Utc>> {
    if let Ok(date) = text.parse::<NaiveDate>() {
        return Some(date.and_time(chrono::NaiveTime::MIN).and_utc());
    }
    if let Ok(moment) = DateTime::parse_from_rfc3339(text) {
        return Some(moment.with_timezone(&Utc));
    }
    [
        "%Y-%m-%dT%H:%M:%S%.f",
        "%Y-%m-%d %H:%M:%S",
        "%Y-%m-%dT%H:%M",
        "%Y-%m-%dT%H:%MZ",
        "%m/%d/%Y %H:%M:%S",
    ]
    .iter()
    .find_map(|form| chrono::NaiveDateTime::parse_from_str(text, form).ok())
    .map(|moment| moment.and_utc())
    .or_else(|| {
        NaiveDate::parse_from_str(text, "%m/%d/%Y")
            .ok()
            .map(|date| date.and_time(chrono::NaiveTime::MIN).and_utc())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_languages_mean_the_same_operators() {
        for (odata, fetch) in [
            ("LastXDays", "last-x-days"),
            ("OlderThanXMinutes", "olderthan-x-minutes"),
            ("Last7Days", "last-seven-days"),
            ("NotIn", "not-in"),
            ("EqualUserId", "eq-userid"),
            ("NotEqualBusinessId", "ne-businessid"),
            ("ThisFiscalYear", "this-fiscal-year"),
            ("UnderOrEqual", "eq-or-under"),
            ("NextXFiscalPeriods", "next-x-fiscal-periods"),
            ("EqualUserOrUserTeams", "eq-useroruserteams"),
            ("DoesNotContainValues", "not-contain-values"),
            (
                "InOrBeforeFiscalPeriodAndYear",
                "in-or-before-fiscal-period-and-year",
            ),
            ("Yesterday", "yesterday"),
        ] {
            assert!(operator(odata).is_some(), "{odata}");
            assert_eq!(operator(odata), operator(fetch), "{odata}");
        }
        for unknown in [
            "",
            "lastxmoons",
            "thisday",
            "olderthanxfiscalyears",
            "LastX",
        ] {
            assert_eq!(operator(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn moments_are_read_as_people_write_them() {
        for text in [
            "2024-03-01",
            "2024-03-01T00:00:00Z",
            "2024-03-01 00:00:00",
            "3/1/2024",
            "2024-03-01T01:00:00+01:00",
        ] {
            assert_eq!(
                moment_of(text).map(|moment| moment.timestamp()),
                Some(1_709_251_200),
                "{text}"
            );
        }
        assert!(moment_of("soon").is_none());
    }
}

//! Stretches of time that filters name: today, the last three months, this fiscal year. Weeks begin
//! on Sunday and fiscal years in January, as in a new organization; days are UTC's.

use chrono::{DateTime, Datelike as _, Days, Months, NaiveDate, TimeDelta, Utc};

/// A half-open stretch of time, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Period {
    pub(crate) from: Option<i64>,
    pub(crate) to: Option<i64>,
}

/// The lengths that periods are counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Year,
    FiscalPeriod,
    FiscalYear,
}

impl Period {
    fn between(from: NaiveDate, to: NaiveDate) -> Self {
        Self {
            from: Some(midnight(from)),
            to: Some(midnight(to)),
        }
    }

    /// One whole day.
    pub(crate) fn day(date: NaiveDate) -> Self {
        Self::between(date, later(date, Unit::Day, 1))
    }

    /// The unit that holds a day, moved by so many units.
    pub(crate) fn unit(now: DateTime<Utc>, unit: Unit, moved: i64) -> Self {
        let begin = later(beginning(now.date_naive(), unit), unit, moved);
        Self::between(begin, later(begin, unit, 1))
    }

    /// The last so many units: whole days for days and longer, up to now.
    pub(crate) fn last(now: DateTime<Utc>, unit: Unit, count: i64) -> Self {
        let from = match unit {
            Unit::Minute | Unit::Hour => {
                floor(now, unit).saturating_sub(seconds(unit).saturating_mul(count))
            }
            Unit::FiscalPeriod | Unit::FiscalYear => midnight(later(
                beginning(now.date_naive(), unit),
                unit,
                count.saturating_neg(),
            )),
            _ => midnight(later(now.date_naive(), unit, count.saturating_neg())),
        };
        let to = match unit {
            Unit::FiscalPeriod | Unit::FiscalYear => midnight(beginning(now.date_naive(), unit)),
            _ => now.timestamp() + 1,
        };
        Self {
            from: Some(from),
            to: Some(to),
        }
    }

    /// The next so many units: from now to the end of the last day.
    pub(crate) fn next(now: DateTime<Utc>, unit: Unit, count: i64) -> Self {
        let to = match unit {
            Unit::Minute | Unit::Hour => floor(now, unit)
                .saturating_add(seconds(unit).saturating_mul(count.saturating_add(1))),
            Unit::FiscalPeriod | Unit::FiscalYear => {
                let begin = later(beginning(now.date_naive(), unit), unit, 1);
                let end = later(begin, unit, count);
                return Self::between(begin, end);
            }
            _ => midnight(later(later(now.date_naive(), unit, count), Unit::Day, 1)),
        };
        Self {
            from: Some(now.timestamp()),
            to: Some(to),
        }
    }

    /// Before the moment that lies so many units back.
    pub(crate) fn older(now: DateTime<Utc>, unit: Unit, count: i64) -> Self {
        let to = match unit {
            Unit::Minute | Unit::Hour => now
                .timestamp()
                .saturating_sub(seconds(unit).saturating_mul(count)),
            _ => midnight(later(now.date_naive(), unit, count.saturating_neg())),
        };
        Self {
            from: None,
            to: Some(to),
        }
    }

    /// A fiscal year, a quarter of it, or that quarter of every year within reach.
    pub(crate) fn fiscal(year: i64, quarter: Option<i64>) -> Option<Self> {
        let year = i32::try_from(year).ok()?;
        let month = match quarter {
            None => 1,
            Some(quarter @ 1..=4) => u32::try_from(quarter).ok()? * 3 - 2,
            Some(_) => return None,
        };
        let begin = NaiveDate::from_ymd_opt(year, month, 1)?;
        let unit = if quarter.is_some() {
            Unit::FiscalPeriod
        } else {
            Unit::FiscalYear
        };
        Some(Self::between(begin, later(begin, unit, 1)))
    }
}

fn midnight(date: NaiveDate) -> i64 {
    date.and_time(chrono::NaiveTime::MIN).and_utc().timestamp()
}

fn seconds(unit: Unit) -> i64 {
    match unit {
        Unit::Minute => 60,
        _ => 3_600,
    }
}

fn floor(now: DateTime<Utc>, unit: Unit) -> i64 {
    let step = seconds(unit);
    now.timestamp().div_euclid(step) * step
}

fn beginning(date: NaiveDate, unit: Unit) -> NaiveDate {
    let first = |month: u32| NaiveDate::from_ymd_opt(date.year(), month, 1).unwrap_or(date);
    match unit {
        Unit::Minute | Unit::Hour | Unit::Day => date,
        Unit::Week => {
            let back = u64::from(date.weekday().num_days_from_sunday());
            date.checked_sub_days(Days::new(back)).unwrap_or(date)
        }
        Unit::Month => first(date.month()),
        Unit::Year | Unit::FiscalYear => first(1),
        Unit::FiscalPeriod => first((date.month() - 1) / 3 * 3 + 1),
    }
}

/// A date moved by units; the calendar's ends hold what would fall off.
fn later(date: NaiveDate, unit: Unit, count: i64) -> NaiveDate {
    let months = |each: i64| {
        let by = Months::new(
            u32::try_from(count.unsigned_abs().saturating_mul(each.unsigned_abs()))
                .unwrap_or(u32::MAX),
        );
        if count < 0 {
            date.checked_sub_months(by)
        } else {
            date.checked_add_months(by)
        }
    };
    let days = |each: i64| {
        let by = TimeDelta::try_days(count.saturating_mul(each))?;
        date.checked_add_signed(by)
    };
    let moved = match unit {
        Unit::Minute | Unit::Hour => Some(date),
        Unit::Day => days(1),
        Unit::Week => days(7),
        Unit::Month => months(1),
        Unit::FiscalPeriod => months(3),
        Unit::Year | Unit::FiscalYear => months(12),
    };
    moved.unwrap_or(if count < 0 {
        NaiveDate::MIN
    } else {
        NaiveDate::MAX
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("a moment")
    }

    fn shown(period: Period) -> String {
        let text = |second: Option<i64>| {
            second.map_or("-".to_owned(), |second| {
                DateTime::from_timestamp(second, 0)
                    .expect("a moment")
                    .format("%Y-%m-%d %H:%M:%S")
                    .to_string()
            })
        };
        format!("{} – {}", text(period.from), text(period.to))
    }

    #[test]
    fn units_are_whole_and_half_open() {
        let now = at("2024-03-31T15:04:05Z");
        assert_eq!(
            shown(Period::unit(now, Unit::Day, -1)),
            "2024-03-30 00:00:00 – 2024-03-31 00:00:00"
        );
        assert_eq!(
            shown(Period::unit(now, Unit::Week, 0)),
            "2024-03-31 00:00:00 – 2024-04-07 00:00:00"
        );
        assert_eq!(
            shown(Period::unit(now, Unit::Month, -1)),
            "2024-02-01 00:00:00 – 2024-03-01 00:00:00"
        );
        assert_eq!(
            shown(Period::unit(now, Unit::Year, 1)),
            "2025-01-01 00:00:00 – 2026-01-01 00:00:00"
        );
        assert_eq!(
            shown(Period::unit(now, Unit::FiscalPeriod, 0)),
            "2024-01-01 00:00:00 – 2024-04-01 00:00:00"
        );
    }

    #[test]
    fn the_last_and_the_next_reach_to_and_from_now() {
        let now = at("2024-03-31T15:04:05Z");
        assert_eq!(
            shown(Period::last(now, Unit::Day, 7)),
            "2024-03-24 00:00:00 – 2024-03-31 15:04:06"
        );
        assert_eq!(
            shown(Period::last(now, Unit::Hour, 1)),
            "2024-03-31 14:00:00 – 2024-03-31 15:04:06"
        );
        assert_eq!(
            shown(Period::last(now, Unit::Month, 1)),
            "2024-02-29 00:00:00 – 2024-03-31 15:04:06"
        );
        assert_eq!(
            shown(Period::next(now, Unit::Day, 1)),
            "2024-03-31 15:04:05 – 2024-04-02 00:00:00"
        );
        assert_eq!(
            shown(Period::older(now, Unit::Month, 1)),
            "- – 2024-02-29 00:00:00"
        );
    }

    #[test]
    fn absurd_counts_do_no_harm() {
        let now = at("2024-03-31T15:04:05Z");
        for unit in [
            Unit::Minute,
            Unit::Hour,
            Unit::Day,
            Unit::Week,
            Unit::Month,
            Unit::Year,
            Unit::FiscalPeriod,
            Unit::FiscalYear,
        ] {
            for count in [i64::MAX, i64::MIN, 0] {
                let _ = (
                    Period::last(now, unit, count),
                    Period::next(now, unit, count),
                    Period::older(now, unit, count),
                );
            }
        }
        assert!(
            Period::fiscal(i64::MAX, None).is_none() && Period::fiscal(2024, Some(5)).is_none()
        );
        assert_eq!(
            shown(Period::fiscal(2024, Some(4)).expect("a quarter")),
            "2024-10-01 00:00:00 – 2025-01-01 00:00:00"
        );
    }
}

//! How much a consumer may take of an account, and how much an account has to give.

use serde::{Deserialize, Serialize};

use crate::account::UnknownWord;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$each:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name {
            $($(#[$each])* $variant),+
        }

        impl $name {
            /// Every one.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word in the API, in the database and on the command line.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }
        }

        impl std::str::FromStr for $name {
            type Err = UnknownWord;
            fn from_str(word: &str) -> Result<Self, UnknownWord> {
                let known = Self::ALL.iter().copied().find(|known| known.as_str() == word);
                known.ok_or_else(|| UnknownWord {
                    what: stringify!($name),
                    word: word.to_owned(),
                    expected: [$($word),+].join(", "),
                })
            }
        }
    };
}

words! {
    /// How a consumer's calls are treated when they compete.
    Priority {
        /// Somebody waits for them; a call can say of itself that it is bulk.
        #[default]
        Interactive = "interactive",
        /// They are a job's; a call cannot say otherwise.
        Bulk = "bulk",
        /// They are a job's, except those that say that somebody waits for them.
        BulkUnlessAsked = "bulk_unless_asked",
    }
}

words! {
    /// What becomes of a call that Dynamics will not take yet.
    OnThrottle {
        /// It waits, as long as its deadline allows.
        #[default]
        Wait = "wait",
        /// It gets the 429 at once, with the time to come back.
        Fail = "fail",
    }
}

/// A number that is out of its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{field} must be between {low} and {high}")]
pub struct OutOfRange {
    /// The property's name.
    pub field: &'static str,
    /// The least.
    pub low: u64,
    /// The most.
    pub high: u64,
}

/// A consumer's part in the limits of accounts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConsumerLimits {
    /// How its calls are treated.
    pub priority: Priority,
    /// Its weight against others of the same priority, 1 to 100.
    pub share: u8,
    /// Calls a second, at most; none means as many as the account allows.
    pub rate: Option<f64>,
    /// Calls that may come at once before the rate holds.
    pub burst: Option<u32>,
    /// What becomes of a call that Dynamics will not take yet.
    pub on_throttle: OnThrottle,
    /// How long a call has in all, where it says nothing itself.
    pub deadline_ms: Option<u64>,
}

impl Default for ConsumerLimits {
    fn default() -> Self {
        Self {
            priority: Priority::default(),
            share: 10,
            rate: None,
            burst: None,
            on_throttle: OnThrottle::default(),
            deadline_ms: None,
        }
    }
}

impl ConsumerLimits {
    /// The longest deadline: an hour.
    pub const DEADLINE_MAX_MS: u64 = 3_600_000;

    /// How many calls may come at once: a second's worth, where it is not set.
    #[must_use]
    pub fn burst(&self) -> u32 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "rates end at a hundred thousand"
        )]
        let second = self.rate.unwrap_or(1.0).ceil().clamp(1.0, 100_000.0) as u32;
        self.burst.unwrap_or(second)
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// When one is out of its range.
    pub fn check(&self) -> Result<(), OutOfRange> {
        within("share", Some(u64::from(self.share)), 1, 100)?;
        within("burst", self.burst.map(u64::from), 1, 100_000)?;
        within("deadline_ms", self.deadline_ms, 1, Self::DEADLINE_MAX_MS)?;
        match self.rate {
            // One in a thousand seconds is the least that means anything.
            Some(rate) if !(0.001..=100_000.0).contains(&rate) => Err(OutOfRange {
                field: "rate",
                low: 0,
                high: 100_000,
            }),
            _ => Ok(()),
        }
    }
}

/// What an account has to give: Microsoft's service protection limits, for a user at one web
/// server. <https://learn.microsoft.com/power-apps/developer/data-platform/api-limits>
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AccountLimits {
    /// Calls at once, of all servers together. Microsoft's page can be read as 51 or 52; two are
    /// left for whoever else uses the account's user.
    pub concurrency: u32,
    /// Requests in a window.
    pub requests: u32,
    /// Combined time of execution in a window.
    pub execution_seconds: u32,
    /// The window.
    pub window_seconds: u32,
    /// What bulk leaves of a window to interactive calls that have not been made yet.
    pub reserve_percent: u8,
}

impl Default for AccountLimits {
    fn default() -> Self {
        Self {
            concurrency: 50,
            requests: 6_000,
            execution_seconds: 1_200,
            window_seconds: 300,
            reserve_percent: 6,
        }
    }
}

impl AccountLimits {
    /// Checks the numbers.
    ///
    /// # Errors
    /// When one is out of its range.
    pub fn check(&self) -> Result<(), OutOfRange> {
        let some = |number: u32| Some(u64::from(number));
        within("concurrency", some(self.concurrency), 1, 1_000)?;
        within("requests", some(self.requests), 1, 1_000_000_000)?;
        within(
            "execution_seconds",
            some(self.execution_seconds),
            1,
            1_000_000,
        )?;
        within("window_seconds", some(self.window_seconds), 1, 3_600)?;
        within(
            "reserve_percent",
            Some(u64::from(self.reserve_percent)),
            1,
            90,
        )
    }
}

fn within(field: &'static str, number: Option<u64>, low: u64, high: u64) -> Result<(), OutOfRange> {
    match number {
        Some(number) if !(low..=high).contains(&number) => Err(OutOfRange { field, low, high }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stored_before_a_property_existed_has_its_default() {
        let old: ConsumerLimits = serde_json::from_str("{}").expect("JSON");
        assert_eq!(old, ConsumerLimits::default());
        let some: ConsumerLimits =
            serde_json::from_str(r#"{"priority": "bulk", "rate": 2.5}"#).expect("JSON");
        assert_eq!((some.priority, some.burst()), (Priority::Bulk, 3));
        let account: AccountLimits = serde_json::from_str("{}").expect("JSON");
        assert_eq!(account, AccountLimits::default());
    }

    #[test]
    fn numbers_out_of_range_are_named() {
        let limits = ConsumerLimits {
            share: 0,
            ..ConsumerLimits::default()
        };
        assert_eq!(limits.check().map_err(|e| e.field), Err("share"));
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let limits = ConsumerLimits {
                rate: Some(rate),
                ..ConsumerLimits::default()
            };
            assert_eq!(limits.check().map_err(|e| e.field), Err("rate"), "{rate}");
        }
        assert!(AccountLimits::default().check().is_ok());
    }

    #[test]
    fn words_are_those_of_json() {
        for priority in Priority::ALL {
            let json = serde_json::to_value(priority).expect("JSON");
            assert_eq!(json.as_str(), Some(priority.as_str()));
            assert_eq!(priority.as_str().parse(), Ok(*priority));
        }
    }
}

//! Fairness under Microsoft's limits.
//!
//! Everyone who calls through an account shares its limits: 6,000 requests and twenty minutes of
//! execution in five minutes, 52 calls at once, for a user at one web server. One program that
//! works through a list can therefore silence every other. Here every account has a [`court`] that
//! lets calls in: interactive ones first, bulk as far as it leaves enough for them, consumers by
//! their shares; and when Microsoft says *later*, later holds for everyone.
//!
//! | file | decides |
//! |---|---|
//! | `told` | what an answer tells about limits |
//! | `few` | maps of mostly one entry |
//! | `window`, `lane` | what one web server still lets through |
//! | `gate` | how many calls may be under way |
//! | `queue` | who goes next |
//! | `rate` | a consumer's own rate |
//! | `pace` | which interactive consumers are jobs in truth |
//! | `court` | all of these for an account; pure |
//! | `admission` | callers that wait for it; timers |
//! | `entry` | the gateway's door, and the words of refusals |
//! | `roll` | which accounts are in use |
//! | `share` | what servers tell each other, and what is kept of the day |

mod admission;
mod court;
mod entry;
mod few;
mod gate;
mod lane;
mod pace;
mod queue;
mod rate;
mod roll;
mod share;
mod told;
mod window;

use std::time::Duration;

use tieline_core::{AccountLimits, ConsumerLimits, OnThrottle, Priority};

use crate::moment::Moment;

pub use admission::Admitted;
pub use told::{Limit, Told};

pub(crate) use admission::{Fair, Standing};
pub(crate) use share::Shown;

/// Microseconds since the program began.
pub(crate) type Micros = u64;
pub(crate) const SECOND: Micros = 1_000_000;

/// How long an interactive call waits for its turn, where nothing else is said. A person listens.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a call of bulk does: less than the timeouts that HTTP clients come with.
const PATIENCE_BULK: Duration = Duration::from_secs(90);

/// How a call is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Somebody waits for it.
    Interactive,
    /// It is one of many.
    Bulk,
}

impl Class {
    fn index(self) -> usize {
        match self {
            Class::Interactive => 0,
            Class::Bulk => 1,
        }
    }

    /// The word in headers and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Interactive => "interactive",
            Class::Bulk => "bulk",
        }
    }

    /// What a call gets that asks for something, by the consumer's settings: down always, up only
    /// where that is allowed.
    #[must_use]
    pub fn of(asked: Option<Class>, priority: Priority) -> Self {
        match (priority, asked) {
            (Priority::Bulk, _) | (_, Some(Class::Bulk)) => Class::Bulk,
            (Priority::BulkUnlessAsked, None) => Class::Bulk,
            (Priority::BulkUnlessAsked | Priority::Interactive, _) => Class::Interactive,
        }
    }
}

/// What a call asks for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wish {
    /// By the header `Tieline-Priority`.
    pub class: Option<Class>,
    /// By the header `Tieline-Deadline`: how long it has in all.
    pub deadline: Option<Duration>,
}

/// A call's wish and its consumer's settings together.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// How it is treated.
    pub class: Class,
    /// When it came.
    came: Moment,
    /// When its answer must have begun.
    pub deadline: Option<tokio::time::Instant>,
    /// When it stops waiting for its turn.
    pub(crate) give_up: tokio::time::Instant,
    /// Whether a 429 of Dynamics is waited out.
    pub waits: bool,
}

impl Terms {
    /// Puts a wish and settings together, for a call that came at this moment.
    #[must_use]
    pub fn of(wish: &Wish, limits: &ConsumerLimits, came: Moment) -> Self {
        let class = Class::of(wish.class, limits.priority);
        let whole = wish
            .deadline
            .or(limits.deadline_ms.map(Duration::from_millis));
        // The answer must be out before the deadline, not at it.
        let early = |whole: Duration| whole.saturating_sub((whole / 20).min(MARGIN));
        let deadline = whole.map(|whole| came.steady + early(whole));
        let patience = match class {
            Class::Interactive => PATIENCE,
            Class::Bulk => PATIENCE_BULK,
        };
        let waits = limits.on_throttle == OnThrottle::Wait;
        Self {
            class,
            came,
            deadline,
            give_up: deadline.unwrap_or(came.steady + patience),
            waits,
        }
    }
}

/// What it takes to say no.
const MARGIN: Duration = Duration::from_millis(50);

/// Microsoft's numbers, as far as settings or Microsoft itself do not say otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rules {
    pub(crate) requests: u64,
    pub(crate) execution: Micros,
    pub(crate) window: Micros,
    pub(crate) concurrency: u32,
    pub(crate) reserve_percent: u8,
}

impl Rules {
    pub(crate) fn of(limits: &AccountLimits) -> Self {
        Self {
            requests: u64::from(limits.requests),
            execution: u64::from(limits.execution_seconds) * SECOND,
            window: u64::from(limits.window_seconds) * SECOND,
            concurrency: limits.concurrency,
            reserve_percent: limits.reserve_percent,
        }
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self::of(&AccountLimits::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_lowers_always_and_raises_where_that_is_allowed() {
        use Class::{Bulk, Interactive};
        for (priority, asked, got) in [
            (Priority::Interactive, None, Interactive),
            (Priority::Interactive, Some(Bulk), Bulk),
            (Priority::Bulk, None, Bulk),
            (Priority::Bulk, Some(Interactive), Bulk),
            (Priority::BulkUnlessAsked, None, Bulk),
            (Priority::BulkUnlessAsked, Some(Interactive), Interactive),
        ] {
            assert_eq!(Class::of(asked, priority), got, "{priority:?} {asked:?}");
        }
    }
}

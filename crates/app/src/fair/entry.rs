//! The gateway's door: what a call is let in by, and the words when it is not.

use std::time::Duration;

use super::admission::{Admitted, Turned};
use super::share::flow_of;
use super::{Class, Terms, Wish};
use crate::app::App;
use crate::error::{Refused, Who};
use crate::lines::{CallerPass, Line};
use crate::moment::Moment;

impl App {
    /// On what terms a consumer's call waits for its turn, which came at this moment.
    #[must_use]
    pub fn call_terms(&self, caller: &CallerPass, wish: &Wish, came: Moment) -> Terms {
        Terms::of(wish, &caller.limits, came)
    }

    /// Lets a call in: at once, or when its turn has come.
    ///
    /// # Errors
    /// When its turn does not come in time, or may not.
    pub async fn call_admit(
        &self,
        caller: &CallerPass,
        line: &Line,
        terms: &Terms,
    ) -> Result<Admitted, Refused> {
        let standing = &line.standing;
        if caller.limits.rate.is_some() {
            let servers = standing.sharers();
            let limits = &caller.limits;
            let rated = self.0.fair.rate(caller.consumer_id, limits, terms, servers);
            Box::pin(rated)
                .await
                .map_err(|turned| refusal(turned, caller, line))?;
        }
        let flow = flow_of(caller.consumer_id);
        let admitted = standing.admit(flow, caller.limits.share, terms);
        admitted
            .await
            .map_err(|turned| refusal(turned, caller, line))
    }

    /// Lets a call in whose time is measured anew, after Dynamics refused it.
    ///
    /// # Errors
    /// As [`App::call_admit`]; the consumer's own rate does not count it twice.
    pub async fn call_admit_again(
        &self,
        caller: &CallerPass,
        line: &Line,
        terms: &Terms,
    ) -> Result<Admitted, Refused> {
        let standing = &line.standing;
        let flow = flow_of(caller.consumer_id);
        let admitted = standing.admit(flow, caller.limits.share, terms);
        admitted
            .await
            .map_err(|turned| refusal(turned, caller, line))
    }
}

impl Terms {
    /// Whether a pause can be waited out.
    #[must_use]
    pub fn outlasts(&self, pause: Duration) -> bool {
        self.waits && tokio::time::Instant::now() + pause < self.give_up
    }
}

impl Class {
    /// The word of a header.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        [Class::Interactive, Class::Bulk]
            .into_iter()
            .find(|class| class.as_str().eq_ignore_ascii_case(word.trim()))
    }
}

fn refusal(turned: Turned, caller: &CallerPass, line: &Line) -> Refused {
    let account = &line.name;
    let (who, code, detail, after) = match turned {
        Turned::Paused(after) => (
            Who::Dynamics,
            "account-throttled",
            format!(
                "Dynamics lets the account '{account}' do no more for now: its service protection \
                 limits are used up. Call again when Retry-After says."
            ),
            after,
        ),
        Turned::Full(after) => (
            Who::Tieline,
            "queue-full",
            format!(
                "Too many calls wait for the account '{account}'. Send fewer at a time, and call \
                 again when Retry-After says."
            ),
            after,
        ),
        Turned::TimeUp(after) => (
            Who::Tieline,
            "queue-timeout",
            format!(
                "The call's turn at the account '{account}' did not come in time. Send fewer at a \
                 time, or allow more with the header Tieline-Deadline."
            ),
            after,
        ),
        Turned::Rate(after) => (
            Who::Consumer,
            "consumer-rate-limited",
            format!(
                "The consumer '{}' calls more often than its rate allows. An administrator sets \
                 the rate under Consumers.",
                caller.consumer_name
            ),
            after,
        ),
    };
    metrics::counter!("tieline_fair_refused_total", "code" => code).increment(1);
    Refused {
        retry_after: Some(after.max(Duration::from_secs(1))),
        ..Refused::new(who, 429, code, detail)
    }
}

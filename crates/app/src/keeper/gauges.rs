//! What the keeper says of itself once a minute. Counters and durations are recorded where they
//! arise; this is what has to be looked up, which is too dear for every scrape.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tieline_core::ConnectionState;

use super::Keeper;
use super::schedule::is_unused;
use crate::moment::Moment;

/// What was found in memory.
#[derive(Debug, Default)]
struct Held {
    accounts: u32,
    tokens: u32,
    first_end: Option<DateTime<Utc>>,
    oldest: Option<DateTime<Utc>>,
}

impl Keeper {
    /// Looks through memory and asks the database, and sets the gauges.
    pub(super) async fn measure(&self) {
        let (keeper, now) = (self.clone(), self.moment());
        // A million slots take a while to walk past, and calls should not wait for it.
        let walked = tokio::task::spawn_blocking(move || keeper.walk(now)).await;
        if let Ok(held) = walked {
            let seconds = |span: chrono::TimeDelta| span.to_std().map_or(0.0, |s| s.as_secs_f64());
            metrics::gauge!("tieline_accounts_held").set(held.accounts);
            metrics::gauge!("tieline_tokens_held").set(held.tokens);
            let first = held.first_end.map_or(0.0, |end| seconds(end - now.wall()));
            metrics::gauge!("tieline_token_first_expiry_seconds").set(first);
            let oldest = held.oldest.map_or(0.0, |at| seconds(now.wall() - at));
            metrics::gauge!("tieline_token_oldest_age_seconds").set(oldest);
        }
        self.measure_database(now.wall()).await;
    }

    /// Counts what is held, and drops what nobody uses.
    fn walk(&self, now: Moment) -> Held {
        let mut found = Held::default();
        let slots = self.0.slots.pin();
        for (account, slot) in &slots {
            let token = slot.peek(|token| {
                let valid = token.is_valid(now);
                valid.then(|| (token.expires_at(), token.obtained_at()))
            });
            let token = token.flatten();
            if is_unused(slot, now.wall()) {
                self.forget_unused(*account, now.wall());
                continue;
            }
            found.accounts += 1;
            if let Some((end, since)) = token {
                found.tokens += 1;
                found.first_end = Some(found.first_end.map_or(end, |first| first.min(end)));
                found.oldest = Some(found.oldest.map_or(since, |oldest| oldest.min(since)));
            }
        }
        found
    }

    async fn measure_database(&self, now: DateTime<Utc>) {
        let store = &self.0.store;
        match store.token_next_due().await {
            Ok(first) => {
                let late = first.and_then(|first| (now - first).to_std().ok());
                metrics::gauge!("tieline_renewal_overdue_seconds")
                    .set(late.unwrap_or(Duration::ZERO).as_secs_f64());
            }
            Err(error) => tracing::debug!(%error, "the first renewal due could not be read"),
        }
        match store.accounts_by_state().await {
            Ok(counted) => {
                for state in ConnectionState::ALL {
                    let found = counted.iter().find(|(word, _)| word == state.as_str());
                    let count = found.map_or(0, |(_, count)| *count);
                    let count = u32::try_from(count).unwrap_or(u32::MAX);
                    metrics::gauge!("tieline_accounts", "state" => state.as_str()).set(count);
                }
            }
            Err(error) => tracing::debug!(%error, "accounts could not be counted"),
        }
    }
}

//! The task that renews tokens ahead of time, and keeps accounts alive that nobody uses.
//!
//! Its cost goes by what is due: one indexed statement claims accounts, so that no two servers work
//! through the same ones, and as many renewals run as there are places for.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tieline_core::AccountId;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::slot::{Joined, Slot};
use super::timing::FURTHEST_PLAN;
use super::{Keeper, Need};

/// How often the schedule looks when there was nothing to do.
const TICK: Duration = Duration::from_secs(1);
/// Renewals of the schedule that run side by side.
const PLACES: usize = 128;
/// How long a claimed account is left to its claimant: long enough for a slow token service, short
/// enough that a server which died is not missed.
const CLAIM: TimeDelta = TimeDelta::seconds(30);
/// How often the plans are looked through for ones that were made while the clock was wrong, and
/// the memory for what nobody uses.
const UPKEEP: Duration = Duration::from_secs(60);
/// How far the wall clock may run from the steady one between two looks.
const JUMP: TimeDelta = TimeDelta::seconds(30);
/// What nobody used for this long is not kept in memory.
const UNUSED: i64 = 3600;

impl Keeper {
    /// Renews what is due until `stop` is cancelled.
    pub(crate) async fn run_schedule(&self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.renew_what_is_due() => {}
        }
    }

    async fn renew_what_is_due(&self) {
        let places = Arc::new(Semaphore::new(PLACES));
        let mut watch = ClockWatch::new(self);
        loop {
            if watch.jumped(self) || watch.upkeep_is_due() {
                self.upkeep().await;
            }
            // Nothing is claimed before there is a place for it.
            let Ok(first) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            drop(first);
            let free = places.available_permits();
            // What waits for a token service that is back, or looks whether it is, comes first.
            let mut due = self.0.gates.next_in_line(Instant::now(), free);
            if due.len() < free {
                due.extend(self.claim(free - due.len()).await);
            }
            let more = due.len() == free;
            for (account, generation) in due {
                let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                    return;
                };
                let keeper = self.clone();
                tokio::spawn(async move {
                    keeper.renew_due(account, generation).await;
                    drop(place);
                });
            }
            if !more {
                tokio::time::sleep(TICK).await;
            }
        }
    }

    async fn claim(&self, limit: usize) -> Vec<(AccountId, i64)> {
        let now = self.0.clock.now();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        match self.0.store.tokens_claim(now, now + CLAIM, limit).await {
            Ok(claimed) => claimed,
            Err(error) => {
                tracing::warn!(%error, "the renewals that are due could not be read");
                tokio::time::sleep(TICK).await;
                Vec::new()
            }
        }
    }

    async fn renew_due(&self, account: AccountId, generation: i64) {
        let slot = self.slot(account);
        if let Joined::Flight(flight) = self.join(account, &slot, Need::Due(generation)) {
            // A failure is recorded and logged where it happened.
            let _ = flight.await;
        }
    }

    async fn upkeep(&self) {
        let now = self.0.clock.now();
        match self.0.store.tokens_replan(now, now + FURTHEST_PLAN).await {
            Ok(0) => {}
            Ok(count) => {
                tracing::warn!(
                    count,
                    "renewals that a wrong clock had planned were brought back"
                );
            }
            Err(error) => {
                tracing::warn!(%error, "the plans of renewals could not be looked through")
            }
        }
        self.measure().await;
    }

    /// Drops an account from memory that only the schedule came for: there may be a million. What
    /// somebody else holds is left.
    pub(super) fn forget_unused(&self, account: AccountId, now: DateTime<Utc>) {
        let unused =
            |_: &AccountId, held: &Arc<Slot>| Arc::strong_count(held) == 1 && is_unused(held, now);
        let _ = self.0.slots.pin().remove_if(&account, unused);
    }
}

/// Whether nothing is lost with a slot but a token that is in the database too.
pub(super) fn is_unused(slot: &Slot, now: DateTime<Utc>) -> bool {
    i64::from(slot.last_use()) < now.timestamp() - UNUSED && slot.is_idle()
}

/// Sees the wall clock jump.
struct ClockWatch {
    wall: DateTime<Utc>,
    steady: Instant,
    upkeep: Instant,
}

impl ClockWatch {
    fn new(keeper: &Keeper) -> Self {
        let now = keeper.moment();
        Self {
            wall: now.wall(),
            steady: now.steady,
            upkeep: now.steady,
        }
    }

    fn jumped(&mut self, keeper: &Keeper) -> bool {
        let now = keeper.moment();
        let steady = now.steady.saturating_duration_since(self.steady);
        let expected = self.wall + TimeDelta::from_std(steady).unwrap_or_default();
        (self.wall, self.steady) = (now.wall(), now.steady);
        let off = now.wall() - expected;
        let jumped = off.abs() > JUMP;
        if jumped {
            tracing::warn!(seconds = off.num_seconds(), "this machine's clock was set");
        }
        jumped
    }

    fn upkeep_is_due(&mut self) -> bool {
        let now = Instant::now();
        let due = now >= self.upkeep;
        if due {
            self.upkeep = now + UPKEEP;
        }
        due
    }
}

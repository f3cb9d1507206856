//! What servers tell each other about an account's limits, and what is kept of the day.
//!
//! A pause travels at once, by the change feed. Everything else is written down every two seconds
//! for accounts that were used meanwhile: what this server sees, a beat by which the others know
//! that it lives, and what consumers used. Servers that beat share an account's places; whether one
//! does is told by its beat going on, so that their clocks need not agree.
//!
//! A thousand accounts are written down at a time, those whose places are short before the others.
//! Where more are in use, each has its turn later and its sums are larger then: with a hundred
//! thousand of them, rows would otherwise cost more than the calls that they tell of, and renewals
//! would wait for the database.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use tieline_core::{AccountId, ConsumerId};
use tieline_store::{Change, LimitUse, ServerShare, StoreError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use ulid::Ulid;

use super::admission::{Pause, Standing};
use super::court::{Court, Tally};
use super::few::Few;
use super::queue::Flow;
use super::roll::Load;
use super::{Class, Micros};
use crate::app::App;
use crate::maps::{HashMap, HashSet};

/// How often what was seen is written down.
const TICK: Duration = Duration::from_secs(2);
/// Accounts that are written down at a time.
const BATCH: usize = 1_000;
/// A server whose beat has stopped for so long is no longer counted.
const SILENCE: Duration = Duration::from_secs(7);
/// How far back rows of others are read.
const LOOK_BACK: TimeDelta = TimeDelta::hours(1);
/// Ticks between two prunings.
const PRUNE: u32 = 300;

/// What a server sees of an account; JSON in the database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Shown {
    /// Requests left at the web servers seen, and what of their limits is ours.
    pub(crate) requests_left: Option<i64>,
    pub(crate) requests_ours: Option<i64>,
    pub(crate) execution_left_ms: Option<i64>,
    pub(crate) execution_ours_ms: Option<i64>,
    pub(crate) web_servers: usize,
    pub(crate) in_use: u32,
    pub(crate) in_use_bulk: u32,
    pub(crate) allowed: u32,
    pub(crate) allowed_bulk: u32,
    pub(crate) waiting: usize,
    pub(crate) waiting_bulk: usize,
    pub(crate) paused_ms: u64,
}

impl Shown {
    fn of(court: &mut Court, now: Micros) -> Self {
        let bound = court.bound();
        court.gate.grow(now, bound);
        let room = court.room(now);
        let millis = |micros: i64| micros / 1_000;
        Self {
            requests_left: room.map(|(requests, _)| requests.left.max(0)),
            requests_ours: room.map(|(requests, _)| requests.ours.max(0)),
            execution_left_ms: room.map(|(_, time)| millis(time.left.max(0))),
            execution_ours_ms: room.map(|(_, time)| millis(time.ours.max(0))),
            web_servers: court.web_servers(),
            in_use: court.gate.running(),
            in_use_bulk: court.gate.running_of(Class::Bulk),
            allowed: court.gate.allowed(bound),
            allowed_bulk: court.gate.allowed_bulk(bound),
            waiting: court.queue.waiting(Class::Interactive),
            waiting_bulk: court.queue.waiting(Class::Bulk),
            paused_ms: court.paused_until.saturating_sub(now) / 1_000,
        }
    }

    fn is_busy(&self) -> bool {
        self.in_use > 0 || self.waiting > 0 || self.waiting_bulk > 0 || self.paused_ms > 0
    }
}

/// What a tick has to write.
#[derive(Debug, Default)]
struct Harvest {
    shares: Vec<ServerShare>,
    uses: Vec<(AccountId, LimitUse)>,
}

/// Which servers live, as far as this one has seen.
#[derive(Debug, Default)]
pub(crate) struct Neighbours {
    beats: HashMap<(AccountId, String), (i64, Instant)>,
    /// Accounts whose places this server shares with others.
    shared: HashSet<AccountId>,
}

impl Neighbours {
    /// Takes note of the others' beats; gives how many of them use each account.
    fn heard(&mut self, rows: &[ServerShare], now: Instant) -> HashMap<AccountId, u32> {
        for row in rows {
            let key = (row.account, row.server.clone());
            let last = self.beats.entry(key).or_insert((row.beat, now));
            if last.0 != row.beat {
                *last = (row.beat, now);
            }
        }
        let listed: HashSet<(AccountId, &str)> = rows
            .iter()
            .map(|row| (row.account, row.server.as_str()))
            .collect();
        // A beat that has stopped is remembered as long as its row stands: it is no new one.
        self.beats
            .retain(|(account, server), _| listed.contains(&(*account, server.as_str())));
        let mut counts = HashMap::default();
        for ((account, _), (_, at)) in &self.beats {
            if now.saturating_duration_since(*at) < SILENCE {
                *counts.entry(*account).or_default() += 1;
            }
        }
        counts
    }
}

impl App {
    /// Tells the other servers, and listens to them, until `stop` is cancelled.
    pub(crate) async fn share_limits(&self, stop: CancellationToken) {
        // A second server on the same use cases, as in tests, has the same runtime.
        let _ = self.0.fair.hub.home.set(tokio::runtime::Handle::current());
        let told = self.0.fair.told.lock();
        let mut told = told.unwrap_or_else(PoisonError::into_inner).take();
        let mut neighbours = Neighbours::default();
        let mut beat = 0;
        if let Err(error) = self.limits_begin().await {
            tracing::warn!(%error, "limits of accounts could not be read");
        }
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let pause = async {
                match &mut told {
                    Some(told) => told.recv().await,
                    None => None,
                }
            };
            tokio::select! {
                () = stop.cancelled() => break,
                Some(pause) = pause => self.tell_pause(pause).await,
                _ = tick.tick() => {
                    beat += 1;
                    let ticked = self.limits_tick(beat, &mut neighbours).await;
                    if let Err(error) = ticked {
                        tracing::warn!(%error, "what was used of accounts could not be shared");
                    }
                }
            }
        }
        // What was used last is still to be counted.
        if let Err(error) = self.limits_flush().await {
            tracing::warn!(%error, "what was used of accounts could not be written down");
        }
    }

    async fn limits_begin(&self) -> Result<(), StoreError> {
        self.limits_reload().await?;
        let now = self.now();
        for (account, until) in self.store().account_pauses(now).await? {
            self.paused_until(account, until);
        }
        Ok(())
    }

    /// Reads the limits that accounts have of their own.
    pub(crate) async fn limits_reload(&self) -> Result<(), StoreError> {
        let limits = self.store().account_limits().await?;
        self.0.fair.limits_are(limits.into_iter().collect());
        Ok(())
    }

    /// What the change feed says of limits: a pause ends when its number says.
    pub(crate) fn limit_changed(&self, change: &Change) {
        let until = DateTime::from_timestamp_millis(change.generation);
        if let (Ok(account), Some(until)) = (change.id.parse(), until) {
            self.paused_until(account, until);
        }
    }

    /// A pause that another server was told of; its end is by the wall clock.
    fn paused_until(&self, account: AccountId, until: DateTime<Utc>) {
        if let Ok(lasts) = (until - self.now()).to_std() {
            self.0.fair.paused_elsewhere(account, lasts);
        }
    }

    async fn tell_pause(&self, pause: Pause) {
        let now = self.now();
        let lasts = TimeDelta::from_std(pause.lasts).unwrap_or_default();
        let told = self.store().account_pause(pause.account, now + lasts, now);
        if let Err(error) = told.await {
            // The others learn of it from Microsoft.
            tracing::warn!(%error, "a pause could not be told to other servers");
        }
    }

    async fn limits_tick(&self, beat: u32, neighbours: &mut Neighbours) -> Result<(), StoreError> {
        if let Some(load) = self.0.fair.hub.roll.walk(self.0.fair.hub.now()) {
            gauges(load);
        }
        let harvest = self.limits_harvest(BATCH, Some(beat));
        if !harvest.shares.is_empty() || !neighbours.shared.is_empty() {
            let since = self.now() - LOOK_BACK;
            let me = self.0.fair.server();
            let rows = self.store().limit_servers_besides(me, since).await?;
            let others = neighbours.heard(&rows, Instant::now());
            self.share_places(neighbours, &others);
        }
        self.limits_write(harvest).await?;
        if beat.is_multiple_of(PRUNE) {
            self.store().limits_prune(self.now()).await?;
        }
        Ok(())
    }

    fn share_places(&self, neighbours: &mut Neighbours, others: &HashMap<AccountId, u32>) {
        let before = std::mem::take(&mut neighbours.shared);
        for account in before.union(&others.keys().copied().collect()) {
            let sharers = others.get(account).map_or(1, |others| 1 + others);
            let Some(standing) = self.0.fair.standing_known(*account) else {
                continue;
            };
            standing.sharers_are(sharers);
        }
        neighbours.shared = others.keys().copied().collect();
    }

    /// Writes down what was used and is not written down yet.
    pub(crate) async fn limits_flush(&self) -> Result<(), StoreError> {
        // Not for as long as there is something: where calls go on, there always is.
        for _ in 0..=self.0.fair.hub.roll.unwritten() / BATCH {
            let harvest = self.limits_harvest(BATCH, None);
            self.limits_write(harvest).await?;
        }
        Ok(())
    }

    /// The same for one account.
    pub(crate) async fn limits_flush_of(&self, account: AccountId) -> Result<(), StoreError> {
        let Some(standing) = self.0.fair.standing_known(account) else {
            return Ok(());
        };
        let harvest = self.limits_harvest_of(vec![standing], None);
        self.limits_write(harvest).await
    }

    async fn limits_write(&self, harvest: Harvest) -> Result<(), StoreError> {
        let now = self.now();
        let written = self
            .store()
            .limits_share(&harvest.shares, &harvest.uses, now);
        let written = written.await;
        if written.is_err() {
            // It is counted again with what comes.
            for (account, used) in harvest.uses {
                let standing = self.0.fair.standing(account);
                standing.change(|court, _| put_back(court, &used));
            }
        }
        written
    }

    fn limits_harvest(&self, most: usize, beat: Option<u32>) -> Harvest {
        self.limits_harvest_of(self.0.fair.hub.roll.next_unwritten(most), beat)
    }

    fn limits_harvest_of(&self, standings: Vec<Arc<Standing>>, beat: Option<u32>) -> Harvest {
        let now = self.now();
        let mut harvest = Harvest::default();
        for standing in standings {
            let account = standing.account();
            let taken = standing.take(|court, now| {
                let tallies = std::mem::take(&mut court.tallies);
                let paused = std::mem::take(&mut court.throttled);
                (Shown::of(court, now), tallies, paused)
            });
            let Some((shown, tallies, paused_for)) = taken else {
                continue;
            };
            let used = uses(&tallies, paused_for);
            if let Some(beat) = beat
                && (shown.is_busy() || !used.is_empty())
            {
                harvest.shares.push(ServerShare {
                    account,
                    server: self.0.fair.server().to_owned(),
                    beat: i64::from(beat),
                    at: now,
                    shown: serde_json::to_string(&shown).unwrap_or_default(),
                });
            }
            harvest
                .uses
                .extend(used.into_iter().map(|used| (account, used)));
        }
        harvest
    }

    /// What this server sees of an account now.
    pub(crate) fn limits_shown(&self, account: AccountId) -> Option<Shown> {
        self.0.fair.standing(account).look_at(Shown::of)
    }
}

/// Sums over accounts: one series each, however many accounts there are.
fn gauges(load: Load) {
    metrics::gauge!("tieline_fair_in_use").set(f64::from(load.in_use));
    metrics::gauge!("tieline_fair_waiting").set(f64::from(load.waiting));
    metrics::gauge!("tieline_fair_paused_accounts").set(f64::from(load.paused));
}

fn uses(tallies: &Few<Flow, Tally>, paused: Micros) -> Vec<LimitUse> {
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let mut uses: Vec<LimitUse> = tallies
        .iter()
        .filter(|(_, tally)| **tally != Tally::default())
        .map(|(flow, tally)| LimitUse {
            consumer: consumer_of(flow),
            calls: i64::from(tally.calls),
            bulk: i64::from(tally.bulk),
            refused: i64::from(tally.refused),
            throttled: i64::from(tally.throttled),
            waited_ms: signed(tally.waited / 1_000),
            paused_ms: 0,
        })
        .collect();
    if paused > 0 {
        uses.push(LimitUse {
            paused_ms: signed(paused / 1_000),
            ..LimitUse::default()
        });
    }
    uses
}

fn put_back(court: &mut Court, used: &LimitUse) {
    let unsigned = |number: i64| u64::try_from(number).unwrap_or_default();
    court.throttled += unsigned(used.paused_ms) * 1_000;
    let Some(flow) = flow_named(&used.consumer) else {
        return;
    };
    let tally = court.tally(flow);
    let number = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
    tally.calls = tally.calls.saturating_add(number(used.calls));
    tally.bulk = tally.bulk.saturating_add(number(used.bulk));
    tally.refused = tally.refused.saturating_add(number(used.refused));
    tally.throttled = tally.throttled.saturating_add(number(used.throttled));
    tally.waited += unsigned(used.waited_ms) * 1_000;
}

/// A consumer, to the queue: the number that its identifier is.
pub(crate) fn flow_of(consumer: ConsumerId) -> Flow {
    consumer.as_u128()
}

fn flow_named(consumer: &str) -> Option<Flow> {
    Ulid::from_string(consumer).ok().map(|id| id.0)
}

fn consumer_of(flow: Flow) -> String {
    Ulid(flow).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(account: AccountId, server: &str, beat: i64) -> ServerShare {
        ServerShare {
            account,
            server: server.to_owned(),
            beat,
            at: DateTime::UNIX_EPOCH,
            shown: String::new(),
        }
    }

    #[test]
    fn servers_count_as_long_as_they_beat() {
        let account = AccountId::generate(DateTime::UNIX_EPOCH);
        let mut neighbours = Neighbours::default();
        let began = Instant::now();
        let mut heard = |seconds: u64, rows: &[ServerShare]| {
            let now = began + Duration::from_secs(seconds);
            let counts = neighbours.heard(rows, now);
            counts.get(&account).copied().unwrap_or_default()
        };
        assert_eq!(heard(0, &[row(account, "a", 1)]), 1);
        assert_eq!(heard(5, &[row(account, "a", 2)]), 1);
        assert_eq!(heard(10, &[row(account, "a", 2)]), 1);
        assert_eq!(heard(15, &[row(account, "a", 2)]), 0);
        assert_eq!(heard(16, &[row(account, "a", 2)]), 0);
        assert_eq!(heard(20, &[row(account, "a", 3)]), 1);
    }

    #[test]
    fn a_consumer_keeps_its_name() {
        let id = ConsumerId::generate(DateTime::UNIX_EPOCH);
        assert_eq!(consumer_of(flow_of(id)), id.to_string());
    }
}

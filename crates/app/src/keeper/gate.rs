//! The way to a token service, shared by all accounts that use it.
//!
//! A thousand accounts whose token service is down would each try again and again; behind one gate
//! they make one probe every few seconds. The gate shuts when several accounts in a row met trouble
//! that is the service's and not theirs, lets single attempts through as probes, and opens with the
//! first one that is answered. It also bounds how many requests run side by side, so that a service
//! that comes back is not run over.
//!
//! Who was turned away stands in line: the schedule takes the probes from there, and with the first
//! answer all the others, so that accounts which nobody calls are back as soon as those in use.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use papaya::HashMap as ConcurrentMap;
use tieline_core::{AccountId, Evidence};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use url::Url;

use super::timing::jitter;

/// Requests to one token service that run side by side.
const SIDE_BY_SIDE: usize = 64;
/// Failures in a row, of more than one account, that shut the gate.
const SHUTS_AFTER: u32 = 3;
/// Pause before the first probe; grows by half with each that fails.
const FIRST_PROBE: Duration = Duration::from_secs(2);
/// Longest pause between probes.
const LONGEST_PROBE: Duration = Duration::from_secs(5);
/// Longest pause that a service can ask all accounts for: recovery must be noticed in a minute.
const LONGEST_ASKED: Duration = Duration::from_secs(45);

/// Accounts that stand in line: some five megabytes. The others come by their own plans.
const LONGEST_LINE: usize = 100_000;

/// See [`Gate::opened_lately`].
const LATELY: Duration = Duration::from_secs(60);

/// The gates of every token service in use.
#[derive(Debug, Default)]
pub(super) struct Gates(ConcurrentMap<String, Arc<Gate>>);

/// The gate of one token service.
#[derive(Debug)]
pub(super) struct Gate {
    permits: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Failures in a row.
    failures: u32,
    last: Option<AccountId>,
    shut: Option<Shut>,
    /// Counts openings: what was concluded before one is void after it.
    openings: u64,
    opened_at: Option<Instant>,
    line: Line,
}

/// Accounts that were turned away, with the generations of their tokens.
#[derive(Debug, Default)]
struct Line {
    first_come: VecDeque<(AccountId, i64)>,
    known: HashSet<AccountId>,
}

#[derive(Debug)]
struct Shut {
    pause: Duration,
    next_probe: Instant,
    probing: Probing,
    trouble: Trouble,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probing {
    Yes,
    No,
}

/// What is wrong with a token service.
#[derive(Debug, Clone)]
pub(super) struct Trouble {
    /// Stable code with a text.
    pub(super) code: &'static str,
    /// What was seen.
    pub(super) evidence: Box<Evidence>,
    /// The pause that was asked for.
    pub(super) asked: Option<Duration>,
}

/// How a request went, as far as the service goes.
#[derive(Debug)]
pub(super) enum Health {
    /// It answered.
    Well,
    /// It is in trouble.
    Ill(Trouble),
}

/// The gate is shut.
#[derive(Debug)]
pub(super) struct ShutOut {
    /// When a probe is let through.
    pub(super) retry_after: Duration,
    /// Why.
    pub(super) trouble: Trouble,
}

/// Leave to make a request.
#[derive(Debug)]
pub(super) struct Pass {
    gate: Arc<Gate>,
    account: AccountId,
    probe: Probing,
    _permit: OwnedSemaphorePermit,
}

impl Gates {
    /// Whose turn it is at any of the gates, up to so many.
    pub(super) fn next_in_line(&self, now: Instant, most: usize) -> Vec<(AccountId, i64)> {
        let mut found = Vec::new();
        for gate in self.0.pin().values() {
            found.extend(gate.next_in_line(now, most - found.len()));
        }
        found
    }

    /// The gate of a token endpoint's host.
    pub(super) fn of(&self, endpoint: &str) -> Arc<Gate> {
        let host = Url::parse(endpoint)
            .map(|url| url.origin().ascii_serialization())
            .unwrap_or_default();
        Arc::clone(self.0.pin().get_or_insert_with(host, Arc::default))
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            permits: Arc::new(Semaphore::new(SIDE_BY_SIDE)),
            state: Mutex::default(),
        }
    }
}

impl Gate {
    /// Waits for leave to make a request.
    pub(super) async fn enter(self: &Arc<Self>, account: AccountId) -> Result<Pass, ShutOut> {
        self.look(Instant::now())?;
        // The semaphore is never closed, so the only error cannot happen; it would be a bound lost.
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let Ok(permit) = permit else {
            return Err(self.closed());
        };
        // It may have been shut while we waited.
        let probe = self.begin(Instant::now())?;
        Ok(Pass {
            gate: Arc::clone(self),
            account,
            probe,
            _permit: permit,
        })
    }

    /// Puts in line an account that was turned away; the gate may have opened since.
    pub(super) fn line_up(&self, account: AccountId, generation: i64) {
        self.lock().line.add(account, generation);
    }

    /// Puts in line an account that met the trouble itself, while that is everybody's: otherwise
    /// its own pause holds.
    pub(super) fn line_up_if_shut(&self, account: AccountId, generation: i64) {
        let mut state = self.lock();
        if state.shut.is_some() {
            state.line.add(account, generation);
        }
    }

    /// Whose turn it is: one account's for the next probe, or, once the gate is open, up to so many.
    pub(super) fn next_in_line(&self, now: Instant, most: usize) -> Vec<(AccountId, i64)> {
        let mut state = self.lock();
        let count = match &state.shut {
            Some(shut) if shut.probing == Probing::Yes || shut.next_probe > now => 0,
            Some(_) => most.min(1),
            None => most,
        };
        state.line.take(count)
    }

    /// Counts openings.
    pub(super) fn openings(&self) -> u64 {
        self.lock().openings
    }

    /// Whether it has opened within the longest pause that accounts make: pauses that were written
    /// down before are void.
    pub(super) fn opened_lately(&self, now: Instant) -> bool {
        let opened_at = self.lock().opened_at;
        opened_at.is_some_and(|at| now.saturating_duration_since(at) < LATELY)
    }

    fn closed(&self) -> ShutOut {
        ShutOut {
            retry_after: FIRST_PROBE,
            trouble: Trouble {
                code: "token-service-busy",
                evidence: Box::default(),
                asked: None,
            },
        }
    }

    fn look(&self, now: Instant) -> Result<(), ShutOut> {
        match &self.lock().shut {
            Some(shut) if shut.probing == Probing::Yes || shut.next_probe > now => {
                Err(shut.out(now))
            }
            _ => Ok(()),
        }
    }

    /// Begins a request; while the gate is shut, as its probe.
    fn begin(&self, now: Instant) -> Result<Probing, ShutOut> {
        match &mut self.lock().shut {
            None => Ok(Probing::No),
            Some(shut) if shut.probing == Probing::No && shut.next_probe <= now => {
                shut.probing = Probing::Yes;
                Ok(Probing::Yes)
            }
            Some(shut) => Err(shut.out(now)),
        }
    }

    fn well(&self) {
        let mut state = self.lock();
        state.failures = 0;
        state.last = None;
        if state.shut.take().is_some() {
            state.openings += 1;
            state.opened_at = Some(Instant::now());
            tracing::info!("a token service answers again");
        }
    }

    fn ill(&self, account: AccountId, probe: Probing, trouble: Trouble, now: Instant) {
        let mut state = self.lock();
        if let Some(shut) = &mut state.shut {
            // Requests that began before the gate shut say nothing new.
            if probe == Probing::Yes {
                shut.failed_again(trouble, now);
            }
            return;
        }
        // One account in trouble is not the service in trouble.
        if state.last.replace(account) != Some(account) {
            state.failures += 1;
        }
        if state.failures >= SHUTS_AFTER {
            tracing::warn!(
                code = trouble.code,
                "a token service is in trouble: probes only"
            );
            state.shut = Some(Shut::begin(trouble, now));
        }
    }

    fn abandon(&self) {
        if let Some(shut) = &mut self.lock().shut {
            shut.probing = Probing::No;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every critical section is a few assignments; a panic cannot leave them half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn add(&mut self, account: AccountId, generation: i64) {
        if self.first_come.len() < LONGEST_LINE && self.known.insert(account) {
            self.first_come.push_back((account, generation));
        }
    }

    fn take(&mut self, most: usize) -> Vec<(AccountId, i64)> {
        let count = most.min(self.first_come.len());
        let taken: Vec<_> = self.first_come.drain(..count).collect();
        for (account, _) in &taken {
            self.known.remove(account);
        }
        if self.first_come.is_empty() {
            // An outage may have made it long.
            *self = Self::default();
        }
        taken
    }
}

impl Shut {
    fn begin(trouble: Trouble, now: Instant) -> Self {
        let mut shut = Self {
            pause: FIRST_PROBE,
            next_probe: now,
            probing: Probing::No,
            trouble,
        };
        shut.plan(now);
        shut
    }

    fn failed_again(&mut self, trouble: Trouble, now: Instant) {
        self.pause = (self.pause * 3 / 2).min(LONGEST_PROBE);
        self.probing = Probing::No;
        self.trouble = trouble;
        self.plan(now);
    }

    fn plan(&mut self, now: Instant) {
        let asked = self.trouble.asked.unwrap_or_default().min(LONGEST_ASKED);
        let pause = self.pause.max(asked);
        // Several servers have gates of their own; they need not knock together.
        self.next_probe = now + pause - self.pause / 4 + jitter(self.pause / 4);
    }

    fn out(&self, now: Instant) -> ShutOut {
        let wait = self.next_probe.saturating_duration_since(now);
        ShutOut {
            retry_after: wait.max(Duration::from_secs(1)),
            trouble: self.trouble.clone(),
        }
    }
}

impl Pass {
    /// Says how the request went.
    pub(super) fn report(mut self, health: Health) {
        let probe = std::mem::replace(&mut self.probe, Probing::No);
        match health {
            Health::Well => self.gate.well(),
            Health::Ill(trouble) => self.gate.ill(self.account, probe, trouble, Instant::now()),
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        // A probe that was not made, or whose task ended, must not keep the others out.
        if self.probe == Probing::Yes {
            self.gate.abandon();
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::Utc;

    use super::*;

    fn trouble() -> Health {
        Health::Ill(Trouble {
            code: "connection-refused",
            evidence: Box::default(),
            asked: None,
        })
    }

    fn account() -> AccountId {
        AccountId::generate(
            "2026-11-23T08:00:00Z"
                .parse::<chrono::DateTime<Utc>>()
                .expect("a date"),
        )
    }

    async fn shut() -> Arc<Gate> {
        let gate = Arc::<Gate>::default();
        for _ in 0..SHUTS_AFTER {
            let pass = gate.enter(account()).await.expect("open");
            pass.report(trouble());
        }
        gate
    }

    /// Leave to make a request at a later moment.
    async fn pass_at(gate: &Arc<Gate>, now: Instant) -> Result<Pass, ShutOut> {
        let probe = gate.begin(now)?;
        let permit = Arc::clone(&gate.permits).acquire_owned().await;
        Ok(Pass {
            gate: Arc::clone(gate),
            account: account(),
            probe,
            _permit: permit.expect("never closed"),
        })
    }

    #[tokio::test]
    async fn a_thousand_accounts_make_one_probe_at_a_time() {
        let gate = shut().await;
        for _ in 0..1000 {
            assert!(gate.enter(account()).await.is_err());
        }
        let later = Instant::now() + LONGEST_PROBE;
        let probe = pass_at(&gate, later).await.expect("the probe");
        assert!(pass_at(&gate, later).await.is_err());
        probe.report(trouble());
        let out = gate.enter(account()).await.expect_err("shut again");
        assert!(out.retry_after <= LONGEST_PROBE);
        assert_eq!(out.trouble.code, "connection-refused");
    }

    #[tokio::test]
    async fn the_first_answer_opens_it_for_all() {
        let gate = shut().await;
        let before = gate.openings();
        let later = Instant::now() + LONGEST_PROBE;
        let probe = pass_at(&gate, later).await.expect("the probe");
        probe.report(Health::Well);
        assert!(gate.enter(account()).await.is_ok());
        assert_eq!(gate.openings(), before + 1);
    }

    #[tokio::test]
    async fn who_was_turned_away_probes_in_turn_and_comes_back_with_the_first_answer() {
        let gate = shut().await;
        let all: Vec<_> = (0..10).map(|_| account()).collect();
        for (number, account) in all.iter().enumerate() {
            let generation = i64::try_from(number).expect("small");
            gate.line_up(*account, generation);
            gate.line_up(*account, generation);
        }
        assert!(gate.next_in_line(Instant::now(), 128).is_empty());
        let later = Instant::now() + LONGEST_PROBE;
        assert_eq!(gate.next_in_line(later, 128), [(all[0], 0)]);
        let probe = pass_at(&gate, later).await.expect("the probe");
        assert!(gate.next_in_line(later, 128).is_empty());
        // It failed, and stands last now.
        probe.report(trouble());
        gate.line_up(all[0], 0);
        let later = later + LONGEST_PROBE * 2;
        assert_eq!(gate.next_in_line(later, 128), [(all[1], 1)]);
        let probe = pass_at(&gate, later).await.expect("the probe");
        probe.report(Health::Well);
        assert_eq!(gate.next_in_line(later, 4).len(), 4);
        let rest = gate.next_in_line(later, 128);
        assert_eq!(rest.last(), Some(&(all[0], 0)));
        assert_eq!(rest.len(), 5);
        // Trouble of one account's own is no reason to hurry; being turned away too late is.
        gate.line_up_if_shut(all[3], 3);
        assert!(gate.next_in_line(later, 128).is_empty());
        gate.line_up(all[3], 3);
        assert_eq!(gate.next_in_line(later, 128), [(all[3], 3)]);
    }

    #[tokio::test]
    async fn a_probe_that_is_abandoned_makes_way_for_another() {
        let gate = shut().await;
        let later = Instant::now() + LONGEST_PROBE;
        drop(pass_at(&gate, later).await.expect("the probe"));
        assert!(pass_at(&gate, later).await.is_ok());
    }

    #[tokio::test]
    async fn one_account_in_trouble_shuts_nothing() {
        let gate = Arc::<Gate>::default();
        let one = account();
        for _ in 0..100 {
            gate.enter(one).await.expect("open").report(trouble());
        }
        // And answers in between show that the service is well.
        for _ in 0..100 {
            gate.enter(account()).await.expect("open").report(trouble());
            gate.enter(account())
                .await
                .expect("open")
                .report(Health::Well);
        }
    }

    #[tokio::test]
    async fn accounts_of_one_host_share_a_gate() {
        let gates = Gates::default();
        let one = gates.of("https://login.example.com/a/oauth2/token");
        assert!(Arc::ptr_eq(
            &one,
            &gates.of("https://LOGIN.example.com:443/b/oauth2/token")
        ));
        assert!(!Arc::ptr_eq(
            &one,
            &gates.of("https://login.example.com:8443/a/oauth2/token")
        ));
    }
}

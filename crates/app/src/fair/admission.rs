//! Callers that wait for their turn at an account.
//!
//! A warm call takes one short lock, there and on the way back. Who has to wait gets a place in the
//! queue and is woken by whoever makes room: an answer, or a timer of which each account has one at
//! most. Who hangs up leaves the queue at once, because its place is dropped with it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};
use std::time::Duration;

use tieline_core::{AccountId, AccountLimits, ConsumerId, ConsumerLimits};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::court::{Ask, Court, Verdict};
use super::queue::{Flow, Ticket};
use super::rate::Rate;
use super::roll::{Noted, Roll};
use super::{Class, Micros, Rules, Terms, Told};
use crate::maps::{ConcurrentMap, HashMap};
use crate::moment::Moment;

/// What the clock begins with: never so little that a window before it would begin before zero.
const BEFORE: Micros = 7_200 * super::SECOND;
/// No timer is set.
const NEVER: Micros = Micros::MAX;

/// Every account's state.
#[derive(Debug)]
pub(crate) struct Fair {
    pub(super) hub: Arc<Hub>,
    /// What other servers know this one by.
    server: String,
    places: ConcurrentMap<AccountId, Arc<Standing>>,
    rates: ConcurrentMap<ConsumerId, Arc<Mutex<Rate>>>,
    /// Pauses that other servers should hear of; taken by the task that tells them.
    pub(super) told: Mutex<Option<mpsc::UnboundedReceiver<Pause>>>,
}

/// What the states of accounts share.
#[derive(Debug)]
pub(super) struct Hub {
    began: Instant,
    /// Accounts with a state: those that were used of late.
    pub(super) roll: Roll,
    /// Limits that are not Microsoft's.
    limits: RwLock<HashMap<AccountId, AccountLimits>>,
    tell: mpsc::UnboundedSender<Pause>,
    /// The server's own runtime: timers outlive the thread whose call set them.
    pub(super) home: OnceLock<Handle>,
}

/// A pause that Microsoft asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pause {
    pub(super) account: AccountId,
    pub(super) lasts: Duration,
}

/// An account's place. It is small while nobody calls.
pub(crate) struct Standing {
    account: AccountId,
    hub: Arc<Hub>,
    me: Weak<Standing>,
    state: Mutex<Option<Box<State>>>,
}

impl fmt::Debug for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Standing")
            .field("account", &self.account)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) court: Court,
    /// None while nobody waits, as at most accounts.
    waiters: Option<Box<HashMap<Ticket, Waiter>>>,
    noted: Noted,
    next: Ticket,
    /// When the timer that is set goes off.
    timer: Micros,
}

#[derive(Debug)]
struct Waiter {
    wake: oneshot::Sender<()>,
    flow: Flow,
    class: Class,
    since: Micros,
}

/// Why a call was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turned {
    /// Microsoft asked to stay away, or the window is used up; for so long.
    Paused(Duration),
    /// Too many wait.
    Full(Duration),
    /// Its time was up while it waited.
    TimeUp(Duration),
    /// It is beyond its own rate, for so long.
    Rate(Duration),
}

impl Fair {
    pub(crate) fn new() -> Self {
        let (tell, told) = mpsc::unbounded_channel();
        Self {
            hub: Arc::new(Hub {
                began: Instant::now(),
                roll: Roll::default(),
                limits: RwLock::default(),
                tell,
                home: OnceLock::new(),
            }),
            server: ulid::Ulid::new().to_string(),
            places: ConcurrentMap::default(),
            rates: ConcurrentMap::default(),
            told: Mutex::new(Some(told)),
        }
    }

    /// What other servers know this one by.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// An account's place.
    pub(crate) fn standing(&self, account: AccountId) -> Arc<Standing> {
        let make = || Standing::new(account, Arc::clone(&self.hub));
        Arc::clone(self.places.pin().get_or_insert_with(account, make))
    }

    /// An account's place, where it has one.
    pub(super) fn standing_known(&self, account: AccountId) -> Option<Arc<Standing>> {
        self.places.pin().get(&account).map(Arc::clone)
    }

    /// Takes over the limits that accounts have of their own.
    pub(super) fn limits_are(&self, limits: HashMap<AccountId, AccountLimits>) {
        *self
            .hub
            .limits
            .write()
            .unwrap_or_else(PoisonError::into_inner) = limits;
        for standing in self.hub.roll.all() {
            let rules = Rules::of(&self.hub.limits_of(standing.account));
            standing.change(|court, _| court.rules = rules);
        }
    }

    /// Another server was told to stay away.
    pub(super) fn paused_elsewhere(&self, account: AccountId, lasts: Duration) {
        let standing = self.standing(account);
        standing.change(|court, now| court.pause(now, now + micros(lasts)));
    }

    /// Waits until a consumer's own rate lets it call.
    pub(crate) async fn rate(
        &self,
        consumer: ConsumerId,
        limits: &ConsumerLimits,
        terms: &Terms,
        servers: u32,
    ) -> Result<(), Turned> {
        let Some(per_second) = limits.rate else {
            return Ok(());
        };
        let per_second = per_second / f64::from(servers.max(1));
        let patience = match terms.waits {
            true => micros(terms.give_up.saturating_duration_since(Instant::now())),
            false => 0,
        };
        let rate = {
            let rates = self.rates.pin();
            Arc::clone(rates.get_or_insert_with(consumer, Arc::default))
        };
        let reserved = {
            let mut rate = rate.lock().unwrap_or_else(PoisonError::into_inner);
            rate.reserve(self.hub.now(), per_second, limits.burst(), patience)
        };
        match reserved {
            Ok(0) => Ok(()),
            Ok(wait) => {
                tokio::time::sleep(Duration::from_micros(wait)).await;
                Ok(())
            }
            Err(wait) => Err(Turned::Rate(Duration::from_micros(wait))),
        }
    }
}

impl Hub {
    pub(super) fn now(&self) -> Micros {
        micros(self.began.elapsed()) + BEFORE
    }

    /// The same for a moment of the runtime's clock.
    fn at(&self, moment: Instant) -> Micros {
        micros(moment.saturating_duration_since(self.began)) + BEFORE
    }

    fn limits_of(&self, account: AccountId) -> AccountLimits {
        let limits = self.limits.read().unwrap_or_else(PoisonError::into_inner);
        limits.get(&account).copied().unwrap_or_default()
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is under these locks panics nowhere.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn micros(time: Duration) -> Micros {
    Micros::try_from(time.as_micros()).unwrap_or(Micros::MAX / 4)
}

// === impl Standing ===

impl Standing {
    fn new(account: AccountId, hub: Arc<Hub>) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            account,
            hub,
            me: Weak::clone(me),
            state: Mutex::default(),
        })
    }

    /// Runs over the state, and lets go whoever may afterwards.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Court, Micros) -> T) -> T {
        let mut slot = self.lock();
        // Under the lock, so that no moment comes after a later one.
        let now = self.hub.now();
        let state = self.state(&mut slot);
        let changed = change(&mut state.court, now);
        self.note(state, now);
        self.look(state, now);
        changed
    }

    /// Runs over what is to be written down, if there is something.
    pub(super) fn take<T>(&self, take: impl FnOnce(&mut Court, Micros) -> T) -> Option<T> {
        let mut slot = self.lock();
        let now = self.hub.now();
        let state = slot.as_mut()?;
        if state.noted == Noted::No {
            return None;
        }
        state.noted = Noted::No;
        let taken = take(&mut state.court, now);
        // While something goes on there is more to come, and others must hear that it does.
        if state.court.is_busy(now) {
            self.note(state, now);
        }
        Some(taken)
    }

    /// Remembers that there is something to be written down.
    fn note(&self, state: &mut State, now: Micros) {
        let ahead = state.noted != Noted::Ahead && state.court.is_short(now);
        if state.noted != Noted::No && !ahead {
            return;
        }
        let Some(me) = self.me.upgrade() else {
            return;
        };
        state.noted = if ahead { Noted::Ahead } else { Noted::Yes };
        self.hub.roll.note(me, state.noted);
    }

    /// Looks at the state, if there is one.
    pub(super) fn look_at<T>(&self, look: impl FnOnce(&mut Court, Micros) -> T) -> Option<T> {
        let mut slot = self.lock();
        let now = self.hub.now();
        slot.as_mut().map(|state| look(&mut state.court, now))
    }

    /// Takes over how many servers of ours share the account; that it is used by another one is no
    /// reason to hold a state of it.
    pub(super) fn sharers_are(&self, sharers: u32) {
        let mut slot = self.lock();
        let now = self.hub.now();
        if let Some(state) = slot.as_mut() {
            state.court.sharers = sharers;
            self.look(state, now);
        }
    }

    /// Servers of ours that share the account.
    pub(crate) fn sharers(&self) -> u32 {
        self.look_at(|court, _| court.sharers).unwrap_or(1)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Box<State>>> {
        lock(&self.state)
    }

    fn state<'a>(&self, slot: &'a mut Option<Box<State>>) -> &'a mut State {
        slot.get_or_insert_with(|| {
            if let Some(me) = self.me.upgrade() {
                self.hub.roll.add(me);
            }
            let mut court = Court::new(Rules::of(&self.hub.limits_of(self.account)));
            court.answered_at = self.hub.now();
            Box::new(State {
                court,
                waiters: None,
                noted: Noted::No,
                next: 0,
                timer: NEVER,
            })
        })
    }

    /// The account's id.
    pub(super) fn account(&self) -> AccountId {
        self.account
    }

    /// Forgets the state if nobody would miss it, and says whether there is none.
    pub(super) fn forget_if_idle(&self, now: Micros) -> bool {
        let mut slot = self.lock();
        let idle = slot.as_ref().is_none_or(|state| state.court.is_idle(now));
        if idle {
            *slot = None;
        }
        idle
    }

    /// Lets a call in, at once or after a while.
    pub(crate) async fn admit(
        self: &Arc<Self>,
        flow: Flow,
        share: u8,
        terms: &Terms,
    ) -> Result<Admitted, Turned> {
        match self.ask(flow, share, terms)? {
            Asked::Goes(admitted) => Ok(admitted),
            // Few calls come to this, and none should carry room for it.
            Asked::Waits(place, since) => Box::pin(self.wait(place, flow, since, terms)).await,
        }
    }

    fn ask(self: &Arc<Self>, flow: Flow, share: u8, terms: &Terms) -> Result<Asked, Turned> {
        let (place, since) = {
            let mut slot = self.lock();
            let at = Instant::now();
            let now = self.hub.at(at);
            let state = self.state(&mut slot);
            let class = state.court.class_of(now, flow, terms.class);
            let ask = Ask {
                flow,
                share,
                class,
                give_up: match terms.waits {
                    true => self.hub.at(terms.give_up).max(now),
                    false => now,
                },
            };
            state.next += 1;
            let ticket = state.next;
            let verdict = state.court.ask(now, &ask, ticket);
            self.note(state, now);
            match verdict {
                Verdict::Go => {
                    let at = terms.came.later(at);
                    return Ok(Asked::Goes(self.admitted(flow, class, now, at)));
                }
                Verdict::Paused(until) => return Err(Turned::Paused(after(now, until))),
                Verdict::Full(until) => return Err(Turned::Full(after(now, until))),
                Verdict::Wait => {}
            }
            let (wake, woken) = oneshot::channel();
            let waiter = Waiter {
                wake,
                flow,
                class,
                since: now,
            };
            let waiters = state.waiters.get_or_insert_default();
            waiters.insert(ticket, waiter);
            self.look(state, now);
            let place = Place {
                standing: Arc::clone(self),
                ticket,
                class,
                woken: Some(woken),
            };
            (place, now)
        };
        Ok(Asked::Waits(place, since))
    }

    async fn wait(
        self: &Arc<Self>,
        mut place: Place,
        flow: Flow,
        since: Micros,
        terms: &Terms,
    ) -> Result<Admitted, Turned> {
        let Some(woken) = place.woken.as_mut() else {
            return Err(Turned::TimeUp(Duration::ZERO));
        };
        // A call that does not wait out a pause still waits for a place, as all do.
        let came = tokio::time::timeout_at(terms.give_up, woken).await;
        let at = Instant::now();
        let now = self.hub.at(at);
        let waited = now.saturating_sub(since);
        let class = place.class;
        if let Ok(Ok(())) = came {
            place.woken = None;
            metrics::histogram!("tieline_fair_wait_seconds", "class" => class.as_str())
                .record(Duration::from_micros(waited).as_secs_f64());
            self.change(|court, _| court.tally(flow).waited += waited);
            return Ok(self.admitted(flow, class, now, terms.came.later(at)));
        }
        drop(place);
        let next = self.change(|court, now| {
            court.tally(flow).refused += 1;
            after(now, court.paused_until)
        });
        Err(Turned::TimeUp(next))
    }

    fn admitted(self: &Arc<Self>, flow: Flow, class: Class, begun: Micros, at: Moment) -> Admitted {
        Admitted {
            standing: Arc::clone(self),
            flow,
            class,
            begun,
            at,
            open: true,
        }
    }

    /// Wakes whoever may go, and sets the timer for the next look.
    fn look(&self, state: &mut State, now: Micros) {
        let State {
            court,
            waiters,
            timer,
            ..
        } = state;
        if court.waiting() == 0 {
            return;
        }
        let next = court.pump(now, |ticket| {
            let waiter = waiters.as_mut()?.remove(&ticket)?;
            waiter.wake.send(()).ok()?;
            Some((waiter.flow, waiter.class))
        });
        let Some(next) = next.filter(|next| next < timer) else {
            return;
        };
        let home = self.hub.home.get().cloned();
        let runtime = home.or_else(|| Handle::try_current().ok());
        let (Some(runtime), Some(me)) = (runtime, self.me.upgrade()) else {
            return;
        };
        *timer = next;
        runtime.spawn(async move {
            tokio::time::sleep(Duration::from_micros(next.saturating_sub(now))).await;
            me.goes_off(next);
        });
    }

    fn goes_off(&self, at: Micros) {
        let mut slot = self.lock();
        let now = self.hub.now();
        if let Some(state) = slot.as_mut() {
            // A timer that was overtaken by an earlier one changes nothing.
            if state.timer == at {
                state.timer = NEVER;
                self.look(state, now);
            }
        }
    }

    fn leave(&self, ticket: Ticket) -> bool {
        let mut slot = self.lock();
        let now = self.hub.now();
        let Some(state) = slot.as_mut() else {
            return false;
        };
        let waiters = state.waiters.as_mut();
        let waited = waiters.and_then(|waiters| waiters.remove(&ticket));
        state.waiters.take_if(|waiters| waiters.is_empty());
        if let Some(waiter) = &waited {
            state.court.tally(waiter.flow).waited += now.saturating_sub(waiter.since);
        }
        state.court.queue.remove(ticket);
        self.note(state, now);
        waited.is_some()
    }
}

fn after(now: Micros, until: Micros) -> Duration {
    Duration::from_micros(until.saturating_sub(now))
}

/// What became of a call that asked.
enum Asked {
    Goes(Admitted),
    Waits(Place, Micros),
}

/// A place in the queue; who drops it leaves.
struct Place {
    standing: Arc<Standing>,
    ticket: Ticket,
    class: Class,
    woken: Option<oneshot::Receiver<()>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(mut woken) = self.woken.take() else {
            return;
        };
        let left = self.standing.leave(self.ticket);
        // It was its turn at the very moment that it left: the place goes to the next.
        if !left && woken.try_recv().is_ok() {
            self.standing.change(|court, _| court.dropped(self.class));
        }
    }
}

/// A call that was let in. When it is dropped without an answer, its place is free again.
#[derive(Debug)]
pub struct Admitted {
    standing: Arc<Standing>,
    flow: Flow,
    /// How it is treated.
    pub class: Class,
    /// When.
    pub at: Moment,
    begun: Micros,
    open: bool,
}

impl Admitted {
    /// Dynamics has begun its answer.
    pub fn answered(mut self, told: &Told) {
        self.open = false;
        let standing = &self.standing;
        let before = standing.change(|court, now| {
            let before = court.paused_until.max(now);
            court.answered(now, self.begun, self.flow, self.class, told);
            (court.paused_until > before).then(|| court.paused_until - now)
        });
        let Some(refusal) = told.refusal else {
            return;
        };
        let limit = refusal.limit.as_str();
        metrics::counter!("tieline_fair_throttled_total", "limit" => limit).increment(1);
        if let Some(lasts) = before {
            let pause = Pause {
                account: standing.account,
                lasts: Duration::from_micros(lasts),
            };
            tracing::info!(
                account = %standing.account, limit, seconds = pause.lasts.as_secs(),
                "Dynamics asks to stay away"
            );
            // Without the task that tells others there are no others.
            let _ = standing.hub.tell.send(pause);
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if self.open {
            let class = self.class;
            self.standing.change(|court, _| court.dropped(class));
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use tieline_core::SystemClock;

    use super::super::few::Few;
    use super::super::told::Refusal;
    use super::super::{SECOND, Wish};
    use super::*;
    use crate::fair::Limit;

    fn account() -> AccountId {
        AccountId::generate(DateTime::UNIX_EPOCH)
    }

    fn terms(class: Class, deadline: Duration) -> Terms {
        let wish = Wish {
            class: Some(class),
            deadline: Some(deadline),
        };
        let came = Moment::now(&SystemClock);
        Terms::of(&wish, &ConsumerLimits::default(), came)
    }

    fn patient() -> Terms {
        terms(Class::Interactive, Duration::from_secs(600))
    }

    fn refusal(pause: Micros) -> Told {
        Told {
            refusal: Some(Refusal {
                limit: Limit::Requests,
                pause: Some(pause),
                rule: None,
            }),
            ..Told::default()
        }
    }

    #[tokio::test]
    async fn a_pause_stops_everyone_and_then_all_go() {
        let fair = Fair::new();
        let standing = fair.standing(account());
        let first = standing.admit(1, 10, &patient()).await.expect("free");
        let began = Instant::now();
        let pause = Duration::from_millis(300);
        first.answered(&refusal(micros(pause)));
        let terms = patient();
        let waiting = (0..20).map(|flow| standing.admit(flow, 10, &terms));
        let admitted = futures_util::future::join_all(waiting).await;
        assert!(admitted.iter().all(Result::is_ok));
        assert!(began.elapsed() >= pause);
    }

    #[tokio::test]
    async fn who_cannot_wait_so_long_is_told_at_once() {
        let fair = Fair::new();
        let standing = fair.standing(account());
        let first = standing.admit(1, 10, &patient()).await.expect("free");
        first.answered(&refusal(1_000 * SECOND));
        let turned = standing.admit(2, 10, &patient()).await.expect_err("paused");
        assert!(
            matches!(turned, Turned::Paused(after) if after.as_secs() >= 990),
            "{turned:?}"
        );
    }

    #[tokio::test]
    async fn who_hangs_up_leaves_the_queue_and_frees_its_place() {
        let fair = Fair::new();
        let standing = fair.standing(account());
        standing.change(|court, _| court.rules.concurrency = 1);
        let terms = patient();
        let running = standing.admit(1, 10, &terms).await.expect("free");
        let waiting = |standing: &Arc<Standing>| standing.look_at(|court, _| court.waiting());
        {
            let mut gone = std::pin::pin!(standing.admit(2, 10, &terms));
            assert!(futures_util::poll!(gone.as_mut()).is_pending());
            assert_eq!(waiting(&standing), Some(1));
        }
        assert_eq!(waiting(&standing), Some(0));
        {
            // Its turn comes, and it never hears of it.
            let mut deaf = std::pin::pin!(standing.admit(3, 10, &terms));
            assert!(futures_util::poll!(deaf.as_mut()).is_pending());
            drop(running);
        }
        let next = standing.admit(4, 10, &terms).await.expect("free");
        assert_eq!(standing.look_at(|court, _| court.gate.running()), Some(1));
        drop(next);
        assert_eq!(standing.look_at(|court, _| court.gate.running()), Some(0));
    }

    #[tokio::test]
    async fn a_deadline_ends_the_wait() {
        let fair = Fair::new();
        let standing = fair.standing(account());
        standing.change(|court, _| court.rules.concurrency = 1);
        let _running = standing.admit(1, 10, &patient()).await.expect("free");
        let terms = terms(Class::Interactive, Duration::from_millis(100));
        let turned = standing.admit(2, 10, &terms).await.expect_err("busy");
        assert!(matches!(turned, Turned::TimeUp(_)), "{turned:?}");
        assert_eq!(standing.look_at(|court, _| court.waiting()), Some(0));
    }

    #[tokio::test]
    async fn an_account_that_nobody_uses_takes_no_room() {
        let fair = Fair::new();
        let standing = fair.standing(account());
        drop(standing.admit(1, 10, &patient()).await.expect("free"));
        let roll = &fair.hub.roll;
        assert_eq!(roll.unwritten(), 1);
        for standing in roll.next_unwritten(10) {
            standing.take(|court, _| court.tallies = Few::default());
        }
        let now = fair.hub.now();
        assert!(roll.walk(now).is_some() && standing.lock().is_some());
        assert!(roll.walk(now + 400 * SECOND).is_some());
        assert!(standing.lock().is_none() && roll.all().is_empty());
        assert_eq!(roll.unwritten(), 0);
    }

    #[test]
    fn an_account_in_use_takes_little() {
        // A size class of the allocator: one byte more would take 64.
        assert!(size_of::<State>() <= 448, "{}", size_of::<State>());
    }

    #[tokio::test]
    async fn another_servers_pause_holds_here() {
        let fair = Fair::new();
        let id = account();
        fair.paused_elsewhere(id, Duration::from_secs(900));
        let turned = fair.standing(id).admit(1, 10, &patient()).await;
        let turned = turned.expect_err("paused");
        assert!(matches!(turned, Turned::Paused(_)), "{turned:?}");
    }
}

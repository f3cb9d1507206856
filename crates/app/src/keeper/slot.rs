//! What is held per account: the live token, and while something goes on, what that is.
//!
//! There may be a million of these, so what is needed only now and then stands in a box of its own
//! that is made when it is needed and dropped when it is not.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::Shared;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::gate::Gate;
use super::live::LiveCell;
use super::{LiveToken, Need};
use crate::error::{Refused, Who};
use crate::moment::Moment;

/// What a flight ends with.
pub(super) type Answer = Result<LiveToken, Refused>;

/// Renewals that callers can force within [`FORCED_WINDOW`] by showing a 401. An organization that
/// refuses every token would otherwise make us ask for one with every call, which Microsoft
/// answers with AADSTS50196.
const FORCED_MAX: usize = 6;
/// See [`FORCED_MAX`].
const FORCED_WINDOW: Duration = Duration::from_secs(60);

/// One account's place in memory.
#[derive(Debug, Default)]
pub(super) struct Slot {
    live: LiveCell,
    /// When the account was last used, in seconds since 1970.
    used: AtomicU32,
    /// Counts changes seen, so that a renewal that began before one does not overrule it.
    epoch: AtomicU32,
    busy: Mutex<Option<Box<Busy>>>,
}

/// What goes on at an account.
#[derive(Debug, Default)]
struct Busy {
    flight: Option<(Need, u64, Flight)>,
    /// Names flights.
    flights: u64,
    cooling: Option<Cooling>,
    /// A result that could not be stored yet: no other renewal begins before it is.
    held: Option<(u64, Refused)>,
    /// Wakes who waits for another server.
    wake: Option<Arc<Notify>>,
    /// When renewals were forced, and which generation had been refused.
    forced: VecDeque<(Instant, i64)>,
    /// The last challenge, and the token that met it: each is written down once.
    challenge: Option<(i64, String)>,
}

/// A refusal that stands: callers get it without another attempt.
#[derive(Debug)]
pub(super) struct Cooling {
    /// Until when.
    pub(super) until: Instant,
    /// What they get.
    pub(super) refused: Refused,
    /// Trouble of the token service that it rests on: void once the gate has opened since.
    pub(super) gate: Option<(Arc<Gate>, u64)>,
}

/// Where a caller finds itself.
#[derive(Debug)]
pub(super) enum Joined {
    /// In a renewal.
    Flight(Flight),
    /// Before one that has its result, and cannot store it.
    Held(Refused),
}

/// A renewal under way, to be waited for by any number of callers.
#[derive(Debug, Clone)]
pub(super) struct Flight {
    landing: Shared<Landing>,
    place: Arc<Place>,
}

/// Whom a renewal waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaited {
    /// Our own database.
    Database,
    /// The token service, asked from here or by another server.
    TokenService,
}

/// Where a flight is: who gives up waiting is told whose fault it is.
#[derive(Debug)]
struct Place(AtomicBool);

impl Place {
    /// Every renewal begins with a look into the database.
    fn at_the_start() -> Arc<Self> {
        Arc::new(Self(AtomicBool::new(true)))
    }

    fn awaited(&self) -> Awaited {
        match self.0.load(Ordering::Relaxed) {
            true => Awaited::Database,
            false => Awaited::TokenService,
        }
    }
}

/// The end of a flight, as the task that flies it announces it.
#[derive(Debug)]
struct Landing(oneshot::Receiver<Answer>);

/// Announces the end of a flight.
#[derive(Debug)]
pub(super) struct Reply {
    sender: Option<oneshot::Sender<Answer>>,
    serial: u64,
    place: Arc<Place>,
}

impl Reply {
    /// Answers who waits. Only the first answer counts.
    pub(super) fn send(&mut self, answer: Answer) {
        if let Some(sender) = self.sender.take() {
            // Nobody may be waiting any more; what matters is stored.
            let _ = sender.send(answer);
        }
    }

    /// Says whom the flight waits for from now on.
    pub(super) fn awaits(&self, awaited: Awaited) {
        let is_database = awaited == Awaited::Database;
        self.place.0.store(is_database, Ordering::Relaxed);
    }
}

impl Flight {
    /// Whom it waits for.
    pub(super) fn awaited(&self) -> Awaited {
        self.place.awaited()
    }
}

impl Future for Landing {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer> {
        self.0.poll_unpin(context).map(|answer| {
            answer.unwrap_or_else(|_| {
                let detail = "The renewal of the token ended before it had a result.";
                Err(Refused::new(Who::Tieline, 503, "renewal-ended", detail))
            })
        })
    }
}

impl Future for Flight {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer> {
        self.landing.poll_unpin(context)
    }
}

impl Slot {
    /// The token, if it may be handed out.
    pub(super) fn fresh(&self, now: Moment) -> Option<LiveToken> {
        self.live.get().filter(|token| token.is_fresh(now))
    }

    /// The token, if it is valid at all.
    pub(super) fn valid(&self, now: Moment) -> Option<LiveToken> {
        self.live.get().filter(|token| token.is_valid(now))
    }

    /// Marks the present, to be shown again when something is put in.
    pub(super) fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Puts a token in, unless the account changed since `epoch` or a later one is there.
    pub(super) fn put(&self, token: &LiveToken, epoch: u32) {
        self.with_busy(|busy| {
            busy.cooling = None;
            let later = |held: LiveToken| held.generation() > token.generation();
            if self.epoch() == epoch && !self.live.get().is_some_and(later) {
                self.live.store(Some(token.clone()));
            }
            busy.wake();
        });
    }

    /// Takes the token out: it turned out to be worth nothing.
    pub(super) fn discard(&self, epoch: u32) {
        self.with_busy(|_| {
            if self.epoch() == epoch {
                self.live.store(None);
            }
        });
    }

    /// Lets a refusal stand.
    pub(super) fn cool(&self, cooling: Cooling) {
        self.with_busy(|busy| busy.cooling = Some(cooling));
    }

    /// The refusal that stands.
    pub(super) fn cooling(&self, now: Instant) -> Option<Refused> {
        self.if_busy(|busy| {
            let cooling = busy.cooling.take_if(|cooling| !cooling.stands(now));
            drop(cooling);
            let cooling = busy.cooling.as_ref()?;
            let mut refused = cooling.refused.clone();
            if refused.retry_after.is_some() {
                refused.retry_after = Some(cooling.until.saturating_duration_since(now));
            }
            Some(refused)
        })
    }

    /// Forgets what the account was like.
    pub(super) fn forget(&self) {
        self.with_busy(|busy| {
            self.epoch.fetch_add(1, Ordering::AcqRel);
            busy.cooling = None;
            busy.challenge = None;
            self.live.store(None);
            busy.wake();
        });
    }

    /// Whether what is held is older than a generation that was stored.
    pub(super) fn is_behind(&self, generation: i64) -> bool {
        self.live
            .get()
            .is_none_or(|token| token.generation() < generation)
    }

    /// Wakes who waits for another server.
    pub(super) fn wake(&self) {
        self.if_busy(|busy| {
            busy.wake();
            None::<()>
        });
    }

    /// What [`Slot::wake`] notifies.
    pub(super) fn waker(&self) -> Arc<Notify> {
        self.with_busy(|busy| Arc::clone(busy.wake.get_or_insert_default()))
    }

    pub(super) fn note_use(&self, seconds: u32) {
        if self.used.load(Ordering::Relaxed) != seconds {
            self.used.store(seconds, Ordering::Relaxed);
        }
    }

    /// When the account was last used, in seconds since 1970.
    pub(super) fn last_use(&self) -> u32 {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether this challenge has not been noted yet.
    pub(super) fn is_new_challenge(&self, generation: i64, claims: &str) -> bool {
        self.with_busy(|busy| {
            let known = |(seen, text): &(i64, String)| *seen == generation && text == claims;
            let new = !busy.challenge.as_ref().is_some_and(known);
            busy.challenge = Some((generation, claims.to_owned()));
            new
        })
    }

    /// Whether a renewal may be forced now, because the token of a generation was refused. All
    /// who were refused with the same one are one.
    pub(super) fn may_force(&self, generation: i64, now: Instant) -> bool {
        self.with_busy(|busy| {
            busy.forget_forced(now);
            if busy.forced.iter().any(|(_, forced)| *forced == generation) {
                return true;
            }
            let may = busy.forced.len() < FORCED_MAX;
            if may {
                busy.forced.push_back((now, generation));
            }
            may
        })
    }

    /// Joins the renewal under way, or launches one.
    pub(super) fn join(&self, need: Need, launch: impl FnOnce(Reply)) -> Joined {
        self.with_busy(|busy| {
            if let Some((_, refused)) = &busy.held {
                return Joined::Held(refused.clone());
            }
            match &busy.flight {
                // A renewal that only looks for a fresh token will not do for who needs another.
                Some((kind, _, flight)) if joins(need, *kind) => Joined::Flight(flight.clone()),
                _ => {
                    let (sender, receiver) = oneshot::channel();
                    busy.flights += 1;
                    let serial = busy.flights;
                    let flight = Flight {
                        landing: Landing(receiver).shared(),
                        place: Place::at_the_start(),
                    };
                    let place = Arc::clone(&flight.place);
                    busy.flight = Some((need, serial, flight.clone()));
                    launch(Reply {
                        sender: Some(sender),
                        serial,
                        place,
                    });
                    Joined::Flight(flight)
                }
            }
        })
    }

    /// A flight that only kept a schedule has come so far that it brings a token: callers may join.
    pub(super) fn commit(&self, reply: &Reply) {
        self.with_busy(|busy| match &mut busy.flight {
            Some((need @ Need::Due(_), serial, _)) if *serial == reply.serial => {
                *need = Need::Fresh;
            }
            _ => {}
        });
    }

    /// Lets no other renewal begin until [`Slot::landed`].
    pub(super) fn hold(&self, reply: &Reply, refused: Refused) {
        self.with_busy(|busy| busy.held = Some((reply.serial, refused)));
    }

    /// A flight is over; the next one may begin.
    pub(super) fn landed(&self, reply: &Reply) {
        self.with_busy(|busy| {
            busy.flight
                .take_if(|(_, serial, _)| *serial == reply.serial);
            busy.held.take_if(|(serial, _)| *serial == reply.serial);
        });
    }

    /// Whether nothing is lost when the slot is dropped.
    pub(super) fn is_idle(&self) -> bool {
        self.lock().is_none()
    }

    /// Looks at the token without taking it.
    pub(super) fn peek<T>(&self, look: impl FnOnce(&LiveToken) -> T) -> Option<T> {
        self.live.get().map(|token| look(&token))
    }

    fn with_busy<T>(&self, change: impl FnOnce(&mut Busy) -> T) -> T {
        let mut place = self.lock();
        let result = change(place.get_or_insert_default());
        tidy(&mut place);
        result
    }

    fn if_busy<T>(&self, change: impl FnOnce(&mut Busy) -> Option<T>) -> Option<T> {
        let mut place = self.lock();
        let result = change(place.as_deref_mut()?);
        tidy(&mut place);
        result
    }

    fn lock(&self) -> MutexGuard<'_, Option<Box<Busy>>> {
        // Every critical section is a few assignments; a panic cannot leave them half done.
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An account's place, held from outside the keeper: a look at it costs no look into a map. A place
/// that is held is not taken away, so what it shows is what the keeper holds.
#[derive(Debug, Clone)]
pub(crate) struct Seat(Arc<Slot>);

impl Seat {
    pub(super) fn of(slot: Arc<Slot>) -> Self {
        Self(slot)
    }

    /// The token, if it may be handed out.
    pub(super) fn fresh(&self, now: Moment) -> Option<LiveToken> {
        self.0.fresh(now)
    }

    /// Notes that the account is in use.
    pub(crate) fn note_use(&self, ms: i64) {
        self.0
            .note_use(u32::try_from(ms / 1000).unwrap_or(u32::MAX));
    }
}

fn tidy(place: &mut Option<Box<Busy>>) {
    if place.as_deref().is_some_and(Busy::is_over) {
        *place = None;
    }
}

impl Busy {
    fn wake(&self) {
        if let Some(wake) = &self.wake {
            wake.notify_waiters();
        }
    }

    fn forget_forced(&mut self, now: Instant) {
        while self
            .forced
            .front()
            .is_some_and(|(at, _)| now.saturating_duration_since(*at) >= FORCED_WINDOW)
        {
            self.forced.pop_front();
        }
    }

    /// Whether nothing is left to be kept. Challenges that were noted don't keep it alive by
    /// themselves: writing one twice does no harm.
    fn is_over(&self) -> bool {
        let waited_for = self
            .wake
            .as_ref()
            .is_some_and(|wake| Arc::strong_count(wake) > 1);
        self.flight.is_none()
            && self.cooling.is_none()
            && self.held.is_none()
            && self.forced.is_empty()
            && !waited_for
    }
}

impl Cooling {
    fn stands(&self, now: Instant) -> bool {
        let void = |(gate, openings): &(Arc<Gate>, u64)| gate.openings() != *openings;
        self.until > now && !self.gate.as_ref().is_some_and(void)
    }
}

/// Whether a flight started for `under_way` also serves `need`. One that only keeps a schedule
/// serves nobody else before it is committed: it gives way where a caller would wait.
fn joins(need: Need, under_way: Need) -> bool {
    match (need, under_way) {
        (Need::Due(_), _) | (_, Need::Now) => true,
        (Need::Fresh, Need::Fresh | Need::After(_)) => true,
        (Need::After(seen), Need::After(refused)) => seen <= refused,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use chrono::TimeDelta;
    use secrecy::SecretString;
    use tokio::sync::Semaphore;

    use super::super::live::Kept;
    use super::*;

    fn now() -> Moment {
        let wall = "2026-11-23T08:00:00Z".parse().expect("a date");
        Moment::new(wall, Instant::now())
    }

    fn token(generation: i64) -> LiveToken {
        let (text, now) = (SecretString::from("t"), now());
        let end = now.wall() + TimeDelta::hours(1);
        LiveToken::new(&text, generation, now.wall(), end, now, Kept::AsText).expect("a header")
    }

    async fn answered(joined: Joined) -> Answer {
        match joined {
            Joined::Flight(flight) => flight.await,
            Joined::Held(refused) => Err(refused),
        }
    }

    #[test]
    fn a_slot_is_small() {
        assert!(size_of::<Slot>() <= 32, "{}", size_of::<Slot>());
        let slot = Slot::default();
        slot.put(&token(1), 0);
        slot.cool(Cooling {
            until: Instant::now(),
            refused: Refused::new(Who::Entra, 503, "x", "x"),
            gate: None,
        });
        assert!(!slot.is_idle());
        assert!(slot.cooling(Instant::now()).is_none());
        assert!(slot.is_idle(), "the box goes with what was in it");
    }

    #[tokio::test]
    async fn a_thousand_callers_share_one_flight() {
        let slot = Arc::new(Slot::default());
        let starts = Arc::new(AtomicUsize::new(0));
        let gate = Arc::new(Semaphore::new(0));
        let callers: Vec<_> = (0..1000)
            .map(|_| {
                let (slot, starts, gate) = (slot.clone(), starts.clone(), gate.clone());
                tokio::spawn(async move {
                    let joined = slot.join(Need::Fresh, |mut reply| {
                        starts.fetch_add(1, Ordering::SeqCst);
                        tokio::spawn(async move {
                            let _permit = gate.acquire().await;
                            reply.send(Ok(token(7)));
                        });
                    });
                    answered(joined).await
                })
            })
            .collect();
        gate.add_permits(1);
        for caller in callers {
            let token = caller.await.expect("a task").expect("a token");
            assert_eq!(token.generation(), 7);
        }
        assert_eq!(starts.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_renewal_that_ends_without_a_word_is_said() {
        let slot = Slot::default();
        let joined = slot.join(Need::Fresh, drop);
        let refused = answered(joined).await.expect_err("no token");
        assert_eq!(refused.code, "renewal-ended");
    }

    #[test]
    fn who_waits_sees_whom_the_renewal_waits_for() {
        let slot = Slot::default();
        let mut kept = None;
        let Joined::Flight(first) = slot.join(Need::Fresh, |reply| kept = Some(reply)) else {
            panic!("nothing is held");
        };
        let reply = kept.expect("launched");
        assert_eq!(first.awaited(), Awaited::Database);
        reply.awaits(Awaited::TokenService);
        let Joined::Flight(later) = slot.join(Need::Fresh, drop) else {
            panic!("nothing is held");
        };
        assert_eq!(first.awaited(), Awaited::TokenService);
        assert_eq!(later.awaited(), Awaited::TokenService);
        reply.awaits(Awaited::Database);
        assert_eq!(later.awaited(), Awaited::Database);
    }

    #[tokio::test]
    async fn nothing_begins_while_a_result_is_held() {
        let slot = Slot::default();
        let mut kept = None;
        let joined = slot.join(Need::Fresh, |reply| kept = Some(reply));
        let mut reply = kept.expect("launched");
        let refused = Refused::new(Who::Tieline, 503, "renewal-unstored", "x");
        slot.hold(&reply, refused.clone());
        reply.send(Err(refused));
        assert!(answered(joined).await.is_err());
        let held = slot.join(Need::After(1), |_| panic!("another renewal began"));
        assert!(matches!(held, Joined::Held(_)));
        slot.landed(&reply);
        assert!(matches!(slot.join(Need::Fresh, drop), Joined::Flight(_)));
    }

    #[test]
    fn a_late_result_does_not_overrule_a_change_nor_a_later_one() {
        let slot = Slot::default();
        let epoch = slot.epoch();
        slot.forget();
        slot.put(&token(1), epoch);
        assert!(slot.fresh(now()).is_none());
        slot.put(&token(3), slot.epoch());
        slot.put(&token(2), slot.epoch());
        assert_eq!(slot.fresh(now()).map(|t| t.generation()), Some(3));
    }

    #[test]
    fn a_refusal_stands_until_its_time_or_a_change() {
        let slot = Slot::default();
        let start = Instant::now();
        let cooling = || Cooling {
            until: start + Duration::from_secs(10),
            refused: Refused::new(Who::Entra, 503, "needs-consent", "x"),
            gate: None,
        };
        slot.cool(cooling());
        assert!(slot.cooling(start).is_some());
        assert!(slot.cooling(start + Duration::from_secs(11)).is_none());
        slot.cool(cooling());
        slot.forget();
        assert!(slot.cooling(start).is_none());
    }

    #[test]
    fn who_shows_401_after_401_forces_no_storm() {
        let slot = Slot::default();
        let start = Instant::now();
        let forced = (0..100).filter(|at| slot.may_force(*at, start)).count();
        assert_eq!(forced, FORCED_MAX);
        assert!(slot.may_force(200, start + FORCED_WINDOW));
    }

    #[test]
    fn everybody_who_was_refused_with_one_token_gets_its_successor() {
        let slot = Slot::default();
        let start = Instant::now();
        assert!((0..1000).all(|_| slot.may_force(7, start)));
    }
}

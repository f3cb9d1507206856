//! What is held per account: the live token, the renewal under way, and the last refusal.

use std::future::Future;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;
use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};

use super::{LiveToken, Need};
use crate::error::{Refused, Who};

type Flight = Shared<BoxFuture<'static, Result<Arc<LiveToken>, Refused>>>;

/// One account's place in memory.
#[derive(Debug, Default)]
pub(super) struct Slot {
    live: ArcSwapOption<LiveToken>,
    /// When the account was last used, in milliseconds.
    used: AtomicI64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    flight: Option<(Need, Flight)>,
    /// A refusal that stands until then: callers get it without another attempt.
    cooling: Option<(DateTime<Utc>, Refused)>,
    /// Claims that Dynamics asked for, to be sent with the next renewal.
    claims: Option<String>,
    /// Counts changes seen, so that a renewal that began before one does not overrule it.
    epoch: u64,
}

impl Slot {
    /// The token, if it may be handed out.
    pub(super) fn fresh(&self, now: DateTime<Utc>) -> Option<Arc<LiveToken>> {
        self.live.load_full().filter(|token| token.is_fresh(now))
    }

    /// The token, if it is valid at all.
    pub(super) fn valid(&self, now: DateTime<Utc>) -> Option<Arc<LiveToken>> {
        self.live.load_full().filter(|token| token.is_valid(now))
    }

    /// Marks the present, to be shown again when something is put in.
    pub(super) fn epoch(&self) -> u64 {
        self.lock().epoch
    }

    /// Puts a token in, unless the account changed since `epoch`.
    pub(super) fn put(&self, token: &Arc<LiveToken>, epoch: u64) {
        let mut state = self.lock();
        state.cooling = None;
        if state.epoch == epoch {
            self.live.store(Some(Arc::clone(token)));
        }
    }

    /// Lets a refusal stand until `until`.
    pub(super) fn cool(&self, until: DateTime<Utc>, refused: Refused) {
        self.lock().cooling = Some((until, refused));
    }

    /// The refusal that stands.
    pub(super) fn cooling(&self, now: DateTime<Utc>) -> Option<Refused> {
        let mut state = self.lock();
        match &state.cooling {
            Some((until, refused)) if *until > now => Some(refused.clone()),
            _ => {
                state.cooling = None;
                None
            }
        }
    }

    pub(super) fn forget(&self) {
        let mut state = self.lock();
        state.epoch += 1;
        state.cooling = None;
        self.live.store(None);
    }

    /// Whether what is held is older than a generation that was stored.
    pub(super) fn is_behind(&self, generation: i64) -> bool {
        self.live
            .load()
            .as_ref()
            .is_none_or(|token| token.generation() < generation)
    }

    pub(super) fn note_use(&self, ms: i64) {
        self.used.fetch_max(ms, Ordering::Relaxed);
    }

    pub(super) fn last_use(&self) -> i64 {
        self.used.load(Ordering::Relaxed)
    }

    pub(super) fn note_claims(&self, claims: Option<String>) {
        if claims.is_some() {
            self.lock().claims = claims;
        }
    }

    pub(super) fn take_claims(&self) -> Option<String> {
        self.lock().claims.take()
    }

    /// Joins the renewal under way or starts the one that `start` makes.
    pub(super) async fn flight<F, Fut>(
        &self,
        need: Need,
        start: F,
    ) -> Result<Arc<LiveToken>, Refused>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<Arc<LiveToken>, Refused>> + Send + 'static,
    {
        let flight = {
            let mut state = self.lock();
            match &state.flight {
                // A renewal that only looks for a fresh token will not do for who needs another.
                Some((kind, flight)) if joins(need, *kind) && flight.peek().is_none() => {
                    flight.clone()
                }
                _ => {
                    let flight = launch(start());
                    state.flight = Some((need, flight.clone()));
                    flight
                }
            }
        };
        flight.await
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every critical section is a few assignments; a panic cannot leave them half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An account's place, held from outside the keeper: a look at it costs no look into a map. Places
/// are never taken away, so what it shows is what the keeper holds.
#[derive(Debug, Clone)]
pub(crate) struct Seat(Arc<Slot>);

impl Seat {
    pub(super) fn of(slot: Arc<Slot>) -> Self {
        Self(slot)
    }

    /// The token, if it may be handed out.
    pub(crate) fn fresh(&self, now: DateTime<Utc>) -> Option<Arc<LiveToken>> {
        self.0.fresh(now)
    }

    /// Notes that the account is in use.
    pub(crate) fn note_use(&self, ms: i64) {
        self.0.note_use(ms);
    }
}

/// Whether a flight started for `under_way` also serves `need`.
fn joins(need: Need, under_way: Need) -> bool {
    match (need, under_way) {
        (Need::Fresh, _) | (_, Need::Now) => true,
        (need, under_way) => need == under_way,
    }
}

fn launch<Fut>(renewal: Fut) -> Flight
where
    Fut: Future<Output = Result<Arc<LiveToken>, Refused>> + Send + 'static,
{
    let task = tokio::spawn(renewal);
    let flight: BoxFuture<'static, _> = Box::pin(async move {
        task.await.unwrap_or_else(|_| {
            let detail = "The renewal of the token ended before it had a result.";
            Err(Refused::new(Who::Tieline, 503, "renewal-ended", detail))
        })
    });
    flight.shared()
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;
    use secrecy::SecretString;
    use std::sync::atomic::AtomicUsize;
    use tokio::sync::Semaphore;

    fn token(generation: i64, expires_at: DateTime<Utc>) -> Arc<LiveToken> {
        let text = SecretString::from("t");
        Arc::new(LiveToken::new(&text, generation, expires_at).expect("a header"))
    }

    #[tokio::test]
    async fn a_thousand_callers_share_one_flight() {
        let slot = Arc::new(Slot::default());
        let starts = Arc::new(AtomicUsize::new(0));
        let gate = Arc::new(Semaphore::new(0));
        let later = Utc::now() + TimeDelta::hours(1);
        let callers: Vec<_> = (0..1000)
            .map(|_| {
                let (slot, starts, gate) = (slot.clone(), starts.clone(), gate.clone());
                tokio::spawn(async move {
                    slot.flight(Need::Fresh, || async move {
                        starts.fetch_add(1, Ordering::SeqCst);
                        let _permit = gate.acquire().await;
                        Ok(token(7, later))
                    })
                    .await
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
    async fn a_caller_who_hangs_up_does_not_end_the_renewal() {
        let slot = Arc::new(Slot::default());
        let (gate, done) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let later = Utc::now() + TimeDelta::hours(1);
        let impatient = {
            let (slot, gate, done) = (slot.clone(), gate.clone(), done.clone());
            tokio::spawn(async move {
                slot.flight(Need::Fresh, || async move {
                    let _permit = gate.acquire().await;
                    done.add_permits(1);
                    Ok(token(1, later))
                })
                .await
            })
        };
        tokio::task::yield_now().await;
        impatient.abort();
        gate.add_permits(1);
        let finished = done.acquire().await;
        assert!(finished.is_ok());
    }

    #[test]
    fn a_late_result_does_not_overrule_a_change() {
        let slot = Slot::default();
        let now = Utc::now();
        let epoch = slot.epoch();
        slot.forget();
        slot.put(&token(1, now + TimeDelta::hours(1)), epoch);
        assert!(slot.fresh(now).is_none());
        slot.put(&token(2, now + TimeDelta::hours(1)), slot.epoch());
        assert_eq!(slot.fresh(now).map(|t| t.generation()), Some(2));
    }

    #[test]
    fn a_refusal_stands_until_its_time_or_a_change() {
        let slot = Slot::default();
        let now = Utc::now();
        let refused = Refused::new(Who::Entra, 503, "needs-consent", "x");
        slot.cool(now + TimeDelta::seconds(10), refused.clone());
        assert!(slot.cooling(now).is_some());
        assert!(slot.cooling(now + TimeDelta::seconds(11)).is_none());
        slot.cool(now + TimeDelta::seconds(10), refused);
        slot.forget();
        assert!(slot.cooling(now).is_none());
    }
}

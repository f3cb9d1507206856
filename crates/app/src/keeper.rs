//! The keeper: holds live tokens and renews them.
//!
//! Invariants, in the order in which they matter:
//! 1. A fresh token is read without a lock and without the database.
//! 2. An account has at most one renewal at a time: in this process by one shared flight, across
//!    processes by a lease. Who cannot get the lease reads again and never renews without it.
//! 3. A refresh token is marked in the database before it is sent, and the mark goes with a
//!    definite answer. What is marked is not sent again to a server that would punish it.
//! 4. What a renewal brought is stored, whole and checked against the generation it started from,
//!    before anybody sees it.
//! 5. No credential is deleted because a renewal failed. A dead one is left alone until something
//!    changed.
//!
//! `protocol` holds the decisions, and `protocol/model` checks them; `renew` carries them out and
//! `outcome` writes down what came of it.

mod bearer;
mod gate;
mod gauges;
mod live;
mod outcome;
mod protocol;
mod renew;
mod reserve;
mod schedule;
mod slot;
mod timing;

pub use bearer::Bearer;
pub use live::LiveToken;
pub(crate) use protocol::{Ending, Reuse};
pub(crate) use renew::reuse_of;
pub(crate) use slot::Seat;
pub(crate) use timing::Pace;

use std::sync::Arc;
use std::time::Duration;

use papaya::HashMap as ConcurrentMap;
use tieline_core::{AccountId, Clock};
use tieline_entra::TokenClient;
use tieline_store::Store;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use crate::error::{Refused, Who};
use crate::moment::Moment;
use crate::outbound::Outbound;
use gate::Gates;
use live::Kept;
use slot::{Answer, Awaited, Joined, Slot};

/// How long a caller waits for a new token while the old one is still valid.
const SOFT_WAIT: Duration = Duration::from_secs(2);
/// How long a caller waits at all. A token service answers within seconds or is in trouble; the
/// renewal goes on without the caller.
const HARD_WAIT: Duration = Duration::from_secs(45);
/// Accounts whose tokens are held as text. Writing a packed one takes a call a hundredth longer, and
/// a megabyte or two is not worth that.
const AS_TEXT: usize = 1_000;
/// How often a caller begins anew when the renewal that it joined gave way to another server's.
const TRIES: usize = 3;

/// Holds the live tokens of every account that was used. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Keeper(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    clock: Arc<dyn Clock>,
    outbound: Outbound,
    tokens: TokenClient,
    slots: ConcurrentMap<AccountId, Arc<Slot>>,
    gates: Gates,
    /// The renewals under way: they are waited for before the process ends.
    running: TaskTracker,
    /// Where they run.
    runtime: Handle,
}

/// Why a renewal is asked for; decides whether a token that is still valid will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Need {
    /// Any token that is fresh.
    Fresh,
    /// A token of a later generation than this one, which was refused.
    After(i64),
    /// A token of a later generation than this one, whose time has come.
    Due(i64),
    /// A renewal now, even of a credential that is held to be dead: somebody tests it.
    Now,
}

impl Keeper {
    /// A keeper, whose renewals run on the present runtime.
    pub(crate) fn new(
        store: Store,
        clock: Arc<dyn Clock>,
        outbound: Outbound,
        tokens: TokenClient,
    ) -> Self {
        Self(Arc::new(Inner {
            store,
            clock,
            outbound,
            tokens,
            slots: ConcurrentMap::new(),
            gates: Gates::default(),
            running: TaskTracker::new(),
            runtime: Handle::current(),
        }))
    }

    /// A token that is fresh.
    pub(crate) async fn token(&self, account: AccountId) -> Answer {
        let now = self.moment();
        // The guard must not live across an await: it would hold back memory of other readers.
        let found = self
            .0
            .slots
            .pin()
            .get(&account)
            .and_then(|slot| slot.fresh(now));
        let Some(token) = found else {
            return self.token_joined(account).await;
        };
        if token.falls_due(now) {
            self.renew_ahead(account, &token);
        }
        Ok(token)
    }

    /// Renews a token that callers use, while it is still good for them.
    fn renew_ahead(&self, account: AccountId, token: &LiveToken) {
        let slot = self.slot(account);
        // It flies by itself.
        let _ = self.join(account, &slot, Need::Due(token.generation()));
    }

    async fn token_joined(&self, account: AccountId) -> Answer {
        let slot = self.slot(account);
        let mut answer = self.wait(account, &slot, Need::Fresh).await;
        for _ in 1..TRIES {
            match &answer {
                Err(refused) if refused.code == "renewal-elsewhere" => {
                    answer = self.wait(account, &slot, Need::Fresh).await;
                }
                _ => break,
            }
        }
        answer
    }

    /// A token that is not the refused one. A 401 with a fresh token may be the caller's own
    /// doing, so a token that somebody else renewed meanwhile is as good as a new one.
    pub(crate) async fn token_after(
        &self,
        account: AccountId,
        generation: i64,
        challenge: Option<&str>,
    ) -> Answer {
        let slot = self.slot(account);
        let challenge = challenge.and_then(tieline_entra::Challenge::parse);
        if let Some(claims) = challenge.and_then(|challenge| challenge.claims)
            && slot.is_new_challenge(generation, &claims)
        {
            // Written down before the renewal reads them: whichever flight gets there takes them
            // along, and they outlive a failed attempt and a restart.
            self.0.store.token_claims(account, &claims).await?;
        }
        let now = self.moment();
        let newer = slot
            .fresh(now)
            .filter(|token| token.generation() > generation);
        if let Some(token) = newer {
            return Ok(token);
        }
        if !slot.may_force(generation, now.steady)
            && let Some(token) = slot.valid(now)
        {
            // The organization refuses whatever we bring; its own 401 says more than we could.
            return Ok(token);
        }
        self.wait(account, &slot, Need::After(generation)).await
    }

    /// Renews now; for the ladder.
    pub(crate) async fn renew_now(&self, account: AccountId) -> Answer {
        let slot = self.slot(account);
        self.wait(account, &slot, Need::Now).await
    }

    /// Forgets what was known of an account; the database knows better.
    pub(crate) fn changed(&self, account: AccountId) {
        if let Some(slot) = self.0.slots.pin().get(&account) {
            slot.forget();
        }
    }

    /// Another server came to the end of a renewal: the next call reads what it stored, and who
    /// waits for it reads now.
    pub(crate) fn renewed_elsewhere(&self, account: AccountId, generation: i64) {
        if let Some(slot) = self.0.slots.pin().get(&account) {
            if slot.is_behind(generation) {
                slot.forget();
            } else {
                slot.wake();
            }
        }
    }

    /// An account's place, to be kept beside what else is known of it.
    pub(crate) fn seat(&self, account: AccountId) -> Seat {
        Seat::of(self.slot(account))
    }

    /// A token that is at hand and fresh.
    pub(crate) fn fresh(&self, account: AccountId, seat: &Seat, now: Moment) -> Option<LiveToken> {
        let token = seat.fresh(now)?;
        if token.falls_due(now) {
            self.renew_ahead(account, &token);
        }
        Some(token)
    }

    /// Waits for renewals that are under way, so that no answer is lost; not longer than `limit`.
    pub(crate) async fn drain(&self, limit: Duration) {
        self.0.running.close();
        let left = tokio::time::timeout(limit, self.0.running.wait()).await;
        if left.is_err() {
            let renewals = self.0.running.len();
            tracing::error!(
                renewals,
                "renewals were still under way and have been given up"
            );
        }
    }

    /// Runs what must come to its end whoever asked for it: on the runtime that the keeper was made
    /// on, because those of the gateway's threads end before it.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.running.spawn_on(task, &self.0.runtime);
    }

    /// How a token is held now.
    fn form(&self) -> Kept {
        match self.0.slots.pin().len() > AS_TEXT {
            true => Kept::Packed,
            false => Kept::AsText,
        }
    }

    fn moment(&self) -> Moment {
        Moment::now(&*self.0.clock)
    }

    fn slot(&self, account: AccountId) -> Arc<Slot> {
        Arc::clone(self.0.slots.pin().get_or_insert_with(account, Arc::default))
    }

    /// Joins the renewal that is under way, or starts one. The renewal runs in a task of its own:
    /// a caller who hangs up must not cut off an answer that carries a new refresh token.
    fn join(&self, account: AccountId, slot: &Arc<Slot>, need: Need) -> Joined {
        slot.join(need, |reply| {
            let (keeper, slot) = (self.clone(), Arc::clone(slot));
            let flight = async move { keeper.fly(account, slot, need, reply).await };
            self.spawn(flight);
        })
    }

    /// Joins the renewal, and waits as long as that helps.
    async fn wait(&self, account: AccountId, slot: &Arc<Slot>, need: Need) -> Answer {
        let now = self.moment();
        if need != Need::Now
            && let Some(refused) = slot.cooling(now.steady)
        {
            return self.old_or(slot, need, refused);
        }
        let flight = match self.join(account, slot, need) {
            Joined::Flight(flight) => flight,
            Joined::Held(refused) => return self.old_or(slot, need, refused),
        };
        tokio::pin!(flight);
        if need == Need::Fresh && slot.valid(now).is_some() {
            if let Ok(answer) = tokio::time::timeout(SOFT_WAIT, &mut flight).await {
                return answer;
            }
            // It may have ended meanwhile: then there is only the new one to wait for.
            if let Some(token) = slot.valid(self.moment()) {
                return Ok(token);
            }
        }
        match tokio::time::timeout(HARD_WAIT, &mut flight).await {
            Ok(answer) => answer,
            Err(_) => self.old_or(slot, need, slow(flight.awaited())),
        }
    }

    /// The old token while it is valid, unless a new one is insisted on.
    fn old_or(&self, slot: &Slot, need: Need, refused: Refused) -> Answer {
        match (need, slot.valid(self.moment())) {
            (Need::Fresh, Some(token)) => Ok(token),
            _ => Err(refused),
        }
    }
}

/// Names who was waited for: a database that stands still is no fault of the token service.
fn slow(awaited: Awaited) -> Refused {
    let (who, code, detail) = match awaited {
        Awaited::Database => (
            Who::Tieline,
            "database-unavailable",
            "Tieline's database has not answered yet. The renewal goes on; try again.",
        ),
        Awaited::TokenService => (
            Who::Entra,
            "token-service-slow",
            "The token service has not answered yet. The renewal goes on; try again.",
        ),
    };
    let mut refused = Refused::new(who, 503, code, detail);
    refused.retry_after = Some(Duration::from_secs(5));
    refused
}

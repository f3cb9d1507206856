//! The keeper: holds live tokens and renews them.
//!
//! Invariants, in the order in which they matter:
//! 1. A fresh token is read without a lock and without the database.
//! 2. An account has at most one renewal at a time: in this process by one shared flight, across
//!    processes by a lease. Who cannot get the lease reads again and never renews without it.
//! 3. What a renewal brought is stored, whole and checked against the generation it started from,
//!    before anybody sees it.
//! 4. No credential is deleted because a renewal failed. A dead one is left alone until something
//!    changed.

mod live;
mod renew;
mod schedule;
mod slot;

pub use live::LiveToken;
pub(crate) use slot::Seat;

use std::sync::Arc;

use papaya::HashMap as ConcurrentMap;
use tieline_core::{AccountId, Clock};
use tieline_entra::TokenClient;
use tieline_store::Store;

use crate::error::Refused;
use crate::outbound::Outbound;
use slot::Slot;

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
    /// Names this process in leases: random, so that a restarted server is another owner.
    owner: String,
}

/// Why a renewal is asked for; decides whether a token that is still valid will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Any token that is fresh.
    Fresh,
    /// A token of a later generation than this one, which was refused.
    After(i64),
    /// A renewal because its time has come, unless another server was quicker.
    Due,
    /// A renewal now, even of a credential that is held to be dead: somebody tests it.
    Now,
}

impl Keeper {
    pub(crate) fn new(
        store: Store,
        clock: Arc<dyn Clock>,
        outbound: Outbound,
        tokens: TokenClient,
    ) -> Self {
        use secrecy::ExposeSecret;
        let owner = tieline_vault::token::random().expose_secret().to_owned();
        let slots = ConcurrentMap::new();
        Self(Arc::new(Inner {
            store,
            clock,
            outbound,
            tokens,
            slots,
            owner,
        }))
    }

    /// A token that is fresh.
    pub(crate) async fn token(&self, account: AccountId) -> Result<Arc<LiveToken>, Refused> {
        let now = self.0.clock.now();
        // The guard must not live across an await: it would hold back memory of other readers.
        if let Some(token) = self
            .0
            .slots
            .pin()
            .get(&account)
            .and_then(|slot| slot.fresh(now))
        {
            return Ok(token);
        }
        self.join_flight(account, Need::Fresh).await
    }

    /// A token that is not the refused one. A 401 with a fresh token may be the caller's own
    /// doing, so a token that somebody else renewed meanwhile is as good as a new one.
    pub(crate) async fn token_after(
        &self,
        account: AccountId,
        generation: i64,
        challenge: Option<&str>,
    ) -> Result<Arc<LiveToken>, Refused> {
        if let Some(challenge) = challenge.and_then(tieline_entra::Challenge::parse) {
            self.slot(account).note_claims(challenge.claims);
        }
        self.join_flight(account, Need::After(generation)).await
    }

    /// Renews now; for the ladder.
    pub(crate) async fn renew_now(&self, account: AccountId) -> Result<Arc<LiveToken>, Refused> {
        self.join_flight(account, Need::Now).await
    }

    /// Forgets what was known of an account; the database knows better. If the account can be
    /// connected without a person, that begins at once.
    pub(crate) fn changed(&self, account: AccountId) {
        if let Some(slot) = self.0.slots.pin().get(&account) {
            slot.forget();
        }
    }

    /// Another server stored a later generation: the next call reads it.
    pub(crate) fn renewed_elsewhere(&self, account: AccountId, generation: i64) {
        if let Some(slot) = self.0.slots.pin().get(&account)
            && slot.is_behind(generation)
        {
            slot.forget();
        }
    }

    /// An account's place, to be kept beside what else is known of it.
    pub(crate) fn seat(&self, account: AccountId) -> Seat {
        Seat::of(self.slot(account))
    }

    fn slot(&self, account: AccountId) -> Arc<Slot> {
        Arc::clone(self.0.slots.pin().get_or_insert_with(account, Arc::default))
    }

    /// Joins the renewal that is under way, or starts one. The renewal runs in a task of its own:
    /// a caller who hangs up must not cut off an answer that carries a new refresh token.
    async fn join_flight(&self, account: AccountId, need: Need) -> Result<Arc<LiveToken>, Refused> {
        let slot = self.slot(account);
        slot.flight(need, || {
            let keeper = self.clone();
            let slot = Arc::clone(&slot);
            async move { keeper.renewal(account, &slot, need).await }
        })
        .await
    }
}

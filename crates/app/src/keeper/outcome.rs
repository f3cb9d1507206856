//! What came of a renewal: kept, or written down as a failure; and only then told.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tieline_core::{Account, ConnectionState, GrantType, Language, Reason, RotationSeen};
use tieline_store::{
    FailedRenewal, LeasePurpose, MarkAfter, RenewedTokens, StateChange, StoreError, TokenRow,
};
use tokio::time::Instant;

use super::protocol::{self, Use};
use super::renew::{Held, Job, blocked_key, elsewhere, is_refused, reuse_of};
use super::slot::{Answer, Cooling, Reply};
use super::timing::{Demand, renew_at, retry_at};
use super::{Keeper, LiveToken, Need};
use crate::credentials;
use crate::error::{Refused, Who};
use crate::obtain::{Failure, Obtained, WhichToken};
use crate::settings::client_key;

/// How long callers wait for a result to be stored, before they are told that it is not.
const STORE_PATIENCE: Duration = Duration::from_secs(3);
/// Longest pause between attempts to store.
const STORE_PAUSE: Duration = Duration::from_secs(2);
/// How long a verdict of death is taken from memory. Should the notice of a change be lost, it is
/// read within this time.
const DEAD_LOOK: Duration = Duration::from_secs(5);
/// Callers who came this long before a renewal make the account one in use.
const USED_WITHIN: chrono::TimeDelta = chrono::TimeDelta::hours(2);

/// What is to be stored.
#[derive(Debug)]
enum Outcome {
    Renewed(RenewedTokens),
    Failed(FailedRenewal),
}

impl Keeper {
    /// Stores what a renewal brought, and only then hands it out.
    pub(super) async fn keep(
        &self,
        held: &Held<'_>,
        mut obtained: Obtained,
        reply: &mut Reply,
    ) -> Answer {
        let job = &held.job;
        let (id, generation) = (job.account.id, job.row.generation + 1);
        let now = self.moment();
        let token = LiveToken::new(
            &obtained.access_token,
            generation,
            obtained.obtained_at,
            obtained.expires_at,
            now,
            self.form(),
        );
        let demand = self.demand(job, now.wall()).await;
        let (by, refused) = (obtained.by, std::mem::take(&mut obtained.refused));
        let renewed = renewed_tokens(job, obtained, token.as_ref(), demand, now.wall());
        let unusable = Failure::UnusableToken;
        let change = match &token {
            Some(_) => StateChange {
                state: ConnectionState::Connected,
                reason: Reason::new("renewed", String::new()),
            },
            None => StateChange {
                state: unusable.state(),
                reason: unusable.reason(),
            },
        };
        let result = Outcome::Renewed(renewed);
        let stored = self.persist(held, reply, &result, &change).await;
        credentials::note(&self.0.store, &job.account, by, &refused, now.wall()).await;
        match (stored, token) {
            (true, Some(token)) => {
                count("renewed");
                tracing::info!(account = %id, generation, "a token was renewed");
                job.slot.put(&token, job.epoch);
                Ok(token)
            }
            (true, None) => {
                count_failure(&unusable);
                tracing::warn!(account = %id, code = unusable.code(), "a renewal failed");
                self.old_or(
                    job.slot,
                    held.need,
                    unusable.refused(job.account.name.as_str()),
                )
            }
            (false, _) => self.overtaken(held).await,
        }
    }

    /// The generation moved on while we asked: somebody else's result stands, ours is dropped. Or
    /// it is our own, whose commit was not acknowledged.
    async fn overtaken(&self, held: &Held<'_>) -> Answer {
        let id = held.job.account.id;
        count("late");
        tracing::warn!(account = %id, "a renewal came too late and was dropped");
        let job = self.read(id, held.job.slot).await?;
        match job.token.filter(|token| token.is_fresh(job.read_at)) {
            Some(token) => {
                job.slot.put(&token, job.epoch);
                Ok(token)
            }
            None => {
                let detail = "The account changed while its token was being renewed. Try again.";
                let mut refused = Refused::new(Who::Tieline, 503, "renewal-overtaken", detail);
                refused.retry_after = Some(Duration::from_secs(1));
                Err(refused)
            }
        }
    }

    /// Offers a result to the database until it takes it: it may hold a refresh token that exists
    /// nowhere else, or be the only knowledge that one was not spent. Callers are told after a
    /// while, and no other renewal begins before it is stored.
    async fn persist(
        &self,
        held: &Held<'_>,
        reply: &mut Reply,
        outcome: &Outcome,
        change: &StateChange,
    ) -> bool {
        let id = held.job.account.id;
        let tell_at = Instant::now() + STORE_PATIENCE;
        let mut pause = Duration::from_millis(50);
        let mut unstored = None;
        loop {
            match self.store(held, outcome, change).await {
                Ok(stored) => return stored,
                Err(error) if unstored.is_none() && Instant::now() >= tell_at => {
                    tracing::error!(account = %id, %error, "the result of a renewal is not stored; it is held and offered again");
                    let refused = unstored_refusal();
                    held.job.slot.hold(reply, refused.clone());
                    reply.send(self.old_or(held.job.slot, held.need, refused));
                    unstored = Some(Unstored::begin());
                }
                Err(error) => {
                    tracing::debug!(account = %id, %error, "storing a renewal is tried again");
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(STORE_PAUSE);
        }
    }

    async fn store(
        &self,
        held: &Held<'_>,
        outcome: &Outcome,
        change: &StateChange,
    ) -> Result<bool, StoreError> {
        let (store, now) = (&self.0.store, self.0.clock.now());
        let (id, owner, seen) = (held.job.account.id, &held.owner, held.job.row.generation);
        match outcome {
            Outcome::Renewed(renewed) => {
                store
                    .token_renewed(id, owner, seen, renewed, change, now)
                    .await
            }
            Outcome::Failed(failed) => {
                store
                    .token_failed(id, owner, seen, failed, change, now)
                    .await
            }
        }
    }

    /// Whether the account is in use, here or at another server.
    async fn demand(&self, job: &Job<'_>, now: DateTime<Utc>) -> Demand {
        let since = now - USED_WITHIN;
        if i64::from(job.slot.last_use()) > since.timestamp() {
            return Demand::Used;
        }
        match self.0.store.account_last_used(job.account.id).await {
            Ok(Some(last)) if last > since => Demand::Used,
            Ok(_) => Demand::Idle,
            // The database is about to be asked for more than this.
            Err(_) => Demand::Used,
        }
    }

    /// Writes a failure down, and hands out the old token while it is valid.
    pub(super) async fn fail(
        &self,
        held: &Held<'_>,
        failure: Failure,
        reply: &mut Reply,
    ) -> Answer {
        let job = &held.job;
        let (id, reuse) = (job.account.id, reuse_of(&job.account, &job.row));
        let ending = failure.ending();
        // Learned the hard way: it was sent twice, and refused the second time.
        let punished = held.usage == Use::Again && failure.is_invalid_grant();
        let failure = match protocol::is_last(ending, reuse) {
            true => Failure::Unanswered {
                detail: failure.reason().detail,
            },
            false => failure,
        };
        let now = self.moment();
        let old = self.still_good(job, &failure);
        let next = next_look(&job.row, &failure, old.as_ref(), now.wall());
        let failed = FailedRenewal {
            blocked_key: failure
                .is_dead()
                .then(|| blocked_key(job.account.version, job.row.generation)),
            renew_at: next,
            mark: protocol::mark_after(ending),
            rotation_seen: punished.then_some(RotationSeen::Punishes),
            claims: failure.claims(),
        };
        let change = state_change(&failure, old.as_ref());
        credentials::note_failure(&self.0.store, &job.account, &failure, now.wall()).await;
        let result = Outcome::Failed(failed);
        let stored = self.persist(held, reply, &result, &change).await;
        count_failure(&failure);
        tracing::warn!(account = %id, code = failure.code(), state = %change.state, stored, "a renewal failed");
        if !stored {
            // Somebody else's result stands.
            return self.overtaken(held).await;
        }
        self.refuse(job, held.need, &failure, next, old)
    }

    /// Tells callers of a failure, lets it stand for a while, and keeps the old token in use.
    fn refuse(
        &self,
        job: &Job<'_>,
        need: Need,
        failure: &Failure,
        next: Option<DateTime<Utc>>,
        old: Option<LiveToken>,
    ) -> Answer {
        let now = self.moment();
        let mut refused = failure.refused(job.account.name.as_str());
        match old {
            Some(old) => job.slot.put(&old, job.epoch),
            None => job.slot.discard(job.epoch),
        }
        let pause = next
            .filter(|_| !failure.is_dead())
            .and_then(|next| (next - now.wall()).to_std().ok());
        refused.retry_after = pause;
        let gate = failure.is_of_service().then(|| {
            let gate = self.0.gates.of(&job.account.token_url);
            let openings = gate.openings();
            let (id, generation) = (job.account.id, job.row.generation);
            match failure {
                Failure::ServiceDown { .. } => gate.line_up(id, generation),
                _ => gate.line_up_if_shut(id, generation),
            }
            (gate, openings)
        });
        job.slot.cool(Cooling {
            until: now.steady + pause.unwrap_or(DEAD_LOOK),
            refused: refused.clone(),
            gate,
        });
        self.old_or(job.slot, need, refused)
    }

    /// A failure that was known before anything was asked. It is written down where it changes
    /// what is known of the account.
    pub(super) async fn fail_unasked(
        &self,
        job: Job<'_>,
        need: Need,
        failure: Failure,
        reply: &mut Reply,
    ) -> Answer {
        let old = self.still_good(&job, &failure);
        let state = state_change(&failure, old.as_ref()).state;
        if job.account.connection.state != state || failure.is_dead() {
            return match self.lease(&job, LeasePurpose::Other).await? {
                Some(owner) => {
                    let held = Held {
                        job,
                        need,
                        owner,
                        usage: Use::First,
                    };
                    self.fail(&held, failure, reply).await
                }
                None => self.old_or(job.slot, need, elsewhere()),
            };
        }
        let next = failure
            .retry_after()
            .and_then(|pause| chrono::TimeDelta::from_std(pause).ok())
            .map(|pause| self.0.clock.now() + pause);
        self.refuse(&job, need, &failure, next, old)
    }

    /// Nobody knows what became of the refresh token, and sending it again would end the grant.
    pub(super) async fn unanswered(&self, job: Job<'_>, need: Need, reply: &mut Reply) -> Answer {
        let since = job.row.spending.as_ref().map(|mark| mark.since);
        let detail = since.map_or_else(String::new, |since| {
            let since = since.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
            format!("The renewal that began at {since} was cut off.")
        });
        self.fail_unasked(job, need, Failure::Unanswered { detail }, reply)
            .await
    }

    /// The pause that another server wrote down goes on.
    pub(super) fn pausing(&self, job: &Job<'_>, need: Need) -> Answer {
        let now = self.moment();
        let mut refused = remembered(&job.account);
        let pause = job.row.renew_at.map(|until| until - now.wall());
        let pause = pause
            .and_then(|pause| pause.to_std().ok())
            .unwrap_or_default();
        refused.retry_after = Some(pause);
        if let Some(old) = job.token.as_ref().filter(|old| old.is_valid(now)) {
            job.slot.put(old, job.epoch);
        }
        job.slot.cool(Cooling {
            until: now.steady + pause.min(DEAD_LOOK),
            refused: refused.clone(),
            gate: None,
        });
        self.old_or(job.slot, need, refused)
    }

    /// A credential that was found dead, and nothing has changed since: no traffic.
    pub(super) async fn still_dead(&self, job: &Job<'_>, need: Need) -> Answer {
        let now = self.moment();
        let refused = remembered(&job.account);
        let usable = |token: &&LiveToken| token.is_valid(now) && !is_refused(&job.row);
        let old = job.token.as_ref().filter(usable);
        match old {
            Some(old) => job.slot.put(old, job.epoch),
            None if job.account.connection.state == ConnectionState::Degraded => {
                self.end_degraded(job, now.wall()).await?;
            }
            None if matches!(need, Need::Due(_)) => {
                self.0.store.token_schedule(job.account.id, None).await?;
            }
            None => {}
        }
        job.slot.cool(Cooling {
            until: now.steady + DEAD_LOOK,
            refused: refused.clone(),
            gate: None,
        });
        self.old_or(job.slot, need, refused)
    }

    /// The last valid token of a dead credential ended: the state says so.
    async fn end_degraded(&self, job: &Job<'_>, now: DateTime<Utc>) -> Result<(), Refused> {
        let id = job.account.id;
        let Some(owner) = self.lease(job, LeasePurpose::Other).await? else {
            return Ok(());
        };
        let failed = FailedRenewal {
            blocked_key: job.row.blocked_key.clone(),
            renew_at: None,
            mark: MarkAfter::Keep,
            rotation_seen: None,
            claims: None,
        };
        let reason = &job.account.connection.reason;
        let change = StateChange {
            state: state_of_code(&reason.code),
            reason: reason.clone(),
        };
        let store = &self.0.store;
        let seen = job.row.generation;
        store
            .token_failed(id, &owner, seen, &failed, &change, now)
            .await?;
        Ok(())
    }

    /// The old token, where callers still gain something by it. One that Dynamics refused with a
    /// challenge is worth nothing, however long it says that it lives.
    fn still_good(&self, job: &Job<'_>, failure: &Failure) -> Option<LiveToken> {
        let refused = is_refused(&job.row) && failure.is_dead();
        let now = self.moment();
        let old = job
            .token
            .as_ref()
            .filter(|old| old.is_valid(now) && !refused);
        old.cloned()
    }
}

/// What is stored of what came.
fn renewed_tokens(
    job: &Job<'_>,
    obtained: Obtained,
    token: Option<&LiveToken>,
    demand: Demand,
    now: DateTime<Utc>,
) -> RenewedTokens {
    let row = &job.row;
    let used = match obtained.spent {
        WhichToken::Present => row.refresh_token.as_ref(),
        WhichToken::Previous => row.previous_refresh_token.as_ref(),
    };
    let came = obtained.refresh_token.filter(|came| {
        use secrecy::ExposeSecret;
        used.is_none_or(|used| used.expose_secret() != came.expose_secret())
    });
    let grant = job.account.grant;
    let used = used.filter(|_| grant == GrantType::AuthorizationCode);
    let rotation_seen = used.map(|_| match came {
        Some(_) => RotationSeen::Rotates,
        None => RotationSeen::Keeps,
    });
    // Whatever was used has worked just now; it is kept until what replaces it has.
    let (refresh_token, previous) = match came {
        Some(came) => (Some(came), used.cloned()),
        None => (used.cloned().or_else(|| row.refresh_token.clone()), None),
    };
    let dead = || blocked_key(job.account.version, row.generation + 1);
    RenewedTokens {
        refresh_token,
        previous_refresh_token: previous,
        access_token: token.map(|_| obtained.access_token),
        access_expires_at: token.map(|_| obtained.expires_at),
        scope: obtained.scope,
        client_key: client_key(&job.account.token_url, &job.account.client_id),
        rotation_seen,
        claims_met: row.claims.clone(),
        blocked_key: token.is_none().then(dead),
        renew_at: token.map(|_| renew_at(now, obtained.expires_at, demand)),
    }
}

/// When the schedule looks at an account that failed.
fn next_look(
    row: &TokenRow,
    failure: &Failure,
    old: Option<&LiveToken>,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    match (failure.is_dead(), old) {
        // Looked at again when the old token ends, to say what became of the connection.
        (true, Some(old)) => Some(old.expires_at()),
        (true, None) => None,
        (false, _) => retry_at(now, row.failures, failure.pace(), failure.retry_after()),
    }
}

fn state_change(failure: &Failure, old: Option<&LiveToken>) -> StateChange {
    StateChange {
        state: match old {
            Some(_) => ConnectionState::Degraded,
            None => failure.state(),
        },
        reason: failure.reason(),
    }
}

fn unstored_refusal() -> Refused {
    let detail = "A new token came, and Tieline's database does not take it. It is kept and \
                  offered again.";
    let mut refused = Refused::new(Who::Tieline, 503, "renewal-unstored", detail);
    refused.retry_after = Some(Duration::from_secs(5));
    refused
}

fn count(outcome: &'static str) {
    metrics::counter!("tieline_renewals_total", "outcome" => outcome).increment(1);
}

fn count_failure(failure: &Failure) {
    count("failed");
    let (class, reason) = (failure.state().as_str(), failure.code());
    metrics::counter!("tieline_renewal_failures_total", "class" => class, "reason" => reason)
        .increment(1);
}

/// Counts results that wait for the database.
struct Unstored;

impl Unstored {
    fn begin() -> Self {
        metrics::gauge!("tieline_renewals_unstored").increment(1.0);
        Self
    }
}

impl Drop for Unstored {
    fn drop(&mut self) {
        metrics::gauge!("tieline_renewals_unstored").decrement(1.0);
    }
}

// === what the history tells ===

/// The refusal that the account's history tells of.
fn remembered(account: &Account) -> Refused {
    let reason = &account.connection.reason;
    let cause = crate::help::explain_reason(reason, account, Language::English).cause;
    let detail = format!("The account '{}' has no valid token. {cause}", account.name);
    let who = match account.connection.state {
        ConnectionState::NeedsConsent
        | ConnectionState::NotConnected
        | ConnectionState::Unreachable => Who::Entra,
        _ => Who::Tieline,
    };
    Refused::new(who, 503, crate::obtain::stable_code(&reason.code), detail)
}

/// The state that belongs to a code once no valid token is left.
fn state_of_code(code: &str) -> ConnectionState {
    match code {
        "no-consent-yet" => ConnectionState::NotConnected,
        "consent-for-other-client" | "consent-lost" | "renewal-unanswered" => {
            ConnectionState::NeedsConsent
        }
        _ if tieline_entra::codes::needs_consent(code) => ConnectionState::NeedsConsent,
        _ => ConnectionState::Misconfigured,
    }
}

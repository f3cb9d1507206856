//! A renewal: read, adopt or lease, ask, store, and only then hand out.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tieline_core::{Account, AccountId, ConnectionState, GrantType, Language, Reason};
use tieline_dataverse::ApiAddress;
use tieline_entra::Endpoints;
use tieline_store::{FailedRenewal, RenewedTokens, StateChange, StoreError, TokenRow};

use super::schedule::{renew_at, retry_at};
use super::slot::Slot;
use super::{Keeper, LiveToken, Need};
use crate::credentials;
use crate::error::{Refused, Who};
use crate::obtain::{Attempt, Failure, Obtained};
use crate::settings::client_key;

/// How long a lease lasts unless it is extended. A server that dies leaves an account stuck for
/// no longer than this.
const LEASE: TimeDelta = TimeDelta::seconds(30);
/// How often a lease is extended while HTTP runs: two extensions may be lost before it lapses.
const EXTEND_EVERY: Duration = Duration::from_secs(10);
/// How often who waits for another server's renewal reads again.
const POLL: Duration = Duration::from_millis(50);
/// How long a result is offered to a database that refuses it, before it is given up.
const STORE_PATIENCE: Duration = Duration::from_secs(20);

/// What a renewal works on.
struct Job<'a> {
    slot: &'a Slot,
    account: Account,
    row: TokenRow,
    /// The slot's epoch before anything was read.
    epoch: u64,
}

impl Keeper {
    /// One renewal, for everybody who joined the flight.
    pub(super) async fn renewal(
        &self,
        id: AccountId,
        slot: &Slot,
        need: Need,
    ) -> Result<Arc<LiveToken>, Refused> {
        let started = self.0.clock.now();
        if need != Need::Now
            && let Some(refused) = slot.cooling(started)
        {
            return self.old_or(slot, need, refused);
        }
        // Whoever holds the lease has at most this long; then the lease is free for us.
        let patience = tokio::time::Instant::now() + (LEASE * 2).to_std().unwrap_or_default();
        loop {
            let job = self.read(id, slot).await?;
            if let Some(token) = self.adopt(&job, need) {
                return Ok(token);
            }
            if need != Need::Now && job.row.blocked_key.as_deref() == Some(&blocked_key(&job)) {
                return self.still_dead(&job, need).await;
            }
            let now = self.0.clock.now();
            if self
                .0
                .store
                .token_lease(id, &self.0.owner, now + LEASE, now)
                .await?
            {
                return self.renew_leased(id, slot, need).await;
            }
            metrics::counter!("tieline_lease_waits_total").increment(1);
            if tokio::time::Instant::now() > patience {
                let detail = "Another server has been renewing this account's token for too long.";
                let mut refused = Refused::new(Who::Tieline, 503, "renewal-elsewhere", detail);
                refused.retry_after = Some(Duration::from_secs(5));
                return self.old_or(slot, need, refused);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn read<'a>(&self, id: AccountId, slot: &'a Slot) -> Result<Job<'a>, Refused> {
        let epoch = slot.epoch();
        let account = self.0.store.account(id).await?;
        let row = self.0.store.token(id).await?;
        match (account, row) {
            (Some(account), Some(row)) => Ok(Job {
                slot,
                account,
                row,
                epoch,
            }),
            _ => {
                let detail = "The account was deleted.";
                Err(Refused::new(Who::Consumer, 404, "account-unknown", detail))
            }
        }
    }

    /// Takes over what the database holds, where that is what is needed.
    fn adopt(&self, job: &Job<'_>, need: Need) -> Option<Arc<LiveToken>> {
        let now = self.0.clock.now();
        let wanted = match need {
            Need::Fresh => true,
            Need::After(generation) => job.row.generation > generation,
            Need::Due => job.row.renew_at.is_some_and(|at| at > now),
            Need::Now => false,
        };
        let expected = client_key(&job.account.token_url, &job.account.client_id);
        // Callers go on with the token of an older configuration until the new one has brought its
        // first: it was made for the same organization, or it would have been taken away.
        let ours = need == Need::Fresh
            || job
                .row
                .client_key
                .as_deref()
                .is_none_or(|key| key == expected);
        let token = stored_token(&job.row).filter(|token| wanted && ours && token.is_fresh(now))?;
        let token = Arc::new(token);
        job.slot.put(&token, job.epoch);
        Some(token)
    }

    /// Renews with the lease in hand. The row is read again, because it may have been renewed
    /// between the first look and the lease.
    async fn renew_leased(
        &self,
        id: AccountId,
        slot: &Slot,
        need: Need,
    ) -> Result<Arc<LiveToken>, Refused> {
        let job = match self.read(id, slot).await {
            Ok(job) => job,
            Err(refused) => {
                self.release(id).await;
                return Err(refused);
            }
        };
        if let Some(token) = self.adopt(&job, need) {
            self.release(id).await;
            return Ok(token);
        }
        let now = self.0.clock.now();
        if need == Need::Due
            && let Some(old) = stored_token(&job.row).filter(|token| token.is_fresh(now))
        {
            // Nobody has to wait for this renewal.
            slot.put(&Arc::new(old), job.epoch);
        }
        let result = self.ask_under_lease(&job, now).await;
        match result {
            Ok(obtained) => self.keep(&job, obtained).await,
            Err(failure) => self.record_failure(&job, need, failure).await,
        }
    }

    /// Asks the token service, and extends the lease for as long as that takes.
    async fn ask_under_lease(
        &self,
        job: &Job<'_>,
        now: DateTime<Utc>,
    ) -> Result<Obtained, Failure> {
        let asking = self.ask(job, now);
        tokio::pin!(asking);
        let mut extend = tokio::time::interval(EXTEND_EVERY);
        extend.tick().await;
        loop {
            tokio::select! {
                result = &mut asking => return result,
                _ = extend.tick() => {
                    let until = self.0.clock.now() + LEASE;
                    // A lease that was lost is noticed when the result is stored.
                    let extended =
                        self.0.store.token_lease_extend(job.account.id, &self.0.owner, until).await;
                    if let Err(error) = extended {
                        tracing::warn!(account = %job.account.id, %error, "a lease was not extended");
                    }
                }
            }
        }
    }

    async fn ask(&self, job: &Job<'_>, now: DateTime<Utc>) -> Result<Obtained, Failure> {
        let account = &job.account;
        let endpoints = Endpoints::parse(&account.authorization_url, &account.token_url)
            .map_err(|_| Failure::Settings)?
            .value;
        let api = ApiAddress::parse(&account.api_url)
            .map_err(|_| Failure::Settings)?
            .value;
        let expected = client_key(&account.token_url, &account.client_id);
        if account.grant == GrantType::AuthorizationCode
            && job.row.refresh_token.is_some()
            && job
                .row
                .client_key
                .as_deref()
                .is_some_and(|key| key != expected)
        {
            return Err(Failure::OtherClient);
        }
        let credentials = credentials::offered(&self.0.store, account)
            .await
            .map_err(|error| self.unsealed(account, &error))?;
        let attempt = Attempt {
            endpoints: &endpoints,
            client_id: &account.client_id,
            credentials,
            api_url: api.url(),
            grant: account.grant,
            refresh_token: job.row.refresh_token.clone(),
            previous: job.row.previous_refresh_token.clone(),
            claims: job.slot.take_claims(),
        };
        attempt.run(&self.0.tokens, &self.0.outbound, now).await
    }

    fn unsealed(&self, account: &Account, error: &StoreError) -> Failure {
        tracing::error!(account = %account.id, %error, "the client secret cannot be read");
        Failure::Settings
    }

    /// Stores what a renewal brought, and only then hands it out.
    async fn keep(&self, job: &Job<'_>, obtained: Obtained) -> Result<Arc<LiveToken>, Refused> {
        let id = job.account.id;
        let generation = job.row.generation + 1;
        let token = LiveToken::new(&obtained.access_token, generation, obtained.expires_at);
        let Some(token) = token.map(Arc::new) else {
            return self
                .record_failure(job, Need::Now, Failure::UnusableToken)
                .await;
        };
        let now = self.0.clock.now();
        let (by, refused) = (obtained.by, obtained.refused);
        let used = job.slot.last_use() > job.row.obtained_at.map_or(0, |at| at.timestamp_millis());
        let renewed = RenewedTokens {
            refresh_token: obtained.refresh_token,
            access_token: obtained.access_token,
            access_expires_at: obtained.expires_at,
            scope: obtained.scope,
            client_key: client_key(&job.account.token_url, &job.account.client_id),
            renew_at: renew_at(now, obtained.expires_at, used),
        };
        let state = StateChange {
            state: ConnectionState::Connected,
            reason: Reason::new("renewed", String::new()),
        };
        let stored = self.store_patiently(job, &renewed, &state).await?;
        credentials::note(&self.0.store, &job.account, by, &refused, now).await;
        metrics::counter!("tieline_renewals_total", "outcome" => "renewed").increment(1);
        if stored {
            tracing::info!(account = %id, generation, "a token was renewed");
            job.slot.put(&token, job.epoch);
            return Ok(token);
        }
        // The generation moved on while we asked: somebody else's result stands, ours is dropped.
        tracing::warn!(account = %id, generation, "a renewal came too late and was dropped");
        let now_job = self.read(id, job.slot).await?;
        self.adopt(&now_job, Need::Fresh).ok_or_else(|| {
            let detail = "The account changed while its token was being renewed. Try again.";
            Refused::new(Who::Tieline, 503, "renewal-overtaken", detail)
        })
    }

    /// Offers a result to the database until it takes it: the answer holds a refresh token that
    /// exists nowhere else.
    async fn store_patiently(
        &self,
        job: &Job<'_>,
        renewed: &RenewedTokens,
        state: &StateChange,
    ) -> Result<bool, Refused> {
        let id = job.account.id;
        let give_up = tokio::time::Instant::now() + STORE_PATIENCE;
        let mut pause = Duration::from_millis(50);
        loop {
            let now = self.0.clock.now();
            let seen = job.row.generation;
            match self
                .0
                .store
                .token_renewed(id, &self.0.owner, seen, renewed, state, now)
                .await
            {
                Ok(stored) => return Ok(stored),
                Err(error) if tokio::time::Instant::now() >= give_up => {
                    tracing::error!(account = %id, %error, "a renewed token could not be stored");
                    return Err(error.into());
                }
                Err(error) => {
                    tracing::warn!(account = %id, %error, "storing a renewed token is tried again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(2));
                }
            }
        }
    }

    /// Writes a failure down, and hands out the old token while it is valid.
    async fn record_failure(
        &self,
        job: &Job<'_>,
        need: Need,
        failure: Failure,
    ) -> Result<Arc<LiveToken>, Refused> {
        let now = self.0.clock.now();
        let id = job.account.id;
        let old = stored_token(&job.row).filter(|token| token.is_valid(now));
        let state = match &old {
            Some(_) => ConnectionState::Degraded,
            None => failure.state(),
        };
        let next = match (failure.is_dead(), &old) {
            // Looked at again when the old token ends, to say what became of the connection.
            (true, Some(old)) => Some(old.expires_at()),
            (true, None) => None,
            (false, _) => Some(retry_at(now, job.row.failures, failure.retry_after())),
        };
        let failed = FailedRenewal {
            blocked_key: failure.is_dead().then(|| blocked_key(job)),
            renew_at: next,
        };
        let change = StateChange {
            state,
            reason: failure.reason(),
        };
        credentials::note_failure(&self.0.store, &job.account, &failure, now).await;
        let seen = job.row.generation;
        self.0
            .store
            .token_failed(id, &self.0.owner, seen, &failed, &change, now)
            .await?;
        metrics::counter!("tieline_renewals_total", "outcome" => failure.state().as_str())
            .increment(1);
        tracing::warn!(account = %id, code = failure.code(), state = %state, "a renewal failed");
        let mut refused = failure.refused(job.account.name.as_str());
        if let Some(next) = next.filter(|_| !failure.is_dead()) {
            refused.retry_after = (next - now).to_std().ok();
            job.slot.cool(next, refused.clone());
        }
        if let Some(old) = old {
            job.slot.put(&Arc::new(old), job.epoch);
        }
        self.old_or(job.slot, need, refused)
    }

    /// A credential that was found dead, and nothing has changed since: no traffic.
    async fn still_dead(&self, job: &Job<'_>, need: Need) -> Result<Arc<LiveToken>, Refused> {
        let now = self.0.clock.now();
        let reason = &job.account.connection.reason;
        let refused = remembered(&job.account);
        if let Some(old) = stored_token(&job.row).filter(|token| token.is_valid(now)) {
            job.slot.put(&Arc::new(old), job.epoch);
            return self.old_or(job.slot, need, refused);
        }
        if job.account.connection.state == ConnectionState::Degraded {
            self.end_degraded(job, reason, now).await?;
        } else if need == Need::Due {
            self.0.store.token_schedule(job.account.id, None).await?;
        }
        Err(refused)
    }

    /// The last valid token of a dead credential ended: the state says so.
    async fn end_degraded(
        &self,
        job: &Job<'_>,
        reason: &Reason,
        now: DateTime<Utc>,
    ) -> Result<(), Refused> {
        let id = job.account.id;
        if !self
            .0
            .store
            .token_lease(id, &self.0.owner, now + LEASE, now)
            .await?
        {
            return Ok(());
        }
        let failed = FailedRenewal {
            blocked_key: Some(blocked_key(job)),
            renew_at: None,
        };
        let state = state_of_code(&reason.code);
        let change = StateChange {
            state,
            reason: reason.clone(),
        };
        let seen = job.row.generation;
        self.0
            .store
            .token_failed(id, &self.0.owner, seen, &failed, &change, now)
            .await?;
        Ok(())
    }

    async fn release(&self, id: AccountId) {
        if let Err(error) = self.0.store.token_lease_release(id, &self.0.owner).await {
            // It lapses by itself.
            tracing::warn!(account = %id, %error, "a lease was not released");
        }
    }

    /// The old token while it is valid, unless a new one is insisted on.
    fn old_or(&self, slot: &Slot, need: Need, refused: Refused) -> Result<Arc<LiveToken>, Refused> {
        match (need, slot.valid(self.0.clock.now())) {
            (Need::Fresh, Some(token)) => Ok(token),
            _ => Err(refused),
        }
    }
}

/// What a verdict rested on: the settings and the tokens. While both are the same, asking again
/// would get the same answer.
fn blocked_key(job: &Job<'_>) -> String {
    format!("v{}g{}", job.account.version, job.row.generation)
}

fn stored_token(row: &TokenRow) -> Option<LiveToken> {
    LiveToken::new(
        row.access_token.as_ref()?,
        row.generation,
        row.access_expires_at?,
    )
}

/// The refusal that the account's history tells of.
fn remembered(account: &Account) -> Refused {
    let code = stable(&account.connection.reason.code);
    let reason = &account.connection.reason;
    let cause = crate::help::explain_reason(reason, account, Language::English).cause;
    let detail = format!("The account '{}' has no valid token. {cause}", account.name);
    let who = match account.connection.state {
        ConnectionState::NeedsConsent | ConnectionState::NotConnected => Who::Entra,
        _ => Who::Tieline,
    };
    Refused::new(who, 503, code, detail)
}

/// The codes that a dead credential can have, as static texts.
fn stable(code: &str) -> &'static str {
    const LOCAL: [&str; 6] = [
        "credentials-refused",
        "certificate-not-signing",
        "no-consent-yet",
        "consent-for-other-client",
        "settings-incomplete",
        "consent-lost",
    ];
    LOCAL
        .into_iter()
        .find(|known| *known == code)
        .or_else(|| tieline_entra::codes::slug(code))
        .unwrap_or("token-refused")
}

/// The state that belongs to a code once no valid token is left.
fn state_of_code(code: &str) -> ConnectionState {
    match code {
        "no-consent-yet" => ConnectionState::NotConnected,
        "consent-for-other-client" | "consent-lost" => ConnectionState::NeedsConsent,
        _ if tieline_entra::codes::needs_consent(code) => ConnectionState::NeedsConsent,
        _ => ConnectionState::Misconfigured,
    }
}

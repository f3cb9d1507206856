//! A renewal: read, adopt or lease, ask. What comes of it is written down by `outcome`.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use secrecy::ExposeSecret;
use tieline_core::{Account, AccountId, GrantType};
use tieline_dataverse::ApiAddress;
use tieline_entra::{Dialect, Endpoints};
use tieline_store::{LeasePurpose, LeaseWish, StoreError, TokenRow};
use tokio::time::Instant;

use super::gate::{Health, Pass, ShutOut, Trouble};
use super::live::Kept;
use super::protocol::{self, Claims, Lease, Maker, Mark, Reuse, Standing, Step, Stored, Use, View};
use super::slot::{Answer, Awaited, Reply, Slot};
use super::timing::{jitter, pause_goes_on};
use super::{Keeper, LiveToken, Need};
use crate::credentials;
use crate::error::{Refused, Who};
use crate::moment::Moment;
use crate::obtain::{Attempt, Failure, Obtained, Offered};
use crate::settings::client_key;

/// How long a lease lasts unless it is extended. A server that dies leaves an account stuck for
/// no longer than this.
pub(super) const LEASE: TimeDelta = TimeDelta::seconds(10);
/// How often a lease is extended while HTTP runs: two extensions may be lost before it lapses.
const EXTEND_EVERY: Duration = Duration::from_secs(3);
/// How long another server's renewal is waited for; it extends its lease while it works.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often who waits for another server reads again, should the notice be lost.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How long a token service that stumbled is left alone before it is asked once more.
const STUMBLE: Duration = Duration::from_millis(800);

/// What a renewal works on.
#[derive(Debug)]
pub(super) struct Job<'a> {
    pub(super) slot: &'a Slot,
    pub(super) account: Account,
    pub(super) row: TokenRow,
    /// The slot's epoch before anything was read.
    pub(super) epoch: u32,
    /// The moment at which it was read.
    pub(super) read_at: Moment,
    /// The stored token.
    pub(super) token: Option<LiveToken>,
}

/// An attempt that has the lease.
#[derive(Debug)]
pub(super) struct Held<'a> {
    pub(super) job: Job<'a>,
    pub(super) need: Need,
    /// Names the attempt in the lease and in the mark.
    pub(super) owner: String,
    pub(super) usage: Use,
}

/// What a request needs besides tokens.
#[derive(Debug)]
struct Ready {
    endpoints: Endpoints,
    api: ApiAddress,
    credentials: Vec<Offered>,
}

impl Keeper {
    /// Flies one renewal, for everybody who joined it.
    pub(super) async fn fly(self, account: AccountId, slot: Arc<Slot>, need: Need, reply: Reply) {
        let mut landing = Landing { slot: &slot, reply };
        metrics::gauge!("tieline_renewal_flights").increment(1.0);
        let answer = self.renewal(account, &slot, need, &mut landing.reply).await;
        landing.slot.landed(&landing.reply);
        landing.reply.send(answer);
    }

    async fn renewal(&self, id: AccountId, slot: &Slot, need: Need, reply: &mut Reply) -> Answer {
        let patience = Instant::now() + PATIENCE;
        let mut wait = LeaseWait::default();
        loop {
            let waker = slot.waker();
            let woken = waker.notified();
            tokio::pin!(woken);
            // Before the row is read: what happens after that is not missed.
            woken.as_mut().enable();
            reply.awaits(Awaited::Database);
            let job = self.read(id, slot).await?;
            match protocol::step(&view(&job, need, self.gate_is_news(&job)), need) {
                Step::Adopt => {
                    if let Some(token) = &job.token {
                        slot.put(token, job.epoch);
                        return Ok(token.clone());
                    }
                }
                // Most flights end above: they find what another one stored. The others' futures
                // are large, and a thousand at once that only read must not carry room for them.
                Step::Refuse => return Box::pin(self.still_dead(&job, need)).await,
                Step::Pause => return self.pausing(&job, need),
                Step::GiveUp => return Box::pin(self.unanswered(job, need, reply)).await,
                Step::Ask(usage) => {
                    let attempt = Box::pin(self.attempt(job, need, usage, reply));
                    if let Some(answer) = attempt.await? {
                        return answer;
                    }
                }
                Step::Wait if matches!(need, Need::Due(_)) || Instant::now() > patience => {
                    return self.old_or(slot, need, elsewhere());
                }
                Step::Wait => {
                    wait.begin();
                    // A server that keeps its lease has the database; it waits for an answer.
                    reply.awaits(Awaited::TokenService);
                    let left = job.row.lease.map_or(TimeDelta::zero(), |lease| lease.left);
                    let left = left.to_std().unwrap_or_default() + Duration::from_millis(20);
                    let _ = tokio::time::timeout(left.min(LOOK_AGAIN), woken).await;
                }
            }
        }
    }

    pub(super) async fn read<'a>(&self, id: AccountId, slot: &'a Slot) -> Result<Job<'a>, Refused> {
        let epoch = slot.epoch();
        let account = self.0.store.account(id).await?;
        let row = self.0.store.token(id).await?;
        let (Some(account), Some(row)) = (account, row) else {
            let detail = "The account was deleted.";
            return Err(Refused::new(Who::Consumer, 404, "account-unknown", detail));
        };
        let read_at = self.moment();
        let token = stored_token(&row, read_at, self.form());
        Ok(Job {
            slot,
            account,
            row,
            epoch,
            read_at,
            token,
        })
    }

    /// Takes the lease and asks. None when another attempt was quicker.
    async fn attempt(
        &self,
        job: Job<'_>,
        need: Need,
        usage: Use,
        reply: &mut Reply,
    ) -> Result<Option<Answer>, Refused> {
        let ready = match self.prepare(&job).await {
            Ok(ready) => ready,
            Err(failure @ Failure::Database) => {
                // It says nothing of the account.
                let refused = failure.refused(job.account.name.as_str());
                return Ok(Some(self.old_or(job.slot, need, refused)));
            }
            Err(failure) => return Ok(Some(self.fail_unasked(job, need, failure, reply).await)),
        };
        let gate = self.0.gates.of(&job.account.token_url);
        // Before the gate wait those whose turn at the token service has not come.
        reply.awaits(Awaited::TokenService);
        let pass = gate.enter(job.account.id).await;
        reply.awaits(Awaited::Database);
        let pass = match pass {
            Ok(pass) => pass,
            Err(out) => return Ok(Some(self.shut_out(job, need, out, reply).await)),
        };
        let purpose = match job.account.grant {
            GrantType::AuthorizationCode if job.row.refresh_token.is_some() => LeasePurpose::Spend,
            _ => LeasePurpose::Other,
        };
        let Some(owner) = self.lease(&job, purpose).await? else {
            return Ok(None);
        };
        job.slot.commit(reply);
        if matches!(need, Need::Due(_))
            && let Some(old) = job.token.as_ref().filter(|old| old.is_fresh(job.read_at))
        {
            // Nobody has to wait for a renewal whose time has merely come.
            job.slot.put(old, job.epoch);
        }
        let mut held = Held {
            job,
            need,
            owner,
            usage,
        };
        reply.awaits(Awaited::TokenService);
        let result = self.ask_under_lease(&mut held, ready, pass).await;
        reply.awaits(Awaited::Database);
        Ok(Some(match result {
            Ok(obtained) => self.keep(&held, obtained, reply).await,
            Err(failure) => self.fail(&held, failure, reply).await,
        }))
    }

    /// Takes the lease, on the row as it was read. Tells the attempt's name.
    pub(super) async fn lease(
        &self,
        job: &Job<'_>,
        purpose: LeasePurpose,
    ) -> Result<Option<String>, Refused> {
        let owner = tieline_vault::token::random().expose_secret().to_owned();
        let wish = LeaseWish {
            owner: &owner,
            seen: job.row.generation,
            marked_by: job.row.spending.as_ref().map(|mark| mark.owner.as_str()),
            purpose,
            life: LEASE,
        };
        match self.0.store.token_lease(job.account.id, &wish).await {
            Ok(true) => {
                tracing::debug!(account = %job.account.id, "a lease was taken");
                Ok(Some(owner))
            }
            Ok(false) => Ok(None),
            Err(error) => {
                self.release_later(job.account.id, owner);
                Err(error.into())
            }
        }
    }

    /// The lease, and the mark with it, may have been written although no answer came. Nothing was
    /// sent, and a mark that says otherwise would cost a strict account its consent.
    pub(super) fn release_later(&self, id: AccountId, owner: String) {
        let store = self.0.store.clone();
        self.spawn(async move {
            let mut pause = Duration::from_millis(100);
            while let Err(error) = store.token_lease_release(id, &owner).await {
                tracing::debug!(account = %id, %error, "releasing a lease is tried again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(5));
            }
        });
    }

    /// Asks the token service, and extends the lease for as long as that takes.
    async fn ask_under_lease(
        &self,
        held: &mut Held<'_>,
        ready: Ready,
        pass: Pass,
    ) -> Result<Obtained, Failure> {
        let (id, owner) = (held.job.account.id, held.owner.clone());
        let (result, usage) = self
            .extending(id, &owner, self.ask_twice(held, &ready))
            .await;
        held.usage = usage;
        match &result {
            Err(failure) if failure.is_of_service() => pass.report(Health::Ill(Trouble {
                code: failure.code(),
                evidence: Box::new(failure.evidence()),
                asked: failure.retry_after(),
            })),
            Err(failure) if failure.ending() == protocol::Ending::Unsent => drop(pass),
            _ => pass.report(Health::Well),
        }
        result
    }

    /// Extends a lease for as long as `work` takes.
    pub(super) async fn extending<T>(
        &self,
        id: AccountId,
        owner: &str,
        work: impl Future<Output = T>,
    ) -> T {
        tokio::pin!(work);
        let mut extend = tokio::time::interval(EXTEND_EVERY);
        extend.tick().await;
        loop {
            tokio::select! {
                result = &mut work => return result,
                _ = extend.tick() => {
                    // A lease that was lost is noticed when the result is stored.
                    let extended = self.0.store.token_lease_extend(id, owner, LEASE).await;
                    if let Err(error) = extended {
                        tracing::warn!(account = %id, %error, "a lease was not extended");
                    }
                }
            }
        }
    }

    /// Asks, and once more at once where the service stumbled: most stumbles are over within a
    /// second, and callers are waiting. Not while an outage goes on, and never where a second use
    /// of the refresh token would be punished.
    async fn ask_twice(&self, held: &Held<'_>, ready: &Ready) -> (Result<Obtained, Failure>, Use) {
        let first = self.ask(&held.job, ready).await;
        let reuse = reuse_of(&held.job.account, &held.job.row);
        match first {
            Err(failure)
                if held.job.row.failures == 0
                    && failure.is_stumble()
                    && !protocol::is_last(failure.ending(), reuse) =>
            {
                tokio::time::sleep(STUMBLE / 2 + jitter(STUMBLE / 2)).await;
                let usage = match failure.ending() {
                    protocol::Ending::Unknown => Use::Again,
                    _ => held.usage,
                };
                (self.ask(&held.job, ready).await, usage)
            }
            first => (first, held.usage),
        }
    }

    async fn ask(&self, job: &Job<'_>, ready: &Ready) -> Result<Obtained, Failure> {
        let account = &job.account;
        let previous = match reuse_of(account, &job.row) {
            Reuse::Harmless => job.row.previous_refresh_token.clone(),
            Reuse::Punished => None,
        };
        let attempt = Attempt {
            endpoints: &ready.endpoints,
            client_id: &account.client_id,
            credentials: ready.credentials.clone(),
            api_url: ready.api.url(),
            grant: account.grant,
            refresh_token: job.row.refresh_token.clone(),
            previous,
            claims: job.row.claims.clone(),
        };
        let now = self.0.clock.now();
        attempt.run(&self.0.tokens, &self.0.outbound, now).await
    }

    /// Makes ready everything that a request needs. Between the mark and the request nothing is
    /// left to be done: a server that dies there takes a strict account's consent with it.
    async fn prepare(&self, job: &Job<'_>) -> Result<Ready, Failure> {
        let account = &job.account;
        let endpoints = Endpoints::parse(&account.authorization_url, &account.token_url)
            .map_err(|_| Failure::Settings)?
            .value;
        let api = ApiAddress::parse(&account.api_url)
            .map_err(|_| Failure::Settings)?
            .value;
        if account.grant == GrantType::AuthorizationCode {
            if job.row.refresh_token.is_none() {
                return Err(Failure::NotConnected);
            }
            if !issued_here(account, &job.row) {
                return Err(Failure::OtherClient);
            }
        }
        let credentials = credentials::offered(&self.0.store, account)
            .await
            .map_err(|error| self.unsealed(account, &error))?;
        Ok(Ready {
            endpoints,
            api,
            credentials,
        })
    }

    fn unsealed(&self, account: &Account, error: &StoreError) -> Failure {
        tracing::error!(account = %account.id, %error, "the credentials cannot be read");
        match error {
            StoreError::Sealed { .. } => Failure::Settings,
            _ => Failure::Database,
        }
    }

    /// Whether the token service has answered others since an account of it failed.
    fn gate_is_news(&self, job: &Job<'_>) -> bool {
        let gate = self.0.gates.of(&job.account.token_url);
        gate.opened_lately(Instant::now())
    }

    async fn shut_out(&self, job: Job<'_>, need: Need, out: ShutOut, reply: &mut Reply) -> Answer {
        let failure = Failure::ServiceDown {
            code: out.trouble.code,
            evidence: out.trouble.evidence,
            retry_after: out.retry_after,
        };
        self.fail_unasked(job, need, failure, reply).await
    }
}

/// Takes a flight down, whatever becomes of its task.
struct Landing<'a> {
    slot: &'a Slot,
    reply: Reply,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.slot.landed(&self.reply);
        metrics::gauge!("tieline_renewal_flights").decrement(1.0);
    }
}

/// Counts and measures a wait for another server's lease.
#[derive(Default)]
struct LeaseWait(Option<Instant>);

impl LeaseWait {
    fn begin(&mut self) {
        if self.0.is_none() {
            metrics::counter!("tieline_lease_waits_total").increment(1);
            self.0 = Some(Instant::now());
        }
    }
}

impl Drop for LeaseWait {
    fn drop(&mut self) {
        if let Some(since) = self.0 {
            metrics::histogram!("tieline_lease_wait_seconds").record(since.elapsed());
        }
    }
}

// === what a row says ===

fn view(job: &Job<'_>, need: Need, service_is_back: bool) -> View {
    let (account, row) = (&job.account, &job.row);
    // Callers go on with the token of an older configuration until the new one has brought its
    // first: it is one of the same organization, or it would have been taken away with the change.
    let usable = |token: &LiveToken| {
        token.is_fresh(job.read_at)
            && token.is_of_the_past(job.read_at)
            && (need == Need::Fresh || issued_here(account, row))
    };
    let dead = row.blocked_key.as_deref() == Some(&blocked_key(account.version, row.generation));
    let paused = row.failures > 0
        && !service_is_back
        && row
            .renew_at
            .is_some_and(|until| pause_goes_on(until, job.read_at.wall()));
    View {
        generation: row.generation,
        token: match job.token.as_ref().is_some_and(usable) {
            true => Stored::Fresh,
            false => Stored::Stale,
        },
        claims: match is_refused(row) {
            true => Claims::Unmet,
            false => Claims::Met,
        },
        credential: match (dead, paused) {
            (true, _) => Standing::Dead,
            (false, true) => Standing::Paused,
            (false, false) => Standing::Good,
        },
        lease: match row.lease {
            Some(_) => Lease::Held,
            None => Lease::Free,
        },
        mark: match (&row.spending, account.grant) {
            (Some(_), GrantType::AuthorizationCode) => Mark::Unanswered,
            _ => Mark::Unspent,
        },
        reuse: reuse_of(account, row),
    }
}

/// Whether Dynamics refused the stored token with a challenge.
pub(super) fn is_refused(row: &TokenRow) -> bool {
    row.refused_generation == Some(row.generation)
}

/// What a second use of the account's refresh token would do.
pub(crate) fn reuse_of(account: &Account, row: &TokenRow) -> Reuse {
    let endpoints = Endpoints::parse(&account.authorization_url, &account.token_url);
    let maker = match endpoints.map(|judged| judged.value.dialect()) {
        Ok(Dialect::EntraV1 | Dialect::EntraV2) => Maker::Entra,
        _ => Maker::Other,
    };
    protocol::reuse(account.rotation, maker, row.rotation_seen)
}

/// Whether the tokens were issued to the client that the account names now.
fn issued_here(account: &Account, row: &TokenRow) -> bool {
    let expected = client_key(&account.token_url, &account.client_id);
    row.client_key.as_deref().is_none_or(|key| key == expected)
}

/// What a verdict rested on: the settings and the tokens. While both are the same, asking again
/// would get the same answer.
pub(super) fn blocked_key(version: i64, generation: i64) -> String {
    format!("v{version}g{generation}")
}

fn stored_token(row: &TokenRow, now: Moment, kept: Kept) -> Option<LiveToken> {
    LiveToken::new(
        row.access_token.as_ref()?,
        row.generation,
        row.obtained_at?,
        row.access_expires_at?,
        now,
        kept,
    )
}

pub(super) fn elsewhere() -> Refused {
    let detail = "Another server is renewing this account's token.";
    let mut refused = Refused::new(Who::Tieline, 503, "renewal-elsewhere", detail);
    refused.retry_after = Some(Duration::from_secs(5));
    refused
}

//! The gateway's side: which consumer calls, which account is meant, and its live token.
//!
//! A warm call reads two concurrent maps and takes no lock and no database access: everything else
//! that it needs hangs on what it finds there, because with a million accounts every further map
//! would be a miss of the processor's caches. A miss of the maps asks the database, so a key or an
//! account added by another process works at once; what was removed or changed is forgotten when
//! the change feed says so.

use std::ops::Deref;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use chrono::{DateTime, Utc};
use tieline_core::{
    Account, AccountId, AccountName, ApiKeyId, ConsumerGrant, ConsumerId, ConsumerLimits,
};
use tieline_store::{Change, ChangeFeed, ChangeKind, StoreError};
use tieline_vault::api_key::{self, Glance};
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::error::{AppError, Refused, Who};
use crate::fair::Standing;
use crate::keeper::{LiveToken, Seat};
use crate::maps::{ConcurrentMap, HashMap, HashSet};
use crate::moment::Moment;
use crate::organization::{Organization, Organizations};

/// "Last used" is kept to the minute: finer would write a row per call.
const USE_RESOLUTION_MS: i64 = 60_000;
/// How much of a mark of use is the minute; the rest says which key it was.
const MINUTE_BITS: u64 = (1 << 32) - 1;
/// Pause after the change feed broke.
const FEED_PAUSE: Duration = Duration::from_millis(500);
/// How often uses are written down.
const FLUSH_EVERY: Duration = Duration::from_secs(10);
/// Uses that are written down at a time: with more of them each has its turn later.
const FLUSH_MAX: usize = 2_000;
/// Applications whose use of an account is seen at a glance.
const NOTED: usize = 4;

/// A consumer that showed a valid API key.
#[derive(Debug)]
pub struct CallerPass {
    /// The consumer.
    pub consumer_id: ConsumerId,
    /// Its name, for logs and metrics.
    pub consumer_name: String,
    /// The key it showed.
    pub key_id: ApiKeyId,
    granted: Granted,
    /// Its part in the limits of accounts.
    pub(crate) limits: ConsumerLimits,
    /// Tells keys apart in the marks that they leave on lines.
    mark: u64,
}

/// A grant, ready to be asked on every call.
#[derive(Debug)]
enum Granted {
    All,
    These(HashSet<AccountId>),
}

impl Granted {
    fn of(grant: ConsumerGrant) -> Self {
        match grant {
            ConsumerGrant::AllAccounts => Self::All,
            ConsumerGrant::Accounts { accounts } => Self::These(accounts.into_iter().collect()),
        }
    }

    fn covers(&self, account: AccountId) -> bool {
        match self {
            Self::All => true,
            Self::These(accounts) => accounts.contains(&account),
        }
    }
}

/// What the gateway needs to know of an account to route a call to its organization.
#[derive(Debug)]
pub struct Line {
    /// The account.
    pub account_id: AccountId,
    /// Its name.
    pub name: String,
    /// Version of the settings that this was made from.
    pub version: i64,
    /// Whether metrics name the account. The gateway decides it, once.
    pub named: OnceLock<bool>,
    organization: Arc<Organization>,
    /// Where the keeper holds the token.
    seat: Seat,
    /// Where callers wait for their turn.
    pub(crate) standing: Arc<Standing>,
    /// Which keys used this line of late, and in which minute each did.
    noted: [AtomicU64; NOTED],
}

/// Where a line leads to is most of what is asked of it.
impl Deref for Line {
    type Target = Organization;

    fn deref(&self) -> &Organization {
        &self.organization
    }
}

/// What is remembered between calls.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// By what a key is recognized by, once it was admitted.
    callers: ConcurrentMap<u128, Arc<CallerPass>>,
    glance: Glance,
    organizations: Organizations,
    by_reference: ConcurrentMap<Box<str>, Arc<Line>>,
    by_id: ConcurrentMap<AccountId, Arc<Line>>,
    default: ArcSwapOption<Line>,
    /// Counts invalidations: what was read before one is not remembered after it.
    epoch: AtomicI64,
    /// Uses that are not written down yet.
    uses: Mutex<Uses>,
}

type AccountUse = (ConsumerId, AccountId, DateTime<Utc>);
type KeyUse = (ApiKeyId, DateTime<Utc>);

#[derive(Debug, Default)]
struct Uses {
    /// In seconds since 1970. There may be a hundred thousand accounts, and few consumers.
    accounts: HashMap<ConsumerId, HashMap<AccountId, u32>>,
    /// Those whose turn it is to be written down; the others come when these have gone.
    due: Vec<(ConsumerId, AccountId, u32)>,
    keys: HashMap<ApiKeyId, DateTime<Utc>>,
}

impl App {
    /// Admits a caller by its API key.
    ///
    /// # Errors
    /// When the key is unknown or revoked.
    pub async fn caller_admit(&self, key: &str) -> Result<Arc<CallerPass>, Refused> {
        if let Some(pass) = self.caller_known(key) {
            return Ok(pass);
        }
        let hash = api_key::hash(key);
        let epoch = self.0.lines.epoch();
        let Some((key_id, consumer)) = self.store().api_key_owner(hash).await? else {
            let detail = "The API key is unknown or was revoked. Ask an administrator for a key, \
                          or look under Consumers in the console.";
            return Err(Refused::new(Who::Consumer, 401, "api-key-unknown", detail));
        };
        let pass = Arc::new(CallerPass {
            consumer_id: consumer.id,
            consumer_name: consumer.name,
            key_id,
            granted: Granted::of(consumer.grant),
            limits: consumer.limits,
            mark: mark_of(&hash),
        });
        if self.0.lines.epoch() == epoch {
            let glance = self.0.lines.glance.of(key);
            let callers = self.0.lines.callers.pin();
            callers.insert(glance, Arc::clone(&pass));
        }
        Ok(pass)
    }

    /// A caller that is known already; the way that takes no lock and never waits.
    #[must_use]
    pub fn caller_known(&self, key: &str) -> Option<Arc<CallerPass>> {
        let lines = &self.0.lines;
        let callers = lines.callers.pin();
        callers.get(&lines.glance.of(key)).map(Arc::clone)
    }

    /// A line that is known already; the way that takes no lock and never waits.
    #[must_use]
    pub fn line_known(&self, reference: Option<&str>) -> Option<Arc<Line>> {
        let Some(reference) = reference else {
            return self.0.lines.default.load_full();
        };
        let known = self.0.lines.by_reference.pin();
        // Keys are their own keys: what is written as one is found without making one of it.
        let found = match known.get(reference) {
            Some(line) => line,
            None => known.get(AccountName::key_of(reference).as_str())?,
        };
        Some(Arc::clone(found))
    }

    /// A token that is at hand and fresh; the way that takes no lock and never waits.
    #[must_use]
    pub fn token_fresh(&self, line: &Line, now: Moment) -> Option<LiveToken> {
        self.0.keeper.fresh(line.account_id, &line.seat, now)
    }

    /// Finds an account by id or name, or the default account when none is named.
    ///
    /// # Errors
    /// When there is none.
    pub async fn line_find(&self, reference: Option<&str>) -> Result<Arc<Line>, Refused> {
        match reference {
            Some(reference) => self.line_named(reference).await,
            None => self.line_default().await,
        }
    }

    /// The line of an account.
    ///
    /// # Errors
    /// When the account is gone.
    pub async fn line_of(&self, account: AccountId) -> Result<Arc<Line>, Refused> {
        if let Some(line) = self.0.lines.by_id.pin().get(&account) {
            return Ok(Arc::clone(line));
        }
        self.line_named(&account.to_string()).await
    }

    /// Checks the consumer's grant, and notes that the account is in use.
    ///
    /// # Errors
    /// When the consumer may not use the account.
    pub fn caller_may_use(
        &self,
        caller: &CallerPass,
        line: &Line,
        now: Moment,
    ) -> Result<(), Refused> {
        if !caller.granted.covers(line.account_id) {
            let detail = format!(
                "The consumer '{}' has no grant for the account '{}'. An administrator can add \
                 one under Consumers.",
                caller.consumer_name, line.name
            );
            return Err(Refused::new(
                Who::Consumer,
                403,
                "account-not-granted",
                detail,
            ));
        }
        self.note_use(caller, line, now);
        Ok(())
    }

    /// The account's access token, renewed first if need be.
    ///
    /// # Errors
    /// When there is no valid token and none can be had.
    pub async fn token(&self, line: &Line) -> Result<LiveToken, Refused> {
        self.0.keeper.token(line.account_id).await
    }

    /// A token in place of one that Dynamics refused with 401: a renewal, once for all callers.
    ///
    /// # Errors
    /// When none can be had.
    pub async fn token_rejected(
        &self,
        line: &Line,
        token: &LiveToken,
        challenge: Option<&str>,
    ) -> Result<LiveToken, Refused> {
        self.0
            .keeper
            .token_after(line.account_id, token.generation(), challenge)
            .await
    }

    async fn line_named(&self, reference: &str) -> Result<Arc<Line>, Refused> {
        let key = AccountName::key_of(reference);
        if let Some(line) = self.0.lines.by_reference.pin().get(key.as_str()) {
            return Ok(Arc::clone(line));
        }
        let epoch = self.0.lines.epoch();
        let account = match self.store().account_by_name(self.workspace(), &key).await? {
            Some(account) => Some(account),
            None => match reference.trim().to_uppercase().parse::<AccountId>() {
                Ok(id) => self.store().account(id).await?,
                Err(_) => None,
            },
        };
        let Some(account) = account else {
            let detail = format!(
                "There is no integration account '{}'. The first part of the path is its name or \
                 its id.",
                shortened(reference)
            );
            return Err(Refused::new(Who::Consumer, 404, "account-unknown", detail));
        };
        let line = Arc::new(self.line_of_account(&account)?);
        if self.0.lines.epoch() == epoch {
            self.0.lines.remember(&line, &key);
        }
        Ok(line)
    }

    async fn line_default(&self) -> Result<Arc<Line>, Refused> {
        if let Some(line) = self.0.lines.default.load_full() {
            return Ok(line);
        }
        let epoch = self.0.lines.epoch();
        let account = self
            .store()
            .account_default(self.workspace(), self.account_type())
            .await?;
        let Some(account) = account else {
            let detail = "No account was named and there is no default account. Name one in the \
                          path, or make one the default in the console.";
            return Err(Refused::new(
                Who::Consumer,
                404,
                "no-default-account",
                detail,
            ));
        };
        let line = Arc::new(self.line_of_account(&account)?);
        if self.0.lines.epoch() == epoch {
            self.0.lines.default.store(Some(Arc::clone(&line)));
        }
        Ok(line)
    }

    fn line_of_account(&self, account: &Account) -> Result<Line, Refused> {
        let organization = self.0.lines.organizations.of(&account.api_url);
        let organization = organization.ok_or_else(|| {
            let detail = format!(
                "The API URL of the account '{}' is not one. Correct it in the console.",
                account.name
            );
            Refused::new(Who::Tieline, 503, "misconfigured", detail)
        })?;
        Ok(Line {
            account_id: account.id,
            name: account.name.as_str().to_owned(),
            version: account.version,
            named: OnceLock::new(),
            organization,
            seat: self.0.keeper.seat(account.id),
            standing: self.0.fair.standing(account.id),
            noted: Default::default(),
        })
    }

    /// Notes a use, once a minute for each key and account.
    fn note_use(&self, caller: &CallerPass, line: &Line, now: Moment) {
        let ms = now.wall_ms();
        let minute = u64::try_from(ms / USE_RESOLUTION_MS).unwrap_or_default() & MINUTE_BITS;
        let mark = caller.mark | minute;
        // Most accounts are used by few applications at a time, whose marks are here already.
        // They are only read then: servers of many cores share them.
        let marks = || line.noted.iter().map(|noted| noted.load(Ordering::Relaxed));
        if marks().any(|noted| noted == mark) {
            return;
        }
        // This key's own mark of an earlier minute goes, or else the oldest.
        let age = |at: &(usize, u64)| (at.1 ^ mark > MINUTE_BITS, at.1 & MINUTE_BITS);
        if let Some((oldest, _)) = marks().enumerate().min_by_key(age) {
            line.noted[oldest].store(mark, Ordering::Relaxed);
        }
        line.seat.note_use(ms);
        let mut uses = self
            .0
            .lines
            .uses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let seconds = u32::try_from(ms / 1_000).unwrap_or_default();
        let accounts = uses.accounts.entry(caller.consumer_id).or_default();
        accounts.insert(line.account_id, seconds);
        uses.keys.insert(caller.key_id, now.wall());
    }

    pub(crate) async fn flush_uses(&self, stop: CancellationToken) {
        loop {
            let ended = tokio::select! {
                () = stop.cancelled() => true,
                () = tokio::time::sleep(FLUSH_EVERY) => false,
            };
            let flushed = match ended {
                true => self.flush_uses_now().await,
                false => self.flush_some_uses().await.map(drop),
            };
            if let Err(error) = flushed {
                tracing::warn!(error = %error, "uses of accounts could not be written down");
            }
            if let Err(error) = self.store().changes_prune(self.now()).await {
                tracing::warn!(error = %error, "old changes could not be pruned");
            }
            if ended {
                return;
            }
        }
    }

    /// Writes down which consumers used which accounts.
    pub(crate) async fn flush_uses_now(&self) -> Result<(), AppError> {
        while self.flush_some_uses().await? {}
        Ok(())
    }

    /// Writes down some of it, and says whether there is more.
    async fn flush_some_uses(&self) -> Result<bool, AppError> {
        let (rows, keys, more) = self.0.lines.take_uses();
        if !rows.is_empty() {
            self.store().consumer_uses(&rows).await?;
        }
        if !keys.is_empty() {
            self.store().api_keys_used(&keys).await?;
        }
        Ok(more)
    }

    /// Follows what this and other processes change.
    pub(crate) async fn follow_changes(&self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.follow() => {}
        }
    }

    async fn follow(&self) {
        loop {
            match self.store().change_feed().await {
                Ok(mut feed) => {
                    // Whatever changed before the feed began is not known to be seen.
                    self.0.lines.forget_callers();
                    if let Err(error) = self.follow_feed(&mut feed).await {
                        tracing::warn!(%error, "changes of other servers could not be read");
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "changes of other servers cannot be followed");
                }
            }
            tokio::time::sleep(FEED_PAUSE).await;
        }
    }

    async fn follow_feed(&self, feed: &mut ChangeFeed) -> Result<(), StoreError> {
        loop {
            for change in feed.next().await? {
                if change.kind == ChangeKind::Limit && change.generation == 0 {
                    self.limits_reload().await?;
                }
                self.forget(&change);
            }
        }
    }

    fn forget(&self, change: &Change) {
        match change.kind {
            ChangeKind::Account => {
                if let Ok(id) = change.id.parse::<AccountId>() {
                    self.account_changed(id);
                }
            }
            ChangeKind::Token => {
                if let Ok(id) = change.id.parse::<AccountId>() {
                    self.0.keeper.renewed_elsewhere(id, change.generation);
                }
            }
            ChangeKind::Consumer => self.0.lines.forget_callers(),
            ChangeKind::User => {}
            ChangeKind::Notice => self.0.notifier.wake(),
            ChangeKind::Limit => self.limit_changed(change),
        }
    }

    /// Makes a change of this process count at once, before the feed comes round.
    pub(crate) fn account_changed(&self, id: AccountId) {
        self.0.lines.forget_account(id);
        self.0.keeper.changed(id);
    }

    pub(crate) fn consumers_changed(&self) {
        self.0.lines.forget_callers();
    }
}

impl Lines {
    fn epoch(&self) -> i64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Takes uses out that are to be written down, and says whether there are more.
    fn take_uses(&self) -> (Vec<AccountUse>, Vec<KeyUse>, bool) {
        let uses = &mut *self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        if uses.due.is_empty() {
            for (consumer, accounts) in std::mem::take(&mut uses.accounts) {
                let accounts = accounts.into_iter();
                uses.due
                    .extend(accounts.map(|(account, at)| (consumer, account, at)));
            }
        }
        let kept = uses.due.len().saturating_sub(FLUSH_MAX);
        let rows = uses.due.split_off(kept).into_iter();
        let date = |seconds| DateTime::from_timestamp_secs(i64::from(seconds)).unwrap_or_default();
        let rows = rows.map(|(consumer, account, at)| (consumer, account, date(at)));
        let rows = rows.collect();
        let keys = std::mem::take(&mut uses.keys).into_iter().collect();
        let more = !uses.due.is_empty() || !uses.accounts.is_empty();
        (rows, keys, more)
    }

    fn remember(&self, line: &Arc<Line>, key: &str) {
        self.by_reference.pin().insert(key.into(), Arc::clone(line));
        self.by_id.pin().insert(line.account_id, Arc::clone(line));
    }

    fn forget_account(&self, id: AccountId) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
        self.default.store(None);
        let references = self.by_reference.pin();
        references.remove(id.to_string().to_lowercase().as_str());
        if let Some(line) = self.by_id.pin().remove(&id) {
            references.remove(AccountName::key_of(&line.name).as_str());
        }
    }

    fn forget_callers(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
        self.callers.pin().clear();
    }
}

/// The upper half of a mark; keys are random, so a part of their hash tells them apart.
fn mark_of(hash: &[u8; 32]) -> u64 {
    let [a, b, c, d, ..] = *hash;
    u64::from(u32::from_be_bytes([a, b, c, d])) << 32
}

/// A caller's own text in an error, bounded so that it cannot flood a log.
fn shortened(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(100).collect()
}

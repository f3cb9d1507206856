//! Credentials: sealed in a table of their own, what is known of them beside the account.
//!
//! The first client secret has columns of its own in `account`, where it stood before there could
//! be several.

use std::collections::HashMap;

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use secrecy::SecretString;
use tieline_core::{Account, AccountId, CredentialInfo, CredentialRefusal, CredentialSlot, Reason};
use tieline_vault::AssociatedData;

use crate::account::{AccountSettings, SecretChange, note_event};
use crate::database::{Store, at, ms, reading, text, writing};
use crate::error::StoreError;

/// Accounts whose notices are given at a time.
const BATCH: i64 = 100;

/// What becomes of a credential, besides those that stay as they are.
#[derive(Debug, Clone)]
pub enum CredentialChange {
    /// It is set, or another takes its place.
    Set {
        /// The credential itself.
        secret: SecretString,
        /// What is known of it.
        info: CredentialInfo,
    },
    /// The day on which it ends was told anew.
    Expiry(Option<NaiveDate>),
    /// It goes; the one that waits to take over, where there is one, takes its place.
    Remove,
}

/// What became of credentials in an attempt to obtain a token.
#[derive(Debug, Clone, Default)]
pub struct CredentialOutcome {
    /// The one that worked.
    pub worked: Option<CredentialSlot>,
    /// Others that would have worked.
    pub accepted: Vec<CredentialSlot>,
    /// Those that were refused, and why.
    pub refused: Vec<(CredentialSlot, Reason)>,
}

impl CredentialOutcome {
    /// Whether it says anything that is not known.
    #[must_use]
    pub fn is_news(&self, known: &[CredentialInfo]) -> bool {
        let find = |slot: CredentialSlot| known.iter().find(|info| info.slot == slot);
        let refused = self.refused.iter().any(|(slot, reason)| {
            find(*slot).is_some_and(|info| {
                info.refused
                    .as_ref()
                    .is_none_or(|before| before.code != reason.code)
            })
        });
        let worked = self.worked.and_then(find).is_some_and(|info| {
            let latest = known.iter().filter_map(|other| other.worked_at).max();
            // A lone credential that works is the usual case and needs no note.
            info.refused.is_some()
                || (known.len() > 1 && (latest.is_none() || info.worked_at != latest))
        });
        let revived = self.accepted.iter().copied().filter_map(find);
        refused || worked || revived.into_iter().any(|info| info.refused.is_some())
    }

    /// Whether another credential works, so that nothing but this event tells of a refusal.
    fn line_holds(&self) -> bool {
        self.worked.is_some() || !self.accepted.is_empty()
    }

    /// Writes it into what is known. Tells the credentials that are refused from now on.
    fn note(
        &self,
        known: &mut [CredentialInfo],
        now: DateTime<Utc>,
    ) -> Vec<(CredentialSlot, Reason)> {
        let mut newly = Vec::new();
        for info in known.iter_mut() {
            if self.worked == Some(info.slot) {
                info.worked_at = Some(now);
                info.refused = None;
            }
            if self.accepted.contains(&info.slot) {
                info.refused = None;
            }
            let Some((slot, reason)) = self.refused.iter().find(|(slot, _)| *slot == info.slot)
            else {
                continue;
            };
            let since = info.refused.as_ref().map(|before| before.since);
            if since.is_none() {
                newly.push((*slot, reason.clone()));
            }
            info.refused = Some(CredentialRefusal {
                since: since.unwrap_or(now),
                code: reason.code.clone(),
                detail: reason.detail.clone(),
            });
        }
        newly
    }
}

/// What is to be written of an account's credentials.
#[derive(Debug, Default)]
pub(crate) struct CredentialWrites {
    /// What is known of every one of them afterwards.
    pub(crate) known: Vec<CredentialInfo>,
    /// Those whose secret is another one, or none any more; never the first client secret.
    pub(crate) sealed: Vec<(CredentialSlot, Option<SecretString>)>,
    /// The first client secret.
    pub(crate) first: Option<Option<SecretString>>,
}

impl CredentialWrites {
    /// JSON of what is known.
    pub(crate) fn known_text(&self) -> String {
        known_text(&self.known)
    }

    /// When the first client secret was set.
    pub(crate) fn first_set_at(&self) -> Option<i64> {
        self.find(CredentialSlot::ClientSecret)
            .map(|info| ms(info.set_at))
    }

    /// The day on which the first client secret ends.
    pub(crate) fn first_expires_on(&self) -> Option<String> {
        self.find(CredentialSlot::ClientSecret)?
            .expires_on
            .map(|day| day.to_string())
    }

    fn find(&self, slot: CredentialSlot) -> Option<&CredentialInfo> {
        self.known.iter().find(|info| info.slot == slot)
    }

    fn take(&mut self, slot: CredentialSlot) -> Option<CredentialInfo> {
        let place = self.known.iter().position(|info| info.slot == slot)?;
        Some(self.known.remove(place))
    }

    fn put(&mut self, slot: CredentialSlot, secret: Option<SecretString>) {
        if slot == CredentialSlot::ClientSecret {
            self.first = Some(secret);
        } else {
            self.sealed.retain(|(other, _)| *other != slot);
            self.sealed.push((slot, secret));
        }
    }

    fn set(&mut self, slot: CredentialSlot, secret: SecretString, mut info: CredentialInfo) {
        info.slot = slot;
        self.take(slot);
        self.known.push(info);
        self.put(slot, Some(secret));
    }

    fn expire(&mut self, slot: CredentialSlot, day: Option<NaiveDate>) {
        if let Some(info) = self.known.iter_mut().find(|info| info.slot == slot)
            && info.expires_on != day
        {
            info.expires_on = day;
            info.noticed = None;
        }
    }

    fn remove(&mut self, slot: CredentialSlot, stored: &mut HashMap<CredentialSlot, SecretString>) {
        self.take(slot);
        let heir = slot.next().and_then(|next| {
            let typed = self.sealed.iter().find(|(other, _)| *other == next);
            let secret = match typed {
                Some((_, secret)) => secret.clone()?,
                None => stored.remove(&next)?,
            };
            Some((next, secret, self.take(next)?))
        });
        match heir {
            Some((next, secret, info)) => {
                self.set(slot, secret, info);
                self.put(next, None);
            }
            None => self.put(slot, None),
        }
    }

    /// The writes that settings ask for.
    pub(crate) fn of(
        known: &[CredentialInfo],
        settings: &AccountSettings,
        secret: &SecretChange,
        mut stored: HashMap<CredentialSlot, SecretString>,
        now: DateTime<Utc>,
    ) -> Self {
        let first = CredentialSlot::ClientSecret;
        let mut writes = Self {
            known: known.to_vec(),
            ..Self::default()
        };
        match secret {
            SecretChange::Keep => {}
            SecretChange::Set(secret) => {
                writes.set(first, secret.clone(), CredentialInfo::new(first, now));
            }
            SecretChange::Clear => writes.remove(first, &mut stored),
        }
        if !matches!(secret, SecretChange::Clear) {
            writes.expire(first, settings.secret_expires_on);
        }
        // What takes over is in its place before what it takes over from goes.
        let (removed, others): (Vec<_>, Vec<_>) = settings
            .credentials
            .iter()
            .partition(|(_, change)| matches!(change, CredentialChange::Remove));
        for (slot, change) in others.into_iter().chain(removed) {
            match change {
                CredentialChange::Set { secret, info } => {
                    writes.set(*slot, secret.clone(), info.clone());
                }
                CredentialChange::Expiry(day) => writes.expire(*slot, *day),
                CredentialChange::Remove => writes.remove(*slot, &mut stored),
            }
        }
        writes.known.sort_by_key(|info| {
            CredentialSlot::ALL
                .iter()
                .position(|slot| *slot == info.slot)
        });
        writes
    }

    /// Forgets what became of the credentials with another application or token service.
    pub(crate) fn forget_outcomes(&mut self) {
        for info in &mut self.known {
            info.worked_at = None;
            info.refused = None;
        }
    }
}

/// Writes credentials within a transaction, except the first client secret.
macro_rules! write_credentials {
    ($store:expr, $tx:expr, $id:expr, $writes:expr) => {{
        let row = $id.to_string();
        let (notice_at, ends_at) = crate::credential::watch_of(&$writes.known);
        let sql = "UPDATE account SET credentials = $2, notice_at = $3, credential_ends_at = $4 \
                   WHERE id = $1";
        sqlx::query(sql)
            .bind(&row)
            .bind($writes.known_text())
            .bind(notice_at)
            .bind(ends_at)
            .execute(&mut *$tx)
            .await?;
        for (slot, secret) in &$writes.sealed {
            let sql = "INSERT INTO account_credential (account_id, slot, version) \
                       VALUES ($1, $2, 1) ON CONFLICT (account_id, slot) \
                       DO UPDATE SET version = account_credential.version + 1 RETURNING version";
            let version: i64 = sqlx::query_scalar(sql)
                .bind(&row)
                .bind(slot.as_str())
                .fetch_one(&mut *$tx)
                .await?;
            let place = crate::credential::place(slot.as_str(), &row, version);
            let sealed = secret.as_ref().map(|secret| $store.seal(&place, secret));
            let sql = "UPDATE account_credential SET sealed = $3 \
                       WHERE account_id = $1 AND slot = $2";
            sqlx::query(sql)
                .bind(&row)
                .bind(slot.as_str())
                .bind(sealed)
                .execute(&mut *$tx)
                .await?;
        }
    }};
}
pub(crate) use write_credentials;

/// Holds an account's row, and reads what is known of its credentials and its state.
macro_rules! locked {
    ($tx:expr, $id:expr) => {{
        let row = $id.to_string();
        sqlx::query("UPDATE account SET version = version WHERE id = $1")
            .bind(&row)
            .execute(&mut *$tx)
            .await?;
        let sql = "SELECT credentials, client_secret_set_at, client_secret_expires_on, state \
                   FROM account WHERE id = $1";
        let found: Option<(String, Option<i64>, Option<String>, String)> = sqlx::query_as(sql)
            .bind(&row)
            .fetch_optional(&mut *$tx)
            .await?;
        match found {
            Some((json, set_at, expires_on, state)) => {
                let expires_on = expires_on.and_then(|day| day.parse().ok());
                Some((known_of(&json, set_at, expires_on)?, state))
            }
            None => None,
        }
    }};
}

impl Store {
    /// Every credential of an account, opened.
    ///
    /// # Errors
    /// When the database does not answer, or one of them does not open.
    pub async fn account_credentials(
        &self,
        id: AccountId,
    ) -> Result<HashMap<CredentialSlot, SecretString>, StoreError> {
        let row = id.to_string();
        let sql = "SELECT slot, version, sealed FROM account_credential \
                   WHERE account_id = $1 AND sealed IS NOT NULL";
        let rows: Vec<(String, i64, Vec<u8>)> = reading!(self, pool => {
            sqlx::query_as(sql).bind(&row).fetch_all(pool).await
        })?;
        let mut found = HashMap::new();
        for (word, version, sealed) in rows {
            let slot: CredentialSlot = word
                .parse()
                .map_err(|e| StoreError::corrupt("account_credential.slot", e))?;
            let place = place(slot.as_str(), &row, version);
            let secret = self.open_sealed(&place, "account_credential.sealed", sealed)?;
            found.insert(slot, secret);
        }
        if let Some(secret) = self.account_client_secret(id).await? {
            found.insert(CredentialSlot::ClientSecret, secret);
        }
        Ok(found)
    }

    /// Writes down what became of credentials. One that is refused while another works is an
    /// event, because somebody has to look after it before the other ends too.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn credentials_noted(
        &self,
        id: AccountId,
        outcome: &CredentialOutcome,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        writing!(self, tx => {
            let Some((mut known, state)) = locked!(tx, id) else {
                return Ok(());
            };
            let newly = outcome.note(&mut known, now);
            let sql = "UPDATE account SET credentials = $2 WHERE id = $1";
            sqlx::query(sql).bind(id.to_string()).bind(known_text(&known))
                .execute(&mut *tx).await?;
            for (slot, reason) in newly.iter().filter(|_| outcome.line_holds()) {
                let detail = format!("{slot}: {}", reason.detail);
                let reason = Reason::new("credential-refused", detail);
                note_event!(tx, id, Some(state.clone()), state.as_str(), reason, now);
            }
        });
        Ok(())
    }

    /// Gives the notices that are due: an event for every credential that ends soon, once for each
    /// of the days in [`tieline_core::EXPIRY_NOTICES`]. Tells how many were given.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn expiry_notices(&self, now: DateTime<Utc>) -> Result<usize, StoreError> {
        let sql = "SELECT id FROM account WHERE notice_at <= $1 AND deleted_at IS NULL \
                   ORDER BY notice_at LIMIT $2";
        let mut given = 0;
        loop {
            let due: Vec<String> = reading!(self, pool => {
                sqlx::query_scalar(sql).bind(ms(now)).bind(BATCH).fetch_all(pool).await
            })?;
            if due.is_empty() {
                return Ok(given);
            }
            for id in due {
                let id = id
                    .parse()
                    .map_err(|e| StoreError::corrupt("account.id", e))?;
                given += self.expiry_notices_of(id, now).await?;
            }
        }
    }

    async fn expiry_notices_of(
        &self,
        id: AccountId,
        now: DateTime<Utc>,
    ) -> Result<usize, StoreError> {
        let today = now.date_naive();
        Ok(writing!(self, tx => {
            let Some((mut known, state)) = locked!(tx, id) else {
                return Ok(0);
            };
            let mut given = 0;
            for info in &mut known {
                let Some(days) = info.notice_due(today) else {
                    continue;
                };
                info.noticed = Some(days);
                let day = info.expires_on.unwrap_or(today);
                let reason = Reason::new(notice_code(info.slot, days), format!("{}: {day}", info.slot));
                note_event!(tx, id, Some(state.clone()), state.as_str(), reason, now);
                given += 1;
            }
            let (notice_at, ends_at) = watch_of(&known);
            let sql = "UPDATE account SET credentials = $2, notice_at = $3, \
                       credential_ends_at = $4 WHERE id = $1";
            sqlx::query(sql).bind(id.to_string()).bind(known_text(&known)).bind(notice_at)
                .bind(ends_at).execute(&mut *tx).await?;
            given
        }))
    }

    /// When the first of all credentials ends; none where no end is known.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn soonest_expiry(&self) -> Result<Option<DateTime<Utc>>, StoreError> {
        let sql = "SELECT MIN(credential_ends_at) FROM account \
                   WHERE credential_ends_at IS NOT NULL AND deleted_at IS NULL";
        let soonest: Option<i64> =
            reading!(self, pool => sqlx::query_scalar(sql).fetch_one(pool).await)?;
        Ok(soonest.map(at))
    }
}

/// The code of a notice; chooses its text.
fn notice_code(slot: CredentialSlot, days: i64) -> &'static str {
    match (slot.is_certificate(), days) {
        (_, 0) => "credential-ends",
        (true, _) => "certificate-expires-soon",
        (false, _) => "secret-expires-soon",
    }
}

/// When the next notice is due, and when the first credential ends.
pub(crate) fn watch_of(known: &[CredentialInfo]) -> (Option<i64>, Option<i64>) {
    let midnight = |day: NaiveDate| ms(day.and_time(NaiveTime::MIN).and_utc());
    let notice = known.iter().filter_map(CredentialInfo::next_notice).min();
    let end = known.iter().filter_map(|info| info.expires_on).min();
    (notice.map(midnight), end.map(midnight))
}

pub(crate) fn known_text(known: &[CredentialInfo]) -> String {
    let text = serde_json::to_string(known).unwrap_or_else(|_| "[]".to_owned());
    self::text(&text).into_owned()
}

/// What is known of credentials, from the JSON and from the columns of the first client secret,
/// which are the ones that count for it.
pub(crate) fn known_of(
    json: &str,
    first_set_at: Option<i64>,
    first_expires_on: Option<NaiveDate>,
) -> Result<Vec<CredentialInfo>, StoreError> {
    let mut known: Vec<CredentialInfo> =
        serde_json::from_str(json).map_err(|e| StoreError::corrupt("account.credentials", e))?;
    let first = CredentialSlot::ClientSecret;
    let place = known.iter().position(|info| info.slot == first);
    let written = place.map(|place| known.remove(place));
    if let Some(set_at) = first_set_at {
        let mut info = written.unwrap_or_else(|| CredentialInfo::new(first, at(set_at)));
        info.set_at = at(set_at);
        info.expires_on = first_expires_on;
        known.push(info);
        known.sort_by_key(|info| {
            CredentialSlot::ALL
                .iter()
                .position(|slot| *slot == info.slot)
        });
    }
    Ok(known)
}

/// Opens what an account has stored, where a change needs it: a credential that moves is sealed
/// anew in its new place.
pub(crate) async fn stored_for(
    store: &Store,
    account: &Account,
    settings: &AccountSettings,
    secret: &SecretChange,
) -> Result<HashMap<CredentialSlot, SecretString>, StoreError> {
    let moves = matches!(secret, SecretChange::Clear)
        || settings
            .credentials
            .iter()
            .any(|(_, change)| matches!(change, CredentialChange::Remove));
    if moves {
        store.account_credentials(account.id).await
    } else {
        Ok(HashMap::new())
    }
}

pub(crate) fn place<'a>(slot: &'a str, row: &'a str, version: i64) -> AssociatedData<'a> {
    AssociatedData {
        table: "account_credential",
        column: slot,
        row,
        version,
    }
}

//! Tokens and leases: the keeper's side of an account.

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde_json::json;
use tieline_core::{AccountId, Actor, ConnectionState, Reason};
use tieline_vault::AssociatedData;

use crate::account::NewTokens;
use crate::audit::note_audit;
use crate::change::{ChangeKind, note_change};
use crate::commit::grouped;
use crate::database::{Store, at, lock_tokens, ms, reading, text, writing};
use crate::error::StoreError;

/// What is stored of an account's tokens, opened.
#[derive(Debug, Clone)]
pub struct TokenRow {
    /// Whose.
    pub account_id: AccountId,
    /// Counts renewals.
    pub generation: i64,
    /// The refresh token.
    pub refresh_token: Option<SecretString>,
    /// The one before it, kept until the present one has worked.
    pub previous_refresh_token: Option<SecretString>,
    /// The access token.
    pub access_token: Option<SecretString>,
    /// When that ends.
    pub access_expires_at: Option<DateTime<Utc>>,
    /// When the tokens were obtained.
    pub obtained_at: Option<DateTime<Utc>>,
    /// What was granted.
    pub scope: Option<String>,
    /// Which client configuration they were issued to.
    pub client_key: Option<String>,
    /// Who is renewing.
    pub lease_owner: Option<String>,
    /// Until when.
    pub lease_until: Option<DateTime<Utc>>,
    /// What a verdict of death rested on.
    pub blocked_key: Option<String>,
    /// Failures since the last success.
    pub failures: i32,
    /// When the schedule looks at it.
    pub renew_at: Option<DateTime<Utc>>,
}

/// What a renewal brought.
#[derive(Debug, Clone)]
pub struct RenewedTokens {
    /// A new refresh token, where one came.
    pub refresh_token: Option<SecretString>,
    /// The access token.
    pub access_token: SecretString,
    /// When that ends.
    pub access_expires_at: DateTime<Utc>,
    /// What was granted.
    pub scope: Option<String>,
    /// Which client configuration they were issued to.
    pub client_key: String,
    /// When to renew next.
    pub renew_at: DateTime<Utc>,
}

/// What a failed renewal leaves behind.
#[derive(Debug, Clone)]
pub struct FailedRenewal {
    /// What the verdict of death rests on; none for a failure that passes.
    pub blocked_key: Option<String>,
    /// When to try again.
    pub renew_at: Option<DateTime<Utc>>,
}

/// A state to enter.
#[derive(Debug, Clone)]
pub struct StateChange {
    /// The state.
    pub state: ConnectionState,
    /// Why.
    pub reason: Reason,
}

/// Tokens, ready to be written.
#[derive(Debug, Clone, Default)]
pub(crate) struct SealedTokens {
    pub(crate) refresh_token: Option<Vec<u8>>,
    pub(crate) previous: Option<Vec<u8>>,
    pub(crate) access_token: Option<Vec<u8>>,
    pub(crate) access_expires_at: Option<i64>,
    pub(crate) scope: Option<String>,
    pub(crate) client_key: Option<String>,
}

/// Enters a state within a transaction; writes history only when state or reason differ.
macro_rules! enter_state {
    ($tx:expr, $id:expr, $state:expr, $reason:expr, $now:expr) => {{
        let sql = "SELECT state, reason_code FROM account WHERE id = $1";
        let present: Option<(String, String)> =
            sqlx::query_as(sql).bind($id.to_string()).fetch_optional(&mut *$tx).await?;
        let renewed = $reason.code == "renewed";
        if let Some((state, code)) = present
            // A renewal of a connected account is no news.
            && (state != $state.as_str() || (code != $reason.code && !renewed))
        {
            // The state lasts since it was entered, whatever reasons follow each other.
            let sql = "UPDATE account SET reason_code = $4, reason_detail = $5, \
                       state_since = CASE WHEN state = $2 THEN state_since ELSE $3 END, \
                       state = $2 WHERE id = $1";
            sqlx::query(sql)
                .bind($id.to_string())
                .bind($state.as_str())
                .bind(crate::database::ms($now))
                .bind(&$reason.code)
                .bind($crate::database::text(&$reason.detail))
                .execute(&mut *$tx)
                .await?;
            crate::account::note_event!($tx, $id, Some(state), $state.as_str(), $reason, $now);
        }
    }};
}
pub(crate) use enter_state;

/// Puts the tokens of a consent in place of the present ones within a transaction.
macro_rules! replace_tokens {
    ($store:expr, $tx:expr, $id:expr, $generation:expr, $tokens:expr, $renew_at:expr, $now:expr) => {{
        let sealed =
            crate::token::SealedTokens::seal($store, $id, $generation, Some($tokens), None);
        let sql = "UPDATE account_token SET generation = $2, refresh_token = $3, \
            previous_refresh_token = NULL, access_token = $4, access_expires_at = $5, \
            obtained_at = $6, scope = $7, client_key = $8, lease_owner = NULL, \
            lease_until = NULL, blocked_key = NULL, failures = 0, renew_at = $9 \
            WHERE account_id = $1";
        sqlx::query(sql)
            .bind($id.to_string())
            .bind($generation)
            .bind(sealed.refresh_token.as_ref())
            .bind(sealed.access_token.as_ref())
            .bind(sealed.access_expires_at)
            .bind(crate::database::ms($now))
            .bind(sealed.scope.as_ref())
            .bind(sealed.client_key.as_ref())
            .bind($renew_at)
            .execute(&mut *$tx)
            .await?;
        let consent = crate::account::consent_text(Some($tokens));
        let sql = "UPDATE account SET consent = COALESCE($2, consent) WHERE id = $1";
        sqlx::query(sql)
            .bind($id.to_string())
            .bind(consent)
            .execute(&mut *$tx)
            .await?;
    }};
}
pub(crate) use replace_tokens;

#[derive(sqlx::FromRow)]
struct Row {
    generation: i64,
    refresh_token: Option<Vec<u8>>,
    previous_refresh_token: Option<Vec<u8>>,
    access_token: Option<Vec<u8>>,
    access_expires_at: Option<i64>,
    obtained_at: Option<i64>,
    scope: Option<String>,
    client_key: Option<String>,
    lease_owner: Option<String>,
    lease_until: Option<i64>,
    blocked_key: Option<String>,
    failures: i64,
    renew_at: Option<i64>,
}

impl Store {
    /// What is stored of an account's tokens.
    ///
    /// # Errors
    /// When the database does not answer, or a token does not open.
    pub async fn token(&self, id: AccountId) -> Result<Option<TokenRow>, StoreError> {
        let sql = "SELECT generation, refresh_token, previous_refresh_token, access_token, \
                   access_expires_at, obtained_at, scope, client_key, lease_owner, lease_until, \
                   blocked_key, failures, renew_at FROM account_token WHERE account_id = $1";
        let row: Option<Row> = reading!(self, pool => {
            sqlx::query_as(sql).bind(id.to_string()).fetch_optional(pool).await
        })?;
        row.map(|row| self.opened(id, row)).transpose()
    }

    /// Takes the lease of an account, if it is free or has lapsed. Tells whether it did.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn token_lease(
        &self,
        id: AccountId,
        owner: &str,
        until: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let sql = "UPDATE account_token SET lease_owner = $2, lease_until = $3 \
                   WHERE account_id = $1 AND (lease_owner IS NULL OR lease_until <= $4)";
        self.one_row(sql, id, owner, Some(ms(until)), Some(ms(now)))
            .await
    }

    /// Extends a lease that is still held. Tells whether it is.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn token_lease_extend(
        &self,
        id: AccountId,
        owner: &str,
        until: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let sql = "UPDATE account_token SET lease_until = $3 \
                   WHERE account_id = $1 AND lease_owner = $2 AND $4 IS NULL";
        self.one_row(sql, id, owner, Some(ms(until)), None).await
    }

    /// Gives a lease back, if it is still held.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn token_lease_release(&self, id: AccountId, owner: &str) -> Result<(), StoreError> {
        let sql = "UPDATE account_token SET lease_owner = NULL, lease_until = $3 \
                   WHERE account_id = $1 AND lease_owner = $2 AND $4 IS NULL";
        self.one_row(sql, id, owner, None, None).await.map(|_| ())
    }

    /// Stores what a renewal brought, whole, in one transaction. Tells whether the generation it
    /// started from and the lease still stood; if not, nothing was written.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn token_renewed(
        &self,
        id: AccountId,
        owner: &str,
        seen: i64,
        renewed: &RenewedTokens,
        change: &StateChange,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let (old, older) = match self.token(id).await? {
            Some(row) => (row.refresh_token, row.previous_refresh_token),
            None => (None, None),
        };
        let tokens = NewTokens {
            refresh_token: renewed.refresh_token.clone().or_else(|| old.clone()),
            access_token: Some(renewed.access_token.clone()),
            access_expires_at: Some(renewed.access_expires_at),
            scope: renewed.scope.clone(),
            client_key: renewed.client_key.clone(),
            consent: None,
        };
        // Without a new one nobody tells which of the two has worked, so both are kept.
        let previous = if renewed.refresh_token.is_some() {
            old
        } else {
            older
        };
        let sealed = SealedTokens::seal(self, id, seen + 1, Some(&tokens), previous.as_ref());
        let sql = "UPDATE account_token SET generation = generation + 1, refresh_token = $4, \
            previous_refresh_token = $5, access_token = $6, access_expires_at = $7, \
            obtained_at = $8, scope = $9, client_key = $10, lease_owner = NULL, \
            lease_until = NULL, blocked_key = NULL, failures = 0, renew_at = $11 \
            WHERE account_id = $1 AND generation = $2 AND lease_owner = $3";
        grouped!(self, tx, (owner, sealed, renewed, change) => {
            let done = sqlx::query(sql)
                .bind(id.to_string()).bind(seen).bind(owner)
                .bind(sealed.refresh_token.as_ref()).bind(sealed.previous.as_ref())
                .bind(sealed.access_token.as_ref()).bind(sealed.access_expires_at)
                .bind(ms(now)).bind(sealed.scope.as_ref()).bind(sealed.client_key.as_ref())
                .bind(ms(renewed.renew_at)).execute(&mut *tx).await?;
            if done.rows_affected() == 0 {
                return Ok(false);
            }
            enter_state!(tx, id, change.state, change.reason, now);
            note_change!(tx, ChangeKind::Token, id, seen + 1, now);
            true
        })
    }

    /// Writes a failed renewal down. Tells whether the generation and the lease still stood.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn token_failed(
        &self,
        id: AccountId,
        owner: &str,
        seen: i64,
        failed: &FailedRenewal,
        change: &StateChange,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let sql = "UPDATE account_token SET failures = failures + 1, blocked_key = $4, \
                   renew_at = $5, lease_owner = NULL, lease_until = NULL \
                   WHERE account_id = $1 AND generation = $2 AND lease_owner = $3";
        grouped!(self, tx, (owner, failed, change) => {
            let done = sqlx::query(sql)
                .bind(id.to_string()).bind(seen).bind(owner)
                .bind(failed.blocked_key.as_ref()).bind(failed.renew_at.map(ms))
                .execute(&mut *tx).await?;
            if done.rows_affected() == 0 {
                return Ok(false);
            }
            enter_state!(tx, id, change.state, change.reason, now);
            true
        })
    }

    /// Puts the tokens of a consent in place of the present ones.
    ///
    /// # Errors
    /// When there is no such account.
    pub async fn token_replace(
        &self,
        id: AccountId,
        tokens: NewTokens,
        renew_at: Option<DateTime<Utc>>,
        by: &Actor,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let account = self.account(id).await?.ok_or(StoreError::NotFound)?;
        let reason = Reason::new("consented", String::new());
        writing!(self, tx => {
            lock_tokens!(tx, id.to_string());
            let sql = "SELECT generation FROM account_token WHERE account_id = $1";
            let generation: i64 =
                sqlx::query_scalar(sql).bind(id.to_string()).fetch_one(&mut *tx).await?;
            replace_tokens!(self, tx, id, generation + 1, &tokens, renew_at.map(ms), now);
            if tokens.access_token.is_some() {
                enter_state!(tx, id, ConnectionState::Connected, reason, now);
            }
            note_audit!(tx, by, "account_consented", "account", id, account.name.as_str(), json!({}), now);
            note_change!(tx, ChangeKind::Account, id, 0_i64, now);
        });
        Ok(())
    }

    /// Accounts whose renewal is due, the most overdue first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn tokens_due(
        &self,
        now: DateTime<Utc>,
        limit: i64,
    ) -> Result<Vec<AccountId>, StoreError> {
        let sql = "SELECT t.account_id FROM account_token t JOIN account a ON a.id = t.account_id \
                   WHERE t.renew_at <= $1 AND a.deleted_at IS NULL \
                   ORDER BY t.renew_at LIMIT $2";
        let rows: Vec<String> = reading!(self, pool => {
            sqlx::query_scalar(sql).bind(ms(now)).bind(limit).fetch_all(pool).await
        })?;
        rows.iter()
            .map(|id| {
                id.parse()
                    .map_err(|e| StoreError::corrupt("account_token.account_id", e))
            })
            .collect()
    }

    /// Sets when the schedule looks at an account.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn token_schedule(
        &self,
        id: AccountId,
        renew_at: Option<DateTime<Utc>>,
    ) -> Result<(), StoreError> {
        let sql = "UPDATE account_token SET renew_at = $2 WHERE account_id = $1";
        grouped!(self, tx, () => {
            sqlx::query(sql).bind(id.to_string()).bind(renew_at.map(ms)).execute(&mut *tx).await?;
        })
    }

    async fn one_row(
        &self,
        sql: &'static str,
        id: AccountId,
        owner: &str,
        until: Option<i64>,
        now: Option<i64>,
    ) -> Result<bool, StoreError> {
        grouped!(self, tx, (owner) => {
            let done = sqlx::query(sql)
                .bind(id.to_string()).bind(owner).bind(until).bind(now)
                .execute(&mut *tx).await?;
            done.rows_affected() == 1
        })
    }

    fn opened(&self, id: AccountId, row: Row) -> Result<TokenRow, StoreError> {
        let key = id.to_string();
        let open = |column: &'static str, sealed: Option<Vec<u8>>| match sealed {
            Some(sealed) => {
                let place = place(column, &key, row.generation);
                self.open_sealed(&place, column, sealed).map(Some)
            }
            None => Ok(None),
        };
        Ok(TokenRow {
            account_id: id,
            generation: row.generation,
            refresh_token: open("refresh_token", row.refresh_token)?,
            previous_refresh_token: open("previous_refresh_token", row.previous_refresh_token)?,
            access_token: open("access_token", row.access_token)?,
            access_expires_at: row.access_expires_at.map(at),
            obtained_at: row.obtained_at.map(at),
            scope: row.scope,
            client_key: row.client_key,
            lease_owner: row.lease_owner,
            lease_until: row.lease_until.map(at),
            blocked_key: row.blocked_key,
            failures: i32::try_from(row.failures).unwrap_or(i32::MAX),
            renew_at: row.renew_at.map(at),
        })
    }
}

impl SealedTokens {
    /// Seals tokens for a generation. Every column is sealed anew with each generation, so that
    /// none of an older one can be put back.
    pub(crate) fn seal(
        store: &Store,
        id: AccountId,
        generation: i64,
        tokens: Option<&NewTokens>,
        previous: Option<&SecretString>,
    ) -> Self {
        let Some(tokens) = tokens else {
            return Self::default();
        };
        let row = id.to_string();
        let seal = |column: &'static str, token: Option<&SecretString>| {
            token.map(|token| store.seal(&place(column, &row, generation), token))
        };
        Self {
            refresh_token: seal("refresh_token", tokens.refresh_token.as_ref()),
            previous: seal("previous_refresh_token", previous),
            access_token: seal("access_token", tokens.access_token.as_ref()),
            access_expires_at: tokens.access_expires_at.map(ms),
            scope: tokens
                .scope
                .as_deref()
                .map(|scope| text(scope).into_owned()),
            client_key: Some(tokens.client_key.clone()),
        }
    }
}

fn place<'a>(column: &'a str, row: &'a str, generation: i64) -> AssociatedData<'a> {
    AssociatedData {
        table: "account_token",
        column,
        row,
        version: generation,
    }
}

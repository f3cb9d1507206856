//! Tokens and leases: the keeper's side of an account.
//!
//! Two things fence a renewal. The *lease* lets one attempt at a time work on an account; it is
//! measured by the database's clock, which all servers share. The *mark* (`spending_owner`) says
//! which attempt sent the present refresh token without its answer being known; it outlives the
//! lease, because an answer that comes late may carry a refresh token that exists nowhere else.

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::SecretString;
use serde_json::json;
use tieline_core::{AccountId, Actor, ConnectionState, Reason, RotationSeen};
use tieline_vault::AssociatedData;

use crate::account::NewTokens;
use crate::audit::note_audit;
use crate::change::{ChangeKind, note_change};
use crate::commit::{grouped, statement};
use crate::database::{Database, Store, at, lock_tokens, ms, reading, text, writer, writing};
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
    /// Which attempt renews, while its lease lasts.
    pub lease: Option<Lease>,
    /// Which attempt sent the present refresh token without a definite answer being known.
    pub spending: Option<Spending>,
    /// What the token service was seen to do with refresh tokens.
    pub rotation_seen: Option<RotationSeen>,
    /// Claims that Microsoft asked for and that nothing has met yet.
    pub claims: Option<String>,
    /// The generation of the token that Dynamics refused with those claims, where it did.
    pub refused_generation: Option<i64>,
    /// What a verdict of death rested on.
    pub blocked_key: Option<String>,
    /// Failures since the last success.
    pub failures: i32,
    /// When the schedule looks at it.
    pub renew_at: Option<DateTime<Utc>>,
}

/// A lease that had not lapsed when the row was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The attempt.
    pub owner: String,
    /// How much of it was left, by the database's clock.
    pub left: TimeDelta,
}

/// A refresh token that may have been spent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spending {
    /// The attempt that sent it.
    pub owner: String,
    /// When, by the database's clock.
    pub since: DateTime<Utc>,
}

/// What an attempt wants a lease for.
#[derive(Debug, Clone, Copy)]
pub struct LeaseWish<'a> {
    /// Names the attempt; random.
    pub owner: &'a str,
    /// The generation that it saw. The lease is not given when there is a later one.
    pub seen: i64,
    /// The mark that it saw. The lease is not given when there is another.
    pub marked_by: Option<&'a str>,
    /// Whether the refresh token is about to be sent.
    pub purpose: LeasePurpose,
    /// For how long.
    pub life: TimeDelta,
}

/// What a lease is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeasePurpose {
    /// The refresh token is about to be sent: the mark is set with the lease.
    Spend,
    /// Nothing is sent that a second use could spoil.
    Other,
}

/// What becomes of the mark after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarkAfter {
    /// The token was not spent.
    Clear,
    /// Nobody knows.
    Keep,
}

/// What a renewal brought.
#[derive(Debug, Clone)]
pub struct RenewedTokens {
    /// The refresh token to go on with.
    pub refresh_token: Option<SecretString>,
    /// The one before it, where it is still needed.
    pub previous_refresh_token: Option<SecretString>,
    /// The access token; none when what came cannot be used as one.
    pub access_token: Option<SecretString>,
    /// When that ends.
    pub access_expires_at: Option<DateTime<Utc>>,
    /// What was granted.
    pub scope: Option<String>,
    /// Which client configuration they were issued to.
    pub client_key: String,
    /// What the token service was seen to do.
    pub rotation_seen: Option<RotationSeen>,
    /// The claims that were sent along and so are met.
    pub claims_met: Option<String>,
    /// What a verdict of death rests on, where there is one all the same.
    pub blocked_key: Option<String>,
    /// When to renew next.
    pub renew_at: Option<DateTime<Utc>>,
}

/// What a failed renewal leaves behind.
#[derive(Debug, Clone)]
pub struct FailedRenewal {
    /// What the verdict of death rests on; none for a failure that passes.
    pub blocked_key: Option<String>,
    /// When to try again.
    pub renew_at: Option<DateTime<Utc>>,
    /// What becomes of the mark.
    pub mark: MarkAfter,
    /// What the token service was seen to do, where this taught something.
    pub rotation_seen: Option<RotationSeen>,
    /// Claims to ask a person for, in place of those that are kept.
    pub claims: Option<String>,
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
            lease_until = NULL, blocked_key = NULL, failures = 0, renew_at = $9, \
            spending_owner = NULL, spending_since = NULL, claims = NULL, \
            refused_generation = NULL, rotation_seen = CASE WHEN client_key = $8 THEN rotation_seen END \
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
    spending_owner: Option<String>,
    spending_since: Option<i64>,
    rotation_seen: Option<String>,
    claims: Option<String>,
    refused_generation: Option<i64>,
    blocked_key: Option<String>,
    failures: i64,
    renew_at: Option<i64>,
    clock: i64,
}

/// A statement with the database's own clock in it, for either database: the one expression that
/// the two spell differently.
macro_rules! clocked {
    ($store:expr, $first:literal $(, $rest:literal)*) => {
        match &$store.database {
            Database::Sqlite { .. } => concat!(
                $first $(, "CAST(unixepoch('subsec') * 1000 AS INTEGER)", $rest)*
            ),
            Database::Postgres(_) => concat!(
                $first $(, "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)", $rest)*
            ),
        }
    };
}

/// Longest that a lease can have left. What claims to last longer was written before the clock was
/// set back, and counts as lapsed: otherwise an account would be stuck for as long as the clock
/// was wrong.
const LEASE_MAX: TimeDelta = TimeDelta::minutes(2);
/// Longest claims that are kept. Microsoft's are a few hundred bytes.
const CLAIMS_MAX: usize = 16 * 1024;

impl Store {
    /// What is stored of an account's tokens.
    ///
    /// # Errors
    /// When the database does not answer, or a token does not open.
    pub async fn token(&self, id: AccountId) -> Result<Option<TokenRow>, StoreError> {
        let sql = clocked!(
            self,
            "SELECT generation, refresh_token, previous_refresh_token, access_token, \
             access_expires_at, obtained_at, scope, client_key, lease_owner, lease_until, \
             spending_owner, spending_since, rotation_seen, claims, refused_generation, \
             blocked_key, failures, renew_at, ",
            " AS clock FROM account_token WHERE account_id = $1"
        );
        let row: Option<Row> = reading!(self, pool => {
            sqlx::query_as(sql).bind(id.to_string()).fetch_optional(pool).await
        })?;
        row.map(|row| self.opened(id, row)).transpose()
    }

    /// Takes the lease of an account, if it is free or has lapsed and nothing has changed since
    /// the row was read. Where the refresh token is about to be sent, the mark is set in the same
    /// statement. Tells whether it was taken.
    ///
    /// # Errors
    /// When the database does not answer; the lease may have been taken all the same.
    pub async fn token_lease(
        &self,
        id: AccountId,
        wish: &LeaseWish<'_>,
    ) -> Result<bool, StoreError> {
        let sql = clocked!(
            self,
            "UPDATE account_token SET lease_owner = $2, lease_until = ",
            " + $3, spending_owner = CASE WHEN $4 = 1 THEN $2 ELSE spending_owner END, \
             spending_since = CASE WHEN $4 = 1 THEN ",
            " ELSE spending_since END WHERE account_id = $1 AND generation = $5 \
             AND COALESCE(spending_owner, '') = $6 \
             AND (lease_owner IS NULL OR lease_until <= ",
            " OR lease_until > ",
            " + $7)"
        );
        let spends = i64::from(wish.purpose == LeasePurpose::Spend);
        let life = wish.life.min(LEASE_MAX).num_milliseconds();
        let (owner, marked_by) = (wish.owner, wish.marked_by.unwrap_or_default());
        let seen = wish.seen;
        let done = statement!(self, tx, (owner, marked_by) => {
            sqlx::query(sql)
                .bind(id.to_string()).bind(owner).bind(life).bind(spends).bind(seen)
                .bind(marked_by).bind(LEASE_MAX.num_milliseconds())
                .execute(&mut *tx).await?.rows_affected()
        })?;
        Ok(done == 1)
    }

    /// Extends a lease that is still held. Tells whether it is.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn token_lease_extend(
        &self,
        id: AccountId,
        owner: &str,
        life: TimeDelta,
    ) -> Result<bool, StoreError> {
        let sql = clocked!(
            self,
            "UPDATE account_token SET lease_until = ",
            " + $3 WHERE account_id = $1 AND lease_owner = $2"
        );
        let life = life.min(LEASE_MAX).num_milliseconds();
        let done = statement!(self, tx, (owner) => {
            sqlx::query(sql).bind(id.to_string()).bind(owner).bind(life)
                .execute(&mut *tx).await?.rows_affected()
        })?;
        Ok(done == 1)
    }

    /// Gives back the lease and the mark of an attempt that sent nothing, where they are still its
    /// own.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn token_lease_release(&self, id: AccountId, owner: &str) -> Result<(), StoreError> {
        let sql = "UPDATE account_token SET \
                   lease_until = CASE WHEN lease_owner = $2 THEN NULL ELSE lease_until END, \
                   lease_owner = CASE WHEN lease_owner = $2 THEN NULL ELSE lease_owner END, \
                   spending_since = CASE WHEN spending_owner = $2 THEN NULL \
                   ELSE spending_since END, \
                   spending_owner = CASE WHEN spending_owner = $2 THEN NULL \
                   ELSE spending_owner END \
                   WHERE account_id = $1 AND (lease_owner = $2 OR spending_owner = $2)";
        statement!(self, tx, (owner) => {
            sqlx::query(sql).bind(id.to_string()).bind(owner).execute(&mut *tx).await?;
        })
    }

    /// Stores what a renewal brought, whole, in one transaction. Tells whether the generation it
    /// started from still stands, and either its lease or its mark; if not, nothing was written.
    /// The mark is enough: while it stands, nobody else has sent the same refresh token.
    ///
    /// # Errors
    /// When the database does not answer; it may have been stored all the same.
    pub async fn token_renewed(
        &self,
        id: AccountId,
        owner: &str,
        seen: i64,
        renewed: &RenewedTokens,
        change: &StateChange,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let tokens = NewTokens {
            refresh_token: renewed.refresh_token.clone(),
            access_token: renewed.access_token.clone(),
            access_expires_at: renewed.access_expires_at,
            scope: renewed.scope.clone(),
            client_key: renewed.client_key.clone(),
            consent: None,
        };
        let previous = renewed.previous_refresh_token.as_ref();
        let sealed = SealedTokens::seal(self, id, seen + 1, Some(&tokens), previous);
        let sql = "UPDATE account_token SET generation = generation + 1, refresh_token = $4, \
            previous_refresh_token = $5, access_token = $6, access_expires_at = $7, \
            obtained_at = $8, scope = $9, client_key = $10, lease_owner = NULL, \
            lease_until = NULL, spending_owner = NULL, spending_since = NULL, \
            blocked_key = $11, failures = 0, renew_at = $12, \
            rotation_seen = CASE WHEN rotation_seen = 'punishes' THEN rotation_seen \
            ELSE COALESCE($13, rotation_seen) END, \
            claims = CASE WHEN claims = $14 THEN NULL ELSE claims END, \
            refused_generation = CASE WHEN refused_generation IS NULL OR claims = $14 \
            THEN NULL ELSE generation + 1 END \
            WHERE account_id = $1 AND generation = $2 \
            AND (lease_owner = $3 OR spending_owner = $3)";
        grouped!(self, tx, (owner, sealed, renewed, change) => {
            let done = sqlx::query(sql)
                .bind(id.to_string()).bind(seen).bind(owner)
                .bind(sealed.refresh_token.as_ref()).bind(sealed.previous.as_ref())
                .bind(sealed.access_token.as_ref()).bind(sealed.access_expires_at)
                .bind(ms(now)).bind(sealed.scope.as_ref()).bind(sealed.client_key.as_ref())
                .bind(renewed.blocked_key.as_ref()).bind(renewed.renew_at.map(ms))
                .bind(renewed.rotation_seen.map(RotationSeen::as_str))
                .bind(renewed.claims_met.as_ref()).execute(&mut *tx).await?;
            if done.rows_affected() == 0 {
                return Ok(false);
            }
            enter_state!(tx, id, change.state, change.reason, now);
            note_change!(tx, ChangeKind::Token, id, seen + 1, now);
            true
        })
    }

    /// Writes a failed renewal down, under the same conditions as [`Store::token_renewed`].
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
                   renew_at = $5, \
                   lease_until = CASE WHEN lease_owner = $3 THEN NULL ELSE lease_until END, \
                   lease_owner = CASE WHEN lease_owner = $3 THEN NULL ELSE lease_owner END, \
                   spending_since = CASE WHEN $6 = 1 AND spending_owner = $3 THEN NULL \
                   ELSE spending_since END, \
                   spending_owner = CASE WHEN $6 = 1 AND spending_owner = $3 THEN NULL \
                   ELSE spending_owner END, \
                   rotation_seen = COALESCE($7, rotation_seen), claims = COALESCE($8, claims) \
                   WHERE account_id = $1 AND generation = $2 \
                   AND (lease_owner = $3 OR spending_owner = $3)";
        let clears = i64::from(failed.mark == MarkAfter::Clear);
        let claims = failed
            .claims
            .as_deref()
            .filter(|text| text.len() <= CLAIMS_MAX)
            .map(|claims| text(claims).into_owned());
        grouped!(self, tx, (owner, failed, claims, change) => {
            let done = sqlx::query(sql)
                .bind(id.to_string()).bind(seen).bind(owner)
                .bind(failed.blocked_key.as_ref()).bind(failed.renew_at.map(ms)).bind(clears)
                .bind(failed.rotation_seen.map(RotationSeen::as_str)).bind(claims.as_ref())
                .execute(&mut *tx).await?;
            if done.rows_affected() == 0 {
                return Ok(false);
            }
            enter_state!(tx, id, change.state, change.reason, now);
            // Who waits for this attempt need not wait for the lease to lapse.
            note_change!(tx, ChangeKind::Token, id, seen, now);
            true
        })
    }

    /// Keeps claims that Dynamics asked for, until a renewal or a consent meets them; the present
    /// token does not.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn token_claims(&self, id: AccountId, claims: &str) -> Result<(), StoreError> {
        if claims.len() > CLAIMS_MAX {
            return Ok(());
        }
        let sql = "UPDATE account_token SET claims = $2, refused_generation = generation \
                   WHERE account_id = $1";
        writer!(self, pool => {
            sqlx::query(sql).bind(id.to_string()).bind(text(claims)).execute(pool).await?.rows_affected()
        });
        Ok(())
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

    /// Claims accounts whose renewal is due, the most overdue first: nobody else is given them
    /// before `until`, by when a claimant that died is forgotten. Tells the generation of each.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn tokens_claim(
        &self,
        now: DateTime<Utc>,
        until: DateTime<Utc>,
        limit: i64,
    ) -> Result<Vec<(AccountId, i64)>, StoreError> {
        macro_rules! sql {
            ($lock:literal) => {
                concat!(
                    "UPDATE account_token SET renew_at = $2 WHERE renew_at <= $1 AND account_id IN \
                     (SELECT t.account_id FROM account_token t \
                     JOIN account a ON a.id = t.account_id \
                     WHERE t.renew_at <= $1 AND a.deleted_at IS NULL \
                     ORDER BY t.renew_at LIMIT $3",
                    $lock,
                    ") RETURNING account_id, generation"
                )
            };
        }
        // SQLite has one writer at a time; in PostgreSQL servers pass each other by, because two
        // that locked the same rows in another order would end each other.
        let sql = match &self.database {
            Database::Sqlite { .. } => sql!(""),
            Database::Postgres(_) => sql!(" FOR UPDATE OF t SKIP LOCKED"),
        };
        let rows: Vec<(String, i64)> = statement!(self, tx, () => {
            sqlx::query_as(sql).bind(ms(now)).bind(ms(until)).bind(limit)
                .fetch_all(&mut *tx).await?
        })?;
        let parse = |(id, generation): (String, i64)| match id.parse() {
            Ok(id) => Ok((id, generation)),
            Err(error) => Err(StoreError::corrupt("account_token.account_id", error)),
        };
        rows.into_iter().map(parse).collect()
    }

    /// When the first renewal is due.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn token_next_due(&self) -> Result<Option<DateTime<Utc>>, StoreError> {
        let sql = "SELECT MIN(renew_at) FROM account_token WHERE renew_at IS NOT NULL";
        let first: Option<i64> =
            reading!(self, pool => sqlx::query_scalar(sql).fetch_one(pool).await)?;
        Ok(first.map(at))
    }

    /// Brings back renewals that are planned for a time which no plan reaches: they were planned
    /// while the clock was wrong. They are spread over an hour. Tells how many there were.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn tokens_replan(
        &self,
        now: DateTime<Utc>,
        beyond: DateTime<Utc>,
    ) -> Result<u64, StoreError> {
        // The milliseconds of the old plan are as good as random.
        let sql = "UPDATE account_token SET renew_at = $1 + renew_at % 3600000 WHERE renew_at > $2";
        Ok(writer!(self, pool => {
            sqlx::query(sql).bind(ms(now)).bind(ms(beyond)).execute(pool).await?.rows_affected()
        }))
    }

    /// When any consumer last used an account.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn account_last_used(
        &self,
        id: AccountId,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        let sql = "SELECT MAX(last_used_at) FROM consumer_use WHERE account_id = $1";
        let last: Option<i64> = reading!(self, pool => {
            sqlx::query_scalar(sql).bind(id.to_string()).fetch_one(pool).await
        })?;
        Ok(last.map(at))
    }

    /// How many accounts are in each state. Reads an index of all of them: not for every scrape.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn accounts_by_state(&self) -> Result<Vec<(String, i64)>, StoreError> {
        let sql = "SELECT state, COUNT(*) FROM account WHERE deleted_at IS NULL GROUP BY state";
        Ok(reading!(self, pool => sqlx::query_as(sql).fetch_all(pool).await)?)
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
        statement!(self, tx, () => {
            sqlx::query(sql).bind(id.to_string()).bind(renew_at.map(ms)).execute(&mut *tx).await?;
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
            lease: standing(row.lease_owner, row.lease_until, row.clock),
            spending: row.spending_owner.map(|owner| Spending {
                owner,
                since: at(row.spending_since.unwrap_or_default()),
            }),
            // A word of a newer version is as good as none.
            rotation_seen: row.rotation_seen.and_then(|word| word.parse().ok()),
            claims: row.claims,
            refused_generation: row.refused_generation,
            blocked_key: row.blocked_key,
            failures: i32::try_from(row.failures).unwrap_or(i32::MAX),
            renew_at: row.renew_at.map(at),
        })
    }
}

/// The lease, unless it has lapsed.
fn standing(owner: Option<String>, until: Option<i64>, clock: i64) -> Option<Lease> {
    let left = TimeDelta::milliseconds(until?.saturating_sub(clock));
    let stands = left > TimeDelta::zero() && left <= LEASE_MAX;
    owner.filter(|_| stands).map(|owner| Lease { owner, left })
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

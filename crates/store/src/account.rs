//! Accounts, their default, and their history.

use std::collections::HashMap;

use chrono::{DateTime, NaiveDate, Utc};
use secrecy::SecretString;
use serde_json::json;
use tieline_core::{
    Account, AccountId, AccountName, AccountType, Actor, Connection, ConnectionState, ConsentInfo,
    CredentialSlot, GrantType, Reason, RefreshTokenRotation, SecretInfo, WorkspaceId,
};
use tieline_vault::AssociatedData;

use crate::audit::note_audit;
use crate::change::{ChangeKind, note_change};
use crate::credential::{
    CredentialChange, CredentialWrites, known_of, stored_for, write_credentials,
};
use crate::database::{Store, at, lock_tokens, lock_workspace, ms, reading, text, writing};
use crate::error::StoreError;
use crate::token::SealedTokens;

/// The settings of an account, checked and complete.
#[derive(Debug, Clone)]
pub struct AccountSettings {
    /// Name.
    pub name: AccountName,
    /// Whether it becomes the default.
    pub is_default: bool,
    /// Authorization endpoint.
    pub authorization_url: String,
    /// Token endpoint.
    pub token_url: String,
    /// Base of the Web API.
    pub api_url: String,
    /// Application (client) ID.
    pub client_id: String,
    /// How tokens are obtained.
    pub grant: GrantType,
    /// Whether a used refresh token may be sent once more.
    pub rotation: RefreshTokenRotation,
    /// Notes.
    pub notes: String,
    /// When the secret expires.
    pub secret_expires_on: Option<NaiveDate>,
    /// What becomes of the credentials besides the first client secret.
    pub credentials: Vec<(CredentialSlot, CredentialChange)>,
}

/// What becomes of a secret that is stored.
#[derive(Debug, Clone)]
pub enum SecretChange {
    /// It stays.
    Keep,
    /// It is replaced.
    Set(SecretString),
    /// It is removed; one that waits to take over takes its place.
    Clear,
}

/// Tokens of a consent, or a refresh token that was pasted.
#[derive(Debug, Clone)]
pub struct NewTokens {
    /// The refresh token.
    pub refresh_token: Option<SecretString>,
    /// An access token that came with it.
    pub access_token: Option<SecretString>,
    /// When that ends.
    pub access_expires_at: Option<DateTime<Utc>>,
    /// What was granted.
    pub scope: Option<String>,
    /// Which client configuration they were issued to.
    pub client_key: String,
    /// Who consented.
    pub consent: Option<ConsentInfo>,
}

// Events come in by one door, which is not here.
pub(crate) use crate::event::note_event;

/// `SELECT` of every column with a condition, as one static text.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, workspace_id, type AS account_type, name, is_default, authorization_url, ",
            "token_url, api_url, client_id, grant_type, notes, client_secret_set_at, ",
            "client_secret_expires_on, credentials, consent, state, state_since, reason_code, ",
            "reason_detail, ",
            "version, created_at, created_by, changed_at, changed_by, refresh_token_rotation, ",
            "(SELECT renew_at FROM account_token WHERE account_id = account.id AND failures > 0) ",
            "AS next_attempt_at FROM account WHERE ",
            $rest
        )
    };
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    workspace_id: String,
    account_type: String,
    name: String,
    is_default: bool,
    authorization_url: String,
    token_url: String,
    api_url: String,
    client_id: String,
    grant_type: String,
    notes: String,
    client_secret_set_at: Option<i64>,
    client_secret_expires_on: Option<String>,
    credentials: String,
    consent: Option<String>,
    state: String,
    state_since: i64,
    reason_code: String,
    reason_detail: String,
    version: i64,
    created_at: i64,
    created_by: String,
    changed_at: i64,
    changed_by: String,
    refresh_token_rotation: String,
    next_attempt_at: Option<i64>,
}

impl Store {
    /// Adds an account. The first of a type becomes the default whatever the settings say.
    ///
    /// # Errors
    /// [`StoreError::NameTaken`] when the name is.
    #[expect(clippy::too_many_arguments, reason = "each is a column of its own")]
    pub async fn account_add(
        &self,
        workspace: WorkspaceId,
        id: AccountId,
        account_type: AccountType,
        settings: &AccountSettings,
        secret: Option<SecretString>,
        tokens: Option<NewTokens>,
        by: &Actor,
        now: DateTime<Utc>,
    ) -> Result<Account, StoreError> {
        let secret = secret.map_or(SecretChange::Keep, SecretChange::Set);
        let writes = CredentialWrites::of(&[], settings, &secret, HashMap::new(), now);
        let first = writes.first.as_ref().and_then(Option::as_ref);
        let sealed_secret = first.map(|secret| self.seal_secret(id, 1, secret));
        let consent = consent_text(tokens.as_ref());
        let sealed = SealedTokens::seal(self, id, 1, tokens.as_ref(), None);
        let (state, reason) = first_state(tokens.as_ref());
        let row = (id.to_string(), workspace.to_string());
        let renew_at = tokens.as_ref().map(|tokens| first_renewal(tokens, now));
        writing!(self, tx => {
            lock_workspace!(tx, &row.1);
            let sql = "SELECT COUNT(*) FROM account \
                       WHERE workspace_id = $1 AND type = $2 AND is_default AND deleted_at IS NULL";
            let defaults: i64 = sqlx::query_scalar(sql)
                .bind(&row.1).bind(account_type.as_str()).fetch_one(&mut *tx).await?;
            let is_default = settings.is_default || defaults == 0;
            if is_default {
                let sql = "UPDATE account SET is_default = FALSE, version = version + 1 \
                           WHERE workspace_id = $1 AND type = $2 AND is_default AND deleted_at IS NULL";
                sqlx::query(sql).bind(&row.1).bind(account_type.as_str()).execute(&mut *tx).await?;
            }
            let sql = "INSERT INTO account (id, workspace_id, type, name, name_key, is_default, \
                authorization_url, token_url, api_url, client_id, grant_type, notes, \
                client_secret, client_secret_version, client_secret_set_at, \
                client_secret_expires_on, consent, state, state_since, reason_code, \
                reason_detail, version, created_at, created_by, changed_at, changed_by, \
                refresh_token_rotation) \
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 1, $14, $15, $16, \
                $17, $18, $19, $20, 1, $18, $21, $18, $21, $22)";
            sqlx::query(sql)
                .bind(&row.0).bind(&row.1).bind(account_type.as_str())
                .bind(settings.name.as_str()).bind(settings.name.key()).bind(is_default)
                .bind(&settings.authorization_url).bind(&settings.token_url)
                .bind(&settings.api_url).bind(text(&settings.client_id))
                .bind(settings.grant.as_str()).bind(text(&settings.notes))
                .bind(sealed_secret.as_ref()).bind(writes.first_set_at())
                .bind(writes.first_expires_on())
                .bind(consent.as_ref()).bind(state.as_str()).bind(ms(now))
                .bind(&reason.code).bind(&reason.detail).bind(by.to_string())
                .bind(settings.rotation.as_str()).execute(&mut *tx).await?;
            let sql = "INSERT INTO account_token (account_id, generation, refresh_token, \
                access_token, access_expires_at, obtained_at, scope, client_key, failures, renew_at) \
                VALUES ($1, 1, $2, $3, $4, $5, $6, $7, 0, $8)";
            sqlx::query(sql)
                .bind(&row.0).bind(sealed.refresh_token.as_ref()).bind(sealed.access_token.as_ref())
                .bind(sealed.access_expires_at).bind(tokens.as_ref().map(|_| ms(now)))
                .bind(sealed.scope.as_ref()).bind(sealed.client_key.as_ref()).bind(renew_at)
                .execute(&mut *tx).await?;
            write_credentials!(self, tx, id, writes);
            note_event!(tx, id, None::<String>, state.as_str(), reason, now);
            note_audit!(tx, by, "account_added", "account", id, settings.name.as_str(), json!({}), now);
            note_change!(tx, ChangeKind::Account, id, 0_i64, now);
        });
        self.account(id).await?.ok_or(StoreError::NotFound)
    }

    /// Changes an account that was read at version `expected`.
    ///
    /// # Errors
    /// [`StoreError::Stale`] when it was changed since, [`StoreError::NameTaken`] when the name is.
    #[expect(clippy::too_many_arguments, reason = "each is a column of its own")]
    pub async fn account_update(
        &self,
        id: AccountId,
        expected: i64,
        settings: &AccountSettings,
        secret: SecretChange,
        tokens: Option<NewTokens>,
        by: &Actor,
        now: DateTime<Utc>,
    ) -> Result<Account, StoreError> {
        let before = self.account(id).await?.ok_or(StoreError::NotFound)?;
        let row = id.to_string();
        // Taking the default away from the only default leaves the type without one; it stays.
        let keeps = before.is_default || settings.is_default;
        let workspace = before.workspace_id.to_string();
        let kind = before.account_type.as_str();
        let detail = json!({ "changed": changed(&before, settings, &secret, tokens.is_some()) });
        let stored = stored_for(self, &before, settings, &secret).await?;
        let mut writes = CredentialWrites::of(&before.credentials, settings, &secret, stored, now);
        if before.client_id != settings.client_id || before.token_url != settings.token_url {
            writes.forget_outcomes();
        }
        let moved = !same_origin(&before.api_url, &settings.api_url);
        writing!(self, tx => {
            lock_workspace!(tx, &workspace);
            lock_tokens!(tx, &row);
            if settings.is_default && !before.is_default {
                let sql = "UPDATE account SET is_default = FALSE, version = version + 1 \
                           WHERE workspace_id = $1 AND type = $2 AND is_default AND deleted_at IS NULL";
                sqlx::query(sql).bind(&workspace).bind(kind).execute(&mut *tx).await?;
            }
            let sql = "UPDATE account SET name = $3, name_key = $4, is_default = $5, \
                authorization_url = $6, token_url = $7, api_url = $8, client_id = $9, \
                grant_type = $10, notes = $11, client_secret_expires_on = $12, \
                version = version + 1, changed_at = $13, changed_by = $14, \
                refresh_token_rotation = $15 WHERE id = $1 AND version = $2 AND deleted_at IS NULL";
            let done = sqlx::query(sql)
                .bind(&row).bind(expected)
                .bind(settings.name.as_str()).bind(settings.name.key()).bind(keeps)
                .bind(&settings.authorization_url).bind(&settings.token_url)
                .bind(&settings.api_url).bind(text(&settings.client_id))
                .bind(settings.grant.as_str()).bind(text(&settings.notes))
                .bind(writes.first_expires_on())
                .bind(ms(now)).bind(by.to_string()).bind(settings.rotation.as_str())
                .execute(&mut *tx).await?;
            if done.rows_affected() == 0 {
                return Err(StoreError::Stale);
            }
            if let Some(first) = &writes.first {
                let sql = "SELECT client_secret_version FROM account WHERE id = $1";
                let version: i64 = sqlx::query_scalar(sql).bind(&row).fetch_one(&mut *tx).await?;
                let value = first.as_ref().map(|secret| self.seal_secret(id, version + 1, secret));
                let sql = "UPDATE account SET client_secret = $2, client_secret_version = $3, \
                           client_secret_set_at = $4 WHERE id = $1";
                sqlx::query(sql).bind(&row).bind(value.as_ref()).bind(version + 1)
                    .bind(writes.first_set_at()).execute(&mut *tx).await?;
            }
            write_credentials!(self, tx, id, writes);
            if moved {
                // A token of one organization must never be sent to another one's host.
                let sql = "UPDATE account_token SET access_token = NULL, \
                           access_expires_at = NULL WHERE account_id = $1";
                sqlx::query(sql).bind(&row).execute(&mut *tx).await?;
            }
            if let Some(tokens) = &tokens {
                let sql = "SELECT generation FROM account_token WHERE account_id = $1";
                let generation: i64 =
                    sqlx::query_scalar(sql).bind(&row).fetch_one(&mut *tx).await?;
                let renew_at = Some(first_renewal(tokens, now));
                crate::token::replace_tokens!(self, tx, id, generation + 1, tokens, renew_at, now);
                if tokens.access_token.is_some() {
                    let reason = Reason::new("consented", String::new());
                    crate::token::enter_state!(tx, id, ConnectionState::Connected, reason, now);
                }
            }
            note_audit!(tx, by, "account_changed", "account", id, settings.name.as_str(), detail, now);
            note_change!(tx, ChangeKind::Account, id, 0_i64, now);
        });
        self.account(id).await?.ok_or(StoreError::NotFound)
    }

    /// Makes an account the default of its type, in one transaction.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such account.
    pub async fn account_set_default(
        &self,
        id: AccountId,
        by: &Actor,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let account = self.account(id).await?.ok_or(StoreError::NotFound)?;
        let workspace = account.workspace_id.to_string();
        writing!(self, tx => {
            lock_workspace!(tx, &workspace);
            let sql = "UPDATE account SET is_default = FALSE, version = version + 1 \
                       WHERE workspace_id = $1 AND type = $2 AND is_default AND id <> $3 \
                       AND deleted_at IS NULL";
            sqlx::query(sql).bind(&workspace).bind(account.account_type.as_str())
                .bind(id.to_string()).execute(&mut *tx).await?;
            let sql = "UPDATE account SET is_default = TRUE, version = version + 1, \
                       changed_at = $2, changed_by = $3 WHERE id = $1 AND deleted_at IS NULL";
            let done = sqlx::query(sql).bind(id.to_string()).bind(ms(now)).bind(by.to_string())
                .execute(&mut *tx).await?;
            if done.rows_affected() == 0 {
                return Err(StoreError::NotFound);
            }
            note_audit!(tx, by, "account_made_default", "account", id, account.name.as_str(), json!({}), now);
            note_change!(tx, ChangeKind::Account, id, 0_i64, now);
        });
        Ok(())
    }

    /// Deletes an account; it stays restorable, its name and its place as the default are free.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such account.
    pub async fn account_delete(
        &self,
        id: AccountId,
        by: &Actor,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let account = self.account(id).await?.ok_or(StoreError::NotFound)?;
        let workspace = account.workspace_id.to_string();
        writing!(self, tx => {
            lock_workspace!(tx, &workspace);
            lock_tokens!(tx, id.to_string());
            let sql = "UPDATE account SET deleted_at = $2, is_default = FALSE, \
                       version = version + 1, changed_at = $2, changed_by = $3 \
                       WHERE id = $1 AND deleted_at IS NULL";
            let done = sqlx::query(sql).bind(id.to_string()).bind(ms(now)).bind(by.to_string())
                .execute(&mut *tx).await?;
            if done.rows_affected() == 0 {
                return Err(StoreError::NotFound);
            }
            let sql = "UPDATE account_token SET renew_at = NULL WHERE account_id = $1";
            sqlx::query(sql).bind(id.to_string()).execute(&mut *tx).await?;
            note_audit!(tx, by, "account_deleted", "account", id, account.name.as_str(), json!({}), now);
            note_change!(tx, ChangeKind::Account, id, 0_i64, now);
        });
        Ok(())
    }

    /// Restores a deleted account. It is the default again only where there is no other.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none, [`StoreError::NameTaken`] when its name is.
    pub async fn account_restore(
        &self,
        id: AccountId,
        by: &Actor,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let row = id.to_string();
        writing!(self, tx => {
            let sql = "SELECT workspace_id, type, name FROM account \
                       WHERE id = $1 AND deleted_at IS NOT NULL";
            let found: Option<(String, String, String)> =
                sqlx::query_as(sql).bind(&row).fetch_optional(&mut *tx).await?;
            let Some((workspace, kind, name)) = found else {
                return Err(StoreError::NotFound);
            };
            lock_workspace!(tx, &workspace);
            lock_tokens!(tx, &row);
            let sql = "SELECT COUNT(*) FROM account \
                       WHERE workspace_id = $1 AND type = $2 AND is_default AND deleted_at IS NULL";
            let defaults: i64 = sqlx::query_scalar(sql).bind(&workspace).bind(&kind)
                .fetch_one(&mut *tx).await?;
            let sql = "UPDATE account SET deleted_at = NULL, is_default = $2, \
                       version = version + 1, changed_at = $3, changed_by = $4 \
                       WHERE id = $1 AND deleted_at IS NOT NULL";
            let done = sqlx::query(sql).bind(&row).bind(defaults == 0).bind(ms(now))
                .bind(by.to_string()).execute(&mut *tx).await?;
            if done.rows_affected() == 0 {
                return Err(StoreError::NotFound);
            }
            let sql = "UPDATE account_token SET renew_at = $2 WHERE account_id = $1";
            sqlx::query(sql).bind(&row).bind(ms(now)).execute(&mut *tx).await?;
            note_audit!(tx, by, "account_restored", "account", id, name, json!({}), now);
            note_change!(tx, ChangeKind::Account, id, 0_i64, now);
        });
        Ok(())
    }

    /// Removes for good the accounts that were deleted before a moment, with their secrets and
    /// their history. Tells how many.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn accounts_purge(&self, before: DateTime<Utc>) -> Result<u64, StoreError> {
        let sql = "DELETE FROM account WHERE deleted_at < $1";
        Ok(writing!(self, tx => {
            sqlx::query(sql).bind(ms(before)).execute(&mut *tx).await?.rows_affected()
        }))
    }

    /// An account that is not deleted.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn account(&self, id: AccountId) -> Result<Option<Account>, StoreError> {
        let sql = select!("id = $1 AND deleted_at IS NULL");
        let row: Option<Row> = reading!(self, pool => {
            sqlx::query_as(sql).bind(id.to_string()).fetch_optional(pool).await
        })?;
        row.map(Row::account).transpose()
    }

    /// An account by the form of its name that is compared.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn account_by_name(
        &self,
        workspace: WorkspaceId,
        key: &str,
    ) -> Result<Option<Account>, StoreError> {
        // A request's path may hold any byte, and PostgreSQL refuses to compare a NUL.
        if key.contains('\0') {
            return Ok(None);
        }
        let sql = select!("workspace_id = $1 AND name_key = $2 AND deleted_at IS NULL");
        let row: Option<Row> = reading!(self, pool => {
            sqlx::query_as(sql).bind(workspace.to_string()).bind(key).fetch_optional(pool).await
        })?;
        row.map(Row::account).transpose()
    }

    /// The default account of a type.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn account_default(
        &self,
        workspace: WorkspaceId,
        account_type: AccountType,
    ) -> Result<Option<Account>, StoreError> {
        let sql = select!("workspace_id = $1 AND type = $2 AND is_default AND deleted_at IS NULL");
        let row: Option<Row> = reading!(self, pool => {
            sqlx::query_as(sql)
                .bind(workspace.to_string())
                .bind(account_type.as_str())
                .fetch_optional(pool)
                .await
        })?;
        row.map(Row::account).transpose()
    }

    /// The accounts of a workspace, by name.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn accounts(&self, workspace: WorkspaceId) -> Result<Vec<Account>, StoreError> {
        let sql = select!("workspace_id = $1 AND deleted_at IS NULL ORDER BY name_key");
        let rows: Vec<Row> = reading!(self, pool => {
            sqlx::query_as(sql).bind(workspace.to_string()).fetch_all(pool).await
        })?;
        rows.into_iter().map(Row::account).collect()
    }

    /// The client secret, opened.
    ///
    /// # Errors
    /// When the database does not answer, or the secret does not open.
    pub async fn account_client_secret(
        &self,
        id: AccountId,
    ) -> Result<Option<SecretString>, StoreError> {
        let sql = "SELECT client_secret, client_secret_version FROM account WHERE id = $1";
        let row: Option<(Option<Vec<u8>>, i64)> = reading!(self, pool => {
            sqlx::query_as(sql).bind(id.to_string()).fetch_optional(pool).await
        })?;
        let Some((Some(sealed), version)) = row else {
            return Ok(None);
        };
        let row = id.to_string();
        let secret = self.open_sealed(
            &secret_place(&row, version),
            "account.client_secret",
            sealed,
        )?;
        Ok(Some(secret))
    }

    fn seal_secret(&self, id: AccountId, version: i64, secret: &SecretString) -> Vec<u8> {
        self.seal(&secret_place(&id.to_string(), version), secret)
    }
}

impl Row {
    fn account(self) -> Result<Account, StoreError> {
        let expires_on = match &self.client_secret_expires_on {
            Some(text) => Some(
                text.parse::<NaiveDate>()
                    .map_err(|e| StoreError::corrupt("account.client_secret_expires_on", e))?,
            ),
            None => None,
        };
        let consent: Option<ConsentInfo> = match &self.consent {
            Some(text) => Some(
                serde_json::from_str(text)
                    .map_err(|e| StoreError::corrupt("account.consent", e))?,
            ),
            None => None,
        };
        Ok(Account {
            id: self
                .id
                .parse()
                .map_err(|e| StoreError::corrupt("account.id", e))?,
            workspace_id: self
                .workspace_id
                .parse()
                .map_err(|e| StoreError::corrupt("account.workspace_id", e))?,
            account_type: self
                .account_type
                .parse()
                .map_err(|e| StoreError::corrupt("account.type", e))?,
            name: self
                .name
                .parse()
                .map_err(|e| StoreError::corrupt("account.name", e))?,
            is_default: self.is_default,
            authorization_url: self.authorization_url,
            token_url: self.token_url,
            api_url: self.api_url,
            client_id: self.client_id,
            grant: self
                .grant_type
                .parse()
                .map_err(|e| StoreError::corrupt("account.grant_type", e))?,
            credentials: known_of(&self.credentials, self.client_secret_set_at, expires_on)?,
            rotation: self
                .refresh_token_rotation
                .parse()
                .map_err(|e| StoreError::corrupt("account.refresh_token_rotation", e))?,
            client_secret: self.client_secret_set_at.map(|set_at| SecretInfo {
                set_at: at(set_at),
                expires_on,
            }),
            consent,
            notes: self.notes,
            connection: Connection {
                state: self
                    .state
                    .parse()
                    .map_err(|e| StoreError::corrupt("account.state", e))?,
                since: at(self.state_since),
                reason: Reason::new(self.reason_code, self.reason_detail),
                next_attempt_at: self.next_attempt_at.map(at),
            },
            created_at: at(self.created_at),
            created_by: self.created_by,
            changed_at: at(self.changed_at),
            changed_by: self.changed_by,
            version: self.version,
        })
    }
}

/// Whether two addresses of a Web API are of one organization.
fn same_origin(one: &str, other: &str) -> bool {
    let origin = |url: &str| {
        // Scheme and authority end with the third slash (RFC 3986, section 3).
        let end = url
            .match_indices('/')
            .nth(2)
            .map_or(url.len(), |(at, _)| at);
        url.get(..end).unwrap_or(url).to_ascii_lowercase()
    };
    origin(one) == origin(other)
}

fn secret_place(row: &str, version: i64) -> AssociatedData<'_> {
    AssociatedData {
        table: "account",
        column: "client_secret",
        row,
        version,
    }
}

pub(crate) fn consent_text(tokens: Option<&NewTokens>) -> Option<String> {
    let consent = tokens?.consent.as_ref()?;
    serde_json::to_string(consent).ok()
}

/// An access token that came with the consent shows that the connection works.
fn first_state(tokens: Option<&NewTokens>) -> (ConnectionState, Reason) {
    match tokens {
        Some(tokens) if tokens.access_token.is_some() => (
            ConnectionState::Connected,
            Reason::new("consented", String::new()),
        ),
        _ => (
            ConnectionState::NotConnected,
            Reason::new("no-consent-yet", String::new()),
        ),
    }
}

/// When new tokens are looked at first: at once where nobody has seen them work, otherwise half way
/// to the end, so that an account that nobody uses is kept alive too.
fn first_renewal(tokens: &NewTokens, now: DateTime<Utc>) -> i64 {
    match (&tokens.access_token, tokens.access_expires_at) {
        (Some(_), Some(end)) => ms(now + (end - now) / 2),
        _ => ms(now),
    }
}

/// The names of what changed, for the audit log.
fn changed(
    before: &Account,
    settings: &AccountSettings,
    secret: &SecretChange,
    consented: bool,
) -> Vec<&'static str> {
    let expires_on = before
        .client_secret
        .as_ref()
        .and_then(|secret| secret.expires_on);
    [
        ("name", before.name != settings.name),
        ("default", settings.is_default && !before.is_default),
        (
            "authorization_url",
            before.authorization_url != settings.authorization_url,
        ),
        ("token_url", before.token_url != settings.token_url),
        ("api_url", before.api_url != settings.api_url),
        ("client_id", before.client_id != settings.client_id),
        ("grant", before.grant != settings.grant),
        (
            "refresh_token_rotation",
            before.rotation != settings.rotation,
        ),
        ("notes", before.notes != settings.notes),
        (
            "secret_expires_on",
            expires_on != settings.secret_expires_on,
        ),
        ("client_secret", !matches!(secret, SecretChange::Keep)),
        ("refresh_token", consented),
    ]
    .into_iter()
    .filter_map(|(name, differs)| differs.then_some(name))
    .chain(settings.credentials.iter().map(|(slot, _)| slot.as_str()))
    .collect()
}

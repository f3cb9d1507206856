//! Drafts: forms that were not applied yet.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tieline_core::{
    AccountId, ConsentInfo, CredentialInfo, CredentialSlot, DraftId, LadderReport, WorkspaceId,
};
use tieline_vault::AssociatedData;

use crate::account::{NewTokens, SecretChange, consent_text};
use crate::credential::known_text;
use crate::database::{Store, at, ms, reading, writing};
use crate::error::StoreError;

/// A form that was not applied yet.
#[derive(Debug, Clone)]
pub struct Draft {
    /// Its identifier.
    pub id: DraftId,
    /// Its workspace.
    pub workspace_id: WorkspaceId,
    /// Whose form it is.
    pub owner: String,
    /// The account that it edits; none for a new one.
    pub account_id: Option<AccountId>,
    /// The account's version when the form was filled from it.
    pub base_version: Option<i64>,
    /// The text as typed; never a secret.
    pub fields: Value,
    /// Whether it holds a client secret.
    pub has_secret: bool,
    /// Since when.
    pub secret_set_at: Option<DateTime<Utc>>,
    /// The credentials that it holds besides, as far as they are known without opening them.
    pub credentials: Vec<CredentialInfo>,
    /// The tokens of a consent.
    pub tokens: Option<DraftTokens>,
    /// The last connection test.
    pub report: Option<LadderReport>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

impl Draft {
    /// What is known of every credential that it holds, the first client secret among them.
    #[must_use]
    pub fn held(&self) -> Vec<CredentialInfo> {
        let first = self.secret_set_at.filter(|_| self.has_secret);
        let first = first.map(|at| CredentialInfo::new(CredentialSlot::ClientSecret, at));
        first.into_iter().chain(self.credentials.clone()).collect()
    }
}

/// What is known of a draft's tokens without opening them.
#[derive(Debug, Clone)]
pub struct DraftTokens {
    /// Who consented.
    pub consent: ConsentInfo,
}

/// The tokens as they are sealed, all in one.
#[derive(Serialize, Deserialize)]
struct SealedForm {
    refresh_token: Option<String>,
    access_token: Option<String>,
    access_expires_at: Option<i64>,
    scope: Option<String>,
    client_key: String,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    workspace_id: String,
    owner: String,
    account_key: String,
    base_version: Option<i64>,
    fields: String,
    client_secret_set_at: Option<i64>,
    credentials_known: Option<String>,
    consent: Option<String>,
    report: Option<String>,
    updated_at: i64,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, workspace_id, owner, account_key, base_version, fields, ",
            "client_secret_set_at, credentials_known, consent, report, updated_at FROM draft WHERE ",
            $rest
        )
    };
}

impl Store {
    /// The draft of an owner for an account, or for a new one.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn draft_for(
        &self,
        workspace: WorkspaceId,
        owner: &str,
        account: Option<AccountId>,
    ) -> Result<Option<Draft>, StoreError> {
        let sql = select!("workspace_id = $1 AND owner = $2 AND account_key = $3");
        let row: Option<Row> = reading!(self, pool => {
            sqlx::query_as(sql)
                .bind(workspace.to_string()).bind(owner).bind(account_key(account))
                .fetch_optional(pool).await
        })?;
        row.map(Row::draft).transpose()
    }

    /// A draft.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn draft(&self, id: DraftId) -> Result<Option<Draft>, StoreError> {
        let sql = select!("id = $1");
        let row: Option<Row> = reading!(self, pool => {
            sqlx::query_as(sql).bind(id.to_string()).fetch_optional(pool).await
        })?;
        row.map(Row::draft).transpose()
    }

    /// Keeps what was typed, and tells under which identifier: two tabs that begin a draft at the
    /// same time share the one that was there first. The tokens of a consent stay.
    ///
    /// # Errors
    /// When the database does not answer.
    #[expect(clippy::too_many_arguments, reason = "each is a column of its own")]
    pub async fn draft_save(
        &self,
        id: DraftId,
        workspace: WorkspaceId,
        owner: &str,
        account: Option<AccountId>,
        base_version: Option<i64>,
        fields: &Value,
        secret: SecretChange,
        now: DateTime<Utc>,
    ) -> Result<DraftId, StoreError> {
        let upsert = "INSERT INTO draft (id, workspace_id, owner, account_key, base_version, \
            fields, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7) \
            ON CONFLICT (workspace_id, owner, account_key) DO UPDATE SET \
            fields = excluded.fields, base_version = excluded.base_version, \
            updated_at = excluded.updated_at RETURNING id";
        let set = "UPDATE draft SET client_secret = $2, client_secret_set_at = $3 WHERE id = $1";
        let row = writing!(self, tx => {
            let row: String = sqlx::query_scalar(upsert)
                .bind(id.to_string()).bind(workspace.to_string()).bind(owner)
                .bind(account_key(account)).bind(base_version).bind(fields.to_string())
                .bind(ms(now)).fetch_one(&mut *tx).await?;
            let change = match &secret {
                SecretChange::Keep => None,
                SecretChange::Clear => Some((None, None)),
                SecretChange::Set(secret) => {
                    let place = place("client_secret", &row, ms(now));
                    Some((Some(self.seal(&place, secret)), Some(ms(now))))
                }
            };
            if let Some((sealed, set_at)) = change {
                sqlx::query(set).bind(&row).bind(sealed).bind(set_at).execute(&mut *tx).await?;
            }
            row
        });
        row.parse().map_err(|e| StoreError::corrupt("draft.id", e))
    }

    /// Keeps the tokens of a consent with the draft.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the draft is gone.
    pub async fn draft_set_tokens(
        &self,
        id: DraftId,
        tokens: NewTokens,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let row = id.to_string();
        let consent = consent_text(Some(&tokens));
        let form = SealedForm {
            refresh_token: tokens.refresh_token.map(|t| t.expose_secret().to_owned()),
            access_token: tokens.access_token.map(|t| t.expose_secret().to_owned()),
            access_expires_at: tokens.access_expires_at.map(ms),
            scope: tokens.scope,
            client_key: tokens.client_key,
        };
        let text = serde_json::to_string(&form).unwrap_or_default();
        let sealed = self.seal(&place("tokens", &row, ms(now)), &SecretString::from(text));
        let sql = "UPDATE draft SET tokens = $2, tokens_set_at = $3, \
                   consent = COALESCE($4, consent), updated_at = $3 WHERE id = $1";
        let done = writing!(self, tx => {
            sqlx::query(sql).bind(&row).bind(&sealed).bind(ms(now)).bind(consent)
                .execute(&mut *tx).await?.rows_affected()
        });
        if done == 1 {
            Ok(())
        } else {
            Err(StoreError::NotFound)
        }
    }

    /// Keeps a credential with the draft, or forgets the one that it holds.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the draft is gone.
    pub async fn draft_set_credential(
        &self,
        id: DraftId,
        slot: CredentialSlot,
        credential: Option<(SecretString, CredentialInfo)>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let draft = self.draft(id).await?.ok_or(StoreError::NotFound)?;
        let mut secrets = self.draft_credentials(id).await?;
        let mut known = draft.credentials;
        known.retain(|info| info.slot != slot);
        secrets.remove(&slot);
        if let Some((secret, info)) = credential {
            secrets.insert(slot, secret);
            known.push(info);
        }
        let texts: HashMap<CredentialSlot, &str> = secrets
            .iter()
            .map(|(slot, secret)| (*slot, secret.expose_secret()))
            .collect();
        let text = SecretString::from(serde_json::to_string(&texts).unwrap_or_default());
        let row = id.to_string();
        let sealed = self.seal(&place("credentials", &row, ms(now)), &text);
        let sql = "UPDATE draft SET credentials = $2, credentials_set_at = $3, \
                   credentials_known = $4, updated_at = $3 WHERE id = $1";
        writing!(self, tx => {
            sqlx::query(sql).bind(&row).bind(&sealed).bind(ms(now)).bind(known_text(&known))
                .execute(&mut *tx).await?;
        });
        Ok(())
    }

    /// The credentials that a draft holds besides the first client secret, opened.
    ///
    /// # Errors
    /// When the database does not answer, or they do not open.
    pub async fn draft_credentials(
        &self,
        id: DraftId,
    ) -> Result<HashMap<CredentialSlot, SecretString>, StoreError> {
        let sql = "SELECT credentials, credentials_set_at FROM draft WHERE id = $1";
        let Some(text) = self.draft_opened(sql, id, "credentials").await? else {
            return Ok(HashMap::new());
        };
        serde_json::from_str(text.expose_secret())
            .map_err(|_| StoreError::corrupt("draft.credentials", "they are not readable"))
    }

    /// Keeps the report of a connection test with the draft, if it is still there.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn draft_set_report(
        &self,
        id: DraftId,
        report: &LadderReport,
        _now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let text = serde_json::to_string(report).unwrap_or_default();
        let sql = "UPDATE draft SET report = $2 WHERE id = $1";
        writing!(self, tx => {
            sqlx::query(sql).bind(id.to_string()).bind(&text).execute(&mut *tx).await?;
        });
        Ok(())
    }

    /// The draft's client secret, opened.
    ///
    /// # Errors
    /// When the database does not answer, or the secret does not open.
    pub async fn draft_secret(&self, id: DraftId) -> Result<Option<SecretString>, StoreError> {
        let sql = "SELECT client_secret, client_secret_set_at FROM draft WHERE id = $1";
        self.draft_opened(sql, id, "client_secret").await
    }

    /// The draft's tokens, opened.
    ///
    /// # Errors
    /// When the database does not answer, or the tokens do not open.
    pub async fn draft_tokens(&self, id: DraftId) -> Result<Option<NewTokens>, StoreError> {
        let sql = "SELECT tokens, tokens_set_at FROM draft WHERE id = $1";
        let Some(text) = self.draft_opened(sql, id, "tokens").await? else {
            return Ok(None);
        };
        let form: SealedForm = serde_json::from_str(text.expose_secret())
            .map_err(|_| StoreError::corrupt("draft.tokens", "it is not readable"))?;
        let sql = "SELECT consent FROM draft WHERE id = $1";
        let consent: Option<String> = reading!(self, pool => {
            sqlx::query_scalar(sql).bind(id.to_string()).fetch_one(pool).await
        })?;
        Ok(Some(NewTokens {
            refresh_token: form.refresh_token.map(SecretString::from),
            access_token: form.access_token.map(SecretString::from),
            access_expires_at: form.access_expires_at.map(at),
            scope: form.scope,
            client_key: form.client_key,
            consent: consent.and_then(|text| serde_json::from_str(&text).ok()),
        }))
    }

    /// Forgets a draft.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn draft_delete(&self, id: DraftId) -> Result<(), StoreError> {
        let sql = "DELETE FROM draft WHERE id = $1";
        writing!(self, tx => {
            sqlx::query(sql).bind(id.to_string()).execute(&mut *tx).await?;
        });
        Ok(())
    }

    async fn draft_opened(
        &self,
        sql: &'static str,
        id: DraftId,
        column: &'static str,
    ) -> Result<Option<SecretString>, StoreError> {
        let row: Option<(Option<Vec<u8>>, Option<i64>)> = reading!(self, pool => {
            sqlx::query_as(sql).bind(id.to_string()).fetch_optional(pool).await
        })?;
        let Some((Some(sealed), Some(set_at))) = row else {
            return Ok(None);
        };
        let row = id.to_string();
        self.open_sealed(&place(column, &row, set_at), column, sealed)
            .map(Some)
    }
}

impl Row {
    fn draft(self) -> Result<Draft, StoreError> {
        let account_id = match self.account_key.as_str() {
            "" => None,
            key => Some(
                key.parse()
                    .map_err(|e| StoreError::corrupt("draft.account_key", e))?,
            ),
        };
        let consent: Option<ConsentInfo> = self
            .consent
            .and_then(|text| serde_json::from_str(&text).ok());
        Ok(Draft {
            id: self
                .id
                .parse()
                .map_err(|e| StoreError::corrupt("draft.id", e))?,
            workspace_id: self
                .workspace_id
                .parse()
                .map_err(|e| StoreError::corrupt("draft.workspace_id", e))?,
            owner: self.owner,
            account_id,
            base_version: self.base_version,
            fields: serde_json::from_str(&self.fields)
                .map_err(|e| StoreError::corrupt("draft.fields", e))?,
            has_secret: self.client_secret_set_at.is_some(),
            secret_set_at: self.client_secret_set_at.map(at),
            credentials: self
                .credentials_known
                .and_then(|text| serde_json::from_str(&text).ok())
                .unwrap_or_default(),
            tokens: consent.map(|consent| DraftTokens { consent }),
            // A report of an older version that is not readable is no loss.
            report: self
                .report
                .and_then(|text| serde_json::from_str(&text).ok()),
            updated_at: at(self.updated_at),
        })
    }
}

fn account_key(account: Option<AccountId>) -> String {
    account.map(|id| id.to_string()).unwrap_or_default()
}

fn place<'a>(column: &'a str, row: &'a str, set_at: i64) -> AssociatedData<'a> {
    AssociatedData {
        table: "draft",
        column,
        row,
        version: set_at,
    }
}

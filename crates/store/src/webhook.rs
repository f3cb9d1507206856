//! Webhooks. The secret is sealed; after a rotation the one before is kept for a while.

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde_json::json;
use tieline_core::{AccountId, Actor, DisabledReason, NoticeType, Webhook, WebhookId, WorkspaceId};
use tieline_vault::AssociatedData;

use crate::audit::note_audit;
use crate::database::{Store, at, ms, reading, text, writing};
use crate::error::StoreError;

/// What can be set of a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookSettings {
    /// Where notices are posted.
    pub url: String,
    /// What it is for.
    pub description: String,
    /// What it is told of.
    pub events: Vec<NoticeType>,
    /// The accounts it is told of; none means every account.
    pub accounts: Option<Vec<AccountId>>,
}

/// What notices are signed with.
#[derive(Debug, Clone)]
pub struct WebhookSecrets {
    /// The secret.
    pub current: SecretString,
    /// The one before, while it is still accepted.
    pub previous: Option<SecretString>,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, workspace_id, url, description, events, accounts, disabled_reason, ",
            "disabled_at, previous_secret_until, failing_since, last_success_at, created_at, ",
            "created_by FROM webhook WHERE ",
            $rest
        )
    };
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    workspace_id: String,
    url: String,
    description: String,
    events: String,
    accounts: Option<String>,
    disabled_reason: Option<String>,
    disabled_at: Option<i64>,
    previous_secret_until: Option<i64>,
    failing_since: Option<i64>,
    last_success_at: Option<i64>,
    created_at: i64,
    created_by: String,
}

type SecretRow = (Vec<u8>, i64, Option<Vec<u8>>, Option<i64>, Option<i64>);

impl Store {
    /// Adds a webhook.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn webhook_add(
        &self,
        workspace: WorkspaceId,
        id: WebhookId,
        settings: &WebhookSettings,
        secret: &SecretString,
        by: &Actor,
        now: DateTime<Utc>,
    ) -> Result<Webhook, StoreError> {
        let sealed = self.seal(&place(&id.to_string(), 1), secret);
        let sql = "INSERT INTO webhook (id, workspace_id, url, description, events, accounts, \
            secret, secret_version, created_at, created_by) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, 1, $8, $9)";
        writing!(self, tx => {
            sqlx::query(sql).bind(id.to_string()).bind(workspace.to_string())
                .bind(text(&settings.url)).bind(text(&settings.description))
                .bind(list(&settings.events)).bind(settings.accounts.as_ref().map(list))
                .bind(&sealed).bind(ms(now)).bind(by.to_string()).execute(&mut *tx).await?;
            note_audit!(tx, by, "webhook_added", "webhook", id, shown(&settings.url), json!({}), now);
        });
        self.webhook(id).await?.ok_or(StoreError::NotFound)
    }

    /// Changes a webhook.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none.
    pub async fn webhook_update(
        &self,
        id: WebhookId,
        settings: &WebhookSettings,
        by: &Actor,
        now: DateTime<Utc>,
    ) -> Result<Webhook, StoreError> {
        let sql = "UPDATE webhook SET url = $2, description = $3, events = $4, accounts = $5 \
                   WHERE id = $1";
        writing!(self, tx => {
            let done = sqlx::query(sql).bind(id.to_string()).bind(text(&settings.url))
                .bind(text(&settings.description)).bind(list(&settings.events))
                .bind(settings.accounts.as_ref().map(list)).execute(&mut *tx).await?;
            if done.rows_affected() == 0 {
                return Err(StoreError::NotFound);
            }
            note_audit!(tx, by, "webhook_changed", "webhook", id, shown(&settings.url), json!({}), now);
        });
        self.webhook(id).await?.ok_or(StoreError::NotFound)
    }

    /// Enables a webhook: it is told of what happens from now on.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none.
    pub async fn webhook_enable(
        &self,
        webhook: &Webhook,
        by: &Actor,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let id = webhook.id;
        let sql = "UPDATE webhook SET disabled_reason = NULL, disabled_at = NULL, \
                   failing_since = NULL, paused_until = NULL WHERE id = $1";
        writing!(self, tx => {
            let done = sqlx::query(sql).bind(id.to_string()).execute(&mut *tx).await?;
            if done.rows_affected() == 0 {
                return Err(StoreError::NotFound);
            }
            note_audit!(tx, by, "webhook_enabled", "webhook", id, shown(&webhook.url), json!({}), now);
        });
        Ok(())
    }

    /// Removes a webhook with the log of what it was told.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none.
    pub async fn webhook_remove(
        &self,
        webhook: &Webhook,
        by: &Actor,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let id = webhook.id.to_string();
        writing!(self, tx => {
            let done = sqlx::query("DELETE FROM webhook WHERE id = $1").bind(&id)
                .execute(&mut *tx).await?;
            if done.rows_affected() == 0 {
                return Err(StoreError::NotFound);
            }
            sqlx::query("DELETE FROM delivery WHERE target = $1").bind(&id)
                .execute(&mut *tx).await?;
            note_audit!(tx, by, "webhook_removed", "webhook", id, shown(&webhook.url), json!({}), now);
        });
        Ok(())
    }

    /// Puts another secret in place of the present one, which goes on signing until a moment.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none, [`StoreError::Stale`] when somebody else
    /// rotates at the same time.
    pub async fn webhook_rotate(
        &self,
        webhook: &Webhook,
        secret: &SecretString,
        previous_until: DateTime<Utc>,
        by: &Actor,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let id = webhook.id.to_string();
        let sql = "SELECT secret_version FROM webhook WHERE id = $1";
        let version: Option<i64> = reading!(self, pool => {
            sqlx::query_scalar(sql).bind(&id).fetch_optional(pool).await
        })?;
        let version = version.ok_or(StoreError::NotFound)?;
        let sealed = self.seal(&place(&id, version + 1), secret);
        let sql = "UPDATE webhook SET previous_secret = secret, \
            previous_secret_version = secret_version, previous_secret_until = $4, secret = $3, \
            secret_version = secret_version + 1 WHERE id = $1 AND secret_version = $2";
        writing!(self, tx => {
            let done = sqlx::query(sql).bind(&id).bind(version).bind(&sealed)
                .bind(ms(previous_until)).execute(&mut *tx).await?;
            if done.rows_affected() == 0 {
                return Err(StoreError::Stale);
            }
            note_audit!(tx, by, "webhook_secret_rotated", "webhook", id, shown(&webhook.url), json!({}), now);
        });
        Ok(())
    }

    /// The secrets of a webhook, opened.
    ///
    /// # Errors
    /// When the database does not answer, or a secret does not open.
    pub async fn webhook_secrets(
        &self,
        id: WebhookId,
        now: DateTime<Utc>,
    ) -> Result<Option<WebhookSecrets>, StoreError> {
        let sql = "SELECT secret, secret_version, previous_secret, previous_secret_version, \
                   previous_secret_until FROM webhook WHERE id = $1";
        let row: Option<SecretRow> = reading!(self, pool => {
            sqlx::query_as(sql).bind(id.to_string()).fetch_optional(pool).await
        })?;
        let Some((secret, version, previous, previous_version, until)) = row else {
            return Ok(None);
        };
        let row = id.to_string();
        let open =
            |sealed, version| self.open_sealed(&place(&row, version), "webhook.secret", sealed);
        let previous = match (previous, previous_version, until) {
            // It was sealed in its old place, and stays sealed for that.
            (Some(sealed), Some(version), Some(until)) if at(until) > now => {
                Some(open(sealed, version)?)
            }
            _ => None,
        };
        Ok(Some(WebhookSecrets {
            current: open(secret, version)?,
            previous,
        }))
    }

    /// A webhook.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn webhook(&self, id: WebhookId) -> Result<Option<Webhook>, StoreError> {
        let sql = select!("id = $1");
        let row: Option<Row> = reading!(self, pool => {
            sqlx::query_as(sql).bind(id.to_string()).fetch_optional(pool).await
        })?;
        row.map(Row::webhook).transpose()
    }

    /// The webhooks of a workspace, in the order in which they were added.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn webhooks(&self, workspace: WorkspaceId) -> Result<Vec<Webhook>, StoreError> {
        let sql = select!("workspace_id = $1 ORDER BY created_at, id");
        let rows: Vec<Row> = reading!(self, pool => {
            sqlx::query_as(sql).bind(workspace.to_string()).fetch_all(pool).await
        })?;
        rows.into_iter().map(Row::webhook).collect()
    }

    /// The webhooks that may be called now: enabled, and not asking for a pause.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn webhooks_open(&self, now: DateTime<Utc>) -> Result<Vec<WebhookId>, StoreError> {
        let sql = "SELECT id FROM webhook WHERE disabled_at IS NULL \
                   AND (paused_until IS NULL OR paused_until <= $1)";
        let rows: Vec<String> = reading!(self, pool => {
            sqlx::query_scalar(sql).bind(ms(now)).fetch_all(pool).await
        })?;
        rows.iter()
            .map(|id| id.parse().map_err(|e| StoreError::corrupt("webhook.id", e)))
            .collect()
    }
}

impl Row {
    fn webhook(self) -> Result<Webhook, StoreError> {
        let corrupt = |column| move |e: serde_json::Error| StoreError::corrupt(column, e);
        let id = self.id.parse();
        let workspace = self.workspace_id.parse();
        let disabled = match (self.disabled_reason, self.disabled_at) {
            (Some(word), Some(since)) => {
                let reason: DisabledReason = word
                    .parse()
                    .map_err(|e| StoreError::corrupt("webhook.disabled_reason", e))?;
                Some((reason, at(since)))
            }
            _ => None,
        };
        Ok(Webhook {
            id: id.map_err(|e| StoreError::corrupt("webhook.id", e))?,
            workspace_id: workspace.map_err(|e| StoreError::corrupt("webhook.workspace_id", e))?,
            url: self.url,
            description: self.description,
            events: serde_json::from_str(&self.events).map_err(corrupt("webhook.events"))?,
            accounts: match &self.accounts {
                Some(text) => {
                    Some(serde_json::from_str(text).map_err(corrupt("webhook.accounts"))?)
                }
                None => None,
            },
            disabled,
            previous_secret_until: self.previous_secret_until.map(at),
            failing_since: self.failing_since.map(at),
            last_success_at: self.last_success_at.map(at),
            created_at: at(self.created_at),
            created_by: self.created_by,
        })
    }
}

/// A URL without its query, which often holds a key.
pub(crate) fn shown(url: &str) -> &str {
    url.split_once('?').map_or(url, |(before, _)| before)
}

fn list<T: serde::Serialize>(items: &Vec<T>) -> String {
    serde_json::to_string(items).unwrap_or_default()
}

fn place(row: &str, version: i64) -> AssociatedData<'_> {
    AssociatedData {
        table: "webhook",
        column: "secret",
        row,
        version,
    }
}

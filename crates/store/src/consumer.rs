//! Consumers, their API keys, and what they used.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde_json::json;
use tieline_core::{
    AccountId, AccountName, Actor, ApiKeyId, ApiKeyInfo, Consumer, ConsumerGrant, ConsumerId,
    WorkspaceId,
};

use crate::audit::note_audit;
use crate::change::{ChangeKind, note_change};
use crate::database::{Store, at, ms, reading, writing};
use crate::error::StoreError;

/// Uses that are written in one transaction.
const USES_TOGETHER: usize = 256;

type Row = (String, String, String, String, String, i64);
type KeyRow = (String, String, String, i64, Option<i64>, Option<i64>);

impl Store {
    /// Adds a consumer with its first keys.
    ///
    /// # Errors
    /// [`StoreError::NameTaken`] when the name is.
    #[expect(clippy::too_many_arguments, reason = "each is a column of its own")]
    pub async fn consumer_add(
        &self,
        workspace: WorkspaceId,
        id: ConsumerId,
        name: &str,
        grant: &ConsumerGrant,
        keys: &[(ApiKeyId, [u8; 32], String)],
        by: &Actor,
        now: DateTime<Utc>,
    ) -> Result<Consumer, StoreError> {
        let grants = serde_json::to_string(grant).unwrap_or_default();
        let sql = "INSERT INTO consumer (id, workspace_id, name, name_key, grants, created_at) \
                   VALUES ($1, $2, $3, $4, $5, $6)";
        writing!(self, tx => {
            sqlx::query(sql)
                .bind(id.to_string()).bind(workspace.to_string()).bind(name)
                .bind(AccountName::key_of(name)).bind(&grants).bind(ms(now))
                .execute(&mut *tx).await?;
            for (key, hash, prefix) in keys {
                sqlx::query(ADD_KEY)
                    .bind(key.to_string()).bind(id.to_string()).bind(hash.to_vec())
                    .bind(prefix).bind(ms(now)).execute(&mut *tx).await?;
            }
            note_audit!(tx, by, "consumer_added", "consumer", id, name, json!({}), now);
            note_change!(tx, ChangeKind::Consumer, id, 0_i64, now);
        });
        self.consumer(id).await?.ok_or(StoreError::NotFound)
    }

    /// The consumers of a workspace, by name.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn consumers(&self, workspace: WorkspaceId) -> Result<Vec<Consumer>, StoreError> {
        let sql = "SELECT id, workspace_id, name, grants, limits, created_at FROM consumer \
                   WHERE workspace_id = $1 ORDER BY name_key";
        let rows: Vec<Row> = reading!(self, pool => {
            sqlx::query_as(sql).bind(workspace.to_string()).fetch_all(pool).await
        })?;
        let sql = "SELECT consumer_id, id, prefix, created_at, revoked_at, last_used_at \
                   FROM api_key ORDER BY created_at, id";
        let keys: Vec<KeyRow> = reading!(self, pool => sqlx::query_as(sql).fetch_all(pool).await)?;
        let mut by_consumer: HashMap<String, Vec<ApiKeyInfo>> = HashMap::new();
        for key in keys {
            by_consumer
                .entry(key.0.clone())
                .or_default()
                .push(key_info(key)?);
        }
        rows.into_iter()
            .map(|row| {
                let keys = by_consumer.remove(&row.0).unwrap_or_default();
                consumer(row, keys)
            })
            .collect()
    }

    /// A consumer.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn consumer(&self, id: ConsumerId) -> Result<Option<Consumer>, StoreError> {
        let sql =
            "SELECT id, workspace_id, name, grants, limits, created_at FROM consumer WHERE id = $1";
        let row: Option<Row> = reading!(self, pool => {
            sqlx::query_as(sql).bind(id.to_string()).fetch_optional(pool).await
        })?;
        let Some(row) = row else { return Ok(None) };
        let sql = "SELECT consumer_id, id, prefix, created_at, revoked_at, last_used_at \
                   FROM api_key WHERE consumer_id = $1 ORDER BY created_at, id";
        let keys: Vec<KeyRow> = reading!(self, pool => {
            sqlx::query_as(sql).bind(id.to_string()).fetch_all(pool).await
        })?;
        let keys = keys.into_iter().map(key_info).collect::<Result<_, _>>()?;
        consumer(row, keys).map(Some)
    }

    /// Removes a consumer with its keys.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none.
    pub async fn consumer_remove(
        &self,
        id: ConsumerId,
        by: &Actor,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let consumer = self.consumer(id).await?.ok_or(StoreError::NotFound)?;
        writing!(self, tx => {
            sqlx::query("DELETE FROM consumer WHERE id = $1").bind(id.to_string())
                .execute(&mut *tx).await?;
            note_audit!(tx, by, "consumer_removed", "consumer", id, &consumer.name, json!({}), now);
            note_change!(tx, ChangeKind::Consumer, id, 0_i64, now);
        });
        Ok(())
    }

    /// Adds a key.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such consumer.
    pub async fn api_key_add(
        &self,
        consumer: ConsumerId,
        id: ApiKeyId,
        hash: [u8; 32],
        prefix: &str,
        by: &Actor,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let owner = self.consumer(consumer).await?.ok_or(StoreError::NotFound)?;
        writing!(self, tx => {
            sqlx::query(ADD_KEY)
                .bind(id.to_string()).bind(consumer.to_string()).bind(hash.to_vec())
                .bind(prefix).bind(ms(now)).execute(&mut *tx).await?;
            let detail = json!({ "prefix": prefix });
            note_audit!(tx, by, "api_key_added", "consumer", consumer, &owner.name, detail, now);
            note_change!(tx, ChangeKind::Consumer, consumer, 0_i64, now);
        });
        Ok(())
    }

    /// Revokes a key. One that is revoked already stays so.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such consumer, or it has no such key.
    pub async fn api_key_revoke(
        &self,
        consumer: ConsumerId,
        id: ApiKeyId,
        by: &Actor,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let owner = self.consumer(consumer).await?.ok_or(StoreError::NotFound)?;
        if !owner.keys.iter().any(|key| key.id == id) {
            return Err(StoreError::NotFound);
        }
        let sql = "UPDATE api_key SET revoked_at = $3 \
                   WHERE id = $1 AND consumer_id = $2 AND revoked_at IS NULL";
        writing!(self, tx => {
            sqlx::query(sql).bind(id.to_string()).bind(consumer.to_string()).bind(ms(now))
                .execute(&mut *tx).await?;
            let detail = json!({ "key": id.to_string() });
            note_audit!(tx, by, "api_key_revoked", "consumer", consumer, &owner.name, detail, now);
            note_change!(tx, ChangeKind::Consumer, consumer, 0_i64, now);
        });
        Ok(())
    }

    /// Whose key this is. None when it is unknown or revoked.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn api_key_owner(
        &self,
        hash: [u8; 32],
    ) -> Result<Option<(ApiKeyId, Consumer)>, StoreError> {
        let sql = "SELECT id, consumer_id FROM api_key WHERE hash = $1 AND revoked_at IS NULL";
        let row: Option<(String, String)> = reading!(self, pool => {
            sqlx::query_as(sql).bind(hash.to_vec()).fetch_optional(pool).await
        })?;
        let Some((key, consumer)) = row else {
            return Ok(None);
        };
        let key = key
            .parse()
            .map_err(|e| StoreError::corrupt("api_key.id", e))?;
        let id = consumer
            .parse()
            .map_err(|e| StoreError::corrupt("api_key.consumer_id", e))?;
        Ok(self.consumer(id).await?.map(|consumer| (key, consumer)))
    }

    /// Writes down when keys were used.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn api_keys_used(
        &self,
        uses: &[(ApiKeyId, DateTime<Utc>)],
    ) -> Result<(), StoreError> {
        let sql = "UPDATE api_key SET last_used_at = $2 \
                   WHERE id = $1 AND COALESCE(last_used_at, $2) <= $2";
        writing!(self, tx => {
            for (key, used_at) in uses {
                sqlx::query(sql).bind(key.to_string()).bind(ms(*used_at)).execute(&mut *tx).await?;
            }
        });
        Ok(())
    }

    /// Writes down which consumers used which accounts. Those removed meanwhile are passed over.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn consumer_uses(
        &self,
        uses: &[(ConsumerId, AccountId, DateTime<Utc>)],
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO consumer_use (consumer_id, account_id, last_used_at) \
                   SELECT c.id, a.id, $3 FROM consumer c, account a \
                   WHERE c.id = $1 AND a.id = $2 \
                   ON CONFLICT (account_id, consumer_id) \
                   DO UPDATE SET last_used_at = excluded.last_used_at \
                   WHERE consumer_use.last_used_at < excluded.last_used_at";
        // A hundred thousand accounts may have been used: renewals get their turn in between.
        for uses in uses.chunks(USES_TOGETHER) {
            writing!(self, tx => {
                for (consumer, account, used_at) in uses {
                    sqlx::query(sql).bind(consumer.to_string()).bind(account.to_string())
                        .bind(ms(*used_at)).execute(&mut *tx).await?;
                }
            });
        }
        Ok(())
    }

    /// Names of the consumers that used an account since then.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn account_used_by(
        &self,
        account: AccountId,
        since: DateTime<Utc>,
    ) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT c.name FROM consumer_use u JOIN consumer c ON c.id = u.consumer_id \
                   WHERE u.account_id = $1 AND u.last_used_at >= $2 ORDER BY c.name_key";
        Ok(reading!(self, pool => {
            sqlx::query_scalar(sql).bind(account.to_string()).bind(ms(since)).fetch_all(pool).await
        })?)
    }
}

const ADD_KEY: &str = "INSERT INTO api_key (id, consumer_id, hash, prefix, created_at) \
                       VALUES ($1, $2, $3, $4, $5)";

fn consumer(
    (id, workspace, name, grants, limits, created_at): Row,
    keys: Vec<ApiKeyInfo>,
) -> Result<Consumer, StoreError> {
    Ok(Consumer {
        id: id
            .parse()
            .map_err(|e| StoreError::corrupt("consumer.id", e))?,
        workspace_id: workspace
            .parse()
            .map_err(|e| StoreError::corrupt("consumer.workspace_id", e))?,
        name,
        grant: serde_json::from_str(&grants)
            .map_err(|e| StoreError::corrupt("consumer.grants", e))?,
        limits: serde_json::from_str(&limits)
            .map_err(|e| StoreError::corrupt("consumer.limits", e))?,
        keys,
        created_at: at(created_at),
    })
}

fn key_info(
    (_, id, prefix, created_at, revoked_at, last_used_at): KeyRow,
) -> Result<ApiKeyInfo, StoreError> {
    Ok(ApiKeyInfo {
        id: id
            .parse()
            .map_err(|e| StoreError::corrupt("api_key.id", e))?,
        prefix,
        created_at: at(created_at),
        revoked_at: revoked_at.map(at),
        last_used_at: last_used_at.map(at),
    })
}

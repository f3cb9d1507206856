//! The audit log.

use chrono::{DateTime, Utc};
use tieline_core::{Actor, AuditEvent, AuditId};

use crate::database::{Store, at, reading};
use crate::error::StoreError;

/// Writes an audit event within a transaction.
macro_rules! note_audit {
    ($tx:expr, $by:expr, $operation:expr, $kind:expr, $id:expr, $name:expr, $detail:expr, $now:expr) => {
        sqlx::query(
            "INSERT INTO audit_event (id, at, actor, operation, item_kind, item_id, item_name, detail) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(tieline_core::AuditId::generate($now).to_string())
        .bind($crate::database::ms($now))
        .bind($crate::audit::actor_text($by))
        .bind($operation)
        .bind($kind)
        .bind($id.to_string())
        .bind($name)
        .bind($detail.to_string())
        .execute(&mut *$tx)
        .await?
    };
}
pub(crate) use note_audit;

/// The actor as it stands in the database.
pub(crate) fn actor_text(actor: &Actor) -> String {
    serde_json::to_string(actor).unwrap_or_default()
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    at: i64,
    actor: String,
    operation: String,
    item_kind: String,
    item_id: Option<String>,
    item_name: String,
    detail: String,
}

impl Store {
    /// The latest events, latest first; before `before`, where it is given.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn audit(
        &self,
        limit: u32,
        before: Option<AuditId>,
    ) -> Result<Vec<AuditEvent>, StoreError> {
        let sql = "SELECT id, at, actor, operation, item_kind, item_id, item_name, detail \
                   FROM audit_event WHERE $1 IS NULL OR seq < \
                   (SELECT seq FROM audit_event WHERE id = $1) ORDER BY seq DESC LIMIT $2";
        let before = before.map(|id| id.to_string());
        let rows: Vec<Row> = reading!(self, pool => {
            sqlx::query_as(sql).bind(before).bind(i64::from(limit)).fetch_all(pool).await
        })?;
        rows.into_iter().map(Row::event).collect()
    }

    /// The time of the latest event; for tests of what is written.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn audit_latest(&self) -> Result<Option<DateTime<Utc>>, StoreError> {
        Ok(self.audit(1, None).await?.first().map(|event| event.at))
    }
}

impl Row {
    fn event(self) -> Result<AuditEvent, StoreError> {
        Ok(AuditEvent {
            id: self
                .id
                .parse()
                .map_err(|e| StoreError::corrupt("audit_event.id", e))?,
            at: at(self.at),
            actor: serde_json::from_str(&self.actor)
                .map_err(|e| StoreError::corrupt("audit_event.actor", e))?,
            operation: self.operation,
            item_kind: self.item_kind,
            item_id: self.item_id,
            item_name: self.item_name,
            detail: serde_json::from_str(&self.detail).unwrap_or_default(),
        })
    }
}

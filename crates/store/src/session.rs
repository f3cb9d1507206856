//! Sessions of the console. A token is stored by its hash only.

use chrono::{DateTime, Utc};
use tieline_core::{SessionId, User, UserId};

use crate::database::{Store, ms, reading, writing};
use crate::error::StoreError;

impl Store {
    /// Begins a session, and forgets those that have ended.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn session_add(
        &self,
        token_hash: [u8; 32],
        id: SessionId,
        user: UserId,
        now: DateTime<Utc>,
        expires_at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO session (token_hash, id, user_id, created_at, expires_at) \
                   VALUES ($1, $2, $3, $4, $5)";
        writing!(self, tx => {
            sqlx::query("DELETE FROM session WHERE expires_at <= $1").bind(ms(now))
                .execute(&mut *tx).await?;
            sqlx::query(sql)
                .bind(token_hash.to_vec()).bind(id.to_string()).bind(user.to_string())
                .bind(ms(now)).bind(ms(expires_at)).execute(&mut *tx).await?;
        });
        Ok(())
    }

    /// A session that has not ended, and its user.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn session(
        &self,
        token_hash: [u8; 32],
        now: DateTime<Utc>,
    ) -> Result<Option<(SessionId, User)>, StoreError> {
        let sql = "SELECT id, user_id FROM session WHERE token_hash = $1 AND expires_at > $2";
        let row: Option<(String, String)> = reading!(self, pool => {
            sqlx::query_as(sql).bind(token_hash.to_vec()).bind(ms(now)).fetch_optional(pool).await
        })?;
        let Some((id, user)) = row else {
            return Ok(None);
        };
        let id = id
            .parse()
            .map_err(|e| StoreError::corrupt("session.id", e))?;
        let user = user
            .parse()
            .map_err(|e| StoreError::corrupt("session.user_id", e))?;
        Ok(self.user(user).await?.map(|user| (id, user)))
    }

    /// Ends a session.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn session_delete(&self, token_hash: [u8; 32]) -> Result<(), StoreError> {
        let sql = "DELETE FROM session WHERE token_hash = $1";
        writing!(self, tx => {
            sqlx::query(sql).bind(token_hash.to_vec()).execute(&mut *tx).await?;
        });
        Ok(())
    }
}

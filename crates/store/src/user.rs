//! Users of the console.

use chrono::{DateTime, Utc};
use serde_json::json;
use tieline_core::{Actor, Email, Language, Role, User, UserId};

use crate::audit::note_audit;
use crate::change::{ChangeKind, note_change};
use crate::database::{Store, at, ms, reading, writing};
use crate::error::StoreError;

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    email: String,
    password_hash: String,
    role: String,
    language: Option<String>,
    created_at: i64,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, email, password_hash, role, language, created_at FROM app_user ",
            $rest
        )
    };
}

impl Store {
    /// Adds a user.
    ///
    /// # Errors
    /// [`StoreError::NameTaken`] when the address is.
    pub async fn user_add(
        &self,
        id: UserId,
        email: &Email,
        password_hash: &str,
        role: Role,
        by: &Actor,
        now: DateTime<Utc>,
    ) -> Result<User, StoreError> {
        let sql = "INSERT INTO app_user (id, email, password_hash, role, created_at) \
                   VALUES ($1, $2, $3, $4, $5)";
        writing!(self, tx => {
            sqlx::query(sql)
                .bind(id.to_string()).bind(email.as_str()).bind(password_hash)
                .bind(role.as_str()).bind(ms(now)).execute(&mut *tx).await?;
            let detail = json!({ "role": role.as_str() });
            note_audit!(tx, by, "user_added", "user", id, email.as_str(), detail, now);
            note_change!(tx, ChangeKind::User, id, 0_i64, now);
        });
        self.user(id).await?.ok_or(StoreError::NotFound)
    }

    /// A user and the hash of their password, by address.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn user_by_email(&self, email: &Email) -> Result<Option<(User, String)>, StoreError> {
        let sql = select!("WHERE email = $1");
        let row: Option<Row> = reading!(self, pool => {
            sqlx::query_as(sql).bind(email.as_str()).fetch_optional(pool).await
        })?;
        row.map(|row| {
            let hash = row.password_hash.clone();
            row.user().map(|user| (user, hash))
        })
        .transpose()
    }

    /// A user.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn user(&self, id: UserId) -> Result<Option<User>, StoreError> {
        let sql = select!("WHERE id = $1");
        let row: Option<Row> = reading!(self, pool => {
            sqlx::query_as(sql).bind(id.to_string()).fetch_optional(pool).await
        })?;
        row.map(Row::user).transpose()
    }

    /// The users, by address.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn users(&self) -> Result<Vec<User>, StoreError> {
        let sql = select!("ORDER BY email");
        let rows: Vec<Row> = reading!(self, pool => sqlx::query_as(sql).fetch_all(pool).await)?;
        rows.into_iter().map(Row::user).collect()
    }

    /// How many users there are.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn user_count(&self) -> Result<i64, StoreError> {
        let sql = "SELECT COUNT(*) FROM app_user";
        Ok(reading!(self, pool => sqlx::query_scalar(sql).fetch_one(pool).await)?)
    }

    /// Chooses a user's language.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such user.
    pub async fn user_set_language(
        &self,
        id: UserId,
        language: Language,
    ) -> Result<(), StoreError> {
        let sql = "UPDATE app_user SET language = $2 WHERE id = $1";
        let done = writing!(self, tx => {
            sqlx::query(sql).bind(id.to_string()).bind(language.tag()).execute(&mut *tx).await?
                .rows_affected()
        });
        if done == 1 {
            Ok(())
        } else {
            Err(StoreError::NotFound)
        }
    }

    /// Sets a user's password and ends their sessions.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such user.
    pub async fn user_set_password(
        &self,
        id: UserId,
        password_hash: &str,
        by: &Actor,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let user = self.user(id).await?.ok_or(StoreError::NotFound)?;
        writing!(self, tx => {
            sqlx::query("UPDATE app_user SET password_hash = $2 WHERE id = $1")
                .bind(id.to_string()).bind(password_hash).execute(&mut *tx).await?;
            sqlx::query("DELETE FROM session WHERE user_id = $1")
                .bind(id.to_string()).execute(&mut *tx).await?;
            note_audit!(tx, by, "password_set", "user", id, user.email.as_str(), json!({}), now);
            note_change!(tx, ChangeKind::User, id, 0_i64, now);
        });
        Ok(())
    }

    /// Changes a user's role.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such user.
    pub async fn user_set_role(
        &self,
        id: UserId,
        role: Role,
        by: &Actor,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let user = self.user(id).await?.ok_or(StoreError::NotFound)?;
        writing!(self, tx => {
            sqlx::query("UPDATE app_user SET role = $2 WHERE id = $1")
                .bind(id.to_string()).bind(role.as_str()).execute(&mut *tx).await?;
            let detail = json!({ "role": role.as_str() });
            note_audit!(tx, by, "role_set", "user", id, user.email.as_str(), detail, now);
            note_change!(tx, ChangeKind::User, id, 0_i64, now);
        });
        Ok(())
    }

    /// Removes a user, their sessions and what they had typed.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such user.
    pub async fn user_remove(
        &self,
        id: UserId,
        by: &Actor,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let user = self.user(id).await?.ok_or(StoreError::NotFound)?;
        writing!(self, tx => {
            sqlx::query("DELETE FROM app_user WHERE id = $1").bind(id.to_string())
                .execute(&mut *tx).await?;
            sqlx::query("DELETE FROM draft WHERE owner = $1").bind(id.to_string())
                .execute(&mut *tx).await?;
            note_audit!(tx, by, "user_removed", "user", id, user.email.as_str(), json!({}), now);
            note_change!(tx, ChangeKind::User, id, 0_i64, now);
        });
        Ok(())
    }
}

impl Row {
    fn user(self) -> Result<User, StoreError> {
        Ok(User {
            id: self
                .id
                .parse()
                .map_err(|e| StoreError::corrupt("app_user.id", e))?,
            email: self
                .email
                .parse()
                .map_err(|e| StoreError::corrupt("app_user.email", e))?,
            role: self
                .role
                .parse()
                .map_err(|e| StoreError::corrupt("app_user.role", e))?,
            language: self.language.as_deref().and_then(Language::from_tag),
            created_at: at(self.created_at),
        })
    }
}

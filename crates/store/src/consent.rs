//! Consents that are under way.

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tieline_core::{AccountId, DraftId};
use tieline_vault::AssociatedData;

use crate::database::{Store, at, ms, reading, writing};
use crate::error::StoreError;

/// How long an ended consent is remembered, so that a second visit is told apart from a stranger.
const REMEMBERED: TimeDelta = TimeDelta::hours(24);

/// Where the tokens of a consent go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConsentTarget {
    /// To a form.
    Draft(DraftId),
    /// To an account.
    Account(AccountId),
}

/// A consent that begins.
#[derive(Debug)]
pub struct NewConsent {
    /// Hash of the state.
    pub state_hash: [u8; 32],
    /// Where the tokens go.
    pub target: ConsentTarget,
    /// Hash of the browser's session.
    pub session_binding: Option<[u8; 32]>,
    /// PKCE verifier.
    pub verifier: SecretString,
    /// Nonce of the id token.
    pub nonce: String,
    /// As sent to Microsoft.
    pub redirect_uri: String,
    /// As sent to Microsoft.
    pub authorization_url: String,
    /// Where the code is redeemed.
    pub token_url: String,
    /// What it is for.
    pub api_url: String,
    /// As sent to Microsoft.
    pub client_id: String,
    /// `user` or `organization`.
    pub mode: String,
    /// When it is too late.
    pub expires_at: DateTime<Utc>,
}

/// A consent that was taken up.
#[derive(Debug)]
pub struct Consent {
    /// Where the tokens go.
    pub target: ConsentTarget,
    /// Hash of the browser's session.
    pub session_binding: Option<[u8; 32]>,
    /// PKCE verifier.
    pub verifier: SecretString,
    /// Nonce of the id token.
    pub nonce: String,
    /// As sent to Microsoft.
    pub redirect_uri: String,
    /// As sent to Microsoft.
    pub authorization_url: String,
    /// Where the code is redeemed.
    pub token_url: String,
    /// What it is for.
    pub api_url: String,
    /// As sent to Microsoft.
    pub client_id: String,
    /// `user` or `organization`.
    pub mode: String,
}

/// What became of taking a consent up.
#[derive(Debug)]
pub enum TakeConsent {
    /// It is ours now, and nobody else's.
    Taken(Box<Consent>),
    /// There is none.
    Unknown,
    /// It is too old.
    Expired,
    /// Somebody took it before.
    UsedBefore,
}

#[derive(sqlx::FromRow)]
struct Row {
    target: String,
    session_binding: Option<Vec<u8>>,
    verifier: Vec<u8>,
    nonce: String,
    redirect_uri: String,
    authorization_url: String,
    token_url: String,
    api_url: String,
    client_id: String,
    mode: String,
    expires_at: i64,
    used_at: Option<i64>,
}

impl Store {
    /// Writes a consent down, and forgets old ones.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn consent_begin(
        &self,
        consent: &NewConsent,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let hash = consent.state_hash.to_vec();
        let row = hex(&consent.state_hash);
        let verifier = self.seal(&place(&row), &consent.verifier);
        let target = serde_json::to_string(&consent.target).unwrap_or_default();
        let sql = "INSERT INTO consent (state_hash, target, session_binding, verifier, nonce, \
            redirect_uri, authorization_url, token_url, api_url, client_id, mode, created_at, \
            expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
        writing!(self, tx => {
            sqlx::query("DELETE FROM consent WHERE expires_at < $1")
                .bind(ms(now - REMEMBERED)).execute(&mut *tx).await?;
            sqlx::query(sql)
                .bind(&hash).bind(&target)
                .bind(consent.session_binding.map(|hash| hash.to_vec()))
                .bind(&verifier).bind(&consent.nonce).bind(&consent.redirect_uri)
                .bind(&consent.authorization_url).bind(&consent.token_url)
                .bind(&consent.api_url).bind(&consent.client_id).bind(&consent.mode)
                .bind(ms(now)).bind(ms(consent.expires_at)).execute(&mut *tx).await?;
        });
        Ok(())
    }

    /// Takes a consent up: once, and in time.
    ///
    /// # Errors
    /// When the database does not answer, or the verifier does not open.
    pub async fn consent_take(
        &self,
        state_hash: [u8; 32],
        now: DateTime<Utc>,
    ) -> Result<TakeConsent, StoreError> {
        let hash = state_hash.to_vec();
        let take = "UPDATE consent SET used_at = $2 \
                    WHERE state_hash = $1 AND used_at IS NULL AND expires_at > $2";
        let done = writing!(self, tx => {
            sqlx::query(take).bind(&hash).bind(ms(now)).execute(&mut *tx).await?.rows_affected()
        });
        let sql = "SELECT target, session_binding, verifier, nonce, redirect_uri, \
                   authorization_url, token_url, api_url, client_id, mode, expires_at, used_at \
                   FROM consent WHERE state_hash = $1";
        let row: Option<Row> = reading!(self, pool => {
            sqlx::query_as(sql).bind(&hash).fetch_optional(pool).await
        })?;
        match row {
            None => Ok(TakeConsent::Unknown),
            Some(row) if done == 1 => {
                let consent = self.consent_opened(&hex(&state_hash), row)?;
                Ok(TakeConsent::Taken(Box::new(consent)))
            }
            Some(row) if row.used_at.is_none() && at(row.expires_at) <= now => {
                Ok(TakeConsent::Expired)
            }
            Some(_) => Ok(TakeConsent::UsedBefore),
        }
    }

    /// Writes down how a consent ended.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn consent_finish(
        &self,
        state_hash: [u8; 32],
        outcome: &Value,
        _now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let sql = "UPDATE consent SET outcome = $2 WHERE state_hash = $1";
        writing!(self, tx => {
            sqlx::query(sql).bind(state_hash.to_vec()).bind(outcome.to_string())
                .execute(&mut *tx).await?;
        });
        Ok(())
    }

    /// How a consent ended.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn consent_outcome(&self, state_hash: [u8; 32]) -> Result<Option<Value>, StoreError> {
        let sql = "SELECT outcome FROM consent WHERE state_hash = $1";
        let outcome: Option<Option<String>> = reading!(self, pool => {
            sqlx::query_scalar(sql).bind(state_hash.to_vec()).fetch_optional(pool).await
        })?;
        Ok(outcome
            .flatten()
            .and_then(|text| serde_json::from_str(&text).ok()))
    }

    fn consent_opened(&self, key: &str, row: Row) -> Result<Consent, StoreError> {
        let session_binding = match row.session_binding {
            Some(bytes) => Some(
                <[u8; 32]>::try_from(bytes.as_slice())
                    .map_err(|e| StoreError::corrupt("consent.session_binding", e))?,
            ),
            None => None,
        };
        Ok(Consent {
            target: serde_json::from_str(&row.target)
                .map_err(|e| StoreError::corrupt("consent.target", e))?,
            session_binding,
            verifier: self.open_sealed(&place(key), "consent.verifier", row.verifier)?,
            nonce: row.nonce,
            redirect_uri: row.redirect_uri,
            authorization_url: row.authorization_url,
            token_url: row.token_url,
            api_url: row.api_url,
            client_id: row.client_id,
            mode: row.mode,
        })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn place(row: &str) -> AssociatedData<'_> {
    AssociatedData {
        table: "consent",
        column: "verifier",
        row,
        version: 1,
    }
}

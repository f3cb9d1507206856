//! The history of accounts: the single door by which events come in, and how it is read.
//!
//! Whoever writes an event writes what is told of it, in the same transaction: a notice that has
//! no event, or an event that nobody hears of, cannot be.

use chrono::{DateTime, TimeDelta, Utc};
use tieline_core::{AccountEvent, AccountId, EventId, Reason, WorkspaceId};

use crate::database::{Store, at, ms, reading, writing};
use crate::error::StoreError;

/// How long a history is kept: a year, and what it takes to compare it with the one before. An
/// account's latest entry stays for as long as the account does.
pub const EVENTS_KEPT: TimeDelta = TimeDelta::days(400);
/// Entries kept for each account. An account whose connection comes and goes every quarter of an
/// hour fills this in three weeks; nobody scrolls further back than that by the entry.
pub const EVENTS_PER_ACCOUNT: i64 = 2_000;

/// Writes an entry of the history within a transaction, with what is told of it.
macro_rules! note_event {
    ($tx:expr, $account:expr, $from:expr, $to:expr, $reason:expr, $now:expr) => {{
        let id = tieline_core::EventId::generate($now);
        let from: Option<String> = $from;
        let to: &str = $to;
        sqlx::query(
            "INSERT INTO account_event \
             (id, account_id, at, from_state, to_state, reason_code, reason_detail) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(id.to_string())
        .bind($account.to_string())
        .bind($crate::database::ms($now))
        .bind(from.as_deref())
        .bind(to)
        .bind(&$reason.code)
        .bind($crate::database::text(&$reason.detail))
        .execute(&mut *$tx)
        .await?;
        sqlx::query($crate::event::TRIM)
            .bind($account.to_string())
            .bind($crate::event::EVENTS_PER_ACCOUNT)
            .execute(&mut *$tx)
            .await?;
        $crate::outbox::tell_of_event!($tx, id, $account, from.as_deref(), to, $reason, $now);
    }};
}
pub(crate) use note_event;

/// Drops what an account has above its number of entries.
pub(crate) const TRIM: &str = "DELETE FROM account_event WHERE account_id = $1 AND seq <= \
    (SELECT seq FROM account_event WHERE account_id = $1 ORDER BY seq DESC LIMIT 1 OFFSET $2)";

/// An entry of a history with the moment at which the next one came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimedEvent {
    /// The entry.
    pub event: AccountEvent,
    /// When the next one came; none for the latest.
    pub until: Option<DateTime<Utc>>,
}

/// Which part of a history is wanted. Latest first.
#[derive(Debug, Clone, Copy, Default)]
pub struct EventRange {
    /// Entries older than this one.
    pub before: Option<EventId>,
    /// Entries from this moment on.
    pub since: Option<DateTime<Utc>>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    account_id: String,
    at: i64,
    from_state: Option<String>,
    to_state: String,
    reason_code: String,
    reason_detail: String,
    until_at: Option<i64>,
}

impl Store {
    /// A part of an account's history, latest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn account_timeline(
        &self,
        id: AccountId,
        range: EventRange,
        limit: u32,
    ) -> Result<Vec<TimedEvent>, StoreError> {
        let sql = "SELECT e.id, e.account_id, e.at, e.from_state, e.to_state, e.reason_code, \
                   e.reason_detail, (SELECT n.at FROM account_event n \
                   WHERE n.account_id = e.account_id AND n.seq > e.seq ORDER BY n.seq LIMIT 1) \
                   AS until_at FROM account_event e WHERE e.account_id = $1 \
                   AND ($2 IS NULL OR e.seq < (SELECT c.seq FROM account_event c WHERE c.id = $2)) \
                   AND ($3 IS NULL OR e.at >= $3) ORDER BY e.seq DESC LIMIT $4";
        let before = range.before.map(|id| id.to_string());
        let rows: Vec<Row> = reading!(self, pool => {
            sqlx::query_as(sql)
                .bind(id.to_string())
                .bind(before)
                .bind(range.since.map(ms))
                .bind(i64::from(limit))
                .fetch_all(pool)
                .await
        })?;
        rows.into_iter().map(Row::timed).collect()
    }

    /// The latest entries of an account's history, latest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn account_events(
        &self,
        id: AccountId,
        limit: u32,
    ) -> Result<Vec<AccountEvent>, StoreError> {
        let timeline = self.account_timeline(id, EventRange::default(), limit);
        Ok(timeline.await?.into_iter().map(|t| t.event).collect())
    }

    /// The latest entries of all accounts that are not deleted, latest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn events_latest(
        &self,
        workspace: WorkspaceId,
        before: Option<EventId>,
        limit: u32,
    ) -> Result<Vec<AccountEvent>, StoreError> {
        let sql = "SELECT e.id, e.account_id, e.at, e.from_state, e.to_state, e.reason_code, \
                   e.reason_detail, NULL AS until_at FROM account_event e \
                   JOIN account a ON a.id = e.account_id \
                   WHERE a.workspace_id = $1 AND a.deleted_at IS NULL \
                   AND ($2 IS NULL OR e.seq < (SELECT c.seq FROM account_event c WHERE c.id = $2)) \
                   ORDER BY e.seq DESC LIMIT $3";
        let before = before.map(|id| id.to_string());
        let rows: Vec<Row> = reading!(self, pool => {
            sqlx::query_as(sql)
                .bind(workspace.to_string())
                .bind(before)
                .bind(i64::from(limit))
                .fetch_all(pool)
                .await
        })?;
        rows.into_iter()
            .map(|row| row.timed().map(|timed| timed.event))
            .collect()
    }

    /// Drops what is older than histories are kept, but never an account's latest entry: it says
    /// since when the present state lasts. Tells how many.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn events_prune(&self, now: DateTime<Utc>) -> Result<u64, StoreError> {
        let sql = "DELETE FROM account_event WHERE at < $1 AND seq < \
                   (SELECT MAX(l.seq) FROM account_event l \
                   WHERE l.account_id = account_event.account_id)";
        Ok(writing!(self, tx => {
            sqlx::query(sql).bind(ms(now - EVENTS_KEPT)).execute(&mut *tx).await?.rows_affected()
        }))
    }
}

impl Row {
    fn timed(self) -> Result<TimedEvent, StoreError> {
        let state = |word: &str| {
            word.parse()
                .map_err(|e| StoreError::corrupt("account_event.state", e))
        };
        let id = self.id.parse::<EventId>();
        let account_id = self.account_id.parse::<AccountId>();
        Ok(TimedEvent {
            event: AccountEvent {
                id: id.map_err(|e| StoreError::corrupt("account_event.id", e))?,
                account_id: account_id
                    .map_err(|e| StoreError::corrupt("account_event.account_id", e))?,
                at: at(self.at),
                from: self.from_state.as_deref().map(state).transpose()?,
                to: state(&self.to_state)?,
                reason: Reason::new(self.reason_code, self.reason_detail),
            },
            until: self.until_at.map(at),
        })
    }
}

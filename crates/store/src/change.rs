//! How servers and commands learn of each other's writes.
//!
//! Every write adds a row to `change` in its own transaction. SQLite tells of another connection's
//! commit by `PRAGMA data_version`, which reads no disk; PostgreSQL by NOTIFY. Both only say
//! *look*: what changed stands in the table, so a lost notice costs a little time and nothing else.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::postgres::PgListener;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, SqliteConnection};

use crate::database::{Database, Store, ms, reading, writing};
use crate::error::StoreError;

/// How often SQLite is asked whether something changed.
const SQLITE_POLL: Duration = Duration::from_millis(50);
/// How often PostgreSQL's table is read although no notice came.
const POSTGRES_POLL: Duration = Duration::from_secs(2);
/// How far back the table is read again: PostgreSQL hands out numbers before transactions commit,
/// so a lower number may appear after a higher one.
const OVERLAP: i64 = 256;
/// How long rows are kept. A server that looks less often than this has restarted anyway.
const KEPT: TimeDelta = TimeDelta::hours(1);

/// What kind of thing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// An account's settings.
    Account,
    /// An account's tokens.
    Token,
    /// A consumer or its keys.
    Consumer,
    /// A user.
    User,
    /// Something is to be told, in the outbox.
    Notice,
    /// What an account lets through: its limits, or a pause that Microsoft asks for.
    Limit,
}

impl ChangeKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Token => "token",
            Self::Consumer => "consumer",
            Self::User => "user",
            Self::Notice => "notice",
            Self::Limit => "limit",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        let all = [
            Self::Account,
            Self::Token,
            Self::Consumer,
            Self::User,
            Self::Notice,
            Self::Limit,
        ];
        all.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What kind of thing.
    pub kind: ChangeKind,
    /// Which.
    pub id: String,
    /// For tokens, the generation reached; for a pause, when it ends; otherwise 0.
    pub generation: i64,
}

/// Writes a change down within a transaction.
macro_rules! note_change {
    ($tx:expr, $kind:expr, $id:expr, $generation:expr, $now:expr) => {
        sqlx::query("INSERT INTO change (at, kind, item_id, generation) VALUES ($1, $2, $3, $4)")
            .bind($crate::database::ms($now))
            .bind($kind.as_str())
            .bind($id.to_string())
            .bind($generation)
            .execute(&mut *$tx)
            .await?;
    };
}
pub(crate) use note_change;

/// Changes as they come.
#[derive(Debug)]
pub struct ChangeFeed {
    store: Store,
    cursor: i64,
    seen: BTreeSet<i64>,
    signal: Signal,
}

#[derive(Debug)]
enum Signal {
    Sqlite {
        connection: Option<SqliteConnection>,
        version: i64,
    },
    Postgres {
        listener: Option<PgListener>,
    },
}

impl Store {
    /// Follows changes from now on.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn change_feed(&self) -> Result<ChangeFeed, StoreError> {
        let signal = match &self.database {
            Database::Sqlite { .. } => Signal::Sqlite {
                connection: None,
                version: 0,
            },
            Database::Postgres(_) => Signal::Postgres { listener: None },
        };
        let sql = "SELECT COALESCE(MAX(seq), 0) FROM change";
        let cursor: i64 = reading!(self, pool => sqlx::query_scalar(sql).fetch_one(pool).await)?;
        // What is within the overlap now was before our time.
        let sql = "SELECT seq FROM change WHERE seq > $1";
        let from = cursor - OVERLAP;
        let seen: Vec<i64> =
            reading!(self, pool => sqlx::query_scalar(sql).bind(from).fetch_all(pool).await)?;
        Ok(ChangeFeed {
            store: self.clone(),
            cursor,
            seen: seen.into_iter().collect(),
            signal,
        })
    }

    /// Forgets changes that everybody has seen.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn changes_prune(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        let before = ms(now - KEPT);
        writing!(self, tx => {
            sqlx::query("DELETE FROM change WHERE at < $1").bind(before).execute(&mut *tx).await?;
        });
        Ok(())
    }
}

impl ChangeFeed {
    /// Waits until something may have changed, and reads what did. May come back empty.
    ///
    /// # Errors
    /// When the database does not answer; the next call tries again.
    pub async fn next(&mut self) -> Result<Vec<Change>, StoreError> {
        self.signal.wait(&self.store).await?;
        self.read().await
    }

    async fn read(&mut self) -> Result<Vec<Change>, StoreError> {
        let sql = "SELECT seq, kind, item_id, generation FROM change WHERE seq > $1 ORDER BY seq";
        let from = self.cursor - OVERLAP;
        let rows: Vec<(i64, String, String, i64)> =
            reading!(self.store, pool => sqlx::query_as(sql).bind(from).fetch_all(pool).await)?;
        let mut changes = Vec::new();
        for (seq, kind, id, generation) in rows {
            self.cursor = self.cursor.max(seq);
            if let (true, Some(kind)) = (self.seen.insert(seq), ChangeKind::from_word(&kind)) {
                changes.push(Change {
                    kind,
                    id,
                    generation,
                });
            }
        }
        self.seen = self.seen.split_off(&(self.cursor - OVERLAP));
        Ok(changes)
    }
}

impl Signal {
    async fn wait(&mut self, store: &Store) -> Result<(), StoreError> {
        match (self, &store.database) {
            (
                Signal::Sqlite {
                    connection,
                    version,
                },
                Database::Sqlite { path, .. },
            ) => {
                let open = match connection {
                    Some(open) => open,
                    None => {
                        let options = SqliteConnectOptions::new().filename(path);
                        connection.insert(SqliteConnection::connect_with(&options).await?)
                    }
                };
                loop {
                    let sql = "PRAGMA data_version";
                    let now: i64 = sqlx::query_scalar(sql).fetch_one(&mut *open).await?;
                    if now != std::mem::replace(version, now) {
                        return Ok(());
                    }
                    tokio::time::sleep(SQLITE_POLL).await;
                }
            }
            (Signal::Postgres { listener }, Database::Postgres(pool)) => {
                let open = match listener {
                    Some(open) => open,
                    None => {
                        let mut fresh = PgListener::connect_with(pool).await?;
                        fresh.listen("tieline_change").await?;
                        listener.insert(fresh)
                    }
                };
                match tokio::time::timeout(POSTGRES_POLL, open.recv()).await {
                    Ok(Err(error)) => {
                        *listener = None;
                        Err(error.into())
                    }
                    Ok(Ok(_)) => {
                        // One look answers every notice that has come.
                        while open.next_buffered().is_some() {}
                        Ok(())
                    }
                    Err(_) => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}

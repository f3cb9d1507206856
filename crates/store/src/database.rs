//! The two databases behind one handle, and the macros that give both the same SQL text.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use sqlx::migrate::MigrateError;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Connection, Postgres, Transaction};
use tieline_vault::{AssociatedData, KeyRing, Sealed};

use crate::commit::{Bell, Group};
use crate::error::StoreError;

static SQLITE_MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES_MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("migrations/postgres");

/// Readers of SQLite at most; they don't block each other or the writer (WAL).
const SQLITE_READERS: usize = 4;
/// Pages that the writer keeps, in kibibytes (a negative number says so). SQLite's own measure is
/// two thousand for each connection; the operating system keeps the file's pages once for all.
const SQLITE_WRITER_CACHE: &str = "-512";
/// Pages that a reader keeps: the upper levels of its trees. What hangs below is another one with
/// every account.
const SQLITE_READER_CACHE: &str = "-128";
/// Connections to PostgreSQL per server.
const POSTGRES_CONNECTIONS: u32 = 16;
/// How long to wait for another process's write, or for a free connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a connection to PostgreSQL may have rested to be used without a test.
const UNTESTED: Duration = Duration::from_secs(1);

/// Whether tables are brought up to date when the database is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Migrations {
    /// Run what is missing.
    Run,
    /// Refuse to open when something is missing.
    Check,
}

/// The database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) database: Database,
    pub(crate) keys: Arc<KeyRing>,
    pub(crate) bell: Bell,
}

#[derive(Debug, Clone)]
pub(crate) enum Database {
    Sqlite {
        path: PathBuf,
        read: SqlitePool,
        write: SqlitePool,
        /// Writes by way of `write`, many in one transaction.
        group: Group,
    },
    Postgres(PgPool),
}

/// Runs a query on a connection that reads.
macro_rules! reading {
    ($store:expr, $pool:ident => $body:expr) => {
        match &$store.database {
            $crate::database::Database::Sqlite { read: $pool, .. } => $body,
            $crate::database::Database::Postgres($pool) => $body,
        }
    };
}

/// Runs a single statement that writes and that nobody needs to be told of: it is a transaction of
/// its own.
macro_rules! writer {
    ($store:expr, $pool:ident => $body:expr) => {
        match &$store.database {
            $crate::database::Database::Sqlite { write: $pool, .. } => $body,
            $crate::database::Database::Postgres($pool) => $body,
        }
    };
}

/// Runs a block in a transaction that writes. Leaving the block early rolls back; reaching its end
/// commits, and tells the other servers.
macro_rules! writing {
    ($store:expr, $tx:ident => $body:expr) => {
        match &$store.database {
            $crate::database::Database::Sqlite { write, .. } => {
                // A transaction that begins by reading could not become a writer later.
                let mut $tx = write.begin_with("BEGIN IMMEDIATE").await?;
                let value = $body;
                $tx.commit().await?;
                value
            }
            $crate::database::Database::Postgres(pool) => {
                let mut $tx = $crate::database::begin(pool).await?;
                let value = $body;
                sqlx::query("SELECT pg_notify('tieline_change', '')")
                    .execute(&mut *$tx)
                    .await?;
                $tx.commit().await?;
                value
            }
        }
    };
}
/// Makes who changes the accounts of a workspace wait for each other, so that each sees whole what
/// the other did: the default moves, and PostgreSQL checks names only against what it sees.
macro_rules! lock_workspace {
    ($tx:expr, $workspace:expr) => {
        sqlx::query("UPDATE workspace SET name = name WHERE id = $1")
            .bind($workspace)
            .execute(&mut *$tx)
            .await?
    };
}

/// Holds the tokens of an account. Whoever writes both holds the tokens first and the account
/// second: in any other order two of them could wait for each other.
macro_rules! lock_tokens {
    ($tx:expr, $id:expr) => {
        sqlx::query("UPDATE account_token SET generation = generation WHERE account_id = $1")
            .bind($id)
            .execute(&mut *$tx)
            .await?
    };
}
pub(crate) use {lock_tokens, lock_workspace, reading, writer, writing};

impl Store {
    /// Opens `sqlite:///path/to/file` or `postgres://…`.
    ///
    /// # Errors
    /// When the address is none, the database does not answer, or its tables are not right.
    pub async fn open(
        url: &str,
        keys: Arc<KeyRing>,
        migrations: Migrations,
    ) -> Result<Self, StoreError> {
        let database = if let Some(path) = url.strip_prefix("sqlite://") {
            Database::sqlite(Path::new(path)).await?
        } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            Database::postgres(url).await?
        } else {
            let reason = "it begins with neither sqlite:// nor postgres://".to_owned();
            return Err(StoreError::Address(reason));
        };
        match migrations {
            Migrations::Run => database.migrate().await?,
            Migrations::Check => database.check().await?,
        }
        let store = Self {
            database,
            keys,
            bell: Bell::default(),
        };
        store.prove_keys().await?;
        Ok(store)
    }

    /// Asks the database for a sign of life.
    ///
    /// # Errors
    /// When it gives none.
    pub async fn ping(&self) -> Result<(), StoreError> {
        reading!(self, pool => sqlx::query("SELECT 1").execute(pool).await.map(|_| ()))?;
        Ok(())
    }

    pub(crate) fn seal(&self, place: &AssociatedData<'_>, secret: &SecretString) -> Vec<u8> {
        use secrecy::ExposeSecret;
        self.keys.seal(place, secret.expose_secret().as_bytes()).0
    }

    pub(crate) fn open_sealed(
        &self,
        place: &AssociatedData<'_>,
        column: &'static str,
        sealed: Vec<u8>,
    ) -> Result<SecretString, StoreError> {
        self.keys
            .open_text(place, &Sealed(sealed))
            .map_err(|source| StoreError::Sealed { column, source })
    }
}

/// As many as there are processors: more would only take turns, and each holds pages and
/// statements of its own. A long list must not hold up everything else, so there are two at least.
fn sqlite_readers() -> u32 {
    let processors = std::thread::available_parallelism().map_or(SQLITE_READERS, usize::from);
    u32::try_from(processors.clamp(2, SQLITE_READERS)).unwrap_or(2)
}

impl Database {
    async fn sqlite(path: &Path) -> Result<Self, StoreError> {
        prepare_file(path)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // A refresh token that was acknowledged must survive a power cut.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .pragma("cache_size", SQLITE_WRITER_CACHE)
            .busy_timeout(PATIENCE);
        let write = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(PATIENCE)
            // A connection to a file does not break, and the test costs as much as a query.
            .test_before_acquire(false)
            // SQLite ends a transaction by itself when the disk is full or fails
            // (sqlite.org/lang_transaction.html), and the driver goes on counting it as open:
            // without this, nothing could be written again until a restart.
            .before_acquire(|connection, _| {
                let is_clean = !connection.is_in_transaction();
                Box::pin(async move { Ok(is_clean) })
            })
            .connect_with(options.clone())
            .await?;
        let read = SqlitePoolOptions::new()
            .max_connections(sqlite_readers())
            .acquire_timeout(PATIENCE)
            .test_before_acquire(false)
            .connect_with(options.pragma("cache_size", SQLITE_READER_CACHE))
            .await?;
        Ok(Self::Sqlite {
            path: path.to_owned(),
            read,
            group: Group::new(write.clone()),
            write,
        })
    }

    async fn postgres(url: &str) -> Result<Self, StoreError> {
        // The driver's own message could quote the password.
        let options = PgConnectOptions::from_str(url)
            .map_err(|_| StoreError::Address("it is not a PostgreSQL address".to_owned()))?;
        let pool = PgPoolOptions::new()
            .max_connections(POSTGRES_CONNECTIONS)
            .acquire_timeout(PATIENCE)
            // The test is a round trip: it pays only where the server may have gone meanwhile.
            .test_before_acquire(false)
            .before_acquire(|connection, rest| {
                Box::pin(async move {
                    if rest.idle_for > UNTESTED {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .connect_with(options)
            .await?;
        Ok(Self::Postgres(pool))
    }

    async fn migrate(&self) -> Result<(), StoreError> {
        let run = match self {
            Self::Sqlite { write, .. } => {
                // The migrator locks nothing in SQLite. In a transaction that begins as a writer,
                // who starts at the same moment waits, and finds the work done.
                let mut tx = write.begin_with("BEGIN IMMEDIATE").await?;
                let run = SQLITE_MIGRATIONS.run(&mut *tx).await;
                tx.commit().await?;
                run
            }
            Self::Postgres(pool) => POSTGRES_MIGRATIONS.run(pool).await,
        };
        run.map_err(|error| match error {
            MigrateError::VersionMissing(_) => StoreError::Newer,
            other => StoreError::Migration(other),
        })
    }

    async fn check(&self) -> Result<(), StoreError> {
        let sql = "SELECT COUNT(*) FROM _sqlx_migrations WHERE success";
        let (known, count) = match self {
            Self::Sqlite { read, .. } => (
                &SQLITE_MIGRATIONS,
                sqlx::query_scalar::<_, i64>(sql).fetch_one(read).await,
            ),
            Self::Postgres(pool) => (
                &POSTGRES_MIGRATIONS,
                sqlx::query_scalar::<_, i64>(sql).fetch_one(pool).await,
            ),
        };
        let expected = i64::try_from(known.iter().count()).unwrap_or(i64::MAX);
        match count {
            Ok(count) if count == expected => Ok(()),
            Ok(count) if count > expected => Err(StoreError::Newer),
            // Without the table nothing was ever migrated.
            _ => Err(StoreError::NotMigrated),
        }
    }
}

/// The file is its owner's alone from the first moment on.
fn prepare_file(path: &Path) -> Result<(), StoreError> {
    let failed = |error: std::io::Error| {
        StoreError::Address(format!("{} cannot be used: {error}", path.display()))
    };
    if let Some(directory) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        std::fs::create_dir_all(directory).map_err(failed)?;
    }
    let mut options = std::fs::OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options.open(path).map(|_| ()).map_err(failed)
}

/// Begins a transaction in PostgreSQL, in a task of its own. The driver forgets a `BEGIN` whose
/// caller goes away before the answer: the connection would return to the pool within a
/// transaction, and the next statement that runs alone on it would never be committed.
pub(crate) async fn begin(pool: &PgPool) -> Result<Transaction<'static, Postgres>, StoreError> {
    let pool = pool.clone();
    let begun = tokio::spawn(async move { pool.begin().await }).await;
    Ok(begun.map_err(|_| StoreError::Stopped)??)
}

// === texts ===

/// A text that both databases can hold: PostgreSQL's knows no NUL. It stands in no text that a
/// person typed, but what other servers say is not ours to choose.
pub(crate) fn text(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

// === times ===

pub(crate) fn ms(at: DateTime<Utc>) -> i64 {
    at.timestamp_millis()
}

pub(crate) fn at(ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(ms).unwrap_or(DateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sqlite_writes_again_after_the_disk_was_full() {
        let directory = tempfile::tempdir().expect("a directory");
        let opened = Database::sqlite(&directory.path().join("a.db")).await;
        let Ok(Database::Sqlite { write, .. }) = opened else {
            panic!("not opened: {opened:?}");
        };
        let run = |sql: &'static str| sqlx::query(sql).execute(&write);
        run("CREATE TABLE t (bytes BLOB)").await.expect("made");
        // For SQLite this is a disk that has no room; it is a property of the connection.
        run("PRAGMA max_page_count = 1").await.expect("no room");
        let mut tx = write.begin_with("BEGIN IMMEDIATE").await.expect("begun");
        let full = sqlx::query("INSERT INTO t VALUES (zeroblob(1000000))");
        let full = full.execute(&mut *tx).await.expect_err("no room");
        assert!(full.to_string().contains("full"), "{full}");
        drop(tx);
        let tx = write.begin_with("BEGIN IMMEDIATE").await.expect("begun");
        tx.commit().await.expect("written");
    }
}

//! What outlives a restart: keys, consents and codes, in one SQLite file.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension, params};

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS setting (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS consent (
    tenant TEXT NOT NULL, client TEXT NOT NULL, user TEXT NOT NULL,
    PRIMARY KEY (tenant, client, user)
) STRICT;
CREATE TABLE IF NOT EXISTS grant_code (
    hash BLOB PRIMARY KEY, at INTEGER NOT NULL, used INTEGER NOT NULL, body TEXT NOT NULL
) STRICT;
";

/// A consent that an administrator gave for everybody.
pub(crate) const EVERYBODY: &str = "*";

#[derive(Debug)]
pub(crate) struct State(Mutex<Connection>);

/// A code as it is kept.
#[derive(Debug)]
pub(crate) struct Kept {
    /// When it was made; seconds since 1970.
    pub(crate) at: i64,
    pub(crate) used: bool,
    pub(crate) body: String,
}

impl State {
    pub(crate) fn open(data_dir: Option<&Path>) -> rusqlite::Result<Self> {
        let connection = match data_dir {
            Some(directory) => Connection::open(directory.join("sandbox.db"))?,
            None => Connection::open_in_memory()?,
        };
        // What is rehearsed here may be lost with the machine's power, not with the process.
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "OFF")?;
        connection.execute_batch(SCHEMA)?;
        Ok(Self(Mutex::new(connection)))
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic elsewhere leaves no transaction half done: each is one statement or a closure.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs statements of another part of the sandbox on the one connection.
    pub(crate) fn with<T>(
        &self,
        run: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        run(&mut self.lock())
    }

    pub(crate) fn setting(&self, name: &str) -> rusqlite::Result<Option<Vec<u8>>> {
        let sql = "SELECT value FROM setting WHERE name = ?1";
        self.lock()
            .query_row(sql, [name], |row| row.get(0))
            .optional()
    }

    pub(crate) fn set_setting(&self, name: &str, value: &[u8]) -> rusqlite::Result<()> {
        let sql = "INSERT OR REPLACE INTO setting (name, value) VALUES (?1, ?2)";
        self.lock().execute(sql, params![name, value]).map(|_| ())
    }

    // === consents ===

    pub(crate) fn consented(
        &self,
        tenant: &str,
        client: &str,
        user: &str,
    ) -> rusqlite::Result<bool> {
        let sql = "SELECT EXISTS (SELECT 1 FROM consent WHERE tenant = ?1 AND client = ?2 \
                   AND user IN (?3, '*'))";
        self.lock()
            .query_row(sql, params![tenant, client, user], |row| row.get(0))
    }

    pub(crate) fn consent(&self, tenant: &str, client: &str, user: &str) -> rusqlite::Result<()> {
        let sql = "INSERT OR IGNORE INTO consent (tenant, client, user) VALUES (?1, ?2, ?3)";
        self.lock()
            .execute(sql, params![tenant, client, user])
            .map(|_| ())
    }

    // === codes and tokens ===

    pub(crate) fn keep_code(&self, hash: &[u8], at: i64, body: &str) -> rusqlite::Result<()> {
        let connection = self.lock();
        // Codes live ten minutes; those of yesterday only explain why they are refused.
        connection.execute("DELETE FROM grant_code WHERE at < ?1", [at - 86_400])?;
        let sql = "INSERT INTO grant_code (hash, at, used, body) VALUES (?1, ?2, 0, ?3)";
        connection.execute(sql, params![hash, at, body]).map(|_| ())
    }

    pub(crate) fn code(&self, hash: &[u8]) -> rusqlite::Result<Option<Kept>> {
        let sql = "SELECT at, used, body FROM grant_code WHERE hash = ?1";
        self.lock()
            .query_row(sql, [hash], |row| {
                Ok(Kept {
                    at: row.get(0)?,
                    used: row.get(1)?,
                    body: row.get(2)?,
                })
            })
            .optional()
    }

    /// Marks a code as used. False when somebody else was quicker.
    pub(crate) fn use_code(&self, hash: &[u8]) -> rusqlite::Result<bool> {
        let sql = "UPDATE grant_code SET used = 1 WHERE hash = ?1 AND used = 0";
        Ok(self.lock().execute(sql, [hash])? == 1)
    }
}

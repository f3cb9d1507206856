//! The rows of an organization, in SQLite: a table for every table, a column for every column.

mod layout;
mod text;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};

pub(crate) use layout::{DELETED, quoted, type_column};
pub(crate) use text::{COLLATION, LIKE, prefix};

use crate::dataverse::schema::Schema;

/// Readers of a file at once. Each holds a cache of pages of its own.
const READERS: usize = 4;
/// Statements that a connection keeps ready: rehearsals repeat the same few dozen.
const STATEMENTS: usize = 256;

/// The database of one organization.
#[derive(Debug)]
pub(crate) struct Store {
    writer: Mutex<Connection>,
    /// None in memory: there is one connection, which the writer holds.
    readers: Option<Readers>,
}

#[derive(Debug)]
struct Readers {
    path: std::path::PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Store {
    /// Opens the rows, in a file or in memory, and brings them to today's schema.
    pub(crate) fn open(file: Option<&Path>, schema: &Schema) -> rusqlite::Result<Self> {
        let connection = match file {
            Some(path) => Connection::open(path)?,
            None => Connection::open_in_memory()?,
        };
        prepare(&connection)?;
        layout::build(&connection, schema)?;
        let readers = file.map(|path| Readers {
            path: path.to_owned(),
            idle: Mutex::new(Vec::new()),
        });
        Ok(Self {
            writer: Mutex::new(connection),
            readers,
        })
    }

    /// Makes the indexes that are missing; called once the rows of the seed are there.
    pub(crate) fn index(&self, schema: &Schema) -> rusqlite::Result<()> {
        layout::index(&lock(&self.writer), schema)
    }

    /// Reads: sees one state of the rows from its first statement to its last.
    pub(crate) fn read<T, E: From<rusqlite::Error>>(
        &self,
        look: impl FnOnce(&Connection) -> Result<T, E>,
    ) -> Result<T, E> {
        let Some(readers) = &self.readers else {
            return look(&lock(&self.writer));
        };
        let mut connection = readers.take()?;
        let found = {
            let transaction = connection.transaction()?;
            look(&transaction)
        };
        readers.give_back(connection);
        found
    }

    /// Writes: all of it, or nothing when it fails.
    pub(crate) fn write<T, E: From<rusqlite::Error>>(
        &self,
        change: impl FnOnce(&Connection) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut connection = lock(&self.writer);
        let transaction = Transaction::new(&mut connection, TransactionBehavior::Immediate)?;
        let done = change(&transaction)?;
        transaction.commit()?;
        Ok(done)
    }
}

impl Readers {
    fn take(&self) -> rusqlite::Result<Connection> {
        if let Some(connection) = lock(&self.idle).pop() {
            return Ok(connection);
        }
        let connection = Connection::open(&self.path)?;
        prepare(&connection)?;
        Ok(connection)
    }

    fn give_back(&self, connection: Connection) {
        let mut idle = lock(&self.idle);
        if idle.len() < READERS {
            idle.push(connection);
        }
    }
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // What is rehearsed here may be lost with the machine's power, not with the process.
    connection.pragma_update(None, "synchronous", "OFF")?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "cache_size", -32_768)?;
    // Pages are read where the system keeps them, without a call and a copy for each.
    connection.pragma_update(None, "mmap_size", 1_i64 << 30)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    text::install(connection)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic rolls its transaction back; the connection is good for the next one.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// === what the database knows of itself ===

/// The next row version: one counter for the whole organization, as in Dataverse.
pub(crate) fn next_version(db: &Connection) -> rusqlite::Result<i64> {
    let sql = "UPDATE _counter SET value = value + 1 WHERE name = 'version' RETURNING value";
    db.prepare_cached(sql)?.query_row([], |row| row.get(0))
}

/// The version that the newest change got.
pub(crate) fn current_version(db: &Connection) -> rusqlite::Result<i64> {
    let sql = "SELECT value FROM _counter WHERE name = 'version'";
    db.prepare_cached(sql)?.query_row([], |row| row.get(0))
}

/// A counter of its own, such as that of case numbers.
pub(crate) fn next_number(db: &Connection, name: &str) -> rusqlite::Result<i64> {
    let sql = "INSERT INTO _counter (name, value) VALUES (?1, 1000) \
               ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value";
    db.prepare_cached(sql)?.query_row([name], |row| row.get(0))
}

/// Something that was kept under a name, such as how the rows were filled.
pub(crate) fn note(db: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    let sql = "SELECT value FROM _note WHERE name = ?1";
    db.query_row(sql, [name], |row| row.get(0)).optional()
}

pub(crate) fn set_note(db: &Connection, name: &str, value: &str) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO _note (name, value) VALUES (?1, ?2)";
    db.execute(sql, params![name, value]).map(|_| ())
}

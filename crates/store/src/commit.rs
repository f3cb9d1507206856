//! Group commit: renewals that end at the same moment share one transaction.
//!
//! A write that must survive a power cut waits for the disk, and a disk takes a few hundred or
//! thousand such waits a second, whatever is written. On SQLite, writes that come while the disk is
//! busy therefore queue up, and the next transaction takes all of them. Nothing waits for company:
//! a write that comes alone is committed alone, at once.
//!
//! What holds for a write on its own holds in company:
//! - Its caller hears of it after the commit, never before.
//! - It is there wholly or not at all, and one that is dropped half way by its caller goes on.
//! - One that fails takes nothing with it: the others are run again, each for itself.
//!
//! PostgreSQL does the same by itself for transactions of several connections, unless they notify:
//! a transaction with a `NOTIFY` in it commits under a lock that all others with one wait for, and
//! then each waits for the disk alone (`PreCommit_Notify` in its `async.c`). So the notice of a
//! renewal is sent after the commit, one for many. Were it lost, the others would read the table
//! two seconds later.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlx::postgres::PgPool;
use sqlx::sqlite::SqlitePool;
use sqlx::{SqliteConnection, Transaction};
use tokio::sync::oneshot;

use crate::error::StoreError;

/// Writes in one transaction: bounds how long a caller waits for the company it is in.
const LARGEST: usize = 256;

/// A write under way.
pub(crate) type Writing<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Runs a block that writes, in a transaction that it may share with others. What the block needs
/// and does not own is listed, and is a reference in the block. Leaving the block early with a
/// value keeps what was written; leaving it with an error does not.
macro_rules! grouped {
    ($store:expr, $tx:ident, ($($name:ident),* $(,)?) => $body:expr) => {
        match &$store.database {
            $crate::database::Database::Sqlite { group, .. } => {
                $crate::commit::in_company!(group, $tx, ($($name),*) => $body)
            }
            $crate::database::Database::Postgres(pool) => {
                let given = ($($name.to_owned(),)*);
                let mut open = $crate::database::begin(pool).await?;
                let written: Result<_, $crate::error::StoreError> = async {
                    let ($($name,)*) = &given;
                    let $tx = &mut *open;
                    Ok($body)
                }
                .await;
                match written {
                    Ok(value) => {
                        open.commit().await?;
                        $store.bell.ring(pool);
                        Ok(value)
                    }
                    Err(error) => Err(error),
                }
            }
        }
    };
}

/// As [`grouped!`] for a single statement, which in PostgreSQL is a transaction by itself, and of
/// which nobody needs to be told.
macro_rules! statement {
    ($store:expr, $tx:ident, ($($name:ident),* $(,)?) => $body:expr) => {
        match &$store.database {
            $crate::database::Database::Sqlite { group, .. } => {
                $crate::commit::in_company!(group, $tx, ($($name),*) => $body)
            }
            $crate::database::Database::Postgres(pool) => {
                let given = ($($name.to_owned(),)*);
                let mut open = pool.acquire().await?;
                let written: Result<_, $crate::error::StoreError> = async {
                    let ($($name,)*) = &given;
                    let $tx = &mut *open;
                    Ok($body)
                }
                .await;
                written
            }
        }
    };
}

/// The half of both that is SQLite's.
macro_rules! in_company {
    ($group:expr, $tx:ident, ($($name:ident),*) => $body:expr) => {{
        let given = std::sync::Arc::new(($($name.to_owned(),)*));
        $group
            .write(move |$tx: &mut sqlx::SqliteConnection| {
                // Owned anew, because the block may have to run again.
                let given = std::sync::Arc::clone(&given);
                Box::pin(async move {
                    let ($($name,)*) = &*given;
                    Ok($body)
                })
            })
            .await
    }};
}
pub(crate) use {grouped, in_company, statement};

// === SQLite ===

/// The queue of writes, and whoever works it off.
#[derive(Clone)]
pub(crate) struct Group(Arc<Inner>);

struct Inner {
    pool: SqlitePool,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Box<dyn Write>>,
    /// Whether a task works it off.
    worked: bool,
}

/// A write of any kind.
trait Write: Send {
    /// Does it, and keeps the result. Tells whether it succeeded.
    fn run<'a>(
        &'a mut self,
        tx: &'a mut SqliteConnection,
    ) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>>;

    /// Tells the caller what came of it.
    fn tell(self: Box<Self>, committed: Result<(), Arc<sqlx::Error>>);
}

struct Pending<T, F> {
    work: F,
    result: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl Group {
    pub(crate) fn new(pool: SqlitePool) -> Self {
        let queue = Mutex::default();
        Self(Arc::new(Inner { pool, queue }))
    }

    /// Writes, in company where there is some; returns when it is on disk.
    ///
    /// # Errors
    /// When the work fails, or the transaction does.
    pub(crate) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'a> Fn(&'a mut SqliteConnection) -> Writing<'a, T> + Send + 'static,
    {
        let (reply, result) = oneshot::channel();
        self.submit(Box::new(Pending {
            work,
            result: None,
            reply,
        }));
        result.await.unwrap_or(Err(StoreError::Stopped))
    }

    fn submit(&self, write: Box<dyn Write>) {
        let mut queue = self.queue();
        queue.waiting.push(write);
        if !queue.worked {
            queue.worked = true;
            drop(queue);
            let worker = Worker {
                group: self.clone(),
                finished: false,
            };
            tokio::spawn(worker.work_off());
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Every critical section is a few assignments; a panic cannot leave them half done.
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits what came together.
    async fn commit(&self, mut writes: Vec<Box<dyn Write>>) {
        match self.together(&mut writes).await {
            Ok(true) => tell(writes, Ok(())),
            // Alone, the error is its own.
            Ok(false) if writes.len() == 1 => tell(writes, Ok(())),
            Ok(false) => {
                for write in writes {
                    let mut alone = vec![write];
                    let outcome = self.together(&mut alone).await;
                    tell(alone, outcome.map(|_| ()).map_err(Arc::new));
                }
            }
            Err(error) => tell(writes, Err(Arc::new(error))),
        }
    }

    /// One transaction for all. Tells whether every write succeeded; if not, none is kept.
    async fn together(&self, writes: &mut [Box<dyn Write>]) -> Result<bool, sqlx::Error> {
        // A transaction that begins by reading could not become a writer later.
        let mut tx: Transaction<'_, _> = self.0.pool.begin_with("BEGIN IMMEDIATE").await?;
        for write in writes {
            if !write.run(&mut tx).await {
                tx.rollback().await?;
                return Ok(false);
            }
        }
        tx.commit().await?;
        Ok(true)
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").finish_non_exhaustive()
    }
}

/// The task that works the queue off. It ends when nothing is left, so that an idle server has
/// none.
struct Worker {
    group: Group,
    finished: bool,
}

impl Worker {
    async fn work_off(mut self) {
        while let Some(writes) = self.next() {
            self.group.commit(writes).await;
        }
    }

    fn next(&mut self) -> Option<Vec<Box<dyn Write>>> {
        let mut queue = self.group.queue();
        if queue.waiting.is_empty() {
            queue.worked = false;
            self.finished = true;
            return None;
        }
        let count = queue.waiting.len().min(LARGEST);
        Some(queue.waiting.drain(..count).collect())
    }
}

impl Drop for Worker {
    /// Ended by a panic or by the end of its runtime: who waits is told, and the next write starts
    /// another worker.
    fn drop(&mut self) {
        // After an orderly end, the queue may already be the next worker's.
        if !self.finished {
            let mut queue = self.group.queue();
            queue.worked = false;
            queue.waiting.clear();
        }
    }
}

fn tell(writes: Vec<Box<dyn Write>>, committed: Result<(), Arc<sqlx::Error>>) {
    for write in writes {
        write.tell(committed.clone());
    }
}

impl<T, F> Write for Pending<T, F>
where
    T: Send + 'static,
    F: for<'a> Fn(&'a mut SqliteConnection) -> Writing<'a, T> + Send + 'static,
{
    fn run<'a>(
        &'a mut self,
        tx: &'a mut SqliteConnection,
    ) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>> {
        let work = (self.work)(tx);
        Box::pin(async move {
            let result = work.await;
            let succeeded = result.is_ok();
            self.result = Some(result);
            succeeded
        })
    }

    fn tell(self: Box<Self>, committed: Result<(), Arc<sqlx::Error>>) {
        let result = match (committed, self.result) {
            (Err(error), Some(Ok(_)) | None) => Err(StoreError::Uncommitted(error)),
            (_, Some(result)) => result,
            (Ok(()), None) => Err(StoreError::Stopped),
        };
        // Nobody listens any more; the write stands all the same.
        let _ = self.reply.send(result);
    }
}

// === PostgreSQL ===

/// Tells other servers that something was committed, once for everything that was committed since
/// it was last told.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bell(Arc<Mutex<Ringing>>);

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Ringing {
    #[default]
    Silent,
    /// A notice is being sent.
    Now,
    /// And another is to follow it.
    Again,
}

impl Bell {
    /// Sends a notice, or lets the one under way be followed by another.
    pub(crate) fn ring(&self, pool: &PgPool) {
        let mut ringing = self.state();
        if *ringing != Ringing::Silent {
            *ringing = Ringing::Again;
            return;
        }
        *ringing = Ringing::Now;
        drop(ringing);
        let (bell, pool) = (self.clone(), pool.clone());
        tokio::spawn(async move {
            loop {
                let sent = sqlx::query("SELECT pg_notify('tieline_change', '')")
                    .execute(&pool)
                    .await;
                if let Err(error) = sent {
                    tracing::debug!(%error, "other servers were not told; they read by themselves");
                }
                if !bell.goes_on() {
                    return;
                }
            }
        });
    }

    fn goes_on(&self) -> bool {
        let mut ringing = self.state();
        let again = *ringing == Ringing::Again;
        *ringing = if again { Ringing::Now } else { Ringing::Silent };
        again
    }

    fn state(&self) -> MutexGuard<'_, Ringing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

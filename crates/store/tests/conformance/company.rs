//! Renewals that are written at the same moment: they may share a transaction, and none may notice
//! the others by anything but the time it takes.

use chrono::TimeDelta;
use futures_util::future;
use sqlx::{Connection, SqliteConnection};
use tieline_core::{AccountId, ConnectionState};
use tieline_store::{LeasePurpose, LeaseWish, Store, StoreError};

use crate::support::{Database, connected, failed, later, lease, now, renewed, shown, state};

on_both!(
    renewals_that_end_together_are_each_stored_whole,
    one_that_is_refused_takes_nothing_with_it,
    several_servers_write_together,
);

/// Accounts that are renewed at the same moment.
const TOGETHER: usize = 40;

async fn renewals_that_end_together_are_each_stored_whole(db: &Database) {
    let ids = leased(db).await;
    let stored = future::join_all(ids.iter().map(|id| renew(&db.store, *id, 1))).await;
    assert!(stored.into_iter().all(|stored| stored.expect("stored")));
    for id in &ids {
        let row = db.store.token(*id).await.expect("read").expect("a row");
        assert_eq!(row.generation, 2);
        assert_eq!(row.lease, None);
        let (refresh, access) = (format!("refresh-{id}"), format!("access-{id}"));
        assert_eq!(shown(row.refresh_token.as_ref()), Some(refresh.as_str()));
        assert_eq!(shown(row.access_token.as_ref()), Some(access.as_str()));
    }
    let told = "SELECT COUNT(DISTINCT item_id) FROM change WHERE kind = 'token' AND generation = 2";
    assert_eq!(db.number(told).await, i64::try_from(TOGETHER).expect("few"));
}

async fn one_that_is_refused_takes_nothing_with_it(db: &Database) {
    let ids = leased(db).await;
    let stored = future::join_all(ids.iter().enumerate().map(|(place, id)| {
        // Every third comes too late: the generation it started from has passed.
        let seen = if place % 3 == 0 { 0 } else { 1 };
        renew(&db.store, *id, seen)
    }))
    .await;
    for (place, (id, stored)) in ids.iter().zip(stored).enumerate() {
        let row = db.store.token(*id).await.expect("read").expect("a row");
        assert_eq!(stored.expect("answered"), place % 3 != 0);
        assert_eq!(row.generation, if place % 3 == 0 { 1 } else { 2 });
    }
}

async fn several_servers_write_together(db: &Database) {
    let other = db.another().await;
    let ids = leased(db).await;
    let change = state(ConnectionState::Degraded, "token-service-busy");
    let failed = failed(Some(later(5)));
    let (good, bad) = ids.split_at(TOGETHER / 2);
    let (stored, written) = tokio::join!(
        future::join_all(good.iter().map(|id| renew(&db.store, *id, 1))),
        future::join_all(bad.iter().map(|id| other.token_failed(
            *id,
            "one",
            1,
            &failed,
            &change,
            now()
        ))),
    );
    assert!(stored.into_iter().all(|stored| stored.expect("stored")));
    assert!(written.into_iter().all(|written| written.expect("written")));
    for id in bad {
        let account = db.store.account(*id).await.expect("read").expect("there");
        assert_eq!(account.connection.state, ConnectionState::Degraded);
    }
}

/// A statement that fails is not a refusal: SQLite would keep what came before it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_fails_takes_nothing_with_it() {
    let db = Database::sqlite().await;
    let ids = leased(&db).await;
    let sick = ids[TOGETHER / 2];
    // After the tokens are written, so that there is something to undo.
    let trigger = format!(
        "CREATE TRIGGER sick BEFORE INSERT ON change WHEN NEW.item_id = '{sick}' \
         BEGIN SELECT RAISE(ABORT, 'sick'); END"
    );
    db.execute(&trigger).await;
    let stored = future::join_all(ids.iter().map(|id| renew(&db.store, *id, 1))).await;
    for (id, stored) in ids.iter().zip(stored) {
        let row = db.store.token(*id).await.expect("read").expect("a row");
        if *id == sick {
            assert!(
                matches!(stored, Err(StoreError::Database(_))),
                "its own error"
            );
            assert_eq!(row.generation, 1);
            assert_eq!(row.lease.map(|lease| lease.owner).as_deref(), Some("one"));
        } else {
            assert!(stored.expect("stored"));
            assert_eq!(row.generation, 2);
        }
    }
}

/// The purpose of it all: the disk is waited for once, not once for each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_the_disk_shares_a_transaction() {
    let db = Database::sqlite().await;
    let mut ids = Vec::new();
    for place in 0..TOGETHER {
        ids.push(connected(&db.store, &format!("Account {place}")).await.id);
    }
    let before = commits(&db);
    let mut busy = SqliteConnection::connect(&db.url).await.expect("a writer");
    let tx = busy.begin_with("BEGIN IMMEDIATE").await.expect("the lock");
    let wish = LeaseWish {
        owner: "one",
        seen: 1,
        marked_by: None,
        purpose: LeasePurpose::Spend,
        life: TimeDelta::seconds(60),
    };
    let mut leases: Vec<_> = ids
        .iter()
        .map(|id| Box::pin(db.store.token_lease(*id, &wish)))
        .collect();
    for lease in &mut leases {
        assert!(futures_util::poll!(lease).is_pending(), "the lock is taken");
    }
    tx.rollback().await.expect("the lock is given back");
    for taken in future::join_all(leases).await {
        assert!(taken.expect("asked"));
    }
    // The first may have been on its way alone.
    assert!(commits(&db) - before <= 2, "{before}, {}", commits(&db));
}

/// Transactions in the write-ahead log: its frames that say how large the database is afterwards
/// (`https://www.sqlite.org/fileformat.html#the_write_ahead_log`).
fn commits(db: &Database) -> usize {
    const HEADER: usize = 32;
    const FRAME: usize = 24;
    let path = format!("{}-wal", db.url.trim_start_matches("sqlite://"));
    let log = std::fs::read(path).expect("the log");
    let number = |at: usize| u32::from_be_bytes(log[at..at + 4].try_into().expect("four bytes"));
    let page = usize::try_from(number(8)).expect("a page size");
    (HEADER..log.len())
        .step_by(FRAME + page)
        .filter(|frame| frame + FRAME <= log.len() && number(frame + 4) != 0)
        .count()
}

async fn leased(db: &Database) -> Vec<AccountId> {
    let mut ids = Vec::new();
    for place in 0..TOGETHER {
        let id = connected(&db.store, &format!("Account {place}")).await.id;
        ids.push(id);
    }
    let leases = ids.iter().map(|id| lease(&db.store, *id, "one"));
    assert!(
        future::join_all(leases)
            .await
            .into_iter()
            .all(|taken| taken)
    );
    ids
}

async fn renew(store: &Store, id: AccountId, seen: i64) -> Result<bool, StoreError> {
    let (tokens, change) = (
        renewed(&id.to_string()),
        state(ConnectionState::Connected, "renewed"),
    );
    store
        .token_renewed(id, "one", seen, &tokens, &change, later(1))
        .await
}

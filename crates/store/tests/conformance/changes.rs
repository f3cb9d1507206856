//! How servers learn of each other's writes.

use std::collections::BTreeSet;
use std::time::Duration;

use tieline_core::{ApiKeyId, ConnectionState, ConsumerGrant, ConsumerId, Role, UserId};
use tieline_store::{ChangeFeed, ChangeKind, Store};

use crate::support::{
    Database, WORKSPACE, add, by, connected, consented, later, now, renewed, settings, state,
};

on_both!(
    a_feed_tells_of_another_servers_write,
    a_feed_tells_of_the_own_servers_write,
    every_kind_of_write_is_told,
    nothing_is_told_twice_and_nothing_from_before,
    a_write_that_was_rolled_back_is_not_told,
    every_write_of_many_servers_is_told,
    a_feed_that_was_dropped_while_waiting_loses_nothing,
    old_changes_are_pruned,
);

/// Far longer than any notice takes; the tests end as soon as it comes.
const PATIENCE: Duration = Duration::from_secs(20);

async fn a_feed_tells_of_another_servers_write(db: &Database) {
    let other = db.another().await;
    let mut feed = db.store.change_feed().await.expect("a feed");
    let id = add(&other, &settings("Contoso"))
        .await
        .expect("added")
        .id
        .to_string();
    assert_eq!(
        until(&mut feed, 1).await,
        [(ChangeKind::Account, id.clone())]
    );
    // And again, now that the feed is warm.
    let seen = tokio::spawn(async move {
        let told = until(&mut feed, 1).await;
        (feed, told)
    });
    other
        .account_delete(id.parse().expect("an id"), &by(), now())
        .await
        .expect("deleted");
    assert_eq!(seen.await.expect("no panic").1, [(ChangeKind::Account, id)]);
}

async fn a_feed_tells_of_the_own_servers_write(db: &Database) {
    let mut feed = db.store.change_feed().await.expect("a feed");
    let id = add(&db.store, &settings("Contoso"))
        .await
        .expect("added")
        .id
        .to_string();
    assert_eq!(until(&mut feed, 1).await, [(ChangeKind::Account, id)]);
}

async fn every_kind_of_write_is_told(db: &Database) {
    let account = connected(&db.store, "Contoso").await.id;
    let mut feed = db.store.change_feed().await.expect("a feed");
    let store = &db.store;
    let (consumer, user) = (ConsumerId::generate(now()), UserId::generate(now()));
    store
        .token_replace(account, consented("2"), None, &by(), now())
        .await
        .expect("replaced");
    until_kind(&mut feed, ChangeKind::Account).await;
    renew(store, account).await;
    until_kind(&mut feed, ChangeKind::Token).await;
    let keys = [(ApiKeyId::generate(now()), [1; 32], "tl_".to_owned())];
    let all = ConsumerGrant::AllAccounts;
    let added = store
        .consumer_add(WORKSPACE, consumer, "x", &all, &keys, &by(), now())
        .await
        .expect("added");
    until_kind(&mut feed, ChangeKind::Consumer).await;
    store
        .api_key_revoke(consumer, added.keys[0].id, &by(), now())
        .await
        .expect("revoked");
    until_kind(&mut feed, ChangeKind::Consumer).await;
    store
        .consumer_remove(consumer, &by(), now())
        .await
        .expect("removed");
    until_kind(&mut feed, ChangeKind::Consumer).await;
    let email = "a@example.com".parse().expect("an address");
    store
        .user_add(user, &email, "$", Role::Operator, &by(), now())
        .await
        .expect("added");
    until_kind(&mut feed, ChangeKind::User).await;
}

async fn nothing_is_told_twice_and_nothing_from_before(db: &Database) {
    add(&db.store, &settings("Before")).await.expect("added");
    let mut feed = db.store.change_feed().await.expect("a feed");
    let mut ids = Vec::new();
    for name in ["A", "B", "C"] {
        ids.push(
            add(&db.store, &settings(name))
                .await
                .expect("added")
                .id
                .to_string(),
        );
        let told = until(&mut feed, 1).await;
        assert_eq!(told, [(ChangeKind::Account, ids[ids.len() - 1].clone())]);
    }
}

async fn a_write_that_was_rolled_back_is_not_told(db: &Database) {
    add(&db.store, &settings("Taken")).await.expect("added");
    let mut feed = db.store.change_feed().await.expect("a feed");
    add(&db.store, &settings("taken"))
        .await
        .expect_err("the name is taken");
    let id = add(&db.store, &settings("Free"))
        .await
        .expect("added")
        .id
        .to_string();
    assert_eq!(until(&mut feed, 1).await, [(ChangeKind::Account, id)]);
}

async fn every_write_of_many_servers_is_told(db: &Database) {
    const EACH: usize = 25;
    let mut feed = db.store.change_feed().await.expect("a feed");
    let mut writers = Vec::new();
    for server in 0..4 {
        let store = db.another().await;
        writers.push(tokio::spawn(async move {
            let mut ids = Vec::new();
            for at in 0..EACH {
                let name = format!("{server} {at}");
                ids.push(
                    add(&store, &settings(&name))
                        .await
                        .expect("added")
                        .id
                        .to_string(),
                );
            }
            ids
        }));
    }
    // Read while they write: numbers are handed out before transactions commit.
    let told = until(&mut feed, 4 * EACH).await;
    let told: BTreeSet<String> = told.into_iter().map(|(_, id)| id).collect();
    let mut written = BTreeSet::new();
    for writer in writers {
        written.extend(writer.await.expect("no panic"));
    }
    assert_eq!(told, written);
}

async fn a_feed_that_was_dropped_while_waiting_loses_nothing(db: &Database) {
    let other = db.another().await;
    let mut feed = db.store.change_feed().await.expect("a feed");
    for name in ["A", "B", "C"] {
        // A select that another branch won: the waiting is dropped at any point of it.
        for ms in [0, 1, 60] {
            let waiting = tokio::time::timeout(Duration::from_millis(ms), feed.next());
            if let Ok(changes) = waiting.await {
                assert!(changes.expect("changes").is_empty());
            }
        }
        let id = add(&other, &settings(name))
            .await
            .expect("added")
            .id
            .to_string();
        assert_eq!(until(&mut feed, 1).await, [(ChangeKind::Account, id)]);
    }
}

async fn old_changes_are_pruned(db: &Database) {
    add(&db.store, &settings("Contoso")).await.expect("added");
    db.store.changes_prune(later(60)).await.expect("pruned");
    assert_eq!(db.number("SELECT COUNT(*) FROM change").await, 1);
    db.store
        .changes_prune(later(100_000))
        .await
        .expect("pruned");
    assert_eq!(db.number("SELECT COUNT(*) FROM change").await, 0);
    // Numbers go on where they were, or a feed would take new changes for old ones.
    let mut feed = db.store.change_feed().await.expect("a feed");
    let id = add(&db.store, &settings("Fabrikam"))
        .await
        .expect("added")
        .id
        .to_string();
    assert_eq!(until(&mut feed, 1).await, [(ChangeKind::Account, id)]);
}

/// Waits for at least `count` changes.
async fn until(feed: &mut ChangeFeed, count: usize) -> Vec<(ChangeKind, String)> {
    let mut told = Vec::new();
    let all = async {
        while told.len() < count {
            let changes = feed.next().await.expect("changes");
            told.extend(changes.into_iter().map(|change| (change.kind, change.id)));
        }
    };
    tokio::time::timeout(PATIENCE, all)
        .await
        .expect("it is told in time");
    told
}

async fn until_kind(feed: &mut ChangeFeed, kind: ChangeKind) {
    let told = async {
        loop {
            let changes = feed.next().await.expect("changes");
            if changes.iter().any(|change| change.kind == kind) {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, told)
        .await
        .expect("it is told in time");
}

async fn renew(store: &Store, id: tieline_core::AccountId) {
    let seen = store
        .token(id)
        .await
        .expect("read")
        .expect("a row")
        .generation;
    assert!(crate::support::lease(store, id, "one").await);
    let change = state(ConnectionState::Connected, "renewed");
    let stored = store
        .token_renewed(id, "one", seen, &renewed("3"), &change, now())
        .await;
    assert!(stored.expect("stored"));
}

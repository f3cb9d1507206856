//! Limits of accounts and consumers, pauses, and what servers tell each other.

use tieline_core::{
    AccountId, AccountLimits, ApiKeyId, ConsumerGrant, ConsumerId, ConsumerLimits, Priority,
};
use tieline_store::{ChangeKind, LimitUse, ServerShare, Span};

use crate::support::{Database, WORKSPACE, add, by, later, now, settings};

on_both!(
    limits_are_read_back_and_the_usual_ones_take_no_row,
    a_consumers_limits_are_read_back,
    a_pause_is_told_and_never_shortened,
    what_was_used_adds_up_and_is_forgotten,
    servers_write_over_their_own_rows_alone,
    what_an_account_left_behind_goes_with_it,
);

async fn limits_are_read_back_and_the_usual_ones_take_no_row(db: &Database) {
    let account = add(&db.store, &settings("Contoso")).await.expect("added");
    let store = &db.store;
    assert_eq!(store.account_limits().await.expect("read"), []);
    let limits = AccountLimits {
        concurrency: 7,
        ..AccountLimits::default()
    };
    store
        .account_limits_set(account.id, &limits, &by(), now())
        .await
        .expect("set");
    let read = store.account_limits().await.expect("read");
    assert_eq!(read, [(account.id, limits)]);
    let usual = AccountLimits::default();
    store
        .account_limits_set(account.id, &usual, &by(), now())
        .await
        .expect("set");
    assert_eq!(store.account_limits().await.expect("read"), []);
    let nobody = AccountId::generate(now());
    let set = store
        .account_limits_set(nobody, &limits, &by(), now())
        .await;
    assert!(set.is_err());
}

async fn a_consumers_limits_are_read_back(db: &Database) {
    let id = ConsumerId::generate(now());
    let keys = [(ApiKeyId::generate(now()), [1; 32], "tl_abc".to_owned())];
    let added = db
        .store
        .consumer_add(
            WORKSPACE,
            id,
            "Job",
            &ConsumerGrant::AllAccounts,
            &keys,
            &by(),
            now(),
        )
        .await
        .expect("added");
    assert_eq!(added.limits, ConsumerLimits::default());
    let limits = ConsumerLimits {
        priority: Priority::Bulk,
        rate: Some(12.5),
        deadline_ms: Some(30_000),
        ..ConsumerLimits::default()
    };
    db.store
        .consumer_limits_set(id, &limits, &by(), later(1))
        .await
        .expect("set");
    let (_, owner) = db
        .store
        .api_key_owner([1; 32])
        .await
        .expect("read")
        .expect("known");
    assert_eq!(owner.limits, limits);
}

async fn a_pause_is_told_and_never_shortened(db: &Database) {
    let account = add(&db.store, &settings("Contoso")).await.expect("added");
    let mut feed = db.store.change_feed().await.expect("a feed");
    let store = db.another().await;
    let pause = |until| store.account_pause(account.id, until, now());
    pause(later(60)).await.expect("told");
    pause(later(30)).await.expect("told");
    let told = loop {
        let changes = feed.next().await.expect("changes");
        if let Some(change) = changes.into_iter().find(|c| c.kind == ChangeKind::Limit) {
            break change;
        }
    };
    assert_eq!(told.id, account.id.to_string());
    assert_eq!(told.generation, later(60).timestamp_millis());
    let pauses = db.store.account_pauses(now()).await.expect("read");
    assert_eq!(pauses, [(account.id, later(60))]);
    assert_eq!(db.store.account_pauses(later(61)).await.expect("read"), []);
    // Of an account that is gone nobody need hear.
    let nobody = AccountId::generate(now());
    let told = db.store.account_pause(nobody, later(60), now());
    told.await.expect("passed over");
}

fn used(consumer: &str, calls: i64) -> LimitUse {
    LimitUse {
        consumer: consumer.to_owned(),
        calls,
        bulk: 1,
        waited_ms: 5,
        ..LimitUse::default()
    }
}

async fn what_was_used_adds_up_and_is_forgotten(db: &Database) {
    let account = add(&db.store, &settings("Contoso")).await.expect("added");
    let store = &db.store;
    for (seconds, calls) in [(0, 2), (1, 3), (3_600, 10)] {
        let uses = [(account.id, used("A", calls)), (account.id, used("", 0))];
        let shared = store.limits_share(&[], &uses, later(seconds));
        shared.await.expect("written");
    }
    let read = |span, since| store.limit_uses(account.id, span, later(since));
    let day = read(Span::Hour, 0).await.expect("read");
    let of = |uses: &[LimitUse], consumer: &str| {
        let found = uses.iter().find(|used| used.consumer == consumer);
        found.map_or(0, |used| used.calls)
    };
    assert_eq!(of(&day, "A"), 15);
    assert_eq!(day.iter().map(|used| used.bulk).sum::<i64>(), 6);
    let minutes = read(Span::Minute, 3_600 - 300).await.expect("read");
    assert_eq!(of(&minutes, "A"), 10);
    store.limits_prune(later(3_600)).await.expect("pruned");
    let minutes = read(Span::Minute, 0).await.expect("read");
    assert_eq!(of(&minutes, "A"), 10);
    let day = read(Span::Hour, 0).await.expect("read");
    assert_eq!(of(&day, "A"), 15);
}

async fn servers_write_over_their_own_rows_alone(db: &Database) {
    let account = add(&db.store, &settings("Contoso")).await.expect("added");
    let share = |server: &str, beat, seconds| ServerShare {
        account: account.id,
        server: server.to_owned(),
        beat,
        at: later(seconds),
        shown: "{}".to_owned(),
    };
    let store = &db.store;
    for shares in [
        vec![share("a", 1, 0), share("b", 1, 0)],
        vec![share("a", 2, 5)],
    ] {
        let shared = store.limits_share(&shares, &[], later(0));
        shared.await.expect("written");
    }
    let read = store.limit_servers(account.id, later(0));
    assert_eq!(
        read.await.expect("read"),
        [share("a", 2, 5), share("b", 1, 0)]
    );
    let read = store.limit_servers(account.id, later(1));
    assert_eq!(read.await.expect("read"), [share("a", 2, 5)]);
    for (me, seconds, others) in [
        ("a", 0, vec![share("b", 1, 0)]),
        ("b", 0, vec![share("a", 2, 5)]),
        ("b", 9, vec![]),
    ] {
        let read = store.limit_servers_besides(me, later(seconds));
        assert_eq!(read.await.expect("read"), others, "{me}");
    }
}

async fn what_an_account_left_behind_goes_with_it(db: &Database) {
    let account = add(&db.store, &settings("Contoso")).await.expect("added");
    let store = &db.store;
    let share = ServerShare {
        account: account.id,
        server: "a".to_owned(),
        beat: 1,
        at: now(),
        shown: "{}".to_owned(),
    };
    let uses = [(account.id, used("A", 1))];
    store
        .limits_share(&[share], &uses, now())
        .await
        .expect("written");
    let id = account.id;
    db.execute(&format!("DELETE FROM account WHERE id = '{id}'"))
        .await;
    let read = store.limit_servers_besides("b", now()).await;
    assert_eq!(read.expect("read"), []);
    // What comes after it is gone is passed over.
    store
        .limits_share(&[], &uses, now())
        .await
        .expect("passed over");
    let read = store.limit_uses(id, Span::Hour, now()).await.expect("read");
    assert_eq!(read, []);
}

//! The keeper's side: leases, renewals, failures, the schedule.

use tieline_core::{Account, AccountId, ConnectionState};
use tieline_store::{FailedRenewal, NewTokens, RenewedTokens, SecretChange, Store, StoreError};

use crate::support::{
    Database, add, by, connected, consented, default, failed, later, now, renewed, secret,
    settings, settings_of, shown, state,
};

on_both!(
    a_lease_is_held_by_one_owner_until_it_lapses,
    a_lease_is_extended_and_released_by_its_owner_only,
    a_renewal_is_stored_whole,
    a_renewal_without_a_new_refresh_token_keeps_the_old_ones,
    a_renewal_of_an_older_generation_writes_nothing,
    a_renewal_without_the_lease_writes_nothing,
    a_failure_is_counted_and_deletes_nothing,
    a_failure_of_an_older_generation_writes_nothing,
    the_history_grows_only_when_state_or_reason_change,
    the_state_lasts_since_it_was_entered,
    a_consent_replaces_the_tokens_and_frees_the_lease,
    a_pasted_token_is_due_at_once,
    a_consented_account_that_nobody_uses_is_due_before_its_token_ends,
    tokens_of_an_update_are_due_too,
    the_schedule_tells_the_most_overdue_first_and_no_more_than_asked,
    deleted_accounts_are_never_due,
);

async fn a_lease_is_held_by_one_owner_until_it_lapses(db: &Database) {
    let id = connected(&db.store, "Contoso").await.id;
    let other = db.another().await;
    assert!(lease(&db.store, id, "one", 30, 0).await);
    assert!(!lease(&other, id, "two", 60, 29).await);
    assert!(lease(&other, id, "two", 60, 30).await, "it has lapsed");
    assert!(!lease(&db.store, id, "one", 60, 31).await);
    let row = other.token(id).await.expect("read").expect("a row");
    assert_eq!(
        (row.lease_owner.as_deref(), row.lease_until),
        (Some("two"), Some(later(60)))
    );
}

async fn a_lease_is_extended_and_released_by_its_owner_only(db: &Database) {
    let id = connected(&db.store, "Contoso").await.id;
    let store = &db.store;
    assert!(
        !store
            .token_lease_extend(id, "one", later(60))
            .await
            .expect("asked")
    );
    assert!(lease(store, id, "one", 30, 0).await);
    assert!(
        !store
            .token_lease_extend(id, "two", later(60))
            .await
            .expect("asked")
    );
    assert!(
        store
            .token_lease_extend(id, "one", later(60))
            .await
            .expect("asked")
    );
    assert!(!lease(store, id, "two", 90, 45).await, "it was extended");
    store
        .token_lease_release(id, "two")
        .await
        .expect("nothing to do");
    assert!(
        !lease(store, id, "two", 90, 45).await,
        "only the owner releases"
    );
    store
        .token_lease_release(id, "one")
        .await
        .expect("released");
    assert!(lease(store, id, "two", 90, 45).await);
}

async fn a_renewal_is_stored_whole(db: &Database) {
    let id = connected(&db.store, "Contoso").await.id;
    let seen = generation(&db.store, id).await;
    assert!(lease(&db.store, id, "one", 30, 0).await);
    let connected = state(ConnectionState::Connected, "renewed");
    let stored = db
        .store
        .token_renewed(id, "one", seen, &renewed("2"), &connected, later(5))
        .await;
    assert!(stored.expect("stored"));
    let row = db
        .another()
        .await
        .token(id)
        .await
        .expect("read")
        .expect("a row");
    assert_eq!(row.generation, seen + 1);
    assert_eq!(shown(row.refresh_token.as_ref()), Some("refresh-2"));
    assert_eq!(
        shown(row.previous_refresh_token.as_ref()),
        Some("refresh-1")
    );
    assert_eq!(shown(row.access_token.as_ref()), Some("access-2"));
    assert_eq!(row.access_expires_at, Some(later(7200)));
    assert_eq!(
        (row.obtained_at, row.renew_at),
        (Some(later(5)), Some(later(3600)))
    );
    assert_eq!((row.lease_owner, row.lease_until), (None, None));
    assert_eq!((row.failures, row.blocked_key), (0, None));
    assert_eq!(row.client_key.as_deref(), Some("client-key"));
}

async fn a_renewal_without_a_new_refresh_token_keeps_the_old_ones(db: &Database) {
    let id = connected(&db.store, "Contoso").await.id;
    renew(&db.store, id, &renewed("2")).await;
    let silent = RenewedTokens {
        refresh_token: None,
        ..renewed("3")
    };
    renew(&db.store, id, &silent).await;
    let row = db.store.token(id).await.expect("read").expect("a row");
    assert_eq!(shown(row.refresh_token.as_ref()), Some("refresh-2"));
    // It may have been the previous one that worked; nobody has told.
    assert_eq!(
        shown(row.previous_refresh_token.as_ref()),
        Some("refresh-1")
    );
    assert_eq!(shown(row.access_token.as_ref()), Some("access-3"));
}

async fn a_renewal_of_an_older_generation_writes_nothing(db: &Database) {
    let id = connected(&db.store, "Contoso").await.id;
    let seen = generation(&db.store, id).await;
    renew(&db.store, id, &renewed("2")).await;
    assert!(lease(&db.store, id, "late", 60, 0).await);
    let change = state(ConnectionState::Misconfigured, "late");
    let stored = db
        .store
        .token_renewed(id, "late", seen, &renewed("9"), &change, now())
        .await;
    assert!(!stored.expect("asked"));
    let row = db.store.token(id).await.expect("read").expect("a row");
    assert_eq!(shown(row.refresh_token.as_ref()), Some("refresh-2"));
    assert_eq!(shown(row.access_token.as_ref()), Some("access-2"));
    assert_eq!(
        account(&db.store, id).await.connection.state,
        ConnectionState::Connected
    );
}

async fn a_renewal_without_the_lease_writes_nothing(db: &Database) {
    let id = connected(&db.store, "Contoso").await.id;
    let seen = generation(&db.store, id).await;
    let change = state(ConnectionState::Connected, "renewed");
    let store = &db.store;
    let unleased = store
        .token_renewed(id, "one", seen, &renewed("2"), &change, now())
        .await;
    assert!(!unleased.expect("asked"));
    assert!(lease(store, id, "two", 30, 0).await);
    let other = store
        .token_renewed(id, "one", seen, &renewed("2"), &change, now())
        .await;
    assert!(!other.expect("asked"));
    assert_eq!(generation(store, id).await, seen);
}

async fn a_failure_is_counted_and_deletes_nothing(db: &Database) {
    let id = connected(&db.store, "Contoso").await.id;
    let seen = generation(&db.store, id).await;
    for (failures, blocked) in [(1, None), (2, Some("v1g1".to_owned()))] {
        assert!(lease(&db.store, id, "one", 30, 0).await);
        let failed = FailedRenewal {
            blocked_key: blocked.clone(),
            renew_at: Some(later(90)),
        };
        let change = state(ConnectionState::NeedsConsent, "consent-lost");
        let stored = db
            .store
            .token_failed(id, "one", seen, &failed, &change, now())
            .await;
        assert!(stored.expect("stored"));
        let row = db.store.token(id).await.expect("read").expect("a row");
        assert_eq!((row.failures, row.blocked_key), (failures, blocked));
        assert_eq!((row.renew_at, row.lease_owner), (Some(later(90)), None));
        assert_eq!(shown(row.refresh_token.as_ref()), Some("refresh-1"));
        assert_eq!(shown(row.access_token.as_ref()), Some("access-1"));
        assert_eq!(row.generation, seen);
    }
    let before = account(&db.store, id).await;
    assert_eq!(before.connection.state, ConnectionState::NeedsConsent);
    renew(&db.store, id, &renewed("2")).await;
    let row = db.store.token(id).await.expect("read").expect("a row");
    assert_eq!((row.failures, row.blocked_key), (0, None));
    // A state is no setting: a form that is open meanwhile does not become stale by it.
    assert_eq!(account(&db.store, id).await.version, before.version);
}

async fn a_failure_of_an_older_generation_writes_nothing(db: &Database) {
    let id = connected(&db.store, "Contoso").await.id;
    let seen = generation(&db.store, id).await;
    renew(&db.store, id, &renewed("2")).await;
    assert!(lease(&db.store, id, "late", 60, 0).await);
    let change = state(ConnectionState::NeedsConsent, "consent-lost");
    let stored = db
        .store
        .token_failed(id, "late", seen, &failed(None), &change, now())
        .await;
    assert!(!stored.expect("asked"));
    let row = db.store.token(id).await.expect("read").expect("a row");
    assert_eq!((row.failures, row.renew_at), (0, Some(later(3600))));
    assert_eq!(
        account(&db.store, id).await.connection.state,
        ConnectionState::Connected
    );
}

async fn the_history_grows_only_when_state_or_reason_change(db: &Database) {
    let id = connected(&db.store, "Contoso").await.id;
    let steps = [
        (ConnectionState::Degraded, "token-service-busy"),
        (ConnectionState::Degraded, "token-service-busy"),
        (ConnectionState::Degraded, "secret-expired"),
        (ConnectionState::Misconfigured, "secret-expired"),
        (ConnectionState::Misconfigured, "secret-expired"),
    ];
    let seen = generation(&db.store, id).await;
    for (at, (word, code)) in (1..).zip(steps) {
        assert!(lease(&db.store, id, "one", 600, 0).await);
        let change = state(word, code);
        let store = &db.store;
        store
            .token_failed(id, "one", seen, &failed(None), &change, later(at))
            .await
            .expect("told");
    }
    renew(&db.store, id, &renewed("2")).await;
    let events = db.store.account_events(id, 10).await.expect("read");
    let told: Vec<_> = events
        .iter()
        .rev()
        .map(|e| (e.to, e.reason.code.as_str()))
        .collect();
    assert_eq!(
        told[1..],
        [
            (ConnectionState::Degraded, "token-service-busy"),
            (ConnectionState::Degraded, "secret-expired"),
            (ConnectionState::Misconfigured, "secret-expired"),
            (ConnectionState::Connected, "renewed"),
        ]
    );
    assert_eq!(events[0].from, Some(ConnectionState::Misconfigured));
    assert_eq!(
        db.store.account_events(id, 2).await.expect("read"),
        events[..2]
    );
}

async fn the_state_lasts_since_it_was_entered(db: &Database) {
    let id = connected(&db.store, "Contoso").await.id;
    let seen = generation(&db.store, id).await;
    for (at, code) in [(10, "token-service-busy"), (20, "token-service-slow")] {
        assert!(lease(&db.store, id, "one", 600, 0).await);
        let change = state(ConnectionState::Unreachable, code);
        let store = &db.store;
        store
            .token_failed(id, "one", seen, &failed(None), &change, later(at))
            .await
            .expect("told");
    }
    let connection = account(&db.store, id).await.connection;
    assert_eq!(connection.since, later(10));
    assert_eq!(connection.reason.code, "token-service-slow");
}

async fn a_consent_replaces_the_tokens_and_frees_the_lease(db: &Database) {
    let id = add(&db.store, &settings("Contoso"))
        .await
        .expect("added")
        .id;
    let seen = generation(&db.store, id).await;
    assert!(lease(&db.store, id, "slow", 600, 0).await);
    db.store
        .token_replace(id, consented("5"), Some(later(1800)), &by(), later(7))
        .await
        .expect("replaced");
    let row = db.store.token(id).await.expect("read").expect("a row");
    assert!(row.generation > seen);
    assert_eq!(shown(row.refresh_token.as_ref()), Some("refresh-5"));
    assert_eq!(shown(row.previous_refresh_token.as_ref()), None);
    assert_eq!((row.lease_owner, row.renew_at), (None, Some(later(1800))));
    let account = account(&db.store, id).await;
    assert_eq!(account.connection.state, ConnectionState::Connected);
    assert_eq!(account.consent, consented("5").consent);
    // Who was renewing the old tokens meanwhile comes too late.
    let change = state(ConnectionState::Connected, "renewed");
    let late = db
        .store
        .token_renewed(id, "slow", seen, &renewed("9"), &change, now())
        .await;
    assert!(!late.expect("asked"));
}

async fn a_pasted_token_is_due_at_once(db: &Database) {
    let id = AccountId::generate(now());
    let tokens = Some(pasted());
    let store = &db.store;
    let account = store
        .account_add(
            crate::support::WORKSPACE,
            id,
            crate::support::TYPE,
            &default("Moved"),
            None,
            tokens,
            &by(),
            now(),
        )
        .await
        .expect("added");
    // Nobody has seen it work yet.
    assert_eq!(account.connection.state, ConnectionState::NotConnected);
    assert_eq!(store.tokens_due(now(), 10).await.expect("read"), [id]);
}

async fn a_consented_account_that_nobody_uses_is_due_before_its_token_ends(db: &Database) {
    let id = connected(&db.store, "Contoso").await.id;
    assert!(
        db.store
            .tokens_due(now(), 10)
            .await
            .expect("read")
            .is_empty()
    );
    assert_eq!(
        db.store.tokens_due(later(3599), 10).await.expect("read"),
        [id]
    );
}

async fn tokens_of_an_update_are_due_too(db: &Database) {
    let store = &db.store;
    for (name, tokens, due) in [
        ("Consented", consented("1"), later(3599)),
        ("Pasted", pasted(), now()),
    ] {
        let account = add(store, &settings(name)).await.expect("added");
        let (settings, version) = (settings_of(&account), account.version);
        let keep = SecretChange::Keep;
        store
            .account_update(
                account.id,
                version,
                &settings,
                keep,
                Some(tokens),
                &by(),
                now(),
            )
            .await
            .expect("updated");
        let due = store.tokens_due(due, 10).await.expect("read");
        assert!(due.contains(&account.id), "{name}");
    }
}

async fn the_schedule_tells_the_most_overdue_first_and_no_more_than_asked(db: &Database) {
    let mut ids = Vec::new();
    for (name, due) in [("A", 30), ("B", 10), ("C", 20), ("D", 500)] {
        let id = add(&db.store, &settings(name)).await.expect("added").id;
        db.store
            .token_schedule(id, Some(later(due)))
            .await
            .expect("scheduled");
        ids.push(id);
    }
    let due = db.store.tokens_due(later(100), 10).await.expect("read");
    assert_eq!(due, [ids[1], ids[2], ids[0]]);
    assert_eq!(
        db.store.tokens_due(later(100), 2).await.expect("read"),
        due[..2]
    );
    db.store
        .token_schedule(ids[1], None)
        .await
        .expect("scheduled");
    assert_eq!(
        db.store.tokens_due(later(100), 10).await.expect("read"),
        due[1..]
    );
}

async fn deleted_accounts_are_never_due(db: &Database) {
    let id = connected(&db.store, "Contoso").await.id;
    let seen = generation(&db.store, id).await;
    assert!(lease(&db.store, id, "one", 30, 0).await);
    db.store
        .account_delete(id, &by(), now())
        .await
        .expect("deleted");
    // A renewal that was under way still keeps its refresh token: the account may come back.
    let change = state(ConnectionState::Connected, "renewed");
    let stored = db
        .store
        .token_renewed(id, "one", seen, &renewed("2"), &change, now())
        .await;
    assert!(stored.expect("stored"));
    db.store
        .token_schedule(id, Some(now()))
        .await
        .expect("scheduled");
    assert!(
        db.store
            .tokens_due(later(100_000), 10)
            .await
            .expect("read")
            .is_empty()
    );
    db.store
        .account_restore(id, &by(), later(60))
        .await
        .expect("restored");
    let row = db.store.token(id).await.expect("read").expect("a row");
    assert_eq!(shown(row.refresh_token.as_ref()), Some("refresh-2"));
}

fn pasted() -> NewTokens {
    NewTokens {
        refresh_token: Some(secret("pasted")),
        access_token: None,
        access_expires_at: None,
        scope: None,
        ..consented("1")
    }
}

async fn lease(store: &Store, id: AccountId, owner: &str, until: i64, at: i64) -> bool {
    store
        .token_lease(id, owner, later(until), later(at))
        .await
        .expect("asked")
}

async fn generation(store: &Store, id: AccountId) -> i64 {
    store
        .token(id)
        .await
        .expect("read")
        .expect("a row")
        .generation
}

async fn account(store: &Store, id: AccountId) -> Account {
    store.account(id).await.expect("read").expect("there")
}

async fn renew(store: &Store, id: AccountId, tokens: &RenewedTokens) {
    let seen = generation(store, id).await;
    assert!(lease(store, id, "renewer", 30, 0).await);
    let change = state(ConnectionState::Connected, "renewed");
    let stored: Result<bool, StoreError> = store
        .token_renewed(id, "renewer", seen, tokens, &change, now())
        .await;
    assert!(stored.expect("stored"));
}

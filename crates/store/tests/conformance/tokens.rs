//! The keeper's side: leases, renewals, failures, the schedule.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use tieline_core::{Account, AccountId, ConnectionState, RotationSeen};
use tieline_store::{
    FailedRenewal, LeasePurpose, LeaseWish, MarkAfter, NewTokens, RenewedTokens, SecretChange,
    Store, StoreError,
};

use crate::support::{
    Database, add, by, connected, consented, default, due, failed, later, lease, lease_for, now,
    renewed, secret, settings, settings_of, shown, state,
};

on_both!(
    a_lease_is_held_by_one_owner_until_it_lapses,
    a_lease_from_a_clock_that_was_wrong_counts_as_lapsed,
    a_lease_is_not_given_on_a_row_that_changed,
    the_mark_is_set_with_the_lease_and_outlives_it,
    a_mark_that_was_taken_over_stores_nothing,
    an_unknown_end_keeps_the_mark,
    claims_last_until_they_are_met,
    a_lease_is_extended_and_released_by_its_owner_only,
    a_renewal_is_stored_whole,
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
    the_schedule_gives_the_most_overdue_first_and_no_more_than_asked,
    servers_share_what_is_due,
    plans_of_a_wrong_clock_are_brought_back,
    accounts_are_counted_by_state,
    deleted_accounts_are_never_due,
);

async fn a_lease_is_held_by_one_owner_until_it_lapses(db: &Database) {
    let id = connected(&db.store, "Contoso").await.id;
    let other = db.another().await;
    assert!(lease(&db.store, id, "one").await);
    assert!(!lease(&other, id, "two").await);
    let row = other.token(id).await.expect("read").expect("a row");
    let held = row.lease.expect("a lease");
    assert_eq!(held.owner, "one");
    assert!(held.left > TimeDelta::zero() && held.left <= TimeDelta::seconds(60));
    lapse(db).await;
    let row = other.token(id).await.expect("read").expect("a row");
    assert_eq!(row.lease, None);
    assert!(lease(&other, id, "two").await, "it has lapsed");
    assert!(!lease(&db.store, id, "one").await);
}

async fn a_lease_from_a_clock_that_was_wrong_counts_as_lapsed(db: &Database) {
    let id = connected(&db.store, "Contoso").await.id;
    assert!(lease(&db.store, id, "one").await);
    // A hundred days.
    db.execute("UPDATE account_token SET lease_until = lease_until + 8640000000")
        .await;
    let row = db.store.token(id).await.expect("read").expect("a row");
    assert_eq!(row.lease, None);
    assert!(lease(&db.store, id, "two").await);
}

async fn a_lease_is_not_given_on_a_row_that_changed(db: &Database) {
    let id = connected(&db.store, "Contoso").await.id;
    let seen = generation(&db.store, id).await;
    let wish = |seen, marked_by| LeaseWish {
        owner: "late",
        seen,
        marked_by,
        purpose: LeasePurpose::Spend,
        life: TimeDelta::seconds(60),
    };
    let taken = async |wish| db.store.token_lease(id, &wish).await.expect("asked");
    assert!(!taken(wish(seen - 1, None)).await, "another generation");
    assert!(!taken(wish(seen, Some("gone"))).await, "another mark");
    assert!(taken(wish(seen, None)).await);
    lapse(db).await;
    assert!(!taken(wish(seen, None)).await, "it was marked since");
    assert!(taken(wish(seen, Some("late"))).await);
}

async fn the_mark_is_set_with_the_lease_and_outlives_it(db: &Database) {
    let id = connected(&db.store, "Contoso").await.id;
    let mark = async || {
        let row = db.store.token(id).await.expect("read").expect("a row");
        row.spending.map(|mark| mark.owner)
    };
    assert!(lease_for(&db.store, id, "looks", LeasePurpose::Other).await);
    assert_eq!(mark().await, None);
    lapse(db).await;
    assert!(lease(&db.store, id, "sends").await);
    lapse(db).await;
    assert_eq!(mark().await.as_deref(), Some("sends"));
    assert!(lease_for(&db.store, id, "looks", LeasePurpose::Other).await);
    assert_eq!(mark().await.as_deref(), Some("sends"));
    // A failure of somebody else's does not clear it.
    let seen = generation(&db.store, id).await;
    let change = state(ConnectionState::Degraded, "renewal-unanswered");
    let store = &db.store;
    let told = store
        .token_failed(id, "looks", seen, &failed(None), &change, now())
        .await;
    assert!(told.expect("told"));
    assert_eq!(mark().await.as_deref(), Some("sends"));
    // And who sent it may still bring what came.
    let renewed = renewed("2");
    let change = state(ConnectionState::Connected, "renewed");
    let late = store
        .token_renewed(id, "sends", seen, &renewed, &change, now())
        .await;
    assert!(late.expect("asked"));
    assert_eq!(mark().await, None);
}

async fn a_mark_that_was_taken_over_stores_nothing(db: &Database) {
    let id = connected(&db.store, "Contoso").await.id;
    let seen = generation(&db.store, id).await;
    assert!(lease(&db.store, id, "slow").await);
    lapse(db).await;
    assert!(lease(&db.store, id, "quick").await);
    let change = state(ConnectionState::Connected, "renewed");
    let (late, failure) = (renewed("late"), failed(None));
    let store = &db.store;
    let stored = store
        .token_renewed(id, "slow", seen, &late, &change, now())
        .await;
    assert!(!stored.expect("asked"));
    let told = store
        .token_failed(id, "slow", seen, &failure, &change, now())
        .await;
    assert!(!told.expect("asked"));
    let quick = renewed("quick");
    let stored = store
        .token_renewed(id, "quick", seen, &quick, &change, now())
        .await;
    assert!(stored.expect("asked"));
}

async fn an_unknown_end_keeps_the_mark(db: &Database) {
    let id = connected(&db.store, "Contoso").await.id;
    let seen = generation(&db.store, id).await;
    assert!(lease(&db.store, id, "one").await);
    let unknown = FailedRenewal {
        mark: MarkAfter::Keep,
        rotation_seen: Some(RotationSeen::Punishes),
        ..failed(Some(later(9)))
    };
    let change = state(ConnectionState::Unreachable, "connection-cut");
    let store = &db.store;
    let told = store
        .token_failed(id, "one", seen, &unknown, &change, now())
        .await;
    assert!(told.expect("told"));
    let row = store.token(id).await.expect("read").expect("a row");
    assert_eq!(row.spending.map(|mark| mark.owner).as_deref(), Some("one"));
    assert_eq!(row.lease, None);
    // What was learned the hard way is not forgotten over a success.
    let kept = RenewedTokens {
        rotation_seen: Some(RotationSeen::Keeps),
        ..renewed("2")
    };
    renew(store, id, &kept).await;
    let row = store.token(id).await.expect("read").expect("a row");
    assert_eq!(row.rotation_seen, Some(RotationSeen::Punishes));
    let account = account(store, id).await;
    assert_eq!(account.connection.next_attempt_at, None, "none is needed");
}

async fn claims_last_until_they_are_met(db: &Database) {
    let id = connected(&db.store, "Contoso").await.id;
    let store = &db.store;
    let read = async || {
        let row = store.token(id).await.expect("read").expect("a row");
        (row.claims, row.refused_generation, row.generation)
    };
    store.token_claims(id, "{\"a\":1}").await.expect("kept");
    let (claims, refused, generation) = read().await;
    assert_eq!(
        (claims.as_deref(), refused),
        (Some("{\"a\":1}"), Some(generation))
    );
    // Others came while these were being met: the new token does not meet them.
    let met = |text: &str| RenewedTokens {
        claims_met: Some(text.to_owned()),
        ..renewed("2")
    };
    store.token_claims(id, "{\"b\":1}").await.expect("kept");
    renew(store, id, &met("{\"a\":1}")).await;
    let (claims, refused, generation) = read().await;
    assert_eq!(
        (claims.as_deref(), refused),
        (Some("{\"b\":1}"), Some(generation))
    );
    renew(store, id, &met("{\"b\":1}")).await;
    let (claims, refused, _) = read().await;
    assert_eq!((claims, refused), (None, None));
    // Those of a refusal are for a person, and say nothing against the token.
    let refusal = FailedRenewal {
        claims: Some("{\"c\":1}".to_owned()),
        ..failed(None)
    };
    assert!(lease(store, id, "one").await);
    let seen = self::generation(store, id).await;
    let change = state(ConnectionState::NeedsConsent, "mfa-required");
    let told = store
        .token_failed(id, "one", seen, &refusal, &change, now())
        .await;
    assert!(told.expect("told"));
    let (claims, refused, _) = read().await;
    assert_eq!((claims.as_deref(), refused), (Some("{\"c\":1}"), None));
    store
        .token_replace(id, consented("5"), None, &by(), later(7))
        .await
        .expect("replaced");
    assert_eq!(read().await.0, None);
}

async fn a_lease_is_extended_and_released_by_its_owner_only(db: &Database) {
    let id = connected(&db.store, "Contoso").await.id;
    let store = &db.store;
    let minute = TimeDelta::seconds(60);
    let extend = async |owner| {
        let extended = store.token_lease_extend(id, owner, minute).await;
        extended.expect("asked")
    };
    assert!(!extend("one").await);
    assert!(lease(store, id, "one").await);
    assert!(!extend("two").await);
    lapse(db).await;
    assert!(extend("one").await, "nobody has taken it meanwhile");
    assert!(!lease(store, id, "two").await, "it was extended");
    let released = store.token_lease_release(id, "two").await;
    released.expect("nothing to do");
    assert!(!lease(store, id, "two").await, "only the owner releases");
    store
        .token_lease_release(id, "one")
        .await
        .expect("released");
    let row = store.token(id).await.expect("read").expect("a row");
    assert_eq!(row.spending, None, "who releases has sent nothing");
    assert!(lease(store, id, "two").await);
}

async fn a_renewal_is_stored_whole(db: &Database) {
    let id = connected(&db.store, "Contoso").await.id;
    let seen = generation(&db.store, id).await;
    assert!(lease(&db.store, id, "one").await);
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
        Some("refresh-before")
    );
    assert_eq!(shown(row.access_token.as_ref()), Some("access-2"));
    assert_eq!(row.access_expires_at, Some(later(7200)));
    assert_eq!(
        (row.obtained_at, row.renew_at),
        (Some(later(5)), Some(later(3600)))
    );
    assert_eq!((row.lease, row.spending), (None, None));
    assert_eq!((row.failures, row.blocked_key), (0, None));
    assert_eq!(row.client_key.as_deref(), Some("client-key"));
}

async fn a_renewal_of_an_older_generation_writes_nothing(db: &Database) {
    let id = connected(&db.store, "Contoso").await.id;
    let seen = generation(&db.store, id).await;
    renew(&db.store, id, &renewed("2")).await;
    assert!(lease(&db.store, id, "late").await);
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
    assert!(lease(store, id, "two").await);
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
        assert!(lease(&db.store, id, "one").await);
        let failed = FailedRenewal {
            blocked_key: blocked.clone(),
            ..failed(Some(later(90)))
        };
        let change = state(ConnectionState::NeedsConsent, "consent-lost");
        let stored = db
            .store
            .token_failed(id, "one", seen, &failed, &change, now())
            .await;
        assert!(stored.expect("stored"));
        let row = db.store.token(id).await.expect("read").expect("a row");
        assert_eq!((row.failures, row.blocked_key), (failures, blocked));
        assert_eq!((row.renew_at, row.lease), (Some(later(90)), None));
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
    assert!(lease(&db.store, id, "late").await);
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
        assert!(lease(&db.store, id, "one").await);
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
        assert!(lease(&db.store, id, "one").await);
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
    assert!(lease(&db.store, id, "slow").await);
    db.store
        .token_replace(id, consented("5"), Some(later(1800)), &by(), later(7))
        .await
        .expect("replaced");
    let row = db.store.token(id).await.expect("read").expect("a row");
    assert!(row.generation > seen);
    assert_eq!(shown(row.refresh_token.as_ref()), Some("refresh-5"));
    assert_eq!(shown(row.previous_refresh_token.as_ref()), None);
    assert_eq!((row.lease, row.renew_at), (None, Some(later(1800))));
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
    assert_eq!(due(store, now(), 10).await, [id].into());
}

async fn a_consented_account_that_nobody_uses_is_due_before_its_token_ends(db: &Database) {
    let id = connected(&db.store, "Contoso").await.id;
    assert!(due(&db.store, now(), 10).await.is_empty());
    assert_eq!(due(&db.store, later(3599), 10).await, [id].into());
}

async fn tokens_of_an_update_are_due_too(db: &Database) {
    let store = &db.store;
    for (name, tokens, at) in [
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
        assert!(due(store, at, 10).await.contains(&account.id), "{name}");
    }
}

async fn the_schedule_gives_the_most_overdue_first_and_no_more_than_asked(db: &Database) {
    let mut ids = Vec::new();
    for (name, due) in [("A", 30), ("B", 10), ("C", 20), ("D", 500)] {
        let id = add(&db.store, &settings(name)).await.expect("added").id;
        db.store
            .token_schedule(id, Some(later(due)))
            .await
            .expect("scheduled");
        ids.push(id);
    }
    let store = &db.store;
    // Every claim puts what it took at the end of the line.
    let first = store
        .tokens_claim(later(100), later(130), 2)
        .await
        .expect("claimed");
    let first: BTreeSet<_> = first.into_iter().map(|(id, _)| id).collect();
    assert_eq!(first, [ids[1], ids[2]].into());
    assert_eq!(due(store, later(100), 10).await, [ids[0]].into());
    store.token_schedule(ids[0], None).await.expect("scheduled");
    assert!(due(store, later(100), 10).await.is_empty());
    // Should the claimant have died.
    assert_eq!(due(store, later(130), 10).await, [ids[1], ids[2]].into());
    assert_eq!(
        store.token_next_due().await.expect("read"),
        Some(later(130))
    );
}

async fn servers_share_what_is_due(db: &Database) {
    let mut ids = BTreeSet::new();
    for number in 0..24 {
        let id = add(&db.store, &settings(&format!("Account {number}")))
            .await
            .expect("added")
            .id;
        db.store
            .token_schedule(id, Some(later(number)))
            .await
            .expect("scheduled");
        ids.insert(id);
    }
    let other = db.another().await;
    let claim = async |store: &Store| {
        let mut mine = Vec::new();
        loop {
            let claimed = store
                .tokens_claim(later(60), later(120), 3)
                .await
                .expect("claimed");
            if claimed.is_empty() {
                return mine;
            }
            mine.extend(claimed.into_iter().map(|(id, _)| id));
        }
    };
    let (one, two) = tokio::join!(claim(&db.store), claim(&other));
    assert_eq!(one.len() + two.len(), ids.len(), "none is given twice");
    let all: BTreeSet<_> = one.into_iter().chain(two).collect();
    // Who passes another by may come too early to its end; the next look finds the rest.
    assert_eq!(all, ids);
}

async fn plans_of_a_wrong_clock_are_brought_back(db: &Database) {
    let id = connected(&db.store, "Contoso").await.id;
    let hundred_days = 100 * 24 * 3600;
    db.store
        .token_schedule(id, Some(later(hundred_days)))
        .await
        .expect("scheduled");
    let two_days = later(48 * 3600);
    assert_eq!(
        db.store
            .tokens_replan(now(), two_days)
            .await
            .expect("replanned"),
        1
    );
    assert_eq!(
        db.store
            .tokens_replan(now(), two_days)
            .await
            .expect("replanned"),
        0
    );
    assert_eq!(due(&db.store, later(3600), 10).await, [id].into());
}

async fn accounts_are_counted_by_state(db: &Database) {
    connected(&db.store, "Contoso").await;
    connected(&db.store, "Fabrikam").await;
    add(&db.store, &settings("New")).await.expect("added");
    let mut counted = db.store.accounts_by_state().await.expect("counted");
    counted.sort();
    let expected = [("connected".to_owned(), 2), ("not_connected".to_owned(), 1)];
    assert_eq!(counted, expected);
}

async fn deleted_accounts_are_never_due(db: &Database) {
    let id = connected(&db.store, "Contoso").await.id;
    let seen = generation(&db.store, id).await;
    assert!(lease(&db.store, id, "one").await);
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
    assert!(due(&db.store, later(100_000), 10).await.is_empty());
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

async fn lapse(db: &Database) {
    db.execute("UPDATE account_token SET lease_until = 0").await;
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
    assert!(lease(store, id, "renewer").await);
    let change = state(ConnectionState::Connected, "renewed");
    let stored: Result<bool, StoreError> = store
        .token_renewed(id, "renewer", seen, tokens, &change, now())
        .await;
    assert!(stored.expect("stored"));
}

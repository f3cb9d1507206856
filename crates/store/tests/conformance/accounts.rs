//! Accounts: settings, the default, versions, deletion, history.

use tieline_core::{AccountId, AccountName, ConnectionState, GrantType};
use tieline_store::{AccountSettings, SecretChange, StoreError};

use crate::support::{
    Database, TYPE, WORKSPACE, add, by, connected, consented, default, later, now, secret,
    settings, settings_of,
};

on_both!(
    an_account_is_read_back_as_it_was_added,
    optional_properties_may_be_missing,
    texts_survive_whatever_they_hold,
    names_are_unique_without_regard_to_case,
    accounts_are_found_by_name_and_listed_by_name,
    a_key_that_no_name_has_finds_nothing,
    the_first_account_of_a_type_becomes_the_default,
    the_default_moves_in_one_step,
    an_update_counts_the_version_and_a_stale_one_changes_nothing,
    an_update_to_a_taken_name_changes_nothing,
    a_changed_client_leaves_the_tokens_alone,
    a_secret_is_kept_replaced_or_cleared,
    who_loses_the_default_is_a_newer_version,
    a_deleted_account_frees_its_name_and_its_place_as_default,
    a_deleted_account_comes_back_with_its_secrets,
    a_restored_account_cannot_take_a_name_back,
    what_is_not_there_is_not_found,
    every_change_leaves_an_audit_event_that_names_no_secret,
    the_history_tells_how_the_connection_began,
);

async fn an_account_is_read_back_as_it_was_added(db: &Database) {
    let settings = AccountSettings {
        notes: "first line\nsecond line".to_owned(),
        grant: GrantType::ClientCredentials,
        secret_expires_on: "2027-02-28".parse().ok(),
        ..default("Contoso Sales")
    };
    let id = AccountId::generate(now());
    let added = db
        .store
        .account_add(
            WORKSPACE,
            id,
            TYPE,
            &settings,
            Some(secret("s")),
            Some(consented("1")),
            &by(),
            now(),
        )
        .await
        .expect("added");
    let read = db.store.account(id).await.expect("read").expect("there");
    assert_eq!(read, added);
    assert_eq!(read.name, settings.name);
    assert_eq!(read.notes, settings.notes);
    assert_eq!(read.grant, GrantType::ClientCredentials);
    assert_eq!(read.authorization_url, settings.authorization_url);
    assert_eq!(read.token_url, settings.token_url);
    assert_eq!(read.api_url, settings.api_url);
    assert_eq!(read.client_id, settings.client_id);
    let info = read.client_secret.expect("a secret");
    assert_eq!(
        (info.set_at, info.expires_on),
        (now(), settings.secret_expires_on)
    );
    assert_eq!(read.consent, consented("1").consent);
    assert_eq!((read.created_at, read.changed_at), (now(), now()));
    assert_eq!(read.created_by, by().to_string());
    assert_eq!(read.connection.state, ConnectionState::Connected);
}

async fn optional_properties_may_be_missing(db: &Database) {
    let account = add(&db.store, &settings("Bare")).await.expect("added");
    assert_eq!(account.client_secret, None);
    assert_eq!(account.consent, None);
    assert_eq!(account.connection.state, ConnectionState::NotConnected);
    let secret = db.store.account_client_secret(account.id).await;
    assert!(secret.expect("read").is_none());
    let row = db
        .store
        .token(account.id)
        .await
        .expect("read")
        .expect("a row");
    assert!(row.refresh_token.is_none() && row.access_token.is_none());
    assert!(row.renew_at.is_none() && row.lease.is_none());
}

async fn texts_survive_whatever_they_hold(db: &Database) {
    let settings = AccountSettings {
        notes: "'; DROP TABLE account; -- \"$1\" \\ 営業 🎧 \u{202e}".to_owned(),
        ..settings("営業部 '\"%_\\")
    };
    let account = add(&db.store, &settings).await.expect("added");
    assert_eq!(account.name, settings.name);
    assert_eq!(account.notes, settings.notes);
    let found = db
        .store
        .account_by_name(WORKSPACE, &settings.name.key())
        .await;
    assert_eq!(found.expect("read").map(|found| found.id), Some(account.id));
}

async fn names_are_unique_without_regard_to_case(db: &Database) {
    add(&db.store, &settings("Contoso Straße"))
        .await
        .expect("added");
    let again = add(&db.store, &settings("CONTOSO straße")).await;
    assert!(matches!(again, Err(StoreError::NameTaken)), "{again:?}");
    assert_eq!(db.store.accounts(WORKSPACE).await.expect("read").len(), 1);
    assert_eq!(db.number("SELECT COUNT(*) FROM audit_event").await, 1);
}

async fn accounts_are_found_by_name_and_listed_by_name(db: &Database) {
    for name in ["beta", "Alpha", "10", "_under", "Émile", "alpha 2"] {
        add(&db.store, &settings(name)).await.expect("added");
    }
    let listed = db.store.accounts(WORKSPACE).await.expect("read");
    let names: Vec<&str> = listed.iter().map(|account| account.name.as_str()).collect();
    assert_eq!(names, ["10", "_under", "Alpha", "alpha 2", "beta", "Émile"]);
    let key = AccountName::key_of("  ALPHA ");
    let found = db
        .store
        .account_by_name(WORKSPACE, &key)
        .await
        .expect("read");
    assert_eq!(
        found.map(|found| found.name.to_string()),
        Some("Alpha".to_owned())
    );
}

async fn a_key_that_no_name_has_finds_nothing(db: &Database) {
    add(&db.store, &settings("Contoso")).await.expect("added");
    // A path may hold any byte; PostgreSQL's text cannot hold the first of these.
    for key in [
        "contoso\0",
        "\0",
        "",
        "%",
        "contos_",
        "' OR 1=1 --",
        &"x".repeat(100_000),
    ] {
        let found = db.store.account_by_name(WORKSPACE, key).await;
        assert!(found.as_ref().is_ok_and(Option::is_none), "{found:?}");
    }
}

async fn the_first_account_of_a_type_becomes_the_default(db: &Database) {
    assert!(
        db.store
            .account_default(WORKSPACE, TYPE)
            .await
            .expect("read")
            .is_none()
    );
    let first = add(&db.store, &settings("First")).await.expect("added");
    let second = add(&db.store, &settings("Second")).await.expect("added");
    assert!(first.is_default && !second.is_default);
    let default = db
        .store
        .account_default(WORKSPACE, TYPE)
        .await
        .expect("read");
    assert_eq!(default.map(|account| account.id), Some(first.id));
}

async fn the_default_moves_in_one_step(db: &Database) {
    let first = add(&db.store, &settings("First")).await.expect("added");
    let second = add(&db.store, &default("Second")).await.expect("added");
    let third = add(&db.store, &settings("Third")).await.expect("added");
    assert_eq!(defaults(db).await, [second.id]);
    db.store
        .account_set_default(third.id, &by(), now())
        .await
        .expect("moved");
    assert_eq!(defaults(db).await, [third.id]);
    let settings = AccountSettings {
        is_default: true,
        ..settings_of(&first)
    };
    let version = version(db, first.id).await;
    let updated = db
        .store
        .account_update(
            first.id,
            version,
            &settings,
            SecretChange::Keep,
            None,
            &by(),
            now(),
        )
        .await;
    assert!(updated.expect("updated").is_default);
    assert_eq!(defaults(db).await, [first.id]);
    db.store
        .account_set_default(first.id, &by(), now())
        .await
        .expect("it stays");
    assert_eq!(defaults(db).await, [first.id]);
}

async fn an_update_counts_the_version_and_a_stale_one_changes_nothing(db: &Database) {
    let before = add(&db.store, &settings("Contoso")).await.expect("added");
    let mine = AccountSettings {
        notes: "mine".to_owned(),
        ..settings_of(&before)
    };
    let theirs = AccountSettings {
        notes: "theirs".to_owned(),
        ..settings_of(&before)
    };
    let keep = SecretChange::Keep;
    let updated = db
        .store
        .account_update(
            before.id,
            before.version,
            &mine,
            keep,
            None,
            &by(),
            later(1),
        )
        .await
        .expect("updated");
    assert!(updated.version > before.version);
    assert_eq!((updated.created_at, updated.changed_at), (now(), later(1)));
    let set = SecretChange::Set(secret("never stored"));
    let stale = db
        .store
        .account_update(
            before.id,
            before.version,
            &theirs,
            set,
            Some(consented("9")),
            &by(),
            now(),
        )
        .await;
    assert!(matches!(stale, Err(StoreError::Stale)), "{stale:?}");
    let read = db.store.account(before.id).await.expect("read");
    assert_eq!(read.as_ref(), Some(&updated));
    let row = db
        .store
        .token(before.id)
        .await
        .expect("read")
        .expect("a row");
    assert!(row.refresh_token.is_none());
}

async fn an_update_to_a_taken_name_changes_nothing(db: &Database) {
    add(&db.store, &settings("Taken")).await.expect("added");
    let account = add(&db.store, &settings("Free")).await.expect("added");
    let settings = AccountSettings {
        is_default: true,
        notes: "new".to_owned(),
        ..settings("TAKEN")
    };
    let refused = db
        .store
        .account_update(
            account.id,
            account.version,
            &settings,
            SecretChange::Keep,
            None,
            &by(),
            now(),
        )
        .await;
    assert!(matches!(refused, Err(StoreError::NameTaken)), "{refused:?}");
    let read = db.store.account(account.id).await.expect("read");
    assert_eq!(read, Some(account));
    assert_eq!(defaults(db).await.len(), 1);
}

async fn a_changed_client_leaves_the_tokens_alone(db: &Database) {
    let account = connected(&db.store, "Contoso").await;
    let settings = AccountSettings {
        client_id: "00000000-0000-0000-0000-000000000002".to_owned(),
        token_url: "https://login.microsoftonline.com/other/oauth2/token".to_owned(),
        ..settings_of(&account)
    };
    let set = SecretChange::Set(secret("another"));
    let updated = db
        .store
        .account_update(
            account.id,
            account.version,
            &settings,
            set,
            None,
            &by(),
            now(),
        )
        .await
        .expect("updated");
    assert_eq!(updated.consent, account.consent);
    let row = db
        .store
        .token(account.id)
        .await
        .expect("read")
        .expect("a row");
    assert!(row.refresh_token.is_some() && row.access_token.is_some());
    assert_eq!(row.client_key.as_deref(), Some("client-key"));
}

async fn a_secret_is_kept_replaced_or_cleared(db: &Database) {
    use secrecy::ExposeSecret;
    let mut account = connected(&db.store, "Contoso").await;
    let steps = [
        (SecretChange::Keep, Some("client-secret"), now()),
        (
            SecretChange::Set(secret("second+with/plus=")),
            Some("second+with/plus="),
            later(60),
        ),
        (SecretChange::Keep, Some("second+with/plus="), later(60)),
        (SecretChange::Clear, None, now()),
        (SecretChange::Set(secret("third")), Some("third"), later(60)),
    ];
    for (change, expected, set_at) in steps {
        let settings = settings_of(&account);
        account = db
            .store
            .account_update(
                account.id,
                account.version,
                &settings,
                change,
                None,
                &by(),
                later(60),
            )
            .await
            .expect("updated");
        let read = db
            .store
            .account_client_secret(account.id)
            .await
            .expect("read");
        assert_eq!(read.as_ref().map(|secret| secret.expose_secret()), expected);
        let told = account.client_secret.as_ref().map(|info| info.set_at);
        assert_eq!(told, expected.map(|_| set_at));
    }
}

async fn who_loses_the_default_is_a_newer_version(db: &Database) {
    let first = add(&db.store, &settings("First")).await.expect("added");
    let form = settings_of(&first);
    add(&db.store, &default("Second")).await.expect("added");
    // The form still says that it is the default; applied unseen, it would take it back.
    let stale = db
        .store
        .account_update(
            first.id,
            first.version,
            &form,
            SecretChange::Keep,
            None,
            &by(),
            now(),
        )
        .await;
    assert!(matches!(stale, Err(StoreError::Stale)), "{stale:?}");
}

async fn a_deleted_account_frees_its_name_and_its_place_as_default(db: &Database) {
    let old = add(&db.store, &settings("Contoso")).await.expect("added");
    db.store
        .account_delete(old.id, &by(), later(1))
        .await
        .expect("deleted");
    assert!(db.store.account(old.id).await.expect("read").is_none());
    assert!(
        db.store
            .account_default(WORKSPACE, TYPE)
            .await
            .expect("read")
            .is_none()
    );
    assert!(db.store.accounts(WORKSPACE).await.expect("read").is_empty());
    let new = add(&db.store, &settings("contoso"))
        .await
        .expect("the name is free");
    assert!(new.is_default);
    assert_eq!(defaults(db).await, [new.id]);
}

async fn a_deleted_account_comes_back_with_its_secrets(db: &Database) {
    let account = connected(&db.store, "Contoso").await;
    db.store
        .account_delete(account.id, &by(), later(1))
        .await
        .expect("deleted");
    db.store
        .account_restore(account.id, &by(), later(2))
        .await
        .expect("restored");
    let back = db
        .store
        .account(account.id)
        .await
        .expect("read")
        .expect("there");
    assert_eq!((back.name, back.is_default), (account.name, true));
    let secret = db
        .store
        .account_client_secret(account.id)
        .await
        .expect("read");
    assert!(secret.is_some());
    let row = db
        .store
        .token(account.id)
        .await
        .expect("read")
        .expect("a row");
    assert!(row.refresh_token.is_some());
    // Days may have passed: the schedule looks at once.
    let due = crate::support::due(&db.store, later(2), 10).await;
    assert_eq!(due, [account.id].into());
    let again = db.store.account_restore(account.id, &by(), later(3)).await;
    assert!(matches!(again, Err(StoreError::NotFound)), "{again:?}");
}

async fn a_restored_account_cannot_take_a_name_back(db: &Database) {
    let old = add(&db.store, &settings("Contoso")).await.expect("added");
    db.store
        .account_delete(old.id, &by(), now())
        .await
        .expect("deleted");
    let new = add(&db.store, &settings("CONTOSO")).await.expect("added");
    let restored = db.store.account_restore(old.id, &by(), now()).await;
    assert!(
        matches!(restored, Err(StoreError::NameTaken)),
        "{restored:?}"
    );
    assert_eq!(defaults(db).await, [new.id]);
}

async fn what_is_not_there_is_not_found(db: &Database) {
    let id = AccountId::generate(now());
    let settings = settings("Contoso");
    let store = &db.store;
    let results = [
        store.account_set_default(id, &by(), now()).await,
        store.account_delete(id, &by(), now()).await,
        store.account_restore(id, &by(), now()).await,
        store
            .token_replace(id, consented("1"), None, &by(), now())
            .await,
        store
            .account_update(id, 1, &settings, SecretChange::Keep, None, &by(), now())
            .await
            .map(|_| ()),
    ];
    for result in results {
        assert!(matches!(result, Err(StoreError::NotFound)), "{result:?}");
    }
    assert!(store.token(id).await.expect("read").is_none());
    assert!(
        store
            .account_client_secret(id)
            .await
            .expect("read")
            .is_none()
    );
    assert_eq!(db.number("SELECT COUNT(*) FROM audit_event").await, 0);
}

async fn every_change_leaves_an_audit_event_that_names_no_secret(db: &Database) {
    let account = connected(&db.store, "Contoso").await;
    let settings = AccountSettings {
        notes: "new".to_owned(),
        ..settings_of(&account)
    };
    let set = SecretChange::Set(secret("brand-new-secret"));
    let version = account.version;
    let store = &db.store;
    store
        .account_update(account.id, version, &settings, set, None, &by(), later(1))
        .await
        .expect("updated");
    store
        .account_delete(account.id, &by(), later(2))
        .await
        .expect("deleted");
    store
        .account_restore(account.id, &by(), later(3))
        .await
        .expect("restored");
    let events = store.audit(10, None).await.expect("read");
    let told: Vec<&str> = events
        .iter()
        .map(|event| event.operation.as_str())
        .collect();
    assert_eq!(
        told,
        [
            "account_restored",
            "account_deleted",
            "account_changed",
            "account_added"
        ]
    );
    for event in &events {
        assert_eq!(
            (event.actor.clone(), event.item_name.as_str()),
            (by(), "Contoso")
        );
        assert_eq!(
            event.item_id.as_deref(),
            Some(account.id.to_string().as_str())
        );
    }
    let detail = events[2].detail.to_string();
    assert!(
        detail.contains("notes") && detail.contains("client_secret"),
        "{detail}"
    );
    assert!(!detail.contains("brand-new-secret"), "{detail}");
    let page = store.audit(10, Some(events[1].id)).await.expect("read");
    assert_eq!(page, events[2..]);
}

async fn the_history_tells_how_the_connection_began(db: &Database) {
    let bare = add(&db.store, &settings("Bare")).await.expect("added");
    let connected = connected(&db.store, "Connected").await;
    for (id, state) in [
        (bare.id, ConnectionState::NotConnected),
        (connected.id, ConnectionState::Connected),
    ] {
        let events = db.store.account_events(id, 10).await.expect("read");
        assert_eq!(events.len(), 1);
        assert_eq!(
            (events[0].from, events[0].to, events[0].at),
            (None, state, now())
        );
    }
}

async fn defaults(db: &Database) -> Vec<AccountId> {
    let accounts = db.store.accounts(WORKSPACE).await.expect("read");
    accounts
        .iter()
        .filter(|account| account.is_default)
        .map(|account| account.id)
        .collect()
}

async fn version(db: &Database, id: AccountId) -> i64 {
    db.store
        .account(id)
        .await
        .expect("read")
        .expect("there")
        .version
}

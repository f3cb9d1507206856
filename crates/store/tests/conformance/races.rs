//! Two servers on one database: exactly one wins, and the loser is told why.

use futures_util::future;
use tieline_core::{ConnectionState, DraftId};
use tieline_store::{AccountSettings, SecretChange, Store, StoreError};

use crate::support::{
    Database, TYPE, WORKSPACE, add, by, connected, consented, default, lease, now, renewed,
    settings, settings_of, state,
};

on_both!(
    one_of_many_gets_the_lease,
    one_of_many_renewals_is_stored,
    one_of_many_takes_the_name,
    the_default_is_one_whoever_sets_it,
    first_accounts_added_together_make_one_default,
    one_of_many_updates_is_not_stale,
    a_renewal_and_an_update_both_come_through,
    tabs_that_save_together_make_one_draft,
);

/// Rounds of each race: enough that a lost one shows.
const ROUNDS: i64 = 8;

async fn one_of_many_gets_the_lease(db: &Database) {
    let stores = servers(db).await;
    let id = connected(&db.store, "Contoso").await.id;
    for round in 0..ROUNDS {
        db.execute("UPDATE account_token SET lease_until = 0").await;
        let tries = stores.iter().enumerate().map(|(server, store)| async move {
            lease(store, id, &format!("server-{server}-{round}")).await
        });
        let won = future::join_all(tries)
            .await
            .into_iter()
            .filter(|won| *won)
            .count();
        assert_eq!(won, 1, "round {round}");
    }
}

async fn one_of_many_renewals_is_stored(db: &Database) {
    let stores = servers(db).await;
    let id = connected(&db.store, "Contoso").await.id;
    for _ in 0..ROUNDS {
        let seen = db
            .store
            .token(id)
            .await
            .expect("read")
            .expect("a row")
            .generation;
        assert!(lease(&db.store, id, "one").await);
        let (tokens, change) = (renewed("2"), state(ConnectionState::Connected, "renewed"));
        let tries = stores.iter().map(|store| {
            let (tokens, change) = (&tokens, &change);
            async move {
                store
                    .token_renewed(id, "one", seen, tokens, change, now())
                    .await
                    .expect("asked")
            }
        });
        let won = future::join_all(tries)
            .await
            .into_iter()
            .filter(|won| *won)
            .count();
        assert_eq!(won, 1);
        let row = db.store.token(id).await.expect("read").expect("a row");
        assert_eq!(row.generation, seen + 1);
    }
}

async fn one_of_many_takes_the_name(db: &Database) {
    let stores = servers(db).await;
    for round in 0..ROUNDS {
        let tries = stores.iter().enumerate().map(|(server, store)| async move {
            let name = if server % 2 == 0 {
                "Contoso"
            } else {
                "CONTOSO"
            };
            add(store, &settings(&format!("{name} {round}"))).await
        });
        let results = future::join_all(tries).await;
        let won = results.iter().filter(|result| result.is_ok()).count();
        let lost = results
            .iter()
            .filter(|r| matches!(r, Err(StoreError::NameTaken)))
            .count();
        assert_eq!((won, lost), (1, stores.len() - 1), "{results:?}");
    }
}

async fn the_default_is_one_whoever_sets_it(db: &Database) {
    let stores = servers(db).await;
    let mut ids = Vec::new();
    for (server, _) in stores.iter().enumerate() {
        ids.push(
            add(&db.store, &settings(&format!("Account {server}")))
                .await
                .expect("added")
                .id,
        );
    }
    for _ in 0..ROUNDS {
        let tries = stores.iter().zip(&ids).map(|(store, id)| async move {
            store
                .account_set_default(*id, &by(), now())
                .await
                .expect("set");
        });
        future::join_all(tries).await;
        let accounts = db.store.accounts(WORKSPACE).await.expect("read");
        assert_eq!(
            accounts.iter().filter(|account| account.is_default).count(),
            1
        );
    }
}

async fn first_accounts_added_together_make_one_default(db: &Database) {
    let stores = servers(db).await;
    let tries = stores.iter().enumerate().map(|(server, store)| async move {
        let name = format!("Account {server}");
        let wanted = if server % 2 == 0 {
            settings(&name)
        } else {
            default(&name)
        };
        add(store, &wanted).await.expect("every name is free")
    });
    future::join_all(tries).await;
    let accounts = db.store.accounts(WORKSPACE).await.expect("read");
    assert_eq!(accounts.len(), stores.len());
    assert_eq!(
        accounts.iter().filter(|account| account.is_default).count(),
        1
    );
    let default = db
        .store
        .account_default(WORKSPACE, TYPE)
        .await
        .expect("read");
    assert!(default.is_some());
}

async fn one_of_many_updates_is_not_stale(db: &Database) {
    let stores = servers(db).await;
    let mut account = add(&db.store, &settings("Contoso")).await.expect("added");
    for _ in 0..ROUNDS {
        let tries = stores.iter().enumerate().map(|(server, store)| {
            let notes = format!("from server {server}");
            let settings = AccountSettings {
                notes,
                ..settings_of(&account)
            };
            let (id, version) = (account.id, account.version);
            async move {
                let keep = SecretChange::Keep;
                store
                    .account_update(id, version, &settings, keep, None, &by(), now())
                    .await
            }
        });
        let results = future::join_all(tries).await;
        let won: Vec<_> = results
            .iter()
            .filter_map(|result| result.as_ref().ok())
            .collect();
        let lost = results
            .iter()
            .filter(|r| matches!(r, Err(StoreError::Stale)))
            .count();
        assert_eq!((won.len(), lost), (1, stores.len() - 1), "{results:?}");
        let read = db
            .store
            .account(account.id)
            .await
            .expect("read")
            .expect("there");
        assert_eq!(read.notes, won[0].notes);
        account = read;
    }
}

async fn a_renewal_and_an_update_both_come_through(db: &Database) {
    let other = db.another().await;
    let id = connected(&db.store, "Contoso").await.id;
    for round in 0..ROUNDS * 4 {
        let account = db.store.account(id).await.expect("read").expect("there");
        let seen = db
            .store
            .token(id)
            .await
            .expect("read")
            .expect("a row")
            .generation;
        assert!(lease(&db.store, id, "one").await);
        let code = if round % 2 == 0 {
            "token-service-busy"
        } else {
            "token-service-slow"
        };
        let (change, failed) = (
            state(ConnectionState::Degraded, code),
            crate::support::failed(None),
        );
        let settings = settings_of(&account);
        let (tokens, by) = (Some(consented("7")), by());
        let (updated, told) = tokio::join!(
            other.account_update(
                id,
                account.version,
                &settings,
                SecretChange::Keep,
                tokens,
                &by,
                now()
            ),
            db.store
                .token_failed(id, "one", seen, &failed, &change, now()),
        );
        updated.expect("an update waits for a renewal, and does not fail by it");
        told.expect("a renewal waits for an update, and does not fail by it");
        db.store
            .token_lease_release(id, "one")
            .await
            .expect("released");
    }
}

async fn tabs_that_save_together_make_one_draft(db: &Database) {
    let stores = servers(db).await;
    for round in 0..ROUNDS {
        let owner = format!("user {round}");
        let tries = stores.iter().enumerate().map(|(tab, store)| {
            let (owner, fields) = (owner.as_str(), serde_json::json!({ "tab": tab }));
            async move {
                let (id, keep) = (DraftId::generate(now()), SecretChange::Keep);
                store
                    .draft_save(id, WORKSPACE, owner, None, None, &fields, keep, now())
                    .await
                    .expect("saved");
            }
        });
        future::join_all(tries).await;
        let draft = db
            .store
            .draft_for(WORKSPACE, &owner, None)
            .await
            .expect("read");
        assert!(draft.is_some());
    }
    assert_eq!(db.number("SELECT COUNT(*) FROM draft").await, ROUNDS);
}

async fn servers(db: &Database) -> Vec<Store> {
    let mut stores = vec![db.store.clone()];
    for _ in 0..3 {
        stores.push(db.another().await);
    }
    stores
}

//! Consumers, their keys, and what they used.

use tieline_core::{AccountId, ApiKeyId, Consumer, ConsumerGrant, ConsumerId};
use tieline_store::StoreError;

use crate::support::{Database, WORKSPACE, add, by, later, now, settings};

on_both!(
    a_consumer_is_read_back_with_its_keys,
    names_of_consumers_are_unique_without_regard_to_case,
    a_key_finds_its_consumer_until_it_is_revoked,
    keys_can_be_exchanged_without_a_gap,
    a_removed_consumer_takes_its_keys_along,
    the_last_use_never_goes_back,
    consumers_that_used_an_account_are_named,
    uses_of_what_was_removed_meanwhile_are_passed_over,
);

async fn a_consumer_is_read_back_with_its_keys(db: &Database) {
    let account = AccountId::generate(now());
    let listed = ConsumerGrant::Accounts {
        accounts: vec![account],
    };
    for (name, grant, mark) in [("b", ConsumerGrant::AllAccounts, 1), ("A", listed, 2)] {
        let added = consumer(db, name, &grant, mark).await.expect("added");
        assert_eq!((added.name.as_str(), &added.grant), (name, &grant));
        assert_eq!(added.keys.len(), 1);
        assert_eq!(added.keys[0].prefix, "tl_abc");
        assert_eq!(
            (added.keys[0].revoked_at, added.keys[0].last_used_at),
            (None, None)
        );
        let read = db.store.consumer(added.id).await.expect("read");
        assert_eq!(read, Some(added));
    }
    let all = db.store.consumers(WORKSPACE).await.expect("read");
    let names: Vec<&str> = all.iter().map(|consumer| consumer.name.as_str()).collect();
    assert_eq!(names, ["A", "b"]);
}

async fn names_of_consumers_are_unique_without_regard_to_case(db: &Database) {
    consumer(db, "Dialler", &ConsumerGrant::AllAccounts, 1)
        .await
        .expect("added");
    let again = consumer(db, "DIALLER", &ConsumerGrant::AllAccounts, 2).await;
    assert!(matches!(again, Err(StoreError::NameTaken)), "{again:?}");
    assert!(
        db.store
            .api_key_owner([2; 32])
            .await
            .expect("read")
            .is_none()
    );
}

async fn a_key_finds_its_consumer_until_it_is_revoked(db: &Database) {
    let dialler = consumer(db, "Dialler", &ConsumerGrant::AllAccounts, 1)
        .await
        .expect("added");
    let (key, owner) = db
        .store
        .api_key_owner([1; 32])
        .await
        .expect("read")
        .expect("known");
    assert_eq!((key, owner.id), (dialler.keys[0].id, dialler.id));
    assert!(
        db.store
            .api_key_owner([0; 32])
            .await
            .expect("read")
            .is_none()
    );
    db.store
        .api_key_revoke(dialler.id, key, &by(), later(9))
        .await
        .expect("revoked");
    assert!(
        db.store
            .api_key_owner([1; 32])
            .await
            .expect("read")
            .is_none()
    );
    let read = db
        .store
        .consumer(dialler.id)
        .await
        .expect("read")
        .expect("there");
    assert_eq!(read.keys[0].revoked_at, Some(later(9)));
}

async fn keys_can_be_exchanged_without_a_gap(db: &Database) {
    let dialler = consumer(db, "Dialler", &ConsumerGrant::AllAccounts, 1)
        .await
        .expect("added");
    let id = ApiKeyId::generate(later(1));
    let store = &db.store;
    store
        .api_key_add(dialler.id, id, [2; 32], "tl_def", &by(), later(1))
        .await
        .expect("added");
    for hash in [[1; 32], [2; 32]] {
        let owner = store.api_key_owner(hash).await.expect("read");
        assert_eq!(owner.map(|(_, consumer)| consumer.id), Some(dialler.id));
    }
    store
        .api_key_revoke(dialler.id, dialler.keys[0].id, &by(), now())
        .await
        .expect("revoked");
    assert!(store.api_key_owner([2; 32]).await.expect("read").is_some());
    let gone = ConsumerId::generate(now());
    let key = ApiKeyId::generate(now());
    let refused = store
        .api_key_add(gone, key, [3; 32], "tl_", &by(), now())
        .await;
    assert!(matches!(refused, Err(StoreError::NotFound)), "{refused:?}");
    let refused = store.api_key_revoke(dialler.id, key, &by(), now()).await;
    assert!(matches!(refused, Err(StoreError::NotFound)), "{refused:?}");
}

async fn a_removed_consumer_takes_its_keys_along(db: &Database) {
    let dialler = consumer(db, "Dialler", &ConsumerGrant::AllAccounts, 1)
        .await
        .expect("added");
    db.store
        .consumer_remove(dialler.id, &by(), now())
        .await
        .expect("removed");
    assert!(
        db.store
            .api_key_owner([1; 32])
            .await
            .expect("read")
            .is_none()
    );
    assert!(
        db.store
            .consumers(WORKSPACE)
            .await
            .expect("read")
            .is_empty()
    );
    let again = db.store.consumer_remove(dialler.id, &by(), now()).await;
    assert!(matches!(again, Err(StoreError::NotFound)), "{again:?}");
    consumer(db, "Dialler", &ConsumerGrant::AllAccounts, 1)
        .await
        .expect("the name is free");
}

async fn the_last_use_never_goes_back(db: &Database) {
    let dialler = consumer(db, "Dialler", &ConsumerGrant::AllAccounts, 1)
        .await
        .expect("added");
    let account = add(&db.store, &settings("Contoso"))
        .await
        .expect("added")
        .id;
    let key = dialler.keys[0].id;
    // Two servers write their batches in any order.
    for at in [later(60), later(10)] {
        db.store.api_keys_used(&[(key, at)]).await.expect("noted");
        db.store
            .consumer_uses(&[(dialler.id, account, at)])
            .await
            .expect("noted");
    }
    let read = db
        .store
        .consumer(dialler.id)
        .await
        .expect("read")
        .expect("there");
    assert_eq!(read.keys[0].last_used_at, Some(later(60)));
    let used = db
        .store
        .account_used_by(account, later(60))
        .await
        .expect("read");
    assert_eq!(used, ["Dialler"]);
}

async fn consumers_that_used_an_account_are_named(db: &Database) {
    let account = add(&db.store, &settings("Contoso"))
        .await
        .expect("added")
        .id;
    let mut uses = Vec::new();
    for (name, mark, at) in [
        ("old", 1, now()),
        ("Zeta", 2, later(90)),
        ("alpha", 3, later(91)),
    ] {
        let added = consumer(db, name, &ConsumerGrant::AllAccounts, mark)
            .await
            .expect("added");
        uses.push((added.id, account, at));
    }
    db.store.consumer_uses(&uses).await.expect("noted");
    let used = db
        .store
        .account_used_by(account, later(90))
        .await
        .expect("read");
    assert_eq!(used, ["alpha", "Zeta"]);
    let other = AccountId::generate(now());
    assert!(
        db.store
            .account_used_by(other, now())
            .await
            .expect("read")
            .is_empty()
    );
}

async fn uses_of_what_was_removed_meanwhile_are_passed_over(db: &Database) {
    let account = add(&db.store, &settings("Contoso"))
        .await
        .expect("added")
        .id;
    let dialler = consumer(db, "Dialler", &ConsumerGrant::AllAccounts, 1)
        .await
        .expect("added");
    let uses = [
        (ConsumerId::generate(now()), account, now()),
        (dialler.id, AccountId::generate(now()), now()),
        (dialler.id, account, now()),
    ];
    db.store.consumer_uses(&uses).await.expect("noted");
    db.store
        .api_keys_used(&[(ApiKeyId::generate(now()), now())])
        .await
        .expect("noted");
    assert_eq!(
        db.store
            .account_used_by(account, now())
            .await
            .expect("read"),
        ["Dialler"]
    );
}

async fn consumer(
    db: &Database,
    name: &str,
    grant: &ConsumerGrant,
    mark: u8,
) -> Result<Consumer, StoreError> {
    let keys = [(ApiKeyId::generate(now()), [mark; 32], "tl_abc".to_owned())];
    let id = ConsumerId::generate(now());
    db.store
        .consumer_add(WORKSPACE, id, name, grant, &keys, &by(), now())
        .await
}

//! Drafts: what was typed is kept, and its secrets are sealed.

use serde_json::json;
use tieline_core::{AccountId, DraftId, LadderReport};
use tieline_store::{NewTokens, SecretChange, Store, StoreError};

use crate::support::{Database, WORKSPACE, add, consented, later, now, secret, settings, shown};

on_both!(
    a_draft_is_kept_as_typed,
    there_is_one_draft_per_owner_and_account,
    a_second_tab_does_not_lose_what_the_first_one_typed_to,
    a_drafts_secret_is_kept_replaced_or_cleared,
    a_drafts_tokens_come_back_whole,
    a_report_is_kept_with_the_draft,
    tokens_for_a_draft_that_is_gone_are_refused,
    a_deleted_draft_takes_its_secrets_along,
);

async fn a_draft_is_kept_as_typed(db: &Database) {
    let fields = json!({ "name": " not trimmed ", "api_url": "nonsense", "營業": [1, null] });
    let id = save(&db.store, "user", None, &fields, SecretChange::Keep).await;
    let draft = db.store.draft(id).await.expect("read").expect("there");
    assert_eq!((draft.fields, draft.base_version), (fields, None));
    assert_eq!((draft.owner.as_str(), draft.account_id), ("user", None));
    assert!(!draft.has_secret && draft.tokens.is_none() && draft.report.is_none());
    assert_eq!(draft.updated_at, now());
    let found = db
        .store
        .draft_for(WORKSPACE, "user", None)
        .await
        .expect("read");
    assert_eq!(found.map(|draft| draft.id), Some(id));
}

async fn there_is_one_draft_per_owner_and_account(db: &Database) {
    let account = add(&db.store, &settings("Contoso"))
        .await
        .expect("added")
        .id;
    let places = [
        ("one", None),
        ("two", None),
        ("one", Some(account)),
        ("two", Some(account)),
    ];
    let mut ids = Vec::new();
    for (owner, account) in places {
        ids.push(save(&db.store, owner, account, &json!({}), SecretChange::Keep).await);
    }
    for ((owner, account), id) in places.into_iter().zip(ids) {
        let found = db
            .store
            .draft_for(WORKSPACE, owner, account)
            .await
            .expect("read");
        assert_eq!(found.map(|draft| draft.id), Some(id), "{owner} {account:?}");
    }
    assert!(
        db.store
            .draft_for(WORKSPACE, "three", None)
            .await
            .expect("read")
            .is_none()
    );
}

async fn a_second_tab_does_not_lose_what_the_first_one_typed_to(db: &Database) {
    let first = save(
        &db.store,
        "user",
        None,
        &json!({ "name": "a" }),
        SecretChange::Keep,
    )
    .await;
    let set = SecretChange::Set(secret("typed in the second tab"));
    // The second tab looked before the first one had saved, so it brings an identifier of its own.
    save(&db.store, "user", None, &json!({ "name": "b" }), set).await;
    let draft = db
        .store
        .draft_for(WORKSPACE, "user", None)
        .await
        .expect("read")
        .expect("there");
    assert_eq!((draft.id, draft.fields), (first, json!({ "name": "b" })));
    let read = db.store.draft_secret(first).await.expect("it opens");
    assert_eq!(shown(read.as_ref()), Some("typed in the second tab"));
    assert_eq!(db.number("SELECT COUNT(*) FROM draft").await, 1);
}

async fn a_drafts_secret_is_kept_replaced_or_cleared(db: &Database) {
    let set = SecretChange::Set(secret("first"));
    let id = save(&db.store, "user", None, &json!({}), set).await;
    let steps = [
        (SecretChange::Keep, Some("first")),
        (SecretChange::Set(secret("second")), Some("second")),
        (SecretChange::Clear, None),
        (SecretChange::Keep, None),
    ];
    for (change, expected) in steps {
        let store = &db.store;
        store
            .draft_save(
                id,
                WORKSPACE,
                "user",
                None,
                None,
                &json!({}),
                change,
                later(5),
            )
            .await
            .expect("saved");
        let read = store.draft_secret(id).await.expect("read");
        assert_eq!(shown(read.as_ref()), expected);
        let draft = store.draft(id).await.expect("read").expect("there");
        assert_eq!(draft.has_secret, expected.is_some());
        assert_eq!(draft.secret_set_at.is_some(), expected.is_some());
    }
}

async fn a_drafts_tokens_come_back_whole(db: &Database) {
    let id = save(&db.store, "user", None, &json!({}), SecretChange::Keep).await;
    assert!(db.store.draft_tokens(id).await.expect("read").is_none());
    db.store
        .draft_set_tokens(id, consented("1"), now())
        .await
        .expect("set");
    db.store
        .draft_set_tokens(id, consented("2"), now())
        .await
        .expect("set again");
    let tokens: NewTokens = db
        .store
        .draft_tokens(id)
        .await
        .expect("read")
        .expect("there");
    assert_eq!(shown(tokens.refresh_token.as_ref()), Some("refresh-2"));
    assert_eq!(shown(tokens.access_token.as_ref()), Some("access-2"));
    assert_eq!(tokens.access_expires_at, consented("2").access_expires_at);
    assert_eq!(tokens.scope, consented("2").scope);
    assert_eq!(tokens.client_key, "client-key");
    assert_eq!(tokens.consent, consented("2").consent);
    // Typing on does not lose the consent.
    save_as(&db.store, id, &json!({ "name": "x" })).await;
    let draft = db.store.draft(id).await.expect("read").expect("there");
    assert_eq!(
        draft.tokens.map(|tokens| Some(tokens.consent)),
        Some(consented("2").consent)
    );
}

async fn a_report_is_kept_with_the_draft(db: &Database) {
    let id = save(&db.store, "user", None, &json!({}), SecretChange::Keep).await;
    let report = LadderReport::of(now(), vec![]);
    db.store
        .draft_set_report(id, &report, now())
        .await
        .expect("set");
    let draft = db.store.draft(id).await.expect("read").expect("there");
    assert_eq!(draft.report, Some(report));
}

async fn tokens_for_a_draft_that_is_gone_are_refused(db: &Database) {
    let gone = DraftId::generate(now());
    let refused = db.store.draft_set_tokens(gone, consented("1"), now()).await;
    assert!(matches!(refused, Err(StoreError::NotFound)), "{refused:?}");
    assert!(db.store.draft(gone).await.expect("read").is_none());
    assert!(db.store.draft_secret(gone).await.expect("read").is_none());
    assert!(db.store.draft_tokens(gone).await.expect("read").is_none());
}

async fn a_deleted_draft_takes_its_secrets_along(db: &Database) {
    let set = SecretChange::Set(secret("typed"));
    let id = save(&db.store, "user", None, &json!({}), set).await;
    db.store
        .draft_set_tokens(id, consented("1"), now())
        .await
        .expect("set");
    db.store.draft_delete(id).await.expect("deleted");
    assert!(
        db.store
            .draft_for(WORKSPACE, "user", None)
            .await
            .expect("read")
            .is_none()
    );
    assert!(db.store.draft_secret(id).await.expect("read").is_none());
    assert_eq!(db.number("SELECT COUNT(*) FROM draft").await, 0);
}

async fn save(
    store: &Store,
    owner: &str,
    account: Option<AccountId>,
    fields: &serde_json::Value,
    secret: SecretChange,
) -> DraftId {
    let id = DraftId::generate(now());
    store
        .draft_save(id, WORKSPACE, owner, account, None, fields, secret, now())
        .await
        .expect("saved");
    id
}

async fn save_as(store: &Store, id: DraftId, fields: &serde_json::Value) {
    let keep = SecretChange::Keep;
    store
        .draft_save(id, WORKSPACE, "user", None, None, fields, keep, now())
        .await
        .expect("saved");
}

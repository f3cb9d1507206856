//! Secrets: sealed on disk, bound to their place, and open only with the right keys.

use std::sync::Arc;

use serde_json::json;
use tieline_core::{AccountId, DraftId};
use tieline_store::{ConsentTarget, Migrations, NewConsent, SecretChange, Store, StoreError};
use tieline_vault::KeyRing;

use crate::support::{
    Database, TYPE, WORKSPACE, by, connected, consented, default, later, now, secret, settings,
};

on_both!(
    no_secret_reaches_the_disk_unsealed,
    a_secret_of_another_row_does_not_open,
    a_secret_of_another_column_does_not_open,
    an_older_secret_put_back_does_not_open,
    an_older_token_put_back_does_not_open,
    another_key_ring_opens_nothing_and_says_which_key_is_missing,
    a_rotated_key_ring_opens_what_is_there,
    errors_and_debug_texts_show_no_secret,
);

async fn no_secret_reaches_the_disk_unsealed(db: &Database) {
    const MARK: &str = "needle-in-a-haystack";
    let tokens = || {
        let mut tokens = consented("1");
        tokens.refresh_token = Some(secret(&format!("{MARK}-refresh")));
        tokens.access_token = Some(secret(&format!("{MARK}-access")));
        tokens
    };
    let (id, draft) = (AccountId::generate(now()), DraftId::generate(now()));
    let store = &db.store;
    let client_secret = Some(secret(&format!("{MARK}-secret")));
    let name = settings("haystack only");
    store
        .account_add(
            WORKSPACE,
            id,
            TYPE,
            &name,
            client_secret,
            Some(tokens()),
            &by(),
            now(),
        )
        .await
        .expect("added");
    let set = SecretChange::Set(secret(&format!("{MARK}-draft")));
    store
        .draft_save(draft, WORKSPACE, "user", None, None, &json!({}), set, now())
        .await
        .expect("saved");
    store
        .draft_set_tokens(draft, tokens(), now())
        .await
        .expect("set");
    store
        .token_replace(id, tokens(), None, &by(), now())
        .await
        .expect("replaced");
    store
        .consent_begin(&consent(&format!("{MARK}-verifier")), now())
        .await
        .expect("begun");
    // Everything is there: otherwise the search below would prove nothing.
    assert!(
        store
            .account_client_secret(id)
            .await
            .expect("read")
            .is_some()
    );
    assert!(store.draft_tokens(draft).await.expect("read").is_some());
    match db.bytes() {
        Some(bytes) => {
            assert!(
                found(&bytes, b"haystack only"),
                "the search finds what is not sealed"
            );
            assert!(
                !found(&bytes, MARK.as_bytes()),
                "a secret lies open in the file"
            );
        }
        None => {
            for (table, column) in COLUMNS {
                let sql = format!(
                    "SELECT COUNT(*) FROM {table} WHERE position('{MARK}'::bytea IN {column}) > 0"
                );
                assert_eq!(db.number(&sql).await, 0, "{table}.{column}");
            }
        }
    }
}

/// Every column that holds something sealed.
const COLUMNS: [(&str, &str); 7] = [
    ("account", "client_secret"),
    ("account_token", "refresh_token"),
    ("account_token", "previous_refresh_token"),
    ("account_token", "access_token"),
    ("draft", "client_secret"),
    ("draft", "tokens"),
    ("consent", "verifier"),
];

async fn a_secret_of_another_row_does_not_open(db: &Database) {
    let mine = connected(&db.store, "Mine").await;
    let theirs = connected(&db.store, "Theirs").await;
    let swap = format!(
        "UPDATE account SET client_secret = (SELECT client_secret FROM account WHERE id = '{}') \
         WHERE id = '{}'",
        theirs.id, mine.id
    );
    assert_eq!(db.execute(&swap).await, 1);
    let read = db.store.account_client_secret(mine.id).await;
    assert!(matches!(read, Err(StoreError::Sealed { .. })), "{read:?}");
    assert!(
        db.store
            .account_client_secret(theirs.id)
            .await
            .expect("read")
            .is_some()
    );
    let swap = format!(
        "UPDATE account_token SET refresh_token = (SELECT refresh_token FROM account_token \
         WHERE account_id = '{}') WHERE account_id = '{}'",
        theirs.id, mine.id
    );
    assert_eq!(db.execute(&swap).await, 1);
    let read = db.store.token(mine.id).await;
    assert!(matches!(read, Err(StoreError::Sealed { .. })), "{read:?}");
}

async fn a_secret_of_another_column_does_not_open(db: &Database) {
    let id = connected(&db.store, "Contoso").await.id;
    let swap = "UPDATE account_token SET access_token = refresh_token";
    assert_eq!(db.execute(swap).await, 1);
    let read = db.store.token(id).await;
    assert!(matches!(read, Err(StoreError::Sealed { .. })), "{read:?}");
}

async fn an_older_secret_put_back_does_not_open(db: &Database) {
    let account = connected(&db.store, "Contoso").await;
    let copy = if db.bytes().is_some() {
        "BLOB"
    } else {
        "BYTEA"
    };
    db.execute(&format!("CREATE TABLE stolen (old {copy})"))
        .await;
    db.execute("INSERT INTO stolen SELECT client_secret FROM account")
        .await;
    let set = SecretChange::Set(secret("the new one"));
    let (id, version) = (account.id, account.version);
    db.store
        .account_update(id, version, &default("Contoso"), set, None, &by(), later(1))
        .await
        .expect("updated");
    db.execute("UPDATE account SET client_secret = (SELECT old FROM stolen)")
        .await;
    let read = db.store.account_client_secret(account.id).await;
    assert!(matches!(read, Err(StoreError::Sealed { .. })), "{read:?}");
}

async fn an_older_token_put_back_does_not_open(db: &Database) {
    let id = connected(&db.store, "Contoso").await.id;
    let copy = if db.bytes().is_some() {
        "BLOB"
    } else {
        "BYTEA"
    };
    db.execute(&format!("CREATE TABLE stolen (old {copy})"))
        .await;
    db.execute("INSERT INTO stolen SELECT refresh_token FROM account_token")
        .await;
    db.store
        .token_replace(id, consented("2"), None, &by(), now())
        .await
        .expect("replaced");
    db.execute("UPDATE account_token SET refresh_token = (SELECT old FROM stolen)")
        .await;
    let read = db.store.token(id).await;
    assert!(matches!(read, Err(StoreError::Sealed { .. })), "{read:?}");
}

async fn another_key_ring_opens_nothing_and_says_which_key_is_missing(db: &Database) {
    connected(&db.store, "Contoso").await;
    let stranger = Arc::new(KeyRing::generate());
    let opened = Store::open(&db.url, stranger, Migrations::Check).await;
    let error = opened.expect_err("another ring");
    let needed = db.keys.key_ids()[0].to_string();
    assert!(matches!(error, StoreError::WrongKeys { .. }), "{error:?}");
    assert!(error.to_string().contains(&needed), "{error}");
}

async fn a_rotated_key_ring_opens_what_is_there(db: &Database) {
    let id = connected(&db.store, "Contoso").await.id;
    let rotated = Arc::new(db.keys.rotate());
    let store = Store::open(&db.url, rotated, Migrations::Check)
        .await
        .expect("a store");
    assert!(
        store
            .account_client_secret(id)
            .await
            .expect("read")
            .is_some()
    );
    assert!(store.token(id).await.expect("read").is_some());
    store
        .token_replace(id, consented("2"), None, &by(), now())
        .await
        .expect("replaced");
    // The old ring alone does not open what the new key sealed.
    let read = db.store.token(id).await;
    assert!(matches!(read, Err(StoreError::Sealed { .. })), "{read:?}");
}

async fn errors_and_debug_texts_show_no_secret(db: &Database) {
    let id = connected(&db.store, "Contoso").await.id;
    let row = db.store.token(id).await.expect("read").expect("a row");
    let texts = [
        format!("{row:?}"),
        format!("{:?}", consented("1")),
        format!("{:?}", db.store),
    ];
    for text in texts {
        assert!(
            !text.contains("refresh-1") && !text.contains("access-1"),
            "{text}"
        );
    }
    db.execute("UPDATE account_token SET refresh_token = access_token")
        .await;
    let error = db.store.token(id).await.expect_err("swapped");
    let text = format!("{error} {error:?}");
    assert!(
        !text.contains("refresh-1") && !text.contains("access-1"),
        "{text}"
    );
}

fn consent(verifier: &str) -> NewConsent {
    NewConsent {
        state_hash: [1; 32],
        target: ConsentTarget::Draft(DraftId::generate(now())),
        session_binding: None,
        verifier: secret(verifier),
        nonce: "nonce".to_owned(),
        redirect_uri: String::new(),
        authorization_url: String::new(),
        token_url: String::new(),
        api_url: String::new(),
        client_id: String::new(),
        mode: "user".to_owned(),
        expires_at: later(600),
    }
}

fn found(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

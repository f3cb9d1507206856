//! Users and their sessions.

use serde_json::json;
use tieline_core::{DraftId, Language, Role, SessionId, User, UserId};
use tieline_store::{SecretChange, StoreError};

use crate::support::{Database, WORKSPACE, by, later, now, secret};

on_both!(
    a_user_is_found_by_address,
    an_address_is_taken_once,
    a_language_is_chosen,
    a_session_lasts_until_it_ends,
    a_new_password_ends_the_sessions,
    a_role_is_changed,
    a_removed_user_leaves_no_session_and_no_secret,
    what_is_done_to_nobody_is_not_found,
);

async fn a_user_is_found_by_address(db: &Database) {
    let admin = user(db, "Admin@Example.com").await.expect("added");
    assert_eq!(
        (admin.role, admin.language, admin.created_at),
        (Role::Administrator, None, now())
    );
    let email = "admin@example.com".parse().expect("an address");
    let (found, hash) = db
        .store
        .user_by_email(&email)
        .await
        .expect("read")
        .expect("known");
    assert_eq!((found, hash.as_str()), (admin.clone(), "$hash"));
    assert_eq!(db.store.user(admin.id).await.expect("read"), Some(admin));
    assert_eq!(db.store.user_count().await.expect("read"), 1);
    let other = "other@example.com".parse().expect("an address");
    assert!(
        db.store
            .user_by_email(&other)
            .await
            .expect("read")
            .is_none()
    );
}

async fn an_address_is_taken_once(db: &Database) {
    user(db, "admin@example.com").await.expect("added");
    let again = user(db, "ADMIN@example.com").await;
    assert!(matches!(again, Err(StoreError::NameTaken)), "{again:?}");
    user(db, "a@example.com").await.expect("added");
    let users = db.store.users().await.expect("read");
    let emails: Vec<&str> = users.iter().map(|user| user.email.as_str()).collect();
    assert_eq!(emails, ["a@example.com", "admin@example.com"]);
}

async fn a_language_is_chosen(db: &Database) {
    let admin = user(db, "admin@example.com").await.expect("added");
    db.store
        .user_set_language(admin.id, Language::Japanese)
        .await
        .expect("chosen");
    let read = db.store.user(admin.id).await.expect("read").expect("there");
    assert_eq!(read.language, Some(Language::Japanese));
}

async fn a_session_lasts_until_it_ends(db: &Database) {
    let admin = user(db, "admin@example.com").await.expect("added");
    let id = session(db, &admin, 1).await;
    let found = db.store.session([1; 32], later(3599)).await.expect("read");
    assert_eq!(found, Some((id, admin.clone())));
    assert_eq!(
        db.store.session([1; 32], later(3600)).await.expect("read"),
        None
    );
    assert_eq!(db.store.session([2; 32], now()).await.expect("read"), None);
    db.store.session_delete([1; 32]).await.expect("ended");
    assert_eq!(db.store.session([1; 32], now()).await.expect("read"), None);
}

async fn a_new_password_ends_the_sessions(db: &Database) {
    let admin = user(db, "admin@example.com").await.expect("added");
    let other = user(db, "other@example.com").await.expect("added");
    session(db, &admin, 1).await;
    session(db, &other, 2).await;
    db.store
        .user_set_password(admin.id, "$new", &by(), now())
        .await
        .expect("set");
    assert_eq!(db.store.session([1; 32], now()).await.expect("read"), None);
    assert!(
        db.store
            .session([2; 32], now())
            .await
            .expect("read")
            .is_some()
    );
    let (_, hash) = db
        .store
        .user_by_email(&admin.email)
        .await
        .expect("read")
        .expect("known");
    assert_eq!(hash, "$new");
}

async fn a_role_is_changed(db: &Database) {
    let admin = user(db, "admin@example.com").await.expect("added");
    db.store
        .user_set_role(admin.id, Role::Operator, &by(), now())
        .await
        .expect("changed");
    session(db, &admin, 1).await;
    // A session carries no role of its own: what counts is what the user is now.
    let (_, found) = db
        .store
        .session([1; 32], now())
        .await
        .expect("read")
        .expect("there");
    assert_eq!(found.role, Role::Operator);
}

async fn a_removed_user_leaves_no_session_and_no_secret(db: &Database) {
    let admin = user(db, "admin@example.com").await.expect("added");
    session(db, &admin, 1).await;
    let (draft, owner) = (DraftId::generate(now()), admin.id.to_string());
    let set = SecretChange::Set(secret("typed"));
    let fields = json!({});
    db.store
        .draft_save(draft, WORKSPACE, &owner, None, None, &fields, set, now())
        .await
        .expect("saved");
    db.store
        .user_remove(admin.id, &by(), now())
        .await
        .expect("removed");
    assert_eq!(db.store.session([1; 32], now()).await.expect("read"), None);
    assert!(db.store.draft(draft).await.expect("read").is_none());
    assert_eq!(db.store.user_count().await.expect("read"), 0);
    user(db, "admin@example.com")
        .await
        .expect("the address is free");
}

async fn what_is_done_to_nobody_is_not_found(db: &Database) {
    let nobody = UserId::generate(now());
    let results = [
        db.store
            .user_set_password(nobody, "$new", &by(), now())
            .await,
        db.store
            .user_set_role(nobody, Role::Operator, &by(), now())
            .await,
        db.store.user_remove(nobody, &by(), now()).await,
        db.store.user_set_language(nobody, Language::English).await,
    ];
    for result in results {
        assert!(matches!(result, Err(StoreError::NotFound)), "{result:?}");
    }
}

async fn user(db: &Database, email: &str) -> Result<User, StoreError> {
    let (id, email) = (UserId::generate(now()), email.parse().expect("an address"));
    db.store
        .user_add(id, &email, "$hash", Role::Administrator, &by(), now())
        .await
}

async fn session(db: &Database, user: &User, mark: u8) -> SessionId {
    let id = SessionId::generate(now());
    db.store
        .session_add([mark; 32], id, user.id, now(), later(3600))
        .await
        .expect("added");
    id
}

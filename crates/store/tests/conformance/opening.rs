//! Opening a database: migrations, permissions, and what cannot be opened.

use std::sync::Arc;

use tieline_store::{Migrations, Store, StoreError};
use tieline_vault::KeyRing;

use crate::support::{Database, WORKSPACE, add, settings};

on_both!(
    it_answers,
    migrations_run_again_change_nothing,
    servers_that_start_together_both_come_up,
    a_database_without_tables_is_refused_when_migrations_may_not_run,
    a_database_of_a_newer_version_is_refused,
    a_key_file_of_another_database_is_refused,
);

async fn it_answers(db: &Database) {
    db.store.ping().await.expect("an answer");
}

async fn migrations_run_again_change_nothing(db: &Database) {
    let account = add(&db.store, &settings("Contoso")).await.expect("added");
    let again = Store::open(&db.url, Arc::clone(&db.keys), Migrations::Run)
        .await
        .expect("a store");
    assert_eq!(again.accounts(WORKSPACE).await.expect("read"), [account]);
    let workspaces = db.number("SELECT COUNT(*) FROM workspace").await;
    assert_eq!(workspaces, 1);
}

async fn servers_that_start_together_both_come_up(db: &Database) {
    empty(db).await;
    let starts = (0..4).map(|_| Store::open(&db.url, Arc::clone(&db.keys), Migrations::Run));
    for started in futures_util::future::join_all(starts).await {
        started.expect("a store").ping().await.expect("an answer");
    }
    assert_eq!(db.number("SELECT COUNT(*) FROM workspace").await, 1);
}

async fn a_database_without_tables_is_refused_when_migrations_may_not_run(db: &Database) {
    empty(db).await;
    let refused = Store::open(&db.url, Arc::clone(&db.keys), Migrations::Check).await;
    let error = refused.expect_err("no tables");
    assert!(matches!(error, StoreError::NotMigrated), "{error:?}");
    assert!(error.to_string().contains("tieline migrate"), "{error}");
}

async fn a_database_of_a_newer_version_is_refused(db: &Database) {
    let newer = "INSERT INTO _sqlx_migrations \
                 (version, description, success, checksum, execution_time) \
                 SELECT 9999, 'from the future', success, checksum, 0 FROM _sqlx_migrations \
                 WHERE version = 1";
    assert_eq!(db.execute(newer).await, 1);
    for migrations in [Migrations::Run, Migrations::Check] {
        let refused = Store::open(&db.url, Arc::clone(&db.keys), migrations).await;
        let error = refused.expect_err("it is newer").to_string();
        assert!(error.contains("newer"), "{error}");
    }
}

async fn a_key_file_of_another_database_is_refused(db: &Database) {
    let other = Store::open(&db.url, Arc::new(KeyRing::generate()), Migrations::Run).await;
    let error = other.expect_err("other keys");
    assert!(matches!(error, StoreError::WrongKeys { .. }), "{error:?}");

    // A rotated ring still holds the old key, and its new one is known from then on.
    let rotated = db.keys.rotate();
    let newest = rotated.key_ids()[0].to_string();
    Store::open(&db.url, Arc::new(rotated), Migrations::Run)
        .await
        .expect("a store");
    let known = db
        .number(&format!(
            "SELECT COUNT(*) FROM master_key WHERE key_id = '{newest}'"
        ))
        .await;
    assert_eq!(known, 1);
}

/// Takes every table away, as in a database that was just made.
async fn empty(db: &Database) {
    for table in [
        "limit_use",
        "limit_server",
        "account_pause",
        "account_limits",
        "delivery",
        "notice",
        "mail_recipient",
        "webhook",
        "consumer_use",
        "api_key",
        "consumer",
        "consent",
        "draft",
        "account_event",
        "account_credential",
        "account_token",
        "account",
        "session",
        "app_user",
        "audit_event",
        "change",
        "master_key",
        "workspace",
        "_sqlx_migrations",
    ] {
        db.execute(&format!("DROP TABLE {table}")).await;
    }
}

#[tokio::test]
async fn what_is_no_address_of_a_database_is_refused_without_quoting_a_password() {
    let keys = Arc::new(KeyRing::generate());
    for url in [
        "",
        "tieline.db",
        "mysql://root:hunter2@localhost/x",
        "postgres://user:hunter2@[broken",
        "postgres://user:hunter2@127.0.0.1:1/x",
        "sqlite:///nonexistent-by-any-luck/\0/tieline.db",
    ] {
        let refused = Store::open(url, Arc::clone(&keys), Migrations::Run).await;
        let error = refused.expect_err(url);
        let text = format!("{error} {error:?}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn the_database_file_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().expect("a directory");
    let url = format!("sqlite://{}/tieline.db", directory.path().display());
    let store = Store::open(&url, Arc::new(KeyRing::generate()), Migrations::Run).await;
    let store = store.expect("a store");
    add(&store, &settings("Contoso")).await.expect("added");
    let files = std::fs::read_dir(directory.path()).expect("the directory");
    let mut seen = 0;
    for file in files {
        let file = file.expect("a file");
        let mode = file.metadata().expect("its metadata").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{:?}", file.file_name());
        seen += 1;
    }
    assert!(seen >= 2, "the database and its log");
}

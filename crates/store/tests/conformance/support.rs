//! A database per test, and the things that tests put into it.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::{ExposeSecret, SecretString};
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};
use tempfile::TempDir;
use tieline_core::{
    Account, AccountId, AccountType, Actor, ConnectionState, ConsentInfo, GrantType, Reason,
    RefreshTokenRotation, WorkspaceId,
};
use tieline_store::{
    AccountSettings, FailedRenewal, LeasePurpose, LeaseWish, MarkAfter, Migrations, NewTokens,
    RenewedTokens, StateChange, Store, StoreError,
};
use tieline_vault::KeyRing;

/// Runs each function once per database.
macro_rules! on_both {
    ($($test:ident),+ $(,)?) => {
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    let database = crate::support::Database::sqlite().await;
                    super::$test(&database).await;
                }
            )+
        }
        mod postgres {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    let database = crate::support::Database::postgres().await;
                    super::$test(&database).await;
                    database.drop().await;
                }
            )+
        }
    };
}

/// Where the PostgreSQL half of the suite finds its server.
const VARIABLE: &str = "TIELINE_TEST_POSTGRES";

pub(crate) const WORKSPACE: WorkspaceId = WorkspaceId::DEFAULT;
pub(crate) const TYPE: AccountType = AccountType::MicrosoftDynamics365;

/// A database that belongs to one test.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) url: String,
    pub(crate) keys: Arc<KeyRing>,
    pub(crate) store: Store,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Sqlite(TempDir),
    Postgres { admin: String, name: String },
}

impl Database {
    pub(crate) async fn sqlite() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let url = format!("sqlite://{}", directory.path().join("tieline.db").display());
        Self::opened(url, Place::Sqlite(directory)).await
    }

    pub(crate) async fn postgres() -> Self {
        let admin = std::env::var(VARIABLE).unwrap_or_else(|_| {
            panic!("PostgreSQL is needed for this test: run ./test, or set {VARIABLE}")
        });
        let random = tieline_vault::token::random();
        let letters = random
            .expose_secret()
            .chars()
            .filter(char::is_ascii_alphanumeric);
        let name = format!(
            "tieline_test_{}",
            letters.collect::<String>().to_lowercase()
        );
        let sql = format!("CREATE DATABASE {name}");
        let mut connection = PgConnection::connect(&admin)
            .await
            .expect("the PostgreSQL server");
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut connection)
            .await
            .expect("a database");
        Self::opened(renamed(&admin, &name), Place::Postgres { admin, name }).await
    }

    async fn opened(url: String, place: Place) -> Self {
        let keys = Arc::new(KeyRing::generate());
        let store = Store::open(&url, Arc::clone(&keys), Migrations::Run)
            .await
            .expect("a store");
        Self {
            url,
            keys,
            store,
            place,
        }
    }

    /// Another server on the same database.
    pub(crate) async fn another(&self) -> Store {
        Store::open(&self.url, Arc::clone(&self.keys), Migrations::Check)
            .await
            .expect("another store")
    }

    /// Runs SQL behind the store's back, and tells how many rows it changed.
    pub(crate) async fn execute(&self, sql: &str) -> u64 {
        let sql = AssertSqlSafe(sql.to_owned());
        match &self.place {
            Place::Sqlite(_) => {
                let mut connection = SqliteConnection::connect(&self.url)
                    .await
                    .expect("a connection");
                let done = sqlx::raw_sql(sql).execute(&mut connection).await;
                done.expect("the statement").rows_affected()
            }
            Place::Postgres { .. } => {
                let mut connection = PgConnection::connect(&self.url)
                    .await
                    .expect("a connection");
                let done = sqlx::raw_sql(sql).execute(&mut connection).await;
                done.expect("the statement").rows_affected()
            }
        }
    }

    /// A number read behind the store's back.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        let sql = AssertSqlSafe(sql.to_owned());
        match &self.place {
            Place::Sqlite(_) => {
                let mut connection = SqliteConnection::connect(&self.url)
                    .await
                    .expect("a connection");
                let read = sqlx::query_scalar(sql).fetch_one(&mut connection).await;
                read.expect("a number")
            }
            Place::Postgres { .. } => {
                let mut connection = PgConnection::connect(&self.url)
                    .await
                    .expect("a connection");
                let read = sqlx::query_scalar(sql).fetch_one(&mut connection).await;
                read.expect("a number")
            }
        }
    }

    /// Every byte that is on disk; none for PostgreSQL, whose files are not ours to read.
    pub(crate) fn bytes(&self) -> Option<Vec<u8>> {
        let Place::Sqlite(directory) = &self.place else {
            return None;
        };
        let files = std::fs::read_dir(directory.path()).expect("the directory");
        let mut bytes = Vec::new();
        for file in files {
            bytes.extend(std::fs::read(file.expect("a file").path()).expect("its bytes"));
        }
        Some(bytes)
    }

    pub(crate) async fn drop(self) {
        if let Place::Postgres { admin, name } = &self.place {
            let mut connection = PgConnection::connect(admin).await.expect("the server");
            let sql = AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"));
            sqlx::raw_sql(sql)
                .execute(&mut connection)
                .await
                .expect("it is dropped");
        }
    }
}

/// The URL of another database of the same server.
fn renamed(url: &str, name: &str) -> String {
    let (base, parameters) = match url.split_once('?') {
        Some((base, parameters)) => (base, format!("?{parameters}")),
        None => (url, String::new()),
    };
    let authority = base.find("://").map_or(0, |at| at + 3);
    let end = base[authority..]
        .find('/')
        .map_or(base.len(), |at| authority + at);
    format!("{}/{name}{parameters}", &base[..end])
}

// === what tests put in ===

pub(crate) fn now() -> DateTime<Utc> {
    "2026-11-23T08:00:00Z".parse().expect("a time")
}

pub(crate) fn later(seconds: i64) -> DateTime<Utc> {
    now() + TimeDelta::seconds(seconds)
}

pub(crate) fn by() -> Actor {
    Actor::Command {
        account: "root".to_owned(),
    }
}

pub(crate) fn secret(text: &str) -> SecretString {
    SecretString::from(text)
}

pub(crate) fn shown(secret: Option<&SecretString>) -> Option<&str> {
    secret.map(ExposeSecret::expose_secret)
}

pub(crate) fn settings(name: &str) -> AccountSettings {
    AccountSettings {
        name: name.parse().expect("a name"),
        is_default: false,
        authorization_url: "https://login.microsoftonline.com/t/oauth2/authorize".to_owned(),
        token_url: "https://login.microsoftonline.com/t/oauth2/token".to_owned(),
        api_url: "https://contoso.crm4.dynamics.com/api/data/v9.2".to_owned(),
        client_id: "00000000-0000-0000-0000-000000000001".to_owned(),
        grant: GrantType::AuthorizationCode,
        rotation: RefreshTokenRotation::Auto,
        notes: String::new(),
        secret_expires_on: None,
        credentials: Vec::new(),
    }
}

pub(crate) fn default(name: &str) -> AccountSettings {
    AccountSettings {
        is_default: true,
        ..settings(name)
    }
}

/// Settings as an account has them, to be changed.
pub(crate) fn settings_of(account: &Account) -> AccountSettings {
    AccountSettings {
        name: account.name.clone(),
        is_default: account.is_default,
        authorization_url: account.authorization_url.clone(),
        token_url: account.token_url.clone(),
        api_url: account.api_url.clone(),
        client_id: account.client_id.clone(),
        grant: account.grant,
        rotation: account.rotation,
        notes: account.notes.clone(),
        secret_expires_on: account.client_secret.as_ref().and_then(|s| s.expires_on),
        credentials: Vec::new(),
    }
}

pub(crate) async fn add(store: &Store, settings: &AccountSettings) -> Result<Account, StoreError> {
    let id = AccountId::generate(now());
    store
        .account_add(WORKSPACE, id, TYPE, settings, None, None, &by(), now())
        .await
}

/// An account that has consented, with the refresh token `refresh-1`.
pub(crate) async fn connected(store: &Store, name: &str) -> Account {
    let id = AccountId::generate(now());
    let (secret, tokens) = (secret("client-secret"), consented("1"));
    store
        .account_add(
            WORKSPACE,
            id,
            TYPE,
            &settings(name),
            Some(secret),
            Some(tokens),
            &by(),
            now(),
        )
        .await
        .expect("an account")
}

pub(crate) fn consented(mark: &str) -> NewTokens {
    NewTokens {
        refresh_token: Some(secret(&format!("refresh-{mark}"))),
        access_token: Some(secret(&format!("access-{mark}"))),
        access_expires_at: Some(later(3600)),
        scope: Some("user_impersonation".to_owned()),
        client_key: "client-key".to_owned(),
        consent: Some(ConsentInfo {
            user: Some("admin@contoso.example".to_owned()),
            at: now(),
            tenant: Some("tenant".to_owned()),
            organization: "https://contoso.crm4.dynamics.com".to_owned(),
        }),
    }
}

pub(crate) fn renewed(mark: &str) -> RenewedTokens {
    RenewedTokens {
        refresh_token: Some(secret(&format!("refresh-{mark}"))),
        previous_refresh_token: Some(secret("refresh-before")),
        access_token: Some(secret(&format!("access-{mark}"))),
        access_expires_at: Some(later(7200)),
        scope: Some("user_impersonation".to_owned()),
        client_key: "client-key".to_owned(),
        rotation_seen: None,
        claims_met: None,
        blocked_key: None,
        renew_at: Some(later(3600)),
    }
}

pub(crate) fn failed(renew_at: Option<DateTime<Utc>>) -> FailedRenewal {
    FailedRenewal {
        blocked_key: None,
        renew_at,
        mark: MarkAfter::Clear,
        rotation_seen: None,
        claims: None,
    }
}

/// Takes a lease as an attempt does that is about to send the refresh token.
pub(crate) async fn lease(store: &Store, id: AccountId, owner: &str) -> bool {
    lease_for(store, id, owner, LeasePurpose::Spend).await
}

pub(crate) async fn lease_for(
    store: &Store,
    id: AccountId,
    owner: &str,
    purpose: LeasePurpose,
) -> bool {
    let row = store.token(id).await.expect("read").expect("a row");
    let wish = LeaseWish {
        owner,
        seen: row.generation,
        marked_by: row.spending.as_ref().map(|mark| mark.owner.as_str()),
        purpose,
        life: TimeDelta::seconds(60),
    };
    store.token_lease(id, &wish).await.expect("asked")
}

/// The accounts that are due, left due as they are.
pub(crate) async fn due(store: &Store, at: DateTime<Utc>, limit: i64) -> BTreeSet<AccountId> {
    let claimed = store.tokens_claim(at, at, limit).await.expect("claimed");
    claimed.into_iter().map(|(id, _)| id).collect()
}

pub(crate) fn state(state: ConnectionState, code: &str) -> StateChange {
    StateChange {
        state,
        reason: Reason::new(code, "what was observed"),
    }
}

/// A renewal that fails and leaves an account in a state.
pub(crate) async fn fall(
    store: &Store,
    account: &Account,
    to: ConnectionState,
    code: &str,
    at: DateTime<Utc>,
) {
    let id = account.id;
    assert!(lease(store, id, "k").await);
    let row = store.token(id).await.expect("read").expect("a row");
    let seen = row.generation;
    let change = state(to, code);
    let stored = store
        .token_failed(id, "k", seen, &failed(None), &change, at)
        .await;
    assert!(stored.expect("stored"));
}

/// A renewal that fails because the token service cannot be reached.
pub(crate) async fn lose(store: &Store, account: &Account, at: DateTime<Utc>) {
    fall(
        store,
        account,
        ConnectionState::Unreachable,
        "entra-busy",
        at,
    )
    .await;
}

//! The ledger of the model against the SQL of the store: every small row, every wish, every result.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::SecretString;
use tieline_core::{
    AccountId, AccountType, Actor, ConnectionState, GrantType, Reason, RefreshTokenRotation,
    WorkspaceId,
};
use tieline_store::{
    AccountSettings, FailedRenewal, LeasePurpose, LeaseWish, MarkAfter, Migrations, NewTokens,
    RenewedTokens, StateChange, Store,
};
use tieline_vault::KeyRing;

use super::ledger::Ledger;

/// Two attempts are enough: one is mine, and all others are alike.
const NAMES: [&str; 2] = ["mine", "other"];

fn now() -> DateTime<Utc> {
    "2026-11-23T08:00:00Z".parse().expect("a date")
}

fn settings(name: &str) -> AccountSettings {
    AccountSettings {
        name: name.parse().expect("a name"),
        is_default: false,
        authorization_url: "https://login.example.com/authorize".to_owned(),
        token_url: "https://login.example.com/token".to_owned(),
        api_url: "https://contoso.crm.dynamics.com/api/data/v9.2".to_owned(),
        client_id: "client".to_owned(),
        grant: GrantType::AuthorizationCode,
        rotation: RefreshTokenRotation::Auto,
        notes: String::new(),
        secret_expires_on: None,
        credentials: Vec::new(),
    }
}

fn tokens() -> NewTokens {
    NewTokens {
        refresh_token: Some(SecretString::from("refresh")),
        access_token: None,
        access_expires_at: None,
        scope: None,
        client_key: "key".to_owned(),
        consent: None,
    }
}

fn renewed() -> RenewedTokens {
    RenewedTokens {
        refresh_token: Some(SecretString::from("refresh")),
        previous_refresh_token: None,
        access_token: Some(SecretString::from("access")),
        access_expires_at: Some(now()),
        scope: None,
        client_key: "key".to_owned(),
        rotation_seen: None,
        claims_met: None,
        blocked_key: None,
        renew_at: None,
    }
}

fn failed(mark: MarkAfter) -> FailedRenewal {
    FailedRenewal {
        blocked_key: None,
        renew_at: None,
        mark,
        rotation_seen: None,
        claims: None,
    }
}

struct Bench {
    store: Store,
    id: AccountId,
    _directory: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let url = format!("sqlite://{}/tieline.db", directory.path().display());
        let keys = Arc::new(KeyRing::generate());
        let store = Store::open(&url, keys, Migrations::Run)
            .await
            .expect("a store");
        let id = AccountId::generate(now());
        let (workspace, kind) = (WorkspaceId::DEFAULT, AccountType::MicrosoftDynamics365);
        let (by, at) = (Actor::System, now());
        store
            .account_add(
                workspace,
                id,
                kind,
                &settings("A"),
                None,
                Some(tokens()),
                &by,
                at,
            )
            .await
            .expect("an account");
        Self {
            store,
            id,
            _directory: directory,
        }
    }

    async fn ledger(&self) -> Ledger<&'static str> {
        let row = self
            .store
            .token(self.id)
            .await
            .expect("read")
            .expect("there");
        let name = |owner: String| NAMES.into_iter().find(|known| *known == owner);
        Ledger {
            generation: row.generation,
            lease: row.lease.and_then(|lease| name(lease.owner)),
            mark: row.spending.and_then(|mark| name(mark.owner)),
        }
    }

    async fn take(
        &self,
        owner: &'static str,
        seen: &Ledger<&'static str>,
        purpose: LeasePurpose,
        life: TimeDelta,
    ) -> bool {
        let wish = LeaseWish {
            owner,
            seen: seen.generation,
            marked_by: seen.mark,
            purpose,
            life,
        };
        self.store.token_lease(self.id, &wish).await.expect("asked")
    }

    /// A new generation, without lease and mark.
    async fn reset(&self) {
        let replaced = self
            .store
            .token_replace(self.id, tokens(), None, &Actor::System, now())
            .await;
        replaced.expect("replaced");
    }

    /// Brings the row into a state by the store's own means.
    async fn arrange(&self, lease: Option<&'static str>, mark: Option<&'static str>) {
        self.reset().await;
        if let Some(owner) = mark {
            let seen = self.ledger().await;
            // A lease without a life has lapsed at once; its mark stays.
            let lapsed = TimeDelta::zero();
            assert!(self.take(owner, &seen, LeasePurpose::Spend, lapsed).await);
        }
        if let Some(owner) = lease {
            let seen = self.ledger().await;
            let life = TimeDelta::seconds(60);
            assert!(self.take(owner, &seen, LeasePurpose::Other, life).await);
        }
        let now = self.ledger().await;
        assert_eq!((now.lease, now.mark), (lease, mark));
    }
}

fn owners() -> impl Iterator<Item = Option<&'static str>> {
    [None].into_iter().chain(NAMES.into_iter().map(Some))
}

fn rows() -> Vec<(Option<&'static str>, Option<&'static str>)> {
    owners()
        .flat_map(|lease| owners().map(move |mark| (lease, mark)))
        .collect()
}

#[tokio::test]
async fn leases_are_given_alike() {
    let bench = Bench::new().await;
    for (lease, mark) in rows() {
        for marked_by in owners() {
            for off in [0, 1] {
                for purpose in [LeasePurpose::Spend, LeasePurpose::Other] {
                    bench.arrange(lease, mark).await;
                    let mut model = bench.ledger().await;
                    let mut seen = model;
                    seen.mark = marked_by;
                    seen.generation -= off;
                    let life = TimeDelta::seconds(60);
                    let sql = bench.take("mine", &seen, purpose, life).await;
                    assert_eq!(sql, model.take("mine", &seen, purpose), "{seen:?}");
                    assert_eq!(bench.ledger().await, model, "{seen:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn results_are_taken_alike() {
    let bench = Bench::new().await;
    let change = StateChange {
        state: ConnectionState::Connected,
        reason: Reason::new("renewed", ""),
    };
    for (lease, mark) in rows() {
        for off in [0, 1] {
            for after in [None, Some(MarkAfter::Clear), Some(MarkAfter::Keep)] {
                bench.arrange(lease, mark).await;
                let mut model = bench.ledger().await;
                let seen = model.generation - off;
                let store = &bench.store;
                let (sql, expected) = match after {
                    None => (
                        store
                            .token_renewed(bench.id, "mine", seen, &renewed(), &change, now())
                            .await,
                        model.renewed("mine", seen),
                    ),
                    Some(after) => (
                        store
                            .token_failed(bench.id, "mine", seen, &failed(after), &change, now())
                            .await,
                        model.failed("mine", seen, after),
                    ),
                };
                assert_eq!(
                    sql.expect("asked"),
                    expected,
                    "{lease:?} {mark:?} {off} {after:?}"
                );
                assert_eq!(bench.ledger().await, model);
            }
        }
    }
}

#[tokio::test]
async fn a_lease_that_is_released_leaves_no_mark() {
    let bench = Bench::new().await;
    for (lease, mark) in rows() {
        bench.arrange(lease, mark).await;
        let mut model = bench.ledger().await;
        let released = bench.store.token_lease_release(bench.id, "mine").await;
        released.expect("released");
        model.release("mine");
        assert_eq!(bench.ledger().await, model);
    }
}

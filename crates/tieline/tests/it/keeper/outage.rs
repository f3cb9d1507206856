//! Hundreds of accounts whose token service is down: what reaches it meanwhile, and how they come
//! back, although nobody calls. `chaos/` does it with a thousand, and callers.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use secrecy::SecretString;
use serde_json::{Value, json};
use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use tieline_core::{AccountId, AccountType, Actor, GrantType, RefreshTokenRotation, WorkspaceId};
use tieline_store::{AccountSettings, Migrations, NewTokens, Store};
use tieline_vault::KeyRing;

use crate::keeper::line::{Line, Rules, Server};

const ACCOUNTS: usize = 300;
/// With the one that every scene has.
const ALL: usize = ACCOUNTS + 1;
/// How long anything may take on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(120);
/// All are well again within this.
const RECOVERY: Duration = Duration::from_secs(60);
/// How long the token service keeps each answer.
const KEPT_MS: u64 = 200;
/// Probes that are waited for.
const PROBES: u64 = 2;

/// Requests to one token service that run side by side.
const SIDE_BY_SIDE: u64 = 64;
/// Accounts that have to fail before it is held to be down.
const TELLING: u64 = 3;
/// The shortest pause between two probes: the first is two seconds, less a quarter of chance.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1500);
/// A first failure is looked at twice: most stumbles are over within a second.
const TRIES: u64 = 2;

/// The most probes that there may be in a time.
fn probes_in(time: Duration) -> u64 {
    1 + u64::try_from(time.as_millis() / SHORTEST_PAUSE.as_millis()).unwrap()
}

/// The most that may have reached a token service which has been down since then: those whose
/// failures told so, what was under way by then, and after that one probe at a time.
fn most_while_down(since: Instant) -> u64 {
    TRIES * (TELLING + SIDE_BY_SIDE + probes_in(since.elapsed()))
}

/// Adds accounts to the database of a server that does not run yet, each with a refresh token of
/// its own, as if somebody had moved here with all of them.
async fn fill(line: &Line) {
    let directory = line.directory(0);
    let directory = Path::new(&directory);
    let keys = Arc::new(KeyRing::load(&directory.join("master.keys")).unwrap());
    let url = format!("sqlite://{}", directory.join("tieline.db").display());
    let store = Store::open(&url, keys, Migrations::Check).await.unwrap();
    let settings = &line.settings;
    let now = chrono::Utc::now();
    let minted = (0..ACCOUNTS).map(|_| line.mint());
    let minted = futures_util::stream::iter(minted).buffered(16);
    let minted: Vec<String> = minted.collect().await;
    for (number, refresh_token) in minted.into_iter().enumerate() {
        let account = AccountSettings {
            name: format!("a{number}").parse().unwrap(),
            is_default: false,
            authorization_url: settings.authorization_url.clone(),
            token_url: settings.token_url.clone(),
            api_url: settings.api_url.clone(),
            client_id: settings.client_id.clone(),
            grant: GrantType::AuthorizationCode,
            rotation: RefreshTokenRotation::Auto,
            notes: String::new(),
            secret_expires_on: None,
            credentials: Vec::new(),
        };
        let tokens = NewTokens {
            refresh_token: Some(SecretString::from(refresh_token)),
            access_token: None,
            access_expires_at: None,
            scope: None,
            client_key: format!("{}|{}", settings.token_url, settings.client_id).to_lowercase(),
            consent: None,
        };
        let added = store.account_add(
            WorkspaceId::DEFAULT,
            AccountId::generate(now),
            AccountType::MicrosoftDynamics365,
            &account,
            Some(SecretString::from(settings.client_secret.clone())),
            Some(tokens),
            &Actor::System,
            now,
        );
        added.await.unwrap();
    }
}

/// What the database says, without a hand in it.
struct Look(SqliteConnection);

impl Look {
    async fn into(line: &Line) -> Look {
        let file = Path::new(&line.directory(0)).join("tieline.db");
        let options = SqliteConnectOptions::new().filename(file).read_only(true);
        Look(SqliteConnection::connect_with(&options).await.unwrap())
    }

    /// How many accounts are in a state.
    async fn count(&mut self, state: &str) -> usize {
        let sql = "SELECT count(*) FROM account WHERE state = ?1";
        let count: i64 = sqlx::query_scalar(sql)
            .bind(state)
            .fetch_one(&mut self.0)
            .await
            .unwrap();
        usize::try_from(count).unwrap()
    }

    /// Numbers of renewals, and how many accounts have had so many.
    async fn renewals(&mut self) -> Vec<(i64, i64)> {
        sqlx::query_as("SELECT generation, count(*) FROM account_token GROUP BY 1")
            .fetch_all(&mut self.0)
            .await
            .unwrap()
    }
}

/// Every account is called once.
async fn all_are_served(line: &Line, server: &Server) {
    let calls = futures_util::stream::iter(0..ACCOUNTS).map(|number| {
        let url = format!("{}/a{number}/api/data/v9.2/WhoAmI", server.gateway);
        let asked = line.http.get(url).bearer_auth(&line.key);
        async move { asked.send().await.unwrap().status() }
    });
    let answers: Vec<_> = calls.buffer_unordered(32).collect().await;
    assert!(answers.iter().all(|status| *status == 200), "{answers:?}");
}

/// Counts requests for tokens, and keeps each answer so long that those which run side by side
/// show in the count.
async fn counting(line: &Line) -> Value {
    let kept = json!({
        "kind": "delay", "when": "after", "ms": KEPT_MS, "side": "entra", "path": "/**/token",
    });
    line.control("/faults", &kept).await
}
/// Everybody has been renewed once since `before`, and nobody twice.
async fn each_was_renewed_once(look: &mut Look, before: &[(i64, i64)]) {
    let after: Vec<_> = before.iter().map(|(count, of)| (count + 1, *of)).collect();
    assert_eq!(look.renewals().await, after);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_service_that_answers_503_gets_a_trickle_and_everybody_back() {
    let line = Line::start(Rules::Entra, None).await;
    fill(&line).await;
    let mut look = Look::into(&line).await;
    let at_first = look.renewals().await;
    let asked = counting(&line).await;
    let down = json!({"kind": "status", "status": 503, "side": "entra", "path": "/**/token"});
    let down = line.control("/faults", &down).await;
    let since = Instant::now();
    let server = line.serve(0);
    // Every account has met the outage, and probes go on.
    while look.count("unreachable").await < ALL {
        assert!(since.elapsed() < PATIENCE, "some have not noticed");
        let came = line.struck(&asked).await;
        let most = most_while_down(since);
        assert!(came <= most, "{came} requests, {most} at most");
    }
    let (met, probing) = (line.struck(&asked).await, Instant::now());
    while line.struck(&asked).await < met + PROBES {
        assert!(
            since.elapsed() < PATIENCE,
            "nobody looks whether it is back"
        );
    }
    let came = line.struck(&asked).await - met;
    let most = TRIES * probes_in(probing.elapsed());
    assert!(came <= most, "{came} probes, {most} at most");

    let before = line.struck(&asked).await;
    let back = Instant::now();
    line.mend(&down).await;
    while look.count("connected").await < ALL {
        assert!(back.elapsed() < RECOVERY, "not all are well in time");
        let came = line.struck(&asked).await - before;
        let turns = 1 + u64::try_from(back.elapsed().as_millis()).unwrap() / KEPT_MS;
        let most = SIDE_BY_SIDE * turns;
        assert!(came <= most, "{came} requests, {most} at most");
    }
    // A probe may have been refused between the two looks; nobody asked in vain after that.
    let came = line.struck(&asked).await - before;
    let all = u64::try_from(ALL).unwrap();
    assert!((all..=all + TRIES).contains(&came), "{came} requests");
    each_was_renewed_once(&mut look, &at_first).await;
    all_are_served(&line, &server).await;
    each_was_renewed_once(&mut look, &at_first).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_service_that_refuses_connections_gets_a_trickle_and_everybody_back() {
    let mut line = Line::start(Rules::Entra, None).await;
    fill(&line).await;
    let mut look = Look::into(&line).await;
    let at_first = look.renewals().await;
    line.stop_sandbox();
    let since = Instant::now();
    let server = line.serve_with(0, &["--log-level", "info,reqwest=debug"]);
    // Nobody is there to count them, so the client's own word has to do.
    let attempts = || {
        let log = server.process.log.lock().unwrap();
        u64::try_from(log.matches("starting new connection").count()).unwrap()
    };
    while look.count("unreachable").await < ALL {
        assert!(since.elapsed() < PATIENCE, "some have not noticed");
    }
    let (met, probing) = (attempts(), Instant::now());
    assert!(met > 0, "the client says nothing of its connections");
    let most = most_while_down(since);
    assert!(met <= most, "{met} attempts, {most} at most");
    let mut came = 0;
    while came < PROBES {
        assert!(
            since.elapsed() < PATIENCE,
            "nobody looks whether it is back"
        );
        tokio::task::yield_now().await;
        came = attempts() - met;
    }
    let most = TRIES * probes_in(probing.elapsed());
    assert!(came <= most, "{came} probes, {most} at most");

    line.start_sandbox();
    let back = Instant::now();
    while look.count("connected").await < ALL {
        assert!(back.elapsed() < RECOVERY, "not all are well in time");
    }
    each_was_renewed_once(&mut look, &at_first).await;
    all_are_served(&line, &server).await;
    each_was_renewed_once(&mut look, &at_first).await;
}

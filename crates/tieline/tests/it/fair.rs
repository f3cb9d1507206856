//! Fairness under Microsoft's limits, from outside: the sandbox with its limits armed, or an
//! upstream of our own that says what the sandbox does not.

use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::postgres::database;
use crate::test_app::{Process, client, stderr, tieline};
use crate::upstream::{Seen, Upstream, answer};

const SEED: &str = include_str!("../clients/seed.toml");
const TENANT: &str = "6f0c2b7e-3f0e-4f7a-9a53-8d1c5a2e4b10";
const CLIENT: &str = "3b8f4c1d-7c0a-4c62-8f0e-52a6b9d1e7f4";

/// A server with one account.
struct Stage {
    gateway: String,
    more: Vec<String>,
    http: reqwest::Client,
    database: Option<String>,
    _process: Process,
    data: tempfile::TempDir,
}

/// What an account is made of.
struct Account<'a> {
    authorize: String,
    token: String,
    api: String,
    client: &'a str,
    secret: &'a str,
}

impl Stage {
    /// A server whose account leads to an upstream of our own.
    fn before(upstream: &Upstream) -> Stage {
        let origin = &upstream.origin;
        let account = Account {
            authorize: format!("{origin}/authorize"),
            token: format!("{origin}/token"),
            api: format!("{origin}/api/data/v9.2"),
            client: "x",
            secret: "secret",
        };
        Stage::with(&account, &[], None)
    }

    fn with(account: &Account<'_>, more: &[&str], database: Option<String>) -> Stage {
        let data = tempfile::tempdir().unwrap();
        let directory = data.path().to_str().unwrap().to_owned();
        let mut more: Vec<String> = more.iter().map(|&text| text.to_owned()).collect();
        more.extend(["--allow-loopback".to_owned()]);
        more.extend(["--data-dir".to_owned(), directory]);
        let secret = data.path().join("secret");
        std::fs::write(&secret, account.secret).unwrap();
        let mut args = vec!["account", "add", "--name", "Line", "--default"];
        args.extend(["--authorization-url", &account.authorize]);
        args.extend(["--token-url", &account.token, "--api-url", &account.api]);
        args.extend(["--client-id", account.client]);
        args.extend(["--client-secret-file", secret.to_str().unwrap()]);
        args.extend(["--grant", "client-credentials"]);
        ran(&args, &more, database.as_deref());
        let (process, gateway) = served(data.path(), &more, database.as_deref());
        Stage {
            gateway,
            more,
            http: client(None),
            database,
            _process: process,
            data,
        }
    }

    /// A consumer with limits, and its key.
    fn consumer(&self, name: &str, limits: &[&str]) -> String {
        let added = self.json(&["consumer", "add", "--name", name, "--json"]);
        if !limits.is_empty() {
            let mut args = vec!["consumer", "limits", name, "--json"];
            args.extend(limits);
            let set = self.json(&args);
            assert_eq!(set["name"], name);
        }
        added["api_key"].as_str().unwrap().to_owned()
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&ran(args, &self.more, self.database.as_deref())).unwrap()
    }

    /// The account's headroom, once the server has written down what is looked for.
    fn headroom(&self, shows: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let headroom = self.json(&["account", "headroom", "Line", "--json"]);
            if shows(&headroom) {
                return headroom;
            }
            assert!(Instant::now() < until, "{headroom}");
        }
    }

    /// Another server on the same database, with the same keys.
    fn another(&self) -> (Process, String) {
        let home = self.data.path().join("another");
        std::fs::create_dir(&home).unwrap();
        let keys = "master.keys";
        std::fs::copy(self.data.path().join(keys), home.join(keys)).unwrap();
        let directory = home.to_str().unwrap().to_owned();
        let more = ["--allow-loopback", "--data-dir", &directory].map(str::to_owned);
        served(&home, &more, self.database.as_deref())
    }

    async fn get(&self, key: &str, fields: &[(&str, &str)]) -> reqwest::Response {
        self.get_at(&self.gateway, key, fields).await
    }

    async fn get_at(&self, gateway: &str, key: &str, fields: &[(&str, &str)]) -> reqwest::Response {
        let url = format!("http://{gateway}/api/data/v9.2/contacts?$top=1");
        let mut request = self.http.get(url).bearer_auth(key);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    }
}

fn ran(args: &[&str], more: &[String], database: Option<&str>) -> String {
    let mut command = tieline();
    command.envs(database.map(|url| ("TIELINE_DATABASE_URL", url)));
    let output = command.args(args).args(more).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// A server, and where its gateway is.
fn served(home: &Path, more: &[String], database: Option<&str>) -> (Process, String) {
    let mut command = tieline();
    command.envs(database.map(|url| ("TIELINE_DATABASE_URL", url)));
    command.args(["serve", "--console", "127.0.0.1:0"]);
    command.args(["--gateway", "127.0.0.1:0"]).args(more);
    let process = Process::run(command);
    let gateway = gateway_of(home, &process);
    (process, gateway)
}

/// The server says where it is once both listeners are bound.
fn gateway_of(data: &Path, process: &Process) -> String {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let text = std::fs::read_to_string(data.join("server.json")).unwrap_or_default();
        if let Ok(running) = serde_json::from_str::<Value>(&text) {
            let url = running["gateway_url"].as_str().unwrap();
            let url = url.trim_end_matches('/').trim_start_matches("http://");
            return url.replace("localhost", "127.0.0.1");
        }
        let log = process.log.lock().unwrap();
        assert!(Instant::now() < until, "it does not come up: {log}");
    }
}

fn later(seconds: &str) -> Vec<u8> {
    let body = r#"{"error":{"code":"0x80072322","message":"Number of requests exceeded the limit of 6000 over time window of 300 seconds."}}"#;
    let headers = format!("Content-Type: application/json\r\nRetry-After: {seconds}\r\n");
    answer("429 Too Many Requests", &headers, body)
}

fn rows() -> Vec<u8> {
    answer(
        "200 OK",
        "Content-Type: application/json\r\n",
        r#"{"value":[]}"#,
    )
}

/// The seconds of `Retry-After`.
fn retry_after(answer: &reqwest::Response) -> u64 {
    let text = answer.headers()["retry-after"].to_str().unwrap();
    text.parse().unwrap()
}

async fn code_of(answer: reqwest::Response) -> String {
    let body: Value = answer.json().await.unwrap();
    body["error"]["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_pause_is_waited_out_by_everyone_and_noticed_by_nobody() {
    let calls = AtomicUsize::new(0);
    let times = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&times);
    let upstream = Upstream::start(move |_| {
        seen.lock().unwrap().push(Instant::now());
        match calls.fetch_add(1, Ordering::SeqCst) {
            0 => later("2"),
            _ => rows(),
        }
    });
    let stage = Stage::before(&upstream);
    let hasty = stage.consumer("Hasty", &["--on-throttle", "fail"]);
    let ivr = stage.consumer("IVR", &[]);
    let job = stage.consumer("Job", &["--priority", "bulk"]);
    assert_eq!(stage.get(&hasty, &[]).await.status(), 429);
    // What one was told holds for all, and those that may wait come through.
    let keys = [&ivr, &job, &ivr, &job, &ivr, &job];
    let all = keys.map(|key| stage.get(key, &[]));
    for answer in futures_util::future::join_all(all).await {
        assert_eq!(answer.status(), 200);
    }
    let times = times.lock().unwrap();
    assert_eq!(times.len(), 7);
    for at in &times[1..] {
        assert!(*at - times[0] >= Duration::from_secs(2), "{times:?}");
    }
    stage.headroom(|headroom| {
        let stopped = headroom["throttled_seconds"]["last_24_hours"].as_f64();
        stopped.is_some_and(|stopped| (1.9..=2.1).contains(&stopped))
    });
}

#[tokio::test]
async fn who_does_not_want_to_wait_gets_microsofts_own_answer_and_then_ours_at_once() {
    let upstream = Upstream::start(|_| later("120"));
    let stage = Stage::before(&upstream);
    let hasty = stage.consumer("Hasty", &["--on-throttle", "fail"]);
    let first = stage.get(&hasty, &[]).await;
    assert_eq!(first.status(), 429);
    assert_eq!(first.headers()["retry-after"], "120");
    assert!(!first.headers().contains_key("tieline-failed"));
    assert_eq!(code_of(first).await, "0x80072322");
    let second = stage.get(&hasty, &[]).await;
    assert_eq!(second.status(), 429);
    assert_eq!(second.headers()["tieline-failed"], "dynamics");
    let seconds = retry_after(&second);
    assert!((100..=120).contains(&seconds), "{seconds}");
    assert_eq!(code_of(second).await, "account-throttled");
    // Nobody waits for what comes after the deadline.
    let patient = stage.consumer("Patient", &[]);
    let third = stage.get(&patient, &[("Tieline-Deadline", "30s")]).await;
    assert_eq!(third.status(), 429);
    assert_eq!(code_of(third).await, "account-throttled");
    assert_eq!(upstream.calls().len(), 1);
    stage.headroom(|headroom| headroom["paused_until"].is_string());
}

#[tokio::test]
async fn a_deadline_is_kept_while_dynamics_says_nothing() {
    let upstream = Upstream::start(|seen: &Seen| {
        // Longer than every deadline here; the process ends before.
        std::thread::park_timeout(Duration::from_secs(120));
        answer("200 OK", "", &seen.line)
    });
    let stage = Stage::before(&upstream);
    let key = stage.consumer("IVR", &[]);
    let began = Instant::now();
    let late = stage.get(&key, &[("Tieline-Deadline", "700ms")]).await;
    assert_eq!(late.status(), 504);
    assert!(began.elapsed() >= Duration::from_millis(600));
    assert_eq!(late.headers()["tieline-failed"], "dynamics");
    assert_eq!(code_of(late).await, "deadline-exceeded");
    let other = stage.consumer("Settings", &["--deadline-ms", "500"]);
    let late = stage.get(&other, &[]).await;
    assert_eq!(code_of(late).await, "deadline-exceeded");
    for (name, value, code) in [
        ("Tieline-Deadline", "soon", "deadline-malformed"),
        ("Tieline-Priority", "urgent", "priority-unknown"),
    ] {
        let refused = stage.get(&key, &[(name, value)]).await;
        assert_eq!(refused.status(), 400);
        assert_eq!(refused.headers()["tieline-failed"], "consumer");
        assert_eq!(code_of(refused).await, code);
    }
    // None of our own headers went on.
    for call in upstream.calls() {
        let ours = |(name, _): &&(String, String)| name.to_lowercase().starts_with("tieline");
        assert_eq!(call.headers.iter().find(ours), None);
    }
}

#[tokio::test]
async fn a_rate_holds_for_its_consumer_alone() {
    let upstream = Upstream::start(|_| rows());
    let stage = Stage::before(&upstream);
    let slow = stage.consumer(
        "Slow",
        &["--rate", "0.01", "--burst", "2", "--on-throttle", "fail"],
    );
    let other = stage.consumer("Other", &[]);
    for _ in 0..2 {
        assert_eq!(stage.get(&slow, &[]).await.status(), 200);
    }
    let refused = stage.get(&slow, &[]).await;
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["tieline-failed"], "consumer");
    let after = retry_after(&refused);
    assert!((80..=100).contains(&after), "{after}");
    assert_eq!(code_of(refused).await, "consumer-rate-limited");
    assert_eq!(stage.get(&other, &[]).await.status(), 200);
    // What an administrator changes counts at once.
    stage.json(&["consumer", "limits", "Slow", "--rate", "0", "--json"]);
    let until = Instant::now() + Duration::from_secs(20);
    while stage.get(&slow, &[]).await.status() != 200 {
        assert!(Instant::now() < until, "the change was not seen");
    }
}

#[tokio::test]
async fn who_hangs_up_frees_its_place() {
    let held = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&held);
    let upstream = Upstream::start(move |seen| {
        if seen.line.contains("hold") {
            count.fetch_add(1, Ordering::SeqCst);
            std::thread::park_timeout(Duration::from_secs(120));
        }
        rows()
    });
    let stage = Stage::before(&upstream);
    let key = stage.consumer("IVR", &[]);
    let limits = ["account", "limits", "Line", "--concurrency", "1", "--json"];
    assert_eq!(stage.json(&limits)["concurrency"], 1);
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        // The server has heard of it when it says so; it says something while it is used.
        assert_eq!(stage.get(&key, &[]).await.status(), 200);
        let headroom = stage.json(&["account", "headroom", "Line", "--json"]);
        if headroom["concurrency"]["allowed"] == 1 {
            break;
        }
        assert!(Instant::now() < until, "{headroom}");
    }
    let mut holder = TcpStream::connect(&stage.gateway).unwrap();
    let request = format!(
        "GET /api/data/v9.2/hold HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n"
    );
    holder.write_all(request.as_bytes()).unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while held.load(Ordering::SeqCst) == 0 {
        assert!(Instant::now() < until, "the call did not arrive");
        std::thread::yield_now();
    }
    // The only place is taken.
    let busy = stage.get(&key, &[("Tieline-Deadline", "300ms")]).await;
    assert_eq!(busy.status(), 429);
    assert_eq!(code_of(busy).await, "queue-timeout");
    drop(holder);
    assert_eq!(stage.get(&key, &[]).await.status(), 200);
}

#[tokio::test]
async fn what_one_server_is_told_holds_at_the_others() {
    let calls = AtomicUsize::new(0);
    // Only the first call is refused: the other server cannot learn of it from Microsoft.
    let upstream = Upstream::start(move |_| match calls.fetch_add(1, Ordering::SeqCst) {
        0 => later("600"),
        _ => rows(),
    });
    let origin = &upstream.origin;
    let account = Account {
        authorize: format!("{origin}/authorize"),
        token: format!("{origin}/token"),
        api: format!("{origin}/api/data/v9.2"),
        client: "x",
        secret: "secret",
    };
    let stage = Stage::with(&account, &[], Some(database().await));
    let key = stage.consumer("Hasty", &["--on-throttle", "fail"]);
    let (_process, another) = stage.another();
    assert_eq!(stage.get(&key, &[]).await.status(), 429);
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let answer = stage.get_at(&another, &key, &[]).await;
        if answer.status() == 429 {
            assert_eq!(code_of(answer).await, "account-throttled");
            break;
        }
        assert!(Instant::now() < until, "the other server never heard of it");
    }
    // Both are seen as one, and each has its part of the places.
    let headroom = stage.headroom(|headroom| headroom["servers"] == 2);
    assert!(headroom["paused_until"].is_string(), "{headroom}");
}

/// Microsoft, with its limits armed.
struct Rehearsal {
    origin: String,
    ca_file: String,
    _sandbox: Process,
    _data: tempfile::TempDir,
}

impl Rehearsal {
    fn start() -> Rehearsal {
        let data = tempfile::tempdir().unwrap();
        let seed = data.path().join("seed.toml");
        // Certificates are for other tests.
        let text: String = SEED
            .replace("certificates = [\"\"\"\n@CERTIFICATE@\"\"\"]\n", "")
            .lines()
            .take_while(|line| !line.contains("federated_credentials"))
            .chain(
                SEED.lines()
                    .skip_while(|line| !line.starts_with("[[tenant.organization]]")),
            )
            .map(|line| format!("{line}\n"))
            .collect();
        std::fs::write(&seed, text).unwrap();
        let (seed, home) = (seed.to_str().unwrap(), data.path().join("data"));
        let mut args = vec!["sandbox", "--json", "--listen", "127.0.0.1:0", "--control"];
        args.extend(["--seed", seed, "--data-dir", home.to_str().unwrap()]);
        let mut sandbox = Process::start(&args);
        let up: Value = serde_json::from_str(&sandbox.line()).unwrap();
        Rehearsal {
            origin: up["origin"].as_str().unwrap().to_owned(),
            ca_file: up["ca_file"].as_str().unwrap().to_owned(),
            _sandbox: sandbox,
            _data: data,
        }
    }

    fn stage(&self) -> Stage {
        let origin = &self.origin;
        let account = Account {
            authorize: format!("{origin}/{TENANT}/oauth2/v2.0/authorize"),
            token: format!("{origin}/{TENANT}/oauth2/v2.0/token"),
            api: format!("{origin}/api/data/v9.2"),
            client: CLIENT,
            secret: "RehearsedPlainSecret",
        };
        Stage::with(&account, &["--ca-file", &self.ca_file], None)
    }

    async fn control(&self, path: &str, body: Value) -> Value {
        let url = format!("{}/_sandbox/api/{path}", self.origin);
        let request = client(Some(Path::new(&self.ca_file))).post(url).json(&body);
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{status}: {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }
}

#[tokio::test]
async fn bulk_leaves_the_reserve_and_the_window_is_learned() {
    let rehearsal = Rehearsal::start();
    let stage = rehearsal.stage();
    let (ivr, job) = (
        stage.consumer("IVR", &[]),
        stage.consumer("Job", &["--priority", "bulk", "--on-throttle", "fail"]),
    );
    rehearsal.control("limits", json!({"requests": 100})).await;
    assert_eq!(stage.get(&ivr, &[]).await.status(), 200);
    // A job that never stops by itself is stopped before the window is empty.
    let mut let_through = 0;
    let refused = loop {
        let answer = stage.get(&job, &[]).await;
        if answer.status() != 200 {
            break answer;
        }
        let_through += 1;
        assert!(let_through < 100, "nothing was left to others");
    };
    assert!(let_through >= 85, "{let_through}");
    assert_eq!(code_of(refused).await, "account-throttled");
    // A job cannot say that somebody waits for it.
    let claimed = stage
        .get(&job, &[("Tieline-Priority", "interactive")])
        .await;
    assert_eq!(claimed.status(), 429);
    // And those for whom somebody does, find room.
    for _ in 0..4 {
        assert_eq!(stage.get(&ivr, &[]).await.status(), 200);
    }
    let job = |headroom: &Value| {
        let used = headroom["consumers"].as_array().unwrap();
        let mut used = used.iter().filter(|used| used["name"] == "Job");
        used.next().cloned().unwrap_or_default()
    };
    let headroom = stage.headroom(|headroom| job(headroom)["last_24_hours"]["refused"] == 2);
    let left = headroom["requests"]["left"].as_f64().unwrap();
    assert!((0.0..=12.0).contains(&left), "{headroom}");
    assert_eq!(
        headroom["throttled_seconds"]["last_5_minutes"], 0.0,
        "{headroom}"
    );
    assert_eq!(job(&headroom)["last_24_hours"]["bulk"], let_through);
}

#[tokio::test]
async fn a_flood_of_a_hundred_meets_no_limit_on_concurrency() {
    let rehearsal = Rehearsal::start();
    let stage = rehearsal.stage();
    let key = stage.consumer("Everybody", &[]);
    assert_eq!(stage.get(&key, &[]).await.status(), 200);
    let slow = json!({"kind": "delay", "ms": 150, "side": "dataverse", "path": "/api/data/**"});
    rehearsal.control("faults", slow).await;
    let all = (0..120).map(|_| stage.get(&key, &[]));
    let answers = futures_util::future::join_all(all).await;
    let codes: Vec<u16> = answers.iter().map(|a| a.status().as_u16()).collect();
    assert!(codes.iter().all(|code| *code == 200), "{codes:?}");
    let headroom = stage.headroom(|headroom| headroom["requests"]["left"].is_number());
    assert_eq!(
        headroom["throttled_seconds"]["last_24_hours"], 0.0,
        "{headroom}"
    );
    // A limit that is lower than everybody thinks is found out, and callers do not notice. Each
    // refusal of a gust names a second more, so the gust is a small one.
    rehearsal.control("limits", json!({"concurrent": 5})).await;
    let all = (0..10).map(|_| stage.get(&key, &[]));
    let answers = futures_util::future::join_all(all).await;
    let codes: Vec<u16> = answers.iter().map(|a| a.status().as_u16()).collect();
    assert!(codes.iter().all(|code| *code == 200), "{codes:?}");
}

#[test]
fn settings_out_of_range_are_refused() {
    let upstream = Upstream::start(|_| rows());
    let stage = Stage::before(&upstream);
    stage.consumer("Job", &[]);
    for args in [
        ["consumer", "limits", "Job", "--share", "0"],
        ["consumer", "limits", "Job", "--rate", "-1"],
        ["consumer", "limits", "Job", "--priority", "urgent"],
        ["account", "limits", "Line", "--concurrency", "0"],
    ] {
        let output = tieline().args(args).args(&stage.more).output().unwrap();
        assert!(!output.status.success(), "{args:?}");
        assert!(!stderr(&output).contains("panicked"), "{}", stderr(&output));
    }
}

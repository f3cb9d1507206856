//! What others are told when a connection changes: once for each change, signed, and not lost.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::account::service_application;
use crate::postgres::database;
use crate::smtp::MailServer;
use crate::test_app::{Process, client, stderr, tieline};
use crate::upstream::{Seen, Upstream, answer};

/// Far longer than anything here takes; the tests end as soon as it comes.
const PATIENCE: Duration = Duration::from_secs(60);
const LOCAL: &str = "127.0.0.1:0";

// === the stage ===

/// A sandbox that can be told to misbehave.
struct Microsoft {
    origin: String,
    ca_file: PathBuf,
    _process: Process,
    _data_dir: TempDir,
}

impl Microsoft {
    fn start() -> Self {
        let data_dir = tempfile::tempdir().unwrap();
        let directory = data_dir.path().to_str().unwrap();
        let mut process = Process::start(&[
            "sandbox",
            "--control",
            "--json",
            "--listen",
            LOCAL,
            "--data-dir",
            directory,
        ]);
        let up: Value = serde_json::from_str(&process.line()).unwrap();
        Self {
            origin: up["origin"]
                .as_str()
                .unwrap()
                .trim_end_matches('/')
                .to_owned(),
            ca_file: up["ca_file"].as_str().unwrap().into(),
            _process: process,
            _data_dir: data_dir,
        }
    }

    /// Lets the token service answer with a code of Entra's, until it is well again.
    async fn refuse_tokens(&self, aadsts: u32) {
        let url = format!("{}/_sandbox/api/faults", self.origin);
        let fault = json!({"kind": "refuse", "side": "entra", "aadsts": aadsts});
        let armed = client(Some(&self.ca_file))
            .post(url)
            .json(&fault)
            .send()
            .await
            .unwrap();
        assert!(
            armed.status().is_success(),
            "{}",
            armed.text().await.unwrap()
        );
    }

    async fn be_well(&self) {
        let url = format!("{}/_sandbox/api/faults", self.origin);
        let cleared = client(Some(&self.ca_file))
            .delete(url)
            .send()
            .await
            .unwrap();
        assert!(cleared.status().is_success());
    }
}

/// A server, and where its data is.
struct Server {
    data_dir: Arc<TempDir>,
    process: Process,
    console: String,
}

impl Server {
    fn start(microsoft: &Microsoft, more: &str) -> Self {
        Self::start_in(
            Arc::new(tempfile::tempdir().unwrap()),
            &microsoft.ca_file,
            more,
        )
    }

    fn start_in(data_dir: Arc<TempDir>, ca_file: &Path, more: &str) -> Self {
        let settings = format!(
            "[outbound]\nallow_loopback = true\nca_file = {:?}\n{more}",
            ca_file.display()
        );
        std::fs::write(data_dir.path().join("tieline.toml"), settings).unwrap();
        let process = Process::start(&[
            "serve",
            "--data-dir",
            data_dir.path().to_str().unwrap(),
            "--console",
            LOCAL,
            "--gateway",
            LOCAL,
            "--log",
            "json",
        ]);
        let console = loop {
            let log = process.log.lock().unwrap().clone();
            if let Some(line) = log.lines().find(|line| line.contains("\"serving\"")) {
                let line: Value = serde_json::from_str(line).unwrap();
                break line["console"]
                    .as_str()
                    .unwrap()
                    .trim_end_matches('/')
                    .to_owned();
            }
            assert!(!log.contains("tieline: "), "it does not start: {log}");
            std::thread::yield_now();
        };
        Self {
            data_dir,
            process,
            console,
        }
    }

    fn tieline(&self, args: &[&str]) -> std::process::Output {
        let mut command = tieline();
        command
            .args(args)
            .arg("--data-dir")
            .arg(self.data_dir.path());
        command.output().unwrap()
    }

    fn json(&self, args: &[&str]) -> Value {
        let output = self.tieline(args);
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// An account that is connected.
    fn connect(&self, microsoft: &Microsoft, name: &str) {
        let (client_id, secret) = service_application();
        let secret_file = self.data_dir.path().join("client-secret");
        std::fs::write(&secret_file, secret).unwrap();
        let added = self.tieline(&[
            "account",
            "add",
            "--name",
            name,
            "--grant",
            "client-credentials",
            "--api-url",
            &microsoft.origin,
            "--client-id",
            &client_id,
            "--client-secret-file",
            secret_file.to_str().unwrap(),
        ]);
        assert!(added.status.success(), "{}", stderr(&added));
        self.renew(name);
        let shown = self.json(&["account", "show", name, "--json"]);
        assert_eq!(shown["state"], "connected", "{shown}");
    }

    /// A renewal now: whether it works shows in the account's state.
    fn renew(&self, name: &str) {
        self.tieline(&["account", "test", name]);
    }

    /// A webhook at the receiver, with its secret.
    fn webhook(&self, receiver: &Hook) -> String {
        let added = self.json(&["webhook", "add", "--url", &receiver.url, "--json"]);
        added["secret"].as_str().unwrap().to_owned()
    }

    fn kill(self) -> Arc<TempDir> {
        let Server {
            data_dir, process, ..
        } = self;
        process.stop("-KILL");
        data_dir
    }
}

/// A receiver of webhooks: a small HTTP server that says what it got.
struct Hook {
    url: String,
    got: Receiver<Seen>,
    answers: Arc<Mutex<Vec<&'static str>>>,
}

impl Hook {
    /// Answers as told, the last for ever.
    fn start(answers: &[&'static str]) -> Self {
        let (tell, got): (Sender<Seen>, _) = channel();
        let answers = Arc::new(Mutex::new(answers.to_vec()));
        let left = Arc::clone(&answers);
        let upstream = Upstream::start(move |seen| {
            let mut left = left.lock().unwrap();
            let status = if left.len() > 1 {
                left.remove(0)
            } else {
                left[0]
            };
            let _ = tell.send(seen.clone());
            answer(status, "Connection: close\r\n", "")
        });
        Self {
            url: format!("{}/hook", upstream.origin),
            got,
            answers,
        }
    }

    fn next(&self) -> Seen {
        self.got.recv_timeout(PATIENCE).expect("a notice comes")
    }

    /// Nothing came that was not asked for.
    fn assert_quiet(&self) {
        assert!(self.got.try_recv().is_err(), "something came twice");
    }
}

/// Checks a message as the specification says, with nothing of ours, and reads it.
fn verified(seen: &Seen, secret: &str) -> Value {
    let (id, timestamp) = (
        seen.header("webhook-id").unwrap(),
        seen.header("webhook-timestamp").unwrap(),
    );
    let key = STANDARD
        .decode(secret.strip_prefix("whsec_").unwrap())
        .unwrap();
    let mut signed = format!("{id}.{timestamp}.").into_bytes();
    signed.extend_from_slice(&seen.body);
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let fits = seen
        .header("webhook-signature")
        .unwrap()
        .split(' ')
        .filter_map(|signature| signature.strip_prefix("v1,"))
        .any(|signature| hmac::verify(&key, &signed, &STANDARD.decode(signature).unwrap()).is_ok());
    assert!(fits, "the signature is not by this secret");
    let age = chrono::Utc::now().timestamp() - timestamp.parse::<i64>().unwrap();
    assert!((-5..=300).contains(&age), "{age}");
    assert_eq!(seen.header("content-type"), Some("application/json"));
    serde_json::from_slice(&seen.body).unwrap()
}

fn change(payload: &Value) -> (&str, &str) {
    let data = &payload["data"];
    (data["from"].as_str().unwrap(), data["to"].as_str().unwrap())
}

// === the tests ===

#[tokio::test]
async fn one_signed_notice_for_each_change_and_one_for_its_end() {
    let microsoft = Microsoft::start();
    let server = Server::start(&microsoft, "");
    server.connect(&microsoft, "Contoso");
    let hook = Hook::start(&["204 No Content"]);
    let secret = server.webhook(&hook);
    assert!(secret.starts_with("whsec_"));

    microsoft.refuse_tokens(7_000_222).await;
    for _ in 0..3 {
        server.renew("Contoso");
    }
    let first = hook.next();
    let told = verified(&first, &secret);
    assert_eq!(told["type"], "integration_account.state_changed");
    assert_eq!(change(&told), ("connected", "degraded"));
    let data = &told["data"];
    assert_eq!(data["account_name"], "Contoso");
    assert_eq!(data["reason"]["code"], "secret-expired", "{told}");
    for text in [
        &data["reason"]["cause"],
        &data["reason"]["remedy"],
        &data["since"],
    ] {
        assert!(text.as_str().is_some_and(|text| text.len() > 10), "{told}");
    }
    let shown = server.json(&["account", "show", "Contoso", "--json"]);
    assert_eq!(data["account_id"], shown["id"]);

    microsoft.be_well().await;
    server.renew("Contoso");
    server.renew("Contoso");
    let second = hook.next();
    assert_eq!(
        change(&verified(&second, &secret)),
        ("degraded", "connected")
    );
    assert_ne!(first.header("webhook-id"), second.header("webhook-id"));

    let log = server.json(&["webhook", "deliveries", &hook.url, "--json"]);
    let states: Vec<_> = log
        .as_array()
        .unwrap()
        .iter()
        .map(|d| &d["state"])
        .collect();
    assert_eq!(
        states,
        ["delivered", "delivered"],
        "three failures were one change"
    );
    let tested = server.json(&["webhook", "test", &hook.url, "--json"]);
    assert_eq!(
        (&tested["ok"], &tested["status"]),
        (&true.into(), &204.into())
    );
    let test = hook.next();
    assert_eq!(verified(&test, &secret)["type"], "webhook.test");
    hook.assert_quiet();
    let told = server.process.log.lock().unwrap().clone();
    assert!(!told.contains(&secret), "no secret is in the log");
}

#[tokio::test]
async fn what_was_refused_is_sent_again_under_its_name_by_whoever_serves_next() {
    let microsoft = Microsoft::start();
    let server = Server::start(&microsoft, "");
    server.connect(&microsoft, "Contoso");
    let hook = Hook::start(&["503 Service Unavailable"]);
    let secret = server.webhook(&hook);
    microsoft.refuse_tokens(7_000_215).await;
    server.renew("Contoso");
    let refused = hook.next();
    // Written down, so that the next server need not wait for the lease of this one.
    while !server
        .process
        .log
        .lock()
        .unwrap()
        .contains("a delivery failed")
    {
        std::thread::yield_now();
    }
    // The receiver gets well while nobody serves.
    let data_dir = server.kill();
    *hook.answers.lock().unwrap() = vec!["200 OK"];
    while hook.got.try_recv().is_ok() {}
    let server = Server::start_in(data_dir, &microsoft.ca_file, "");
    let again = hook.next();
    assert_eq!(again.header("webhook-id"), refused.header("webhook-id"));
    assert_eq!(
        change(&verified(&again, &secret)),
        ("connected", "degraded")
    );
    let (before, after) = (verified(&refused, &secret), verified(&again, &secret));
    assert_eq!(before["timestamp"], after["timestamp"]);
    assert_eq!(before["data"]["reason"], after["data"]["reason"]);

    // With a new secret both sign, for a day.
    let rotated = server.json(&["webhook", "rotate-secret", &hook.url, "--json"]);
    let newer = rotated["secret"].as_str().unwrap();
    microsoft.be_well().await;
    server.renew("Contoso");
    let recovered = hook.next();
    verified(&recovered, &secret);
    assert_eq!(
        change(&verified(&recovered, newer)),
        ("degraded", "connected")
    );
    // In the database it is sealed.
    for file in crate::test_app::files_below(server.data_dir.path()) {
        let bytes = std::fs::read(&file).unwrap();
        for hidden in [secret.as_str(), newer] {
            let found = bytes
                .windows(hidden.len())
                .any(|part| part == hidden.as_bytes());
            assert!(!found, "{}", file.display());
        }
    }
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_told_nothing_more_and_others_are_told_of_it() {
    let microsoft = Microsoft::start();
    let server = Server::start(&microsoft, "");
    server.connect(&microsoft, "Contoso");
    let (gone, other) = (Hook::start(&["410 Gone"]), Hook::start(&["200 OK"]));
    server.webhook(&gone);
    let secret = server.webhook(&other);
    microsoft.refuse_tokens(7_000_215).await;
    server.renew("Contoso");
    gone.next();
    let told = [other.next(), other.next()].map(|seen| verified(&seen, &secret));
    let types: Vec<_> = told
        .iter()
        .map(|told| told["type"].as_str().unwrap())
        .collect();
    assert!(types.contains(&"webhook.disabled"), "{types:?}");
    let disabled = told
        .iter()
        .find(|told| told["type"] == "webhook.disabled")
        .unwrap();
    assert_eq!(disabled["data"]["webhook_url"], gone.url);
    assert_eq!(disabled["data"]["reason"]["code"], "webhook-gone");
    let list = server.json(&["webhook", "list", "--json"]);
    let shown = list
        .as_array()
        .unwrap()
        .iter()
        .find(|w| w["url"] == gone.url)
        .unwrap();
    assert_eq!(
        (&shown["enabled"], &shown["disabled_reason"]),
        (&false.into(), &"gone".into())
    );
    microsoft.be_well().await;
    server.renew("Contoso");
    assert_eq!(
        change(&verified(&other.next(), &secret)),
        ("degraded", "connected")
    );
    gone.assert_quiet();
}

#[tokio::test]
async fn a_receiver_that_hangs_holds_up_nobody_else() {
    let microsoft = Microsoft::start();
    let server = Server::start(&microsoft, "");
    server.connect(&microsoft, "Contoso");
    // A listener that nobody accepts at: connections are made by the system and never answered.
    let deaf = std::net::TcpListener::bind(LOCAL).unwrap();
    let url = format!("http://{}/hook", deaf.local_addr().unwrap());
    server.json(&["webhook", "add", "--url", &url, "--json"]);
    let hook = Hook::start(&["200 OK"]);
    let secret = server.webhook(&hook);
    microsoft.refuse_tokens(7_000_215).await;
    server.renew("Contoso");
    assert_eq!(
        change(&verified(&hook.next(), &secret)),
        ("connected", "degraded")
    );
    microsoft.be_well().await;
    server.renew("Contoso");
    assert_eq!(
        change(&verified(&hook.next(), &secret)),
        ("degraded", "connected")
    );
}

#[tokio::test]
async fn two_servers_tell_everything_once() {
    let microsoft = Microsoft::start();
    let database = database().await;
    let url = format!("\n[database]\nurl = {database:?}\n");
    let first = Server::start(&microsoft, &url);
    let other = Arc::new(tempfile::tempdir().unwrap());
    let keys = first.data_dir.path().join("master.keys");
    std::fs::copy(keys, other.path().join("master.keys")).unwrap();
    let second = Server::start_in(other, &microsoft.ca_file, &url);
    let names = ["A", "B", "C", "D", "E", "F"];
    for name in names {
        first.connect(&microsoft, name);
    }
    let hook = Hook::start(&["200 OK"]);
    let secret = first.webhook(&hook);
    microsoft.refuse_tokens(7_000_215).await;
    for (at, name) in names.into_iter().enumerate() {
        if at % 2 == 0 { &first } else { &second }.renew(name);
    }
    microsoft.be_well().await;
    for name in names {
        second.renew(name);
    }
    let mut told: HashMap<String, Vec<String>> = HashMap::new();
    let mut ids = Vec::new();
    for _ in 0..2 * names.len() {
        let seen = hook.next();
        ids.push(seen.header("webhook-id").unwrap().to_owned());
        let payload = verified(&seen, &secret);
        let name = payload["data"]["account_name"].as_str().unwrap().to_owned();
        told.entry(name)
            .or_default()
            .push(change(&payload).1.to_owned());
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 2 * names.len(), "none twice");
    for name in names {
        assert_eq!(told[name], ["degraded", "connected"], "{name}: in order");
    }
    hook.assert_quiet();
}

#[tokio::test]
async fn mail_tells_of_trouble_and_of_its_end_over_starttls() {
    let microsoft = Microsoft::start();
    let mail = MailServer::start();
    let both = tempfile::NamedTempFile::new().unwrap();
    let authorities = std::fs::read_to_string(&microsoft.ca_file).unwrap() + &mail.certificate;
    std::fs::write(both.path(), authorities).unwrap();
    let section = format!(
        "\n[notifications]\nlanguage = \"ja\"\n[mail]\nhost = \"localhost\"\nport = {}\n\
         user = \"tieline\"\npassword = \"m@il+secret\"\nfrom = \"Tieline <tieline@example.com>\"\n\
         to = [\"ops@example.com\", \"crm@example.com\"]\nsettle = \"0s\"\n",
        mail.port
    );
    let data_dir = Arc::new(tempfile::tempdir().unwrap());
    let server = Server::start_in(data_dir, both.path(), &section);
    let doctor = server.tieline(&["doctor", "--offline", "--json"]);
    let checks: Value = serde_json::from_slice(&doctor.stdout).unwrap();
    let check = checks
        .as_array()
        .unwrap()
        .iter()
        .find(|check| check["check"] == "mail");
    assert_eq!(check.unwrap()["status"], "ok", "{checks}");
    server.connect(&microsoft, "営業");
    microsoft.refuse_tokens(7_000_222).await;
    server.renew("営業");
    server.renew("営業");
    let mut to = Vec::new();
    for _ in 0..2 {
        let got = mail.next();
        assert_eq!(got.from, "tieline@example.com");
        assert_eq!(got.login.as_deref(), Some("\0tieline\0m@il+secret"));
        let text = got.text();
        assert!(text.contains("「営業」") && text.contains("低下"), "{text}");
        assert!(
            text.contains(&format!("{}/accounts/", server.console)),
            "{text}"
        );
        assert!(
            got.head.contains("Auto-Submitted: auto-generated"),
            "{}",
            got.head
        );
        to.extend(got.to);
    }
    to.sort();
    assert_eq!(to, ["crm@example.com", "ops@example.com"]);
    microsoft.be_well().await;
    server.renew("営業");
    for _ in 0..2 {
        let text = mail.next().text();
        assert!(text.contains("復旧") && text.contains("接続済み"), "{text}");
    }
    mail.assert_quiet();
    let log = server.process.log.lock().unwrap().clone();
    assert!(!log.contains("m@il+secret"));
}

#[tokio::test]
async fn metrics_are_kept_from_who_has_no_token() {
    let microsoft = Microsoft::start();
    let server = Server::start(&microsoft, "\n[metrics]\ntoken = \"scrape-me\"\n");
    let url = format!("{}/metrics", server.console);
    let refused = client(None).get(&url).send().await.unwrap();
    assert_eq!(refused.status(), 401);
    assert!(refused.headers().contains_key("www-authenticate"));
    let wrong = client(None)
        .get(&url)
        .bearer_auth("guess")
        .send()
        .await
        .unwrap();
    assert_eq!(wrong.status(), 401);
    server.connect(&microsoft, "Contoso");
    let hook = Hook::start(&["200 OK"]);
    server.webhook(&hook);
    microsoft.refuse_tokens(7_000_215).await;
    server.renew("Contoso");
    hook.next();
    let text = loop {
        let scraped = client(None)
            .get(&url)
            .bearer_auth("scrape-me")
            .send()
            .await
            .unwrap();
        assert_eq!(scraped.status(), 200);
        let text = scraped.text().await.unwrap();
        if text.contains("tieline_deliveries_total{") {
            break text;
        }
    };
    for part in [
        "tieline_deliveries_total{channel=\"webhook\",outcome=\"delivered\"} 1",
        "tieline_webhook_seconds_bucket",
        "tieline_outbox_pending{channel=\"mail\"} 0",
        "tieline_outbox_oldest_seconds{channel=\"webhook\"}",
    ] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
    // Every metric says what it is.
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = line.split(' ').next().unwrap();
        assert!(
            text.contains(&format!("# HELP {name} ")),
            "{name} has no help"
        );
    }
}

//! Secrets that roll over, certificates, and the change from one way in to another, while callers
//! go on calling.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::Value;

use crate::demo::walk::{Person, walk};
use crate::test_app::{Process, TestApp, client, run, stderr, stdout, tieline};

/// A secret of the demo's application that ended long ago; the default seed has it for this.
const ENDED: &str = "Old~rehearsal~secret";

/// Callers that never stop calling; each answer that is not 200 is counted with its body.
struct Callers {
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
    tasks: Vec<tokio::task::JoinHandle<Vec<String>>>,
}

impl Callers {
    fn start(app: &TestApp) -> Callers {
        let stop = Arc::new(AtomicBool::new(false));
        let calls = Arc::new(AtomicUsize::new(0));
        let gateway = app.text("/gateway_url").trim_end_matches('/');
        let url = format!("{gateway}/api/data/v9.2/WhoAmI");
        let key = app.text("/api_key");
        let tasks = (0..8).map(|_| {
            let (stop, calls) = (Arc::clone(&stop), Arc::clone(&calls));
            let request = client(None).get(&url).bearer_auth(key);
            tokio::spawn(async move {
                let mut failed = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let answer = request.try_clone().unwrap().send().await.unwrap();
                    if answer.status() != 200 {
                        failed.push(answer.text().await.unwrap());
                    }
                    calls.fetch_add(1, Ordering::Relaxed);
                }
                failed
            })
        });
        let tasks = tasks.collect();
        Callers { stop, calls, tasks }
    }

    /// Waits until the callers have made so many more calls.
    async fn more(&self, calls: usize) {
        let until = self.calls.load(Ordering::Relaxed) + calls;
        while self.calls.load(Ordering::Relaxed) < until {
            tokio::task::yield_now().await;
        }
    }

    /// Ends them. Tells how many calls there were, and what failed.
    async fn end(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let mut failed = Vec::new();
        for task in self.tasks {
            failed.extend(task.await.unwrap());
        }
        (self.calls.load(Ordering::Relaxed), failed)
    }
}

fn rung<'a>(ladder: &'a Value, name: &str) -> &'a Value {
    let rungs = ladder["rungs"].as_array().unwrap();
    rungs.iter().find(|rung| rung["rung"] == name).unwrap()
}

fn tested(app: &TestApp, account: &str) -> Value {
    let output = app.tieline(&["account", "test", account, "--json"]);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", stderr(&output)))
}

async fn who(app: &TestApp) -> String {
    let answer = app.gateway("/api/data/v9.2/WhoAmI").await;
    let text = answer.text().await.unwrap();
    let who: Value = serde_json::from_str(&text).unwrap();
    who["UserId"].as_str().unwrap_or(&text).to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_ends_is_replaced_by_the_second_without_a_failed_call() {
    let app = TestApp::start();
    let account = app.text("/account").to_owned();
    let show = ["account", "show", &account, "--json"];
    let consented = app.json(&show)["refresh_token"].clone();
    let callers = Callers::start(&app);
    callers.more(50).await;
    // The first one has ended, and the second was entered in good time.
    let first = app.file("first", ENDED);
    let second = app.file("second", app.text("/sandbox/client_secret"));
    let mut edit = vec!["account", "edit", &account, "--json"];
    edit.extend(["--client-secret-file", &first]);
    edit.extend(["--next-client-secret-file", &second]);
    edit.extend(["--next-secret-expires", "2031-01-31"]);
    let edited = app.json(&edit);
    assert_eq!(edited["next_client_secret"]["expires_on"], "2031-01-31");
    callers.more(50).await;
    // The test renews: the first secret is refused, and the second is used in the same attempt.
    let ladder = tested(&app, &account);
    assert_eq!(ladder["ok"], true, "{ladder}");
    let token = rung(&ladder, "token");
    assert_eq!(
        (&token["status"], &token["code"]),
        (&"warning".into(), &"token-given-not-by-all".into()),
        "{ladder}"
    );
    let said = token["evidence"]["message"].as_str().unwrap();
    assert!(said.contains("client_secret: AADSTS7000222"), "{said}");
    assert!(said.contains("next_client_secret: accepted"), "{said}");
    callers.more(50).await;

    let shown = app.json(&show);
    let [first, last] = [0, 1].map(|at| &shown["credentials"][at]);
    assert_eq!(first["credential"], "next_client_secret", "{shown}");
    assert_eq!(first["in_use"], true, "{shown}");
    assert_eq!(last["refused"]["code"], "secret-expired", "{shown}");
    assert_eq!(shown["state"], "connected");
    let text = stdout(&app.tieline(&["account", "show", &account]));
    assert!(text.contains("credential-refused"), "{text}");
    assert!(text.contains("no longer works since"), "{text}");

    // The first goes, and the second takes its place; nobody consents anew.
    let removed = app.json(&[
        "account",
        "edit",
        &account,
        "--remove-credential",
        "client-secret",
        "--json",
    ]);
    assert_eq!(removed["next_client_secret"]["set"], false, "{removed}");
    assert_eq!(removed["client_secret"]["expires_on"], "2031-01-31");
    assert_eq!(removed["refresh_token"], consented);
    let ladder = tested(&app, &account);
    assert_eq!(rung(&ladder, "token")["code"], "token-given", "{ladder}");
    callers.more(50).await;
    let (calls, failed) = callers.end().await;
    assert!(failed.is_empty(), "{} of {calls}: {failed:?}", failed.len());
}

#[tokio::test]
async fn two_dead_secrets_are_both_evidence() {
    let app = TestApp::start();
    let account = app.text("/account").to_owned();
    let (first, second) = (
        app.file("first", ENDED),
        app.file("second", "never~registered"),
    );
    let mut edit = vec!["account", "edit", &account, "--json"];
    edit.extend(["--client-secret-file", &first]);
    edit.extend(["--next-client-secret-file", &second]);
    app.json(&edit);
    let ladder = tested(&app, &account);
    let token = rung(&ladder, "token");
    assert_eq!(
        (&token["status"], &token["code"]),
        (&"failed".into(), &"credentials-refused".into()),
        "{ladder}"
    );
    let said = token["evidence"]["message"].as_str().unwrap();
    assert!(said.contains("client_secret: AADSTS7000222"), "{said}");
    assert!(said.contains("next_client_secret: AADSTS7000215"), "{said}");
    let shown = app.json(&["account", "show", &account, "--json"]);
    // The token that is left goes on being served.
    assert_eq!(shown["state"], "degraded", "{shown}");
    assert_eq!(shown["state_reason"]["code"], "credentials-refused");
    assert_eq!(app.gateway("/api/data/v9.2/WhoAmI").await.status(), 200);
}

/// The application of the default seed that has an application user in the organization.
fn service_application() -> (String, String) {
    let seed: toml::Table = stdout(&run(&["sandbox", "--print-seed"])).parse().unwrap();
    let tenant = &seed["tenant"][0];
    let user = &tenant["organization"][0]["application_users"][0];
    let client_id = user["client_id"].as_str().unwrap();
    let mut applications = tenant["application"].as_array().unwrap().iter();
    let application = applications
        .find(|application| application["client_id"].as_str() == Some(client_id))
        .unwrap();
    let secret = application["secrets"][0]["value"].as_str().unwrap();
    (client_id.to_owned(), secret.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_from_consent_to_an_application_user_fails_no_call() {
    let app = TestApp::start();
    let account = app.text("/account").to_owned();
    let person = who(&app).await;
    let callers = Callers::start(&app);
    callers.more(50).await;

    // A first try that Microsoft refuses leaves the old token working, and says so.
    let wrong = app.file("wrong", "not~the+secret");
    let (client_id, secret) = service_application();
    let change = |secret_file: &str| {
        let mut edit = vec!["account", "edit", &account, "--json"];
        edit.extend(["--grant", "client-credentials", "--client-id", &client_id]);
        edit.extend(["--client-secret-file", secret_file]);
        app.json(&edit)
    };
    change(&wrong);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let degraded = loop {
        let shown = app.json(&["account", "show", &account, "--json"]);
        if shown["state"] == "degraded" {
            break shown;
        }
        assert!(std::time::Instant::now() < until, "{shown}");
    };
    assert_eq!(degraded["state_reason"]["code"], "secret-wrong");
    assert_eq!(who(&app).await, person);
    callers.more(50).await;

    // The right secret: calls go on with the old token until the new way has brought its first.
    let right = app.file("right", &secret);
    change(&right);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while who(&app).await == person {
        assert!(std::time::Instant::now() < until, "no new token");
    }
    callers.more(50).await;
    let (calls, failed) = callers.end().await;
    assert!(failed.is_empty(), "{} of {calls}: {failed:?}", failed.len());
    let shown = app.json(&["account", "show", &account, "--json"]);
    assert_eq!(shown["state"], "connected", "{shown}");
}

#[tokio::test]
async fn an_application_without_an_application_user_is_told_where_to_make_one() {
    let app = TestApp::start();
    let account = app.text("/account").to_owned();
    // An application of the tenant that is none of the organization's users.
    let secret = app.file("back-office", "Back~office~secret");
    let mut edit = vec!["account", "edit", &account, "--json"];
    edit.extend(["--grant", "client-credentials"]);
    edit.extend(["--client-id", "c4d5e6f7-a8b9-4c0d-9e1f-2a3b4c5d6e7f"]);
    edit.extend(["--client-secret-file", &secret]);
    app.json(&edit);
    let ladder = tested(&app, &account);
    let rung = rung(&ladder, "whoami");
    assert_eq!(
        (&rung["status"], &rung["code"]),
        (&"failed".into(), &"application-user-missing".into()),
        "{ladder}"
    );
    let remedy = rung["remedy"].as_str().unwrap();
    assert!(remedy.contains("Power Platform admin center"), "{remedy}");
}

/// A sandbox that knows two certificates made by Tieline, and a server beside it.
struct Certified {
    directory: tempfile::TempDir,
    ca_file: String,
    origin: String,
    authority: String,
    person: Person,
    _sandbox: Process,
}

impl Certified {
    /// Makes an account whose certificate is made here, and a sandbox that has its public half.
    fn start(client_id: &str) -> Certified {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        let seed = stdout(&run(&["sandbox", "--print-seed"]));
        let mut table: toml::Table = seed.parse().unwrap();
        let tenant = table["tenant"][0].as_table().unwrap().clone();
        let tenant_id = tenant["id"].as_str().unwrap().to_owned();
        let user = &tenant["user"][0];
        let person = Person {
            upn: user["upn"].as_str().unwrap().to_owned(),
            password: user["password"].as_str().unwrap().to_owned(),
        };
        // The account has to be there before the sandbox, which reads certificates once.
        std::fs::write(path("placeholder"), "placeholder~secret").unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (sandbox_port, console_port) = {
            let console = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let port_of = |listener: &std::net::TcpListener| listener.local_addr().unwrap().port();
            (port_of(&port), port_of(&console))
        };
        drop(port);
        let origin = format!("https://localhost:{sandbox_port}");
        let authority = format!("{origin}/{tenant_id}");
        let callback = format!("http://localhost:{console_port}/admin/msdynamicscallback.html");
        std::fs::write(
            path("tieline.toml"),
            format!("[console]\nlisten = \"127.0.0.1:{console_port}\"\n"),
        )
        .unwrap();
        let here = |args: &[&str]| {
            let mut command = tieline();
            command.args(args).arg("--allow-loopback");
            command.args(["--data-dir", directory.path().to_str().unwrap()]);
            let output = command.output().unwrap();
            assert!(output.status.success(), "{args:?}: {}", stderr(&output));
            stdout(&output)
        };
        let (authorize, token, secret) = (
            format!("{authority}/oauth2/authorize"),
            format!("{authority}/oauth2/token"),
            path("placeholder"),
        );
        let mut add = vec![
            "account",
            "add",
            "--name",
            "Certified",
            "--api-url",
            &origin,
        ];
        add.extend(["--authorization-url", &authorize, "--token-url", &token]);
        add.extend(["--client-id", client_id, "--client-secret-file", &secret]);
        here(&add);
        let pem = here(&["account", "certificate", "Certified", "--generate"]);
        assert!(pem.starts_with("-----BEGIN CERTIFICATE-----"), "{pem}");
        assert!(!pem.contains("PRIVATE"));
        assert_eq!(pem, here(&["account", "certificate", "Certified"]));
        here(&[
            "account",
            "edit",
            "Certified",
            "--remove-credential",
            "client-secret",
        ]);
        register(&mut table, client_id, &pem, &callback);
        std::fs::write(path("seed.toml"), table.to_string()).unwrap();
        let listen = format!("127.0.0.1:{sandbox_port}");
        let (sandbox_dir, seed_file) = (path("sandbox"), path("seed.toml"));
        let mut args = vec!["sandbox", "--json", "--listen", &listen];
        args.extend(["--data-dir", &sandbox_dir, "--seed", &seed_file]);
        let mut sandbox = Process::start(&args);
        let up: Value = serde_json::from_str(&sandbox.line()).unwrap();
        Certified {
            ca_file: up["ca_file"].as_str().unwrap().to_owned(),
            directory,
            origin,
            authority,
            person,
            _sandbox: sandbox,
        }
    }

    fn command(&self, args: &[&str]) -> std::process::Command {
        let mut command = tieline();
        command
            .args(args)
            .args(["--allow-loopback", "--ca-file", &self.ca_file]);
        command.args(["--data-dir", self.directory.path().to_str().unwrap()]);
        command
    }

    fn tested(&self) -> Value {
        let args = ["account", "test", "Certified", "--json"];
        let output = self.command(&args).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", stderr(&output)))
    }

    fn edited(&self, flags: &[&str]) {
        let mut args = vec!["account", "edit", "Certified"];
        args.extend(flags);
        let output = self.command(&args).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
    }

    /// Walks the consent's pages, with which the certificate redeems a code.
    async fn consented(&self) {
        let mut connect = Process::run(self.command(&["account", "connect", "Certified"]));
        let start = connect.line().trim().parse().unwrap();
        let http = client(Some(Path::new(&self.ca_file)));
        walk(&http, &start, &self.person).await.unwrap();
        let log = Arc::clone(&connect.log);
        assert_eq!(connect.wait().code(), Some(0), "{}", log.lock().unwrap());
    }
}

/// Gives an application a certificate in place of its secrets, and a reply address.
fn register(seed: &mut toml::Table, client_id: &str, pem: &str, callback: &str) {
    let tenant = seed["tenant"].as_array_mut().unwrap().first_mut().unwrap();
    let applications = tenant["application"].as_array_mut().unwrap();
    let application = applications
        .iter_mut()
        .find(|application| application["client_id"].as_str() == Some(client_id))
        .and_then(toml::Value::as_table_mut)
        .unwrap();
    application.remove("secrets");
    application.insert("certificates".into(), vec![pem.to_owned()].into());
    if let Some(uris) = application.get_mut("redirect_uris") {
        uris.as_array_mut().unwrap().insert(0, callback.into());
    }
}

#[tokio::test]
async fn a_certificate_made_here_redeems_and_refreshes_with_both_versions() {
    let seed: toml::Table = stdout(&run(&["sandbox", "--print-seed"])).parse().unwrap();
    let application = &seed["tenant"][0]["application"][0];
    let certified = Certified::start(application["client_id"].as_str().unwrap());
    for version in ["oauth2", "oauth2/v2.0"] {
        let (authorize, token) = (
            format!("{}/{version}/authorize", certified.authority),
            format!("{}/{version}/token", certified.authority),
        );
        certified.edited(&["--authorization-url", &authorize, "--token-url", &token]);
        certified.consented().await;
        // The test renews with the refresh token.
        let ladder = certified.tested();
        assert_eq!(ladder["ok"], true, "{version}: {ladder}");
    }
    let shown = certified
        .command(&["account", "show", "Certified", "--json"])
        .output()
        .unwrap();
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["client_secret"]["set"], false, "{shown}");
    assert_eq!(shown["client_certificate"]["set"], true, "{shown}");
    let thumbprint = shown["client_certificate"]["thumbprint"].as_str().unwrap();
    assert_eq!(thumbprint.len(), 40);
    assert!(certified.origin.starts_with("https://"));
}

#[tokio::test]
async fn a_certificate_made_here_obtains_the_applications_own_tokens() {
    let (client_id, _) = service_application();
    let certified = Certified::start(&client_id);
    for version in ["oauth2", "oauth2/v2.0"] {
        let (authorize, token) = (
            format!("{}/{version}/authorize", certified.authority),
            format!("{}/{version}/token", certified.authority),
        );
        let mut flags = vec!["--authorization-url", &authorize, "--token-url", &token];
        flags.extend(["--grant", "client-credentials"]);
        certified.edited(&flags);
        let ladder = certified.tested();
        assert_eq!(ladder["ok"], true, "{version}: {ladder}");
        assert_eq!(rung(&ladder, "token")["code"], "token-given", "{ladder}");
    }
    // The next one waits: it is not registered yet, and the one in use goes on.
    let mut command = certified.command(&["account", "certificate", "Certified", "--generate"]);
    let made = command.output().unwrap();
    assert!(made.status.success(), "{}", stderr(&made));
    let ladder = certified.tested();
    assert_eq!(ladder["ok"], true, "{ladder}");
    let token = rung(&ladder, "token");
    assert_eq!(token["code"], "token-given-not-by-all", "{ladder}");
    let said = token["evidence"]["message"].as_str().unwrap();
    assert!(said.contains("client_certificate: accepted"), "{said}");
    assert!(
        said.contains("next_client_certificate: AADSTS700027"),
        "{said}"
    );
}

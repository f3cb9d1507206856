//! A sandbox that can be told things, accounts whose tokens come from there, and servers on one
//! database.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use url::Url;

use crate::demo::walk::{Person, walk};
use crate::test_app::{Process, client, run, stderr, stdout, tieline};

/// A start on a machine that may be busy.
const START: Duration = Duration::from_secs(60);

/// What the sandbox's seed says of the first tenant.
struct Scene {
    tenant: String,
    client_id: String,
    secret: String,
    redirect_uri: String,
    person: Person,
}

/// Whose rules hold for refresh tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rules {
    /// A used one stays good.
    Entra,
    /// A second use ends all of its kin.
    Strict,
    /// Entra's, for a client that understands challenges: Dynamics tells it of events at once
    /// (continuous access evaluation).
    Evaluated,
}

/// What accounts are made of.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) authorization_url: String,
    pub(crate) token_url: String,
    pub(crate) api_url: String,
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
    pub(crate) refresh_token: String,
}

/// The declaration of such a client (Microsoft, "Claims challenges, claims requests, and client
/// capabilities").
const CAPABLE: &str = r#"{"access_token":{"xms_cc":{"values":["cp1"]}}}"#;

/// The sandbox, and one account that is connected to it.
pub(crate) struct Line {
    pub(crate) http: reqwest::Client,
    origin: String,
    ca_file: String,
    rules: Rules,
    pub(crate) key: String,
    database: Option<String>,
    data: TempDir,
    sandbox: Option<Process>,
    pub(crate) person: Person,
    /// The one that the application is registered with.
    pub(crate) redirect_uri: Url,
    pub(crate) settings: Settings,
}

/// A server.
pub(crate) struct Server {
    pub(crate) gateway: String,
    /// Where the console listens, whatever its address is called outside.
    pub(crate) console: String,
    pub(crate) process: Process,
}

impl Line {
    /// On SQLite, or on the PostgreSQL of a URL.
    pub(crate) async fn start(rules: Rules, database: Option<String>) -> Line {
        let data = tempfile::tempdir().unwrap();
        let (sandbox, told) = sandbox_at("127.0.0.1:0", &data);
        let ca_file = told["ca_file"].as_str().unwrap().to_owned();
        let origin = told["origin"].as_str().unwrap().to_owned();
        let scene = scene();
        let base = format!("{origin}/{}/oauth2/v2.0", scene.tenant);
        let mut line = Line {
            http: client(Some(Path::new(&ca_file))),
            ca_file,
            rules,
            key: String::new(),
            database,
            data,
            sandbox: Some(sandbox),
            settings: Settings {
                authorization_url: format!("{base}/authorize"),
                token_url: format!("{base}/token"),
                api_url: format!("{origin}/api/data/v9.2"),
                client_id: scene.client_id.clone(),
                client_secret: scene.secret.clone(),
                refresh_token: String::new(),
            },
            person: scene.person.clone(),
            redirect_uri: scene.redirect_uri.parse().unwrap(),
            origin,
        };
        if rules == Rules::Strict {
            let strictly = json!({"action": "rotate-strictly"});
            line.control("/entra", &strictly).await;
        }
        line.consent().await;
        line.settings.refresh_token = line.mint().await;
        line.connect();
        line
    }

    /// Ends the sandbox: its address refuses connections.
    pub(crate) fn stop_sandbox(&mut self) {
        let sandbox = self.sandbox.take().unwrap();
        assert!(sandbox.stop("-TERM").success());
    }

    /// Starts it where it was, with what it knew.
    pub(crate) fn start_sandbox(&mut self) {
        let address = self.origin.replace("https://localhost", "127.0.0.1");
        self.sandbox = Some(sandbox_at(&address, &self.data).0);
    }

    /// Adds the account, as somebody does who moves here with a refresh token, and a consumer.
    fn connect(&mut self) {
        let settings = self.settings.clone();
        let (secret, token) = (
            self.file("secret", &settings.client_secret),
            self.file("token", &settings.refresh_token),
        );
        let rotation = match self.rules {
            Rules::Entra | Rules::Evaluated => "auto",
            Rules::Strict => "strict",
        };
        let mut args = vec!["account", "add", "--name", "Line", "--default"];
        args.extend(["--authorization-url", &settings.authorization_url]);
        args.extend(["--token-url", &settings.token_url]);
        args.extend(["--api-url", &settings.api_url]);
        args.extend(["--client-id", &settings.client_id]);
        args.extend([
            "--client-secret-file",
            &secret,
            "--refresh-token-file",
            &token,
        ]);
        args.extend(["--refresh-token-rotation", rotation]);
        self.tieline(0, &args);
        let consumer = self.tieline(0, &["consumer", "add", "--name", "Test", "--json"]);
        let consumer: Value = serde_json::from_str(&consumer).unwrap();
        self.key = consumer["api_key"].as_str().unwrap().to_owned();
    }

    /// Passwords are taken once somebody has consented; the way there ends at a console that does
    /// not run, which is no matter.
    async fn consent(&self) {
        let scope = self.scope();
        let start = Url::parse_with_params(
            &self.settings.authorization_url,
            [
                ("client_id", self.settings.client_id.as_str()),
                ("response_type", "code"),
                ("redirect_uri", self.redirect_uri.as_str()),
                ("scope", &scope),
            ],
        );
        let _ = walk(&self.http, &start.unwrap(), &self.person).await;
    }

    fn scope(&self) -> String {
        format!("{}/.default offline_access", self.origin)
    }

    /// A refresh token of its own.
    pub(crate) async fn mint(&self) -> String {
        let scope = self.scope();
        let mut form = vec![
            ("grant_type", "password"),
            ("client_id", self.settings.client_id.as_str()),
            ("client_secret", &self.settings.client_secret),
            ("username", &self.person.upn),
            ("password", &self.person.password),
            ("scope", &scope),
        ];
        if self.rules == Rules::Evaluated {
            form.push(("claims", CAPABLE));
        }
        let asked = self.http.post(&self.settings.token_url).form(&form);
        let answer: Value = asked.send().await.unwrap().json().await.unwrap();
        let token = answer["refresh_token"].as_str();
        token.unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    /// Tells the sandbox something.
    pub(crate) async fn control(&self, path: &str, body: &Value) -> Value {
        let url = format!("{}/_sandbox/api{path}", self.origin);
        let answer = self.http.post(url).json(body).send().await.unwrap();
        let status = answer.status();
        let body: Value = answer.json().await.unwrap();
        assert!(status.is_success(), "{path}: {body}");
        body
    }

    /// The requests for tokens since they were last forgotten: how each was answered, the newest
    /// first. Null is an answer that never left.
    pub(crate) async fn renewals(&self) -> Vec<Value> {
        let url = format!("{}/_sandbox/api/requests?side=entra", self.origin);
        let answer: Value = self
            .http
            .get(url)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let requests = answer["value"]
            .as_array()
            .unwrap_or_else(|| panic!("{answer}"));
        let tokens = requests.iter().filter(|request| {
            let target = request["target"].as_str().unwrap_or_default();
            target.split('?').next().unwrap().ends_with("/token")
        });
        tokens.map(|request| request["status"].clone()).collect()
    }

    /// Forgets the requests so far.
    pub(crate) async fn forget(&self) {
        let url = format!("{}/_sandbox/api/requests", self.origin);
        let asked = self.http.delete(url).header("X-Sandbox-Control", "1");
        assert!(asked.send().await.unwrap().status().is_success());
    }

    /// Removes one fault.
    pub(crate) async fn mend(&self, fault: &Value) {
        let url = format!("{}/_sandbox/api/faults/{}", self.origin, fault["id"]);
        let asked = self.http.delete(url).header("X-Sandbox-Control", "1");
        assert!(asked.send().await.unwrap().status().is_success());
    }

    /// Removes all faults.
    pub(crate) async fn heal(&self) {
        let url = format!("{}/_sandbox/api/faults", self.origin);
        let asked = self.http.delete(url).header("X-Sandbox-Control", "1");
        assert!(asked.send().await.unwrap().status().is_success());
    }

    /// Waits until an armed fault has struck the request that a caller waits for.
    pub(crate) async fn until_struck(
        &self,
        fault: &Value,
        calling: impl Future<Output = (u16, String)> + Unpin,
    ) {
        let mut calling = calling;
        loop {
            tokio::select! {
                answer = &mut calling => panic!("answered before the token was there: {answer:?}"),
                struck = self.struck(fault) => if struck == 1 { break },
            }
        }
    }

    /// How many requests an armed fault has struck.
    pub(crate) async fn struck(&self, fault: &Value) -> u64 {
        let id = &fault["id"];
        let id = id
            .as_str()
            .map_or_else(|| id.to_string(), ToOwned::to_owned);
        let url = format!("{}/_sandbox/api/faults/{id}", self.origin);
        let fault: Value = self
            .http
            .get(url)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        fault["struck"]
            .as_u64()
            .unwrap_or_else(|| panic!("{fault}"))
    }

    /// Starts a server; servers of one database share their keys.
    pub(crate) fn serve(&self, number: usize) -> Server {
        self.serve_with(number, &[])
    }

    /// The same, with more flags.
    pub(crate) fn serve_with(&self, number: usize, more: &[&str]) -> Server {
        let directory = self.directory(number);
        std::fs::create_dir_all(&directory).unwrap();
        let keys = Path::new(&directory).join("master.keys");
        if number > 0 {
            // Only with the rights that the original has is it taken.
            std::fs::copy(Path::new(&self.directory(0)).join("master.keys"), keys).unwrap();
        }
        let local = "127.0.0.1:0";
        let mut command = self.command(number);
        command.args(["serve", "--console", local, "--gateway", local]);
        command.args(more);
        serving(command, Path::new(&directory))
    }

    /// A call through a server: its status, and the code of a failure.
    pub(crate) async fn call(&self, server: &Server) -> (u16, String) {
        let url = format!("{}/api/data/v9.2/WhoAmI", server.gateway);
        let asked = client(None).get(url).bearer_auth(&self.key);
        let answer = asked.timeout(START * 2).send().await.unwrap();
        let status = answer.status().as_u16();
        let body: Value = answer.json().await.unwrap_or_default();
        let code = body["code"].as_str().or(body["error"]["code"].as_str());
        (status, code.unwrap_or_default().to_owned())
    }

    /// The account as the command line shows it.
    pub(crate) fn account(&self) -> Value {
        let shown = self.tieline(0, &["account", "show", "Line", "--json"]);
        serde_json::from_str(&shown).unwrap()
    }

    fn tieline(&self, number: usize, args: &[&str]) -> String {
        let output = self.command(number).args(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        stdout(&output)
    }

    /// The binary on a server's data, not yet told what to do.
    pub(crate) fn command(&self, number: usize) -> std::process::Command {
        let mut command = tieline();
        if let Some(url) = &self.database {
            command.env("TIELINE_DATABASE_URL", url);
        }
        command.args(["--allow-loopback", "--ca-file", &self.ca_file]);
        command.args(["--data-dir", &self.directory(number)]);
        command
    }

    pub(crate) fn directory(&self, number: usize) -> String {
        let directory = self.data.path().join(format!("server-{number}"));
        directory.to_str().unwrap().to_owned()
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.data.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

/// Starts a server whose command is complete, and waits until it listens.
pub(crate) fn serving(command: std::process::Command, directory: &Path) -> Server {
    let process = Process::run(command);
    // What a server that was killed left behind names another process.
    let file = directory.join("server.json");
    let until = Instant::now() + START;
    let running = loop {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let running: Value = serde_json::from_str(&text).unwrap_or_default();
        if running["pid"] == process.id() {
            break running;
        }
        let log = process.log.lock().unwrap();
        assert!(Instant::now() < until, "it does not come up: {log}");
    };
    let url = |name: &str| {
        let url = running[name].as_str().unwrap();
        url.trim_end_matches('/').to_owned()
    };
    Server {
        gateway: url("gateway_url"),
        console: format!("http://{}", running["console_listen"].as_str().unwrap()),
        process,
    }
}

fn sandbox_at(address: &str, data: &TempDir) -> (Process, Value) {
    let directory = data.path().join("sandbox");
    let mut args = vec!["sandbox", "--listen", address, "--control", "--json"];
    args.extend(["--limits", "off", "--data-dir", directory.to_str().unwrap()]);
    let mut sandbox = Process::start(&args);
    let told = serde_json::from_str(&sandbox.line()).unwrap();
    (sandbox, told)
}

fn scene() -> Scene {
    let seed: toml::Table = stdout(&run(&["sandbox", "--print-seed"])).parse().unwrap();
    let tenant = &seed["tenant"][0];
    let text = |value: &toml::Value| value.as_str().unwrap().to_owned();
    let (application, user) = (&tenant["application"][0], &tenant["user"][0]);
    Scene {
        tenant: text(&tenant["id"]),
        client_id: text(&application["client_id"]),
        secret: text(&application["secrets"][0]["value"]),
        redirect_uri: text(&application["redirect_uris"][0]),
        person: Person {
            upn: text(&user["upn"]),
            password: text(&user["password"]),
        },
    }
}

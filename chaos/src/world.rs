//! A world to be cruel to: a token service behind the proxy, a database, accounts, and servers.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::database::{Cluster, Kind, check_postgres, check_sqlite, free_port};
use crate::http::Connection;
use crate::process::{Process, run};
use crate::proxy::Proxy;
use crate::service::{Rules, Service};

/// A lease; nothing may be stuck for longer. `crates/app/src/keeper` has the number.
pub(crate) const LEASE: Duration = Duration::from_secs(10);
const EMAIL: &str = "chaos@example.com";
const PASSWORD: &str = "a long enough pass+word";

/// What a world is made of.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) program: PathBuf,
    pub(crate) database: Kind,
    pub(crate) rules: Rules,
    pub(crate) accounts: usize,
    /// Life of access tokens.
    pub(crate) seconds: u32,
    /// Where SQLite's file is, if elsewhere than in the data directory.
    pub(crate) data: Option<PathBuf>,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) service: Service,
    pub(crate) proxy: Proxy,
    pub(crate) cluster: Option<Cluster>,
    pub(crate) key: String,
    /// Identifiers, in the order of their numbers.
    pub(crate) accounts: Vec<String>,
    ports: Vec<(u16, u16)>,
    api: reqwest::Client,
    cookie: Mutex<String>,
    directory: TempDir,
}

/// A server that runs.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) console: String,
    pub(crate) gateway: String,
}

/// The state of an account, as the API shows it.
#[derive(Debug, Clone)]
pub(crate) struct State {
    pub(crate) state: String,
    pub(crate) reason: String,
}

impl World {
    /// Makes it, and stops the server that made the accounts.
    pub(crate) async fn make(plan: Plan) -> anyhow::Result<Self> {
        Self::make_at(plan, None).await
    }

    /// The same, with PostgreSQL's files elsewhere.
    pub(crate) async fn make_at(plan: Plan, postgres: Option<&Path>) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let at = directory.path();
        let cluster = match plan.database {
            Kind::Postgres => Some(Cluster::start(postgres.unwrap_or(&at.join("pg")))?),
            Kind::Sqlite => None,
        };
        let service = at.join("service");
        let service = Service::start(plan.rules, &plan.program, &service, plan.seconds).await?;
        let proxy = Proxy::start(service.http.clone(), &service.token_url).await?;
        std::fs::write(at.join("password"), PASSWORD)?;
        let mut world = Self {
            api: reqwest::Client::builder().no_proxy().build()?,
            plan,
            service,
            proxy,
            cluster,
            key: String::new(),
            accounts: Vec::new(),
            ports: Vec::new(),
            cookie: Mutex::default(),
            directory,
        };
        let server = world.server(0).await?;
        world.sign_in(&server).await?;
        world.fill(&server).await?;
        server.process.stop().await?;
        Ok(world)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The directory of a server.
    pub(crate) fn data(&self, number: usize) -> PathBuf {
        match &self.plan.data {
            Some(data) => data.clone(),
            None => self.path(&format!("data-{number}")),
        }
    }

    /// Starts a server, at the addresses it had before.
    pub(crate) async fn server(&mut self, number: usize) -> anyhow::Result<Server> {
        self.server_with(number, &[]).await
    }

    pub(crate) async fn server_with(
        &mut self,
        number: usize,
        environment: &[(&str, &str)],
    ) -> anyhow::Result<Server> {
        let mut server = self.launch(number, environment)?;
        let mut console = Connection::to(&server.console);
        let until = Instant::now() + Duration::from_secs(90);
        loop {
            let answer = console.get("/readyz", "", Duration::from_secs(5)).await;
            if answer.is_ok_and(|answer| answer.status() == 200) {
                return Ok(server);
            }
            if let Some(code) = server.process.ended()? {
                let log = server.process.log().join("\n");
                bail!("server {number} ended with {code}:\n{log}");
            }
            if Instant::now() > until {
                bail!(
                    "server {number} is not ready:\n{}",
                    server.process.log().join("\n")
                );
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Starts a server, ready or not.
    pub(crate) fn launch(
        &mut self,
        number: usize,
        environment: &[(&str, &str)],
    ) -> anyhow::Result<Server> {
        while self.ports.len() <= number {
            self.ports.push((free_port()?, free_port()?));
        }
        let data = self.data(number);
        std::fs::create_dir_all(&data)?;
        // Servers that share a database share their master keys.
        let keys = data.join("master.keys");
        if number > 0 && !keys.exists() {
            run(Command::new("cp")
                .arg("-p")
                .arg(self.data(0).join("master.keys"))
                .arg(&keys))?;
        }
        let (console, gateway) = self.ports[number];
        let (console, gateway) = (
            format!("127.0.0.1:{console}"),
            format!("127.0.0.1:{gateway}"),
        );
        let mut command = self.tieline(&data);
        command.args(["serve", "--console", &console, "--gateway", &gateway]);
        command.args(["--log", "json", "--log-level", "info,tieline_app=debug"]);
        command.args(["--admin-email", EMAIL]);
        command
            .arg("--admin-password-file")
            .arg(self.path("password"));
        command.envs(environment.iter().copied());
        Ok(Server {
            process: Process::start(&format!("server {number}"), &mut command)?,
            console,
            gateway,
        })
    }

    /// The program on this world's database, without what our own shell may have set for it.
    pub(crate) fn tieline(&self, data: &Path) -> Command {
        let mut command = Command::new(&self.plan.program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("TIELINE_") {
                command.env_remove(name);
            }
        }
        if let Some(cluster) = &self.cluster {
            command.env("TIELINE_DATABASE_URL", cluster.url());
        }
        command
            .args(["--allow-loopback", "--ca-file"])
            .arg(&self.service.ca_file);
        command.arg("--data-dir").arg(data);
        command
    }

    async fn sign_in(&self, server: &Server) -> anyhow::Result<()> {
        let url = format!("http://{}/api/v1/session", server.console);
        let credentials = json!({"email": EMAIL, "password": PASSWORD});
        let answer = self.api.post(url).json(&credentials).send().await?;
        let answer = answer.error_for_status()?;
        let cookie = answer.headers().get("set-cookie").context("no cookie")?;
        let cookie = cookie.to_str()?.split(';').next().unwrap_or_default();
        *self.cookie() = cookie.to_owned();
        Ok(())
    }

    async fn fill(&mut self, server: &Server) -> anyhow::Result<()> {
        let consumer = json!({"name": "Chaos"});
        let consumer = self.call(server, "POST", "/consumers", &consumer).await?;
        self.key = consumer["api_key"].as_str().context("no key")?.to_owned();
        let (authorize, token) = self.service.endpoints(&self.proxy.origin);
        for number in 0..self.plan.accounts {
            let name = format!("a{number}");
            let refresh_token = self.service.mint(&name).await?;
            self.proxy.register(&refresh_token, number);
            let account = json!({
                "type": "microsoft_dynamics_365", "name": name,
                "authorization_url": authorize, "token_url": token,
                "api_url": self.service.api_url, "client_id": self.service.client_id,
                "client_secret": self.service.client_secret,
                "grant": "authorization_code", "refresh_token": refresh_token,
            });
            let added = self
                .call(server, "POST", "/integration-accounts", &account)
                .await?;
            let id = added["id"].as_str().context("no id")?.to_owned();
            self.accounts.push(id);
        }
        Ok(())
    }

    /// A call of the JSON API.
    pub(crate) async fn call(
        &self,
        server: &Server,
        method: &str,
        path: &str,
        body: &Value,
    ) -> anyhow::Result<Value> {
        let mut answer = self.send(server, method, path, body).await?;
        // A session ends when the server's clock jumps.
        if answer.status() == 401 {
            self.sign_in(server).await?;
            answer = self.send(server, method, path, body).await?;
        }
        let status = answer.status();
        let answer: Value = answer.json().await.unwrap_or_default();
        anyhow::ensure!(status.is_success(), "{method} {path}: {status} {answer}");
        Ok(answer)
    }

    async fn send(
        &self,
        server: &Server,
        method: &str,
        path: &str,
        body: &Value,
    ) -> anyhow::Result<reqwest::Response> {
        let url = format!("http://{}/api/v1{path}", server.console);
        let mut request = self.api.request(method.parse()?, url);
        request = request.header("cookie", self.cookie().as_str());
        if !body.is_null() {
            request = request.json(body);
        }
        Ok(request.timeout(Duration::from_secs(20)).send().await?)
    }

    fn cookie(&self) -> MutexGuard<'_, String> {
        self.cookie.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The states of all accounts, by number.
    pub(crate) async fn states(&self, server: &Server) -> anyhow::Result<Vec<State>> {
        let list = self
            .call(server, "GET", "/integration-accounts", &Value::Null)
            .await?;
        let list = list
            .as_array()
            .or_else(|| list.as_object()?.values().find_map(Value::as_array));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let by_id: HashMap<String, State> = list
            .context("no list of accounts")?
            .iter()
            .map(|account| {
                let state = State {
                    state: text(&account["state"]),
                    reason: text(&account["state_reason"]["code"]),
                };
                (text(&account["id"]), state)
            })
            .collect();
        let found = self.accounts.iter().map(|id| by_id.get(id).cloned());
        found.collect::<Option<_>>().context("an account is gone")
    }

    /// Gives an account a grant of its own again, as an administrator would.
    pub(crate) async fn reconnect(&self, server: &Server, number: usize) -> anyhow::Result<()> {
        let refresh_token = self.service.mint(&format!("a{number}")).await?;
        self.proxy.register(&refresh_token, number);
        let path = format!("/integration-accounts/{}", self.accounts[number]);
        let change = json!({"refresh_token": refresh_token});
        self.call(server, "PATCH", &path, &change).await.map(|_| ())
    }

    /// The path of a call to an account.
    pub(crate) fn target(&self, account: usize) -> String {
        format!("/a{account}/api/data/v9.2/WhoAmI")
    }

    /// When an account's refresh token was marked as being spent, where the mark stands.
    pub(crate) fn marked(&self, account: usize) -> anyhow::Result<Option<DateTime<Utc>>> {
        let id = &self.accounts[account];
        let sql = format!("SELECT spending_since FROM account_token WHERE account_id = '{id}'");
        let said = match &self.cluster {
            Some(cluster) => cluster.sql(&sql)?,
            None => {
                let file = self.data(0).join("tieline.db");
                let wait = ["-cmd", ".timeout 10000"];
                run(Command::new("sqlite3").args(wait).arg(file).arg(sql))?
            }
        };
        let ms = said.trim().parse().ok();
        Ok(ms.and_then(DateTime::from_timestamp_millis))
    }

    /// Whether the database is whole, and its secrets open.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        match &self.cluster {
            Some(cluster) => check_postgres(cluster)?,
            None => check_sqlite(&self.data(0).join("tieline.db"))?,
        }
        run(self.tieline(&self.data(0)).args(["key", "verify"]))?;
        Ok(())
    }
}

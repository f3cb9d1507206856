//! A sandbox and clients of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tieline_sandbox::{Clock, Control, Options, Sandbox};

/// The registration of the default seed, and its secret.
pub(crate) const APPLICATION: &str = "3b8f4c1d-7c0a-4c62-8f0e-52a6b9d1e7f4";
pub(crate) const SECRET: &str = "Tie+line~rehearsal/secret=1%&";
pub(crate) const TENANT: &str = "contoso.example";

pub(crate) struct Stage {
    pub(crate) sandbox: Sandbox,
    pub(crate) http: Client,
    seconds: Arc<AtomicI64>,
}

impl Stage {
    /// A sandbox whose control API is on.
    pub(crate) async fn open() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Options)) -> Self {
        // The second test to come finds it installed.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let seconds = Arc::new(AtomicI64::new(0));
        let passed = Arc::clone(&seconds);
        let start = Utc::now();
        let clock = Clock::new(move || start + TimeDelta::seconds(passed.load(Ordering::Relaxed)));
        let mut options = Options::new(clock);
        options.control = Control::On;
        change(&mut options);
        let sandbox = Sandbox::start(options).await.expect("a sandbox");
        let http = client(&sandbox).build().expect("a client");
        Self {
            sandbox,
            http,
            seconds,
        }
    }

    /// Time passes, without anybody waiting.
    pub(crate) fn pass(&self, seconds: i64) {
        self.seconds.fetch_add(seconds, Ordering::Relaxed);
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.sandbox.origin())
    }

    // === Microsoft's side ===

    pub(crate) async fn ask_token(&self) -> reqwest::Result<Response> {
        let scope = format!("{}/.default", self.sandbox.origin());
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", APPLICATION),
            ("client_secret", SECRET),
            ("scope", scope.as_str()),
        ];
        let url = self.url(&format!("/{TENANT}/oauth2/v2.0/token"));
        self.http.post(url).form(&form).send().await
    }

    pub(crate) async fn token(&self) -> String {
        let answer = self.ask_token().await.expect("an answer");
        let answer: Value = answer.json().await.expect("JSON");
        answer["access_token"].as_str().expect("a token").to_owned()
    }

    pub(crate) fn get(&self, token: &str, path: &str) -> RequestBuilder {
        let url = self.url(&format!("/api/data/v9.2/{path}"));
        self.http.get(url).bearer_auth(token)
    }

    pub(crate) async fn status(&self, token: &str, path: &str) -> u16 {
        let answer = self.get(token, path).send().await;
        answer.expect("an answer").status().as_u16()
    }

    // === the control API ===

    pub(crate) async fn control(&self, method: Method, path: &str, body: Value) -> Response {
        let url = self.url(&format!("/_sandbox/api/{path}"));
        let request = self.http.request(method, url).json(&body);
        request.send().await.expect("an answer")
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Value {
        let answer = self.control(Method::POST, path, body).await;
        let status = answer.status();
        let text = answer.text().await.expect("text");
        assert!(status.is_success(), "{status} {text}");
        serde_json::from_str(&text).expect("JSON")
    }

    pub(crate) async fn look(&self, path: &str) -> Value {
        let url = self.url(&format!("/_sandbox/api/{path}"));
        let answer = self.http.get(url).send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
        answer.json().await.expect("JSON")
    }

    pub(crate) async fn arm(&self, fault: Value) -> u64 {
        let armed = self.post("faults", fault).await;
        armed["id"].as_u64().expect("a number")
    }

    /// What is said of a request that is refused: status, field, detail.
    pub(crate) async fn refused(&self, path: &str, body: Value) -> (u16, String, String) {
        let answer = self.control(Method::POST, path, body).await;
        let status = answer.status().as_u16();
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        let problem: Value = answer.json().await.expect("JSON");
        let text = |member: &str| problem[member].as_str().unwrap_or_default().to_owned();
        (status, text("field"), text("detail"))
    }

    pub(crate) async fn now(&self) -> DateTime<Utc> {
        let clock = self.look("clock").await;
        clock["now"]
            .as_str()
            .expect("a moment")
            .parse()
            .expect("a moment")
    }

    pub(crate) async fn limits(&self, rules: Value) {
        self.post("limits", rules).await;
        let nothing = json!({});
        let cleared = self
            .control(Method::DELETE, "limits/counters", nothing)
            .await;
        assert_eq!(cleared.status(), 204);
    }
}

/// A client that trusts the sandbox's authority and nobody else.
pub(crate) fn client(sandbox: &Sandbox) -> reqwest::ClientBuilder {
    let pem = std::fs::read(sandbox.ca_file()).expect("the authority's certificate");
    let authority = reqwest::Certificate::from_pem(&pem).expect("a certificate");
    Client::builder()
        .tls_certs_only([authority])
        .redirect(reqwest::redirect::Policy::none())
        // A request that is tried again by the client would be struck by two faults.
        .retry(reqwest::retry::never())
}

//! A sandbox whose clock stands still, and a client of its Web API.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::header::HeaderMap;
use reqwest::{Client, Method};
use serde_json::Value;
use tieline_sandbox::seed::Seed;
use tieline_sandbox::{Clock, Options, Sandbox};

/// The registration of the default seed that is an administrator of the organization.
pub(crate) const APPLICATION: &str = "3b8f4c1d-7c0a-4c62-8f0e-52a6b9d1e7f4";
pub(crate) const SECRET: &str = "Tie+line~rehearsal/secret=1%&";
pub(crate) const TENANT: &str = "contoso.example";
/// Asks for the row that was written.
pub(crate) const REPRESENTATION: (&str, &str) = ("Prefer", "return=representation");
/// Takes every annotation.
pub(crate) const ANNOTATED: (&str, &str) = ("Prefer", "odata.include-annotations=\"*\"");

pub(crate) struct Service {
    pub(crate) sandbox: Sandbox,
    pub(crate) http: Client,
    pub(crate) token: String,
    start: DateTime<Utc>,
    seconds: Arc<AtomicI64>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Service {
    /// The default seed with a dozen contacts.
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// The same with a seed that was changed.
    pub(crate) async fn with(change: impl FnOnce(&mut Seed)) -> Self {
        // The second test to come finds it installed.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let seconds = Arc::new(AtomicI64::new(0));
        let passed = Arc::clone(&seconds);
        // Certificates are checked by the machine's clock: the sandbox's begins where that stands.
        let start = DateTime::from_timestamp(Utc::now().timestamp(), 0).expect("a moment");
        let clock = Clock::new(move || start + TimeDelta::seconds(passed.load(Ordering::Relaxed)));
        let mut seed = Seed::default();
        for organization in seed
            .tenants
            .iter_mut()
            .flat_map(|tenant| &mut tenant.organizations)
        {
            organization.contacts = 12;
        }
        change(&mut seed);
        let options = Options {
            seed,
            ..Options::new(clock)
        };
        let sandbox = Sandbox::start(options).await.expect("a sandbox");
        let pem = std::fs::read(sandbox.ca_file()).expect("the authority's certificate");
        let authority = reqwest::Certificate::from_pem(&pem).expect("a certificate");
        let builder = Client::builder().tls_certs_only([authority]);
        let http = builder
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .expect("a client");
        let token = token(&sandbox, &http).await;
        Self {
            sandbox,
            http,
            token,
            start,
            seconds,
        }
    }

    /// Time passes, without anybody waiting.
    pub(crate) fn pass(&self, seconds: i64) {
        self.seconds.fetch_add(seconds, Ordering::Relaxed);
    }

    /// The sandbox's present moment, as it is written in rows.
    pub(crate) fn now(&self) -> String {
        let now = self.start + TimeDelta::seconds(self.seconds.load(Ordering::Relaxed));
        now.format("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    /// `https://localhost:…/api/data/v9.2/` with a path behind it.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}/api/data/v9.2/{path}", self.sandbox.origin())
    }

    /// Sends a request; the path stands behind the service's address, or is an address.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Answer {
        let url = if path.starts_with("https:") {
            path.to_owned()
        } else {
            self.url(path)
        };
        let mut request = self.http.request(method, url).bearer_auth(&self.token);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.expect("an answer");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Answer {
            status,
            headers,
            text: answer.text().await.expect("text"),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, &[], Some(&body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PATCH, path, &[], Some(&body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PUT, path, &[], Some(&body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, &[], None).await
    }

    /// Reads what must be there.
    pub(crate) async fn read(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "GET {path}: {}", answer.text);
        answer.json()
    }

    /// Makes a row that must be taken; gives its identifier.
    pub(crate) async fn create(&self, set: &str, body: Value) -> String {
        let answer = self.post(set, body).await;
        assert_eq!(answer.status, 204, "POST {set}: {}", answer.text);
        answer.id()
    }

    /// Identifier of a user of the organization, by its name.
    pub(crate) async fn user(&self, name: &str) -> String {
        let name = name.replace('#', "%23");
        let found = self
            .read(&format!(
                "systemusers?$select=systemuserid&$filter=fullname eq '{name}'"
            ))
            .await;
        found["value"][0]["systemuserid"]
            .as_str()
            .expect("a user of that name")
            .to_owned()
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text)
            .unwrap_or_else(|_| panic!("no JSON: {} {}", self.status, self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().expect("text"))
    }

    /// The identifier at the end of `OData-EntityId`.
    pub(crate) fn id(&self) -> String {
        let address = self.header("odata-entityid");
        let key = address
            .rsplit_once('(')
            .and_then(|(_, key)| key.strip_suffix(')'));
        key.unwrap_or_else(|| panic!("no row in '{address}': {} {}", self.status, self.text))
            .to_owned()
    }

    /// Status and code of a refusal.
    pub(crate) fn refusal(&self) -> (u16, String) {
        let code = self.json()["error"]["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        (self.status, code)
    }

    /// Message of a refusal.
    pub(crate) fn message(&self) -> String {
        self.json()["error"]["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

async fn token(sandbox: &Sandbox, http: &Client) -> String {
    let scope = format!("{}/.default", sandbox.origin());
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", APPLICATION),
        ("client_secret", SECRET),
        ("scope", scope.as_str()),
    ];
    let url = format!("{}/{TENANT}/oauth2/v2.0/token", sandbox.origin());
    let answer = http.post(url).form(&form).send().await.expect("an answer");
    let answer: Value = answer.json().await.expect("JSON");
    answer["access_token"]
        .as_str()
        .unwrap_or_else(|| panic!("no token: {answer}"))
        .to_owned()
}

//! A sandbox with a clock that stands still, and a browser that signs people in.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use reqwest::header::{COOKIE, HeaderMap, LOCATION, SET_COOKIE};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::Value;
use tieline_sandbox::seed::Seed;
use tieline_sandbox::{Clock, Options, Sandbox};

pub(crate) const CONTOSO: &str = "6f0c2b7e-3f0e-4f7a-9a53-8d1c5a2e4b10";
pub(crate) const FABRIKAM: &str = "d2a4b6c8-1e3f-4a5b-9c7d-0e2f4a6b8c1d";
pub(crate) const TIELINE: &str = "3b8f4c1d-7c0a-4c62-8f0e-52a6b9d1e7f4";
pub(crate) const SECRET: &str = "Tie+line~rehearsal/secret=1%&";
pub(crate) const DESKTOP: &str = "51f81489-12ee-4a9e-aaae-a2591f45987d";
pub(crate) const EVERYBODYS: &str = "7e6d5c4b-3a29-4817-a605-f4e3d2c1b0a9";
pub(crate) const CALLBACK: &str = "http://localhost:8420/admin/msdynamicscallback.html";
pub(crate) const ORGANIZATION: &str = "https://contoso.crm.dynamics.com";
pub(crate) const MEGAN: (&str, &str) = ("megan@contoso.example", "Rehearsal-1");
pub(crate) const ALEX: (&str, &str) = ("alex@contoso.example", "Rehearsal-2");
pub(crate) const SCOPE: &str = "openid profile offline_access \
                                https://contoso.crm.dynamics.com/user_impersonation";

/// Name and value of a parameter.
pub(crate) type Pair<'a> = (&'a str, &'a str);

pub(crate) struct Rig {
    pub(crate) sandbox: Sandbox,
    pub(crate) http: reqwest::Client,
    offset: Arc<AtomicI64>,
    start: DateTime<Utc>,
    jar: Mutex<HashMap<String, String>>,
}

/// An answer, read.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Page {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// Parameters of the address that the answer leads to.
    pub(crate) fn parameters(&self) -> HashMap<String, String> {
        parameters(self.header(LOCATION.as_str()))
    }

    pub(crate) fn holds(&self, text: &str) -> bool {
        self.text.contains(text)
    }
}

impl Rig {
    pub(crate) async fn start() -> Rig {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Seed)) -> Rig {
        let mut seed = Seed::default();
        change(&mut seed);
        Self::start_in(None, seed, Utc::now(), Arc::default()).await
    }

    pub(crate) async fn in_directory(directory: &Path) -> Rig {
        Self::start_in(Some(directory), Seed::default(), Utc::now(), Arc::default()).await
    }

    async fn start_in(
        directory: Option<&Path>,
        mut seed: Seed,
        start: DateTime<Utc>,
        offset: Arc<AtomicI64>,
    ) -> Rig {
        for organization in seed
            .tenants
            .iter_mut()
            .flat_map(|tenant| &mut tenant.organizations)
        {
            organization.contacts = 3;
        }
        let moved = Arc::clone(&offset);
        let now = move || start + TimeDelta::seconds(moved.load(Ordering::SeqCst));
        let sandbox = Sandbox::start(Options {
            listen: "127.0.0.1:0".parse().unwrap(),
            data_dir: directory.map(Path::to_owned),
            seed,
            ..Options::new(Clock::new(now))
        })
        .await
        .unwrap();
        let http = client(sandbox.ca_file());
        Rig {
            sandbox,
            http,
            offset,
            start,
            jar: Mutex::default(),
        }
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.start + TimeDelta::seconds(self.offset.load(Ordering::SeqCst))
    }

    pub(crate) fn advance(&self, seconds: i64) {
        self.offset.fetch_add(seconds, Ordering::SeqCst);
    }

    pub(crate) fn url(&self, path: &str) -> String {
        if path.starts_with("http") {
            return path.to_owned();
        }
        format!("{}{path}", self.sandbox.origin())
    }

    /// A browser without memory.
    pub(crate) fn forget(&self) {
        self.jar.lock().unwrap().clear();
    }

    pub(crate) fn cookies(&self) -> HashMap<String, String> {
        self.jar.lock().unwrap().clone()
    }

    pub(crate) fn remember(&self, cookies: HashMap<String, String>) {
        *self.jar.lock().unwrap() = cookies;
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Page {
        let cookies: Vec<String> = {
            let jar = self.jar.lock().unwrap();
            jar.iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect()
        };
        let request = match cookies.is_empty() {
            true => request,
            false => request.header(COOKIE, cookies.join("; ")),
        };
        let response = request.send().await.unwrap();
        for set in response.headers().get_all(SET_COOKIE) {
            let pair = set.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            let mut jar = self.jar.lock().unwrap();
            if value.is_empty() {
                jar.remove(name);
            } else {
                jar.insert(name.to_owned(), value.to_owned());
            }
        }
        Page {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            text: response.text().await.unwrap(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Page {
        self.send(self.http.get(self.url(path))).await
    }

    pub(crate) async fn query(&self, path: &str, query: &[Pair<'_>]) -> Page {
        self.send(self.http.get(self.url(path)).query(query)).await
    }

    pub(crate) async fn post(&self, path: &str, form: &[Pair<'_>]) -> Page {
        self.send(self.http.post(self.url(path)).form(form)).await
    }

    /// Presses a button of the form of a page.
    pub(crate) async fn press(&self, page: &Page, more: &[Pair<'_>]) -> Page {
        let action = between(&page.text, "action=\"", "\"");
        let flow = between(&page.text, "name=\"flow\" value=\"", "\"");
        let mut form = vec![("flow", flow)];
        form.extend_from_slice(more);
        self.post(action, &form).await
    }

    pub(crate) async fn log_in(&self, page: &Page, (login, password): Pair<'_>) -> Page {
        self.press(page, &[("login", login), ("passwd", password)])
            .await
    }

    /// Signs somebody in and consents, to the end of the visit.
    pub(crate) async fn visit(&self, path: &str, query: &[Pair<'_>], person: Pair<'_>) -> Page {
        let mut page = self.query(path, query).await;
        for _ in 0..5 {
            page = if page.holds("name=\"passwd\"") {
                self.log_in(&page, person).await
            } else if page.holds("idApprove") {
                self.press(&page, &[("decision", "approve")]).await
            } else if page.holds("idBtn_Accept") {
                self.press(&page, &[("decision", "accept")]).await
            } else {
                return page;
            };
        }
        page
    }

    /// A code of v2 for an application, granted by a person.
    pub(crate) async fn code(&self, client: &str, scope: &str, person: Pair<'_>) -> String {
        let query = [
            ("client_id", client),
            ("response_type", "code"),
            ("redirect_uri", address(client)),
            ("scope", scope),
            ("state", "s"),
        ];
        let path = format!("/{CONTOSO}/oauth2/v2.0/authorize");
        let page = self.visit(&path, &query, person).await;
        let found = page.parameters();
        found
            .get("code")
            .unwrap_or_else(|| panic!("{page:?}"))
            .clone()
    }

    /// Redeems at v2.
    pub(crate) async fn token(&self, form: &[Pair<'_>]) -> Page {
        self.post(&format!("/{CONTOSO}/oauth2/v2.0/token"), form)
            .await
    }

    /// The tokens that a person grants Tieline.
    pub(crate) async fn granted(&self, person: Pair<'_>) -> Value {
        let code = self.code(TIELINE, SCOPE, person).await;
        let page = self
            .token(&[
                ("grant_type", "authorization_code"),
                ("client_id", TIELINE),
                ("client_secret", SECRET),
                ("code", &code),
                ("redirect_uri", CALLBACK),
            ])
            .await;
        assert_eq!(page.status, 200, "{}", page.text);
        page.json()
    }

    pub(crate) async fn refresh(&self, tokens: &Value) -> Page {
        self.refresh_with(tokens, &[]).await
    }

    pub(crate) async fn refresh_with(&self, tokens: &Value, more: &[Pair<'_>]) -> Page {
        let token = tokens["refresh_token"].as_str().unwrap();
        let mut form = vec![
            ("grant_type", "refresh_token"),
            ("client_id", TIELINE),
            ("client_secret", SECRET),
            ("refresh_token", token),
        ];
        form.extend_from_slice(more);
        self.token(&form).await
    }
}

/// The reply URL of an application of the default seed.
pub(crate) fn address(client: &str) -> &'static str {
    match client {
        DESKTOP => "http://localhost",
        _ => CALLBACK,
    }
}

pub(crate) fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let (_, rest) = text
        .split_once(before)
        .unwrap_or_else(|| panic!("no {before} in {text}"));
    rest.split_once(after).unwrap().0
}

pub(crate) fn parameters(address: &str) -> HashMap<String, String> {
    let url = url::Url::parse(address).unwrap_or_else(|_| panic!("no address: {address}"));
    let text = url
        .fragment()
        .or(url.query())
        .unwrap_or_default()
        .to_owned();
    url::form_urlencoded::parse(text.as_bytes())
        .into_owned()
        .collect()
}

/// What a token says; its signature is checked elsewhere.
pub(crate) fn claims(token: &Value) -> Value {
    part(token, 1)
}

pub(crate) fn part(token: &Value, index: usize) -> Value {
    let text = token.as_str().unwrap().split('.').nth(index).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
}

/// Asserts that an answer is Entra's error of a code.
#[track_caller]
pub(crate) fn refused(page: &Page, status: u16, error: &str, code: u32) -> Value {
    let body = page.json();
    assert_eq!(page.status, status, "{body}");
    assert_eq!(body["error"], error, "{body}");
    assert_eq!(body["error_codes"][0], code, "{body}");
    let description = body["error_description"].as_str().unwrap();
    assert!(
        description.starts_with(&format!("AADSTS{code}: ")),
        "{description}"
    );
    for word in ["\r\nTrace ID: ", "\r\nCorrelation ID: ", "\r\nTimestamp: "] {
        assert!(description.contains(word), "{description}");
    }
    for name in ["timestamp", "trace_id", "correlation_id", "error_uri"] {
        assert!(body[name].is_string(), "{body}");
    }
    body
}

fn client(ca_file: &Path) -> reqwest::Client {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca_file).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .unwrap()
}

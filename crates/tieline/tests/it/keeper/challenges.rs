//! Claims that Dynamics asks for (continuous access evaluation): they go to Entra, and where Entra
//! wants a person, with the person.

use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use url::Url;

use crate::demo::page::{self, Form};
use crate::demo::walk::Person;
use crate::keeper::line::{Line, Rules, Server};
use crate::test_app::{Process, client, stderr, tieline};
use crate::upstream::{Seen, Upstream, answer};

/// A sign-in, a second factor, a consent and their redirects are ten pages; a loop is more.
const PAGES_MAX: usize = 20;

/// A server whose console is known outside by the address that the application is registered with,
/// as behind a proxy.
fn serve(line: &Line) -> Server {
    let known = line.redirect_uri.origin().ascii_serialization();
    line.serve_with(0, &["--public-url", &known])
}

/// Signs in with a second factor, consents, and comes back to the console.
async fn walk_with_second_factor(line: &Line, server: &Server, start: &Url) {
    let (http, person) = (&line.http, &line.person);
    let mut at = start.clone();
    let mut request = http.get(start.clone());
    for _ in 0..PAGES_MAX {
        let response = request.send().await.unwrap();
        if let Some(next) = response.headers().get("location") {
            at = at.join(next.to_str().unwrap()).unwrap();
            if at.path() == line.redirect_uri.path() {
                let back = format!("{}{}?{}", server.console, at.path(), at.query().unwrap());
                let page = client(None).get(back).send().await.unwrap();
                assert!(page.status().is_success(), "{}", page.status());
                return;
            }
            request = http.get(at.clone());
            continue;
        }
        let status = response.status();
        let html = response.text().await.unwrap();
        assert!(
            status.is_success(),
            "{} answered {status}: {html}",
            at.path()
        );
        let form = next_form(page::forms(&html), person);
        let (fields, action) = form.unwrap_or_else(|| panic!("nothing to press in {html}"));
        at = at.join(&action).unwrap();
        request = http.post(at.clone()).form(&fields);
    }
    panic!("the consent leads in circles");
}

fn next_form(forms: Vec<Form>, person: &Person) -> Option<(Vec<(String, String)>, String)> {
    for mut form in forms {
        form.set("login", &person.upn);
        form.set("passwd", &person.password);
        let forward = |button: &&page::Button| {
            let known = ["idSIButton9", "idBtn_Accept"].contains(&button.id.as_str());
            known || button.value == "approve"
        };
        if let Some(button) = form.buttons.iter().find(forward) {
            let mut fields = form.fields.clone();
            fields.push((button.name.clone(), button.value.clone()));
            let action = match button.action.as_str() {
                "" => form.action.clone(),
                action => action.to_owned(),
            };
            return Some((fields, action));
        }
    }
    None
}

/// A consent that waits for its person, and the claims that its address carries.
fn consent(line: &Line) -> (Process, Url, Value) {
    let mut command = line.command(0);
    command.args(["account", "connect", "Line", "--json"]);
    let mut connect = Process::run(command);
    let begun: Value = serde_json::from_str(&connect.line()).unwrap();
    let start: Url = begun["authorization_url"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let mut pairs = start.query_pairs();
    let claims = pairs.find(|(name, _)| name == "claims");
    let claims = claims.map_or(Value::Null, |(_, text)| {
        serde_json::from_str(&text).unwrap()
    });
    (connect, start, claims)
}

#[tokio::test]
async fn claims_that_need_a_person_wait_for_the_next_consent() {
    let line = Line::start(Rules::Evaluated, None).await;
    let server = serve(&line);
    assert_eq!(line.call(&server).await, (200, String::new()));
    let (connect, _, claims) = consent(&line);
    connect.stop("-KILL");
    assert_eq!(claims, Value::Null, "nothing was asked for yet");
    line.forget().await;

    // Dynamics is told at once, and challenges a token that has an hour left.
    let upn = line.person.upn.clone();
    let demand = json!({"action": "require-mfa", "user": upn});
    line.control("/entra", &demand).await;
    let (status, code) = line.call(&server).await;
    assert_eq!((status, code.as_str()), (503, "mfa-required"));
    let account = line.account();
    assert_eq!(account["state"], "needs_consent", "{account}");
    assert_eq!(account["state_reason"]["code"], "mfa-required");
    // Asked once, and not again while nothing has changed.
    for _ in 0..5 {
        assert_eq!(line.call(&server).await, (503, "mfa-required".to_owned()));
    }
    assert_eq!(line.renewals().await, [400]);

    let (mut connect, start, claims) = consent(&line);
    let policies = &claims["access_token"]["polids"]["values"];
    assert!(policies[0].is_string(), "what Entra asked for: {claims}");
    walk_with_second_factor(&line, &server, &start).await;
    assert_eq!(connect.wait().code(), Some(0));
    assert_eq!(line.call(&server).await, (200, String::new()));
    assert_eq!(line.account()["state"], "connected");
    // They are met, and not asked for again.
    let (connect, _, claims) = consent(&line);
    connect.stop("-KILL");
    assert_eq!(claims, Value::Null);
}

#[tokio::test]
async fn claims_of_dynamics_itself_are_kept_where_entra_names_none() {
    let line = Line::start(Rules::Evaluated, None).await;
    let server = serve(&line);
    assert_eq!(line.call(&server).await, (200, String::new()));
    let upn = line.person.upn.clone();
    let event = json!({"action": "revoke-sessions", "user": upn});
    line.control("/entra", &event).await;
    let (status, code) = line.call(&server).await;
    assert_eq!((status, code.as_str()), (503, "refresh-token-revoked"));
    assert_eq!(line.account()["state"], "needs_consent");

    let (mut connect, start, claims) = consent(&line);
    let since = &claims["access_token"]["nbf"]["value"];
    assert!(since.is_string(), "what Dynamics asked for: {claims}");
    walk_with_second_factor(&line, &server, &start).await;
    assert_eq!(connect.wait().code(), Some(0));
    assert_eq!(line.call(&server).await, (200, String::new()));
    assert_eq!(line.account()["state"], "connected");
}

// === one header, several challenges ===

const CLAIMS: &str =
    r#"{"access_token":{"nbf":{"essential":true,"value":"1700000000"},"acrs":{"value":"c1"}}}"#;
const TENANT: &str = "6f0c2b7e-3f0e-4f7a-9a53-8d1c5a2e4b10";

/// An organization that refuses the first token, with both challenges in one header, and the token
/// service beside it.
fn joined() -> Upstream {
    let tokens = AtomicUsize::new(0);
    Upstream::start(move |seen: &Seen| {
        if seen.line.starts_with("POST ") {
            let number = tokens.fetch_add(1, Ordering::SeqCst) + 1;
            let body = json!({
                "access_token": format!("token-{number}"), "token_type": "Bearer",
                "expires_in": 3600, "refresh_token": format!("refresh-{number}"),
            });
            let kind = "Content-Type: application/json\r\n";
            return answer("200 OK", kind, &body.to_string());
        }
        if seen.token() > 1 {
            return answer("200 OK", "", "{}");
        }
        let header = format!(
            "WWW-Authenticate: Bearer authorization_uri=https://login.example/common/oauth2/authorize, \
             resource_id=https://contoso.example/, Bearer realm=\"\", \
             error=\"insufficient_claims\", claims=\"{}\"\r\n",
            STANDARD.encode(CLAIMS)
        );
        answer("401 Unauthorized", &header, "")
    })
}

/// What the requests for tokens said of claims.
fn claims_sent(upstream: &Upstream) -> Vec<Option<String>> {
    let calls = upstream.calls();
    let asked = calls.iter().filter(|seen| seen.line.starts_with("POST "));
    asked
        .map(|seen| {
            let mut form = url::form_urlencoded::parse(&seen.body);
            let claims = form.find(|(name, _)| name == "claims");
            claims.map(|(_, value)| value.into_owned())
        })
        .collect()
}

#[tokio::test]
async fn a_challenge_behind_another_in_one_header_reaches_the_token_endpoint() {
    let upstream = joined();
    let data = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = data.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (secret, token) = (file("secret", "s+e%c&r=e t"), file("token", "refresh-0"));
    let command = || {
        let mut command = tieline();
        command.args(["--allow-loopback", "--data-dir"]);
        command.arg(data.path().join("data"));
        command
    };
    let base = format!("{}/{TENANT}/oauth2/v2.0", upstream.origin);
    let added = command()
        .args(["account", "add", "--name", "Line", "--default"])
        .args(["--authorization-url", &format!("{base}/authorize")])
        .args(["--token-url", &format!("{base}/token")])
        .args(["--api-url", &format!("{}/api/data/v9.2", upstream.origin)])
        .args(["--client-id", TENANT, "--client-secret-file", &secret])
        .args(["--refresh-token-file", &token])
        .output()
        .unwrap();
    assert!(added.status.success(), "{}", stderr(&added));
    let consumer = command()
        .args(["consumer", "add", "--name", "Test", "--json"])
        .output()
        .unwrap();
    let consumer: Value = serde_json::from_slice(&consumer.stdout).unwrap();
    let mut serving = command();
    let local = "127.0.0.1:0";
    serving.args(["serve", "--console", local, "--gateway", local]);
    let server = crate::keeper::line::serving(serving, &data.path().join("data"));

    let url = format!("{}/api/data/v9.2/contacts", server.gateway);
    let key = consumer["api_key"].as_str().unwrap();
    let asked = client(None).get(url).bearer_auth(key);
    assert_eq!(asked.send().await.unwrap().status(), 200);
    let sent = claims_sent(&upstream);
    assert_eq!(sent, [None, Some(CLAIMS.to_owned())]);
}

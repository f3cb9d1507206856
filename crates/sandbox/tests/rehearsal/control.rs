//! The control API: what it shows, what it changes, and whom it refuses.

use reqwest::Method;
use serde_json::{Value, json};
use tieline_sandbox::Control;

use crate::stage::{APPLICATION, SECRET, Stage, client};

#[tokio::test]
async fn without_it_there_is_nothing_there() {
    let stage = Stage::with(|options| options.control = Control::Off).await;
    let nowhere = stage.http.get(stage.url("/nowhere")).send().await.unwrap();
    for path in [
        "/_sandbox",
        "/_sandbox/",
        "/_sandbox/api",
        "/_sandbox/api/faults",
    ] {
        let answer = stage.http.get(stage.url(path)).send().await.unwrap();
        assert_eq!(answer.status(), nowhere.status(), "{path}");
        assert_eq!(
            answer.headers()["content-type"],
            nowhere.headers()["content-type"]
        );
        let answer = stage
            .http
            .post(stage.url(path))
            .json(&json!({"kind": "drop"}))
            .send();
        assert_eq!(answer.await.unwrap().status(), 404, "{path}");
    }
    assert_eq!(stage.ask_token().await.unwrap().status(), 200);
}

#[tokio::test]
async fn everything_is_shown_and_no_secret_is() {
    let stage = Stage::open().await;
    stage.token().await;
    let tenants = stage.look("tenants").await;
    assert_eq!(tenants["value"].as_array().unwrap().len(), 2);
    let organizations = stage.look("organizations").await;
    let tables = organizations["value"][0]["tables"].as_array().unwrap();
    let contacts = tables
        .iter()
        .find(|table| table["set"] == "contacts")
        .unwrap();
    assert_eq!(contacts["rows"], 420);
    let mut all = String::new();
    for path in [
        "tenants",
        "applications",
        "users",
        "tokens",
        "consents",
        "organizations",
        "requests",
        "faults",
        "limits",
        "clock",
        "entra",
        "scenario",
    ] {
        all.push_str(&stage.look(path).await.to_string());
    }
    assert!(all.contains("megan@contoso.example") && all.contains(APPLICATION));
    assert!(!all.contains(SECRET) && !all.contains("Rehearsal-1") && !all.contains("eyJ"));
}

#[tokio::test]
async fn faults_are_listed_found_removed_and_cleared() {
    let stage = Stage::open().await;
    let token = stage.token().await;
    let answer = stage
        .control(
            Method::POST,
            "faults",
            json!({"kind": "status", "name": "one"}),
        )
        .await;
    assert_eq!(answer.status(), 201);
    assert_eq!(answer.headers()["location"], "/_sandbox/api/faults/1");
    let second = stage
        .arm(json!({"kind": "delay", "ms": 1, "requests": 5}))
        .await;
    assert_eq!(stage.status(&token, "accounts?$top=1").await, 503);
    let list = stage.look("faults").await;
    assert_eq!(
        list["value"][0]["fault"],
        json!({"kind": "status", "name": "one"})
    );
    assert_eq!(list["value"][0]["struck"], 1);
    assert_eq!(list["value"][1]["requests_left"], 4);
    let gone = stage.control(Method::DELETE, "faults/1", json!({})).await;
    assert_eq!(gone.status(), 204);
    assert_eq!(
        stage
            .control(Method::DELETE, "faults/1", json!({}))
            .await
            .status(),
        404
    );
    assert_eq!(stage.status(&token, "accounts?$top=1").await, 200);
    assert_eq!(stage.look(&format!("faults/{second}")).await["struck"], 2);
    stage.control(Method::DELETE, "faults", json!({})).await;
    assert_eq!(stage.look("faults").await["value"], json!([]));
}

#[tokio::test]
async fn mistakes_name_the_field_and_what_is_allowed() {
    let stage = Stage::open().await;
    for (path, body, field, hint) in [
        (
            "faults",
            json!({"kind": "throtle"}),
            "kind",
            "did you mean 'throttle'?",
        ),
        (
            "faults",
            json!({"kind": "delay", "ms": 0}),
            "ms",
            "from 1 to 600000",
        ),
        (
            "faults",
            json!({"kind": "drop", "reqests": 1}),
            "reqests",
            "did you mean 'requests'?",
        ),
        (
            "limits",
            json!({"factor": 0}),
            "factor",
            "from 0.000001 to 1000",
        ),
        ("limits", json!({"mode": "on"}), "mode", "off, microsoft"),
        ("clock", json!({}), "move", "only one of them"),
        (
            "entra",
            json!({"action": "revoke-session"}),
            "action",
            "did you mean 'revoke-sessions'?",
        ),
        (
            "entra",
            json!({"action": "disable-user"}),
            "user",
            "is missing",
        ),
        ("scenario", json!({"step": []}), "step", "at least one"),
    ] {
        let (status, of, detail) = stage.refused(path, body.clone()).await;
        assert_eq!((status, of.as_str()), (422, field), "{body}");
        assert!(detail.contains(hint), "{detail}");
    }
    let url = stage.url("/_sandbox/api/faults");
    let request = stage
        .http
        .post(url)
        .header("content-type", "application/json")
        .body("{");
    assert_eq!(request.send().await.unwrap().status(), 400);
    let (status, ..) = stage.refused("faults", json!([1])).await;
    assert_eq!(status, 422);
    let (status, _, detail) = stage.refused("nothing", json!({})).await;
    assert!(
        status == 404 && detail.contains("/_sandbox/api says"),
        "{detail}"
    );
}

#[tokio::test]
async fn other_sites_and_other_names_are_refused() {
    let stage = Stage::open().await;
    let url = stage.url("/_sandbox/api/faults");
    let fault = r#"{"kind": "drop"}"#;
    let plain = stage.http.post(&url).body(fault);
    assert_eq!(plain.send().await.unwrap().status(), 415);
    let disguised = stage
        .http
        .post(&url)
        .header("content-type", "text/plain")
        .body(fault);
    assert_eq!(disguised.send().await.unwrap().status(), 415);
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        let foreign = stage
            .http
            .post(&url)
            .header(name, value)
            .json(&json!({"kind": "drop"}));
        assert_eq!(
            foreign.send().await.unwrap().status(),
            403,
            "{name} {value}"
        );
    }
    let own = stage.sandbox.origin().to_owned();
    let ours = stage
        .http
        .post(&url)
        .header("origin", own)
        .json(&json!({"kind": "delay", "ms": 1}));
    assert_eq!(ours.send().await.unwrap().status(), 201);
    let h1 = client(&stage.sandbox).http1_only().build().unwrap();
    let rebound = h1.get(&url).header("host", "rebound.example");
    assert_eq!(rebound.send().await.unwrap().status(), 404);
    let reset = stage
        .http
        .post(stage.url("/_sandbox/api/reset"))
        .header("x-sandbox-control", "1");
    assert_eq!(reset.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn the_last_requests_are_kept_without_their_secrets() {
    let stage = Stage::open().await;
    let token = stage.token().await;
    stage
        .arm(json!({"kind": "status", "path": "/**/accounts", "requests": 1}))
        .await;
    let asked = stage
        .get(&token, "accounts?$top=1")
        .header("x-ms-client-request-id", "call-17");
    asked.send().await.unwrap();
    let page =
        format!("/contoso.example/oauth2/authorize?client_id={APPLICATION}&state=hush&code=x");
    stage.http.get(stage.url(&page)).send().await.unwrap();
    let requests = stage.look("requests").await;
    let lines = requests["value"].as_array().unwrap();
    let targets: Vec<&str> = lines
        .iter()
        .map(|line| line["target"].as_str().unwrap())
        .collect();
    assert_eq!(
        targets,
        [
            format!("/contoso.example/oauth2/authorize?client_id={APPLICATION}&state=…&code=…")
                .as_str(),
            "/api/data/v9.2/accounts?$top=1",
            "/contoso.example/oauth2/v2.0/token",
        ]
    );
    assert_eq!(lines[1]["status"], 503);
    assert_eq!(lines[1]["faults"], json!([1]));
    assert_eq!(lines[1]["client_request_id"], "call-17");
    assert_eq!(lines[1]["application"], APPLICATION);
    assert_eq!(lines[2]["application"], APPLICATION);
    let narrowed = stage.look("requests?side=dataverse&limit=1").await;
    assert_eq!(narrowed["value"].as_array().unwrap().len(), 1);
    assert_eq!(narrowed["value"][0]["side"], "dataverse");
    stage.control(Method::DELETE, "requests", json!({})).await;
    assert_eq!(stage.look("requests").await["value"], json!([]));
}

#[tokio::test]
async fn a_request_that_was_dropped_has_no_status() {
    let stage = Stage::open().await;
    let token = stage.token().await;
    stage
        .arm(json!({"kind": "drop", "side": "dataverse"}))
        .await;
    assert!(stage.get(&token, "accounts?$top=1").send().await.is_err());
    let lines = stage.look("requests").await;
    assert_eq!(lines["value"][0]["status"], Value::Null);
}

#[tokio::test]
async fn a_reset_puts_everything_back() {
    let stage = Stage::open().await;
    let token = stage.token().await;
    stage.arm(json!({"kind": "status"})).await;
    stage.limits(json!({"requests": 1})).await;
    stage.post("clock", json!({"move": "10m"})).await;
    stage
        .post("scenario", json!({"step": [{"at": "1h", "note": "later"}]}))
        .await;
    assert_eq!(stage.status(&token, "accounts?$top=1").await, 503);
    stage.post("reset", json!({})).await;
    assert_eq!(stage.status(&token, "accounts?$top=1").await, 200);
    assert_eq!(stage.look("limits").await["rules"]["requests"], 6_000);
    assert_eq!(stage.look("clock").await["moved_by_ms"], 0);
    assert_eq!(stage.look("scenario").await["scenario"], Value::Null);
}

#[tokio::test]
async fn faults_do_not_reach_the_page_that_ends_them() {
    let stage = Stage::open().await;
    stage.arm(json!({"kind": "drop"})).await;
    stage
        .arm(json!({"kind": "drop", "path": "/_sandbox"}))
        .await;
    assert_eq!(
        stage.look("faults").await["value"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[tokio::test]
async fn rows_are_looked_at_without_a_token() {
    let stage = Stage::open().await;
    let organizations = stage.look("organizations").await;
    let tables = organizations["value"][0]["tables"].as_array().unwrap();
    let contacts = tables.iter().find(|table| table["set"] == "contacts");
    let address = contacts.unwrap()["address"].as_str().unwrap();
    let page = stage.http.get(stage.url(&format!(
        "{address}?filter=contains(lastname,'smith')&top=3"
    )));
    let page = page.send().await.unwrap();
    assert_eq!(page.status(), 200);
    let text = page.text().await.unwrap();
    assert!(text.contains("Smith") && !text.contains("Tanaka"), "{text}");

    let rows = stage
        .look("organizations/contoso/contacts?$select=fullname&$top=2")
        .await;
    assert_eq!(rows["value"].as_array().unwrap().len(), 2);
    let refused = stage.url("/_sandbox/api/organizations/contoso/contacts?$select=nothing");
    let refused = stage.http.get(refused).send().await.unwrap();
    assert_eq!(refused.status(), 400);
    let nowhere = stage.url("/_sandbox/api/organizations/litware/contacts");
    assert_eq!(stage.http.get(nowhere).send().await.unwrap().status(), 404);
}

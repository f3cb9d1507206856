//! What faults do to answers.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::stage::{APPLICATION, Stage};

#[tokio::test]
async fn a_throttle_says_what_dataverse_says() {
    let stage = Stage::open().await;
    let token = stage.token().await;
    let cases = [
        (
            "requests",
            "0x80072322",
            "Number of requests exceeded the limit of 6000",
        ),
        (
            "time",
            "0x80072321",
            "exceeded limit of 1,200,000 milliseconds",
        ),
        (
            "concurrency",
            "0x80072326",
            "Number of concurrent requests exceeded the limit of 52.",
        ),
    ];
    for (limit, code, text) in cases {
        let fault = json!({"kind": "throttle", "limit": limit, "retry_after": 7,
                           "side": "dataverse", "requests": 1});
        stage.arm(fault).await;
        let answer = stage.get(&token, "accounts?$top=1").send().await.unwrap();
        assert_eq!(answer.status(), 429);
        assert_eq!(answer.headers()["retry-after"], "7");
        assert_eq!(answer.headers()["odata-version"], "4.0");
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["error"]["code"], code);
        assert!(
            body["error"]["message"].as_str().unwrap().contains(text),
            "{body}"
        );
        assert_eq!(stage.status(&token, "accounts?$top=1").await, 200);
    }
}

#[tokio::test]
async fn the_token_service_is_throttled_in_entras_words() {
    let stage = Stage::open().await;
    stage
        .arm(json!({"kind": "throttle", "side": "entra", "retry_after": 60}))
        .await;
    let answer = stage.ask_token().await.unwrap();
    assert_eq!(answer.status(), 429);
    assert_eq!(answer.headers()["retry-after"], "60");
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["error_codes"], json!([90055]));
}

#[tokio::test]
async fn an_answer_can_keep_to_itself_how_long_to_wait() {
    let stage = Stage::open().await;
    let token = stage.token().await;
    stage
        .arm(json!({"kind": "throttle", "retry_after": "none"}))
        .await;
    let answer = stage.get(&token, "accounts?$top=1").send().await.unwrap();
    assert_eq!(answer.status(), 429);
    assert!(!answer.headers().contains_key("retry-after"));
}

#[tokio::test]
async fn a_chosen_aadsts_code_comes_as_entra_gives_it() {
    let stage = Stage::open().await;
    for (code, status, error) in [
        (7_000_222, 401, "invalid_client"),
        (50_173, 400, "invalid_grant"),
        (700_082, 400, "invalid_grant"),
        (90_033, 503, "temporarily_unavailable"),
    ] {
        stage
            .arm(json!({"kind": "refuse", "aadsts": code, "requests": 1}))
            .await;
        let answer = stage.ask_token().await.unwrap();
        assert_eq!(answer.status(), status, "{code}");
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["error"], error);
        assert_eq!(body["error_codes"], json!([code]));
        let text = body["error_description"].as_str().unwrap();
        assert!(text.starts_with(&format!("AADSTS{code}: ")), "{text}");
        for member in ["trace_id", "correlation_id", "timestamp"] {
            assert!(body[member].is_string(), "{member}");
        }
    }
    assert_eq!(stage.ask_token().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_chosen_suberror_and_claims_go_with_the_code() {
    let stage = Stage::open().await;
    let claims = r#"{"access_token":{"acrs":{"essential":true,"value":"c1"}}}"#;
    let fault = json!({"kind": "refuse", "aadsts": 50_076, "suberror": "basic_action",
                       "claims": claims});
    stage.arm(fault).await;
    let body: Value = stage.ask_token().await.unwrap().json().await.unwrap();
    assert_eq!(body["suberror"], "basic_action");
    assert_eq!(body["claims"], claims);
}

#[tokio::test]
async fn a_code_at_the_authorization_endpoint_is_a_page() {
    let stage = Stage::open().await;
    stage.arm(json!({"kind": "refuse", "aadsts": 50_011})).await;
    let url = stage.url(&format!(
        "/contoso.example/oauth2/authorize?client_id={APPLICATION}"
    ));
    let answer = stage.http.get(url).send().await.unwrap();
    let kind = answer.headers()["content-type"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(kind.starts_with("text/html"), "{kind}");
    assert!(answer.text().await.unwrap().contains("50011"));
}

#[tokio::test]
async fn a_chosen_dataverse_code_comes_with_its_status_and_text() {
    let stage = Stage::open().await;
    let token = stage.token().await;
    for (written, status, code) in [
        ("0x80040217", 404, "0x80040217"),
        ("PrivilegeDenied", 403, "0x80040220"),
        ("0x80060882", 412, "0x80060882"),
        ("0x8004beef", 400, "0x8004beef"),
    ] {
        stage
            .arm(json!({"kind": "refuse", "dataverse": written, "requests": 1}))
            .await;
        let answer = stage.get(&token, "contacts").send().await.unwrap();
        assert_eq!(answer.status(), status, "{written}");
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["error"]["code"], code);
        assert!(!body["error"]["message"].as_str().unwrap().is_empty());
    }
    let fault = json!({"kind": "refuse", "dataverse": "IsvAborted", "status": 503,
                       "message": "A plug-in said no."});
    stage.arm(fault).await;
    let answer = stage.get(&token, "contacts").send().await.unwrap();
    assert_eq!(answer.status(), 503);
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["error"]["message"], "A plug-in said no.");
}

#[tokio::test]
async fn a_delay_is_waited_for_on_both_sides() {
    let stage = Stage::open().await;
    let token = stage.token().await;
    stage
        .arm(json!({"kind": "delay", "ms": 300, "requests": 2}))
        .await;
    for _ in 0..2 {
        let begun = std::time::Instant::now();
        assert_eq!(stage.status(&token, "accounts?$top=1").await, 200);
        assert!(begun.elapsed() >= Duration::from_millis(300));
    }
    stage
        .arm(json!({"kind": "delay", "ms": 300, "when": "after", "requests": 1}))
        .await;
    let begun = std::time::Instant::now();
    assert_eq!(stage.ask_token().await.unwrap().status(), 200);
    assert!(begun.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn whoever_shows_no_token_waits_as_well() {
    let stage = Stage::open().await;
    stage.arm(json!({"kind": "delay", "ms": 200})).await;
    let begun = std::time::Instant::now();
    let answer = stage
        .http
        .get(stage.url("/api/data/v9.2/"))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 401);
    assert!(begun.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn a_chosen_5xx_is_sent() {
    let stage = Stage::open().await;
    let token = stage.token().await;
    for status in [500, 502, 503, 504, 599] {
        let fault = json!({"kind": "status", "status": status, "retry_after": 3, "requests": 2});
        stage.arm(fault).await;
        let answer = stage.get(&token, "contacts").send().await.unwrap();
        assert_eq!(answer.status(), status);
        assert_eq!(answer.headers()["retry-after"], "3");
        assert_eq!(stage.ask_token().await.unwrap().status(), status);
    }
}

#[tokio::test]
async fn garbage_is_no_json() {
    let stage = Stage::open().await;
    let token = stage.token().await;
    for shape in ["html", "truncated", "empty", "wrong-type"] {
        stage
            .arm(json!({"kind": "garbage", "shape": shape, "requests": 1}))
            .await;
        let answer = stage.get(&token, "contacts?$top=3").send().await.unwrap();
        assert_eq!(answer.status(), 200, "{shape}");
        let kind = answer.headers()["content-type"]
            .to_str()
            .unwrap()
            .to_owned();
        let text = answer.text().await.unwrap();
        let parsed = serde_json::from_str::<Value>(&text).is_ok();
        match shape {
            "html" => assert!(kind == "text/html" && text.contains("<html>")),
            "truncated" => assert!(kind.contains("json") && !parsed && !text.is_empty()),
            "empty" => assert!(kind.contains("json") && text.is_empty()),
            _ => assert!(kind == "text/plain" && parsed),
        }
    }
}

#[tokio::test]
async fn a_fault_strikes_whom_it_is_for() {
    let stage = Stage::open().await;
    let token = stage.token().await;
    let other = "9d5c7e1f-2a4b-4c6d-8e0f-1a3b5c7d9e0f";
    let failing = |target: Value| {
        let mut fault = json!({"kind": "status"});
        let members = fault.as_object_mut().unwrap();
        members.extend(target.as_object().unwrap().clone());
        fault
    };
    for (target, contacts, accounts, tokens) in [
        (json!({"application": APPLICATION}), 503, 503, 503),
        (json!({"application": other}), 200, 200, 200),
        (json!({"path": "/api/data/**/contacts*"}), 503, 200, 200),
        (json!({"path": "/**/token"}), 200, 200, 503),
        (json!({"side": "dataverse"}), 503, 503, 200),
        (json!({"side": "entra"}), 200, 200, 503),
        (json!({"method": "POST"}), 200, 200, 503),
        (json!({"user": "megan@contoso.example"}), 200, 200, 200),
    ] {
        stage.arm(failing(target.clone())).await;
        assert_eq!(
            stage.status(&token, "contacts?$top=1").await,
            contacts,
            "{target}"
        );
        assert_eq!(
            stage.status(&token, "accounts?$top=1").await,
            accounts,
            "{target}"
        );
        assert_eq!(
            stage.ask_token().await.unwrap().status(),
            tokens,
            "{target}"
        );
        stage.control(Method::DELETE, "faults", json!({})).await;
    }
}

#[tokio::test]
async fn an_application_is_known_by_basic_authentication_too() {
    let stage = Stage::open().await;
    stage
        .arm(json!({"kind": "status", "application": APPLICATION}))
        .await;
    let form = [("grant_type", "client_credentials")];
    let url = stage.url("/contoso.example/oauth2/v2.0/token");
    let request = stage
        .http
        .post(url)
        .basic_auth(APPLICATION, Some("any"))
        .form(&form);
    assert_eq!(request.send().await.unwrap().status(), 503);
}

#[tokio::test]
async fn a_count_and_a_time_end_a_fault() {
    let stage = Stage::open().await;
    let token = stage.token().await;
    stage.arm(json!({"kind": "status", "requests": 2})).await;
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(stage.status(&token, "accounts?$top=1").await);
    }
    assert_eq!(seen, [503, 503, 200]);
    stage.arm(json!({"kind": "status", "for": "10m"})).await;
    assert_eq!(stage.status(&token, "accounts?$top=1").await, 503);
    stage.pass(599);
    assert_eq!(stage.status(&token, "accounts?$top=1").await, 503);
    stage.pass(1);
    assert_eq!(stage.status(&token, "accounts?$top=1").await, 200);
}

#[tokio::test]
async fn chance_strikes_the_same_requests_in_every_run() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let stage = Stage::open().await;
        let token = stage.token().await;
        stage
            .arm(json!({"kind": "status", "probability": 0.5, "seed": 11}))
            .await;
        let mut seen = Vec::new();
        for _ in 0..24 {
            seen.push(stage.status(&token, "accounts?$top=1").await);
        }
        assert!(seen.contains(&200) && seen.contains(&503));
        runs.push(seen);
    }
    assert_eq!(runs[0], runs[1]);
}

#[tokio::test]
async fn what_a_dropped_write_did_stays_done() {
    let stage = Stage::open().await;
    let token = stage.token().await;
    let fault = json!({"kind": "drop", "when": "after", "method": "POST", "side": "dataverse",
                       "requests": 1});
    stage.arm(fault).await;
    let url = stage.url("/api/data/v9.2/contacts");
    let row = json!({"lastname": "Lostanswer"});
    let sent = stage.http.post(&url).bearer_auth(&token).json(&row).send();
    assert!(sent.await.is_err());
    let found = stage.get(
        &token,
        "contacts?$filter=lastname eq 'Lostanswer'&$select=lastname",
    );
    let found: Value = found.send().await.unwrap().json().await.unwrap();
    assert_eq!(found["value"].as_array().unwrap().len(), 1);
    // 204 has no body that could be cut in its middle.
    stage
        .arm(json!({"kind": "cut", "method": "POST", "requests": 1}))
        .await;
    let sent = stage.http.post(&url).bearer_auth(&token).json(&row).send();
    assert!(sent.await.is_err());
}

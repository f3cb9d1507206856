//! Scenarios, and those of the guide.

use reqwest::Method;
use serde_json::{Value, json};
use tieline_sandbox::Scenario;

use crate::stage::Stage;

/// A scenario of `docs/scenarios`.
fn shipped(name: &str) -> Scenario {
    let path = format!(
        "{}/../../docs/scenarios/{name}.toml",
        env!("CARGO_MANIFEST_DIR")
    );
    let text = std::fs::read_to_string(path).expect("a scenario");
    Scenario::parse(&text).expect("a scenario that can be understood")
}

async fn play(stage: &Stage, toml: &str) {
    let url = stage.url("/_sandbox/api/scenario");
    let request = stage
        .http
        .post(url)
        .header("content-type", "application/toml");
    let answer = request.body(toml.to_owned()).send().await.unwrap();
    let status = answer.status();
    assert!(
        status.is_success(),
        "{status} {}",
        answer.text().await.unwrap()
    );
}

async fn played(stage: &Stage) -> usize {
    let shown = stage.look("scenario").await;
    let steps = shown["scenario"]["steps"].as_array().unwrap();
    steps
        .iter()
        .filter(|step| !step["played_at"].is_null())
        .count()
}

#[tokio::test]
async fn steps_are_played_at_their_time() {
    let stage = Stage::open().await;
    let token = stage.token().await;
    play(
        &stage,
        r#"
        [[step]]
        at = "1m"
        fault = { kind = "status", side = "dataverse" }
        [[step]]
        at = "2m"
        clear = true
        note = "over"
        "#,
    )
    .await;
    assert_eq!(stage.status(&token, "accounts?$top=1").await, 200);
    stage.pass(60);
    assert_eq!(stage.status(&token, "accounts?$top=1").await, 503);
    stage.pass(60);
    assert_eq!(stage.status(&token, "accounts?$top=1").await, 200);
    let shown = stage.look("scenario").await;
    assert_eq!(shown["scenario"]["state"], "played");
}

#[tokio::test]
async fn steps_are_played_after_so_many_requests() {
    let stage = Stage::open().await;
    let token = stage.token().await;
    play(
        &stage,
        r#"
        [[step]]
        after = { requests = 2, path = "/**/accounts" }
        fault = { name = "down", kind = "status" }
        [[step]]
        after = { requests = 1 }
        clear = "down"
        "#,
    )
    .await;
    let mut seen = Vec::new();
    for path in [
        "accounts?$top=1",
        "contacts?$top=1",
        "accounts?$top=1",
        "contacts?$top=1",
        "accounts?$top=1",
    ] {
        seen.push(stage.status(&token, path).await);
    }
    assert_eq!(seen, [200, 200, 200, 503, 200]);
}

#[tokio::test]
async fn what_a_step_moves_the_clock_by_does_not_hasten_the_others() {
    let stage = Stage::open().await;
    play(
        &stage,
        r#"
        [[step]]
        at = "0s"
        clock = { move = "91d" }
        [[step]]
        at = "10m"
        note = "ten minutes later"
        "#,
    )
    .await;
    assert_eq!(played(&stage).await, 1);
    stage.pass(599);
    assert_eq!(played(&stage).await, 1);
    // Moving the clock by hand is the way to wait without waiting.
    stage.post("clock", json!({"move": "1s"})).await;
    assert_eq!(played(&stage).await, 2);
}

#[tokio::test]
async fn a_scenario_can_be_sent_as_json_and_stopped() {
    let stage = Stage::open().await;
    let token = stage.token().await;
    let step = json!({"at": "0s", "limits": {"requests": 1}, "note": "tight"});
    let shown = stage
        .post("scenario", json!({"name": "small", "step": [step]}))
        .await;
    assert_eq!(shown["scenario"]["name"], "small");
    assert_eq!(stage.status(&token, "accounts?$top=1").await, 200);
    assert_eq!(stage.status(&token, "accounts?$top=1").await, 429);
    let stopped = stage.control(Method::DELETE, "scenario", json!({})).await;
    assert_eq!(stopped.status(), 204);
    assert_eq!(stage.look("scenario").await["scenario"], Value::Null);
    assert_eq!(stage.status(&token, "accounts?$top=1").await, 429);
}

#[tokio::test]
async fn a_scenario_that_cannot_be_understood_changes_nothing() {
    let stage = Stage::open().await;
    play(&stage, "[[step]]\nat = \"1h\"\nnote = \"kept\"").await;
    let (_, field, detail) = stage
        .refused(
            "scenario",
            json!({"step": [{"at": "0s", "fault": {"kind": "drop", "if": 1}}]}),
        )
        .await;
    assert_eq!(field, "step[1].fault.if");
    assert!(detail.contains("Known are"), "{detail}");
    let shown = stage.look("scenario").await;
    assert_eq!(shown["scenario"]["steps"][0]["note"], "kept");
}

#[tokio::test]
async fn the_shift_change_of_the_guide() {
    let stage = Stage::with(|options| options.scenario = Some(shipped("shift-change"))).await;
    let begun = std::time::Instant::now();
    let token = stage.token().await;
    assert!(begun.elapsed().as_millis() >= 600);
    stage.pass(120);
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(stage.ask_token().await.unwrap().status().as_u16());
    }
    assert_eq!(seen, [200, 503, 200, 503]);
    stage.pass(120);
    for _ in 0..6 {
        let answer = stage.ask_token().await;
        let good = match answer {
            Ok(answer) => answer.status().is_success() && answer.bytes().await.is_ok(),
            Err(_) => false,
        };
        assert!(!good, "the token service is down");
    }
    // Whoever holds a good token notices nothing.
    assert_eq!(stage.status(&token, "accounts?$top=1").await, 200);
    stage.pass(300);
    assert_eq!(stage.ask_token().await.unwrap().status(), 429);
    stage.pass(60);
    assert_eq!(stage.ask_token().await.unwrap().status(), 200);
    assert_eq!(played(&stage).await, 5);
}

#[tokio::test]
async fn the_throttled_afternoon_of_the_guide() {
    let stage =
        Stage::with(|options| options.scenario = Some(shipped("throttled-afternoon"))).await;
    let token = stage.token().await;
    let answer = stage.get(&token, "accounts?$top=1").send().await.unwrap();
    assert_eq!(
        answer.headers()["x-ms-ratelimit-burst-remaining-xrm-requests"],
        "599"
    );
    let (mut let_in, mut throttled, mut lost) = (0, 0, 0);
    for _ in 0..85 {
        match stage.get(&token, "accounts?$top=1").send().await {
            Ok(answer) if answer.status() == 429 => throttled += 1,
            Ok(answer) => let_in += i32::from(answer.status() == 200),
            Err(_) => lost += 1,
        }
    }
    assert!(let_in >= 30 && throttled > 0, "{let_in} {throttled} {lost}");
    assert_eq!(lost, 4);
    assert_eq!(played(&stage).await, 4);
    assert_eq!(stage.status(&token, "accounts?$top=1").await, 200);
}

#[tokio::test]
async fn the_secret_of_the_guide_expires_at_noon() {
    let stage = Stage::with(|options| options.scenario = Some(shipped("secret-expires"))).await;
    stage.pass(3_599);
    assert_eq!(stage.ask_token().await.unwrap().status(), 200);
    stage.pass(1);
    let refused: Value = stage.ask_token().await.unwrap().json().await.unwrap();
    assert_eq!(refused["error_codes"], json!([7_000_222]));
    let shown = stage.look("scenario").await;
    assert_eq!(shown["scenario"]["steps"][1]["problems"], json!([]));
}

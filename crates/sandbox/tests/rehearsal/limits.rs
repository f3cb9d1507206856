//! Service protection limits.

use reqwest::Response;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tieline_sandbox::{LimitMode, LimitOptions};

use crate::stage::{Stage, client};

fn number(headers: &HeaderMap, name: &str) -> f64 {
    let text = headers[name].to_str().unwrap().replace(',', "");
    text.parse().unwrap()
}

fn requests_left(headers: &HeaderMap) -> f64 {
    number(headers, "x-ms-ratelimit-burst-remaining-xrm-requests")
}

async fn excess(answer: Response) -> (u64, String, String) {
    assert_eq!(answer.status(), 429);
    let pause = number(answer.headers(), "retry-after") as u64;
    let body: Value = answer.json().await.unwrap();
    let text = |member: &str| body["error"][member].as_str().unwrap().to_owned();
    (pause, text("code"), text("message"))
}

#[tokio::test]
async fn every_answer_says_what_is_left() {
    let stage = Stage::open().await;
    let token = stage.token().await;
    let first = stage.get(&token, "accounts?$top=1").send().await.unwrap();
    assert_eq!(requests_left(first.headers()), 5_999.0);
    let left = first.headers()["x-ms-ratelimit-time-remaining-xrm-requests"]
        .to_str()
        .unwrap();
    assert!(left.starts_with("1,1") || left == "1,200.00", "{left}");
    assert_eq!(first.headers()["x-ms-dop-hint"], "4");
    let second = stage.get(&token, "contacts(none)").send().await.unwrap();
    assert_eq!(second.status(), 400);
    assert_eq!(requests_left(second.headers()), 5_998.0);
}

#[tokio::test]
async fn a_number_of_requests_is_let_in_and_no_more() {
    let stage = Stage::open().await;
    let token = stage.token().await;
    stage.limits(json!({"requests": 3})).await;
    for _ in 0..3 {
        assert_eq!(stage.status(&token, "accounts?$top=1").await, 200);
    }
    let answer = stage.get(&token, "accounts?$top=1").send().await.unwrap();
    assert_eq!(requests_left(answer.headers()), 0.0);
    let (pause, code, message) = excess(answer).await;
    assert_eq!(code, "0x80072322");
    assert_eq!(
        message,
        "Number of requests exceeded the limit of 3 over time window of 300 seconds."
    );
    assert!((299..=300).contains(&pause), "{pause}");
}

#[tokio::test]
async fn whoever_waits_the_pause_goes_on_at_once() {
    let stage = Stage::open().await;
    let token = stage.token().await;
    stage.limits(json!({"requests": 2})).await;
    assert_eq!(stage.status(&token, "accounts?$top=1").await, 200);
    stage.pass(100);
    assert_eq!(stage.status(&token, "accounts?$top=1").await, 200);
    let (pause, ..) = excess(stage.get(&token, "accounts?$top=1").send().await.unwrap()).await;
    assert!((199..=200).contains(&pause), "{pause}");
    stage.pass(i64::try_from(pause).unwrap());
    assert_eq!(stage.status(&token, "accounts?$top=1").await, 200);
    assert_eq!(stage.status(&token, "accounts?$top=1").await, 429);
}

#[tokio::test]
async fn the_pause_grows_while_a_client_pushes() {
    let stage = Stage::open().await;
    let token = stage.token().await;
    stage
        .limits(json!({"requests": 1, "window_seconds": 20}))
        .await;
    assert_eq!(stage.status(&token, "accounts?$top=1").await, 200);
    let mut pauses = Vec::new();
    for _ in 0..4 {
        pauses.push(
            excess(stage.get(&token, "accounts?$top=1").send().await.unwrap())
                .await
                .0,
        );
    }
    assert!(
        pauses.windows(2).all(|pair| pair[0] < pair[1]),
        "{pauses:?}"
    );
    stage.pass(20);
    assert_eq!(stage.status(&token, "accounts?$top=1").await, 200);
}

#[tokio::test]
async fn time_of_execution_is_limited_over_the_window_that_has_passed() {
    let stage = Stage::open().await;
    let token = stage.token().await;
    stage.limits(json!({"execution_ms": 150})).await;
    stage
        .arm(json!({"kind": "delay", "ms": 200, "side": "dataverse", "requests": 1}))
        .await;
    assert_eq!(stage.status(&token, "accounts?$top=1").await, 200);
    let answer = stage.get(&token, "accounts?$top=1").send().await.unwrap();
    assert_eq!(
        number(
            answer.headers(),
            "x-ms-ratelimit-time-remaining-xrm-requests"
        ),
        0.0
    );
    let (_, code, message) = excess(answer).await;
    assert_eq!(code, "0x80072321");
    assert!(message.starts_with("Combined execution time of incoming requests exceeded limit of 150 milliseconds over time window of 300 seconds."), "{message}");
}

#[tokio::test]
async fn only_so_many_run_at_once() {
    let stage = Stage::open().await;
    let token = stage.token().await;
    stage.limits(json!({"concurrent": 2})).await;
    stage
        .arm(json!({"kind": "delay", "ms": 1_500, "path": "/api/data/v9.2/contacts"}))
        .await;
    let slow = || stage.get(&token, "contacts?$top=1").send();
    let three = tokio::join!(slow(), slow(), slow());
    let answers = [three.0.unwrap(), three.1.unwrap(), three.2.unwrap()];
    let mut statuses = answers
        .iter()
        .map(|answer| answer.status().as_u16())
        .collect::<Vec<_>>();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 429]);
    let refused = answers
        .into_iter()
        .find(|answer| answer.status() == 429)
        .unwrap();
    let (pause, code, message) = excess(refused).await;
    assert_eq!((pause, code.as_str()), (1, "0x80072326"));
    assert_eq!(
        message,
        "Number of concurrent requests exceeded the limit of 2."
    );
    assert_eq!(stage.status(&token, "accounts?$top=1").await, 200);
}

#[tokio::test]
async fn a_client_that_goes_away_is_no_longer_running() {
    let stage = Stage::open().await;
    let token = stage.token().await;
    stage.limits(json!({"concurrent": 1})).await;
    stage
        .arm(json!({"kind": "delay", "ms": 600_000, "path": "/api/data/v9.2/contacts"}))
        .await;
    let impatient = stage
        .get(&token, "contacts")
        .timeout(std::time::Duration::from_millis(300));
    assert!(impatient.send().await.unwrap_err().is_timeout());
    let running = || async { stage.look("limits").await["usage"][0]["concurrent"].clone() };
    // The server learns of it when the reset of the stream arrives.
    while running().await != json!(0) {
        tokio::task::yield_now().await;
    }
    assert_eq!(stage.status(&token, "accounts?$top=1").await, 200);
}

#[tokio::test]
async fn users_do_not_share_their_windows() {
    let stage = Stage::with(|options| {
        let other = options.seed.tenants[0].applications[0].clone();
        let mut other = other;
        other.client_id = "11111111-2222-4333-8444-555555555555".parse().unwrap();
        let mut user = options.seed.tenants[0].organizations[0].application_users[0].clone();
        user.client_id = other.client_id;
        options.seed.tenants[0].organizations[0]
            .application_users
            .push(user);
        options.seed.tenants[0].applications.push(other);
    })
    .await;
    let mine = stage.token().await;
    let scope = format!("{}/.default", stage.sandbox.origin());
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "11111111-2222-4333-8444-555555555555"),
        ("client_secret", crate::stage::SECRET),
        ("scope", scope.as_str()),
    ];
    let url = stage.url("/contoso.example/oauth2/v2.0/token");
    let theirs: Value = stage
        .http
        .post(url)
        .form(&form)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let theirs = theirs["access_token"].as_str().unwrap();
    stage.limits(json!({"requests": 1})).await;
    assert_eq!(stage.status(&mine, "accounts?$top=1").await, 200);
    assert_eq!(stage.status(&mine, "accounts?$top=1").await, 429);
    assert_eq!(stage.status(theirs, "accounts?$top=1").await, 200);
}

#[tokio::test]
async fn a_cookie_keeps_a_client_at_one_web_server() {
    let stage = Stage::open().await;
    let token = stage.token().await;
    stage.limits(json!({"requests": 2, "web_servers": 3})).await;
    let first = stage.get(&token, "accounts?$top=1").send().await.unwrap();
    let cookie = first.headers()["set-cookie"].to_str().unwrap();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    assert!(cookie.starts_with("ARRAffinity="), "{cookie}");
    let kept = || {
        stage
            .get(&token, "accounts?$top=1")
            .header("cookie", &cookie)
            .send()
    };
    let second = kept().await.unwrap();
    assert!(!second.headers().contains_key("set-cookie"));
    assert_eq!(requests_left(second.headers()), 0.0);
    assert_eq!(kept().await.unwrap().status(), 429);
    // Without the cookie the others take their turns, each with a budget of its own.
    let mut let_in = 0;
    for _ in 0..9 {
        let_in += u32::from(stage.status(&token, "accounts?$top=1").await == 200);
    }
    assert_eq!(let_in, 4);
    let strange = stage
        .get(&token, "accounts?$top=1")
        .header("cookie", "ARRAffinity=0123");
    assert!(
        strange
            .send()
            .await
            .unwrap()
            .headers()
            .contains_key("set-cookie")
    );
}

#[tokio::test]
async fn limits_are_off_or_scaled_from_the_start() {
    let off = Stage::with(|options| {
        options.limits = LimitOptions {
            mode: LimitMode::Off,
            ..LimitOptions::default()
        };
    })
    .await;
    let token = off.token().await;
    for _ in 0..3 {
        let answer = off.get(&token, "accounts?$top=1").send().await.unwrap();
        let said = answer
            .headers()
            .keys()
            .any(|name| name.as_str().starts_with("x-ms-ratelimit-"));
        assert!(!said, "what has no end is not said");
        assert!(answer.headers().contains_key("x-ms-dop-hint"));
    }
    let small = Stage::with(|options| {
        options.limits = LimitOptions {
            mode: LimitMode::Scaled(0.000_5),
            dop_hint: 17.try_into().unwrap(),
            ..LimitOptions::default()
        };
    })
    .await;
    let token = small.token().await;
    for _ in 0..3 {
        let answer = small.get(&token, "accounts?$top=1").send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["x-ms-dop-hint"], "17");
    }
    assert_eq!(small.status(&token, "accounts?$top=1").await, 429);
}

#[tokio::test]
async fn without_a_token_nothing_is_counted() {
    let stage = Stage::open().await;
    let token = stage.token().await;
    stage.limits(json!({"requests": 1})).await;
    let bare = client(&stage.sandbox).build().unwrap();
    for _ in 0..3 {
        let answer = bare
            .get(stage.url("/api/data/v9.2/accounts?$top=1"))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 401);
    }
    assert_eq!(stage.status(&token, "accounts?$top=1").await, 200);
}

//! The control page, as a browser without scripts uses it.

use reqwest::Response;

use crate::stage::Stage;

async fn send(stage: &Stage, action: &str, fields: &[(&str, &str)]) -> Response {
    let url = stage.url(&format!("/_sandbox/do/{action}"));
    let request = stage
        .http
        .post(url)
        .header("origin", stage.sandbox.origin());
    request.form(fields).send().await.unwrap()
}

async fn page(stage: &Stage, path: &str) -> String {
    let answer = stage.http.get(stage.url(path)).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.text().await.unwrap()
}

#[tokio::test]
async fn a_form_is_followed_by_the_page_that_shows_what_it_did() {
    let stage = Stage::open().await;
    let token = stage.token().await;
    let fields = [
        ("kind", "status"),
        ("status", "502"),
        ("side", "dataverse"),
        ("path", ""),
        ("requests", "2"),
    ];
    let answer = send(&stage, "fault-add", &fields).await;
    assert_eq!(answer.status(), 303);
    let next = answer.headers()["location"].to_str().unwrap().to_owned();
    assert_eq!(next, "/_sandbox/?done=fault-add#faults");
    let shown = page(&stage, "/_sandbox/?done=fault-add").await;
    assert!(shown.contains("The fault is armed.") && shown.contains("after 2 more"));
    assert_eq!(stage.status(&token, "accounts?$top=1").await, 502);
    let removed = send(&stage, "fault-remove", &[("id", "1")]).await;
    assert_eq!(removed.status(), 303);
    assert_eq!(stage.status(&token, "accounts?$top=1").await, 200);
}

#[tokio::test]
async fn a_mistake_is_said_at_the_form_and_what_was_typed_stays() {
    let stage = Stage::open().await;
    let answer = send(
        &stage,
        "fault-add",
        &[("kind", "delay"), ("path", "contacts")],
    )
    .await;
    assert_eq!(answer.status(), 422);
    let shown = answer.text().await.unwrap();
    assert!(shown.contains("path: must be the beginning of a path"));
    assert!(shown.contains(r#"name="path" value="contacts""#), "{shown}");
    let answer = send(&stage, "scenario-start", &[("toml", "[[step]]\nat = <b>")]).await;
    assert_eq!(answer.status(), 400);
    let shown = answer.text().await.unwrap();
    assert!(!shown.contains("<b>"), "what is typed is escaped");
}

#[tokio::test]
async fn every_form_of_the_page_is_answered() {
    let stage = Stage::open().await;
    let shown = page(&stage, "/_sandbox/").await;
    let mut actions: Vec<&str> = shown
        .split(r#"action="/_sandbox/do/"#)
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    actions.sort_unstable();
    actions.dedup();
    assert!(actions.len() >= 7, "{actions:?}");
    for action in actions {
        let answer = send(&stage, action, &[]).await;
        let kind = answer.headers().get("content-type").cloned();
        match answer.status().as_u16() {
            303 => {}
            400 | 404 | 422 => assert!(kind.unwrap().to_str().unwrap().starts_with("text/html")),
            other => panic!("{action}: {other}"),
        }
    }
}

#[tokio::test]
async fn a_form_of_another_site_does_nothing() {
    let stage = Stage::open().await;
    let url = stage.url("/_sandbox/do/fault-add");
    for origin in [None, Some("https://evil.example"), Some("null")] {
        let mut request = stage.http.post(&url).form(&[("kind", "drop")]);
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        assert_eq!(request.send().await.unwrap().status(), 403);
    }
    assert_eq!(
        stage.look("faults").await["value"]
            .as_array()
            .unwrap()
            .len(),
        0
    );
}

#[tokio::test]
async fn it_can_neither_be_framed_nor_run_scripts() {
    let stage = Stage::open().await;
    let answer = stage.http.get(stage.url("/_sandbox")).send().await.unwrap();
    let policy = answer.headers()["content-security-policy"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
    assert_eq!(answer.headers()["cache-control"], "no-store");
    assert!(!answer.text().await.unwrap().contains("<script"));
}

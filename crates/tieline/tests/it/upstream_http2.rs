//! HTTP/2 to Dynamics, where the setting asks for it.

use std::sync::Arc;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::test_app::TestApp;

/// Calls at the same time.
const CALLS: usize = 40;

/// A demo with one worker, which speaks HTTP/2.
fn start() -> TestApp {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("http2.toml");
    std::fs::write(&file, "[gateway]\nworkers = 1\nupstream_http2 = true\n").unwrap();
    let file = file.to_str().unwrap().to_owned();
    TestApp::start_in(Arc::new(data), &["--config", &file])
}

/// Connections to a port of this machine that are open, counted at the end that opened them.
fn connections_to(port: u16) -> usize {
    let there = format!(":{port:04X}");
    let open = |line: &&str| {
        let mut fields = line.split_whitespace().skip(2);
        fields.next().is_some_and(|remote| remote.ends_with(&there)) && fields.next() == Some("01")
    };
    let table = |name| std::fs::read_to_string(format!("/proc/net/{name}")).unwrap_or_default();
    let tables = [table("tcp"), table("tcp6")];
    tables
        .iter()
        .map(|table| table.lines().filter(open).count())
        .sum()
}

#[tokio::test]
async fn calls_at_the_same_time_share_a_connection() {
    let app = start();
    let contacts = "/api/data/v9.2/contacts?$top=50";
    assert_eq!(app.gateway(contacts).await.status(), 200);
    let answers = join_all((0..CALLS).map(|_| app.gateway(contacts))).await;
    assert!(answers.iter().all(|answer| answer.status() == 200));
    // Connections of HTTP/1.1 would stay open for the next calls.
    let org: reqwest::Url = app.text("/sandbox/org_url").parse().unwrap();
    let open = connections_to(org.port().unwrap());
    assert!((1..CALLS / 2).contains(&open), "{open} connections");
}

#[tokio::test]
async fn what_is_written_over_http2_is_read_back_and_links_lead_to_the_gateway() {
    let app = start();
    let base = app.text("/gateway_url").trim_end_matches('/').to_owned();
    let (http, key) = (app.http(), app.text("/api_key"));
    // Larger than a frame, and than a stream's first window (RFC 9113, section 6.9.2).
    let text = "é".repeat(45_000);
    let note = json!({"subject": "Streams", "notetext": text});
    let url = format!("{base}/api/data/v9.2/annotations");
    let made = http.post(&url).bearer_auth(key).json(&note);
    let made = made.send().await.unwrap();
    assert_eq!(made.status(), 204);
    let place = made.headers()["odata-entityid"].to_str().unwrap();
    assert!(place.starts_with(&base), "{place}");

    let read = http.get(format!("{place}?$select=notetext"));
    let read = read.bearer_auth(key).send().await.unwrap();
    assert_eq!(read.status(), 200);
    let row: Value = read.json().await.unwrap();
    assert_eq!(row["notetext"], text.as_str());

    let page = http.get(format!("{base}/api/data/v9.2/contacts"));
    let page = page.bearer_auth(key);
    let page = page.header("prefer", "odata.maxpagesize=2").send().await;
    let page: Value = page.unwrap().json().await.unwrap();
    let next = page["@odata.nextLink"].as_str().unwrap();
    assert!(next.starts_with(&base), "{next}");
    let next = http.get(next).bearer_auth(key).send().await.unwrap();
    assert_eq!(next.status(), 200);

    let gone = http.delete(place).bearer_auth(key).send().await.unwrap();
    assert_eq!(gone.status(), 204);
    let none = http.head(place).bearer_auth(key).send().await.unwrap();
    assert_eq!(none.status(), 404);
}

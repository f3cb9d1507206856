//! A server that is told to end while a renewal is under way.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::keeper::line::{Line, Rules, Server};

/// The gateway's grace, then the longest that renewals are waited for, and what a machine that is
/// busy adds to it.
const BOUND: Duration = Duration::from_secs(11 + 30 + 20);

/// How long anything else may take on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server whose request for a token has arrived, and a caller who waits for it.
async fn renewing(line: &Line, server: &Server, fault: serde_json::Value) -> (u16, String) {
    let fault = line.control("/faults", &fault).await;
    let mut calling = Box::pin(line.call(server));
    line.until_struck(&fault, &mut calling).await;
    // The signal leaves while the answer is kept back; the caller stays.
    crate::test_app::signal(server.process.id(), "-TERM");
    calling.await
}

#[tokio::test]
async fn what_a_renewal_brings_is_stored_before_the_end() {
    let line = Line::start(Rules::Strict, None).await;
    line.forget().await;
    let server = line.serve(0);
    // The request is carried out, and the refresh token with it is spent.
    let late = json!({
        "kind": "delay", "when": "after", "ms": 3_000, "side": "entra", "path": "/**/token",
    });
    let answer = renewing(&line, &server, late).await;
    assert_eq!(answer, (200, String::new()), "who waits is served");
    let mut process = server.process;
    assert_eq!(process.wait().code(), Some(0));
    line.heal().await;

    let server = line.serve(0);
    assert_eq!(line.call(&server).await, (200, String::new()));
    assert_eq!(line.renewals().await, [200], "nothing was asked for twice");
    // The new refresh token is there: a spent one would end all of its kin.
    line.forget().await;
    line.control("/clock", &json!({"move": "2h"})).await;
    assert_eq!(line.call(&server).await, (200, String::new()));
    assert_eq!(line.renewals().await, [200]);
    assert_eq!(line.account()["state"], "connected");
}

#[tokio::test]
async fn a_token_service_that_hangs_does_not_keep_a_server_from_ending() {
    let line = Line::start(Rules::Entra, None).await;
    let server = line.serve(0);
    let never = json!({
        "kind": "delay", "when": "before", "ms": 600_000, "side": "entra", "path": "/**/token",
    });
    let fault = line.control("/faults", &never).await;
    let mut calling = Box::pin(line.call(&server));
    line.until_struck(&fault, &mut calling).await;
    drop(calling);
    let status = server.process.stop_within("-TERM", BOUND).await;
    assert_eq!(status.code(), Some(0));
    // Nothing is left behind that a next start would stumble over.
    line.heal().await;
    let server = line.serve(0);
    let until = Instant::now() + PATIENCE;
    // The pause after the failure goes on for a moment.
    while line.call(&server).await != (200, String::new()) {
        assert!(Instant::now() < until, "the account stays without a token");
    }
}

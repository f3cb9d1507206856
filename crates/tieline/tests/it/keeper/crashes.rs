//! A server that is killed between the departure of a refresh token and the storing of what came
//! for it. `chaos/` does it at random moments, hundreds of times.

use serde_json::{Value, json};

use crate::keeper::line::{Line, Rules};

/// Kills a server whose request was carried out and whose answer is on its way.
async fn killed_within_a_renewal(rules: Rules) -> (Line, Value) {
    let line = Line::start(rules, None).await;
    let late = json!({
        "kind": "delay", "when": "after", "ms": 60_000, "side": "entra", "path": "/**/token",
    });
    let fault = line.control("/faults", &late).await;
    let server = line.serve(0);
    // Boxed, so that dropping it ends what it borrows.
    let mut calling = Box::pin(line.call(&server));
    line.until_struck(&fault, &mut calling).await;
    drop(calling);
    server.process.stop("-KILL");
    (line, fault)
}

#[tokio::test]
async fn a_server_that_lets_used_tokens_live_costs_nothing() {
    let (line, _) = killed_within_a_renewal(Rules::Entra).await;
    line.heal().await;
    let server = line.serve(0);
    assert_eq!(line.call(&server).await, (200, String::new()));
    assert_eq!(line.account()["state"], "connected");
}

#[tokio::test]
async fn a_strict_server_never_sees_a_refresh_token_twice() {
    let (line, fault) = killed_within_a_renewal(Rules::Strict).await;
    let server = line.serve(0);
    let (status, _) = line.call(&server).await;
    assert_eq!(status, 503);
    let account = line.account();
    assert_eq!(account["state"], "needs_consent", "{account}");
    assert_eq!(account["state_reason"]["code"], "renewal-unanswered");
    assert!(
        account["state_reason"]["remedy"]
            .as_str()
            .is_some_and(|text| !text.is_empty())
    );
    // The request whose answer was lost is the only one there was.
    assert_eq!(line.struck(&fault).await, 1);
}

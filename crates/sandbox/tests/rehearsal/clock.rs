//! The clock that can be moved.

use chrono::TimeDelta;
use reqwest::Method;
use serde_json::json;

use crate::stage::Stage;

#[tokio::test]
async fn a_token_dies_when_the_clock_is_moved_past_its_end() {
    let stage = Stage::open().await;
    let token = stage.token().await;
    assert_eq!(stage.status(&token, "accounts?$top=1").await, 200);
    stage.post("clock", json!({"move": "2h"})).await;
    assert_eq!(stage.status(&token, "accounts?$top=1").await, 401);
    stage.control(Method::DELETE, "clock", json!({})).await;
    assert_eq!(stage.status(&token, "accounts?$top=1").await, 200);
}

#[tokio::test]
async fn it_is_set_and_goes_on_from_there() {
    let stage = Stage::open().await;
    stage
        .post("clock", json!({"set": "2031-05-04T12:00:00Z"}))
        .await;
    let set = stage.now().await;
    assert_eq!(set.to_rfc3339(), "2031-05-04T12:00:00+00:00");
    stage.pass(90);
    assert_eq!(stage.now().await - set, TimeDelta::seconds(90));
    stage.post("clock", json!({"move": -30})).await;
    assert_eq!(stage.now().await - set, TimeDelta::seconds(60));
}

#[tokio::test]
async fn it_is_not_moved_out_of_its_years() {
    let stage = Stage::open().await;
    let (status, field, detail) = stage.refused("clock", json!({"move": "90000d"})).await;
    assert_eq!((status, field.as_str()), (422, "move"));
    assert!(detail.contains("1990"), "{detail}");
    let (_, field, detail) = stage.refused("clock", json!({"mov": "1d"})).await;
    assert_eq!(field, "mov");
    assert!(detail.contains("did you mean 'move'?"), "{detail}");
}

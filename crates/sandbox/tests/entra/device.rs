//! The device code flow, on both sides.

use serde_json::Value;

use crate::rig::*;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

async fn begin(rig: &Rig) -> Value {
    let path = format!("/{CONTOSO}/oauth2/v2.0/devicecode");
    let page = rig
        .post(&path, &[("client_id", DESKTOP), ("scope", SCOPE)])
        .await;
    assert_eq!(page.status, 200, "{}", page.text);
    page.json()
}

async fn poll(rig: &Rig, begun: &Value) -> Page {
    rig.token(&[
        ("grant_type", GRANT),
        ("client_id", DESKTOP),
        ("device_code", begun["device_code"].as_str().unwrap()),
    ])
    .await
}

/// Enters the code and signs in, to the question whether it is meant.
async fn enter(rig: &Rig, begun: &Value) -> Page {
    let place = begun["verification_uri"].as_str().unwrap();
    assert!(rig.get(place).await.holds("name=\"otc\""));
    let code = begun["user_code"].as_str().unwrap().to_lowercase();
    let page = rig.post(place, &[("otc", &code)]).await;
    rig.log_in(&page, MEGAN).await
}

#[tokio::test]
async fn a_device_is_let_in() {
    let rig = Rig::start().await;
    let begun = begin(&rig).await;
    assert_eq!(
        (begun["expires_in"].as_i64(), begun["interval"].as_i64()),
        (Some(900), Some(5))
    );
    assert!(
        begun["message"]
            .as_str()
            .unwrap()
            .contains(begun["user_code"].as_str().unwrap())
    );
    refused(
        &poll(&rig, &begun).await,
        400,
        "authorization_pending",
        70_016,
    );
    let page = enter(&rig, &begun).await;
    let page = rig.press(&page, &[("decision", "accept")]).await;
    assert!(page.holds("You have signed in"), "{}", page.text);
    let body = poll(&rig, &begun).await.json();
    assert_eq!(claims(&body["access_token"])["upn"], MEGAN.0);
    assert!(body["refresh_token"].is_string() && body["id_token"].is_string());
    refused(&poll(&rig, &begun).await, 400, "invalid_grant", 54_005);
}

#[tokio::test]
async fn a_device_is_turned_down_or_comes_too_late() {
    let rig = Rig::start().await;
    let begun = begin(&rig).await;
    let page = enter(&rig, &begun).await;
    rig.press(&page, &[("decision", "cancel")]).await;
    let page = poll(&rig, &begun).await;
    assert_eq!(page.json()["error"], "authorization_declined");
    let begun = begin(&rig).await;
    rig.advance(900);
    refused(&poll(&rig, &begun).await, 400, "expired_token", 70_020);
    let code = begun["user_code"].as_str().unwrap();
    let page = rig.post("/devicelogin", &[("otc", code)]).await;
    assert!(
        page.holds("didn&#39;t work") || page.holds("didn't work"),
        "{}",
        page.text
    );
}

#[tokio::test]
async fn a_device_that_does_not_wait_is_slowed_down() {
    let rig = Rig::start().await;
    let begun = begin(&rig).await;
    let mut errors = Vec::new();
    for _ in 0..14 {
        errors.push(poll(&rig, &begun).await.json()["error"].clone());
    }
    assert_eq!(errors[0], "authorization_pending");
    assert_eq!(errors[13], "slow_down");
    rig.advance(5);
    assert_eq!(
        poll(&rig, &begun).await.json()["error"],
        "authorization_pending"
    );
}

#[tokio::test]
async fn a_code_of_nobody_or_of_another_client_is_bad() {
    let rig = Rig::start().await;
    let begun = begin(&rig).await;
    let form = |client, code| {
        [
            ("grant_type", GRANT),
            ("client_id", client),
            ("device_code", code),
        ]
    };
    let page = rig.token(&form(DESKTOP, "nonsense")).await;
    refused(&page, 400, "bad_verification_code", 70_018);
    let code = begun["device_code"].as_str().unwrap();
    let mut other = form(TIELINE, code).to_vec();
    other.push(("client_secret", SECRET));
    refused(
        &rig.token(&other).await,
        400,
        "bad_verification_code",
        70_018,
    );
}

#[tokio::test]
async fn the_first_generation_has_its_own_names() {
    let rig = Rig::start().await;
    let path = format!("/{CONTOSO}/oauth2/devicecode");
    let page = rig
        .post(&path, &[("client_id", DESKTOP), ("resource", ORGANIZATION)])
        .await;
    let begun = page.json();
    assert!(begun["verification_url"].is_string() && begun["expires_in"] == "900");
    let form = [
        ("grant_type", "device_code"),
        ("client_id", DESKTOP),
        ("code", begun["device_code"].as_str().unwrap()),
        ("resource", ORGANIZATION),
    ];
    let page = rig.post(&format!("/{CONTOSO}/oauth2/token"), &form).await;
    refused(&page, 400, "authorization_pending", 70_016);
}

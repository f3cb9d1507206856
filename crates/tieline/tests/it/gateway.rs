//! The gateway, over the account that the demo connected.

use serde_json::Value;

use crate::test_app::TestApp;

const CONTACTS: &str = "/api/data/v9.2/contacts?$select=fullname,telephone1&$top=3";

#[tokio::test]
async fn contacts_are_read_with_the_demos_key() {
    let app = TestApp::start();
    let answer = app.gateway(CONTACTS).await;
    assert_eq!(answer.status(), 200);
    let body: Value = answer.json().await.unwrap();
    let rows = body["value"].as_array().unwrap();
    assert_eq!(rows.len(), 3);
    assert!(rows.iter().all(|row| row["fullname"].is_string()), "{body}");
}

#[tokio::test]
async fn an_account_is_named_in_the_path_or_by_header() {
    let app = TestApp::start();
    assert_eq!(
        app.gateway(&format!("/Contoso%20Sales{CONTACTS}"))
            .await
            .status(),
        200
    );
    let missing = app.gateway(&format!("/Nobody{CONTACTS}")).await;
    assert_eq!(missing.status(), 404);
    assert_eq!(missing.headers()["tieline-failed"], "consumer");
    let url = format!(
        "{}{CONTACTS}",
        app.text("/gateway_url").trim_end_matches('/')
    );
    let by_header = app.http().get(url).bearer_auth(app.text("/api_key"));
    let answer = by_header
        .header("Tieline-Account", "contoso sales")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn a_wrong_key_is_the_callers_fault() {
    let app = TestApp::start();
    let answer = app.gateway_as("tl_wrong", CONTACTS).await;
    assert_eq!(answer.status(), 401);
    assert_eq!(answer.headers()["tieline-failed"], "consumer");
    assert!(answer.headers().contains_key("www-authenticate"));
}

#[tokio::test]
async fn what_is_written_through_the_gateway_can_be_read_back() {
    let app = TestApp::start();
    let base = app.text("/gateway_url").trim_end_matches('/').to_owned();
    let key = app.text("/api_key");
    let contact = serde_json::json!({"firstname": "営業", "lastname": "O'Brien + Söhne"});
    let url = format!("{base}/api/data/v9.2/contacts");
    let request = app.http().post(url).bearer_auth(key).json(&contact);
    let created = request.send().await.unwrap();
    assert_eq!(created.status(), 204, "{}", created.text().await.unwrap());
    let created_at = created.headers()["odata-entityid"]
        .to_str()
        .unwrap()
        .to_owned();
    // The address leads back to the gateway, so that whoever follows it stays on the line.
    assert!(created_at.starts_with(&base), "{created_at}");
    let read = app
        .http()
        .get(created_at)
        .bearer_auth(key)
        .send()
        .await
        .unwrap();
    let read: Value = read.json().await.unwrap();
    assert_eq!(read["lastname"], contact["lastname"]);
}

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

#[tokio::test]
async fn pages_follow_each_other_through_the_gateway() {
    let app = TestApp::start();
    let base = app.text("/gateway_url").trim_end_matches('/').to_owned();
    let key = app.text("/api_key");
    for prefix in ["", "/Contoso%20Sales"] {
        let mut next = Some(format!(
            "{base}{prefix}/api/data/v9.2/contacts?$select=fullname&$count=true"
        ));
        let (mut rows, mut pages, mut total) = (0, 0, 0);
        while let Some(url) = next {
            assert!(url.starts_with(&format!("{base}{prefix}/api/")), "{url}");
            let request = app.http().get(&url).bearer_auth(key);
            let request = request.header("Prefer", "odata.maxpagesize=100");
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), 200, "{url}");
            let body: Value = answer.json().await.unwrap();
            let context = body["@odata.context"].as_str().unwrap();
            assert!(context.starts_with(&base), "{context}");
            rows += body["value"].as_array().unwrap().len();
            total = body["@odata.count"].as_u64().unwrap() as usize;
            pages += 1;
            next = body["@odata.nextLink"].as_str().map(str::to_owned);
        }
        assert_eq!(rows, total);
        assert!(pages > 3 && rows > 300, "{pages} pages, {rows} rows");
    }
}

#[tokio::test]
async fn an_address_learned_here_can_be_said_here() {
    let app = TestApp::start();
    let base = app.text("/gateway_url").trim_end_matches('/').to_owned();
    let api = format!("{base}/Contoso%20Sales/api/data/v9.2");
    let key = app.text("/api_key");
    let post = |set: &str, body: Value| {
        let request = app.http().post(format!("{api}/{set}")).bearer_auth(key);
        request.json(&body).send()
    };
    let account = post("accounts", serde_json::json!({"name": "Tailspin"}))
        .await
        .unwrap();
    let account = account.headers()["odata-entityid"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(account.starts_with(&api), "{account}");
    let contact = serde_json::json!({
        "lastname": "Link",
        "parentcustomerid_account@odata.bind": account,
        "description": format!("see {account}"),
    });
    let contact = post("contacts", contact).await.unwrap();
    assert_eq!(contact.status(), 204, "{}", contact.text().await.unwrap());
    let contact = contact.headers()["odata-entityid"]
        .to_str()
        .unwrap()
        .to_owned();
    let url = format!("{contact}?$expand=parentcustomerid_account($select=name)");
    let read = app.http().get(url).bearer_auth(key).send().await.unwrap();
    let read: Value = read.json().await.unwrap();
    assert_eq!(read["parentcustomerid_account"]["name"], "Tailspin");
    // Text that only looks like a link stays as it was written.
    assert_eq!(read["description"], format!("see {account}"));
}

#[tokio::test]
async fn a_large_body_streams_and_the_answer_is_dynamics_own() {
    let app = TestApp::start();
    let base = app.text("/gateway_url").trim_end_matches('/').to_owned();
    // More than is kept for a replay, and more than a column holds.
    let body = serde_json::json!({"lastname": "x".repeat(3 << 20)});
    let request = app.http().post(format!("{base}/api/data/v9.2/contacts"));
    let answer = request
        .bearer_auth(app.text("/api_key"))
        .json(&body)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 400);
    assert!(!answer.headers().contains_key("tieline-failed"));
    let error: Value = answer.json().await.unwrap();
    assert_eq!(error["error"]["code"], "0x80044331");
}

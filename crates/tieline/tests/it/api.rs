//! The JSON API, as a program uses it.

use reqwest::header::{ACCEPT_LANGUAGE, COOKIE, ETAG, IF_MATCH, LOCATION, SET_COOKIE};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};

use crate::test_app::{TestApp, client};

/// A program that has signed in.
struct Program<'a> {
    app: &'a TestApp,
    cookie: String,
}

impl<'a> Program<'a> {
    async fn sign_in(app: &'a TestApp) -> Program<'a> {
        let url = format!("{}/session", app.text("/api_url"));
        let credentials = json!({
            "email": app.text("/admin/email"), "password": app.text("/admin/password"),
        });
        let answer = client(None)
            .post(url)
            .json(&credentials)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        let cookie = answer.headers()[SET_COOKIE].to_str().unwrap();
        assert!(
            cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"),
            "{cookie}"
        );
        let cookie = cookie.split(';').next().unwrap().to_owned();
        Program { app, cookie }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.app.text("/api_url"));
        client(None)
            .request(method, url)
            .header(COOKIE, &self.cookie)
    }

    async fn send(&self, method: Method, path: &str, body: &Value) -> Response {
        self.request(method, path).json(body).send().await.unwrap()
    }

    /// What the sandbox expects of an account.
    fn properties(&self, name: &str) -> Value {
        let authority = self.app.text("/sandbox/authority");
        json!({
            "type": "microsoft_dynamics_365",
            "name": name,
            "authorization_url": format!("{authority}/oauth2/v2.0/authorize"),
            "token_url": format!("{authority}/oauth2/v2.0/token"),
            "api_url": self.app.text("/sandbox/org_url"),
            "client_id": self.app.text("/sandbox/client_id"),
            "client_secret": self.app.text("/sandbox/client_secret"),
            "grant": "client_credentials",
        })
    }
}

const ACCOUNTS: &str = "/integration-accounts";

#[tokio::test]
async fn an_account_lives_its_life_over_the_api() {
    let app = TestApp::start();
    let program = Program::sign_in(&app).await;
    let added = program
        .send(Method::POST, ACCOUNTS, &program.properties("Service"))
        .await;
    assert_eq!(added.status(), 201);
    let location = added.headers()[LOCATION].to_str().unwrap().to_owned();
    let account: Value = added.json().await.unwrap();
    assert!(
        location.ends_with(account["id"].as_str().unwrap()),
        "{location}"
    );
    assert!(
        account["api_url"]
            .as_str()
            .unwrap()
            .ends_with("/api/data/v9.2"),
        "it is completed"
    );
    assert_eq!(account["client_secret"]["set"], true);
    assert!(
        !account
            .to_string()
            .contains(app.text("/sandbox/client_secret"))
    );

    // By name, whatever its case, and by id.
    let shown = program
        .request(Method::GET, &format!("{ACCOUNTS}/sERVICE"))
        .send()
        .await
        .unwrap();
    let etag = shown.headers()[ETAG].to_str().unwrap().to_owned();
    assert_eq!(shown.json::<Value>().await.unwrap()["id"], account["id"]);
    let tested = program
        .request(Method::POST, &format!("{ACCOUNTS}/Service/test"))
        .send()
        .await;
    let ladder: Value = tested.unwrap().json().await.unwrap();
    assert_eq!(ladder["ok"], true, "{ladder}");

    // What was read can be changed and sent back; who is late is told so.
    let path = format!("{ACCOUNTS}/Service");
    let mut whole: Value = program
        .request(Method::GET, &path)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    whole["notes"] = "sent back".into();
    let replaced = program.send(Method::PUT, &path, &whole).await;
    assert_eq!(replaced.status(), 200, "{}", replaced.text().await.unwrap());
    let late = program
        .request(Method::PATCH, &path)
        .header(IF_MATCH, &etag);
    let late = late
        .json(&json!({"notes": "too late"}))
        .send()
        .await
        .unwrap();
    assert_eq!(late.status(), 412);
    let late: Value = late.json().await.unwrap();
    assert_eq!(
        (&late["code"], &late["current"]["notes"]),
        (&"stale".into(), &"sent back".into())
    );
    let tested = program
        .request(Method::POST, &format!("{path}/test"))
        .send()
        .await
        .unwrap();
    assert_eq!(
        tested.json::<Value>().await.unwrap()["ok"],
        true,
        "the secret was kept"
    );

    let events = program
        .request(Method::GET, &format!("{path}/events"))
        .send()
        .await
        .unwrap();
    let events: Value = events.json().await.unwrap();
    assert_eq!(events["events"][0]["to"], "connected", "{events}");
    let gone = program.request(Method::DELETE, &path).send().await.unwrap();
    assert_eq!(gone.status(), 204);
    assert_eq!(
        program
            .request(Method::GET, &path)
            .send()
            .await
            .unwrap()
            .status(),
        404
    );
    let back = format!("{ACCOUNTS}/{}/restore", account["id"].as_str().unwrap());
    assert_eq!(
        program
            .request(Method::POST, &back)
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    assert_eq!(
        program
            .request(Method::GET, &path)
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
}

#[tokio::test]
async fn every_fault_of_a_body_is_named_at_its_field() {
    let app = TestApp::start();
    let program = Program::sign_in(&app).await;
    let answer = program
        .send(
            Method::POST,
            ACCOUNTS,
            &json!({"nmae": "x", "default": "yes"}),
        )
        .await;
    assert_eq!(answer.status(), 422);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let problem: Value = answer.json().await.unwrap();
    let field = |name: &str| {
        problem["errors"]
            .as_array()
            .unwrap()
            .iter()
            .find(|error| error["field"] == name)
            .cloned()
    };
    assert!(
        field("nmae").unwrap()["remedy"]
            .as_str()
            .unwrap()
            .contains("'name'")
    );
    assert!(field("default").is_some());

    let mut wrong = program.properties("contoso sales");
    wrong["token_url"] = "https://login.microsoftonline.com/other.example/oauth2/token".into();
    wrong["api_url"] = "contoso".into();
    let request = program
        .request(Method::POST, ACCOUNTS)
        .header(ACCEPT_LANGUAGE, "ja,en;q=0.5");
    let answer = request.json(&wrong).send().await.unwrap();
    assert_eq!(answer.status(), 409, "the name is taken");
    let problem: Value = answer.json().await.unwrap();
    let codes: Vec<&str> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["field"].as_str().unwrap())
        .collect();
    assert!(
        ["name", "token_url", "api_url"]
            .iter()
            .all(|field| codes.contains(field)),
        "{problem}"
    );
    assert!(
        problem["title"].as_str().unwrap().contains("フォーム"),
        "{problem}"
    );
    let list: Value = program
        .request(Method::GET, ACCOUNTS)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(
        list["accounts"].as_array().unwrap().len(),
        1,
        "nothing was half added"
    );
}

#[tokio::test]
async fn strangers_get_problems_and_no_pages() {
    let app = TestApp::start();
    let url = |path: &str| format!("{}{path}", app.text("/api_url"));
    let http = client(None);
    let refused = http.get(url(ACCOUNTS)).send().await.unwrap();
    assert_eq!(refused.status(), 401);
    assert!(refused.headers().contains_key("www-authenticate"));
    assert_eq!(
        refused.json::<Value>().await.unwrap()["code"],
        "not-signed-in"
    );
    let wrong = json!({"email": app.text("/admin/email"), "password": "wrong"});
    let refused = http
        .post(url("/session"))
        .json(&wrong)
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), 401);
    assert_eq!(
        refused.json::<Value>().await.unwrap()["code"],
        "sign-in-refused"
    );
    let nothing = http.get(url("/nothing")).send().await.unwrap();
    assert_eq!(
        (
            nothing.status().as_u16(),
            nothing.json::<Value>().await.unwrap()["status"].clone()
        ),
        (404, 404.into())
    );
    // Another site's page can send our cookie, but not hide where it comes from.
    let program = Program::sign_in(&app).await;
    let forged = program.request(Method::DELETE, &format!("{ACCOUNTS}/Contoso%20Sales"));
    let forged = forged
        .header("Sec-Fetch-Site", "cross-site")
        .send()
        .await
        .unwrap();
    assert_eq!(forged.status(), 403);
    let document: Value = http
        .get(url("/openapi.json"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert!(document["paths"]["/v1/integration-accounts"]["post"].is_object());
}

#[tokio::test]
async fn a_consumers_key_works_until_it_is_revoked() {
    const CONTACTS: &str = "/api/data/v9.2/contacts?$top=1";
    let app = TestApp::start();
    let program = Program::sign_in(&app).await;
    let added = program
        .send(Method::POST, "/consumers", &json!({"name": "IVR"}))
        .await;
    assert_eq!(added.status(), 201);
    let consumer: Value = added.json().await.unwrap();
    let key = consumer["api_key"].as_str().unwrap();
    assert_eq!(app.gateway_as(key, CONTACTS).await.status(), 200);
    let list: Value = program
        .request(Method::GET, "/consumers")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert!(!list.to_string().contains(key), "a key is shown once");
    let id = consumer["keys"][0]["id"].as_str().unwrap();
    let revoked = program
        .request(Method::DELETE, &format!("/consumers/IVR/keys/{id}"))
        .send()
        .await;
    assert_eq!(revoked.unwrap().status(), 204);
    assert_eq!(app.gateway_as(key, CONTACTS).await.status(), 401, "at once");
    // A consumer that may use no account learns that, and not the data.
    let none = json!({"name": "Nobody", "accounts": []});
    let none: Value = program
        .send(Method::POST, "/consumers", &none)
        .await
        .json()
        .await
        .unwrap();
    let refused = app
        .gateway_as(none["api_key"].as_str().unwrap(), CONTACTS)
        .await;
    assert_eq!(refused.status(), 403);
    assert_eq!(refused.headers()["tieline-failed"], "consumer");
}

#[tokio::test]
async fn the_ladder_tells_faults_apart() {
    let app = TestApp::start();
    let program = Program::sign_in(&app).await;
    let good = program.properties("Rehearsal");
    let origin = app.text("/sandbox/org_url");
    let tenant = |name: &str| {
        json!({
            "authorization_url": format!("{origin}/{name}/oauth2/v2.0/authorize"),
            "token_url": format!("{origin}/{name}/oauth2/v2.0/token"),
        })
    };
    let console = app.text("/console_url").replace("http:", "https:");
    let nobody = "77777777-2222-4333-8444-555555555555";
    let cases = [
        (json!({}), "", ""),
        (json!({"client_id": ""}), "settings", "client-id-empty"),
        (tenant("common"), "settings", "grant-needs-tenant"),
        (
            json!({"api_url": "https://nobody.invalid"}),
            "name",
            "name-unresolved",
        ),
        (
            json!({"api_url": "https://localhost:1"}),
            "tls",
            "connection-refused",
        ),
        (json!({"api_url": console}), "tls", "tls-not-spoken"),
        (json!({"client_secret": "wrong"}), "token", "secret-wrong"),
        (
            json!({"client_secret": "Old~rehearsal~secret"}),
            "token",
            "secret-expired",
        ),
        (json!({"client_id": nobody}), "token", "application-unknown"),
        (tenant(nobody), "token", "tenant-unknown"),
        (
            json!({
                "client_id": "b8f3e1a2-0d4c-4b7e-9f55-1c2d3e4f5a6b",
                "client_secret": "Retired~secret",
            }),
            "token",
            "application-disabled",
        ),
    ];
    for (change, rung, code) in cases {
        let mut properties = good.clone();
        for (name, value) in change.as_object().unwrap() {
            properties[name] = value.clone();
        }
        let path = format!("{ACCOUNTS}/test");
        let answer = program.send(Method::POST, &path, &properties).await;
        let ladder: Value = answer.json().await.unwrap();
        let rungs = ladder["rungs"].as_array().unwrap();
        let failed = rungs.iter().find(|rung| rung["status"] == "failed");
        let seen = failed.map_or(("", ""), |failed| {
            assert!(
                failed["cause"]
                    .as_str()
                    .is_some_and(|text| !text.is_empty()),
                "{failed}"
            );
            assert!(
                failed["remedy"]
                    .as_str()
                    .is_some_and(|text| !text.is_empty()),
                "{failed}"
            );
            (
                failed["rung"].as_str().unwrap(),
                failed["code"].as_str().unwrap(),
            )
        });
        assert_eq!(seen, (rung, code), "{change}: {ladder}");
        assert_eq!(ladder["ok"], rung.is_empty());
        assert_eq!(rungs.len(), 9);
        assert!(
            !ladder
                .to_string()
                .contains(app.text("/sandbox/client_secret"))
        );
    }
}

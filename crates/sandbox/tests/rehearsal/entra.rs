//! Entra ID's switches, and who stands behind a grant.

use serde_json::{Value, json};

use crate::stage::{APPLICATION, SECRET, Stage, TENANT};

const USER: &str = "megan@contoso.example";
const REDIRECT: &str = "http://localhost:8420/admin/msdynamicscallback.html";

/// Fields of the one form of a page, and where it goes.
fn form(page: &str) -> (String, Vec<(String, String)>) {
    let attribute = |text: &str, name: &str| {
        let rest = text.split_once(&format!("{name}=\""))?.1;
        Some(
            rest.split_once('"')?
                .0
                .replace("&amp;", "&")
                .replace("&#38;", "&"),
        )
    };
    let body = page.split_once("<form").expect("a form").1;
    let action = attribute(body, "action").expect("an action");
    let inputs = body.split("<input").skip(1);
    let hidden = inputs.filter(|input| input.split('>').next().unwrap().contains("hidden"));
    let fields =
        hidden.filter_map(|input| Some((attribute(input, "name")?, attribute(input, "value")?)));
    (action, fields.collect())
}

/// A refresh token, by the way that a browser goes.
async fn refresh_token(stage: &Stage) -> String {
    let http = crate::stage::client(&stage.sandbox).build().unwrap();
    let resource = stage.sandbox.origin();
    let query = [
        ("client_id", APPLICATION),
        ("response_type", "code"),
        ("redirect_uri", REDIRECT),
        ("resource", resource),
        ("state", "s"),
    ];
    let url = stage.url(&format!("/{TENANT}/oauth2/authorize"));
    let mut answer = http.get(url).query(&query).send().await.unwrap();
    let mut cookies = String::new();
    for _ in 0..6 {
        for cookie in answer.headers().get_all("set-cookie") {
            let pair = cookie
                .to_str()
                .unwrap()
                .split(';')
                .next()
                .unwrap()
                .to_owned();
            cookies = if cookies.is_empty() {
                pair
            } else {
                format!("{cookies}; {pair}")
            };
        }
        if let Some(location) = answer.headers().get("location") {
            let location = location.to_str().unwrap().to_owned();
            if location.starts_with(REDIRECT) {
                let code = location.split("code=").nth(1).expect("a code");
                return redeem(stage, code.split('&').next().unwrap()).await;
            }
            let next = if location.starts_with('/') {
                stage.url(&location)
            } else {
                location
            };
            answer = http
                .get(next)
                .header("cookie", &cookies)
                .send()
                .await
                .unwrap();
            continue;
        }
        let page = answer.text().await.unwrap();
        let (action, mut fields) = form(&page);
        if page.contains("type=\"password\"") {
            fields.push(("login".to_owned(), USER.to_owned()));
            fields.push(("passwd".to_owned(), "Rehearsal-1".to_owned()));
        } else {
            fields.push(("decision".to_owned(), "accept".to_owned()));
        }
        let next = if action.starts_with('/') {
            stage.url(&action)
        } else {
            action
        };
        let sent = http
            .post(next)
            .header("cookie", &cookies)
            .form(&fields)
            .send();
        answer = sent.await.unwrap();
    }
    panic!("the sign-in does not come to an end");
}

async fn redeem(stage: &Stage, code: &str) -> String {
    let answer = token(
        stage,
        &[
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", REDIRECT),
        ],
    )
    .await;
    answer["refresh_token"]
        .as_str()
        .unwrap_or_else(|| panic!("{answer}"))
        .to_owned()
}

async fn token(stage: &Stage, fields: &[(&str, &str)]) -> Value {
    let mut form = vec![("client_id", APPLICATION), ("client_secret", SECRET)];
    form.extend_from_slice(fields);
    let url = stage.url(&format!("/{TENANT}/oauth2/token"));
    stage
        .http
        .post(url)
        .form(&form)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap()
}

async fn refresh(stage: &Stage, token_text: &str) -> Value {
    token(
        stage,
        &[
            ("grant_type", "refresh_token"),
            ("refresh_token", token_text),
        ],
    )
    .await
}

#[tokio::test]
async fn a_secret_is_over_at_once_and_another_is_added() {
    let stage = Stage::open().await;
    assert_eq!(stage.ask_token().await.unwrap().status(), 200);
    let switch = json!({"action": "expire-secret", "application": APPLICATION, "secret": "Tie"});
    assert_eq!(stage.post("entra", switch).await["changed"], 1);
    let refused: Value = stage.ask_token().await.unwrap().json().await.unwrap();
    assert_eq!(refused["error_codes"], json!([7_000_222]));
    let added = json!({"action": "add-secret", "application": APPLICATION, "value": "New~one"});
    let added = stage.post("entra", added).await;
    assert!(added["secret"].is_string() && !added.to_string().contains("New~one"));
    stage.post("reset", json!({})).await;
    assert_eq!(stage.ask_token().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_secret_that_is_not_there_is_answered_with_those_that_are() {
    let stage = Stage::open().await;
    let switch = json!({"action": "expire-secret", "application": APPLICATION, "secret": "Nope"});
    let (status, field, detail) = stage.refused("entra", switch).await;
    assert_eq!((status, field.as_str()), (422, "secret"));
    assert!(
        detail.contains("Tie…") && !detail.contains(SECRET),
        "{detail}"
    );
    let nobody = json!({"action": "disable-user", "user": "nobody@contoso.example"});
    assert_eq!(stage.refused("entra", nobody).await.1, "user");
    let strange = json!({"action": "disable-application", "application": "00000000-0000-4000-8000-000000000000"});
    assert_eq!(stage.refused("entra", strange).await.1, "application");
}

#[tokio::test]
async fn what_happens_to_a_user_shows_at_the_next_renewal() {
    let stage = Stage::open().await;
    let good = refresh_token(&stage).await;
    assert!(refresh(&stage, &good).await["access_token"].is_string());
    for (switch, code) in [
        (json!({"action": "disable-user", "user": USER}), 50_057),
        (
            json!({"action": "withdraw-consent", "application": APPLICATION}),
            65_001,
        ),
    ] {
        stage.post("entra", switch).await;
        let refused = refresh(&stage, &good).await;
        assert_eq!(refused["error_codes"], json!([code]), "{refused}");
        stage.post("reset", json!({})).await;
    }
    let other = refresh_token(&stage).await;
    stage
        .post("entra", json!({"action": "revoke-sessions", "user": USER}))
        .await;
    let refused = refresh(&stage, &other).await;
    assert_eq!(refused["error_codes"], json!([50_173]), "{refused}");
    // A reset gives nobody a token back.
    stage.post("reset", json!({})).await;
    assert_eq!(
        refresh(&stage, &other).await["error_codes"],
        json!([50_173])
    );
}

#[tokio::test]
async fn tokens_expire_by_the_switch_and_by_the_clock() {
    let stage = Stage::open().await;
    let token = refresh_token(&stage).await;
    stage.post("clock", json!({"move": "91d"})).await;
    assert_eq!(
        refresh(&stage, &token).await["error_codes"],
        json!([700_082])
    );
    stage.post("clock", json!({"reset": true})).await;
    assert!(refresh(&stage, &token).await["access_token"].is_string());
    let switch = json!({"action": "expire-refresh-tokens", "user": USER});
    let done = stage.post("entra", switch).await;
    assert!(done["changed"].as_u64() >= Some(1), "{done}");
    assert_eq!(
        refresh(&stage, &token).await["error_codes"],
        json!([700_082])
    );
}

#[tokio::test]
async fn strict_rotation_ends_what_was_used() {
    let stage = Stage::open().await;
    let switch = json!({"action": "rotate-strictly", "application": APPLICATION});
    stage.post("entra", switch).await;
    let first = refresh_token(&stage).await;
    assert!(refresh(&stage, &first).await["refresh_token"].is_string());
    assert_eq!(refresh(&stage, &first).await["error"], "invalid_grant");
}

#[tokio::test]
async fn tokens_are_listed_without_the_tokens() {
    let stage = Stage::open().await;
    let token = refresh_token(&stage).await;
    let listed = stage
        .look(&format!("tokens?user={USER}&application={APPLICATION}"))
        .await;
    assert_eq!(listed["refresh"].as_array().unwrap().len(), 1);
    assert_eq!(listed["refresh"][0]["fate"], "good");
    assert!(!listed.to_string().contains(&token));
    let consents = stage
        .look(&format!("consents?application={APPLICATION}"))
        .await;
    assert_eq!(consents["value"][0]["application"], APPLICATION);
}

#[tokio::test]
async fn a_fault_for_a_user_strikes_their_renewals_and_calls() {
    let stage = Stage::open().await;
    let token = refresh_token(&stage).await;
    stage
        .arm(json!({"kind": "refuse", "aadsts": 50_196, "user": USER}))
        .await;
    stage
        .arm(json!({"kind": "refuse", "dataverse": "0x80040216", "user": USER}))
        .await;
    assert_eq!(
        refresh(&stage, &token).await["error_codes"],
        json!([50_196])
    );
    assert_eq!(stage.ask_token().await.unwrap().status(), 200);
    stage
        .control(reqwest::Method::DELETE, "faults/1", json!({}))
        .await;
    let access = refresh(&stage, &token).await;
    let access = access["access_token"].as_str().unwrap();
    assert_eq!(stage.status(access, "accounts?$top=1").await, 500);
    let application = stage.token().await;
    assert_eq!(stage.status(&application, "accounts?$top=1").await, 200);
    let lines = stage
        .look(&format!("requests?user={USER}&side=entra"))
        .await;
    assert!(!lines["value"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn what_a_lost_renewal_did_stays_done() {
    let stage = Stage::open().await;
    let token = refresh_token(&stage).await;
    let switch = json!({"action": "rotate-strictly", "application": APPLICATION});
    stage.post("entra", switch).await;
    let fault = json!({"kind": "drop", "path": "/**/token", "requests": 1});
    stage.arm(fault.clone()).await;
    let renew = || {
        let form = [
            ("client_id", APPLICATION),
            ("client_secret", SECRET),
            ("grant_type", "refresh_token"),
            ("refresh_token", token.as_str()),
        ];
        let url = stage.url(&format!("/{TENANT}/oauth2/token"));
        stage.http.post(url).form(&form).send()
    };
    // Before it was carried out, nothing is lost; after, the old token is used up.
    assert!(renew().await.is_err());
    let mut late = fault;
    late["when"] = "after".into();
    stage.arm(late).await;
    assert!(renew().await.is_err());
    let refused: Value = renew().await.unwrap().json().await.unwrap();
    assert_eq!(refused["error"], "invalid_grant");
}

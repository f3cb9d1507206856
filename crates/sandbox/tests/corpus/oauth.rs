//! Every example of Entra that an application can bring about by itself or with a user at hand.

use serde_json::{Value, json};

use crate::rig::{self, CALLBACK, CONTOSO, MEGAN, ORGANIZATION, Page, Pair, Rig, SECRET, TIELINE};
use crate::{examples, shape};

/// Asserts that a page has the shape of an example.
#[track_caller]
fn alike(example: &Value, page: &Page) {
    let (id, response) = (&example["id"], &example["response"]);
    assert_eq!(
        json!(page.status),
        response["status"],
        "{id}: {}",
        page.text
    );
    for (name, printed) in response["headers"].as_object().into_iter().flatten() {
        let own = page.header(name);
        assert!(!own.is_empty(), "{id}: {name} is missing");
        let printed = printed.as_str().unwrap_or_default();
        if name == "Location" {
            let own = rig::parameters(own);
            for parameter in rig::parameters(&printed.replace(['{', '}'], "")).keys() {
                assert!(
                    own.contains_key(parameter),
                    "{id}: {parameter} is missing: {own:?}"
                );
            }
        }
    }
    if let Some(printed) = response.get("body") {
        let printed = opaque(printed);
        let found = shape::differences(&printed, &page.json());
        assert!(found.is_empty(), "{id}: {found:?}: {}", page.text);
        // Which error it is counts as much as its shape.
        for name in ["error", "token_type"] {
            let wanted = printed.get(name);
            assert!(
                wanted.is_none() || wanted == page.json().get(name),
                "{id}: {}",
                page.text
            );
        }
    }
}

/// Tokens are printed as `{"$opaque": "jwt"}`: texts.
fn opaque(value: &Value) -> Value {
    match value {
        Value::Object(members) if members.contains_key("$opaque") => json!("opaque"),
        Value::Object(members) => {
            let members = members.iter();
            Value::Object(
                members
                    .map(|(name, value)| (name.clone(), opaque(value)))
                    .collect(),
            )
        }
        other => other.clone(),
    }
}

fn find<'v>(all: &'v [Value], id: &str) -> &'v Value {
    let found = all.iter().find(|example| example["id"] == id);
    found.unwrap_or_else(|| panic!("there is no example {id}"))
}

const V1: &str = "/contoso.example/oauth2";

async fn authorized(rig: &Rig) -> Page {
    let query = [
        ("client_id", TIELINE),
        ("response_type", "code"),
        ("redirect_uri", CALLBACK),
        ("response_mode", "query"),
        ("resource", ORGANIZATION),
        ("state", "12345"),
    ];
    rig.visit(&format!("{V1}/authorize"), &query, MEGAN).await
}

async fn redeemed(rig: &Rig, path: &str, form: &[Pair<'_>]) -> Page {
    let mut all = vec![("client_id", TIELINE), ("client_secret", SECRET)];
    all.extend_from_slice(form);
    rig.post(path, &all).await
}

fn code_of(page: &Page) -> String {
    page.parameters()
        .remove("code")
        .unwrap_or_else(|| panic!("no code: {page:?}"))
}

#[tokio::test]
async fn published_grants_of_v1_have_their_shape() {
    let all = examples::read("oauth-examples.jsonl");
    if all.is_empty() {
        return;
    }
    let rig = Rig::start().await;
    let page = authorized(&rig).await;
    alike(find(&all, "oa-01"), &page);
    let code = code_of(&page);
    let token = format!("{V1}/token");
    let form = [
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("redirect_uri", CALLBACK),
    ];
    let page = redeemed(&rig, &token, &form).await;
    alike(find(&all, "oa-04"), &page);
    let tokens = page.json();
    let number = |name: &str| {
        tokens[name]
            .as_str()
            .and_then(|text| text.parse::<i64>().ok())
            .unwrap_or_default()
    };
    assert!(number("expires_on") > number("not_before"), "{tokens}");
    let refresh = tokens["refresh_token"].as_str().unwrap_or_default();
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", refresh),
        ("resource", "https://foo.microsoft.com/mail.read"),
    ];
    alike(find(&all, "oa-06"), &redeemed(&rig, &token, &form).await);
    // Ten minutes later the code of another visit is too old.
    let late = code_of(&authorized(&rig).await);
    rig.advance(11 * 60);
    let form = [
        ("grant_type", "authorization_code"),
        ("code", late.as_str()),
        ("redirect_uri", CALLBACK),
    ];
    alike(find(&all, "oa-07"), &redeemed(&rig, &token, &form).await);
}

#[tokio::test]
async fn published_grants_of_v2_have_their_shape() {
    let all = examples::read("oauth-examples.jsonl");
    if all.is_empty() {
        return;
    }
    let rig = Rig::start().await;
    let code = rig.code(TIELINE, rig::SCOPE, MEGAN).await;
    let form = [
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("redirect_uri", CALLBACK),
    ];
    let token = format!("/{CONTOSO}/oauth2/v2.0/token");
    alike(find(&all, "oa-10"), &redeemed(&rig, &token, &form).await);
    let scope = format!("{ORGANIZATION}/.default");
    let form = [
        ("grant_type", "client_credentials"),
        ("scope", scope.as_str()),
    ];
    alike(find(&all, "oa-12"), &redeemed(&rig, &token, &form).await);
}

#[tokio::test]
async fn published_consents_of_administrators_have_their_shape() {
    let all = examples::read("oauth-examples.jsonl");
    if all.is_empty() {
        return;
    }
    let rig = Rig::start().await;
    let scope = format!("{ORGANIZATION}/.default");
    let query = [
        ("client_id", TIELINE),
        ("redirect_uri", CALLBACK),
        ("scope", scope.as_str()),
        ("state", "12345"),
    ];
    let v2 = "/contoso.example/v2.0/adminconsent";
    alike(find(&all, "oa-17"), &rig.visit(v2, &query, MEGAN).await);
    for (path, id) in [("/contoso.example/adminconsent", "oa-16"), (v2, "oa-18")] {
        rig.forget();
        let page = rig.query(path, &query).await;
        let page = rig.log_in(&page, MEGAN).await;
        let page = rig.press(&page, &[("decision", "cancel")]).await;
        alike(find(&all, id), &page);
    }
}

#[tokio::test]
async fn published_documents_and_challenges_have_their_shape() {
    let all = examples::read("oauth-examples.jsonl");
    if all.is_empty() {
        return;
    }
    let rig = Rig::start().await;
    alike(
        find(&all, "oa-26"),
        &rig.get("/common/.well-known/openid-configuration").await,
    );
    alike(find(&all, "oa-22"), &rig.get("/api/data/v9.2/").await);
    let query = [
        ("api-version", "1.1"),
        (
            "authorization_endpoint",
            "https://unknown.example/common/oauth2/v2.0/authorize",
        ),
    ];
    alike(
        find(&all, "oa-25"),
        &rig.query("/common/discovery/instance", &query).await,
    );
}

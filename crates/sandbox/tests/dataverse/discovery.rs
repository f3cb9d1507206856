//! Global Discovery, search, and the methods that every resource has.

use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::support::{APPLICATION, SECRET, Service, TENANT};

const CALLBACK: &str = "http://localhost:8420/admin/msdynamicscallback.html";

/// The token of a user who signs in and consents.
async fn token_of(service: &Service, login: &str, password: &str) -> String {
    let origin = service.sandbox.origin();
    let scope = format!("{origin}/user_impersonation");
    let query = [
        ("client_id", APPLICATION),
        ("response_type", "code"),
        ("redirect_uri", CALLBACK),
        ("scope", &scope),
    ];
    let url = format!("{origin}/{TENANT}/oauth2/v2.0/authorize");
    let url = reqwest::Url::parse_with_params(&url, query).expect("a URL");
    let mut answer = service.http.get(url).send().await.expect("a page");
    let code = loop {
        if let Some(code) = code_of(&answer) {
            break code;
        }
        answer = press(service, answer, login, password).await;
    };
    let form = [
        ("grant_type", "authorization_code"),
        ("client_id", APPLICATION),
        ("client_secret", SECRET),
        ("redirect_uri", CALLBACK),
        ("code", &code),
    ];
    let url = format!("{origin}/{TENANT}/oauth2/v2.0/token");
    let answer = service
        .http
        .post(url)
        .form(&form)
        .send()
        .await
        .expect("an answer");
    let answer: Value = answer.json().await.expect("JSON");
    answer["access_token"]
        .as_str()
        .unwrap_or_else(|| panic!("no token: {answer}"))
        .to_owned()
}

fn code_of(answer: &Response) -> Option<String> {
    let location = answer.headers().get("location")?.to_str().ok()?;
    let location = reqwest::Url::parse(location).ok()?;
    let mut pairs = location.query_pairs();
    pairs
        .find(|(name, _)| name == "code")
        .map(|(_, code)| code.into_owned())
}

/// Fills the form of a page in and sends it.
async fn press(service: &Service, answer: Response, login: &str, password: &str) -> Response {
    let url = answer.url().clone();
    let page = answer.text().await.expect("a page");
    let between = |text: &str, before: &str| {
        let rest = text.split_once(before)?.1;
        rest.split_once('"')
            .map(|(value, _)| value.replace("&amp;", "&").replace("&#38;", "&"))
    };
    let action = between(&page, "action=\"").unwrap_or_else(|| panic!("no form: {page}"));
    let flow = between(&page, "name=\"flow\" value=\"").expect("a flow");
    let form = [
        ("flow", flow.as_str()),
        ("login", login),
        ("passwd", password),
        ("decision", "accept"),
    ];
    let url = url.join(&action).expect("an address");
    service
        .http
        .post(url)
        .form(&form)
        .send()
        .await
        .expect("an answer")
}

async fn instances(service: &Service, token: &str, rest: &str) -> (u16, Value) {
    let url = format!(
        "{}/api/discovery/v2.0/Instances{rest}",
        service.sandbox.origin()
    );
    let answer = service
        .http
        .get(url)
        .bearer_auth(token)
        .send()
        .await
        .expect("an answer");
    (answer.status().as_u16(), answer.json().await.expect("JSON"))
}

#[tokio::test]
async fn without_a_token_discovery_names_the_common_authority() {
    let service = Service::start().await;
    let url = format!("{}/api/discovery/v2.0/Instances", service.sandbox.origin());
    let answer = service.http.get(url).send().await.expect("an answer");
    assert_eq!(answer.status(), 401);
    let challenge = answer.headers()["www-authenticate"]
        .to_str()
        .expect("text")
        .to_owned();
    assert!(
        challenge.starts_with("Bearer authorization_uri=https://"),
        "{challenge}"
    );
    assert!(
        challenge.contains("/common/oauth2/authorize, resource_id=https://"),
        "{challenge}"
    );
}

#[tokio::test]
async fn an_application_by_itself_discovers_nothing() {
    let service = Service::start().await;
    let (status, body) = instances(&service, &service.token, "").await;
    assert_eq!(
        (status, &body["error"]["code"]),
        (403, &json!("0x80048405"))
    );
}

#[tokio::test]
async fn users_discover_the_organizations_of_their_tenant() {
    let service = Service::start().await;
    let token = token_of(&service, "megan@contoso.example", "Rehearsal-1").await;
    let (status, body) = instances(&service, &token, "").await;
    assert_eq!(
        (status, body["value"].as_array().map(Vec::len)),
        (200, Some(1))
    );
    let context = body["@odata.context"].as_str().expect("a context");
    assert!(
        context.ends_with("/api/discovery/v2.0/$metadata#Instances"),
        "{context}"
    );
    let instance = &body["value"][0];
    assert_eq!(instance["UniqueName"], "contoso");
    assert_eq!(instance["ApiUrl"], service.sandbox.origin());
    assert_eq!(
        (&instance["State"], &instance["IsUserSysAdmin"]),
        (&json!(0), &json!(true))
    );
    let id = instance["Id"].as_str().expect("an id");
    for key in [format!("({id})"), "(UniqueName='contoso')".to_owned()] {
        let (status, found) = instances(&service, &token, &key).await;
        assert_eq!((status, &found["Id"]), (200, &json!(id)), "{key}");
    }
    assert_eq!(
        instances(&service, &token, "(UniqueName='other')").await.0,
        404
    );
}

#[tokio::test]
async fn instances_are_filtered_and_cut_down_to_what_is_selected() {
    let service = Service::start().await;
    let token = token_of(&service, "alex@contoso.example", "Rehearsal-2").await;
    let (_, body) = instances(
        &service,
        &token,
        "?$select=Url,FriendlyName&$filter=UrlName eq 'CONTOSO' and State eq 0",
    )
    .await;
    let wanted = json!([{"Url": service.sandbox.origin(), "FriendlyName": "Contoso"}]);
    assert_eq!(body["value"], wanted);
    let (_, none) = instances(&service, &token, "?$filter=not contains(UrlName,'tos')").await;
    assert_eq!(none["value"], json!([]));
    let (status, _) = instances(
        &service,
        &token,
        "?$select=DisplayName,Description&$filter=Type+eq+0",
    )
    .await;
    assert_eq!(status, 200);
    assert_eq!(instances(&service, &token, "?$select=Nothing").await.0, 400);
}

#[tokio::test]
async fn who_is_no_user_of_an_organization_discovers_none() {
    let service = Service::start().await;
    let token = token_of(&service, "diego@contoso.example", "Rehearsal-3").await;
    assert_eq!(instances(&service, &token, "").await.1["value"], json!([]));
}

#[tokio::test]
async fn search_is_switched_off() {
    let service = Service::start().await;
    let url = format!("{}/api/search/v2.0/query", service.sandbox.origin());
    let answer = service
        .send(Method::POST, &url, &[], Some(&json!({"search": "maria"})))
        .await;
    assert_eq!(answer.refusal(), (400, "0x80048d0b".to_owned()));
    assert_eq!(
        answer.message(),
        "Dataverse Search feature is disabled for this organization. The sandbox does not have it yet; the real service does."
    );
    let url = format!("{}/api/nothing/here", service.sandbox.origin());
    assert_eq!(service.get(&url).await.status, 404);
}

#[tokio::test]
async fn a_head_says_what_a_get_would() {
    let service = Service::start().await;
    let answer = service.send(Method::HEAD, "WhoAmI", &[], None).await;
    assert_eq!(
        (
            answer.status,
            answer.text.as_str(),
            answer.header("x-ms-dop-hint")
        ),
        (200, "", "4")
    );
}

#[tokio::test]
async fn pages_of_other_origins_may_ask_before_they_call() {
    let service = Service::start().await;
    let request = service
        .http
        .request(Method::OPTIONS, service.url("contacts"));
    let request = request
        .header("Origin", "https://page.example")
        .header("Access-Control-Request-Method", "PATCH");
    let answer = request
        .header("Access-Control-Request-Headers", "authorization")
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 200);
    let header = |name: &str| answer.headers()[name].to_str().expect("text").to_owned();
    assert_eq!(
        (header("allow"), header("access-control-allow-origin")),
        ("OPTIONS,GET,HEAD,POST".into(), "*".into())
    );
    assert!(header("access-control-allow-methods").contains("PATCH"));
    assert_eq!(header("access-control-allow-headers"), "authorization");
}

#[tokio::test]
async fn a_method_is_not_overridden() {
    let service = Service::start().await;
    let answer = service
        .send(
            Method::POST,
            "contacts",
            &[("X-HTTP-Method-Override", "GET")],
            Some(&json!({})),
        )
        .await;
    assert_eq!(answer.refusal(), (400, "0x80060888".to_owned()));
}

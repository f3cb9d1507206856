//! Applications: how they show who they are, and where they may be used.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tieline_sandbox::seed::{ConditionalAccess, FederatedCredentialSeed, Seed};

use crate::rig::*;

const EXPORT: &str = "e1f2a3b4-c5d6-4e7f-8091-a2b3c4d5e6f7";
const SPA: &str = "5a4b3c2d-1e0f-4a9b-8c7d-6e5f4a3b2c1d";
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const DEFAULT: &str = "https://contoso.crm.dynamics.com/.default";

fn app_only<'a>(client: &'a str, secret: &'a str) -> Vec<Pair<'a>> {
    vec![
        ("grant_type", "client_credentials"),
        ("client_id", client),
        ("client_secret", secret),
        ("scope", DEFAULT),
    ]
}

#[tokio::test]
async fn a_secret_is_right_wrong_expired_or_missing() {
    let rig = Rig::start().await;
    let body = rig.token(&app_only(TIELINE, SECRET)).await.json();
    let said = claims(&body["access_token"]);
    assert_eq!(
        (said["idtyp"].as_str(), said["appidacr"].as_str()),
        (Some("app"), Some("1"))
    );
    assert!(said.get("scp").is_none() && said.get("upn").is_none());
    for name in ["refresh_token", "id_token", "scope"] {
        assert!(body.get(name).is_none(), "{body}");
    }
    for (secret, code) in [
        ("wrong", 7_000_215),
        ("Old~rehearsal~secret", 7_000_222),
        ("", 7_000_218),
    ] {
        refused(
            &rig.token(&app_only(TIELINE, secret)).await,
            401,
            "invalid_client",
            code,
        );
    }
    let page = rig.token(&app_only(DESKTOP, "any")).await;
    refused(&page, 401, "invalid_client", 700_025);
}

#[tokio::test]
async fn basic_authentication_is_form_encoded_first() {
    let rig = Rig::start().await;
    let encoded =
        |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", encoded(TIELINE), encoded(SECRET));
    let request = rig
        .http
        .post(rig.url(&format!("/{CONTOSO}/oauth2/token")))
        .header("authorization", format!("Basic {}", STANDARD.encode(pair)))
        .form(&[
            ("grant_type", "client_credentials"),
            ("resource", ORGANIZATION),
        ]);
    let body = rig.send(request).await.json();
    assert_eq!(body["expires_in"], "3599");
    assert_eq!(claims(&body["access_token"])["aud"], ORGANIZATION);
}

#[tokio::test]
async fn an_application_alone_names_one_tenant_and_one_resource() {
    let rig = Rig::start().await;
    let with = |scope| {
        let mut form = app_only(TIELINE, SECRET);
        form[3] = ("scope", scope);
        form
    };
    let page = rig
        .token(&with("https://contoso.crm.dynamics.com/user_impersonation"))
        .await;
    refused(&page, 400, "invalid_scope", 1_002_012);
    let page = rig
        .token(&with("https://unknown.crm.dynamics.com/.default"))
        .await;
    let body = refused(&page, 400, "invalid_resource", 500_011);
    assert!(
        body["error_description"]
            .as_str()
            .unwrap()
            .contains("the tenant named Contoso")
    );
    let page = rig
        .post("/common/oauth2/v2.0/token", &app_only(TIELINE, SECRET))
        .await;
    refused(&page, 400, "invalid_request", 9_001_023);
    let path = "/organizations/oauth2/v2.0/token";
    let body = rig.post(path, &app_only(TIELINE, SECRET)).await.json();
    assert_eq!(claims(&body["access_token"])["tid"], CONTOSO);
    let mut form = app_only(TIELINE, SECRET);
    form.push(("resource", ORGANIZATION));
    refused(&rig.token(&form).await, 400, "invalid_request", 901_002);
    let page = rig
        .token(&app_only(
            "b8f3e1a2-0d4c-4b7e-9f55-1c2d3e4f5a6b",
            "Retired~secret",
        ))
        .await;
    refused(&page, 400, "unauthorized_client", 7_000_112);
    let path = format!("/{FABRIKAM}/oauth2/v2.0/token");
    refused(
        &rig.post(&path, &app_only(TIELINE, SECRET)).await,
        400,
        "unauthorized_client",
        700_016,
    );
}

/// The key that stands beside the certificate in the default seed.
fn rehearsal_key() -> RsaKeyPair {
    let text: String = Seed::default_text()
        .lines()
        .map(|line| line.trim_start_matches("# "))
        .skip_while(|line| !line.starts_with("-----BEGIN PRIVATE KEY"))
        .take_while(|line| !line.starts_with("[["))
        .map(|line| format!("{line}\n"))
        .collect();
    let key = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).unwrap();
    RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).unwrap()
}

fn certificate() -> String {
    let seed = Seed::default();
    let id: uuid::Uuid = EXPORT.parse().unwrap();
    let mut all = seed.tenants[0].applications.iter();
    all.find(|known| known.client_id == id)
        .unwrap()
        .certificates[0]
        .clone()
}

fn thumbprint(algorithm: &'static aws_lc_rs::digest::Algorithm) -> String {
    let der = CertificateDer::from_pem_slice(certificate().as_bytes()).unwrap();
    URL_SAFE_NO_PAD.encode(aws_lc_rs::digest::digest(algorithm, &der))
}

fn sign(header: &Value, claims: &Value, padding: &'static dyn RsaEncoding) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(header), part(claims));
    let key = rehearsal_key();
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(
        padding,
        &SystemRandom::new(),
        text.as_bytes(),
        &mut signature,
    )
    .unwrap();
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn assertion(rig: &Rig, more: &Value) -> Value {
    let now = rig.now().timestamp();
    let mut claims = json!({
        "aud": format!("{}/{CONTOSO}/oauth2/v2.0/token", rig.sandbox.origin()),
        "iss": EXPORT, "sub": EXPORT, "jti": "1", "nbf": now, "iat": now, "exp": now + 600,
    });
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

async fn by_assertion(rig: &Rig, client: &str, assertion: &str) -> Page {
    rig.token(&[
        ("grant_type", "client_credentials"),
        ("client_id", client),
        ("client_assertion_type", ASSERTION_TYPE),
        ("client_assertion", assertion),
        ("scope", DEFAULT),
    ])
    .await
}

#[tokio::test]
async fn a_certificate_signs_in_its_application() {
    let rig = Rig::start().await;
    let sha256 = thumbprint(&aws_lc_rs::digest::SHA256);
    let sha1 = thumbprint(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY);
    // Microsoft's own libraries leave the padding on.
    let sha1 = format!("{sha1}=");
    // And some write moments with fractions.
    let until = rig.now().timestamp() as f64 + 600.25;
    let good = assertion(&rig, &json!({"exp": until}));
    for signed in [
        sign(
            &json!({"alg": "PS256", "typ": "JWT", "x5t#S256": sha256}),
            &good,
            &RSA_PSS_SHA256,
        ),
        sign(
            &json!({"alg": "RS256", "typ": "JWT", "x5t": sha1}),
            &good,
            &RSA_PKCS1_SHA256,
        ),
    ] {
        let page = by_assertion(&rig, EXPORT, &signed).await;
        assert_eq!(page.status, 200, "{}", page.text);
        assert_eq!(claims(&page.json()["access_token"])["appidacr"], "2");
    }
}

#[tokio::test]
async fn an_assertion_is_checked_in_every_part() {
    let rig = Rig::start().await;
    let header =
        json!({"alg": "PS256", "typ": "JWT", "x5t#S256": thumbprint(&aws_lc_rs::digest::SHA256)});
    let now = rig.now().timestamp();
    for (more, code) in [
        (json!({"aud": "https://elsewhere.example"}), 700_023),
        (json!({"sub": TIELINE}), 700_021),
        (json!({"iss": TIELINE}), 700_021),
        (json!({"exp": now - 301}), 700_024),
        (json!({"nbf": now + 301}), 700_024),
        (json!({"jti": ""}), 50_027),
    ] {
        let signed = sign(&header, &assertion(&rig, &more), &RSA_PSS_SHA256);
        refused(
            &by_assertion(&rig, EXPORT, &signed).await,
            401,
            "invalid_client",
            code,
        );
    }
    let good = assertion(&rig, &json!({}));
    let unknown = sign(
        &json!({"alg": "PS256", "x5t#S256": "other"}),
        &good,
        &RSA_PSS_SHA256,
    );
    refused(
        &by_assertion(&rig, EXPORT, &unknown).await,
        401,
        "invalid_client",
        700_027,
    );
    let mixed = sign(&header, &good, &RSA_PKCS1_SHA256);
    refused(
        &by_assertion(&rig, EXPORT, &mixed).await,
        401,
        "invalid_client",
        700_027,
    );
    let signed = sign(&header, &good, &RSA_PSS_SHA256);
    refused(
        &by_assertion(&rig, TIELINE, &signed).await,
        401,
        "invalid_client",
        700_021,
    );
    for broken in ["x", "a.b", "a.b.c", "e30.e30.", "e30.W10.AA"] {
        refused(
            &by_assertion(&rig, EXPORT, broken).await,
            401,
            "invalid_client",
            if broken.starts_with("e30.e30") {
                700_021
            } else {
                50_027
            },
        );
    }
}

#[tokio::test]
async fn an_outside_issuer_stands_for_a_secret() {
    let rig = Rig::with(|seed| {
        let application = &mut seed.tenants[0].applications[0];
        application.federated_credentials = vec![FederatedCredentialSeed {
            issuer: "https://token.actions.example".into(),
            subject: "repo:contoso/export:ref:refs/heads/main".into(),
            audience: "api://AzureADTokenExchange".into(),
            certificate: certificate(),
        }];
    })
    .await;
    let with = |subject: &str| {
        assertion(
            &rig,
            &json!({
                "iss": "https://token.actions.example", "sub": subject,
                "aud": "api://AzureADTokenExchange",
            }),
        )
    };
    let header = json!({"alg": "RS256"});
    let good = sign(
        &header,
        &with("repo:contoso/export:ref:refs/heads/main"),
        &RSA_PKCS1_SHA256,
    );
    assert_eq!(by_assertion(&rig, TIELINE, &good).await.status, 200);
    let other = sign(
        &header,
        &with("repo:contoso/Export:ref:refs/heads/main"),
        &RSA_PKCS1_SHA256,
    );
    refused(
        &by_assertion(&rig, TIELINE, &other).await,
        401,
        "invalid_client",
        700_213,
    );
}

#[tokio::test]
async fn a_single_page_application_asks_from_its_origin_and_for_a_day() {
    let rig = Rig::start().await;
    let verifier = "s".repeat(64);
    let query = [
        ("client_id", SPA),
        ("response_type", "code"),
        ("redirect_uri", "http://localhost:3000/"),
        ("scope", SCOPE),
        ("code_challenge", &verifier),
        ("code_challenge_method", "plain"),
    ];
    let path = format!("/{CONTOSO}/oauth2/v2.0/authorize");
    let code = rig.visit(&path, &query, MEGAN).await.parameters()["code"].clone();
    let form = [
        ("grant_type", "authorization_code"),
        ("client_id", SPA),
        ("redirect_uri", "http://localhost:3000/"),
        ("code", &code),
        ("code_verifier", &verifier),
    ];
    refused(&rig.token(&form).await, 400, "invalid_request", 9_002_327);
    let token = rig.url(&format!("/{CONTOSO}/oauth2/v2.0/token"));
    let browser = |form: &[Pair<'_>]| {
        let request = rig
            .http
            .post(&token)
            .header("origin", "http://localhost:3000");
        rig.send(request.form(form))
    };
    let page = browser(&form).await;
    assert_eq!(page.header("access-control-allow-origin"), "*");
    let refresh_token = page.json()["refresh_token"].as_str().unwrap().to_owned();
    rig.advance(86_399);
    let refresh = [
        ("grant_type", "refresh_token"),
        ("client_id", SPA),
        ("refresh_token", &refresh_token),
    ];
    let page = browser(&refresh).await;
    let next = page.json()["refresh_token"].as_str().unwrap().to_owned();
    rig.advance(1);
    let last = [refresh[0], refresh[1], ("refresh_token", next.as_str())];
    refused(&browser(&last).await, 400, "invalid_grant", 700_084);
}

#[tokio::test]
async fn other_applications_are_not_redeemed_across_origins() {
    let rig = Rig::start().await;
    let tokens = rig.granted(MEGAN).await;
    let request = rig
        .http
        .post(rig.url(&format!("/{CONTOSO}/oauth2/v2.0/token")))
        .header("origin", "https://page.example")
        .form(&[
            ("grant_type", "refresh_token"),
            ("client_id", TIELINE),
            ("client_secret", SECRET),
            ("refresh_token", tokens["refresh_token"].as_str().unwrap()),
        ]);
    refused(&rig.send(request).await, 400, "invalid_request", 9_002_326);
}

#[tokio::test]
async fn an_application_for_everybody_is_installed_by_consent() {
    let rig = Rig::start().await;
    let token = format!("/{FABRIKAM}/oauth2/v2.0/token");
    let mut form = app_only(EVERYBODYS, "Everybody~secret");
    form[3] = ("scope", "https://fabrikam.crm4.dynamics.com/.default");
    refused(
        &rig.post(&token, &form).await,
        400,
        "unauthorized_client",
        700_016,
    );
    let query = [("client_id", EVERYBODYS), ("redirect_uri", CALLBACK)];
    let nestor = ("nestor@fabrikam.example", "Rehearsal-5");
    let path = format!("/{FABRIKAM}/adminconsent");
    let found = rig.visit(&path, &query, nestor).await.parameters();
    assert_eq!(found["tenant"], FABRIKAM);
    let body = rig.post(&token, &form).await.json();
    assert_eq!(claims(&body["access_token"])["tid"], FABRIKAM);
}

#[tokio::test]
async fn over_common_the_tenant_is_the_one_of_who_signs_in() {
    let rig = Rig::start().await;
    let query = |scope| {
        [
            ("client_id", EVERYBODYS),
            ("response_type", "code"),
            ("redirect_uri", CALLBACK),
            ("scope", scope),
        ]
    };
    let nestor = ("nestor@fabrikam.example", "Rehearsal-5");
    let scope = "openid offline_access https://fabrikam.crm4.dynamics.com/.default";
    let page = rig
        .visit("/common/oauth2/v2.0/authorize", &query(scope), nestor)
        .await;
    let code = page.parameters()["code"].clone();
    let form = [
        ("grant_type", "authorization_code"),
        ("client_id", EVERYBODYS),
        ("client_secret", "Everybody~secret"),
        ("redirect_uri", CALLBACK),
        ("code", &code),
    ];
    let page = rig.post("/organizations/oauth2/v2.0/token", &form).await;
    let body = page.json();
    let said = claims(&body["id_token"]);
    assert_eq!(said["tid"], FABRIKAM);
    assert_eq!(
        said["iss"],
        format!("{}/{FABRIKAM}/v2.0", rig.sandbox.origin())
    );
    // Contoso's organization is not Fabrikam's.
    rig.forget();
    let page = rig
        .visit("/common/oauth2/v2.0/authorize", &query(SCOPE), nestor)
        .await;
    assert!(page.parameters()["error_description"].starts_with("AADSTS500011"));
}

#[tokio::test]
async fn a_registration_without_the_permission_and_a_blocked_one_get_nothing() {
    let rig = Rig::with(|seed| {
        seed.tenants[0].applications[0].dataverse = false;
        let all = &mut seed.tenants[0].applications;
        let everybodys = all.iter_mut().find(|known| known.multi_tenant).unwrap();
        everybodys.conditional_access = ConditionalAccess::Block;
    })
    .await;
    let path = format!("/{CONTOSO}/oauth2/v2.0/authorize");
    let query = [
        ("client_id", TIELINE),
        ("response_type", "code"),
        ("redirect_uri", CALLBACK),
        ("scope", SCOPE),
    ];
    let found = rig.query(&path, &query).await.parameters();
    assert!(found["error_description"].starts_with("AADSTS650057"));
    let page = rig.token(&app_only(EVERYBODYS, "Everybody~secret")).await;
    refused(&page, 400, "interaction_required", 53_003);
}

#[tokio::test]
async fn an_application_says_how_long_its_tokens_live() {
    let rig = Rig::with(|seed| {
        seed.tenants[0].applications[0].access_token_seconds = Some(600);
    })
    .await;
    let body = rig.token(&app_only(TIELINE, SECRET)).await.json();
    assert_eq!(body["expires_in"], 600);
}

#[tokio::test]
async fn strict_rotation_ends_the_family_of_a_reused_token() {
    let rig = Rig::with(|seed| seed.tenants[0].applications[0].strict_rotation = true).await;
    let first = rig.granted(MEGAN).await;
    let second = rig.refresh(&first).await.json();
    refused(&rig.refresh(&first).await, 400, "invalid_grant", 70_000);
    refused(&rig.refresh(&second).await, 400, "invalid_grant", 70_000);
}

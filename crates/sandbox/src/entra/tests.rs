//! What changes while the sandbox runs, as clients see it over https.

#[path = "../../tests/entra/rig.rs"]
#[expect(
    dead_code,
    reason = "the tests outside of the crate use the rest of it"
)]
mod rig;

use axum::http::HeaderMap;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::entra::{
    ApplicationChange, By, Control, NewPassword, SecretFate, Selector, TenantChange, UserChange,
    fault_answer,
};
use crate::seed::{ConditionalAccess, Mfa};
use rig::*;

const CAPABLE: Pair<'_> = (
    "claims",
    r#"{"access_token":{"xms_cc":{"values":["cp1"]}}}"#,
);

impl Rig {
    fn control(&self) -> Control<'_> {
        Control::of(&self.sandbox.world)
    }

    fn change_user(&self, person: Pair<'_>, change: UserChange) {
        let count = self.control().change_users(&user(person), &change).unwrap();
        assert_eq!(count, 1);
    }

    async fn who_am_i(&self, tokens: &Value) -> Page {
        let token = tokens["access_token"].as_str().unwrap();
        let asked = self.http.get(self.url("/api/data/v9.2/WhoAmI"));
        self.send(asked.bearer_auth(token)).await
    }

    async fn app_only(&self, secret: &str) -> Page {
        self.token(&[
            ("grant_type", "client_credentials"),
            ("client_id", TIELINE),
            ("client_secret", secret),
            ("scope", "https://contoso.crm.dynamics.com/.default"),
        ])
        .await
    }
}

fn user((upn, _): Pair<'_>) -> Selector {
    Selector {
        user: Some(upn.to_owned()),
        ..Selector::default()
    }
}

fn tieline() -> Selector {
    Selector {
        application: TIELINE.parse().ok(),
        ..Selector::default()
    }
}

fn client() -> Uuid {
    TIELINE.parse().unwrap()
}

fn password(value: &str, by: By) -> UserChange {
    UserChange {
        password: Some(NewPassword {
            value: value.to_owned(),
            by,
        }),
        ..UserChange::default()
    }
}

#[tokio::test]
async fn revoked_sessions_end_refresh_tokens_and_a_new_consent_heals() {
    let rig = Rig::start().await;
    let tokens = rig.granted(MEGAN).await;
    let others = {
        rig.forget();
        rig.granted(ALEX).await
    };
    rig.control().revoke_sessions(&user(MEGAN)).unwrap();
    let body = refused(&rig.refresh(&tokens).await, 400, "invalid_grant", 50_173);
    assert_eq!(body["suberror"], "bad_token");
    assert_eq!(rig.refresh(&others).await.status, 200);
    rig.forget();
    let again = rig.granted(MEGAN).await;
    assert_eq!(rig.refresh(&again).await.status, 200);
}

#[tokio::test]
async fn a_password_ends_what_microsofts_table_says() {
    let rig = Rig::start().await;
    let tokens = rig.granted(MEGAN).await;
    for by in [By::User, By::Admin] {
        rig.change_user(MEGAN, password("Rehearsal-10", by));
        assert_eq!(rig.refresh(&tokens).await.status, 200);
    }
    rig.change_user(MEGAN, password("Rehearsal-11", By::AdminCenter));
    refused(&rig.refresh(&tokens).await, 400, "invalid_grant", 50_173);
    rig.forget();
    rig.granted((MEGAN.0, "Rehearsal-11")).await;
}

#[tokio::test]
async fn a_public_clients_refresh_token_dies_with_the_password() {
    let rig = Rig::start().await;
    let code = rig.code(DESKTOP, SCOPE, MEGAN).await;
    let form = [
        ("grant_type", "authorization_code"),
        ("client_id", DESKTOP),
        ("redirect_uri", "http://localhost"),
        ("code", &code),
    ];
    let tokens = rig.token(&form).await.json();
    let refresh = [
        ("grant_type", "refresh_token"),
        ("client_id", DESKTOP),
        ("refresh_token", tokens["refresh_token"].as_str().unwrap()),
    ];
    assert_eq!(rig.token(&refresh).await.status, 200);
    rig.change_user(MEGAN, password("Rehearsal-10", By::User));
    refused(&rig.token(&refresh).await, 400, "invalid_grant", 50_173);
}

#[tokio::test]
async fn a_disabled_or_deleted_user_is_refused_and_may_come_back() {
    let rig = Rig::start().await;
    let tokens = rig.granted(MEGAN).await;
    let disabled = |disabled| UserChange {
        disabled: Some(disabled),
        ..UserChange::default()
    };
    rig.change_user(MEGAN, disabled(true));
    refused(&rig.refresh(&tokens).await, 400, "invalid_grant", 50_057);
    rig.change_user(MEGAN, disabled(false));
    assert_eq!(rig.refresh(&tokens).await.status, 200);
    rig.change_user(
        MEGAN,
        UserChange {
            deleted: Some(true),
            ..UserChange::default()
        },
    );
    refused(&rig.refresh(&tokens).await, 400, "invalid_grant", 50_034);
}

#[tokio::test]
async fn an_event_challenges_tokens_of_capable_clients_and_no_others() {
    let rig = Rig::start().await;
    let tokens = rig.granted(MEGAN).await;
    let capable = rig.refresh_with(&tokens, &[CAPABLE]).await.json();
    assert_eq!(rig.who_am_i(&capable).await.status, 200);
    rig.change_user(MEGAN, password("Rehearsal-10", By::User));
    assert_eq!(rig.who_am_i(&tokens).await.status, 200);
    let page = rig.who_am_i(&capable).await;
    let challenge = page.header("www-authenticate");
    assert_eq!(page.status, 401);
    assert!(
        challenge.contains("error=\"insufficient_claims\""),
        "{challenge}"
    );
    use base64::Engine as _;
    let claims = between(challenge, "claims=\"", "\"");
    let claims = base64::engine::general_purpose::STANDARD
        .decode(claims)
        .unwrap();
    let claims = String::from_utf8(claims).unwrap();
    let parsed: Value = serde_json::from_str(&claims).unwrap();
    assert_eq!(parsed["access_token"]["nbf"]["essential"], true);
    // With the claims, the client gets one that is younger than the event.
    let both = claims.replace(
        "{\"access_token\":{",
        "{\"access_token\":{\"xms_cc\":{\"values\":[\"cp1\"]},",
    );
    let page = rig.refresh_with(&tokens, &[("claims", &both)]).await;
    assert_eq!(rig.who_am_i(&page.json()).await.status, 200);
    rig.change_user(
        MEGAN,
        UserChange {
            disabled: Some(true),
            ..UserChange::default()
        },
    );
    assert_eq!(rig.who_am_i(&page.json()).await.status, 401);
}

#[tokio::test]
async fn a_second_factor_that_becomes_required_stops_background_refreshes() {
    let rig = Rig::start().await;
    let tokens = rig.granted(MEGAN).await;
    rig.change_user(
        MEGAN,
        UserChange {
            mfa: Some(Mfa::Required),
            ..UserChange::default()
        },
    );
    let body = refused(
        &rig.refresh(&tokens).await,
        400,
        "interaction_required",
        50_076,
    );
    assert_eq!(body["suberror"], "basic_action");
    let claims: Value = serde_json::from_str(body["claims"].as_str().unwrap()).unwrap();
    assert!(claims["access_token"]["polids"]["values"][0].is_string());
    let again = rig.granted(MEGAN).await;
    assert_eq!(rig.refresh(&again).await.status, 200);
}

#[tokio::test]
async fn policies_take_effect_at_once_for_a_tenant_or_an_application() {
    let rig = Rig::start().await;
    let tokens = rig.granted(MEGAN).await;
    for (policy, code) in [
        (ConditionalAccess::Block, 53_003),
        (ConditionalAccess::RequireCompliantDevice, 53_000),
        (ConditionalAccess::RequireMfa, 50_079),
    ] {
        let change = TenantChange {
            conditional_access: Some(policy),
            ..TenantChange::default()
        };
        rig.control()
            .change_tenants(&Selector::default(), &change)
            .unwrap();
        refused(
            &rig.refresh(&tokens).await,
            400,
            "interaction_required",
            code,
        );
    }
    let off = TenantChange {
        conditional_access: Some(ConditionalAccess::Off),
        ..TenantChange::default()
    };
    rig.control()
        .change_tenants(&Selector::default(), &off)
        .unwrap();
    assert_eq!(rig.refresh(&tokens).await.status, 200);
    let change = ApplicationChange {
        conditional_access: Some(ConditionalAccess::Block),
        ..ApplicationChange::default()
    };
    rig.control()
        .change_applications(&tieline(), &change)
        .unwrap();
    refused(
        &rig.refresh(&tokens).await,
        400,
        "interaction_required",
        53_003,
    );
}

#[tokio::test]
async fn a_sign_in_frequency_ends_what_is_older() {
    let rig = Rig::start().await;
    let tokens = rig.granted(MEGAN).await;
    let frequency = |hours| TenantChange {
        sign_in_frequency_hours: Some(hours),
        ..TenantChange::default()
    };
    let everywhere = Selector::default();
    rig.control()
        .change_tenants(&everywhere, &frequency(4))
        .unwrap();
    rig.advance(4 * 3_600 - 1);
    assert_eq!(rig.refresh(&tokens).await.status, 200);
    rig.advance(1);
    refused(&rig.refresh(&tokens).await, 400, "invalid_grant", 70_043);
    // The browser's session is too old as well: the page comes again.
    let again = rig.granted(MEGAN).await;
    assert_eq!(rig.refresh(&again).await.status, 200);
    let strong = TenantChange {
        conditional_access: Some(ConditionalAccess::RequireMfa),
        ..TenantChange::default()
    };
    rig.control().change_tenants(&everywhere, &strong).unwrap();
    let strong = rig.granted(MEGAN).await;
    rig.advance(4 * 3_600);
    refused(
        &rig.refresh(&strong).await,
        400,
        "interaction_required",
        50_078,
    );
    rig.control()
        .change_tenants(&everywhere, &frequency(0))
        .unwrap();
    assert_eq!(rig.refresh(&strong).await.status, 200);
}

#[tokio::test]
async fn an_application_is_disabled_made_public_or_strict() {
    let rig = Rig::start().await;
    let tokens = rig.granted(MEGAN).await;
    let change = |change| {
        rig.control()
            .change_applications(&tieline(), &change)
            .unwrap()
    };
    change(ApplicationChange {
        disabled: Some(true),
        ..ApplicationChange::default()
    });
    refused(
        &rig.refresh(&tokens).await,
        400,
        "unauthorized_client",
        7_000_112,
    );
    change(ApplicationChange {
        disabled: Some(false),
        public: Some(true),
        ..ApplicationChange::default()
    });
    refused(&rig.refresh(&tokens).await, 401, "invalid_client", 700_025);
    change(ApplicationChange {
        public: Some(false),
        strict_rotation: Some(true),
        access_token_seconds: Some(900),
        ..ApplicationChange::default()
    });
    let next = rig.refresh(&tokens).await.json();
    assert_eq!(next["expires_in"], 900);
    refused(&rig.refresh(&tokens).await, 400, "invalid_grant", 70_000);
    refused(&rig.refresh(&next).await, 400, "invalid_grant", 70_000);
}

#[tokio::test]
async fn assignment_may_become_required() {
    let rig = Rig::start().await;
    let tokens = rig.granted(MEGAN).await;
    let change = ApplicationChange {
        assignment_required: Some(true),
        ..ApplicationChange::default()
    };
    rig.control()
        .change_applications(&tieline(), &change)
        .unwrap();
    refused(&rig.refresh(&tokens).await, 400, "invalid_grant", 50_105);
    let change = ApplicationChange {
        assigned: Some(vec![MEGAN.0.into()]),
        ..ApplicationChange::default()
    };
    rig.control()
        .change_applications(&tieline(), &change)
        .unwrap();
    assert_eq!(rig.refresh(&tokens).await.status, 200);
}

#[tokio::test]
async fn secrets_are_added_expired_and_removed() {
    let rig = Rig::start().await;
    let control = rig.control();
    let id = control.add_secret(client(), "new~secret", None).unwrap();
    assert_eq!(rig.app_only("new~secret").await.status, 200);
    assert_eq!(rig.app_only(SECRET).await.status, 200);
    control
        .end_secrets(client(), Some(id), SecretFate::Expire)
        .unwrap();
    refused(
        &rig.app_only("new~secret").await,
        401,
        "invalid_client",
        7_000_222,
    );
    control
        .end_secrets(client(), Some(id), SecretFate::Remove)
        .unwrap();
    refused(
        &rig.app_only("new~secret").await,
        401,
        "invalid_client",
        7_000_215,
    );
    control
        .end_secrets(client(), None, SecretFate::Expire)
        .unwrap();
    refused(
        &rig.app_only(SECRET).await,
        401,
        "invalid_client",
        7_000_222,
    );
    let error = control
        .end_secrets(client(), Some(id), SecretFate::Expire)
        .unwrap_err();
    assert!(error.to_string().contains(&id.to_string()), "{error}");
}

#[tokio::test]
async fn refresh_tokens_expire_or_end_by_name() {
    let rig = Rig::start().await;
    let first = rig.granted(MEGAN).await;
    assert_eq!(
        rig.control().expire_refresh_tokens(&user(MEGAN)).unwrap(),
        1
    );
    refused(&rig.refresh(&first).await, 400, "invalid_grant", 700_082);
    let second = rig.granted(MEGAN).await;
    assert_eq!(rig.control().revoke_sessions(&tieline()).unwrap(), 1);
    refused(&rig.refresh(&second).await, 400, "invalid_grant", 50_173);
}

#[tokio::test]
async fn a_withdrawn_consent_is_missed_at_the_next_refresh() {
    let rig = Rig::start().await;
    let tokens = rig.granted(MEGAN).await;
    let given = rig.control().consents(&tieline()).unwrap();
    assert_eq!(given, [(CONTOSO.into(), TIELINE.into(), MEGAN.0.into())]);
    assert_eq!(rig.control().withdraw_consent(&tieline()).unwrap(), 1);
    let body = refused(&rig.refresh(&tokens).await, 400, "invalid_grant", 65_001);
    assert_eq!(body["suberror"], "consent_required");
    rig.granted(MEGAN).await;
    assert_eq!(rig.refresh(&tokens).await.status, 200);
}

#[tokio::test]
async fn what_was_issued_is_listed_without_the_tokens() {
    let rig = Rig::start().await;
    let tokens = rig.granted(MEGAN).await;
    rig.who_am_i(&tokens).await;
    let issued = rig.control().refresh_tokens(&user(MEGAN)).unwrap();
    assert_eq!(issued.len(), 1);
    assert_eq!(issued[0].user.as_deref(), Some(MEGAN.0));
    assert_eq!(issued[0].application, TIELINE);
    assert_eq!(issued[0].resource, ORGANIZATION);
    let now = rig.now().timestamp();
    assert_eq!(
        (issued[0].expires, issued[0].last_used),
        (Some(now + 90 * 86_400), None)
    );
    let access = rig.control().access_tokens(&tieline()).unwrap();
    assert_eq!(
        (access[0].expires, access[0].last_used),
        (Some(now + 3_600), Some(now))
    );
    let shown = serde_json::to_string(&(issued, access)).unwrap();
    for name in ["access_token", "refresh_token"] {
        assert!(!shown.contains(tokens[name].as_str().unwrap()));
    }
}

#[tokio::test]
async fn views_show_states_and_no_secrets() {
    let rig = Rig::start().await;
    let control = rig.control();
    let all = Selector::default();
    let users = control.users(&all).unwrap();
    assert!(users.iter().any(|user| user.guest) && users.iter().any(|user| user.locked));
    let applications = control.applications(&tieline()).unwrap();
    assert_eq!(applications[0].secrets.len(), 2);
    assert!(applications[0].secrets[1].expired && applications[0].secrets[0].hint == "Tie");
    let shown = json!([
        users,
        control.applications(&all).unwrap(),
        control.tenants(&all).unwrap()
    ]);
    let shown = shown.to_string();
    assert!(!shown.contains(SECRET) && !shown.contains(MEGAN.1));
}

#[tokio::test]
async fn what_does_not_exist_is_named() {
    let rig = Rig::start().await;
    let control = rig.control();
    let nobody = user(("nobody@contoso.example", ""));
    let nowhere = Selector {
        tenant: Some("nowhere.example".into()),
        ..Selector::default()
    };
    let nothing = Selector {
        application: Some(Uuid::nil()),
        ..Selector::default()
    };
    let change = UserChange::default();
    for (error, name) in [
        (
            control.change_users(&nobody, &change).unwrap_err(),
            "nobody@contoso.example",
        ),
        (
            control.revoke_sessions(&nowhere).unwrap_err(),
            "nowhere.example",
        ),
        (
            control.withdraw_consent(&nothing).unwrap_err(),
            "00000000-0000",
        ),
        (
            control.users(&nobody).unwrap_err(),
            "nobody@contoso.example",
        ),
    ] {
        assert!(error.to_string().contains(name), "{error}");
    }
    let long = ApplicationChange {
        access_token_seconds: Some(0),
        ..ApplicationChange::default()
    };
    assert!(control.change_applications(&tieline(), &long).is_err());
}

#[tokio::test]
async fn changes_outlive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let rig = Rig::in_directory(directory.path()).await;
    let tokens = rig.granted(MEGAN).await;
    rig.change_user(MEGAN, password("Rehearsal-10", By::User));
    rig.change_user(
        ALEX,
        UserChange {
            disabled: Some(true),
            ..UserChange::default()
        },
    );
    rig.control()
        .add_secret(client(), "kept~secret", None)
        .unwrap();
    let change = TenantChange {
        user_consent: Some(false),
        ..TenantChange::default()
    };
    rig.control()
        .change_tenants(&Selector::default(), &change)
        .unwrap();
    rig.sandbox.shutdown().await;

    let rig = Rig::in_directory(directory.path()).await;
    let control = rig.control();
    assert!(control.users(&user(ALEX)).unwrap()[0].disabled);
    assert!(!control.tenants(&Selector::default()).unwrap()[0].user_consent);
    assert_eq!(rig.app_only("kept~secret").await.status, 200);
    assert_eq!(rig.refresh(&tokens).await.status, 200);
    rig.granted((MEGAN.0, "Rehearsal-10")).await;
}

#[tokio::test]
async fn a_guests_revocation_counts_only_at_home() {
    let rig = Rig::start().await;
    let lee = ("lee@fabrikam.example", "Rehearsal-6");
    let tokens = rig.granted(lee).await;
    let as_guest = Selector {
        tenant: Some("contoso.example".into()),
        ..user(lee)
    };
    rig.control().revoke_sessions(&as_guest).unwrap();
    assert_eq!(rig.refresh(&tokens).await.status, 200);
    rig.control().revoke_sessions(&user(lee)).unwrap();
    refused(&rig.refresh(&tokens).await, 400, "invalid_grant", 50_173);
}

#[tokio::test]
async fn a_revoked_session_does_not_sign_in_silently() {
    let rig = Rig::start().await;
    rig.granted(MEGAN).await;
    rig.control().revoke_sessions(&user(MEGAN)).unwrap();
    let query = [
        ("client_id", TIELINE),
        ("response_type", "code"),
        ("redirect_uri", CALLBACK),
        ("scope", SCOPE),
        ("prompt", "none"),
    ];
    let path = format!("/{CONTOSO}/oauth2/v2.0/authorize");
    let found = rig.query(&path, &query).await.parameters();
    assert_eq!(found["error"], "login_required");
    assert!(found["error_description"].starts_with("AADSTS50133"));
}

#[tokio::test]
async fn a_chosen_code_is_answered_in_entras_own_form() {
    let now = chrono::Utc::now();
    for (code, status, error, suberror) in [
        (7_000_222, 401, "invalid_client", None),
        (50_173, 400, "invalid_grant", Some("bad_token")),
        (90_055, 429, "temporarily_unavailable", None),
        (50_076, 400, "interaction_required", Some("basic_action")),
        (90_033, 503, "temporarily_unavailable", None),
        (12_345, 400, "invalid_grant", None),
    ] {
        let answer = fault_answer(code, &HeaderMap::new(), now, "https://localhost:1");
        assert_eq!(answer.status(), status);
        let retry = answer.headers().contains_key("retry-after");
        assert_eq!(retry, status == 429);
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(body["error"], error);
        assert_eq!(body["error_codes"], json!([code]));
        assert_eq!(body["suberror"].as_str(), suberror);
        assert_eq!(body["claims"].is_string(), error == "interaction_required");
    }
}

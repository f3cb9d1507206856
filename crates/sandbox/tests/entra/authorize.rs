//! The authorization endpoint: what goes back to the application, and what stays on a page.

use crate::rig::*;

const V1: &str = "/contoso.example/oauth2/authorize";
const V2: &str = "/contoso.example/oauth2/v2.0/authorize";

fn v1<'a>(more: &[Pair<'a>]) -> Vec<Pair<'a>> {
    let mut query = vec![
        ("client_id", TIELINE),
        ("response_type", "code"),
        ("redirect_uri", CALLBACK),
        ("resource", ORGANIZATION),
        ("state", "a b&c"),
    ];
    query.extend_from_slice(more);
    query
}

fn v2<'a>(more: &[Pair<'a>]) -> Vec<Pair<'a>> {
    let mut query = vec![
        ("client_id", TIELINE),
        ("redirect_uri", CALLBACK),
        ("state", "s"),
    ];
    query.extend_from_slice(more);
    for (name, value) in [("response_type", "code"), ("scope", SCOPE)] {
        if !more.iter().any(|(known, _)| *known == name) {
            query.push((name, value));
        }
    }
    query
}

#[tokio::test]
async fn a_code_comes_back_with_state_and_session_state() {
    let rig = Rig::start().await;
    let page = rig.visit(V1, &v1(&[]), MEGAN).await;
    assert_eq!(page.status, 302);
    assert!(
        page.header("location")
            .starts_with(&format!("{CALLBACK}?code="))
    );
    let found = page.parameters();
    assert_eq!(found["state"], "a b&c");
    assert!(found["session_state"].parse::<uuid::Uuid>().is_ok());
    assert!(!found.contains_key("admin_consent") && !found.contains_key("client_info"));
}

#[tokio::test]
async fn answers_travel_in_a_fragment_or_in_a_form() {
    let rig = Rig::start().await;
    let page = rig
        .visit(V2, &v2(&[("response_mode", "fragment")]), MEGAN)
        .await;
    assert!(
        page.header("location")
            .starts_with(&format!("{CALLBACK}#code="))
    );
    let page = rig.query(V2, &v2(&[("response_mode", "form_post")])).await;
    assert_eq!(page.status, 200);
    assert!(page.holds(&format!("action=\"{CALLBACK}\"")) && page.holds("name=\"code\""));
    assert!(page.holds("name=\"state\" value=\"s\""));
}

#[tokio::test]
async fn a_code_and_an_id_token_belong_together() {
    let rig = Rig::start().await;
    let query = v2(&[("response_type", "code id_token"), ("nonce", "n-1")]);
    let page = rig.visit(V2, &query, MEGAN).await;
    assert!(page.header("location").starts_with(&format!("{CALLBACK}#")));
    let found = page.parameters();
    let token = found["id_token"].as_str().into();
    let said = claims(&token);
    assert_eq!(
        (said["nonce"].as_str(), said["aud"].as_str()),
        (Some("n-1"), Some(TIELINE))
    );
    assert_eq!(part(&token, 0)["alg"], "RS256");
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, found["code"].as_bytes());
    use base64::Engine as _;
    let half = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&hash.as_ref()[..16]);
    assert_eq!(said["c_hash"], half);
}

#[tokio::test]
async fn an_id_token_wants_a_nonce_and_no_query() {
    let rig = Rig::start().await;
    let page = rig.query(V2, &v2(&[("response_type", "id_token")])).await;
    assert!(page.parameters()["error_description"].starts_with("AADSTS900144"));
    let query = v2(&[
        ("response_type", "id_token"),
        ("nonce", "n"),
        ("response_mode", "query"),
    ]);
    let page = rig.query(V2, &query).await;
    assert!(
        page.header("location").contains('#'),
        "{}",
        page.header("location")
    );
    assert!(page.parameters()["error_description"].starts_with("AADSTS70007"));
    let page = rig.query(V2, &v2(&[("response_type", "token")])).await;
    assert_eq!(page.parameters()["error"], "unsupported_response_type");
}

#[tokio::test]
async fn what_is_not_trusted_is_shown_and_never_sent_back() {
    let rig = Rig::start().await;
    let with = |name: &'static str, value: &'static str| {
        let mut query = v1(&[]);
        query.retain(|(known, _)| *known != name);
        query.push((name, value));
        query
    };
    let unknown = "00000000-0000-0000-0000-000000000001";
    for (path, query, code) in [
        (V1, with("client_id", unknown), "AADSTS700016"),
        (
            V1,
            with("redirect_uri", "https://evil.example/"),
            "AADSTS50011",
        ),
        (
            V1,
            with(
                "redirect_uri",
                "http://localhost:8420/admin/msdynamicscallback.html/",
            ),
            "AADSTS50011",
        ),
        (
            V1,
            with("client_id", "b8f3e1a2-0d4c-4b7e-9f55-1c2d3e4f5a6b"),
            "AADSTS7000112",
        ),
        ("/nowhere.example/oauth2/authorize", v1(&[]), "AADSTS90002"),
        ("/common/oauth2/authorize", v1(&[]), "AADSTS50194"),
        ("/consumers/oauth2/authorize", v1(&[]), "AADSTS9002346"),
    ] {
        let page = rig.query(path, &query).await;
        assert_eq!(page.status, 400, "{code}");
        assert!(
            page.holds(code) && page.header("location").is_empty(),
            "{code}: {}",
            page.text
        );
    }
}

#[tokio::test]
async fn what_the_application_did_wrong_comes_back_to_it() {
    let rig = Rig::start().await;
    let long = "x".repeat(43);
    for (path, query, error, code) in [
        (
            V1,
            v1(&[("prompt", "sometimes")]),
            "invalid_request",
            "AADSTS90023",
        ),
        (
            V2,
            v2(&[("prompt", "admin_consent")]),
            "invalid_request",
            "AADSTS90023",
        ),
        (
            V2,
            v2(&[("resource", ORGANIZATION)]),
            "invalid_request",
            "AADSTS901002",
        ),
        (
            V2,
            v2(&[("scope", "https://fabrikam.crm4.dynamics.com/.default")]),
            "invalid_resource",
            "AADSTS500011",
        ),
        (
            V2,
            v2(&[("scope", "nonsense")]),
            "invalid_scope",
            "AADSTS70011",
        ),
        (
            V2,
            v2(&[("claims", "[]")]),
            "invalid_request",
            "AADSTS9002313",
        ),
        (
            V2,
            v2(&[("code_challenge", "short")]),
            "invalid_request",
            "AADSTS501491",
        ),
        (
            V2,
            v2(&[("code_challenge", &long), ("code_challenge_method", "S512")]),
            "invalid_request",
            "AADSTS501491",
        ),
    ] {
        let page = rig.query(path, &query).await;
        let found = page.parameters();
        assert_eq!(found["error"], error, "{found:?}");
        assert!(found["error_description"].starts_with(code), "{found:?}");
        assert!(
            found["error_description"].contains("\r\nTrace ID: "),
            "{found:?}"
        );
        assert!(found.contains_key("state"));
    }
}

#[tokio::test]
async fn cancelling_is_told_with_its_subcode() {
    let rig = Rig::start().await;
    let page = rig.query(V1, &v1(&[])).await;
    let page = rig.log_in(&page, MEGAN).await;
    let page = rig.press(&page, &[("decision", "cancel")]).await;
    let found = page.parameters();
    assert_eq!(found["error"], "access_denied");
    assert_eq!(found["error_subcode"], "cancel");
    assert!(found["error_description"].starts_with("AADSTS65004"));
}

#[tokio::test]
async fn a_session_makes_the_next_visit_silent() {
    let rig = Rig::start().await;
    let none = v2(&[("prompt", "none")]);
    let found = rig.query(V2, &none).await.parameters();
    assert_eq!(found["error"], "login_required");
    assert!(found["error_description"].starts_with("AADSTS50058"));
    rig.visit(V2, &v2(&[]), MEGAN).await;
    assert!(rig.query(V2, &none).await.parameters().contains_key("code"));
    assert!(
        rig.query(V2, &v2(&[]))
            .await
            .parameters()
            .contains_key("code")
    );
    let other = v2(&[("prompt", "none"), ("login_hint", ALEX.0)]);
    let found = rig.query(V2, &other).await.parameters();
    assert!(found["error_description"].starts_with("AADSTS50058"));
    let page = rig.get("/common/oauth2/v2.0/logout").await;
    assert!(page.holds("You signed out of your account."));
    assert_eq!(
        rig.query(V2, &none).await.parameters()["error"],
        "login_required"
    );
}

#[tokio::test]
async fn prompts_bring_their_pages_back() {
    let rig = Rig::start().await;
    rig.visit(V2, &v2(&[]), MEGAN).await;
    for (prompt, field) in [
        ("login", "name=\"passwd\""),
        ("select_account", "name=\"passwd\""),
        ("consent", "idBtn_Accept"),
    ] {
        let page = rig.query(V2, &v2(&[("prompt", prompt)])).await;
        assert!(page.holds(field), "{prompt}: {}", page.text);
    }
    let page = rig
        .query(V2, &v2(&[("prompt", "login"), ("login_hint", ALEX.0)]))
        .await;
    assert!(page.holds("value=\"alex@contoso.example\""));
}

#[tokio::test]
async fn only_an_administrator_consents_for_everybody() {
    let rig = Rig::start().await;
    let query = v1(&[("prompt", "admin_consent")]);
    let page = rig.query(V1, &query).await;
    let page = rig.log_in(&page, ALEX).await;
    assert!(page.holds("Need admin approval"));
    let found = rig
        .press(&page, &[("decision", "accept")])
        .await
        .parameters();
    assert!(found["error_description"].starts_with("AADSTS90094"));
    rig.forget();
    let found = rig.visit(V1, &query, MEGAN).await.parameters();
    assert_eq!(found["admin_consent"], "True");
    // Alex is not asked any more.
    rig.forget();
    let page = rig.query(V1, &v1(&[])).await;
    let page = rig.log_in(&page, ALEX).await;
    assert!(page.parameters().contains_key("code"));
}

#[tokio::test]
async fn the_admin_consent_endpoints_answer_without_a_code() {
    let rig = Rig::start().await;
    let query = [
        ("client_id", TIELINE),
        ("redirect_uri", CALLBACK),
        ("state", "x"),
    ];
    let found = rig
        .visit(&format!("/{CONTOSO}/adminconsent"), &query, MEGAN)
        .await
        .parameters();
    assert_eq!(
        (found["admin_consent"].as_str(), found["tenant"].as_str()),
        ("True", CONTOSO)
    );
    assert!(found["state"] == "x" && !found.contains_key("code"));
    for (path, error) in [
        ("/contoso.example/adminconsent", "permission_denied"),
        ("/contoso.example/v2.0/adminconsent", "consent_required"),
    ] {
        let page = rig.query(path, &query).await;
        let page = rig.log_in(&page, MEGAN).await;
        let found = rig
            .press(&page, &[("decision", "cancel")])
            .await
            .parameters();
        assert_eq!(found["error"], error);
    }
    let page = rig.query("/common/v2.0/adminconsent", &query).await;
    assert_eq!(page.status, 400);
}

#[tokio::test]
async fn who_asks_for_it_hears_who_signed_in() {
    let rig = Rig::start().await;
    let query = v2(&[
        ("client_info", "1"),
        ("clidata", "1"),
        ("x-client-SKU", "msal"),
    ]);
    let found = rig.visit(V2, &query, MEGAN).await.parameters();
    let info = serde_json::Value::from(format!(".{}", found["client_info"]));
    assert_eq!(claims(&info)["utid"], CONTOSO);
}

#[tokio::test]
async fn a_visit_may_not_be_left_lying() {
    let rig = Rig::start().await;
    let page = rig.query(V2, &v2(&[])).await;
    rig.advance(31 * 60);
    let page = rig.log_in(&page, MEGAN).await;
    assert!(
        page.status == 400 && page.holds("AADSTS50089"),
        "{}",
        page.text
    );
}

#[tokio::test]
async fn a_native_client_chooses_its_port_and_a_web_client_does_not() {
    let rig = Rig::start().await;
    let query = |client, address| {
        [
            ("client_id", client),
            ("response_type", "code"),
            ("scope", SCOPE),
            ("redirect_uri", address),
        ]
    };
    let page = rig
        .visit(V2, &query(DESKTOP, "http://localhost:51234"), MEGAN)
        .await;
    let location = page.header("location");
    assert!(
        location.starts_with("http://localhost:51234/?code="),
        "{location}"
    );
    let page = rig
        .query(V2, &query(DESKTOP, "http://localhost:51234/other"))
        .await;
    assert!(page.holds("AADSTS50011"));
    let moved = "http://localhost:8421/admin/msdynamicscallback.html";
    assert!(
        rig.query(V2, &query(TIELINE, moved))
            .await
            .holds("AADSTS50011")
    );
}

#[tokio::test]
async fn a_session_outlives_a_restart_of_the_sandbox() {
    let directory = tempfile::tempdir().unwrap();
    let rig = Rig::in_directory(directory.path()).await;
    rig.visit(V2, &v2(&[]), MEGAN).await;
    let cookies = rig.cookies();
    rig.sandbox.shutdown().await;
    let rig = Rig::in_directory(directory.path()).await;
    rig.remember(cookies);
    let page = rig.query(V2, &v2(&[("prompt", "none")])).await;
    assert!(page.parameters().contains_key("code"));
}

#[tokio::test]
async fn the_home_page_tells_who_is_there() {
    let rig = Rig::start().await;
    let page = rig.get("/").await;
    for word in ["Contoso", MEGAN.0, "second factor", "guest", "locked"] {
        assert!(page.holds(word), "{word}");
    }
}

//! The token endpoint: codes, refresh tokens, passwords, and what the answers say.

use serde_json::Value;

use crate::rig::*;

#[tokio::test]
async fn v1_answers_with_strings_and_v2_with_numbers() {
    let rig = Rig::start().await;
    let tokens = rig.granted(MEGAN).await;
    assert_eq!(tokens["expires_in"], 3_599);
    assert_eq!(tokens["ext_expires_in"], 3_599);
    assert_eq!(tokens["token_type"], "Bearer");
    assert!(tokens.get("resource").is_none() && tokens.get("client_info").is_none());
    let scope = tokens["scope"].as_str().unwrap();
    assert_eq!(scope, format!("{ORGANIZATION}/user_impersonation"));

    let v1 = format!("/{CONTOSO}/oauth2/token");
    let form = [
        ("grant_type", "refresh_token"),
        ("client_id", TIELINE),
        ("client_secret", SECRET),
        ("refresh_token", tokens["refresh_token"].as_str().unwrap()),
    ];
    let page = rig.post(&v1, &form).await;
    let body = page.json();
    let number = |name: &str| body[name].as_str().unwrap().parse::<i64>().unwrap();
    assert_eq!(number("expires_on") - number("not_before"), 3_900);
    assert_eq!(
        (number("expires_in"), body["resource"].as_str()),
        (3_599, Some(ORGANIZATION))
    );
    assert_eq!(body["scope"], "user_impersonation");
    assert_eq!(part(&body["id_token"], 0)["alg"], "none");
    assert_eq!(
        page.header("content-type"),
        "application/json; charset=utf-8"
    );
    assert!(page.header("cache-control").contains("no-store"));
    assert!(!page.header("x-ms-request-id").is_empty());
}

#[tokio::test]
async fn an_access_token_says_who_and_for_what() {
    let rig = Rig::start().await;
    let tokens = rig.granted(MEGAN).await;
    let said = claims(&tokens["access_token"]);
    assert_eq!(said["aud"], ORGANIZATION);
    assert_eq!(said["iss"], format!("{}/{CONTOSO}/", rig.sandbox.origin()));
    for (name, value) in [
        ("appid", TIELINE),
        ("appidacr", "1"),
        ("name", "Megan Bowen"),
        ("scp", "user_impersonation"),
        ("tid", CONTOSO),
        ("unique_name", MEGAN.0),
        ("upn", MEGAN.0),
        ("ver", "1.0"),
    ] {
        assert_eq!(said[name], value, "{said}");
    }
    let header = part(&tokens["access_token"], 0);
    assert!(header["kid"].is_string() && header["kid"] == header["x5t"]);
    let id = claims(&tokens["id_token"]);
    assert_eq!(id["preferred_username"], MEGAN.0);
    assert_eq!(
        id["iss"],
        format!("{}/{CONTOSO}/v2.0", rig.sandbox.origin())
    );
    assert_eq!(id["oid"], said["oid"]);
}

#[tokio::test]
async fn a_code_is_good_once_and_for_ten_minutes() {
    let rig = Rig::start().await;
    let code = rig.code(TIELINE, SCOPE, MEGAN).await;
    let form = |code| {
        [
            ("grant_type", "authorization_code"),
            ("client_id", TIELINE),
            ("client_secret", SECRET),
            ("redirect_uri", CALLBACK),
            ("code", code),
        ]
    };
    assert_eq!(rig.token(&form(&code)).await.status, 200);
    refused(&rig.token(&form(&code)).await, 400, "invalid_grant", 54_005);
    let late = rig.code(TIELINE, SCOPE, MEGAN).await;
    rig.advance(601);
    refused(&rig.token(&form(&late)).await, 400, "invalid_grant", 70_008);
    refused(
        &rig.token(&form("nonsense")).await,
        400,
        "invalid_grant",
        70_000,
    );
}

#[tokio::test]
async fn a_code_belongs_to_its_client_its_tenant_and_its_address() {
    let rig = Rig::start().await;
    let code = rig.code(TIELINE, SCOPE, MEGAN).await;
    let form = [
        ("grant_type", "authorization_code"),
        ("client_id", TIELINE),
        ("client_secret", SECRET),
        ("code", &code),
    ];
    let with = |address| {
        let mut form = form.to_vec();
        form.push(("redirect_uri", address));
        form
    };
    let page = rig
        .token(&with("http://127.0.0.1:8420/admin/msdynamicscallback.html"))
        .await;
    refused(&page, 400, "invalid_client", 500_112);
    refused(&rig.token(&form).await, 400, "invalid_request", 700_009);
    let mut other = with(CALLBACK);
    other[1] = ("client_id", "7e6d5c4b-3a29-4817-a605-f4e3d2c1b0a9");
    other[2] = ("client_secret", "Everybody~secret");
    refused(&rig.token(&other).await, 400, "invalid_grant", 70_000);
    // None of that used it up.
    assert_eq!(rig.token(&with(CALLBACK)).await.status, 200);
}

#[tokio::test]
async fn the_verifier_has_to_belong_to_the_challenge() {
    let rig = Rig::start().await;
    let verifier = "v".repeat(43);
    use base64::Engine as _;
    let challenge = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier.as_bytes()),
    );
    let query = [
        ("client_id", DESKTOP),
        ("response_type", "code"),
        ("redirect_uri", "http://localhost"),
        ("scope", SCOPE),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    let path = format!("/{CONTOSO}/oauth2/v2.0/authorize");
    let code = rig.visit(&path, &query, MEGAN).await.parameters()["code"].clone();
    let form = |verifier| {
        [
            ("grant_type", "authorization_code"),
            ("client_id", DESKTOP),
            ("redirect_uri", "http://localhost"),
            ("code", code.as_str()),
            ("code_verifier", verifier),
        ]
    };
    refused(
        &rig.token(&form("wrong")).await,
        400,
        "invalid_grant",
        501_481,
    );
    refused(&rig.token(&form("")).await, 400, "invalid_grant", 501_481);
    let page = rig.token(&form(&verifier)).await;
    assert_eq!(claims(&page.json()["access_token"])["appidacr"], "0");
}

#[tokio::test]
async fn a_refresh_token_slides_and_the_old_one_stays_good() {
    let rig = Rig::start().await;
    let first = rig.granted(MEGAN).await;
    for _ in 0..3 {
        rig.advance(80 * 86_400);
        let page = rig.refresh(&first).await;
        assert_eq!(page.status, 200, "{}", page.text);
        assert_ne!(page.json()["refresh_token"], first["refresh_token"]);
    }
    rig.advance(90 * 86_400);
    let body = refused(&rig.refresh(&first).await, 400, "invalid_grant", 700_082);
    assert_eq!(body["suberror"], "token_expired");
}

#[tokio::test]
async fn a_refresh_token_is_traded_for_another_resource() {
    let rig = Rig::start().await;
    let tokens = rig.granted(MEGAN).await;
    let scope = "https://globaldisco.crm.dynamics.com//user_impersonation";
    let page = rig.refresh_with(&tokens, &[("scope", scope)]).await;
    let body = page.json();
    assert_eq!(
        claims(&body["access_token"])["aud"],
        "https://globaldisco.crm.dynamics.com/"
    );
    assert_eq!(body["scope"], scope);
    let other = "https://contoso.api.crm.dynamics.com/.default offline_access";
    let body = rig.refresh_with(&tokens, &[("scope", other)]).await.json();
    assert_eq!(
        claims(&body["access_token"])["aud"],
        "https://contoso.api.crm.dynamics.com"
    );
    assert!(body["scope"].as_str().unwrap().contains("/.default"));
    let foreign = [("scope", "https://fabrikam.crm4.dynamics.com/.default")];
    let page = rig.refresh_with(&tokens, &foreign).await;
    refused(&page, 400, "invalid_resource", 500_011);
}

#[tokio::test]
async fn several_resources_are_refused_at_the_code_and_the_first_wins_later() {
    let rig = Rig::start().await;
    let both = "https://contoso.crm.dynamics.com/.default \
                https://globaldisco.crm.dynamics.com//.default offline_access";
    let code = rig.code(TIELINE, both, MEGAN).await;
    let form = [
        ("grant_type", "authorization_code"),
        ("client_id", TIELINE),
        ("client_secret", SECRET),
        ("redirect_uri", CALLBACK),
        ("code", &code),
        ("scope", both),
    ];
    refused(&rig.token(&form).await, 400, "invalid_scope", 28_000);
    let tokens = rig.token(&form[..5]).await.json();
    let page = rig.refresh_with(&tokens, &[("scope", both)]).await;
    assert_eq!(claims(&page.json()["access_token"])["aud"], ORGANIZATION);
}

#[tokio::test]
async fn without_a_resource_the_token_is_for_graph() {
    let rig = Rig::start().await;
    let code = rig
        .code(TIELINE, "openid profile email User.Read", MEGAN)
        .await;
    let form = [
        ("grant_type", "authorization_code"),
        ("client_id", TIELINE),
        ("client_secret", SECRET),
        ("redirect_uri", CALLBACK),
        ("code", &code),
    ];
    let body = rig.token(&form).await.json();
    let said = claims(&body["access_token"]);
    assert_eq!(said["aud"], "https://graph.microsoft.com");
    assert_eq!(said["scp"], "User.Read");
    assert!(
        body.get("refresh_token").is_none(),
        "nobody asked for offline access"
    );
    let token = body["access_token"].as_str().unwrap();
    let asked = rig.http.get(rig.url("/oidc/userinfo")).bearer_auth(token);
    let about = rig.send(asked).await.json();
    assert_eq!(
        (&about["email"], &about["sub"]),
        (&said["unique_name"], &said["sub"])
    );
    assert_eq!(rig.get("/oidc/userinfo").await.status, 401);
}

#[tokio::test]
async fn a_refresh_token_of_another_client_is_a_mismatch() {
    let rig = Rig::start().await;
    let tokens = rig.granted(MEGAN).await;
    let form = [
        ("grant_type", "refresh_token"),
        ("client_id", EVERYBODYS),
        ("client_secret", "Everybody~secret"),
        ("refresh_token", tokens["refresh_token"].as_str().unwrap()),
    ];
    let body = refused(&rig.token(&form).await, 400, "invalid_grant", 70_000);
    assert_eq!(body["suberror"], "client_mismatch");
    assert!(tokens["refresh_token"].as_str().unwrap().len() > 1_000);
}

#[tokio::test]
async fn a_loop_of_refreshes_is_stopped_and_goes_on_later() {
    let rig = Rig::start().await;
    let tokens = rig.granted(MEGAN).await;
    for _ in 0..100 {
        assert_eq!(rig.refresh(&tokens).await.status, 200);
    }
    refused(&rig.refresh(&tokens).await, 400, "invalid_grant", 50_196);
    rig.advance(301);
    assert_eq!(rig.refresh(&tokens).await.status, 200);
}

#[tokio::test]
async fn a_capable_client_gets_long_tokens() {
    let rig = Rig::start().await;
    let tokens = rig.granted(MEGAN).await;
    let capable = [(
        "claims",
        r#"{"access_token":{"xms_cc":{"values":["cp1"]}}}"#,
    )];
    let body = rig.refresh_with(&tokens, &capable).await.json();
    assert_eq!(body["expires_in"], 28 * 3_600 - 1);
    assert_eq!(claims(&body["access_token"])["xms_cc"][0], "cp1");
    let page = rig.refresh_with(&tokens, &[("claims", "cp1")]).await;
    refused(&page, 400, "invalid_request", 9_002_313);
}

#[tokio::test]
async fn a_demanded_context_wants_a_second_factor() {
    let rig = Rig::start().await;
    let tokens = rig.granted(MEGAN).await;
    let demanded = r#"{"access_token":{"acrs":{"essential":true,"value":"c1"}}}"#;
    let page = rig.refresh_with(&tokens, &[("claims", demanded)]).await;
    let body = refused(&page, 400, "interaction_required", 50_079);
    assert!(body["claims"].as_str().unwrap().contains("access_token"));
    let query = [
        ("client_id", TIELINE),
        ("response_type", "code"),
        ("redirect_uri", CALLBACK),
        ("scope", SCOPE),
        ("claims", demanded),
    ];
    let path = format!("/{CONTOSO}/oauth2/v2.0/authorize");
    let code = rig.visit(&path, &query, MEGAN).await.parameters()["code"].clone();
    let form = [
        ("grant_type", "authorization_code"),
        ("client_id", TIELINE),
        ("client_secret", SECRET),
        ("redirect_uri", CALLBACK),
        ("code", &code),
    ];
    let said = claims(&rig.token(&form).await.json()["access_token"]);
    assert_eq!(said["acrs"][0], "c1");
    assert_eq!(said["amr"], serde_json::json!(["pwd", "mfa"]));
}

#[tokio::test]
async fn a_password_is_traded_for_tokens_by_a_public_client() {
    let rig = Rig::start().await;
    rig.code(DESKTOP, SCOPE, MEGAN).await;
    let form = |(login, password)| {
        [
            ("grant_type", "password"),
            ("client_id", DESKTOP),
            ("username", login),
            ("password", password),
            ("scope", SCOPE),
            ("client_info", "1"),
        ]
    };
    let body = rig.token(&form(MEGAN)).await.json();
    assert_eq!(claims(&body["access_token"])["upn"], MEGAN.0);
    assert!(body["client_info"].is_string() && body["refresh_token"].is_string());
    for (person, code) in [
        ((MEGAN.0, "wrong"), 50_126),
        (("nobody@contoso.example", "x"), 50_034),
        (("nestor@fabrikam.example", "Rehearsal-5"), 50_020),
        (("adele@contoso.example", "Rehearsal-4"), 50_057),
        (("patti@contoso.example", "Rehearsal-9"), 50_053),
        (("lynne@contoso.example", "Rehearsal-8"), 50_055),
        (ALEX, 65_001),
    ] {
        refused(&rig.token(&form(person)).await, 400, "invalid_grant", code);
    }
}

#[tokio::test]
async fn ten_wrong_passwords_lock_the_account_for_a_minute() {
    let rig = Rig::start().await;
    rig.code(DESKTOP, SCOPE, MEGAN).await;
    let form = |password| {
        [
            ("grant_type", "password"),
            ("client_id", DESKTOP),
            ("username", MEGAN.0),
            ("password", password),
            ("scope", SCOPE),
        ]
    };
    for _ in 0..10 {
        refused(
            &rig.token(&form("guess")).await,
            400,
            "invalid_grant",
            50_126,
        );
    }
    refused(
        &rig.token(&form(MEGAN.1)).await,
        400,
        "invalid_grant",
        50_053,
    );
    rig.advance(61);
    assert_eq!(rig.token(&form(MEGAN.1)).await.status, 200);
}

#[tokio::test]
async fn a_service_acts_on_behalf_of_its_caller() {
    let rig = Rig::start().await;
    let own = format!("api://{TIELINE}/access_as_user");
    let code = rig.code(TIELINE, &own, MEGAN).await;
    let form = [
        ("grant_type", "authorization_code"),
        ("client_id", TIELINE),
        ("client_secret", SECRET),
        ("redirect_uri", CALLBACK),
        ("code", &code),
    ];
    let first = rig.token(&form).await.json();
    assert_eq!(claims(&first["access_token"])["scp"], "access_as_user");
    let behalf = |assertion| {
        [
            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
            ("client_id", TIELINE),
            ("client_secret", SECRET),
            ("requested_token_use", "on_behalf_of"),
            ("scope", "https://contoso.crm.dynamics.com/.default"),
            ("assertion", assertion),
        ]
    };
    let assertion = first["access_token"].as_str().unwrap();
    let body = rig.token(&behalf(assertion)).await.json();
    assert_eq!(claims(&body["access_token"])["aud"], ORGANIZATION);
    let wrong = body["access_token"].as_str().unwrap();
    refused(
        &rig.token(&behalf(wrong)).await,
        400,
        "invalid_grant",
        50_013,
    );
    rig.advance(3_600);
    refused(
        &rig.token(&behalf(assertion)).await,
        400,
        "invalid_grant",
        500_133,
    );
}

#[tokio::test]
async fn malformed_requests_are_told_what_is_missing() {
    let rig = Rig::start().await;
    let page = rig.get(&format!("/{CONTOSO}/oauth2/token")).await;
    refused(&page, 400, "invalid_request", 900_561);
    refused(&rig.token(&[]).await, 400, "invalid_request", 900_144);
    let page = rig
        .token(&[("client_id", TIELINE), ("grant_type", "magic")])
        .await;
    refused(&page, 400, "unsupported_grant_type", 70_003);
    let page = rig
        .post(
            "/nowhere.example/oauth2/token",
            &[("client_id", "x"), ("grant_type", "y")],
        )
        .await;
    refused(&page, 400, "invalid_request", 90_002);
}

#[tokio::test]
async fn the_clients_request_id_is_used_and_returned_when_it_asks() {
    let rig = Rig::start().await;
    let id = "11111111-2222-4333-8444-555555555555";
    let request = rig
        .http
        .post(rig.url(&format!("/{CONTOSO}/oauth2/v2.0/token")))
        .header("client-request-id", id)
        .form(&[("client_id", TIELINE)]);
    let quiet = rig.send(request.try_clone().unwrap()).await;
    assert_eq!(
        (
            quiet.json()["correlation_id"].as_str(),
            quiet.header("client-request-id")
        ),
        (Some(id), "")
    );
    let page = rig
        .send(request.header("return-client-request-id", "true"))
        .await;
    assert_eq!(page.header("client-request-id"), id);
}

#[tokio::test]
async fn dataverse_takes_the_token() {
    let rig = Rig::start().await;
    let tokens: Value = rig.granted(MEGAN).await;
    let asked = rig
        .http
        .get(rig.url("/api/data/v9.2/WhoAmI"))
        .bearer_auth(tokens["access_token"].as_str().unwrap());
    assert_eq!(rig.send(asked).await.status, 200);
}

#[tokio::test]
async fn refresh_tokens_and_consents_outlive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let rig = Rig::in_directory(directory.path()).await;
    let tokens = rig.granted(MEGAN).await;
    rig.sandbox.shutdown().await;
    let rig = Rig::in_directory(directory.path()).await;
    assert_eq!(rig.refresh(&tokens).await.status, 200);
    let page = rig
        .query(
            &format!("/{CONTOSO}/oauth2/v2.0/authorize"),
            &[
                ("client_id", TIELINE),
                ("response_type", "code"),
                ("redirect_uri", CALLBACK),
                ("scope", SCOPE),
            ],
        )
        .await;
    let page = rig.log_in(&page, MEGAN).await;
    assert!(
        page.parameters().contains_key("code"),
        "the consent is remembered"
    );
}

#[tokio::test]
async fn of_two_who_redeem_a_code_at_once_one_gets_tokens() {
    let rig = Rig::start().await;
    let code = rig.code(TIELINE, SCOPE, MEGAN).await;
    let form = [
        ("grant_type", "authorization_code"),
        ("client_id", TIELINE),
        ("client_secret", SECRET),
        ("redirect_uri", CALLBACK),
        ("code", code.as_str()),
    ];
    let (one, other) = tokio::join!(rig.token(&form), rig.token(&form));
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 400]);
}

#[tokio::test]
async fn v1_and_v2_take_each_others_refresh_tokens() {
    let rig = Rig::start().await;
    let v1 = format!("/{CONTOSO}/oauth2/authorize");
    let query = [
        ("client_id", TIELINE),
        ("response_type", "code"),
        ("redirect_uri", CALLBACK),
        ("resource", "https://contoso.crm.dynamics.com/"),
    ];
    let code = rig.visit(&v1, &query, MEGAN).await.parameters()["code"].clone();
    let form = [
        ("grant_type", "authorization_code"),
        ("client_id", TIELINE),
        ("client_secret", SECRET),
        ("redirect_uri", CALLBACK),
        ("code", code.as_str()),
    ];
    let tokens = rig
        .post(&format!("/{CONTOSO}/oauth2/token"), &form)
        .await
        .json();
    assert_eq!(tokens["resource"], "https://contoso.crm.dynamics.com/");
    let scope = format!("{ORGANIZATION}//user_impersonation offline_access");
    let body = rig.refresh_with(&tokens, &[("scope", &scope)]).await.json();
    assert_eq!(
        claims(&body["access_token"])["aud"],
        "https://contoso.crm.dynamics.com/"
    );
    assert!(body["refresh_token"].is_string());
}

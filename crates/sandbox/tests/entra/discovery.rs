//! Discovery documents, keys, instances and realms.

use crate::rig::*;

#[tokio::test]
async fn the_issuer_stands_on_the_authoritys_own_origin() {
    let rig = Rig::start().await;
    let origin = rig.sandbox.origin().to_owned();
    for name in [CONTOSO, "contoso.example", "Contoso.Example"] {
        let path = format!("/{name}/v2.0/.well-known/openid-configuration");
        let page = rig.get(&path).await;
        let body = page.json();
        assert_eq!(body["issuer"], format!("{origin}/{CONTOSO}/v2.0"));
        assert_eq!(
            body["token_endpoint"],
            format!("{origin}/{CONTOSO}/oauth2/v2.0/token")
        );
        assert_eq!(body["request_uri_parameter_supported"], false);
        assert!(body.get("code_challenge_methods_supported").is_none());
        assert_eq!(page.header("cache-control"), "max-age=86400, private");
        assert_eq!(page.header("access-control-allow-origin"), "*");
        let cookies: Vec<_> = page.headers.get_all("set-cookie").iter().collect();
        assert!(
            cookies
                .iter()
                .any(|value| value.to_str().unwrap().starts_with("fpc="))
        );
    }
}

#[tokio::test]
async fn the_first_generation_describes_itself() {
    let rig = Rig::start().await;
    let origin = rig.sandbox.origin();
    let body = rig
        .get("/common/.well-known/openid-configuration")
        .await
        .json();
    assert_eq!(body["issuer"], format!("{origin}/{{tenantid}}/"));
    assert_eq!(body["jwks_uri"], format!("{origin}/common/discovery/keys"));
    assert_eq!(body["microsoft_multi_refresh_token"], true);
    assert_eq!(
        body["device_authorization_endpoint"],
        format!("{origin}/common/oauth2/devicecode")
    );
    assert!(body["tenant_region_scope"].is_null());
    let body = rig
        .get("/consumers/v2.0/.well-known/openid-configuration")
        .await
        .json();
    assert!(body["issuer"].as_str().unwrap().contains("9188040d"));
}

#[tokio::test]
async fn an_unknown_tenant_has_no_document() {
    let rig = Rig::start().await;
    let page = rig
        .get("/nowhere.example/v2.0/.well-known/openid-configuration")
        .await;
    refused(&page, 400, "invalid_tenant", 90_002);
}

#[tokio::test]
async fn the_published_key_verifies_a_token() {
    use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let rig = Rig::start().await;
    let tokens = rig.granted(MEGAN).await;
    let keys = rig
        .get(&format!("/{CONTOSO}/discovery/v2.0/keys"))
        .await
        .json();
    let key = &keys["keys"][0];
    assert!(key["issuer"].as_str().unwrap().ends_with("/v2.0"));
    for token in [&tokens["access_token"], &tokens["id_token"]] {
        assert_eq!(part(token, 0)["kid"], key["kid"]);
        let (text, signature) = token.as_str().unwrap().rsplit_once('.').unwrap();
        let decode = |value: &str| URL_SAFE_NO_PAD.decode(value).unwrap();
        let public = RsaPublicKeyComponents {
            n: decode(key["n"].as_str().unwrap()),
            e: decode(key["e"].as_str().unwrap()),
        };
        let verified = public.verify(
            &RSA_PKCS1_2048_8192_SHA256,
            text.as_bytes(),
            &decode(signature),
        );
        assert!(verified.is_ok());
    }
}

#[tokio::test]
async fn an_instance_is_known_or_is_not() {
    let rig = Rig::start().await;
    let ask = |endpoint: String| {
        let query = [
            ("api-version", "1.1".to_owned()),
            ("authorization_endpoint", endpoint),
        ];
        rig.send(
            rig.http
                .get(rig.url("/common/discovery/instance"))
                .query(&query),
        )
    };
    let own = format!("{}/{CONTOSO}/oauth2/v2.0/authorize", rig.sandbox.origin());
    let body = ask(own).await.json();
    let place = format!(
        "{}/{CONTOSO}/v2.0/.well-known/openid-configuration",
        rig.sandbox.origin()
    );
    assert_eq!(body["tenant_discovery_endpoint"], place);
    assert!(
        body["metadata"][0]["aliases"][0]
            .as_str()
            .unwrap()
            .starts_with("localhost:")
    );
    let body = ask("https://login.microsoftonline.com/common/oauth2/authorize".into())
        .await
        .json();
    assert_eq!(body["metadata"][0]["preferred_cache"], "login.windows.net");
    for unknown in [
        "https://unknown.example/common/oauth2/v2.0/authorize",
        "nonsense",
    ] {
        refused(&ask(unknown.into()).await, 400, "invalid_instance", 50_049);
    }
}

#[tokio::test]
async fn a_realm_is_managed_or_unknown() {
    let rig = Rig::start().await;
    let body = rig
        .get("/common/userrealm/megan%40contoso.example?api-version=1.0")
        .await
        .json();
    assert_eq!(
        (&body["account_type"], &body["ver"]),
        (&"Managed".into(), &"1.0".into())
    );
    let body = rig
        .get("/common/userrealm/x@elsewhere.example?api-version=1.0")
        .await
        .json();
    assert_eq!(body["account_type"], "Unknown");
}

#[tokio::test]
async fn the_address_in_a_refusal_explains_the_code() {
    let rig = Rig::start().await;
    let page = rig.get("/error?code=50011").await;
    assert!(page.status == 200 && page.holds("AADSTS50011"));
    assert_eq!(rig.get("/error?code=1").await.status, 404);
}

//! Discovery documents, keys, and the small questions that clients ask before they sign in.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::World;
use crate::entra::Version;
use crate::entra::codes::{Refusal, Trace};
use crate::entra::directory::Segment;
use crate::entra::params::{Params, authority, origin};
use crate::entra::registration::unknown_tenant;
use crate::serve::Shared;

/// The tenant that personal accounts belong to.
const CONSUMERS: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";
const MICROSOFT: [&str; 4] = [
    "login.microsoftonline.com",
    "login.windows.net",
    "login.microsoft.com",
    "sts.windows.net",
];

pub(crate) async fn metadata_v1(
    State(world): State<Shared>,
    Path(tenant): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let asked = Asked::of(&world, &uri, &headers);
    asked.metadata(&world, Version::V1, &tenant)
}

pub(crate) async fn metadata_v2(
    State(world): State<Shared>,
    Path(tenant): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let asked = Asked::of(&world, &uri, &headers);
    asked.metadata(&world, Version::V2, &tenant)
}

pub(crate) async fn keys(
    State(world): State<Shared>,
    Path(tenant): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let asked = Asked::of(&world, &uri, &headers);
    asked.keys(&world, Version::V1, &tenant)
}

pub(crate) async fn keys_v2(
    State(world): State<Shared>,
    Path(tenant): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let asked = Asked::of(&world, &uri, &headers);
    asked.keys(&world, Version::V2, &tenant)
}

/// A question, and the address it came to.
struct Asked {
    params: Params,
    trace: Trace,
    origin: String,
}

impl Asked {
    fn of(world: &World, uri: &Uri, headers: &HeaderMap) -> Self {
        let params = Params::of_query(uri);
        Self {
            trace: Trace::of(headers, &params, world.clock.now()),
            origin: origin(headers, uri, &world.authority),
            params,
        }
    }

    /// A document that everybody may read and keep for a day.
    fn document(&self, body: Value) -> Response {
        let mut response = self.trace.answer(StatusCode::OK, body);
        let headers = response.headers_mut();
        headers.remove(header::PRAGMA);
        headers.remove(header::EXPIRES);
        for (name, value) in [
            (header::CACHE_CONTROL, "max-age=86400, private"),
            (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
            (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, OPTIONS"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }

    /// The tenant as it stands in addresses, and as it stands in issuers.
    fn names(&self, world: &World, segment: &str) -> Result<(String, String), Refusal> {
        match world.directory.segment(segment) {
            Some(Segment::Tenant(tenant)) => Ok((tenant.id.to_string(), tenant.id.to_string())),
            Some(Segment::Consumers) => Ok((segment.to_owned(), CONSUMERS.to_owned())),
            // The issuer holds a placeholder: who signs in decides.
            Some(Segment::Common | Segment::Organizations) => {
                Ok((segment.to_owned(), "{tenantid}".to_owned()))
            }
            None => Err(unknown_tenant(segment).with_error("invalid_tenant")),
        }
    }

    fn metadata(&self, world: &World, version: Version, segment: &str) -> Response {
        match self.names(world, segment) {
            Ok((at, id)) => self.document(self.describe(version, &at, &id)),
            Err(refusal) => self.trace.json(&refusal, &self.origin),
        }
    }

    fn describe(&self, version: Version, at: &str, id: &str) -> Value {
        let origin = &self.origin;
        let (oauth, keys, issuer) = match version {
            Version::V1 => (
                "oauth2",
                format!("{origin}/common/discovery/keys"),
                format!("{origin}/{id}/"),
            ),
            Version::V2 => (
                "oauth2/v2.0",
                format!("{origin}/{at}/discovery/v2.0/keys"),
                format!("{origin}/{id}/v2.0"),
            ),
        };
        let region = if id.starts_with('{') {
            None
        } else {
            Some("EU")
        };
        let mut document = json!({
            "token_endpoint": format!("{origin}/{at}/{oauth}/token"),
            "token_endpoint_auth_methods_supported":
                ["client_secret_post", "private_key_jwt", "client_secret_basic"],
            "jwks_uri": keys,
            "response_modes_supported": ["query", "fragment", "form_post"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "issuer": issuer,
            "authorization_endpoint": format!("{origin}/{at}/{oauth}/authorize"),
            "device_authorization_endpoint": format!("{origin}/{at}/{oauth}/devicecode"),
            "http_logout_supported": true,
            "frontchannel_logout_supported": true,
            "end_session_endpoint": format!("{origin}/{at}/{oauth}/logout"),
            "kerberos_endpoint": format!("{origin}/{at}/kerberos"),
            "tenant_region_scope": region,
            "cloud_instance_name": "microsoftonline.com",
            "cloud_graph_host_name": "graph.windows.net",
            "msgraph_host": "graph.microsoft.com",
            "rbac_url": "https://pas.windows.net",
        });
        let own = match version {
            Version::V1 => json!({
                "response_types_supported":
                    ["code", "id_token", "code id_token", "token id_token", "token"],
                "scopes_supported": ["openid"],
                "microsoft_multi_refresh_token": true,
                "check_session_iframe": format!("{origin}/{at}/oauth2/checksession"),
                "userinfo_endpoint": format!("{origin}/{at}/openid/userinfo"),
                "claims_supported": [
                    "sub", "iss", "cloud_instance_name", "cloud_instance_host_name",
                    "cloud_graph_host_name", "msgraph_host", "aud", "exp", "iat", "auth_time",
                    "acr", "amr", "nonce", "email", "given_name", "family_name", "nickname",
                ],
            }),
            Version::V2 => json!({
                "response_types_supported":
                    ["code", "id_token", "code id_token", "id_token token"],
                "scopes_supported": ["openid", "profile", "email", "offline_access"],
                "request_uri_parameter_supported": false,
                "userinfo_endpoint": format!("{origin}/oidc/userinfo"),
                "claims_supported": [
                    "sub", "iss", "cloud_instance_name", "cloud_instance_host_name",
                    "cloud_graph_host_name", "msgraph_host", "aud", "exp", "iat", "auth_time",
                    "acr", "nonce", "preferred_username", "name", "tid", "ver", "at_hash",
                    "c_hash", "email",
                ],
            }),
        };
        if let (Value::Object(document), Value::Object(own)) = (&mut document, own) {
            document.extend(own);
        }
        document
    }

    fn keys(&self, world: &World, version: Version, segment: &str) -> Response {
        match self.names(world, segment) {
            Ok((_, id)) => {
                let mut key = world.directory.key.jwk();
                if version == Version::V2 {
                    key["issuer"] = format!("{}/{id}/v2.0", self.origin).into();
                }
                self.document(json!({"keys": [key]}))
            }
            Err(refusal) => self.trace.json(&refusal, &self.origin),
        }
    }
}

/// Which hosts are one cloud; Microsoft's libraries ask this before anything else.
pub(crate) async fn instance(
    State(world): State<Shared>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let question = Asked::of(&world, &uri, &headers);
    let own = authority(&headers, &uri).unwrap_or(&world.authority);
    match instance_of(&question.params, own, &world.authority) {
        Ok(document) => question.document(document),
        Err(refusal) => question.trace.json(&refusal, &question.origin),
    }
}

fn instance_of(params: &Params, own: &str, authority: &str) -> Result<Value, Refusal> {
    let asked = params
        .get("authorization_endpoint")
        .ok_or_else(|| Refusal::missing("authorization_endpoint"))?;
    let unknown = || Refusal::of(50_049, &[]);
    let asked = url::Url::parse(asked).map_err(|_| unknown())?;
    let host = asked.host_str().filter(|_| asked.scheme() == "https");
    let host = host.ok_or_else(unknown)?;
    let host = asked
        .port()
        .map_or(host.to_owned(), |port| format!("{host}:{port}"));
    let microsoft = MICROSOFT.contains(&host.as_str());
    if host != own && host != authority && !microsoft {
        return Err(unknown());
    }
    let tenant = asked.path_segments().and_then(|mut parts| parts.next());
    let tenant = tenant
        .filter(|tenant| !tenant.is_empty())
        .unwrap_or("common");
    let version = if asked.path().contains("/v2.0/") {
        "v2.0/"
    } else {
        ""
    };
    let place = format!("https://{host}/{tenant}/{version}.well-known/openid-configuration");
    let (cache, aliases) = if microsoft {
        ("login.windows.net", MICROSOFT.to_vec())
    } else {
        (host.as_str(), vec![host.as_str()])
    };
    let network = aliases.first().copied().unwrap_or_default();
    Ok(json!({
        "tenant_discovery_endpoint": place,
        "api-version": params.get("api-version").unwrap_or("1.1"),
        "metadata": [
            {"preferred_network": network, "preferred_cache": cache, "aliases": aliases},
        ],
    }))
}

/// Whether a user name belongs to a domain that Entra manages; MSAL asks before a password grant.
pub(crate) async fn user_realm(
    State(world): State<Shared>,
    Path((_, login)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let question = Asked::of(&world, &uri, &headers);
    let domain = login.rsplit_once('@').map_or("", |(_, domain)| domain);
    let mut body = json!({
        "ver": "1.0", "domain_name": domain, "account_type": "Unknown",
        "cloud_instance_name": "microsoftonline.com",
        "cloud_audience_urn": "urn:federation:MicrosoftOnline",
    });
    if let Some(home) = world.directory.home_of(&login) {
        body["account_type"] = "Managed".into();
        body["domain_name"] = home.domain.as_str().into();
    }
    question.trace.answer(StatusCode::OK, body)
}

/// Who an access token speaks for (OpenID Connect Core, section 5.3).
pub(crate) async fn user_info(State(world): State<Shared>, headers: HeaderMap) -> Response {
    let token = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    let now = world.clock.now();
    let good = token.filter(|token| world.directory.key.verify(token, now).is_some());
    let claims = good.and_then(|token| world.directory.key.claims(token));
    let Some(claims) = claims.filter(|claims| claims["idtyp"] != "app") else {
        let challenge = [(header::WWW_AUTHENTICATE, "Bearer error=\"invalid_token\"")];
        let body = json!({
            "error": {"code": "InvalidAuthenticationToken", "message": "Access token is missing, expired or not valid."},
        });
        return (StatusCode::UNAUTHORIZED, challenge, Json(body)).into_response();
    };
    let mut body = json!({});
    for (name, claim) in [
        ("sub", "sub"),
        ("name", "name"),
        ("given_name", "given_name"),
        ("family_name", "family_name"),
        ("email", "unique_name"),
    ] {
        body[name] = claims[claim].clone();
    }
    body["picture"] = "https://graph.microsoft.com/v1.0/me/photo/$value".into();
    Json(body).into_response()
}

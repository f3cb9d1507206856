//! Discovery documents and keys.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::World;
use crate::entra::Version;
use crate::entra::authorize::unknown_tenant;
use crate::entra::codes::{Refusal, Trace};
use crate::entra::directory::is_shared;
use crate::entra::params::{Params, authority, origin};
use crate::serve::Shared;

const HEADERS: [(&str, &str); 3] = [
    ("cache-control", "max-age=86400, private"),
    ("access-control-allow-origin", "*"),
    ("x-content-type-options", "nosniff"),
];

pub(crate) async fn metadata_v1(
    State(world): State<Shared>,
    Path(tenant): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    metadata(&world, Version::V1, &tenant, &uri, &headers)
}

pub(crate) async fn metadata_v2(
    State(world): State<Shared>,
    Path(tenant): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    metadata(&world, Version::V2, &tenant, &uri, &headers)
}

fn metadata(
    world: &World,
    version: Version,
    segment: &str,
    uri: &Uri,
    headers: &HeaderMap,
) -> Response {
    let origin = origin(headers, uri, &world.authority);
    let id = match world.directory.tenant(segment, None) {
        Some(tenant) => tenant.id.to_string(),
        // On `common` the issuer holds a placeholder.
        None if is_shared(segment) => "{tenantid}".to_owned(),
        None => {
            let trace = Trace::of(headers, world.clock.now());
            let refusal = Refusal {
                error: "invalid_tenant",
                ..unknown_tenant(segment)
            };
            return trace.json(&refusal, &origin);
        }
    };
    let at = if is_shared(segment) { segment } else { &id };
    let (oauth, keys, issuer) = match version {
        Version::V1 => (
            "oauth2",
            "common/discovery/keys".to_owned(),
            format!("{origin}/{id}/"),
        ),
        Version::V2 => (
            "oauth2/v2.0",
            format!("{at}/discovery/v2.0/keys"),
            format!("{origin}/{id}/v2.0"),
        ),
    };
    let mut document = json!({
        "token_endpoint": format!("{origin}/{at}/{oauth}/token"),
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
        "jwks_uri": format!("{origin}/{keys}"),
        "response_modes_supported": ["query", "fragment", "form_post"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "response_types_supported": ["code"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "issuer": issuer,
        "authorization_endpoint": format!("{origin}/{at}/{oauth}/authorize"),
        "http_logout_supported": true,
        "frontchannel_logout_supported": true,
        "end_session_endpoint": format!("{origin}/{at}/{oauth}/logout"),
        "claims_supported": ["sub", "iss", "aud", "exp", "iat", "nonce", "preferred_username", "name", "tid", "ver"],
        "tenant_region_scope": "EU",
        "cloud_instance_name": "microsoftonline.com",
        "cloud_graph_host_name": "graph.windows.net",
        "msgraph_host": "graph.microsoft.com",
        "rbac_url": "https://pas.windows.net",
    });
    match version {
        Version::V1 => document["microsoft_multi_refresh_token"] = Value::Bool(true),
        Version::V2 => document["request_uri_parameter_supported"] = Value::Bool(false),
    }
    (HEADERS, Json(document)).into_response()
}

pub(crate) async fn keys(State(world): State<Shared>, Path(_): Path<String>) -> Response {
    (HEADERS, Json(json!({"keys": [world.directory.key.jwk()]}))).into_response()
}

/// Which hosts are one cloud; Microsoft's libraries ask this before anything else.
pub(crate) async fn instance(
    State(world): State<Shared>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let trace = Trace::of(&headers, world.clock.now());
    let own = authority(&headers, &uri).unwrap_or(&world.authority);
    let origin = format!("https://{own}");
    let params = Params::of_query(&uri);
    let asked = params
        .get("authorization_endpoint")
        .and_then(|text| url::Url::parse(text).ok());
    let Some(asked) = asked else {
        return trace.json(&Refusal::missing("authorization_endpoint"), &origin);
    };
    let host = asked.host_str().unwrap_or_default().to_owned();
    let host = asked
        .port()
        .map_or(host.clone(), |port| format!("{host}:{port}"));
    let microsoft = [
        "login.microsoftonline.com",
        "login.windows.net",
        "login.microsoft.com",
        "sts.windows.net",
    ];
    if host != own && host != world.authority && !microsoft.contains(&host.as_str()) {
        let refusal = Refusal::new("invalid_instance", 50_049, "Unknown or invalid instance.");
        return trace.json(
            &Refusal {
                status: StatusCode::BAD_REQUEST,
                ..refusal
            },
            &origin,
        );
    }
    let tenant = asked
        .path_segments()
        .and_then(|mut parts| parts.next())
        .unwrap_or("common")
        .to_owned();
    let version = if asked.path().contains("/v2.0/") {
        "v2.0/"
    } else {
        ""
    };
    let aliases = if microsoft.contains(&host.as_str()) {
        microsoft.to_vec()
    } else {
        vec![host.as_str()]
    };
    let document = json!({
        "tenant_discovery_endpoint": format!("https://{host}/{tenant}/{version}.well-known/openid-configuration"),
        "api-version": "1.1",
        "metadata": [{"preferred_network": aliases[0], "preferred_cache": aliases[aliases.len() - 1], "aliases": aliases}],
    });
    (HEADERS, Json(document)).into_response()
}

//! The token endpoint: who asks, for which grant, and how the answer goes out.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use crate::World;
use crate::entra::Version;
use crate::entra::application::Application;
use crate::entra::claims::Claims;
use crate::entra::client_auth;
use crate::entra::codes::{Refusal, Trace};
use crate::entra::directory::Tenant;
use crate::entra::params::{Params, origin};
use crate::entra::registration::{self, Registered};
use crate::serve::Shared;

pub(crate) async fn token_v1(
    State(world): State<Shared>,
    Path(tenant): Path<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    token(&world, Version::V1, &tenant, &method, &uri, &headers, &body)
}

pub(crate) async fn token_v2(
    State(world): State<Shared>,
    Path(tenant): Path<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    token(&world, Version::V2, &tenant, &method, &uri, &headers, &body)
}

fn token(
    world: &World,
    version: Version,
    segment: &str,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &Bytes,
) -> Response {
    let mut params = Params::of_form(body);
    client_auth::basic(headers, &mut params);
    // What only says how to answer may stand in the address; the credentials may not.
    let hints = Params::of_form(body).and(Params::of_query(uri));
    let trace = Trace::of(headers, &hints, world.clock.now());
    let origin = origin(headers, uri, &world.authority);
    let mut response = if method == Method::OPTIONS {
        StatusCode::NO_CONTENT.into_response()
    } else {
        let answered = if method == Method::POST {
            grant(world, version, segment, headers, &params, &origin)
        } else {
            Err(Refusal::of(900_561, &[("method", method.as_str())]))
        };
        match answered {
            Ok(answer) => trace.answer(StatusCode::OK, answer),
            Err(refusal) => trace.json(&refusal, &origin),
        }
    };
    if headers.contains_key(header::ORIGIN) {
        across_origins(response.headers_mut(), headers);
    }
    response
}

/// Single-page applications ask from their own origin (Fetch Standard, section 3.3).
fn across_origins(answer: &mut HeaderMap, asked: &HeaderMap) {
    let put = [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "POST, OPTIONS"),
        (header::ACCESS_CONTROL_MAX_AGE, "86400"),
    ];
    for (name, value) in put {
        answer.insert(name, HeaderValue::from_static(value));
    }
    if let Some(names) = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        answer.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
}

/// One request to the token endpoint.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) world: &'a World,
    pub(crate) version: Version,
    /// None where the address leaves it open.
    pub(crate) tenant: Option<Arc<Tenant>>,
    pub(crate) application: &'a Application,
    pub(crate) params: &'a Params,
    pub(crate) origin: &'a str,
    /// Where a browser asks from.
    pub(crate) from: Option<&'a str>,
    pub(crate) claims: Claims,
    /// What an assertion may name as its audience.
    pub(crate) audiences: Vec<String>,
}

fn grant(
    world: &World,
    version: Version,
    segment: &str,
    headers: &HeaderMap,
    params: &Params,
    origin: &str,
) -> Result<Value, Refusal> {
    let client = params
        .get("client_id")
        .ok_or_else(|| Refusal::missing("client_id"))?;
    let grant_type = params
        .get("grant_type")
        .ok_or_else(|| Refusal::missing("grant_type"))?;
    let registered = registered(world, segment, client, grant_type)?;
    let audiences = audiences(origin, segment, registered.tenant.as_deref());
    let call = Call {
        world,
        version,
        tenant: registered.tenant,
        application: &registered.application,
        params,
        origin,
        from: headers
            .get(header::ORIGIN)
            .and_then(|value| value.to_str().ok()),
        claims: Claims::of(params)?,
        audiences,
    };
    match grant_type {
        "authorization_code" => call.code(),
        "refresh_token" => call.refresh(),
        "client_credentials" => call.application_only(),
        "password" => call.password(),
        "urn:ietf:params:oauth:grant-type:device_code" | "device_code" => call.device(),
        "urn:ietf:params:oauth:grant-type:jwt-bearer" => call.on_behalf_of(),
        other => Err(Refusal::of(70_003, &[("value", other)])),
    }
}

/// Tenant and application. An application alone is at home where it is registered, and nowhere over
/// `common`.
fn registered(
    world: &World,
    segment: &str,
    client: &str,
    grant_type: &str,
) -> Result<Registered, Refusal> {
    if grant_type != "client_credentials" {
        return registration::find(world, segment, client);
    }
    let place = segment.to_ascii_lowercase();
    if matches!(place.as_str(), "common" | "consumers") {
        return Err(Refusal::of(9_001_023, &[("value", grant_type)]));
    }
    let application = client.parse().ok();
    let application = application.and_then(|id| world.directory.application(id));
    match application.filter(|_| place == "organizations") {
        Some(application) => registration::find(world, &application.tenant.to_string(), client),
        None => registration::find(world, segment, client),
    }
}

/// The token endpoints and the issuers of the tenant, under each of its names.
fn audiences(origin: &str, segment: &str, tenant: Option<&Tenant>) -> Vec<String> {
    let mut names = vec![segment.to_owned()];
    if let Some(tenant) = tenant {
        names.push(tenant.id.to_string());
        names.push(tenant.domain.clone());
    }
    let of_name = |name: &String| {
        [
            format!("{origin}/{name}/oauth2/token"),
            format!("{origin}/{name}/oauth2/v2.0/token"),
            format!("{origin}/{name}/v2.0"),
            format!("{origin}/{name}/"),
        ]
    };
    names.iter().flat_map(of_name).collect()
}

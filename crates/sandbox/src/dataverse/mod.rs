//! The Dataverse Web API: who calls, which operation it is, and the shape of answers.

mod answer;
mod batch;
mod bulk;
mod context;
mod cors;
mod discovery;
mod error;
mod functions;
mod odata;
mod organization;
mod plan;
mod populate;
mod read;
mod records;
mod resource;
mod schema;
mod security;
mod service;
mod store;
mod write;

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use uuid::Uuid;

use crate::World;
pub(crate) use crate::dataverse::discovery::serve as discover;
use crate::dataverse::error::{Fault, Outcome};
pub(crate) use crate::dataverse::organization::{Organization, Organizations};
pub(crate) use crate::dataverse::schema::Schema;
use crate::dataverse::service::{Operation, Service};
use crate::entra::Caller;
use crate::serve::Shared;

pub(crate) async fn serve(
    State(world): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Some(mut answer) = cors::options(&method, &headers) {
        decorate(answer.headers_mut(), Uuid::new_v4());
        return answer;
    }
    // SQLite blocks while it works; that must not hold up what else the runtime does.
    let answered = tokio::task::spawn_blocking(move || answer(&world, &method, &uri, &headers, &body)).await;
    let mut response = answered.unwrap_or_else(|_| {
        let text = "An unexpected error occurred in the sandbox.";
        let fault = Fault::new(StatusCode::INTERNAL_SERVER_ERROR, "0x80040216", text);
        fault.answer().map(Body::from)
    });
    decorate(response.headers_mut(), Uuid::new_v4());
    response
}

/// Headers that every answer carries.
fn decorate(headers: &mut HeaderMap, id: Uuid) {
    cors::allow(headers);
    headers.insert("odata-version", HeaderValue::from_static("4.0"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
    headers.insert("x-ms-ratelimit-burst-remaining-xrm-requests", HeaderValue::from_static("5999"));
    headers.insert("x-ms-ratelimit-time-remaining-xrm-requests", HeaderValue::from_static("1199"));
    let affinity = HeaderValue::from_static("ARRAffinity=sandbox; HttpOnly; Secure; SameSite=None; Path=/");
    headers.insert(header::SET_COOKIE, affinity);
    answer::set(headers, "x-ms-service-request-id", &id.to_string());
    answer::set(headers, "req_id", &id.to_string());
}

fn answer(world: &Arc<World>, method: &Method, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Response {
    let authority = authority_of(world, uri, headers);
    let origin = format!("https://{authority}");
    let found = world.directory.organization_at(&authority, &world.authority);
    let organization = found.and_then(|(_, own)| world.organizations.find(own.id));
    let Some(organization) = organization else {
        let text = format!("There is no organization at {authority}.");
        return refuse(Fault::new(StatusCode::NOT_FOUND, "0x80040217", text));
    };
    let Some(caller) = caller(world, organization, headers) else {
        return challenge(world, organization, &origin);
    };
    if uri.path().starts_with("/api/search/") {
        return refuse(Fault::no_search());
    }
    let (version, rest) = match version(uri.path()) {
        Ok(found) => found,
        Err(fault) => return refuse(fault),
    };
    let base = format!("{origin}/api/data/{version}/");
    let service = Service { world, organization, caller: &caller, base: &base, headers };
    let operation = Operation {
        // What a HEAD leaves out is the body alone, and that is the server's to drop.
        method: if *method == Method::HEAD { Method::GET } else { method.clone() },
        path: rest.to_owned(),
        query: uri.query().unwrap_or_default().to_owned(),
        headers: headers.clone(),
        body: body.clone(),
    };
    service.serve(operation).map(Body::from)
}

fn refuse(fault: Fault) -> Response {
    fault.answer().map(Body::from)
}

fn authority_of(world: &World, uri: &Uri, headers: &HeaderMap) -> String {
    let of_uri = uri.authority().map(axum::http::uri::Authority::as_str);
    let host = of_uri.or_else(|| headers.get(header::HOST).and_then(|host| host.to_str().ok()));
    host.unwrap_or(&world.authority).to_owned()
}

/// The version of the API, and the path behind it.
fn version(path: &str) -> Outcome<(&str, &str)> {
    let Some(path) = path.strip_prefix("/api/data/") else {
        let text = format!("No HTTP resource was found that matches the request URI '{path}'.");
        return Err(Fault::new(StatusCode::NOT_FOUND, "", text));
    };
    let (version, rest) = path.split_once('/').unwrap_or((path, ""));
    let known = version.strip_prefix("v9.").is_some_and(|minor| matches!(minor, "0" | "1" | "2"));
    if known {
        return Ok((version, rest));
    }
    let text = format!("The Web API has no version '{version}' here; v9.2 is current.");
    Err(Fault::new(StatusCode::NOT_FOUND, "0x80060888", text))
}

/// Who calls, when the token is a good one for this organization.
fn caller(world: &World, organization: &Organization, headers: &HeaderMap) -> Option<Caller> {
    let caller = world.directory.key.verify(bearer(headers)?, world.clock.now())?;
    let audience = url::Url::parse(&caller.audience).ok()?;
    let host = audience.host_str()?;
    let authority = audience.port().map_or(host.to_owned(), |port| format!("{host}:{port}"));
    let (_, meant) = world.directory.organization_at(&authority, &world.authority)?;
    (meant.id == organization.id && caller.tenant == organization.tenant).then_some(caller)
}

/// The token that a request brings.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// What is said without a token: where to get one, and for what.
fn challenge(world: &World, organization: &Organization, origin: &str) -> Response {
    let text = format!(
        "Bearer authorization_uri=https://{}/{}/oauth2/authorize, resource_id={origin}/",
        world.authority, organization.tenant
    );
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, text)]).into_response()
}

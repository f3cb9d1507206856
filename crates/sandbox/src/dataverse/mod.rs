//! The Dataverse Web API: who calls, which operation it is, and the shape of answers.

mod answer;
mod batch;
mod bulk;
mod caller;
mod context;
mod cors;
mod discovery;
mod error;
mod fetch;
mod functions;
pub(crate) mod limits;
mod look;
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
mod shares;
mod store;
mod write;

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::Response;
use uuid::Uuid;

use crate::World;
pub(crate) use crate::dataverse::discovery::serve as discover;
use crate::dataverse::error::{Fault, Outcome};
pub(crate) use crate::dataverse::look::look;
pub(crate) use crate::dataverse::organization::Organizations;
pub(crate) use crate::dataverse::schema::Schema;
pub(crate) use crate::dataverse::schema::custom;
pub(crate) use crate::dataverse::service::{Operation, Service};
use crate::entra::{Caller, Verdict};
use crate::faults::Pause;
use crate::serve::Shared;

pub(crate) async fn serve(
    State(world): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    pause: Pause,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    if let Some(mut answer) = cors::options(&method, &headers) {
        decorate(answer.headers_mut(), Uuid::new_v4());
        return answer;
    }
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return unread(&rejection),
    };
    let mut response = match arrive(&world, &uri, &headers) {
        Ok(arrival) => admit(world, arrival, pause, method, uri, headers, body).await,
        Err(response) => *response,
    };
    decorate(response.headers_mut(), Uuid::new_v4());
    response
}

/// Where a request goes, and who sends it.
struct Arrival {
    organization: Uuid,
    caller: Caller,
    origin: String,
}

/// Answers a request, if the limits let it in.
async fn admit(
    world: Shared,
    arrival: Arrival,
    pause: Pause,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let caller = &arrival.caller;
    let principal = caller.object_id.or(caller.application).unwrap_or_default();
    let permit = match world.limits.enter(principal, &headers) {
        Ok(permit) => permit,
        Err(throttled) => return throttled.into_response(),
    };
    // A delay that was ordered counts as time of execution.
    pause.wait().await;
    // SQLite blocks while it works; that must not hold up what else the runtime does.
    let work = move || answer(&world, &arrival, &method, &uri, &headers, &body);
    let answered = tokio::task::spawn_blocking(work).await;
    let mut response = answered.unwrap_or_else(|_| Fault::unexpected().answer().map(Body::from));
    permit.decorate(response.headers_mut());
    response
}

/// The answer to a body that is too long, or that broke off.
fn unread(rejection: &BytesRejection) -> Response {
    let fault = if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        let text = "The request is longer than the sandbox takes. Send it in several parts.";
        Fault::new(StatusCode::PAYLOAD_TOO_LARGE, "0x8004418a", text)
    } else {
        Fault::syntax("The body of the request could not be read to its end.")
    };
    let mut response = refuse(fault);
    decorate(response.headers_mut(), Uuid::new_v4());
    response
}

/// Headers that every answer carries.
fn decorate(headers: &mut HeaderMap, id: Uuid) {
    cors::allow(headers);
    headers.insert("odata-version", HeaderValue::from_static("4.0"));
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-cache"));
    answer::set(headers, "x-ms-service-request-id", &id.to_string());
    answer::set(headers, "req_id", &id.to_string());
}

fn arrive(world: &World, uri: &Uri, headers: &HeaderMap) -> Result<Arrival, Box<Response>> {
    let authority = authority_of(world, uri, headers);
    let found = world
        .directory
        .organization_at(&authority, &world.authority);
    let organization = found.and_then(|(_, own)| world.organizations.find(own.id));
    let Some(organization) = organization else {
        let text = format!("There is no organization at {authority}.");
        let fault = Fault::new(StatusCode::NOT_FOUND, "0x80040217", text);
        return Err(Box::new(refuse(fault)));
    };
    match caller::of(world, organization, headers) {
        Verdict::Good(caller) => Ok(Arrival {
            organization: organization.id,
            caller,
            origin: format!("https://{authority}"),
        }),
        Verdict::Refused => Err(Box::new(caller::challenge(world, organization, &authority))),
        Verdict::Challenged { claims } => {
            Err(Box::new(caller::overtaken(world, &authority, &claims)))
        }
    }
}

fn answer(
    world: &Arc<World>,
    arrival: &Arrival,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &Bytes,
) -> Response {
    let Some(organization) = world.organizations.find(arrival.organization) else {
        let text = "There is no such organization.";
        return refuse(Fault::new(StatusCode::NOT_FOUND, "0x80040217", text));
    };
    if uri.path().starts_with("/api/search/") {
        return refuse(Fault::no_search());
    }
    let (version, rest) = match version(uri.path()) {
        Ok(found) => found,
        Err(fault) => return refuse(fault),
    };
    let base = format!("{}/api/data/{version}/", arrival.origin);
    let service = Service {
        world,
        organization,
        caller: &arrival.caller,
        base: &base,
        headers,
    };
    let operation = Operation {
        // What a HEAD leaves out is the body alone, and that is the server's to drop.
        method: if *method == Method::HEAD {
            Method::GET
        } else {
            method.clone()
        },
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
    let host = of_uri.or_else(|| {
        headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok())
    });
    host.unwrap_or(&world.authority).to_owned()
}

/// The version of the API, and the path behind it.
fn version(path: &str) -> Outcome<(&str, &str)> {
    let Some(path) = path.strip_prefix("/api/data/") else {
        let text = format!("No HTTP resource was found that matches the request URI '{path}'.");
        return Err(Fault::new(StatusCode::NOT_FOUND, "", text));
    };
    let (version, rest) = path.split_once('/').unwrap_or((path, ""));
    let known = version
        .strip_prefix("v9.")
        .is_some_and(|minor| matches!(minor, "0" | "1" | "2"));
    if known {
        return Ok((version, rest));
    }
    let text = format!("The Web API has no version '{version}' here; v9.2 is current.");
    Err(Fault::new(StatusCode::NOT_FOUND, "0x80060888", text))
}

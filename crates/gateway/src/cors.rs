//! Pages of other origins that call the gateway from a browser: the CORS protocol of the Fetch
//! standard.
//!
//! Whose pages may is the administrator's to say (`gateway.allowed_origins`); what Dynamics says of
//! origins is about its own address and is not passed on. A preflight carries no credentials, so it
//! is answered without a key.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::Full;
use tieline_app::{Refused, Who};

/// How many seconds a browser may remember a preflight's answer; Chromium's own limit.
const MAX_AGE: &str = "7200";
/// Every method that the Web API knows.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
/// What a page sees of an answer without being told that it may.
const SAFE: [&str; 7] = [
    "cache-control",
    "content-language",
    "content-length",
    "content-type",
    "expires",
    "last-modified",
    "pragma",
];

/// Whether a request asks if another may be made.
pub(crate) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS
        && headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// Whether pages of an origin may call; `*` in the list lets every page.
fn admits(allowed: &[String], origin: &HeaderValue) -> bool {
    allowed
        .iter()
        .any(|listed| listed == "*" || listed.as_bytes().eq_ignore_ascii_case(origin.as_bytes()))
}

/// Answers a preflight.
///
/// # Errors
/// When pages of that origin may not call.
pub(crate) fn preflight(
    allowed: &[String],
    asked: &HeaderMap,
) -> Result<Response<Full<Bytes>>, Refused> {
    let origin = asked.get(header::ORIGIN);
    let Some(origin) = origin.filter(|origin| admits(allowed, origin)) else {
        let detail = "Pages of this origin may not call the gateway. An administrator can list it \
                      in gateway.allowed_origins.";
        return Err(Refused::new(
            Who::Consumer,
            403,
            "origin-not-allowed",
            detail,
        ));
    };
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    let headers = answer.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    let methods = HeaderValue::from_static(METHODS);
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    if let Some(names) = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    let age = HeaderValue::from_static(MAX_AGE);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, age);
    let vary = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";
    headers.insert(header::VARY, HeaderValue::from_static(vary));
    Ok(answer)
}

/// Lets the page that called see the answer, and all of its headers.
pub(crate) fn open(allowed: &[String], origin: &HeaderValue, answer: &mut HeaderMap) {
    let theirs: Vec<_> = answer
        .keys()
        .filter(|name| name.as_str().starts_with("access-control-"))
        .cloned()
        .collect();
    for name in theirs {
        answer.remove(name);
    }
    if !admits(allowed, origin) {
        return;
    }
    let names: Vec<&str> = answer
        .keys()
        .map(http::HeaderName::as_str)
        .filter(|name| !SAFE.contains(name))
        .collect();
    if let Ok(names) = HeaderValue::from_str(&names.join(", ")) {
        answer.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, names);
    }
    answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    answer.append(header::VARY, HeaderValue::from_static("Origin"));
}

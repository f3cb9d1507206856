//! Pages of other origins (the Fetch standard): Dataverse lets them call, with a token of theirs.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, Response, header};

/// Headers that a page may read.
const READABLE: &str = "Preference-Applied,OData-EntityId,Location,ETag,OData-Version,Content-Encoding,Transfer-Encoding,Content-Length,Retry-After,REQ_ID,x-ms-service-request-id";
/// Methods that some resource or other has.
const METHODS: &str = "GET,HEAD,POST,PUT,PATCH,DELETE,OPTIONS";
/// What Dataverse names in `Allow`, whatever the resource.
pub(crate) const ALLOW: &str = "OPTIONS,GET,HEAD,POST";

/// Answers `OPTIONS`, which nobody has a token for.
pub(crate) fn options(method: &Method, headers: &HeaderMap) -> Option<Response<Body>> {
    if method != Method::OPTIONS {
        return None;
    }
    let mut answer = Response::new(Body::empty());
    allow(answer.headers_mut());
    answer
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static(ALLOW));
    if headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) {
        let own = answer.headers_mut();
        own.insert(
            header::ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static(METHODS),
        );
        own.insert(
            header::ACCESS_CONTROL_MAX_AGE,
            HeaderValue::from_static("3600"),
        );
        if let Some(wanted) = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            own.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
        }
    }
    Some(answer)
}

/// Lets a page that asked read the answer.
pub(crate) fn allow(headers: &mut HeaderMap) {
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        HeaderValue::from_static("*"),
    );
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static(READABLE),
    );
}

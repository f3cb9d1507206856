//! Phase one: which consumer calls.

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, header};
use tieline_app::{CallerPass, Refused, Who};

use crate::marks::Marks;
use crate::worker::Worker;

/// The header for clients that need `Authorization` for themselves.
pub(crate) const KEY_HEADER: HeaderName = HeaderName::from_static("tieline-key");

/// Admits the caller by the API key that it shows.
pub(crate) async fn admit(
    worker: &Worker,
    headers: &HeaderMap,
    marks: Marks,
) -> Result<Arc<CallerPass>, Refused> {
    let Some(key) = key(headers, marks) else {
        return Err(Refused::new(
            Who::Consumer,
            401,
            "key-missing",
            "No API key was sent. Send it as 'Authorization: Bearer <key>' or as 'Tieline-Key: \
             <key>'.",
        ));
    };
    let app = &worker.inner.app;
    if let Some(caller) = app.caller_known(&key) {
        return Ok(caller);
    }
    let (app, key) = (app.clone(), key.into_owned());
    Box::pin(worker.at_home(async move { app.caller_admit(&key).await })).await
}

/// As bearer token (RFC 6750), as the password of Basic (RFC 7617), or in a header of its own.
fn key(headers: &HeaderMap, marks: Marks) -> Option<Cow<'_, str>> {
    if marks.has(Marks::OURS)
        && let Some(key) = headers.get(&KEY_HEADER)
    {
        return Some(key.to_str().ok()?.trim().into());
    }
    let value = headers.get(header::AUTHORIZATION)?.as_bytes().trim_ascii();
    let space = memchr::memchr(b' ', value)?;
    let (scheme, rest) = value.split_at(space);
    let rest = std::str::from_utf8(rest.trim_ascii()).ok()?;
    if scheme.eq_ignore_ascii_case(b"bearer") {
        return Some(rest.into());
    }
    if scheme.eq_ignore_ascii_case(b"basic") {
        use base64::Engine as _;
        let decoded = base64::engine::general_purpose::STANDARD
            .decode(rest)
            .ok()?;
        let text = String::from_utf8(decoded).ok()?;
        return Some(text.split_once(':')?.1.to_owned().into());
    }
    None
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn key_of(name: &'static str, value: &'static str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_static(value));
        key(&headers, Marks::of(&headers)).map(Cow::into_owned)
    }

    #[test]
    fn a_key_comes_in_three_ways() {
        assert_eq!(
            key_of("authorization", "Bearer tl_1").as_deref(),
            Some("tl_1")
        );
        assert_eq!(
            key_of("authorization", "bearer  tl_1 ").as_deref(),
            Some("tl_1")
        );
        assert_eq!(
            key_of("authorization", "Basic eDp0bF8x").as_deref(),
            Some("tl_1")
        );
        assert_eq!(key_of("tieline-key", "tl_1").as_deref(), Some("tl_1"));
        assert_eq!(key_of("authorization", "Digest x"), None);
        assert_eq!(key_of("authorization", "Bearer"), None);
    }
}

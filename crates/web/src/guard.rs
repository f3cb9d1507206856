//! What stands around every handler: security headers, and the refusal of cross-site writes.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// No inline script or style, nothing from another host, no framing. Forms go to this origin only:
/// the way to Microsoft is a plain link or a script's navigation, never a form's redirect, which
/// browsers hold against `form-action`.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; \
    frame-ancestors 'none'";

/// Adds the headers that every answer carries.
pub(crate) async fn security_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(
        "permissions-policy",
        HeaderValue::from_static("camera=(), microphone=(), geolocation=()"),
    );
    // Pages show the state of connections; none may come from a cache after a sign-out.
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Refuses writes that another site's page sends with our cookie.
///
/// Browsers say where a request comes from (`Sec-Fetch-Site`, and `Origin` before that); programs
/// that are no browsers send neither and hold no cookie by accident.
pub(crate) async fn same_origin(request: Request, next: Next) -> Response {
    let safe = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    );
    if safe || comes_from_here(request.headers()) {
        return next.run(request).await;
    }
    (
        StatusCode::FORBIDDEN,
        "this request comes from another site and was refused\n",
    )
        .into_response()
}

fn comes_from_here(headers: &HeaderMap) -> bool {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    if let Some(site) = text("sec-fetch-site") {
        return matches!(site, "same-origin" | "none");
    }
    let Some(origin) = text("origin") else {
        return true;
    };
    let host = text("host").unwrap_or_default();
    origin
        .split_once("://")
        .is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    name.parse().expect("a name"),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn other_sites_are_told_by_what_browsers_say() {
        assert!(comes_from_here(&headers(&[(
            "sec-fetch-site",
            "same-origin"
        )])));
        assert!(!comes_from_here(&headers(&[(
            "sec-fetch-site",
            "cross-site"
        )])));
        assert!(!comes_from_here(&headers(&[(
            "sec-fetch-site",
            "same-site"
        )])));
        assert!(comes_from_here(&headers(&[
            ("origin", "http://localhost:8420"),
            ("host", "localhost:8420")
        ])));
        assert!(!comes_from_here(&headers(&[
            ("origin", "http://evil.example"),
            ("host", "localhost:8420")
        ])));
        assert!(!comes_from_here(&headers(&[
            ("origin", "null"),
            ("host", "localhost:8420")
        ])));
        assert!(comes_from_here(&headers(&[])));
    }
}

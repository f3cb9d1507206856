//! A refusal as the caller gets it: who failed, a stable code, and the trace id.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::json;
use tieline_app::Refused;

/// Who failed: `consumer`, `tieline`, `entra` or `dynamics`.
pub(crate) const FAILED: HeaderName = HeaderName::from_static("tieline-failed");
/// Names the call in logs.
pub(crate) const TRACE_ID: HeaderName = HeaderName::from_static("tieline-trace-id");

/// Whether whoever calls there expects OData's errors: at the Web API's root and beneath it, under
/// an account's name or a host of its own.
fn speaks_odata(path: &str) -> bool {
    const ROOT: &str = "/api/data";
    let mut segments = path.match_indices('/').map(|(at, _)| &path[at..]).take(2);
    segments.any(|rest| {
        rest.split_at_checked(ROOT.len())
            .is_some_and(|(root, after)| {
                root.eq_ignore_ascii_case(ROOT) && (after.is_empty() || after.starts_with('/'))
            })
    })
}

/// In OData's error shape where the client speaks OData, so that its own error handling shows the
/// message; else a problem document (RFC 9457).
pub(crate) fn refuse(refused: &Refused, path: &str, trace_id: &str) -> Response<Full<Bytes>> {
    let odata = speaks_odata(path);
    let (kind, body) = if odata {
        let body = json!({"error": {
            "code": refused.code,
            "message": refused.detail,
            "innererror": {
                "failed": refused.who.as_str(),
                "trace_id": trace_id,
                "evidence": refused.evidence,
            },
        }});
        ("application/json; odata.metadata=minimal", body)
    } else {
        let body = json!({
            "type": format!("urn:tieline:problem:{}", refused.code),
            "title": refused.detail,
            "status": refused.status,
            "code": refused.code,
            "failed": refused.who.as_str(),
            "trace_id": trace_id,
            "evidence": refused.evidence,
        });
        ("application/problem+json", body)
    };
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() =
        StatusCode::from_u16(refused.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(FAILED, HeaderValue::from_static(refused.who.as_str()));
    if odata {
        headers.insert("odata-version", HeaderValue::from_static("4.0"));
    }
    if refused.status == 401 {
        let challenge = HeaderValue::from_static("Bearer realm=\"tieline\"");
        headers.insert(header::WWW_AUTHENTICATE, challenge);
    }
    if let Some(after) = refused.retry_after {
        // Rounded up: who comes back a moment early is refused again.
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_calls_the_web_api_speaks_odata() {
        for path in [
            "/api/data",
            "/api/data/v9.2/contacts",
            "/API/Data/v9.2",
            "/Contoso%20Sales/api/data",
            "/Contoso/api/data/v9.2/$batch",
        ] {
            assert!(speaks_odata(path), "{path}");
        }
        for path in [
            "/",
            "/contacts",
            "/api/datax",
            "/api/other",
            "/a/b/api/data/x",
        ] {
            assert!(!speaks_odata(path), "{path}");
        }
    }
}

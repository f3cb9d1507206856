//! Names of headers that Dynamics' answers have. One that the `http` crate does not know itself is
//! checked, copied and let go of again for every answer otherwise.

use http::HeaderName;

macro_rules! among {
    ($name:ident: $($written:literal = $known:literal),+) => {{
        static NAMES: [HeaderName; [$($known),+].len()] = [$(HeaderName::from_static($known)),+];
        // As Dynamics writes them, most often.
        let as_written = [$($written.as_bytes()),+].iter().position(|written| *written == $name);
        let at = as_written.or_else(|| {
            let known = [$($known.as_bytes()),+];
            known.iter().position(|known| known.eq_ignore_ascii_case($name))
        });
        at.map(|at| &NAMES[at])
    }};
}

/// A header's name, in whatever case it was written. None where there can be no such name.
pub(crate) fn named(name: &[u8]) -> Option<HeaderName> {
    let known = match name.len() {
        4 => among!(name: "Date" = "date", "ETag" = "etag", "Vary" = "vary"),
        5 => among!(name: "Allow" = "allow"),
        6 => among!(name: "Server" = "server", "REQ_ID" = "req_id", "Public" = "public"),
        7 => among!(name: "Expires" = "expires"),
        8 => among!(name: "Location" = "location", "X-Source" = "x-source"),
        10 => among!(name: "Set-Cookie" = "set-cookie", "Connection" = "connection"),
        11 => among!(name: "Retry-After" = "retry-after"),
        12 => among!(name: "Content-Type" = "content-type"),
        13 => among!(
            name: "OData-Version" = "odata-version", "Cache-Control" = "cache-control",
            "x-ms-dop-hint" = "x-ms-dop-hint", "Last-Modified" = "last-modified",
            "CRM.ServiceId" = "crm.serviceid"
        ),
        14 => among!(
            name: "Content-Length" = "content-length", "OData-EntityId" = "odata-entityid",
            "AuthActivityId" = "authactivityid"
        ),
        16 => among!(
            name: "Content-Encoding" = "content-encoding", "WWW-Authenticate" = "www-authenticate"
        ),
        17 => among!(name: "Transfer-Encoding" = "transfer-encoding"),
        18 => among!(name: "Preference-Applied" = "preference-applied"),
        22 => among!(name: "X-Content-Type-Options" = "x-content-type-options"),
        23 => among!(name: "x-ms-service-request-id" = "x-ms-service-request-id"),
        25 => among!(name: "Strict-Transport-Security" = "strict-transport-security"),
        42 => among!(
            name: "x-ms-ratelimit-time-remaining-xrm-requests"
                = "x-ms-ratelimit-time-remaining-xrm-requests"
        ),
        43 => among!(
            name: "x-ms-ratelimit-burst-remaining-xrm-requests"
                = "x-ms-ratelimit-burst-remaining-xrm-requests"
        ),
        _ => None,
    };
    match known {
        Some(known) => Some(known.clone()),
        None => HeaderName::from_bytes(name).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_same_whether_it_is_known_or_made() {
        for name in [
            "date",
            "ETag",
            "Vary",
            "Allow",
            "Server",
            "REQ_ID",
            "Public",
            "Expires",
            "Location",
            "X-Source",
            "Connection",
            "Set-Cookie",
            "Retry-After",
            "Content-Type",
            "OData-Version",
            "Cache-Control",
            "x-ms-dop-hint",
            "Last-Modified",
            "CRM.ServiceId",
            "Content-Length",
            "OData-EntityId",
            "AuthActivityId",
            "Content-Encoding",
            "WWW-Authenticate",
            "Transfer-Encoding",
            "Preference-Applied",
            "X-Content-Type-Options",
            "x-ms-service-request-id",
            "Strict-Transport-Security",
            "x-ms-ratelimit-time-remaining-xrm-requests",
            "x-ms-ratelimit-burst-remaining-xrm-requests",
            "X-Something-Else",
            "datx",
        ] {
            let made = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            assert_eq!(named(name.as_bytes()), Some(made), "{name}");
        }
        assert_eq!(named(b"a b"), None);
        assert_eq!(named(b""), None);
    }
}

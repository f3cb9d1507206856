//! Names of headers that Dynamics' answers have. One that the `http` crate does not know itself is
//! checked, copied and let go of again for every answer otherwise.

use http::HeaderName;

macro_rules! among {
    ($name:ident: $($known:literal),+) => {{
        static NAMES: [HeaderName; [$($known),+].len()] = [$(HeaderName::from_static($known)),+];
        // Names of one length have different first letters, most of them.
        let at = [$($known.as_bytes()),+].iter().position(|known| {
            known[0] == $name[0].to_ascii_lowercase() && known.eq_ignore_ascii_case($name)
        });
        at.map(|at| &NAMES[at])
    }};
}

/// A header's name, in whatever case it was written. None where there can be no such name.
pub(crate) fn named(name: &[u8]) -> Option<HeaderName> {
    let known = match name.len() {
        4 => among!(name: "date", "etag", "vary"),
        5 => among!(name: "allow"),
        6 => among!(name: "server", "req_id", "public"),
        7 => among!(name: "expires"),
        8 => among!(name: "location", "x-source"),
        10 => among!(name: "connection", "set-cookie"),
        11 => among!(name: "retry-after"),
        12 => among!(name: "content-type"),
        13 => {
            among!(name: "odata-version", "cache-control", "x-ms-dop-hint", "last-modified", "crm.serviceid")
        }
        14 => among!(name: "content-length", "odata-entityid", "authactivityid"),
        16 => among!(name: "content-encoding", "www-authenticate"),
        17 => among!(name: "transfer-encoding"),
        18 => among!(name: "preference-applied"),
        22 => among!(name: "x-content-type-options"),
        23 => among!(name: "x-ms-service-request-id"),
        25 => among!(name: "strict-transport-security"),
        42 => among!(name: "x-ms-ratelimit-time-remaining-xrm-requests"),
        43 => among!(name: "x-ms-ratelimit-burst-remaining-xrm-requests"),
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

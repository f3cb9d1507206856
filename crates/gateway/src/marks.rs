//! Which headers of a head concern the gateway, found in one pass over it.
//!
//! Asking a map for each of some thirty names costs a hash and a probe apiece, for headers that
//! hardly any call has; going through the eight that it does have costs less than three of those.

use http::{HeaderMap, HeaderName, HeaderValue};

/// A set of headers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Marks(u32);

impl Marks {
    pub(crate) const CONNECTION: Self = Self(1);
    /// Other fields about one connection (RFC 9110, section 7.6.1).
    pub(crate) const HOP_BY_HOP: Self = Self(1 << 1);
    /// What is between a caller and the gateway: `Tieline-…`.
    pub(crate) const OURS: Self = Self(1 << 2);
    pub(crate) const TRANSFER_ENCODING: Self = Self(1 << 3);
    pub(crate) const CONTENT_LENGTH: Self = Self(1 << 4);
    pub(crate) const CONTENT_ENCODING: Self = Self(1 << 5);
    pub(crate) const ACCEPT_ENCODING: Self = Self(1 << 6);
    /// Digests of a body's bytes.
    pub(crate) const DIGEST: Self = Self(1 << 7);
    pub(crate) const ORIGIN: Self = Self(1 << 8);
    pub(crate) const TRACEPARENT: Self = Self(1 << 9);
    pub(crate) const FORWARDED: Self = Self(1 << 10);
    pub(crate) const COOKIE: Self = Self(1 << 11);
    pub(crate) const EXPECT: Self = Self(1 << 12);
    pub(crate) const SET_COOKIE: Self = Self(1 << 13);
    /// Headers that hold addresses.
    pub(crate) const ADDRESSED: Self = Self(1 << 14);

    pub(crate) fn of(headers: &HeaderMap<HeaderValue>) -> Self {
        let mut marks = Self::default();
        for name in headers.keys() {
            marks.0 |= Self::of_name(name).0;
        }
        marks
    }

    /// Whether one of these is there.
    pub(crate) fn has(self, any: Self) -> bool {
        self.0 & any.0 != 0
    }

    fn of_name(name: &HeaderName) -> Self {
        let name = name.as_str().as_bytes();
        // By length first: most names end here.
        match name.len() {
            2 if name == b"te" => Self::HOP_BY_HOP,
            4 if name == b"link" => Self::ADDRESSED,
            6 => match name {
                b"origin" => Self::ORIGIN,
                b"cookie" => Self::COOKIE,
                b"expect" => Self::EXPECT,
                b"digest" => Self::DIGEST,
                _ => Self(0),
            },
            7 if name == b"upgrade" => Self::HOP_BY_HOP,
            8 if name == b"location" => Self::ADDRESSED,
            10 => match name {
                b"connection" => Self::CONNECTION,
                b"keep-alive" => Self::HOP_BY_HOP,
                b"set-cookie" => Self::SET_COOKIE,
                _ => Self::of_ours(name),
            },
            11 => match name {
                b"traceparent" => Self::TRACEPARENT,
                b"content-md5" | b"repr-digest" => Self::DIGEST,
                _ => Self::of_ours(name),
            },
            14 => match name {
                b"content-length" => Self::CONTENT_LENGTH,
                b"content-digest" => Self::DIGEST,
                b"odata-entityid" => Self::ADDRESSED,
                _ => Self::of_ours(name),
            },
            15 if name == b"accept-encoding" => Self::ACCEPT_ENCODING,
            16 => match name {
                b"content-encoding" => Self::CONTENT_ENCODING,
                b"content-location" => Self::ADDRESSED,
                b"proxy-connection" => Self::HOP_BY_HOP,
                _ => Self::of_ours(name),
            },
            17 => match name {
                b"transfer-encoding" => Self(Self::TRANSFER_ENCODING.0 | Self::HOP_BY_HOP.0),
                b"x-forwarded-proto" => Self::FORWARDED,
                _ => Self::of_ours(name),
            },
            18 if name == b"proxy-authenticate" => Self::HOP_BY_HOP,
            19 if name == b"proxy-authorization" => Self::HOP_BY_HOP,
            _ => Self::of_ours(name),
        }
    }

    fn of_ours(name: &[u8]) -> Self {
        if name.starts_with(b"tieline-") {
            Self::OURS
        } else {
            Self(0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inject::HOP_BY_HOP;
    use crate::relay::{ADDRESSED, DIGESTS};

    #[test]
    fn every_name_that_is_looked_for_has_its_mark() {
        let marked = |name: &HeaderName, mark: Marks| {
            let mut headers = HeaderMap::new();
            headers.insert(name.clone(), HeaderValue::from_static("x"));
            assert!(Marks::of(&headers).has(mark), "{name}");
        };
        for name in &HOP_BY_HOP {
            marked(name, Marks(Marks::HOP_BY_HOP.0 | Marks::CONNECTION.0));
        }
        for name in &DIGESTS {
            marked(name, Marks::DIGEST);
        }
        for (name, _) in &ADDRESSED {
            marked(name, Marks::ADDRESSED);
        }
        use http::header;
        for (name, mark) in [
            (header::CONNECTION, Marks::CONNECTION),
            (header::TRANSFER_ENCODING, Marks::TRANSFER_ENCODING),
            (header::CONTENT_LENGTH, Marks::CONTENT_LENGTH),
            (header::CONTENT_ENCODING, Marks::CONTENT_ENCODING),
            (header::ACCEPT_ENCODING, Marks::ACCEPT_ENCODING),
            (header::ORIGIN, Marks::ORIGIN),
            (header::COOKIE, Marks::COOKIE),
            (header::SET_COOKIE, Marks::SET_COOKIE),
            (header::EXPECT, Marks::EXPECT),
            (crate::admit::KEY_HEADER, Marks::OURS),
            (crate::route::ACCOUNT_HEADER, Marks::OURS),
            (crate::fair::PRIORITY, Marks::OURS),
            (crate::fair::DEADLINE, Marks::OURS),
            (crate::address::FORWARDED_PROTO, Marks::FORWARDED),
            (crate::observe::TRACEPARENT, Marks::TRACEPARENT),
        ] {
            marked(&name, mark);
        }
        for length in 9..40 {
            let ours = format!("{:x<length$}", "tieline-");
            marked(&ours.parse().expect("a name"), Marks::OURS);
        }
    }

    #[test]
    fn other_headers_have_none() {
        let mut headers = HeaderMap::new();
        for name in ["accept", "odata-version", "prefer", "user-agent", "date"] {
            headers.insert(name, HeaderValue::from_static("x"));
        }
        assert_eq!(Marks::of(&headers), Marks::default());
    }
}

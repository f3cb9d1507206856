//! Phase two: which account is meant, and what of the address is for Dynamics.

use std::borrow::Cow;

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, Uri, header};
use percent_encoding::percent_decode_str;
use tieline_app::{Refused, Who};

/// The header that names an account.
pub(crate) const ACCOUNT_HEADER: HeaderName = HeaderName::from_static("tieline-account");

/// An address, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Route<'a> {
    /// The account as it was named; none means the default one.
    pub(crate) account: Option<Cow<'a, str>>,
    /// What else the account may be called, where a host names it: not every name can be a host's.
    pub(crate) others: Vec<String>,
    pub(crate) target: Target,
    /// What was cut off in front of them, such as `/Contoso%20Sales`; links in answers get it back.
    pub(crate) prefix: &'a str,
}

/// Path and query for Dynamics, byte for byte as they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    whole: PathAndQuery,
    /// Where in it they begin: in front of a slash.
    from: usize,
}

impl Target {
    pub(crate) fn as_str(&self) -> &str {
        self.whole.as_str().get(self.from..).unwrap_or("/")
    }
}

impl From<PathAndQuery> for Target {
    fn from(whole: PathAndQuery) -> Self {
        Self { whole, from: 0 }
    }
}

/// Takes an address apart. Path goes before host name, and host name before header: what is more
/// visible wins.
pub(crate) fn route<'a>(
    uri: &'a Uri,
    headers: &HeaderMap,
    suffix: Option<&str>,
) -> Result<Route<'a>, Refused> {
    let whole = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let (prefix, rest) = if is_api(whole) {
        ("", whole)
    } else {
        split(whole)
    };
    if !is_api(rest) {
        return Err(Refused::new(
            Who::Consumer,
            404,
            "no-such-address",
            "There is nothing at this address. The Web API is at /api/data/v9.2/… for the default \
             account, and at /<account>/api/data/v9.2/… for another one.",
        ));
    }
    let root = PathAndQuery::from_static("/");
    let target = Target {
        whole: uri.path_and_query().cloned().unwrap_or(root),
        from: prefix.len(),
    };
    let host = prefix
        .is_empty()
        .then(|| by_host(uri, headers, suffix))
        .flatten();
    let others = host.as_deref().map(spellings).unwrap_or_default();
    let account = if prefix.is_empty() {
        host.or_else(|| by_header(headers)).map(Cow::Owned)
    } else {
        Some(decode(&prefix[1..])?)
    };
    Ok(Route {
        account,
        others,
        target,
        prefix,
    })
}

/// `/api` is the Web API's; no account may be called so.
fn is_api(path: &str) -> bool {
    // Dynamics does not mind the case of its paths.
    path.get(..5)
        .is_some_and(|beginning| beginning.eq_ignore_ascii_case("/api/"))
}

/// The first segment, and the rest from its slash on.
fn split(whole: &str) -> (&str, &str) {
    let path_end = memchr::memchr(b'?', whole.as_bytes()).unwrap_or(whole.len());
    match memchr::memchr(b'/', &whole.as_bytes()[1.min(path_end)..path_end]) {
        Some(at) => whole.split_at(at + 1),
        None => ("", whole),
    }
}

fn decode(segment: &str) -> Result<Cow<'_, str>, Refused> {
    percent_decode_str(segment).decode_utf8().map_err(|_| {
        Refused::new(
            Who::Consumer,
            400,
            "account-name-malformed",
            "The account's name in the address is not percent-encoded UTF-8.",
        )
    })
}

/// `contoso.gateway.example.com` names the account `contoso`.
fn by_host(uri: &Uri, headers: &HeaderMap, suffix: Option<&str>) -> Option<String> {
    let label = label_of(authority(uri, headers)?, suffix?)?;
    Some(label.to_ascii_lowercase())
}

/// Names that a host's label may stand for: a hyphen for a space, and Unicode in its ASCII form
/// (RFC 5891), in which browsers send it.
fn spellings(label: &str) -> Vec<String> {
    let (unicode, sound) = idna::domain_to_unicode(label);
    let mut names = Vec::new();
    let spaced = unicode.replace('-', " ");
    for name in [spaced, unicode] {
        if name != label && !names.contains(&name) && sound.is_ok() {
            names.push(name);
        }
    }
    names
}

/// Whether an authority is of a host of an account's own.
pub(crate) fn is_beneath(authority: &str, suffix: Option<&str>) -> bool {
    suffix.is_some_and(|suffix| label_of(authority, suffix).is_some())
}

/// What stands in front of the suffix.
fn label_of<'a>(authority: &'a str, suffix: &str) -> Option<&'a str> {
    let host = authority.split(':').next()?;
    let (label, end) = host.split_at_checked(host.len().checked_sub(suffix.len())?)?;
    let label = label.strip_suffix('.')?;
    (end.eq_ignore_ascii_case(suffix) && !label.is_empty()).then_some(label)
}

fn by_header(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(&ACCOUNT_HEADER)?;
    // Names that are not ASCII come percent-encoded, as in the path.
    let text = std::str::from_utf8(value.as_bytes()).ok()?.trim();
    let decoded = percent_decode_str(text).decode_utf8().ok()?;
    (!decoded.is_empty()).then(|| decoded.into_owned())
}

/// Host and port that the client called: in HTTP/2 part of the address, in HTTP/1.1 a header.
pub(crate) fn authority<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let of_uri = uri.authority().map(http::uri::Authority::as_str);
    of_uri.or_else(|| {
        headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok())
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn uri(address: &str) -> Uri {
        address.parse().expect("an address")
    }

    fn routed(uri: &Uri) -> Route<'_> {
        route(uri, &HeaderMap::new(), Some("gw.example")).expect("a route")
    }

    #[test]
    fn path_and_query_stay_byte_for_byte() {
        for (address, account, target) in [
            (
                "/api/data/v9.2/contacts?$select=fullname&x=%2B+%27",
                None,
                "/api/data/v9.2/contacts?$select=fullname&x=%2B+%27",
            ),
            (
                "/Contoso/api/data/v9.2/a(b='c%2Fd')",
                Some("Contoso"),
                "/api/data/v9.2/a(b='c%2Fd')",
            ),
            (
                "/Contoso%20Sales/api/data//v9.2/./x?",
                Some("Contoso Sales"),
                "/api/data//v9.2/./x?",
            ),
            (
                "/%E5%96%B6%E6%A5%AD/api/data/v9.2",
                Some("営業"),
                "/api/data/v9.2",
            ),
            ("/a%2Fb/api/x", Some("a/b"), "/api/x"),
            (
                "http://gw.example/Contoso/api/x?/api/",
                Some("Contoso"),
                "/api/x?/api/",
            ),
            (
                "http://contoso.GW.example:8421/api/x",
                Some("contoso"),
                "/api/x",
            ),
            ("http://gw.example/api/x", None, "/api/x"),
        ] {
            let uri = uri(address);
            let route = routed(&uri);
            assert_eq!(route.account.as_deref(), account, "{address}");
            assert_eq!(route.target.as_str(), target, "{address}");
        }
        let uri = uri("/Contoso%20Sales/api/x");
        assert_eq!(routed(&uri).prefix, "/Contoso%20Sales");
    }

    #[test]
    fn a_host_names_an_account_that_has_spaces_or_is_not_ascii() {
        for (host, account, others) in [
            ("contoso", "contoso", &[][..]),
            ("Contoso-Sales", "contoso-sales", &["contoso sales"]),
            ("xn--j2rs27b", "xn--j2rs27b", &["\u{55b6}\u{696d}"]),
            ("a.b", "a.b", &[]),
        ] {
            let uri = uri(&format!("http://{host}.gw.example/api/x"));
            let route = routed(&uri);
            assert_eq!(route.account.as_deref(), Some(account));
            assert_eq!(route.others, others, "{host}");
        }
    }

    #[test]
    fn what_is_no_web_api_is_refused() {
        for address in [
            "/",
            "/contacts",
            "/Contoso",
            "/Contoso/main.aspx",
            "/?/api/data",
            "/apidata/x",
            "/a/b/api/x",
        ] {
            let uri: Uri = address.parse().expect("an address");
            let refused = route(&uri, &HeaderMap::new(), None).expect_err(address);
            assert_eq!(refused.code, "no-such-address", "{address}");
        }
    }

    #[test]
    fn a_header_names_an_account_when_the_path_names_none() {
        let mut headers = HeaderMap::new();
        headers.insert(
            ACCOUNT_HEADER,
            HeaderValue::from_static("%E5%96%B6%E6%A5%AD"),
        );
        let route = |address: &str| {
            let uri: Uri = address.parse().expect("an address");
            let route = super::route(&uri, &headers, None).expect("a route");
            route.account.map(Cow::into_owned)
        };
        assert_eq!(route("/api/x").as_deref(), Some("営業"));
        assert_eq!(route("/Contoso/api/x").as_deref(), Some("Contoso"));
    }
}

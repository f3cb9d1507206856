//! Phase three: the headers that Dynamics gets.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::coding::Accepted;
use crate::marks::Marks;

/// Fields about one connection (RFC 9110, section 7.6.1) beside `Connection` itself, and those of
/// HTTP/1.0 proxies.
pub(crate) const HOP_BY_HOP: [HeaderName; 7] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Makes a request's headers those that go on: end-to-end fields untouched, the caller's own
/// credentials and cookies left out. What is still missing is what the gateway says itself.
pub(crate) fn request_headers(headers: &mut HeaderMap, marks: Marks) {
    remove_hop_by_hop(headers, marks);
    remove_ours(headers, marks);
    if marks.has(Marks::COOKIE) {
        headers.remove(header::COOKIE);
    }
    // hyper has answered 100 Continue to the client itself.
    if marks.has(Marks::EXPECT) {
        headers.remove(header::EXPECT);
    }
}

/// Puts in what the gateway says for the caller, for HTTP/2, which names the organization elsewhere.
/// In HTTP/1.1 it is written with the head (`head`).
pub(crate) fn inject(headers: &mut HeaderMap, token: HeaderValue, accepted: Accepted) {
    headers.remove(header::HOST);
    headers.insert(header::AUTHORIZATION, token);
    let codings = HeaderValue::from_static(accepted.for_upstream());
    headers.insert(header::ACCEPT_ENCODING, codings);
}

/// Removes the headers that are between a caller and the gateway: its key and its wishes on the way
/// there, and on the way back what only the gateway may say.
pub(crate) fn remove_ours(headers: &mut HeaderMap, marks: Marks) {
    if !marks.has(Marks::OURS) {
        return;
    }
    let ours = |name: &&HeaderName| name.as_str().starts_with("tieline-");
    let names: Vec<HeaderName> = headers.keys().filter(ours).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// Removes what is about one connection only, on the way there and on the way back.
pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap, marks: Marks) {
    if marks.has(Marks::CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| name.trim().parse().ok())
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(header::CONNECTION);
    }
    if marks.has(Marks::HOP_BY_HOP) {
        for name in &HOP_BY_HOP {
            headers.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_to_end_fields_pass_and_the_others_do_not() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", "gateway:8421"),
            ("authorization", "Bearer tl_key"),
            ("tieline-key", "tl_key"),
            ("tieline-anything", "1"),
            ("cookie", "a=b"),
            ("connection", "keep-alive, X-Mine"),
            ("x-mine", "1"),
            ("te", "trailers"),
            ("prefer", "odata.maxpagesize=5"),
            ("callerobjectid", "x"),
            ("content-length", "3"),
        ] {
            headers.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        headers.append("prefer", HeaderValue::from_static("return=representation"));
        let token = HeaderValue::from_static("Bearer secret");
        let marks = Marks::of(&headers);
        let accepted = Accepted::of(&headers, marks);
        let mut sent = headers;
        request_headers(&mut sent, marks);
        inject(&mut sent, token, accepted);
        let mut names: Vec<&str> = sent.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "accept-encoding",
                "authorization",
                "callerobjectid",
                "content-length",
                "prefer"
            ]
        );
        assert_eq!(sent["authorization"], "Bearer secret");
        assert_eq!(sent.get_all("prefer").iter().count(), 2);
    }
}

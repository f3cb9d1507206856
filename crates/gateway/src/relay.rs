//! Phase five: the answer, on its way back to the caller.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::inject::remove_hop_by_hop;

/// Headers of an answer that hold an address of the organization.
const ADDRESSES: [HeaderName; 3] = [
    header::LOCATION,
    header::CONTENT_LOCATION,
    HeaderName::from_static("odata-entityid"),
];

/// The gateway's own address as the caller knows it, such as `https://gateway.example/Contoso`.
#[derive(Debug)]
pub(crate) struct Here(pub(crate) String);

/// Makes an answer's headers the caller's: addresses lead back here, cookies stay inside.
pub(crate) fn answer_headers(headers: &mut HeaderMap, scheme: &str, host: &str, here: &Here) {
    remove_hop_by_hop(headers);
    // Microsoft advises to drop the affinity cookie, and no other is meant for the caller.
    headers.remove(header::SET_COOKIE);
    for name in &ADDRESSES {
        let Some(value) = headers.get(name).and_then(|value| value.to_str().ok()) else {
            continue;
        };
        if let Some(turned) = turn(value, scheme, host, here)
            && let Ok(turned) = HeaderValue::from_str(&turned)
        {
            headers.insert(name, turned);
        }
    }
}

/// An absolute address of the organization, as an address here; none when it is another's.
fn turn(address: &str, scheme: &str, host: &str, here: &Here) -> Option<String> {
    let (its_scheme, rest) = address.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let same = its_scheme.eq_ignore_ascii_case(scheme) && authority.eq_ignore_ascii_case(host);
    same.then(|| format!("{}{path}", here.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_organization_lead_back_and_others_stay() {
        let here = Here("http://gw:8421/Contoso".into());
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (
                "odata-entityid",
                "https://Contoso.crm.dynamics.com/api/data/v9.2/contacts(1)",
            ),
            (
                "location",
                "https://contoso.crm.dynamics.com.evil.example/x",
            ),
            ("set-cookie", "ARRAffinity=1"),
            ("connection", "close"),
            ("etag", "W/\"1\""),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        answer_headers(&mut headers, "https", "contoso.crm.dynamics.com", &here);
        assert_eq!(
            headers["odata-entityid"],
            "http://gw:8421/Contoso/api/data/v9.2/contacts(1)"
        );
        assert_eq!(
            headers["location"],
            "https://contoso.crm.dynamics.com.evil.example/x"
        );
        assert_eq!(headers.len(), 3);
    }
}

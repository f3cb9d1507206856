//! Parameters of a request, from its query and its form, as `application/x-www-form-urlencoded`.

use axum::body::Bytes;
use axum::http::{HeaderMap, Uri, header};

#[derive(Debug, Default)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    pub(crate) fn of_query(uri: &Uri) -> Self {
        Self(pairs(uri.query().unwrap_or_default().as_bytes()))
    }

    pub(crate) fn of_form(body: &Bytes) -> Self {
        Self(pairs(body))
    }

    pub(crate) fn and(mut self, other: Params) -> Self {
        self.0.extend(other.0);
        self
    }

    /// The first value of a name; none when it is absent or empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key == name);
        found
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    pub(crate) fn owned(&self, name: &str) -> Option<String> {
        self.get(name).map(str::to_owned)
    }

    pub(crate) fn set(&mut self, name: &str, value: String) {
        self.0.insert(0, (name.to_owned(), value));
    }
}

fn pairs(bytes: &[u8]) -> Vec<(String, String)> {
    url::form_urlencoded::parse(bytes).into_owned().collect()
}

/// Origin of the request's own address: `https://` and its Host.
pub(crate) fn origin(headers: &HeaderMap, uri: &Uri, own: &str) -> String {
    format!("https://{}", authority(headers, uri).unwrap_or(own))
}

/// Host and port: HTTP/2 puts them into the address, HTTP/1.1 into a header.
pub(crate) fn authority<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Option<&'a str> {
    let of_uri = uri.authority().map(axum::http::uri::Authority::as_str);
    of_uri.or_else(|| {
        headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok())
    })
}

pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

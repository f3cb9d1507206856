//! Where an operation of a batch goes: its address may be absolute, begin at the host's root, be
//! relative to the service, or refer to a row by the content id of an earlier operation.

use axum::http::StatusCode;

use crate::dataverse::batch::multipart::shortened;
use crate::dataverse::error::{Fault, Outcome};

/// An address behind the service's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target<'a> {
    /// The version that it names; none when it is relative.
    pub(super) version: Option<&'a str>,
    pub(super) path: &'a str,
    pub(super) query: &'a str,
}

impl<'a> Target<'a> {
    pub(super) fn parse(address: &'a str) -> Outcome<Self> {
        let (path, query) = address.split_once('?').unwrap_or((address, ""));
        let relative = |path| {
            Ok(Self {
                version: None,
                path,
                query,
            })
        };
        let from_root = match path.split_once("://") {
            Some((scheme, rest)) if scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
                rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/")
            }
            _ if path.starts_with('/') => path,
            _ if path.starts_with("api/data/") => path,
            _ => return relative(path),
        };
        // `/$1/lastname`, as some libraries write a reference.
        if let Some(reference) = from_root
            .strip_prefix('/')
            .filter(|path| path.starts_with('$'))
        {
            return relative(reference);
        }
        // A gateway's own path may stand in front, or not, whichever address the client was given.
        let at = from_root.find("api/data/").filter(|at| {
            *at == 0
                || from_root
                    .get(..*at)
                    .is_some_and(|front| front.ends_with('/'))
        });
        let behind = at.and_then(|at| from_root.get(at + "api/data/".len()..));
        let behind = behind.ok_or_else(|| not_found(address))?;
        let (version, path) = behind.split_once('/').unwrap_or((behind, ""));
        Ok(Self {
            version: Some(version),
            path,
            query,
        })
    }
}

fn not_found(address: &str) -> Fault {
    let text = format!(
        "No HTTP resource was found that matches the request URI '{}'.",
        shortened(address)
    );
    Fault::new(StatusCode::NOT_FOUND, "0x80060888", text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(address: &str) -> (Option<&str>, &str, &str) {
        let target = Target::parse(address).expect("a target");
        (target.version, target.path, target.query)
    }

    #[test]
    fn addresses_come_in_every_form() {
        let wanted = (Some("v9.2"), "accounts", "$top=1");
        assert_eq!(
            parsed("https://contoso.crm.dynamics.com/api/data/v9.2/accounts?$top=1"),
            wanted
        );
        assert_eq!(parsed("/api/data/v9.2/accounts?$top=1"), wanted);
        assert_eq!(
            parsed("https://gateway.example/d/acme/api/data/v9.2/accounts?$top=1"),
            wanted
        );
        assert_eq!(parsed("/d/acme/api/data/v9.2/accounts?$top=1"), wanted);
        assert_eq!(parsed("accounts?$top=1"), (None, "accounts", "$top=1"));
        assert_eq!(parsed("$1/lastname"), (None, "$1/lastname", ""));
        assert_eq!(parsed("/$1/lastname"), (None, "$1/lastname", ""));
        assert_eq!(
            parsed("https://host/api/data/v9.2/$1"),
            (Some("v9.2"), "$1", "")
        );
    }

    #[test]
    fn what_is_not_of_the_service_is_not_found() {
        for address in [
            "/accounts",
            "https://host",
            "https://host/other",
            "/xapi/data/v9.2/a",
        ] {
            assert!(Target::parse(address).is_err(), "{address}");
        }
    }
}

//! The address of an organization's Web API, from whatever an administrator pasted.

use std::fmt;

use url::{Host, Url};

/// Version that an organization's bare address is completed to: the current one.
const COMPLETED_PATH: &str = "/api/data/v9.2";

/// Domains of Dynamics 365 online, in every cloud (Power Platform documentation, "New datacenter
/// regions" and "Power Apps US Government").
const DYNAMICS_DOMAINS: [&str; 6] = [
    ".dynamics.com",
    ".crm.microsoftdynamics.us",
    ".crm.appsplatform.us",
    ".crm.dynamics.cn",
    ".crm.microsoftdynamics.de",
    ".crm9.dynamics.com",
];

/// Base of an organization's Web API, such as `https://contoso.crm4.dynamics.com/api/data/v9.2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiAddress(Url);

/// An address that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JudgedAddress {
    /// The address.
    pub value: ApiAddress,
    /// Whether the path was added.
    pub completed: bool,
    /// What should be looked at.
    pub warnings: Vec<AddressWarning>,
}

/// Why a text is no address of a Web API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressProblem {
    /// Nothing there.
    #[error("the address is missing")]
    Empty,
    /// Not a web address.
    #[error("this is not a web address")]
    NotAUrl,
    /// Another scheme than https, or than http on loopback.
    #[error("the address does not begin with https://")]
    NotHttps,
    /// `user:password@`.
    #[error("the address holds a user name or password")]
    HasCredentials,
    /// Not v9.
    #[error("only version 9 of the Web API is supported")]
    Version,
    /// Some other page.
    #[error("the address does not lead to the Web API")]
    Path,
}

impl AddressProblem {
    /// Every problem.
    pub const ALL: [Self; 6] = [
        Self::Empty,
        Self::NotAUrl,
        Self::NotHttps,
        Self::HasCredentials,
        Self::Version,
        Self::Path,
    ];

    /// Stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Empty => "api-url-empty",
            Self::NotAUrl => "api-url-not-a-url",
            Self::NotHttps => "api-url-not-https",
            Self::HasCredentials => "api-url-has-credentials",
            Self::Version => "api-url-version",
            Self::Path => "api-url-path",
        }
    }
}

/// What should be looked at, though it may be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressWarning {
    /// Not a host of Dynamics 365 online.
    NotDynamics,
}

impl AddressWarning {
    /// Stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::NotDynamics => "api-not-dynamics",
        }
    }
}

impl ApiAddress {
    /// Reads an address; an organization's own address is completed.
    ///
    /// # Errors
    /// When it cannot be one.
    pub fn parse(text: &str) -> Result<JudgedAddress, AddressProblem> {
        let text = text.trim().trim_matches(['"', '\'', '<', '>']).trim();
        if text.is_empty() {
            return Err(AddressProblem::Empty);
        }
        let mut url = Url::parse(text).map_err(|_| AddressProblem::NotAUrl)?;
        if !matches!(url.scheme(), "https" | "http") || url.host().is_none() {
            return Err(if text.contains("://") {
                AddressProblem::NotHttps
            } else {
                AddressProblem::NotAUrl
            });
        }
        if url.scheme() == "http" && !is_loopback(&url) {
            return Err(AddressProblem::NotHttps);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(AddressProblem::HasCredentials);
        }
        url.set_query(None);
        url.set_fragment(None);
        let completed = complete(&mut url)?;
        let dynamics = url.host_str().is_some_and(is_dynamics) || is_loopback(&url);
        let warnings = if dynamics {
            vec![]
        } else {
            vec![AddressWarning::NotDynamics]
        };
        Ok(JudgedAddress {
            value: ApiAddress(url),
            completed,
            warnings,
        })
    }

    /// The base, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// The organization's origin, without a slash at the end.
    #[must_use]
    pub fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }

    /// The address of something below the base.
    #[must_use]
    pub fn below(&self, rest: &str) -> String {
        format!("{}/{rest}", self.0.as_str().trim_end_matches('/'))
    }
}

impl fmt::Display for ApiAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Brings the path to the form `…/api/data/v9.x`. On premises an organization's name may stand in
/// front of it.
fn complete(url: &mut Url) -> Result<bool, AddressProblem> {
    let path = url.path().trim_end_matches('/').to_owned();
    let lower = path.to_ascii_lowercase();
    if path.is_empty()
        || lower == "/main.aspx"
        || lower.starts_with("/apps/")
        || lower == "/api/data"
        || lower == "/api"
    {
        url.set_path(COMPLETED_PATH);
        return Ok(true);
    }
    let Some(at) = lower.find("/api/data/v") else {
        return match lower.strip_suffix("/main.aspx") {
            Some(organization) => {
                let base = path[..organization.len()].to_owned();
                url.set_path(&format!("{base}{COMPLETED_PATH}"));
                Ok(true)
            }
            None => Err(AddressProblem::Path),
        };
    };
    let version = lower[at + "/api/data/v".len()..]
        .split('/')
        .next()
        .unwrap_or_default();
    let minor = version.strip_prefix("9.").ok_or(AddressProblem::Version)?;
    if minor.is_empty() || minor.len() > 2 || !minor.chars().all(|c| c.is_ascii_digit()) {
        return Err(AddressProblem::Version);
    }
    let base = path[..at].to_owned();
    let canonical = format!("{base}/api/data/v{version}");
    let completed = canonical != path;
    url.set_path(&canonical);
    Ok(completed)
}

fn is_dynamics(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    DYNAMICS_DOMAINS.iter().any(|domain| {
        host.strip_suffix(domain)
            .is_some_and(|rest| !rest.is_empty())
    })
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(text: &str) -> String {
        ApiAddress::parse(text)
            .expect("an address")
            .value
            .url()
            .to_string()
    }

    #[test]
    fn an_organizations_address_is_completed() {
        let full = "https://contoso.crm4.dynamics.com/api/data/v9.2";
        for text in [
            "https://contoso.crm4.dynamics.com",
            " https://contoso.crm4.dynamics.com/ ",
            "https://contoso.crm4.dynamics.com/main.aspx?appid=1&pagetype=x#y",
            "https://contoso.crm4.dynamics.com/api/data",
            "https://contoso.crm4.dynamics.com/api/data/v9.2/",
            "https://contoso.crm4.dynamics.com/api/data/v9.2/contacts?$top=1",
            "https://CONTOSO.crm4.dynamics.com/API/Data/V9.2",
        ] {
            assert_eq!(base(text), full, "{text}");
        }
    }

    #[test]
    fn every_v9_and_a_prefix_on_premises_are_kept() {
        assert!(base("https://contoso.crm.dynamics.com/api/data/v9.0").ends_with("/api/data/v9.0"));
        let judged =
            ApiAddress::parse("https://crm.contoso.com/Sales/api/data/v9.1").expect("an address");
        assert_eq!(judged.value.url().path(), "/Sales/api/data/v9.1");
        assert_eq!(judged.warnings, [AddressWarning::NotDynamics]);
    }

    #[test]
    fn what_is_no_address_is_said() {
        for (text, problem) in [
            ("", AddressProblem::Empty),
            ("contoso", AddressProblem::NotAUrl),
            ("contoso.crm.dynamics.com", AddressProblem::NotAUrl),
            ("http://contoso.crm.dynamics.com", AddressProblem::NotHttps),
            (
                "https://a:b@contoso.crm.dynamics.com",
                AddressProblem::HasCredentials,
            ),
            (
                "https://contoso.crm.dynamics.com/api/data/v8.2",
                AddressProblem::Version,
            ),
            (
                "https://contoso.crm.dynamics.com/XRMServices/2011",
                AddressProblem::Path,
            ),
        ] {
            assert_eq!(ApiAddress::parse(text), Err(problem), "{text}");
        }
    }

    #[test]
    fn every_cloud_is_known_and_strangers_are_not() {
        for host in [
            "a.crm.dynamics.com",
            "a.api.crm9.dynamics.com",
            "a.crm.microsoftdynamics.us",
            "a.crm.appsplatform.us",
            "a.crm.dynamics.cn",
        ] {
            assert!(is_dynamics(host), "{host}");
        }
        assert!(!is_dynamics("dynamics.com.evil.example"));
        assert!(!is_dynamics("evildynamics.com"));
    }
}

//! The pair of endpoints, as an administrator pasted them: judged, with the field at fault named.

use std::fmt;

use url::{Host, Url};

use crate::cloud::{Cloud, cloud_of_login_host};

/// How a token service speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Entra ID v1: asks for a `resource`, answers numbers as strings.
    EntraV1,
    /// Entra ID v2: asks for a `scope`.
    EntraV2,
    /// AD FS with Dynamics on premises: asks for a `resource`.
    Adfs,
    /// Any other OAuth 2.0 server.
    Other,
}

/// A pair of endpoints that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    authorization: Url,
    token: Url,
    dialect: Dialect,
    tenant: Option<String>,
}

/// A value that was accepted, with what should be looked at all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged<T> {
    /// The value.
    pub value: T,
    /// What should be looked at.
    pub warnings: Vec<EndpointWarning>,
}

/// Which of the two addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndpointField {
    /// The authorization URL.
    AuthorizationUrl,
    /// The token URL.
    TokenUrl,
}

/// A fault of one of the addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {kind}")]
pub struct EndpointProblem {
    /// Where.
    pub field: EndpointField,
    /// What.
    pub kind: EndpointProblemKind,
}

/// What can be wrong with an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointProblemKind {
    /// Nothing there.
    Empty,
    /// Not a web address.
    NotAUrl,
    /// Another scheme than https, or than http on loopback.
    NotHttps,
    /// `user:password@`.
    HasCredentials,
    /// `#…`, which RFC 6749, section 3.1 forbids.
    HasFragment,
    /// Two hosts.
    HostDiffers,
    /// Two tenants.
    TenantDiffers,
    /// v1 with v2.
    VersionDiffers,
    /// Each in the other's place.
    Swapped,
    /// Some other page.
    NotAnEndpoint,
}

impl EndpointProblemKind {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::Empty,
        Self::NotAUrl,
        Self::NotHttps,
        Self::HasCredentials,
        Self::HasFragment,
        Self::HostDiffers,
        Self::TenantDiffers,
        Self::VersionDiffers,
        Self::Swapped,
        Self::NotAnEndpoint,
    ];

    /// Stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Empty => "url-empty",
            Self::NotAUrl => "url-not-a-url",
            Self::NotHttps => "url-not-https",
            Self::HasCredentials => "url-has-credentials",
            Self::HasFragment => "url-has-fragment",
            Self::HostDiffers => "pair-host-differs",
            Self::TenantDiffers => "pair-tenant-differs",
            Self::VersionDiffers => "pair-version-differs",
            Self::Swapped => "pair-swapped",
            Self::NotAnEndpoint => "url-not-an-endpoint",
        }
    }
}

impl fmt::Display for EndpointProblemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the address is missing",
            Self::NotAUrl => "this is not a web address",
            Self::NotHttps => "the address does not begin with https://",
            Self::HasCredentials => "the address holds a user name or password",
            Self::HasFragment => "the address holds a fragment (#…)",
            Self::HostDiffers => "the two endpoints are on different hosts",
            Self::TenantDiffers => "the two endpoints name different tenants",
            Self::VersionDiffers => "the two endpoints are of different versions",
            Self::Swapped => "the two endpoints have changed places",
            Self::NotAnEndpoint => "this is not an OAuth 2.0 endpoint",
        })
    }
}

impl fmt::Display for EndpointField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AuthorizationUrl => "authorization URL",
            Self::TokenUrl => "token URL",
        })
    }
}

/// What should be looked at, though it may be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointWarning {
    /// Not a server of Microsoft's.
    NotMicrosoft,
    /// AD FS.
    Adfs,
    /// `/common` and its kin.
    CommonTenant,
    /// A cloud that was closed.
    CloudClosed,
    /// Two hosts, of a server that may be made so.
    HostDiffers,
}

impl EndpointWarning {
    /// Every warning.
    pub const ALL: [Self; 5] = [
        Self::NotMicrosoft,
        Self::Adfs,
        Self::CommonTenant,
        Self::CloudClosed,
        Self::HostDiffers,
    ];

    /// Stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::NotMicrosoft => "not-microsoft",
            Self::Adfs => "adfs",
            Self::CommonTenant => "common-tenant",
            Self::CloudClosed => "cloud-closed",
            Self::HostDiffers => "pair-host-differs",
        }
    }
}

/// Which endpoint a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Authorize,
    Token,
}

/// What a path says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Shape {
    dialect: Dialect,
    role: Option<Role>,
    tenant: Option<String>,
}

impl Endpoints {
    /// Judges a pair of addresses.
    ///
    /// # Errors
    /// Every fault of either address.
    pub fn parse(
        authorization: &str,
        token: &str,
    ) -> Result<Judged<Endpoints>, Vec<EndpointProblem>> {
        use EndpointField::{AuthorizationUrl, TokenUrl};
        let at = |field| move |kind| vec![EndpointProblem { field, kind }];
        let (first, second) = match (
            address(authorization).map_err(at(AuthorizationUrl)),
            address(token).map_err(at(TokenUrl)),
        ) {
            (Ok(first), Ok(second)) => (first, second),
            (first, second) => {
                let problems = [first.err(), second.err()].into_iter().flatten().flatten();
                return Err(problems.collect());
            }
        };
        let (a, t) = (Shape::of(&first), Shape::of(&second));
        judge_roles(&a, &t)?;
        let warnings = judge_pair((&first, &a), (&second, &t))?;
        let tenant = a.tenant.clone();
        let value = Endpoints {
            authorization: first,
            token: second,
            dialect: a.dialect,
            tenant,
        };
        Ok(Judged { value, warnings })
    }

    /// The endpoints of a tenant. For dialects other than Entra's the tenant has no place.
    #[must_use]
    pub fn for_tenant(authority: &Url, tenant: &str, dialect: Dialect) -> Endpoints {
        let (authorize, token) = match dialect {
            Dialect::EntraV1 | Dialect::Other => ("oauth2/authorize", "oauth2/token"),
            Dialect::EntraV2 => ("oauth2/v2.0/authorize", "oauth2/v2.0/token"),
            Dialect::Adfs => ("oauth2/authorize", "oauth2/token"),
        };
        let below = |rest: &str| {
            let mut url = authority.clone();
            let first = if dialect == Dialect::Adfs {
                "adfs"
            } else {
                tenant
            };
            url.set_path(&format!("/{first}/{rest}"));
            url.set_query(None);
            url.set_fragment(None);
            url
        };
        Endpoints {
            authorization: below(authorize),
            token: below(token),
            dialect,
            tenant: (dialect != Dialect::Adfs).then(|| tenant.to_owned()),
        }
    }

    /// The authorization endpoint.
    #[must_use]
    pub fn authorization(&self) -> &Url {
        &self.authorization
    }

    /// The token endpoint.
    #[must_use]
    pub fn token(&self) -> &Url {
        &self.token
    }

    /// How the server speaks.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The tenant in the path, of Entra's endpoints.
    #[must_use]
    pub fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }

    /// The cloud, where the host tells it.
    #[must_use]
    pub fn cloud(&self) -> Option<Cloud> {
        self.authorization.host_str().and_then(cloud_of_login_host)
    }
}

/// Whether a text is a GUID, with or without braces, in either case.
#[must_use]
pub fn is_guid(text: &str) -> bool {
    let text = text.trim();
    text.len() >= 36
        && text.len() <= 38
        && text.contains('-')
        && uuid::Uuid::parse_str(text).is_ok()
}

// === judging ===

fn address(text: &str) -> Result<Url, EndpointProblemKind> {
    use EndpointProblemKind as Kind;
    // What is copied from a page brings quotation marks and line breaks along.
    let text = text.trim().trim_matches(['"', '\'', '<', '>']).trim();
    if text.is_empty() {
        return Err(Kind::Empty);
    }
    let mut url = Url::parse(text).map_err(|_| Kind::NotAUrl)?;
    if !matches!(url.scheme(), "https" | "http") || url.host().is_none() {
        return Err(if text.contains("://") {
            Kind::NotHttps
        } else {
            Kind::NotAUrl
        });
    }
    if url.scheme() == "http" && !is_loopback(&url) {
        return Err(Kind::NotHttps);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Kind::HasCredentials);
    }
    match url.fragment() {
        Some("") => url.set_fragment(None),
        Some(_) => return Err(Kind::HasFragment),
        None => {}
    }
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

impl Shape {
    fn of(url: &Url) -> Shape {
        let segments: Vec<&str> = url
            .path_segments()
            .map(|parts| parts.filter(|part| !part.is_empty()).collect())
            .unwrap_or_default();
        let lower: Vec<String> = segments
            .iter()
            .map(|part| part.to_ascii_lowercase())
            .collect();
        let lower: Vec<&str> = lower.iter().map(String::as_str).collect();
        let role = match lower.last() {
            Some(&"authorize") => Some(Role::Authorize),
            Some(&"token") => Some(Role::Token),
            _ => None,
        };
        let (dialect, tenant) = match lower.as_slice() {
            ["adfs", "oauth2", _] => (Dialect::Adfs, None),
            [_, "oauth2", "authorize" | "token"] => {
                (Dialect::EntraV1, Some(segments[0].to_owned()))
            }
            [_, "oauth2", "v2.0", "authorize" | "token"] => {
                (Dialect::EntraV2, Some(segments[0].to_owned()))
            }
            _ => (Dialect::Other, None),
        };
        Shape {
            dialect,
            role,
            tenant,
        }
    }
}

/// Is each address what its field asks for?
fn judge_roles(a: &Shape, t: &Shape) -> Result<(), Vec<EndpointProblem>> {
    use EndpointField::{AuthorizationUrl, TokenUrl};
    let swapped = |field| EndpointProblem {
        field,
        kind: EndpointProblemKind::Swapped,
    };
    let mut problems = Vec::new();
    if a.role == Some(Role::Token) {
        problems.push(swapped(AuthorizationUrl));
    }
    if t.role == Some(Role::Authorize) {
        problems.push(swapped(TokenUrl));
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems)
    }
}

fn judge_pair(
    (first, a): (&Url, &Shape),
    (second, t): (&Url, &Shape),
) -> Result<Vec<EndpointWarning>, Vec<EndpointProblem>> {
    use EndpointField::{AuthorizationUrl, TokenUrl};
    use EndpointProblemKind as Kind;
    let fault = |field, kind| Err(vec![EndpointProblem { field, kind }]);
    let microsoft = |url: &Url| url.host_str().and_then(cloud_of_login_host).is_some();
    // On Microsoft's own hosts anything but an endpoint is a page of theirs.
    for (field, url, shape) in [(AuthorizationUrl, first, a), (TokenUrl, second, t)] {
        let portal = url
            .host_str()
            .is_some_and(|host| host.starts_with("portal.azure."));
        let bare = url.path().trim_matches('/').is_empty();
        if (shape.dialect == Dialect::Other && (microsoft(url) || portal))
            || bare
            || url.path().contains("/.well-known/")
        {
            return fault(field, Kind::NotAnEndpoint);
        }
    }
    let same_host = first.host_str() == second.host_str()
        && first.port_or_known_default() == second.port_or_known_default();
    let entra = |shape: &Shape| matches!(shape.dialect, Dialect::EntraV1 | Dialect::EntraV2);
    let mut warnings = Vec::new();
    if !same_host {
        let strict = entra(a) || entra(t) || microsoft(first) || microsoft(second);
        if strict || a.dialect == Dialect::Adfs {
            return fault(TokenUrl, Kind::HostDiffers);
        }
        // Other servers may keep the two apart.
        warnings.push(EndpointWarning::HostDiffers);
    }
    if a.dialect != t.dialect {
        let kind = if entra(a) && entra(t) {
            Kind::VersionDiffers
        } else {
            Kind::NotAnEndpoint
        };
        let field = if entra(a) || a.dialect == Dialect::Adfs {
            TokenUrl
        } else {
            AuthorizationUrl
        };
        return fault(field, kind);
    }
    let differ = match (&a.tenant, &t.tenant) {
        (Some(a), Some(t)) => !a.eq_ignore_ascii_case(t),
        _ => false,
    };
    if differ {
        return fault(TokenUrl, Kind::TenantDiffers);
    }
    warnings.extend(look_at(first, a));
    Ok(warnings)
}

fn look_at(url: &Url, shape: &Shape) -> Vec<EndpointWarning> {
    let mut warnings = Vec::new();
    match shape.dialect {
        Dialect::Adfs => warnings.push(EndpointWarning::Adfs),
        Dialect::Other => warnings.push(EndpointWarning::NotMicrosoft),
        Dialect::EntraV1 | Dialect::EntraV2 => {
            let cloud = url.host_str().and_then(cloud_of_login_host);
            if cloud.is_none() && !is_loopback(url) {
                warnings.push(EndpointWarning::NotMicrosoft);
            }
            if cloud == Some(Cloud::OldGermany) {
                warnings.push(EndpointWarning::CloudClosed);
            }
        }
    }
    let tenant = shape
        .tenant
        .as_deref()
        .unwrap_or_default()
        .to_ascii_lowercase();
    if matches!(tenant.as_str(), "common" | "organizations" | "consumers") {
        warnings.push(EndpointWarning::CommonTenant);
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use EndpointField::{AuthorizationUrl, TokenUrl};
    use EndpointProblemKind as Kind;

    const T: &str = "8d2c0f1e-3b57-4a3e-9a0b-5f7a2f5b1c01";

    fn good(authorization: &str, token: &str) -> Judged<Endpoints> {
        Endpoints::parse(authorization, token).expect("a pair")
    }

    fn bad(authorization: &str, token: &str) -> Vec<(EndpointField, Kind)> {
        let problems = Endpoints::parse(authorization, token).expect_err("no pair");
        problems
            .into_iter()
            .map(|problem| (problem.field, problem.kind))
            .collect()
    }

    #[test]
    fn both_generations_of_every_cloud_are_recognised() {
        for host in [
            "login.microsoftonline.com",
            "login.microsoftonline.us",
            "login.partner.microsoftonline.cn",
        ] {
            let v1 = good(
                &format!("https://{host}/{T}/oauth2/authorize"),
                &format!("https://{host}/{T}/oauth2/token"),
            );
            assert_eq!(
                (v1.value.dialect(), v1.value.tenant(), v1.warnings.len()),
                (Dialect::EntraV1, Some(T), 0)
            );
            let v2 = good(
                &format!("https://{host}/{T}/oauth2/v2.0/authorize"),
                &format!("https://{host}/{T}/oauth2/v2.0/token"),
            );
            assert_eq!(v2.value.dialect(), Dialect::EntraV2);
        }
    }

    #[test]
    fn a_local_stand_in_is_recognised_by_its_paths() {
        let pair = good(
            "https://localhost:8430/contoso.onmicrosoft.com/oauth2/authorize",
            "https://localhost:8430/contoso.onmicrosoft.com/oauth2/token",
        );
        assert_eq!(pair.value.dialect(), Dialect::EntraV1);
        assert!(pair.warnings.is_empty());
    }

    #[test]
    fn what_is_pasted_around_an_address_is_taken_off() {
        let pair = good(
            &format!(" \"https://login.microsoftonline.com/{T}/oauth2/authorize\"\n"),
            &format!("https://login.microsoftonline.com/{T}/oauth2/token#"),
        );
        assert_eq!(
            pair.value.token().as_str(),
            format!("https://login.microsoftonline.com/{T}/oauth2/token")
        );
    }

    #[test]
    fn adfs_and_strangers_are_accepted_with_a_warning() {
        let adfs = good(
            "https://sts.contoso.com/adfs/oauth2/authorize",
            "https://sts.contoso.com/adfs/oauth2/token/",
        );
        assert_eq!(
            (adfs.value.dialect(), adfs.warnings),
            (Dialect::Adfs, vec![EndpointWarning::Adfs])
        );
        let other = good(
            "https://id.example.com/auth",
            "https://id.example.com/token",
        );
        assert_eq!(other.warnings, [EndpointWarning::NotMicrosoft]);
        let split = good(
            "https://id.example.com/auth",
            "https://api.example.com/token",
        );
        assert_eq!(
            split.warnings,
            [EndpointWarning::HostDiffers, EndpointWarning::NotMicrosoft]
        );
    }

    #[test]
    fn each_way_of_not_belonging_together_has_its_name() {
        let m = "https://login.microsoftonline.com";
        let v1 = format!("{m}/{T}/oauth2/authorize");
        assert_eq!(
            bad(&v1, &format!("{m}/{T}/oauth2/v2.0/token")),
            [(TokenUrl, Kind::VersionDiffers)]
        );
        assert_eq!(
            bad(&v1, &format!("{m}/contoso.com/oauth2/token")),
            [(TokenUrl, Kind::TenantDiffers)]
        );
        assert_eq!(
            bad(
                &v1,
                &format!("https://login.microsoftonline.us/{T}/oauth2/token")
            ),
            [(TokenUrl, Kind::HostDiffers)]
        );
        assert_eq!(
            bad(&format!("{m}/{T}/oauth2/token"), &v1),
            [(AuthorizationUrl, Kind::Swapped), (TokenUrl, Kind::Swapped)]
        );
        assert_eq!(bad(&v1, &v1), [(TokenUrl, Kind::Swapped)]);
        assert_eq!(bad(&v1, m), [(TokenUrl, Kind::NotAnEndpoint)]);
        assert_eq!(
            bad("https://portal.azure.com/#view/x", &v1)[0].1,
            Kind::HasFragment
        );
        assert_eq!(
            bad(
                "https://id.example.com/auth",
                &format!("{m}/{T}/oauth2/token")
            ),
            [(TokenUrl, Kind::HostDiffers)]
        );
    }

    #[test]
    fn what_is_no_address_is_said_at_both_fields() {
        assert_eq!(
            bad("", "contoso"),
            [(AuthorizationUrl, Kind::Empty), (TokenUrl, Kind::NotAUrl)]
        );
        assert_eq!(
            bad(
                "http://login.microsoftonline.com/x/oauth2/authorize",
                "ftp://x/token"
            ),
            [
                (AuthorizationUrl, Kind::NotHttps),
                (TokenUrl, Kind::NotHttps)
            ]
        );
        assert_eq!(
            bad("https://u:p@x.example/a", "https://x.example/t#f"),
            [
                (AuthorizationUrl, Kind::HasCredentials),
                (TokenUrl, Kind::HasFragment)
            ]
        );
    }

    #[test]
    fn guids_are_told_from_secrets() {
        assert!(is_guid("3f2504e0-4f89-11d3-9a0c-0305e82c3301"));
        assert!(is_guid("{3F2504E0-4F89-11D3-9A0C-0305E82C3301}"));
        assert!(!is_guid("3f2504e04f8911d39a0c0305e82c3301"));
        assert!(!is_guid("abc8Q~x+y"));
    }
}

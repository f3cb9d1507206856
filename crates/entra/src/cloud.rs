//! Microsoft's clouds: which sign-in hosts and which organizations belong together.
//!
//! Source: Microsoft Entra documentation, "National clouds", and Power Platform documentation,
//! "New datacenter regions".

/// A cloud of Microsoft's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cloud {
    /// The worldwide commercial cloud.
    Commercial,
    /// US government (GCC): signs in where the commercial cloud does.
    Gcc,
    /// US government, high.
    GccHigh,
    /// US Department of Defense: signs in where GCC High does.
    Dod,
    /// China, run by 21Vianet.
    China,
    /// Germany, closed in October 2021.
    OldGermany,
    /// Newer sovereign clouds in Europe and Singapore.
    Sovereign,
}

impl Cloud {
    /// Whether people of an organization in `organization` sign in at hosts of this cloud.
    #[must_use]
    pub fn serves(self, organization: Cloud) -> bool {
        self == organization
            || matches!(
                (self, organization),
                (Cloud::Commercial, Cloud::Gcc) | (Cloud::GccHigh, Cloud::Dod)
            )
    }
}

/// Sign-in hosts.
const LOGIN_HOSTS: [(&str, Cloud); 12] = [
    ("login.microsoftonline.com", Cloud::Commercial),
    ("login.windows.net", Cloud::Commercial),
    ("login.microsoft.com", Cloud::Commercial),
    ("sts.windows.net", Cloud::Commercial),
    ("login.microsoftonline.us", Cloud::GccHigh),
    ("login.usgovcloudapi.net", Cloud::GccHigh),
    ("login.partner.microsoftonline.cn", Cloud::China),
    ("login.chinacloudapi.cn", Cloud::China),
    ("login.microsoftonline.de", Cloud::OldGermany),
    ("login.sovcloud-identity.fr", Cloud::Sovereign),
    ("login.sovcloud-identity.de", Cloud::Sovereign),
    ("login.sovcloud-identity.sg", Cloud::Sovereign),
];

/// Domains of organizations; the longest match wins.
const API_DOMAINS: [(&str, Cloud); 6] = [
    ("crm9.dynamics.com", Cloud::Gcc),
    ("dynamics.com", Cloud::Commercial),
    ("crm.microsoftdynamics.us", Cloud::GccHigh),
    ("crm.appsplatform.us", Cloud::Dod),
    ("crm.dynamics.cn", Cloud::China),
    ("crm.microsoftdynamics.de", Cloud::OldGermany),
];

/// The cloud of a sign-in host.
#[must_use]
pub fn cloud_of_login_host(host: &str) -> Option<Cloud> {
    let host = host.to_ascii_lowercase();
    LOGIN_HOSTS
        .iter()
        .find(|(known, _)| *known == host)
        .map(|(_, cloud)| *cloud)
}

/// The cloud of an organization's host.
#[must_use]
pub fn cloud_of_api_host(host: &str) -> Option<Cloud> {
    let host = host.to_ascii_lowercase();
    API_DOMAINS
        .iter()
        .find(|(domain, _)| {
            host.strip_suffix(domain)
                .is_some_and(|rest| rest.ends_with('.') && rest.len() > 1)
        })
        .map(|(_, cloud)| *cloud)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn organizations_are_told_by_their_domain() {
        for (host, cloud) in [
            ("contoso.crm4.dynamics.com", Some(Cloud::Commercial)),
            ("contoso.api.crm.dynamics.com", Some(Cloud::Commercial)),
            ("agency.crm9.dynamics.com", Some(Cloud::Gcc)),
            ("agency.api.crm9.dynamics.com", Some(Cloud::Gcc)),
            ("agency.crm.microsoftdynamics.us", Some(Cloud::GccHigh)),
            ("unit.crm.appsplatform.us", Some(Cloud::Dod)),
            ("zhang.crm.dynamics.cn", Some(Cloud::China)),
            ("dynamics.com", None),
            ("evildynamics.com", None),
            ("contoso.dynamics.com.example.org", None),
        ] {
            assert_eq!(cloud_of_api_host(host), cloud, "{host}");
        }
    }

    #[test]
    fn government_signs_in_where_it_should() {
        assert!(Cloud::Commercial.serves(Cloud::Gcc));
        assert!(Cloud::GccHigh.serves(Cloud::Dod));
        assert!(!Cloud::Commercial.serves(Cloud::GccHigh));
        assert!(!Cloud::China.serves(Cloud::Commercial));
        assert_eq!(
            cloud_of_login_host("LOGIN.microsoftonline.COM"),
            Some(Cloud::Commercial)
        );
    }
}

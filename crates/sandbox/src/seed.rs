//! What a sandbox holds at first: a TOML file that people write.

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

mod organization;

pub use crate::dataverse::custom::{ChoiceSetSeed, ExtensionSeed, LinkSeed, TableSeed};
pub use organization::RoleSeed;

/// Tenants with everything in them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seed {
    /// The tenants.
    #[serde(rename = "tenant")]
    pub tenants: Vec<TenantSeed>,
}

/// A tenant of Entra ID.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantSeed {
    /// Tenant ID.
    pub id: Uuid,
    /// Verified domain.
    pub domain: String,
    /// Name on its pages.
    pub name: String,
    /// Whether users may consent for themselves.
    #[serde(default = "yes")]
    pub user_consent: bool,
    /// What Conditional Access demands of everybody who signs in to the tenant.
    #[serde(default)]
    pub conditional_access: ConditionalAccess,
    /// After how many hours Conditional Access wants a new sign-in; none lets sessions be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign_in_frequency_hours: Option<u32>,
    /// Whether people who may not consent can ask an administrator to.
    #[serde(default)]
    pub admin_consent_requests: bool,
    /// People.
    #[serde(default, rename = "user")]
    pub users: Vec<UserSeed>,
    /// Registrations.
    #[serde(default, rename = "application")]
    pub applications: Vec<ApplicationSeed>,
    /// Dataverse organizations.
    #[serde(default, rename = "organization")]
    pub organizations: Vec<OrganizationSeed>,
}

/// A person.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserSeed {
    /// User principal name; what is typed at the sign-in.
    pub upn: String,
    /// Password; a guest has the one of the home tenant.
    #[serde(default)]
    pub password: String,
    /// Display name.
    pub name: String,
    /// Whether this is the guest account of a user of another tenant.
    #[serde(default)]
    pub guest: bool,
    /// Whether this is an administrator of the tenant.
    #[serde(default)]
    pub admin: bool,
    /// Whether the account is disabled.
    #[serde(default)]
    pub disabled: bool,
    /// Whether the account is locked after too many wrong passwords.
    #[serde(default)]
    pub locked: bool,
    /// Whether the password has expired: the next sign-in asks for a new one.
    #[serde(default)]
    pub must_change_password: bool,
    /// Multifactor authentication.
    #[serde(default)]
    pub mfa: Mfa,
    /// Security roles in the tenant's organizations; without any the person is no user there.
    #[serde(default)]
    pub roles: Vec<String>,
}

/// How far a user is with multifactor authentication.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mfa {
    /// No method is registered; where a policy demands one, the user has to register first.
    #[default]
    None,
    /// A method is registered, and asked for where a policy demands it.
    Registered,
    /// Asked for at every sign-in.
    Required,
}

/// What Conditional Access demands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConditionalAccess {
    /// Nothing.
    #[default]
    Off,
    /// Nobody gets a token.
    Block,
    /// Multifactor authentication.
    RequireMfa,
    /// A compliant device, which no browser here is.
    RequireCompliantDevice,
    /// A device that is joined to the domain, which none here is.
    RequireJoinedDevice,
}

/// A registered application.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplicationSeed {
    /// Application (client) ID.
    pub client_id: Uuid,
    /// Name on the consent page.
    pub name: String,
    /// Client secrets.
    #[serde(default)]
    pub secrets: Vec<SecretSeed>,
    /// Certificates, PEM, whose keys may sign client assertions.
    #[serde(default)]
    pub certificates: Vec<String>,
    /// Outside issuers whose tokens may stand for a secret.
    #[serde(default)]
    pub federated_credentials: Vec<FederatedCredentialSeed>,
    /// Reply URLs of the platform *Web*.
    #[serde(default)]
    pub redirect_uris: Vec<String>,
    /// Reply URLs of the platform *Single-page application*.
    #[serde(default)]
    pub spa_redirect_uris: Vec<String>,
    /// Reply URLs of the platform *Mobile and desktop applications*.
    #[serde(default)]
    pub native_redirect_uris: Vec<String>,
    /// Whether it is a public client.
    #[serde(default)]
    pub public: bool,
    /// Whether users of other tenants may use it.
    #[serde(default)]
    pub multi_tenant: bool,
    /// Whether it is switched off.
    #[serde(default)]
    pub disabled: bool,
    /// Whether only assigned users may use it.
    #[serde(default)]
    pub assignment_required: bool,
    /// User principal names of the assigned users.
    #[serde(default)]
    pub assigned: Vec<String>,
    /// Whether the authorization endpoint may give it ID tokens.
    #[serde(default = "yes")]
    pub id_tokens: bool,
    /// Whether Dataverse stands among its permissions.
    #[serde(default = "yes")]
    pub dataverse: bool,
    /// What Conditional Access demands of everybody who uses it.
    #[serde(default)]
    pub conditional_access: ConditionalAccess,
    /// How long its access tokens live; Entra's own policies know ten minutes to a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_token_seconds: Option<u32>,
    /// Whether a refresh token is good once, and its second use ends all that came from it. Entra
    /// does not do this; other servers do (RFC 9700, section 4.14.2).
    #[serde(default)]
    pub strict_rotation: bool,
}

/// An outside issuer whose tokens may stand for a secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FederatedCredentialSeed {
    /// Issuer of the token.
    pub issuer: String,
    /// Subject of the token.
    pub subject: String,
    /// Audience of the token.
    #[serde(default = "token_exchange")]
    pub audience: String,
    /// The issuer's certificate, PEM: the sandbox fetches no keys from elsewhere.
    pub certificate: String,
}

/// A client secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretSeed {
    /// Its value.
    pub value: String,
    /// The first day on which it is good.
    #[serde(
        default,
        deserialize_with = "date",
        skip_serializing_if = "Option::is_none"
    )]
    pub starts_on: Option<NaiveDate>,
    /// The last day on which it is good.
    #[serde(
        default,
        deserialize_with = "date",
        skip_serializing_if = "Option::is_none"
    )]
    pub expires_on: Option<NaiveDate>,
}

/// A Dataverse organization.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrganizationSeed {
    /// Organization ID.
    pub id: Uuid,
    /// Unique name.
    pub unique_name: String,
    /// Friendly name.
    pub friendly_name: String,
    /// Further names that it answers to.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// How many contacts it is filled with.
    #[serde(default = "some_contacts")]
    pub contacts: u32,
    /// Applications that are users of the organization.
    #[serde(default)]
    pub application_users: Vec<ApplicationUserSeed>,
    /// Security roles besides those that every organization has.
    #[serde(default, rename = "role")]
    pub security_roles: Vec<RoleSeed>,
    /// Choices that several columns share.
    #[serde(default, rename = "choice")]
    pub choices: Vec<ChoiceSetSeed>,
    /// Tables besides the standard ones.
    #[serde(default, rename = "table")]
    pub tables: Vec<TableSeed>,
    /// Columns and keys of standard tables.
    #[serde(default, rename = "extend")]
    pub extensions: Vec<ExtensionSeed>,
    /// Many-to-many relationships.
    #[serde(default, rename = "link")]
    pub links: Vec<LinkSeed>,
}

/// An application that is a user of an organization.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplicationUserSeed {
    /// Application (client) ID.
    pub client_id: Uuid,
    /// Security roles.
    #[serde(default)]
    pub roles: Vec<String>,
}

/// Why a seed cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// It is not TOML, or holds something unknown.
    #[error("{0}")]
    Syntax(#[source] toml::de::Error),
    /// It holds a key that nothing is known by.
    #[error("{error}did you mean `{nearest}`?")]
    Unknown {
        /// What the parser says, with the place.
        #[source]
        error: toml::de::Error,
        /// The known key that is most like it.
        nearest: String,
    },
    /// It contradicts itself.
    #[error("{0}")]
    Contradiction(String),
}

const DEFAULT: &str = include_str!("../default-seed.toml");

impl Default for Seed {
    /// The seed that [`Seed::default_text`] shows.
    fn default() -> Self {
        // A test proves that it parses.
        Self::parse(DEFAULT).unwrap_or(Seed {
            tenants: Vec::new(),
        })
    }
}

impl Seed {
    /// The default seed, with comments.
    #[must_use]
    pub fn default_text() -> &'static str {
        DEFAULT
    }

    /// Reads a seed.
    ///
    /// # Errors
    /// When it is not TOML, holds something unknown, or contradicts itself.
    pub fn parse(text: &str) -> Result<Self, SeedError> {
        let seed: Seed = toml::from_str(text).map_err(misspelt)?;
        seed.check()?;
        Ok(seed)
    }

    /// Registers a reply URL with an application.
    pub fn add_redirect_uri(&mut self, client_id: Uuid, uri: &str) {
        let applications = self
            .tenants
            .iter_mut()
            .flat_map(|tenant| &mut tenant.applications);
        for application in applications.filter(|known| known.client_id == client_id) {
            if !application.redirect_uris.iter().any(|known| known == uri) {
                application.redirect_uris.push(uri.to_owned());
            }
        }
    }

    /// Refuses what two parts of the sandbox would read differently.
    ///
    /// # Errors
    /// When something is missing, or there twice.
    pub fn check(&self) -> Result<(), SeedError> {
        let no = |text: String| Err(SeedError::Contradiction(text));
        if self.tenants.is_empty() {
            return no("there is no tenant".to_owned());
        }
        let mut seen = Vec::new();
        for tenant in &self.tenants {
            for name in tenant.names() {
                if seen.contains(&name) {
                    return no(format!("{name} is there twice"));
                }
                seen.push(name);
            }
        }
        for tenant in &self.tenants {
            tenant.check(&seen)?;
        }
        let mut organizations = self.tenants.iter().flat_map(|tenant| &tenant.organizations);
        if organizations.next().is_none() {
            return no("there is no organization".to_owned());
        }
        Ok(())
    }
}

impl TenantSeed {
    /// What may be there only once in the whole seed.
    fn names(&self) -> Vec<String> {
        let mut names = vec![
            format!("the tenant {}", self.id),
            format!("the domain {}", self.domain.to_lowercase()),
        ];
        for user in &self.users {
            let upn = user.upn.to_lowercase();
            names.push(if user.guest {
                format!("the guest {upn} of {}", self.name)
            } else {
                format!("the user {upn}")
            });
        }
        for application in &self.applications {
            names.push(format!("the client ID {}", application.client_id));
        }
        for organization in &self.organizations {
            let unique_name = organization.unique_name.to_lowercase();
            names.push(format!("the organization {unique_name}"));
            let hosts = organization.hosts.iter();
            names.extend(hosts.map(|host| format!("the host {}", host.to_lowercase())));
        }
        names
    }

    /// Refuses what points at nothing.
    fn check(&self, everything: &[String]) -> Result<(), SeedError> {
        let no = |text: String| Err(SeedError::Contradiction(text));
        for user in &self.users {
            let home = format!("the user {}", user.upn.to_lowercase());
            if user.guest && !everything.contains(&home) {
                return no(format!("the guest {} has no home tenant", user.upn));
            }
            if !user.guest && user.password.is_empty() {
                return no(format!("the user {} has no password", user.upn));
            }
        }
        for application in &self.applications {
            for upn in &application.assigned {
                if !self
                    .users
                    .iter()
                    .any(|user| user.upn.eq_ignore_ascii_case(upn))
                {
                    let name = &application.name;
                    return no(format!("the user {upn}, assigned to {name}, is not there"));
                }
            }
        }
        let known = |id: Uuid| self.applications.iter().any(|app| app.client_id == id);
        for organization in &self.organizations {
            for user in &organization.application_users {
                if !known(user.client_id) {
                    return no(format!(
                        "the organization {} names the application {}, which its tenant does not have",
                        organization.unique_name, user.client_id
                    ));
                }
            }
        }
        Ok(())
    }
}

/// The parser lists the keys it knows; the nearest of them is what was meant.
fn misspelt(error: toml::de::Error) -> SeedError {
    let names: Vec<String> = match error.message().strip_prefix("unknown field ") {
        Some(rest) => rest
            .split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect(),
        None => Vec::new(),
    };
    let Some((written, known)) = names.split_first() else {
        return SeedError::Syntax(error);
    };
    let like = |name: &&String| ordered(strsim::jaro_winkler(name, written));
    match known.iter().max_by_key(like) {
        Some(nearest) => SeedError::Unknown {
            nearest: nearest.clone(),
            error,
        },
        None => SeedError::Syntax(error),
    }
}

/// A likeness between 0 and 1 as a whole number, which can be compared.
fn ordered(likeness: f64) -> u64 {
    // Positive floating-point numbers are in the order of their bits (IEEE 754).
    likeness.max(0.0).to_bits()
}

fn token_exchange() -> String {
    "api://AzureADTokenExchange".to_owned()
}

fn yes() -> bool {
    true
}

fn some_contacts() -> u32 {
    400
}

/// TOML's own dates, and dates as text.
fn date<'de, D: serde::Deserializer<'de>>(source: D) -> Result<Option<NaiveDate>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Toml(toml::value::Datetime),
        Text(String),
    }
    let text = match Option::<Written>::deserialize(source)? {
        None => return Ok(None),
        Some(Written::Toml(date)) => date.to_string(),
        Some(Written::Text(text)) => text,
    };
    text.parse()
        .map(Some)
        .map_err(|_| serde::de::Error::custom(format!("'{text}' is no date")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_seed_is_whole() {
        let seed = Seed::parse(Seed::default_text()).expect("the default seed");
        assert_eq!(seed.tenants.len(), 2);
        let secret = &seed.tenants[0].applications[0].secrets[1];
        assert_eq!(secret.expires_on, NaiveDate::from_ymd_opt(2024, 1, 31));
    }

    #[test]
    fn contradictions_and_misspellings_are_named() {
        let twice = Seed::default_text().replace("alex@", "MEGAN@");
        let error = Seed::parse(&twice).expect_err("twice").to_string();
        assert!(
            error.contains("megan@contoso.example is there twice"),
            "{error}"
        );
        let misspelt = Seed::default_text().replace("user_consent", "user_konsent");
        let error = Seed::parse(&misspelt).expect_err("misspelt").to_string();
        assert!(error.contains("user_konsent"), "{error}");
        assert!(error.contains("did you mean `user_consent`?"), "{error}");
        let stranger =
            Seed::default_text().replacen("[[tenant.user]]", "[[tenant.user]]\nguest = true", 1);
        let error = Seed::parse(&stranger).expect_err("no home").to_string();
        assert!(error.contains("has no home tenant"), "{error}");
        assert!(Seed::parse("tenant = []").is_err());
    }

    #[test]
    fn a_reply_url_is_added_once() {
        let mut seed = Seed::default();
        let id = seed.tenants[0].applications[0].client_id;
        for _ in 0..2 {
            seed.add_redirect_uri(id, "http://127.0.0.1:1/cb");
        }
        let uris = &seed.tenants[0].applications[0].redirect_uris;
        assert_eq!(
            uris.iter()
                .filter(|uri| *uri == "http://127.0.0.1:1/cb")
                .count(),
            1
        );
    }
}

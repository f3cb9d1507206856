//! What a sandbox holds at first: a TOML file that people write.

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

mod organization;

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
    /// Password.
    pub password: String,
    /// Display name.
    pub name: String,
    /// Whether this is an administrator of the tenant.
    #[serde(default)]
    pub admin: bool,
    /// Whether the account is disabled.
    #[serde(default)]
    pub disabled: bool,
    /// Security roles in the tenant's organizations; without any the person is no user there.
    #[serde(default)]
    pub roles: Vec<String>,
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
    /// Reply URLs.
    #[serde(default)]
    pub redirect_uris: Vec<String>,
    /// Whether it is a public client.
    #[serde(default)]
    pub public: bool,
    /// Whether it is switched off.
    #[serde(default)]
    pub disabled: bool,
}

/// A client secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretSeed {
    /// Its value.
    pub value: String,
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
    Syntax(#[from] toml::de::Error),
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
        let seed: Seed = toml::from_str(text)?;
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
            let upns = tenant
                .users
                .iter()
                .map(|user| format!("the user {}", user.upn.to_lowercase()));
            let organizations = tenant.organizations.iter().flat_map(|organization| {
                let hosts = organization
                    .hosts
                    .iter()
                    .map(|host| format!("the host {}", host.to_lowercase()));
                hosts.chain([format!(
                    "the organization {}",
                    organization.unique_name.to_lowercase()
                )])
            });
            let ids = tenant
                .applications
                .iter()
                .map(|app| format!("the client ID {}", app.client_id));
            let own = [
                format!("the tenant {}", tenant.id),
                format!("the domain {}", tenant.domain.to_lowercase()),
            ];
            for name in upns.chain(organizations).chain(ids).chain(own) {
                if seen.contains(&name) {
                    return no(format!("{name} is there twice"));
                }
                seen.push(name);
            }
            let known = |id: Uuid| tenant.applications.iter().any(|app| app.client_id == id);
            for organization in &tenant.organizations {
                for user in &organization.application_users {
                    if !known(user.client_id) {
                        return no(format!(
                            "the organization {} names the application {}, which its tenant does not have",
                            organization.unique_name, user.client_id
                        ));
                    }
                }
            }
        }
        let mut organizations = self.tenants.iter().flat_map(|tenant| &tenant.organizations);
        if organizations.next().is_none() {
            return no("there is no organization".to_owned());
        }
        Ok(())
    }
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

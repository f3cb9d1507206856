//! Applications: their registration as the seed has it, and what was changed since.

use chrono::{DateTime, Days, NaiveTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::entra::certificate::Certificate;
use crate::entra::directory::object_id;
use crate::seed::{ApplicationSeed, ConditionalAccess, FederatedCredentialSeed, SecretSeed};

/// An application, registered in one tenant and, if it is for several, usable in others.
#[derive(Debug, Clone)]
pub(crate) struct Application {
    /// Where it is registered.
    pub(crate) tenant: Uuid,
    pub(crate) seed: ApplicationSeed,
    pub(crate) settings: Settings,
    pub(crate) certificates: Vec<Certificate>,
    pub(crate) federated: Vec<Federated>,
}

/// What was changed since the seed; outlives a restart.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) disabled: Option<bool>,
    pub(crate) multi_tenant: Option<bool>,
    pub(crate) public: Option<bool>,
    pub(crate) assignment_required: Option<bool>,
    pub(crate) strict_rotation: Option<bool>,
    pub(crate) access_token_seconds: Option<u32>,
    pub(crate) conditional_access: Option<ConditionalAccess>,
    pub(crate) assigned: Option<Vec<String>>,
    /// All of the secrets, once one was added, expired or removed.
    pub(crate) secrets: Option<Vec<Secret>>,
}

/// A client secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Secret {
    /// The Secret ID, which is not the secret.
    pub(crate) id: Uuid,
    pub(crate) value: String,
    pub(crate) starts: Option<DateTime<Utc>>,
    /// From when on it is no longer good.
    pub(crate) ends: Option<DateTime<Utc>>,
}

/// An outside issuer, with its key.
#[derive(Debug, Clone)]
pub(crate) struct Federated {
    pub(crate) seed: FederatedCredentialSeed,
    pub(crate) certificate: Certificate,
}

/// The platform of a reply URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Platform {
    Web,
    SinglePage,
    Native,
}

impl Application {
    /// An application as the seed has it.
    ///
    /// # Errors
    /// When a certificate cannot be read.
    pub(crate) fn new(tenant: Uuid, seed: &ApplicationSeed) -> Result<Self, String> {
        let read = |pem: &str| {
            Certificate::parse(pem)
                .map_err(|why| format!("a certificate of the application {} {why}", seed.client_id))
        };
        let certificates = seed.certificates.iter().map(|pem| read(pem));
        let federated = seed.federated_credentials.iter().map(|credential| {
            Ok(Federated {
                seed: credential.clone(),
                certificate: read(&credential.certificate)?,
            })
        });
        Ok(Self {
            tenant,
            seed: seed.clone(),
            settings: Settings::default(),
            certificates: certificates.collect::<Result<_, String>>()?,
            federated: federated.collect::<Result<_, String>>()?,
        })
    }

    pub(crate) fn client_id(&self) -> Uuid {
        self.seed.client_id
    }

    pub(crate) fn name(&self) -> &str {
        &self.seed.name
    }

    pub(crate) fn disabled(&self) -> bool {
        self.settings.disabled.unwrap_or(self.seed.disabled)
    }

    pub(crate) fn multi_tenant(&self) -> bool {
        self.settings.multi_tenant.unwrap_or(self.seed.multi_tenant)
    }

    pub(crate) fn public(&self) -> bool {
        self.settings.public.unwrap_or(self.seed.public)
    }

    pub(crate) fn strict_rotation(&self) -> bool {
        let since = self.settings.strict_rotation;
        since.unwrap_or(self.seed.strict_rotation)
    }

    pub(crate) fn access_token_seconds(&self) -> Option<u32> {
        let since = self.settings.access_token_seconds;
        since.or(self.seed.access_token_seconds)
    }

    pub(crate) fn conditional_access(&self) -> ConditionalAccess {
        let since = self.settings.conditional_access;
        since.unwrap_or(self.seed.conditional_access)
    }

    pub(crate) fn assignment_required(&self) -> bool {
        let since = self.settings.assignment_required;
        since.unwrap_or(self.seed.assignment_required)
    }

    /// Whether a user may use it.
    pub(crate) fn admits(&self, upn: &str) -> bool {
        let since = self.settings.assigned.as_ref();
        let mut assigned = since.unwrap_or(&self.seed.assigned).iter();
        !self.assignment_required() || assigned.any(|known| known.eq_ignore_ascii_case(upn))
    }

    pub(crate) fn secrets(&self) -> Vec<Secret> {
        match &self.settings.secrets {
            Some(secrets) => secrets.clone(),
            None => self
                .seed
                .secrets
                .iter()
                .map(|secret| Secret::of(self.client_id(), secret))
                .collect(),
        }
    }

    /// The platform that a reply URL is registered with; none when it is not registered.
    pub(crate) fn platform(&self, address: &str) -> Option<Platform> {
        let seed = &self.seed;
        let has = |known: &[String], native: bool| {
            known
                .iter()
                .any(|known| same_address(known, address, native))
        };
        if has(&seed.spa_redirect_uris, false) {
            Some(Platform::SinglePage)
        } else if has(&seed.native_redirect_uris, true) {
            Some(Platform::Native)
        } else if has(&seed.redirect_uris, self.public()) {
            Some(Platform::Web)
        } else {
            None
        }
    }

    /// The only reply URL, where there is one; then a request may leave it out.
    pub(crate) fn only_address(&self) -> Option<&str> {
        let seed = &self.seed;
        let mut all = seed
            .redirect_uris
            .iter()
            .chain(&seed.spa_redirect_uris)
            .chain(&seed.native_redirect_uris);
        let first = all.next()?;
        all.next().is_none().then_some(first)
    }
}

impl Secret {
    pub(crate) fn of(client: Uuid, seed: &SecretSeed) -> Self {
        let midnight = NaiveTime::MIN;
        let starts = seed.starts_on.map(|day| day.and_time(midnight).and_utc());
        // It is good on its last day, to the end.
        let ends = seed
            .expires_on
            .and_then(|day| day.checked_add_days(Days::new(1)));
        Self {
            id: object_id(&format!("secret/{client}/{}", seed.value)),
            value: seed.value.clone(),
            starts,
            ends: ends.map(|day| day.and_time(midnight).and_utc()),
        }
    }

    pub(crate) fn begun(&self, now: DateTime<Utc>) -> bool {
        self.starts.is_none_or(|starts| starts <= now)
    }

    pub(crate) fn over(&self, now: DateTime<Utc>) -> bool {
        self.ends.is_some_and(|ends| ends <= now)
    }
}

/// Exactly, but for the port of a native client on this machine (RFC 8252, section 7.3).
fn same_address(known: &str, asked: &str, native: bool) -> bool {
    if known == asked {
        return true;
    }
    let (Ok(known), Ok(mut asked)) = (url::Url::parse(known), url::Url::parse(asked)) else {
        return false;
    };
    native
        && known.scheme() == "http"
        && matches!(known.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"))
        && asked.set_port(known.port()).is_ok()
        && known == asked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_native_client_may_choose_its_port() {
        let known = "http://localhost/cb";
        assert!(same_address(known, "http://localhost:5005/cb", true));
        assert!(!same_address(known, "http://localhost:5005/cb", false));
        assert!(!same_address(known, "http://localhost:5005/cb/", true));
        assert!(!same_address(known, "https://localhost:5005/cb", true));
        assert!(!same_address(
            "https://a.example/cb",
            "https://a.example:8/cb",
            true
        ));
        assert!(same_address("myapp://auth?x=1", "myapp://auth?x=1", false));
        assert!(!same_address("https://a/cb?x=1", "https://a/cb", false));
    }

    #[test]
    fn a_secret_is_good_to_the_end_of_its_last_day() {
        let seed = SecretSeed {
            value: "v".into(),
            starts_on: "2024-01-02".parse().ok(),
            expires_on: "2024-01-31".parse().ok(),
        };
        let secret = Secret::of(Uuid::nil(), &seed);
        let at = |text: &str| text.parse::<DateTime<Utc>>().expect("a time");
        assert!(!secret.begun(at("2024-01-01T23:59:59Z")));
        assert!(secret.begun(at("2024-01-02T00:00:00Z")));
        assert!(!secret.over(at("2024-01-31T23:59:59Z")));
        assert!(secret.over(at("2024-02-01T00:00:00Z")));
    }
}

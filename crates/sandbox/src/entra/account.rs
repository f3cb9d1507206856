//! People: what the seed says of them, and what happened to them since.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::seed::{Mfa, UserSeed};

/// A user of a tenant.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) tenant: Uuid,
    pub(crate) seed: UserSeed,
    pub(crate) since: Since,
}

/// What happened to a user since the seed; outlives a restart.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Since {
    pub(crate) disabled: Option<bool>,
    pub(crate) locked: Option<bool>,
    #[serde(default)]
    pub(crate) deleted: bool,
    pub(crate) mfa: Option<Mfa>,
    pub(crate) password: Option<String>,
    pub(crate) must_change_password: Option<bool>,
    /// How often sessions were revoked. A count orders events where a clock of seconds cannot.
    #[serde(default)]
    pub(crate) revocations: u32,
    /// How often the password changed.
    #[serde(default)]
    pub(crate) passwords: u32,
    /// How often something happened that continuous access evaluation acts on.
    #[serde(default)]
    pub(crate) critical: u32,
    /// When the last of these was; seconds since 1970.
    #[serde(default)]
    pub(crate) at: i64,
}

impl Person {
    pub(crate) fn upn(&self) -> &str {
        &self.seed.upn
    }

    pub(crate) fn name(&self) -> &str {
        &self.seed.name
    }

    pub(crate) fn object_id(&self) -> Uuid {
        self.seed.object_id()
    }

    pub(crate) fn disabled(&self) -> bool {
        self.since.disabled.unwrap_or(self.seed.disabled)
    }

    pub(crate) fn locked(&self) -> bool {
        self.since.locked.unwrap_or(self.seed.locked)
    }

    pub(crate) fn mfa(&self) -> Mfa {
        self.since.mfa.unwrap_or(self.seed.mfa)
    }

    pub(crate) fn must_change_password(&self) -> bool {
        let since = self.since.must_change_password;
        since.unwrap_or(self.seed.must_change_password)
    }

    pub(crate) fn password(&self) -> &str {
        self.since
            .password
            .as_deref()
            .unwrap_or(&self.seed.password)
    }
}

/// A user in the tenant that is asked, and the account they sign in with: for guests that is one of
/// their home tenant, for everybody else the same one.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) person: Person,
    pub(crate) home: Person,
}

impl Account {
    /// Whether the account may be used, in the tenant and at home.
    pub(crate) fn disabled(&self) -> bool {
        self.person.disabled() || self.home.disabled()
    }

    pub(crate) fn deleted(&self) -> bool {
        self.person.since.deleted || self.home.since.deleted
    }

    /// The stricter of the two settings.
    pub(crate) fn mfa(&self) -> Mfa {
        match (self.person.mfa(), self.home.mfa()) {
            (Mfa::Required, _) | (_, Mfa::Required) => Mfa::Required,
            (Mfa::Registered, _) | (_, Mfa::Registered) => Mfa::Registered,
            (Mfa::None, Mfa::None) => Mfa::None,
        }
    }

    /// Everything that continuous access evaluation acts on, as one number that only grows.
    pub(crate) fn critical(&self) -> u32 {
        let of_person = if self.person.tenant == self.home.tenant {
            0
        } else {
            self.person.since.critical
        };
        self.home.since.critical.saturating_add(of_person)
    }

    /// The name under which the account's grants and consents are kept.
    pub(crate) fn key(&self) -> String {
        self.person.upn().to_lowercase()
    }
}

//! Tenants, users and applications: what the seed says, and what was decided since.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use rand::RngCore as _;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::entra::Version;
use crate::entra::jwt::SigningKey;
use crate::seed::{ApplicationSeed, OrganizationSeed, Seed, TenantSeed, UserSeed};
use crate::state::State;
use crate::{Clock, SandboxError};

/// How long a sign-in may be left lying.
const FLOW_MINUTES: i64 = 30;

#[derive(Debug)]
pub(crate) struct Directory {
    seed: Seed,
    pub(crate) key: SigningKey,
    flows: Mutex<HashMap<String, Flow>>,
    /// Browser sessions: cookie to user.
    sessions: Mutex<HashMap<String, Session>>,
}

/// Who is signed in in a browser.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) upn: String,
}

/// A visit to the authorization endpoint, from its first page to its redirect.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Flow {
    pub(crate) version: Version,
    pub(crate) purpose: Purpose,
    pub(crate) tenant: Uuid,
    /// The tenant as it stands in the address.
    pub(crate) tenant_segment: String,
    pub(crate) client_id: Uuid,
    pub(crate) redirect_uri: String,
    pub(crate) response_mode: String,
    pub(crate) response_type: String,
    pub(crate) resource: Option<String>,
    pub(crate) scope: Option<String>,
    pub(crate) state: Option<String>,
    pub(crate) nonce: Option<String>,
    pub(crate) prompt: Option<String>,
    pub(crate) challenge: Option<String>,
    pub(crate) challenge_method: Option<String>,
    pub(crate) upn: Option<String>,
    pub(crate) begun: DateTime<Utc>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Purpose {
    Authorize,
    AdminConsent,
}

impl Directory {
    pub(crate) fn open(seed: Seed, state: &State, clock: &Clock) -> Result<Self, SandboxError> {
        let key = SigningKey::load_or_create(state, clock.now())?;
        Ok(Self {
            seed,
            key,
            flows: Mutex::new(HashMap::new()),
            sessions: Mutex::new(HashMap::new()),
        })
    }

    /// An identifier that follows from a text.
    pub(crate) fn object_id(text: &str) -> Uuid {
        object_id(text)
    }

    /// The tenant that a segment of an address names. `common` and `organizations` are resolved by
    /// the application: this directory has no other way to know whose tenant is meant.
    pub(crate) fn tenant(&self, segment: &str, client: Option<Uuid>) -> Option<&TenantSeed> {
        if is_shared(segment) {
            return self.seed.tenants.iter().find(|tenant| {
                client.is_some_and(|id| tenant.applications.iter().any(|app| app.client_id == id))
            });
        }
        self.seed.tenants.iter().find(|tenant| {
            tenant.domain.eq_ignore_ascii_case(segment)
                || segment.parse::<Uuid>().is_ok_and(|id| id == tenant.id)
        })
    }

    pub(crate) fn tenant_of(&self, id: Uuid) -> Option<&TenantSeed> {
        self.seed.tenants.iter().find(|tenant| tenant.id == id)
    }

    /// The tenant whose domain a user name ends in.
    pub(crate) fn home_of(&self, upn: &str) -> Option<&TenantSeed> {
        let domain = upn.rsplit_once('@')?.1;
        self.seed
            .tenants
            .iter()
            .find(|tenant| tenant.domain.eq_ignore_ascii_case(domain))
    }

    pub(crate) fn tenants(&self) -> &[TenantSeed] {
        &self.seed.tenants
    }

    /// Every organization with its tenant.
    pub(crate) fn organizations(&self) -> impl Iterator<Item = (&TenantSeed, &OrganizationSeed)> {
        self.seed
            .tenants
            .iter()
            .flat_map(|tenant| tenant.organizations.iter().map(move |own| (tenant, own)))
    }

    /// The organization that a host and port belong to: by its names, else the first one at the
    /// sandbox's own address.
    pub(crate) fn organization_at(
        &self,
        authority: &str,
        own: &str,
    ) -> Option<(&TenantSeed, &OrganizationSeed)> {
        let host = host_of(authority);
        let by_name = self.organizations().find(|(_, organization)| {
            organization
                .hosts
                .iter()
                .any(|known| known.eq_ignore_ascii_case(host))
        });
        let port = authority
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse::<u16>().ok());
        let own_port = own
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse::<u16>().ok());
        let is_own = matches!(host, "localhost" | "127.0.0.1" | "[::1]") && port == own_port;
        by_name.or_else(|| {
            if is_own {
                self.organizations().next()
            } else {
                None
            }
        })
    }

    // === flows and sessions ===

    pub(crate) fn begin(&self, flow: Flow) -> String {
        let id = random();
        let mut flows = lock(&self.flows);
        let oldest = flow.begun - chrono::TimeDelta::minutes(FLOW_MINUTES);
        flows.retain(|_, known| known.begun > oldest);
        flows.insert(id.clone(), flow);
        id
    }

    pub(crate) fn flow(&self, id: &str) -> Option<Flow> {
        lock(&self.flows).get(id).cloned()
    }

    pub(crate) fn set_user(&self, id: &str, upn: &str) {
        if let Some(flow) = lock(&self.flows).get_mut(id) {
            flow.upn = Some(upn.to_owned());
        }
    }

    pub(crate) fn end(&self, id: &str) {
        lock(&self.flows).remove(id);
    }

    pub(crate) fn start_session(&self, upn: &str) -> String {
        let cookie = random();
        let session = Session {
            upn: upn.to_owned(),
        };
        lock(&self.sessions).insert(cookie.clone(), session);
        cookie
    }

    pub(crate) fn session(&self, cookie: &str) -> Option<Session> {
        lock(&self.sessions).get(cookie).cloned()
    }

    pub(crate) fn end_session(&self, cookie: &str) {
        lock(&self.sessions).remove(cookie);
    }
}

impl TenantSeed {
    pub(crate) fn application(&self, client: Uuid) -> Option<&ApplicationSeed> {
        self.applications
            .iter()
            .find(|application| application.client_id == client)
    }

    pub(crate) fn user(&self, upn: &str) -> Option<&UserSeed> {
        self.users
            .iter()
            .find(|user| user.upn.eq_ignore_ascii_case(upn))
    }
}

impl UserSeed {
    /// The user's object id: always the same for the same name.
    pub(crate) fn object_id(&self) -> Uuid {
        object_id(&self.upn.to_lowercase())
    }
}

/// An identifier that follows from a text, in the form of a version 8 UUID (RFC 9562).
pub(crate) fn object_id(text: &str) -> Uuid {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    let mut bytes = [0_u8; 16];
    bytes.copy_from_slice(&digest.as_ref()[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

pub(crate) fn is_shared(segment: &str) -> bool {
    matches!(
        segment.to_ascii_lowercase().as_str(),
        "common" | "organizations" | "consumers"
    )
}

pub(crate) fn host_of(authority: &str) -> &str {
    if authority.starts_with('[') {
        return authority.split_inclusive(']').next().unwrap_or(authority);
    }
    authority.split(':').next().unwrap_or(authority)
}

/// 256 random bits as text.
pub(crate) fn random() -> String {
    use base64::Engine as _;
    let mut bytes = [0_u8; 32];
    rand::rng().fill_bytes(&mut bytes);
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that could panic runs while it is held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! Visits to the authorization endpoint.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use rand::Rng as _;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::entra::Version;
use crate::entra::application::{Application, Platform};
use crate::entra::claims::Claims;
use crate::entra::directory::random;

/// How long a sign-in may be left lying.
const FLOW_MINUTES: i64 = 30;

/// A visit to the authorization endpoint, from its first page to its redirect.
#[derive(Debug, Clone)]
pub(crate) struct Flow {
    pub(crate) version: Version,
    pub(crate) purpose: Purpose,
    /// The tenant; of an open visit, the application's own until somebody signed in.
    pub(crate) tenant: Uuid,
    /// Whether the address named no tenant: then it is the one of who signs in.
    pub(crate) open: bool,
    pub(crate) client_id: Uuid,
    pub(crate) redirect_uri: String,
    pub(crate) platform: Platform,
    pub(crate) response_mode: String,
    pub(crate) response_type: String,
    pub(crate) resource: Option<String>,
    pub(crate) scope: Option<String>,
    pub(crate) state: Option<String>,
    pub(crate) nonce: Option<String>,
    pub(crate) prompt: Option<String>,
    pub(crate) login_hint: Option<String>,
    pub(crate) challenge: Option<String>,
    pub(crate) challenge_method: Option<String>,
    pub(crate) claims: Claims,
    /// Whether the answer tells who signed in, for the client's cache.
    pub(crate) client_info: bool,
    /// The address that was asked, for the issuer.
    pub(crate) origin: String,
    pub(crate) signed_in: Option<SignedIn>,
    /// The number that has to be told to the authenticator.
    pub(crate) number: u8,
    pub(crate) begun: DateTime<Utc>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Purpose {
    Authorize,
    AdminConsent,
    /// Somebody lets a device in; the hash of its code.
    Device(Vec<u8>),
}

/// Who signed in, when and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SignedIn {
    pub(crate) upn: String,
    pub(crate) at: i64,
    pub(crate) mfa: bool,
    /// How often the user's sessions had been revoked, and the password changed.
    pub(crate) revocations: u32,
    pub(crate) passwords: u32,
}

impl Flow {
    /// A visit that asks for nothing yet: to a tenant, or to the one of who signs in.
    pub(crate) fn bare(
        version: Version,
        purpose: Purpose,
        application: &Application,
        tenant: Option<Uuid>,
        origin: String,
        now: DateTime<Utc>,
    ) -> Self {
        Self {
            version,
            purpose,
            tenant: tenant.unwrap_or(application.tenant),
            open: tenant.is_none(),
            client_id: application.client_id(),
            redirect_uri: String::new(),
            platform: Platform::Native,
            response_mode: "query".to_owned(),
            response_type: String::new(),
            resource: None,
            scope: None,
            state: None,
            nonce: None,
            prompt: None,
            login_hint: None,
            challenge: None,
            challenge_method: None,
            claims: Claims::default(),
            client_info: false,
            origin,
            signed_in: None,
            number: number(),
            begun: now,
        }
    }

    pub(crate) fn prompts(&self, word: &str) -> bool {
        self.prompt
            .as_deref()
            .is_some_and(|prompt| prompt.split(' ').any(|known| known == word))
    }

    pub(crate) fn answers_with(&self, word: &str) -> bool {
        self.response_type.split(' ').any(|known| known == word)
    }

    /// Whether consent is asked for the whole tenant.
    pub(crate) fn for_everybody(&self) -> bool {
        self.purpose == Purpose::AdminConsent || self.prompts("admin_consent")
    }
}

/// The visits that are going on. They do not outlive a restart: a page that is open then is too old.
#[derive(Debug, Default)]
pub(crate) struct Flows {
    flows: Mutex<HashMap<String, Flow>>,
}

impl Flows {
    pub(crate) fn begin(&self, flow: Flow) -> String {
        let id = random();
        let mut flows = lock(&self.flows);
        let oldest = flow.begun - TimeDelta::minutes(FLOW_MINUTES);
        flows.retain(|_, known| known.begun > oldest);
        flows.insert(id.clone(), flow);
        id
    }

    pub(crate) fn find(&self, id: &str, now: DateTime<Utc>) -> Option<Flow> {
        let oldest = now - TimeDelta::minutes(FLOW_MINUTES);
        let found = lock(&self.flows).get(id).cloned();
        found.filter(|flow| flow.begun > oldest)
    }

    pub(crate) fn put(&self, id: &str, flow: &Flow) {
        lock(&self.flows).insert(id.to_owned(), flow.clone());
    }

    pub(crate) fn end(&self, id: &str) {
        lock(&self.flows).remove(id);
    }
}

/// A number between 10 and 99, as the authenticator asks for.
fn number() -> u8 {
    rand::rng().random_range(10..100)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that could panic runs while it is held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! Tenants, users and applications: what the seed says, and what was decided since.
//!
//! A request works on a snapshot of its tenant; a change makes a new one, and is written down before
//! it shows.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use chrono::{DateTime, Utc};
use rand::RngCore as _;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::entra::account::{Account, Person, Since};
use crate::entra::application::{Application, Settings};
use crate::entra::claims;
use crate::entra::flow::Flows;
use crate::entra::jwt::{Caller, SigningKey};
use crate::entra::ledger::Ledger;
use crate::entra::throttle::Throttle;
use crate::seed::{
    ApplicationSeed, ConditionalAccess, OrganizationSeed, Seed, SeedError, TenantSeed, UserSeed,
};
use crate::state::State;
use crate::{Clock, SandboxError};

#[derive(Debug)]
pub(crate) struct Directory {
    seed: Seed,
    pub(crate) key: SigningKey,
    tenants: RwLock<Vec<Arc<Tenant>>>,
    pub(crate) flows: Flows,
    pub(crate) throttle: Throttle,
    /// When an access token was last shown to a resource; token identifier to seconds.
    shown: Mutex<HashMap<String, i64>>,
}

/// A tenant as it is now.
#[derive(Debug, Clone)]
pub(crate) struct Tenant {
    pub(crate) id: Uuid,
    pub(crate) domain: String,
    pub(crate) name: String,
    pub(crate) policy: Policy,
    pub(crate) people: Vec<Person>,
    pub(crate) applications: Vec<Application>,
    /// Applications of other tenants that somebody here consented to.
    pub(crate) principals: HashSet<Uuid>,
    /// Friendly names of its organizations.
    pub(crate) organizations: Vec<String>,
}

/// What the tenant's administrators decided.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Policy {
    pub(crate) user_consent: bool,
    pub(crate) conditional_access: ConditionalAccess,
    pub(crate) sign_in_frequency_hours: Option<u32>,
    #[serde(default)]
    pub(crate) admin_consent_requests: bool,
}

impl Policy {
    /// What a tenant of the seed begins with.
    pub(crate) fn of(seed: &TenantSeed) -> Self {
        Self {
            user_consent: seed.user_consent,
            conditional_access: seed.conditional_access,
            sign_in_frequency_hours: seed.sign_in_frequency_hours,
            admin_consent_requests: seed.admin_consent_requests,
        }
    }
}

/// The first part of an address.
#[derive(Debug, Clone)]
pub(crate) enum Segment {
    Tenant(Arc<Tenant>),
    /// `common`: work and school accounts, and personal ones.
    Common,
    /// `organizations`: work and school accounts.
    Organizations,
    /// `consumers`: personal accounts, of which there are none here.
    Consumers,
}

/// What becomes of an access token that a resource was shown.
#[derive(Debug, Clone)]
pub(crate) enum Verdict {
    Good(Caller),
    /// It is not ours, not good yet, or not good any more.
    Refused,
    /// It was overtaken by an event, and its client can be told so: the claims to ask for.
    Challenged {
        claims: String,
    },
}

/// Tokens of clients that understand challenges live 28 hours at most.
pub(crate) const LONGEST_TOKEN_SECONDS: i64 = 28 * 3_600 - 1;
/// Forgetting tokens that are over goes through all of them, so it is done only now and then.
const SHOWN_SWEEP: usize = 1_024;

/// Kinds of changes in the ledger.
pub(crate) const OF_USER: &str = "user";
pub(crate) const OF_APPLICATION: &str = "application";
pub(crate) const OF_TENANT: &str = "tenant";

impl Directory {
    pub(crate) fn open(seed: Seed, state: &State, clock: &Clock) -> Result<Self, SandboxError> {
        let key = SigningKey::load_or_create(state, clock.now())?;
        let ledger = Ledger(state);
        ledger.prepare()?;
        let mut tenants = Vec::new();
        for tenant in &seed.tenants {
            tenants.push(Tenant::open(tenant, ledger)?);
        }
        for (tenant, client) in ledger.principals()? {
            if let Some(tenant) = tenants.iter_mut().find(|known| known.id == tenant) {
                tenant.principals.insert(client);
            }
        }
        Ok(Self {
            seed,
            key,
            tenants: RwLock::new(tenants.into_iter().map(Arc::new).collect()),
            flows: Flows::default(),
            throttle: Throttle::default(),
            shown: Mutex::new(HashMap::new()),
        })
    }

    /// An identifier that follows from a text.
    pub(crate) fn object_id(text: &str) -> Uuid {
        object_id(text)
    }

    /// Every tenant, as it is now.
    pub(crate) fn tenants(&self) -> Vec<Arc<Tenant>> {
        let tenants = self.tenants.read();
        tenants.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn tenant_of(&self, id: Uuid) -> Option<Arc<Tenant>> {
        self.tenants().into_iter().find(|tenant| tenant.id == id)
    }

    /// What the first part of an address names.
    pub(crate) fn segment(&self, text: &str) -> Option<Segment> {
        match text.to_ascii_lowercase().as_str() {
            "common" => return Some(Segment::Common),
            "organizations" => return Some(Segment::Organizations),
            "consumers" => return Some(Segment::Consumers),
            _ => {}
        }
        self.tenant_named(text).map(Segment::Tenant)
    }

    /// The tenant of an identifier or a domain.
    pub(crate) fn tenant_named(&self, text: &str) -> Option<Arc<Tenant>> {
        let id = text.parse::<Uuid>().ok();
        let named = |tenant: &Arc<Tenant>| {
            tenant.domain.eq_ignore_ascii_case(text) || id == Some(tenant.id)
        };
        self.tenants().into_iter().find(named)
    }

    /// The tenant whose domain a user name ends in.
    pub(crate) fn home_of(&self, upn: &str) -> Option<Arc<Tenant>> {
        let (_, domain) = upn.rsplit_once('@')?;
        let of_domain = |tenant: &Arc<Tenant>| tenant.domain.eq_ignore_ascii_case(domain);
        self.tenants().into_iter().find(of_domain)
    }

    /// The application of an identifier, wherever it is registered.
    pub(crate) fn application(&self, client: Uuid) -> Option<Application> {
        let tenants = self.tenants();
        tenants
            .iter()
            .find_map(|tenant| tenant.own(client).cloned())
    }

    /// A user of a tenant with the account they sign in with.
    pub(crate) fn account(&self, tenant: &Tenant, upn: &str) -> Option<Account> {
        let person = tenant.person(upn)?.clone();
        if !person.seed.guest {
            let home = person.clone();
            return Some(Account { person, home });
        }
        let home = self
            .tenants()
            .iter()
            .flat_map(|tenant| &tenant.people)
            .find(|known| !known.seed.guest && known.upn().eq_ignore_ascii_case(upn))
            .cloned()?;
        Some(Account { person, home })
    }

    /// Every tenant as the seed has it.
    pub(crate) fn seeded(&self) -> impl Iterator<Item = &TenantSeed> {
        self.seed.tenants.iter()
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
        // Whoever names no port means that of https.
        let port_of = |authority: &str| {
            let port = authority.rsplit_once(':').map(|(_, port)| port.parse());
            port.unwrap_or(Ok(443_u16)).ok()
        };
        let is_own = matches!(host, "localhost" | "127.0.0.1" | "[::1]")
            && port_of(authority) == port_of(own);
        by_name.or_else(|| {
            if is_own {
                self.organizations().next()
            } else {
                None
            }
        })
    }

    // === changes ===

    /// Changes a tenant: what the change returns is written down, and then everybody sees it.
    pub(crate) fn change<T>(
        &self,
        tenant: Uuid,
        change: impl FnOnce(&mut Tenant) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Option<T>> {
        let mut tenants = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = tenants.iter_mut().find(|known| known.id == tenant) else {
            return Ok(None);
        };
        let mut changed = Tenant::clone(known);
        let result = change(&mut changed)?;
        *known = Arc::new(changed);
        Ok(Some(result))
    }

    // === access tokens at a resource ===

    /// What becomes of an access token that a resource was shown.
    pub(crate) fn verdict(&self, token: &str, now: DateTime<Utc>) -> Verdict {
        let Some(caller) = self.key.verify(token, now) else {
            return Verdict::Refused;
        };
        if let Some(claims) = self.overtaken(&caller) {
            return Verdict::Challenged { claims };
        }
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.len().is_multiple_of(SHOWN_SWEEP) {
            let oldest = now.timestamp() - LONGEST_TOKEN_SECONDS;
            shown.retain(|_, at| *at > oldest);
        }
        shown.insert(caller.id.clone(), now.timestamp());
        Verdict::Good(caller)
    }

    /// The claims to ask for, when something happened to the user since the token was issued and
    /// its client said that it understands such an answer.
    fn overtaken(&self, caller: &Caller) -> Option<String> {
        if !caller.understands_challenges || caller.app_only {
            return None;
        }
        let tenant = self.tenant_of(caller.tenant)?;
        let person = |known: &&Person| Some(known.object_id()) == caller.object_id;
        let person = tenant.people.iter().find(person)?;
        let at = person.since.at;
        let account = self.account(&tenant, person.upn());
        let account = account.filter(|account| !account.disabled() && !account.deleted());
        let fresh = account.as_ref().map(Account::critical) == Some(caller.critical);
        let at = account.map_or(at, |account| account.home.since.at.max(at));
        (!fresh).then(|| claims::younger_than(at))
    }

    /// When an access token was last shown to a resource.
    pub(crate) fn last_shown(&self, id: &str) -> Option<i64> {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.get(id).copied()
    }
}

impl Tenant {
    fn open(seed: &TenantSeed, ledger: Ledger<'_>) -> Result<Self, SandboxError> {
        let policy = Policy::of(seed);
        let kept: Option<Policy> = ledger.change(OF_TENANT, &seed.id.to_string())?;
        let mut people = Vec::new();
        for user in &seed.users {
            let since: Option<Since> = ledger.change(OF_USER, &user_key(seed.id, &user.upn))?;
            people.push(Person {
                tenant: seed.id,
                seed: user.clone(),
                since: since.unwrap_or_default(),
            });
        }
        let mut applications = Vec::new();
        for application in &seed.applications {
            let mut opened =
                Application::new(seed.id, application).map_err(SeedError::Contradiction)?;
            let id = application.client_id.to_string();
            let kept: Option<Settings> = ledger.change(OF_APPLICATION, &id)?;
            opened.settings = kept.unwrap_or_default();
            applications.push(opened);
        }
        let organizations = seed.organizations.iter();
        Ok(Self {
            id: seed.id,
            domain: seed.domain.clone(),
            name: seed.name.clone(),
            policy: kept.unwrap_or(policy),
            people,
            applications,
            principals: HashSet::new(),
            organizations: organizations.map(|own| own.friendly_name.clone()).collect(),
        })
    }

    /// An application that is registered here.
    pub(crate) fn own(&self, client: Uuid) -> Option<&Application> {
        let mut all = self.applications.iter();
        all.find(|application| application.client_id() == client)
    }

    /// A user who is not deleted.
    pub(crate) fn person(&self, upn: &str) -> Option<&Person> {
        self.everybody(upn).filter(|person| !person.since.deleted)
    }

    /// A user, deleted or not.
    pub(crate) fn everybody(&self, upn: &str) -> Option<&Person> {
        let mut people = self.people.iter();
        people.find(|person| person.upn().eq_ignore_ascii_case(upn))
    }
}

impl TenantSeed {
    /// An application as the seed has it.
    pub(crate) fn application(&self, client: Uuid) -> Option<&ApplicationSeed> {
        let mut all = self.applications.iter();
        all.find(|application| application.client_id == client)
    }
}

impl UserSeed {
    /// The user's object id: always the same for the same name. A guest has one of their own.
    pub(crate) fn object_id(&self) -> Uuid {
        let upn = self.upn.to_lowercase();
        if self.guest {
            return object_id(&format!("{upn}#ext#"));
        }
        object_id(&upn)
    }
}

pub(crate) fn user_key(tenant: Uuid, upn: &str) -> String {
    format!("{tenant}/{}", upn.to_lowercase())
}

/// An identifier that follows from a text, in the form of a version 8 UUID (RFC 9562).
pub(crate) fn object_id(text: &str) -> Uuid {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    let mut bytes = [0_u8; 16];
    for (to, from) in bytes.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
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

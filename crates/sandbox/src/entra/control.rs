//! What somebody who rehearses may look at and change while the sandbox runs.
//!
//! Every change is written down before it shows, takes effect with the next request, and outlives a
//! restart. Nothing here shows a token, a secret's value or a password.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use uuid::Uuid;

use crate::World;
use crate::entra::account::{Person, Since};
use crate::entra::application::{Secret, Settings};
use crate::entra::directory::{OF_APPLICATION, OF_TENANT, OF_USER, Policy, Tenant, user_key};
use crate::entra::grant::Grant;
use crate::entra::ledger::{Fate, Issued, Ledger, Scope};
use crate::seed::{ConditionalAccess, Mfa};
use crate::state::EVERYBODY;

/// Why something could not be looked at or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControlError {
    #[error("there is no tenant '{0}'; its ID or its domain is wanted")]
    NoTenant(String),
    #[error("there is no application '{0}'; its client ID is wanted")]
    NoApplication(Uuid),
    #[error("there is no user '{0}'; the user principal name is wanted")]
    NoUser(String),
    #[error("the application {client} has no secret '{id}'; its Secret ID is wanted")]
    NoSecret { client: Uuid, id: Uuid },
    #[error("the application {0} already has a secret of this value")]
    SecretTwice(Uuid),
    #[error("an access token lives between 1 and 100799 seconds, not {0}")]
    Lifetime(u32),
    #[error("the sandbox's database failed: {0}")]
    Database(#[from] rusqlite::Error),
}

type Outcome<T> = Result<T, ControlError>;

/// Who or what is meant; what is left out means all.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Selector {
    /// ID or domain.
    #[serde(default)]
    pub(crate) tenant: Option<String>,
    /// Client ID.
    #[serde(default)]
    pub(crate) application: Option<Uuid>,
    /// User principal name.
    #[serde(default)]
    pub(crate) user: Option<String>,
}

/// Who changes a password: that decides what becomes of the tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum By {
    /// The user, by changing or resetting it.
    #[serde(alias = "self")]
    User,
    /// An administrator, in the Azure portal.
    Admin,
    /// An administrator, in the Entra admin center: that revokes the sessions too.
    AdminCenter,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPassword {
    pub(crate) value: String,
    pub(crate) by: By,
}

/// A change of a user; what is left out stays.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct UserChange {
    pub(crate) disabled: Option<bool>,
    pub(crate) locked: Option<bool>,
    pub(crate) deleted: Option<bool>,
    pub(crate) mfa: Option<Mfa>,
    pub(crate) must_change_password: Option<bool>,
    pub(crate) password: Option<NewPassword>,
}

/// A change of an application; what is left out stays.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ApplicationChange {
    pub(crate) disabled: Option<bool>,
    pub(crate) multi_tenant: Option<bool>,
    pub(crate) public: Option<bool>,
    pub(crate) assignment_required: Option<bool>,
    pub(crate) strict_rotation: Option<bool>,
    pub(crate) access_token_seconds: Option<u32>,
    pub(crate) conditional_access: Option<ConditionalAccess>,
    /// User principal names of everybody who is assigned.
    pub(crate) assigned: Option<Vec<String>>,
}

/// A change of a tenant; what is left out stays.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TenantChange {
    pub(crate) user_consent: Option<bool>,
    pub(crate) conditional_access: Option<ConditionalAccess>,
    /// Zero switches it off.
    pub(crate) sign_in_frequency_hours: Option<u32>,
    pub(crate) admin_consent_requests: Option<bool>,
}

/// What is done to one secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SecretFate {
    Expire,
    Remove,
}

/// The directory of a running sandbox, from outside.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Control<'a> {
    pub(crate) world: &'a World,
}

impl<'a> Control<'a> {
    pub(crate) fn of(world: &'a World) -> Self {
        Self { world }
    }

    fn now(&self) -> DateTime<Utc> {
        self.world.clock.now()
    }

    fn ledger(&self) -> Ledger<'a> {
        Ledger(&self.world.state)
    }

    /// The tenants that a selector means.
    pub(crate) fn tenants_of(&self, selector: &Selector) -> Outcome<Vec<std::sync::Arc<Tenant>>> {
        let directory = &self.world.directory;
        match &selector.tenant {
            None => Ok(directory.tenants()),
            Some(name) => {
                let tenant = directory.tenant_named(name);
                let tenant = tenant.ok_or_else(|| ControlError::NoTenant(name.clone()))?;
                Ok(vec![tenant])
            }
        }
    }

    /// The same for what was issued, after checking that everything named exists.
    fn scope(&self, selector: &Selector) -> Outcome<Scope> {
        let tenants = self.tenants_of(selector)?;
        if let Some(client) = selector.application {
            let found = self.world.directory.application(client);
            found.ok_or(ControlError::NoApplication(client))?;
        }
        if let Some(upn) = &selector.user {
            let mut people = tenants
                .iter()
                .filter(|tenant| tenant.everybody(upn).is_some());
            people
                .next()
                .ok_or_else(|| ControlError::NoUser(upn.clone()))?;
        }
        Ok(Scope {
            tenant: selector
                .tenant
                .as_ref()
                .and_then(|_| tenants.first().map(|tenant| tenant.id)),
            application: selector.application,
            user: selector.user.clone(),
        })
    }

    // === what was issued ===

    /// Refresh tokens, without the tokens.
    pub(crate) fn refresh_tokens(&self, selector: &Selector) -> Outcome<Vec<Issued>> {
        let listed = self.ledger().refresh_tokens(&self.scope(selector)?)?;
        let with_end = |(issued, body): (Issued, String)| {
            let grant: Option<Grant> = serde_json::from_str(&body).ok();
            let used = issued.last_used.unwrap_or(issued.issued);
            Issued {
                expires: grant.map(|grant| grant.ends(used)),
                ..issued
            }
        };
        Ok(listed.into_iter().map(with_end).collect())
    }

    /// Access tokens, without the tokens.
    pub(crate) fn access_tokens(&self, selector: &Selector) -> Outcome<Vec<Issued>> {
        let mut issued = self.ledger().access_tokens(&self.scope(selector)?)?;
        for token in &mut issued {
            token.last_used = self.world.directory.last_shown(&token.id);
        }
        Ok(issued)
    }

    /// Consents: tenant, application and user, or `*` for everybody.
    pub(crate) fn consents(&self, selector: &Selector) -> Outcome<Vec<(String, String, String)>> {
        Ok(self.ledger().consents(&self.scope(selector)?)?)
    }

    /// Makes refresh tokens look unused for ninety days: AADSTS700082. Returns how many.
    pub(crate) fn expire_refresh_tokens(&self, selector: &Selector) -> Outcome<usize> {
        let scope = self.scope(selector)?;
        Ok(self.ledger().settle_refresh(&scope, Fate::Expired)?)
    }

    /// Withdraws consents: AADSTS65001 from then on. Returns how many there were.
    pub(crate) fn withdraw_consent(&self, selector: &Selector) -> Outcome<usize> {
        let everybody = selector.user.as_deref() == Some(EVERYBODY);
        let checked = Selector {
            user: selector.user.clone().filter(|_| !everybody),
            ..selector.clone()
        };
        let mut scope = self.scope(&checked)?;
        if everybody {
            scope.user = Some(EVERYBODY.to_owned());
        }
        Ok(self.ledger().withdraw(&scope)?)
    }

    pub(crate) fn add_principal(&self, tenant: Uuid, client: Uuid) -> rusqlite::Result<()> {
        let changed = self.world.directory.change(tenant, |tenant| {
            self.ledger().add_principal(tenant.id, client)?;
            tenant.principals.insert(client);
            Ok(())
        });
        changed.map(|_| ())
    }

    // === users ===

    /// Changes users. Returns how many.
    pub(crate) fn change_users(&self, selector: &Selector, change: &UserChange) -> Outcome<usize> {
        let now = self.now().timestamp();
        self.each_person(selector, |person| apply(person, change, now))
    }

    /// Revokes the sign-in sessions of users: AADSTS50173 from then on. With an application, only
    /// what that application holds is ended. Returns how many users, or tokens.
    pub(crate) fn revoke_sessions(&self, selector: &Selector) -> Outcome<usize> {
        if selector.application.is_some() {
            let scope = self.scope(selector)?;
            return Ok(self.ledger().settle_refresh(&scope, Fate::Revoked)?);
        }
        let now = self.now().timestamp();
        self.each_person(selector, |person| {
            person.since.revocations += 1;
            critical(&mut person.since, now);
        })
    }

    /// Gives one user a password.
    pub(crate) fn set_password(&self, tenant: Uuid, upn: &str, value: &str, by: By) -> Outcome<()> {
        let selector = Selector {
            tenant: Some(tenant.to_string()),
            user: Some(upn.to_owned()),
            application: None,
        };
        let password = NewPassword {
            value: value.to_owned(),
            by,
        };
        let change = UserChange {
            password: Some(password),
            ..UserChange::default()
        };
        self.change_users(&selector, &change).map(|_| ())
    }

    /// Somebody registered a second factor. That is no event that ends anything.
    pub(crate) fn register_mfa(&self, person: &Person) -> Outcome<()> {
        let selector = Selector {
            tenant: Some(person.tenant.to_string()),
            user: Some(person.upn().to_owned()),
            application: None,
        };
        let registered = |person: &mut Person| person.since.mfa = Some(Mfa::Registered);
        self.each_person(&selector, registered).map(|_| ())
    }

    /// Guests are meant only where their tenant is named: elsewhere the account at home is.
    fn each_person(
        &self,
        selector: &Selector,
        mut change: impl FnMut(&mut Person),
    ) -> Outcome<usize> {
        let tenants = self.tenants_of(selector)?;
        let mut count = 0;
        for tenant in tenants {
            let meant = |person: &Person| {
                let named = selector.user.as_deref();
                let guest = person.seed.guest && selector.tenant.is_none();
                !guest && named.is_none_or(|upn| person.upn().eq_ignore_ascii_case(upn))
            };
            if !tenant.people.iter().any(meant) {
                continue;
            }
            self.world.directory.change(tenant.id, |tenant| {
                for person in tenant.people.iter_mut().filter(|person| meant(person)) {
                    change(person);
                    let body = serde_json::to_string(&person.since).unwrap_or_default();
                    let key = user_key(person.tenant, person.upn());
                    self.ledger().keep_change(OF_USER, &key, &body)?;
                    count += 1;
                }
                Ok(())
            })?;
        }
        match &selector.user {
            Some(upn) if count == 0 => Err(ControlError::NoUser(upn.clone())),
            _ => Ok(count),
        }
    }

    // === applications ===

    /// Changes applications. Returns how many.
    pub(crate) fn change_applications(
        &self,
        selector: &Selector,
        change: &ApplicationChange,
    ) -> Outcome<usize> {
        let seconds = change.access_token_seconds;
        if let Some(seconds) = seconds.filter(|seconds| !(1..=100_799).contains(seconds)) {
            return Err(ControlError::Lifetime(seconds));
        }
        self.each_application(selector, |settings| {
            fn put<T: Copy>(to: &mut Option<T>, from: Option<T>) {
                *to = from.or(*to);
            }
            put(&mut settings.disabled, change.disabled);
            put(&mut settings.multi_tenant, change.multi_tenant);
            put(&mut settings.public, change.public);
            put(
                &mut settings.assignment_required,
                change.assignment_required,
            );
            put(&mut settings.strict_rotation, change.strict_rotation);
            put(
                &mut settings.access_token_seconds,
                change.access_token_seconds,
            );
            put(&mut settings.conditional_access, change.conditional_access);
            if let Some(assigned) = &change.assigned {
                settings.assigned = Some(assigned.clone());
            }
        })
    }

    fn each_application(
        &self,
        selector: &Selector,
        mut change: impl FnMut(&mut Settings),
    ) -> Outcome<usize> {
        let mut count = 0;
        for tenant in self.tenants_of(selector)? {
            let wanted = selector.application;
            self.world.directory.change(tenant.id, |tenant| {
                let meant = tenant
                    .applications
                    .iter_mut()
                    .filter(|known| wanted.is_none_or(|id| id == known.client_id()));
                for application in meant {
                    change(&mut application.settings);
                    let body = serde_json::to_string(&application.settings).unwrap_or_default();
                    let key = application.client_id().to_string();
                    self.ledger().keep_change(OF_APPLICATION, &key, &body)?;
                    count += 1;
                }
                Ok(())
            })?;
        }
        match selector.application {
            Some(client) if count == 0 => Err(ControlError::NoApplication(client)),
            _ => Ok(count),
        }
    }

    /// Adds a secret to an application. Returns its Secret ID.
    pub(crate) fn add_secret(
        &self,
        client: Uuid,
        value: &str,
        ends: Option<DateTime<Utc>>,
    ) -> Outcome<Uuid> {
        let mut secrets = self.secrets(client)?;
        if secrets.iter().any(|secret| secret.value == value) {
            return Err(ControlError::SecretTwice(client));
        }
        let id = Uuid::new_v4();
        secrets.push(Secret {
            id,
            value: value.to_owned(),
            starts: None,
            ends,
        });
        self.keep_secrets(client, &secrets)?;
        Ok(id)
    }

    /// Expires or removes secrets: one by its Secret ID, or all of an application. Returns how many.
    pub(crate) fn end_secrets(
        &self,
        client: Uuid,
        id: Option<Uuid>,
        fate: SecretFate,
    ) -> Outcome<usize> {
        let mut secrets = self.secrets(client)?;
        let now = self.now();
        let mut count = 0;
        secrets.retain_mut(|secret| {
            if id.is_some_and(|id| id != secret.id) {
                return true;
            }
            count += 1;
            secret.ends = Some(secret.ends.map_or(now, |ends| ends.min(now)));
            fate == SecretFate::Expire
        });
        match id {
            Some(id) if count == 0 => Err(ControlError::NoSecret { client, id }),
            _ => {
                self.keep_secrets(client, &secrets)?;
                Ok(count)
            }
        }
    }

    fn secrets(&self, client: Uuid) -> Outcome<Vec<Secret>> {
        let found = self.world.directory.application(client);
        let found = found.ok_or(ControlError::NoApplication(client))?;
        Ok(found.secrets())
    }

    fn keep_secrets(&self, client: Uuid, secrets: &[Secret]) -> Outcome<()> {
        let selector = Selector {
            application: Some(client),
            ..Selector::default()
        };
        let put = |settings: &mut Settings| settings.secrets = Some(secrets.to_vec());
        self.each_application(&selector, put).map(|_| ())
    }

    // === tenants ===

    /// Changes tenants. Returns how many.
    pub(crate) fn change_tenants(
        &self,
        selector: &Selector,
        change: &TenantChange,
    ) -> Outcome<usize> {
        let tenants = self.tenants_of(selector)?;
        for tenant in &tenants {
            self.world.directory.change(tenant.id, |tenant| {
                decide(&mut tenant.policy, change);
                let body = serde_json::to_string(&tenant.policy).unwrap_or_default();
                let key = tenant.id.to_string();
                self.ledger().keep_change(OF_TENANT, &key, &body)
            })?;
        }
        Ok(tenants.len())
    }
}

/// Applies a change to a tenant's policy.
fn decide(policy: &mut Policy, change: &TenantChange) {
    if let Some(decided) = change.user_consent {
        policy.user_consent = decided;
    }
    if let Some(decided) = change.conditional_access {
        policy.conditional_access = decided;
    }
    if let Some(hours) = change.sign_in_frequency_hours {
        policy.sign_in_frequency_hours = Some(hours).filter(|hours| *hours > 0);
    }
    if let Some(decided) = change.admin_consent_requests {
        policy.admin_consent_requests = decided;
    }
}

/// Applies a change to a person; what ends something is counted.
fn apply(person: &mut Person, change: &UserChange, now: i64) {
    let since = &mut person.since;
    since.disabled = change.disabled.or(since.disabled);
    since.locked = change.locked.or(since.locked);
    since.deleted = change.deleted.unwrap_or(since.deleted);
    since.mfa = change.mfa.or(since.mfa);
    since.must_change_password = change.must_change_password.or(since.must_change_password);
    if let Some(password) = &change.password {
        since.password = Some(password.value.clone());
        since.must_change_password = Some(change.must_change_password == Some(true));
        since.passwords += 1;
        if password.by == By::AdminCenter {
            since.revocations += 1;
        }
        critical(since, now);
    }
    let gone = change.disabled == Some(true) || change.deleted == Some(true);
    if gone || change.mfa == Some(Mfa::Required) {
        critical(since, now);
    }
}

/// Something happened that continuous access evaluation acts on.
fn critical(since: &mut Since, now: i64) {
    since.critical += 1;
    since.at = now;
}

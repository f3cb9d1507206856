//! Tenants, applications and users as somebody who rehearses sees them: their state, without
//! passwords, secrets or keys.

use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

use crate::entra::account::Person;
use crate::entra::application::{Application, Secret};
use crate::entra::control::{Control, ControlError, Selector};
use crate::seed::{ConditionalAccess, Mfa};

#[derive(Debug, Clone, Serialize)]
pub(crate) struct TenantView {
    pub(crate) id: Uuid,
    pub(crate) domain: String,
    pub(crate) name: String,
    pub(crate) user_consent: bool,
    pub(crate) conditional_access: ConditionalAccess,
    pub(crate) sign_in_frequency_hours: Option<u32>,
    pub(crate) admin_consent_requests: bool,
    pub(crate) organizations: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct UserView {
    pub(crate) tenant: Uuid,
    pub(crate) upn: String,
    pub(crate) name: String,
    pub(crate) object_id: Uuid,
    pub(crate) admin: bool,
    pub(crate) guest: bool,
    pub(crate) disabled: bool,
    pub(crate) locked: bool,
    pub(crate) deleted: bool,
    pub(crate) mfa: Mfa,
    pub(crate) must_change_password: bool,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct ApplicationView {
    pub(crate) tenant: Uuid,
    pub(crate) client_id: Uuid,
    pub(crate) name: String,
    pub(crate) disabled: bool,
    pub(crate) multi_tenant: bool,
    pub(crate) public: bool,
    pub(crate) assignment_required: bool,
    pub(crate) strict_rotation: bool,
    pub(crate) access_token_seconds: Option<u32>,
    pub(crate) conditional_access: ConditionalAccess,
    pub(crate) redirect_uris: Vec<String>,
    pub(crate) secrets: Vec<SecretView>,
    /// Thumbprints (SHA-256).
    pub(crate) certificates: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct SecretView {
    /// The Secret ID.
    pub(crate) id: Uuid,
    /// The first three characters, as the portal shows them.
    pub(crate) hint: String,
    pub(crate) starts: Option<DateTime<Utc>>,
    pub(crate) ends: Option<DateTime<Utc>>,
    pub(crate) expired: bool,
}

impl Control<'_> {
    pub(crate) fn tenants(&self, selector: &Selector) -> Result<Vec<TenantView>, ControlError> {
        let tenants = self.tenants_of(selector)?;
        let views = tenants.iter().map(|tenant| TenantView {
            id: tenant.id,
            domain: tenant.domain.clone(),
            name: tenant.name.clone(),
            user_consent: tenant.policy.user_consent,
            conditional_access: tenant.policy.conditional_access,
            sign_in_frequency_hours: tenant.policy.sign_in_frequency_hours,
            admin_consent_requests: tenant.policy.admin_consent_requests,
            organizations: tenant.organizations.clone(),
        });
        Ok(views.collect())
    }

    pub(crate) fn users(&self, selector: &Selector) -> Result<Vec<UserView>, ControlError> {
        let tenants = self.tenants_of(selector)?;
        let people = tenants.iter().flat_map(|tenant| &tenant.people);
        let named = selector.user.as_deref();
        let meant =
            people.filter(|person| named.is_none_or(|upn| person.upn().eq_ignore_ascii_case(upn)));
        let views: Vec<UserView> = meant.map(user_view).collect();
        match named {
            Some(upn) if views.is_empty() => Err(ControlError::NoUser(upn.to_owned())),
            _ => Ok(views),
        }
    }

    pub(crate) fn applications(
        &self,
        selector: &Selector,
    ) -> Result<Vec<ApplicationView>, ControlError> {
        let tenants = self.tenants_of(selector)?;
        let now = self.world.clock.now();
        let all = tenants.iter().flat_map(|tenant| &tenant.applications);
        let meant = all.filter(|known| {
            let wanted = selector.application;
            wanted.is_none_or(|id| id == known.client_id())
        });
        let views: Vec<_> = meant.map(|known| application_view(known, now)).collect();
        match selector.application {
            Some(client) if views.is_empty() => Err(ControlError::NoApplication(client)),
            _ => Ok(views),
        }
    }
}

fn user_view(person: &Person) -> UserView {
    UserView {
        tenant: person.tenant,
        upn: person.upn().to_owned(),
        name: person.name().to_owned(),
        object_id: person.object_id(),
        admin: person.seed.admin,
        guest: person.seed.guest,
        disabled: person.disabled(),
        locked: person.locked(),
        deleted: person.since.deleted,
        mfa: person.mfa(),
        must_change_password: person.must_change_password(),
    }
}

fn application_view(application: &Application, now: DateTime<Utc>) -> ApplicationView {
    let seed = &application.seed;
    let addresses = [
        &seed.redirect_uris,
        &seed.spa_redirect_uris,
        &seed.native_redirect_uris,
    ];
    let secret = |secret: Secret| SecretView {
        id: secret.id,
        hint: secret.value.chars().take(3).collect(),
        starts: secret.starts,
        ends: secret.ends,
        expired: secret.over(now),
    };
    let certificates = application.certificates.iter();
    ApplicationView {
        tenant: application.tenant,
        client_id: application.client_id(),
        name: application.name().to_owned(),
        disabled: application.disabled(),
        multi_tenant: application.multi_tenant(),
        public: application.public(),
        assignment_required: application.assignment_required(),
        strict_rotation: application.strict_rotation(),
        access_token_seconds: application.access_token_seconds(),
        conditional_access: application.conditional_access(),
        redirect_uris: addresses.into_iter().flatten().cloned().collect(),
        secrets: application.secrets().into_iter().map(secret).collect(),
        certificates: certificates.map(|known| known.sha256.clone()).collect(),
    }
}

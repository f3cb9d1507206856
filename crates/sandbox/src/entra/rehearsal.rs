//! For rehearsals: whose a grant is, before anybody believes it, and the directory as the seed has
//! it.

use serde::Deserialize;

use crate::World;
use crate::entra::application::Settings;
use crate::entra::control::{Control, ControlError};
use crate::entra::directory::{OF_APPLICATION, OF_TENANT, OF_USER, Policy, user_key};
use crate::entra::issue::hash;
use crate::entra::ledger::Ledger;

/// As much of what is kept with a code as says whose it is.
#[derive(Deserialize)]
struct Whose {
    grant: GrantOf,
}

#[derive(Deserialize)]
struct GrantOf {
    signed_in: SignedInAs,
}

#[derive(Deserialize)]
struct SignedInAs {
    upn: String,
}

/// The user behind a refresh token; none when the sandbox has never issued it.
pub(crate) fn holder_of_refresh_token(world: &World, token: &str) -> Option<String> {
    let kept = Ledger(&world.state).refresh(&hash(token)).ok()??;
    let grant: GrantOf = serde_json::from_str(&kept.body).ok()?;
    Some(grant.signed_in.upn)
}

/// The user behind an authorization code.
pub(crate) fn holder_of_code(world: &World, code: &str) -> Option<String> {
    let kept = world.state.code(&hash(code)).ok()??;
    let whose: Whose = serde_json::from_str(&kept.body).ok()?;
    Some(whose.grant.signed_in.upn)
}

impl Control<'_> {
    /// Puts users, applications and policies back to what the seed says. What was counted stays
    /// counted, so that a token that an event ended does not come to life again.
    pub(crate) fn reset(&self) -> Result<(), ControlError> {
        let ledger = Ledger(&self.world.state);
        for tenant in self.world.directory.tenants() {
            let seeded = self.world.directory.seeded_policy(tenant.id);
            self.world.directory.change(tenant.id, |tenant| {
                for person in &mut tenant.people {
                    let since = &mut person.since;
                    since.disabled = None;
                    since.locked = None;
                    since.deleted = false;
                    since.mfa = None;
                    since.password = None;
                    since.must_change_password = None;
                    let body = serde_json::to_string(&person.since).unwrap_or_default();
                    let key = user_key(person.tenant, person.upn());
                    ledger.keep_change(OF_USER, &key, &body)?;
                }
                for application in &mut tenant.applications {
                    application.settings = Settings::default();
                    let body = serde_json::to_string(&application.settings).unwrap_or_default();
                    let key = application.client_id().to_string();
                    ledger.keep_change(OF_APPLICATION, &key, &body)?;
                }
                if let Some(policy) = seeded {
                    tenant.policy = policy;
                }
                let body = serde_json::to_string(&tenant.policy).unwrap_or_default();
                ledger.keep_change(OF_TENANT, &tenant.id.to_string(), &body)
            })?;
        }
        Ok(())
    }
}

impl crate::entra::Directory {
    fn seeded_policy(&self, tenant: uuid::Uuid) -> Option<Policy> {
        let seeded = self.seeded().find(|seeded| seeded.id == tenant)?;
        Some(Policy::of(seeded))
    }
}

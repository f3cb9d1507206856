//! What stands between a person and a token: the account, the assignment, Conditional Access,
//! multifactor authentication.

use crate::World;
use crate::entra::account::Account;
use crate::entra::application::Application;
use crate::entra::claims::{self, Claims};
use crate::entra::codes::Refusal;
use crate::entra::directory::Tenant;
use crate::entra::flow::SignedIn;
use crate::entra::grant::instant;
use crate::entra::throttle::Counted;
use crate::seed::{ConditionalAccess, Mfa};

/// Who a name and a password are, as the sign-in page and the password grant ask.
///
/// # Errors
/// With what Entra says: unknown, of another tenant, locked, wrong password, disabled.
pub(crate) fn identify(
    world: &World,
    tenant: &Tenant,
    application: &Application,
    login: &str,
    password: &str,
) -> Result<Account, Refusal> {
    let Some(account) = world.directory.account(tenant, login) else {
        return Err(stranger(world, tenant, application, login));
    };
    if account.deleted() {
        return Err(unknown(tenant, login));
    }
    let (whose, now) = (account.key(), world.clock.now().timestamp());
    let throttle = &world.directory.throttle;
    let guessing = throttle.reached(Counted::WrongPassword, whose.as_bytes(), now);
    if account.home.locked() || account.person.locked() || guessing {
        return Err(Refusal::of(50_053, &[]));
    }
    if account.home.password() != password {
        throttle.count(Counted::WrongPassword, whose.as_bytes(), now);
        return Err(Refusal::of(50_126, &[]));
    }
    throttle.forget(Counted::WrongPassword, whose.as_bytes());
    if account.disabled() {
        return Err(Refusal::of(50_057, &[]));
    }
    Ok(account)
}

fn stranger(world: &World, tenant: &Tenant, application: &Application, login: &str) -> Refusal {
    let home = world.directory.home_of(login);
    match home.filter(|home| home.id != tenant.id) {
        Some(home) => {
            let client = application.client_id().to_string();
            let issuer = format!("https://sts.windows.net/{}/", home.id);
            let values = [
                ("user", login),
                ("issuer", issuer.as_str()),
                ("tenant", tenant.name.as_str()),
                ("client", client.as_str()),
            ];
            Refusal::of(50_020, &values)
        }
        None => unknown(tenant, login),
    }
}

pub(crate) fn unknown(tenant: &Tenant, login: &str) -> Refusal {
    let values = [("user", login), ("tenant", tenant.name.as_str())];
    Refusal::of(50_034, &values)
}

/// The account that a grant belongs to, when it may still be used.
///
/// # Errors
/// When it was deleted or disabled.
pub(crate) fn account(world: &World, tenant: &Tenant, upn: &str) -> Result<Account, Refusal> {
    let account = world.directory.account(tenant, upn);
    let account = account.filter(|account| !account.deleted());
    let account = account.ok_or_else(|| unknown(tenant, upn))?;
    if account.disabled() {
        return Err(Refusal::of(50_057, &[]));
    }
    Ok(account)
}

/// A person at an application.
#[derive(Debug)]
pub(crate) struct Access<'a> {
    pub(crate) tenant: &'a Tenant,
    pub(crate) application: &'a Application,
    pub(crate) account: &'a Account,
    pub(crate) signed_in: &'a SignedIn,
    pub(crate) claims: &'a Claims,
    /// Name of the resource, for the sentence.
    pub(crate) resource: &'a str,
    /// Seconds since 1970.
    pub(crate) now: i64,
}

impl Access<'_> {
    /// Whether the policies let this person have a token.
    ///
    /// # Errors
    /// When the person is not assigned, a policy blocks, or a second factor is demanded.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        self.assigned()?;
        self.policies_met()
    }

    /// Whether the person may use the application at all.
    fn assigned(&self) -> Result<(), Refusal> {
        let upn = self.account.person.upn();
        if !self.application.admits(upn) {
            let client = self.application.client_id().to_string();
            let values = [
                ("application", self.application.name()),
                ("client", client.as_str()),
                ("user", upn),
            ];
            return Err(Refusal::of(50_105, &values));
        }
        Ok(())
    }

    /// Whether the policies are met. An administrator who consents for everybody needs no more.
    ///
    /// # Errors
    /// When a policy blocks, or a second factor or a new sign-in is demanded.
    pub(crate) fn policies_met(&self) -> Result<(), Refusal> {
        for policy in self.policies() {
            blocked(policy)?;
        }
        self.recent()?;
        if self.demands_mfa() && !self.signed_in.mfa {
            let code = match self.account.mfa() {
                Mfa::None => 50_079,
                Mfa::Registered | Mfa::Required => 50_076,
            };
            return Err(self.by_policy(code));
        }
        Ok(())
    }

    /// Whether the sign-in is recent enough, and with it the second factor.
    fn recent(&self) -> Result<(), Refusal> {
        if too_old(self.tenant, self.signed_in, self.now).is_none() {
            return Ok(());
        }
        if self.demands_mfa() && self.signed_in.mfa {
            return Err(self.by_policy(50_078));
        }
        let hours = self.tenant.policy.sign_in_frequency_hours;
        let seconds = (i64::from(hours.unwrap_or_default()) * 3_600).to_string();
        let when = instant(self.signed_in.at);
        Err(Refusal::of(
            70_043,
            &[("when", &when), ("seconds", &seconds)],
        ))
    }

    fn policies(&self) -> [ConditionalAccess; 2] {
        [
            self.tenant.policy.conditional_access,
            self.application.conditional_access(),
        ]
    }

    fn demands_mfa(&self) -> bool {
        self.policies().contains(&ConditionalAccess::RequireMfa)
            || self.account.mfa() == Mfa::Required
            || self.claims.demand_mfa()
    }

    fn by_policy(&self, code: u32) -> Refusal {
        let refusal = Refusal::of(code, &[("resource", self.resource)]);
        refusal.with_claims(claims::policy_claims(code))
    }
}

/// For how many seconds a sign-in has been older than the tenant wants it; none when it is not.
pub(crate) fn too_old(tenant: &Tenant, signed_in: &SignedIn, now: i64) -> Option<i64> {
    let hours = tenant.policy.sign_in_frequency_hours?;
    let over = now - signed_in.at - i64::from(hours) * 3_600;
    (over >= 0).then_some(over)
}

/// What no second factor can help against.
///
/// # Errors
/// When the policy blocks, or wants a device that nobody here has.
pub(crate) fn blocked(policy: ConditionalAccess) -> Result<(), Refusal> {
    let code = match policy {
        ConditionalAccess::Off | ConditionalAccess::RequireMfa => return Ok(()),
        ConditionalAccess::Block => 53_003,
        ConditionalAccess::RequireCompliantDevice => 53_000,
        ConditionalAccess::RequireJoinedDevice => 53_001,
    };
    Err(Refusal::of(code, &[]).with_claims(claims::policy_claims(code)))
}

//! What the control page and API know of Entra ID, and can do to it: the only file here that
//! reaches into the directory.

use std::fmt;

use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::World;
use crate::control::trouble::Trouble;
use crate::entra::{
    self, ApplicationChange, By, Control, ControlError, NewPassword, SecretFate, Selector,
    TenantChange, UserChange,
};
use crate::fields::{Fields, Problem, Read};
use crate::seed::{ConditionalAccess, Mfa};

/// Something that an administrator, an attacker or time does to a tenant.
#[derive(Clone)]
pub(crate) struct Switch {
    action: &'static str,
    whom: Selector,
    change: Change,
}

#[derive(Clone)]
enum Change {
    Users(UserChange),
    Applications(ApplicationChange),
    Tenants(TenantChange),
    RevokeSessions,
    ExpireRefreshTokens,
    WithdrawConsent,
    EndSecrets {
        application: Uuid,
        /// Its Secret ID, or how it begins; without it all of them are meant.
        secret: Option<String>,
        fate: SecretFate,
    },
    AddSecret {
        application: Uuid,
        value: String,
        ends: Option<DateTime<Utc>>,
    },
}

impl fmt::Debug for Switch {
    /// Passwords and secrets can be among what is changed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Switch({})", self.action)
    }
}

/// Names of the actions, and what each takes besides `tenant`, for whoever writes one.
pub(crate) const ACTIONS: [(&str, &str); 20] = [
    (
        "expire-secret",
        "application; secret (Secret ID, or how it begins) unless all are meant",
    ),
    ("remove-secret", "application; secret unless all are meant"),
    ("add-secret", "application, value; ends"),
    ("rotate-strictly", "application unless all are meant; on"),
    (
        "expire-refresh-tokens",
        "application, user, both, or neither for all",
    ),
    (
        "revoke-sessions",
        "user unless everybody is meant; application for its tokens alone",
    ),
    (
        "withdraw-consent",
        "application, user (* for what was consented for all), or neither",
    ),
    ("require-mfa", "user unless everybody is meant; on"),
    ("disable-user", "user; on"),
    ("lock-user", "user; on"),
    ("delete-user", "user; on"),
    (
        "change-password",
        "user, password; by: user, admin or admin-center",
    ),
    ("must-change-password", "user; on"),
    ("disable-application", "application; on"),
    ("require-assignment", "application; on"),
    ("multi-tenant", "application; on"),
    ("public-client", "application; on"),
    (
        "token-lifetime",
        "seconds; application unless all are meant",
    ),
    (
        "conditional-access",
        "demand: off, block, require-mfa, require-compliant-device or require-joined-device; application, or else the whole tenant",
    ),
    (
        "user-consent",
        "on: whether users may consent for themselves",
    ),
];

const DEMANDS: [(&str, ConditionalAccess); 5] = [
    ("off", ConditionalAccess::Off),
    ("block", ConditionalAccess::Block),
    ("require-mfa", ConditionalAccess::RequireMfa),
    (
        "require-compliant-device",
        ConditionalAccess::RequireCompliantDevice,
    ),
    (
        "require-joined-device",
        ConditionalAccess::RequireJoinedDevice,
    ),
];

impl Switch {
    pub(crate) fn read(value: &Value, path: &str) -> Read<Self> {
        let mut fields = Fields::of(value, path)?;
        let names = ACTIONS.map(|(name, _)| (name, name));
        let Some(action) = fields.choice("action", &names)? else {
            let words = ACTIONS.map(|(name, _)| name).join(", ");
            return Err(fields.problem("action", format!("is missing; it is one of {words}")));
        };
        let whom = Selector {
            tenant: fields.text("tenant")?,
            application: None,
            user: None,
        };
        let mut reader = Reader { fields, whom };
        let change = reader.change(action)?;
        let Reader { fields, whom } = reader;
        fields.finish()?;
        Ok(Self {
            action,
            whom,
            change,
        })
    }
}

/// An action while it is read: whom it is for, and the fields that are left.
struct Reader<'a> {
    fields: Fields<'a>,
    whom: Selector,
}

impl Reader<'_> {
    fn change(&mut self, action: &str) -> Read<Change> {
        match action {
            "expire-refresh-tokens" | "revoke-sessions" | "withdraw-consent" => {
                self.whom.application = self.fields.id("application")?;
                self.whom.user = self.fields.text("user")?;
                Ok(match action {
                    "revoke-sessions" => Change::RevokeSessions,
                    "withdraw-consent" => Change::WithdrawConsent,
                    _ => Change::ExpireRefreshTokens,
                })
            }
            "expire-secret" | "remove-secret" => Ok(Change::EndSecrets {
                application: self.application()?,
                secret: self.fields.text("secret")?,
                fate: match action {
                    "remove-secret" => SecretFate::Remove,
                    _ => SecretFate::Expire,
                },
            }),
            "add-secret" => Ok(Change::AddSecret {
                application: self.application()?,
                value: self.required("value", "the secret itself")?,
                ends: self.fields.moment("ends")?,
            }),
            "user-consent" => Ok(Change::Tenants(TenantChange {
                user_consent: Some(self.on()?),
                ..TenantChange::default()
            })),
            "conditional-access" => self.conditional_access(),
            "require-mfa"
            | "disable-user"
            | "lock-user"
            | "delete-user"
            | "change-password"
            | "must-change-password" => self.of_user(action).map(Change::Users),
            _ => self.of_application(action).map(Change::Applications),
        }
    }

    fn of_user(&mut self, action: &str) -> Read<UserChange> {
        let mut change = UserChange::default();
        if action == "require-mfa" {
            self.whom.user = self.fields.text("user")?;
            let mfa = if self.on()? {
                Mfa::Required
            } else {
                Mfa::Registered
            };
            change.mfa = Some(mfa);
            return Ok(change);
        }
        self.whom.user = Some(self.required("user", "the user principal name")?);
        match action {
            "disable-user" => change.disabled = Some(self.on()?),
            "lock-user" => change.locked = Some(self.on()?),
            "delete-user" => change.deleted = Some(self.on()?),
            "must-change-password" => change.must_change_password = Some(self.on()?),
            _ => {
                let all = [
                    ("user", By::User),
                    ("admin", By::Admin),
                    ("admin-center", By::AdminCenter),
                ];
                change.password = Some(NewPassword {
                    value: self.required("password", "the new one")?,
                    by: self.fields.choice("by", &all)?.unwrap_or(By::User),
                });
            }
        }
        Ok(change)
    }

    fn of_application(&mut self, action: &str) -> Read<ApplicationChange> {
        let mut change = ApplicationChange::default();
        if matches!(action, "rotate-strictly" | "token-lifetime") {
            self.whom.application = self.fields.id("application")?;
        } else {
            self.whom.application = Some(self.application()?);
        }
        match action {
            "rotate-strictly" => change.strict_rotation = Some(self.on()?),
            "disable-application" => change.disabled = Some(self.on()?),
            "require-assignment" => change.assignment_required = Some(self.on()?),
            "multi-tenant" => change.multi_tenant = Some(self.on()?),
            "public-client" => change.public = Some(self.on()?),
            _ => {
                let missing = self
                    .fields
                    .problem("seconds", "is missing: how long tokens live");
                let seconds = self.fields.whole("seconds", 1..=100_799)?.ok_or(missing)?;
                change.access_token_seconds = u32::try_from(seconds).ok();
            }
        }
        Ok(change)
    }

    fn conditional_access(&mut self) -> Read<Change> {
        self.whom.application = self.fields.id("application")?;
        let words = DEMANDS.map(|(word, _)| word).join(", ");
        let missing = format!("is missing; it is one of {words}");
        let missing = self.fields.problem("demand", missing);
        let demand = self.fields.choice("demand", &DEMANDS)?.ok_or(missing)?;
        Ok(match self.whom.application {
            Some(_) => Change::Applications(ApplicationChange {
                conditional_access: Some(demand),
                ..ApplicationChange::default()
            }),
            None => Change::Tenants(TenantChange {
                conditional_access: Some(demand),
                ..TenantChange::default()
            }),
        })
    }

    fn application(&mut self) -> Read<Uuid> {
        let missing = self.fields.problem(
            "application",
            "is missing: the client ID of the application",
        );
        self.fields.id("application")?.ok_or(missing)
    }

    fn required(&mut self, name: &'static str, what: &str) -> Read<String> {
        let missing = self.fields.problem(name, format!("is missing: {what}"));
        self.fields.text(name)?.ok_or(missing)
    }

    /// A switch that is not said to be off is on.
    fn on(&mut self) -> Read<bool> {
        Ok(self.fields.flag("on")?.unwrap_or(true))
    }
}

// === what can be done ===

/// Does it, and says to how many.
pub(crate) fn apply(world: &World, switch: &Switch) -> Read<Value> {
    let control = Control::of(world);
    let whom = &switch.whom;
    let done = match &switch.change {
        Change::Users(change) => control.change_users(whom, change),
        Change::Applications(change) => control.change_applications(whom, change),
        Change::Tenants(change) => control.change_tenants(whom, change),
        Change::RevokeSessions => control.revoke_sessions(whom),
        Change::ExpireRefreshTokens => control.expire_refresh_tokens(whom),
        Change::WithdrawConsent => control.withdraw_consent(whom),
        Change::EndSecrets {
            application,
            secret,
            fate,
        } => return end_secrets(&control, *application, secret.as_deref(), *fate),
        Change::AddSecret {
            application,
            value,
            ends,
        } => {
            let added = control.add_secret(*application, value, *ends);
            let id = added.map_err(problem)?;
            return Ok(json!({"action": switch.action, "secret": id}));
        }
    };
    let count = done.map_err(problem)?;
    Ok(json!({"action": switch.action, "changed": count}))
}

fn end_secrets(
    control: &Control<'_>,
    application: Uuid,
    secret: Option<&str>,
    fate: SecretFate,
) -> Read<Value> {
    let Some(named) = secret else {
        let ended = control.end_secrets(application, None, fate);
        return Ok(json!({"changed": ended.map_err(problem)?}));
    };
    let selector = Selector {
        application: Some(application),
        ..Selector::default()
    };
    let views = control.applications(&selector).map_err(problem)?;
    let secrets = views.iter().flat_map(|view| &view.secrets);
    let id = named.parse::<Uuid>().ok();
    let meant = secrets.filter(|known| match id {
        Some(id) => known.id == id,
        // Only how it begins is shown anywhere, and only that is compared.
        None => named.starts_with(&known.hint),
    });
    let ids: Vec<Uuid> = meant.map(|known| known.id).collect();
    if ids.is_empty() {
        let hints = views.iter().flat_map(|view| &view.secrets);
        let hints: Vec<String> = hints.map(|known| format!("{}…", known.hint)).collect();
        let detail = format!("is none of the application's: {}", hints.join(", "));
        return Err(Problem::new("secret", detail));
    }
    let mut changed = 0;
    for id in ids {
        let ended = control.end_secrets(application, Some(id), fate);
        changed += ended.map_err(problem)?;
    }
    Ok(json!({"changed": changed}))
}

fn problem(error: ControlError) -> Problem {
    let field = match &error {
        ControlError::NoTenant(_) => "tenant",
        ControlError::NoApplication(_) => "application",
        ControlError::NoUser(_) => "user",
        ControlError::NoSecret { .. } => "secret",
        ControlError::SecretTwice(_) => "value",
        ControlError::Lifetime(_) => "seconds",
        ControlError::Database(_) => "action",
    };
    Problem::new(field, error.to_string())
}

/// Undoes what switches did, where it can be undone: tokens that were ended stay so.
pub(crate) fn reset(world: &World) -> Read<()> {
    Control::of(world).reset().map_err(problem)
}

// === what there is ===

/// Whose tokens, or which application.
pub(crate) use crate::entra::Selector as Whose;

pub(crate) fn tenants(world: &World) -> Read<Value> {
    shown(Control::of(world).tenants(&Selector::default()), |_| None)
}

pub(crate) fn applications(world: &World) -> Read<Value> {
    let named = |view: &entra::ApplicationView| domain(world, view.tenant);
    shown(Control::of(world).applications(&Selector::default()), named)
}

pub(crate) fn users(world: &World) -> Read<Value> {
    let named = |view: &entra::UserView| domain(world, view.tenant);
    shown(Control::of(world).users(&Selector::default()), named)
}

fn domain(world: &World, tenant: Uuid) -> Option<String> {
    let tenant = world.directory.tenant_of(tenant)?;
    Some(tenant.domain.clone())
}

/// Views as JSON, with the domain of their tenant beside its identifier.
fn shown<T: Serialize>(
    views: Result<Vec<T>, ControlError>,
    domain: impl Fn(&T) -> Option<String>,
) -> Read<Value> {
    let views = views.map_err(problem)?;
    let values = views.iter().map(|view| {
        let mut value = serde_json::to_value(view).unwrap_or_default();
        if let (Some(domain), Some(members)) = (domain(view), value.as_object_mut()) {
            members.insert("tenant_domain".to_owned(), domain.into());
        }
        value
    });
    Ok(values.collect())
}

/// Tokens that were issued: what they are for, never the tokens.
pub(crate) fn tokens(world: &World, whose: &Whose) -> Result<Value, Trouble> {
    let control = Control::of(world);
    let refresh = control.refresh_tokens(whose).map_err(problem)?;
    let access = control.access_tokens(whose).map_err(problem)?;
    let value = |tokens| serde_json::to_value(tokens);
    match (value(refresh), value(access)) {
        (Ok(refresh), Ok(access)) => Ok(json!({"refresh": refresh, "access": access})),
        _ => {
            let detail = "the tokens cannot be shown";
            Err(Trouble::new(StatusCode::INTERNAL_SERVER_ERROR, detail))
        }
    }
}

/// Who consented to which application; `*` consented for everybody.
pub(crate) fn consents(world: &World, whose: &Whose) -> Read<Value> {
    let consents = Control::of(world).consents(whose).map_err(problem)?;
    let all = consents.into_iter().map(|(tenant, application, user)| {
        json!({"tenant": tenant, "application": application, "user": user})
    });
    Ok(all.collect())
}

/// Who stands behind a grant at the token endpoint, as far as the sandbox knows.
pub(crate) fn user_of_grant(
    world: &World,
    parameter: &dyn Fn(&str) -> Option<String>,
) -> Option<String> {
    if let Some(token) = parameter("refresh_token") {
        return entra::holder_of_refresh_token(world, &token);
    }
    entra::holder_of_code(world, &parameter("code")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_can_be_read() {
        let id = "3b8f4c1d-7c0a-4c62-8f0e-52a6b9d1e7f4";
        for (action, _) in ACTIONS {
            // What an action does not take is named, and left out then.
            let mut value = json!({
                "action": action, "application": id, "user": "megan@contoso.example",
                "password": "x", "value": "y", "seconds": 60, "demand": "block",
            });
            loop {
                let problem = match Switch::read(&value, "") {
                    Ok(switch) => break assert_eq!(switch.action, action),
                    Err(problem) => problem,
                };
                assert!(
                    problem.detail.contains("unknown here"),
                    "{action}: {problem}"
                );
                value
                    .as_object_mut()
                    .unwrap()
                    .remove(&problem.field)
                    .unwrap();
            }
        }
    }

    #[test]
    fn a_switch_does_not_print_what_it_holds() {
        let value = json!({"action": "change-password", "user": "a@b", "password": "hush"});
        let switch = Switch::read(&value, "").unwrap();
        assert!(!format!("{switch:?}").contains("hush"));
    }
}

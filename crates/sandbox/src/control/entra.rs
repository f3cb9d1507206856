//! What the control page and API know of Entra ID, and can do to it: the only file here that
//! reaches into the directory.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::World;
use crate::fields::{Fields, Problem, Read};

/// Something that an administrator, an attacker or time does to a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Switch {
    /// Each use of a refresh token ends the one that was used.
    RotateStrictly {
        application: Uuid,
        position: Position,
    },
    /// Client secrets are over from now on: the one that begins so, or all.
    ExpireSecret {
        application: Uuid,
        hint: Option<String>,
    },
    ExpireRefreshTokens(Whose),
    RevokeSessions {
        user: String,
    },
    RequireMfa {
        user: String,
        position: Position,
    },
    DisableUser {
        user: String,
        position: Position,
    },
    ChangePassword {
        user: String,
        password: String,
    },
    DisableApplication {
        application: Uuid,
        position: Position,
    },
    WithdrawConsent(Whose),
    BlockApplication {
        application: Uuid,
        position: Position,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Position {
    On,
    Off,
}

/// Of an application, of a user, or of both.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Whose {
    pub(crate) application: Option<Uuid>,
    pub(crate) user: Option<String>,
}

/// Names of the switches, and what each needs, for whoever writes one.
pub(crate) const ACTIONS: [(&str, &str); 10] = [
    ("rotate-strictly", "application, on"),
    (
        "expire-secret",
        "application, secret (how it begins; without it all)",
    ),
    (
        "expire-refresh-tokens",
        "application, user, or neither for all",
    ),
    ("revoke-sessions", "user"),
    ("require-mfa", "user, on"),
    ("disable-user", "user, on"),
    ("change-password", "user, password"),
    ("disable-application", "application, on"),
    ("withdraw-consent", "application, user, or neither for all"),
    (
        "block-application",
        "application, on (as Conditional Access does)",
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
        let switch = Self::read_action(action, &mut fields)?;
        fields.finish()?;
        Ok(switch)
    }

    fn read_action(action: &str, fields: &mut Fields<'_>) -> Read<Self> {
        Ok(match action {
            "rotate-strictly" => Self::RotateStrictly {
                application: application(fields)?,
                position: position(fields)?,
            },
            "expire-secret" => Self::ExpireSecret {
                application: application(fields)?,
                hint: fields.text("secret")?,
            },
            "revoke-sessions" => Self::RevokeSessions {
                user: user(fields)?,
            },
            "require-mfa" => Self::RequireMfa {
                user: user(fields)?,
                position: position(fields)?,
            },
            "disable-user" => Self::DisableUser {
                user: user(fields)?,
                position: position(fields)?,
            },
            "change-password" => Self::ChangePassword {
                user: user(fields)?,
                password: fields
                    .text("password")?
                    .ok_or_else(|| fields.problem("password", "is missing: the new one"))?,
            },
            "disable-application" => Self::DisableApplication {
                application: application(fields)?,
                position: position(fields)?,
            },
            "block-application" => Self::BlockApplication {
                application: application(fields)?,
                position: position(fields)?,
            },
            "withdraw-consent" => Self::WithdrawConsent(whose(fields)?),
            _ => Self::ExpireRefreshTokens(whose(fields)?),
        })
    }
}

fn application(fields: &mut Fields<'_>) -> Read<Uuid> {
    let missing = fields.problem(
        "application",
        "is missing: the client ID of the application",
    );
    fields.id("application")?.ok_or(missing)
}

fn user(fields: &mut Fields<'_>) -> Read<String> {
    let missing = fields.problem("user", "is missing: the user principal name");
    fields.text("user")?.ok_or(missing)
}

fn position(fields: &mut Fields<'_>) -> Read<Position> {
    Ok(match fields.flag("on")? {
        Some(false) => Position::Off,
        Some(true) | None => Position::On,
    })
}

fn whose(fields: &mut Fields<'_>) -> Read<Whose> {
    Ok(Whose {
        application: fields.id("application")?,
        user: fields.text("user")?,
    })
}

// === what there is ===

pub(crate) fn tenants(world: &World) -> Value {
    let tenants = world.directory.tenants().iter().map(|tenant| {
        json!({
            "id": tenant.id, "domain": tenant.domain, "name": tenant.name,
            "user_consent": tenant.user_consent,
            "users": tenant.users.len(), "applications": tenant.applications.len(),
            "organizations": tenant.organizations.iter().map(|own| &own.unique_name).collect::<Vec<_>>(),
        })
    });
    tenants.collect()
}

pub(crate) fn applications(world: &World) -> Value {
    let all = world.directory.tenants().iter().flat_map(|tenant| {
        tenant.applications.iter().map(move |application| {
            let secrets = application.secrets.iter().map(
                |secret| json!({"hint": hint(&secret.value), "expires_on": secret.expires_on}),
            );
            json!({
                "client_id": application.client_id, "name": application.name,
                "tenant": tenant.domain, "public": application.public,
                "disabled": application.disabled, "redirect_uris": application.redirect_uris,
                "secrets": secrets.collect::<Vec<_>>(),
            })
        })
    });
    all.collect()
}

/// The first three characters, as Entra shows them to tell secrets apart.
fn hint(secret: &str) -> String {
    secret.chars().take(3).collect()
}

pub(crate) fn users(world: &World) -> Value {
    let all = world.directory.tenants().iter().flat_map(|tenant| {
        tenant.users.iter().map(move |user| {
            json!({
                "upn": user.upn, "name": user.name, "object_id": user.object_id(),
                "tenant": tenant.domain, "admin": user.admin, "disabled": user.disabled,
                "roles": user.roles,
            })
        })
    });
    all.collect()
}

/// Tokens that were issued: what they are for, never the tokens.
pub(crate) fn tokens(_world: &World, _whose: &Whose) -> Read<Value> {
    Ok(json!({"refresh": [], "access": []}))
}

// === what can be done ===

pub(crate) fn apply(_world: &World, switch: &Switch) -> Read<Value> {
    Err(Problem::new(
        "action",
        format!("{switch:?} is not there yet"),
    ))
}

/// Who stands behind a grant at the token endpoint, as far as the sandbox knows.
pub(crate) fn user_of_grant(
    world: &World,
    parameter: &dyn Fn(&str) -> Option<String>,
) -> Option<String> {
    let token = parameter("refresh_token")?;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
    let kept = world.state.refresh_token(digest.as_ref()).ok()??;
    let body: Value = serde_json::from_str(&kept.body).ok()?;
    Some(body.get("upn")?.as_str()?.to_owned())
}

/// Undoes what switches did, where it can be undone.
pub(crate) fn reset(_world: &World) -> Read<()> {
    Ok(())
}

//! WhoAmI, organization, privileges, headroom: does Dynamics know us, and may we work there?

use tieline_core::{Evidence, GrantType};
use tieline_dataverse::{ApiClass, ApiError, WebApi};

use super::{Climb, Found, Luggage};

/// What a contact centre needs: find the caller, and log the call.
const NEEDED: [&str; 6] = [
    "prvReadContact",
    "prvReadAccount",
    "prvReadIncident",
    "prvReadActivity",
    "prvCreateActivity",
    "prvWriteActivity",
];

impl Climb<'_> {
    /// Does the organization know who we are?
    pub(super) async fn who_am_i(&self, luggage: &mut Luggage) -> Found {
        let (Some(api), Some(token)) = (self.web_api(luggage), &luggage.token) else {
            return Found::failed("settings-incomplete");
        };
        match api.who_am_i(&token.secret()).await {
            Ok(who) => {
                let user = who.user_id.to_string();
                luggage.dop_hint = who.dop_hint;
                luggage.user_id = Some(user.clone());
                Found::ok("user-known").with("user", user)
            }
            Err(error) => {
                let code = for_application(luggage, code_of(&error));
                let client_id = luggage
                    .settings
                    .as_ref()
                    .map(|settings| settings.client_id.clone())
                    .unwrap_or_default();
                let found = Found::failed(code).with("client", client_id);
                self.refused(luggage, &error, found)
            }
        }
    }

    /// Which organization is it, and is it in order?
    pub(super) async fn organization(&self, luggage: &Luggage) -> Found {
        let (Some(api), Some(token)) = (self.web_api(luggage), &luggage.token) else {
            return Found::failed("settings-incomplete");
        };
        match api.current_organization(&token.secret()).await {
            Ok(organization) => Found::ok("organization-known")
                .with("name", organization.friendly_name.unwrap_or_default())
                .with("version", organization.version.unwrap_or_default()),
            // An on-premises organization has no such function; that takes nothing away.
            Err(error) => self.refused(luggage, &error, Found::warning("organization-unknown")),
        }
    }

    /// May the connected user do the work of a contact centre?
    pub(super) async fn privileges(&self, luggage: &Luggage) -> Found {
        let (Some(api), Some(token), Some(user)) =
            (self.web_api(luggage), &luggage.token, &luggage.user_id)
        else {
            return Found::failed("settings-incomplete");
        };
        match api.privileges_missing(&token.secret(), user, &NEEDED).await {
            Ok(missing) if missing.is_empty() => Found::ok("privileges-suffice"),
            Ok(missing) => {
                Found::warning("privileges-missing").with("privileges", missing.join(", "))
            }
            Err(error) => self.refused(luggage, &error, Found::warning("privileges-unknown")),
        }
    }

    /// How much may be asked, now and at once?
    pub(super) async fn headroom(&self, luggage: &Luggage) -> Found {
        if let Some(found) = self.headroom_seen().await {
            return found;
        }
        match luggage.dop_hint {
            Some(hint) => Found::ok("headroom-hint").with("parallel", hint.to_string()),
            None => Found::ok("headroom-unknown"),
        }
    }

    /// What callers of the account have left of its limits, where it is in use.
    async fn headroom_seen(&self) -> Option<Found> {
        let account = self.ground.account.as_ref()?;
        let headroom = self.app.account_headroom(account.id).await.ok()?;
        let percent = headroom.percent()?;
        let found = if headroom.paused_until.is_some() {
            Found::warning("headroom-paused")
        } else if percent < 10 {
            Found::warning("headroom-low")
        } else {
            Found::ok("headroom-left")
        };
        let requests = headroom.requests_left.unwrap_or_default();
        let found = found
            .with("percent", percent.to_string())
            .with("requests", requests.to_string())
            .with("in_use", headroom.in_use.to_string());
        Some(found.with("allowed", headroom.allowed.max(1).to_string()))
    }

    fn web_api(&self, luggage: &Luggage) -> Option<WebApi> {
        let api = luggage.settings.as_ref()?.api.clone()?;
        self.app.outbound().admit(api.url()).ok()?;
        Some(WebApi::new(self.app.outbound().http().clone(), api))
    }

    fn refused(&self, luggage: &Luggage, error: &ApiError, found: Found) -> Found {
        let host = luggage
            .settings
            .as_ref()
            .and_then(|settings| settings.api.as_ref())
            .and_then(|api| api.url().host_str())
            .unwrap_or_default()
            .to_owned();
        let mut evidence = evidence_of(error);
        evidence.host = Some(host.clone());
        let privilege = error.missing_privilege().unwrap_or_default().to_owned();
        found
            .with("host", host)
            .with("privilege", privilege)
            .evidence(evidence)
    }
}

/// An application that the organization does not know lacks an application user, which is made
/// elsewhere than a user is.
fn for_application(luggage: &Luggage, code: &'static str) -> &'static str {
    let alone = luggage
        .settings
        .as_ref()
        .is_some_and(|settings| settings.grant == GrantType::ClientCredentials);
    match code {
        "user-not-member" | "dynamics-unauthorized" | "dynamics-forbidden" if alone => {
            "application-user-missing"
        }
        "user-not-enabled" if alone => "application-user-disabled",
        other => other,
    }
}

fn code_of(error: &ApiError) -> &'static str {
    if let Some(slug) = error.slug() {
        return slug;
    }
    match error.class() {
        ApiClass::Authentication => "dynamics-unauthorized",
        ApiClass::Permission => "dynamics-forbidden",
        ApiClass::NotFound | ApiClass::BadRequest => "not-web-api",
        ApiClass::Throttled => "dynamics-throttled",
        ApiClass::Timeout => "dynamics-slow",
        ApiClass::Network => "dynamics-unreachable",
        ApiClass::Server => "dynamics-failing",
    }
}

fn evidence_of(error: &ApiError) -> Evidence {
    match error {
        ApiError::Refused(refusal) => Evidence {
            code: refusal.code.clone(),
            message: refusal.message.clone(),
            status: Some(refusal.status),
            trace_id: refusal.request_id.clone(),
            ..Evidence::default()
        },
        ApiError::Unintelligible { status } => Evidence {
            status: Some(*status),
            ..Evidence::default()
        },
        ApiError::Transport(fault) => Evidence {
            message: Some(fault.to_string()),
            ..Evidence::default()
        },
    }
}

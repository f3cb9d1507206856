//! What a person granted: kept with a code, a device's request and every refresh token.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::World;
use crate::entra::account::Account;
use crate::entra::application::{Application, Platform};
use crate::entra::codes::{Refusal, broken};
use crate::entra::directory::Tenant;
use crate::entra::flow::{Flow, SignedIn};
use crate::entra::registration;

/// Refresh tokens die of ninety days of silence.
const REFRESH_SECONDS: i64 = 90 * 86_400;
/// Those of single-page applications live a day, however often they are used.
const SINGLE_PAGE_SECONDS: i64 = 86_400;

/// Who let which application do what, and how they showed who they are.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Grant {
    pub(crate) tenant: Uuid,
    pub(crate) client_id: Uuid,
    pub(crate) signed_in: SignedIn,
    /// When the application got it; seconds since 1970.
    pub(crate) begun: i64,
    pub(crate) scope: Option<String>,
    pub(crate) resource: Option<String>,
    pub(crate) nonce: Option<String>,
    pub(crate) platform: Platform,
    pub(crate) acrs: Vec<String>,
    pub(crate) cae: bool,
}

/// What a code stands for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CodeBody {
    pub(crate) grant: Grant,
    pub(crate) redirect_uri: String,
    pub(crate) challenge: Option<String>,
    pub(crate) challenge_method: Option<String>,
}

impl Grant {
    /// What a visit came to.
    pub(crate) fn of(flow: &Flow, signed_in: &SignedIn, now: DateTime<Utc>) -> Self {
        Self {
            tenant: flow.tenant,
            client_id: flow.client_id,
            signed_in: signed_in.clone(),
            begun: now.timestamp(),
            scope: flow.scope.clone(),
            resource: flow.resource.clone(),
            nonce: flow.nonce.clone(),
            platform: flow.platform,
            acrs: flow.claims.acrs.clone(),
            cae: flow.claims.cae,
        }
    }

    /// Whether its time is over.
    ///
    /// # Errors
    /// With the sentence that tells it.
    pub(crate) fn alive(&self, issued: i64, used: i64, now: i64) -> Result<(), Refusal> {
        let when = instant(issued);
        let values = [("when", when.as_str())];
        if now < self.ends(used) {
            return Ok(());
        }
        let code = match self.platform {
            Platform::SinglePage => 700_084,
            Platform::Web | Platform::Native => 700_082,
        };
        Err(Refusal::of(code, &values))
    }

    /// When a refresh token of it is over, if it was last used then.
    pub(crate) fn ends(&self, used: i64) -> i64 {
        match self.platform {
            Platform::SinglePage => self.begun + SINGLE_PAGE_SECONDS,
            Platform::Web | Platform::Native => used + REFRESH_SECONDS,
        }
    }

    /// Whether something ended it: what does so is told by Microsoft's table of revocations. A
    /// confidential client's outlives a change of the password, a public client's does not.
    ///
    /// # Errors
    /// When it was revoked.
    pub(crate) fn stands(
        &self,
        account: &Account,
        application: &Application,
        issued: i64,
    ) -> Result<(), Refusal> {
        let since = &account.home.since;
        let confidential = !application.public() && self.platform == Platform::Web;
        let revoked = self.signed_in.revocations != since.revocations;
        let overtaken = !confidential && self.signed_in.passwords != since.passwords;
        if !revoked && !overtaken {
            return Ok(());
        }
        let (when, after) = (instant(issued), instant(since.at));
        let values = [("when", when.as_str()), ("after", after.as_str())];
        Err(Refusal::of(50_173, &values))
    }
}

/// A moment as Entra writes it into its sentences.
pub(crate) fn instant(seconds: i64) -> String {
    let at = DateTime::from_timestamp(seconds, 0).unwrap_or_default();
    at.format("%Y-%m-%dT%H:%M:%S.0000000Z").to_string()
}

/// Refuses what nobody consented to, or not any more.
///
/// # Errors
/// When there is no consent of this person or for everybody.
pub(crate) fn consented(
    world: &World,
    tenant: &Tenant,
    application: &Application,
    account: &Account,
) -> Result<(), Refusal> {
    let (id, client) = (tenant.id.to_string(), application.client_id().to_string());
    let given = world.state.consented(&id, &client, &account.key());
    if given.map_err(broken)? {
        return Ok(());
    }
    Err(registration::of(65_001, application))
}

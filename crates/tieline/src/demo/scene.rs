//! What the demo takes from the sandbox's seed: which application Tieline is there, and who may
//! sign in.

use anyhow::Context;
use secrecy::SecretString;
use tieline_app::AccountForm;
use tieline_core::GrantType;
use tieline_sandbox::Sandbox;
use tieline_sandbox::seed::{ApplicationSeed, Seed, TenantSeed, UserSeed};
use url::Url;

use crate::demo::walk::Person;

/// Path of the redirect URI below the console.
const CALLBACK: &str = "admin/msdynamicscallback.html";

/// The seed, and the parts of it that the demo plays with.
#[derive(Debug, Clone)]
pub(crate) struct Scene {
    pub(crate) seed: Seed,
    pub(crate) tenant_id: String,
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
    pub(crate) redirect_uris: Vec<String>,
    /// The one who consents.
    pub(crate) person: Person,
    /// Everybody of the tenant who can sign in.
    pub(crate) users: Vec<UserSeed>,
    organization: String,
}

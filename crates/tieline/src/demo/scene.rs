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
}

impl Scene {
    /// Takes the first tenant with an organization: its first application that works, and its
    /// first user who can.
    ///
    /// # Errors
    /// When the seed has nothing that a demo could play with.
    pub(crate) fn of(seed: Seed) -> anyhow::Result<Self> {
        let tenant = seed
            .tenants
            .iter()
            .find(|tenant| !tenant.organizations.is_empty());
        let tenant = tenant.context("the seed has no tenant with an organization")?;
        let application = application(tenant).with_context(|| {
            format!(
                "the tenant {} has no application with a secret that is good",
                tenant.name
            )
        })?;
        let users: Vec<UserSeed> = tenant
            .users
            .iter()
            .filter(|user| !user.disabled && !user.password.is_empty())
            .cloned()
            .collect();
        let person = users
            .iter()
            .find(|user| !user.roles.is_empty())
            .with_context(|| {
                format!(
                    "the tenant {} has no user with a role in its organization",
                    tenant.name
                )
            })?;
        Ok(Self {
            tenant_id: tenant.id.to_string(),
            client_id: application.client_id.to_string(),
            client_secret: good_secret(application).unwrap_or_default().to_owned(),
            redirect_uris: application.redirect_uris.clone(),
            person: Person {
                upn: person.upn.clone(),
                password: person.password.clone(),
            },
            users,
            seed: seed.clone(),
        })
    }

    /// Registers the console's callback with the application, wherever the console listens today,
    /// under both names of this machine.
    ///
    /// # Errors
    /// When the address is none.
    pub(crate) fn expect_callback_at(&mut self, console: &Url) -> anyhow::Result<()> {
        for host in ["localhost", "127.0.0.1"] {
            let mut uri = console
                .join(CALLBACK)
                .context("failed to name the callback page")?;
            if matches!(uri.host_str(), Some("localhost" | "127.0.0.1")) {
                uri.set_host(Some(host))
                    .context("failed to name the callback page")?;
            }
            let client_id = self.client_id.parse().context("the client ID is no GUID")?;
            self.seed.add_redirect_uri(client_id, uri.as_str());
            if !self.redirect_uris.iter().any(|known| known == uri.as_str()) {
                self.redirect_uris.push(uri.into());
            }
        }
        Ok(())
    }

    /// The account that leads to the sandbox's first organization.
    ///
    /// # Errors
    /// When the sandbox's address is none.
    pub(crate) fn form(&self, name: &str, sandbox: &Sandbox) -> anyhow::Result<AccountForm> {
        let (origin, tenant) = (sandbox.origin(), &self.tenant_id);
        Ok(AccountForm {
            name: name.to_owned(),
            is_default: true,
            authorization_url: format!("{origin}/{tenant}/oauth2/authorize"),
            token_url: format!("{origin}/{tenant}/oauth2/token"),
            api_url: format!("{origin}/api/data/v9.2"),
            client_id: self.client_id.clone(),
            client_secret: Some(SecretString::from(self.client_secret.clone())),
            grant: Some(GrantType::AuthorizationCode),
            notes: "Connected by the demo, to the sandbox.".to_owned(),
            ..AccountForm::default()
        })
    }
}

fn application(tenant: &TenantSeed) -> Option<&ApplicationSeed> {
    tenant.applications.iter().find(|application| {
        !application.disabled && !application.public && good_secret(application).is_some()
    })
}

fn good_secret(application: &ApplicationSeed) -> Option<&str> {
    let good = application
        .secrets
        .iter()
        .find(|secret| secret.expires_on.is_none());
    good.map(|secret| secret.value.as_str())
}

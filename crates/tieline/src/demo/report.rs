//! What the demo says of itself, to scripts and to people.

use std::path::{Path, PathBuf};

use serde::Serialize;
use tieline_app::App;
use tieline_sandbox::Sandbox;

use crate::demo::scene::Scene;
use crate::demo::seeded::Seeded;

/// Everything that somebody needs who wants to play; `tieline demo --json` prints it. Its secrets
/// open nothing but the rehearsal.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    console_url: String,
    api_url: String,
    gateway_url: String,
    api_key: String,
    account: String,
    admin: Admin,
    sandbox: SandboxReport,
}

#[derive(Debug, Serialize)]
struct Admin {
    email: String,
    password: String,
}

#[derive(Debug, Serialize)]
struct SandboxReport {
    authority: String,
    tenant_id: String,
    org_url: String,
    client_id: String,
    client_secret: String,
    redirect_uris: Vec<String>,
    users: Vec<User>,
    ca_file: PathBuf,
}

#[derive(Debug, Serialize)]
struct User {
    upn: String,
    password: String,
    roles: Vec<String>,
}

impl Report {
    pub(crate) fn of(app: &App, scene: &Scene, sandbox: &Sandbox, seeded: Seeded) -> Self {
        let console = app.public_url().as_str().trim_end_matches('/').to_owned();
        let users = scene.users.iter().map(|user| User {
            upn: user.upn.clone(),
            password: user.password.clone(),
            roles: user.roles.clone(),
        });
        let ca_file = sandbox.ca_file();
        Self {
            api_url: format!("{console}/api/v1"),
            console_url: console,
            gateway_url: app.gateway_url().as_str().trim_end_matches('/').to_owned(),
            api_key: seeded.api_key,
            account: seeded.account,
            admin: Admin {
                email: seeded.admin_email,
                password: seeded.admin_password,
            },
            sandbox: SandboxReport {
                authority: format!("{}/{}", sandbox.origin(), scene.tenant_id),
                tenant_id: scene.tenant_id.clone(),
                org_url: sandbox.origin().to_owned(),
                client_id: scene.client_id.clone(),
                client_secret: scene.client_secret.clone(),
                redirect_uris: scene.redirect_uris.clone(),
                users: users.collect(),
                ca_file: std::path::absolute(ca_file).unwrap_or_else(|_| ca_file.to_owned()),
            },
        }
    }

    /// What people read.
    pub(crate) fn for_people(&self, data_dir: &Path) -> String {
        let Report {
            console_url,
            gateway_url,
            api_key,
            account,
            admin,
            sandbox,
            ..
        } = self;
        let person = sandbox.users.first();
        let upn = person.map_or("", |user| user.upn.as_str());
        let password = person.map_or("", |user| user.password.as_str());
        format!(
            "\
Tieline is up, with Microsoft played by the sandbox.

  Console     {console_url}
              sign in as {email} with the password {admin_password}

  Gateway     {gateway_url}
              the account '{account}' is connected; this reads contacts through it:

  curl -H 'Authorization: Bearer {api_key}' \\
       '{gateway_url}/api/data/v9.2/contacts?$select=fullname,telephone1&$top=3'

  To add an account of your own, press + in the console and use:

  Organization       {org}
  Authorization URL  {authority}/oauth2/authorize
  Token URL          {authority}/oauth2/token
  API URL            {org}/api/data/v9.2
  Client ID          {client_id}
  Client secret      {client_secret}
  Microsoft user     {upn} with the password {password}

  The sandbox's pages have a certificate that it made itself: let your browser go on to them, or
  trust {ca_file}

  Data        {data_dir}
  Ctrl-C ends everything; the next start finds it again.",
            email = admin.email,
            admin_password = admin.password,
            org = sandbox.org_url,
            authority = sandbox.authority,
            client_id = sandbox.client_id,
            client_secret = sandbox.client_secret,
            ca_file = sandbox.ca_file.display(),
            data_dir = data_dir.display(),
        )
    }
}

//! The token services: our sandbox with Entra's rules or rotating strictly, and oidc-provider.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use url::Url;

use crate::demo::walk::{Person, walk};
use crate::process::Process;
use crate::proxy::client;

/// The sandbox's published seed: its tenant, the application of Tieline's, and somebody.
const TENANT: &str = "6f0c2b7e-3f0e-4f7a-9a53-8d1c5a2e4b10";
const APPLICATION: &str = "3b8f4c1d-7c0a-4c62-8f0e-52a6b9d1e7f4";
const SECRET: &str = "Tie+line~rehearsal/secret=1%&";
const PERSON: (&str, &str) = ("megan@contoso.example", "Rehearsal-1");

/// Whose rules hold for refresh tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Rules {
    /// Our sandbox: a used refresh token stays good, as Entra's do.
    Entra,
    /// Our sandbox, rotating strictly: a second use ends the whole family.
    Strict,
    /// npm's oidc-provider: a second use revokes the grant.
    OidcProvider,
}

impl Rules {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Entra => "entra",
            Self::Strict => "strict",
            Self::OidcProvider => "oidc-provider",
        }
    }
}

/// A token service that runs, and the organization that its tokens open.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) rules: Rules,
    pub(crate) http: reqwest::Client,
    pub(crate) ca_file: PathBuf,
    pub(crate) token_url: String,
    pub(crate) api_url: String,
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
    origin: String,
    process: Process,
}

impl Service {
    /// Starts it; access tokens live so many seconds.
    pub(crate) async fn start(
        rules: Rules,
        program: &Path,
        directory: &Path,
        seconds: u32,
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(directory)?;
        match rules {
            Rules::Entra | Rules::Strict => sandbox(rules, program, directory, seconds).await,
            Rules::OidcProvider => oidc_provider(directory, seconds),
        }
    }

    /// Where an account's tokens come from, by way of the proxy. Only Entra's addresses look like
    /// Entra's: to Tieline the others are servers that it does not know.
    pub(crate) fn endpoints(&self, proxy: &str) -> (String, String) {
        let base = match self.rules {
            Rules::Entra => format!("{proxy}/{TENANT}/oauth2/v2.0"),
            Rules::Strict | Rules::OidcProvider => proxy.to_owned(),
        };
        (format!("{base}/authorize"), format!("{base}/token"))
    }

    /// A refresh token of a grant of its own.
    pub(crate) async fn mint(&self, name: &str) -> anyhow::Result<String> {
        let answer = match self.rules {
            Rules::OidcProvider => {
                let url = format!("{}/chaos/mint", self.origin);
                self.http.post(url).query(&[("name", name)]).send().await?
            }
            Rules::Entra | Rules::Strict => {
                let scope = format!("{}/.default offline_access", self.origin);
                let form = [
                    ("grant_type", "password"),
                    ("client_id", APPLICATION),
                    ("client_secret", SECRET),
                    ("username", PERSON.0),
                    ("password", PERSON.1),
                    ("scope", &scope),
                ];
                self.http.post(&self.token_url).form(&form).send().await?
            }
        };
        let answer: Value = answer.json().await?;
        let token = answer["refresh_token"].as_str();
        token
            .map(ToOwned::to_owned)
            .with_context(|| format!("no refresh token in {answer}"))
    }

    /// Asks the sandbox's control API.
    pub(crate) async fn control(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let url = format!("{}/_sandbox/api{path}", self.origin);
        let answer = self.http.post(url).json(body).send().await?;
        let status = answer.status();
        let answer: Value = answer.json().await.unwrap_or_default();
        anyhow::ensure!(status.is_success(), "{path} {body}: {status} {answer}");
        Ok(answer)
    }

    /// Arms one fault of the sandbox's token endpoint.
    pub(crate) async fn fault(&self, mut fault: Value) -> anyhow::Result<()> {
        fault["side"] = "entra".into();
        fault["path"] = "/**/token".into();
        self.control("/faults", &fault).await.map(|_| ())
    }

    /// Removes all faults.
    pub(crate) async fn heal(&self) -> anyhow::Result<()> {
        let url = format!("{}/_sandbox/api/faults", self.origin);
        let request = self.http.delete(url).header("X-Sandbox-Control", "1");
        request.send().await?.error_for_status()?;
        Ok(())
    }

    /// What oidc-provider refused, in its own words.
    pub(crate) fn refusals(&self) -> Vec<String> {
        let lines = self.process.lines();
        lines
            .into_iter()
            .filter(|line| line.contains("refused"))
            .collect()
    }
}

async fn sandbox(
    rules: Rules,
    program: &Path,
    directory: &Path,
    seconds: u32,
) -> anyhow::Result<Service> {
    let mut command = Command::new(program);
    command.args(["sandbox", "--listen", "127.0.0.1:0", "--control", "--json"]);
    // So wide that thousands of callers never meet them. Without any, the sandbox says at each
    // answer that all of Microsoft's is left, and the gateway paces by what it counts itself.
    command
        .args(["--limits", "1000", "--data-dir"])
        .arg(directory);
    let process = Process::start("the sandbox", &mut command)?;
    let told: Value = serde_json::from_str(&process.line()?)?;
    let origin = told["origin"].as_str().context("no origin")?.to_owned();
    let ca_file = PathBuf::from(told["ca_file"].as_str().context("no ca_file")?);
    let service = Service {
        rules,
        http: client(&ca_file)?,
        ca_file,
        token_url: format!("{origin}/{TENANT}/oauth2/v2.0/token"),
        api_url: format!("{origin}/api/data/v9.2"),
        client_id: APPLICATION.to_owned(),
        client_secret: SECRET.to_owned(),
        origin,
        process,
    };
    consent(&service).await?;
    let lifetime = json!({"action": "token-lifetime", "seconds": seconds});
    service.control("/entra", &lifetime).await?;
    if rules == Rules::Strict {
        let strictly = json!({"action": "rotate-strictly"});
        service.control("/entra", &strictly).await?;
    }
    Ok(service)
}

/// Somebody has to consent once before passwords are taken. The last redirect leads to a console
/// that does not run, which is no matter: the consent is given by then.
async fn consent(service: &Service) -> anyhow::Result<()> {
    let scope = format!("{}/.default offline_access", service.origin);
    let start = Url::parse_with_params(
        &service.token_url.replace("/token", "/authorize"),
        [
            ("client_id", APPLICATION),
            ("response_type", "code"),
            (
                "redirect_uri",
                "http://localhost:8420/admin/msdynamicscallback.html",
            ),
            ("scope", &scope),
            ("state", "chaos"),
        ],
    )?;
    let person = Person {
        upn: PERSON.0.to_owned(),
        password: PERSON.1.to_owned(),
    };
    let walked = walk(&service.http, &start, &person).await;
    let minted = service.mint("proof").await;
    if let (Err(error), Err(_)) = (walked, &minted) {
        return Err(error.context("the consent was not given"));
    }
    minted.map(|_| ())
}

fn oidc_provider(directory: &Path, seconds: u32) -> anyhow::Result<Service> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let home = home.join("../target/chaos/oidc-provider");
    if !home.join("node_modules").is_dir() {
        bail!("oidc-provider is not installed; chaos/run installs it");
    }
    let ca_file = certificates(directory)?;
    let mut command = Command::new("node");
    command.arg("server.mjs").current_dir(&home);
    command.arg(directory.join("server.pem"));
    command.arg(directory.join("server.key"));
    command.arg(seconds.to_string());
    let process = Process::start("oidc-provider", &mut command)?;
    // Its package warns on stdout before it is ready.
    let told = loop {
        if let Ok(told) = serde_json::from_str::<Value>(&process.line()?) {
            break told;
        }
    };
    let text = |name: &str| told[name].as_str().unwrap_or_default().to_owned();
    let origin = text("origin");
    Ok(Service {
        rules: Rules::OidcProvider,
        http: client(&ca_file)?,
        ca_file,
        token_url: format!("{origin}/token"),
        api_url: format!("{origin}/api/data/v9.2"),
        client_id: text("client_id"),
        client_secret: text("client_secret"),
        origin,
        process,
    })
}

/// An authority, and a certificate for this machine.
fn certificates(directory: &Path) -> anyhow::Result<PathBuf> {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate()?;
    let ca_file = directory.join("ca.pem");
    std::fs::write(&ca_file, authority.self_signed(&authority_key)?.pem())?;
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate()?;
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let server = CertificateParams::new(names)?.signed_by(&key, &issuer)?;
    std::fs::write(directory.join("server.pem"), server.pem())?;
    std::fs::write(directory.join("server.key"), key.serialize_pem())?;
    Ok(ca_file)
}

//! A sandbox with a seed of its own, and a client's script that is run against it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::test_app::{Process, stderr, tieline};

/// Most take a second or two; python-odata reads all of `$metadata`.
const LIMIT: Duration = Duration::from_secs(120);

const SEED: &str = include_str!("seed.toml");
const APPLICATION: &str = "3b8f4c1d-7c0a-4c62-8f0e-52a6b9d1e7f4";
const TENANT: &str = "6f0c2b7e-3f0e-4f7a-9a53-8d1c5a2e4b10";

/// A running sandbox, described in a file for the scripts.
pub(crate) struct Rehearsal {
    ca_file: PathBuf,
    description: PathBuf,
    directory: TempDir,
    _sandbox: Process,
    _server: Option<Process>,
}

impl Rehearsal {
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let key = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
        let parameters = CertificateParams::new(vec!["rehearsal".to_owned()]).unwrap();
        let certificate = parameters.self_signed(&key).unwrap().pem();
        std::fs::write(at("certificate.pem"), &certificate).unwrap();
        std::fs::write(at("key.pem"), key.serialize_pem()).unwrap();
        std::fs::write(at("both.pem"), key.serialize_pem() + &certificate).unwrap();
        std::fs::write(at("seed.toml"), SEED.replace("@CERTIFICATE@", &certificate)).unwrap();

        let (seed, data) = (at("seed.toml"), at("data"));
        let mut args = vec!["sandbox", "--json", "--listen", "127.0.0.1:0"];
        args.extend(["--host", "login.microsoftonline.com"]);
        args.extend(["--seed", seed.to_str().unwrap()]);
        args.extend(["--data-dir", data.to_str().unwrap()]);
        let mut sandbox = Process::start(&args);
        let up: Value = serde_json::from_str(&sandbox.line()).unwrap();

        let description = at("sandbox.json");
        let text = describe(up["origin"].as_str().unwrap(), directory.path());
        std::fs::write(&description, text.to_string()).unwrap();
        Self {
            ca_file: PathBuf::from(up["ca_file"].as_str().unwrap()),
            description,
            directory,
            _sandbox: sandbox,
            _server: None,
        }
    }

    /// The same with a server in front, whose one account is the confidential application: to a
    /// client, the gateway is the organization, and an API key a token.
    pub(crate) fn through_the_gateway() -> Self {
        let mut rehearsal = Self::start();
        let text = std::fs::read_to_string(&rehearsal.description).unwrap();
        let mut description: Value = serde_json::from_str(&text).unwrap();
        let at = |name: &str| rehearsal.directory.path().join(name);
        let data = at("server");
        std::fs::create_dir(&data).unwrap();
        let line = Line {
            data: data.to_str().unwrap(),
            ca_file: &rehearsal.ca_file,
            certificate: &at("gateway.pem"),
            key: &at("gateway-key.pem"),
        };
        line.configure();
        let secret = at("secret");
        let given = description["confidential"]["client_secret"].as_str();
        std::fs::write(&secret, given.unwrap()).unwrap();
        let api_key = line.add(description["origin"].as_str().unwrap(), &secret);
        let (server, gateway) = line.serve();
        description["gateway"] = json!({
            "organization": format!("{gateway}/Contoso%20Sales"),
            "api_key": api_key,
        });
        std::fs::write(&rehearsal.description, description.to_string()).unwrap();

        // Clients trust both, by one file.
        let bundle = at("bundle.pem");
        let both = [&rehearsal.ca_file, line.certificate].map(|file| std::fs::read(file).unwrap());
        std::fs::write(&bundle, both.concat()).unwrap();
        rehearsal.ca_file = bundle;
        rehearsal._server = Some(server);
        rehearsal
    }

    /// Runs a shell's script.
    pub(crate) fn shell(&self, file: &str) {
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", file]);
        self.run(command.current_dir(scripts("shell")));
    }

    /// Runs a module of unittest's.
    pub(crate) fn python(&self, module: &str) {
        let mut command = Command::new(installed("python/bin/python"));
        command.args(["-m", "unittest", "--verbose", module]);
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        self.run(command.current_dir(scripts("python")));
    }

    /// Runs a file of `node:test`'s.
    pub(crate) fn node(&self, file: &str) {
        let mut command = Command::new(installed("bin/node"));
        command.args(["--test-reporter=spec", file]);
        self.run(command.current_dir(scripts("node")));
    }

    /// Trusts the sandbox's authority in the way that the client's own guide names.
    fn run(&self, command: &mut Command) {
        let output = self.directory.path().join("output");
        let file = File::create(&output).unwrap();
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().to_uppercase();
            if name.starts_with("AZURE_") || name.ends_with("_PROXY") {
                command.env_remove(&name).env_remove(name.to_lowercase());
            }
        }
        let child = command
            .env("SANDBOX", &self.description)
            .env("REQUESTS_CA_BUNDLE", &self.ca_file)
            .env("SSL_CERT_FILE", &self.ca_file)
            .env("NODE_EXTRA_CA_CERTS", &self.ca_file)
            // Whatever a client remembers from one day to the next, it forgets with the test.
            .env("HOME", self.directory.path())
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        let status = within_limit(child);
        let said = std::fs::read_to_string(&output).unwrap();
        let how = status.map_or("took too long".to_owned(), |status| status.to_string());
        assert!(
            status.is_some_and(|status| status.success()),
            "{how}:\n{said}"
        );
    }
}

/// A server that is set up by its command line.
struct Line<'a> {
    data: &'a str,
    ca_file: &'a Path,
    certificate: &'a Path,
    key: &'a Path,
}

impl Line<'_> {
    /// Microsoft's SDK takes no address without TLS.
    fn configure(&self) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = certificate.self_signed(&key).unwrap();
        std::fs::write(self.certificate, certificate.pem()).unwrap();
        std::fs::write(self.key, key.serialize_pem()).unwrap();
        let configuration = format!(
            "[console]\nlisten = \"127.0.0.1:0\"\n[gateway]\nlisten = \"127.0.0.1:0\"\n\
             tls_cert = {:?}\ntls_key = {:?}\n[outbound]\nallow_loopback = true\nca_file = {:?}\n",
            self.certificate, self.key, self.ca_file
        );
        std::fs::write(Path::new(self.data).join("tieline.toml"), configuration).unwrap();
    }

    fn run(&self, args: &[&str]) -> String {
        let mut command = tieline();
        let output = command
            .args(args)
            .args(["--data-dir", self.data])
            .output()
            .unwrap();
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Adds the account and a consumer; gives its key.
    fn add(&self, origin: &str, secret: &Path) -> String {
        let endpoint = |name: &str| format!("{origin}/{TENANT}/oauth2/v2.0/{name}");
        let (authorize, token) = (endpoint("authorize"), endpoint("token"));
        let api = format!("{origin}/api/data/v9.2");
        let mut args = vec!["account", "add", "--name", "Contoso Sales"];
        args.extend(["--authorization-url", &authorize, "--token-url", &token]);
        args.extend(["--api-url", &api, "--client-id", APPLICATION]);
        args.extend(["--client-secret-file", secret.to_str().unwrap()]);
        args.extend(["--grant", "client-credentials"]);
        self.run(&args);
        let consumer = self.run(&["consumer", "add", "--name", "Rehearsal", "--json"]);
        let consumer: Value = serde_json::from_str(&consumer).unwrap();
        consumer["api_key"].as_str().unwrap().to_owned()
    }

    /// Starts it; gives the gateway's address.
    fn serve(&self) -> (Process, String) {
        let process = Process::start(&["serve", "--data-dir", self.data]);
        let file = Path::new(self.data).join("server.json");
        let until = Instant::now() + LIMIT;
        loop {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            if let Ok(running) = serde_json::from_str::<Value>(&text) {
                let gateway = running["gateway_url"].as_str().unwrap();
                return (process, gateway.trim_end_matches('/').to_owned());
            }
            let log = process.log.lock().unwrap();
            assert!(Instant::now() < until, "it does not come up: {log}");
        }
    }
}

/// How it ended; none when it had to be ended.
fn within_limit(mut child: Child) -> Option<ExitStatus> {
    let id = child.id().to_string();
    let (send, receive) = mpsc::channel();
    let waiting = std::thread::spawn(move || {
        let _ = send.send(child.wait().unwrap());
    });
    let ended = receive.recv_timeout(LIMIT).ok();
    if ended.is_none() {
        let _ = Command::new("kill").args(["-KILL", &id]).status();
    }
    waiting.join().unwrap();
    ended
}

/// What the scripts read; the seed holds the same.
fn describe(origin: &str, directory: &Path) -> Value {
    let file = |name: &str| directory.join(name);
    json!({
        "origin": origin,
        "tenant": TENANT,
        "confidential": {
            "client_id": APPLICATION,
            "client_secret": "Tie+line~rehearsal/secret=1%&",
            "plain_secret": "RehearsedPlainSecret",
            "redirect_uri": "http://localhost:8420/callback",
            "certificate_file": file("certificate.pem"),
            "key_file": file("key.pem"),
            "key_and_certificate_file": file("both.pem"),
        },
        "multi_tenant": { "client_id": "b8f3e1a2-0d4c-4b7e-9f55-1c2d3e4f5a6b" },
        "public": {
            "client_id": "51f81489-12ee-4a9e-aaae-a2591f45987d",
            "redirect_uri": "http://localhost",
        },
        "user": { "upn": "megan@contoso.example", "password": "Rehearsal-1" },
    })
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn scripts(language: &str) -> PathBuf {
    repository().join("clients").join(language)
}

/// A program that `scripts/clients-for-tests` has put below `target/clients`.
fn installed(program: &str) -> PathBuf {
    let path = repository().join("target/clients").join(program);
    assert!(
        path.exists(),
        "{} is missing: run scripts/clients-for-tests",
        path.display()
    );
    path
}

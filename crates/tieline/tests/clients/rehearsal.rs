//! A sandbox with a seed of its own, and a client's script that is run against it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::test_app::Process;

/// Most take a second or two; python-odata reads all of `$metadata`.
const LIMIT: Duration = Duration::from_secs(120);

const SEED: &str = include_str!("seed.toml");
const TENANT: &str = "6f0c2b7e-3f0e-4f7a-9a53-8d1c5a2e4b10";

/// A running sandbox, described in a file for the scripts.
pub(crate) struct Rehearsal {
    ca_file: PathBuf,
    description: PathBuf,
    directory: TempDir,
    _sandbox: Process,
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
        }
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
            "client_id": "3b8f4c1d-7c0a-4c62-8f0e-52a6b9d1e7f4",
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

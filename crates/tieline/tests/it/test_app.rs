//! Starts the binary, reads what it prints, and ends it.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;
use tempfile::TempDir;

/// A first start makes RSA keys and fills an organization, on a machine that may be busy.
const START: Duration = Duration::from_secs(60);
/// More than the grace that the server gives to requests in flight.
const STOP: Duration = Duration::from_secs(20);

/// A demo that runs.
pub(crate) struct TestApp {
    pub(crate) demo: Value,
    pub(crate) data_dir: Arc<TempDir>,
    process: Process,
}

impl TestApp {
    /// A demo on free ports, in a directory of its own.
    pub(crate) fn start() -> TestApp {
        Self::start_in(Arc::new(tempfile::tempdir().unwrap()), &[])
    }

    /// A demo in a given directory, with more flags.
    pub(crate) fn start_in(data_dir: Arc<TempDir>, more: &[&str]) -> TestApp {
        Self::start_with(data_dir, "127.0.0.1:0", more)
    }

    /// A demo whose sandbox is at a given address: where it was before, tokens are good again.
    pub(crate) fn start_at(data_dir: Arc<TempDir>, sandbox: &str) -> TestApp {
        Self::start_with(data_dir, sandbox, &[])
    }

    fn start_with(data_dir: Arc<TempDir>, sandbox: &str, more: &[&str]) -> TestApp {
        let directory = data_dir.path().to_str().unwrap();
        let local = "127.0.0.1:0";
        let mut args = vec!["demo", "--json", "--data-dir", directory];
        args.extend(["--console", local, "--gateway", local, "--sandbox", sandbox]);
        args.extend(more);
        let mut process = Process::start(&args);
        let demo = serde_json::from_str(&process.line()).unwrap();
        TestApp {
            demo,
            data_dir,
            process,
        }
    }

    /// Runs a command beside the demo, on its data.
    pub(crate) fn tieline(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// The same, not yet run.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = tieline();
        command
            .args(args)
            .arg("--data-dir")
            .arg(self.data_dir.path());
        command
    }

    /// Runs a command that must succeed, and reads its JSON.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let output = self.tieline(args);
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// A file with a text, in the demo's directory.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.data_dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// A text of the demo's JSON, by pointer.
    pub(crate) fn text(&self, pointer: &str) -> &str {
        let value = self.demo.pointer(pointer);
        value
            .and_then(Value::as_str)
            .unwrap_or_else(|| panic!("{pointer} in {}", self.demo))
    }

    /// A client that trusts the sandbox and follows nothing.
    pub(crate) fn http(&self) -> reqwest::Client {
        client(Some(Path::new(self.text("/sandbox/ca_file"))))
    }

    /// A request to the gateway with the demo's key.
    pub(crate) async fn gateway(&self, path: &str) -> reqwest::Response {
        self.gateway_as(self.text("/api_key"), path).await
    }

    /// A request to the gateway with another key.
    pub(crate) async fn gateway_as(&self, key: &str, path: &str) -> reqwest::Response {
        let url = format!("{}{path}", self.text("/gateway_url").trim_end_matches('/'));
        client(None).get(url).bearer_auth(key).send().await.unwrap()
    }

    /// Everything logged so far.
    pub(crate) fn log(&self) -> String {
        self.process.log.lock().unwrap().clone()
    }

    /// Sends a signal, and waits for the end.
    pub(crate) fn stop(self, signal: &str) -> (ExitStatus, Arc<TempDir>) {
        let TestApp {
            data_dir, process, ..
        } = self;
        (process.stop(signal), data_dir)
    }
}

/// A process of ours that goes on running.
pub(crate) struct Process {
    child: Child,
    out: BufReader<ChildStdout>,
    /// What it said on stderr.
    pub(crate) log: Arc<Mutex<String>>,
}

impl Process {
    /// Starts the binary.
    pub(crate) fn start(args: &[&str]) -> Process {
        let mut command = tieline();
        command.args(args);
        Process::run(command)
    }

    /// Starts a command.
    pub(crate) fn run(mut command: Command) -> Process {
        let piped = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let log = Arc::new(Mutex::new(String::new()));
        let (mut err, kept) = (child.stderr.take().unwrap(), Arc::clone(&log));
        std::thread::spawn(move || {
            let mut buffer = [0_u8; 8192];
            while let Ok(read @ 1..) = err.read(&mut buffer) {
                kept.lock()
                    .unwrap()
                    .push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
        });
        Process { child, out, log }
    }

    /// The next line of stdout.
    pub(crate) fn line(&mut self) -> String {
        // Read on a thread of its own, so that a program that says nothing fails the test.
        let (send, receive) = mpsc::channel();
        let out = &mut self.out;
        let line = std::thread::scope(|scope| {
            let id = self.child.id();
            scope.spawn(move || {
                if receive.recv_timeout(START).is_err() {
                    signal(id, "-KILL");
                }
            });
            let mut line = String::new();
            out.read_line(&mut line).unwrap();
            let _ = send.send(());
            line
        });
        assert!(
            line.ends_with('\n'),
            "it ended without a word: {}",
            self.log.lock().unwrap()
        );
        line
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, and waits for the end.
    pub(crate) fn stop(mut self, name: &str) -> ExitStatus {
        signal(self.child.id(), name);
        self.wait()
    }

    /// Sends a signal, and waits for an end that may take long.
    pub(crate) async fn stop_within(self, name: &str, limit: Duration) -> ExitStatus {
        let (id, log) = (self.id(), Arc::clone(&self.log));
        signal(id, name);
        let mut process = self;
        let ended = tokio::task::spawn_blocking(move || process.child.wait().unwrap());
        match tokio::time::timeout(limit, ended).await {
            Ok(status) => status.unwrap(),
            Err(_) => {
                // Or the thread that waits would keep the test from ending.
                signal(id, "-KILL");
                panic!("it does not end: {}", log.lock().unwrap());
            }
        }
    }

    /// Waits for the end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let until = Instant::now() + STOP;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(
                Instant::now() < until,
                "it does not end: {}",
                self.log.lock().unwrap()
            );
            std::thread::yield_now();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn signal(id: u32, name: &str) {
    assert!(
        Command::new("kill")
            .args([name, &id.to_string()])
            .status()
            .unwrap()
            .success()
    );
}

/// The binary, without what our own shell may have set for it.
pub(crate) fn tieline() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tieline"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TIELINE_") {
            command.env_remove(name);
        }
    }
    command.env("LC_ALL", "C").stdin(Stdio::null());
    command
}

/// Runs the binary to its end.
pub(crate) fn run(args: &[&str]) -> Output {
    tieline().args(args).output().unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A client that trusts one more authority and follows no redirects.
pub(crate) fn client(ca_file: Option<&Path>) -> reqwest::Client {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in ca_file
        .into_iter()
        .flat_map(|file| CertificateDer::pem_file_iter(file).unwrap())
    {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(30))
        .no_proxy()
        .build()
        .unwrap()
}

/// Every file below a directory.
pub(crate) fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            found.push(path);
        }
    }
    found
}

//! A server with one account, which leads to an upstream of our own.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::test_app::{Process, stderr, tieline};
use crate::upstream::Upstream;

/// No answer takes as long on the busiest machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server with one account, which leads to an upstream of our own.
pub(crate) struct Line {
    pub(crate) gateway: String,
    pub(crate) console: String,
    pub(crate) key: String,
    _process: Process,
    _data: tempfile::TempDir,
}

pub(crate) fn line(upstream: &Upstream) -> Line {
    line_with(upstream, "")
}

/// The same, with a configuration.
pub(crate) fn line_with(upstream: &Upstream, configuration: &str) -> Line {
    let data = tempfile::tempdir().unwrap();
    std::fs::write(data.path().join("tieline.toml"), configuration).unwrap();
    let directory = data.path().to_str().unwrap().to_owned();
    let run = |args: &[&str]| {
        let mut command = tieline();
        command
            .args(args)
            .args(["--data-dir", &directory, "--allow-loopback"]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let secret = data.path().join("secret");
    std::fs::write(&secret, "s+e%c&r=e t").unwrap();
    let origin = &upstream.origin;
    let (authorize, token, api) = (
        format!("{origin}/authorize"),
        format!("{origin}/token"),
        format!("{origin}/api/data/v9.2"),
    );
    let mut args = vec!["account", "add", "--name", "Line", "--default"];
    args.extend([
        "--authorization-url",
        &authorize,
        "--token-url",
        &token,
        "--api-url",
        &api,
    ]);
    args.extend([
        "--client-id",
        "x",
        "--client-secret-file",
        secret.to_str().unwrap(),
    ]);
    args.extend(["--grant", "client-credentials"]);
    run(&args);
    let consumer = run(&["consumer", "add", "--name", "Test", "--json"]);
    let consumer: serde_json::Value = serde_json::from_str(&consumer).unwrap();
    let local = "127.0.0.1:0";
    let mut args = vec![
        "serve",
        "--console",
        local,
        "--gateway",
        local,
        "--allow-loopback",
    ];
    args.extend(["--data-dir", &directory]);
    let process = Process::start(&args);
    // The server says where it is once both listeners are bound.
    let file = data.path().join("server.json");
    let until = Instant::now() + Duration::from_secs(30);
    let running: serde_json::Value = loop {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        if let Ok(running) = serde_json::from_str(&text) {
            break running;
        }
        let log = process.log.lock().unwrap();
        assert!(Instant::now() < until, "it does not come up: {log}");
    };
    let address = |name: &str| {
        let url = running[name].as_str().unwrap();
        url.trim_end_matches('/')
            .trim_start_matches("http://")
            .replace("localhost", "127.0.0.1")
    };
    Line {
        gateway: address("gateway_url"),
        console: address("console_url"),
        key: consumer["api_key"].as_str().unwrap().to_owned(),
        _process: process,
        _data: data,
    }
}

impl Line {
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.gateway).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends bytes as they are, and gives everything that comes back.
    pub(crate) fn raw(&self, request: &str) -> String {
        String::from_utf8_lossy(&self.raw_bytes(request.as_bytes())).into_owned()
    }

    pub(crate) fn raw_bytes(&self, request: &[u8]) -> Vec<u8> {
        let mut stream = self.connect();
        stream.write_all(request).unwrap();
        let mut answer = Vec::new();
        // An answer that is cut off ends in an error, and what came before it counts.
        let _ = stream.read_to_end(&mut answer);
        answer
    }

    /// A request with the key, and with a body if there is one.
    pub(crate) fn request(&self, line: &str, headers: &str, body: &str) -> String {
        let (gateway, key) = (&self.gateway, &self.key);
        let length = match body {
            "" => String::new(),
            body => format!("Content-Length: {}\r\n", body.len()),
        };
        format!(
            "{line} HTTP/1.1\r\nHost: {gateway}\r\nAuthorization: Bearer {key}\r\n{headers}\
             {length}Connection: close\r\n\r\n{body}"
        )
    }

    pub(crate) fn get(&self, target: &str, headers: &str) -> String {
        self.raw(&self.request(&format!("GET {target}"), headers, ""))
    }
}

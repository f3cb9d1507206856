//! The proxies that are measured: how each is started, and what it has used of its processor.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::words;

/// A proxy that runs on the second processor, with its whole family.
pub struct Proxy {
    pub name: String,
    pub address: SocketAddr,
    child: Child,
}

impl Proxy {
    fn start(name: &str, address: Option<SocketAddr>, program: &Path, arguments: &[&str]) -> Self {
        let child = Command::new("taskset")
            .args(["-c", "1"])
            .arg(program)
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let address = address.unwrap_or_else(|| ([127, 0, 0, 1], 0).into());
        let proxy = Self {
            name: name.to_owned(),
            address,
            child,
        };
        if address.port() > 0 {
            proxy.wait();
        }
        proxy
    }

    fn wait(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(self.address).is_err() {
            assert!(Instant::now() < deadline, "{} does not listen", self.name);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn pids(&self) -> Vec<u32> {
        let main = self.child.id();
        let children = format!("/proc/{main}/task/{main}/children");
        let children = std::fs::read_to_string(children).unwrap_or_default();
        let children = children
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok());
        std::iter::once(main).chain(children).collect()
    }

    /// Its process; `taskset` became it.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Nanoseconds on the processor so far, of all its threads.
    pub fn cpu(&self) -> u64 {
        let mut sum = 0;
        for pid in self.pids() {
            let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
                continue;
            };
            for task in tasks.flatten() {
                let stat = std::fs::read_to_string(task.path().join("schedstat"));
                let stat = stat.unwrap_or_default();
                sum += stat
                    .split(' ')
                    .next()
                    .and_then(|ns| ns.parse::<u64>().ok())
                    .unwrap_or(0);
            }
        }
        sum
    }

    /// Megabytes that it holds in memory.
    pub fn rss(&self) -> f64 {
        let mut kilobytes = 0;
        for pid in self.pids() {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let number = line.and_then(|line| line.trim().split(' ').next());
            kilobytes += number
                .and_then(|number| number.parse::<u64>().ok())
                .unwrap_or(0);
        }
        kilobytes as f64 / 1024.0
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // A clean end where one is known: SIGTERM by `kill`, which needs no unsafe code here.
        let _ = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        let _ = self.child.wait();
    }
}

/// Tells a callgrind what to do.
pub fn control(what: &str, pid: u32) {
    let done = Command::new("callgrind_control")
        .args([what, &pid.to_string()])
        .stdout(Stdio::null())
        .status();
    assert!(
        done.is_ok_and(|status| status.success()),
        "callgrind_control"
    );
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// Tieline, as it is shipped and with everything on; `under` is a program to run it in, such as
/// valgrind.
pub fn tieline(name: &str, under: &[&str], program: &Path, data: &Path, ca: &Path) -> Proxy {
    let (data, ca) = (data.to_str().unwrap(), ca.to_str().unwrap());
    let password = format!("{data}/password");
    std::fs::write(password.as_str(), "a password for nobody\n").unwrap();
    let serve = [
        "serve",
        "--data-dir",
        data,
        "--console",
        "127.0.0.1:0",
        "--gateway",
        "127.0.0.1:0",
        "--allow-loopback",
        "--ca-file",
        ca,
        "--admin-password-file",
        password.as_str(),
    ];
    let mut arguments = under.to_vec();
    arguments.push(program.to_str().unwrap());
    arguments.extend(serve);
    let (program, arguments) = (Path::new(arguments[0]), &arguments[1..]);
    let mut proxy = Proxy::start(name, None, program, arguments);
    let deadline = Instant::now() + Duration::from_secs(120);
    let port = loop {
        let text = std::fs::read_to_string(format!("{data}/server.json")).unwrap_or_default();
        let port = text
            .split("\"gateway_url\": \"http://localhost:")
            .nth(1)
            .and_then(|rest| {
                rest.split(['/', '"'])
                    .next()
                    .and_then(|port| port.parse().ok())
            });
        if let Some(port) = port {
            break port;
        }
        assert!(Instant::now() < deadline, "Tieline did not start");
        std::thread::sleep(Duration::from_millis(20));
    };
    proxy.address = SocketAddr::from(([127, 0, 0, 1], port));
    proxy.wait();
    proxy
}

/// What nginx passes calls to.
pub struct To<'a> {
    pub port: u16,
    pub secure: bool,
    /// Size of its buffers: 16k for small answers, 64k for pages, or it is two to three times
    /// slower than it need be.
    pub buffers: &'a str,
}

/// nginx, with a map from keys to tokens.
pub fn nginx(name: &str, directory: &Path, ca: &Path, keys: usize, to: &To<'_>) -> Proxy {
    let here = directory.join(name.replace(' ', "-"));
    std::fs::create_dir_all(&here).unwrap();
    let port = free_port();
    let mut map = String::new();
    for number in 0..keys {
        let (key, token) = (words::key(number), words::token(number));
        let _ = writeln!(map, "        \"Bearer {key}\" \"Bearer {token}\";");
    }
    let secure = if to.secure {
        format!(
            "proxy_ssl_verify on; proxy_ssl_trusted_certificate {}; proxy_ssl_name localhost;\n\
             proxy_ssl_session_reuse on; proxy_ssl_protocols TLSv1.3;",
            ca.display()
        )
    } else {
        String::new()
    };
    let (scheme, upstream, buffers) = (
        if to.secure { "https" } else { "http" },
        to.port,
        to.buffers,
    );
    let here_shown = here.display();
    let text = format!(
        "daemon off; worker_processes 1; pid {here_shown}/pid; error_log {here_shown}/error.log;\n\
         events {{ worker_connections 4096; accept_mutex off; multi_accept on; }}\n\
         http {{\n\
         access_log off; keepalive_requests 100000000; keepalive_timeout 600s;\n\
         client_body_temp_path {here_shown}/b; proxy_temp_path {here_shown}/p;\n\
         fastcgi_temp_path {here_shown}/f; uwsgi_temp_path {here_shown}/u; scgi_temp_path {here_shown}/s;\n\
         map_hash_bucket_size 4096; map_hash_max_size 16384;\n\
         map $http_authorization $token {{\n default \"\";\n{map} }}\n\
         upstream organization {{ server 127.0.0.1:{upstream}; keepalive 1024;\n\
         keepalive_requests 100000000; keepalive_timeout 600s; }}\n\
         server {{ listen 127.0.0.1:{port} backlog=4096; client_max_body_size 100m;\n\
         location / {{ proxy_pass {scheme}://organization; proxy_http_version 1.1;\n\
         proxy_set_header Connection \"\"; proxy_set_header Host localhost;\n\
         proxy_set_header Authorization $token; {secure}\n\
         proxy_request_buffering off; proxy_max_temp_file_size 0;\n\
         proxy_buffer_size {buffers}; proxy_buffers 8 {buffers}; }} }} }}\n"
    );
    let file = here.join("nginx.conf");
    std::fs::write(&file, text).unwrap();
    let arguments = ["-p", here.to_str().unwrap(), "-c", file.to_str().unwrap()];
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    Proxy::start(name, Some(address), Path::new("nginx"), &arguments)
}

/// axum and reqwest.
pub fn axum(program: &Path, directory: &Path, ca: &Path, keys: usize, to: &To<'_>) -> Proxy {
    let file = directory.join("keys");
    let mut text = String::new();
    for number in 0..keys {
        let _ = writeln!(
            text,
            "Bearer {}\tBearer {}",
            words::key(number),
            words::token(number)
        );
    }
    std::fs::write(&file, text).unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let scheme = if to.secure { "https" } else { "http" };
    let upstream = format!("{scheme}://localhost:{}", to.port);
    let listen = address.to_string();
    let arguments = [
        listen.as_str(),
        upstream.as_str(),
        ca.to_str().unwrap(),
        file.to_str().unwrap(),
    ];
    Proxy::start("axum + reqwest", Some(address), program, &arguments)
}

//! Measures what the gateway costs beside nginx and beside axum with reqwest.
//!
//! Load and upstream live in this process, on the first processor; each proxy has the second one
//! to itself while it is measured. README.md says how and why.

mod load;
mod measure;
mod peers;
mod seed;
mod train;
mod upstream;
mod words;

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsConnector;

use load::{Clients, Door, Question, Round};
use measure::{Contender, median, rounds};
use peers::To;
use seed::{Seed, seed};

const CONNECTIONS: usize = 64;
/// Keys of nginx' map, and consumers and accounts of Tieline.
const KEYS: usize = 1000;
/// Connections, and accounts, where instructions are counted: few, since valgrind is slow.
const COUNTED: usize = 8;
/// Accounts of the large installation that are asked for; loading the others' tokens one by one
/// would take minutes.
const LIVE: usize = 100_000;

struct Bench {
    tieline: PathBuf,
    peer: PathBuf,
    rounds: usize,
    only: Vec<String>,
    directory: PathBuf,
    ca: PathBuf,
    roots: rustls::RootCertStore,
    plain: u16,
    secure: u16,
}

struct Cell_ {
    name: &'static str,
    title: &'static str,
    question: Question,
    secure: bool,
    connections: usize,
}

const CELLS: &[Cell_] = &[
    cell("get-tls", "GET, 600 bytes, TLS upstream", "small", 0, true),
    cell(
        "get-plain",
        "GET, 600 bytes, plain upstream",
        "small",
        0,
        false,
    ),
    cell(
        "post-tls",
        "POST of 2 kB, TLS upstream",
        "small",
        2000,
        true,
    ),
    cell(
        "post-plain",
        "POST of 2 kB, plain upstream",
        "small",
        2000,
        false,
    ),
    cell(
        "file-tls",
        "100 kB without links, TLS upstream",
        "file",
        0,
        true,
    ),
    cell(
        "page-tls",
        "100 kB page with links, TLS upstream",
        "page",
        0,
        true,
    ),
    cell(
        "large-file-tls",
        "10 MB without links, TLS upstream",
        "large_file",
        0,
        true,
    ),
    cell(
        "large-page-tls",
        "10 MB page with links, TLS upstream",
        "large_page",
        0,
        true,
    ),
];

const fn cell(
    name: &'static str,
    title: &'static str,
    path: &'static str,
    body: usize,
    secure: bool,
) -> Cell_ {
    let connections = match path.as_bytes() {
        b"large_file" | b"large_page" => 8,
        _ => CONNECTIONS,
    };
    Cell_ {
        name,
        title,
        question: Question { path, body },
        secure,
        connections,
    }
}

fn main() -> ExitCode {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap();
    runtime.block_on(run())
}

async fn run() -> ExitCode {
    let bench = Bench::prepare().await;
    if bench.only == ["train"] {
        bench.train().await;
        let _ = std::fs::remove_dir_all(&bench.directory);
        return ExitCode::SUCCESS;
    }
    let mut holds = true;
    for cell in CELLS.iter().filter(|cell| bench.wants(cell.name)) {
        holds &= bench.cell(cell).await;
    }
    if bench.wants("latency") {
        bench.latency().await;
    }
    if bench.wants("memory") {
        bench.memory().await;
    }
    if bench.wants("million") {
        bench.million().await;
    }
    // Takes valgrind, and is asked for by name.
    for cell in CELLS {
        let (all, one) = ("instructions", format!("instructions-{}", cell.name));
        if bench.only.iter().any(|only| only == all || *only == one) {
            bench.instructions(cell).await;
        }
    }
    let _ = std::fs::remove_dir_all(&bench.directory);
    if !holds {
        println!("\nA cell is void: something else used the machine. Run it again.");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

impl Bench {
    async fn prepare() -> Self {
        let mut arguments = std::env::args().skip(1);
        let (mut tieline, mut peer, mut rounds, mut only) = (None, None, 26, Vec::new());
        while let Some(argument) = arguments.next() {
            let value = arguments.next().expect("a value");
            match argument.as_str() {
                "--tieline" => tieline = Some(PathBuf::from(value)),
                "--peer" => peer = Some(PathBuf::from(value)),
                "--rounds" => rounds = value.parse().expect("a number"),
                "--cell" => only.push(value),
                other => panic!("unknown argument {other}"),
            }
        }
        let directory = std::env::temp_dir().join(format!("tieline-bench-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let (ca, server, roots) = certificates(&directory);
        let (plain, plain_port) = listener().await;
        let (secure, secure_port) = listener().await;
        for (listener, port, tls, scheme) in [
            (plain, plain_port, None, "http"),
            (secure, secure_port, Some(server), "https"),
        ] {
            let answers = upstream::Answers::of(&format!("{scheme}://localhost:{port}"));
            tokio::task::spawn_local(upstream::serve(listener, tls, Rc::new(answers)));
        }
        Self {
            tieline: tieline.expect("--tieline"),
            peer: peer.expect("--peer"),
            rounds,
            only,
            directory,
            ca,
            roots,
            plain: plain_port,
            secure: secure_port,
        }
    }

    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }

    fn api_url(&self, secure: bool) -> String {
        if secure {
            format!("https://localhost:{}", self.secure)
        } else {
            format!("http://localhost:{}", self.plain)
        }
    }

    async fn gateway(
        &self,
        name: &str,
        accounts: usize,
        live: usize,
        secure: bool,
    ) -> peers::Proxy {
        self.gateway_under(&[], name, accounts, live, secure).await
    }

    async fn gateway_under(
        &self,
        under: &[&str],
        name: &str,
        accounts: usize,
        live: usize,
        secure: bool,
    ) -> peers::Proxy {
        let data = self.data(name);
        let what = Seed {
            accounts,
            live,
            consumers: KEYS.min(accounts),
            api_url: &self.api_url(secure),
        };
        seed(&data, &what).await;
        peers::tieline(name, under, &self.tieline, &data, &self.ca)
    }

    /// A gateway that was there before, on what it has left.
    fn again(&self, name: &str) -> peers::Proxy {
        peers::tieline(name, &[], &self.tieline, &self.data(name), &self.ca)
    }

    fn data(&self, name: &str) -> PathBuf {
        self.directory.join(name.replace(' ', "-"))
    }

    /// Everybody who is compared. Each cell has a database of its own, named after it.
    async fn contenders(&self, cell: &Cell_, name: &str) -> Vec<Contender> {
        let port = if cell.secure { self.secure } else { self.plain };
        let buffers = if cell.question.path == "small" {
            "16k"
        } else {
            "64k"
        };
        let to = To {
            port,
            secure: cell.secure,
            buffers,
        };
        let (at, ca) = (&self.directory, &self.ca);
        let proxies = [
            peers::nginx("nginx", at, ca, KEYS, &to),
            peers::nginx("nginx again", at, ca, KEYS, &to),
            self.gateway(&format!("Tieline {name}"), KEYS, KEYS, cell.secure)
                .await,
            peers::axum(&self.peer, at, ca, KEYS, &to),
        ];
        let mut all = Vec::new();
        for (number, proxy) in proxies.into_iter().enumerate() {
            let mut door = Door::of_gateway(proxy.address);
            door.account_in_path = number == 2;
            let clients = Clients::connect(door, cell.connections).await;
            all.push(Contender { proxy, clients });
        }
        all
    }

    async fn cell(&self, cell: &Cell_) -> bool {
        let mut all = self.contenders(cell, cell.name).await;
        let rounds = if cell.question.path == "small" {
            self.rounds
        } else {
            self.rounds.div_ceil(2)
        };
        let samples = rounds_of(&mut all, cell.question, rounds).await;
        samples.print(cell.title)
    }

    /// What a call takes longer than without a proxy, at a rate that leaves everybody idle most
    /// of the time.
    async fn latency(&self) {
        let cell = &CELLS[0];
        let mut all = self.contenders(cell, "latency").await;
        let tls = rustls::ClientConfig::builder()
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        let direct = Door {
            address: ([127, 0, 0, 1], self.secure).into(),
            account_in_path: false,
            direct: Some(TlsConnector::from(Arc::new(tls))),
            round: None,
        };
        let mut direct = Clients::connect(direct, CONNECTIONS).await;
        let (rate, time) = (2000, Duration::from_millis(400));
        let mut p50 = vec![Vec::new(); all.len() + 1];
        for round in 0..=self.rounds {
            let mut take = |at: usize, micros: Vec<f64>| {
                if round > 0 {
                    p50[at].push(median(micros));
                }
            };
            take(0, direct.pace(cell.question, rate, time).await);
            for turn in 0..all.len() {
                let at = (round + turn) % all.len();
                take(
                    at + 1,
                    all[at].clients.pace(cell.question, rate, time).await,
                );
            }
        }
        println!("\n### Added at {rate} requests a second, TLS upstream (p50)\n");
        println!("| proxy | p50 µs | added µs | added × nginx |\n|---|---|---|---|");
        let added = |at: usize, round: usize| p50[at][round] - p50[0][round];
        println!("| none | {:.0} | | |", median(p50[0].clone()));
        for (number, contender) in all.iter().enumerate() {
            let rounds = 0..p50[0].len();
            println!(
                "| {} | {:.0} | {:.0} | {:.2} |",
                contender.proxy.name,
                median(p50[number + 1].clone()),
                median(
                    rounds
                        .clone()
                        .map(|round| added(number + 1, round))
                        .collect()
                ),
                median(
                    rounds
                        .map(|round| added(number + 1, round) / added(1, round))
                        .collect()
                ),
            );
        }
    }

    /// What it holds in memory after ten thousand accounts were used over 256 connections.
    async fn memory(&self) {
        let name = "Tieline memory";
        // What is measured is a server that was started again: the first start hashes a password,
        // in 19 MB that are given back a second or two later.
        drop(self.gateway(name, 10_000, 10_000, true).await);
        let proxy = self.again(name);
        let begin = proxy.rss();
        let door = self.round_door(&proxy, 10_000);
        let mut clients = Clients::connect(door, 256).await;
        clients.ask_all(CELLS[0].question, 60_000).await;
        println!("\n### Memory\n\n| | MB |\n|---|---|");
        println!("| Tieline at its start | {begin:.0} |");
        println!(
            "| with 10,000 accounts used over 256 connections, 60,000 calls | {:.0} |",
            proxy.rss()
        );
    }

    fn round_door(&self, proxy: &peers::Proxy, accounts: usize) -> Door {
        let round = Round {
            accounts,
            next: Cell::new(0),
            key: KEYS,
        };
        let mut door = Door::of_gateway(proxy.address);
        door.round = Some(Rc::new(round));
        door
    }

    /// What a call costs in instructions in user space, which no neighbour changes. Where they go
    /// stands in the profile that is named.
    async fn instructions(&self, cell: &Cell_) {
        let profile = std::env::temp_dir().join(format!("callgrind.{}", cell.name));
        let file = format!("--callgrind-out-file={}", profile.display());
        let under = ["valgrind", "--tool=callgrind", &file];
        let name = format!("Tieline counted {}", cell.name);
        let proxy = self
            .gateway_under(&under, &name, COUNTED, COUNTED, cell.secure)
            .await;
        let door = Door::of_gateway(proxy.address);
        let mut clients = Clients::connect(door, COUNTED).await;
        let calls = match cell.question.path {
            "small" => 2000,
            "file" | "page" => 200,
            _ => 4,
        };
        clients.ask_all(cell.question, calls / 2).await;
        peers::control("--zero", proxy.pid());
        clients.ask_all(cell.question, calls).await;
        peers::control("--dump", proxy.pid());
        let dump = std::fs::read_to_string(format!("{}.1", profile.display())).unwrap_or_default();
        let total = dump.lines().find_map(|line| {
            let rest = line
                .strip_prefix("summary:")
                .or(line.strip_prefix("totals:"))?;
            rest.trim().parse::<u64>().ok()
        });
        println!(
            "{}: {:.0} instructions a call ({}.1)",
            cell.title,
            total.unwrap_or_default() as f64 / calls as f64,
            profile.display()
        );
    }

    /// A million accounts beside a thousand.
    async fn million(&self) {
        let mut all = Vec::new();
        for (name, accounts, live) in [
            ("1,000 accounts", 1000, 1000),
            ("1,000 accounts again", 1000, 1000),
            ("1,000,000 accounts", 1_000_000, LIVE),
        ] {
            let proxy = self.gateway(name, accounts, live, true).await;
            let mut clients = Clients::connect(self.round_door(&proxy, live), CONNECTIONS).await;
            clients.ask_all(CELLS[0].question, live).await;
            all.push(Contender { proxy, clients });
        }
        let samples = rounds_of(&mut all, CELLS[0].question, self.rounds).await;
        println!("\n### A million accounts, {LIVE} of them used in turn, beside a thousand\n");
        println!("| accounts | CPU µs per request | × 1,000 | MB |\n|---|---|---|---|");
        for (at, contender) in all.iter().enumerate() {
            let counted = samples.rows[at].iter().flatten().map(|s| s.cpu).collect();
            println!(
                "| {} | {:.2} | {:.3} | {:.0} |",
                contender.proxy.name,
                median(counted),
                samples.ratio(at, 0, |s| s.cpu),
                contender.proxy.rss(),
            );
        }
    }
}

async fn rounds_of(all: &mut [Contender], question: Question, count: usize) -> measure::Samples {
    rounds(all, question, count).await
}

async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// An authority of our own, its file, and a certificate for `localhost`.
fn certificates(directory: &Path) -> (PathBuf, Arc<rustls::ServerConfig>, rustls::RootCertStore) {
    let mut authority = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    // A name of its own: OpenSSL takes a leaf named like its issuer for one that signed itself.
    authority
        .distinguished_name
        .push(rcgen::DnType::CommonName, "the bench's authority");
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let root = authority.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let file = directory.join("ca.pem");
    std::fs::write(&file, root.pem()).unwrap();
    let chain = vec![CertificateDer::from(leaf.der().to_vec())];
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let mut server = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from(root.der().to_vec()))
        .unwrap();
    (file, Arc::new(server), roots)
}

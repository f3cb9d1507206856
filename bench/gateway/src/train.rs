//! Half a minute of what a gateway does all day, for a build that counts the ways calls take
//! (`scripts/release`).
//!
//! Where nothing was counted, code is made small instead of quick: what callers do must be here,
//! in some proportion to how often they do it.

use std::time::{Duration, Instant};

use crate::load::{Clients, Door, Question};
use crate::{Bench, CONNECTIONS, KEYS, peers, words};

/// What is asked, by how many, and for how many tenths of a second.
const DAY: &[(&str, usize, usize, u64)] = &[
    ("small", 0, CONNECTIONS, 20),
    ("small", 2000, CONNECTIONS, 20),
    ("page", 0, CONNECTIONS, 7),
    ("zipped", 0, 8, 5),
    ("file", 0, CONNECTIONS, 5),
    ("large_page", 0, 8, 5),
    ("large_file", 0, 8, 3),
];

impl Bench {
    pub(crate) async fn train(&self) {
        for secure in [true, false] {
            let scheme = if secure { "https" } else { "http" };
            let proxy = self
                .gateway(&format!("train {scheme}"), KEYS, KEYS, secure)
                .await;
            for &(path, body, connections, tenths) in DAY {
                let door = Door::of_gateway(proxy.address);
                let mut clients = Clients::connect(door, connections).await;
                let time = [Duration::ZERO, Duration::from_millis(tenths * 100)];
                let mut calls = 0;
                clients
                    .run(Question { path, body }, time, |count| calls = count)
                    .await;
                println!("{scheme} {path} {body}: {calls} calls");
            }
            let mut clients = Clients::connect(self.round_door(&proxy, KEYS), 256).await;
            let small = Question {
                path: "small",
                body: 0,
            };
            clients.ask_all(small, 5000).await;
            println!(
                "{scheme} HTTP/2: {} calls",
                http2(&proxy, Duration::from_secs(1)).await
            );
        }
    }
}

/// Callers who speak HTTP/2 and share a connection.
async fn http2(proxy: &peers::Proxy, time: Duration) -> usize {
    let client = reqwest::Client::builder()
        .http2_prior_knowledge()
        .tls_certs_only([])
        .build()
        .expect("a client");
    let end = Instant::now() + time;
    let mut tasks = Vec::new();
    for number in 0..32 {
        let (client, address) = (client.clone(), proxy.address);
        tasks.push(tokio::task::spawn_local(async move {
            let account = words::account(number);
            let url = format!("http://{address}/{account}/api/data/v9.2/small");
            let mut calls = 0;
            while Instant::now() < end {
                let asked = client
                    .get(&url)
                    .bearer_auth(words::key(number))
                    .header("x-account", number);
                let answer = asked.send().await.expect("an answer");
                assert_eq!(answer.status(), 200);
                answer.bytes().await.expect("a whole answer");
                calls += 1;
            }
            calls
        }));
    }
    let mut calls = 0;
    for task in tasks {
        calls += task.await.unwrap();
    }
    calls
}

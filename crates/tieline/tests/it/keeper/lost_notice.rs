//! Two servers on one PostgreSQL, one of which does not hear of what the other did: its connection
//! for notices is cut again and again.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::{Connection as _, PgConnection};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::keeper::line::{Line, Rules, Server};
use crate::postgres::database;

const CALLERS: usize = 40;
const PATIENCE: Duration = Duration::from_secs(60);

/// Cuts every connection of a database that waits for notices, but those that are spared, until it
/// is dropped.
struct Cutting {
    task: JoinHandle<()>,
    cuts: watch::Receiver<u64>,
}

impl Cutting {
    async fn start(url: &str, spared: &HashSet<i32>) -> Cutting {
        let mut connection = PgConnection::connect(url).await.unwrap();
        let spared: Vec<i32> = spared.iter().copied().collect();
        let (tell, cuts) = watch::channel(0);
        let task = tokio::spawn(async move {
            loop {
                let cut: i64 = sqlx::query_scalar(
                    "SELECT count(*) FROM (SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                     WHERE datname = current_database() AND query LIKE 'LISTEN%' \
                     AND pid <> ALL($1)) AS cut",
                )
                .bind(&spared)
                .fetch_one(&mut connection)
                .await
                .unwrap();
                tell.send_modify(|cuts| *cuts += cut.unsigned_abs());
                tokio::task::yield_now().await;
            }
        });
        Cutting { task, cuts }
    }

    /// Waits until one was cut.
    async fn begun(&mut self) {
        let cut = self.cuts.wait_for(|cuts| *cuts > 0);
        tokio::time::timeout(PATIENCE, cut).await.unwrap().unwrap();
    }
}

impl Drop for Cutting {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The backends that wait for notices; waits until there are so many.
async fn listening(url: &str, count: usize) -> HashSet<i32> {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let until = Instant::now() + PATIENCE;
    loop {
        let pids: Vec<i32> = sqlx::query_scalar(
            "SELECT pid FROM pg_stat_activity \
             WHERE datname = current_database() AND query LIKE 'LISTEN%'",
        )
        .fetch_all(&mut connection)
        .await
        .unwrap();
        if pids.len() == count {
            return pids.into_iter().collect();
        }
        assert!(Instant::now() < until, "{} listen, not {count}", pids.len());
    }
}

fn callers(line: &Arc<Line>, server: &Arc<Server>) -> Vec<JoinHandle<(u16, String)>> {
    let call = |_| {
        let (line, server) = (Arc::clone(line), Arc::clone(server));
        tokio::spawn(async move { line.call(&server).await })
    };
    (0..CALLERS).map(call).collect()
}

async fn all_are_served(callers: Vec<JoinHandle<(u16, String)>>) {
    for caller in callers {
        assert_eq!(caller.await.unwrap(), (200, String::new()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hears_no_notice_reads_again() {
    let url = database().await;
    let line = Arc::new(Line::start(Rules::Strict, Some(url.clone())).await);
    let first = Arc::new(line.serve(0));
    let of_first = listening(&url, 1).await;
    let second = Arc::new(line.serve(1));
    listening(&url, 2).await;
    // Both hold a token before it ends.
    all_are_served(callers(&line, &first)).await;
    all_are_served(callers(&line, &second)).await;
    let mut cutting = Cutting::start(&url, &of_first).await;
    cutting.begun().await;

    // The second one's callers come while the first one renews.
    line.forget().await;
    line.control("/clock", &json!({"move": "2h"})).await;
    let late = json!({
        "kind": "delay", "when": "after", "ms": 2_000, "side": "entra", "path": "/**/token",
    });
    let fault = line.control("/faults", &late).await;
    let of_the_first = callers(&line, &first);
    let until = Instant::now() + PATIENCE;
    while line.struck(&fault).await == 0 {
        assert!(Instant::now() < until, "nobody asks for a token");
    }
    let of_the_second = callers(&line, &second);
    all_are_served(of_the_first).await;
    all_are_served(of_the_second).await;
    assert_eq!(line.renewals().await, [200]);
    line.heal().await;

    // They come when it is over, and their server holds the token that has ended.
    line.forget().await;
    line.control("/clock", &json!({"move": "2h"})).await;
    all_are_served(callers(&line, &first)).await;
    all_are_served(callers(&line, &second)).await;
    assert_eq!(line.renewals().await, [200]);

    // The connection comes back by itself.
    drop(cutting);
    listening(&url, 2).await;
    assert_eq!(line.account()["state"], "connected");
}

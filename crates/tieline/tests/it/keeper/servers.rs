//! Two and three servers on one PostgreSQL, and callers of all of them at once, when no token is
//! good any more. `chaos/` does the same with thousands.

use std::sync::Arc;

use serde_json::json;

use crate::keeper::line::{Line, Rules, Server};
use crate::postgres::database;

/// Callers of each server.
const CALLERS: usize = 60;
const EXPIRIES: usize = 4;

/// Everybody calls at once.
async fn all_call(line: &Arc<Line>, servers: &[Arc<Server>]) {
    let mut callers = Vec::new();
    for server in servers {
        for _ in 0..CALLERS {
            let (line, server) = (Arc::clone(line), Arc::clone(server));
            callers.push(tokio::spawn(async move { line.call(&server).await }));
        }
    }
    for caller in callers {
        assert_eq!(caller.await.unwrap(), (200, String::new()));
    }
}

/// The first call, and each call after the sandbox's clock has gone past the end of all tokens,
/// takes exactly one renewal, whoever is quicker. A second one would present a refresh token that
/// was used, and end them all.
async fn one_renewal_for_each_expiry(count: usize) {
    let line = Arc::new(Line::start(Rules::Strict, Some(database().await)).await);
    // The servers' own schedule may be quicker than the first caller.
    line.forget().await;
    let servers = (0..count).map(|number| Arc::new(line.serve(number)));
    let servers: Vec<Arc<Server>> = servers.collect();
    for expiry in 0..EXPIRIES {
        all_call(&line, &servers).await;
        assert_eq!(line.renewals().await, [200], "expiry {expiry}");
        line.forget().await;
        line.control("/clock", &json!({"move": "2h"})).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_renew_once_for_each_expiry() {
    one_renewal_for_each_expiry(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_servers_renew_once_for_each_expiry() {
    one_renewal_for_each_expiry(3).await;
}

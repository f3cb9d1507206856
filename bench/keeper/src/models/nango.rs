//! Nango at 2f4c0af (2026-08-21), `packages/shared/lib/services/connections/credentials/refresh.ts`
//! and `packages/kvstore/lib/Locking.ts`: callers of one process share one refresh. It takes a lock
//! of ten seconds, tried for twelve, every fifty milliseconds; reads again; refreshes; stores; and
//! deletes the lock, whoever holds it by then. Who does not get the lock reads once more and then
//! fails. After a failure the connection is refused for thirty seconds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared as SharedFuture};
use tokio::time::Instant;

use super::lock::{Release, owner};
use super::{Model, Shared};

const LOCK_TTL: Duration = Duration::from_secs(10);
const ACQUISITION_TIMEOUT: Duration = Duration::from_secs(12);
const RETRY_PERIOD: Duration = Duration::from_millis(50);
const COOLDOWN: Duration = Duration::from_secs(30);

type Refresh = SharedFuture<BoxFuture<'static, Result<String, String>>>;

/// The refreshes of this process that are under way.
pub type InFlight = Mutex<HashMap<String, Refresh>>;

pub(super) async fn token(model: &Arc<Model>, account: &str) -> Result<String, String> {
    let stored = model.shared.load(account).await?;
    if stored.failed_at.is_some_and(|at| at.elapsed() < COOLDOWN) {
        return Err("connection_refresh_backoff".to_owned());
    }
    let refresh = {
        let mut all = model.nango.lock().unwrap_or_else(PoisonError::into_inner);
        let start = || start(Arc::clone(model), account.to_owned());
        all.entry(account.to_owned()).or_insert_with(start).clone()
    };
    let result = refresh.await;
    if result.is_err() {
        model.shared.note_failure(account).await;
    }
    result
}

fn start(model: Arc<Model>, account: String) -> Refresh {
    async move {
        let result = execute(&model.shared, &account).await;
        model
            .nango
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&account);
        result
    }
    .boxed()
    .shared()
}

async fn execute(shared: &Shared, account: &str) -> Result<String, String> {
    let (key, owner) = (format!("lock:refresh:{account}"), owner());
    let give_up = Instant::now() + ACQUISITION_TIMEOUT;
    let mut locked = false;
    while Instant::now() < give_up {
        locked = shared.try_lock(&key, owner, LOCK_TTL).await;
        if locked {
            break;
        }
        tokio::time::sleep(RETRY_PERIOD).await;
    }
    let result = refresh(shared, account, locked).await;
    if locked {
        shared.unlock(&key, owner, Release::Whoever).await;
    }
    result
}

async fn refresh(shared: &Shared, account: &str, locked: bool) -> Result<String, String> {
    let stored = shared.load(account).await?;
    if stored.is_fresh() {
        return Ok(stored.access_token);
    }
    if !locked {
        return Err("acquiring the lock timed out".to_owned());
    }
    let new = shared.refresh(&stored.refresh_token).await?;
    let token = new.access_token.clone();
    shared.save(account, new).await;
    Ok(token)
}

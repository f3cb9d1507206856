//! oauth2-proxy at 14af295 (2026-07-30), `pkg/middleware/stored_session.go`: who finds an old
//! session tries for a lock of two seconds, every ten milliseconds, for five seconds; with the lock
//! it reads again, refreshes and saves. The lock is not extended while the refresh runs.
//!
//! Any error on that way, the time-out of the lock included, ends in `loadSession`, which clears
//! the session; `invalid_grant` and `invalid_client` clear it at once.

use std::time::Duration;

use super::lock::{Release, owner};
use super::{Shared, Stored};
use tokio::time::Instant;

const OBTAIN_TIMEOUT: Duration = Duration::from_secs(5);
const LOCK_DURATION: Duration = Duration::from_secs(2);
const RETRY_PERIOD: Duration = Duration::from_millis(10);

pub(super) async fn token(shared: &Shared, account: &str) -> Result<String, String> {
    let stored = shared.load(account).await?;
    if stored.is_fresh() {
        return Ok(stored.access_token);
    }
    let refreshed = locked(shared, account).await;
    if refreshed.is_err() {
        shared.clear(account).await;
    }
    refreshed.map(|stored| stored.access_token)
}

async fn locked(shared: &Shared, account: &str) -> Result<Stored, String> {
    let (key, owner) = (format!("{account}.lock"), owner());
    let give_up = Instant::now() + OBTAIN_TIMEOUT;
    while !shared.try_lock(&key, owner, LOCK_DURATION).await {
        if Instant::now() >= give_up {
            return Err("timeout obtaining session lock".to_owned());
        }
        tokio::time::sleep(RETRY_PERIOD).await;
    }
    let refreshed = under_lock(shared, account).await;
    shared.unlock(&key, owner, Release::OwnOnly).await;
    refreshed
}

async fn under_lock(shared: &Shared, account: &str) -> Result<Stored, String> {
    let stored = shared.load(account).await?;
    if stored.is_fresh() {
        return Ok(stored);
    }
    // Whatever the failure, the old session has expired and does not validate.
    let new = shared.refresh(&stored.refresh_token).await?;
    shared.save(account, new.clone()).await;
    Ok(new)
}

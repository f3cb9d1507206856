//! A lock in a shared store that ends by itself: Redis' `SET key value NX PX ttl`.

use std::sync::PoisonError;
use std::time::Duration;

use super::{ROUND_TRIP, Shared};
use tokio::time::Instant;

/// Who holds it, and until when.
pub struct Held {
    owner: u64,
    until: Instant,
}

/// Who may give a lock back.
pub(super) enum Release {
    /// Whoever holds it: `redislock` compares the value that was set.
    OwnOnly,
    /// Anybody: a plain `DEL`.
    Whoever,
}

impl Shared {
    /// Takes a lock, if it is free or has ended.
    pub(super) async fn try_lock(&self, key: &str, owner: u64, life: Duration) -> bool {
        tokio::time::sleep(ROUND_TRIP).await;
        let now = Instant::now();
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        match locks.get(key) {
            Some(held) if held.until > now => false,
            _ => {
                let until = now + life;
                locks.insert(key.to_owned(), Held { owner, until });
                true
            }
        }
    }

    /// Gives a lock back.
    pub(super) async fn unlock(&self, key: &str, owner: u64, release: Release) {
        tokio::time::sleep(ROUND_TRIP).await;
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = locks.get(key).is_some_and(|held| held.owner == owner);
        if ours || matches!(release, Release::Whoever) {
            locks.remove(key);
        }
    }
}

/// A number that names a holder.
pub(super) fn owner() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

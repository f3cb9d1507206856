//! Freed memory goes back to the operating system.
//!
//! mimalloc keeps pages that became free for a second, in case they are wanted again, and looks
//! whether that second is over when it frees a page or when a thread ends. A server that has
//! become quiet does neither, and would keep what a gust of calls or the hash of a password took
//! (20 MB by itself) for as long as nothing happens. Its own function for this, `mi_collect`,
//! cannot be called without `unsafe`; a thread that ends does the same.

use std::hint::black_box;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// mimalloc's own patience is a second. A thread takes some 30 µs.
const EVERY: Duration = Duration::from_secs(1);

/// Gives back what was freed, until it is told to stop.
pub(crate) async fn give_back(stop: CancellationToken) {
    let mut beat = tokio::time::interval(EVERY);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(beat.tick()).await.is_some() {
        let thread = std::thread::Builder::new().name("memory".to_owned());
        // A thread takes part once it has allocated. Where none can be had there is worse to do.
        let _ = thread.spawn(|| drop(black_box(Box::new(0_u8))));
    }
}

//! Spawns what HTTP/2 spawns on the worker's own thread.

use std::future::Future;

/// The executor of one worker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Local;

impl<F> hyper::rt::Executor<F> for Local
where
    F: Future + 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

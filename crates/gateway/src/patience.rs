//! Long limits that cost next to nothing while they are kept: the worker's beat looks at them once
//! a second. A timer of the runtime for each call would be put into its wheel and taken out again.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

/// Who waits, on one worker.
#[derive(Debug)]
pub(crate) struct Patience {
    now: Rc<Cell<u32>>,
    waits: RefCell<Waits>,
}

#[derive(Debug, Default)]
struct Waits {
    all: Vec<Option<(u32, Waker)>>,
    free: Vec<usize>,
}

impl Patience {
    /// Counts by the worker's seconds.
    pub(crate) fn new(now: Rc<Cell<u32>>) -> Self {
        Self {
            now,
            waits: RefCell::default(),
        }
    }

    /// Wakes whose time is over.
    pub(crate) fn sweep(&self) {
        let now = self.now.get();
        let over = |wait: &&(u32, Waker)| wait.0 <= now;
        for (_, waker) in self.waits.borrow().all.iter().flatten().filter(over) {
            waker.wake_by_ref();
        }
    }

    /// Waits for a result, but no longer than `limit` and a beat. None when it was too long.
    pub(crate) async fn within<T>(
        &self,
        limit: Duration,
        result: impl Future<Output = T>,
    ) -> Option<T> {
        let mut result = pin!(result);
        let mut wait: Option<Wait<'_>> = None;
        std::future::poll_fn(|context| {
            if let Poll::Ready(result) = result.as_mut().poll(context) {
                return Poll::Ready(Some(result));
            }
            let wait = wait.get_or_insert_with(|| self.begin(limit, context.waker()));
            if self.now.get() >= wait.deadline {
                return Poll::Ready(None);
            }
            Poll::Pending
        })
        .await
    }

    fn begin(&self, limit: Duration, waker: &Waker) -> Wait<'_> {
        let seconds = u32::try_from(limit.as_secs()).unwrap_or(u32::MAX);
        // The present second has begun already.
        let deadline = self.now.get().saturating_add(seconds).saturating_add(1);
        let mut waits = self.waits.borrow_mut();
        let entry = Some((deadline, waker.clone()));
        let place = match waits.free.pop() {
            Some(place) => {
                waits.all[place] = entry;
                place
            }
            None => {
                waits.all.push(entry);
                waits.all.len() - 1
            }
        };
        Wait {
            patience: self,
            place,
            deadline,
        }
    }
}

/// A wait under way; it is forgotten when this is dropped. A call stays in the task that it began
/// in, so its waker is always the same.
struct Wait<'a> {
    patience: &'a Patience,
    place: usize,
    deadline: u32,
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let mut waits = self.patience.waits.borrow_mut();
        waits.all[self.place] = None;
        waits.free.push(self.place);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Wake};

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn who_waits_too_long_is_woken_and_told() {
        let now = Rc::new(Cell::new(7));
        let patience = Patience::new(Rc::clone(&now));
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        {
            let never = std::future::pending::<()>();
            let mut waiting = pin!(patience.within(Duration::from_secs(2), never));
            assert!(waiting.as_mut().poll(&mut context).is_pending());
            now.set(9);
            patience.sweep();
            assert_eq!(woken.0.load(Ordering::Relaxed), 0);
            now.set(10);
            patience.sweep();
            assert_eq!(woken.0.load(Ordering::Relaxed), 1);
            assert_eq!(waiting.as_mut().poll(&mut context), Poll::Ready(None));
        }
        patience.sweep();
        assert_eq!(woken.0.load(Ordering::Relaxed), 1, "it is forgotten");
        let mut ready = pin!(patience.within(Duration::ZERO, std::future::ready(3)));
        assert_eq!(ready.as_mut().poll(&mut context), Poll::Ready(Some(3)));
    }
}

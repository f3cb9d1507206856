//! What was spent in the last five minutes, by the second and by class.
//!
//! A call counts from the moment of its answer: Microsoft counted it when it came, which was
//! earlier, so that what has left this window has surely left theirs. Seconds without calls take
//! no memory.

use std::collections::VecDeque;

use super::{Class, Micros, SECOND};

/// Calls and their time of execution.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Spent {
    pub(super) requests: u64,
    pub(super) busy: Micros,
}

impl Spent {
    fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.busy += other.busy;
    }

    fn subtract(&mut self, other: Self) {
        self.requests = self.requests.saturating_sub(other.requests);
        self.busy = self.busy.saturating_sub(other.busy);
    }
}

/// What calls of one class spent in one second. There can be hundreds of these for each account,
/// and most seconds have calls of one class only.
#[derive(Debug)]
struct Bucket {
    /// Since the clock's beginning, of which it counts more than a hundred years.
    second: u32,
    /// A number of calls and their class, which is the lowest bit: one class makes no more than
    /// two thousand millions of calls in a second.
    calls: u32,
    busy: Micros,
}

impl Bucket {
    fn new(second: u32, class: Class) -> Self {
        Self {
            second,
            calls: u32::from(class == Class::Bulk),
            busy: 0,
        }
    }

    fn class(&self) -> Class {
        match self.calls & 1 {
            0 => Class::Interactive,
            _ => Class::Bulk,
        }
    }

    fn spent(&self) -> Spent {
        Spent {
            requests: u64::from(self.calls >> 1),
            busy: self.busy,
        }
    }

    /// When the last of it leaves a window of this length.
    fn leaves(&self, length: Micros) -> Micros {
        (u64::from(self.second) + 1) * SECOND + length
    }

    fn add(&mut self, spent: Spent) {
        let requests = u32::try_from(spent.requests).unwrap_or(u32::MAX >> 1);
        self.calls = self.calls.saturating_add(requests << 1);
        self.busy += spent.busy;
    }
}

/// A sliding window. How long it is says whoever asks: that is a setting, and every account has a
/// window for each web server.
#[derive(Debug, Default)]
pub(super) struct Window {
    buckets: VecDeque<Bucket>,
    sums: [Spent; 2],
}

impl Window {
    pub(super) fn add(&mut self, length: Micros, now: Micros, class: Class, spent: Spent) {
        self.advance(length, now);
        let second = u32::try_from(now / SECOND).unwrap_or(u32::MAX);
        // Answers are counted under one lock and one clock: no second comes after a later one.
        let latest = self.buckets.iter_mut().rev().take(2);
        let mut of_now = latest.take_while(|bucket| bucket.second >= second);
        match of_now.find(|bucket| bucket.class() == class) {
            Some(bucket) => bucket.add(spent),
            None => {
                let mut bucket = Bucket::new(second, class);
                bucket.add(spent);
                self.buckets.push_back(bucket);
            }
        }
        self.sums[class.index()].add(spent);
    }

    /// Forgets what has left.
    pub(super) fn advance(&mut self, length: Micros, now: Micros) {
        while let Some(first) = self.buckets.front() {
            if first.leaves(length) > now {
                break;
            }
            self.sums[first.class().index()].subtract(first.spent());
            self.buckets.pop_front();
        }
    }

    /// What a class has spent, as of the last [`Window::advance`].
    pub(super) fn of(&self, class: Class) -> Spent {
        self.sums[class.index()]
    }

    pub(super) fn all(&self) -> Spent {
        let mut all = self.sums[0];
        all.add(self.sums[1]);
        all
    }

    /// When so much of a sum will have left; none when there is less than that in it.
    pub(super) fn frees(
        &self,
        length: Micros,
        needed: u64,
        of: impl Fn(Spent) -> u64,
    ) -> Option<Micros> {
        let mut freed = 0;
        for bucket in &self.buckets {
            freed += of(bucket.spent());
            if freed >= needed {
                return Some(bucket.leaves(length));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Micros = 300 * SECOND;
    const ONE: Spent = Spent {
        requests: 1,
        busy: 500_000,
    };

    #[test]
    fn what_was_spent_leaves_after_the_window_and_not_before() {
        let mut window = Window::default();
        window.add(LONG, 10 * SECOND, Class::Bulk, ONE);
        window.add(LONG, 20 * SECOND + 1, Class::Interactive, ONE);
        window.advance(LONG, 310 * SECOND);
        assert_eq!(window.all().requests, 2);
        window.advance(LONG, 311 * SECOND);
        assert_eq!(window.of(Class::Bulk), Spent::default());
        assert_eq!(window.all(), ONE);
        assert_eq!(
            window.frees(LONG, 1, |spent| spent.requests),
            Some(321 * SECOND)
        );
        assert_eq!(window.frees(LONG, 2, |spent| spent.requests), None);
        window.advance(LONG, 321 * SECOND);
        assert_eq!(window.all(), Spent::default());
        assert!(window.buckets.is_empty());
    }
}

//! What the database decides in SQL, once more as a function: the lease, the mark, and the
//! conditions under which a result is taken.

use tieline_store::{LeasePurpose, MarkAfter};

/// What an account's row holds, as far as the fences go. `O` names attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Ledger<O> {
    /// Counts renewals.
    pub(super) generation: i64,
    /// Whose lease stands; none when it has lapsed.
    pub(super) lease: Option<O>,
    /// Who sent the refresh token of this generation.
    pub(super) mark: Option<O>,
}

impl<O: Copy + PartialEq> Ledger<O> {
    /// `Store::token_lease`: only on the row as it was read, and only while no lease stands.
    pub(super) fn take(&mut self, owner: O, seen: &Ledger<O>, purpose: LeasePurpose) -> bool {
        let taken =
            self.lease.is_none() && self.generation == seen.generation && self.mark == seen.mark;
        if taken {
            self.lease = Some(owner);
            if purpose == LeasePurpose::Spend {
                self.mark = Some(owner);
            }
        }
        taken
    }

    /// `Store::token_lease_release`.
    pub(super) fn release(&mut self, owner: O) {
        self.lease.take_if(|lease| *lease == owner);
        self.mark.take_if(|mark| *mark == owner);
    }

    /// The condition of `Store::token_renewed` and `Store::token_failed`.
    pub(super) fn accepts(&self, owner: O, seen: i64) -> bool {
        self.generation == seen && (self.lease == Some(owner) || self.mark == Some(owner))
    }

    /// `Store::token_renewed`.
    pub(super) fn renewed(&mut self, owner: O, seen: i64) -> bool {
        let stored = self.accepts(owner, seen);
        if stored {
            self.generation += 1;
            self.lease = None;
            self.mark = None;
        }
        stored
    }

    /// `Store::token_failed`.
    pub(super) fn failed(&mut self, owner: O, seen: i64, mark: MarkAfter) -> bool {
        let stored = self.accepts(owner, seen);
        if stored {
            if self.lease == Some(owner) {
                self.lease = None;
            }
            if mark == MarkAfter::Clear && self.mark == Some(owner) {
                self.mark = None;
            }
        }
        stored
    }
}

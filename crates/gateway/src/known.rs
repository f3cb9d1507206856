//! The ends of recent calls: callers come back by the same address, and how addresses are turned
//! is made anew with new ends.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use foldhash::fast::RandomState;
use tieline_app::Line;
use tieline_core::AccountId;

use crate::address::Ends;

/// So many accounts are remembered.
const MAX: usize = 1024;
/// So many calls of other accounts are served without being remembered; then all are forgotten, so
/// that those come in which are used now. To forget at once would remember nothing where accounts
/// take turns, and would cost each of them what it takes to be remembered.
const STRANGERS: usize = 8 * MAX;

/// What was made for earlier calls of a worker: for each account the last one.
#[derive(Debug, Default)]
pub(crate) struct Known {
    entries: RefCell<HashMap<AccountId, Entry, RandomState>>,
    strangers: Cell<usize>,
}

/// What the ends of a call are made of.
pub(crate) struct Way<'a> {
    pub(crate) line: &'a Arc<Line>,
    pub(crate) scheme: &'static str,
    /// The scheme that a proxy in front was called by.
    pub(crate) forwarded: Option<&'static str>,
    /// Host and port as the caller named them.
    pub(crate) authority: &'a str,
    pub(crate) prefix: &'a str,
}

#[derive(Debug)]
struct Entry {
    line: Arc<Line>,
    scheme: &'static str,
    forwarded: Option<&'static str>,
    authority: String,
    prefix: String,
    ends: Rc<Ends>,
}

impl Known {
    pub(crate) fn ends(&self, way: &Way<'_>, make: impl FnOnce() -> Ends) -> Rc<Ends> {
        let mut known = self.entries.borrow_mut();
        let held = known.get(&way.line.account_id);
        if let Some(entry) = held.filter(|entry| entry.is(way)) {
            return Rc::clone(&entry.ends);
        }
        let ends = Rc::new(make());
        if held.is_none() && known.len() >= MAX {
            self.strangers.set(self.strangers.get() + 1);
            if self.strangers.get() < STRANGERS {
                return ends;
            }
            self.strangers.set(0);
            known.clear();
        }
        let entry = Entry {
            line: Arc::clone(way.line),
            scheme: way.scheme,
            forwarded: way.forwarded,
            authority: way.authority.to_owned(),
            prefix: way.prefix.to_owned(),
            ends: Rc::clone(&ends),
        };
        known.insert(way.line.account_id, entry);
        ends
    }
}

impl Entry {
    /// An account that changed has another line.
    fn is(&self, way: &Way<'_>) -> bool {
        Arc::ptr_eq(&self.line, way.line)
            && self.scheme == way.scheme
            && self.forwarded == way.forwarded
            && self.authority == way.authority
            && self.prefix == way.prefix
    }
}

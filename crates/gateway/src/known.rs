//! The ends of recent calls: callers come back by the same address, and how addresses are turned
//! is made anew with new ends.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use foldhash::fast::RandomState;
use tieline_app::{Line, Organization};
use tieline_core::AccountId;

use crate::address::{Ends, Here, Spelling};

/// So many accounts are remembered.
const MAX: usize = 1024;
/// So many calls of other accounts are served without being remembered; then all are forgotten, so
/// that those come in which are used now. To forget at once would remember nothing where accounts
/// take turns, and would cost each of them what it takes to be remembered.
const STRANGERS: usize = 8 * MAX;

/// So many organizations are remembered.
const ORGANIZATIONS: usize = 256;

/// What was made for earlier calls of a worker: for each account the last one.
#[derive(Debug, Default)]
pub(crate) struct Known {
    entries: RefCell<HashMap<AccountId, Entry, RandomState>>,
    strangers: Cell<usize>,
    /// By what callers call it: hardly more than one, or one for each account, where host names
    /// name accounts.
    called: RefCell<HashMap<Box<str>, Rc<Called>, RandomState>>,
    /// By origin and front.
    spellings: RefCell<HashMap<Box<str>, Arc<Spelling>, RandomState>>,
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
    called: Rc<Called>,
    prefix: Box<str>,
    ends: Rc<Ends>,
}

/// How the gateway was called.
#[derive(Debug)]
struct Called {
    scheme: &'static str,
    forwarded: Option<&'static str>,
    authority: Box<str>,
    here: Rc<Here>,
}

impl Known {
    pub(crate) fn ends(&self, way: &Way<'_>, make: impl FnOnce() -> Here) -> Rc<Ends> {
        let mut known = self.entries.borrow_mut();
        let held = known.get(&way.line.account_id);
        if let Some(entry) = held.filter(|entry| entry.is(way)) {
            return Rc::clone(&entry.ends);
        }
        let called = self.called(way, make);
        let (line, here) = (Arc::clone(way.line), Rc::clone(&called.here));
        let ends = Ends::new(line, here, way.prefix, self.spelling(way.line));
        let ends = Rc::new(ends);
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
            called,
            prefix: way.prefix.into(),
            ends: Rc::clone(&ends),
        };
        known.insert(way.line.account_id, entry);
        ends
    }

    fn called(&self, way: &Way<'_>, make: impl FnOnce() -> Here) -> Rc<Called> {
        let mut all = self.called.borrow_mut();
        if let Some(called) = all.get(way.authority).filter(|called| called.is(way)) {
            return Rc::clone(called);
        }
        // Anybody may name any host.
        if all.len() >= MAX {
            all.clear();
        }
        let called = Rc::new(Called {
            scheme: way.scheme,
            forwarded: way.forwarded,
            authority: way.authority.into(),
            here: Rc::new(make()),
        });
        all.insert(way.authority.into(), Rc::clone(&called));
        called
    }

    fn spelling(&self, organization: &Organization) -> Arc<Spelling> {
        let mut spellings = self.spellings.borrow_mut();
        if let Some(spelling) = spellings.get(organization.there.as_str()) {
            return Arc::clone(spelling);
        }
        if spellings.len() >= ORGANIZATIONS {
            spellings.clear();
        }
        let spelling = Arc::new(Spelling::of(organization));
        let there = organization.there.as_str().into();
        spellings.insert(there, Arc::clone(&spelling));
        spelling
    }
}

impl Called {
    fn is(&self, way: &Way<'_>) -> bool {
        self.scheme == way.scheme
            && self.forwarded == way.forwarded
            && *self.authority == *way.authority
    }
}

impl Entry {
    /// An account that changed has another line.
    fn is(&self, way: &Way<'_>) -> bool {
        Arc::ptr_eq(&self.line, way.line) && self.called.is(way) && *self.prefix == *way.prefix
    }
}

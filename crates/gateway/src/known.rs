//! The ends of recent calls. Making them for each call costs as much as parsing its head; callers
//! come back by the same address.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use foldhash::fast::RandomState;
use tieline_app::Line;
use tieline_core::AccountId;

use crate::address::Ends;

/// So many accounts are remembered; then all are forgotten, which costs less than keeping an order.
const MAX: usize = 1024;

/// What was made for earlier calls of a worker: for each account the last one.
#[derive(Debug, Default)]
pub(crate) struct Known(RefCell<HashMap<AccountId, Entry, RandomState>>);

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
        let mut known = self.0.borrow_mut();
        if let Some(entry) = known.get(&way.line.account_id)
            && entry.is(way)
        {
            return Rc::clone(&entry.ends);
        }
        let ends = Rc::new(make());
        if known.len() >= MAX {
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

//! Misbehaviour on demand: what goes wrong, for whom, and for how long.
//!
//! `fault` says what a fault is and reads it, `registry` keeps those that are armed and decides
//! which of them a request meets, `caller` finds out whose request it is, `answers` has the wrong
//! answers, and `layer` stands in front of everything and hands them out.

mod answers;
mod caller;
mod codes;
mod fault;
mod glob;
mod layer;
mod registry;

pub(crate) use caller::Seen;
pub(crate) use fault::{Fault, Side, Target};
pub(crate) use layer::{Pause, or_dropped, rehearse};
pub(crate) use registry::Faults;

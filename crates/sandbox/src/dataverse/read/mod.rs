//! Reading rows: what is wanted of them, getting it, and showing it as JSON.

mod changes;
mod collection;
mod cookie;
mod expand;
mod formatted;
mod present;
mod rows;
mod shape;
mod single;

pub(crate) use collection::references;
pub(crate) use collection::{Parent, count, many};
pub(crate) use cookie::Cookie;
pub(crate) use formatted::{formatted, grouped};
pub(crate) use present::{Annotations, Presenter, json_value};
pub(crate) use shape::Shape;
pub(crate) use single::{Raw, followed, must_exist, one, property, reference, representation};

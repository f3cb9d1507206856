//! Writing rows: what a body says, what the platform adds, and what may be done.
//!
//! A request is read in [`requests`]; everything else here works on rows and is called by bulk
//! messages, actions and batches as well. Nothing commits: whoever opened the transaction does.

mod activity;
mod calculated;
mod change;
mod create;
mod duplicates;
mod fault;
mod key;
mod links;
mod money;
mod numbers;
mod owner;
mod parties;
mod payload;
mod reference;
mod remove;
mod requests;
mod rights;
mod state;
mod value;

pub(crate) use activity::shadow_activity;
pub(crate) use change::{Upserted, update_from, upsert_from};
pub(crate) use create::{create_from, furnish};
pub(crate) use duplicates::duplicates_of;
pub(crate) use key::Key;
pub(crate) use links::{attach, detach};
pub(crate) use reference::resolve_reference;
pub(crate) use remove::delete_row;
pub(crate) use requests::{
    clear_property, create, delete, link, link_single, replace_parties, set_property, unlink,
    unlink_named, unlink_single, upsert,
};

//! One suite for both databases: every test is a function over a [`Database`], run once on SQLite
//! and once on PostgreSQL. Whatever differs between the two is a bug of the store.
//!
//! PostgreSQL is reached by `TIELINE_TEST_POSTGRES`; each test makes a database of its own there.

#[macro_use]
mod support;

mod accounts;
mod changes;
mod company;
mod consents;
mod consumers;
mod credentials;
mod drafts;
mod history;
mod interruption;
mod limits;
mod notices;
mod opening;
mod people;
mod races;
mod secrets;
mod tokens;

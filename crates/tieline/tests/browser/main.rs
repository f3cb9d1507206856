//! The console in a real browser: the whole way of a newcomer, in English and in Japanese.
#![expect(clippy::unwrap_used, reason = "a panic in a test is the report")]

mod chrome;
mod console;
#[expect(
    dead_code,
    reason = "shared with the other black-box tests, which use the rest"
)]
#[path = "../it/test_app.rs"]
mod test_app;
mod walk;
mod without_script;

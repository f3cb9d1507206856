//! The console in a real browser: the whole way of a newcomer, in English and in Japanese; and pages
//! of others that call the gateway.
#![expect(clippy::unwrap_used, reason = "a panic in a test is the report")]

mod chrome;
mod console;
#[expect(
    dead_code,
    reason = "shared with the other black-box tests, which use the rest"
)]
#[path = "../it/line.rs"]
mod line;
mod page;
#[expect(
    dead_code,
    reason = "shared with the other black-box tests, which use the rest"
)]
#[path = "../it/test_app.rs"]
mod test_app;
#[expect(
    dead_code,
    reason = "shared with the other black-box tests, which use the rest"
)]
#[path = "../it/upstream.rs"]
mod upstream;
mod walk;
mod without_script;

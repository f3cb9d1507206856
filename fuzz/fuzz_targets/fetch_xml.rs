#![no_main]
//! FetchXML, from its text to the rows that SQLite gives.

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tieline_sandbox::fuzzing::Rows;

static ROWS: LazyLock<Rows> = LazyLock::new(Rows::new);

fuzz_target!(|xml: &str| {
    assert_ne!(ROWS.fetch_xml(xml), 500, "{xml}");
});

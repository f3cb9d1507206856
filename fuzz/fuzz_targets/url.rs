#![no_main]
//! Path and query of a request, as they come off the wire.

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tieline_sandbox::fuzzing::Rows;

static ROWS: LazyLock<Rows> = LazyLock::new(Rows::new);

fuzz_target!(|target: &str| {
    assert_ne!(ROWS.get(target), 500, "{target}");
});

#![no_main]
//! A `$batch` body, its parts and what they do. The boundary is `b`.

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tieline_sandbox::fuzzing::Rows;

static ROWS: LazyLock<Rows> = LazyLock::new(Rows::new);

fuzz_target!(|body: &[u8]| {
    assert_ne!(ROWS.batch(body), 500);
});

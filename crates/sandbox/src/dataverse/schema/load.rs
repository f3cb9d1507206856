//! Reads the standard tables once per process.

use std::sync::{Arc, OnceLock};

use super::build;
use super::model::Schema;
use super::raw::RawSchema;

/// The files, in the order in which their tables stand.
const FILES: [(&str, &str); 7] = [
    ("groups.json", include_str!("../../../schema/groups.json")),
    ("people.json", include_str!("../../../schema/people.json")),
    (
        "customers.json",
        include_str!("../../../schema/customers.json"),
    ),
    (
        "activities.json",
        include_str!("../../../schema/activities.json"),
    ),
    ("sales.json", include_str!("../../../schema/sales.json")),
    ("service.json", include_str!("../../../schema/service.json")),
    (
        "platform.json",
        include_str!("../../../schema/platform.json"),
    ),
];

static RAW: OnceLock<RawSchema> = OnceLock::new();
static STANDARD: OnceLock<Arc<Schema>> = OnceLock::new();

/// The files read as one.
pub(super) fn read() -> Result<RawSchema, String> {
    let mut all = RawSchema::default();
    for (name, text) in FILES {
        let one: RawSchema =
            serde_json::from_str(text).map_err(|error| format!("schema/{name}: {error}"))?;
        all.extend(one);
    }
    Ok(all)
}

/// The files read as one, parsed at the first call.
pub(super) fn raw() -> &'static RawSchema {
    // The files are part of the program, and a test proves that they can be read.
    RAW.get_or_init(|| read().unwrap_or_default())
}

impl Schema {
    /// The standard tables, built at the first call.
    pub(crate) fn standard() -> Arc<Schema> {
        let built = STANDARD.get_or_init(|| {
            // As above: a test proves that the standard tables fit together.
            Arc::new(build::build(raw()).unwrap_or_else(|_| Schema::empty()))
        });
        Arc::clone(built)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_read_and_fit_together() {
        let raw = read().expect("files that can be read");
        let schema = build::build(&raw).expect("tables that fit together");
        assert_eq!(schema.tables.len(), Schema::standard().tables.len());
        assert!(schema.tables.len() > 90, "{}", schema.tables.len());
    }
}

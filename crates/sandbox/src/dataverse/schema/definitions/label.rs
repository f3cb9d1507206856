//! Labels, managed properties and other small parts of definitions.

use serde_json::{Map, Value, json};

use super::super::model::Schema;

/// When everything that is standard was made, as the platform says it.
pub(super) const MADE: &str = "1900-01-01T00:00:00Z";
pub(super) const STANDARD_VERSION: &str = "5.0.0.0";
pub(super) const CUSTOM_VERSION: &str = "1.0.0.0";

/// Where a definition came from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Standard,
    Custom,
}

impl Origin {
    pub(super) fn of(custom: bool) -> Self {
        if custom { Self::Custom } else { Self::Standard }
    }

    pub(super) fn managed(self) -> bool {
        self == Self::Standard
    }

    pub(super) fn version(self) -> &'static str {
        match self {
            Self::Standard => STANDARD_VERSION,
            Self::Custom => CUSTOM_VERSION,
        }
    }
}

/// A text in the one language that the sandbox has; `path` gives it a stable identifier.
pub(super) fn label(path: &str, text: &str, origin: Origin) -> Value {
    if text.is_empty() {
        return json!({"LocalizedLabels": [], "UserLocalizedLabel": null});
    }
    let one = json!({
        "Label": text,
        "LanguageCode": 1033,
        "IsManaged": origin.managed(),
        "MetadataId": Schema::metadata_id(&format!("label/{path}")),
        "HasChanged": null,
    });
    json!({"LocalizedLabels": [one], "UserLocalizedLabel": one})
}

/// A value with whether solutions may change it.
pub(super) fn managed(value: bool, property: &str) -> Value {
    json!({"Value": value, "CanBeChanged": true, "ManagedPropertyLogicalName": property})
}

/// Adds members.
pub(super) fn put<const N: usize>(members: &mut Map<String, Value>, more: [(&str, Value); N]) {
    for (name, value) in more {
        members.insert(name.to_owned(), value);
    }
}

/// Adds several members of one value.
pub(super) fn put_all(members: &mut Map<String, Value>, names: &[&str], value: &Value) {
    for name in names {
        members.insert((*name).to_owned(), value.clone());
    }
}

//! The list of entity sets at the root of the Web API.

use serde_json::{Value, json};

use super::model::Schema;

/// Sets of definitions, which stand beside those of the tables.
pub(super) const DEFINITION_SETS: [(&str, &str); 3] = [
    ("EntityDefinitions", "EntityMetadata"),
    ("RelationshipDefinitions", "RelationshipMetadataBase"),
    ("GlobalOptionSetDefinitions", "OptionSetMetadataBase"),
];

/// The service document; `root` is the address of the API with its version and a slash at the end.
pub(crate) fn service_document(schema: &Schema, root: &str) -> Value {
    let tables = schema.tables.iter().map(|table| table.set.as_str());
    let definitions = DEFINITION_SETS.iter().map(|(set, _)| *set);
    let mut names: Vec<&str> = tables.chain(definitions).collect();
    names.sort_unstable();
    let sets: Vec<Value> = names
        .into_iter()
        .map(|name| json!({"name": name, "kind": "EntitySet", "url": name}))
        .collect();
    json!({"@odata.context": format!("{root}$metadata"), "value": sets})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_is_listed() {
        let schema = Schema::standard();
        let document = service_document(&schema, "https://x/api/data/v9.2/");
        assert_eq!(
            document["@odata.context"],
            "https://x/api/data/v9.2/$metadata"
        );
        let sets = document["value"].as_array().expect("sets");
        assert_eq!(sets.len(), schema.tables.len() + DEFINITION_SETS.len());
        let contacts = json!({"name": "contacts", "kind": "EntitySet", "url": "contacts"});
        assert!(sets.contains(&contacts));
    }
}

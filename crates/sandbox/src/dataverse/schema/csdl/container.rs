//! The entity container: sets with what their navigation properties lead to, and imports.

use std::collections::BTreeMap;

use super::super::model::{Schema, Table};
use super::super::service_document::DEFINITION_SETS;
use super::super::vocabulary::Vocabulary;
use super::Xml;

pub(super) fn write(xml: &mut Xml, schema: &Schema, vocabulary: &Vocabulary) {
    xml.open("EntityContainer", &[("Name", "System")]);
    for table in &schema.tables {
        set(xml, schema, table);
    }
    for (name, entity) in DEFINITION_SETS {
        let entity = format!("mscrm.{entity}");
        xml.leaf("EntitySet", &[("Name", name), ("EntityType", &entity)]);
    }
    for function in vocabulary
        .functions
        .iter()
        .filter(|one| one.bound.is_none())
    {
        let full = format!("mscrm.{}", function.name);
        xml.leaf(
            "FunctionImport",
            &[("Name", &function.name), ("Function", &full)],
        );
    }
    for action in vocabulary.actions.iter().filter(|one| one.bound.is_none()) {
        let full = format!("mscrm.{}", action.name);
        xml.leaf("ActionImport", &[("Name", &action.name), ("Action", &full)]);
    }
    xml.close("EntityContainer");
}

fn set(xml: &mut Xml, schema: &Schema, table: &Table) {
    let entity = format!("mscrm.{}", table.name);
    // What leads to users and teams alike leads to no one set.
    let singles = table
        .singles()
        .into_iter()
        .filter(|single| single.also.is_empty());
    let singles = singles.map(|single| (single.name.as_str(), single.target));
    let collections = table.collections().into_iter();
    let collections = collections.map(|collection| (collection.name.as_str(), collection.target));
    let bindings: BTreeMap<&str, usize> = singles.chain(collections).collect();
    xml.open(
        "EntitySet",
        &[("Name", &table.set), ("EntityType", &entity)],
    );
    for (path, target) in bindings {
        let target = schema.table(target).set.as_str();
        xml.leaf(
            "NavigationPropertyBinding",
            &[("Path", path), ("Target", target)],
        );
    }
    xml.close("EntitySet");
}

//! Types and operations that are no tables: what functions and actions take and give, and what
//! definitions are made of. They stand in `schema/operations.json` and `schema/definitions.json`.

use std::sync::OnceLock;

use serde::Deserialize;

const OPERATIONS: &str = include_str!("../../../schema/operations.json");
const DEFINITIONS: &str = include_str!("../../../schema/definitions.json");

/// A name and its type in the entity data model, `["Value", "Edm.Boolean"]`.
pub(crate) type Member = (String, String);

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Vocabulary {
    #[serde(default)]
    pub(crate) enums: Vec<EnumType>,
    #[serde(default)]
    pub(crate) complex: Vec<StructuredType>,
    /// Types of definitions.
    #[serde(default)]
    pub(crate) entities: Vec<StructuredType>,
    #[serde(default)]
    pub(crate) functions: Vec<Operation>,
    #[serde(default)]
    pub(crate) actions: Vec<Operation>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EnumType {
    pub(crate) name: String,
    /// Whether several members can be given at once.
    #[serde(default)]
    pub(crate) flags: bool,
    pub(crate) members: Vec<(String, i64)>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StructuredType {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) base: Option<String>,
    #[serde(default, rename = "abstract")]
    pub(crate) is_abstract: bool,
    pub(crate) properties: Vec<Member>,
    #[serde(default)]
    pub(crate) navigation: Vec<Member>,
}

/// A function or an action.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Operation {
    pub(crate) name: String,
    /// Type of what it is called on; none when it is called by itself.
    #[serde(default)]
    pub(crate) bound: Option<String>,
    #[serde(default)]
    pub(crate) parameters: Vec<Member>,
    #[serde(default)]
    pub(crate) returns: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OperationKind {
    Function,
    Action,
}

static ALL: OnceLock<Vocabulary> = OnceLock::new();

fn read() -> Result<Vocabulary, String> {
    let mut all: Vocabulary = serde_json::from_str(OPERATIONS)
        .map_err(|error| format!("schema/operations.json: {error}"))?;
    let definitions: Vocabulary = serde_json::from_str(DEFINITIONS)
        .map_err(|error| format!("schema/definitions.json: {error}"))?;
    all.enums.extend(definitions.enums);
    all.complex.extend(definitions.complex);
    all.entities.extend(definitions.entities);
    Ok(all)
}

/// The operations and types that the sandbox has, read at the first call.
pub(crate) fn vocabulary() -> &'static Vocabulary {
    // The files are part of the program, and a test proves that they can be read.
    ALL.get_or_init(|| read().unwrap_or_default())
}

// === impl Vocabulary ===

impl Vocabulary {
    /// The function or action of a name, without the namespace.
    pub(crate) fn operation(&self, name: &str) -> Option<(OperationKind, &Operation)> {
        let functions = self
            .functions
            .iter()
            .map(|one| (OperationKind::Function, one));
        let actions = self.actions.iter().map(|one| (OperationKind::Action, one));
        functions.chain(actions).find(|(_, one)| one.name == name)
    }

    /// The type of a kind of definition.
    pub(crate) fn entity(&self, name: &str) -> Option<&StructuredType> {
        self.entities.iter().find(|known| known.name == name)
    }

    fn structured(&self, name: &str) -> Option<&StructuredType> {
        self.entity(name)
            .or_else(|| self.complex.iter().find(|known| known.name == name))
    }

    /// A type with those that it derives from, itself first.
    pub(crate) fn line(&self, name: &str) -> Vec<&StructuredType> {
        let mut line = Vec::new();
        let mut next = self.structured(name);
        while let Some(known) = next {
            // A type that derives from itself would never end.
            if line
                .iter()
                .any(|seen: &&StructuredType| seen.name == known.name)
            {
                break;
            }
            line.push(known);
            next = known.base.as_deref().and_then(|base| self.structured(base));
        }
        line
    }

    /// Whether a type is another, or derives from it.
    pub(crate) fn derives(&self, name: &str, from: &str) -> bool {
        self.line(name).iter().any(|known| known.name == from)
    }

    /// The type of a property, its own or inherited.
    pub(crate) fn property(&self, name: &str, property: &str) -> Option<&str> {
        let mut all = self
            .line(name)
            .into_iter()
            .flat_map(|known| &known.properties);
        all.find(|(own, _)| own == property)
            .map(|(_, of)| of.as_str())
    }

    /// The type behind a navigation property.
    pub(crate) fn navigation(&self, name: &str, property: &str) -> Option<&str> {
        let mut all = self
            .line(name)
            .into_iter()
            .flat_map(|known| &known.navigation);
        all.find(|(own, _)| own == property)
            .map(|(_, of)| of.as_str())
    }
}

/// `Microsoft.Dynamics.CRM.account` or `mscrm.account` as `account`; `Collection(…)` stripped too.
pub(crate) fn bare(name: &str) -> &str {
    let name = name
        .strip_prefix("Collection(")
        .and_then(|inside| inside.strip_suffix(')'))
        .unwrap_or(name);
    name.strip_prefix("mscrm.")
        .or_else(|| name.strip_prefix("Microsoft.Dynamics.CRM."))
        .unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::dataverse::schema::Schema;

    #[test]
    fn every_type_that_is_named_is_there() {
        let all = read().expect("files that can be read");
        let schema = Schema::standard();
        let mut known: HashSet<&str> = [
            "crmbaseentity",
            "crmmodelbaseentity",
            "principal",
            "expando",
        ]
        .into();
        known.extend(all.enums.iter().map(|one| one.name.as_str()));
        let structured = || all.complex.iter().chain(&all.entities);
        known.extend(structured().map(|one| one.name.as_str()));
        known.extend(schema.tables.iter().map(|table| table.name.as_str()));
        let members = structured().flat_map(|one| one.properties.iter().chain(&one.navigation));
        let operations = || all.functions.iter().chain(&all.actions);
        let parameters = operations().flat_map(|one| &one.parameters);
        let named = members.chain(parameters).map(|(_, of)| of);
        let named = named.chain(operations().filter_map(|one| one.returns.as_ref()));
        let named = named.chain(operations().filter_map(|one| one.bound.as_ref()));
        for name in named {
            assert!(
                name.contains("Edm.") || known.contains(bare(name)),
                "{name}"
            );
        }
        for one in structured() {
            assert!(
                one.base.as_deref().is_none_or(|base| known.contains(base)),
                "{}",
                one.name
            );
        }
    }

    #[test]
    fn every_operation_is_there_once_and_found() {
        let all = vocabulary();
        let mut names = HashSet::new();
        for one in all.functions.iter().chain(&all.actions) {
            assert!(names.insert(&one.name), "{}", one.name);
        }
        let (kind, operation) = all.operation("WhoAmI").expect("a function");
        assert_eq!(
            (kind, operation.bound.is_none()),
            (OperationKind::Function, true)
        );
        assert_eq!(
            all.operation("Merge").expect("an action").0,
            OperationKind::Action
        );
        assert!(all.operation("Nothing").is_none());
    }

    #[test]
    fn properties_are_inherited() {
        let all = vocabulary();
        let picklist = "PicklistAttributeMetadata";
        assert_eq!(all.property(picklist, "MetadataId"), Some("Edm.Guid"));
        assert_eq!(
            all.navigation(picklist, "OptionSet"),
            Some("mscrm.OptionSetMetadata")
        );
        assert_eq!(all.property(picklist, "MaxLength"), None);
        assert!(all.derives(picklist, "AttributeMetadata"));
        assert!(!all.derives("AttributeMetadata", picklist));
    }
}

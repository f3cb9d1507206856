//! The form in which tables stand in `crates/sandbox/schema/*.json`, as its README describes it.
//! Custom tables of a seed are turned into the same form, so that one set of rules builds both.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use uuid::Uuid;

use super::model::{Ownership, Required, TableKind};

/// What one file holds; the files are read as if they were one.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSchema {
    /// Columns that many tables include.
    #[serde(default)]
    pub(super) groups: HashMap<String, Vec<RawColumn>>,
    /// Choices that several columns share.
    #[serde(default)]
    pub(super) choices: Vec<RawChoices>,
    #[serde(default)]
    pub(super) tables: Vec<RawTable>,
    /// Many-to-many relationships.
    #[serde(default)]
    pub(super) links: Vec<RawLink>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawChoices {
    pub(super) name: String,
    pub(super) label: String,
    pub(super) options: Vec<(i64, String)>,
    #[serde(skip)]
    pub(super) custom: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTable {
    pub(super) name: String,
    pub(super) schema: String,
    pub(super) set: String,
    pub(super) key: String,
    #[serde(default)]
    pub(super) title: String,
    pub(super) code: i32,
    pub(super) label: String,
    pub(super) plural: String,
    #[serde(default = "standard")]
    pub(super) kind: TableKind,
    pub(super) ownership: Ownership,
    #[serde(default)]
    pub(super) changes: bool,
    #[serde(default)]
    pub(super) concurrency: bool,
    #[serde(default)]
    pub(super) duplicates: bool,
    /// Noun of the privileges, when it is not the schema name.
    #[serde(default)]
    pub(super) privilege: Option<String>,
    /// Groups whose columns it has besides its own.
    #[serde(default)]
    pub(super) include: Vec<String>,
    /// Relationships of included columns that are not named by the rule: `column>target` to name.
    #[serde(default)]
    pub(super) relationships: HashMap<String, String>,
    /// Navigation properties that are not named by the rule, by relationship.
    #[serde(default)]
    pub(super) navigation: HashMap<String, RawNavigation>,
    pub(super) columns: Vec<RawColumn>,
    #[serde(default)]
    pub(super) keys: Vec<RawKey>,
    #[serde(default)]
    pub(super) description: String,
    /// Identifier of its definition.
    #[serde(default)]
    pub(super) id: Option<Uuid>,
    #[serde(skip)]
    pub(super) custom: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawNavigation {
    #[serde(default)]
    pub(super) single: Option<String>,
    #[serde(default)]
    pub(super) collection: Option<String>,
    /// What a delete does, where it is not the same for all targets of the lookup.
    #[serde(default)]
    pub(super) delete: Option<RawDelete>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawKey {
    pub(super) name: String,
    pub(super) schema: String,
    pub(super) label: String,
    pub(super) columns: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum RawKind {
    Text,
    Memo,
    Whole,
    Big,
    Decimal,
    Double,
    Money,
    Boolean,
    Choice,
    Choices,
    State,
    Status,
    Datetime,
    Date,
    Guid,
    Key,
    Lookup,
    Customer,
    Owner,
    Parties,
    Version,
    EntityName,
    Image,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum RawDelete {
    RemoveLink,
    Cascade,
    Restrict,
    NoCascade,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawColumn {
    pub(super) name: String,
    pub(super) schema: String,
    pub(super) label: String,
    #[serde(rename = "type")]
    pub(super) kind: RawKind,
    #[serde(default)]
    pub(super) max: Option<f64>,
    #[serde(default)]
    pub(super) min: Option<f64>,
    #[serde(default)]
    pub(super) precision: Option<u8>,
    #[serde(default)]
    pub(super) format: Option<String>,
    #[serde(default)]
    pub(super) options: Vec<(i64, String)>,
    /// Value, label and the status reason that goes with it.
    #[serde(default)]
    pub(super) states: Vec<(i64, String, i64)>,
    /// Value, label and state.
    #[serde(default)]
    pub(super) statuses: Vec<(i64, String, i64)>,
    /// Name of the shared choices.
    #[serde(default)]
    pub(super) global: Option<String>,
    /// Value that a new row takes.
    #[serde(default)]
    pub(super) default: Option<i64>,
    /// Whether a boolean is true in a new row.
    #[serde(default)]
    pub(super) on: bool,
    #[serde(default)]
    pub(super) no: Option<String>,
    #[serde(default)]
    pub(super) yes: Option<String>,
    /// Target tables with the relationship to each.
    #[serde(default)]
    pub(super) to: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) delete: Option<RawDelete>,
    /// Participation type of a party list.
    #[serde(default)]
    pub(super) mask: Option<i64>,
    #[serde(default = "no")]
    pub(super) required: Required,
    /// `c`, `u`, `r`: what a caller may do.
    #[serde(default = "everything")]
    pub(super) access: String,
    #[serde(default)]
    pub(super) index: bool,
    /// Format of the number that the platform gives a new row.
    #[serde(default)]
    pub(super) auto: Option<String>,
    #[serde(default)]
    pub(super) description: String,
    /// Identifier of its definition.
    #[serde(default)]
    pub(super) id: Option<Uuid>,
    #[serde(skip)]
    pub(super) custom: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLink {
    pub(super) schema: String,
    pub(super) first: String,
    pub(super) second: String,
    pub(super) intersect: String,
    pub(super) set: String,
    pub(super) code: i32,
    pub(super) first_column: String,
    pub(super) second_column: String,
    /// Names of the collections, when they are not the relationship's.
    #[serde(default)]
    pub(super) first_navigation: Option<String>,
    #[serde(default)]
    pub(super) second_navigation: Option<String>,
    /// What the pairs hold besides.
    #[serde(default)]
    pub(super) columns: Vec<RawColumn>,
    #[serde(skip)]
    pub(super) custom: bool,
}

fn standard() -> TableKind {
    TableKind::Standard
}

fn no() -> Required {
    Required::No
}

fn everything() -> String {
    "cru".to_owned()
}

// === impl RawSchema ===

impl RawSchema {
    /// Takes in what a further file holds.
    pub(super) fn extend(&mut self, other: RawSchema) {
        self.groups.extend(other.groups);
        self.choices.extend(other.choices);
        self.tables.extend(other.tables);
        self.links.extend(other.links);
    }

    pub(super) fn table(&mut self, name: &str) -> Option<&mut RawTable> {
        self.tables.iter_mut().find(|table| table.name == name)
    }
}

// === impl RawColumn ===

impl RawColumn {
    /// A column with nothing said but what it is.
    pub(super) fn new(name: &str, schema: &str, label: &str, kind: RawKind) -> Self {
        Self {
            name: name.to_owned(),
            schema: schema.to_owned(),
            label: label.to_owned(),
            kind,
            max: None,
            min: None,
            precision: None,
            format: None,
            options: Vec::new(),
            states: Vec::new(),
            statuses: Vec::new(),
            global: None,
            default: None,
            on: false,
            no: None,
            yes: None,
            to: BTreeMap::new(),
            delete: None,
            mask: None,
            required: Required::No,
            access: everything(),
            index: false,
            auto: None,
            description: String::new(),
            id: None,
            custom: false,
        }
    }
}

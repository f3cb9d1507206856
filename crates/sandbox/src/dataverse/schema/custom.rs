//! What a seed adds to the standard tables: tables and columns of one's own, choices, alternate
//! keys and relationships. They are turned into the written form of the standard ones, so that
//! both obey the same rules.

mod names;
mod tables;

use serde::{Deserialize, Serialize};

use super::build;
use super::load;
use super::model::Schema;
use super::raw::{RawChoices, RawDelete, RawKind, RawLink, RawSchema};

/// Additions to the standard tables of an organization.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CustomSchema {
    /// Choices that several columns share.
    #[serde(default, rename = "choice")]
    pub(crate) choices: Vec<ChoiceSetSeed>,
    /// Tables.
    #[serde(default, rename = "table")]
    pub(crate) tables: Vec<TableSeed>,
    /// Columns and keys of tables that are there already.
    #[serde(default, rename = "extend")]
    pub(crate) extensions: Vec<ExtensionSeed>,
    /// Many-to-many relationships.
    #[serde(default, rename = "link")]
    pub(crate) links: Vec<LinkSeed>,
}

/// A choice that several columns share.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChoiceSetSeed {
    /// Name with the publisher's prefix, `cr_colour`.
    pub name: String,
    /// What people read.
    #[serde(default)]
    pub label: Option<String>,
    /// Its options.
    pub options: Vec<OptionSeed>,
}

/// An option of a choice.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptionSeed {
    /// Its number; without one it takes the next from 100000000 on.
    #[serde(default)]
    pub value: Option<i64>,
    /// What people read.
    pub label: String,
}

/// A status reason of a custom table.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusSeed {
    /// Its number.
    pub value: i64,
    /// What people read.
    pub label: String,
    /// State that it belongs to: 0 active, 1 inactive.
    pub state: i64,
}

/// A custom table.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableSeed {
    /// Schema name with the publisher's prefix, `cr_Vehicle`; the logical name is its lower case.
    pub name: String,
    /// What people read; the name without its prefix otherwise.
    #[serde(default)]
    pub label: Option<String>,
    /// The same for several rows.
    #[serde(default)]
    pub plural: Option<String>,
    /// Entity set; the plural of the logical name otherwise.
    #[serde(default)]
    pub set: Option<String>,
    /// What the table is for.
    #[serde(default)]
    pub description: Option<String>,
    /// Who owns its rows.
    #[serde(default)]
    pub ownership: OwnershipSeed,
    /// Whether it is an activity: it then has the columns of one, and `subject` names its rows.
    #[serde(default)]
    pub activity: bool,
    /// Whether activities can regard its rows.
    #[serde(default)]
    pub activities: bool,
    /// Whether its rows can have notes.
    #[serde(default)]
    pub notes: bool,
    /// Whether its changes can be asked for.
    #[serde(default)]
    pub change_tracking: bool,
    /// Whether duplicates can be looked for.
    #[serde(default)]
    pub duplicate_detection: bool,
    /// The text column that names its rows; `<prefix>_Name` of 100 characters otherwise.
    #[serde(default)]
    pub primary: Option<ColumnSeed>,
    /// Status reasons besides, or in place of, Active (1) and Inactive (2).
    #[serde(default)]
    pub statuses: Vec<StatusSeed>,
    /// Its columns.
    #[serde(default, rename = "column")]
    pub columns: Vec<ColumnSeed>,
    /// Its alternate keys.
    #[serde(default, rename = "key")]
    pub keys: Vec<KeySeed>,
}

/// Who owns the rows of a custom table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OwnershipSeed {
    /// A user or a team.
    #[default]
    User,
    /// Everybody.
    Organization,
}

/// Columns and keys of a table that is there already.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtensionSeed {
    /// Logical name of the table.
    pub table: String,
    /// Columns.
    #[serde(default, rename = "column")]
    pub columns: Vec<ColumnSeed>,
    /// Alternate keys.
    #[serde(default, rename = "key")]
    pub keys: Vec<KeySeed>,
}

/// What a custom column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ColumnType {
    /// One line.
    Text,
    /// Several lines.
    Memo,
    /// A whole number.
    Whole,
    /// A whole number of 64 bits.
    Big,
    /// A decimal number.
    Decimal,
    /// A floating-point number.
    Double,
    /// An amount in a currency.
    Money,
    /// Yes or no.
    Boolean,
    /// One of several options.
    Choice,
    /// Any of several options.
    Choices,
    /// Date and time.
    Datetime,
    /// A date.
    Date,
    /// A row of one of the tables in `to`.
    Lookup,
    /// An account or a contact.
    Customer,
}

/// Whether a column must have a value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RequiredSeed {
    /// It need not.
    #[default]
    No,
    /// It should.
    Recommended,
    /// Forms insist on it.
    Application,
}

/// What the deletion of a row does to the rows that point at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeleteSeed {
    /// They point at nothing any more.
    RemoveLink,
    /// They are deleted.
    Cascade,
    /// They forbid it.
    Restrict,
}

/// A custom column.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnSeed {
    /// Schema name with the publisher's prefix, `cr_Plate`; the logical name is its lower case.
    pub name: String,
    /// What people read; the name without its prefix otherwise.
    #[serde(default)]
    pub label: Option<String>,
    /// What the column is for.
    #[serde(default)]
    pub description: Option<String>,
    /// What it holds.
    #[serde(default = "text", rename = "type")]
    pub kind: ColumnType,
    /// Most characters of a text, or greatest number.
    #[serde(default)]
    pub max: Option<f64>,
    /// Least number.
    #[serde(default)]
    pub min: Option<f64>,
    /// Digits after the point.
    #[serde(default)]
    pub precision: Option<u8>,
    /// Of texts: `email`, `url`, `phone`, `text-area`; of dates with a time: `date-only`;
    /// of whole numbers: `duration`, `time-zone`, `language`.
    #[serde(default)]
    pub format: Option<String>,
    /// Options of its own.
    #[serde(default)]
    pub options: Vec<OptionSeed>,
    /// Name of shared options.
    #[serde(default)]
    pub global: Option<String>,
    /// Option that a new row takes.
    #[serde(default)]
    pub default: Option<i64>,
    /// Whether a yes-or-no column is yes in a new row.
    #[serde(default)]
    pub on: bool,
    /// What people read for no.
    #[serde(default)]
    pub no: Option<String>,
    /// What people read for yes.
    #[serde(default)]
    pub yes: Option<String>,
    /// Logical names of the tables that a lookup leads to.
    #[serde(default)]
    pub to: Vec<String>,
    /// Name of a lookup's relationship; with several targets each adds its name.
    #[serde(default)]
    pub relationship: Option<String>,
    /// What the deletion of the row that it points at does.
    #[serde(default)]
    pub delete: Option<DeleteSeed>,
    /// Whether it must have a value.
    #[serde(default)]
    pub required: RequiredSeed,
    /// Whether the sandbox keeps an index for it.
    #[serde(default)]
    pub index: bool,
    /// Format of the numbers that new rows take, `V-{SEQNUM:5}`.
    #[serde(default)]
    pub auto_number: Option<String>,
}

/// An alternate key.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeySeed {
    /// Schema name with the publisher's prefix, `cr_PlateKey`.
    pub name: String,
    /// What people read.
    #[serde(default)]
    pub label: Option<String>,
    /// Logical names of its columns.
    pub columns: Vec<String>,
}

/// A many-to-many relationship.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkSeed {
    /// Schema name with the publisher's prefix, `cr_vehicle_contact`; its collections bear it too.
    pub name: String,
    /// Logical name of one table.
    pub first: String,
    /// Logical name of the other.
    pub second: String,
}

fn text() -> ColumnType {
    ColumnType::Text
}

// === impl Schema ===

impl Schema {
    /// The standard tables with those of a seed.
    ///
    /// # Errors
    /// When the additions contradict themselves or the standard tables; the text names the table
    /// and the column.
    pub(crate) fn with_custom(custom: &CustomSchema) -> Result<Self, String> {
        let mut raw = load::raw().clone();
        for set in &custom.choices {
            raw.choices.push(choice_set(set)?);
        }
        for (index, table) in custom.tables.iter().enumerate() {
            let table = tables::table(table, tables::code(index)?)?;
            raw.tables.push(table);
        }
        for table in &custom.tables {
            tables::attach(&mut raw, table)?;
        }
        for extension in &custom.extensions {
            tables::extend(&mut raw, extension)?;
        }
        for (index, link) in custom.links.iter().enumerate() {
            let code = tables::code(custom.tables.len().saturating_add(index))?;
            raw.links.push(self::link(&raw, link, code)?);
        }
        build::build(&raw)
    }
}

fn choice_set(seed: &ChoiceSetSeed) -> Result<RawChoices, String> {
    let place = || format!("the choice {}", seed.name);
    names::check(&seed.name).map_err(|why| format!("{} {why}", place()))?;
    if seed.options.is_empty() {
        return Err(format!("{} has no options", place()));
    }
    Ok(RawChoices {
        name: seed.name.to_lowercase(),
        label: seed
            .label
            .clone()
            .unwrap_or_else(|| names::label(&seed.name)),
        options: options(&seed.options),
        custom: true,
    })
}

/// Options with their numbers.
fn options(seeds: &[OptionSeed]) -> Vec<(i64, String)> {
    // The first number that the platform gives to the options of a publisher without a prefix.
    let mut next = 100_000_000;
    let mut all = Vec::with_capacity(seeds.len());
    for seed in seeds {
        let value = seed.value.unwrap_or(next);
        next = value.saturating_add(1).max(next);
        all.push((value, seed.label.clone()));
    }
    all
}

fn link(raw: &RawSchema, seed: &LinkSeed, code: i32) -> Result<RawLink, String> {
    let place = || format!("the relationship {}", seed.name);
    names::check(&seed.name).map_err(|why| format!("{} {why}", place()))?;
    let key = |name: &str| {
        let table = raw.tables.iter().find(|table| table.name == name);
        table
            .map(|table| table.key.clone())
            .ok_or_else(|| format!("{} joins '{name}', which is no table", place()))
    };
    let (first, second) = (key(&seed.first)?, key(&seed.second)?);
    let itself = seed.first == seed.second;
    let name = seed.name.to_lowercase();
    Ok(RawLink {
        schema: seed.name.clone(),
        first: seed.first.clone(),
        second: seed.second.clone(),
        set: format!("{name}set"),
        code,
        // A table that is joined to itself has its key twice.
        first_column: if itself { format!("{first}one") } else { first },
        second_column: if itself {
            format!("{second}two")
        } else {
            second
        },
        first_navigation: itself.then(|| format!("Referencing{}", seed.name)),
        second_navigation: itself.then(|| format!("Referenced{}", seed.name)),
        intersect: name,
        columns: Vec::new(),
        custom: true,
    })
}

fn raw_kind(kind: ColumnType) -> RawKind {
    match kind {
        ColumnType::Text => RawKind::Text,
        ColumnType::Memo => RawKind::Memo,
        ColumnType::Whole => RawKind::Whole,
        ColumnType::Big => RawKind::Big,
        ColumnType::Decimal => RawKind::Decimal,
        ColumnType::Double => RawKind::Double,
        ColumnType::Money => RawKind::Money,
        ColumnType::Boolean => RawKind::Boolean,
        ColumnType::Choice => RawKind::Choice,
        ColumnType::Choices => RawKind::Choices,
        ColumnType::Datetime => RawKind::Datetime,
        ColumnType::Date => RawKind::Date,
        ColumnType::Lookup => RawKind::Lookup,
        ColumnType::Customer => RawKind::Customer,
    }
}

fn raw_delete(delete: DeleteSeed) -> RawDelete {
    match delete {
        DeleteSeed::RemoveLink => RawDelete::RemoveLink,
        DeleteSeed::Cascade => RawDelete::Cascade,
        DeleteSeed::Restrict => RawDelete::Restrict,
    }
}

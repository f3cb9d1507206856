//! What a table, a column and a relationship are. Everything else asks these: the planner, the
//! writer, `$metadata` and `EntityDefinitions`.

use std::collections::HashMap;

use serde::Deserialize;
use uuid::Uuid;

/// Position of a table in [`Schema::tables`].
pub(crate) type TableIndex = usize;

/// The tables of one organization: the standard ones and those of its seed.
#[derive(Debug)]
pub(crate) struct Schema {
    pub(crate) tables: Vec<Table>,
    pub(crate) relationships: Vec<Relationship>,
    pub(crate) many_to_many: Vec<ManyToMany>,
    /// Choices that several columns share.
    pub(crate) option_sets: Vec<OptionSet>,
    pub(super) by_name: HashMap<String, TableIndex>,
    pub(super) by_set: HashMap<String, TableIndex>,
}

/// Who owns a table's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Ownership {
    /// A user or a team.
    User,
    /// A business unit.
    BusinessUnit,
    /// Everybody: a privilege is held for all rows or for none.
    Organization,
    /// Nobody, as with intersect tables and activity parties.
    None,
}

/// What kind of table it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TableKind {
    Standard,
    /// Derives from `activitypointer`, whose rows show every activity.
    Activity,
    /// `activitypointer` itself.
    ActivityPointer,
    /// Holds the pairs of a many-to-many relationship.
    Intersect,
}

#[derive(Debug)]
pub(crate) struct Table {
    /// Logical name, `contact`.
    pub(crate) name: String,
    /// `Contact`.
    pub(crate) schema_name: String,
    /// Entity set, `contacts`.
    pub(crate) set: String,
    /// Column of the key, `contactid`.
    pub(crate) key: String,
    /// Column that names a row, `fullname`; empty when there is none.
    pub(crate) title: String,
    /// Object type code.
    pub(crate) type_code: i32,
    /// Label in the singular and in the plural.
    pub(crate) label: String,
    pub(crate) label_plural: String,
    /// Ours; empty for most.
    pub(crate) description: String,
    pub(crate) kind: TableKind,
    pub(crate) ownership: Ownership,
    /// Whether it came from the seed.
    pub(crate) custom: bool,
    pub(crate) change_tracking: bool,
    pub(crate) optimistic_concurrency: bool,
    /// Whether duplicate detection is on.
    pub(crate) duplicate_detection: bool,
    /// Noun of its privileges, `Contact` in `prvReadContact`; activities share `Activity`.
    pub(crate) privilege: String,
    pub(crate) columns: Vec<Column>,
    pub(crate) keys: Vec<AlternateKey>,
    /// Identifier of its definition, when it is the same in every organization of Microsoft's.
    pub(super) known_id: Option<Uuid>,
    pub(super) by_column: HashMap<String, usize>,
    /// Single-valued navigation properties, by name.
    pub(super) single: HashMap<String, Single>,
    /// Collection-valued navigation properties, by name.
    pub(super) collections: HashMap<String, Collection>,
}

/// A single-valued navigation property: follows a lookup to one of its targets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Single {
    pub(crate) name: String,
    /// The lookup column, by position in [`Table::columns`].
    pub(crate) column: usize,
    pub(crate) target: TableIndex,
    /// Further tables that the same property leads to: `ownerid` reaches users and teams.
    pub(crate) also: Vec<TableIndex>,
    /// Position in [`Schema::relationships`].
    pub(crate) relationship: usize,
}

/// A collection-valued navigation property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Collection {
    pub(crate) name: String,
    pub(crate) target: TableIndex,
    pub(crate) by: CollectionBy,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CollectionBy {
    /// Rows of the target whose lookup points here; position in [`Schema::relationships`].
    OneToMany(usize),
    /// Position in [`Schema::many_to_many`], and which side this table is on.
    ManyToMany(usize, Side),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    First,
    Second,
}

/// What a delete of the referenced row does to the rows that reference it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnDelete {
    RemoveLink,
    Cascade,
    Restrict,
    NoCascade,
}

/// One-to-many: from a lookup of one table to one of its target tables.
#[derive(Debug, Clone)]
pub(crate) struct Relationship {
    /// `contact_customer_accounts`.
    pub(crate) schema_name: String,
    /// The table that is pointed at.
    pub(crate) referenced: TableIndex,
    /// Further tables that the same relationship points at: teams beside users, for owners.
    pub(crate) also: Vec<TableIndex>,
    /// The table that holds the lookup.
    pub(crate) referencing: TableIndex,
    /// Logical name of the lookup.
    pub(crate) column: String,
    /// Name of the single-valued navigation property on the referencing table.
    pub(crate) single: String,
    /// Name of the collection on the referenced table.
    pub(crate) collection: String,
    pub(crate) on_delete: OnDelete,
    pub(crate) custom: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct ManyToMany {
    pub(crate) schema_name: String,
    pub(crate) first: TableIndex,
    pub(crate) second: TableIndex,
    /// The table of pairs.
    pub(crate) intersect: TableIndex,
    /// Its columns that point at the first and the second table.
    pub(crate) first_column: String,
    pub(crate) second_column: String,
    /// Name of the collection on the first table (which leads to the second), and the reverse.
    pub(crate) first_navigation: String,
    pub(crate) second_navigation: String,
    pub(crate) custom: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Column {
    /// Logical name, `telephone1`.
    pub(crate) name: String,
    /// `Telephone1`.
    pub(crate) schema_name: String,
    pub(crate) label: String,
    pub(crate) kind: Kind,
    pub(crate) required: Required,
    /// What a caller may do with it.
    pub(crate) access: Access,
    pub(crate) custom: bool,
    /// Whether the sandbox keeps an index for it, so that filters and orders over it are quick.
    pub(crate) indexed: bool,
    /// How it is shown, as definitions of dates and numbers say it: `DateOnly`, `Duration`;
    /// empty when its kind says everything.
    pub(crate) format: &'static str,
    /// Format of the number that the platform gives a new row, `CAS-{SEQNUM:5}-{RANDSTRING:6}`.
    pub(crate) auto_number: Option<String>,
    /// Ours; empty for most.
    pub(crate) description: String,
    /// Identifier of its definition, when it is the same in every organization of Microsoft's.
    pub(super) known_id: Option<Uuid>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Required {
    No,
    Recommended,
    /// Business required: forms insist, the API does not.
    Application,
    /// The platform fills it.
    System,
}

/// Create, update and read, as the definitions of columns say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) create: bool,
    pub(crate) update: bool,
    pub(crate) read: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    /// At most so many UTF-16 code units; the format is `Text`, `Email`, `Url`, `Phone`, …
    Text {
        max: usize,
        format: &'static str,
    },
    /// Several lines.
    Memo {
        max: usize,
    },
    Whole {
        min: i64,
        max: i64,
    },
    Big,
    Decimal {
        precision: u8,
        min: f64,
        max: f64,
    },
    Double {
        precision: u8,
        min: f64,
        max: f64,
    },
    Money {
        precision: u8,
        min: f64,
        max: f64,
    },
    /// Labels of false and true.
    Boolean {
        no: String,
        yes: String,
        default: bool,
    },
    Choice {
        options: Vec<Choice>,
        global: Option<String>,
        default: Option<i64>,
    },
    /// Several choices at once.
    Choices {
        options: Vec<Choice>,
        global: Option<String>,
    },
    State {
        options: Vec<StateOption>,
    },
    Status {
        options: Vec<StatusOption>,
    },
    DateTime,
    Date,
    Guid,
    /// The primary key.
    Key,
    /// Points at a row of one of these tables.
    Lookup {
        targets: Vec<TableIndex>,
        sort: LookupSort,
    },
    /// Activity parties with these participation types.
    Parties {
        mask: i64,
    },
    /// `versionnumber`.
    Version,
    /// Logical name of a table.
    EntityName,
    /// An image; its bytes are not kept.
    Image,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LookupSort {
    Simple,
    Customer,
    Owner,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) value: i64,
    pub(crate) label: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StateOption {
    pub(crate) value: i64,
    pub(crate) label: String,
    /// Status reason that a row takes when only the state is set.
    pub(crate) default_status: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StatusOption {
    pub(crate) value: i64,
    pub(crate) label: String,
    pub(crate) state: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AlternateKey {
    pub(crate) name: String,
    pub(crate) schema_name: String,
    pub(crate) label: String,
    /// Logical names of its columns.
    pub(crate) columns: Vec<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct OptionSet {
    pub(crate) name: String,
    pub(crate) label: String,
    pub(crate) options: Vec<Choice>,
    pub(crate) custom: bool,
}

// === impl Schema ===

impl Schema {
    /// No tables at all.
    pub(super) fn empty() -> Self {
        Self {
            tables: Vec::new(),
            relationships: Vec::new(),
            many_to_many: Vec::new(),
            option_sets: Vec::new(),
            by_name: HashMap::new(),
            by_set: HashMap::new(),
        }
    }

    pub(crate) fn table(&self, index: TableIndex) -> &Table {
        &self.tables[index]
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<&Table> {
        self.by_name.get(name).map(|index| &self.tables[*index])
    }

    pub(crate) fn by_set(&self, set: &str) -> Option<&Table> {
        self.by_set.get(set).map(|index| &self.tables[*index])
    }

    /// Position of a table of this schema.
    pub(crate) fn index_of(&self, name: &str) -> Option<TableIndex> {
        self.by_name.get(name).copied()
    }

    /// A stable identifier of a piece of metadata: the same in every organization and at every
    /// start.
    pub(crate) fn metadata_id(path: &str) -> Uuid {
        crate::entra::Directory::object_id(&format!("metadata/{path}"))
    }
}

// === impl Table ===

impl Table {
    /// Identifier of its definition.
    pub(crate) fn metadata_id(&self) -> Uuid {
        self.known_id
            .unwrap_or_else(|| Schema::metadata_id(&self.name))
    }

    /// Whether its rows own others.
    pub(crate) fn is_principal(&self) -> bool {
        matches!(self.name.as_str(), "systemuser" | "team")
    }

    pub(crate) fn column(&self, name: &str) -> Option<&Column> {
        self.by_column.get(name).map(|index| &self.columns[*index])
    }

    /// The lookup behind `_parentcustomerid_value`.
    pub(crate) fn lookup_value(&self, property: &str) -> Option<&Column> {
        let name = property.strip_prefix('_')?.strip_suffix("_value")?;
        self.column(name).filter(|column| column.is_lookup())
    }

    /// What a property of the Web API reads: lookups are read only as `_<column>_value`.
    pub(crate) fn readable(&self, property: &str) -> Option<&Column> {
        self.lookup_value(property).or_else(|| {
            self.column(property)
                .filter(|column| column.access.read && !column.is_lookup() && !column.is_parties())
        })
    }

    pub(crate) fn single(&self, property: &str) -> Option<&Single> {
        self.single.get(property)
    }

    pub(crate) fn collection(&self, property: &str) -> Option<&Collection> {
        self.collections.get(property)
    }

    /// Navigation properties in the order of their names.
    pub(crate) fn singles(&self) -> Vec<&Single> {
        let mut all: Vec<&Single> = self.single.values().collect();
        all.sort_by(|left, right| left.name.cmp(&right.name));
        all
    }

    pub(crate) fn collections(&self) -> Vec<&Collection> {
        let mut all: Vec<&Collection> = self.collections.values().collect();
        all.sort_by(|left, right| left.name.cmp(&right.name));
        all
    }

    /// The single-valued navigation property that a lookup has for one of its targets.
    pub(crate) fn navigation_of(&self, column: &str, target: TableIndex) -> Option<&Single> {
        let index = *self.by_column.get(column)?;
        let mut all: Vec<&Single> = self
            .single
            .values()
            .filter(|single| single.column == index && single.target == target)
            .collect();
        // Activities answer to two names for the row they regard; the longer one is their own.
        all.sort_by_key(|single| std::cmp::Reverse(single.name.len()));
        all.first().copied()
    }

    /// The states of its rows; none when it has no state.
    pub(crate) fn states(&self) -> &[StateOption] {
        match self.column("statecode").map(|column| &column.kind) {
            Some(Kind::State { options }) => options,
            _ => &[],
        }
    }

    /// The status reasons of its rows.
    pub(crate) fn statuses(&self) -> &[StatusOption] {
        match self.column("statuscode").map(|column| &column.kind) {
            Some(Kind::Status { options }) => options,
            _ => &[],
        }
    }

    pub(crate) fn is_activity(&self) -> bool {
        matches!(self.kind, TableKind::Activity | TableKind::ActivityPointer)
    }
}

// === impl Column ===

impl Column {
    /// A column that no table has: a text that a condition compares, such as the name of a row
    /// that a lookup points at.
    pub(crate) fn text(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            schema_name: name.to_owned(),
            label: String::new(),
            kind: Kind::Text {
                max: 4_000,
                format: "Text",
            },
            required: Required::No,
            access: Access {
                create: false,
                update: false,
                read: true,
            },
            custom: false,
            indexed: false,
            format: "",
            auto_number: None,
            description: String::new(),
            known_id: None,
        }
    }

    /// Identifier of its definition in a table.
    pub(crate) fn metadata_id(&self, table: &Table) -> Uuid {
        self.known_id
            .unwrap_or_else(|| Schema::metadata_id(&format!("{}/{}", table.name, self.name)))
    }

    pub(crate) fn is_lookup(&self) -> bool {
        matches!(self.kind, Kind::Lookup { .. })
    }

    pub(crate) fn is_parties(&self) -> bool {
        matches!(self.kind, Kind::Parties { .. })
    }

    /// The property that reads it: `_<column>_value` for lookups.
    pub(crate) fn property(&self) -> String {
        if self.is_lookup() {
            format!("_{}_value", self.name)
        } else {
            self.name.clone()
        }
    }

    /// Type in the entity data model.
    pub(crate) fn edm(&self) -> &'static str {
        match self.kind {
            Kind::Text { .. } | Kind::Memo { .. } | Kind::EntityName | Kind::Choices { .. } => {
                "Edm.String"
            }
            Kind::Whole { .. } | Kind::Choice { .. } | Kind::State { .. } | Kind::Status { .. } => {
                "Edm.Int32"
            }
            Kind::Big | Kind::Version => "Edm.Int64",
            Kind::Decimal { .. } | Kind::Money { .. } => "Edm.Decimal",
            Kind::Double { .. } => "Edm.Double",
            Kind::Boolean { .. } => "Edm.Boolean",
            Kind::DateTime => "Edm.DateTimeOffset",
            Kind::Date => "Edm.Date",
            Kind::Guid | Kind::Key | Kind::Lookup { .. } => "Edm.Guid",
            Kind::Image => "Edm.Binary",
            Kind::Parties { .. } => "Collection(mscrm.activityparty)",
        }
    }
}

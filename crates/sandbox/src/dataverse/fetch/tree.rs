//! FetchXML as it is written, after its form was checked and before any name was looked up.

use crate::dataverse::plan::DatePart;

#[derive(Debug, PartialEq)]
pub(crate) struct Fetch {
    pub(crate) top: Option<u64>,
    pub(crate) count: Option<u64>,
    pub(crate) page: Option<u64>,
    pub(crate) cookie: Option<String>,
    pub(crate) total: bool,
    pub(crate) distinct: bool,
    pub(crate) aggregate: bool,
    pub(crate) aggregate_limit: Option<u64>,
    /// Choices are ordered by their values, not by their labels.
    pub(crate) raw_order: bool,
    pub(crate) entity: Entity,
}

/// What `entity` and `link-entity` have in common.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Entity {
    pub(crate) name: String,
    pub(crate) selected: Selected,
    pub(crate) orders: Vec<Order>,
    pub(crate) filters: Vec<Filter>,
    pub(crate) links: Vec<Link>,
}

#[derive(Debug, Default, PartialEq)]
pub(crate) struct Selected {
    pub(crate) all: bool,
    /// `no-attrs`: nothing, where an entity without attributes would mean everything.
    pub(crate) none: bool,
    pub(crate) attributes: Vec<Attribute>,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Attribute {
    pub(crate) name: String,
    pub(crate) alias: Option<String>,
    pub(crate) aggregate: Option<Function>,
    pub(crate) group: bool,
    pub(crate) part: Option<DatePart>,
    pub(crate) distinct: bool,
    pub(crate) count_children: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    Count,
    CountColumn,
    Sum,
    Average,
    Least,
    Greatest,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Order {
    pub(crate) attribute: Option<String>,
    pub(crate) alias: Option<String>,
    pub(crate) entity: Option<String>,
    pub(crate) descending: bool,
}

#[derive(Debug, Default, PartialEq)]
pub(crate) struct Filter {
    pub(crate) any: bool,
    pub(crate) parts: Vec<Part>,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Part {
    Condition(Condition),
    Filter(Filter),
    Link(Link),
}

#[derive(Debug, PartialEq)]
pub(crate) struct Condition {
    pub(crate) attribute: String,
    pub(crate) operator: String,
    pub(crate) values: Vec<String>,
    pub(crate) value_of: Option<String>,
    pub(crate) entity: Option<String>,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Link {
    pub(crate) entity: Entity,
    /// Columns of the linked table and of the table around it; none when the relationship says it.
    pub(crate) on: Option<(String, String)>,
    pub(crate) alias: Option<String>,
    pub(crate) kind: LinkKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinkKind {
    Inner,
    Outer,
    Exists,
    In,
    First,
    Any,
    NotAny,
    All,
    NotAll,
}

impl LinkKind {
    /// Whether rows are only restricted, and nothing of the linked table can be shown.
    pub(crate) fn restricts(self) -> bool {
        !matches!(self, Self::Inner | Self::Outer | Self::First)
    }
}

impl Filter {
    /// Whether a condition speaks of another table than the one around the filter.
    pub(crate) fn speaks_of_others(&self) -> bool {
        self.parts.iter().any(|part| match part {
            Part::Condition(condition) => condition.entity.is_some(),
            Part::Filter(filter) => filter.speaks_of_others(),
            Part::Link(_) => false,
        })
    }
}

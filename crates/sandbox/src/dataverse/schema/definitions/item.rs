//! What a definition is of, and what it is called.

use serde_json::{Map, Value};
use uuid::Uuid;

use super::super::model::{
    AlternateKey, Column, Kind, ManyToMany, OptionSet, Relationship, Schema, Table, TableIndex,
};
use super::option_set::Choices;
use super::{attribute, entity, option_set, relationship};

/// One definition.
#[derive(Clone)]
pub(super) enum Item<'a> {
    Entity(TableIndex, &'a Table),
    Attribute(&'a Table, usize, &'a Column),
    Key(&'a Table, &'a AlternateKey),
    OneToMany(&'a Relationship),
    ManyToMany(&'a ManyToMany),
    OptionSet(Choices<'a>),
}

/// What a navigation property leads to.
pub(super) enum Related<'a> {
    Many(Vec<Item<'a>>),
    One(Option<Item<'a>>),
}

impl<'a> Item<'a> {
    /// Its type, without the namespace.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Entity(..) => "EntityMetadata",
            Self::Attribute(_, _, column) => attribute::type_name(column),
            Self::Key(..) => "EntityKeyMetadata",
            Self::OneToMany(_) => "OneToManyRelationshipMetadata",
            Self::ManyToMany(_) => "ManyToManyRelationshipMetadata",
            Self::OptionSet(choices) => choices.type_name(),
        }
    }

    pub(super) fn metadata_id(&self, schema: &Schema) -> Uuid {
        match self {
            Self::Entity(_, table) => table.metadata_id(),
            Self::Attribute(table, _, column) => column.metadata_id(table),
            Self::Key(table, key) => {
                Schema::metadata_id(&format!("{}/key/{}", table.name, key.name))
            }
            Self::OneToMany(one) => {
                Schema::metadata_id(&format!("relationship/{}", one.schema_name))
            }
            Self::ManyToMany(one) => {
                Schema::metadata_id(&format!("relationship/{}", one.schema_name))
            }
            Self::OptionSet(choices) => choices.metadata_id(schema),
        }
    }

    /// Whether a property that names definitions has this value: logical and schema names, names
    /// of choices.
    pub(super) fn is_named(&self, property: &str, value: &str) -> bool {
        let name = match (self, property) {
            (Self::Entity(_, table), "LogicalName") => &table.name,
            (Self::Entity(_, table), "SchemaName") => &table.schema_name,
            (Self::Attribute(_, _, column), "LogicalName") => &column.name,
            (Self::Attribute(_, _, column), "SchemaName") => &column.schema_name,
            (Self::Key(_, key), "LogicalName") => &key.name,
            (Self::Key(_, key), "SchemaName") => &key.schema_name,
            (Self::OneToMany(one), "SchemaName") => &one.schema_name,
            (Self::ManyToMany(one), "SchemaName") => &one.schema_name,
            (Self::OptionSet(Choices::Global(set)), "Name") => &set.name,
            _ => return false,
        };
        name.eq_ignore_ascii_case(value)
    }

    /// All its members.
    pub(super) fn members(&self, schema: &Schema) -> Map<String, Value> {
        let mut members = match self {
            Self::Entity(index, table) => entity::members(schema, *index, table),
            Self::Attribute(table, position, column) => {
                attribute::members(schema, table, *position, column)
            }
            Self::Key(table, key) => entity::key_members(table, key),
            Self::OneToMany(one) => relationship::one_to_many(schema, one),
            Self::ManyToMany(one) => relationship::many_to_many(schema, one),
            Self::OptionSet(choices) => option_set::members(choices),
        };
        let id = self.metadata_id(schema);
        members.insert("MetadataId".to_owned(), Value::String(id.to_string()));
        members.insert("HasChanged".to_owned(), Value::Null);
        members
    }

    /// What a navigation property of its type leads to.
    pub(super) fn related(&self, schema: &'a Schema, property: &str) -> Option<Related<'a>> {
        match self {
            Self::Entity(index, table) => of_table(schema, *index, table, property),
            Self::Attribute(table, _, column) => of_column(schema, table, column, property),
            _ => None,
        }
    }
}

fn of_table<'a>(
    schema: &'a Schema,
    index: TableIndex,
    table: &'a Table,
    property: &str,
) -> Option<Related<'a>> {
    let one_to_many = |wanted: &dyn Fn(&Relationship) -> bool| -> Vec<Item<'a>> {
        let all = schema.relationships.iter();
        all.filter(|one| wanted(one)).map(Item::OneToMany).collect()
    };
    Some(Related::Many(match property {
        "Attributes" => attributes(table),
        "Keys" => table.keys.iter().map(|key| Item::Key(table, key)).collect(),
        // Owners are of a table of their own, which users and teams are not.
        "OneToManyRelationships" => {
            one_to_many(&|one| one.referenced == index && one.also.is_empty())
        }
        "ManyToOneRelationships" => one_to_many(&|one| one.referencing == index),
        "ManyToManyRelationships" => {
            let all = schema.many_to_many.iter();
            all.filter(|one| one.first == index || one.second == index)
                .map(Item::ManyToMany)
                .collect()
        }
        _ => return None,
    }))
}

fn attributes(table: &Table) -> Vec<Item<'_>> {
    let columns = table.columns.iter().enumerate();
    columns
        .map(|(position, column)| Item::Attribute(table, position, column))
        .collect()
}

fn of_column<'a>(
    schema: &'a Schema,
    table: &'a Table,
    column: &'a Column,
    property: &str,
) -> Option<Related<'a>> {
    let own = match &column.kind {
        Kind::Choice { .. }
        | Kind::Choices { .. }
        | Kind::State { .. }
        | Kind::Status { .. }
        | Kind::Boolean { .. } => Some(Item::OptionSet(Choices::Own(table, column))),
        _ => None,
    };
    let global: Option<&OptionSet> = match &column.kind {
        Kind::Choice { global, .. } | Kind::Choices { global, .. } => global
            .as_ref()
            .and_then(|name| schema.option_sets.iter().find(|set| &set.name == name)),
        _ => None,
    };
    let global = global.map(|set| Item::OptionSet(Choices::Global(set)));
    Some(Related::One(match property {
        "OptionSet" => global.or(own),
        "GlobalOptionSet" => global,
        _ => return None,
    }))
}

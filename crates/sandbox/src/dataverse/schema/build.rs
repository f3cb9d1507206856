//! Turns the written form into tables with their columns, relationships and navigation
//! properties, and refuses what does not fit together.

mod check;
mod relationships;

use std::collections::{HashMap, HashSet};

use check::check;
use relationships::{associate, inherit, relate};

use super::kinds;
use super::model::{
    AlternateKey, Column, Kind, OptionSet, Ownership, Required, Schema, Table, TableIndex,
    TableKind,
};
use super::raw::{RawColumn, RawKind, RawLink, RawSchema, RawTable};

/// Builds a schema.
///
/// # Errors
/// When two things bear one name, or something refers to what is not there; the text names the
/// table and the column.
pub(super) fn build(raw: &RawSchema) -> Result<Schema, String> {
    let mut schema = Schema::empty();
    for set in &raw.choices {
        schema.option_sets.push(OptionSet {
            name: set.name.clone(),
            label: set.label.clone(),
            options: kinds::choices(&set.options),
            custom: set.custom,
        });
    }
    let mut written = Vec::with_capacity(raw.tables.len() + raw.links.len());
    for table in &raw.tables {
        written.push((table, columns_of(raw, table)?));
    }
    let intersects: Vec<RawTable> = raw.links.iter().map(intersect).collect();
    for table in &intersects {
        written.push((table, table.columns.clone()));
    }
    for (table, _) in &written {
        register(&mut schema, table)?;
    }
    for (index, (table, columns)) in written.iter().enumerate() {
        fill(&mut schema, index, table, columns)?;
    }
    for (index, (table, columns)) in written.iter().enumerate() {
        relate(&mut schema, index, table, columns)?;
    }
    for link in &raw.links {
        associate(&mut schema, link)?;
    }
    inherit(&mut schema);
    check(&schema)?;
    Ok(schema)
}

/// Its own columns and those of the groups that it includes; its own win.
fn columns_of(raw: &RawSchema, table: &RawTable) -> Result<Vec<RawColumn>, String> {
    let mut columns = table.columns.clone();
    let mut known: HashSet<String> = columns.iter().map(|column| column.name.clone()).collect();
    for group in &table.include {
        let shared = raw.groups.get(group).ok_or_else(|| {
            format!(
                "the table {} includes '{group}', which is no group",
                table.name
            )
        })?;
        for column in shared {
            if known.insert(column.name.clone()) {
                columns.push(included(column, table));
            }
        }
    }
    Ok(columns)
}

/// A group's column as it is in one table: its relationships bear the table's name.
fn included(column: &RawColumn, table: &RawTable) -> RawColumn {
    let mut own = column.clone();
    for (target, relationship) in &mut own.to {
        let named = table
            .relationships
            .get(&format!("{}>{target}", column.name));
        *relationship = named.cloned().unwrap_or_else(|| {
            relationship
                .replace("{table}", &table.name)
                .replace("{schema}", &table.schema)
                .replace("{set}", &table.set)
        });
    }
    own
}

/// The table of pairs behind a many-to-many relationship.
fn intersect(link: &RawLink) -> RawTable {
    let mut columns = vec![RawColumn::new(
        &format!("{}id", link.intersect),
        &format!("{}Id", link.intersect),
        &link.intersect,
        RawKind::Key,
    )];
    columns.extend(link.columns.iter().cloned());
    for name in [&link.first_column, &link.second_column] {
        columns.push(RawColumn {
            access: "r".to_owned(),
            index: true,
            ..RawColumn::new(name, name, name, RawKind::Guid)
        });
    }
    columns.push(RawColumn {
        access: "r".to_owned(),
        ..RawColumn::new(
            "versionnumber",
            "VersionNumber",
            "Version Number",
            RawKind::Version,
        )
    });
    RawTable {
        name: link.intersect.clone(),
        schema: link.intersect.clone(),
        set: link.set.clone(),
        key: format!("{}id", link.intersect),
        title: String::new(),
        code: link.code,
        label: link.intersect.clone(),
        plural: link.intersect.clone(),
        kind: TableKind::Intersect,
        ownership: Ownership::None,
        changes: false,
        concurrency: false,
        duplicates: false,
        privilege: None,
        include: Vec::new(),
        relationships: HashMap::new(),
        navigation: HashMap::new(),
        columns,
        keys: Vec::new(),
        description: String::new(),
        id: None,
        custom: link.custom,
    }
}

/// Gives a table its place, so that lookups can point at it.
fn register(schema: &mut Schema, raw: &RawTable) -> Result<(), String> {
    let index = schema.tables.len();
    if schema.by_name.insert(raw.name.clone(), index).is_some() {
        return Err(format!("there are two tables named {}", raw.name));
    }
    if schema.by_set.insert(raw.set.clone(), index).is_some() {
        return Err(format!(
            "the entity set {} of the table {} is taken",
            raw.set, raw.name
        ));
    }
    let activity = raw.kind == TableKind::Activity || raw.kind == TableKind::ActivityPointer;
    let noun = match &raw.privilege {
        Some(noun) => noun.clone(),
        None if activity => "Activity".to_owned(),
        None => raw.schema.clone(),
    };
    schema.tables.push(Table {
        name: raw.name.clone(),
        schema_name: raw.schema.clone(),
        set: raw.set.clone(),
        key: raw.key.clone(),
        title: raw.title.clone(),
        type_code: raw.code,
        label: raw.label.clone(),
        label_plural: raw.plural.clone(),
        description: raw.description.clone(),
        kind: raw.kind,
        ownership: raw.ownership,
        custom: raw.custom,
        change_tracking: raw.changes,
        optimistic_concurrency: raw.concurrency,
        duplicate_detection: raw.duplicates,
        privilege: noun,
        columns: Vec::new(),
        keys: Vec::new(),
        known_id: raw.id,
        by_column: HashMap::new(),
        single: HashMap::new(),
        collections: HashMap::new(),
    });
    Ok(())
}

/// Gives a table its columns and alternate keys.
fn fill(
    schema: &mut Schema,
    index: TableIndex,
    raw: &RawTable,
    columns: &[RawColumn],
) -> Result<(), String> {
    let mut built = Vec::with_capacity(columns.len());
    let mut by_column = HashMap::with_capacity(columns.len());
    for column in columns {
        let place = format!("the column {} of the table {}", column.name, raw.name);
        let kind = kinds::kind(schema, column, columns).map_err(|why| format!("{place} {why}"))?;
        if by_column.insert(column.name.clone(), built.len()).is_some() {
            return Err(format!("{place} is there twice"));
        }
        built.push(Column {
            name: column.name.clone(),
            schema_name: column.schema.clone(),
            label: column.label.clone(),
            required: if kind == Kind::Key {
                Required::System
            } else {
                column.required
            },
            access: kinds::access(&column.access),
            custom: column.custom,
            indexed: column.index,
            format: kinds::format(column).map_err(|why| format!("{place} {why}"))?,
            auto_number: column.auto.clone(),
            description: column.description.clone(),
            known_id: column.id,
            kind,
        });
    }
    let keys = raw.keys.iter().map(|key| AlternateKey {
        name: key.name.clone(),
        schema_name: key.schema.clone(),
        label: key.label.clone(),
        columns: key.columns.clone(),
    });
    let keys: Vec<AlternateKey> = keys.collect();
    if let Some(table) = schema.tables.get_mut(index) {
        table.columns = built;
        table.by_column = by_column;
        table.keys = keys;
    }
    Ok(())
}

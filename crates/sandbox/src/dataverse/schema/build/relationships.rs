//! Relationships of lookups and tables of pairs, and the navigation properties on both ends.

use std::collections::HashMap;

use super::super::model::{
    Collection, CollectionBy, ManyToMany, OnDelete, Relationship, Schema, Side, Single, Table,
    TableIndex, TableKind,
};
use super::super::raw::{RawColumn, RawDelete, RawKind, RawLink, RawTable};

/// Makes the relationships of a table's lookups, and the navigation properties on both ends.
pub(super) fn relate(
    schema: &mut Schema,
    index: TableIndex,
    raw: &RawTable,
    columns: &[RawColumn],
) -> Result<(), String> {
    for (position, column) in columns.iter().enumerate() {
        if column.kind == RawKind::Owner {
            relate_owner(schema, index, raw, column, position)?;
            continue;
        }
        for (target, name) in &column.to {
            let Some(referenced) = schema.index_of(target) else {
                return Err(format!(
                    "the column {} of the table {} points at '{target}', which is no table",
                    column.name, raw.name
                ));
            };
            let named = raw.navigation.get(name);
            let short = short_name(column, target);
            let single = match named.and_then(|given| given.single.clone()) {
                Some(given) => given,
                None if own_to_activity(schema, raw, column) => format!("{short}_{}", raw.name),
                None => short.clone(),
            };
            let collection = named
                .and_then(|given| given.collection.clone())
                .unwrap_or_else(|| name.clone());
            let relationship = schema.relationships.len();
            schema.relationships.push(Relationship {
                schema_name: name.clone(),
                referenced,
                also: Vec::new(),
                referencing: index,
                column: column.name.clone(),
                single: single.clone(),
                collection: collection.clone(),
                on_delete: on_delete(named.and_then(|given| given.delete).or(column.delete)),
                custom: column.custom || raw.custom,
            });
            let single = Single {
                name: single,
                column: position,
                target: referenced,
                also: Vec::new(),
                relationship,
            };
            add_single(schema, index, single)?;
            let collection = Collection {
                name: collection,
                target: index,
                by: CollectionBy::OneToMany(relationship),
            };
            add_collection(schema, referenced, collection)?;
        }
    }
    Ok(())
}

/// An owner is a user or a team: one property leads to both, and both have the collection.
fn relate_owner(
    schema: &mut Schema,
    index: TableIndex,
    raw: &RawTable,
    column: &RawColumn,
    position: usize,
) -> Result<(), String> {
    let (Some(users), Some(teams)) = (schema.index_of("systemuser"), schema.index_of("team"))
    else {
        return Err("the tables systemuser and team are missing".to_owned());
    };
    let name = column
        .to
        .values()
        .next()
        .cloned()
        .unwrap_or_else(|| format!("owner_{}", raw.set));
    let single = if own_to_activity(schema, raw, column) {
        format!("{}_{}", column.name, raw.name)
    } else {
        column.name.clone()
    };
    let relationship = schema.relationships.len();
    schema.relationships.push(Relationship {
        schema_name: name.clone(),
        referenced: users,
        also: vec![teams],
        referencing: index,
        column: column.name.clone(),
        single: single.clone(),
        collection: name.clone(),
        on_delete: OnDelete::NoCascade,
        custom: raw.custom,
    });
    let single = Single {
        name: single,
        column: position,
        target: users,
        also: vec![teams],
        relationship,
    };
    add_single(schema, index, single)?;
    for principal in [users, teams] {
        let collection = Collection {
            name: name.clone(),
            target: index,
            by: CollectionBy::OneToMany(relationship),
        };
        add_collection(schema, principal, collection)?;
    }
    Ok(())
}

/// Name of the property when it bears no activity's name: that of the column, with the target
/// when there are several. Custom ones are written as their schema name is.
fn short_name(column: &RawColumn, target: &str) -> String {
    let own = if column.custom {
        &column.schema
    } else {
        &column.name
    };
    if column.to.len() > 1 {
        format!("{own}_{target}")
    } else {
        own.clone()
    }
}

/// Whether an activity has the column from `activitypointer`, whose property of the short name it
/// inherits: its own then bears its name too.
fn own_to_activity(schema: &Schema, raw: &RawTable, column: &RawColumn) -> bool {
    raw.kind == TableKind::Activity
        && schema
            .by_name("activitypointer")
            .is_some_and(|pointer| pointer.column(&column.name).is_some())
}

/// Lets activities answer to the navigation properties of `activitypointer` as well.
pub(super) fn inherit(schema: &mut Schema) {
    let Some(pointer) = schema.by_name("activitypointer") else {
        return;
    };
    let pointer = pointer.columns.iter().enumerate();
    let names: HashMap<usize, String> = pointer
        .map(|(position, column)| (position, column.name.clone()))
        .collect();
    let singles: Vec<(String, Single)> = schema
        .by_name("activitypointer")
        .into_iter()
        .flat_map(Table::singles)
        .filter_map(|single| Some((names.get(&single.column)?.clone(), single.clone())))
        .collect();
    let collections: Vec<Collection> = schema
        .by_name("activitypointer")
        .into_iter()
        .flat_map(Table::collections)
        .cloned()
        .collect();
    for table in &mut schema.tables {
        if table.kind != TableKind::Activity {
            continue;
        }
        for (column, inherited) in &singles {
            let Some(own) = table.navigation_of(column, inherited.target).cloned() else {
                continue;
            };
            let name = inherited.name.clone();
            let alias = Single {
                name: name.clone(),
                ..own
            };
            table.single.entry(name).or_insert(alias);
        }
        for collection in &collections {
            table
                .collections
                .entry(collection.name.clone())
                .or_insert_with(|| collection.clone());
        }
    }
}

pub(super) fn associate(schema: &mut Schema, raw: &RawLink) -> Result<(), String> {
    let find = |name: &str| {
        schema.index_of(name).ok_or_else(|| {
            format!(
                "the relationship {} joins '{name}', which is no table",
                raw.schema
            )
        })
    };
    let (first, second, pairs) = (find(&raw.first)?, find(&raw.second)?, find(&raw.intersect)?);
    let own = |name: &Option<String>| name.clone().unwrap_or_else(|| raw.schema.clone());
    let link = schema.many_to_many.len();
    schema.many_to_many.push(ManyToMany {
        schema_name: raw.schema.clone(),
        first,
        second,
        intersect: pairs,
        first_column: raw.first_column.clone(),
        second_column: raw.second_column.clone(),
        first_navigation: own(&raw.first_navigation),
        second_navigation: own(&raw.second_navigation),
        custom: raw.custom,
    });
    let ends = [
        (first, second, &raw.first_navigation, Side::First),
        (second, first, &raw.second_navigation, Side::Second),
    ];
    for (here, there, name, side) in ends {
        let collection = Collection {
            name: own(name),
            target: there,
            by: CollectionBy::ManyToMany(link, side),
        };
        add_collection(schema, here, collection)?;
    }
    Ok(())
}

fn add_single(schema: &mut Schema, index: TableIndex, single: Single) -> Result<(), String> {
    let Some(table) = schema.tables.get_mut(index) else {
        return Ok(());
    };
    let name = single.name.clone();
    let is_column = table
        .column(&name)
        .is_some_and(|column| !column.is_lookup());
    if is_column || table.single.insert(name.clone(), single).is_some() {
        return Err(format!("the table {} has '{name}' twice", table.name));
    }
    Ok(())
}

fn add_collection(
    schema: &mut Schema,
    index: TableIndex,
    collection: Collection,
) -> Result<(), String> {
    let Some(table) = schema.tables.get_mut(index) else {
        return Ok(());
    };
    let name = collection.name.clone();
    let taken = table.single.contains_key(&name)
        || table.collections.insert(name.clone(), collection).is_some();
    if taken {
        return Err(format!("the table {} has '{name}' twice", table.name));
    }
    Ok(())
}

fn on_delete(raw: Option<RawDelete>) -> OnDelete {
    match raw {
        None | Some(RawDelete::RemoveLink) => OnDelete::RemoveLink,
        Some(RawDelete::Cascade) => OnDelete::Cascade,
        Some(RawDelete::Restrict) => OnDelete::Restrict,
        Some(RawDelete::NoCascade) => OnDelete::NoCascade,
    }
}

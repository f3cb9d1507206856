//! Turns the written form into tables with their columns, relationships and navigation
//! properties, and refuses what does not fit together.

use std::collections::{HashMap, HashSet};

use super::kinds;
use super::model::{
    AlternateKey, Collection, CollectionBy, Column, Kind, ManyToMany, OnDelete, OptionSet,
    Ownership, Relationship, Required, Schema, Side, Single, Table, TableIndex, TableKind,
};
use super::raw::{RawColumn, RawDelete, RawKind, RawLink, RawSchema, RawTable};

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

/// Makes the relationships of a table's lookups, and the navigation properties on both ends.
fn relate(
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
                on_delete: on_delete(column.delete),
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
fn inherit(schema: &mut Schema) {
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

fn associate(schema: &mut Schema, raw: &RawLink) -> Result<(), String> {
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

/// What the parts cannot see by themselves.
fn check(schema: &Schema) -> Result<(), String> {
    let mut seen = HashSet::new();
    let one_to_many = schema.relationships.iter().map(|one| &one.schema_name);
    let many_to_many = schema.many_to_many.iter().map(|one| &one.schema_name);
    for name in one_to_many.chain(many_to_many) {
        if !seen.insert(name.to_lowercase()) {
            return Err(format!("there are two relationships named {name}"));
        }
    }
    for table in &schema.tables {
        check_table(table)?;
    }
    Ok(())
}

fn check_table(table: &Table) -> Result<(), String> {
    let name = &table.name;
    if !matches!(
        table.column(&table.key).map(|key| &key.kind),
        Some(Kind::Key)
    ) {
        return Err(format!(
            "the table {name} has no key column '{}'",
            table.key
        ));
    }
    if !table.title.is_empty() && table.column(&table.title).is_none() {
        return Err(format!(
            "the table {name} has no column '{}' to name rows",
            table.title
        ));
    }
    for key in &table.keys {
        for column in &key.columns {
            if table.column(column).is_none() {
                return Err(format!(
                    "the key {} of the table {name} names '{column}', which is no column",
                    key.name
                ));
            }
        }
    }
    let states: Vec<i64> = table.states().iter().map(|state| state.value).collect();
    let reasons: Vec<i64> = table.statuses().iter().map(|reason| reason.value).collect();
    for reason in table.statuses() {
        if !states.contains(&reason.state) {
            return Err(format!(
                "the status reason {} of the table {name} belongs to no state",
                reason.value
            ));
        }
    }
    for state in table.states() {
        if !reasons.contains(&state.default_status) {
            return Err(format!(
                "the state {} of the table {name} has no status reason {}",
                state.value, state.default_status
            ));
        }
    }
    Ok(())
}

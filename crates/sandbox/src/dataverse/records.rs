//! Cells of rows: how they are kept, put in and taken out. Nothing here decides whether something
//! may be done.

use std::collections::BTreeMap;

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use uuid::Uuid;

use crate::dataverse::schema::{Column, Schema, Table};
use crate::dataverse::store::{self, quoted, type_column};

/// What a column holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell {
    Value(Value),
    /// A row of a table, by its logical name.
    Row(String, Uuid),
}

/// Cells by the names of their columns.
pub(crate) type Cells = BTreeMap<String, Cell>;

impl Cell {
    pub(crate) const NULL: Cell = Cell::Value(Value::Null);

    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Value(Value::Text(text.into()))
    }

    pub(crate) fn whole(whole: impl Into<i64>) -> Self {
        Self::Value(Value::Integer(whole.into()))
    }

    pub(crate) fn row(table: &str, id: Uuid) -> Self {
        Self::Row(table.to_owned(), id)
    }

    pub(crate) fn is_null(&self) -> bool {
        *self == Self::NULL
    }

    pub(crate) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Value(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn as_whole(&self) -> Option<i64> {
        match self {
            Self::Value(Value::Integer(whole)) => Some(*whole),
            _ => None,
        }
    }

    pub(crate) fn as_row(&self) -> Option<(&str, Uuid)> {
        match self {
            Self::Row(table, id) => Some((table, *id)),
            Self::Value(_) => None,
        }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

impl From<i64> for Cell {
    fn from(whole: i64) -> Self {
        Self::whole(whole)
    }
}

impl From<i32> for Cell {
    fn from(whole: i32) -> Self {
        Self::whole(whole)
    }
}

impl From<f64> for Cell {
    fn from(real: f64) -> Self {
        Self::Value(Value::Real(real))
    }
}

impl From<bool> for Cell {
    fn from(value: bool) -> Self {
        Self::whole(i64::from(value))
    }
}

/// Whether a column is kept in its table at all.
fn kept(column: &Column) -> bool {
    use crate::dataverse::schema::Kind;
    !matches!(column.kind, Kind::Parties { .. } | Kind::Image)
}

/// The SQL columns and values of cells: a lookup with several targets has two.
fn assignments(table: &Table, cells: &Cells) -> (Vec<String>, Vec<Value>) {
    let (mut names, mut values) = (Vec::new(), Vec::new());
    for (name, cell) in cells {
        let Some(column) = table.column(name).filter(|column| kept(column)) else {
            continue;
        };
        let several = column.has_several_targets();
        let (value, target) = match cell {
            Cell::Value(value) => (value.clone(), Value::Null),
            Cell::Row(target, id) => (Value::Text(id.to_string()), Value::Text(target.clone())),
        };
        names.push(quoted(name));
        values.push(value);
        if several {
            names.push(quoted(&type_column(name)));
            values.push(target);
        }
    }
    (names, values)
}

/// Puts a row in, with a version of its own. The key is among the cells.
pub(crate) fn insert(db: &Connection, table: &Table, cells: &Cells) -> rusqlite::Result<i64> {
    let version = store::next_version(db)?;
    let (mut names, mut values) = assignments(table, cells);
    if table.column("versionnumber").is_some() {
        names.push(quoted("versionnumber"));
        values.push(Value::Integer(version));
    }
    // As an owner, a user or a team goes by the same key.
    if table.is_principal()
        && !cells.contains_key("ownerid")
        && let Some(key) = cells.get(&table.key).and_then(Cell::as_text)
    {
        names.push(quoted("ownerid"));
        values.push(Value::Text(key.to_owned()));
    }
    let marks = vec!["?"; values.len()].join(", ");
    let sql = format!(
        "INSERT INTO {} ({}) VALUES ({marks})",
        quoted(&table.name),
        names.join(", ")
    );
    db.prepare_cached(&sql)?.execute(params_from_iter(values))?;
    Ok(version)
}

/// Changes cells of a row, which gets a new version. None when there is no such row.
pub(crate) fn update(
    db: &Connection,
    table: &Table,
    id: Uuid,
    cells: &Cells,
) -> rusqlite::Result<Option<i64>> {
    let version = store::next_version(db)?;
    let (mut names, mut values) = assignments(table, cells);
    if table.column("versionnumber").is_some() {
        names.push(quoted("versionnumber"));
        values.push(Value::Integer(version));
    }
    let sets: Vec<String> = names.iter().map(|name| format!("{name} = ?")).collect();
    values.push(Value::Text(id.to_string()));
    let sql = format!(
        "UPDATE {} SET {} WHERE {} = ?",
        quoted(&table.name),
        sets.join(", "),
        quoted(&table.key)
    );
    let changed = db.prepare_cached(&sql)?.execute(params_from_iter(values))?;
    Ok((changed == 1).then_some(version))
}

/// Takes a row out and remembers that it was there. False when it was not.
pub(crate) fn delete(db: &Connection, table: &Table, id: Uuid, at: i64) -> rusqlite::Result<bool> {
    let sql = format!(
        "DELETE FROM {} WHERE {} = ?1",
        quoted(&table.name),
        quoted(&table.key)
    );
    let gone = db.prepare_cached(&sql)?.execute([id.to_string()])? == 1;
    if gone && table.change_tracking {
        let version = store::next_version(db)?;
        let sql = format!(
            "INSERT OR REPLACE INTO {} (tbl, id, version, at) VALUES (?1, ?2, ?3, ?4)",
            store::DELETED
        );
        db.prepare_cached(&sql)?.execute(rusqlite::params![
            table.name,
            id.to_string(),
            version,
            at
        ])?;
    }
    Ok(gone)
}

/// The cells of a row that are not empty, all of them; none when there is no such row.
pub(crate) fn load(
    db: &Connection,
    schema: &Schema,
    table: &Table,
    id: Uuid,
) -> rusqlite::Result<Option<Cells>> {
    let columns: Vec<&Column> = table.columns.iter().filter(|column| kept(column)).collect();
    let names: Vec<String> = columns
        .iter()
        .flat_map(|column| {
            let own = quoted(&column.name);
            let target = column
                .has_several_targets()
                .then(|| quoted(&type_column(&column.name)));
            std::iter::once(own).chain(target)
        })
        .collect();
    let sql = format!(
        "SELECT {} FROM {} WHERE {} = ?1",
        names.join(", "),
        quoted(&table.name),
        quoted(&table.key)
    );
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query([id.to_string()])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let (mut cells, mut at) = (Cells::new(), 0);
    for column in columns {
        let value: Value = row.get(at)?;
        let target: Option<String> = if column.has_several_targets() {
            row.get(at + 1)?
        } else {
            None
        };
        at += 1 + usize::from(column.has_several_targets());
        if let Some(cell) = cell(schema, column, value, target) {
            cells.insert(column.name.clone(), cell);
        }
    }
    Ok(Some(cells))
}

/// What a column's value means; none when it is empty.
pub(crate) fn cell(
    schema: &Schema,
    column: &Column,
    value: Value,
    target: Option<String>,
) -> Option<Cell> {
    use crate::dataverse::schema::Kind;
    match (&column.kind, value) {
        (_, Value::Null) => None,
        (Kind::Lookup { targets, .. }, Value::Text(text)) => {
            let id = text.parse().ok()?;
            let only = || targets.first().map(|only| schema.table(*only).name.clone());
            Some(Cell::Row(target.or_else(only)?, id))
        }
        (_, value) => Some(Cell::Value(value)),
    }
}

/// Whether there is a row with this key.
pub(crate) fn exists(db: &Connection, table: &Table, id: Uuid) -> rusqlite::Result<bool> {
    let sql = format!(
        "SELECT 1 FROM {} WHERE {} = ?1",
        quoted(&table.name),
        quoted(&table.key)
    );
    db.prepare_cached(&sql)?.exists([id.to_string()])
}

/// The version of a row; none when there is no such row.
pub(crate) fn version(db: &Connection, table: &Table, id: Uuid) -> rusqlite::Result<Option<i64>> {
    use rusqlite::OptionalExtension as _;
    let sql = format!(
        "SELECT versionnumber FROM {} WHERE {} = ?1",
        quoted(&table.name),
        quoted(&table.key)
    );
    let found = db
        .prepare_cached(&sql)?
        .query_row([id.to_string()], |row| row.get::<_, Option<i64>>(0));
    Ok(found.optional()?.flatten())
}

/// What names a row, for people.
pub(crate) fn title(db: &Connection, table: &Table, id: Uuid) -> rusqlite::Result<Option<String>> {
    use rusqlite::OptionalExtension as _;
    if table.column(&table.title).is_none() {
        return Ok(None);
    }
    let sql = format!(
        "SELECT {} FROM {} WHERE {} = ?1",
        quoted(&table.title),
        quoted(&table.name),
        quoted(&table.key)
    );
    let found = db
        .prepare_cached(&sql)?
        .query_row([id.to_string()], |row| row.get::<_, Option<String>>(0));
    Ok(found.optional()?.flatten())
}

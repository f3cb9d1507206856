//! The database's own tables, made from the schema. A column that the schema gained since the file
//! was made is added; nothing is ever dropped.

use std::collections::HashSet;
use std::fmt::Write as _;

use rusqlite::Connection;

use crate::dataverse::schema::{Column, Kind, OnDelete, Schema, Table};
use crate::dataverse::store::text::COLLATION;

/// Rows that were deleted, for change tracking.
pub(crate) const DELETED: &str = "_deleted";

const OWN: &str = "
CREATE TABLE IF NOT EXISTS _counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
INSERT OR IGNORE INTO _counter (name, value) VALUES ('version', 1000000);
CREATE TABLE IF NOT EXISTS _note (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS _deleted (
    tbl TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY (tbl, id)
) STRICT;
CREATE INDEX IF NOT EXISTS _deleted_version ON _deleted (tbl, version);
";

/// An identifier in SQL. Names come from the schema, whose names hold letters, digits and `_`.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Where the target's table of a lookup with several targets is kept.
pub(crate) fn type_column(column: &str) -> String {
    format!("{column}#type")
}

pub(super) fn build(connection: &Connection, schema: &Schema) -> rusqlite::Result<()> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let built = connection.execute_batch(OWN).and_then(|()| {
        let mut tables = schema.tables.iter();
        tables.try_for_each(|table| build_table(connection, table))
    });
    connection.execute_batch(if built.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
    built
}

/// Makes the indexes that are missing. Apart from the tables: an index of rows that are there is
/// made several times quicker than one that grows with each of them.
pub(super) fn index(connection: &Connection, schema: &Schema) -> rusqlite::Result<()> {
    let mut tables = schema.tables.iter();
    tables.try_for_each(|table| connection.execute_batch(&indexes(table)))?;
    connection.execute_batch(&link_indexes(schema))
}

fn build_table(connection: &Connection, table: &Table) -> rusqlite::Result<()> {
    let name = quoted(&table.name);
    let known = columns_of(connection, &table.name)?;
    if known.is_empty() {
        // SQLite reads a row from its beginning to the column that it wants.
        let (first, rest): (Vec<&Column>, Vec<&Column>) =
            table.columns.iter().partition(|column| {
                column.indexed || column.kind == Kind::Key || column.kind == Kind::Version
            });
        let columns = first.into_iter().chain(rest).flat_map(definitions);
        let columns: Vec<String> = columns.collect();
        connection.execute_batch(&format!(
            "CREATE TABLE {name} ({}) STRICT",
            columns.join(", ")
        ))?;
    } else {
        for column in &table.columns {
            let missing = definitions(column).into_iter().filter(|definition| {
                let own = definition.split('"').nth(1).unwrap_or_default();
                !known.contains(own)
            });
            for definition in missing {
                connection.execute_batch(&format!("ALTER TABLE {name} ADD COLUMN {definition}"))?;
            }
        }
    }
    Ok(())
}

fn columns_of(connection: &Connection, table: &str) -> rusqlite::Result<HashSet<String>> {
    let mut statement = connection.prepare("SELECT name FROM pragma_table_info(?1)")?;
    let names = statement.query_map([table], |row| row.get(0))?;
    names.collect()
}

/// How a column is kept: none for parties (rows of their own) and images.
fn definitions(column: &Column) -> Vec<String> {
    let name = quoted(&column.name);
    let kept = match &column.kind {
        Kind::Text { .. } | Kind::Memo { .. } | Kind::EntityName => {
            format!("TEXT COLLATE {COLLATION}")
        }
        Kind::Choices { .. } | Kind::Guid | Kind::Lookup { .. } => "TEXT".to_owned(),
        Kind::Key => "TEXT PRIMARY KEY NOT NULL".to_owned(),
        Kind::Decimal { .. } | Kind::Double { .. } | Kind::Money { .. } => "REAL".to_owned(),
        Kind::Parties { .. } | Kind::Image => return Vec::new(),
        _ => "INTEGER".to_owned(),
    };
    let mut all = vec![format!("{name} {kept}")];
    if column.has_several_targets() {
        all.push(format!("{} TEXT", quoted(&type_column(&column.name))));
    }
    all
}

/// An index holds the key as well: pages are cut by it, and rows that are alike are ordered by it.
fn indexes(table: &Table) -> String {
    let (name, key) = (quoted(&table.name), quoted(&table.key));
    let mut text = String::new();
    for column in table
        .columns
        .iter()
        .filter(|column| column.indexed || column.kind == Kind::Version)
    {
        let index = quoted(&format!("{}.{}", table.name, column.name));
        let _ = write!(
            text,
            "CREATE INDEX IF NOT EXISTS {index} ON {name} ({}, {key});",
            quoted(&column.name)
        );
    }
    for own in &table.keys {
        let index = quoted(&format!("{}#{}", table.name, own.name));
        let columns: Vec<String> = own.columns.iter().map(|column| quoted(column)).collect();
        let some: Vec<String> = columns
            .iter()
            .map(|column| format!("{column} IS NOT NULL"))
            .collect();
        let _ = write!(
            text,
            "CREATE UNIQUE INDEX IF NOT EXISTS {index} ON {name} ({}) WHERE {};",
            columns.join(", "),
            some.join(" AND ")
        );
    }
    text
}

/// A delete looks for the rows that point at the deleted one. Lookups that are seldom filled have an
/// index of just the rows where they are: it costs nothing while they are empty.
fn link_indexes(schema: &Schema) -> String {
    let mut text = String::new();
    for relationship in &schema.relationships {
        let table = schema.table(relationship.referencing);
        let matters = relationship.on_delete != OnDelete::NoCascade;
        let Some(column) = table
            .column(&relationship.column)
            .filter(|column| matters && !column.indexed)
        else {
            continue;
        };
        let index = quoted(&format!("{}.{}", table.name, column.name));
        let (name, column) = (quoted(&table.name), quoted(&column.name));
        let _ = write!(
            text,
            "CREATE INDEX IF NOT EXISTS {index} ON {name} ({column}) WHERE {column} IS NOT NULL;"
        );
    }
    text
}

impl Column {
    /// Whether the table of the row that it points at has to be kept beside the row's id.
    pub(crate) fn has_several_targets(&self) -> bool {
        matches!(&self.kind, Kind::Lookup { targets, .. } if targets.len() > 1)
    }
}

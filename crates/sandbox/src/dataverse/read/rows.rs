//! Rows of a query, with their cells.

use rusqlite::params_from_iter;
use rusqlite::types::Value;
use uuid::Uuid;

use crate::dataverse::context::Context;
use crate::dataverse::error::Outcome;
use crate::dataverse::plan::{Query, Source, Statement, Term};
use crate::dataverse::records::{self, Cell};
use crate::dataverse::schema::Column;

/// A row: its key, its version, and a cell for each column that was asked for.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) id: Uuid,
    pub(crate) version: i64,
    pub(crate) cells: Vec<Option<Cell>>,
    /// Further values, for those who asked for further terms.
    pub(crate) extra: Vec<Value>,
}

impl Row {
    pub(crate) fn etag(&self) -> String {
        format!("W/\"{}\"", self.version)
    }
}

/// How many SQL columns stand in front of the cells.
const FRONT: usize = 2;

/// The terms that show columns of a source; [`read`] understands their values.
fn terms<'s>(source: Source<'s>, columns: &[&'s Column]) -> Vec<Term<'s>> {
    let version = source
        .term("versionnumber")
        .unwrap_or(Term::Value(Value::Integer(0)));
    let mut terms = vec![source.key(), version];
    for column in columns {
        terms.push(Term::Column(source.id, column));
        if column.has_several_targets() {
            terms.push(Term::Target(source.id, column));
        }
    }
    terms
}

/// Runs a query that shows columns of a source, and further terms.
pub(crate) fn fetch<'s>(
    context: &Context<'s>,
    query: &mut Query<'s>,
    source: Source<'s>,
    columns: &[&'s Column],
    extra: Vec<Term<'s>>,
) -> Outcome<Vec<Row>> {
    query.columns = terms(source, columns);
    query.columns.extend(extra);
    run(context, Statement::rows(query), columns, 0)
}

/// The same, with the first rows of each value of a term, which stands in front.
pub(crate) fn fetch_ranked<'s>(
    context: &Context<'s>,
    query: &mut Query<'s>,
    source: Source<'s>,
    columns: &[&'s Column],
    group: Term<'s>,
    limit: u64,
) -> Outcome<Vec<(String, Row)>> {
    query.columns = vec![group];
    query.columns.extend(terms(source, columns));
    let rows = run(context, Statement::ranked(query, limit), columns, 1)?;
    let grouped = rows.into_iter().map(|row| {
        let group = match row.extra.first() {
            Some(Value::Text(text)) => text.clone(),
            _ => String::new(),
        };
        (group, row)
    });
    Ok(grouped.collect())
}

fn run(
    context: &Context<'_>,
    statement: Statement,
    columns: &[&Column],
    lead: usize,
) -> Outcome<Vec<Row>> {
    let mut prepared = context.db.prepare_cached(&statement.sql)?;
    let width = prepared.column_count();
    let mut found = prepared.query(params_from_iter(statement.parameters))?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        let id: Option<String> = row.get(lead)?;
        let version: Option<i64> = row.get(lead + 1)?;
        let mut at = lead + FRONT;
        let mut cells = Vec::with_capacity(columns.len());
        for column in columns {
            let value: Value = row.get(at)?;
            at += 1;
            let target = if column.has_several_targets() {
                at += 1;
                row.get(at - 1)?
            } else {
                None
            };
            cells.push(records::cell(context.schema, column, value, target));
        }
        let mut extra = Vec::new();
        for place in (0..lead).chain(at..width) {
            extra.push(row.get(place)?);
        }
        rows.push(Row {
            id: id.and_then(|id| id.parse().ok()).unwrap_or_default(),
            version: version.unwrap_or_default(),
            cells,
            extra,
        });
    }
    Ok(rows)
}

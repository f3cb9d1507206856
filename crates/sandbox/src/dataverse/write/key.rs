//! Which row a key means: its identifier, or the values of an alternate key.

use axum::http::StatusCode;
use rusqlite::{OptionalExtension as _, params_from_iter, types::Value};
use uuid::Uuid;

use crate::dataverse::context::Context;
use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::odata::{Comparison, Expression, KeyPart, Literal};
use crate::dataverse::plan::literal_value;
use crate::dataverse::records::{self, Cell, Cells, cell};
use crate::dataverse::schema::{Column, Kind, Table};
use crate::dataverse::store::quoted;

#[derive(Debug, Clone)]
pub(crate) enum Key {
    Id(Uuid),
    /// Columns and values of an alternate key.
    Alternate(Vec<(String, Value)>),
}

impl Key {
    /// Reads what stands in the parentheses behind an entity set.
    pub(crate) fn of(context: &Context<'_>, table: &Table, parts: Vec<KeyPart>) -> Outcome<Self> {
        let _ = context;
        if let [
            KeyPart {
                name,
                value: Expression::Literal(Literal::Guid(id)),
            },
        ] = parts.as_slice()
            && name.as_deref().is_none_or(|name| name == table.key)
        {
            return Ok(Self::Id(*id));
        }
        let mut values = Vec::new();
        for part in &parts {
            let Some(name) = part.name.as_deref() else {
                return Err(Fault::syntax(format!(
                    "The key value from request is not valid for the entity set '{}': it takes an identifier, or the columns of an alternate key with their values.",
                    table.set
                )));
            };
            let column = table.readable(name).ok_or_else(|| not_a_key(table))?;
            values.push((column.name.clone(), part_value(column, &part.value)?));
        }
        let defined = table.keys.iter().any(|key| {
            key.columns.len() == values.len()
                && values.iter().all(|(name, _)| key.columns.contains(name))
        });
        if !defined {
            return Err(not_a_key(table));
        }
        Ok(Self::Alternate(values))
    }

    /// The row's identifier; none when no row has these values.
    pub(crate) fn find(&self, context: &Context<'_>, table: &Table) -> Outcome<Option<Uuid>> {
        let values = match self {
            Self::Id(id) => return Ok(Some(*id)),
            Self::Alternate(values) => values,
        };
        let conditions: Vec<String> = values
            .iter()
            .map(|(name, _)| format!("{} = ?", quoted(name)))
            .collect();
        let sql = format!(
            "SELECT {} FROM {} WHERE {}",
            quoted(&table.key),
            quoted(&table.name),
            conditions.join(" AND ")
        );
        let found = context
            .db
            .prepare_cached(&sql)?
            .query_row(
                params_from_iter(values.iter().map(|(_, value)| value)),
                |row| row.get::<_, String>(0),
            )
            .optional()?;
        Ok(found.and_then(|id| id.parse().ok()))
    }

    /// The identifier of a row that an alternate key must lead to.
    pub(crate) fn existing(&self, context: &Context<'_>, table: &Table) -> Outcome<Uuid> {
        self.find(context, table)?.ok_or_else(|| {
            let text = format!(
                "A record with the specified key values does not exist in {} entity",
                table.name
            );
            Fault::new(StatusCode::NOT_FOUND, "0x80060891", text)
        })
    }

    /// The values of an alternate key as cells, for a row that is made by it.
    pub(crate) fn cells(&self, context: &Context<'_>, table: &Table) -> Outcome<Cells> {
        let Self::Alternate(values) = self else {
            return Ok(Cells::new());
        };
        let mut cells = Cells::new();
        for (name, value) in values {
            if let Some(column) = table.column(name) {
                let target = target_of(context, column, value)?;
                let cell = cell(context.schema, column, value.clone(), target);
                cells.insert(name.clone(), cell.unwrap_or(Cell::NULL));
            }
        }
        Ok(cells)
    }
}

/// The table of the row that a lookup in a key leads to, where it could be one of several.
fn target_of(context: &Context<'_>, column: &Column, value: &Value) -> Outcome<Option<String>> {
    let (Kind::Lookup { targets, .. }, Value::Text(text)) = (&column.kind, value) else {
        return Ok(None);
    };
    let Ok(id) = text.parse() else {
        return Ok(None);
    };
    for target in targets.iter().map(|target| context.schema.table(*target)) {
        if records::exists(context.db, target, id)? {
            return Ok(Some(target.name.clone()));
        }
    }
    let names: Vec<&str> = targets
        .iter()
        .map(|target| context.schema.table(*target).name.as_str())
        .collect();
    Err(Fault::no_row(&names.join(" or "), id))
}

fn part_value(column: &Column, value: &Expression) -> Outcome<Value> {
    match value {
        Expression::Literal(literal) => literal_value(column, literal, Comparison::Eq),
        _ => Err(Fault::syntax(format!(
            "The key value of '{}' is not a literal.",
            column.name
        ))),
    }
}

fn not_a_key(table: &Table) -> Fault {
    let text = format!(
        "The specified key attributes are not a defined key for the {} entity",
        table.name
    );
    Fault::new(StatusCode::BAD_REQUEST, "0x80060890", text)
}

//! Money in its row's currency, and the same in the organization's own.

use uuid::Uuid;

use crate::dataverse::context::Context;
use crate::dataverse::error::Outcome;
use crate::dataverse::populate::currency_id;
use crate::dataverse::records::{Cell, Cells};
use crate::dataverse::schema::{Kind, Table};
use crate::dataverse::write::value::rounded;
use rusqlite::types::Value;

const CURRENCY: &str = "transactioncurrencyid";
/// Digits behind the point that the platform keeps in its own currency.
const BASE_PRECISION: u8 = 4;

/// Gives money its currency, the rate of that currency, and the amounts in the organization's own.
pub(super) fn convert(
    context: &Context<'_>,
    table: &Table,
    old: &Cells,
    cells: &mut Cells,
) -> Outcome<()> {
    if table
        .column(CURRENCY)
        .is_none_or(|column| !column.is_lookup())
    {
        return Ok(());
    }
    let mut amounts = amounts(table, cells);
    let currency_changes = cells
        .get(CURRENCY)
        .is_some_and(|cell| old.get(CURRENCY) != Some(cell));
    if amounts.is_empty() && !currency_changes {
        return Ok(());
    }
    if currency_changes {
        let untouched = self::amounts(table, old)
            .into_iter()
            .filter(|(name, _)| !cells.contains_key(name));
        amounts.extend(untouched);
    }
    let given = cells
        .get(CURRENCY)
        .filter(|cell| !cell.is_null())
        .or_else(|| old.get(CURRENCY));
    let currency = match given.and_then(Cell::as_row) {
        Some((_, currency)) => currency,
        None if amounts.iter().all(|(_, amount)| amount.is_none()) => return Ok(()),
        None => currency_id(context.organization.id),
    };
    let rate = rate(context, currency)?;
    cells.insert(
        CURRENCY.to_owned(),
        Cell::row("transactioncurrency", currency),
    );
    if table.column("exchangerate").is_some() {
        cells.insert("exchangerate".to_owned(), Cell::from(rate));
    }
    for (name, amount) in amounts {
        let base = format!("{name}_base");
        if table.column(&base).is_some() {
            let own = amount.map_or(Cell::NULL, |amount| {
                Cell::from(rounded(amount / rate, BASE_PRECISION))
            });
            cells.insert(base, own);
        }
    }
    Ok(())
}

/// The same for a row whose money is in the organization's own currency.
pub(super) fn in_base(table: &Table, cells: &mut Cells) {
    for (name, amount) in amounts(table, cells) {
        let base = format!("{name}_base");
        if let Some(amount) = amount.filter(|_| table.column(&base).is_some()) {
            cells.insert(base, Cell::from(amount));
        }
        if table.column("exchangerate").is_some() {
            cells.insert("exchangerate".to_owned(), Cell::from(1.0));
        }
    }
}

/// Amounts of money among cells, those in the organization's currency apart.
fn amounts(table: &Table, cells: &Cells) -> Vec<(String, Option<f64>)> {
    let money = |name: &str| {
        table
            .column(name)
            .is_some_and(|column| matches!(column.kind, Kind::Money { .. }))
    };
    let all = cells
        .iter()
        .filter(|(name, _)| !name.ends_with("_base") && money(name));
    all.map(|(name, cell)| (name.clone(), real(cell))).collect()
}

fn real(cell: &Cell) -> Option<f64> {
    match cell {
        Cell::Value(Value::Real(real)) => Some(*real),
        _ => None,
    }
}

fn rate(context: &Context<'_>, currency: Uuid) -> Outcome<f64> {
    let sql = "SELECT exchangerate FROM transactioncurrency WHERE transactioncurrencyid = ?1";
    let mut statement = context.db.prepare_cached(sql)?;
    let mut rows = statement.query([currency.to_string()])?;
    let rate: Option<f64> = match rows.next()? {
        Some(row) => row.get(0)?,
        None => None,
    };
    Ok(rate.filter(|rate| *rate > 0.0).unwrap_or(1.0))
}

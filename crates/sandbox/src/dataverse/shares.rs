//! Rows that are within reach because somebody shared them with a user, or with a team of theirs.

use rusqlite::params_from_iter;
use uuid::Uuid;

use crate::dataverse::context::Context;
use crate::dataverse::error::Outcome;
use crate::dataverse::functions::right_bit;
use crate::dataverse::schema::Table;
use crate::dataverse::security::Access;

/// The rows of a table that are shared with the caller for an access.
pub(crate) fn rows(context: &Context<'_>, access: Access, table: &Table) -> Outcome<Vec<Uuid>> {
    let (sql, parameters) = question(context, access, table);
    let mut statement = context.db.prepare_cached(&sql)?;
    let found = statement.query_map(params_from_iter(parameters), |row| row.get::<_, String>(0))?;
    let ids: Vec<String> = found.collect::<rusqlite::Result<_>>()?;
    Ok(ids.iter().filter_map(|id| id.parse().ok()).collect())
}

/// Whether a row is shared with the caller for an access.
pub(crate) fn reaches(
    context: &Context<'_>,
    access: Access,
    table: &Table,
    id: Uuid,
) -> Outcome<bool> {
    let (mut sql, mut parameters) = question(context, access, table);
    sql.push_str(" AND objectid = ?");
    parameters.push(id.to_string());
    Ok(context
        .db
        .prepare_cached(&sql)?
        .exists(params_from_iter(parameters))?)
}

fn question(context: &Context<'_>, access: Access, table: &Table) -> (String, Vec<String>) {
    let caller = context.caller;
    let principals: Vec<Uuid> = std::iter::once(caller.id)
        .chain(caller.teams.iter().copied())
        .collect();
    let marks = vec!["?"; principals.len()].join(", ");
    let sql = format!(
        "SELECT objectid FROM principalobjectaccess WHERE accessrightsmask & {} <> 0 \
         AND objecttypecode = ? AND principalid IN ({marks})",
        right_bit(access)
    );
    let ids = principals.iter().map(Uuid::to_string);
    (
        sql,
        std::iter::once(table.name.clone()).chain(ids).collect(),
    )
}

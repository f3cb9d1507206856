//! Privileges, and which role holds which: rows that show what the roles of today's seed are.

use rusqlite::Connection;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::dataverse::functions::right_bit;
use crate::dataverse::organization::Organization;
use crate::dataverse::security::{Access, Role, privilege_id};
use crate::dataverse::store;

/// There are thousands: each kind goes in by one statement.
pub(super) fn put(db: &Connection, organization: &Organization) -> rusqlite::Result<()> {
    let names = organization.roles.privileges();
    let privileges: Vec<Value> = names.iter().map(|name| privilege(name)).collect();
    let version = store::next_version(db)?;
    db.execute(
        "INSERT OR IGNORE INTO privilege (privilegeid, name, accessright, canbebasic, canbelocal, canbedeep, canbeglobal, versionnumber)
         SELECT value ->> 0, value ->> 1, value ->> 2, 1, 1, 1, 1, ?2 FROM json_each(?1)",
        (Value::from(privileges).to_string(), version),
    )?;
    let roles = organization.roles.all();
    let pairs = roles.into_iter().flat_map(|role| held(role, &names));
    let pairs = Value::from_iter(pairs).to_string();
    db.execute(
        "DELETE FROM roleprivileges WHERE roleprivilegesid NOT IN (SELECT value ->> 0 FROM json_each(?1))",
        [&pairs],
    )?;
    db.execute(
        "INSERT OR REPLACE INTO roleprivileges (roleprivilegesid, roleid, privilegeid, privilegedepthmask, versionnumber)
         SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, ?2 FROM json_each(?1)",
        (&pairs, version),
    )?;
    Ok(())
}

fn privilege(name: &str) -> Value {
    let right = Access::of_privilege(name).map_or(0, right_bit);
    json!([privilege_id(name), name, right])
}

fn held<'a>(role: &'a Role, names: &'a [&str]) -> impl Iterator<Item = Value> + 'a {
    names.iter().filter_map(|name| {
        let depth = role.depth(&name.to_ascii_lowercase())?;
        let privilege = privilege_id(name);
        // Always the same for the same pair.
        let id = Uuid::from_u128(role.id.as_u128() ^ privilege.as_u128());
        Some(json!([id, role.id, privilege, depth.bit()]))
    })
}

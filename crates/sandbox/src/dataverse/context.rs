//! What every operation on rows knows of the request it serves.

use axum::http::HeaderMap;
use chrono::{DateTime, Utc};
use rusqlite::Connection;
use uuid::Uuid;

use crate::dataverse::answer::{Answer, set};
use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::organization::Organization;
use crate::dataverse::plan::{Condition, Source, Term};
use crate::dataverse::plan::{Hierarchy, ids};
use crate::dataverse::schema::{Column, Kind, Ownership, Schema, Table};
use crate::dataverse::security::{Access, Depth, Member};
use crate::dataverse::shares;
use crate::dataverse::store::quoted;

/// One request of a member of an organization, with a connection to its rows.
#[derive(Clone, Copy)]
pub(crate) struct Context<'s> {
    pub(crate) organization: &'s Organization,
    pub(crate) schema: &'s Schema,
    /// Inside of a transaction, where something is written.
    pub(crate) db: &'s Connection,
    /// In whose name it is done.
    pub(crate) caller: &'s Member,
    pub(crate) now: DateTime<Utc>,
    /// Address of the service, such as `https://localhost:8430/api/data/v9.2/`.
    pub(crate) base: &'s str,
    pub(crate) headers: &'s HeaderMap,
}

/// Levels of a hierarchy that are followed.
const LEVELS: usize = 100;

impl<'s> Context<'s> {
    pub(crate) fn header(&self, name: &str) -> Option<&'s str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// A preference of the `Prefer` headers (RFC 7240).
    pub(crate) fn prefers(&self, wanted: &str) -> Option<String> {
        preference(self.headers, wanted)
    }

    /// Says which preferences were followed: these, and that for annotations.
    pub(crate) fn applied(&self, answer: &mut Answer, mut own: Vec<String>) {
        if let Some(text) = self.prefers("odata.include-annotations") {
            own.push(format!("odata.include-annotations=\"{text}\""));
        }
        if !own.is_empty() {
            set(answer.headers_mut(), "preference-applied", &own.join(","));
        }
    }

    pub(crate) fn returns_representation(&self) -> bool {
        self.prefers("return").as_deref() == Some("representation")
    }

    /// Refuses what the caller's roles do not hold for any row of a table.
    pub(crate) fn demand(&self, access: Access, table: &Table) -> Outcome<Depth> {
        self.caller
            .depth(access, table)
            .ok_or_else(|| self.caller.denied(access, table))
    }

    pub(crate) fn demand_read(&self, table: &Table) -> Outcome<Depth> {
        self.demand(Access::Read, table)
    }

    /// The rows of a source that the caller may see.
    pub(crate) fn visible(&self, source: Source<'s>) -> Outcome<Condition<'s>> {
        let depth = self.demand_read(source.table)?;
        let own = self.within_depth(source, depth);
        if matches!(own, Condition::Always) {
            return Ok(own);
        }
        let shared = shares::rows(self, Access::Read, source.table)?;
        if shared.is_empty() {
            return Ok(own);
        }
        Ok(Condition::Or(vec![
            own,
            Condition::In(source.key(), ids(&shared)),
        ]))
    }

    fn within_depth(&self, source: Source<'s>, depth: Depth) -> Condition<'s> {
        let owned = matches!(
            source.table.ownership,
            Ownership::User | Ownership::BusinessUnit
        );
        if depth == Depth::Global || !owned {
            return Condition::Always;
        }
        let unit = |units: &[Uuid]| {
            source
                .term("owningbusinessunit")
                .map_or(Condition::Never, |term| Condition::In(term, ids(units)))
        };
        match depth {
            Depth::Global => Condition::Always,
            Depth::Deep => unit(&self.caller.units_below),
            Depth::Local => unit(&[self.caller.business_unit]),
            Depth::Basic => {
                let mut owners = self.caller.teams.clone();
                owners.push(self.caller.id);
                source
                    .term("ownerid")
                    .map_or(Condition::Never, |term| Condition::In(term, ids(&owners)))
            }
        }
    }

    /// Refuses an access to a row that is out of the caller's reach.
    pub(crate) fn demand_row(&self, access: Access, table: &Table, id: Uuid) -> Outcome<()> {
        let depth = self.demand(access, table)?;
        if depth == Depth::Global || table.ownership != Ownership::User {
            return Ok(());
        }
        let sql = format!(
            "SELECT ownerid, owningbusinessunit FROM {} WHERE {} = ?1",
            quoted(&table.name),
            quoted(&table.key)
        );
        let text = |row: &rusqlite::Row<'_>, at: usize| row.get::<_, Option<String>>(at);
        let found = self
            .db
            .prepare_cached(&sql)?
            .query_row([id.to_string()], |row| Ok((text(row, 0)?, text(row, 1)?)));
        let (owner, unit) = match found {
            Ok(found) => found,
            Err(rusqlite::Error::QueryReturnedNoRows) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let among = |value: &Option<String>, ids: &[Uuid]| {
            value
                .as_deref()
                .and_then(|text| text.parse().ok())
                .is_some_and(|id: Uuid| ids.contains(&id))
        };
        let reached = match depth {
            Depth::Global => true,
            Depth::Deep => among(&unit, &self.caller.units_below),
            Depth::Local => among(&unit, &[self.caller.business_unit]),
            Depth::Basic => among(&owner, &[self.caller.id]) || among(&owner, &self.caller.teams),
        };
        if reached || shares::reaches(self, access, table, id)? {
            return Ok(());
        }
        Err(self.caller.out_of_reach(access, table, id))
    }

    /// Rows above or below a row, along the lookup that points at its own table.
    pub(crate) fn hierarchy(
        &self,
        column: &Column,
        id: Uuid,
        wanted: Hierarchy,
    ) -> Outcome<Vec<Uuid>> {
        let (table, parent) = self.hierarchical(column).ok_or_else(|| {
            Fault::argument(format!(
                "The attribute '{}' has no hierarchical relationship.",
                column.name
            ))
        })?;
        let (name, key, parent) = (quoted(&table.name), quoted(&table.key), quoted(parent));
        let sql = if wanted.upwards {
            format!("SELECT {parent} FROM {name} WHERE {key} = ?1 AND {parent} IS NOT NULL")
        } else {
            format!("SELECT {key} FROM {name} WHERE {parent} = ?1")
        };
        let mut statement = self.db.prepare_cached(&sql)?;
        let (mut found, mut level) = (Vec::new(), vec![id]);
        for _ in 0..LEVELS {
            let mut next = Vec::new();
            for id in &level {
                let rows = statement.query_map([id.to_string()], |row| row.get::<_, String>(0))?;
                for row in rows {
                    if let Ok(id) = row?.parse::<Uuid>()
                        && !found.contains(&id)
                    {
                        found.push(id);
                        next.push(id);
                    }
                }
            }
            if next.is_empty() {
                break;
            }
            level = next;
        }
        found.retain(|known| *known != id);
        if wanted.with_itself {
            found.push(id);
        }
        Ok(found)
    }

    /// The table that a hierarchy is of, and the lookup that makes it: asked by key or by lookup.
    fn hierarchical(&self, column: &Column) -> Option<(&'s Table, &'s str)> {
        let tables = self
            .schema
            .relationships
            .iter()
            .filter(|one| one.referenced == one.referencing);
        let fits = |table: &Table, lookup: &str| match &column.kind {
            Kind::Key => table.key == column.name,
            Kind::Lookup { targets, .. } => {
                column.name == lookup
                    || targets
                        .iter()
                        .any(|target| self.schema.table(*target).name == table.name)
            }
            _ => false,
        };
        tables
            .filter(|one| one.column.starts_with("parent") || one.column == "managerid")
            .map(|one| (self.schema.table(one.referenced), one.column.as_str()))
            .find(|(table, lookup)| fits(table, lookup))
    }

    /// `https://…/api/data/v9.2/contacts(…)`.
    pub(crate) fn address(&self, table: &Table, id: Uuid) -> String {
        format!("{}{}({id})", self.base, table.set)
    }

    /// What `@odata.context` begins with.
    pub(crate) fn metadata(&self) -> String {
        format!("{}$metadata", self.base)
    }

    /// The value of an identifier as SQL keeps it.
    pub(crate) fn id_term(id: Uuid) -> Term<'s> {
        Term::text(id.to_string())
    }
}

/// A preference of the `Prefer` headers (RFC 7240), without its quotes.
pub(crate) fn preference(headers: &HeaderMap, wanted: &str) -> Option<String> {
    let all = headers.get_all("prefer");
    let parts = all
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(preferences);
    parts.into_iter().find_map(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part.as_str(), ""));
        let same = name.trim().eq_ignore_ascii_case(wanted);
        same.then(|| value.trim().trim_matches('"').to_owned())
    })
}

/// Commas and semicolons stand between preferences, and inside the quotes of some.
pub(crate) fn preferences(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut quoted = false;
    for character in text.chars() {
        match character {
            ',' | ';' if !quoted => parts.push(String::new()),
            other => {
                quoted ^= other == '"';
                if let Some(last) = parts.last_mut() {
                    last.push(other);
                }
            }
        }
    }
    parts
        .into_iter()
        .map(|part| part.trim().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preferences_are_split_outside_quotes() {
        let text = r#"return=representation,odata.include-annotations="A,B""#;
        assert_eq!(
            preferences(text),
            [
                "return=representation",
                r#"odata.include-annotations="A,B""#
            ]
        );
    }
}

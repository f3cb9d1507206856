//! The rows of an organization: in memory to be read, in the state to outlive a restart.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::people::Member;
use crate::dataverse::populate;
use crate::dataverse::schema::{self, Column, Kind, Table};
use crate::entra::Caller;
use crate::seed::Seed;
use crate::state::{Record, State};
use crate::{Clock, SandboxError};

#[derive(Debug)]
pub(crate) struct Organizations(Vec<Organization>);

#[derive(Debug)]
pub(crate) struct Organization {
    pub(crate) id: Uuid,
    pub(crate) tenant: Uuid,
    pub(crate) unique_name: String,
    pub(crate) friendly_name: String,
    pub(crate) business_unit: Uuid,
    tables: RwLock<Tables>,
    version: AtomicI64,
    /// Roles by user.
    roles: BTreeMap<Uuid, Vec<String>>,
}

pub(crate) type Rows = BTreeMap<Uuid, Row>;
type Tables = BTreeMap<&'static str, Rows>;

/// One row. Lookups are kept as `{"table": …, "id": …}`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Row {
    pub(crate) version: i64,
    pub(crate) values: Map<String, Value>,
}

impl Row {
    pub(crate) fn etag(&self) -> String {
        format!("W/\"{}\"", self.version)
    }

    pub(crate) fn text(&self, column: &str) -> &str {
        self.values
            .get(column)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// Where a lookup points.
    pub(crate) fn lookup(&self, column: &str) -> Option<(&'static Table, Uuid)> {
        let value = self.values.get(column)?;
        let table = schema::by_name(value["table"].as_str()?)?;
        Some((table, value["id"].as_str()?.parse().ok()?))
    }
}

pub(crate) fn reference(table: &str, id: Uuid) -> Value {
    json!({"table": table, "id": id})
}

impl Organizations {
    pub(crate) fn open(seed: &Seed, state: &State, clock: &Clock) -> Result<Self, SandboxError> {
        let mut all = Vec::new();
        for tenant in &seed.tenants {
            for own in &tenant.organizations {
                let key = own.id.to_string();
                let mut records = state.records(&key)?;
                if records.is_empty() {
                    records = populate::records(tenant, own, clock.now());
                    state.put_records(&key, &records)?;
                }
                let people = populate::people(tenant, own);
                let known: Vec<Record> = people
                    .iter()
                    .filter(|person| {
                        let id = person.id.to_string();
                        !records
                            .iter()
                            .any(|(table, known, ..)| table == "systemuser" && *known == id)
                    })
                    .map(|person| person.record(clock.now()))
                    .collect();
                // Users who came into the seed since.
                state.put_records(&key, &known)?;
                records.extend(known);
                all.push(Organization {
                    id: own.id,
                    tenant: tenant.id,
                    unique_name: own.unique_name.clone(),
                    friendly_name: own.friendly_name.clone(),
                    business_unit: crate::entra::Directory::object_id(&format!("{key}/unit")),
                    version: AtomicI64::new(
                        records.iter().map(|record| record.2).max().unwrap_or(1),
                    ),
                    tables: RwLock::new(tables(records)),
                    roles: people
                        .into_iter()
                        .map(|person| (person.id, person.roles))
                        .collect(),
                });
            }
        }
        Ok(Self(all))
    }

    pub(crate) fn find(&self, id: Uuid) -> Option<&Organization> {
        self.0.iter().find(|organization| organization.id == id)
    }
}

fn tables(records: Vec<Record>) -> Tables {
    let mut tables = Tables::new();
    for (table, id, version, body) in records {
        let parsed = (
            schema::by_name(&table),
            id.parse(),
            serde_json::from_str(&body),
        );
        if let (Some(table), Ok(id), Ok(values)) = parsed {
            tables
                .entry(table.name)
                .or_default()
                .insert(id, Row { version, values });
        }
    }
    tables
}

/// A look at all rows; nobody writes meanwhile.
pub(crate) struct View<'a>(RwLockReadGuard<'a, Tables>);

impl View<'_> {
    pub(crate) fn rows(&self, table: &Table) -> &Rows {
        static NONE: Rows = Rows::new();
        self.0.get(table.name).unwrap_or(&NONE)
    }

    pub(crate) fn row(&self, table: &Table, id: Uuid) -> Option<&Row> {
        self.rows(table).get(&id)
    }
}

impl Organization {
    pub(crate) fn view(&self) -> View<'_> {
        View(self.tables.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Entity sets, and how many rows each has.
    pub(crate) fn row_counts(&self) -> Vec<(&'static str, usize)> {
        let view = self.view();
        let tables = schema::tables().iter();
        tables
            .map(|table| (table.set, view.rows(table).len()))
            .collect()
    }

    /// The caller as a user of the organization.
    pub(crate) fn member(&self, caller: &Caller) -> Outcome<Member> {
        let table =
            schema::by_name("systemuser").ok_or_else(|| Fault::no_segment("systemusers"))?;
        let view = self.view();
        let (column, wanted) = match (caller.app_only, caller.application, caller.object_id) {
            (true, Some(application), _) => ("applicationid", application),
            (false, _, Some(object)) => ("azureactivedirectoryobjectid", object),
            _ => return Err(not_a_member()),
        };
        let wanted = wanted.to_string();
        let found = view
            .rows(table)
            .iter()
            .find(|(_, row)| row.text(column) == wanted);
        let (id, row) = found.ok_or_else(not_a_member)?;
        if row.values.get("isdisabled") == Some(&Value::Bool(true)) {
            return Err(Fault::new(
                StatusCode::FORBIDDEN,
                "0x80040225",
                "The specified user is either disabled or is not a member of any business unit.",
            ));
        }
        let roles = self.roles.get(id).cloned().unwrap_or_default();
        if roles.is_empty() {
            return Err(not_a_member());
        }
        Ok(Member { id: *id, roles })
    }

    /// Writes a row, to memory and to the state.
    pub(crate) fn put(
        &self,
        state: &State,
        table: &'static Table,
        id: Uuid,
        change: impl FnOnce(Option<&Row>) -> Outcome<Map<String, Value>>,
    ) -> Outcome<Row> {
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        let rows = tables.entry(table.name).or_default();
        let values = change(rows.get(&id))?;
        let version = self.version.fetch_add(1, Ordering::Relaxed) + 1;
        let row = Row { version, values };
        let body = Value::Object(row.values.clone()).to_string();
        let record = (table.name.to_owned(), id.to_string(), version, body);
        state
            .put_records(&self.id.to_string(), &[record])
            .map_err(|error| Fault::broken(&error))?;
        rows.insert(id, row.clone());
        Ok(row)
    }

    pub(crate) fn remove(
        &self,
        state: &State,
        table: &'static Table,
        id: Uuid,
        check: impl FnOnce(Option<&Row>) -> Outcome<()>,
    ) -> Outcome<()> {
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        let rows = tables.entry(table.name).or_default();
        check(rows.get(&id))?;
        let removed = state.remove_record(&self.id.to_string(), table.name, &id.to_string());
        removed.map_err(|error| Fault::broken(&error))?;
        rows.remove(&id);
        // What pointed at the row points at nothing, as Dataverse does with simple relationships.
        for rows in tables.values_mut() {
            for row in rows.values_mut() {
                row.values.retain(|_, value| value["id"] != json!(id));
            }
        }
        Ok(())
    }
}

fn not_a_member() -> Fault {
    let text = "The user is not a member of the organization.";
    Fault::new(StatusCode::FORBIDDEN, "0x80072560", text)
}

/// The value of a property as JSON shows it.
pub(crate) fn shown(row: &Row, id: Uuid, table: &Table, column: &Column) -> Value {
    match &column.kind {
        _ if column.name == table.key => json!(id),
        _ if column.name == "versionnumber" => json!(row.version),
        Kind::Lookup(_) => row
            .lookup(column.name)
            .map_or(Value::Null, |(_, id)| json!(id)),
        _ => row.values.get(column.name).cloned().unwrap_or(Value::Null),
    }
}

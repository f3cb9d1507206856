//! An organization: its schema, its rows, its roles, and who is a member.

use std::path::Path;
use std::sync::Arc;

use axum::http::StatusCode;
use rusqlite::{Connection, OptionalExtension as _};
use uuid::Uuid;

use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::populate;
use crate::dataverse::schema::{self, Schema};
use crate::dataverse::security::{ADMINISTRATOR, Member, Role, Roles, role_id};
use crate::dataverse::store::{self, Store};
use crate::entra::{Caller, Directory};
use crate::seed::{OrganizationSeed, Seed, SeedError, TenantSeed};
use crate::{Clock, SandboxError};

#[derive(Debug)]
pub(crate) struct Organizations(Vec<Organization>);

#[derive(Debug)]
pub(crate) struct Organization {
    pub(crate) id: Uuid,
    pub(crate) tenant: Uuid,
    pub(crate) unique_name: String,
    pub(crate) friendly_name: String,
    pub(crate) hosts: Vec<String>,
    pub(crate) business_unit: Uuid,
    pub(crate) schema: Arc<Schema>,
    pub(crate) store: Store,
    pub(crate) roles: Roles,
}

impl Organizations {
    pub(crate) fn open(
        seed: &Seed,
        data_dir: Option<&Path>,
        clock: &Clock,
    ) -> Result<Self, SandboxError> {
        let mut all = Vec::new();
        for tenant in &seed.tenants {
            for own in &tenant.organizations {
                all.push(Organization::open(tenant, own, data_dir, clock)?);
            }
        }
        Ok(Self(all))
    }

    pub(crate) fn find(&self, id: Uuid) -> Option<&Organization> {
        self.0.iter().find(|organization| organization.id == id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Organization> {
        self.0.iter()
    }
}

impl Organization {
    fn open(
        tenant: &TenantSeed,
        own: &OrganizationSeed,
        data_dir: Option<&Path>,
        clock: &Clock,
    ) -> Result<Self, SandboxError> {
        let wrong = |text: String| {
            SeedError::Contradiction(format!("the organization {}: {text}", own.unique_name))
        };
        let schema = own.schema().map_err(wrong)?;
        let roles = Roles::open(own.id, &schema, &own.security_roles).map_err(wrong)?;
        let file = data_dir.map(|directory| directory.join(format!("organization-{}.db", own.id)));
        let store = Store::open(file.as_deref(), &schema)?;
        let organization = Self {
            id: own.id,
            tenant: tenant.id,
            unique_name: own.unique_name.clone(),
            friendly_name: own.friendly_name.clone(),
            hosts: own.hosts.clone(),
            business_unit: business_unit_id(own.id),
            schema,
            store,
            roles,
        };
        organization.store.write::<_, SandboxError>(|db| {
            Ok(populate::fill(db, &organization, tenant, own, clock.now())?)
        })?;
        organization.store.index(&organization.schema)?;
        Ok(organization)
    }

    /// Entity sets, and how many rows each has.
    pub(crate) fn row_counts(&self) -> rusqlite::Result<Vec<(String, i64)>> {
        self.store.read(|db| {
            let count = |table: &schema::Table| {
                let sql = format!("SELECT COUNT(*) FROM {}", store::quoted(&table.name));
                let rows = db.prepare_cached(&sql)?.query_row([], |row| row.get(0))?;
                Ok((table.set.clone(), rows))
            };
            self.schema.tables.iter().map(count).collect()
        })
    }

    /// Somebody who may see everything, for those who look at rows without a token.
    pub(crate) fn auditor(&self) -> Option<Member> {
        let role = self.roles.find(role_id(self.id, ADMINISTRATOR))?;
        Some(Member {
            id: Directory::object_id(&format!("{}/systemuser/SYSTEM", self.id)),
            business_unit: self.business_unit,
            units_below: vec![self.business_unit],
            teams: Vec::new(),
            roles: vec![Arc::clone(role)],
            behind: None,
        })
    }

    /// The caller as a user of the organization.
    pub(crate) fn member(&self, db: &Connection, caller: &Caller) -> Outcome<Member> {
        let (column, wanted) = match (caller.app_only, caller.application, caller.object_id) {
            (true, Some(application), _) => ("applicationid", application),
            (false, _, Some(object)) => ("azureactivedirectoryobjectid", object),
            _ => return Err(not_a_member()),
        };
        self.member_by(db, column, wanted)?.ok_or_else(not_a_member)
    }

    /// The user with an identifier in a column; none when nobody has it.
    ///
    /// # Errors
    /// When the user is disabled, or has no role.
    pub(crate) fn member_by(
        &self,
        db: &Connection,
        column: &str,
        wanted: Uuid,
    ) -> Outcome<Option<Member>> {
        let sql = format!(
            "SELECT systemuserid, businessunitid, isdisabled FROM systemuser WHERE {} = ?1",
            store::quoted(column)
        );
        let found = db
            .prepare_cached(&sql)?
            .query_row([wanted.to_string()], |row| {
                Ok((
                    row.get::<_, String>(0)?,
                    row.get::<_, Option<String>>(1)?,
                    row.get::<_, Option<bool>>(2)?,
                ))
            })
            .optional()?;
        let Some((id, unit, disabled)) = found else {
            return Ok(None);
        };
        if disabled == Some(true) {
            let text = "The specified user(Id = {id}) is disabled. Consider enabling this user."
                .replace("{id}", &id);
            return Err(Fault::new(StatusCode::FORBIDDEN, "0x80040225", text));
        }
        let teams = ids(
            db,
            "SELECT teamid FROM teammembership WHERE systemuserid = ?1",
            &id,
        )?;
        let roles = self.roles_of(db, &id)?;
        if roles.is_empty() {
            return Err(not_a_member());
        }
        let business_unit = unit
            .and_then(|unit| unit.parse().ok())
            .unwrap_or(self.business_unit);
        let below = "WITH RECURSIVE below (id) AS (SELECT ?1 UNION SELECT businessunitid FROM businessunit \
                     JOIN below ON parentbusinessunitid = below.id) SELECT id FROM below";
        Ok(Some(Member {
            id: id.parse().unwrap_or_default(),
            business_unit,
            units_below: ids(db, below, &business_unit.to_string())?,
            teams,
            roles,
            behind: None,
        }))
    }

    /// Roles of a user, and those of the teams it is in.
    fn roles_of(&self, db: &Connection, user: &str) -> Outcome<Vec<Arc<Role>>> {
        let sql = "SELECT roleid FROM systemuserroles WHERE systemuserid = ?1 UNION \
                   SELECT roleid FROM teamroles JOIN teammembership USING (teamid) WHERE systemuserid = ?1";
        let ids = ids(db, sql, user)?;
        Ok(ids
            .into_iter()
            .filter_map(|id| self.roles.find(id).cloned())
            .collect())
    }
}

fn ids(db: &Connection, sql: &str, parameter: &str) -> Outcome<Vec<Uuid>> {
    let mut statement = db.prepare_cached(sql)?;
    let found = statement.query_map([parameter], |row| row.get::<_, String>(0))?;
    let mut all = Vec::new();
    for id in found {
        all.extend(id?.parse::<Uuid>());
    }
    Ok(all)
}

/// The root business unit of an organization.
pub(crate) fn business_unit_id(organization: Uuid) -> Uuid {
    Directory::object_id(&format!("{organization}/unit"))
}

fn not_a_member() -> Fault {
    let text = "The user is not a member of the organization.";
    Fault::new(StatusCode::FORBIDDEN, "0x80072560", text)
}

//! Who is in an organization: its business unit, roles, users, and the team that everybody is in.

use chrono::{DateTime, Utc};
use rusqlite::Connection;
use uuid::Uuid;

use crate::dataverse::organization::Organization;
use crate::dataverse::populate::stamp;
use crate::dataverse::records::{self, Cell, Cells};
use crate::dataverse::security::role_id;
use crate::entra::Directory;
use crate::seed::{OrganizationSeed, TenantSeed};

/// A user of the organization.
struct Person {
    id: Uuid,
    name: String,
    upn: String,
    object_id: Option<Uuid>,
    application_id: Option<Uuid>,
    disabled: bool,
    roles: Vec<String>,
}

/// The organization's currency.
pub(crate) fn currency_id(organization: Uuid) -> Uuid {
    Directory::object_id(&format!("{organization}/currency"))
}

/// Puts in what is not there yet. Gives the users who may own rows.
pub(super) fn put(
    db: &Connection,
    organization: &Organization,
    tenant: &TenantSeed,
    own: &OrganizationSeed,
    now: DateTime<Utc>,
) -> rusqlite::Result<Vec<Uuid>> {
    let crew = Crew {
        db,
        organization,
        now,
    };
    let system = Directory::object_id(&format!("{}/systemuser/SYSTEM", own.id));
    let team = Directory::object_id(&format!("{}/team", own.id));
    crew.foundation(own, team, system)?;
    let mut agents = Vec::new();
    for person in people(tenant, own) {
        if person.application_id.is_none() && !person.disabled {
            agents.push(person.id);
        }
        crew.person(&person, team)?;
    }
    Ok(agents)
}

/// The tenant's people and applications as users of an organization.
fn people(tenant: &TenantSeed, own: &OrganizationSeed) -> Vec<Person> {
    let id = |name: &str| Directory::object_id(&format!("{}/systemuser/{name}", own.id));
    let people = tenant
        .users
        .iter()
        .filter(|user| !user.roles.is_empty())
        .map(|user| Person {
            id: id(&user.upn.to_lowercase()),
            name: user.name.clone(),
            upn: user.upn.clone(),
            object_id: Some(user.object_id()),
            application_id: None,
            disabled: user.disabled,
            roles: user.roles.clone(),
        });
    let applications = own.application_users.iter().map(|user| Person {
        id: id(&user.client_id.to_string()),
        name: format!(
            "# {}",
            tenant
                .application(user.client_id)
                .map_or("", |app| app.name.as_str())
        ),
        upn: format!("{}@{}", user.client_id, tenant.domain),
        object_id: None,
        application_id: Some(user.client_id),
        disabled: false,
        roles: user.roles.clone(),
    });
    people.chain(applications).collect()
}

struct Crew<'a> {
    db: &'a Connection,
    organization: &'a Organization,
    now: DateTime<Utc>,
}

impl Crew<'_> {
    /// Puts a row in, unless it is there.
    fn once(&self, table: &str, id: Uuid, mut cells: Cells) -> rusqlite::Result<bool> {
        let Some(table) = self.organization.schema.by_name(table) else {
            return Ok(false);
        };
        if records::exists(self.db, table, id)? {
            return Ok(false);
        }
        crate::dataverse::write::furnish(table, &mut cells);
        cells.insert(table.key.clone(), Cell::text(id.to_string()));
        for column in ["createdon", "modifiedon"] {
            cells.insert(column.to_owned(), stamp(self.now));
        }
        records::insert(self.db, table, &cells)?;
        Ok(true)
    }

    /// Puts a pair of a many-to-many relationship in, unless it is there.
    fn pair(&self, table: &str, first: (&str, Uuid), second: (&str, Uuid)) -> rusqlite::Result<()> {
        let id = Directory::object_id(&format!("{table}/{}/{}", first.1, second.1));
        let cells =
            [first, second].map(|(column, id)| (column.to_owned(), Cell::text(id.to_string())));
        self.once(table, id, Cells::from(cells)).map(|_| ())
    }

    fn foundation(&self, own: &OrganizationSeed, team: Uuid, system: Uuid) -> rusqlite::Result<()> {
        let unit = self.organization.business_unit;
        let name = || Cell::text(&*own.friendly_name);
        self.once(
            "organization",
            own.id,
            Cells::from([("name".to_owned(), Cell::text(&*own.unique_name))]),
        )?;
        self.once(
            "businessunit",
            unit,
            Cells::from([
                ("name".to_owned(), name()),
                ("isdisabled".to_owned(), false.into()),
                (
                    "organizationid".to_owned(),
                    Cell::row("organization", own.id),
                ),
            ]),
        )?;
        self.once(
            "transactioncurrency",
            currency_id(own.id),
            Cells::from([
                ("currencyname".to_owned(), "US Dollar".into()),
                ("currencysymbol".to_owned(), "$".into()),
                ("isocurrencycode".to_owned(), "USD".into()),
                ("currencyprecision".to_owned(), 2.into()),
                ("exchangerate".to_owned(), 1.0.into()),
                ("statecode".to_owned(), 0.into()),
                ("statuscode".to_owned(), 1.into()),
            ]),
        )?;
        self.once(
            "systemuser",
            system,
            Cells::from([
                ("fullname".to_owned(), "SYSTEM".into()),
                ("lastname".to_owned(), "SYSTEM".into()),
                ("isdisabled".to_owned(), true.into()),
                ("accessmode".to_owned(), 3.into()),
                ("businessunitid".to_owned(), Cell::row("businessunit", unit)),
            ]),
        )?;
        self.once(
            "team",
            team,
            Cells::from([
                ("name".to_owned(), name()),
                ("isdefault".to_owned(), true.into()),
                ("teamtype".to_owned(), 0.into()),
                ("businessunitid".to_owned(), Cell::row("businessunit", unit)),
                (
                    "administratorid".to_owned(),
                    Cell::row("systemuser", system),
                ),
            ]),
        )?;
        for role in self.organization.roles.all() {
            self.once(
                "role",
                role.id,
                Cells::from([
                    ("name".to_owned(), Cell::text(&*role.name)),
                    ("businessunitid".to_owned(), Cell::row("businessunit", unit)),
                    ("organizationid".to_owned(), Cell::text(own.id.to_string())),
                ]),
            )?;
        }
        Ok(())
    }

    fn person(&self, person: &Person, team: Uuid) -> rusqlite::Result<()> {
        let (first, last) = person.name.rsplit_once(' ').unwrap_or(("", &person.name));
        let mut cells = Cells::from([
            ("fullname".to_owned(), Cell::text(&*person.name)),
            ("firstname".to_owned(), first.into()),
            ("lastname".to_owned(), last.into()),
            ("domainname".to_owned(), Cell::text(&*person.upn)),
            ("internalemailaddress".to_owned(), Cell::text(&*person.upn)),
            ("isdisabled".to_owned(), person.disabled.into()),
            (
                "accessmode".to_owned(),
                if person.application_id.is_some() {
                    4
                } else {
                    0
                }
                .into(),
            ),
            (
                "businessunitid".to_owned(),
                Cell::row("businessunit", self.organization.business_unit),
            ),
        ]);
        if let Some(id) = person.object_id {
            cells.insert(
                "azureactivedirectoryobjectid".to_owned(),
                Cell::text(id.to_string()),
            );
        }
        if let Some(id) = person.application_id {
            cells.insert("applicationid".to_owned(), Cell::text(id.to_string()));
        }
        let new = self.once("systemuser", person.id, cells)?;
        if new && person.application_id.is_none() {
            self.pair(
                "teammembership",
                ("teamid", team),
                ("systemuserid", person.id),
            )?;
        }
        for role in person.roles.iter().filter(|_| new) {
            let role = role_id(self.organization.id, role);
            self.pair(
                "systemuserroles",
                ("systemuserid", person.id),
                ("roleid", role),
            )?;
        }
        Ok(())
    }
}

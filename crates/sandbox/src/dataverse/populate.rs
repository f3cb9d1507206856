//! Believable rows: people and companies that do not exist, with telephone numbers written the way
//! people write them. The same seed gives the same rows.

use chrono::{DateTime, TimeDelta, Utc};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use rusqlite::Connection;
use uuid::Uuid;

use crate::dataverse::organization::Organization;
use crate::dataverse::records::{self, Cell, Cells};
use crate::dataverse::schema::Schema;
use crate::dataverse::store;
use crate::dataverse::write;
use crate::seed::{OrganizationSeed, TenantSeed};

mod people;
mod privileges;

pub(crate) use people::currency_id;

const FIRST: [&str; 48] = [
    "Aisha", "Alan", "Amélie", "Anders", "Beatriz", "Boris", "Carmen", "Chen", "Clara", "Daniel",
    "Dmitri", "Elena", "Emeka", "Fatima", "Felix", "Grace", "Hana", "Haruto", "Henrik", "Imani",
    "Ines", "Ivan", "Jun", "Kaito", "Karin", "Kwame", "Lars", "Leila", "Lucía", "Marek", "Mei",
    "Miguel", "Nadia", "Noah", "Olga", "Omar", "Priya", "Rafael", "Sakura", "Samira", "Sean",
    "Siobhán", "Sofia", "Tariq", "Thandi", "Yuki", "Zoë", "健太",
];
const LAST: [&str; 44] = [
    "Abara",
    "Almeida",
    "Andersson",
    "Bauer",
    "Bianchi",
    "Brown",
    "Carter",
    "Chen",
    "Dubois",
    "Eriksen",
    "Fischer",
    "García",
    "Haddad",
    "Ito",
    "Ivanova",
    "Jansen",
    "Johnson",
    "Kim",
    "Kowalski",
    "Kumar",
    "Larsen",
    "Lee",
    "Lopez",
    "MacDonald",
    "Martin",
    "Mbeki",
    "Müller",
    "Nakamura",
    "Nguyen",
    "Novak",
    "O'Neill",
    "Okafor",
    "Papadopoulos",
    "Patel",
    "Rossi",
    "Sato",
    "Schmidt",
    "Silva",
    "Smith",
    "Suzuki",
    "Tanaka",
    "van der Berg",
    "Wilson",
    "田中",
];
const COMPANY: [&str; 24] = [
    "Adatum",
    "Adventure Works",
    "Alpine Ski House",
    "Bellows College",
    "Best For You Organics",
    "Blue Yonder",
    "City Power & Light",
    "Coho Vineyard",
    "Consolidated Messenger",
    "Fourth Coffee",
    "Graphic Design Institute",
    "Humongous Insurance",
    "Lamna Healthcare",
    "Litware",
    "Lucerne",
    "Margie's Travel",
    "Munson's Pickles",
    "Nod Publishers",
    "Northwind",
    "Proseware",
    "Relecloud",
    "Southridge Video",
    "Tailspin Toys",
    "Wingtip Toys",
];
const KIND: [&str; 5] = ["", " Ltd", " GmbH", " Inc.", " K.K."];
const CITY: [(&str, &str, &str); 12] = [
    ("Redmond", "US", "98052"),
    ("Seattle", "US", "98101"),
    ("Chicago", "US", "60601"),
    ("London", "UK", "EC1A 1BB"),
    ("Manchester", "UK", "M1 1AE"),
    ("Berlin", "Germany", "10115"),
    ("München", "Germany", "80331"),
    ("Paris", "France", "75001"),
    ("東京", "Japan", "100-0001"),
    ("大阪", "Japan", "530-0001"),
    ("Oslo", "Norway", "0150"),
    ("Madrid", "Spain", "28001"),
];
const JOB: [&str; 10] = [
    "Buyer",
    "Office Manager",
    "Head of Procurement",
    "Accountant",
    "Engineer",
    "Director",
    "Owner",
    "Assistant",
    "Warehouse Lead",
    "IT Administrator",
];
const TROUBLE: [&str; 16] = [
    "Delivery is late",
    "Invoice is wrong",
    "Cannot sign in to the portal",
    "Item arrived damaged",
    "Wants to change the delivery address",
    "Question about the warranty",
    "Device does not start",
    "Refund has not arrived",
    "Duplicate charge",
    "Needs a copy of the contract",
    "Wrong item delivered",
    "Service visit was missed",
    "Password reset does not work",
    "Complaint about waiting time",
    "Asks for a quotation",
    "Cancel subscription",
];

/// The note that says that the rows were made.
const FILLED: &str = "filled";

/// Puts in what is missing: people and roles of today's seed, and, once, believable rows.
pub(crate) fn fill(
    db: &Connection,
    organization: &Organization,
    tenant: &TenantSeed,
    own: &OrganizationSeed,
    now: DateTime<Utc>,
) -> rusqlite::Result<()> {
    let agents = people::put(db, organization, tenant, own, now)?;
    privileges::put(db, organization)?;
    if store::note(db, FILLED)?.is_some() {
        return Ok(());
    }
    let seed = own.id.as_bytes().first_chunk().copied().unwrap_or_default();
    let mut maker = Maker {
        rng: StdRng::seed_from_u64(u64::from_le_bytes(seed)),
        now,
        agents,
        db,
        schema: &organization.schema,
        currency: people::currency_id(own.id),
        unit: organization.business_unit,
    };
    let contacts = own.contacts as usize;
    let accounts = maker.accounts(contacts.div_ceil(6))?;
    let contacts = maker.contacts(contacts, &accounts)?;
    maker.incidents(contacts.len() / 3, &contacts)?;
    maker.calls(contacts.len() * 2 / 3, &contacts)?;
    store::set_note(db, FILLED, &now.timestamp().to_string())
}

fn reference(table: &str, id: Uuid) -> Cell {
    Cell::row(table, id)
}

struct Maker<'a> {
    rng: StdRng,
    now: DateTime<Utc>,
    agents: Vec<Uuid>,
    db: &'a Connection,
    schema: &'a Schema,
    currency: Uuid,
    unit: Uuid,
}

/// A contact as the other tables need it.
struct Known {
    id: Uuid,
    name: String,
    phone: String,
}

impl Maker<'_> {
    fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.choose(&mut self.rng)
    }

    fn word(&mut self, from: &[&'static str]) -> &'static str {
        self.pick(from).copied().unwrap_or_default()
    }

    fn id(&mut self) -> Uuid {
        let bytes: [u8; 16] = self.rng.random();
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    fn put(&mut self, table: &str, id: Uuid, mut values: Cells) -> rusqlite::Result<()> {
        let Some(table) = self.schema.by_name(table) else {
            return Ok(());
        };
        let born = self.now - TimeDelta::minutes(self.rng.random_range(600..900_000));
        let changed = born + TimeDelta::minutes(self.rng.random_range(0..600));
        values.insert(table.key.clone(), Cell::text(id.to_string()));
        values.insert("createdon".to_owned(), stamp(born));
        values.insert("modifiedon".to_owned(), stamp(changed));
        if let Some(agent) = self.agents.choose(&mut self.rng).copied() {
            for column in ["createdby", "modifiedby", "ownerid", "owninguser"] {
                values.insert(column.to_owned(), reference("systemuser", agent));
            }
            values.insert(
                "owningbusinessunit".to_owned(),
                reference("businessunit", self.unit),
            );
        }
        let empty = |value: &Cell| value.is_null() || *value == Cell::text("");
        let names: Vec<String> = values.keys().cloned().collect();
        values.retain(|_, value| !empty(value));
        write::furnish(table, &mut values);
        // The same columns every time: the statement is then the same, and is prepared once.
        for name in names {
            values.entry(name).or_insert(Cell::NULL);
        }
        records::insert(self.db, table, &values)?;
        if table.name == "phonecall" {
            write::shadow_activity(self.db, self.schema, table, id)?;
        }
        Ok(())
    }

    /// A number as somebody typed it. The digits are from ranges kept for fiction and drama.
    fn phone(&mut self) -> String {
        let n: u32 = self.rng.random_range(100..200);
        let area = ["206", "312", "425", "503", "415"]
            .choose(&mut self.rng)
            .copied()
            .unwrap_or("425");
        let uk: u32 = self.rng.random_range(0..1000);
        match self.rng.random_range(0..17) {
            0 => format!("({area}) 555-0{n}"),
            1 => format!("{area}-555-0{n}"),
            2 => format!("{area}.555.0{n}"),
            3 => format!("+1 {area} 555 0{n}"),
            4 => format!("+1{area}5550{n}"),
            5 => format!("1-{area}-555-0{n}"),
            6 => format!("{area}5550{n}"),
            7 => format!("+1 ({area}) 555-0{n} x{}", n % 90 + 10),
            8 => format!("{area} 555 0{n} ext. {}", n % 900 + 100),
            9 => format!("020 7946 0{uk:03}"),
            10 => format!("+44 20 7946 0{uk:03}"),
            11 => format!("+44 (0)20 79460{uk:03}"),
            12 => format!("0044 161 496 0{uk:03}"),
            13 => format!("030 23125 {uk:03}"),
            14 => format!("+49 (0)89 99998-{uk:03}"),
            15 => format!("tel: {area}/555-0{n}"),
            _ => format!(" {area} - 555 - 0{n} "),
        }
    }

    fn maybe_phone(&mut self, percent: u32) -> Cell {
        if self.chance(percent) {
            self.phone().into()
        } else {
            Cell::NULL
        }
    }

    fn address(&mut self) -> Cells {
        let (city, country, postcode) = self.pick(&CITY).copied().unwrap_or_default();
        let street = self.word(&[
            "Main Street",
            "High Street",
            "Station Road",
            "Lindenstraße",
            "Oak Avenue",
            "Park Lane",
        ]);
        let number: u32 = self.rng.random_range(1..250);
        Cells::from_iter([
            (
                "address1_line1".to_owned(),
                format!("{number} {street}").into(),
            ),
            ("address1_city".to_owned(), city.into()),
            ("address1_country".to_owned(), country.into()),
            ("address1_postalcode".to_owned(), postcode.into()),
        ])
    }

    fn accounts(&mut self, count: usize) -> rusqlite::Result<Vec<(Uuid, String)>> {
        let mut accounts: Vec<(Uuid, String)> = Vec::new();
        for number in 0..count {
            let base = COMPANY[number % COMPANY.len()];
            let name = format!("{base}{}", KIND[(number / COMPANY.len()) % KIND.len()]);
            let id = self.id();
            let domain = domain_of(base);
            let mut values = self.address();
            values.extend(Cells::from_iter([
                ("name".to_owned(), name.clone().into()),
                (
                    "accountnumber".to_owned(),
                    format!("ACC-{:05}", 10_000 + number).into(),
                ),
                ("telephone1".to_owned(), self.phone().into()),
                ("telephone2".to_owned(), self.maybe_phone(20)),
                ("fax".to_owned(), self.maybe_phone(15)),
                ("emailaddress1".to_owned(), format!("info@{domain}").into()),
                ("websiteurl".to_owned(), format!("https://{domain}/").into()),
                (
                    "numberofemployees".to_owned(),
                    self.rng.random_range(3..4_000).into(),
                ),
                (
                    "revenue".to_owned(),
                    f64::from(self.rng.random_range(100..90_000) * 1_000).into(),
                ),
                (
                    "transactioncurrencyid".to_owned(),
                    reference("transactioncurrency", self.currency),
                ),
                ("creditonhold".to_owned(), self.chance(5).into()),
                ("donotphone".to_owned(), self.chance(5).into()),
                (
                    "industrycode".to_owned(),
                    [1, 6, 7, 16, 21, 33]
                        .choose(&mut self.rng)
                        .copied()
                        .unwrap_or(6)
                        .into(),
                ),
                (
                    "customertypecode".to_owned(),
                    [3, 8, 10]
                        .choose(&mut self.rng)
                        .copied()
                        .unwrap_or(3)
                        .into(),
                ),
                ("statecode".to_owned(), 0.into()),
                ("statuscode".to_owned(), 1.into()),
            ]));
            if number > 20
                && self.chance(20)
                && let Some((parent, _)) = accounts.choose(&mut self.rng)
            {
                values.insert("parentaccountid".to_owned(), reference("account", *parent));
            }
            self.put("account", id, values)?;
            accounts.push((id, base.to_owned()));
        }
        Ok(accounts)
    }

    fn contacts(
        &mut self,
        count: usize,
        accounts: &[(Uuid, String)],
    ) -> rusqlite::Result<Vec<Known>> {
        let mut contacts = Vec::new();
        for number in 0..count {
            let (first, last) = (self.word(&FIRST), self.word(&LAST));
            let id = self.id();
            let employer = if self.chance(85) {
                self.pick(accounts)
            } else {
                None
            };
            let domain =
                employer.map_or_else(|| "example.com".to_owned(), |(_, name)| domain_of(name));
            let name = format!("{first} {last}");
            let phone = self.phone();
            let mut values = self.address();
            values.extend(Cells::from_iter([
                ("firstname".to_owned(), first.into()),
                ("lastname".to_owned(), last.into()),
                ("fullname".to_owned(), name.clone().into()),
                ("jobtitle".to_owned(), self.word(&JOB).into()),
                ("telephone1".to_owned(), phone.clone().into()),
                ("telephone2".to_owned(), self.maybe_phone(25)),
                ("mobilephone".to_owned(), self.maybe_phone(60)),
                ("assistantphone".to_owned(), self.maybe_phone(8)),
                ("fax".to_owned(), self.maybe_phone(10)),
                (
                    "emailaddress1".to_owned(),
                    format!("{}.{number}@{domain}", ascii(first)).into(),
                ),
                (
                    "birthdate".to_owned(),
                    birthday(self.rng.random_range(0..18_000)),
                ),
                ("gendercode".to_owned(), self.rng.random_range(1..3).into()),
                (
                    "preferredcontactmethodcode".to_owned(),
                    self.rng.random_range(1..4).into(),
                ),
                ("donotphone".to_owned(), self.chance(6).into()),
                ("donotemail".to_owned(), self.chance(10).into()),
                ("creditonhold".to_owned(), self.chance(4).into()),
                ("statecode".to_owned(), 0.into()),
                ("statuscode".to_owned(), 1.into()),
            ]));
            if let Some((employer, _)) = employer {
                values.insert(
                    "parentcustomerid".to_owned(),
                    reference("account", *employer),
                );
            }
            if self.chance(3) {
                values.insert("statecode".to_owned(), 1.into());
                values.insert("statuscode".to_owned(), 2.into());
            }
            self.put("contact", id, values)?;
            contacts.push(Known { id, name, phone });
        }
        Ok(contacts)
    }

    fn incidents(&mut self, count: usize, contacts: &[Known]) -> rusqlite::Result<()> {
        for number in 0..count {
            let Some(contact) = contacts.choose(&mut self.rng) else {
                return Ok(());
            };
            let id = self.id();
            let title = self.word(&TROUBLE);
            let (state, status) = [
                (0, 1),
                (0, 1),
                (0, 2),
                (0, 3),
                (1, 5),
                (1, 5),
                (1, 1000),
                (2, 6),
            ]
            .choose(&mut self.rng)
            .copied()
            .unwrap_or((0, 1));
            let letters = id.simple().to_string().to_uppercase();
            let values = Cells::from_iter([
                ("title".to_owned(), title.into()),
                (
                    "ticketnumber".to_owned(),
                    format!("CAS-{:05}-{}", 1_000 + number, &letters[..6]).into(),
                ),
                (
                    "description".to_owned(),
                    format!("{} called: {}.", contact.name, title.to_lowercase()).into(),
                ),
                (
                    "caseorigincode".to_owned(),
                    self.rng.random_range(1..4).into(),
                ),
                (
                    "casetypecode".to_owned(),
                    self.rng.random_range(1..4).into(),
                ),
                (
                    "prioritycode".to_owned(),
                    self.rng.random_range(1..4).into(),
                ),
                ("isescalated".to_owned(), self.chance(8).into()),
                ("customerid".to_owned(), reference("contact", contact.id)),
                (
                    "primarycontactid".to_owned(),
                    reference("contact", contact.id),
                ),
                ("statecode".to_owned(), state.into()),
                ("statuscode".to_owned(), status.into()),
            ]);
            self.put("incident", id, values)?;
        }
        Ok(())
    }

    fn calls(&mut self, count: usize, contacts: &[Known]) -> rusqlite::Result<()> {
        for _ in 0..count {
            let Some(contact) = contacts.choose(&mut self.rng) else {
                return Ok(());
            };
            let id = self.id();
            let outgoing = self.chance(35);
            let minutes: i64 = self.rng.random_range(1..45);
            let start = self.now - TimeDelta::minutes(self.rng.random_range(100..400_000));
            let values = Cells::from_iter([
                (
                    "subject".to_owned(),
                    format!(
                        "Call {} {}",
                        if outgoing { "to" } else { "from" },
                        contact.name
                    )
                    .into(),
                ),
                ("phonenumber".to_owned(), contact.phone.clone().into()),
                ("directioncode".to_owned(), outgoing.into()),
                ("leftvoicemail".to_owned(), self.chance(12).into()),
                ("actualdurationminutes".to_owned(), minutes.into()),
                ("actualstart".to_owned(), stamp(start)),
                (
                    "actualend".to_owned(),
                    stamp(start + TimeDelta::minutes(minutes)),
                ),
                ("prioritycode".to_owned(), 1.into()),
                ("activitytypecode".to_owned(), "phonecall".into()),
                (
                    "regardingobjectid".to_owned(),
                    reference("contact", contact.id),
                ),
                ("statecode".to_owned(), 1.into()),
                ("statuscode".to_owned(), if outgoing { 2 } else { 4 }.into()),
            ]);
            self.put("phonecall", id, values)?;
        }
        Ok(())
    }
}

fn domain_of(company: &str) -> String {
    format!("{}.example", ascii(company))
}

fn ascii(text: &str) -> String {
    let kept: String = text
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect::<String>()
        .to_lowercase();
    if kept.is_empty() {
        "kenta".to_owned()
    } else {
        kept
    }
}

fn birthday(days: i64) -> Cell {
    let first = chrono::NaiveDate::from_ymd_opt(1950, 1, 1).unwrap_or_default();
    stamp(
        (first + TimeDelta::days(days))
            .and_time(chrono::NaiveTime::MIN)
            .and_utc(),
    )
}

pub(crate) fn stamp(at: DateTime<Utc>) -> Cell {
    Cell::whole(at.timestamp())
}

//! Walks over the whole schema.

use std::collections::HashSet;

use super::custom::CustomSchema;
use super::*;

/// The example that the files' README gives.
pub(super) fn example() -> CustomSchema {
    let readme = include_str!("../../../schema/README.md");
    let begin = readme.find("```toml").expect("an example") + "```toml".len();
    let end = begin + readme[begin..].find("```").expect("its end");
    toml::from_str(&readme[begin..end]).expect("an example that can be read")
}

pub(super) fn with_example() -> Schema {
    Schema::with_custom(&example()).expect("an example that fits together")
}

fn custom(text: &str) -> Result<Schema, String> {
    let seed: CustomSchema = toml::from_str(text).map_err(|error| error.to_string())?;
    Schema::with_custom(&seed)
}

fn refused(text: &str) -> String {
    custom(text).expect_err(text)
}

#[test]
fn every_name_is_there_once() {
    let schema = with_example();
    let mut names = HashSet::new();
    let mut sets = HashSet::new();
    let mut codes = HashSet::new();
    for table in &schema.tables {
        assert!(names.insert(&table.name), "{}", table.name);
        assert!(sets.insert(&table.set), "{}", table.set);
        assert!(
            codes.insert(table.type_code),
            "{} {}",
            table.name,
            table.type_code
        );
        assert_eq!(table.name, table.name.to_lowercase());
        let mut columns = HashSet::new();
        for column in &table.columns {
            assert!(
                columns.insert(&column.name),
                "{}.{}",
                table.name,
                column.name
            );
            // Dataverse itself misspelt one.
            let misspelt = column.name == "issytemgenerated";
            assert!(misspelt || column.name == column.schema_name.to_lowercase());
            assert!(!column.label.is_empty(), "{}.{}", table.name, column.name);
        }
    }
}

#[test]
fn every_relationship_leads_there_and_back() {
    let schema = with_example();
    for (index, relationship) in schema.relationships.iter().enumerate() {
        let name = &relationship.schema_name;
        let table = schema.table(relationship.referencing);
        let column = table.column(&relationship.column).expect(name);
        let Kind::Lookup { targets, .. } = &column.kind else {
            panic!("{name} is not by a lookup");
        };
        assert!(targets.contains(&relationship.referenced), "{name}");
        let single = table.single(&relationship.single).expect(name);
        assert_eq!(single.relationship, index, "{name}");
        let collection = schema
            .table(relationship.referenced)
            .collection(&relationship.collection)
            .expect(name);
        assert_eq!(collection.target, relationship.referencing, "{name}");
        assert_eq!(collection.by, CollectionBy::OneToMany(index), "{name}");
    }
}

#[test]
fn every_lookup_has_a_navigation_property_for_each_target() {
    let schema = with_example();
    for table in &schema.tables {
        for column in &table.columns {
            let Kind::Lookup { targets, sort } = &column.kind else {
                continue;
            };
            assert!(!targets.is_empty());
            for target in targets {
                let found = table.singles().into_iter().any(|single| {
                    table.columns[single.column].name == column.name
                        && (single.target == *target || single.also.contains(target))
                });
                assert!(found, "{}.{} ({sort:?})", table.name, column.name);
            }
        }
    }
}

#[test]
fn every_state_has_a_reason_and_every_reason_a_state() {
    let schema = with_example();
    for table in &schema.tables {
        let states = table.states();
        assert_eq!(
            states.is_empty(),
            table.statuses().is_empty(),
            "{}",
            table.name
        );
        for state in states {
            let own = table
                .statuses()
                .iter()
                .filter(|reason| reason.state == state.value);
            let own: Vec<i64> = own.map(|reason| reason.value).collect();
            assert!(
                own.contains(&state.default_status),
                "{} {own:?}",
                table.name
            );
        }
    }
}

#[test]
fn every_link_has_its_pairs() {
    let schema = with_example();
    for link in &schema.many_to_many {
        let pairs = schema.table(link.intersect);
        assert_eq!(pairs.kind, TableKind::Intersect);
        for column in [&link.first_column, &link.second_column] {
            assert!(pairs.column(column).is_some(), "{}", link.schema_name);
        }
        let there = schema.table(link.first).collection(&link.first_navigation);
        assert_eq!(there.expect("a collection").target, link.second);
        let back = schema
            .table(link.second)
            .collection(&link.second_navigation);
        assert_eq!(back.expect("a collection").target, link.first);
    }
}

#[test]
fn owned_tables_have_an_owner_and_others_have_none() {
    let schema = with_example();
    for table in &schema.tables {
        let owner = table.single("ownerid").is_some();
        assert_eq!(owner, table.ownership == Ownership::User, "{}", table.name);
    }
}

#[test]
fn navigation_properties_are_named_as_dataverse_names_them() {
    let schema = Schema::standard();
    let leads = |table: &str, property: &str| {
        let found = schema.by_name(table).expect(table).single(property);
        found.map(|single| schema.table(single.target).name.clone())
    };
    let cases = [
        ("account", "primarycontactid", Some("contact")),
        ("account", "slaid", None),
        ("account", "sla_account_sla", Some("sla")),
        ("contact", "parentcustomerid", None),
        ("contact", "parentcustomerid_account", Some("account")),
        ("contact", "ownerid", Some("systemuser")),
        ("contact", "createdby", Some("systemuser")),
        ("incident", "customerid_contact", Some("contact")),
        (
            "phonecall",
            "regardingobjectid_incident_phonecall",
            Some("incident"),
        ),
        ("phonecall", "regardingobjectid_incident", Some("incident")),
        ("phonecall", "createdby_phonecall", Some("systemuser")),
        ("phonecall", "createdby", Some("systemuser")),
        ("phonecall", "ownerid_phonecall", Some("systemuser")),
        ("incidentresolution", "incidentid", Some("incident")),
        ("annotation", "objectid_contact", Some("contact")),
        ("activityparty", "partyid_systemuser", Some("systemuser")),
        ("activityparty", "activityid_phonecall", Some("phonecall")),
    ];
    for (table, property, target) in cases {
        assert_eq!(
            leads(table, property).as_deref(),
            target,
            "{table}.{property}"
        );
    }
}

#[test]
fn collections_are_named_as_dataverse_names_them() {
    let schema = Schema::standard();
    let cases = [
        ("account", "Account_Tasks", "task"),
        ("account", "Account_ActivityPointers", "activitypointer"),
        ("account", "contact_customer_accounts", "contact"),
        ("account", "opportunity_customer_accounts", "opportunity"),
        ("account", "accountleads_association", "lead"),
        ("contact", "account_primary_contact", "account"),
        ("contact", "Contact_Phonecalls", "phonecall"),
        ("phonecall", "phonecall_activity_parties", "activityparty"),
        (
            "phonecall",
            "activitypointer_activity_parties",
            "activityparty",
        ),
        ("incident", "Incident_Phonecalls", "phonecall"),
        ("systemuser", "systemuserroles_association", "role"),
        ("systemuser", "user_accounts", "account"),
        ("systemuser", "owner_accounts", "account"),
        ("team", "owner_accounts", "account"),
        ("team", "teammembership_association", "systemuser"),
        ("role", "roleprivileges_association", "privilege"),
        (
            "competitor",
            "opportunitycompetitors_association",
            "opportunity",
        ),
    ];
    for (table, property, target) in cases {
        let found = schema.by_name(table).expect(table).collection(property);
        let found = found.unwrap_or_else(|| panic!("{table}.{property}"));
        assert_eq!(
            schema.table(found.target).name,
            target,
            "{table}.{property}"
        );
    }
}

#[test]
fn columns_are_what_the_published_tables_say() {
    let schema = Schema::standard();
    let column = |table: &str, name: &str| {
        let found = schema.by_name(table).and_then(|table| table.column(name));
        found.unwrap_or_else(|| panic!("{table}.{name}")).clone()
    };
    assert_eq!(
        column("contact", "telephone1").kind,
        Kind::Text {
            max: 50,
            format: "Phone"
        }
    );
    assert!(!column("contact", "fullname").access.update);
    assert_eq!(column("contact", "birthdate").kind, Kind::Date);
    assert_eq!(column("contact", "createdon").kind, Kind::DateTime);
    assert!(column("contact", "telephone1").indexed);
    let Kind::Money { min, .. } = column("account", "revenue").kind else {
        panic!("revenue is money");
    };
    assert!((min - 0.0).abs() < f64::EPSILON);
    let incident = schema.by_set("incidents").expect("cases");
    let resolved = incident.statuses().iter().find(|reason| reason.value == 5);
    assert_eq!(resolved.map(|reason| reason.state), Some(1));
    assert_eq!(incident.states()[1].default_status, 5);
    let phonecall = schema.by_name("phonecall").expect("phone calls");
    assert_eq!(phonecall.privilege, "Activity");
    assert!(phonecall.column("from").expect("a column").is_parties());
}

#[test]
fn the_example_has_everything_that_it_asks_for() {
    let schema = with_example();
    let vehicle = schema.by_set("cr_vehicles").expect("a table");
    assert_eq!(
        (vehicle.key.as_str(), vehicle.title.as_str()),
        ("cr_vehicleid", "cr_name")
    );
    assert!(vehicle.custom && vehicle.change_tracking);
    assert!(vehicle.single("cr_Keeper_contact").is_some());
    assert!(vehicle.single("cr_Dealer").is_some());
    assert!(
        vehicle
            .column("cr_price_base")
            .is_some_and(|base| !base.access.create)
    );
    assert!(vehicle.single("transactioncurrencyid").is_some());
    assert_eq!(vehicle.keys[0].columns, ["cr_plate"]);
    assert!(vehicle.collection("cr_vehicle_contact").is_some());
    assert!(vehicle.collection("cr_vehicle_PhoneCalls").is_some());
    let contact = schema.by_name("contact").expect("contacts");
    assert!(contact.collection("cr_vehicle_contact").is_some());
    assert!(contact.collection("cr_Vehicle_Keeper_contact").is_some());
    let call = schema.by_name("phonecall").expect("phone calls");
    assert!(
        call.single("regardingobjectid_cr_vehicle_phonecall")
            .is_some()
    );
    let account = schema.by_name("account").expect("accounts");
    assert_eq!(account.keys.len(), 1);
    assert!(account.collection("cr_account_vehicles").is_some());
    let Kind::Choices { options, .. } = &vehicle.column("cr_equipment").expect("a column").kind
    else {
        panic!("several choices");
    };
    assert_eq!(options[2].value, 100_000_002);
}

#[test]
fn a_custom_activity_is_an_activity() {
    let schema = with_example();
    let note = schema.by_name("cr_callnote").expect("a table");
    assert!(note.is_activity());
    assert_eq!(
        (note.key.as_str(), note.title.as_str()),
        ("activityid", "subject")
    );
    assert!(
        note.single("regardingobjectid_contact_cr_callnote")
            .is_some()
    );
    assert!(note.single("regardingobjectid_contact").is_some());
    assert!(note.collection("cr_callnote_activity_parties").is_some());
    assert_eq!(note.states().len(), 4);
}

#[test]
fn the_standard_tables_do_not_change_with_a_seed() {
    let before = Schema::standard().tables.len();
    assert!(with_example().tables.len() > before);
    assert_eq!(Schema::standard().tables.len(), before);
    assert!(Schema::standard().by_name("cr_vehicle").is_none());
}

#[test]
fn what_does_not_fit_is_refused_with_its_place() {
    let cases = [
        (
            "[[table]]\nname = 'Vehicle'",
            "the table Vehicle must begin with a prefix",
        ),
        (
            "[[table]]\nname = 'cr_V'\n[[table.column]]\nname = 'plate'",
            "the column plate of the table cr_v must begin with a prefix",
        ),
        (
            "[[table]]\nname = 'cr_V'\n[[table.column]]\nname = 'cr_o'\ntype = 'lookup'\nto = ['car']",
            "the column cr_o of the table cr_v points at 'car', which is no table",
        ),
        (
            "[[table]]\nname = 'cr_V'\n[[table.column]]\nname = 'cr_o'\ntype = 'choice'",
            "the column cr_o of the table cr_v needs either 'options' or 'global'",
        ),
        (
            "[[table]]\nname = 'cr_V'\n[[table.column]]\nname = 'cr_o'\ntype = 'choice'\nglobal = 'cr_x'",
            "names the choice 'cr_x', which is not there",
        ),
        (
            "[[table]]\nname = 'cr_V'\n[[table.key]]\nname = 'cr_K'\ncolumns = ['cr_no']",
            "the key cr_k of the table cr_v names 'cr_no', which is no column",
        ),
        (
            "[[table]]\nname = 'cr_V'\n[[table]]\nname = 'CR_v'",
            "two tables named cr_v",
        ),
        (
            "[[extend]]\ntable = 'car'",
            "'car' is extended, but is no table",
        ),
        (
            "[[extend]]\ntable = 'account'\n[[extend.column]]\nname = 'cr_X'\n[[extend.column]]\nname = 'cr_x'",
            "the column cr_x of the table account is there twice",
        ),
        (
            "[[link]]\nname = 'cr_l'\nfirst = 'contact'\nsecond = 'car'",
            "the relationship cr_l joins 'car', which is no table",
        ),
        (
            "[[table]]\nname = 'cr_V'\nstatuses = [{ value = 5, label = 'x', state = 7 }]",
            "the status reason 5 of the table cr_v belongs to no state",
        ),
        ("[[table]]\nname = 'cr_V'\ncolour = 'red'", "colour"),
        (
            "[[table]]\nname = 'cr_V'\n[[table.column]]\nname = 'cr_n'\nmax = 0",
            "the column cr_n of the table cr_v cannot hold 0 characters",
        ),
    ];
    for (text, expected) in cases {
        let error = refused(text);
        assert!(error.contains(expected), "{error}");
    }
}

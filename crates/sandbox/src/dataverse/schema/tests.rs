//! Walks over the whole schema.

use std::collections::HashSet;
use std::sync::OnceLock;

use super::custom::CustomSchema;
use super::*;

/// The example that the files' README gives.
pub(super) fn example() -> CustomSchema {
    let readme = include_str!("../../../schema/README.md");
    let begin = readme.find("```toml").expect("an example") + "```toml".len();
    let end = begin + readme[begin..].find("```").expect("its end");
    toml::from_str(&readme[begin..end]).expect("an example that can be read")
}

/// The standard tables with those of the example, built once for all tests of a process.
pub(super) fn with_example() -> &'static Schema {
    static BUILT: OnceLock<Schema> = OnceLock::new();
    BUILT.get_or_init(|| Schema::with_custom(&example()).expect("an example that fits together"))
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
            "[[extend]]\ntable = 'account'\n[[extend.key]]\nname = 'cr_K'\ncolumns = ['revenue']",
            "the key cr_k of the table account names 'revenue', whose type no key can have",
        ),
        (
            "[[extend]]\ntable = 'account'\n[[extend.key]]\nname = 'cr_K'\ncolumns = ['name']\n[[extend.key]]\nname = 'cr_K'\ncolumns = ['fax']",
            "the table account has two keys named cr_k",
        ),
        (
            "[[choice]]\nname = 'cr_c'\noptions = []",
            "the choice cr_c has no options",
        ),
        (
            "[[choice]]\nname = 'cr_c'\noptions = [{ label = 'a' }]\n[[choice]]\nname = 'cr_c'\noptions = [{ label = 'a' }]",
            "there are two choices named cr_c",
        ),
        (
            "[[table]]\nname = 'cr_V'\nactivity = true\nprimary = { name = 'cr_N' }",
            "the table cr_V is an activity and has a 'primary' column",
        ),
        (
            "[[table]]\nname = 'cr_V'\nprimary = { name = 'cr_N', type = 'whole' }",
            "the column cr_N of the table cr_V names rows and must be a text",
        ),
        (
            "[[table]]\nname = 'cr_V'\nset = 'contacts'",
            "the entity set contacts of the table cr_v is taken",
        ),
        (
            "[[table]]\nname = 'cr_V'\n[[table.column]]\nname = 'cr_n'\ntype = 'choice'\ndefault = 7\noptions = [{ value = 1, label = 'a' }]",
            "the column cr_n of the table cr_v defaults to 7, which is none of its options",
        ),
        (
            "[[table]]\nname = 'cr_V'\n[[table.column]]\nname = 'cr_n'\ntype = 'choice'\noptions = [{ value = 1, label = 'a' }, { value = 1, label = 'b' }]",
            "has two options of one value",
        ),
        (
            "[[table]]\nname = 'cr_V'\n[[table.column]]\nname = 'cr_n'\nformat = 'colour'",
            "has the format 'colour', which text does not have",
        ),
        (
            "[[table]]\nname = 'cr_V'\n[[table.column]]\nname = 'cr_n'\ntype = 'money'\nformat = 'email'",
            "has the format 'email', which its type does not have",
        ),
        (
            "[[table]]\nname = 'cr_V'\n[[table.column]]\nname = 'cr_n'\nto = ['contact']",
            "the column cr_n of the table cr_v has 'to', but is no lookup",
        ),
        (
            "[[table]]\nname = 'cr_V'\n[[table.column]]\nname = 'cr_n'\ntype = 'whole'\nauto_number = 'x'",
            "has 'auto_number', but is no text",
        ),
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

#[test]
fn what_is_included_bears_the_names_of_its_table() {
    let schema = Schema::standard();
    let named = |name: &str| {
        schema
            .relationships
            .iter()
            .any(|one| one.schema_name == name)
    };
    for name in [
        "lk_accountbase_createdby",
        "lk_phonecall_createdby",
        "business_unit_phone_call_activities",
        "contact_owning_user",
        "owner_phonecalls",
        "manualsla_phonecall",
        "transactioncurrency_account",
        "TransactionCurrency_PhoneCall",
    ] {
        assert!(named(name), "{name}");
    }
    assert!(
        !schema
            .relationships
            .iter()
            .any(|one| one.schema_name.contains('{'))
    );
}

#[test]
fn deletions_do_what_the_published_relationships_say() {
    let schema = Schema::standard();
    let on_delete = |name: &str| {
        let found = schema
            .relationships
            .iter()
            .find(|one| one.schema_name == name);
        found.unwrap_or_else(|| panic!("{name}")).on_delete
    };
    assert_eq!(on_delete("Contact_Phonecalls"), OnDelete::Cascade);
    assert_eq!(on_delete("Contact_ActivityPointers"), OnDelete::RemoveLink);
    assert_eq!(on_delete("contact_customer_accounts"), OnDelete::Cascade);
    assert_eq!(on_delete("contact_customer_contacts"), OnDelete::RemoveLink);
    assert_eq!(on_delete("account_primary_contact"), OnDelete::RemoveLink);
    assert_eq!(on_delete("business_unit_system_users"), OnDelete::Restrict);
    assert_eq!(on_delete("lk_contactbase_createdby"), OnDelete::NoCascade);
}

#[test]
fn activities_have_all_columns_of_the_pointer() {
    let schema = with_example();
    let pointer = schema.by_name("activitypointer").expect("activities");
    let activities = schema
        .tables
        .iter()
        .filter(|table| table.kind == TableKind::Activity);
    let mut seen = 0;
    for table in activities {
        for column in &pointer.columns {
            let own = table.column(&column.name);
            let kind = own.map(Column::edm);
            // All parties of an activity are a list that only the pointer has.
            let apart = column.name == "allparties";
            assert!(
                apart || kind == Some(column.edm()),
                "{}.{}",
                table.name,
                column.name
            );
        }
        seen += 1;
    }
    assert!(seen > 12, "{seen}");
}

#[test]
fn tables_that_change_tracking_needs_have_it() {
    let schema = Schema::standard();
    for name in [
        "account",
        "contact",
        "incident",
        "lead",
        "opportunity",
        "phonecall",
        "systemuser",
    ] {
        assert!(
            schema
                .by_name(name)
                .is_some_and(|table| table.change_tracking),
            "{name}"
        );
    }
    let detected: Vec<&str> = schema
        .tables
        .iter()
        .filter(|table| table.duplicate_detection)
        .map(|table| table.name.as_str())
        .collect();
    assert_eq!(detected, ["account", "contact", "lead"]);
}

#[test]
fn few_columns_have_an_index() {
    let contact = Schema::standard();
    let contact = contact.by_name("contact").expect("contacts");
    let indexed = contact
        .columns
        .iter()
        .filter(|column| column.indexed)
        .count();
    assert!((8..=16).contains(&indexed), "{indexed}");
}

#[test]
fn money_has_its_amount_in_the_base_currency() {
    let schema = with_example();
    for table in &schema.tables {
        for column in &table.columns {
            let money = matches!(column.kind, Kind::Money { .. });
            let Some(of) = column.name.strip_suffix("_base").filter(|_| money) else {
                continue;
            };
            assert!(table.column(of).is_some(), "{}.{}", table.name, column.name);
            assert!(
                !column.access.create && !column.access.update,
                "{}",
                column.name
            );
            assert!(
                table.column("transactioncurrencyid").is_some(),
                "{}",
                table.name
            );
        }
    }
}

#[test]
fn a_table_joined_to_itself_has_two_ways() {
    let schema = custom(
        "[[table]]\nname = 'cr_V'\n[[link]]\nname = 'cr_pairs'\nfirst = 'cr_v'\nsecond = 'cr_v'",
    )
    .expect("a schema");
    let table = schema.by_name("cr_v").expect("a table");
    assert!(table.collection("Referencingcr_pairs").is_some());
    assert!(table.collection("Referencedcr_pairs").is_some());
    let link = schema.many_to_many.last().expect("a link");
    assert_eq!(
        (link.first_column.as_str(), link.second_column.as_str()),
        ("cr_vidone", "cr_vidtwo")
    );
}

#[test]
fn a_column_of_money_brings_the_currency_to_a_standard_table() {
    let text = "[[extend]]\ntable = 'knowledgearticle'\n[[extend.column]]\nname = 'cr_Cost'\ntype = 'money'";
    let schema = custom(text).expect("a schema");
    let table = schema.by_name("knowledgearticle").expect("a table");
    assert!(table.single("transactioncurrencyid").is_some());
    assert!(table.column("cr_cost").is_some_and(|column| column.custom));
    assert!(table.column("title").is_some_and(|column| !column.custom));
}

#[test]
fn status_reasons_can_be_moved_and_added() {
    let text = "[[table]]\nname = 'cr_V'\nstatuses = [{ value = 1, label = 'New', state = 0 }, { value = 2, label = 'Old', state = 0 }, { value = 9, label = 'Gone', state = 1 }]";
    let schema = custom(text).expect("a schema");
    let table = schema.by_name("cr_v").expect("a table");
    assert_eq!(table.states()[1].default_status, 9);
    assert_eq!(table.statuses().len(), 3);
}

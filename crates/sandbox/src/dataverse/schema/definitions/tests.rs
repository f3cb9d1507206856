use std::collections::{BTreeMap, BTreeSet};

use axum::http::StatusCode;

use super::super::tests::with_example;
use super::super::vocabulary::vocabulary;
use super::item::{Item, Related};
use super::*;
use crate::dataverse::odata::segments;

const METADATA: &str = "https://x/api/data/v9.2/$metadata";

fn ask_of(schema: &Schema, url: &str) -> Outcome<DefinitionsAnswer> {
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let segments = segments(path)?;
    let options = QueryOptions::parse(query)?;
    answer(
        schema,
        &DefinitionsRequest {
            segments: &segments,
            options: &options,
            metadata: METADATA,
        },
    )
}

fn ask(url: &str) -> Outcome<DefinitionsAnswer> {
    ask_of(with_example(), url)
}

fn json(url: &str) -> Value {
    match ask(url) {
        Ok(DefinitionsAnswer::Json(value)) => value,
        other => panic!("{url}: {other:?}"),
    }
}

fn fault(url: &str) -> Fault {
    match ask(url) {
        Err(fault) => fault,
        Ok(answer) => panic!("{url}: {answer:?}"),
    }
}

fn values(url: &str) -> Vec<Value> {
    json(url)["value"]
        .as_array()
        .cloned()
        .unwrap_or_else(|| panic!("{url}: no values"))
}

fn names(url: &str) -> Vec<String> {
    let name = |value: &Value| value["LogicalName"].as_str().map(str::to_owned);
    values(url).iter().filter_map(name).collect()
}

/// Members that a type has, its own and inherited.
fn expected(name: &str) -> BTreeSet<String> {
    let line = vocabulary().line(name);
    let all = line.iter().flat_map(|known| &known.properties);
    all.map(|(name, _)| name.clone()).collect()
}

#[test]
fn every_definition_has_the_members_of_its_type() {
    let schema: &Schema = with_example();
    let mut items: Vec<Item<'_>> = Vec::new();
    for (index, table) in schema.tables.iter().enumerate() {
        let entity = Item::Entity(index, table);
        for property in [
            "Attributes",
            "Keys",
            "ManyToOneRelationships",
            "ManyToManyRelationships",
        ] {
            let Some(Related::Many(all)) = entity.related(schema, property) else {
                panic!("{property}");
            };
            for item in &all {
                for choice in ["OptionSet", "GlobalOptionSet"] {
                    if let Some(Related::One(Some(choice))) = item.related(schema, choice) {
                        items.push(choice);
                    }
                }
            }
            items.extend(all);
        }
        items.push(entity);
    }
    let mut types = BTreeMap::new();
    for item in &items {
        let name = item.type_name();
        let members: BTreeSet<String> = item.members(schema).keys().cloned().collect();
        let expected = types.entry(name).or_insert_with(|| expected(name));
        assert_eq!(members, *expected, "{name}");
    }
    assert_eq!(types.len(), 23, "{:?}", types.keys());
}

#[test]
fn identifiers_of_definitions_are_there_once() {
    let schema = with_example();
    let mut seen = BTreeSet::new();
    for (index, table) in schema.tables.iter().enumerate() {
        assert!(
            seen.insert(Item::Entity(index, table).metadata_id(schema)),
            "{}",
            table.name
        );
        for column in &table.columns {
            assert!(
                seen.insert(column.metadata_id(table)),
                "{}.{}",
                table.name,
                column.name
            );
        }
    }
}

#[test]
fn tables_are_listed_with_what_is_selected() {
    let answer = json("EntityDefinitions?$select=LogicalName,EntitySetName");
    assert_eq!(
        answer["@odata.context"],
        format!("{METADATA}#EntityDefinitions(LogicalName,EntitySetName)")
    );
    let all = answer["value"].as_array().expect("tables");
    assert_eq!(all.len(), with_example().tables.len());
    let account = all
        .iter()
        .find(|one| one["LogicalName"] == "account")
        .expect("accounts");
    assert_eq!(
        *account,
        json!({
            "LogicalName": "account",
            "EntitySetName": "accounts",
            "MetadataId": "70816501-edb9-4740-a16c-6a5efbc05d84",
        })
    );
}

#[test]
fn a_table_is_found_by_name_and_by_identifier() {
    let by_name = json("EntityDefinitions(LogicalName='account')?$select=DisplayName");
    assert_eq!(
        by_name["DisplayName"]["UserLocalizedLabel"]["Label"],
        "Account"
    );
    assert_eq!(
        by_name["DisplayName"]["LocalizedLabels"][0]["LanguageCode"],
        1033
    );
    let id = "70816501-edb9-4740-a16c-6a5efbc05d84";
    let by_id = json(&format!("EntityDefinitions({id})"));
    assert_eq!(by_id["LogicalName"], "account");
    assert_eq!(
        by_id["@odata.context"],
        format!("{METADATA}#EntityDefinitions/$entity")
    );
    assert_eq!(by_id["CanChangeTrackingBeEnabled"]["Value"], true);
    assert_eq!(
        json(&format!("EntityDefinitions(MetadataId={id})"))["SchemaName"],
        "Account"
    );
    let missing = fault("EntityDefinitions(LogicalName='nothing')");
    assert_eq!(
        (missing.status, &*missing.code),
        (StatusCode::NOT_FOUND, "0x80040217")
    );
}

#[test]
fn columns_say_their_type() {
    let all = values(
        "EntityDefinitions(LogicalName='contact')/Attributes?$select=LogicalName,AttributeType",
    );
    let kind = |name: &str| {
        let found = all
            .iter()
            .find(|one| one["LogicalName"] == name)
            .expect(name);
        let code = found["AttributeType"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        (
            found["@odata.type"].as_str().unwrap_or_default().to_owned(),
            code,
        )
    };
    for (name, of, code) in [
        ("fullname", "String", "String"),
        ("birthdate", "DateTime", "DateTime"),
        ("parentcustomerid", "Lookup", "Customer"),
        ("ownerid", "Lookup", "Owner"),
        ("contactid", "UniqueIdentifier", "Uniqueidentifier"),
        ("statuscode", "Status", "Status"),
        ("annualincome", "Money", "Money"),
        ("versionnumber", "BigInt", "BigInt"),
        ("entityimage", "Image", "Virtual"),
    ] {
        let expected = format!("#Microsoft.Dynamics.CRM.{of}AttributeMetadata");
        assert_eq!(kind(name), (expected, code.to_owned()), "{name}");
    }
}

#[test]
fn a_choice_comes_with_its_options() {
    let answer = json(
        "EntityDefinitions(LogicalName='account')/Attributes(LogicalName='accountcategorycode')/Microsoft.Dynamics.CRM.PicklistAttributeMetadata?$select=LogicalName&$expand=OptionSet($select=Options),GlobalOptionSet($select=Options)",
    );
    assert_eq!(answer["LogicalName"], "accountcategorycode");
    assert_eq!(answer["MetadataId"], "118771ca-6fb9-4f60-8fd4-99b6124b63ad");
    assert_eq!(answer["GlobalOptionSet"], Value::Null);
    let options = &answer["OptionSet"]["Options"];
    assert_eq!(options[1]["Value"], 2);
    assert_eq!(
        options[1]["Label"]["UserLocalizedLabel"]["Label"],
        "Standard"
    );
    let context = answer["@odata.context"].as_str().expect("a context");
    let ending = "#EntityDefinitions('account')/Attributes/Microsoft.Dynamics.CRM.PicklistAttributeMetadata(LogicalName,OptionSet(Options),GlobalOptionSet(Options))/$entity";
    assert!(context.ends_with(ending), "{context}");
    let inner = answer["OptionSet@odata.context"]
        .as_str()
        .expect("a context");
    assert!(
        inner.ends_with("PicklistAttributeMetadata/OptionSet(Options)/$entity"),
        "{inner}"
    );
}

#[test]
fn states_and_reasons_say_what_goes_with_them() {
    let path = "EntityDefinitions(LogicalName='incident')/Attributes";
    let cast = "Microsoft.Dynamics.CRM";
    let states = json(&format!(
        "{path}(LogicalName='statecode')/{cast}.StateAttributeMetadata/OptionSet?$select=Options"
    ));
    assert_eq!(states["Options"][1]["DefaultStatus"], 5);
    assert_eq!(
        states["Options"][1]["@odata.type"],
        "#Microsoft.Dynamics.CRM.StateOptionMetadata"
    );
    let reasons = values(&format!(
        "{path}/{cast}.StatusAttributeMetadata?$expand=OptionSet"
    ));
    let solved = reasons[0]["OptionSet"]["Options"]
        .as_array()
        .expect("options");
    assert!(
        solved
            .iter()
            .any(|one| one["Value"] == 5 && one["State"] == 1)
    );
    let no = ask(&format!(
        "{path}(LogicalName='title')/{cast}.StateAttributeMetadata"
    ));
    assert_eq!(no.expect_err("no state").status, StatusCode::NOT_FOUND);
}

#[test]
fn a_shared_choice_is_shown_in_both_places() {
    let answer = json(
        "EntityDefinitions(LogicalName='cr_vehicle')/Attributes(LogicalName='cr_fuelcode')/Microsoft.Dynamics.CRM.PicklistAttributeMetadata?$expand=OptionSet,GlobalOptionSet",
    );
    assert_eq!(answer["GlobalOptionSet"]["Name"], "cr_fuel");
    assert_eq!(answer["OptionSet"]["IsGlobal"], true);
    let shared = json("GlobalOptionSetDefinitions(Name='cr_fuel')");
    assert_eq!(
        shared["Options"][2]["Label"]["UserLocalizedLabel"]["Label"],
        "Electric"
    );
    assert_eq!(
        shared["@odata.type"],
        "#Microsoft.Dynamics.CRM.OptionSetMetadata"
    );
    assert!(values("GlobalOptionSetDefinitions?$select=Name").len() > 10);
}

#[test]
fn filters_compare_members_labels_and_enumerations() {
    let list = "EntityDefinitions?$select=LogicalName&$filter=";
    assert_eq!(
        names(&format!("{list}LogicalName eq 'contact'")),
        ["contact"]
    );
    assert_eq!(
        names(&format!("{list}SchemaName eq 'cr_Vehicle'")),
        ["cr_vehicle"]
    );
    assert_eq!(
        names(&format!(
            "{list}IsCustomEntity eq true and IsActivity eq false and not IsIntersect eq true"
        )),
        ["cr_vehicle"]
    );
    let owned = names(&format!(
        "{list}OwnershipType eq Microsoft.Dynamics.CRM.OwnershipTypes'UserOwned'"
    ));
    assert!(owned.contains(&"account".to_owned()) && !owned.contains(&"systemuser".to_owned()));
    let creatable = names(&format!("{list}CanCreateAttributes/Value eq true"));
    assert!(
        creatable.contains(&"account".to_owned()) && !creatable.contains(&"teamroles".to_owned())
    );
    assert_eq!(
        names(&format!(
            "{list}DisplayName/UserLocalizedLabel/Label eq 'Case'"
        )),
        ["incident"]
    );
    assert_eq!(
        names(&format!(
            "{list}startswith(LogicalName,'cr_veh') and endswith(LogicalName,'icle')"
        )),
        ["cr_vehicle"]
    );
    assert_eq!(
        names(&format!("{list}ObjectTypeCode le 2")),
        ["account", "contact"]
    );
    assert_eq!(
        names(&format!(
            "{list}MetadataId eq 70816501-EDB9-4740-a16c-6a5efbc05d84"
        )),
        ["account"]
    );
    let columns =
        "EntityDefinitions(LogicalName='account')/Attributes?$select=LogicalName&$filter=";
    let required = format!(
        "{columns}RequiredLevel/Value eq Microsoft.Dynamics.CRM.AttributeRequiredLevel'ApplicationRequired'"
    );
    assert_eq!(names(&required), ["name"]);
    let keys = names(
        "EntityDefinitions?$select=LogicalName&$expand=Keys($select=KeyAttributes;$filter=KeyAttributes/any(k:k eq 'cr_plate'))&$filter=LogicalName eq 'cr_vehicle'",
    );
    assert_eq!(keys, ["cr_vehicle"]);
}

#[test]
fn columns_expand_with_their_own_options() {
    let answer = json(
        "EntityDefinitions(LogicalName='account')?$select=LogicalName&$expand=Attributes($select=LogicalName;$filter=AttributeType eq Microsoft.Dynamics.CRM.AttributeTypeCode'Picklist')",
    );
    let all = answer["Attributes"].as_array().expect("columns");
    assert!(
        all.iter()
            .all(|one| one["@odata.type"] == "#Microsoft.Dynamics.CRM.PicklistAttributeMetadata")
    );
    assert!(all.iter().any(|one| one["LogicalName"] == "industrycode"));
    assert!(
        all.iter()
            .all(|one| one.as_object().is_some_and(|one| one.len() == 3))
    );
    let cast = json(
        "EntityDefinitions(LogicalName='account')?$select=LogicalName&$expand=Attributes/Microsoft.Dynamics.CRM.LookupAttributeMetadata($select=Targets)",
    );
    assert!(cast["Attributes"][0]["Targets"].is_array());
}

#[test]
fn relationships_say_both_ends() {
    let path = "EntityDefinitions(LogicalName='contact')";
    let all = values(&format!("{path}/ManyToOneRelationships"));
    let parent = all
        .iter()
        .find(|one| one["SchemaName"] == "contact_customer_accounts")
        .expect("it");
    assert_eq!(parent["ReferencedEntity"], "account");
    assert_eq!(parent["ReferencedAttribute"], "accountid");
    assert_eq!(
        parent["ReferencingEntityNavigationPropertyName"],
        "parentcustomerid_account"
    );
    assert_eq!(parent["CascadeConfiguration"]["Delete"], "Cascade");
    assert!(parent.get("@odata.type").is_none());
    let owner = all
        .iter()
        .find(|one| one["ReferencingAttribute"] == "ownerid")
        .expect("it");
    assert_eq!(owner["ReferencedEntity"], "owner");
    let back = values(&format!("{path}/OneToManyRelationships?$select=SchemaName"));
    assert!(
        back.iter()
            .any(|one| one["SchemaName"] == "account_primary_contact")
    );
    let many = values(&format!("{path}/ManyToManyRelationships"));
    assert!(
        many.iter()
            .any(|one| one["Entity1NavigationPropertyName"] == "cr_vehicle_contact")
    );
    let one = json("RelationshipDefinitions(SchemaName='cr_vehicle_contact')");
    assert_eq!(
        one["@odata.type"],
        "#Microsoft.Dynamics.CRM.ManyToManyRelationshipMetadata"
    );
    let cast = "RelationshipDefinitions/Microsoft.Dynamics.CRM.OneToManyRelationshipMetadata";
    let of_account = values(&format!(
        "{cast}?$select=SchemaName&$filter=ReferencedEntity eq 'account'"
    ));
    assert!(of_account.len() > 20);
    let id = one["MetadataId"].as_str().expect("an identifier");
    assert_eq!(
        json(&format!("RelationshipDefinitions({id})"))["SchemaName"],
        "cr_vehicle_contact"
    );
}

#[test]
fn keys_are_listed() {
    let keys = values("EntityDefinitions(LogicalName='cr_vehicle')/Keys");
    assert_eq!(keys[0]["KeyAttributes"], json!(["cr_plate"]));
    assert_eq!(keys[0]["EntityKeyIndexStatus"], "Active");
    assert!(values("EntityDefinitions(LogicalName='contact')/Keys").is_empty());
    let one = json("EntityDefinitions(LogicalName='cr_vehicle')/Keys(LogicalName='cr_platekey')");
    assert_eq!(one["SchemaName"], "cr_PlateKey");
}

#[test]
fn counts_and_single_values_are_given() {
    let counted =
        json("EntityDefinitions?$select=LogicalName&$count=true&$filter=LogicalName eq 'task'");
    assert_eq!(counted["@odata.count"], 1);
    let count = ask("EntityDefinitions(LogicalName='cr_vehicle')/Keys/$count");
    assert_eq!(
        count.expect("a count"),
        DefinitionsAnswer::Text("1".to_owned())
    );
    let value = json("EntityDefinitions(LogicalName='account')/EntitySetName");
    assert_eq!(value["value"], "accounts");
    let text = ask("EntityDefinitions(LogicalName='account')/EntitySetName/$value");
    assert_eq!(
        text.expect("a text"),
        DefinitionsAnswer::Text("accounts".to_owned())
    );
    let label = json("EntityDefinitions(LogicalName='account')/DisplayName/UserLocalizedLabel");
    assert_eq!(label["Label"], "Account");
    let none = ask(
        "EntityDefinitions(LogicalName='account')/Attributes(LogicalName='industrycode')/Microsoft.Dynamics.CRM.PicklistAttributeMetadata/GlobalOptionSet",
    );
    assert_eq!(none.expect("nothing"), DefinitionsAnswer::Nothing);
}

#[test]
fn what_definitions_do_not_take_is_refused() {
    for (url, status, text) in [
        (
            "EntityDefinitions?$top=1",
            StatusCode::BAD_REQUEST,
            "The query parameter $top is not supported",
        ),
        (
            "EntityDefinitions?$orderby=LogicalName",
            StatusCode::BAD_REQUEST,
            "$orderby is not supported",
        ),
        (
            "EntityDefinitions?$select=Nothing",
            StatusCode::BAD_REQUEST,
            "named 'Nothing' on type 'Microsoft.Dynamics.CRM.EntityMetadata'",
        ),
        (
            "EntityDefinitions?$filter=Nothing eq 1",
            StatusCode::BAD_REQUEST,
            "named 'Nothing'",
        ),
        (
            "EntityDefinitions?$filter=DisplayName/Nothing eq 1",
            StatusCode::BAD_REQUEST,
            "on type 'Microsoft.Dynamics.CRM.Label'",
        ),
        (
            "EntityDefinitions?$filter=LogicalName eq",
            StatusCode::BAD_REQUEST,
            "position",
        ),
        (
            "EntityDefinitions?$filter=trim(LogicalName) eq 'x'",
            StatusCode::BAD_REQUEST,
            "unknown function with name 'trim'",
        ),
        (
            "EntityDefinitions?$filter=contains(LogicalName)",
            StatusCode::BAD_REQUEST,
            "No function signature",
        ),
        (
            "EntityDefinitions?$filter=OwnershipType eq Microsoft.Dynamics.CRM.OwnershipTypes'No'",
            StatusCode::BAD_REQUEST,
            "not a valid enumeration",
        ),
        (
            "EntityDefinitions?$expand=Nothing",
            StatusCode::BAD_REQUEST,
            "named 'Nothing'",
        ),
        (
            "EntityDefinitions?$expand=Attributes($top=1)",
            StatusCode::BAD_REQUEST,
            "$top is not supported",
        ),
        (
            "EntityDefinitions?$expand=Attributes($expand=OptionSet)",
            StatusCode::BAD_REQUEST,
            "on type 'Microsoft.Dynamics.CRM.AttributeMetadata'",
        ),
        (
            "EntityDefinitions(LogicalName='account')/Nothing",
            StatusCode::NOT_FOUND,
            "segment 'Nothing'",
        ),
        (
            "EntityDefinitions/Attributes",
            StatusCode::NOT_FOUND,
            "segment 'Attributes'",
        ),
        (
            "EntityDefinitions/Microsoft.Dynamics.CRM.Label",
            StatusCode::NOT_FOUND,
            "segment",
        ),
        (
            "EntityDefinitions(LogicalName='account')/Attributes(LogicalName='no')",
            StatusCode::NOT_FOUND,
            "'no'",
        ),
        (
            "EntityDefinitions(LogicalName=1)",
            StatusCode::BAD_REQUEST,
            "not valid",
        ),
        (
            "GlobalOptionSetDefinitions(Name='no')",
            StatusCode::NOT_FOUND,
            "'no'",
        ),
        ("Nothing", StatusCode::NOT_FOUND, "segment 'Nothing'"),
    ] {
        let fault = fault(url);
        assert_eq!(fault.status, status, "{url}: {}", fault.message);
        assert!(fault.message.contains(text), "{url}: {}", fault.message);
    }
}

#[test]
fn changes_are_asked_for_by_a_function() {
    let query = r#"{"Properties":{"PropertyNames":["LogicalName"]},"Criteria":{"Conditions":[{"PropertyName":"LogicalName","ConditionOperator":"In","Value":{"Value":["account","contact"]}}]}}"#;
    let answer = json(&format!("RetrieveMetadataChanges(Query=@p1)?@p1={query}"));
    assert_eq!(answer["EntityMetadata"].as_array().map(Vec::len), Some(2));
    let without = fault("RetrieveMetadataChanges()");
    assert_eq!(without.status, StatusCode::BAD_REQUEST);
    let broken = ask("RetrieveMetadataChanges(Query=@p1)?@p1={\"a\"");
    assert!(broken.is_err());
}

#[test]
fn only_definitions_are_owned() {
    assert!(owns("EntityDefinitions") && owns("RelationshipDefinitions"));
    assert!(owns("GlobalOptionSetDefinitions"));
    assert!(!owns("accounts") && !owns("entitydefinitions"));
}

#[test]
fn changes_are_asked_for_with_the_members_of_every_type() {
    let same = |name: &str, value: &str| {
        json!({"Conditions": [{
            "PropertyName": name,
            "ConditionOperator": "Equals",
            "Value": {"Type": "System.String", "Value": value},
        }]})
    };
    let query = json!({
        "Properties": {"PropertyNames": ["LogicalName", "Attributes"]},
        "Criteria": same("LogicalName", "account"),
        "AttributeQuery": {
            "Properties": {"PropertyNames": ["LogicalName", "MaxLength", "OptionSet"]},
            "Criteria": {"FilterOperator": "Or", "Filters": [
                same("LogicalName", "name"),
                same("LogicalName", "industrycode"),
            ]},
        },
    });
    let answer = changes::changes(with_example(), &query, METADATA).expect("an answer");
    assert_eq!(answer["EntityMetadata"].as_array().map(Vec::len), Some(1));
    let columns = answer["EntityMetadata"][0]["Attributes"]
        .as_array()
        .expect("columns");
    assert_eq!(columns.len(), 2);
    assert_eq!(columns[0]["MaxLength"], 160);
    assert_eq!(
        columns[0]["@odata.type"],
        "#Microsoft.Dynamics.CRM.StringAttributeMetadata"
    );
    assert!(columns[1]["OptionSet"]["Options"].is_array());
    assert!(columns[1].get("SchemaName").is_none());
    let custom =
        json!({"Properties": {"AllProperties": true}, "Criteria": same("IsCustomEntity", "true")});
    let answer = changes::changes(with_example(), &custom, METADATA).expect("an answer");
    let tables = answer["EntityMetadata"].as_array().expect("tables");
    assert!(
        tables
            .iter()
            .any(|one| one["LogicalName"] == "cr_vehicle" && one["Keys"].is_array())
    );
    assert!(tables.iter().all(|one| one["IsCustomEntity"] == true));
    let odd =
        json!({"Criteria": {"Conditions": [{"PropertyName": "x", "ConditionOperator": "Like"}]}});
    assert!(changes::changes(with_example(), &odd, METADATA).is_err());
    assert!(changes::changes(with_example(), &json!("nothing"), METADATA).is_ok());
}

/// The published examples, where they lie beside the repository.
#[test]
fn published_reads_of_definitions_are_answered() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");
    let schema = with_example();
    let mut asked = 0;
    for file in ["webapi-requests.jsonl", "webapi-examples.jsonl"] {
        let Ok(text) = std::fs::read_to_string(format!("{folder}/{file}")) else {
            return;
        };
        for line in text.lines() {
            let example: Value = serde_json::from_str(line).expect("JSON");
            let request = &example["request"];
            let url = request["url"].as_str().unwrap_or_default();
            let Some((_, path)) = url.split_once("/api/data/v9.") else {
                continue;
            };
            let path = path.split_once('/').map_or("", |(_, path)| path);
            let first = path.split(['(', '?', '/']).next().unwrap_or_default();
            if request["method"] != "GET" || !owns(first) || path.contains('<') {
                continue;
            }
            let answer = ask_of(schema, path);
            assert!(answer.is_ok(), "{}: {path}: {answer:?}", example["id"]);
            asked += 1;
        }
    }
    assert!(asked > 10, "{asked}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(24))]

    #[test]
    fn odd_paths_and_options_never_panic(path in "\\PC{0,40}", query in "\\PC{0,60}") {
        let schema = Schema::standard();
        for begin in ["", "EntityDefinitions", "EntityDefinitions(LogicalName='account')/Attributes"] {
            let _ = ask_of(&schema, &format!("{begin}{path}?$filter={query}"));
            let _ = ask_of(&schema, &format!("{begin}?$expand={query}&$select={path}"));
        }
    }

    #[test]
    fn odd_seeds_never_panic(name in "\\PC{0,12}", text in "\\PC{0,20}") {
        let mut seed = super::super::tests::example();
        for table in &mut seed.tables {
            table.name.push_str(&name);
            table.columns.iter_mut().for_each(|column| column.label = Some(text.clone()));
        }
        if let Ok(schema) = Schema::with_custom(&seed) {
            let document = super::super::metadata_document(&schema, super::super::Annotations::With);
            proptest::prop_assert!(roxmltree::Document::parse(&document).is_ok());
        }
    }
}

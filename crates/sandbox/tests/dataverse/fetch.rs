//! FetchXML over the Web API.

use reqwest::Method;
use serde_json::Value;
use tieline_sandbox::seed::RoleSeed;

use crate::support::{ANNOTATED, Answer, Service};

const FORMATTED: &str = "OData.Community.Display.V1.FormattedValue";

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

pub(crate) async fn fetch(
    service: &Service,
    set: &str,
    xml: &str,
    headers: &[(&str, &str)],
) -> Answer {
    service
        .send(
            Method::GET,
            &format!("{set}?fetchXml={}", encoded(xml)),
            headers,
            None,
        )
        .await
}

pub(crate) async fn rows(service: &Service, set: &str, xml: &str) -> Vec<Value> {
    let answer = fetch(service, set, xml, &[]).await;
    assert_eq!(answer.status, 200, "{xml}: {}", answer.text);
    answer.json()["value"].as_array().expect("rows").clone()
}

pub(crate) async fn odata(service: &Service, path: &str) -> Vec<Value> {
    service.read(path).await["value"]
        .as_array()
        .expect("rows")
        .clone()
}

pub(crate) fn texts(rows: &[Value], name: &str) -> Vec<String> {
    rows.iter()
        .map(|row| row[name].as_str().unwrap_or_default().to_owned())
        .collect()
}

#[tokio::test]
async fn a_query_shows_the_columns_it_names_and_the_key() {
    let service = Service::start().await;
    let xml = "<fetch top='3'><entity name='contact'><attribute name='fullname'/><order attribute='fullname'/></entity></fetch>";
    let answer = fetch(&service, "contacts", xml, &[]).await.json();
    let expected = odata(
        &service,
        "contacts?$select=fullname&$orderby=fullname&$top=3",
    )
    .await;
    let context = answer["@odata.context"].as_str().expect("a context");
    assert!(
        context.ends_with("$metadata#contacts(fullname,contactid)"),
        "{context}"
    );
    assert_eq!(answer["value"].as_array().expect("rows"), &expected);
}

#[tokio::test]
async fn a_query_that_was_encoded_twice_is_understood() {
    let service = Service::start().await;
    let xml = "<fetch><entity name='contact'><attribute name='fullname' /></entity></fetch>";
    let once = rows(&service, "contacts", xml).await;
    let twice = service
        .read(&format!(
            "contacts?fetchXml={}",
            encoded(&encoded(xml).replace('+', "%20"))
        ))
        .await;
    assert_eq!(twice["value"].as_array().expect("rows"), &once);
}

#[tokio::test]
async fn another_spelling_of_the_parameter_is_the_clients_own() {
    let service = Service::start().await;
    let answer = service.read("contacts?fetchxml=nonsense&$top=1").await;
    assert_eq!(answer["value"].as_array().expect("rows").len(), 1);
}

#[tokio::test]
async fn empty_columns_are_left_out() {
    let service = Service::start().await;
    let xml = "<fetch top='1'><entity name='contact'><attribute name='fullname'/><attribute name='spousesname'/></entity></fetch>";
    let found = rows(&service, "contacts", xml).await;
    assert!(
        found[0].get("spousesname").is_none() && found[0].get("fullname").is_some(),
        "{found:?}"
    );
}

#[tokio::test]
async fn links_bring_columns_under_their_alias() {
    let service = Service::start().await;
    let xml = "<fetch><entity name='contact'><attribute name='fullname'/><order attribute='contactid'/>\
        <link-entity name='account' from='accountid' to='parentcustomerid' alias='a' link-type='inner'>\
        <attribute name='name'/><attribute name='ownerid' alias='boss'/></link-entity></entity></fetch>";
    let answer = fetch(&service, "contacts", xml, &[ANNOTATED]).await.json();
    let found = answer["value"].as_array().expect("rows");
    let path = "contacts?$select=fullname&$expand=parentcustomerid_account($select=name,_ownerid_value)\
        &$filter=parentcustomerid_account/accountid ne null&$orderby=contactid";
    let expected = odata(&service, path).await;
    assert!(
        !found.is_empty() && found.len() == expected.len(),
        "{} and {}",
        found.len(),
        expected.len()
    );
    for (row, other) in found.iter().zip(&expected) {
        let account = &other["parentcustomerid_account"];
        assert_eq!(
            (&row["a.name"], &row["boss"]),
            (&account["name"], &account["_ownerid_value"])
        );
    }
    assert_eq!(
        found[0]["a.name@OData.Community.Display.V1.AttributeName"],
        "name"
    );
    assert_eq!(
        found[0]["boss@OData.Community.Display.V1.AttributeName"],
        "ownerid"
    );
    assert!(found[0][&format!("boss@{FORMATTED}")].is_string());
    assert!(found[0]["boss@Microsoft.Dynamics.CRM.lookuplogicalname"].is_string());
}

#[tokio::test]
async fn a_link_without_alias_is_named_and_numbered() {
    let service = Service::start().await;
    let xml = "<fetch top='1'><entity name='contact'><link-entity name='systemuser' from='systemuserid' to='owninguser'>\
        <attribute name='fullname'/></link-entity></entity></fetch>";
    let found = rows(&service, "contacts", xml).await;
    assert!(found[0]["systemuser1.fullname"].is_string(), "{found:?}");
}

#[tokio::test]
async fn outer_links_keep_rows_that_match_nothing() {
    let service = Service::start().await;
    let link = |kind: &str| {
        format!(
            "<fetch><entity name='account'><attribute name='name'/><link-entity name='contact' from='contactid' to='primarycontactid' link-type='{kind}' alias='c'>\
            <attribute name='fullname'/><filter><condition attribute='fullname' operator='eq' value='nobody'/></filter></link-entity></entity></fetch>"
        )
    };
    let all = odata(&service, "accounts?$select=name").await.len();
    assert_eq!(rows(&service, "accounts", &link("outer")).await.len(), all);
    assert_eq!(rows(&service, "accounts", &link("inner")).await.len(), 0);
    assert_eq!(
        rows(&service, "accounts", &link("matchfirstrowusingcrossapply"))
            .await
            .len(),
        all
    );
}

#[tokio::test]
async fn links_that_only_restrict_give_each_row_once() {
    let service = Service::start().await;
    let link = |kind: &str, filter: &str| {
        format!(
            "<fetch><entity name='account'><attribute name='name'/><filter>\
            <link-entity name='contact' from='parentcustomerid' to='accountid' link-type='{kind}'>{filter}</link-entity></filter></entity></fetch>"
        )
    };
    let all = odata(&service, "accounts?$select=name").await.len();
    let with = odata(
        &service,
        "accounts?$select=name&$filter=contact_customer_accounts/any()",
    )
    .await
    .len();
    for kind in ["any", "exists", "in", "not all"] {
        assert_eq!(
            rows(&service, "accounts", &link(kind, "")).await.len(),
            with,
            "{kind}"
        );
    }
    assert_eq!(
        rows(&service, "accounts", &link("not any", "")).await.len(),
        all - with
    );
    // As it is documented: there are rows, and none satisfies the filter.
    let nobody = "<filter><condition attribute='fullname' operator='eq' value='nobody'/></filter>";
    assert_eq!(
        rows(&service, "accounts", &link("all", nobody)).await.len(),
        with
    );
    assert_eq!(rows(&service, "accounts", &link("all", "")).await.len(), 0);
}

#[tokio::test]
async fn the_first_match_is_one_row() {
    let service = Service::start().await;
    let xml = |kind: &str| {
        format!(
            "<fetch><entity name='account'><attribute name='name'/>\
            <link-entity name='contact' from='parentcustomerid' to='accountid' link-type='{kind}' alias='c'><attribute name='fullname'/></link-entity></entity></fetch>"
        )
    };
    let all = odata(&service, "accounts?$select=name").await.len();
    let first = rows(&service, "accounts", &xml("matchfirstrowusingcrossapply")).await;
    assert_eq!(first.len(), all);
    assert!(first.iter().any(|row| row.get("c.fullname").is_some()));
}

#[tokio::test]
async fn many_to_many_goes_through_the_table_of_pairs() {
    let service = Service::start().await;
    let xml = "<fetch><entity name='systemuser'><attribute name='fullname'/><link-entity name='teammembership' from='systemuserid' to='systemuserid' intersect='true'>\
        <link-entity name='team' from='teamid' to='teamid' alias='t'><attribute name='name'/></link-entity></link-entity></entity></fetch>";
    let found = rows(&service, "systemusers", xml).await;
    let expected = odata(
        &service,
        "systemusers?$select=fullname&$filter=teammembership_association/any()",
    )
    .await;
    assert!(
        !found.is_empty() && found.len() == expected.len(),
        "{} and {}",
        found.len(),
        expected.len()
    );
    assert!(found.iter().all(|row| row["t.name"].is_string()));
}

#[tokio::test]
async fn filters_mean_what_their_odata_twins_mean() {
    let service = Service::start().await;
    for (condition, filter) in [
        (
            "<condition attribute='fullname' operator='like' value='%a%'/>",
            "contains(fullname,'a')",
        ),
        (
            "<condition attribute='fullname' operator='not-like' value='%a%'/>",
            "not contains(fullname,'a')",
        ),
        (
            "<condition attribute='fullname' operator='begins-with' value='m'/>",
            "startswith(fullname,'m')",
        ),
        (
            "<condition attribute='jobtitle' operator='ne' value='Buyer'/>",
            "jobtitle ne 'Buyer'",
        ),
        (
            "<condition attribute='jobtitle' operator='null'/>",
            "jobtitle eq null",
        ),
        (
            "<condition attribute='jobtitle' operator='not-null'/>",
            "jobtitle ne null",
        ),
        (
            "<condition attribute='statecode' operator='in'><value>0</value><value>1</value></condition>",
            "statecode ge 0",
        ),
        (
            "<condition attribute='statecodename' operator='eq' value='active'/>",
            "statecode eq 0",
        ),
        (
            "<condition attribute='createdon' operator='last-x-years' value='3'/>",
            "Microsoft.Dynamics.CRM.LastXYears(PropertyName='createdon',PropertyValue=3)",
        ),
        (
            "<condition attribute='ownerid' operator='eq-userid'/>",
            "Microsoft.Dynamics.CRM.EqualUserId(PropertyName='ownerid')",
        ),
        (
            "<condition attribute='firstname' operator='eq' valueof='lastname'/>",
            "firstname eq lastname",
        ),
        (
            "<condition attribute='firstname' operator='ne' valueof='lastname'/>",
            "firstname ne lastname",
        ),
        (
            "<filter type='or'><condition attribute='fullname' operator='like' value='a%'/><condition attribute='fullname' operator='like' value='b%'/></filter>",
            "startswith(fullname,'a') or startswith(fullname,'b')",
        ),
        ("", "statecode ne null"),
    ] {
        let xml = format!(
            "<fetch><entity name='contact'><attribute name='fullname'/><order attribute='contactid'/><filter>{condition}</filter></entity></fetch>"
        );
        let found = rows(&service, "contacts", &xml).await;
        let expected = odata(
            &service,
            &format!("contacts?$select=fullname&$orderby=contactid&$filter={filter}"),
        )
        .await;
        assert_eq!(found, expected, "{condition}");
    }
}

#[tokio::test]
async fn conditions_reach_linked_tables_after_the_join() {
    let service = Service::start().await;
    let xml = "<fetch><entity name='contact'><attribute name='fullname'/><filter><condition entityname='a' attribute='name' operator='null'/></filter>\
        <link-entity name='account' from='accountid' to='parentcustomerid' alias='a' link-type='outer'/></entity></fetch>";
    let found = rows(&service, "contacts", xml).await;
    let expected = odata(
        &service,
        "contacts?$select=fullname&$filter=parentcustomerid_account/name eq null",
    )
    .await;
    assert_eq!(found.len(), expected.len());
    let across = "<fetch><entity name='contact'><attribute name='fullname'/><filter><condition attribute='ownerid' operator='eq' valueof='a.ownerid'/></filter>\
        <link-entity name='account' from='accountid' to='parentcustomerid' alias='a' link-type='outer'/></entity></fetch>";
    let answer = fetch(&service, "contacts", across, &[]).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

#[tokio::test]
async fn lookups_are_ordered_by_the_names_behind_them() {
    let service = Service::start().await;
    let xml = "<fetch><entity name='contact'><attribute name='parentcustomerid'/><order attribute='parentcustomerid' descending='true'/></entity></fetch>";
    let answer = fetch(&service, "contacts", xml, &[ANNOTATED]).await.json();
    let names = texts(
        answer["value"].as_array().expect("rows"),
        &format!("_parentcustomerid_value@{FORMATTED}"),
    );
    let mut sorted = names.clone();
    sorted.sort_by_key(|name| std::cmp::Reverse(name.to_lowercase()));
    assert_eq!(names, sorted);
    assert!(
        names.iter().collect::<std::collections::HashSet<_>>().len() > 1,
        "{names:?}"
    );
}

#[tokio::test]
async fn choices_are_ordered_by_label_unless_raw() {
    let service = Service::start().await;
    let xml = |raw: &str| {
        format!(
            "<fetch {raw}><entity name='incident'><attribute name='prioritycode'/><order attribute='prioritycode'/></entity></fetch>"
        )
    };
    let labels = fetch(&service, "incidents", &xml(""), &[ANNOTATED])
        .await
        .json();
    let labels = texts(
        labels["value"].as_array().expect("rows"),
        &format!("prioritycode@{FORMATTED}"),
    );
    assert!(labels.is_sorted(), "{labels:?}");
    let raw = rows(&service, "incidents", &xml("useraworderby='true'")).await;
    let raw: Vec<i64> = raw
        .iter()
        .map(|row| row["prioritycode"].as_i64().unwrap_or_default())
        .collect();
    assert!(raw.is_sorted(), "{raw:?}");
}

#[tokio::test]
async fn distinct_rows_have_no_key() {
    let service = Service::start().await;
    let xml = "<fetch distinct='true'><entity name='contact'><attribute name='statecode'/></entity></fetch>";
    let found = rows(&service, "contacts", xml).await;
    assert_eq!(found.len(), 1);
    assert!(
        found[0].get("contactid").is_none() && found[0].get("@odata.etag").is_none(),
        "{found:?}"
    );
}

#[tokio::test]
async fn aggregates_count_and_group() {
    let service = Service::start().await;
    let xml = "<fetch aggregate='true'><entity name='contact'><attribute name='contactid' alias='n' aggregate='count'/>\
        <attribute name='jobtitle' alias='titles' aggregate='countcolumn' distinct='true'/><attribute name='jobtitle' alias='filled' aggregate='countcolumn'/></entity></fetch>";
    let found = fetch(&service, "contacts", xml, &[ANNOTATED]).await.json();
    let contacts = odata(&service, "contacts?$select=jobtitle").await;
    let filled: Vec<String> = texts(&contacts, "jobtitle")
        .into_iter()
        .filter(|title| !title.is_empty())
        .collect();
    let distinct: std::collections::HashSet<&String> = filled.iter().collect();
    let row = &found["value"][0];
    assert_eq!(
        (row["n"].as_u64(), row[format!("n@{FORMATTED}")].as_str()),
        (Some(12), Some("12"))
    );
    assert_eq!(row["filled"].as_u64(), Some(filled.len() as u64));
    assert_eq!(row["titles"].as_u64(), Some(distinct.len() as u64));
    let xml = "<fetch aggregate='true'><entity name='contact'><attribute name='contactid' alias='n' aggregate='count'/>\
        <attribute name='parentcustomerid' alias='company' groupby='true'/><order alias='n' descending='true'/></entity></fetch>";
    let groups = rows(&service, "contacts", xml).await;
    let counts: Vec<u64> = groups
        .iter()
        .map(|row| row["n"].as_u64().expect("a count"))
        .collect();
    assert_eq!(counts.iter().sum::<u64>(), 12);
    assert!(
        counts.is_sorted_by(|left, right| left >= right) && counts.len() > 1,
        "{groups:?}"
    );
}

#[tokio::test]
async fn aggregates_group_by_parts_of_dates_and_cap_their_rows() {
    let service = Service::start().await;
    let xml = "<fetch aggregate='true'><entity name='contact'><attribute name='contactid' alias='n' aggregate='count'/>\
        <attribute name='createdon' alias='y' groupby='true' dategrouping='year'/><attribute name='createdon' alias='q' groupby='true' dategrouping='fiscal-period'/>\
        <attribute name='createdon' alias='w' groupby='true' dategrouping='week'/><order alias='y'/></entity></fetch>";
    let found = fetch(&service, "contacts", xml, &[ANNOTATED]).await;
    assert_eq!(found.status, 200, "{}", found.text);
    let found = found.json();
    let row = &found["value"][0];
    let year = row["y"].as_i64().expect("a year");
    let text = row[format!("q@{FORMATTED}")]
        .as_str()
        .expect("a fiscal period");
    assert!(
        text.starts_with("Quarter ") && text.ends_with(&format!("FY{year}")),
        "{text}"
    );
    assert!((1..=54).contains(&row["w"].as_i64().expect("a week")));
    let xml = "<fetch aggregate='true' aggregatelimit='11'><entity name='contact'><attribute name='contactid' alias='n' aggregate='count'/></entity></fetch>";
    let (status, code) = fetch(&service, "contacts", xml, &[]).await.refusal();
    assert_eq!((status, code.as_str()), (400, "0x8004e023"));
}

#[tokio::test]
async fn children_are_counted_along_the_hierarchy() {
    let service = Service::start().await;
    let xml = "<fetch top='2'><entity name='account'><attribute name='name'/><attribute name='accountid' alias='below' rowaggregate='CountChildren'/></entity></fetch>";
    let found = rows(&service, "accounts", xml).await;
    assert!(
        found
            .iter()
            .all(|row| row["below"].is_i64() && row["accountid"].is_string()),
        "{found:?}"
    );
}

#[tokio::test]
async fn refusals_carry_dataverses_codes() {
    let service = Service::start().await;
    let entity = |inside: &str| format!("<fetch><entity name='contact'>{inside}</entity></fetch>");
    let sixteen = "<link-entity name='account' from='accountid' to='parentcustomerid'/>".repeat(16);
    let deep = format!("{}{}", "<filter>".repeat(60), "</filter>".repeat(60));
    for (xml, code) in [
        (String::new(), "0x80041124"),
        ("<fetch".into(), "0x80040201"),
        ("<!DOCTYPE a [<!ENTITY b 'c'>]><fetch><entity name='contact'/></fetch>".into(), "0x80040201"),
        ("<fetch/>".into(), "0x80041123"),
        ("<fetch><entity name='nothing'/></fetch>".into(), "0x80041102"),
        ("<fetch><entity name='account'/></fetch>".into(), "0x80041128"),
        ("<fetch top='5' page='1'><entity name='contact'/></fetch>".into(), "0x80040203"),
        ("<fetch top='5001'><entity name='contact'/></fetch>".into(), "0x80040203"),
        ("<fetch count='x'><entity name='contact'/></fetch>".into(), "0x8004110c"),
        ("<fetch distinct='maybe'><entity name='contact'/></fetch>".into(), "0x80041115"),
        (entity("<n/>"), "0x8004111c"),
        (entity("<attribute name='nothing'/>"), "0x80041103"),
        (entity("<filter><condition attribute='nothing' operator='null'/></filter>"), "0x80041103"),
        (entity("<filter><condition attribute='fullname' operator='resembles' value='x'/></filter>"), "0x80041120"),
        (entity("<filter type='xor'/>"), "0x80041122"),
        (entity("<filter><condition attribute='statecode' operator='eq' value='open'/></filter>"), "0x80040203"),
        (entity("<filter><condition attribute='createdon' operator='last-x-days' value='0'/></filter>"), "0x80040203"),
        (entity("<order alias='x'/>"), "0x80041132"),
        (entity("<order/>"), "0x80041133"),
        (entity("<link-entity name='account' from='accountid' to='parentcustomerid' link-type='sideways'/>"), "0x80041117"),
        (entity("<link-entity name='nothing' from='a' to='b'/>"), "0x80041102"),
        (entity("<filter><condition entityname='x' attribute='name' operator='null'/></filter>"), "0x80041126"),
        (entity(&sixteen), "0x8004430d"),
        (entity(&deep), "0x8004111c"),
        ("<fetch aggregate='true'><entity name='contact'><attribute name='fullname' aggregate='count'/></entity></fetch>".into(), "0x8004110b"),
        ("<fetch aggregate='true'><entity name='contact'><attribute name='fullname' alias='x' aggregate='sum'/></entity></fetch>".into(), "0x8004112f"),
        ("<fetch aggregate='true'><entity name='contact'><attribute name='fullname' alias='x' groupby='true'/><order attribute='fullname'/></entity></fetch>".into(), "0x80041131"),
    ] {
        let answer = fetch(&service, "contacts", &xml, &[]).await;
        assert_eq!(answer.refusal(), (400, code.to_owned()), "{}", answer.text);
    }
}

/// A sandbox whose application may read contacts and nothing else.
async fn narrow(depth: &str) -> Service {
    Service::with(|seed| {
        for organization in seed
            .tenants
            .iter_mut()
            .flat_map(|tenant| &mut tenant.organizations)
        {
            let privileges = [("prvReadContact".to_owned(), depth.to_owned())]
                .into_iter()
                .collect();
            organization.security_roles.push(RoleSeed {
                name: "Contacts".to_owned(),
                privileges,
            });
            for user in &mut organization.application_users {
                user.roles = vec!["Contacts".to_owned()];
            }
        }
    })
    .await
}

#[tokio::test]
async fn every_table_of_a_query_has_to_be_readable() {
    let service = narrow("Global").await;
    let plain = "<fetch><entity name='contact'><attribute name='fullname'/></entity></fetch>";
    assert_eq!(rows(&service, "contacts", plain).await.len(), 12);
    for link in [
        "inner",
        "outer",
        "any",
        "in",
        "all",
        "matchfirstrowusingcrossapply",
    ] {
        let xml = format!(
            "<fetch><entity name='contact'><attribute name='fullname'/>\
            <link-entity name='account' from='accountid' to='parentcustomerid' link-type='{link}'/></entity></fetch>"
        );
        assert_eq!(
            fetch(&service, "contacts", &xml, &[]).await.status,
            403,
            "{link}"
        );
    }
}

#[tokio::test]
async fn rows_out_of_reach_are_not_seen_nor_counted() {
    let service = narrow("Basic").await;
    let plain = "<fetch returntotalrecordcount='true'><entity name='contact'><attribute name='fullname'/></entity></fetch>";
    let answer = fetch(&service, "contacts", plain, &[]).await.json();
    let expected = odata(&service, "contacts?$select=fullname").await.len();
    assert!(expected < 12);
    assert_eq!(
        (
            answer["value"].as_array().expect("rows").len(),
            answer["@odata.count"].as_u64()
        ),
        (expected, Some(expected as u64))
    );
    let count = "<fetch aggregate='true'><entity name='contact'><attribute name='contactid' alias='n' aggregate='count'/></entity></fetch>";
    assert_eq!(
        rows(&service, "contacts", count).await[0]["n"].as_u64(),
        Some(expected as u64)
    );
}

#[tokio::test]
async fn all_columns_come_when_none_is_named() {
    let service = Service::start().await;
    for inside in ["", "<all-attributes/>"] {
        let xml = format!(
            "<fetch top='1'><entity name='contact'>{inside}<order attribute='contactid'/></entity></fetch>"
        );
        let answer = fetch(&service, "contacts", &xml, &[]).await.json();
        let expected = odata(&service, "contacts?$orderby=contactid&$top=1")
            .await
            .remove(0);
        let kept: serde_json::Map<String, Value> = expected
            .as_object()
            .expect("a row")
            .clone()
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .collect();
        assert_eq!(answer["value"][0].as_object().expect("a row"), &kept);
        assert!(
            answer["@odata.context"]
                .as_str()
                .expect("a context")
                .ends_with("#contacts")
        );
    }
}

#[tokio::test]
async fn no_damaged_query_brings_the_sandbox_down() {
    let service = Service::start().await;
    let whole = "<fetch distinct='true'><entity name='contact'><attribute name='fullname'/><attribute name='createdon' alias='y'/>\
        <order attribute='parentcustomerid'/><filter type='or'><condition attribute='statecode' operator='eq' value='0'/>\
        <condition attribute='createdon' operator='last-x-days' value='3'/><condition attribute='ownerid' operator='eq-or-under' value='x'/></filter>\
        <link-entity name='account' from='accountid' to='parentcustomerid' alias='a' link-type='outer'><attribute name='name'/></link-entity></entity></fetch>";
    let others = [
        "all",
        "in",
        "99999999999999999999",
        "-1",
        "",
        "{",
        "'",
        "<value>",
        "statuscode",
        "aggregate='true'",
        "contact",
        "%",
        "\u{0}",
        "é",
    ];
    let words: Vec<&str> = whole.split('\'').collect();
    for at in 0..words.len() {
        let mut damaged = words.clone();
        damaged[at] = others[at % others.len()];
        let answer = fetch(&service, "contacts", &damaged.join("'"), &[]).await;
        assert!(
            matches!(answer.status, 200 | 400),
            "{} for {}: {}",
            answer.status,
            damaged.join("'"),
            answer.text
        );
    }
}

#[tokio::test]
async fn the_same_column_twice_is_one_and_a_name_stands_for_one() {
    let service = Service::start().await;
    let entity =
        |inside: &str| format!("<fetch top='1'><entity name='contact'>{inside}</entity></fetch>");
    let twice = entity(
        "<attribute name='contactid'/><attribute name='fullname'/><attribute name='contactid'/>",
    );
    let answer = fetch(&service, "contacts", &twice, &[]).await.json();
    assert!(
        answer["@odata.context"]
            .as_str()
            .expect("a context")
            .ends_with("#contacts(contactid,fullname)")
    );
    let own = entity("<attribute name='contactid' alias='contactid'/>");
    assert!(rows(&service, "contacts", &own).await[0]["contactid"].is_string());
    let clash =
        entity("<attribute name='fullname' alias='x'/><attribute name='jobtitle' alias='x'/>");
    assert_eq!(
        fetch(&service, "contacts", &clash, &[]).await.refusal(),
        (400, "0x80041130".to_owned())
    );
}

#[tokio::test]
async fn sums_and_averages_are_of_their_columns_kind() {
    let service = Service::start().await;
    let xml = "<fetch aggregate='true'><entity name='account'><attribute name='numberofemployees' alias='s' aggregate='sum'/>\
        <attribute name='numberofemployees' alias='a' aggregate='avg'/><attribute name='numberofemployees' alias='least' aggregate='min'/>\
        <attribute name='createdon' alias='newest' aggregate='max'/><attribute name='revenue' alias='r' aggregate='sum'/></entity></fetch>";
    let row = fetch(&service, "accounts", xml, &[ANNOTATED]).await.json()["value"][0].clone();
    let accounts = odata(
        &service,
        "accounts?$select=numberofemployees,createdon,revenue",
    )
    .await;
    let staff: Vec<i64> = accounts
        .iter()
        .filter_map(|account| account["numberofemployees"].as_i64())
        .collect();
    assert_eq!(row["s"].as_i64(), Some(staff.iter().sum()));
    assert_eq!(
        row.get("least").and_then(Value::as_i64),
        staff.iter().min().copied()
    );
    let average = if staff.is_empty() {
        None
    } else {
        Some(staff.iter().sum::<i64>() / staff.len() as i64)
    };
    assert_eq!(row.get("a").and_then(Value::as_i64), average);
    assert_eq!(
        row["newest"].as_str().map(str::to_owned),
        texts(&accounts, "createdon").into_iter().max()
    );
    assert!(
        row[format!("r@{FORMATTED}")]
            .as_str()
            .expect("money")
            .starts_with('$'),
        "{row}"
    );
}

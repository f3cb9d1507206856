//! Queries: filters, lambdas, expansions, order and pages, counts, annotations, changes.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{ANNOTATED, Answer, REPRESENTATION, Service};

/// Accounts with what sorting finds hard: cases, accents, equal and empty values.
async fn sorted() -> Service {
    let service = Service::start().await;
    let rows = [
        ("Ärmel", Some(5), Some("Zed")),
        ("b", None, Some("alpha")),
        ("a", Some(7), None),
        ("B", Some(5), Some("Beta")),
        ("c", None, None),
        ("A", Some(1), Some("beta")),
        ("d", Some(5), Some("gamma")),
    ];
    for (name, revenue, contact) in rows {
        let mut row = json!({"name": name, "accountnumber": "SORT", "numberofemployees": 3});
        if let Some(revenue) = revenue {
            row["revenue"] = json!(revenue);
        }
        if let Some(contact) = contact {
            row["primarycontactid"] = json!({"lastname": contact});
        }
        service.create("accounts", row).await;
    }
    service
}

fn names(rows: &Value) -> Vec<String> {
    let rows = rows["value"].as_array().expect("rows");
    rows.iter()
        .map(|row| row["name"].as_str().unwrap_or_default().to_owned())
        .collect()
}

/// Names of the accounts that fit, in the order of their names.
async fn matching(service: &Service, filter: &str) -> Vec<String> {
    let path = format!(
        "accounts?$select=name&$orderby=name&$filter=accountnumber eq 'SORT' and ({filter})"
    );
    names(&service.read(&path).await)
}

async fn preferring(service: &Service, path: &str, preference: &str) -> Answer {
    service
        .send(Method::GET, path, &[("Prefer", preference)], None)
        .await
}

/// Names of all pages, two rows at a time.
async fn paged(service: &Service, path: &str) -> Vec<String> {
    let (mut all, mut next) = (Vec::new(), Some(path.to_owned()));
    while let Some(path) = next {
        let page = preferring(service, &path, "odata.maxpagesize=2").await;
        assert_eq!(page.status, 200, "{path}: {}", page.text);
        let page = page.json();
        let rows = names(&page);
        assert!(rows.len() <= 2, "{page}");
        all.extend(rows);
        next = page["@odata.nextLink"].as_str().map(str::to_owned);
    }
    all
}

// === order and pages ===

#[tokio::test]
async fn pages_follow_every_order_without_losing_or_repeating_rows() {
    let service = sorted().await;
    for order in [
        "name",
        "name desc",
        "revenue",
        "revenue desc",
        "revenue desc,name",
        "revenue,name desc",
        "_primarycontactid_value",
        "_primarycontactid_value desc,name desc",
        "primarycontactid/lastname desc",
        "createdon desc,name",
        "creditonhold,name",
        "statuscode desc,revenue",
        "_ownerid_value,name",
        "_transactioncurrencyid_value desc,name",
    ] {
        let path =
            format!("accounts?$select=name&$filter=accountnumber eq 'SORT'&$orderby={order}");
        let whole = names(&service.read(&path).await);
        assert_eq!(whole.len(), 7, "{order}");
        assert_eq!(paged(&service, &path).await, whole, "{order}");
    }
}

#[tokio::test]
async fn a_lookup_is_sorted_by_the_name_of_the_row_it_leads_to() {
    let service = sorted().await;
    let base =
        "accounts?$select=name&$filter=accountnumber eq 'SORT' and _primarycontactid_value ne null";
    let up = names(
        &service
            .read(&format!("{base}&$orderby=_primarycontactid_value,name"))
            .await,
    );
    assert_eq!(up, ["b", "A", "B", "d", "Ärmel"]);
    let down = names(
        &service
            .read(&format!(
                "{base}&$orderby=_primarycontactid_value desc,name"
            ))
            .await,
    );
    assert_eq!(down, ["Ärmel", "d", "A", "B", "b"]);
}

#[tokio::test]
async fn a_choice_is_sorted_by_its_number() {
    let service = Service::start().await;
    // By their labels the order would be the other way round: Mailbox before Telephone.
    for (name, industry) in [("late", 33), ("early", 1), ("none", 12)] {
        let row = json!({"name": name, "accountnumber": "CHOICE", "industrycode": industry});
        service.create("accounts", row).await;
    }
    let path = "accounts?$select=name&$filter=accountnumber eq 'CHOICE'&$orderby=industrycode";
    assert_eq!(names(&service.read(path).await), ["early", "none", "late"]);
}

#[tokio::test]
async fn empty_values_come_first_when_the_order_rises() {
    let service = sorted().await;
    let path = "accounts?$select=name&$filter=accountnumber eq 'SORT'&$orderby=revenue,name";
    let rising = names(&service.read(path).await);
    assert_eq!(rising, ["b", "c", "A", "B", "d", "Ärmel", "a"]);
}

#[tokio::test]
async fn top_counts_for_nothing_beside_a_page_size() {
    let service = sorted().await;
    let path = "accounts?$select=name&$top=1&$filter=accountnumber eq 'SORT'&$orderby=name";
    let alone = service.read(path).await;
    assert_eq!(names(&alone).len(), 1);
    assert!(alone.get("@odata.nextLink").is_none(), "{alone}");
    let answer = preferring(&service, path, "odata.maxpagesize=3").await;
    assert_eq!(names(&answer.json()).len(), 3);
    assert_eq!(answer.header("preference-applied"), "odata.maxpagesize=3");
    assert!(answer.json()["@odata.nextLink"].is_string());
}

#[tokio::test]
async fn a_page_is_never_larger_than_five_thousand_rows() {
    let service = Service::start().await;
    let answer = preferring(
        &service,
        "contacts?$select=fullname",
        "odata.maxpagesize=9000",
    )
    .await;
    assert_eq!(
        answer.header("preference-applied"),
        "odata.maxpagesize=5000"
    );
    for wrong in [
        "odata.maxpagesize=0",
        "odata.maxpagesize=-1",
        "odata.maxpagesize=many",
    ] {
        let answer = preferring(&service, "contacts?$select=fullname", wrong).await;
        assert_eq!(answer.status, 400, "{wrong}");
    }
}

#[tokio::test]
async fn a_forged_page_token_is_refused() {
    let service = Service::start().await;
    for token in [
        "x",
        "%3Ccookie/%3E",
        "%3Ccookie%20pagenumber=%220%22%20/%3E",
        "%3C",
    ] {
        let answer = service.get(&format!("contacts?$skiptoken={token}")).await;
        assert_eq!(answer.status, 400, "{token}: {}", answer.text);
    }
    // A token of another order does not fit either.
    let page = preferring(
        &service,
        "contacts?$select=fullname&$orderby=fullname",
        "odata.maxpagesize=2",
    )
    .await;
    let next = page.json()["@odata.nextLink"]
        .as_str()
        .expect("a link")
        .to_owned();
    let other = next.replace("$orderby=fullname", "$orderby=createdon");
    assert_eq!(service.get(&other).await.status, 400);
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_in_the_words_of_dataverse() {
    let service = Service::start().await;
    for (path, text) in [
        ("contacts?$skip=2", "Skip Clause is not supported in CRM"),
        (
            "contacts?$select=Name",
            "Could not find a property named 'Name' on type 'Microsoft.Dynamics.CRM.contact'.",
        ),
        (
            "contacts?$filter=nope eq 1",
            "Could not find a property named 'nope' on type 'Microsoft.Dynamics.CRM.contact'.",
        ),
        (
            "contacts?$orderby=nope",
            "Could not find a property named 'nope' on type 'Microsoft.Dynamics.CRM.contact'.",
        ),
        (
            "contacts?$expand=nope",
            "Could not find a property named 'nope' on type 'Microsoft.Dynamics.CRM.contact'.",
        ),
        (
            "contacts?$filter=firstname eq 5",
            "A binary operator with incompatible types was detected. Found operand types 'Edm.String' and 'Edm.Int32' for operator kind 'Equal'.",
        ),
        (
            "contacts?$top=-1",
            "Invalid value '-1' for $top query option found. The $top query option requires a non-negative integer value.",
        ),
        (
            "accounts?$expand=Account_Tasks/$ref",
            "Expand with $ref is only supported on lookup type navigation property.",
        ),
        (
            "accounts?$expand=primarycontactid($orderby=fullname)",
            "Only $select and $filter clause can be provided while doing $expand on many-to-one relationship or nested one-to-many relationship.",
        ),
    ] {
        let answer = service.get(path).await;
        assert_eq!(answer.status, 400, "{path}: {}", answer.text);
        assert_eq!(answer.message(), text, "{path}");
    }
    for (path, text) in [
        ("Account", "Resource not found for the segment 'Account'."),
        (
            "accounts/nope",
            "Resource not found for the segment 'nope'.",
        ),
    ] {
        let answer = service.get(path).await;
        assert_eq!(
            (answer.status, answer.message().as_str()),
            (404, text),
            "{path}"
        );
    }
}

// === filters ===

#[tokio::test]
async fn every_comparison_says_what_it_does() {
    let service = sorted().await;
    for (filter, wanted) in [
        ("revenue eq 5", &["B", "d", "Ärmel"][..]),
        ("revenue ne 5", &["a", "A", "b", "c"][..]),
        ("revenue gt 5", &["a"][..]),
        ("revenue ge 5", &["a", "B", "d", "Ärmel"][..]),
        ("revenue lt 5", &["A"][..]),
        ("revenue le 1", &["A"][..]),
        ("revenue eq null", &["b", "c"][..]),
        ("revenue ne null and not (revenue eq 5)", &["a", "A"][..]),
        ("5 lt revenue", &["a"][..]),
        (
            "revenue gt numberofemployees",
            &["a", "B", "d", "Ärmel"][..],
        ),
        ("name eq 'B'", &["b", "B"][..]),
        ("name eq 'armel'", &[][..]),
        (
            "(revenue eq 7 or revenue eq 1) and name ne 'c'",
            &["a", "A"][..],
        ),
        ("primarycontactid/lastname eq 'BETA'", &["A", "B"][..]),
        ("_primarycontactid_value eq null", &["a", "c"][..]),
    ] {
        let mut found = matching(&service, filter).await;
        let mut wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
        // Names that differ in case alone stand in the order of their keys.
        found.sort();
        wanted.sort();
        assert_eq!(found, wanted, "{filter}");
    }
}

#[tokio::test]
async fn text_functions_know_wildcards_and_no_case() {
    let service = Service::start().await;
    for name in ["Alpha 10%", "alphabet", "Bet_a", "it's"] {
        let row = json!({"name": name, "accountnumber": "SORT"});
        service.create("accounts", row).await;
    }
    for (filter, wanted) in [
        ("contains(name,'ALPHA')", &["Alpha 10%", "alphabet"][..]),
        ("startswith(name,'alpha')", &["Alpha 10%", "alphabet"][..]),
        ("endswith(name,'T')", &["alphabet"][..]),
        ("contains(name,'a_p')", &["Alpha 10%", "alphabet"][..]),
        ("startswith(name,'%b')", &["alphabet", "Bet_a"][..]),
        ("contains(name,'[[]')", &[][..]),
        ("startswith(name,'[a-b]l')", &["Alpha 10%", "alphabet"][..]),
        ("startswith(name,'[^a]')", &["Bet_a", "it's"][..]),
        ("contains(name,'[%]')", &["Alpha 10%"][..]),
        ("name eq 'it''s'", &["it's"][..]),
        ("not contains(name,'a')", &["it's"][..]),
        ("contains(name,'a') eq false", &["it's"][..]),
    ] {
        assert_eq!(matching(&service, filter).await, wanted, "{filter}");
    }
}

#[tokio::test]
async fn functions_of_dataverse_filter_by_moments_values_and_people() {
    let service = Service::start().await;
    let old = json!({"name": "old", "accountnumber": "SORT", "overriddencreatedon": "2001-02-03T04:05:06Z", "numberofemployees": 10});
    service.create("accounts", old).await;
    service
        .create(
            "accounts",
            json!({"name": "new", "accountnumber": "SORT", "numberofemployees": 20}),
        )
        .await;
    let crm = "Microsoft.Dynamics.CRM.";
    for (filter, wanted) in [
        (
            "LastXHours(PropertyName='createdon',PropertyValue=1)",
            &["new"][..],
        ),
        (
            "LastXHours(PropertyName='createdon',PropertyValue='1')",
            &["new"][..],
        ),
        (
            "OlderThanXDays(PropertyName='createdon',PropertyValue=7)",
            &["old"][..],
        ),
        ("Today(PropertyName='createdon')", &["new"][..]),
        (
            "On(PropertyName='createdon',PropertyValue='2001-02-03')",
            &["old"][..],
        ),
        (
            "OnOrBefore(PropertyName='createdon',PropertyValue='2001-02-03')",
            &["old"][..],
        ),
        (
            "OnOrAfter(PropertyName='createdon',PropertyValue='2001-02-04')",
            &["new"][..],
        ),
        (
            "Between(PropertyName='numberofemployees',PropertyValues=[\"5\",\"15\"])",
            &["old"][..],
        ),
        (
            "NotBetween(PropertyName='numberofemployees',PropertyValues=['5','15'])",
            &["new"][..],
        ),
        (
            "In(PropertyName='name',PropertyValues=['new','other'])",
            &["new"][..],
        ),
        (
            "NotIn(PropertyName='name',PropertyValues=['new','other'])",
            &["old"][..],
        ),
        ("EqualUserId(PropertyName='ownerid')", &["new", "old"][..]),
        ("NotEqualUserId(PropertyName='ownerid')", &[][..]),
        (
            "EqualBusinessId(PropertyName='owningbusinessunit')",
            &["new", "old"][..],
        ),
    ] {
        assert_eq!(
            matching(&service, &format!("{crm}{filter}")).await,
            wanted,
            "{filter}"
        );
    }
    let negated = format!("not {crm}Last7Days(PropertyName='createdon')");
    assert_eq!(matching(&service, &negated).await, ["old"]);
    let unknown = service
        .get("accounts?$filter=Microsoft.Dynamics.CRM.Nope(PropertyName='name')")
        .await;
    assert_eq!(unknown.status, 400, "{}", unknown.text);
}

#[tokio::test]
async fn a_managed_property_is_asked_for_by_its_value() {
    let service = Service::start().await;
    for (name, customizable) in [("open", true), ("closed", false)] {
        let row = json!({"name": name, "iscustomizable": customizable});
        service.create("sdkmessageprocessingsteps", row).await;
    }
    let path = "sdkmessageprocessingsteps?$select=name&$filter=statecode eq 0 and iscustomizable/Value eq true";
    assert_eq!(names(&service.read(path).await), ["open"]);
}

#[tokio::test]
async fn aliases_stand_for_values_and_names() {
    let service = sorted().await;
    let path = "accounts?$select=name&$filter=accountnumber eq @n and @c eq @v&$orderby=@o desc&@n='SORT'&@c=revenue&@v=5&@o=name";
    assert_eq!(names(&service.read(path).await), ["Ärmel", "d", "B"]);
    let path = "accounts?$select=name&$filter=accountnumber eq 'SORT' and Microsoft.Dynamics.CRM.In(PropertyName=@p,PropertyValues=@q)&@p='name'&@q=['c','d']&$orderby=name";
    assert_eq!(names(&service.read(path).await), ["c", "d"]);
}

#[tokio::test]
async fn lambdas_ask_rows_that_hang_on_a_row() {
    let service = Service::start().await;
    for (name, subjects) in [
        ("two", &["red", "blue"][..]),
        ("one", &["red"][..]),
        ("none", &[][..]),
    ] {
        let tasks: Vec<Value> = subjects
            .iter()
            .map(|subject| json!({"subject": subject}))
            .collect();
        let row = json!({"name": name, "accountnumber": "SORT", "Account_Tasks": tasks});
        service.create("accounts", row).await;
    }
    for (filter, wanted) in [
        ("Account_Tasks/any()", &["one", "two"][..]),
        ("not Account_Tasks/any()", &["none"][..]),
        ("Account_Tasks/any(t:t/subject eq 'blue')", &["two"][..]),
        (
            "Account_Tasks/all(t:t/subject eq 'red')",
            &["none", "one"][..],
        ),
        (
            "Account_Tasks/any(t:contains(t/subject,'e') and t/statecode eq 0)",
            &["one", "two"][..],
        ),
        (
            "Account_Tasks/any(t:t/regardingobjectid_account_task/name eq 'one')",
            &["one"][..],
        ),
        (
            "Account_Tasks/any(t:t/subject eq 'blue') or name eq 'none'",
            &["none", "two"][..],
        ),
    ] {
        assert_eq!(matching(&service, filter).await, wanted, "{filter}");
    }
}

// === expansions ===

#[tokio::test]
async fn expansions_take_their_own_options() {
    let service = Service::start().await;
    let id = service
        .create(
            "accounts",
            json!({"name": "A", "primarycontactid": {"lastname": "P"},
            "Account_Tasks": [{"subject": "1"}, {"subject": "2"}, {"subject": "3"}]}),
        )
        .await;
    let path = format!(
        "accounts({id})?$select=name&$expand=primarycontactid($select=lastname),Account_Tasks($select=subject;$orderby=subject desc;$top=2;$filter=subject ne '2')"
    );
    let row = service.read(&path).await;
    assert_eq!(row["primarycontactid"]["lastname"], "P");
    let subjects: Vec<&str> = row["Account_Tasks"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|task| task["subject"].as_str().expect("text"))
        .collect();
    assert_eq!(subjects, ["3", "1"]);
    let context = row["@odata.context"].as_str().expect("a context");
    assert!(
        context
            .ends_with("#accounts(name,primarycontactid(lastname),Account_Tasks(subject))/$entity"),
        "{context}"
    );
    let row = service
        .read(&format!(
            "accounts({id})?$select=name&$expand=primarycontactid/$ref"
        ))
        .await;
    assert!(
        row["primarycontactid"]["@odata.id"]
            .as_str()
            .expect("an address")
            .contains("/contacts("),
        "{row}"
    );
}

#[tokio::test]
async fn nested_expansions_reach_several_levels() {
    let service = Service::start().await;
    let id = service
        .create("accounts", json!({"name": "A", "primarycontactid": {"lastname": "P", "Contact_Tasks": [{"subject": "deep"}]}}))
        .await;
    let path = format!(
        "accounts({id})?$select=name&$expand=primarycontactid($select=lastname;$expand=Contact_Tasks($select=subject))"
    );
    let row = service.read(&path).await;
    assert_eq!(
        row["primarycontactid"]["Contact_Tasks"][0]["subject"],
        "deep"
    );
    let none = service.create("accounts", json!({"name": "B"})).await;
    let row = service
        .read(&format!(
            "accounts({none})?$select=name&$expand=primarycontactid($select=lastname)"
        ))
        .await;
    assert_eq!(row["primarycontactid"], Value::Null);
}

#[tokio::test]
async fn pages_reach_into_expansions_that_have_expansions() {
    let service = Service::start().await;
    let contacts: Vec<Value> = (0..5)
        .map(|number| json!({"lastname": number.to_string()}))
        .collect();
    let row = json!({"name": "A", "contact_customer_accounts": contacts});
    let id = service.create("accounts", row).await;
    let path = format!(
        "accounts({id})?$select=name&$expand=contact_customer_accounts($select=lastname;$expand=Contact_Tasks($select=subject))"
    );
    let row = preferring(&service, &path, "odata.maxpagesize=2")
        .await
        .json();
    let mut found = lastnames(&row["contact_customer_accounts"]);
    assert_eq!(found.len(), 2, "{row}");
    let tasks = &row["contact_customer_accounts"][0];
    assert!(tasks.get("Contact_Tasks@odata.nextLink").is_none(), "{row}");
    let mut next = row["contact_customer_accounts@odata.nextLink"]
        .as_str()
        .map(str::to_owned);
    while let Some(link) = next {
        let page = preferring(&service, &link, "odata.maxpagesize=2").await;
        assert_eq!(page.status, 200, "{link}: {}", page.text);
        let page = page.json();
        assert!(page["value"][0]["Contact_Tasks"].is_array(), "{page}");
        found.extend(lastnames(&page["value"]));
        next = page["@odata.nextLink"].as_str().map(str::to_owned);
    }
    found.sort();
    assert_eq!(found, ["0", "1", "2", "3", "4"]);
    // Without expansions inside, a collection comes whole, with the link to itself.
    let path = format!("accounts({id})?$expand=contact_customer_accounts($select=lastname)");
    let row = preferring(&service, &path, "odata.maxpagesize=2")
        .await
        .json();
    assert_eq!(lastnames(&row["contact_customer_accounts"]).len(), 5);
    assert!(row["contact_customer_accounts@odata.nextLink"].is_string());
}

fn lastnames(rows: &Value) -> Vec<String> {
    let rows = rows.as_array().expect("rows");
    rows.iter()
        .map(|row| row["lastname"].as_str().expect("a name").to_owned())
        .collect()
}

#[tokio::test]
async fn a_filter_of_an_expansion_is_read_even_if_there_is_nothing_to_filter() {
    let service = Service::start().await;
    let id = service.create("accounts", json!({"name": "A"})).await;
    for (property, filter) in [
        ("primarycontactid", "nope eq 1"),
        ("Account_Tasks", "nope eq 1"),
        ("primarycontactid", "lastname eq"),
    ] {
        let path = format!("accounts({id})?$expand={property}($filter={filter})");
        let answer = service.get(&path).await;
        assert_eq!(answer.status, 400, "{path}: {}", answer.text);
    }
}

#[tokio::test]
async fn users_and_teams_bring_the_key_that_they_have_as_owners() {
    let service = Service::start().await;
    for set in ["systemusers", "teams"] {
        let key = format!("{}id", set.trim_end_matches('s'));
        let rows = service.read(&format!("{set}?$select={key}")).await;
        for row in rows["value"].as_array().expect("rows") {
            assert_eq!(row["ownerid"], row[&key], "{set}: {row}");
        }
    }
    let expanded = "contacts?$select=lastname&$expand=owninguser($select=fullname)&$top=1";
    let row = &service.read(expanded).await["value"][0];
    assert_eq!(
        row["owninguser"]["ownerid"],
        row["owninguser"]["systemuserid"]
    );
    let count = service
        .get("contacts/$count?$filter=ownerid/ownerid eq null")
        .await;
    assert_eq!(count.text, "0");
}

#[tokio::test]
async fn a_collection_of_a_row_is_a_query_of_its_table() {
    let service = Service::start().await;
    let id = service
        .create("accounts", json!({"name": "A", "Account_Tasks": [{"subject": "1"}, {"subject": "2"}, {"subject": "3"}]}))
        .await;
    let path = format!("accounts({id})/Account_Tasks?$select=subject&$orderby=subject");
    let answer = preferring(&service, &path, "odata.maxpagesize=2")
        .await
        .json();
    let context = answer["@odata.context"].as_str().expect("a context");
    assert!(context.ends_with("/$metadata#tasks(subject)"), "{context}");
    let next = answer["@odata.nextLink"].as_str().expect("a next page");
    let rest = preferring(&service, next, "odata.maxpagesize=2")
        .await
        .json();
    assert_eq!(rest["value"][0]["subject"], "3", "{rest}");
    let count = service
        .get(&format!(
            "accounts({id})/Account_Tasks/$count?$filter=subject ne '1'"
        ))
        .await;
    assert_eq!(count.text, "2");
    let links = service
        .read(&format!("accounts({id})/Account_Tasks/$ref"))
        .await;
    assert_eq!(links["value"].as_array().map(Vec::len), Some(3));
}

// === counts, annotations, single values ===

#[tokio::test]
async fn a_count_is_of_all_rows_whatever_the_page() {
    let service = sorted().await;
    let path = "accounts?$select=name&$count=true&$filter=accountnumber eq 'SORT'";
    let answer = preferring(
        &service,
        path,
        "odata.maxpagesize=2,odata.include-annotations=\"*\"",
    )
    .await;
    let body = answer.json();
    assert_eq!(body["@odata.count"], 7);
    assert_eq!(body["@Microsoft.Dynamics.CRM.totalrecordcount"], 7);
    assert_eq!(
        body["@Microsoft.Dynamics.CRM.totalrecordcountlimitexceeded"],
        false
    );
    let unasked = preferring(
        &service,
        "accounts?$select=name",
        "odata.include-annotations=\"*\"",
    )
    .await
    .json();
    assert_eq!(unasked["@Microsoft.Dynamics.CRM.totalrecordcount"], -1);
    assert!(unasked.get("@odata.count").is_none());
    let text = service
        .get("accounts/$count?$filter=accountnumber eq 'SORT'")
        .await;
    assert_eq!(
        (text.text.as_str(), text.header("content-type")),
        ("7", "text/plain")
    );
}

#[tokio::test]
async fn one_value_has_its_own_address() {
    let service = Service::start().await;
    let id = service
        .create("accounts", json!({"name": "A", "revenue": 12.5}))
        .await;
    let answer = service
        .send(
            Method::GET,
            &format!("accounts({id})/revenue"),
            &[ANNOTATED],
            None,
        )
        .await;
    assert_eq!(answer.json()["value"], 12.5);
    assert_eq!(
        answer.json()["@OData.Community.Display.V1.FormattedValue"],
        "$12.50"
    );
    assert_eq!(
        answer.header("preference-applied"),
        "odata.include-annotations=\"*\""
    );
    assert_eq!(
        service
            .get(&format!("accounts({id})/name/$value"))
            .await
            .text,
        "A"
    );
    for empty in [
        "fax",
        "fax/$value",
        "_primarycontactid_value",
        "primarycontactid",
    ] {
        let answer = service.get(&format!("accounts({id})/{empty}")).await;
        assert_eq!((answer.status, answer.text.as_str()), (204, ""), "{empty}");
    }
}

#[tokio::test]
async fn a_single_row_says_which_preferences_were_followed() {
    let service = Service::start().await;
    let id = service.create("accounts", json!({"name": "A"})).await;
    let preference =
        "odata.maxpagesize=10, odata.include-annotations=OData.Community.Display.V1.FormattedValue";
    let path = format!("accounts({id})?$select=name&$expand=Account_Tasks($select=subject)");
    let answer = preferring(&service, &path, preference).await;
    assert_eq!(
        answer.header("preference-applied"),
        "odata.maxpagesize=10,odata.include-annotations=\"OData.Community.Display.V1.FormattedValue\""
    );
    let both = [REPRESENTATION, ANNOTATED];
    let answer = service
        .send(
            Method::POST,
            "accounts?$select=name",
            &both,
            Some(&json!({"name": "B"})),
        )
        .await;
    assert_eq!(
        answer.header("preference-applied"),
        "return=representation,odata.include-annotations=\"*\""
    );
    let plain = service.get(&format!("accounts({id})?$select=name")).await;
    assert_eq!(plain.header("preference-applied"), "");
}

#[tokio::test]
async fn a_refusal_tells_more_to_those_who_want_annotations() {
    let service = Service::start().await;
    let path = "accounts(00000000-0000-0000-0000-0000000000ff)";
    let answer = service.send(Method::GET, path, &[ANNOTATED], None).await;
    let error = &answer.json()["error"];
    assert_eq!(
        error["@Microsoft.PowerApps.CDS.ErrorDetails.OperationStatus"],
        "0"
    );
    assert_eq!(
        error["@Microsoft.PowerApps.CDS.InnerError.Message"],
        error["message"]
    );
    let link = error["@Microsoft.PowerApps.CDS.HelpLink"]
        .as_str()
        .expect("a link");
    assert!(link.contains("CrmException%3a80040217"), "{link}");
    let plain = service.get(path).await.json();
    assert_eq!(
        plain["error"].as_object().map(serde_json::Map::len),
        Some(2),
        "{plain}"
    );
}

#[tokio::test]
async fn an_unchanged_row_is_not_sent_again() {
    let service = Service::start().await;
    let id = service.create("accounts", json!({"name": "A"})).await;
    let path = format!("accounts({id})?$select=name");
    let etag = service.read(&path).await["@odata.etag"]
        .as_str()
        .expect("an etag")
        .to_owned();
    let known = [("If-None-Match", etag.as_str())];
    let answer = service.send(Method::GET, &path, &known, None).await;
    assert_eq!((answer.status, answer.text.as_str()), (304, ""));
    service
        .patch(&format!("accounts({id})"), json!({"name": "B"}))
        .await;
    assert_eq!(
        service.send(Method::GET, &path, &known, None).await.status,
        200
    );
    let never = service
        .send(Method::GET, &path, &[("If-None-Match", "null")], None)
        .await;
    assert_eq!(never.status, 200);
}

// === changes ===

#[tokio::test]
async fn a_delta_link_tells_what_was_changed_made_and_deleted() {
    let service = Service::start().await;
    let track = [("Prefer", "odata.track-changes")];
    let kept = service.create("accounts", json!({"name": "kept"})).await;
    let gone = service.create("accounts", json!({"name": "gone"})).await;
    let first = service
        .send(Method::GET, "accounts?$select=name", &track, None)
        .await;
    assert_eq!(first.header("preference-applied"), "odata.track-changes");
    let link = first.json()["@odata.deltaLink"]
        .as_str()
        .expect("a link")
        .to_owned();
    assert_eq!(service.read(&link).await["value"], json!([]));
    service
        .patch(&format!("accounts({kept})"), json!({"name": "changed"}))
        .await;
    service.delete(&format!("accounts({gone})")).await;
    service.create("accounts", json!({"name": "made"})).await;
    let changes = service.read(&link).await;
    assert_eq!(names(&changes), ["changed", "made", ""], "{changes}");
    let deleted = &changes["value"][2];
    assert_eq!(
        (&deleted["id"], &deleted["reason"]),
        (&json!(gone), &json!("deleted"))
    );
    assert!(
        deleted["@odata.context"]
            .as_str()
            .expect("a context")
            .ends_with("#accounts/$deletedEntity")
    );
    let next = changes["@odata.deltaLink"].as_str().expect("a link");
    assert_eq!(service.read(next).await["value"], json!([]));
}

#[tokio::test]
async fn tracking_goes_on_over_pages_and_begins_at_the_first() {
    let service = Service::start().await;
    let preference = "odata.track-changes,odata.maxpagesize=5";
    let first = preferring(&service, "contacts?$select=lastname", preference)
        .await
        .json();
    assert!(first.get("@odata.deltaLink").is_none(), "{first}");
    // It happens while the pages are read: the delta link must tell it.
    let id = first["value"][0]["contactid"]
        .as_str()
        .expect("a key")
        .to_owned();
    service
        .patch(&format!("contacts({id})"), json!({"lastname": "Meanwhile"}))
        .await;
    let mut page = first;
    while let Some(next) = page["@odata.nextLink"].as_str().map(str::to_owned) {
        page = preferring(&service, &next, preference).await.json();
    }
    let link = page["@odata.deltaLink"]
        .as_str()
        .expect("a delta link")
        .to_owned();
    let changes = service.read(&link).await;
    assert_eq!(changes["value"][0]["lastname"], "Meanwhile", "{changes}");
}

#[tokio::test]
async fn tokens_that_were_not_given_are_refused() {
    let service = Service::start().await;
    let wrong = service.get("contacts?$deltatoken=xyz").await;
    assert_eq!(wrong.status, 400, "{}", wrong.text);
    let old = service
        .get("contacts?$deltatoken=1%2108%2f22%2f2017%2008%3a10%3a44")
        .await;
    assert_eq!(old.refusal(), (400, "0x80044352".to_owned()));
    for option in [
        "$filter=firstname eq 'a'",
        "$top=3",
        "$orderby=fullname",
        "$expand=parentcustomerid_account",
    ] {
        let answer = preferring(
            &service,
            &format!("contacts?{option}"),
            "odata.track-changes",
        )
        .await;
        assert_eq!(answer.status, 400, "{option}");
    }
}

#[tokio::test]
async fn a_delta_token_ends_after_seven_days() {
    let service = Service::start().await;
    let first = preferring(&service, "accounts?$select=name", "odata.track-changes")
        .await
        .json();
    let link = first["@odata.deltaLink"]
        .as_str()
        .expect("a link")
        .to_owned();
    let path = link
        .split_once("/v9.2/")
        .map(|(_, path)| path.to_owned())
        .expect("a path");
    // A token of an hour lives shorter than that: the address alone is what is kept.
    let day = 86_400;
    service.pass(8 * day);
    let answer = renewed(&service, &path).await;
    assert_eq!(answer.refusal(), (400, "0x80044352".to_owned()));
}

/// Reads with a token of this moment.
async fn renewed(service: &Service, path: &str) -> Answer {
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", crate::support::APPLICATION),
        ("client_secret", crate::support::SECRET),
        ("scope", &format!("{}/.default", service.sandbox.origin())),
    ];
    let url = format!(
        "{}/{}/oauth2/v2.0/token",
        service.sandbox.origin(),
        crate::support::TENANT
    );
    let token: Value = service
        .http
        .post(url)
        .form(&form)
        .send()
        .await
        .expect("an answer")
        .json()
        .await
        .expect("JSON");
    let token = token["access_token"].as_str().expect("a token");
    let answer = service
        .http
        .get(service.url(path))
        .bearer_auth(token)
        .send()
        .await
        .expect("an answer");
    Answer {
        status: answer.status().as_u16(),
        headers: answer.headers().clone(),
        text: answer.text().await.expect("text"),
    }
}

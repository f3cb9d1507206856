//! Queries: order and pages, filters, lambdas.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Service};

/// Accounts with what sorting finds hard: cases, accents, equal and empty values.
pub(crate) async fn sorted() -> Service {
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

pub(crate) fn names(rows: &Value) -> Vec<String> {
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

pub(crate) async fn preferring(service: &Service, path: &str, preference: &str) -> Answer {
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

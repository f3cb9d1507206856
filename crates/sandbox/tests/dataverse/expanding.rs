//! Navigation properties that are followed, and collections of a row.

use serde_json::{Value, json};

use crate::reading::preferring;
use crate::support::Service;

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

//! Alternate keys, and columns of a seed's own.

use reqwest::Method;
use serde_json::{Value, json};
use tieline_sandbox::seed::Seed;

use crate::support::Service;

/// Accounts are known by their number, contacts by their employer and their e-mail address.
async fn keyed() -> Service {
    let extend = |seed: &mut Seed, extension: Value| {
        let extension = serde_json::from_value(extension).expect("an extension");
        seed.tenants[0].organizations[0].extensions.push(extension);
    };
    Service::with(|seed| {
        let key = json!([{"name": "cr_Number", "columns": ["accountnumber"]}]);
        extend(seed, json!({"table": "account", "key": key}));
        let key = json!([{"name": "cr_Member", "columns": ["parentcustomerid", "emailaddress1"]}]);
        let columns = json!([{"name": "sample_OutdoorActivities", "type": "choices", "options": [
            {"value": 1, "label": "Swimming"}, {"value": 9, "label": "Hiking"}]},
            {"name": "sample_Guide", "type": "lookup", "to": ["systemuser"]}]);
        extend(
            seed,
            json!({"table": "contact", "key": key, "column": columns}),
        );
    })
    .await
}

#[tokio::test]
async fn an_upsert_by_key_makes_the_row_and_then_changes_it() {
    let service = keyed().await;
    let path = "accounts(accountnumber='A-1')";
    let first = service.patch(path, json!({"name": "First"})).await;
    assert_eq!(first.status, 204, "{}", first.text);
    let row = service.read(path).await;
    assert_eq!(
        (&row["accountnumber"], &row["accountid"]),
        (&json!("A-1"), &json!(first.id()))
    );
    let second = service
        .patch(path, json!({"name": "Second", "accountnumber": "A-1"}))
        .await;
    assert_eq!((second.status, second.id()), (204, first.id()));
    assert_eq!(service.read(path).await["name"], "Second");
    let none = service
        .send(
            Method::PATCH,
            path,
            &[("If-None-Match", "*")],
            Some(&json!({"name": "x"})),
        )
        .await;
    assert_eq!(none.refusal(), (412, "0x80040237".to_owned()));
}

#[tokio::test]
async fn a_key_without_a_row_or_a_definition_is_told_apart() {
    let service = keyed().await;
    let match_any = [("If-Match", "*")];
    let body = json!({"name": "x"});
    for (path, refusal) in [
        ("accounts(accountnumber='none')", (404, "0x80060891")),
        ("accounts(name='none')", (400, "0x80060890")),
    ] {
        let answer = service
            .send(Method::PATCH, path, &match_any, Some(&body))
            .await;
        assert_eq!(
            answer.refusal(),
            (refusal.0, refusal.1.to_owned()),
            "{path}"
        );
        assert_eq!(
            service.delete(path).await.refusal(),
            (refusal.0, refusal.1.to_owned()),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_value_of_a_key_is_taken_once() {
    let service = keyed().await;
    service
        .create("accounts", json!({"name": "One", "accountnumber": "A-1"}))
        .await;
    let two = service
        .create("accounts", json!({"name": "Two", "accountnumber": "A-2"}))
        .await;
    let taken = (412, "0x80060892".to_owned());
    assert_eq!(
        service
            .post("accounts", json!({"name": "x", "accountnumber": "a-1"}))
            .await
            .refusal(),
        taken
    );
    assert_eq!(
        service
            .patch(&format!("accounts({two})"), json!({"accountnumber": "A-1"}))
            .await
            .refusal(),
        taken
    );
    let without = json!({"name": "No number"});
    for _ in 0..2 {
        service.create("accounts", without.clone()).await;
    }
}

#[tokio::test]
async fn rows_are_bound_and_deleted_by_key() {
    let service = keyed().await;
    let account = service
        .create("accounts", json!({"name": "One", "accountnumber": "A-1"}))
        .await;
    let body = json!({"lastname": "Bound", "emailaddress1": "b@example.com",
        "parentcustomerid_account@odata.bind": "/accounts(accountnumber='A-1')"});
    let contact = service.create("contacts", body).await;
    let path = format!("contacts(_parentcustomerid_value={account},emailaddress1='b@example.com')");
    assert_eq!(service.read(&path).await["contactid"], contact);
    let lost = json!({"lastname": "Lost", "parentcustomerid_account@odata.bind": "/accounts(accountnumber='A-9')"});
    assert_eq!(
        service.post("contacts", lost).await.refusal(),
        (404, "0x80060891".to_owned())
    );
    let link = json!({"@odata.id": "accounts(accountnumber='A-1')"});
    let made = service
        .patch(&path.replace("b@", "c@"), json!({"lastname": "Made"}))
        .await;
    assert_eq!(made.status, 204, "{}", made.text);
    assert_eq!(
        service.read(&format!("contacts({})", made.id())).await["_parentcustomerid_value"],
        account
    );
    assert_eq!(
        service
            .put(
                &format!("contacts({contact})/parentcustomerid_account/$ref"),
                link
            )
            .await
            .status,
        204
    );
    assert_eq!(
        service.delete("accounts(accountnumber='A-1')").await.status,
        204
    );
    assert_eq!(
        service.get(&format!("contacts({contact})")).await.status,
        404
    );
}

#[tokio::test]
async fn custom_columns_are_written_by_their_own_names() {
    let service = keyed().await;
    let alex = service.user("Alex Wilber").await;
    let body = json!({"lastname": "Yarborough", "sample_outdooractivities": "9, 1",
        "sample_Guide@odata.bind": format!("/systemusers({alex})")});
    let id = service.create("contacts", body).await;
    let row = service.read(&format!("contacts({id})")).await;
    assert_eq!(
        (
            &row["sample_outdooractivities"],
            &row["_sample_guide_value"]
        ),
        (&json!("1,9"), &json!(alex))
    );
    let lower =
        json!({"lastname": "x", "sample_guide@odata.bind": format!("/systemusers({alex})")});
    assert_eq!(
        service.post("contacts", lower).await.refusal(),
        (400, "0x80048d19".to_owned())
    );
    let wrong = json!({"lastname": "x", "sample_outdooractivities": "1,2"});
    assert_eq!(
        service.post("contacts", wrong).await.refusal(),
        (400, "0x8004431a".to_owned())
    );
}

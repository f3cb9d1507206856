//! Deletes, and what they do to other rows.

use reqwest::Method;
use serde_json::json;

use crate::support::Service;

#[tokio::test]
async fn a_deleted_row_is_gone_and_only_once() {
    let service = Service::start().await;
    let id = service
        .create("contacts", json!({"lastname": "Brief"}))
        .await;
    let path = format!("contacts({id})");
    let answer = service.delete(&path).await;
    assert_eq!((answer.status, answer.text.as_str()), (204, ""));
    for method in [Method::GET, Method::DELETE] {
        let answer = service.send(method, &path, &[], None).await;
        assert_eq!(answer.refusal(), (404, "0x80040217".to_owned()));
        assert_eq!(
            answer.message(),
            format!("contact With Id = {id} Does Not Exist")
        );
    }
    assert_eq!(service.delete("contacts").await.status, 405);
}

#[tokio::test]
async fn a_delete_takes_what_belongs_to_the_row_and_unlinks_the_rest() {
    let service = Service::start().await;
    let account = service.create("accounts", json!({"name": "Parent"})).await;
    let bind = format!("/accounts({account})");
    let contact = service
        .create(
            "contacts",
            json!({"lastname": "Child", "parentcustomerid_account@odata.bind": bind}),
        )
        .await;
    let case =
        json!({"title": "Case", "customerid_contact@odata.bind": format!("/contacts({contact})")});
    let case = service.create("incidents", case).await;
    let task = service.create("tasks", json!({"subject": "T", "regardingobjectid_incident_task@odata.bind": format!("/incidents({case})")})).await;
    let subsidiary = service
        .create(
            "accounts",
            json!({"name": "Low", "parentaccountid@odata.bind": bind}),
        )
        .await;
    let before = service.read(&format!("accounts({subsidiary})")).await;
    assert_eq!(
        service.delete(&format!("accounts({account})")).await.status,
        204
    );
    for gone in [
        format!("contacts({contact})"),
        format!("incidents({case})"),
        format!("tasks({task})"),
        format!("activitypointers({task})"),
    ] {
        assert_eq!(service.get(&gone).await.status, 404, "{gone}");
    }
    let after = service.read(&format!("accounts({subsidiary})")).await;
    assert_eq!(after["_parentaccountid_value"], json!(null));
    assert_ne!(after["@odata.etag"], before["@odata.etag"]);
}

#[tokio::test]
async fn a_row_that_others_need_stays() {
    let service = Service::start().await;
    let account = service
        .create("accounts", json!({"name": "Rich", "revenue": 5}))
        .await;
    let currency =
        service.read(&format!("accounts({account})")).await["_transactioncurrencyid_value"].clone();
    let path = format!(
        "transactioncurrencies({})",
        currency.as_str().expect("a currency")
    );
    assert_eq!(
        service.delete(&path).await.refusal(),
        (405, "0x80040227".to_owned())
    );
    assert_eq!(service.get(&path).await.status, 200);
}

#[tokio::test]
async fn a_refused_cascade_leaves_everything_as_it_was() {
    let service = Service::start().await;
    let unit = service.read("businessunits").await["value"][0]["businessunitid"]
        .as_str()
        .expect("a unit")
        .to_owned();
    assert_eq!(
        service
            .delete(&format!("businessunits({unit})"))
            .await
            .status,
        405
    );
    assert_eq!(
        service.get("WhoAmI").await.status,
        service.get("WhoAmI").await.status
    );
    assert!(service.read("contacts/$count").await.as_i64() > Some(0));
}

#[tokio::test]
async fn deletes_are_told_to_those_who_track_changes() {
    let service = Service::start().await;
    let id = service
        .create("contacts", json!({"lastname": "Tracked"}))
        .await;
    let first = service
        .send(
            Method::GET,
            "contacts?$select=lastname",
            &[("Prefer", "odata.track-changes")],
            None,
        )
        .await;
    let link = first.json()["@odata.deltaLink"]
        .as_str()
        .expect("a link")
        .to_owned();
    service.delete(&format!("contacts({id})")).await;
    let changes = service.get(&link).await.json();
    let deleted = changes["value"]
        .as_array()
        .expect("rows")
        .iter()
        .find(|row| row["reason"] == "deleted")
        .cloned();
    assert_eq!(deleted.expect("a deleted row")["id"], id, "{changes}");
}

//! What comes beside rows: counts, annotations, preferences, single values, etags.

use reqwest::Method;
use serde_json::json;

use crate::reading::{preferring, sorted};
use crate::support::{ANNOTATED, REPRESENTATION, Service};

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

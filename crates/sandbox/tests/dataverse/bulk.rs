//! Bulk messages and `BulkDelete`.

use serde_json::{Value, json};

use crate::support::Service;

const NOWHERE: &str = "00000000-0000-0000-0000-0000000000aa";

fn target(mut body: Value) -> Value {
    body["@odata.type"] = json!("Microsoft.Dynamics.CRM.account");
    body
}

async fn named(service: &Service, name: &str) -> usize {
    let found = service
        .read(&format!(
            "accounts?$select=name&$filter=startswith(name,'{name}')"
        ))
        .await;
    found["value"].as_array().expect("rows").len()
}

#[tokio::test]
async fn rows_are_made_in_their_order() {
    let service = Service::start().await;
    let targets: Vec<Value> = (0..50)
        .map(|number| target(json!({"name": format!("Bulk {number}")})))
        .collect();
    let answer = service
        .post(
            "accounts/Microsoft.Dynamics.CRM.CreateMultiple",
            json!({"Targets": targets}),
        )
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let body = answer.json();
    let context = body["@odata.context"].as_str().expect("a context");
    assert!(
        context.ends_with("$metadata#Microsoft.Dynamics.CRM.CreateMultipleResponse"),
        "{context}"
    );
    assert_eq!(body["Ids"].as_array().map(Vec::len), Some(50));
    let id = body["Ids"][7].as_str().expect("an id");
    assert_eq!(
        service.read(&format!("accounts({id})?$select=name")).await["name"],
        "Bulk 7"
    );
}

#[tokio::test]
async fn one_bad_row_undoes_them_all_and_is_named() {
    let service = Service::start().await;
    let targets = json!({"Targets": [target(json!({"name": "Half 1"})), target(json!({"name": "Half 2", "nothing": 1}))]});
    let answer = service
        .post("accounts/Microsoft.Dynamics.CRM.CreateMultiple", targets)
        .await;
    assert_eq!(answer.refusal(), (400, "0x80048d19".to_owned()));
    assert!(
        answer.message().ends_with("(Targets[1])"),
        "{}",
        answer.message()
    );
    assert_eq!(named(&service, "Half").await, 0);
}

#[tokio::test]
async fn targets_say_what_they_are() {
    let service = Service::start().await;
    let path = "accounts/Microsoft.Dynamics.CRM.CreateMultiple";
    let untyped = service
        .post(path, json!({"Targets": [{"name": "x"}]}))
        .await;
    assert!(
        untyped.message().contains("'@odata.type' is missing"),
        "{}",
        untyped.message()
    );
    let other =
        json!({"Targets": [{"@odata.type": "#Microsoft.Dynamics.CRM.contact", "lastname": "x"}]});
    assert_eq!(service.post(path, other).await.status, 400);
    assert_eq!(service.post(path, json!({"Targets": []})).await.status, 400);
    assert_eq!(service.post(path, json!({})).await.status, 400);
    assert_eq!(service.get(path).await.status, 405);
}

#[tokio::test]
async fn rows_are_changed_by_their_keys() {
    let service = Service::start().await;
    let id = service
        .create("accounts", json!({"name": "Before", "accountnumber": "B1"}))
        .await;
    let path = "accounts/Microsoft.Dynamics.CRM.UpdateMultiple?tag=Rehearsal";
    let both = json!({"Targets": [
        target(json!({"accountid": id, "name": "After"})),
        target(json!({"@odata.id": format!("accounts({id})"), "telephone1": "2"})),
    ]});
    let answer = service.post(path, both).await;
    assert_eq!((answer.status, answer.text.as_str()), (204, ""));
    let row = service
        .read(&format!("accounts({id})?$select=name,telephone1"))
        .await;
    assert_eq!(
        (&row["name"], &row["telephone1"]),
        (&json!("After"), &json!("2"))
    );
    let missing = json!({"Targets": [target(json!({"accountid": id, "name": "Lost"})), target(json!({"accountid": NOWHERE}))]});
    assert_eq!(
        service.post(path, missing).await.refusal(),
        (404, "0x80040217".to_owned())
    );
    assert_eq!(
        service.read(&format!("accounts({id})?$select=name")).await["name"],
        "After"
    );
    assert_eq!(
        service
            .post(
                path,
                json!({"Targets": [target(json!({"name": "No key"}))]})
            )
            .await
            .status,
        400
    );
}

#[tokio::test]
async fn rows_are_made_or_changed_by_alternate_keys() {
    let service = Service::with(|seed| {
        let key = json!({"name": "cr_Number", "columns": ["accountnumber"]});
        let extension = serde_json::from_value(json!({"table": "account", "key": [key]}))
            .expect("an extension");
        seed.tenants[0].organizations[0].extensions.push(extension);
    })
    .await;
    let path = "accounts/Microsoft.Dynamics.CRM.UpsertMultiple";
    let targets = |name: &str| {
        json!({"Targets": [
            target(json!({"@odata.id": "accounts(accountnumber='U1')", "name": format!("{name} 1")})),
            target(json!({"accountid": NOWHERE, "name": format!("{name} 2")})),
        ]})
    };
    for name in ["Made", "Changed"] {
        let answer = service.post(path, targets(name)).await;
        assert_eq!(answer.status, 204, "{}", answer.text);
    }
    let row = service
        .read("accounts(accountnumber='U1')?$select=name,accountnumber")
        .await;
    assert_eq!(
        (&row["name"], &row["accountnumber"]),
        (&json!("Changed 1"), &json!("U1"))
    );
    assert_eq!(
        (
            named(&service, "Made").await,
            named(&service, "Changed").await
        ),
        (0, 2)
    );
}

#[tokio::test]
async fn standard_tables_do_not_delete_many() {
    let service = Service::start().await;
    let targets = json!({"Targets": [target(json!({"accountid": NOWHERE}))]});
    let answer = service
        .post("accounts/Microsoft.Dynamics.CRM.DeleteMultiple", targets)
        .await;
    assert_eq!(
        answer.message(),
        "DeleteMultiple has not yet been implemented."
    );
}

#[tokio::test]
async fn a_bulk_deletion_takes_what_its_query_finds() {
    let service = Service::start().await;
    let mut ids = Vec::new();
    for number in 0..3 {
        ids.push(
            service
                .create("accounts", json!({"name": format!("Sweep {number}")}))
                .await,
        );
    }
    let values: Vec<Value> = ids[..2]
        .iter()
        .map(|id| json!({"Value": id, "Type": "System.Guid"}))
        .collect();
    let body = json!({"JobName": "Tidy", "SendEmailNotification": false, "ToRecipients": [], "CCRecipients": [],
        "RecurrencePattern": "", "StartDateTime": "2026-01-01T00:00:00Z", "QuerySet": [{
            "@odata.type": "Microsoft.Dynamics.CRM.QueryExpression", "EntityName": "account",
            "ColumnSet": {"@odata.type": "Microsoft.Dynamics.CRM.ColumnSet", "AllColumns": false, "Columns": []},
            "Criteria": {"@odata.type": "Microsoft.Dynamics.CRM.FilterExpression", "FilterOperator": "And", "Conditions": [{
                "@odata.type": "Microsoft.Dynamics.CRM.ConditionExpression",
                "AttributeName": "accountid", "Operator": "In", "Values": values}]}}]});
    let answer = service.post("BulkDelete", body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert!(answer.json()["JobId"].is_string());
    assert_eq!(named(&service, "Sweep").await, 1);
}

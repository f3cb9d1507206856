//! Duplicate detection.

use reqwest::Method;
use serde_json::json;

use crate::support::Service;

const ON: (&str, &str) = ("MSCRM.SuppressDuplicateDetection", "false");

#[tokio::test]
async fn duplicates_are_refused_for_those_who_ask() {
    let service = Service::start().await;
    let lead = json!({"firstname": "Monte", "lastname": "Orton", "emailaddress1": "monteorton@example.com"});
    service.create("leads", lead.clone()).await;
    service.create("leads", lead.clone()).await;
    let mut shouted = lead;
    shouted["emailaddress1"] = json!("MONTEORTON@example.com");
    let answer = service
        .send(Method::POST, "leads", &[ON], Some(&shouted))
        .await;
    assert_eq!(answer.refusal(), (412, "0x80040333".to_owned()));
    let text = "A record was not created or updated because a duplicate of the current record already exists.";
    assert_eq!(answer.message(), text);
    for value in ["true", "nonsense"] {
        let header = ("MSCRM.SuppressDuplicateDetection", value);
        assert_eq!(
            service
                .send(Method::POST, "leads", &[header], Some(&shouted))
                .await
                .status,
            204
        );
    }
}

#[tokio::test]
async fn a_change_is_compared_with_other_rows_only() {
    let service = Service::start().await;
    service
        .create("accounts", json!({"name": "Adatum Twin"}))
        .await;
    let own = service
        .create("accounts", json!({"name": "Litware Twin"}))
        .await;
    let path = format!("accounts({own})");
    let update = async |body| service.send(Method::PATCH, &path, &[ON], Some(&body)).await;
    assert_eq!(update(json!({"name": "Litware Twin"})).await.status, 204);
    assert_eq!(
        update(json!({"name": "adatum twin"})).await.refusal(),
        (412, "0x80040333".to_owned())
    );
    assert_eq!(
        service
            .patch(&path, json!({"name": "Adatum Twin"}))
            .await
            .status,
        204
    );
    assert_eq!(
        update(json!({"telephone1": "555"})).await.status,
        204,
        "a rule whose columns stay does not count"
    );
}

#[tokio::test]
async fn a_rule_of_two_columns_needs_both() {
    let service = Service::start().await;
    service
        .create(
            "contacts",
            json!({"firstname": "Ada", "lastname": "Unique"}),
        )
        .await;
    let create = async |body| {
        service
            .send(Method::POST, "contacts", &[ON], Some(&body))
            .await
            .status
    };
    assert_eq!(
        create(json!({"firstname": "Bea", "lastname": "Unique"})).await,
        204
    );
    assert_eq!(create(json!({"lastname": "Unique"})).await, 204);
    assert_eq!(
        create(json!({"firstname": "Ada", "lastname": "Unique"})).await,
        412
    );
}

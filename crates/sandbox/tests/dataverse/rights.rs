//! What security roles let a caller write, and impersonation.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};
use tieline_sandbox::seed::{RoleSeed, Seed};

use crate::support::{Answer, Service};

/// Gives Alex just these privileges.
fn alex_holds(seed: &mut Seed, privileges: &[(&str, &str)]) {
    let tenant = &mut seed.tenants[0];
    for user in tenant
        .users
        .iter_mut()
        .filter(|user| user.name == "Alex Wilber")
    {
        user.roles = vec!["Narrow".to_owned()];
    }
    let privileges: BTreeMap<String, String> = privileges
        .iter()
        .map(|(name, depth)| ((*name).to_owned(), (*depth).to_owned()))
        .collect();
    tenant.organizations[0].security_roles.push(RoleSeed {
        name: "Narrow".to_owned(),
        privileges,
    });
}

async fn as_alex(service: &Service, method: Method, path: &str, body: Option<Value>) -> Answer {
    let alex = service.user("Alex Wilber").await;
    service
        .send(method, path, &[("MSCRMCallerID", &alex)], body.as_ref())
        .await
}

#[tokio::test]
async fn the_one_who_is_impersonated_makes_the_row() {
    let service = Service::start().await;
    let alex = service.user("Alex Wilber").await;
    let answer = as_alex(
        &service,
        Method::POST,
        "contacts",
        Some(json!({"lastname": "Theirs"})),
    )
    .await;
    let path = format!("contacts({})", answer.id());
    let row = service.read(&path).await;
    let application = service.user("# Tieline").await;
    for lookup in ["_createdby_value", "_ownerid_value", "_modifiedby_value"] {
        assert_eq!(row[lookup], alex, "{lookup}");
    }
    assert_eq!(
        (
            &row["_createdonbehalfby_value"],
            &row["_modifiedonbehalfby_value"]
        ),
        (&json!(application), &json!(application))
    );
    service.patch(&path, json!({"jobtitle": "x"})).await;
    let row = service.read(&path).await;
    assert_eq!(
        (&row["_modifiedby_value"], &row["_modifiedonbehalfby_value"]),
        (&json!(application), &json!(null))
    );
}

#[tokio::test]
async fn a_privilege_that_is_missing_is_named() {
    let service = Service::start().await;
    let id = service
        .create("contacts", json!({"lastname": "Safe"}))
        .await;
    let answer = as_alex(&service, Method::DELETE, &format!("contacts({id})"), None).await;
    assert_eq!(answer.refusal(), (403, "0x80040220".to_owned()));
    assert!(
        answer
            .message()
            .contains("is missing prvDeleteContact privilege"),
        "{}",
        answer.text
    );
    let currency = as_alex(
        &service,
        Method::POST,
        "transactioncurrencies",
        Some(json!({"currencyname": "x"})),
    )
    .await;
    assert_eq!(currency.refusal(), (403, "0x80040220".to_owned()));
}

#[tokio::test]
async fn the_depth_of_a_privilege_ends_at_the_rows_of_others() {
    let narrow = |seed: &mut Seed| {
        let names = [
            "prvReadContact",
            "prvWriteContact",
            "prvCreateContact",
            "prvDeleteContact",
        ];
        let mut held: Vec<(&str, &str)> = names.map(|name| (name, "Basic")).to_vec();
        held.push(("prvReadUser", "Global"));
        alex_holds(seed, &held);
    };
    let service = Service::with(narrow).await;
    let other = service
        .create("contacts", json!({"lastname": "Other"}))
        .await;
    for (method, right) in [
        (Method::PATCH, "WriteAccess"),
        (Method::DELETE, "DeleteAccess"),
    ] {
        let answer = as_alex(
            &service,
            method,
            &format!("contacts({other})"),
            Some(json!({"jobtitle": "x"})),
        )
        .await;
        assert_eq!(answer.refusal(), (403, "0x80048306".to_owned()));
        assert!(answer.message().contains(right), "{}", answer.text);
    }
    let own = as_alex(
        &service,
        Method::POST,
        "contacts",
        Some(json!({"lastname": "Own"})),
    )
    .await
    .id();
    let answer = as_alex(
        &service,
        Method::PATCH,
        &format!("contacts({own})"),
        Some(json!({"jobtitle": "x"})),
    )
    .await;
    assert_eq!(answer.status, 204, "{}", answer.text);
    assert_eq!(
        as_alex(&service, Method::DELETE, &format!("contacts({own})"), None)
            .await
            .status,
        204
    );
}

#[tokio::test]
async fn to_point_at_a_row_takes_append_and_append_to() {
    let contact = [
        ("prvCreateContact", "Global"),
        ("prvReadContact", "Global"),
        ("prvReadAccount", "Global"),
    ];
    for (more, missing) in [
        (&[][..], "prvAppendContact"),
        (&[("prvAppendContact", "Global")][..], "prvAppendToAccount"),
    ] {
        let held: Vec<(&str, &str)> = contact.iter().chain(more).copied().collect();
        let service = Service::with(|seed| alex_holds(seed, &held)).await;
        let account = service.create("accounts", json!({"name": "Adatum"})).await;
        let body = json!({"lastname": "x", "parentcustomerid_account@odata.bind": format!("/accounts({account})")});
        let answer = as_alex(&service, Method::POST, "contacts", Some(body)).await;
        assert_eq!(answer.refusal(), (403, "0x80040220".to_owned()));
        assert!(answer.message().contains(missing), "{}", answer.text);
    }
}

#[tokio::test]
async fn another_owner_takes_the_right_to_assign() {
    let service = Service::start().await;
    let megan = service.user("Megan Bowen").await;
    let bind = json!({"ownerid@odata.bind": format!("/systemusers({megan})")});
    let id = as_alex(
        &service,
        Method::POST,
        "contacts",
        Some(json!({"lastname": "Mine"})),
    )
    .await
    .id();
    let answer = as_alex(
        &service,
        Method::PATCH,
        &format!("contacts({id})"),
        Some(bind),
    )
    .await;
    assert_eq!(answer.refusal(), (403, "0x80040220".to_owned()));
    assert!(
        answer.message().contains("prvAssignContact"),
        "{}",
        answer.text
    );
}

#[tokio::test]
async fn business_logic_is_left_out_only_by_those_who_may() {
    let service = Service::start().await;
    let body = json!({"lastname": "Bypass"});
    let alex = service.user("Alex Wilber").await;
    for header in [
        "MSCRM.BypassCustomPluginExecution",
        "MSCRM.BypassBusinessLogicExecutionStepIds",
    ] {
        let own = service
            .send(Method::POST, "contacts", &[(header, "true")], Some(&body))
            .await;
        assert_eq!(own.status, 204, "{}", own.text);
        let other = service
            .send(
                Method::POST,
                "contacts",
                &[(header, "true"), ("MSCRMCallerID", &alex)],
                Some(&body),
            )
            .await;
        assert_eq!(other.refusal(), (403, "0x80040220".to_owned()));
    }
    let off = [
        ("MSCRM.BypassCustomPluginExecution", "false"),
        ("MSCRMCallerID", alex.as_str()),
    ];
    assert_eq!(
        service
            .send(Method::POST, "contacts", &off, Some(&body))
            .await
            .status,
        204
    );
}

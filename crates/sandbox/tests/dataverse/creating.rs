//! Rows that are made, with those that come along.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{REPRESENTATION, Service};

#[tokio::test]
async fn an_account_is_made_and_read_back() {
    let service = Service::start().await;
    let answer = service
        .post(
            "accounts",
            json!({"name": "Fourth Coffee", "revenue": 5_000_000, "creditonhold": false}),
        )
        .await;
    assert_eq!((answer.status, answer.text.as_str()), (204, ""));
    assert_eq!(
        answer.header("odata-entityid"),
        service.url(&format!("accounts({})", answer.id()))
    );
    assert_eq!(answer.header("location"), answer.header("odata-entityid"));
    let account = service.read(&format!("accounts({})", answer.id())).await;
    let user = service.user("# Tieline").await;
    assert_eq!(account["name"], "Fourth Coffee");
    assert_eq!(account["createdon"], service.now());
    for lookup in [
        "_createdby_value",
        "_modifiedby_value",
        "_ownerid_value",
        "_owninguser_value",
    ] {
        assert_eq!(account[lookup], user, "{lookup}");
    }
    assert_eq!(
        (&account["statecode"], &account["statuscode"]),
        (&json!(0), &json!(1))
    );
    assert_eq!(
        (&account["donotphone"], &account["followemail"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(account["preferredcontactmethodcode"], 1);
    assert!(
        account["_transactioncurrencyid_value"].is_string()
            && account["revenue_base"] == 5_000_000.0
    );
    assert_eq!(account["exchangerate"], 1.0);
    assert!(account["versionnumber"].as_i64() > Some(0));
}

#[tokio::test]
async fn a_representation_has_the_row_and_no_address() {
    let service = Service::start().await;
    let contact = service
        .create(
            "contacts",
            json!({"firstname": "Ada", "lastname": "Lovelace"}),
        )
        .await;
    let path = "accounts?$select=name&$expand=primarycontactid($select=fullname),Account_Tasks($select=subject)";
    let task = service.create("tasks", json!({"subject": "Sign"})).await;
    let body = json!({
        "name": "Sample Account",
        "primarycontactid@odata.bind": format!("/contacts({contact})"),
        "Account_Tasks@odata.bind": [format!("/tasks({task})")],
    });
    let answer = service
        .send(Method::POST, path, &[REPRESENTATION], Some(&body))
        .await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    assert_eq!(answer.header("preference-applied"), "return=representation");
    assert_eq!(answer.header("odata-entityid"), "");
    let row = answer.json();
    assert_eq!(row["primarycontactid"]["fullname"], "Ada Lovelace");
    assert_eq!(row["Account_Tasks"][0]["subject"], "Sign");
}

#[tokio::test]
async fn rows_in_a_body_are_made_with_it_or_not_at_all() {
    let service = Service::start().await;
    let body = json!({
        "name": "Fourth Coffee",
        "primarycontactid": {
            "firstname": "Susie", "lastname": "Curtis", "jobtitle": "Coffee Master", "annualincome": 48000,
            "Contact_Tasks": [
                {"subject": "Sign invoice", "scheduledend": "2016-04-19T00:00:00-07:00"},
                {"subject": "Setup new display"},
            ],
        },
        "contact_customer_accounts": [{"lastname": "Barista"}],
    });
    let id = service.create("accounts", body.clone()).await;
    let path = format!("accounts({id})?$expand=primarycontactid,contact_customer_accounts");
    let account = service.read(&path).await;
    assert_eq!(
        account["contact_customer_accounts"][0]["fullname"],
        "Barista"
    );
    let contact = account["primarycontactid"]["contactid"]
        .as_str()
        .expect("a contact");
    let tasks = service
        .read(&format!(
            "contacts({contact})/Contact_Tasks?$orderby=subject desc"
        ))
        .await;
    assert_eq!(tasks["value"][0]["scheduledend"], "2016-04-19T07:00:00Z");
    assert_eq!(tasks["value"][0]["_regardingobjectid_value"], contact);

    let mut broken = body;
    broken["name"] = json!("Fifth Coffee");
    broken["primarycontactid"]["Contact_Tasks"][1]["subject"] = json!("x".repeat(201));
    let answer = service.post("accounts", broken).await;
    assert_eq!(answer.refusal(), (400, "0x80044331".to_owned()));
    let text = "A validation error occurred.  The length of the 'subject' attribute of the 'task' entity exceeded the maximum allowed length of '200'.";
    assert_eq!(answer.message(), text);
    let none = service
        .read("contacts?$filter=fullname eq 'Susie Curtis'&$count=true")
        .await;
    assert_eq!(
        none["@odata.count"], 1,
        "the contact of the refused account is not there"
    );
}

#[tokio::test]
async fn every_form_of_a_bind_links_the_same_row() {
    let service = Service::start().await;
    let account = service.create("accounts", json!({"name": "Adatum"})).await;
    for form in [
        format!("accounts({account})"),
        format!("/accounts({account})"),
        format!("/accounts(accountid={account})"),
        service.url(&format!("accounts({account})")),
        format!("https://contoso.crm.dynamics.com/api/data/v9.0/accounts({account})"),
    ] {
        let body = json!({"lastname": "Bound", "parentcustomerid_account@odata.bind": form});
        let contact = service.create("contacts", body).await;
        let contact = service
            .read(&format!(
                "contacts({contact})?$select=_parentcustomerid_value"
            ))
            .await;
        assert_eq!(contact["_parentcustomerid_value"], account, "{form}");
    }
    let body = json!({"lastname": "Nested", "parentcustomerid_account": {"@odata.id": format!("accounts({account})")}});
    let contact = service.create("contacts", body).await;
    let linked = service
        .read(&format!(
            "accounts({account})/contact_customer_accounts/$count"
        ))
        .await;
    assert_eq!(linked, 6);
    service
        .patch(
            &format!("contacts({contact})"),
            json!({"parentcustomerid_account@odata.bind": null}),
        )
        .await;
    assert_eq!(
        service
            .read(&format!(
                "accounts({account})/contact_customer_accounts/$count"
            ))
            .await,
        5
    );
}

#[tokio::test]
async fn a_bind_that_leads_nowhere_is_refused() {
    let service = Service::start().await;
    let account = service.create("accounts", json!({"name": "Adatum"})).await;
    let nowhere = "00000000-0000-0000-0000-000000000001";
    for (bind, address, refusal) in [
        (
            "parentcustomerid_account",
            format!("/accounts({nowhere})"),
            (404, "0x80040217"),
        ),
        (
            "parentcustomerid_contact",
            format!("/accounts({account})"),
            (400, "0x80048d19"),
        ),
        (
            "parentcustomerid_account",
            "/nothings(1)".to_owned(),
            (404, "0x80060888"),
        ),
        (
            "parentcustomerid_account",
            "$1".to_owned(),
            (400, "0x80060888"),
        ),
        (
            "parentcustomerid_account",
            String::new(),
            (400, "0x80060888"),
        ),
        (
            "parentcustomerid",
            format!("/accounts({account})"),
            (400, "0x80048d19"),
        ),
    ] {
        let body = json!({"lastname": "Lost", format!("{bind}@odata.bind"): address});
        let answer = service.post("contacts", body).await;
        assert_eq!(
            answer.refusal(),
            (refusal.0, refusal.1.to_owned()),
            "{bind} {address}"
        );
    }
}

#[tokio::test]
async fn a_row_made_in_a_collection_points_at_its_parent() {
    let service = Service::start().await;
    let account = service.create("accounts", json!({"name": "Adatum"})).await;
    let task = service
        .create(
            &format!("accounts({account})/Account_Tasks"),
            json!({"subject": "Call"}),
        )
        .await;
    let task = service
        .read(&format!("tasks({task})?$select=_regardingobjectid_value"))
        .await;
    assert_eq!(task["_regardingobjectid_value"], account);
    let missing = "accounts(00000000-0000-0000-0000-000000000001)/Account_Tasks";
    assert_eq!(
        service
            .post(missing, json!({"subject": "Call"}))
            .await
            .refusal(),
        (404, "0x80040217".to_owned())
    );
}

#[tokio::test]
async fn a_key_may_be_brought_and_not_twice() {
    let service = Service::start().await;
    let id = "3adbf27c-8efb-e511-80d2-00155db07c77";
    let body = json!({"accountid": id, "name": "Mine"});
    assert_eq!(service.create("accounts", body.clone()).await, id);
    assert_eq!(
        service.post("accounts", body).await.refusal(),
        (412, "0x80040237".to_owned())
    );
}

#[tokio::test]
async fn cases_are_numbered_and_keep_a_number_that_they_bring() {
    let service = Service::start().await;
    let account = service.create("accounts", json!({"name": "Adatum"})).await;
    let case = |more: Value| {
        let mut body = json!({"title": "Late", "customerid_account@odata.bind": format!("/accounts({account})")});
        body.as_object_mut()
            .expect("an object")
            .extend(more.as_object().expect("an object").clone());
        body
    };
    let mut numbers = Vec::new();
    for body in [
        case(json!({})),
        case(json!({})),
        case(json!({"ticketnumber": "T-1"})),
    ] {
        let id = service.create("incidents", body).await;
        let row = service
            .read(&format!("incidents({id})?$select=ticketnumber,statuscode"))
            .await;
        numbers.push(row["ticketnumber"].as_str().expect("a number").to_owned());
    }
    assert!(
        numbers[0].starts_with("CAS-0") && numbers[0].len() == 16 && numbers[0] != numbers[1],
        "{numbers:?}"
    );
    assert_eq!(numbers[2], "T-1");
}

#[tokio::test]
async fn a_row_that_was_migrated_keeps_the_day_it_was_made() {
    let service = Service::start().await;
    let body = json!({"lastname": "Old", "overriddencreatedon": "2001-02-03T00:00:00Z", "createdon": "1999-01-01T00:00:00Z"});
    let id = service.create("contacts", body).await;
    let row = service
        .read(&format!(
            "contacts({id})?$select=createdon,overriddencreatedon,modifiedon"
        ))
        .await;
    assert_eq!(row["createdon"], "2001-02-03T00:00:00Z");
    assert_eq!(row["overriddencreatedon"], service.now());
    assert_eq!(row["modifiedon"], service.now());
}

//! What columns take, and what is said of what they do not.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::Service;

#[tokio::test]
async fn values_come_back_as_they_are_kept() {
    let service = Service::start().await;
    let body = json!({
        "lastname": "Values", "birthdate": "1980-02-29", "anniversary": null,
        "lastusedincampaign": "2024-01-05T10:11:12.345+02:00", "numberofchildren": "2", "creditlimit": 1234.567,
        "address1_latitude": 47.6395831, "donotemail": "true", "description": "", "middlename": "  ",
    });
    let id = service.create("contacts", body).await;
    let row = service.read(&format!("contacts({id})")).await;
    for (name, value) in [
        ("birthdate", json!("1980-02-29")),
        ("anniversary", json!(null)),
        ("lastusedincampaign", json!("2024-01-05T08:11:12Z")),
        ("numberofchildren", json!(2)),
        ("creditlimit", json!(1234.57)),
        ("address1_latitude", json!(47.63958)),
        ("donotemail", json!(true)),
        ("description", json!(null)),
    ] {
        assert_eq!(row[name], value, "{name}");
    }
}

#[tokio::test]
async fn what_a_column_does_not_take_is_refused_with_its_own_code() {
    let service = Service::start().await;
    let payload = "0x80048d19";
    for (name, value, code) in [
        ("firstname", json!(42), payload),
        ("firstname", json!({"a": 1}), payload),
        ("firstname", json!(["a"]), payload),
        ("firstname", json!("é".repeat(51)), "0x80044331"),
        ("numberofchildren", json!("two"), payload),
        ("numberofchildren", json!(1.5), payload),
        ("numberofchildren", json!(5_000_000_000_i64), payload),
        ("numberofchildren", json!(true), payload),
        ("numberofchildren", json!(-1), "0x8004432f"),
        ("creditlimit", json!("12.5"), payload),
        ("creditlimit", json!(-1), "0x80044330"),
        ("creditlimit", json!(1e300), "0x80044330"),
        ("gendercode", json!(77), "0x8004431a"),
        ("gendercode", json!("male"), payload),
        ("donotemail", json!(1), payload),
        ("birthdate", json!("1980-02-29T00:00:00Z"), payload),
        ("birthdate", json!("1752-12-31"), "0x80040239"),
        ("lastusedincampaign", json!("2024-01-05"), payload),
        ("lastusedincampaign", json!("2024-01-05T10:00:00"), payload),
        (
            "lastusedincampaign",
            json!("1600-01-01T00:00:00Z"),
            "0x80040239",
        ),
        ("processid", json!("no-guid"), payload),
        ("contactid", json!("no-guid"), payload),
        ("FirstName", json!("Ada"), payload),
        ("shoesize", json!(9), payload),
        ("parentcustomerid", json!("a"), payload),
        ("contact_customer_contacts", json!({}), payload),
        ("parentcustomerid_account", json!("x"), payload),
        ("@logicalName", json!("contact"), payload),
        ("shoesize@odata.bind", json!("/accounts(1)"), payload),
        ("_parentcustomerid_value", json!(null), "0x80060888"),
    ] {
        let body = json!({"lastname": "Refused", name: value.clone()});
        let answer = service.post("contacts", body).await;
        assert_eq!(
            answer.refusal(),
            (400, code.to_owned()),
            "{name}: {value} {}",
            answer.text
        );
        assert!(
            code != payload || answer.message().contains("Entity :'contacts'"),
            "{}",
            answer.text
        );
    }
    assert_eq!(
        service
            .read("contacts/$count?$filter=lastname eq 'Refused'")
            .await,
        0
    );
}

#[tokio::test]
async fn the_words_of_refusals_are_those_of_dataverse() {
    let service = Service::start().await;
    let said = async |body: Value| service.post("accounts", body).await.message();
    let unknown = said(json!({"Name": "x"})).await;
    assert!(
        unknown.contains(
            "Invalid property 'Name' was found in entity 'Microsoft.Dynamics.CRM.account'"
        ),
        "{unknown}"
    );
    let undeclared = said(json!({"parentcustomerid@odata.bind": "/accounts(1)"})).await;
    assert!(
        undeclared.contains(
            "An undeclared property 'parentcustomerid' which only has property annotations"
        ),
        "{undeclared}"
    );
    let literal = said(json!({"name": 42})).await;
    assert!(
        literal.contains("Cannot convert the literal '42' to the expected type 'Edm.String'."),
        "{literal}"
    );
    let choice = said(json!({"accountcategorycode": 9})).await;
    assert!(choice.contains("The value 9 of 'accountcategorycode' on record of type 'account' is outside the valid range. Accepted Values: 1,2"), "{choice}");
}

#[tokio::test]
async fn a_body_says_what_it_is() {
    let service = Service::start().await;
    for name in [
        "#Microsoft.Dynamics.CRM.account",
        "Microsoft.Dynamics.CRM.account",
        "mscrm.account",
    ] {
        service
            .create("accounts", json!({"@odata.type": name, "name": "x"}))
            .await;
    }
    for name in [
        json!("#Microsoft.Dynamics.CRM.contact"),
        json!("nonsense"),
        json!(5),
    ] {
        let answer = service
            .post("accounts", json!({"@odata.type": name, "name": "x"}))
            .await;
        assert_eq!(
            answer.refusal(),
            (400, "0x80048d19".to_owned()),
            "{}",
            answer.text
        );
    }
    let task = json!({"@odata.type": "Microsoft.Dynamics.CRM.task", "subject": "Of a kind"});
    let account = json!({"name": "x", "Account_ActivityPointers": [task]});
    let account = service.create("accounts", account).await;
    let tasks = service
        .read(&format!("accounts({account})/Account_Tasks"))
        .await;
    assert_eq!(tasks["value"][0]["subject"], "Of a kind");
}

#[tokio::test]
async fn a_body_that_is_no_row_is_refused() {
    let service = Service::start().await;
    let deep = format!("{}1{}", "{\"a\":".repeat(5_000), "}".repeat(5_000));
    let bodies = [
        "",
        "  ",
        "null",
        "[]",
        "\"x\"",
        "{",
        "{\"name\":\"\u{0}",
        "{\"name\":}",
        "nonsense",
        deep.as_str(),
    ];
    for body in bodies {
        for (method, path) in [
            (Method::POST, "accounts"),
            (
                Method::PATCH,
                "accounts(00000000-0000-0000-0000-000000000009)",
            ),
        ] {
            let request = service
                .http
                .request(method, service.url(path))
                .bearer_auth(&service.token);
            let answer = request
                .header("content-type", "application/json")
                .body(body.to_owned())
                .send()
                .await;
            let answer = answer.expect("an answer");
            assert_eq!(answer.status(), 400, "{body:.40}");
            let error: Value = answer.json().await.expect("JSON");
            assert_eq!(error["error"]["code"], "0x80048d19", "{body:.40}");
        }
    }
    let request = service
        .http
        .post(service.url("accounts"))
        .bearer_auth(&service.token);
    let answer = request
        .body(b"{\"name\":\"\xff\xfe\"}".to_vec())
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 400);
}

#[tokio::test]
async fn rows_nested_too_deep_are_refused() {
    let service = Service::start().await;
    let mut body = json!({"name": "Bottom"});
    for _ in 0..30 {
        body = json!({"name": "Above", "account_parent_account": [body]});
    }
    let answer = service.post("accounts", body).await;
    assert_eq!(
        answer.refusal(),
        (400, "0x80060888".to_owned()),
        "{}",
        answer.text
    );
}

#[tokio::test]
async fn decimals_may_be_text_for_a_client_that_says_so() {
    let service = Service::start().await;
    let request = service
        .http
        .post(service.url("accounts"))
        .bearer_auth(&service.token);
    let request = request.header("content-type", "application/json; IEEE754Compatible=true");
    let answer = request
        .body(json!({"name": "x", "revenue": "12.50"}).to_string())
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 204);
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused_as_an_error_of_the_service() {
    let service = Service::start().await;
    let body = json!({"name": "x".repeat(17 << 20)}).to_string();
    let request = service
        .http
        .post(service.url("accounts"))
        .bearer_auth(&service.token)
        .body(body);
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.status(), 413);
    let error: Value = answer.json().await.expect("JSON");
    assert_eq!(error["error"]["code"], "0x8004418a");
}

#[tokio::test]
async fn a_name_of_any_length_gets_a_short_answer() {
    let service = Service::start().await;
    let long = "x".repeat(1 << 20);
    for body in [
        json!({long.clone(): 1}),
        json!({format!("{long}@odata.bind"): "/accounts(1)"}),
        json!({"@".to_owned() + &long: 1}),
        json!({"gendercode": long}),
        json!({"parentcustomerid_account@odata.bind": format!("/{long}(1)")}),
    ] {
        let answer = service.post("contacts", body).await;
        assert_eq!(answer.status, 400, "{:.200}", answer.text);
        assert!(answer.text.len() < 2_000, "{}", answer.text.len());
    }
}

#[tokio::test]
async fn rows_are_without_images_and_an_image_is_refused() {
    let service = Service::start().await;
    let path = "contacts?$select=entityimage&$filter=entityimage eq null&$orderby=entityimage";
    let rows = service.read(path).await["value"].clone();
    assert_eq!(rows[0]["entityimage"], Value::Null);
    let id = service
        .create(
            "contacts",
            json!({"lastname": "Pictured", "entityimage": null}),
        )
        .await;
    let image = format!("contacts({id})/entityimage");
    assert_eq!(service.get(&format!("{image}/$value")).await.status, 204);
    for answer in [
        service
            .patch(
                &format!("contacts({id})"),
                json!({"entityimage": "iVBORw0KGgo="}),
            )
            .await,
        service.put(&image, json!("bytes")).await,
    ] {
        assert_eq!(answer.status, 501);
        let said = answer.message();
        assert!(
            said.contains("does not have contents of image columns yet"),
            "{said}"
        );
    }
}

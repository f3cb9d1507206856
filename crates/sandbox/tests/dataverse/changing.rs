//! Rows that change, upserts and conditions.

use reqwest::Method;
use serde_json::json;

use crate::support::{REPRESENTATION, Service};

const MISSING: &str = "accounts(00000000-0000-0000-0000-000000000001)";

#[tokio::test]
async fn a_change_touches_what_it_names_and_who_made_it_when() {
    let service = Service::start().await;
    let id = service
        .create(
            "contacts",
            json!({"firstname": "Peter", "lastname": "Cambel", "jobtitle": "Buyer"}),
        )
        .await;
    let path = format!("contacts({id})");
    let before = service.read(&path).await;
    service.pass(60);
    let answer = service
        .patch(
            &path,
            json!({"lastname": "Campbell", "annualincome": 80_000}),
        )
        .await;
    assert_eq!((answer.status, answer.id()), (204, id.clone()));
    let after = service.read(&path).await;
    assert_eq!(after["fullname"], "Peter Campbell");
    assert_eq!(
        (&after["jobtitle"], &after["annualincome_base"]),
        (&json!("Buyer"), &json!(80_000.0))
    );
    assert_eq!(
        (&after["createdon"], &after["modifiedon"]),
        (&before["createdon"], &json!(service.now()))
    );
    assert_ne!(after["@odata.etag"], before["@odata.etag"]);
}

#[tokio::test]
async fn a_patch_can_give_the_row_back() {
    let service = Service::start().await;
    let id = service
        .create("accounts", json!({"name": "Sample", "revenue": 5}))
        .await;
    let path = format!("accounts({id})?$select=name,revenue");
    let answer = service
        .send(
            Method::PATCH,
            &path,
            &[REPRESENTATION],
            Some(&json!({"name": "Updated"})),
        )
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.header("preference-applied"), "return=representation");
    let row = answer.json();
    assert_eq!(
        (&row["name"], &row["revenue"]),
        (&json!("Updated"), &json!(5.0))
    );
    assert!(
        row["@odata.context"]
            .as_str()
            .is_some_and(|text| text.ends_with("#accounts(name,revenue)/$entity")),
        "{row}"
    );
    let answer = service
        .send(
            Method::PATCH,
            MISSING,
            &[REPRESENTATION],
            Some(&json!({"name": "New"})),
        )
        .await;
    assert_eq!(answer.status, 201, "{}", answer.text);
}

#[tokio::test]
async fn a_patch_makes_the_row_that_is_not_there_unless_it_may_not() {
    let service = Service::start().await;
    let any = [("If-Match", "*")];
    let body = json!({"name": "Upserted"});
    let answer = service
        .send(Method::PATCH, MISSING, &any, Some(&body))
        .await;
    assert_eq!(answer.refusal(), (404, "0x80040217".to_owned()));
    assert_eq!(
        answer.message(),
        "account With Id = 00000000-0000-0000-0000-000000000001 Does Not Exist"
    );
    let answer = service.patch(MISSING, body.clone()).await;
    assert_eq!(answer.status, 204);
    assert_eq!(service.read(MISSING).await["name"], "Upserted");
    let none = [("If-None-Match", "*")];
    let answer = service
        .send(Method::PATCH, MISSING, &none, Some(&body))
        .await;
    assert_eq!(answer.refusal(), (412, "0x80040237".to_owned()));
    assert_eq!(
        answer.message(),
        "A record with matching key values already exists."
    );
    assert_eq!(
        service
            .send(Method::PATCH, MISSING, &any, Some(&body))
            .await
            .status,
        204
    );
    let nothing = [("If-None-Match", "null")];
    assert_eq!(
        service
            .send(Method::PATCH, MISSING, &nothing, Some(&body))
            .await
            .status,
        204
    );
}

#[tokio::test]
async fn a_row_of_another_version_is_left_alone() {
    let service = Service::start().await;
    let id = service
        .create("accounts", json!({"name": "Contended"}))
        .await;
    let path = format!("accounts({id})");
    let old = service.read(&path).await["@odata.etag"]
        .as_str()
        .expect("an etag")
        .to_owned();
    let if_old = [("If-Match", old.as_str())];
    let body = json!({"telephone1": "555-0001"});
    assert_eq!(
        service
            .send(Method::PATCH, &path, &if_old, Some(&body))
            .await
            .status,
        204
    );
    for (method, path, body) in [
        (Method::PATCH, path.clone(), Some(body)),
        (Method::DELETE, path.clone(), None),
        (
            Method::PUT,
            format!("{path}/telephone1"),
            Some(json!({"value": "555-0002"})),
        ),
    ] {
        let answer = service.send(method, &path, &if_old, body.as_ref()).await;
        assert_eq!(answer.refusal(), (412, "0x80060882".to_owned()));
    }
    let new = service.read(&path).await["@odata.etag"]
        .as_str()
        .expect("an etag")
        .to_owned();
    let answer = service
        .send(Method::DELETE, &path, &[("If-Match", new.as_str())], None)
        .await;
    assert_eq!(answer.status, 204, "{}", answer.text);
    assert_eq!(service.get(&path).await.status, 404);
}

#[tokio::test]
async fn one_column_is_set_and_cleared() {
    let service = Service::start().await;
    let id = service
        .create("contacts", json!({"lastname": "Cambel"}))
        .await;
    let path = format!("contacts({id})/telephone1");
    assert_eq!(
        service
            .put(&path, json!({"value": "555-0105"}))
            .await
            .status,
        204
    );
    assert_eq!(service.read(&path).await["value"], "555-0105");
    assert_eq!(service.delete(&path).await.status, 204);
    assert_eq!(service.get(&path).await.status, 204);
    for (body, refusal) in [
        (json!({"value": 5}), (400, "0x80048d19")),
        (json!({}), (400, "0x80060888")),
    ] {
        assert_eq!(
            service.put(&path, body).await.refusal(),
            (refusal.0, refusal.1.to_owned())
        );
    }
    let unknown = service
        .put(&format!("contacts({id})/shoesize"), json!({"value": 5}))
        .await;
    assert_eq!(unknown.refusal(), (404, "0x80060888".to_owned()));
    assert_eq!(
        service
            .put(&format!("{MISSING}/name"), json!({"value": "x"}))
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn what_the_platform_keeps_to_itself_is_passed_over() {
    let service = Service::start().await;
    let id = service.create("accounts", json!({"name": "Kept"})).await;
    let path = format!("accounts({id})");
    let body = json!({
        "@odata.context": "x", "@odata.etag": "W/\"1\"", "@odata.type": "#Microsoft.Dynamics.CRM.account",
        "accountid": id, "createdon": "1999-01-01T00:00:00Z", "versionnumber": 1, "revenue_base": 7,
        "statecode@OData.Community.Display.V1.FormattedValue": "Active", "statecode": 0,
    });
    let answer = service.patch(&path, body).await;
    assert_eq!(answer.status, 204, "{}", answer.text);
    let row = service.read(&path).await;
    assert_eq!(
        (&row["createdon"], &row["revenue_base"]),
        (&json!(service.now()), &json!(null))
    );
    let answer = service
        .patch(&path, json!({"_primarycontactid_value": id}))
        .await;
    assert_eq!(answer.refusal(), (400, "0x80060888".to_owned()));
    assert!(
        answer
            .message()
            .contains("Use Navigation properties instead")
    );
}

#[tokio::test]
async fn states_and_status_reasons_go_together() {
    let service = Service::start().await;
    let id = service.create("accounts", json!({"name": "Stately"})).await;
    let path = format!("accounts({id})");
    let state = async |body| {
        let answer = service.patch(&path, body).await;
        assert_eq!(answer.status, 204, "{}", answer.text);
        let row = service.read(&path).await;
        (
            row["statecode"].as_i64().expect("a state"),
            row["statuscode"].as_i64().expect("a status"),
        )
    };
    assert_eq!(state(json!({"statecode": 1})).await, (1, 2));
    assert_eq!(state(json!({"statuscode": 1})).await, (0, 1));
    let answer = service
        .patch(&path, json!({"statecode": 0, "statuscode": 2}))
        .await;
    assert_eq!(answer.refusal(), (400, "0x80048408".to_owned()));
    let text = format!(
        "2 is not a valid status code for state code AccountState.Active on account with Id {id}."
    );
    assert_eq!(answer.message(), text);
    assert_eq!(
        service
            .patch(&path, json!({"statecode": 9}))
            .await
            .refusal(),
        (400, "0x8004431a".to_owned())
    );
}

#[tokio::test]
async fn money_is_also_kept_in_the_organizations_currency() {
    let service = Service::start().await;
    let euro = json!({"currencyname": "Euro", "isocurrencycode": "EUR", "currencysymbol": "€", "exchangerate": 0.8});
    let euro = service.create("transactioncurrencies", euro).await;
    let bind = format!("/transactioncurrencies({euro})");
    let body = json!({"name": "Rich", "revenue": 10, "creditlimit": 8, "transactioncurrencyid@odata.bind": bind});
    let id = service.create("accounts", body).await;
    let path = format!("accounts({id})");
    let row = service.read(&path).await;
    assert_eq!(
        (&row["revenue_base"], &row["exchangerate"]),
        (&json!(12.5), &json!(0.8))
    );
    assert_eq!(row["_transactioncurrencyid_value"], euro);
    service.patch(&path, json!({"revenue": null})).await;
    assert_eq!(service.read(&path).await["revenue_base"], json!(null));
    let dollar = service
        .read("transactioncurrencies?$filter=isocurrencycode eq 'USD'")
        .await;
    let dollar = dollar["value"][0]["transactioncurrencyid"]
        .as_str()
        .expect("a currency")
        .to_owned();
    let bind = format!("/transactioncurrencies({dollar})");
    service
        .patch(&path, json!({"transactioncurrencyid@odata.bind": bind}))
        .await;
    assert_eq!(
        service.read(&path).await["creditlimit_base"],
        8.0,
        "another currency converts what was there"
    );
}

#[tokio::test]
async fn a_hierarchy_has_no_loops() {
    let service = Service::start().await;
    let top = service.create("accounts", json!({"name": "Top"})).await;
    let body = json!({"name": "Low", "parentaccountid@odata.bind": format!("/accounts({top})")});
    let low = service.create("accounts", body).await;
    for above in [&low, &top] {
        let body = json!({"parentaccountid@odata.bind": format!("/accounts({above})")});
        let answer = service.patch(&format!("accounts({top})"), body).await;
        assert_eq!(answer.refusal(), (400, "0x80040507".to_owned()));
    }
}

#[tokio::test]
async fn a_row_gets_another_owner() {
    let service = Service::start().await;
    let (alex, id) = (
        service.user("Alex Wilber").await,
        service.create("accounts", json!({"name": "Given"})).await,
    );
    let path = format!("accounts({id})");
    service
        .patch(
            &path,
            json!({"ownerid@odata.bind": format!("/systemusers({alex})")}),
        )
        .await;
    let row = service.read(&path).await;
    assert_eq!(
        (&row["_ownerid_value"], &row["_owninguser_value"]),
        (&json!(alex), &json!(alex))
    );
    let team = service.read("teams?$select=teamid&$top=1").await["value"][0]["teamid"]
        .as_str()
        .expect("a team")
        .to_owned();
    service
        .patch(
            &path,
            json!({"ownerid@odata.bind": format!("/teams({team})")}),
        )
        .await;
    let row = service.read(&path).await;
    assert_eq!(
        (&row["_owningteam_value"], &row["_owninguser_value"]),
        (&json!(team), &json!(null))
    );
}

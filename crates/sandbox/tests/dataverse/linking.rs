//! Links between rows.

use serde_json::json;

use crate::support::Service;

async fn pair(service: &Service) -> (String, String) {
    let account = service.create("accounts", json!({"name": "Adatum"})).await;
    (
        account,
        service
            .create("contacts", json!({"lastname": "Linked"}))
            .await,
    )
}

#[tokio::test]
async fn a_lookup_is_linked_and_unlinked_by_reference() {
    let service = Service::start().await;
    let (account, contact) = pair(&service).await;
    let path = format!("accounts({account})/primarycontactid/$ref");
    for address in [
        service.url(&format!("contacts({contact})")),
        format!("contacts({contact})"),
        format!("/contacts({contact})"),
    ] {
        assert_eq!(
            service
                .put(&path, json!({"@odata.id": address}))
                .await
                .status,
            204
        );
        assert_eq!(
            service.read(&path).await["@odata.id"],
            service.url(&format!("contacts({contact})"))
        );
        assert_eq!(service.delete(&path).await.status, 204);
        assert_eq!(service.get(&path).await.status, 204, "nothing is linked");
    }
    assert_eq!(
        service.delete(&path).await.status,
        204,
        "to unlink nothing is no fault"
    );
    assert_eq!(
        service
            .put(&path, json!({"@odata.id": format!("accounts({account})")}))
            .await
            .status,
        400
    );
    assert_eq!(service.put(&path, json!({"id": "x"})).await.status, 400);
    let whole = service
        .delete(&format!("accounts({account})/primarycontactid"))
        .await;
    assert_eq!(whole.status, 405, "without $ref nothing is deleted");
}

#[tokio::test]
async fn a_property_of_another_table_does_not_unlink() {
    let service = Service::start().await;
    let (account, contact) = pair(&service).await;
    let path = format!("contacts({contact})/parentcustomerid");
    let link = json!({"@odata.id": format!("/accounts({account})")});
    assert_eq!(
        service
            .put(&format!("{path}_account/$ref"), link)
            .await
            .status,
        204
    );
    assert_eq!(
        service.delete(&format!("{path}_contact/$ref")).await.status,
        204
    );
    let row = service.read(&format!("contacts({contact})")).await;
    assert_eq!(row["_parentcustomerid_value"], account);
}

#[tokio::test]
async fn a_collection_takes_and_gives_up_rows() {
    let service = Service::start().await;
    let (account, contact) = pair(&service).await;
    let collection = format!("accounts({account})/contact_customer_accounts");
    let link = json!({"@odata.id": service.url(&format!("contacts({contact})"))});
    let count = async || service.read(&format!("{collection}/$count")).await;
    let ways = [
        format!("{collection}({contact})/$ref"),
        format!(
            "{collection}/$ref?$id={}",
            service.url(&format!("contacts({contact})"))
        ),
        format!("{collection}/$ref?$id=contacts({contact})"),
    ];
    for way in ways {
        assert_eq!(
            service
                .post(&format!("{collection}/$ref"), link.clone())
                .await
                .status,
            204
        );
        assert_eq!(count().await, 1);
        let answer = service.delete(&way).await;
        assert_eq!(answer.status, 204, "{way}: {}", answer.text);
        assert_eq!(count().await, 0);
        assert_eq!(
            service.delete(&way).await.refusal(),
            (404, "0x80040217".to_owned()),
            "twice"
        );
    }
    assert_eq!(
        service.read(&format!("contacts({contact})")).await["contactid"],
        contact,
        "the row itself stays"
    );
}

#[tokio::test]
async fn pairs_are_made_once_and_go_with_their_rows() {
    let service = Service::start().await;
    let opportunity = service
        .create("opportunities", json!({"name": "Sale"}))
        .await;
    let competitor = service
        .create("competitors", json!({"name": "Fabrikam"}))
        .await;
    let collection = format!("opportunities({opportunity})/opportunitycompetitors_association");
    let link = json!({"@odata.id": format!("competitors({competitor})")});
    assert_eq!(
        service
            .post(&format!("{collection}/$ref"), link.clone())
            .await
            .status,
        204
    );
    assert_eq!(
        service
            .post(&format!("{collection}/$ref"), link.clone())
            .await
            .refusal(),
        (412, "0x80040237".to_owned())
    );
    let back = format!("competitors({competitor})/opportunitycompetitors_association");
    assert_eq!(service.read(&back).await["value"][0]["name"], "Sale");
    let named = format!(
        "{collection}/$ref?$id={}",
        service.url(&format!("competitors({competitor})"))
    );
    assert_eq!(service.delete(&named).await.status, 204);
    assert_eq!(service.delete(&named).await.status, 404);
    assert_eq!(
        service
            .post(
                &format!("{back}/$ref"),
                json!({"@odata.id": format!("opportunities({opportunity})")})
            )
            .await
            .status,
        204
    );
    assert_eq!(
        service
            .delete(&format!("competitors({competitor})"))
            .await
            .status,
        204
    );
    assert_eq!(service.read(&format!("{collection}/$count")).await, 0);
}

#[tokio::test]
async fn a_new_row_can_be_paired_at_once() {
    let service = Service::start().await;
    let opportunity = service
        .create("opportunities", json!({"name": "Sale"}))
        .await;
    let collection = format!("opportunities({opportunity})/opportunitycompetitors_association");
    let competitor = service
        .create(&collection, json!({"name": "Litware"}))
        .await;
    let shown = service.read(&collection).await;
    assert_eq!(shown["value"][0]["competitorid"], competitor);
    let body = json!({"name": "Second", "opportunitycompetitors_association": [{"name": "Proseware"}],
        "opportunitycompetitors_association@odata.bind": [format!("/competitors({competitor})")]});
    let second = service.create("opportunities", body).await;
    assert_eq!(
        service
            .read(&format!(
                "opportunities({second})/opportunitycompetitors_association/$count"
            ))
            .await,
        2
    );
}

#[tokio::test]
async fn tables_of_pairs_are_not_written_by_themselves() {
    let service = Service::start().await;
    let answer = service.post("systemuserrolescollection", json!({})).await;
    assert_eq!(answer.refusal(), (400, "0x80040800".to_owned()));
    assert_eq!(
        answer.message(),
        "The 'Create' method does not support entities of type 'systemuserroles'."
    );
}

#[tokio::test]
async fn who_made_a_row_is_not_for_clients_to_say() {
    let service = Service::start().await;
    let (account, _) = pair(&service).await;
    let alex = service.user("Alex Wilber").await;
    let collection = format!("systemusers({alex})/lk_accountbase_createdby");
    let known = service.get(&collection).await.status == 200;
    let collection = if known {
        collection
    } else {
        collection.replace("accountbase", "account")
    };
    let link = json!({"@odata.id": format!("accounts({account})")});
    let answer = service.post(&format!("{collection}/$ref"), link).await;
    assert_eq!(
        answer.refusal(),
        (400, "0x80040203".to_owned()),
        "{}",
        answer.text
    );
    let made = service
        .create(&collection, json!({"name": "Elsewhere"}))
        .await;
    let row = service.read(&format!("accounts({made})")).await;
    assert_eq!(row["_createdby_value"], service.user("# Tieline").await);
}

#[tokio::test]
async fn a_team_and_its_members_are_made() {
    let service = Service::start().await;
    let team = service
        .create("teams", json!({"name": "Night shift"}))
        .await;
    let row = service.read(&format!("teams({team})")).await;
    assert!(
        row["_businessunitid_value"].is_string() && row["_administratorid_value"].is_string(),
        "{row}"
    );
    let alex = service.user("Alex Wilber").await;
    let link = json!({"@odata.id": format!("systemusers({alex})")});
    let members = format!("teams({team})/teammembership_association");
    assert_eq!(
        service.post(&format!("{members}/$ref"), link).await.status,
        204
    );
    assert_eq!(
        service.read(&members).await["value"][0]["fullname"],
        "Alex Wilber"
    );
    let nameless = service.post("teams", json!({})).await;
    assert_eq!(nameless.refusal(), (400, "0x80040203".to_owned()));
    assert_eq!(nameless.message(), "Attribute 'name' cannot be NULL.");
}

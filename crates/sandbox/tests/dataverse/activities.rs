//! Telephone calls and other activities, with their parties.

use serde_json::{Value, json};

use crate::support::Service;

async fn call(service: &Service, contact: &str) -> (String, String) {
    let user = service.user("Alex Wilber").await;
    let body = json!({
        "subject": "Call from +1", "phonenumber": "+1 425 555 0100", "directioncode": false,
        "regardingobjectid_contact_phonecall@odata.bind": format!("/contacts({contact})"),
        "phonecall_activity_parties": [
            {"partyid_contact@odata.bind": format!("/contacts({contact})"), "participationtypemask": 1},
            {"partyid_systemuser@odata.bind": format!("/systemusers({user})"), "participationtypemask": 2},
        ],
    });
    (service.create("phonecalls", body).await, user)
}

#[tokio::test]
async fn a_call_is_logged_with_its_parties() {
    let service = Service::start().await;
    let contact = service
        .create("contacts", json!({"lastname": "Caller"}))
        .await;
    let (id, user) = call(&service, &contact).await;
    let row = service
        .read(&format!(
            "phonecalls({id})?$expand=phonecall_activity_parties"
        ))
        .await;
    assert_eq!(
        (&row["activitytypecode"], &row["directioncode"]),
        (&json!("phonecall"), &json!(false))
    );
    assert_eq!(
        (&row["statecode"], &row["statuscode"]),
        (&json!(0), &json!(1))
    );
    assert_eq!(row["_regardingobjectid_value"], contact);
    let parties = row["phonecall_activity_parties"]
        .as_array()
        .expect("parties");
    let party = |mask: i64| {
        parties
            .iter()
            .find(|party| party["participationtypemask"] == mask)
            .cloned()
            .expect("a party")
    };
    assert_eq!(
        (&party(1)["_partyid_value"], &party(2)["_partyid_value"]),
        (&json!(contact), &json!(user))
    );
    let collection = service
        .read(&format!("phonecalls({id})/phonecall_activity_parties"))
        .await;
    assert_eq!(collection["value"].as_array().map(Vec::len), Some(2));
    let pointer = service
        .read(&format!(
            "activitypointers({id})/activitypointer_activity_parties"
        ))
        .await;
    assert_eq!(pointer["value"].as_array().map(Vec::len), Some(2));
    let all = service
        .read(&format!(
            "activityparties?$filter=_partyid_value eq {contact}"
        ))
        .await;
    assert_eq!(all["value"][0]["_activityid_value"], id);
}

#[tokio::test]
async fn a_call_that_is_completed_ends() {
    let service = Service::start().await;
    let contact = service
        .create("contacts", json!({"lastname": "Caller"}))
        .await;
    let (id, _) = call(&service, &contact).await;
    service.pass(180);
    let path = format!("phonecalls({id})");
    let answer = service
        .patch(
            &path,
            json!({"statecode": 1, "statuscode": 4, "actualdurationminutes": 3}),
        )
        .await;
    assert_eq!(answer.status, 204, "{}", answer.text);
    let row = service.read(&path).await;
    assert_eq!(
        (&row["actualend"], &row["statuscode"]),
        (&json!(service.now()), &json!(4))
    );
    let pointer = service.read(&format!("activitypointers({id})")).await;
    for column in [
        "statecode",
        "actualend",
        "subject",
        "_regardingobjectid_value",
        "activitytypecode",
        "modifiedon",
    ] {
        assert_eq!(pointer[column], row[column], "{column}");
    }
}

#[tokio::test]
async fn an_activity_begins_open_and_outgoing() {
    let service = Service::start().await;
    let id = service
        .create("phonecalls", json!({"subject": "Out"}))
        .await;
    assert_eq!(
        service.read(&format!("phonecalls({id})")).await["directioncode"],
        true
    );
    for body in [
        json!({"subject": "Done", "statecode": 1}),
        json!({"subject": "Done", "statecode": 1, "statuscode": 2}),
    ] {
        assert_eq!(
            service.post("phonecalls", body).await.refusal(),
            (400, "0x80048408".to_owned())
        );
    }
    assert_eq!(
        service
            .create("phonecalls", json!({"subject": "Open", "statecode": 0}))
            .await
            .len(),
        36
    );
}

#[tokio::test]
async fn both_names_of_what_a_call_is_about_are_taken() {
    let service = Service::start().await;
    let contact = service
        .create("contacts", json!({"lastname": "Caller"}))
        .await;
    for name in [
        "regardingobjectid_contact_phonecall",
        "regardingobjectid_contact",
    ] {
        let body =
            json!({"subject": name, format!("{name}@odata.bind"): format!("/contacts({contact})")});
        let id = service.create("phonecalls", body).await;
        let row = service
            .read(&format!(
                "phonecalls({id})?$expand=regardingobjectid_contact_phonecall($select=lastname)"
            ))
            .await;
        assert_eq!(
            row["regardingobjectid_contact_phonecall"]["lastname"], "Caller",
            "{name}"
        );
    }
    assert_eq!(
        service
            .read(&format!("contacts({contact})/Contact_Phonecalls/$count"))
            .await,
        2
    );
    assert_eq!(
        service
            .read(&format!(
                "contacts({contact})/Contact_ActivityPointers/$count"
            ))
            .await,
        2
    );
}

#[tokio::test]
async fn parties_are_replaced_as_a_whole() {
    let service = Service::start().await;
    let contact = service
        .create(
            "contacts",
            json!({"lastname": "Writer", "emailaddress1": "writer@example.com"}),
        )
        .await;
    let email = service.create("emails", json!({"subject": "Hello"})).await;
    let collection = format!("emails({email})/email_activity_parties");
    let party = |mask: i64| json!({"partyid_contact@odata.bind": format!("contacts({contact})"), "participationtypemask": mask});
    let answer = service
        .put(&collection, json!({"value": [party(3), party(2)]}))
        .await;
    assert_eq!(answer.status, 204, "{}", answer.text);
    assert_eq!(
        service.read(&collection).await["value"][0]["addressused"],
        "writer@example.com"
    );
    let body = json!({"email_activity_parties": [party(1), {"addressused": "else@example.com", "participationtypemask": 2}]});
    assert_eq!(
        service
            .patch(&format!("emails({email})"), body)
            .await
            .status,
        204
    );
    let masks: Vec<Value> = service
        .read(&format!("{collection}?$orderby=participationtypemask"))
        .await["value"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| row["participationtypemask"].clone())
        .collect();
    assert_eq!(masks, [json!(1), json!(2)]);
    assert_eq!(
        service.put(&collection, json!({"value": []})).await.status,
        204
    );
    assert_eq!(service.read(&format!("{collection}/$count")).await, 0);
}

#[tokio::test]
async fn what_is_no_party_is_refused() {
    let service = Service::start().await;
    let contact = service
        .create("contacts", json!({"lastname": "Caller"}))
        .await;
    let party = |mask: Value| json!({"partyid_contact@odata.bind": format!("/contacts({contact})"), "participationtypemask": mask});
    for (parties, code) in [
        (json!([party(json!(1)), party(json!(1))]), "0x80040203"),
        (json!([party(json!(77))]), "0x8004431a"),
        (json!([party(json!(null))]), "0x80040203"),
        (json!([{"participationtypemask": 2}]), "0x80040203"),
        (json!(["contacts(1)"]), "0x80048d19"),
        (json!({}), "0x80048d19"),
    ] {
        let answer = service
            .post(
                "phonecalls",
                json!({"subject": "Bad", "phonecall_activity_parties": parties}),
            )
            .await;
        assert_eq!(answer.refusal(), (400, code.to_owned()), "{}", answer.text);
    }
    let two =
        json!({"subject": "Bad", "phonecall_activity_parties": [party(json!(1)), party(json!(1))]});
    assert_eq!(
        service.post("phonecalls", two).await.message(),
        "Communication activity cannot have more than one Sender party"
    );
    assert_eq!(
        service
            .read("phonecalls/$count?$filter=subject eq 'Bad'")
            .await,
        0
    );
    assert_eq!(
        service
            .post("activityparties", party(json!(1)))
            .await
            .refusal(),
        (400, "0x80040800".to_owned())
    );
    assert_eq!(
        service
            .post("activitypointers", json!({"subject": "x"}))
            .await
            .refusal(),
        (400, "0x80040800".to_owned())
    );
}

#[tokio::test]
async fn a_deleted_activity_takes_its_parties_along() {
    let service = Service::start().await;
    let contact = service
        .create("contacts", json!({"lastname": "Caller"}))
        .await;
    let (id, _) = call(&service, &contact).await;
    assert_eq!(
        service.delete(&format!("phonecalls({id})")).await.status,
        204
    );
    assert_eq!(
        service
            .read(&format!(
                "activityparties/$count?$filter=_activityid_value eq {id}"
            ))
            .await,
        0
    );
    assert_eq!(
        service.get(&format!("activitypointers({id})")).await.status,
        404
    );
}

#[tokio::test]
async fn a_note_knows_what_it_is_about() {
    let service = Service::start().await;
    let contact = service
        .create("contacts", json!({"lastname": "Noted"}))
        .await;
    let (call, _) = call(&service, &contact).await;
    let about = |name: &str, row: String| json!({"subject": "N", "documentbody": "aGVsbG8=", "filename": "a.txt", format!("{name}@odata.bind"): row});
    let id = service
        .create(
            "annotations",
            about("objectid_contact", format!("/contacts({contact})")),
        )
        .await;
    let note = service.read(&format!("annotations({id})")).await;
    assert_eq!(
        (
            &note["objecttypecode"],
            &note["filesize"],
            &note["isdocument"]
        ),
        (&json!("contact"), &json!(5), &json!(true))
    );
    let id = service
        .create(
            "annotations",
            about("objectid_phonecall", format!("/phonecalls({call})")),
        )
        .await;
    assert_eq!(
        service.read(&format!("annotations({id})")).await["objecttypecode"],
        "phonecall"
    );
}

#[tokio::test]
async fn what_is_planned_has_a_length() {
    let service = Service::start().await;
    let body = json!({"subject": "Meet", "scheduledstart": "2024-05-14T10:00:00Z", "scheduledend": "2024-05-14T11:30:00Z"});
    let path = format!(
        "appointments({})",
        service.create("appointments", body).await
    );
    assert_eq!(service.read(&path).await["scheduleddurationminutes"], 90);
    service
        .patch(&path, json!({"scheduledend": "2024-05-14T12:00:00+01:00"}))
        .await;
    assert_eq!(service.read(&path).await["scheduleddurationminutes"], 60);
}

#[tokio::test]
async fn rows_of_the_seed_are_furnished_as_new_ones_are() {
    let service = Service::start().await;
    let contact = service.read("contacts?$top=1").await["value"][0].clone();
    assert_eq!(
        (&contact["donotbulkemail"], &contact["followemail"]),
        (&json!(false), &json!(true))
    );
    assert!(contact["address1_composite"].is_string(), "{contact}");
    let account = service.read("accounts?$top=1").await["value"][0].clone();
    assert_eq!(account["revenue"], account["revenue_base"]);
    let calls = service.read("phonecalls/$count").await;
    assert_eq!(
        service
            .read("activitypointers/$count?$filter=activitytypecode eq 'phonecall'")
            .await,
        calls
    );
}

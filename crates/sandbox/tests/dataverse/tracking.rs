//! Changes since a moment, by delta links.

use reqwest::Method;
use serde_json::{Value, json};

use crate::reading::{names, preferring};
use crate::support::{Answer, Service};

#[tokio::test]
async fn a_delta_link_tells_what_was_changed_made_and_deleted() {
    let service = Service::start().await;
    let track = [("Prefer", "odata.track-changes")];
    let kept = service.create("accounts", json!({"name": "kept"})).await;
    let gone = service.create("accounts", json!({"name": "gone"})).await;
    let first = service
        .send(Method::GET, "accounts?$select=name", &track, None)
        .await;
    assert_eq!(first.header("preference-applied"), "odata.track-changes");
    let link = first.json()["@odata.deltaLink"]
        .as_str()
        .expect("a link")
        .to_owned();
    assert_eq!(service.read(&link).await["value"], json!([]));
    service
        .patch(&format!("accounts({kept})"), json!({"name": "changed"}))
        .await;
    service.delete(&format!("accounts({gone})")).await;
    service.create("accounts", json!({"name": "made"})).await;
    let changes = service.read(&link).await;
    assert_eq!(names(&changes), ["changed", "made", ""], "{changes}");
    let deleted = &changes["value"][2];
    assert_eq!(
        (&deleted["id"], &deleted["reason"]),
        (&json!(gone), &json!("deleted"))
    );
    assert!(
        deleted["@odata.context"]
            .as_str()
            .expect("a context")
            .ends_with("#accounts/$deletedEntity")
    );
    let next = changes["@odata.deltaLink"].as_str().expect("a link");
    assert_eq!(service.read(next).await["value"], json!([]));
}

#[tokio::test]
async fn tracking_goes_on_over_pages_and_begins_at_the_first() {
    let service = Service::start().await;
    let preference = "odata.track-changes,odata.maxpagesize=5";
    let first = preferring(&service, "contacts?$select=lastname", preference)
        .await
        .json();
    assert!(first.get("@odata.deltaLink").is_none(), "{first}");
    // It happens while the pages are read: the delta link must tell it.
    let id = first["value"][0]["contactid"]
        .as_str()
        .expect("a key")
        .to_owned();
    service
        .patch(&format!("contacts({id})"), json!({"lastname": "Meanwhile"}))
        .await;
    let mut page = first;
    while let Some(next) = page["@odata.nextLink"].as_str().map(str::to_owned) {
        page = preferring(&service, &next, preference).await.json();
    }
    let link = page["@odata.deltaLink"]
        .as_str()
        .expect("a delta link")
        .to_owned();
    let changes = service.read(&link).await;
    assert_eq!(changes["value"][0]["lastname"], "Meanwhile", "{changes}");
}

#[tokio::test]
async fn tokens_that_were_not_given_are_refused() {
    let service = Service::start().await;
    let wrong = service.get("contacts?$deltatoken=xyz").await;
    assert_eq!(wrong.status, 400, "{}", wrong.text);
    let old = service
        .get("contacts?$deltatoken=1%2108%2f22%2f2017%2008%3a10%3a44")
        .await;
    assert_eq!(old.refusal(), (400, "0x80044352".to_owned()));
    for option in [
        "$filter=firstname eq 'a'",
        "$top=3",
        "$orderby=fullname",
        "$expand=parentcustomerid_account",
    ] {
        let answer = preferring(
            &service,
            &format!("contacts?{option}"),
            "odata.track-changes",
        )
        .await;
        assert_eq!(answer.status, 400, "{option}");
    }
}

#[tokio::test]
async fn a_delta_token_ends_after_seven_days() {
    let service = Service::start().await;
    let first = preferring(&service, "accounts?$select=name", "odata.track-changes")
        .await
        .json();
    let link = first["@odata.deltaLink"]
        .as_str()
        .expect("a link")
        .to_owned();
    let path = link
        .split_once("/v9.2/")
        .map(|(_, path)| path.to_owned())
        .expect("a path");
    // A token of an hour lives shorter than that: the address alone is what is kept.
    let day = 86_400;
    service.pass(8 * day);
    let answer = renewed(&service, &path).await;
    assert_eq!(answer.refusal(), (400, "0x80044352".to_owned()));
}

/// Reads with a token of this moment.
async fn renewed(service: &Service, path: &str) -> Answer {
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", crate::support::APPLICATION),
        ("client_secret", crate::support::SECRET),
        ("scope", &format!("{}/.default", service.sandbox.origin())),
    ];
    let url = format!(
        "{}/{}/oauth2/v2.0/token",
        service.sandbox.origin(),
        crate::support::TENANT
    );
    let token: Value = service
        .http
        .post(url)
        .form(&form)
        .send()
        .await
        .expect("an answer")
        .json()
        .await
        .expect("JSON");
    let token = token["access_token"].as_str().expect("a token");
    let answer = service
        .http
        .get(service.url(path))
        .bearer_auth(token)
        .send()
        .await
        .expect("an answer");
    Answer {
        status: answer.status().as_u16(),
        headers: answer.headers().clone(),
        text: answer.text().await.expect("text"),
    }
}

#[tokio::test]
async fn many_changes_come_in_pages_and_each_of_them_once() {
    let service = Service::start().await;
    let track = [("Prefer", "odata.track-changes")];
    let first = service
        .send(Method::GET, "accounts?$select=name", &track, None)
        .await;
    let link = first.json()["@odata.deltaLink"].clone();
    let mut wanted = Vec::new();
    for number in 0..7 {
        let id = service
            .create("accounts", json!({"name": format!("new {number}")}))
            .await;
        if number % 3 == 0 {
            service.delete(&format!("accounts({id})")).await;
        }
        wanted.push(id.to_string());
    }
    let (mut found, mut pages) = (Vec::new(), 0);
    let mut next = link.as_str().map(str::to_owned);
    while let Some(link) = next {
        let page = preferring(&service, &link, "odata.maxpagesize=2")
            .await
            .json();
        for row in page["value"].as_array().expect("changes") {
            let id = row["accountid"].as_str().or(row["id"].as_str());
            found.push(id.expect("a key").to_owned());
        }
        pages += 1;
        next = page["@odata.nextLink"].as_str().map(str::to_owned);
        assert!(
            next.is_some() || page["@odata.deltaLink"].is_string(),
            "{page}"
        );
    }
    found.sort();
    wanted.sort();
    assert_eq!(found, wanted);
    assert_eq!(pages, 2);
}

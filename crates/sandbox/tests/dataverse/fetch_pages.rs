//! Pages of FetchXML: by cookies, by counting off, and their totals.

use serde_json::Value;

use crate::fetch::{fetch, odata, rows, texts};
use crate::support::{ANNOTATED, Service};

const PAGING: (&str, &str) = (
    "Prefer",
    "odata.include-annotations=\"Microsoft.Dynamics.CRM.fetchxmlpagingcookie,Microsoft.Dynamics.CRM.morerecords\"",
);
const COOKIE: &str = "@Microsoft.Dynamics.CRM.fetchxmlpagingcookie";
const MORE: &str = "@Microsoft.Dynamics.CRM.morerecords";

/// The inner cookie as clients take it out, ready to stand in an attribute.
fn inner(answer: &Value) -> String {
    let outer = answer[COOKIE].as_str().expect("a cookie").to_owned();
    let encoded = outer
        .split("pagingcookie=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("the inner cookie");
    let decode = |text: &str| {
        percent_encoding::percent_decode_str(text)
            .decode_utf8_lossy()
            .into_owned()
    };
    let text = decode(&decode(encoded));
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[tokio::test]
async fn pages_follow_their_cookies_to_the_last_row() {
    let service = Service::start().await;
    let (mut seen, mut cookie, mut page) = (Vec::new(), String::new(), 1);
    loop {
        let xml = format!(
            "<fetch count='5' page='{page}' {cookie}><entity name='contact'><attribute name='fullname'/>\
            <order attribute='parentcustomerid'/><order attribute='jobtitle' descending='true'/></entity></fetch>"
        );
        let answer = fetch(&service, "contacts", &xml, &[PAGING]).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let answer = answer.json();
        seen.extend(texts(
            answer["value"].as_array().expect("rows"),
            "contactid",
        ));
        if answer.get(MORE).is_none() {
            assert!(answer.get(COOKIE).is_none());
            break;
        }
        cookie = format!("paging-cookie=\"{}\"", inner(&answer));
        page += 1;
    }
    let whole = rows(&service, "contacts", "<fetch><entity name='contact'><attribute name='fullname'/>\
        <order attribute='parentcustomerid'/><order attribute='jobtitle' descending='true'/></entity></fetch>").await;
    assert_eq!(page, 3);
    assert_eq!(seen, texts(&whole, "contactid"));
}

#[tokio::test]
async fn pages_without_cookies_are_counted_off() {
    let service = Service::start().await;
    let xml = |page: u32| {
        format!(
            "<fetch count='5' page='{page}'><entity name='contact'><attribute name='fullname'/></entity></fetch>"
        )
    };
    let mut seen = Vec::new();
    for page in 1..=4 {
        seen.extend(texts(
            &rows(&service, "contacts", &xml(page)).await,
            "contactid",
        ));
    }
    let whole = odata(&service, "contacts?$select=contactid&$orderby=contactid").await;
    assert_eq!(seen, texts(&whole, "contactid"));
    let (status, code) = fetch(
        &service,
        "contacts",
        "<fetch count='5000' page='12'><entity name='contact'/></fetch>",
        &[],
    )
    .await
    .refusal();
    assert_eq!((status, code.as_str()), (400, "0x8004430a"));
}

#[tokio::test]
async fn pages_of_joined_rows_lose_none_of_them() {
    let service = Service::start().await;
    let query = |rest: &str| {
        format!(
            "<fetch {rest}><entity name='account'><attribute name='name'/><link-entity name='contact' from='parentcustomerid' to='accountid' alias='c'>\
            <attribute name='contactid'/></link-entity></entity></fetch>"
        )
    };
    let whole = texts(&rows(&service, "accounts", &query("")).await, "c.contactid");
    let (mut seen, mut cookie, mut page) = (Vec::new(), String::new(), 1);
    loop {
        let answer = fetch(
            &service,
            "accounts",
            &query(&format!("count='1' page='{page}' {cookie}")),
            &[PAGING],
        )
        .await
        .json();
        seen.extend(texts(
            answer["value"].as_array().expect("rows"),
            "c.contactid",
        ));
        if answer.get(MORE).is_none() {
            break;
        }
        cookie = format!("paging-cookie=\"{}\"", inner(&answer));
        page += 1;
    }
    assert_eq!(seen, whole);
}

#[tokio::test]
async fn totals_come_when_they_are_asked_for() {
    let service = Service::start().await;
    let xml = "<fetch count='2' returntotalrecordcount='true'><entity name='contact'><attribute name='fullname'/></entity></fetch>";
    let answer = fetch(&service, "contacts", xml, &[ANNOTATED]).await.json();
    assert_eq!(answer["@odata.count"], 12);
    assert_eq!(answer["@Microsoft.Dynamics.CRM.totalrecordcount"], 12);
    assert_eq!(
        answer["@Microsoft.Dynamics.CRM.totalrecordcountlimitexceeded"],
        false
    );
    let without =
        "<fetch count='2'><entity name='contact'><attribute name='fullname'/></entity></fetch>";
    let answer = fetch(&service, "contacts", without, &[ANNOTATED])
        .await
        .json();
    assert_eq!(
        (
            answer.get("@odata.count"),
            &answer["@Microsoft.Dynamics.CRM.totalrecordcount"]
        ),
        (None, &Value::from(-1))
    );
}

#[tokio::test]
async fn a_cookie_of_another_query_is_refused() {
    let service = Service::start().await;
    for cookie in [
        "&lt;cookie page=&quot;1&quot;&gt;&lt;name last=&quot;x&quot;/&gt;&lt;/cookie&gt;",
        "&lt;broken",
    ] {
        let xml = format!(
            "<fetch count='2' page='2' paging-cookie='{cookie}'><entity name='contact'/></fetch>"
        );
        let (status, code) = fetch(&service, "contacts", &xml, &[]).await.refusal();
        assert_eq!((status, code.as_str()), (400, "0x80040203"), "{cookie}");
    }
}

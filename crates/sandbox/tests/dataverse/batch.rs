//! `$batch`: single operations, change sets, references, failures.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Service};

const KIND: &str = "multipart/mixed; boundary=\"batch_1\"";

/// A part of an answer: its own headers, the status line, the headers behind it, the body.
#[derive(Debug)]
struct Part {
    outer: String,
    status: u16,
    inner: String,
    body: String,
}

impl Part {
    fn parse(text: &str) -> Self {
        let mut pieces = text.splitn(3, "\r\n\r\n");
        let (outer, head, body) = (pieces.next(), pieces.next(), pieces.next());
        let head = head.unwrap_or_default();
        let (line, inner) = head.split_once("\r\n").unwrap_or((head, ""));
        let status = line.split(' ').nth(1).and_then(|text| text.parse().ok());
        Self {
            outer: outer.unwrap_or_default().to_owned(),
            status: status.unwrap_or_else(|| panic!("no status line in {text}")),
            inner: inner.to_owned(),
            body: body.unwrap_or_default().trim_end().to_owned(),
        }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    fn code(&self) -> String {
        self.json()["error"]["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

/// The operations' answers in their order, those of change sets among them.
fn parts(answer: &Answer) -> Vec<Part> {
    let kind = answer.header("content-type");
    let boundary = kind
        .split_once("boundary=")
        .unwrap_or_else(|| panic!("no batch: {answer:?}"))
        .1;
    assert!(boundary.starts_with("batchresponse_"), "{kind}");
    assert!(
        answer.text.starts_with(&format!("--{boundary}\r\n")),
        "{}",
        answer.text
    );
    let mut all = Vec::new();
    for part in split(&answer.text, boundary) {
        match part.split_once("boundary=changesetresponse_") {
            Some((_, rest)) => {
                let (id, _) = rest.split_once("\r\n").expect("a line");
                all.extend(
                    split(part, &format!("changesetresponse_{id}"))
                        .into_iter()
                        .map(Part::parse),
                );
            }
            None => all.push(Part::parse(part)),
        }
    }
    all
}

fn split<'a>(text: &'a str, boundary: &str) -> Vec<&'a str> {
    let (text, _) = text
        .split_once(&format!("--{boundary}--\r\n"))
        .expect("an end");
    text.split(&format!("--{boundary}\r\n")).skip(1).collect()
}

async fn send(service: &Service, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut request = service
        .http
        .request(Method::POST, service.url("$batch"))
        .bearer_auth(&service.token);
    if !headers.iter().any(|(name, _)| *name == "Content-Type") {
        request = request.header("Content-Type", KIND);
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request
        .body(body.to_owned())
        .send()
        .await
        .expect("an answer");
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    Answer {
        status,
        headers,
        text: answer.text().await.expect("text"),
    }
}

fn single(request: &str) -> String {
    format!(
        "--batch_1\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n{request}\r\n"
    )
}

fn reading(address: &str) -> String {
    single(&format!(
        "GET {address} HTTP/1.1\r\nAccept: application/json\r\n"
    ))
}

fn change_set(requests: &[(&str, String)]) -> String {
    let mut text =
        "--batch_1\r\nContent-Type: multipart/mixed; boundary=\"changeset_1\"\r\n\r\n".to_owned();
    for (id, request) in requests {
        let head = "Content-Type: application/http\r\nContent-Transfer-Encoding: binary";
        text.push_str(&format!(
            "--changeset_1\r\n{head}\r\nContent-ID: {id}\r\n\r\n{request}\r\n"
        ));
    }
    text.push_str("--changeset_1--\r\n");
    text
}

fn writing(method: &str, address: &str, body: &Value) -> String {
    format!(
        "{method} {address} HTTP/1.1\r\nContent-Type: application/json; type=entry\r\n\r\n{body}"
    )
}

fn ended(parts: &[String]) -> String {
    format!("{}--batch_1--\r\n", parts.concat())
}

#[tokio::test]
async fn reads_take_addresses_of_every_form() {
    let service = Service::start().await;
    let body = ended(&[
        reading(&service.url("contacts?$top=1&$select=fullname")),
        reading("/api/data/v9.2/contacts?$top=1&$select=fullname"),
        reading("/d/acme/api/data/v9.0/contacts?$top=1&$select=fullname"),
        reading("contacts?$top=1&$select=fullname&$orderby=fullname desc"),
    ]);
    let answer = send(&service, &[], &body).await;
    assert_eq!(
        (answer.status, answer.header("odata-version")),
        (200, "4.0")
    );
    let parts = parts(&answer);
    assert_eq!(parts.len(), 4);
    for part in &parts {
        assert_eq!(part.status, 200, "{part:?}");
        assert_eq!(part.json()["value"].as_array().map(Vec::len), Some(1));
        let inner = &part.inner;
        assert!(
            inner.contains(
                "Content-Type: application/json; odata.metadata=minimal; odata.streaming=true"
            ),
            "{inner}"
        );
        assert!(inner.contains("OData-Version: 4.0"), "{inner}");
    }
    let context = parts[2].json()["@odata.context"]
        .as_str()
        .expect("a context")
        .to_owned();
    assert!(context.contains("/api/data/v9.0/$metadata"), "{context}");
}

#[tokio::test]
async fn bare_line_feeds_and_no_version_are_taken() {
    let service = Service::start().await;
    let body =
        ended(&[reading("contacts/$count"), single("GET contacts?$top=1")]).replace("\r\n", "\n");
    let answer = send(
        &service,
        &[("Content-Type", "multipart/mixed;boundary=batch_1")],
        &body,
    )
    .await;
    let parts = parts(&answer);
    assert_eq!((parts[0].status, parts[0].body.as_str()), (200, "12"));
    assert_eq!(parts[1].status, 200);
}

#[tokio::test]
async fn the_first_failure_ends_a_batch() {
    let service = Service::start().await;
    let body = ended(&[
        reading("contacts?$top=1"),
        reading("contacts?$select=nothing"),
        reading("contacts?$top=1"),
    ]);
    let answer = send(&service, &[], &body).await;
    let parts = parts(&answer);
    assert_eq!((answer.status, parts.len()), (400, 2));
    assert_eq!(
        (parts[1].status, parts[1].code().as_str()),
        (400, "0x80060888")
    );
    assert!(
        parts[1].inner.contains("REQ_ID: ") && !parts[1].inner.contains("streaming"),
        "{:?}",
        parts[1]
    );
}

#[tokio::test]
async fn a_batch_goes_on_after_errors_when_asked() {
    let service = Service::start().await;
    let body = ended(&[reading("nothings"), reading("contacts?$top=1")]);
    for preference in [
        "odata.continue-on-error",
        "odata.include-annotations=\"*\",odata.continue-on-error=true",
    ] {
        let answer = send(&service, &[("Prefer", preference)], &body).await;
        let parts = parts(&answer);
        assert_eq!(
            (answer.status, parts[0].status, parts[1].status),
            (200, 404, 200)
        );
    }
    let answer = send(
        &service,
        &[("Prefer", "odata.continue-on-error=false")],
        &body,
    )
    .await;
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn annotations_asked_of_the_batch_are_given_in_its_parts() {
    let service = Service::start().await;
    let body = ended(&[reading("contacts?$top=1&$select=createdon")]);
    let formatted = "createdon@OData.Community.Display.V1.FormattedValue";
    let with = send(
        &service,
        &[("Prefer", "odata.include-annotations=\"*\"")],
        &body,
    )
    .await;
    assert!(
        parts(&with)[0].json()["value"][0][formatted].is_string(),
        "{}",
        with.text
    );
    let without = send(&service, &[], &body).await;
    assert!(parts(&without)[0].json()["value"][0][formatted].is_null());
}

#[tokio::test]
async fn what_is_no_batch_is_refused_whole() {
    let service = Service::start().await;
    let json = [("Content-Type", "application/json")];
    let answer = send(
        &service,
        &json,
        r#"{"requests":[{"id":"1","method":"GET","url":"contacts"}]}"#,
    )
    .await;
    assert_eq!(answer.refusal(), (400, "0x80060888".to_owned()));
    assert!(
        answer.message().contains("multipart/mixed"),
        "{}",
        answer.message()
    );
    let nested = ended(&[single(
        "POST $batch HTTP/1.1\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x--",
    )]);
    let answer = send(&service, &[], &nested).await;
    assert_eq!((answer.status, parts(&answer)[0].status), (400, 400));
    let answer = service.get("$batch").await;
    assert_eq!(answer.refusal(), (405, "0x80060888".to_owned()));
}

#[tokio::test]
async fn change_sets_that_cannot_be_read_are_refused_before_anything_is_done() {
    let service = Service::start().await;
    let set = change_set(&[("1", "GET contacts HTTP/1.1".to_owned())]);
    let answer = send(&service, &[], &ended(&[reading("contacts"), set.clone()])).await;
    assert_eq!(answer.refusal(), (400, "0x80060888".to_owned()));
    assert!(
        answer
            .message()
            .contains("'GET' was detected for a request in a change set")
    );
    let without_id = set
        .replace("GET", "DELETE")
        .replace("Content-ID: 1\r\n", "");
    let answer = send(&service, &[], &ended(&[without_id])).await;
    assert!(
        answer.message().contains("Content-ID"),
        "{}",
        answer.message()
    );
}

#[tokio::test]
async fn a_thousand_operations_are_the_most() {
    let service = Service::start().await;
    let mut requests = vec![reading("RetrieveVersion()"); 1_000];
    let answer = send(&service, &[], &ended(&requests)).await;
    assert_eq!((answer.status, parts(&answer).len()), (200, 1_000));
    requests.push(reading("RetrieveVersion()"));
    let answer = send(&service, &[], &ended(&requests)).await;
    assert_eq!(answer.status, 400);
    assert!(
        answer
            .message()
            .contains("maximum number of '1000' query operations"),
        "{}",
        answer.message()
    );
}

#[tokio::test]
async fn addresses_too_long_for_a_request_of_their_own_are_read() {
    let service = Service::start().await;
    let filter = vec!["fullname eq 'Nobody At All'"; 1_500].join(" or ");
    assert!(filter.len() > 40_000);
    let answer = send(
        &service,
        &[],
        &ended(&[reading(&format!("contacts?$filter={filter}"))]),
    )
    .await;
    assert_eq!(
        parts(&answer)[0].json()["value"],
        json!([]),
        "{}",
        answer.text
    );
}

#[tokio::test]
async fn a_change_set_is_kept_whole() {
    let service = Service::start().await;
    let set = change_set(&[
        (
            "1",
            writing(
                "POST",
                "/api/data/v9.2/accounts",
                &json!({"name": "Graphic Design"}),
            ),
        ),
        (
            "2",
            writing(
                "POST",
                "contacts",
                &json!({"lastname": "Alpha", "parentcustomerid_account@odata.bind": "$1"}),
            ),
        ),
        (
            "3",
            writing("PUT", "$2/lastname", &json!({"value": "Beta"})),
        ),
        (
            "4",
            writing(
                "PUT",
                "$1/primarycontactid/$ref",
                &json!({"@odata.id": "$2"}),
            ),
        ),
        ("5", writing("PATCH", "/$1", &json!({"telephone1": "1"}))),
    ]);
    let list = reading(
        "contacts?$select=lastname&$filter=lastname eq 'Beta'&$expand=parentcustomerid_account($select=telephone1,_primarycontactid_value)",
    );
    let answer = send(&service, &[], &ended(&[set, list])).await;
    let parts = parts(&answer);
    assert_eq!((answer.status, parts.len()), (200, 6), "{}", answer.text);
    for (index, part) in parts.iter().take(5).enumerate() {
        assert_eq!(part.status, 204, "{part:?}");
        assert!(
            part.outer.contains(&format!("Content-ID: {}", index + 1)),
            "{part:?}"
        );
        assert!(part.inner.starts_with("OData-Version: 4.0"), "{part:?}");
    }
    let made = format!("OData-EntityId: {}", service.url("accounts("));
    assert!(
        parts[0].inner.contains(&made) && parts[0].inner.contains("\r\nLocation: https://"),
        "{:?}",
        parts[0]
    );
    assert!(!parts[2].inner.contains("OData-EntityId"), "{:?}", parts[2]);
    let contact = parts[5].json()["value"][0].clone();
    let account = &contact["parentcustomerid_account"];
    assert_eq!(
        (&account["telephone1"], &account["_primarycontactid_value"]),
        (&json!("1"), &contact["contactid"])
    );
}

#[tokio::test]
async fn a_change_set_that_fails_leaves_nothing() {
    let service = Service::start().await;
    let set = change_set(&[
        (
            "1",
            writing("POST", "accounts", &json!({"name": "Nobody's"})),
        ),
        (
            "2",
            writing("POST", "accounts", &json!({"nothing": "at all"})),
        ),
    ]);
    let after = single(&writing("POST", "accounts", &json!({"name": "Somebody's"})));
    let count = "accounts/$count?$filter=endswith(name,'body''s')";
    let answer = send(&service, &[], &ended(&[set.clone(), after.clone()])).await;
    let failed = parts(&answer);
    assert_eq!(
        (answer.status, failed.len(), failed[0].status),
        (400, 1, 400),
        "{}",
        answer.text
    );
    assert!(
        failed[0].outer.contains("Content-ID: 2") && !answer.text.contains("changesetresponse")
    );
    assert_eq!(service.get(count).await.text, "0");
    let answer = send(
        &service,
        &[("Prefer", "odata.continue-on-error")],
        &ended(&[set, after]),
    )
    .await;
    let both = parts(&answer);
    assert_eq!(
        (answer.status, both[0].status, both[1].status),
        (200, 400, 204),
        "{}",
        answer.text
    );
    assert_eq!(service.get(count).await.text, "1");
}

#[tokio::test]
async fn a_reference_to_what_is_not_there_is_refused() {
    let service = Service::start().await;
    let bound =
        json!({"phonenumber": "911", "regardingobjectid_account_phonecall@odata.bind": "$1"});
    let set = change_set(&[
        ("2", writing("POST", "phonecalls", &bound)),
        (
            "1",
            writing("POST", "accounts", &json!({"name": "Too late"})),
        ),
    ]);
    let answer = send(&service, &[], &ended(&[set])).await;
    let part = &parts(&answer)[0];
    assert_eq!((answer.status, part.status), (400, 400));
    assert_eq!(
        part.json()["error"]["message"],
        "Content-ID Reference: '$1' does not exist in the batch context."
    );
    assert_eq!(
        service
            .get("accounts/$count?$filter=name eq 'Too late'")
            .await
            .text,
        "0"
    );
}

#[tokio::test]
async fn a_row_that_is_given_back_can_be_referred_to() {
    let service = Service::start().await;
    let body = json!({"name": "Shown"});
    let create = format!(
        "POST accounts?$select=name HTTP/1.1\r\nContent-Type: application/json\r\nPrefer: return=representation\r\n\r\n{body}"
    );
    let set = change_set(&[
        ("a1", create),
        ("b", writing("PATCH", "$a1", &json!({"name": "Renamed"}))),
    ]);
    let answer = send(&service, &[], &ended(&[set])).await;
    let parts = parts(&answer);
    assert_eq!(
        (parts[0].status, parts[1].status),
        (201, 204),
        "{}",
        answer.text
    );
    assert!(
        parts[0]
            .inner
            .contains("Preference-Applied: return=representation"),
        "{:?}",
        parts[0]
    );
    let id = parts[0].json()["accountid"]
        .as_str()
        .expect("a key")
        .to_owned();
    assert_eq!(
        service.read(&format!("accounts({id})?$select=name")).await["name"],
        "Renamed"
    );
}

#[tokio::test]
async fn a_batch_is_done_in_the_name_that_its_headers_say() {
    let service = Service::start().await;
    let alex = service.user("Alex Wilber").await;
    let body = ended(&[
        single(&writing("POST", "contacts", &json!({"lastname": "Hers"}))),
        reading("WhoAmI"),
    ]);
    let answer = send(&service, &[("MSCRMCallerID", alex.as_str())], &body).await;
    assert_eq!(parts(&answer)[1].json()["UserId"], alex, "{}", answer.text);
    let row = service
        .read("contacts?$filter=lastname eq 'Hers'&$select=_createdby_value")
        .await;
    assert_eq!(row["value"][0]["_createdby_value"], alex);
}

#[tokio::test]
async fn conditions_and_bulk_messages_stand_in_batches() {
    let service = Service::start().await;
    let id = service.create("accounts", json!({"name": "Once"})).await;
    let missing = format!(
        "PATCH accounts({}) HTTP/1.1\r\nIf-Match: *\r\nContent-Type: application/json\r\n\r\n{{}}",
        uuid()
    );
    let targets =
        json!({"Targets": [{"@odata.type": "Microsoft.Dynamics.CRM.account", "name": "Twice"}]});
    let body = ended(&[
        single(&writing(
            "POST",
            "accounts/Microsoft.Dynamics.CRM.CreateMultiple",
            &targets,
        )),
        single(&missing),
        single(&format!("DELETE accounts({id}) HTTP/1.1\r\n")),
    ]);
    let answer = send(&service, &[("Prefer", "odata.continue-on-error")], &body).await;
    let statuses: Vec<u16> = parts(&answer).iter().map(|part| part.status).collect();
    assert_eq!(statuses, [200, 404, 204], "{}", answer.text);
}

fn uuid() -> &'static str {
    "00000000-0000-0000-0000-0000000000aa"
}

/// Published batches, with the files that hold them.
fn published() -> Vec<Value> {
    let own = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let found = own
        .ancestors()
        .map(|folder| folder.join("shared/data"))
        .find(|folder| folder.is_dir());
    let Some(folder) = found else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for file in ["webapi-examples.jsonl", "webapi-requests.jsonl"] {
        let text = std::fs::read_to_string(folder.join(file)).expect("examples");
        all.extend(
            text.lines()
                .map(|line| serde_json::from_str::<Value>(line).expect("an example")),
        );
    }
    // One page lost the spaces of its request lines and a part of an identifier.
    all.retain(|example| {
        example["area"] == "batch" && !example["request"]["body"].to_string().contains("POST[Org")
    });
    all
}

fn inner_statuses(text: &str) -> Vec<&str> {
    text.lines()
        .filter_map(|line| line.strip_prefix("HTTP/1.1 ")?.split(' ').next())
        .collect()
}

#[tokio::test]
async fn published_batches_are_answered_as_printed() {
    for example in published() {
        let service = Service::start().await;
        let account = "accounts(00000000-0000-0000-0000-000000000001)";
        service.patch(account, json!({"name": "Published"})).await;
        let (request, response) = (&example["request"], &example["response"]);
        let body = request["body"]
            .as_str()
            .expect("a body")
            .replace("[Organization URI]", service.sandbox.origin());
        // One page prints the header among the lines of the body.
        let kind = body
            .lines()
            .find_map(|line| line.strip_prefix("Content-Type:"))
            .unwrap_or_default()
            .trim()
            .to_owned();
        let mut headers: Vec<(&str, &str)> = vec![("Content-Type", kind.as_str())];
        for (name, value) in request["headers"].as_object().expect("headers") {
            headers.retain(|(known, _)| known != name);
            headers.push((name, value.as_str().unwrap_or_default()));
        }
        let answer = send(&service, &headers, &body.replace('\n', "\r\n")).await;
        let id = &example["id"];
        assert_eq!(answer.status, 200, "{id}: {}", answer.text);
        let statuses = inner_statuses(&answer.text);
        match response["body"].as_str() {
            Some(printed) => assert_eq!(statuses, inner_statuses(printed), "{id}: {}", answer.text),
            None => assert!(
                !statuses.is_empty() && statuses.iter().all(|status| *status == "204"),
                "{id}: {}",
                answer.text
            ),
        }
    }
}

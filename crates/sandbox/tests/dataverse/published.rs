//! Requests that Microsoft published, with the answers that it printed.

use std::path::{Path, PathBuf};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::Service;

/// Where the published examples lie, when they are there.
fn examples() -> Option<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors()
        .map(|folder| folder.join("shared/data/webapi-examples.jsonl"))
        .find(|file| file.is_file())
}

/// Writes of rows that the sandbox's own tables can take: no elastic tables, no custom columns.
fn is_ours(example: &Value) -> bool {
    let area = example["area"].as_str().unwrap_or_default();
    let method = example["request"]["method"].as_str().unwrap_or_default();
    let url = example["request"]["url"].as_str().unwrap_or_default();
    let text = example["request"]["body"].to_string();
    let title = example["title"].as_str().unwrap_or_default();
    matches!(
        area,
        "CRUD" | "conditional" | "associate" | "duplicate-detection" | "impersonation"
    ) && method != "GET"
        && !title.contains("plug-in abort")
        && ["contoso_sensordatas", "webresourceset", "BulkDetect"]
            .iter()
            .all(|other| !url.contains(other))
        && !text.contains("sample_")
}

/// Rows that a text names, such as `contacts(…)`.
fn named(text: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (at, _) in text.match_indices('(') {
        let set: String = text[..at]
            .chars()
            .rev()
            .take_while(|c| c.is_ascii_lowercase())
            .collect();
        let set: String = set.chars().rev().collect();
        let key: String = text[at + 1..].chars().take_while(|c| *c != ')').collect();
        let known = [
            "accounts",
            "contacts",
            "opportunities",
            "tasks",
            "emails",
            "competitors",
            "leads",
        ];
        if known.contains(&set.as_str()) && key.len() == 36 {
            all.push((set, key));
        }
    }
    all
}

async fn run(service: &Service, example: &Value) -> (u16, u16, String) {
    let (request, response) = (&example["request"], &example["response"]);
    let local = |text: &str| {
        let at = text.find("/api/data/v9.");
        at.map_or_else(
            || text.to_owned(),
            |at| service.url(text[at..].splitn(5, '/').nth(4).unwrap_or_default()),
        )
    };
    let url = local(request["url"].as_str().expect("a URL"));
    let wanted = response["status"].as_u64().expect("a status") as u16;
    if wanted != 404 {
        for (set, key) in named(&format!("{url} {}", request["body"])) {
            let title = if set == "contacts" || set == "leads" {
                "lastname"
            } else {
                "name"
            };
            let title = if set == "tasks" || set == "emails" {
                "subject"
            } else {
                title
            };
            let made = service
                .patch(&format!("{set}({key})"), json!({title: "Published"}))
                .await;
            assert_eq!(made.status, 204, "{set}({key}): {}", made.text);
        }
    }
    if let Some((collection, linked)) = url.split_once("/$ref?$id=") {
        service
            .send(
                Method::POST,
                &format!("{collection}/$ref"),
                &[],
                Some(&json!({"@odata.id": linked})),
            )
            .await;
    }
    let alex = service
        .read("systemusers?$filter=fullname eq 'Alex Wilber'")
        .await;
    let alex = alex["value"][0]["azureactivedirectoryobjectid"]
        .as_str()
        .expect("an identifier")
        .to_owned();
    let headers = request["headers"].as_object().cloned().unwrap_or_default();
    let headers: Vec<(&str, &str)> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default()))
        .map(|(name, value)| {
            if name == "CallerObjectId" {
                (name, alex.as_str())
            } else {
                (name, value)
            }
        })
        .filter(|(name, _)| {
            !name.eq_ignore_ascii_case("content-length") && !name.eq_ignore_ascii_case("host")
        })
        .collect();
    let body = Some(&request["body"]).filter(|body| !body.is_null());
    let method = request["method"]
        .as_str()
        .expect("a method")
        .parse()
        .expect("a method");
    let answer = service.send(method, &url, &headers, body).await;
    for name in ["OData-EntityId", "Preference-Applied"] {
        let printed = response["headers"].get(name).is_some();
        assert!(
            !printed || !answer.header(name).is_empty(),
            "{}: {name}: {}",
            example["id"],
            answer.text
        );
    }
    // What was printed in 2020 as a fault of the server is one of the caller today.
    (
        if wanted == 500 { 412 } else { wanted },
        answer.status,
        answer.text,
    )
}

#[tokio::test]
async fn published_writes_are_answered_as_they_were_printed() {
    let Some(file) = examples() else { return };
    let text = std::fs::read_to_string(file).expect("the examples");
    let mut count = 0;
    for line in text.lines() {
        let example: Value = serde_json::from_str(line).expect("JSON");
        if !is_ours(&example) {
            continue;
        }
        // Each has rows of its own: the same identifiers stand for other rows elsewhere.
        let service = Service::start().await;
        if example["area"] == "duplicate-detection" {
            let twin = json!({"lastname": "Orton", "emailaddress1": "monteorton@example.com"});
            service.create("leads", twin).await;
        }
        let (wanted, status, text) = run(&service, &example).await;
        assert_eq!(
            status, wanted,
            "{} {}: {text}",
            example["id"], example["request"]["url"]
        );
        count += 1;
    }
    assert!(count > 25, "{count}");
}

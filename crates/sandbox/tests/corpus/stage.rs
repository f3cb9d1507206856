//! A sandbox with the rows that an example speaks of.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Map, Value, json};
use tieline_sandbox::seed::{ExtensionSeed, Seed, TableSeed};

use crate::examples::Example;
use crate::support::{Answer, Service};

/// Sets with their keys, and the column that names their rows.
const SETS: [(&str, &str, &str); 13] = [
    ("savedqueries", "savedqueryid", "name"),
    ("accounts", "accountid", "name"),
    ("contacts", "contactid", "lastname"),
    ("leads", "leadid", "lastname"),
    ("opportunities", "opportunityid", "name"),
    ("competitors", "competitorid", "name"),
    ("annotations", "annotationid", "subject"),
    ("incidents", "incidentid", "title"),
    ("tasks", "activityid", "subject"),
    ("letters", "activityid", "subject"),
    ("emails", "activityid", "subject"),
    ("queues", "queueid", "name"),
    ("sample_examples", "sample_exampleid", "sample_name"),
];

/// Rows are made until there are so many: some examples ask for the third page of four.
const ROWS: usize = 13;

/// What Microsoft's samples bring: a column, keys, a table.
const ADDITIONS: &str = r#"
[[table]]
name = "sample_Example"

[[table.column]]
name = "sample_Description"
type = "memo"

[[extend]]
table = "contact"

[[extend.column]]
name = "sample_OutdoorActivities"
type = "choices"
options = [{ value = 1, label = "Swimming" }, { value = 2, label = "Hiking" },
    { value = 3, label = "Climbing" }, { value = 4, label = "Fishing" },
    { value = 5, label = "Hunting" }, { value = 6, label = "Running" },
    { value = 7, label = "Boating" }, { value = 8, label = "Cycling" },
    { value = 9, label = "Camping" }]

[[extend.key]]
name = "sample_FirstNameEmailKey"
columns = ["firstname", "emailaddress1"]

[[extend]]
table = "account"

[[extend.key]]
name = "sample_PrimaryContactKey"
columns = ["primarycontactid"]
"#;

#[derive(serde::Deserialize)]
struct Additions {
    table: Vec<TableSeed>,
    extend: Vec<ExtensionSeed>,
}

fn furnish(seed: &mut Seed, keys: bool) {
    let mut own: Additions = toml::from_str(ADDITIONS).expect("a seed");
    if !keys {
        for extension in &mut own.extend {
            extension.keys.clear();
        }
    }
    if let Some(organization) = seed
        .tenants
        .iter_mut()
        .flat_map(|tenant| &mut tenant.organizations)
        .next()
    {
        organization.contacts = 2;
        organization.tables = own.table;
        organization.extensions = own.extend;
    }
}

/// A sandbox for an example that is refused, whatever rows there are.
pub(crate) async fn bare() -> Service {
    Service::with(|seed| furnish(seed, false)).await
}

/// A sandbox for one example: identifiers stand for other rows in another.
pub(crate) async fn stage(example: &Example<'_>) -> Service {
    let keys = example.path().contains("_primarycontactid_value=")
        || example.path().contains("emailaddress1=");
    let service = Service::with(|seed| furnish(seed, keys)).await;
    if example.status() != 404 {
        named(&service, example).await;
    }
    printed(&service, example).await;
    related(&service, example).await;
    service
}

/// The rows whose identifiers stand in the address and the body.
async fn named(service: &Service, example: &Example<'_>) {
    let body = match &example.request["body"] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let text = format!("{} {body}", example.path());
    for (set, id) in addressed(&text) {
        let (_, key, title) = set;
        let mut row = shown(example, set.0, &id);
        row.entry(title).or_insert_with(|| json!("Published"));
        row.insert(key.to_owned(), id.clone().into());
        let made = service.post(set.0, Value::Object(row)).await;
        assert_eq!(
            made.status, 204,
            "{}: {}({id}): {}",
            example.id, set.0, made.text
        );
    }
}

/// The columns that the printed answer shows of the row in the address. Where a page shows another
/// row than it asks for, its columns are taken all the same.
fn shown(example: &Example<'_>, set: &str, id: &str) -> Map<String, Value> {
    let rest = example.path().strip_prefix(&format!("{set}({id})"));
    let (Some(rest), Some(body)) = (rest, example.response["body"].as_object()) else {
        return Map::new();
    };
    if body.contains_key("error") || rest.starts_with("/Microsoft.") {
        return Map::new();
    }
    let Some(segment) = rest.strip_prefix('/') else {
        return writable(set, body);
    };
    let name = segment.split('?').next().unwrap_or_default().to_owned();
    let value = body.get("value").cloned();
    let value = value.unwrap_or_else(|| Value::Object(writable("", body)));
    Map::from_iter([(name, value)])
}

type Set = (&'static str, &'static str, &'static str);

/// `contacts(…)` in addresses and references, and `"contactid": "…"` beside a type in bodies.
fn addressed(text: &str) -> BTreeSet<(Set, String)> {
    let mut all = BTreeSet::new();
    for set in SETS {
        let opening = format!("{}(", set.0);
        for (at, _) in text.match_indices(&opening) {
            let id = text.get(at + opening.len()..at + opening.len() + 36);
            all.extend(id.filter(|id| is_id(id)).map(|id| (set, id.to_owned())));
        }
        let table = match set.0 {
            "opportunities" => "opportunity",
            other => other.strip_suffix('s').unwrap_or(other),
        };
        let text = &text.replace('\'', "\"").replace("\": \"", "\":\"");
        let opening = format!("\"{}\":\"", set.1);
        if text.contains(&format!("CRM.{table}\"")) {
            for (at, _) in text.match_indices(&opening) {
                let id = text.get(at + opening.len()..at + opening.len() + 36);
                all.extend(id.filter(|id| is_id(id)).map(|id| (set, id.to_owned())));
            }
        }
    }
    // A row of a collection has its own set's name.
    let opening = "opportunity_customer_accounts(";
    if let Some((_, rest)) = text.split_once(opening) {
        all.extend(
            rest.get(..36)
                .map(|id| (("opportunities", "opportunityid", "name"), id.to_owned())),
        );
    }
    all
}

fn is_id(text: &str) -> bool {
    text.len() == 36 && text.matches('-').count() == 4
}

/// Rows that a printed collection shows, often enough for pages.
async fn printed(service: &Service, example: &Example<'_>) {
    let path = example.path();
    let set = path.split(['?', '(', '/']).next().unwrap_or_default();
    let Some(rows) = example.response["body"]["value"].as_array() else {
        return;
    };
    let Some((_, key, _)) = SETS.iter().find(|known| known.0 == set) else {
        return;
    };
    let rows = rows.iter().filter_map(Value::as_object).cycle().take(ROWS);
    for (number, row) in rows.enumerate() {
        let mut row = writable(set, row);
        if path.contains("$skiptoken=") {
            // Rows behind the one that the published token ends with.
            let id = format!("e0000000-0000-4000-8000-{number:012}");
            row.insert((*key).to_owned(), id.into());
        }
        let made = service.post(set, Value::Object(row)).await;
        assert_eq!(made.status, 204, "{}: {}", example.id, made.text);
    }
}

/// The columns of a printed row that a client can write, with the rows that hang on it.
fn writable(set: &str, row: &Map<String, Value>) -> Map<String, Value> {
    let key = SETS
        .iter()
        .find(|known| known.0 == set)
        .map(|known| known.1);
    let mut own = Map::new();
    for (name, value) in row {
        let computed = name.contains('@')
            || name.starts_with('_')
            || matches!(name.as_str(), "createdon" | "modifiedon" | "versionnumber")
            || name.contains("transactioncurrencyid")
            || Some(name.as_str()) == key
            || is_key(name);
        match value {
            _ if computed => {}
            Value::Null => {}
            Value::String(text) if name == "fullname" => {
                let (first, last) = text.split_once(' ').unwrap_or(("", text));
                own.insert("firstname".to_owned(), first.into());
                own.insert("lastname".to_owned(), last.into());
            }
            Value::Object(inner) if inner.contains_key("@odata.id") => {
                own.insert(name.clone(), json!({"lastname": "Reference"}));
            }
            Value::Object(inner) => {
                own.insert(name.clone(), Value::Object(writable("", inner)));
            }
            Value::Array(inner) => {
                let rows = inner.iter().filter_map(Value::as_object);
                let rows = rows.map(|row| Value::Object(writable("", row))).collect();
                own.insert(name.clone(), Value::Array(rows));
            }
            other => {
                own.insert(name.clone(), other.clone());
            }
        }
    }
    // A printed lookup tells that there is one, not to what.
    if row.contains_key("_primarycontactid_value") && !own.contains_key("primarycontactid") {
        own.insert(
            "primarycontactid".to_owned(),
            json!({"firstname": "Susanna", "lastname": "Stubberod (sample)"}),
        );
    }
    own
}

fn is_key(name: &str) -> bool {
    SETS.iter().any(|set| set.1 == name)
}

/// What an example takes for granted besides its rows.
async fn related(service: &Service, example: &Example<'_>) {
    let path = example.path();
    let prepare: &[(&str, Value)] = match example.id {
        "ex-086" => &[(
            "accounts",
            json!({"accountid": "3adbf27c-8efb-e511-80d2-00155db07c77", "name": "Parent",
                "Referencingaccount_parent_account": []}),
        )],
        "ex-206" | "ex-207" => &[(
            "leads",
            json!({"lastname": "Orton", "emailaddress1": "monteorton@example.com"}),
        )],
        "rq-011" => &[(
            "serviceendpoints",
            json!({"serviceendpointid": "00000000-0000-0000-0000-00000000000a", "name": "P", "contract": 8,
                "url": "https://listener.example/", "authtype": 4}),
        )],
        "rq-012" => &[(
            "sdkmessageprocessingsteps",
            json!({"sdkmessageprocessingstepid": "00000000-0000-0000-0000-00000000000a", "name": "P"}),
        )],
        "rq-020" => &[(
            "transactioncurrencies",
            json!({"transactioncurrencyid": "732e87e1-1d96-e711-80e4-00155db75426",
                "currencyname": "Pound", "isocurrencycode": "GBP", "currencysymbol": "£",
                "exchangerate": 0.8, "currencyprecision": 2}),
        )],
        "rq-058" => &[(
            "contacts",
            json!({"firstname": "Joe", "lastname": "Published", "emailaddress1": "abc@example.com"}),
        )],
        "rq-059" => &[
            (
                "contacts",
                json!({"contactid": "00000000-0000-0000-0000-000000000001", "lastname": "P"}),
            ),
            (
                "accounts",
                json!({"name": "P", "primarycontactid@odata.bind":
                "contacts(00000000-0000-0000-0000-000000000001)"}),
            ),
        ],
        _ => &[],
    };
    for (set, row) in prepare {
        let mut row = row.clone();
        if let Some(row) = row.as_object_mut() {
            row.remove("Referencingaccount_parent_account");
        }
        let made = service.post(set, row).await;
        assert_eq!(made.status, 204, "{}: {}", example.id, made.text);
    }
    if example.id == "ex-086" {
        let child = json!({"name": "Child", "parentaccountid@odata.bind":
            "accounts(3adbf27c-8efb-e511-80d2-00155db07c77)"});
        service.create("accounts", child).await;
    }
    // What is taken out of a collection has to be in it.
    if example.method == "DELETE" && path.contains("/$ref") {
        join(service, path).await;
    }
}

async fn join(service: &Service, path: &str) {
    let (collection, linked) = match path.split_once("/$ref?$id=") {
        Some((collection, linked)) => {
            let linked = crate::examples::behind_service(linked)
                .or_else(|| linked.rsplit('/').next())
                .unwrap_or_default();
            (collection.to_owned(), linked.to_owned())
        }
        None => {
            let row = path.trim_end_matches("/$ref");
            let (collection, id) = row.rsplit_once('(').unwrap_or((row, ""));
            (collection.to_owned(), format!("opportunities({id}"))
        }
    };
    let body = json!({"@odata.id": service.url(&linked)});
    let made = service
        .send(
            Method::POST,
            &format!("{collection}/$ref"),
            &[],
            Some(&body),
        )
        .await;
    assert_eq!(made.status, 204, "{path}: {}", made.text);
}

/// Sends an example as it was published, to this sandbox.
pub(crate) async fn send(service: &Service, example: &Example<'_>) -> Answer {
    let path = fill(service, example.path()).await;
    let url = if path.starts_with("https:") {
        path.clone()
    } else {
        service.url(&path).replace("/v9.2/", version(&example.url))
    };
    let method: Method = example.method.parse().expect("a method");
    let mut request = service
        .http
        .request(method, url)
        .bearer_auth(&service.token);
    let alex = service
        .read("systemusers?$filter=fullname eq 'Alex Wilber'")
        .await;
    let alex = alex["value"][0]["azureactivedirectoryobjectid"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let mut kind = None;
    for (name, value) in example.headers() {
        match name.to_ascii_lowercase().as_str() {
            "content-type" => kind = Some(value.to_owned()),
            "callerobjectid" => request = request.header(name, &alex),
            _ => request = request.header(name, value),
        }
    }
    request = match &example.request["body"] {
        Value::Null => request,
        Value::String(text) => {
            let text = localized(service, text);
            let boundary = text
                .lines()
                .find_map(|line| line.strip_prefix("--"))
                .unwrap_or_default();
            if path.ends_with("$batch") && kind.is_none() {
                kind = Some(format!("multipart/mixed; boundary={}", boundary.trim()));
            }
            request.body(text)
        }
        body => {
            let text = localized(service, &body.to_string());
            kind.get_or_insert_with(|| "application/json".to_owned());
            request.body(text)
        }
    };
    if let Some(kind) = kind {
        request = request.header("Content-Type", kind);
    }
    let answer = request.send().await.expect("an answer");
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    Answer {
        status,
        headers,
        text: answer.text().await.expect("text"),
    }
}

fn version(url: &str) -> &'static str {
    ["/v9.0/", "/v9.1/"]
        .into_iter()
        .find(|version| url.contains(version))
        .unwrap_or("/v9.2/")
}

/// The sandbox's own address in place of the organization's, and what the pages lost.
fn localized(service: &Service, text: &str) -> String {
    let text = text
        .replace("POST[", "POST [")
        .replace("GET[", "GET [")
        // One body has a brace too many.
        .replace("\"73737\"\n    }\n}", "\"73737\"\n}")
        .replace("https://[Organization URI]", "[Organization URI]")
        .replace("[Organization URI]", service.sandbox.origin())
        .replace("[Organization Uri]", service.sandbox.origin())
        .replace(
            "00000000-0000-0000-000000000001",
            "00000000-0000-0000-0000-000000000001",
        );
    if text.starts_with('{') {
        text
    } else {
        text.replace('\n', "\r\n")
    }
}

/// Tokens and users that only this sandbox knows.
async fn fill(service: &Service, path: &str) -> String {
    let mut path = localized(service, path);
    if path.contains("$deltatoken=") {
        let first = service
            .send(
                Method::GET,
                "accounts?$select=name",
                &[("Prefer", "odata.track-changes")],
                None,
            )
            .await
            .json();
        let link = first["@odata.deltaLink"].as_str().unwrap_or_default();
        let token = link
            .split_once("$deltatoken=")
            .map_or("", |(_, token)| token);
        let (before, _) = path.split_once("$deltatoken=").unwrap_or((&path, ""));
        path = format!("{before}$deltatoken={token}");
    }
    if let Some(rest) = path.strip_prefix("systemusers(") {
        let user = service.user("Alex Wilber").await;
        path = format!("systemusers({user}{}", rest.get(36..).unwrap_or_default());
    }
    path
}

//! `tieline account`, beside a running demo.

use serde_json::Value;

use crate::test_app::{TestApp, stderr, stdout};

/// Flags for an account of the demo's sandbox.
fn properties(app: &TestApp, secret_file: &str) -> Vec<String> {
    let authority = app.text("/sandbox/authority");
    let pairs = [
        (
            "--api-url",
            format!("{}/api/data/v9.2", app.text("/sandbox/org_url")),
        ),
        (
            "--authorization-url",
            format!("{authority}/oauth2/v2.0/authorize"),
        ),
        ("--token-url", format!("{authority}/oauth2/v2.0/token")),
        ("--client-id", app.text("/sandbox/client_id").to_owned()),
        ("--client-secret-file", secret_file.to_owned()),
    ];
    pairs
        .into_iter()
        .flat_map(|(flag, value)| [flag.to_owned(), value])
        .collect()
}

fn add(app: &TestApp, name: &str, secret: &str, more: &[&str]) -> Vec<String> {
    let secret_file = app.file("client-secret", secret);
    let mut args: Vec<String> = ["account", "add", "--name", name]
        .map(ToOwned::to_owned)
        .into();
    args.extend(properties(app, &secret_file));
    args.extend(more.iter().map(|arg| (*arg).to_owned()));
    args
}

fn refs(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

/// The application of the default seed that has an application user in the organization.
pub(crate) fn service_application() -> (String, String) {
    let seed: toml::Table = stdout(&crate::test_app::run(&["sandbox", "--print-seed"]))
        .parse()
        .unwrap();
    let tenant = &seed["tenant"][0];
    let user = &tenant["organization"][0]["application_users"][0];
    let client_id = user["client_id"].as_str().unwrap();
    let applications = tenant["application"].as_array().unwrap();
    let application = applications
        .iter()
        .find(|application| application["client_id"].as_str() == Some(client_id))
        .unwrap();
    let secret = application["secrets"][0]["value"].as_str().unwrap();
    (client_id.to_owned(), secret.to_owned())
}

#[tokio::test]
async fn an_application_user_is_added_and_used_at_once() {
    let app = TestApp::start();
    let (client_id, secret) = service_application();
    let mut args = add(
        &app,
        "Service",
        &secret,
        &["--grant", "client-credentials", "--json"],
    );
    let at = args.iter().position(|arg| arg == "--client-id").unwrap();
    args[at + 1] = client_id;
    let account = app.json(&refs(&args));
    assert_eq!(account["grant"], "client_credentials");
    let answer = app.gateway("/Service/api/data/v9.2/WhoAmI").await;
    assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
    let test = app.json(&["account", "test", "Service", "--json"]);
    assert_eq!(test["ok"], true, "{test}");
}

#[test]
fn a_wrong_secret_fails_at_the_token_rung() {
    let app = TestApp::start();
    let args = add(
        &app,
        "Wrong",
        "not~the+secret",
        &["--grant", "client-credentials"],
    );
    assert!(app.tieline(&refs(&args)).status.success());
    let output = app.tieline(&["account", "test", "Wrong", "--json"]);
    assert_eq!(output.status.code(), Some(3));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let failed = report["rungs"]
        .as_array()
        .unwrap()
        .iter()
        .find(|r| r["status"] == "failed");
    let failed = failed.unwrap();
    assert_eq!(
        (&failed["rung"], &failed["code"]),
        (&"token".into(), &"secret-wrong".into())
    );
    assert!(
        failed["remedy"]
            .as_str()
            .is_some_and(|remedy| !remedy.is_empty())
    );
    let text = app.tieline(&["account", "test", "Wrong"]);
    assert!(
        stdout(&text).contains("[secret-wrong]"),
        "{}",
        stdout(&text)
    );
}

#[test]
fn a_name_that_is_taken_is_said_at_its_flag() {
    let app = TestApp::start();
    let secret = app.text("/sandbox/client_secret").to_owned();
    let output = app.tieline(&refs(&add(&app, "CONTOSO sales", &secret, &[])));
    assert_eq!(output.status.code(), Some(5));
    assert!(stderr(&output).contains("--name: "), "{}", stderr(&output));
}

#[test]
fn every_fault_of_a_form_is_told_at_once() {
    let app = TestApp::start();
    let mut args = vec!["account", "add", "--name", "X", "--api-url", "not a url"];
    args.extend([
        "--authorization-url",
        "https://login.microsoftonline.com/a/oauth2/authorize",
    ]);
    args.extend([
        "--token-url",
        "https://login.microsoftonline.com/b/oauth2/token",
    ]);
    let output = app.tieline(&args);
    assert_eq!(output.status.code(), Some(5));
    let told = stderr(&output);
    for flag in [
        "--token-url: ",
        "--api-url: ",
        "--client-id: ",
        "--client-secret-file: ",
    ] {
        assert!(told.contains(flag), "{flag} is missing in\n{told}");
    }
    assert_eq!(
        app.json(&["account", "list", "--json"])
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn the_organization_names_its_own_endpoints() {
    let app = TestApp::start();
    let secret = app.text("/sandbox/client_secret").to_owned();
    let secret_file = app.file("client-secret", &secret);
    let (org, client_id) = (app.text("/sandbox/org_url"), app.text("/sandbox/client_id"));
    let mut args = vec![
        "account",
        "add",
        "--name",
        "Asked",
        "--api-url",
        org,
        "--json",
    ];
    args.extend([
        "--client-id",
        client_id,
        "--client-secret-file",
        &secret_file,
    ]);
    let account = app.json(&args);
    let tenant = app.text("/sandbox/tenant_id");
    for url in ["authorization_url", "token_url"] {
        let url = account[url].as_str().unwrap();
        assert!(url.contains(tenant) && url.contains("/oauth2/"), "{url}");
    }
    assert!(
        account["api_url"]
            .as_str()
            .unwrap()
            .contains("/api/data/v9."),
        "{account}"
    );
}

#[test]
fn accounts_are_listed_shown_edited_and_chosen() {
    let app = TestApp::start();
    let secret = app.text("/sandbox/client_secret").to_owned();
    let added = app.json(&refs(&add(
        &app,
        "Second",
        &secret,
        &["--notes", "n", "--json"],
    )));
    assert_eq!(
        (&added["default"], &added["state"]),
        (&false.into(), &"not_connected".into())
    );
    assert_eq!(added["client_secret"]["set"], true);
    assert!(!added.to_string().contains(&secret));

    let edited = app.json(&["account", "edit", "second", "--name", "営業", "--json"]);
    assert_eq!(
        (&edited["name"], &edited["notes"]),
        (&"営業".into(), &"n".into())
    );
    assert!(
        app.tieline(&["account", "default", "営業"])
            .status
            .success()
    );
    let accounts = app.json(&["account", "list", "--json"]);
    let defaults: Vec<&Value> = accounts
        .as_array()
        .unwrap()
        .iter()
        .filter(|account| account["default"] == true)
        .map(|account| &account["name"])
        .collect();
    assert_eq!(defaults, ["営業"]);
    let shown = stdout(&app.tieline(&["account", "show", "営業"]));
    assert!(
        shown.contains("Authorization URL") && !shown.contains(&secret),
        "{shown}"
    );
}

#[test]
fn a_removed_account_can_be_brought_back() {
    let app = TestApp::start();
    let account = app.json(&["account", "show", "Contoso Sales", "--json"]);
    let unasked = app.tieline(&["account", "remove", "Contoso Sales"]);
    assert_eq!(unasked.status.code(), Some(2), "{}", stderr(&unasked));
    assert!(
        app.tieline(&["account", "remove", "Contoso Sales", "--yes"])
            .status
            .success()
    );
    let gone = app.tieline(&["account", "show", "Contoso Sales"]);
    assert_eq!(gone.status.code(), Some(4), "{}", stderr(&gone));
    let id = account["id"].as_str().unwrap();
    assert!(app.tieline(&["account", "restore", id]).status.success());
    let back = app.json(&["account", "show", id, "--json"]);
    assert_eq!(back["name"], "Contoso Sales");
}

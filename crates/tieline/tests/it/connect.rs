//! `tieline account connect`: a consent from the command line.

use std::net::TcpListener;
use std::path::Path;

use serde_json::Value;

use crate::demo::walk::{Person, walk};
use crate::test_app::{Process, TestApp, client, run, stderr, stdout, tieline};

/// The demo's first user.
fn person(app: &TestApp) -> Person {
    Person {
        upn: app.text("/sandbox/users/0/upn").to_owned(),
        password: app.text("/sandbox/users/0/password").to_owned(),
    }
}

fn add(app: &TestApp, name: &str) {
    let secret_file = app.file("client-secret", app.text("/sandbox/client_secret"));
    let (org, client_id) = (app.text("/sandbox/org_url"), app.text("/sandbox/client_id"));
    let mut args = vec!["account", "add", "--name", name, "--api-url", org];
    args.extend([
        "--client-id",
        client_id,
        "--client-secret-file",
        &secret_file,
    ]);
    let output = app.tieline(&args);
    assert!(output.status.success(), "{}", stderr(&output));
}

#[tokio::test]
async fn a_consent_beside_the_server_connects_the_account() {
    let app = TestApp::start();
    add(&app, "Second");
    assert_eq!(
        app.gateway("/Second/api/data/v9.2/WhoAmI").await.status(),
        503
    );
    let mut connect = Process::run(app.command(&["account", "connect", "Second"]));
    let start = connect.line().trim().parse().unwrap();
    walk(&app.http(), &start, &person(&app)).await.unwrap();
    assert_eq!(
        connect.wait().code(),
        Some(0),
        "{}",
        connect.log.lock().unwrap()
    );
    let account = app.json(&["account", "show", "Second", "--json"]);
    assert_eq!(account["state"], "connected");
    assert_eq!(
        account["refresh_token"]["consented_by"],
        app.text("/sandbox/users/0/upn")
    );
    assert_eq!(
        app.gateway("/Second/api/data/v9.2/WhoAmI").await.status(),
        200
    );
}

/// Version 2 of the endpoints: scopes in place of a resource, numbers in place of strings.
#[tokio::test]
async fn an_account_of_version_2_is_connected_and_renewed() {
    let app = TestApp::start();
    let secret_file = app.file("client-secret", app.text("/sandbox/client_secret"));
    let authority = app.text("/sandbox/authority");
    let (authorize, token) = (
        format!("{authority}/oauth2/v2.0/authorize"),
        format!("{authority}/oauth2/v2.0/token"),
    );
    let (org, client_id) = (app.text("/sandbox/org_url"), app.text("/sandbox/client_id"));
    let mut args = vec!["account", "add", "--name", "Two", "--api-url", org];
    args.extend(["--authorization-url", &authorize, "--token-url", &token]);
    args.extend([
        "--client-id",
        client_id,
        "--client-secret-file",
        &secret_file,
    ]);
    let output = app.tieline(&args);
    assert!(output.status.success(), "{}", stderr(&output));
    let mut connect = Process::run(app.command(&["account", "connect", "Two"]));
    let start = connect.line().trim().parse().unwrap();
    walk(&app.http(), &start, &person(&app)).await.unwrap();
    assert_eq!(connect.wait().code(), Some(0));
    // The test renews: it asks the token service with the refresh token.
    let ladder = app.json(&["account", "test", "Two", "--json"]);
    assert_eq!(ladder["ok"], true, "{ladder}");
    assert_eq!(app.gateway("/Two/api/data/v9.2/WhoAmI").await.status(), 200);
}

#[tokio::test]
async fn a_refused_consent_is_said_and_changes_nothing() {
    let app = TestApp::start();
    add(&app, "Second");
    let mut connect = Process::run(app.command(&["account", "connect", "Second", "--json"]));
    let begun: Value = serde_json::from_str(&connect.line()).unwrap();
    let start: url::Url = begun["authorization_url"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let state = start
        .query_pairs()
        .find(|(name, _)| name == "state")
        .unwrap()
        .1
        .into_owned();
    let back = format!(
        "{}?error=access_denied&state={state}",
        begun["redirect_uri"].as_str().unwrap()
    );
    let page = client(None).get(back).send().await.unwrap();
    assert_eq!(page.status(), 200);
    let ended: Value = serde_json::from_str(&connect.line()).unwrap();
    assert_eq!(
        (&ended["ok"], &ended["code"]),
        (&false.into(), &"consent-denied".into())
    );
    assert_eq!(connect.wait().code(), Some(5));
    let account = app.json(&["account", "show", "Second", "--json"]);
    assert_eq!(account["state"], "not_connected");
}

/// No server runs: the command itself listens where the redirect URI leads.
#[tokio::test]
async fn a_consent_without_a_server_is_received_by_the_command() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    // A port that was free a moment ago: the redirect URI has to be known beforehand.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let callback = format!("http://localhost:{port}/admin/msdynamicscallback.html");
    let seed = stdout(&run(&["sandbox", "--print-seed"]));
    let seed = seed.replacen(
        "redirect_uris = [",
        &format!("redirect_uris = [\"{callback}\", "),
        1,
    );
    std::fs::write(path("seed.toml"), &seed).unwrap();
    std::fs::write(
        path("tieline.toml"),
        format!("[console]\nlisten = \"127.0.0.1:{port}\"\n"),
    )
    .unwrap();
    let parsed: toml::Table = seed.parse().unwrap();
    let application = &parsed["tenant"][0]["application"][0];
    std::fs::write(
        path("secret"),
        application["secrets"][0]["value"].as_str().unwrap(),
    )
    .unwrap();
    let user = &parsed["tenant"][0]["user"][0];

    let (sandbox_dir, seed_file) = (path("sandbox"), path("seed.toml"));
    let mut args = vec!["sandbox", "--json", "--listen", "127.0.0.1:0"];
    args.extend(["--data-dir", &sandbox_dir, "--seed", &seed_file]);
    let mut sandbox = Process::start(&args);
    let up: Value = serde_json::from_str(&sandbox.line()).unwrap();
    let ca_file = up["ca_file"].as_str().unwrap();
    let here = |args: &[&str]| {
        let mut command = tieline();
        command
            .args(args)
            .args(["--data-dir", directory.path().to_str().unwrap()]);
        command.args(["--allow-loopback", "--ca-file", ca_file]);
        command
    };
    let (org, secret) = (up["origin"].as_str().unwrap(), path("secret"));
    let mut add = vec!["account", "add", "--name", "Alone", "--api-url", org];
    add.extend(["--client-id", application["client_id"].as_str().unwrap()]);
    add.extend(["--client-secret-file", &secret]);
    let added = here(&add).output().unwrap();
    assert!(added.status.success(), "{}", stderr(&added));

    let mut connect = Process::run(here(&["account", "connect", "Alone"]));
    let start = connect.line().trim().parse().unwrap();
    let person = Person {
        upn: user["upn"].as_str().unwrap().to_owned(),
        password: user["password"].as_str().unwrap().to_owned(),
    };
    walk(&client(Some(Path::new(ca_file))), &start, &person)
        .await
        .unwrap();
    assert_eq!(
        connect.wait().code(),
        Some(0),
        "{}",
        connect.log.lock().unwrap()
    );
    let tested = here(&["account", "test", "Alone"]).output().unwrap();
    assert_eq!(tested.status.code(), Some(0), "{}", stdout(&tested));
    assert_eq!(sandbox.stop("-INT").code(), Some(0));
}

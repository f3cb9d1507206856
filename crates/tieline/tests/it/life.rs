//! Starting, stopping, and starting again.

use std::net::TcpStream;
use std::sync::Arc;

use serde_json::Value;

use crate::test_app::{Process, TestApp, client, run, stderr};

fn port_of(url: &str) -> String {
    let host = url.split("//").nth(1).unwrap();
    host.trim_end_matches('/').replace("localhost", "127.0.0.1")
}

#[tokio::test]
async fn a_second_start_finds_its_data() {
    let first = TestApp::start();
    let consumer = first.json(&["consumer", "add", "--name", "IVR", "--json"]);
    let key = consumer["api_key"].as_str().unwrap().to_owned();
    let (password, demo_key) = (
        first.text("/admin/password").to_owned(),
        first.text("/api_key").to_owned(),
    );
    let before = first.json(&["account", "show", "Contoso Sales", "--json"]);
    let sandbox = first
        .text("/sandbox/org_url")
        .replace("https://localhost", "127.0.0.1");
    let (status, data_dir) = first.stop("-INT");
    assert_eq!(status.code(), Some(0));

    let second = TestApp::start_at(data_dir, &sandbox);
    assert_eq!(second.text("/admin/password"), password);
    assert_eq!(second.text("/api_key"), demo_key);
    let contacts = "/api/data/v9.2/contacts?$top=1";
    assert_eq!(second.gateway_as(&key, contacts).await.status(), 200);
    let after = second.json(&["account", "show", "Contoso Sales", "--json"]);
    assert_eq!(
        (&after["id"], &after["state"]),
        (&before["id"], &Value::from("connected"))
    );
    // Connected by the tokens it had: nobody consented again.
    assert_eq!(
        after["refresh_token"]["consented_at"],
        before["refresh_token"]["consented_at"]
    );
}

#[tokio::test]
async fn a_signal_ends_everything_and_leaves_nothing() {
    for signal in ["-INT", "-TERM"] {
        let app = TestApp::start();
        let addresses: Vec<String> = ["/console_url", "/gateway_url", "/sandbox/org_url"]
            .iter()
            .map(|pointer| port_of(app.text(pointer)))
            .collect();
        assert!(app.data_dir.path().join("server.json").exists());
        let (status, data_dir) = app.stop(signal);
        assert_eq!(status.code(), Some(0), "{signal}");
        assert!(!data_dir.path().join("server.json").exists());
        for address in addresses {
            assert!(
                TcpStream::connect(&address).is_err(),
                "{address} still listens"
            );
        }
    }
}

#[tokio::test]
async fn two_demos_run_side_by_side_and_share_nothing() {
    let (one, two) = (TestApp::start(), TestApp::start());
    let contacts = "/api/data/v9.2/contacts?$top=1";
    assert_eq!(one.gateway(contacts).await.status(), 200);
    assert_eq!(two.gateway(contacts).await.status(), 200);
    assert_eq!(
        two.gateway_as(one.text("/api_key"), contacts)
            .await
            .status(),
        401
    );
}

#[test]
fn a_data_directory_has_one_server() {
    let app = TestApp::start();
    let directory = app.data_dir.path().to_str().unwrap();
    let local = "127.0.0.1:0";
    let output = run(&[
        "serve",
        "--data-dir",
        directory,
        "--console",
        local,
        "--gateway",
        local,
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("runs on"), "{}", stderr(&output));
}

#[tokio::test]
async fn health_readiness_and_metrics_answer() {
    let app = TestApp::start();
    let console = app.text("/console_url").trim_end_matches('/').to_owned();
    assert_eq!(app.gateway("/api/data/v9.2/WhoAmI").await.status(), 200);
    for path in ["/healthz", "/readyz"] {
        let answer = client(None)
            .get(format!("{console}{path}"))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200, "{path}");
    }
    let metrics = client(None)
        .get(format!("{console}/metrics"))
        .send()
        .await
        .unwrap();
    assert_eq!(metrics.status(), 200);
    let text = metrics.text().await.unwrap();
    assert!(text.contains("# TYPE "), "{text}");
    let gateway = app.text("/gateway_url").trim_end_matches('/');
    let health = client(None)
        .get(format!("{gateway}/healthz"))
        .send()
        .await
        .unwrap();
    assert_eq!(health.status(), 200);
}

#[tokio::test]
async fn the_first_administrator_signs_in_with_the_password_from_a_file() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let data_dir = directory.path().join("data");
    let password_file = directory.path().join("password");
    std::fs::write(&password_file, "a long enough p+ss word\n").unwrap();
    let local = "127.0.0.1:0";
    let mut args = vec![
        "serve",
        "--data-dir",
        data_dir.to_str().unwrap(),
        "--console",
        local,
    ];
    args.extend(["--gateway", local, "--admin-email", "boss@example.com"]);
    args.extend([
        "--admin-password-file",
        password_file.to_str().unwrap(),
        "--log",
        "json",
    ]);
    let server = Process::start(&args);
    let console = loop {
        let log = server.log.lock().unwrap().clone();
        let line = log
            .lines()
            .find(|line| line.contains("\"serving\""))
            .map(ToOwned::to_owned);
        if let Some(line) = line {
            let line: Value = serde_json::from_str(&line).unwrap();
            break line["console"]
                .as_str()
                .unwrap()
                .trim_end_matches('/')
                .to_owned();
        }
        std::thread::yield_now();
    };
    let credentials =
        serde_json::json!({"email": "boss@example.com", "password": "a long enough p+ss word"});
    let sign_in = client(None)
        .post(format!("{console}/api/v1/session"))
        .json(&credentials);
    let answer = sign_in.header("Origin", &console).send().await.unwrap();
    assert!(
        answer.status().is_success(),
        "{}",
        answer.text().await.unwrap()
    );
    assert!(!server.log.lock().unwrap().contains("p+ss"));
    assert_eq!(server.stop("-TERM").code(), Some(0));
}

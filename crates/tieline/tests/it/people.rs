//! Consumers with their keys, users, and the doctor.

use crate::test_app::{TestApp, stderr, stdout};

const WHO: &str = "/api/data/v9.2/WhoAmI";

#[tokio::test]
async fn a_consumer_uses_what_it_was_granted_until_its_key_is_revoked() {
    let app = TestApp::start();
    let added = app.json(&[
        "consumer",
        "add",
        "--name",
        "IVR",
        "--account",
        "contoso sales",
        "--json",
    ]);
    let key = added["api_key"].as_str().unwrap();
    assert_eq!(app.gateway_as(key, WHO).await.status(), 200);

    let second = app.json(&["consumer", "key", "add", "ivr", "--json"]);
    let second_key = second["api_key"].as_str().unwrap();
    let id = added["consumer"]["keys"][0]["id"].as_str().unwrap();
    let revoked = app.tieline(&["consumer", "key", "revoke", "IVR", id]);
    assert!(revoked.status.success(), "{}", stderr(&revoked));
    assert_eq!(app.gateway_as(second_key, WHO).await.status(), 200);
    let refused = until(&app, key, 401).await;
    assert_eq!(refused, 401);

    assert!(app.tieline(&["consumer", "remove", "IVR"]).status.success());
    assert_eq!(until(&app, second_key, 401).await, 401);
}

/// What one process writes, another sees within a moment: asks until then, for a while.
async fn until(app: &TestApp, key: &str, wanted: u16) -> u16 {
    let started = std::time::Instant::now();
    loop {
        let status = app.gateway_as(key, WHO).await.status().as_u16();
        if status == wanted || started.elapsed() > std::time::Duration::from_secs(10) {
            return status;
        }
    }
}

#[tokio::test]
async fn a_consumer_without_a_grant_is_refused() {
    let app = TestApp::start();
    let secret_file = app.file("client-secret", app.text("/sandbox/client_secret"));
    let (org, client_id) = (app.text("/sandbox/org_url"), app.text("/sandbox/client_id"));
    let mut args = vec!["account", "add", "--name", "Other", "--api-url", org];
    args.extend([
        "--client-id",
        client_id,
        "--client-secret-file",
        &secret_file,
    ]);
    assert!(app.tieline(&args).status.success());
    let added = app.json(&[
        "consumer",
        "add",
        "--name",
        "X",
        "--account",
        "Other",
        "--json",
    ]);
    let answer = app
        .gateway_as(added["api_key"].as_str().unwrap(), WHO)
        .await;
    assert_eq!(answer.status(), 403);
    assert_eq!(answer.headers()["tieline-failed"], "consumer");
    let nobody = app.tieline(&["consumer", "add", "--name", "Y", "--account", "Nobody"]);
    assert_eq!(nobody.status.code(), Some(4), "{}", stderr(&nobody));
}

#[test]
fn users_come_and_go_but_an_administrator_stays() {
    let app = TestApp::start();
    let added = app.json(&["user", "add", "--email", "op@example.com", "--json"]);
    assert_eq!(added["user"]["role"], "operator");
    assert!(
        added["password"]
            .as_str()
            .is_some_and(|password| password.len() >= 12)
    );
    let admin = app.text("/admin/email");
    let last = app.tieline(&["user", "remove", admin]);
    assert_eq!(last.status.code(), Some(5), "{}", stderr(&last));
    assert!(
        app.tieline(&["user", "role", "op@example.com", "administrator"])
            .status
            .success()
    );
    assert!(
        app.tieline(&["user", "role", admin, "operator"])
            .status
            .success()
    );
    let users = app.json(&["user", "list", "--json"]);
    assert_eq!(users.as_array().unwrap().len(), 2);
    let short = app.file("short", "short");
    let refused = app.tieline(&["user", "password", admin, "--password-file", &short]);
    assert_eq!(refused.status.code(), Some(5), "{}", stderr(&refused));
}

#[test]
fn the_doctor_finds_a_demo_in_order() {
    let app = TestApp::start();
    let checks = app.json(&["doctor", "--offline", "--json"]);
    for check in checks.as_array().unwrap() {
        assert_ne!(check["status"], "failed", "{check}");
    }
    assert!(checks.to_string().contains("runs as process"), "{checks}");
    let text = stdout(&app.tieline(&["doctor", "--offline"]));
    assert!(text.contains("ok    database"), "{text}");
}

#[test]
fn the_doctor_finds_a_key_file_that_others_may_read() {
    use std::os::unix::fs::PermissionsExt;
    let app = TestApp::start();
    let keys = app.data_dir.path().join("master.keys");
    std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o644)).unwrap();
    let output = app.tieline(&["doctor", "--offline"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("chmod 600"), "{}", stdout(&output));
}

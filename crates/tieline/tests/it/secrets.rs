//! What must never be written down: secrets, tokens, keys.

use std::sync::Arc;

use serde_json::Value;

use crate::test_app::{TestApp, files_below, stderr};

#[tokio::test]
async fn nothing_secret_is_in_the_logs_or_in_the_database() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let app = TestApp::start_in(directory, &["--log", "json", "--log-level", "trace"]);
    let pasted = "0.AXoAq9-pasted-refresh~token_that+nobody/should=see";
    let secret = "wr0ng~but.secret+value/=";
    let (token_file, secret_file) = (app.file("rt", pasted), app.file("cs", secret));
    let (org, client_id) = (app.text("/sandbox/org_url"), app.text("/sandbox/client_id"));
    let mut args = vec!["account", "add", "--name", "Pasted", "--api-url", org];
    args.extend([
        "--client-id",
        client_id,
        "--client-secret-file",
        &secret_file,
    ]);
    args.extend(["--refresh-token-file", &token_file, "--log-level", "trace"]);
    let added = app.tieline(&args);
    assert!(added.status.success(), "{}", stderr(&added));
    // The call makes the server use both, and be refused.
    let refused = app.gateway("/Pasted/api/data/v9.2/WhoAmI").await;
    assert!(refused.status().is_server_error(), "{}", refused.status());
    let refused = refused.text().await.unwrap();
    assert_eq!(
        app.gateway("/api/data/v9.2/WhoAmI?$marker='in-a-query'")
            .await
            .status(),
        200
    );

    let demo_secret = app.text("/sandbox/client_secret").to_owned();
    let api_key = app.text("/api_key").to_owned();
    let admin_password = app.text("/admin/password").to_owned();
    let user_password = app.text("/sandbox/users/0/password").to_owned();
    let secrets = [
        pasted,
        secret,
        &demo_secret,
        &api_key,
        &admin_password,
        &user_password,
    ];
    let log = app.log() + &stderr(&added) + &refused;
    assert!(
        log.lines()
            .any(|line| line.contains("\"TRACE\"") || line.contains("\"DEBUG\""))
    );
    for hidden in secrets
        .iter()
        .copied()
        .chain(["eyJ0", "eyJhbGci", "in-a-query"])
    {
        assert!(!log.contains(hidden), "{hidden} is in the log");
    }
    let (status, data_dir) = app.stop("-INT");
    assert_eq!(status.code(), Some(0));
    let files = files_below(data_dir.path());
    let database = files.iter().filter(|path| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("tieline.db"))
    });
    let mut searched = 0;
    for path in database {
        let bytes = std::fs::read(path).unwrap();
        for hidden in secrets.iter().copied().chain(["eyJ0", "eyJhbGci"]) {
            let found = bytes
                .windows(hidden.len())
                .any(|window| window == hidden.as_bytes());
            assert!(!found, "{hidden} is in {}", path.display());
        }
        searched += bytes.len();
    }
    assert!(searched > 10_000, "the database was not found");
}

#[test]
fn every_log_line_is_one_json_object() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let app = TestApp::start_in(directory, &["--log", "json", "--log-level", "debug"]);
    let log = app.log();
    assert!(log.lines().count() > 0);
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert!(
            line["level"].is_string() && line["timestamp"].is_string(),
            "{line}"
        );
    }
}

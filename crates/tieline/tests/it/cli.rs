//! The command line and the configuration, without a server.

use serde_json::Value;

use crate::test_app::{Process, client, run, stderr, stdout, tieline};

#[test]
fn an_unknown_key_is_named_with_file_line_and_likeness() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tieline.toml");
    std::fs::write(&path, "# comment\n[outbound]\nallow_lopback = true\n").unwrap();
    let output = run(&["account", "list", "--config", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    let told = stderr(&output);
    for part in [
        path.to_str().unwrap(),
        "line 3",
        "outbound.allow_lopback",
        "outbound.allow_loopback",
    ] {
        assert!(told.contains(part), "{part} is missing in\n{told}");
    }
}

#[test]
fn a_misspelled_variable_is_refused() {
    let output = tieline()
        .args(["doctor"])
        .env("TIELINE_DATABSE_URL", "x")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("TIELINE_DATABASE_URL"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn serve_refuses_to_be_overheard() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().to_str().unwrap();
    let output = run(&["serve", "--data-dir", data_dir, "--console", "0.0.0.0:0"]);
    assert_eq!(output.status.code(), Some(2));
    let told = stderr(&output);
    assert!(
        told.contains("console.tls_cert") && told.contains("behind_proxy"),
        "{told}"
    );
}

#[test]
fn a_configuration_without_its_file_says_so() {
    let output = run(&["serve", "--config", "/nowhere/tieline.toml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("/nowhere/tieline.toml"),
        "{}",
        stderr(&output)
    );
}

#[tokio::test]
async fn the_printed_seed_starts_a_sandbox() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let printed = run(&["sandbox", "--print-seed"]);
    assert!(printed.status.success());
    std::fs::write(path("seed.toml"), &printed.stdout).unwrap();
    let (seed, data) = (path("seed.toml"), path("data"));
    let mut args = vec![
        "sandbox",
        "--json",
        "--listen",
        "127.0.0.1:0",
        "--seed",
        &seed,
    ];
    args.extend(["--data-dir", &data]);
    let mut sandbox = Process::start(&args);
    let up: Value = serde_json::from_str(&sandbox.line()).unwrap();
    let http = client(Some(up["ca_file"].as_str().unwrap().as_ref()));
    let url = format!("{}/api/data/v9.2/WhoAmI", up["origin"].as_str().unwrap());
    let answer = http.get(url).send().await.unwrap();
    assert_eq!(answer.status(), 401);
    let challenge = answer.headers()["www-authenticate"].to_str().unwrap();
    assert!(challenge.contains("authorization_uri="), "{challenge}");
    assert_eq!(sandbox.stop("-TERM").code(), Some(0));
}

#[test]
fn a_broken_seed_is_placed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("seed.toml");
    std::fs::write(&path, "[[tenant]]\nnonsense = 1\n").unwrap();
    let data = directory.path().join("data");
    let mut args = vec![
        "sandbox",
        "--seed",
        path.to_str().unwrap(),
        "--listen",
        "127.0.0.1:0",
    ];
    args.extend(["--data-dir", data.to_str().unwrap()]);
    let output = run(&args);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("line 2"), "{}", stderr(&output));
}

#[tokio::test]
async fn a_sandbox_rehearses_what_its_flags_ask_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (scenario, data) = (path("day.toml"), path("data"));
    let day = "name = \"A bad day\"\n[[step]]\nat = \"0s\"\nfault = { kind = \"status\" }\n";
    std::fs::write(&scenario, day).unwrap();
    let mut args = vec!["sandbox", "--json", "--listen", "127.0.0.1:0", "--control"];
    args.extend(["--scenario", &scenario, "--data-dir", &data]);
    args.extend(["--limits", "0.5", "--web-servers", "3", "--dop-hint", "9"]);
    let mut sandbox = Process::start(&args);
    let up: Value = serde_json::from_str(&sandbox.line()).unwrap();
    let http = client(Some(up["ca_file"].as_str().unwrap().as_ref()));
    let page = up["control"].as_str().unwrap();
    assert_eq!(http.get(page).send().await.unwrap().status(), 200);
    let look = async |name: &str| -> Value {
        let answer = http.get(format!("{page}api/{name}")).send().await.unwrap();
        answer.json().await.unwrap()
    };
    assert_eq!(look("scenario").await["scenario"]["name"], "A bad day");
    let rules = look("limits").await["rules"].clone();
    assert_eq!(rules["requests"], 3_000);
    assert_eq!(
        (&rules["web_servers"], &rules["dop_hint"]),
        (&3.into(), &9.into())
    );
    let url = up["origin"].as_str().unwrap();
    assert_eq!(http.get(url).send().await.unwrap().status(), 503);
    assert_eq!(sandbox.stop("-TERM").code(), Some(0));
}

#[test]
fn a_broken_scenario_is_placed() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (scenario, data) = (path("day.toml"), path("data"));
    std::fs::write(&scenario, "[[step]]\nat = \"0s\"\nfalt = true\n").unwrap();
    let output = run(&["sandbox", "--scenario", &scenario, "--data-dir", &data]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(
        said.contains("step[1].falt") && said.contains("'fault'"),
        "{said}"
    );
    let output = run(&["sandbox", "--limits", "many", "--data-dir", &data]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("off, microsoft, or a factor"));
}

#[test]
fn help_documents_the_exit_codes_and_completions_know_the_commands() {
    let help = stdout(&run(&["--help"]));
    assert!(
        help.contains("Exit codes:") && help.contains("doctor"),
        "{help}"
    );
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completions", shell]);
        assert!(
            script.status.success() && stdout(&script).contains("consumer"),
            "{shell}"
        );
    }
}

#[test]
fn nonsense_on_the_command_line_is_a_usage_error() {
    for args in [
        &["serve", "--consol", "x"][..],
        &["account", "tset", "x"],
        &["serve", "--console", "x"],
    ] {
        assert_eq!(run(args).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn a_server_that_cannot_have_its_port_says_which_flag_chooses_another() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().to_str().unwrap();
    let output = run(&[
        "demo",
        "--data-dir",
        data_dir,
        "--gateway",
        &address,
        "--console",
        "127.0.0.1:0",
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("--gateway"), "{}", stderr(&output));
}

#[test]
fn a_database_is_migrated_once_and_checked_afterwards() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().to_str().unwrap();
    let unready = run(&["migrate", "--check", "--data-dir", data_dir]);
    assert_eq!(unready.status.code(), Some(1), "{}", stdout(&unready));
    assert!(run(&["migrate", "--data-dir", data_dir]).status.success());
    assert!(
        run(&["migrate", "--check", "--data-dir", data_dir])
            .status
            .success()
    );
}

#[test]
fn messages_are_in_the_language_of_the_shell() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = tieline();
    command
        .args(["account", "add", "--name", " ", "--data-dir"])
        .arg(directory.path());
    let output = command.env("LC_ALL", "ja_JP.UTF-8").output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    let told = stderr(&output);
    assert!(told.contains("名前") && told.contains("--name"), "{told}");
}

//! The picture of ARCHITECTURE.md as a test: which crate may know which, and what must stay out
//! of each.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Our crates, the siblings each may depend on, and why not on others.
const EDGES: &[(&str, &[&str], &str)] = &[
    (
        "tieline-core",
        &[],
        "the words and rules stand on nothing of ours",
    ),
    (
        "tieline-vault",
        &[],
        "sealing is audited alone: it knows neither database nor domain",
    ),
    (
        "tieline-entra",
        &[],
        "the OAuth client knows neither our domain nor our storage",
    ),
    (
        "tieline-dataverse",
        &[],
        "the Web API client does not know where tokens come from",
    ),
    (
        "tieline-sandbox",
        &[],
        "if the sandbox shared code with us, both sides could share one misunderstanding",
    ),
    (
        "tieline-store",
        &["tieline-core", "tieline-vault"],
        "SQL knows neither HTTP nor OAuth",
    ),
    (
        "tieline-app",
        &[
            "tieline-core",
            "tieline-vault",
            "tieline-store",
            "tieline-entra",
            "tieline-dataverse",
        ],
        "use cases know no surface that renders them",
    ),
    (
        "tieline-gateway",
        &["tieline-app", "tieline-core"],
        "the data path decides nothing by itself",
    ),
    (
        "tieline-web",
        &["tieline-app", "tieline-core"],
        "handlers make one call into app and render",
    ),
];

/// Libraries that a crate must not bring in, and why.
const BANNED: &[(&str, &[&str], &str)] = &[
    (
        "tieline-core",
        &[
            "tokio", "sqlx", "rusqlite", "axum", "hyper", "http", "reqwest",
        ],
        "core performs no input or output",
    ),
    (
        "tieline-vault",
        &[
            "sqlx", "rusqlite", "axum", "hyper", "http", "reqwest", "tokio",
        ],
        "vault seals bytes; it neither stores nor sends them",
    ),
    (
        "tieline-store",
        &["axum", "hyper", "http", "reqwest", "askama"],
        "a transaction never spans a request, so the store cannot make one",
    ),
    (
        "tieline-entra",
        &["sqlx", "rusqlite", "axum", "askama"],
        "entra is a client, without storage",
    ),
    (
        "tieline-dataverse",
        &["sqlx", "rusqlite", "axum", "askama"],
        "dataverse is a client, without storage",
    ),
    (
        "tieline-app",
        &["axum", "axum-extra", "sqlx", "rusqlite", "askama", "utoipa"],
        "app decides; SQL is the store's and HTML the console's",
    ),
    (
        "tieline-gateway",
        &["sqlx", "rusqlite", "askama", "axum", "reqwest"],
        "the gateway is hyper on both sides, faithful to the byte, without HTML and SQL",
    ),
    (
        "tieline-web",
        &["sqlx", "rusqlite", "reqwest"],
        "the console asks app, not the network",
    ),
    (
        "tieline-sandbox",
        &["sqlx", "reqwest"],
        "the sandbox answers; it calls nobody",
    ),
];

/// Libraries that nothing may bring in.
const BANNED_EVERYWHERE: &[(&str, &str)] = &[
    ("ring", "one provider of cryptography: aws-lc-rs"),
    ("openssl", "one provider of TLS: rustls with aws-lc-rs"),
    ("native-tls", "one provider of TLS: rustls with aws-lc-rs"),
];

#[test]
fn crates_depend_only_downwards() {
    let ours = our_dependencies();
    let known: BTreeSet<&str> = EDGES
        .iter()
        .map(|(name, ..)| *name)
        .chain(["tieline"])
        .collect();
    let found: BTreeSet<&str> = ours.keys().map(String::as_str).collect();
    assert_eq!(
        found, known,
        "a crate came or went: give it its place in ARCHITECTURE.md and in this test"
    );
    let mut wrong = Vec::new();
    for (name, allowed, reason) in EDGES {
        for dependency in &ours[*name] {
            if found.contains(dependency.as_str()) && !allowed.contains(&dependency.as_str()) {
                wrong.push(format!("{name} must not depend on {dependency}: {reason}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_crate_knows_what_it_must_not_know() {
    let ours = our_dependencies();
    let mut wrong = Vec::new();
    for (name, banned, reason) in BANNED {
        for dependency in ours[*name].iter().filter(|d| banned.contains(&d.as_str())) {
            wrong.push(format!("{name} must not depend on {dependency}: {reason}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn banned_libraries_are_not_used() {
    // Not the lock file: it also lists what features that nobody chose would bring.
    let tree = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--workspace",
            "--target",
            "all",
            "--edges",
            "all",
            "--offline",
        ])
        .args(["--prefix", "none", "--format", "{p}"])
        .current_dir(root())
        .output()
        .expect("cargo");
    assert!(
        tree.status.success(),
        "{}",
        String::from_utf8_lossy(&tree.stderr)
    );
    let tree = String::from_utf8(tree.stdout).expect("UTF-8");
    let names: BTreeSet<&str> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert!(
        names.contains("tieline-core"),
        "the tree is that of the workspace"
    );
    for (name, reason) in BANNED_EVERYWHERE {
        assert!(!names.contains(name), "{name} came in: {reason}");
    }
}

/// Time, chance and environment are arguments below the binary; the sandbox is a program of its
/// own and makes its clock at its door.
#[test]
fn nobody_below_the_binary_reads_the_environment_or_the_time() {
    let rules = [
        (
            "std::env::",
            &["tieline"][..],
            "the environment is read by the binary's configuration",
        ),
        (
            "env::var",
            &["tieline"][..],
            "the environment is read by the binary's configuration",
        ),
        (
            "Utc::now()",
            &["tieline", "core", "sandbox"][..],
            "take the time from a Clock",
        ),
        (
            "SystemTime::now()",
            &["tieline", "core", "sandbox"][..],
            "take the time from a Clock",
        ),
    ];
    let mut wrong = Vec::new();
    for (crate_name, file, text) in sources() {
        for (needle, allowed, reason) in rules {
            let hit = text
                .lines()
                .position(|line| line.contains(needle) && !line.trim_start().starts_with("//"));
            if let Some(line) = hit.filter(|_| !allowed.contains(&crate_name.as_str())) {
                wrong.push(format!(
                    "{}:{}: {needle} — {reason}",
                    file.display(),
                    line + 1
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_stay_short_enough_to_read() {
    let long: Vec<String> = sources()
        .into_iter()
        .filter(|(_, _, text)| text.lines().count() > 800)
        .map(|(_, file, text)| format!("{}: {} lines", file.display(), text.lines().count()))
        .collect();
    assert!(
        long.is_empty(),
        "split what is longer than 800 lines:\n{}",
        long.join("\n")
    );
}

// === what cargo and the file system say ===

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("crates/tieline stands two levels below the root")
        .to_owned()
}

/// Each crate of the workspace with its dependencies, those of its tests left out.
fn our_dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    packages
        .iter()
        .map(|package| (text(&package["name"]), dependencies(package)))
        .collect()
}

fn dependencies(package: &Value) -> BTreeSet<String> {
    let all = package["dependencies"].as_array().expect("dependencies");
    all.iter()
        .filter(|dependency| dependency["kind"].as_str() != Some("dev"))
        .map(|dependency| text(&dependency["name"]))
        .collect()
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

/// Every source file below `crates/*/src` with its crate's directory, up to its tests.
fn sources() -> Vec<(String, PathBuf, String)> {
    let mut found = Vec::new();
    for directory in std::fs::read_dir(root().join("crates")).expect("crates") {
        let directory = directory.expect("an entry").path();
        let name = directory
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        collect(&directory.join("src"), &name, &mut found);
    }
    assert!(found.len() > 30, "the sources were not found");
    found
}

fn collect(directory: &Path, name: &str, found: &mut Vec<(String, PathBuf, String)>) {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return;
    };
    for entry in entries {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, name, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let whole = std::fs::read_to_string(&path).expect("a source file");
            let code = whole
                .split("#[cfg(test)]")
                .next()
                .unwrap_or_default()
                .to_owned();
            found.push((name.to_owned(), path, code));
        }
    }
}

//! `tieline doctor`: is this installation in order?

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use tieline_app::Outbound;

use crate::commands::Session;
use crate::config::Settings;
use crate::exit::Exit;
use crate::output;
use crate::running::Running;
use crate::runtime::{self, Upgrade};

/// A host that every connection to Dynamics 365 needs, and whose clock is right.
const MICROSOFT: &str = "https://login.microsoftonline.com/common/discovery/keys";
/// Tokens are dated to the second, and Entra allows clocks five minutes of difference.
const SKEW_MAX: TimeDelta = TimeDelta::seconds(60);
const PATIENCE: Duration = Duration::from_secs(8);

/// How to tell it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Ask nobody on the internet
    #[arg(long)]
    offline: bool,
}

#[derive(Debug, Serialize)]
struct Check {
    check: &'static str,
    status: Status,
    detail: String,
    remedy: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Ok,
    Warning,
    Failed,
}

/// Checks everything that can be checked from here.
///
/// # Errors
/// When stdout cannot be written; what is wrong is reported, and makes the exit code 1.
pub(crate) async fn run(args: Args, session: Session) -> anyhow::Result<Exit> {
    let mut settings = session.settings;
    let running = Running::find(&settings.data_dir);
    if let Some(running) = &running {
        running.share_outbound(&mut settings);
    }
    let mut checks = vec![configuration(&settings), data_directory(&settings.data_dir)];
    checks.push(keys_and_database(&settings).await);
    checks.push(server(running.as_ref()));
    checks.push(addresses(&settings, running.as_ref()));
    checks.extend(mail(&settings, running.as_ref()).await);
    if !args.offline {
        checks.extend(way_out(&settings).await);
    }
    if args.json {
        output::json(&checks)?;
    } else {
        for check in &checks {
            output::line(&told(check))?;
        }
    }
    let failed = checks.iter().any(|check| check.status == Status::Failed);
    Ok(if failed { Exit::Failure } else { Exit::Done })
}

fn told(check: &Check) -> String {
    let mark = match check.status {
        Status::Ok => "ok  ",
        Status::Warning => "warn",
        Status::Failed => "FAIL",
    };
    let line = format!("{mark}  {:<14} {}", check.check, check.detail);
    if check.remedy.is_empty() {
        line
    } else {
        format!("{line}\n                     → {}", check.remedy)
    }
}

fn ok(check: &'static str, detail: impl Into<String>) -> Check {
    Check {
        check,
        status: Status::Ok,
        detail: detail.into(),
        remedy: String::new(),
    }
}

fn warning(check: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Check {
    Check {
        check,
        status: Status::Warning,
        detail: detail.into(),
        remedy: remedy.into(),
    }
}

fn failed(check: &'static str, error: &anyhow::Error, remedy: impl Into<String>) -> Check {
    Check {
        check,
        status: Status::Failed,
        detail: format!("{error:#}"),
        remedy: remedy.into(),
    }
}

// It was understood, or we were not here.
fn configuration(settings: &Settings) -> Check {
    match &settings.file {
        Some(path) => ok("configuration", format!("read from {}", path.display())),
        None => ok(
            "configuration",
            "no file; the defaults, the environment and flags",
        ),
    }
}

fn data_directory(path: &Path) -> Check {
    let name = "data directory";
    if !path.exists() {
        let told = format!("{} is not there yet", path.display());
        return warning(name, told, "it is made at the first start");
    }
    let probe = path.join(format!(".doctor-{}", std::process::id()));
    let written = std::fs::write(&probe, b"").and_then(|()| std::fs::remove_file(&probe));
    match written.with_context(|| format!("cannot write to {}", path.display())) {
        Err(error) => failed(name, &error, "let the user that runs Tieline write there"),
        Ok(()) if open_to_others(path) => warning(
            name,
            format!("others may look into {}", path.display()),
            format!("chmod 700 {}", path.display()),
        ),
        Ok(()) => ok(name, path.display().to_string()),
    }
}

#[cfg(unix)]
fn open_to_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|about| about.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn open_to_others(_path: &Path) -> bool {
    false
}

async fn keys_and_database(settings: &Settings) -> Check {
    let name = "database";
    let shown = settings.database_shown();
    if settings.database_url.is_none() && !settings.data_dir.join("tieline.db").exists() {
        return warning(
            name,
            format!("{shown} is not there yet"),
            "it is made at the first start",
        );
    }
    let keys = match runtime::open_keys(settings) {
        Ok(keys) => Arc::new(keys),
        Err(error) => {
            return failed("keys", &error, "restore the master keys from their backup");
        }
    };
    let store = match runtime::open_store(settings, keys, Upgrade::Refuse).await {
        Ok(store) => store,
        Err(error) => return failed(name, &error, "check database.url, or run `tieline migrate`"),
    };
    match store.ping().await {
        Ok(()) => ok(
            name,
            format!("{shown} answers, and its tables are those of this version"),
        ),
        Err(error) => failed(name, &error.into(), "see whether the database is up"),
    }
}

fn server(running: Option<&Running>) -> Check {
    match running {
        Some(running) => {
            let since = running.started_at.format("%Y-%m-%d %H:%M UTC");
            ok(
                "server",
                format!("runs as process {} since {since}", running.pid),
            )
        }
        None => warning(
            "server",
            "does not run on this data directory",
            "start `tieline serve`",
        ),
    }
}

fn addresses(settings: &Settings, running: Option<&Running>) -> Check {
    let console = match running {
        Some(running) => Ok(running.console_url.clone()),
        None => runtime::configured_addresses(settings).map(|addresses| addresses.console),
    };
    match console {
        Ok(url) => {
            let callback = format!("{}admin/msdynamicscallback.html", url);
            ok(
                "redirect URI",
                format!("{callback} has to be registered with Microsoft"),
            )
        }
        Err(error) => failed("redirect URI", &error, "set console.public_url"),
    }
}

/// The mail server is asked whether it would take mail; none is sent.
async fn mail(settings: &Settings, running: Option<&Running>) -> Option<Check> {
    let name = "mail";
    let mail = settings.notify.mail.as_ref()?;
    let console = match running {
        Some(running) => Ok(running.console_url.clone()),
        None => runtime::configured_addresses(settings).map(|addresses| addresses.console),
    };
    let hello = console.ok();
    let hello = hello.as_ref().and_then(|url| url.host_str());
    let checked = tieline_app::mail_check(mail, hello.unwrap_or("localhost")).await;
    Some(match checked {
        Ok(()) => ok(
            name,
            format!(
                "{}:{} lets us in; {} recipients",
                mail.host,
                mail.port,
                mail.to.len()
            ),
        ),
        Err(error) => failed(name, &error.into(), "check the section [mail]"),
    })
}

/// One request tells whether the way out is open and whether the clock is right.
async fn way_out(settings: &Settings) -> Vec<Check> {
    let name = "way out";
    let outbound = match Outbound::new(&settings.outbound) {
        Ok(outbound) => outbound,
        Err(error) => {
            return vec![failed(name, &error.into(), "check the section [outbound]")];
        }
    };
    let sent = outbound
        .http()
        .get(MICROSOFT)
        .timeout(PATIENCE)
        .send()
        .await;
    match sent.context("cannot reach login.microsoftonline.com") {
        Err(error) => vec![warning(
            name,
            format!("{error:#}"),
            "let this machine out to port 443, or set outbound.proxy",
        )],
        Ok(response) => {
            let date = response
                .headers()
                .get("date")
                .and_then(|date| date.to_str().ok());
            vec![
                ok(name, "login.microsoftonline.com answers"),
                clock(date, Utc::now()),
            ]
        }
    }
}

fn clock(date: Option<&str>, now: DateTime<Utc>) -> Check {
    let name = "clock";
    let theirs = date.and_then(|date| DateTime::parse_from_rfc2822(date).ok());
    let Some(theirs) = theirs else {
        return warning(name, "Microsoft told no time to compare with", "");
    };
    let skew = (now - theirs.with_timezone(&Utc)).num_seconds();
    if TimeDelta::seconds(skew.abs()) > SKEW_MAX {
        let told = format!("{skew} seconds ahead of Microsoft's");
        return Check {
            check: name,
            status: Status::Failed,
            detail: told,
            remedy: "let the machine keep its time by NTP: tokens are dated".to_owned(),
        };
    }
    ok(name, "agrees with Microsoft's")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_off_is_a_fault() {
        let now = DateTime::parse_from_rfc3339("2026-03-01T12:00:00Z")
            .expect("a time")
            .to_utc();
        assert_eq!(
            clock(Some("Sun, 01 Mar 2026 12:00:20 GMT"), now).status,
            Status::Ok
        );
        let off = clock(Some("Sun, 01 Mar 2026 11:50:00 GMT"), now);
        assert_eq!(off.status, Status::Failed);
        assert!(off.detail.starts_with("600 "), "{}", off.detail);
        assert_eq!(clock(Some("yesterday"), now).status, Status::Warning);
    }

    #[cfg(unix)]
    #[test]
    fn a_directory_that_others_may_read_is_worth_a_warning() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().expect("a directory");
        let open = |mode| {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(directory.path(), permissions).expect("changed");
            data_directory(directory.path()).status
        };
        assert_eq!(open(0o755), Status::Warning);
        assert_eq!(open(0o700), Status::Ok);
        assert_eq!(
            data_directory(&directory.path().join("no")).status,
            Status::Warning
        );
    }
}

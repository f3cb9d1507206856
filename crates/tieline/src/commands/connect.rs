//! `tieline account connect`: a consent from the command line.
//!
//! The address is opened in any browser. The answer comes back to the console: to the running
//! server's, or, when none runs, to one that this command serves while it waits.

use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use tieline_app::{ConsentEnd, ConsentPrompt, ConsentStart, ConsentTarget};
use tieline_core::Account;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::commands::Desk;
use crate::config::Settings;
use crate::exit::{Denied, Exit};
use crate::output::{self, Format, say};
use crate::{runtime, signals};

/// How often the outcome is looked for: quick for a person, nothing for a database.
const LOOK: Duration = Duration::from_millis(300);

/// For whom consent is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// The person who signs in.
    Mine,
    /// Everybody in the organization.
    Organization,
}

#[derive(Debug, Serialize)]
struct Begun<'a> {
    authorization_url: &'a str,
    redirect_uri: &'a str,
    expires_at: chrono::DateTime<chrono::Utc>,
}

#[derive(Debug, Serialize)]
struct Ended<'a> {
    ok: bool,
    code: &'a str,
    cause: &'a str,
    remedy: &'a str,
    user: Option<&'a str>,
}

/// Begins a consent, prints its address, and waits for its end.
///
/// # Errors
/// When the settings are incomplete, the consent is refused, or nobody comes in time.
pub(crate) async fn run(
    desk: &Desk,
    account: &Account,
    whose: Whose,
    format: Format,
    settings: &Settings,
) -> anyhow::Result<Exit> {
    let stop = signals::stop_on_signal()?;
    let mut tasks = JoinSet::new();
    if desk.running.is_none() {
        serve_callback(&mut tasks, desk, settings, &stop).await?;
    }
    let prompt = match whose {
        Whose::Mine => ConsentPrompt::SelectAccount,
        Whose::Organization => ConsentPrompt::AdminConsent,
    };
    let begun = desk
        .app
        .consent_begin(ConsentTarget::Account(account.id), None, prompt)
        .await;
    let start = begun.context("failed to begin the consent")?;
    announce(desk, &start, format)?;
    let end = tokio::select! {
        () = stop.cancelled() => return Ok(Exit::Failure),
        broken = tasks.join_next(), if !tasks.is_empty() => {
            broken.context("the console ended")???;
            anyhow::bail!("the console ended by itself");
        }
        end = outcome(desk, &start) => end?,
    };
    // The page that the browser came back to is still being sent: let it finish.
    stop.cancel();
    while tasks.join_next().await.is_some() {}
    tell(desk, &end, format)
}

/// Serves the console at the address that the redirect URI names.
async fn serve_callback(
    tasks: &mut JoinSet<anyhow::Result<()>>,
    desk: &Desk,
    settings: &Settings,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let listener = runtime::bind("console", "--config", settings.console.listen).await?;
    runtime::serve_console(tasks, &desk.app, listener, settings, None, stop)
}

fn announce(desk: &Desk, start: &ConsentStart, format: Format) -> anyhow::Result<()> {
    if format == Format::Json {
        return output::json_line(&Begun {
            authorization_url: start.url.as_str(),
            redirect_uri: &desk.app.redirect_uri(),
            expires_at: start.expires_at,
        });
    }
    say("Open this address in a browser, sign in and consent:");
    output::line(start.url.as_str())?;
    let until = start.expires_at.format("%H:%M:%S UTC");
    say(&format!(
        "Microsoft will come back to {}, which has to be registered there. Waiting until {until} …",
        desk.app.redirect_uri()
    ));
    Ok(())
}

async fn outcome(desk: &Desk, start: &ConsentStart) -> anyhow::Result<ConsentEnd> {
    let mut beat = tokio::time::interval(LOOK);
    loop {
        beat.tick().await;
        let found = desk.app.consent_outcome(&start.handle).await;
        if let Some(end) = found.context("failed to look for the consent's outcome")? {
            return Ok(end);
        }
        if desk.app.now() > start.expires_at {
            let text = "nobody consented in time; run the command again for a new address";
            return Err(Denied(text.to_owned()).into());
        }
    }
}

fn tell(desk: &Desk, end: &ConsentEnd, format: Format) -> anyhow::Result<Exit> {
    let told = end.explain(desk.language);
    if format == Format::Json {
        output::json_line(&Ended {
            ok: end.ok,
            code: &end.code,
            cause: &told.cause,
            remedy: &told.remedy,
            user: end.user.as_deref(),
        })?;
    }
    if !end.ok {
        let seen = end.evidence.code.iter().chain(&end.evidence.message);
        let seen: Vec<_> = seen.map(String::as_str).collect();
        let text = format!("{} {} {}", told.cause, told.remedy, seen.join(" "));
        return Err(Denied(text.trim_end().to_owned()).into());
    }
    say(&told.cause);
    Ok(Exit::Done)
}

//! `tieline account headroom` and `limits`, `tieline consumer limits`: what accounts let through,
//! and who may take how much of it.

use anyhow::Context;
use serde_json::{Value, json};
use tieline_app::{ConsumerUse, Headroom, Used};
use tieline_core::{ConsumerLimits, OnThrottle, Priority};

use crate::commands::Desk;
use crate::exit::{Exit, Usage};
use crate::output::{self, ConsumerJson};

/// A consumer's limits; what is not named stays.
#[derive(Debug, clap::Args)]
pub(crate) struct ConsumerArgs {
    /// interactive, bulk, or bulk-unless-asked (bulk, except calls that ask for more)
    #[arg(long, value_parser = priority)]
    priority: Option<Priority>,
    /// Weight against other consumers of the same priority, 1 to 100
    #[arg(long)]
    share: Option<u8>,
    /// Calls a second, at most; 0 lifts the limit
    #[arg(long, value_name = "CALLS")]
    rate: Option<f64>,
    /// Calls that may come at once before the rate holds; 0 means a second's worth
    #[arg(long, value_name = "CALLS")]
    burst: Option<u32>,
    /// What becomes of a call that Dynamics will not take yet: wait or fail
    #[arg(long, value_parser = on_throttle)]
    on_throttle: Option<OnThrottle>,
    /// How long a call has in all, in milliseconds; 0 lifts the limit
    #[arg(long, value_name = "MS")]
    deadline_ms: Option<u64>,
}

/// An account's limits; what is not named stays.
#[derive(Debug, clap::Args)]
pub(crate) struct AccountArgs {
    /// Calls at once, of all servers together
    #[arg(long, value_name = "CALLS")]
    concurrency: Option<u32>,
    /// Requests in a window
    #[arg(long, value_name = "CALLS")]
    requests: Option<u32>,
    /// Combined seconds of execution in a window
    #[arg(long, value_name = "SECONDS")]
    execution_seconds: Option<u32>,
    /// Length of the window
    #[arg(long, value_name = "SECONDS")]
    window_seconds: Option<u32>,
    /// What bulk leaves to interactive calls that have not been made yet
    #[arg(long, value_name = "PERCENT")]
    reserve_percent: Option<u8>,
}

fn priority(word: &str) -> Result<Priority, String> {
    let known = word.replace('-', "_").parse();
    known.map_err(|_| "interactive, bulk or bulk-unless-asked is expected".to_owned())
}

fn on_throttle(word: &str) -> Result<OnThrottle, String> {
    word.parse()
        .map_err(|_| "wait or fail is expected".to_owned())
}

impl ConsumerArgs {
    fn over(&self, now: ConsumerLimits) -> ConsumerLimits {
        ConsumerLimits {
            priority: self.priority.unwrap_or(now.priority),
            share: self.share.unwrap_or(now.share),
            rate: self
                .rate
                .map_or(now.rate, |rate| (rate != 0.0).then_some(rate)),
            burst: self
                .burst
                .map_or(now.burst, |burst| (burst != 0).then_some(burst)),
            on_throttle: self.on_throttle.unwrap_or(now.on_throttle),
            deadline_ms: self
                .deadline_ms
                .map_or(now.deadline_ms, |ms| (ms != 0).then_some(ms)),
        }
    }
}

/// Changes a consumer's limits.
///
/// # Errors
/// When there is no such consumer, or a number is out of its range.
pub(crate) async fn set_consumer(
    desk: &Desk,
    consumer: &str,
    args: &ConsumerArgs,
    json: bool,
) -> anyhow::Result<()> {
    let found = desk.app.consumer_find(consumer).await;
    let found = found.context("failed to find the consumer")?;
    let limits = args.over(found.limits);
    let set = desk.app.consumer_limits_set(&desk.by, consumer, limits);
    let set = set.await.context("failed to set the consumer's limits")?;
    if json {
        return output::json(&ConsumerJson::of(&set));
    }
    Ok(())
}

/// Changes an account's limits.
///
/// # Errors
/// When there is no such account, or a number is out of its range.
pub(crate) async fn set_account(
    desk: &Desk,
    account: &str,
    args: &AccountArgs,
    json: bool,
) -> anyhow::Result<Exit> {
    args.check()?;
    let found = desk.app.account_find(account).await;
    let account = found.context("failed to find the account")?;
    let read = desk.app.account_limits(account.id).await;
    let mut limits = read.context("failed to read the account's limits")?;
    let settings = [
        (args.concurrency, &mut limits.concurrency),
        (args.requests, &mut limits.requests),
        (args.execution_seconds, &mut limits.execution_seconds),
        (args.window_seconds, &mut limits.window_seconds),
    ];
    for (wanted, setting) in settings {
        *setting = wanted.unwrap_or(*setting);
    }
    limits.reserve_percent = args.reserve_percent.unwrap_or(limits.reserve_percent);
    let set = desk
        .app
        .account_limits_set(&desk.by, account.id, limits)
        .await;
    let set = set.context("failed to set the account's limits")?;
    if json {
        output::json(&set)?;
    }
    Ok(Exit::Done)
}

/// Shows what an account still lets through.
///
/// # Errors
/// When there is no such account.
pub(crate) async fn show(desk: &Desk, account: &str, json: bool) -> anyhow::Result<Exit> {
    let found = desk.app.account_find(account).await;
    let account = found.context("failed to find the account")?;
    let headroom = desk.app.account_headroom(account.id).await;
    let headroom = headroom.context("failed to read the account's headroom")?;
    if json {
        output::json(&as_json(&account.id.to_string(), &headroom))?;
        return Ok(Exit::Done);
    }
    let rows: Vec<_> = headroom
        .consumers
        .iter()
        .map(|used| {
            vec![
                used.name.clone(),
                used.minutes.calls.to_string(),
                used.day.calls.to_string(),
                format!("{:.1} s", used.day.waited_seconds),
                used.day.refused.to_string(),
            ]
        })
        .collect();
    output::line(&figures(&headroom))?;
    let heads = ["consumer", "5 minutes", "24 hours", "waited", "turned away"];
    output::line(&output::table(&heads, &rows))?;
    Ok(Exit::Done)
}

fn figures(headroom: &Headroom) -> String {
    let part = |left: Option<String>, of: Option<String>| match (left, of) {
        (Some(left), Some(of)) => format!("{left} of {of}"),
        _ => "not known yet".to_owned(),
    };
    let whole = |number: Option<i64>| number.map(|number| number.to_string());
    let seconds = |number: Option<f64>| number.map(|number| format!("{number:.0} s"));
    let requests = part(whole(headroom.requests_left), whole(headroom.requests_of));
    let time = part(
        seconds(headroom.execution_left),
        seconds(headroom.execution_of),
    );
    let [minutes, day] = headroom.paused_seconds;
    let mut text = format!(
        "requests left   {requests}\ntime left       {time}\nin use          {} of {}\n\
         waiting         {} interactive, {} bulk\nstopped         {minutes:.0} s in 5 minutes, \
         {day:.0} s in 24 hours\n",
        headroom.in_use, headroom.allowed, headroom.waiting, headroom.waiting_bulk
    );
    if let Some(until) = headroom.paused_until {
        text.push_str(&format!("stopped until   {until}\n"));
    }
    text
}

/// The names of the JSON API.
fn as_json(account: &str, headroom: &Headroom) -> Value {
    let [minutes, day] = headroom.paused_seconds;
    json!({
        "account": account,
        "requests": {"left": headroom.requests_left, "of": headroom.requests_of},
        "execution_seconds": {"left": headroom.execution_left, "of": headroom.execution_of},
        "percent_left": headroom.percent(),
        "web_servers": headroom.web_servers,
        "concurrency": {
            "in_use": headroom.in_use, "in_use_bulk": headroom.in_use_bulk,
            "allowed": headroom.allowed, "allowed_bulk": headroom.allowed_bulk,
        },
        "waiting": {"interactive": headroom.waiting, "bulk": headroom.waiting_bulk},
        "paused_until": headroom.paused_until,
        "throttled_seconds": {"last_5_minutes": minutes, "last_24_hours": day},
        "servers": headroom.servers,
        "consumers": headroom.consumers.iter().map(consumer).collect::<Vec<_>>(),
        "limits": headroom.limits,
    })
}

fn consumer(used: &ConsumerUse) -> Value {
    let calls = |used: &Used| {
        json!({
            "calls": used.calls, "bulk": used.bulk, "refused": used.refused,
            "throttled": used.throttled, "waited_seconds": used.waited_seconds,
        })
    };
    json!({
        "id": used.id,
        "name": used.name,
        "last_5_minutes": calls(&used.minutes),
        "last_24_hours": calls(&used.day),
    })
}

impl AccountArgs {
    /// Somebody who names nothing has forgotten something.
    fn check(&self) -> Result<(), Usage> {
        let any = self.concurrency.is_some()
            || self.requests.is_some()
            || self.execution_seconds.is_some()
            || self.window_seconds.is_some()
            || self.reserve_percent.is_some();
        any.then_some(())
            .ok_or_else(|| Usage("name at least one limit to set".to_owned()))
    }
}

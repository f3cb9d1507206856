//! `tieline webhook`: who is told when the state of an account changes.

use anyhow::Context;
use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use tieline_app::{WebhookForm, explain_plain};
use tieline_core::{Delivery, Webhook};

use crate::commands::{Desk, Session};
use crate::exit::Exit;
use crate::output::{self, say};

/// Deliveries that are listed.
const SHOWN: u32 = 50;

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Every webhook, with its state
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Adds a webhook and prints its secret, this once
    Add {
        /// Where notices are posted: https, at a public address
        #[arg(long)]
        url: String,
        /// What it is for
        #[arg(long, default_value = "")]
        description: String,
        /// What it is told of; can be repeated [default: everything but
        /// integration_account.reason_changed]
        #[arg(long = "event", value_name = "TYPE")]
        events: Vec<String>,
        /// An account that it is told of, by name or identifier; can be repeated [default: all,
        /// also those added later]
        #[arg(long = "account", value_name = "NAME")]
        accounts: Vec<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Removes a webhook with the log of what it was told
    Remove {
        /// Identifier or address
        webhook: String,
    },
    /// Sends a webhook a notice that says nothing, and tells what it answered
    Test {
        /// Identifier or address
        webhook: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Gives a webhook another secret and prints it, this once; for a day both sign
    RotateSecret {
        /// Identifier or address
        webhook: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Enables a webhook that was disabled
    Enable {
        /// Identifier or address
        webhook: String,
    },
    /// Disables a webhook; what waits for it is given up
    Disable {
        /// Identifier or address
        webhook: String,
    },
    /// What a webhook was told, latest first
    Deliveries {
        /// Identifier or address
        webhook: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// A webhook, by the names of the JSON API.
#[derive(Debug, Serialize)]
struct WebhookJson {
    id: String,
    url: String,
    description: String,
    events: Vec<&'static str>,
    accounts: Option<Vec<String>>,
    enabled: bool,
    disabled_reason: Option<&'static str>,
    failing_since: Option<DateTime<Utc>>,
    last_success_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
}

#[derive(Debug, Serialize)]
struct WithSecret<'a> {
    secret: &'a str,
    webhook: WebhookJson,
}

#[derive(Debug, Serialize)]
struct TrialJson {
    ok: bool,
    status: Option<u16>,
    ms: u128,
    message_id: String,
    code: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct DeliveryJson {
    message_id: String,
    #[serde(rename = "type")]
    notice_type: &'static str,
    at: DateTime<Utc>,
    account_name: Option<String>,
    from: Option<&'static str>,
    to: Option<&'static str>,
    state: &'static str,
    attempts: u32,
    last_status: Option<u16>,
    last_error: Option<String>,
    next_at: Option<DateTime<Utc>>,
}

impl WebhookJson {
    fn of(webhook: &Webhook) -> Self {
        let ids = webhook.accounts.as_ref();
        Self {
            id: webhook.id.to_string(),
            url: webhook.url.clone(),
            description: webhook.description.clone(),
            events: webhook.events.iter().map(|event| event.as_str()).collect(),
            accounts: ids.map(|ids| ids.iter().map(ToString::to_string).collect()),
            enabled: webhook.is_enabled(),
            disabled_reason: webhook.disabled.map(|(reason, _)| reason.as_str()),
            failing_since: webhook.failing_since,
            last_success_at: webhook.last_success_at,
            created_at: webhook.created_at,
        }
    }

    fn state(&self) -> String {
        match (self.disabled_reason, self.failing_since) {
            (Some(reason), _) => format!("disabled ({reason})"),
            (None, Some(since)) => format!("failing since {}", since.format("%F %T UTC")),
            (None, None) => "enabled".to_owned(),
        }
    }
}

impl DeliveryJson {
    fn of(delivery: &Delivery) -> Self {
        let notice = &delivery.notice;
        Self {
            message_id: format!("msg_{}", notice.id),
            notice_type: notice.notice_type.as_str(),
            at: notice.at,
            account_name: notice.account_id.map(|_| notice.subject.clone()),
            from: notice.from.map(tieline_core::ConnectionState::as_str),
            to: notice.to.map(tieline_core::ConnectionState::as_str),
            state: delivery.state.as_str(),
            attempts: delivery.attempts,
            last_status: delivery.last_status,
            last_error: delivery.last_error.clone(),
            next_at: delivery.next_at,
        }
    }
}

/// Runs the verb.
///
/// # Errors
/// When the database does not answer, or the change is refused.
pub(crate) async fn run(verb: Verb, session: Session) -> anyhow::Result<Exit> {
    let desk = session.open().await?;
    let (app, by) = (&desk.app, &desk.by);
    match verb {
        Verb::List { json } => list(&desk, json).await?,
        Verb::Add {
            url,
            description,
            events,
            accounts,
            json,
        } => {
            let form = WebhookForm {
                url: Some(url),
                description: Some(description),
                events: (!events.is_empty()).then_some(events),
                accounts: Some(accounts),
            };
            let added = app.webhook_add(by, &form).await;
            let (webhook, secret) = added.context("failed to add the webhook")?;
            tell_secret(&webhook, &secret, json)?;
        }
        Verb::Remove { webhook } => {
            let removed = app.webhook_remove(by, &webhook).await;
            removed.context("failed to remove the webhook")?;
        }
        Verb::Test { webhook, json } => return test(&desk, &webhook, json).await,
        Verb::RotateSecret { webhook, json } => {
            let rotated = app.webhook_rotate(by, &webhook).await;
            let (webhook, secret) = rotated.context("failed to rotate the secret")?;
            tell_secret(&webhook, &secret, json)?;
        }
        Verb::Enable { webhook } => {
            let enabled = app.webhook_enable(by, &webhook).await;
            enabled.context("failed to enable the webhook")?;
        }
        Verb::Disable { webhook } => {
            let disabled = app.webhook_disable(by, &webhook).await;
            disabled.context("failed to disable the webhook")?;
        }
        Verb::Deliveries { webhook, json } => deliveries(&desk, &webhook, json).await?,
    }
    Ok(Exit::Done)
}

async fn list(desk: &Desk, json: bool) -> anyhow::Result<()> {
    let webhooks = desk.app.webhook_list().await;
    let webhooks = webhooks.context("failed to list the webhooks")?;
    let shown: Vec<_> = webhooks.iter().map(WebhookJson::of).collect();
    if json {
        return output::json(&shown);
    }
    let rows: Vec<_> = shown
        .iter()
        .map(|webhook| {
            vec![
                webhook.id.clone(),
                webhook.url.clone(),
                webhook.state(),
                webhook.description.clone(),
            ]
        })
        .collect();
    output::line(&output::table(
        &["id", "url", "state", "description"],
        &rows,
    ))
}

fn tell_secret(webhook: &Webhook, secret: &SecretString, json: bool) -> anyhow::Result<()> {
    let secret = secret.expose_secret();
    if json {
        let webhook = WebhookJson::of(webhook);
        return output::json(&WithSecret { secret, webhook });
    }
    say("The secret, shown this once; with it the receiver checks webhook-signature:");
    output::line(secret)
}

async fn test(desk: &Desk, webhook: &str, json: bool) -> anyhow::Result<Exit> {
    let trial = desk.app.webhook_test(webhook).await;
    let trial = trial.context("failed to test the webhook")?;
    if json {
        output::json(&TrialJson {
            ok: trial.ok,
            status: trial.status,
            ms: trial.took.as_millis(),
            message_id: trial.message_id.clone(),
            code: trial.code,
        })?;
    } else {
        let status = trial.status.map(|status| format!("HTTP {status}, "));
        let status = status.unwrap_or_default();
        let ms = trial.took.as_millis();
        match trial.code {
            None => output::line(&format!("taken: {status}{ms} ms"))?,
            Some(code) => {
                let told = explain_plain(code, desk.language);
                let said = format!("{} {}", told.cause, told.remedy);
                output::line(&format!("not taken: {status}{ms} ms [{code}] {said}"))?;
            }
        }
    }
    Ok(if trial.ok {
        Exit::Done
    } else {
        Exit::TestFailed
    })
}

async fn deliveries(desk: &Desk, webhook: &str, json: bool) -> anyhow::Result<()> {
    let webhook = desk.app.webhook_find(webhook).await;
    let webhook = webhook.context("failed to find the webhook")?;
    let found = desk.app.webhook_deliveries(webhook.id, None, SHOWN).await;
    let found = found.context("failed to list the deliveries")?;
    let shown: Vec<_> = found.iter().map(DeliveryJson::of).collect();
    if json {
        return output::json(&shown);
    }
    let rows: Vec<_> = shown
        .iter()
        .map(|delivery| {
            let about = delivery.account_name.clone().unwrap_or_default();
            let status = delivery.last_status.map(|status| status.to_string());
            let error = delivery.last_error.clone();
            vec![
                delivery.at.format("%F %T").to_string(),
                about,
                delivery.to.unwrap_or(delivery.notice_type).to_owned(),
                delivery.state.to_owned(),
                delivery.attempts.to_string(),
                status.or(error).unwrap_or_default(),
            ]
        })
        .collect();
    let heads = ["at (UTC)", "account", "what", "state", "attempts", "last"];
    output::line(&output::table(&heads, &rows))
}

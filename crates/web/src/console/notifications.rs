//! Who is told of events: webhooks with the log of what they were told, and mail.

use askama::Template;
use axum::extract::{Path, Query, RawForm, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tieline_app::{AppError, WebhookForm, WebhookTrial, explain_plain};
use tieline_core::{Account, Delivery, DeliveryState, NoticeType, Right, Webhook};

use crate::console::pages::{Trouble, html, status_of};
use crate::console::view::{Page, TextView, time};
use crate::site::Site;
use crate::visitor::Visitor;
use crate::words::Words;

/// Deliveries on a page.
const SHOWN: u32 = 50;
/// Mails on the page of all receivers.
const MAILS: u32 = 20;

#[derive(Debug, Template)]
#[template(path = "notifications.html")]
struct ListPage {
    page: Page,
    rows: Vec<Row>,
    mail: Option<MailView>,
    form: FormView,
    problem: Option<TextView>,
}

#[derive(Debug, Template)]
#[template(path = "webhook.html")]
struct WebhookPage {
    page: Page,
    row: Row,
    base: String,
    form: FormView,
    /// A secret that is shown this once.
    secret: Option<String>,
    problem: Option<TextView>,
    trial: Option<TrialView>,
    deliveries: Vec<DeliveryView>,
    older: Option<String>,
}

#[derive(Debug)]
struct Row {
    id: String,
    url: String,
    description: String,
    enabled: bool,
    state: String,
    class: &'static str,
    /// Why it is disabled, and what to do.
    why: Option<TextView>,
    success: String,
    both_sign: Option<String>,
}

/// What the form holds.
#[derive(Debug)]
struct FormView {
    url: String,
    description: String,
    events: Vec<Choice>,
    accounts: Vec<Choice>,
}

#[derive(Debug)]
struct Choice {
    value: String,
    label: String,
    chosen: bool,
}

#[derive(Debug)]
struct MailView {
    server: String,
    from: String,
    to: String,
    settle: String,
    deliveries: Vec<DeliveryView>,
}

#[derive(Debug)]
struct TrialView {
    ok: bool,
    text: String,
    remedy: String,
}

#[derive(Debug)]
struct DeliveryView {
    message: String,
    at: String,
    what: String,
    to: String,
    state: String,
    class: &'static str,
    attempts: u32,
    last: String,
    next: String,
    resend: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Asked {
    before: Option<i64>,
}

type Shown = Result<Response, Trouble>;

pub(crate) async fn list(State(site): State<Site>, visitor: Visitor) -> Shown {
    let page = list_page(&site, &visitor, None).await?;
    Ok(html(StatusCode::OK, &page))
}

pub(crate) async fn add(
    State(site): State<Site>,
    visitor: Visitor,
    RawForm(body): RawForm,
) -> Shown {
    manage(&visitor)?;
    let form = posted(&body);
    match site.app.webhook_add(&visitor.actor(), &form).await {
        Ok((webhook, secret)) => with_secret(&site, &visitor, webhook, &secret).await,
        Err(error) => {
            let mut page = list_page(&site, &visitor, Some(&form)).await?;
            page.problem = Some(TextView::problem(&error, visitor.words));
            Ok(html(status_of(&error), &page))
        }
    }
}

pub(crate) async fn show(
    State(site): State<Site>,
    visitor: Visitor,
    Path(id): Path<String>,
    Query(asked): Query<Asked>,
) -> Shown {
    let webhook = find(&site, &visitor, &id).await?;
    let page = webhook_page(&site, &visitor, webhook, asked.before).await?;
    Ok(html(StatusCode::OK, &page))
}

pub(crate) async fn edit(
    State(site): State<Site>,
    visitor: Visitor,
    Path(id): Path<String>,
    RawForm(body): RawForm,
) -> Shown {
    manage(&visitor)?;
    let form = posted(&body);
    match site.app.webhook_edit(&visitor.actor(), &id, &form).await {
        Ok(webhook) => Ok(to_webhook(&webhook)),
        Err(error @ AppError::Refused { .. }) => {
            let webhook = find(&site, &visitor, &id).await?;
            let mut page = webhook_page(&site, &visitor, webhook, None).await?;
            page.problem = Some(TextView::problem(&error, visitor.words));
            Ok(html(status_of(&error), &page))
        }
        Err(error) => Err(Trouble::new(error, visitor.words)),
    }
}

pub(crate) async fn enable(
    State(site): State<Site>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Shown {
    manage(&visitor)?;
    let enabled = site.app.webhook_enable(&visitor.actor(), &id).await;
    let webhook = enabled.map_err(|error| Trouble::new(error, visitor.words))?;
    Ok(to_webhook(&webhook))
}

pub(crate) async fn disable(
    State(site): State<Site>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Shown {
    manage(&visitor)?;
    let disabled = site.app.webhook_disable(&visitor.actor(), &id).await;
    let webhook = disabled.map_err(|error| Trouble::new(error, visitor.words))?;
    Ok(to_webhook(&webhook))
}

pub(crate) async fn remove(
    State(site): State<Site>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Shown {
    manage(&visitor)?;
    let removed = site.app.webhook_remove(&visitor.actor(), &id).await;
    removed.map_err(|error| Trouble::new(error, visitor.words))?;
    Ok(Redirect::to("/notifications").into_response())
}

pub(crate) async fn rotate(
    State(site): State<Site>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Shown {
    manage(&visitor)?;
    let rotated = site.app.webhook_rotate(&visitor.actor(), &id).await;
    let (webhook, secret) = rotated.map_err(|error| Trouble::new(error, visitor.words))?;
    with_secret(&site, &visitor, webhook, &secret).await
}

pub(crate) async fn test(
    State(site): State<Site>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Shown {
    let trouble = |error| Trouble::new(error, visitor.words);
    visitor.require(Right::Test).map_err(trouble)?;
    let trial = site.app.webhook_test(&id).await.map_err(trouble)?;
    let webhook = find(&site, &visitor, &id).await?;
    let mut page = webhook_page(&site, &visitor, webhook, None).await?;
    page.trial = Some(TrialView::of(&trial, visitor.words));
    Ok(html(StatusCode::OK, &page))
}

pub(crate) async fn resend(
    State(site): State<Site>,
    visitor: Visitor,
    Path((id, message)): Path<(String, String)>,
) -> Shown {
    manage(&visitor)?;
    let sent = site.app.webhook_resend(&id, &message).await;
    sent.map_err(|error| Trouble::new(error, visitor.words))?;
    let webhook = find(&site, &visitor, &id).await?;
    Ok(to_webhook(&webhook))
}

// === pages ===

async fn with_secret(
    site: &Site,
    visitor: &Visitor,
    webhook: Webhook,
    secret: &SecretString,
) -> Shown {
    let mut page = webhook_page(site, visitor, webhook, None).await?;
    page.secret = Some(secret.expose_secret().to_owned());
    Ok(html(StatusCode::OK, &page))
}

async fn list_page(
    site: &Site,
    visitor: &Visitor,
    typed: Option<&WebhookForm>,
) -> Result<ListPage, Trouble> {
    let words = visitor.words;
    let trouble = |error| Trouble::new(error, words);
    let webhooks = site.app.webhook_list().await.map_err(trouble)?;
    let accounts = site.app.account_list("").await.map_err(trouble)?;
    let mut form = FormView::usual(&accounts, words);
    if let Some(typed) = typed {
        form.fill(typed);
    }
    let mail = match site.app.mail_settings() {
        Some(settings) => Some(MailView {
            server: format!("{}:{}", settings.host, settings.port),
            from: settings.from.clone(),
            to: settings.to.join(", "),
            settle: settings.settle.as_secs().to_string(),
            deliveries: site
                .app
                .mail_log(MAILS)
                .await
                .map_err(trouble)?
                .iter()
                .map(|delivery| DeliveryView::of(delivery, words))
                .collect(),
        }),
        None => None,
    };
    Ok(ListPage {
        page: Page::of(site, visitor, "/notifications").await,
        rows: webhooks.iter().map(|w| Row::of(w, words)).collect(),
        mail,
        form,
        problem: None,
    })
}

async fn webhook_page(
    site: &Site,
    visitor: &Visitor,
    webhook: Webhook,
    before: Option<i64>,
) -> Result<WebhookPage, Trouble> {
    let words = visitor.words;
    let trouble = |error| Trouble::new(error, words);
    let accounts = site.app.account_list("").await.map_err(trouble)?;
    let found = site.app.webhook_deliveries(webhook.id, before, SHOWN + 1);
    let mut found = found.await.map_err(trouble)?;
    let more = found.len() > SHOWN as usize;
    found.truncate(SHOWN as usize);
    let base = format!("/notifications/{}", webhook.id);
    Ok(WebhookPage {
        page: Page::of(site, visitor, "/notifications").await,
        row: Row::of(&webhook, words),
        form: FormView::of(&webhook, &accounts, words),
        secret: None,
        problem: None,
        trial: None,
        older: found
            .last()
            .filter(|_| more)
            .map(|last| format!("{base}?before={}", last.seq)),
        deliveries: found
            .iter()
            .map(|delivery| DeliveryView::of(delivery, words))
            .collect(),
        base,
    })
}

impl Row {
    fn of(webhook: &Webhook, words: Words) -> Self {
        let (state, class) = match (&webhook.disabled, webhook.failing_since) {
            (Some(_), _) => ("webhook-disabled", "state-misconfigured"),
            (None, Some(_)) => ("webhook-failing", "state-degraded"),
            (None, None) => ("webhook-enabled", "state-connected"),
        };
        let why = webhook.disabled.map(|(reason, _)| {
            TextView::warning(explain_plain(
                &format!("webhook-{reason}"),
                words.language(),
            ))
        });
        let success = match webhook.last_success_at {
            Some(at) => time(at),
            None => words.t("webhook-never"),
        };
        Self {
            id: webhook.id.to_string(),
            url: masked(&webhook.url),
            description: webhook.description.clone(),
            enabled: webhook.is_enabled(),
            state: words.t(state),
            class,
            why,
            success,
            both_sign: webhook.previous_secret_until.map(time),
        }
    }
}

impl FormView {
    fn usual(accounts: &[Account], words: Words) -> Self {
        Self {
            url: String::new(),
            description: String::new(),
            events: choices(words, &NoticeType::USUAL),
            accounts: account_choices(accounts, &[]),
        }
    }

    fn of(webhook: &Webhook, accounts: &[Account], words: Words) -> Self {
        let chosen = webhook.accounts.clone().unwrap_or_default();
        let chosen: Vec<String> = chosen.iter().map(ToString::to_string).collect();
        Self {
            url: webhook.url.clone(),
            description: webhook.description.clone(),
            events: choices(words, &webhook.events),
            accounts: account_choices(accounts, &chosen),
        }
    }

    /// What was typed and refused is not lost.
    fn fill(&mut self, typed: &WebhookForm) {
        self.url = typed.url.clone().unwrap_or_default();
        self.description = typed.description.clone().unwrap_or_default();
        let chosen = |list: &Option<Vec<String>>, value: &String| {
            list.as_ref().is_some_and(|list| list.contains(value))
        };
        for choice in &mut self.events {
            choice.chosen = chosen(&typed.events, &choice.value);
        }
        for choice in &mut self.accounts {
            choice.chosen = chosen(&typed.accounts, &choice.value);
        }
    }
}

fn choices(words: Words, chosen: &[NoticeType]) -> Vec<Choice> {
    NoticeType::CHOICES
        .into_iter()
        .map(|choice| Choice {
            value: choice.as_str().to_owned(),
            label: words.t(&notice_key(choice)),
            chosen: chosen.contains(&choice),
        })
        .collect()
}

fn account_choices(accounts: &[Account], chosen: &[String]) -> Vec<Choice> {
    accounts
        .iter()
        .map(|account| Choice {
            value: account.id.to_string(),
            label: account.name.to_string(),
            chosen: chosen.contains(&account.id.to_string()),
        })
        .collect()
}

/// Fluent's names know no dots.
fn notice_key(notice: NoticeType) -> String {
    format!("notice-{}", notice.as_str().replace('.', "-"))
}

impl TrialView {
    fn of(trial: &WebhookTrial, words: Words) -> Self {
        let ms = trial.took.as_millis().to_string();
        let text = match (trial.code, trial.status) {
            (None, _) => words.with("webhook-test-ok", "ms", &ms),
            (Some(code), status) => {
                let cause = explain_plain(code, words.language()).cause;
                match status {
                    Some(status) => format!("{cause} (HTTP {status})"),
                    None => cause,
                }
            }
        };
        let remedy = trial.code.map(|code| explain_plain(code, words.language()));
        Self {
            ok: trial.ok,
            text,
            remedy: remedy.map(|told| told.remedy).unwrap_or_default(),
        }
    }
}

impl DeliveryView {
    fn of(delivery: &Delivery, words: Words) -> Self {
        let notice = &delivery.notice;
        let what = match notice.to {
            Some(_) if notice.notice_type == NoticeType::CredentialWarning => {
                format!(
                    "{}: {}",
                    notice.subject,
                    words.t(&notice_key(notice.notice_type))
                )
            }
            Some(to) => format!("{}: {}", notice.subject, words.t(&format!("state-{to}"))),
            None => words.t(&notice_key(notice.notice_type)),
        };
        let class = match delivery.state {
            DeliveryState::Delivered => "state-connected",
            DeliveryState::Pending if delivery.attempts > 0 => "state-degraded",
            DeliveryState::Failed => "state-unreachable",
            _ => "muted",
        };
        let mut last: Vec<String> = Vec::new();
        last.extend(delivery.last_status.map(|status| status.to_string()));
        let error = delivery.last_error.as_deref();
        last.extend(error.map(|code| explain_plain(code, words.language()).cause));
        Self {
            message: format!("msg_{}", notice.id),
            at: time(notice.at),
            what,
            to: delivery.target.clone(),
            state: words.t(&format!("delivery-state-{}", delivery.state)),
            class,
            attempts: delivery.attempts,
            last: last.join(" · "),
            next: delivery
                .next_at
                .filter(|_| delivery.attempts > 0)
                .map(time)
                .unwrap_or_default(),
            resend: delivery.state != DeliveryState::Pending,
        }
    }
}

/// The form as posted. Names repeat, which is why it is read by hand.
fn posted(body: &[u8]) -> WebhookForm {
    let mut form = WebhookForm {
        url: Some(String::new()),
        description: Some(String::new()),
        events: Some(Vec::new()),
        accounts: Some(Vec::new()),
    };
    for (name, value) in url::form_urlencoded::parse(body) {
        match name.as_ref() {
            "url" => form.url = Some(value.into_owned()),
            "description" => form.description = Some(value.into_owned()),
            "events" => form.events.get_or_insert_default().push(value.into_owned()),
            "accounts" if !value.is_empty() => {
                form.accounts
                    .get_or_insert_default()
                    .push(value.into_owned());
            }
            _ => {}
        }
    }
    form
}

/// An address without its query, which often holds a key; the form has it whole, for who may
/// change it.
fn masked(url: &str) -> String {
    match url.split_once('?') {
        Some((before, _)) => format!("{before}?…"),
        None => url.to_owned(),
    }
}

async fn find(site: &Site, visitor: &Visitor, id: &str) -> Result<Webhook, Trouble> {
    let found = site.app.webhook_find(id).await;
    found.map_err(|error| Trouble::new(error, visitor.words))
}

fn to_webhook(webhook: &Webhook) -> Response {
    Redirect::to(&format!("/notifications/{}", webhook.id)).into_response()
}

fn manage(visitor: &Visitor) -> Result<(), Trouble> {
    visitor
        .require(Right::Manage)
        .map_err(|error| Trouble::new(error, visitor.words))
}

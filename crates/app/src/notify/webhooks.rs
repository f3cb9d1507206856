//! Use cases of webhooks: list, add, edit, enable, disable, remove, rotate, try, look back.

use std::time::Duration;

use chrono::TimeDelta;
use secrecy::SecretString;
use tieline_core::{Actor, Delivery, DisabledReason, EventId, NoticeType, Webhook, WebhookId};
use tieline_store::{StoreError, WebhookSettings};
use tieline_vault::signing;
use url::Url;

use super::schedule::{Outcome, decide};
use super::worker::LEASE;
use super::{MailSettings, NotifySettings};
use crate::app::App;
use crate::error::AppError;

/// How long notices are signed with the old secret as well after a rotation: somebody has to
/// bring the new one to the receiver.
const OVERLAP: TimeDelta = TimeDelta::hours(24);
/// Webhooks for each workspace: every event costs a row for each.
const WEBHOOKS_MAX: usize = 50;
/// Longest description, and longest URL.
const DESCRIPTION_MAX: usize = 200;
const URL_MAX: usize = 2_000;

/// What somebody wants a webhook to be. What is absent stays as it is, or is the usual.
#[derive(Debug, Clone, Default)]
pub struct WebhookForm {
    /// Where notices are posted.
    pub url: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// What it is told of, by name.
    pub events: Option<Vec<String>>,
    /// The accounts it is told of, by name or id; an empty list means every account.
    pub accounts: Option<Vec<String>>,
}

/// What came of trying a webhook out.
#[derive(Debug, Clone)]
pub struct WebhookTrial {
    /// Whether it was taken.
    pub ok: bool,
    /// HTTP status of the answer, where there was one.
    pub status: Option<u16>,
    /// Stable code of the failure.
    pub code: Option<&'static str>,
    /// How long it took.
    pub took: Duration,
    /// The identifier it was sent with.
    pub message_id: String,
}

impl App {
    /// The webhooks, in the order in which they were added.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn webhook_list(&self) -> Result<Vec<Webhook>, AppError> {
        Ok(self.store().webhooks(self.workspace()).await?)
    }

    /// A webhook by id or URL.
    ///
    /// # Errors
    /// When there is none.
    pub async fn webhook_find(&self, reference: &str) -> Result<Webhook, AppError> {
        let reference = reference.trim();
        let found = self.webhook_list().await?.into_iter().find(|webhook| {
            webhook.url == reference || webhook.id.to_string().eq_ignore_ascii_case(reference)
        });
        found.ok_or(AppError::NotFound { what: "webhook" })
    }

    /// Adds a webhook; its secret is returned here and never again.
    ///
    /// # Errors
    /// When the URL may not be called, or something else is wrong with the form.
    pub async fn webhook_add(
        &self,
        by: &Actor,
        form: &WebhookForm,
    ) -> Result<(Webhook, SecretString), AppError> {
        let usual = WebhookSettings {
            url: String::new(),
            description: String::new(),
            events: NoticeType::USUAL.to_vec(),
            accounts: None,
        };
        let settings = self.webhook_settings(form, usual).await?;
        if self.webhook_list().await?.len() >= WEBHOOKS_MAX {
            return Err(refused("webhook-too-many"));
        }
        let now = self.now();
        let (id, secret) = (WebhookId::generate(now), signing::generate());
        let added = self
            .store()
            .webhook_add(self.workspace(), id, &settings, &secret, by, now)
            .await?;
        tracing::info!(webhook = %id, by = %by, "a webhook was added");
        Ok((added, secret))
    }

    /// Changes a webhook.
    ///
    /// # Errors
    /// As for adding one.
    pub async fn webhook_edit(
        &self,
        by: &Actor,
        reference: &str,
        form: &WebhookForm,
    ) -> Result<Webhook, AppError> {
        let webhook = self.webhook_find(reference).await?;
        let present = WebhookSettings {
            url: webhook.url.clone(),
            description: webhook.description.clone(),
            events: webhook.events.clone(),
            accounts: webhook.accounts.clone(),
        };
        let settings = self.webhook_settings(form, present.clone()).await?;
        if settings == present {
            return Ok(webhook);
        }
        let changed = self
            .store()
            .webhook_update(webhook.id, &settings, by, self.now());
        changed.await.map_err(missing)
    }

    /// Enables a webhook: it is told of what happens from now on.
    ///
    /// # Errors
    /// When there is none.
    pub async fn webhook_enable(&self, by: &Actor, reference: &str) -> Result<Webhook, AppError> {
        let webhook = self.webhook_find(reference).await?;
        if !webhook.is_enabled() {
            let enabled = self.store().webhook_enable(&webhook, by, self.now());
            enabled.await.map_err(missing)?;
        }
        self.webhook_find(reference).await
    }

    /// Disables a webhook, and gives up what waits for it.
    ///
    /// # Errors
    /// When there is none.
    pub async fn webhook_disable(&self, by: &Actor, reference: &str) -> Result<Webhook, AppError> {
        let webhook = self.webhook_find(reference).await?;
        self.store()
            .webhook_disable(&webhook, DisabledReason::Person, by, self.now())
            .await?;
        self.webhook_find(reference).await
    }

    /// Removes a webhook with the log of what it was told.
    ///
    /// # Errors
    /// When there is none.
    pub async fn webhook_remove(&self, by: &Actor, reference: &str) -> Result<(), AppError> {
        let webhook = self.webhook_find(reference).await?;
        let removed = self.store().webhook_remove(&webhook, by, self.now());
        removed.await.map_err(missing)
    }

    /// Gives a webhook another secret, returned here and never again. For a day both sign.
    ///
    /// # Errors
    /// When there is none.
    pub async fn webhook_rotate(
        &self,
        by: &Actor,
        reference: &str,
    ) -> Result<(Webhook, SecretString), AppError> {
        let webhook = self.webhook_find(reference).await?;
        let (secret, now) = (signing::generate(), self.now());
        self.store()
            .webhook_rotate(&webhook, &secret, now + OVERLAP, by, now)
            .await
            .map_err(missing)?;
        Ok((self.webhook_find(reference).await?, secret))
    }

    /// Sends a webhook a notice that says nothing, once, and waits for the answer. Works for one
    /// that is disabled too.
    ///
    /// # Errors
    /// When there is none.
    pub async fn webhook_test(&self, reference: &str) -> Result<WebhookTrial, AppError> {
        let webhook = self.webhook_find(reference).await?;
        let (owner, now) = (&self.0.notifier.owner, self.now());
        let delivery = self
            .store()
            .delivery_of_test(webhook.id, &webhook.url, owner, now + LEASE, now)
            .await?;
        let made = self.deliver_webhook(&delivery).await?;
        let (outcome, took) = made.ok_or(AppError::NotFound { what: "webhook" })?;
        let attempted = decide(&delivery, &outcome, now);
        Ok(WebhookTrial {
            ok: matches!(outcome, Outcome::Taken { .. }),
            status: attempted.status,
            code: attempted.error,
            took,
            message_id: super::http::message_id(&delivery.notice),
        })
    }

    /// What a webhook was told, latest first; before `before`, where it is given.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn webhook_deliveries(
        &self,
        webhook: WebhookId,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Delivery>, AppError> {
        let target = webhook.to_string();
        Ok(self.store().deliveries(&target, before, limit).await?)
    }

    /// Sends a notice to a webhook once more, with the identifier it had.
    ///
    /// # Errors
    /// When the webhook is disabled, or was never to be told of this.
    pub async fn webhook_resend(&self, reference: &str, message: &str) -> Result<(), AppError> {
        let webhook = self.webhook_find(reference).await?;
        if !webhook.is_enabled() {
            return Err(refused("webhook-is-disabled"));
        }
        let nothing = AppError::NotFound { what: "delivery" };
        let message = message.trim();
        let bare = message.strip_prefix("msg_").unwrap_or(message);
        let Ok(notice) = bare.to_uppercase().parse::<EventId>() else {
            return Err(nothing);
        };
        let target = webhook.id.to_string();
        let again = self
            .store()
            .delivery_resend(&target, notice, self.now())
            .await?;
        self.0.notifier.wake();
        if again { Ok(()) } else { Err(nothing) }
    }

    /// The latest mails, latest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn mail_log(&self, limit: u32) -> Result<Vec<Delivery>, AppError> {
        Ok(self.store().mails(limit).await?)
    }

    /// How mails are sent; none sends none.
    #[must_use]
    pub fn mail_settings(&self) -> Option<&MailSettings> {
        let settings: &NotifySettings = &self.0.notifier.settings;
        settings.mail.as_ref()
    }

    async fn webhook_settings(
        &self,
        form: &WebhookForm,
        present: WebhookSettings,
    ) -> Result<WebhookSettings, AppError> {
        let url = match &form.url {
            Some(url) => self.webhook_url(url)?,
            None if present.url.is_empty() => return Err(refused("webhook-url-malformed")),
            None => present.url,
        };
        let description = match &form.description {
            Some(text) => text.trim().to_owned(),
            None => present.description,
        };
        if description.chars().count() > DESCRIPTION_MAX
            || description.chars().any(char::is_control)
        {
            return Err(refused("webhook-description-malformed"));
        }
        let events = match &form.events {
            Some(names) => chosen_events(names)?,
            None => present.events,
        };
        let accounts = match &form.accounts {
            Some(references) if references.is_empty() => None,
            Some(references) => {
                let mut ids = Vec::with_capacity(references.len());
                for reference in references {
                    ids.push(self.account_find(reference).await?.id);
                }
                ids.sort();
                ids.dedup();
                Some(ids)
            }
            None => present.accounts,
        };
        Ok(WebhookSettings {
            url,
            description,
            events,
            accounts,
        })
    }

    /// A URL that may be called. The address behind a name is looked at when it is called.
    fn webhook_url(&self, text: &str) -> Result<String, AppError> {
        let malformed = || refused("webhook-url-malformed");
        let text = text.trim();
        let url = Url::parse(text).map_err(|_| malformed())?;
        if !url.has_host() || text.len() > URL_MAX || text.chars().any(char::is_control) {
            return Err(malformed());
        }
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err(malformed());
        }
        self.outbound()
            .admit(&url)
            .map_err(|_| refused("webhook-url-not-allowed"))?;
        Ok(url.to_string())
    }
}

fn chosen_events(names: &[String]) -> Result<Vec<NoticeType>, AppError> {
    let known = |name: &String| {
        NoticeType::CHOICES
            .into_iter()
            .find(|choice| choice.as_str() == name.trim())
            .ok_or_else(|| refused("webhook-event-unknown"))
    };
    let mut events = names.iter().map(known).collect::<Result<Vec<_>, _>>()?;
    if events.is_empty() {
        return Err(refused("webhook-event-unknown"));
    }
    events.sort_by_key(|event| event.as_str());
    events.dedup();
    Ok(events)
}

fn refused(code: &'static str) -> AppError {
    AppError::Refused { code }
}

fn missing(error: StoreError) -> AppError {
    match error {
        StoreError::NotFound => AppError::NotFound { what: "webhook" },
        other => AppError::Store(other),
    }
}

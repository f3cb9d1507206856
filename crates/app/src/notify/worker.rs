//! Takes what is due from the outbox, sends it, and writes down what came of it.
//!
//! Each target has a few places of its own, so that one that is slow holds up nobody else.

use std::time::Duration;

use chrono::TimeDelta;
use tieline_core::{
    Actor, ConnectionState, Delivery, DeliveryChannel, DeliveryState, DisabledReason, Notice,
    NoticeType, Webhook, WebhookId, is_worth_a_mail,
};
use tieline_store::{Attempted, StoreError};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::schedule::{Outcome, decide, is_hopeless};
use super::{http, mail, text};
use crate::app::App;

/// How often the outbox is looked into although nothing was said to be in it: retries come due,
/// and what another server held may have been let go.
const TICK: Duration = Duration::from_secs(1);
/// How long a delivery is held. Longer than the longest attempt; a server that dies leaves a
/// delivery lying for no longer than this.
pub(super) const LEASE: TimeDelta = TimeDelta::seconds(30);
/// Attempts side by side for each target and server.
const PER_TARGET: u32 = 4;
/// How long attempts under way may take to end when the server stops. What is cut off is sent
/// again by whoever comes next.
const DRAIN: Duration = Duration::from_secs(8);
/// How often the depth of the outbox is measured.
const MEASURE: Duration = Duration::from_secs(15);
/// How often what is old is dropped.
const PRUNE: Duration = Duration::from_secs(3_600);

impl App {
    /// Sends what is to be told until `stop` is cancelled.
    pub(crate) async fn run_notifier(&self, stop: CancellationToken) {
        self.register_recipients().await;
        tokio::join!(
            self.run_deliveries(stop.clone()),
            self.run_upkeep(stop.clone()),
        );
    }

    /// Lets the database know who gets mail: events are written there, by whichever process.
    async fn register_recipients(&self) {
        let mail = self.0.notifier.settings.mail.as_ref();
        let to = mail.map(|mail| mail.to.as_slice()).unwrap_or_default();
        let settle = mail.and_then(|mail| TimeDelta::from_std(mail.settle).ok());
        let set = self
            .store()
            .mail_recipients_set(to, settle.unwrap_or_default())
            .await;
        if let Err(error) = set {
            tracing::error!(%error, "the recipients of mail could not be written down");
        }
    }

    async fn run_deliveries(&self, stop: CancellationToken) {
        let mut attempts: JoinSet<String> = JoinSet::new();
        loop {
            let landed = tokio::select! {
                () = stop.cancelled() => break,
                () = self.0.notifier.wake.notified() => None,
                () = tokio::time::sleep(TICK) => None,
                Some(landed) = attempts.join_next() => landed.ok(),
            };
            let looked = match landed {
                // What waited behind it may go now.
                Some(target) => self.depart(&target, &mut attempts).await,
                None => self.depart_all(&mut attempts).await,
            };
            if let Err(error) = looked {
                tracing::warn!(%error, "the outbox could not be read");
            }
        }
        let drained = tokio::time::timeout(DRAIN, async {
            while attempts.join_next().await.is_some() {}
        });
        if drained.await.is_err() {
            tracing::warn!("deliveries were cut off at shutdown; they will be made again");
        }
    }

    async fn depart_all(&self, attempts: &mut JoinSet<String>) -> Result<(), StoreError> {
        for webhook in self.store().webhooks_open(self.now()).await? {
            self.depart(&webhook.to_string(), attempts).await?;
        }
        let mail = self.0.notifier.settings.mail.as_ref();
        for address in mail.map(|mail| mail.to.as_slice()).unwrap_or_default() {
            self.depart(address, attempts).await?;
        }
        Ok(())
    }

    /// Begins what is due for a target, as far as it has places.
    async fn depart(&self, target: &str, attempts: &mut JoinSet<String>) -> Result<(), StoreError> {
        let notifier = &self.0.notifier;
        let free = PER_TARGET.saturating_sub(notifier.in_flight(target));
        if free == 0 {
            return Ok(());
        }
        let now = self.now();
        let claimed = self
            .store()
            .deliveries_claim(target, &notifier.owner, now + LEASE, free, now)
            .await?;
        for delivery in claimed {
            notifier.departed(target);
            let app = self.clone();
            attempts.spawn(async move {
                app.deliver(&delivery).await;
                app.0.notifier.landed(&delivery.target);
                delivery.target
            });
        }
        Ok(())
    }

    async fn deliver(&self, delivery: &Delivery) {
        let done = match delivery.channel {
            DeliveryChannel::Webhook => self.deliver_webhook(delivery).await.map(|_| ()),
            DeliveryChannel::Mail => self.deliver_mail(delivery).await,
        };
        if let Err(error) = done {
            // The lease ends by itself, and then the delivery is made again.
            tracing::error!(target = %delivery.target, %error, "a delivery was not written down");
        }
    }

    /// One attempt at a webhook. None where the webhook is gone or takes nothing any more.
    pub(super) async fn deliver_webhook(
        &self,
        delivery: &Delivery,
    ) -> Result<Option<(Outcome, Duration)>, StoreError> {
        let Ok(id) = delivery.target.parse::<WebhookId>() else {
            return Ok(None);
        };
        let webhook = self.store().webhook(id).await?;
        let secrets = self.store().webhook_secrets(id, self.now()).await?;
        let (Some(webhook), Some(secrets)) = (webhook, secrets) else {
            return Ok(None);
        };
        let language = self.0.notifier.settings.language;
        let payload = text::payload(&delivery.notice, language, self.public_url());
        let (began, sent_at) = (tokio::time::Instant::now(), self.now());
        let outcome = http::post(
            self.outbound(),
            &webhook,
            &secrets,
            &delivery.notice,
            payload.to_string().into_bytes(),
            sent_at,
        )
        .await;
        let took = began.elapsed();
        metrics::histogram!("tieline_webhook_seconds").record(took.as_secs_f64());
        let now = self.now();
        let attempted = decide(delivery, &outcome, now);
        self.record(delivery, &attempted, &[]).await?;
        self.end_hopeless(&webhook, delivery, &attempted, &outcome)
            .await?;
        Ok(Some((outcome, took)))
    }

    /// Disables a webhook that nobody answers at any more; it says so, in the log and to others.
    async fn end_hopeless(
        &self,
        webhook: &Webhook,
        delivery: &Delivery,
        attempted: &Attempted,
        outcome: &Outcome,
    ) -> Result<(), StoreError> {
        let test = delivery.notice.notice_type == NoticeType::Test;
        let reason = if outcome.is_gone() && !test {
            DisabledReason::Gone
        } else if is_hopeless(delivery, attempted, webhook.last_success_at) {
            DisabledReason::Failing
        } else {
            return Ok(());
        };
        let disabled = self
            .store()
            .webhook_disable(webhook, reason, &Actor::System, self.now())
            .await?;
        if disabled {
            tracing::error!(webhook = %webhook.id, %reason, "a webhook was disabled");
        }
        Ok(())
    }

    /// One attempt at a mail. What waits behind it is told with it, and what is over is not told.
    async fn deliver_mail(&self, head: &Delivery) -> Result<(), StoreError> {
        let Some(settings) = self.0.notifier.settings.mail.as_ref() else {
            return Ok(());
        };
        let behind = self.store().deliveries_behind(head).await?;
        let later: Vec<i64> = behind.iter().map(|delivery| delivery.seq).collect();
        let sum = summed(head, &behind);
        if let Some(to) = sum.to
            && sum.notice_type == NoticeType::StateChanged
            && head.attempts == 0
            && !is_worth_a_mail(sum.from, to)
        {
            let over = Attempted {
                state: DeliveryState::Superseded,
                next_at: None,
                status: None,
                error: None,
                paused_until: None,
            };
            return self.record(head, &over, &later).await;
        }
        let console = self.public_url();
        let language = self.0.notifier.settings.language;
        let text = text::mail(&sum, behind.len() + 1, language, console);
        let hello = console.host_str().unwrap_or("localhost");
        let now = self.now();
        let outcome = mail::send(settings, hello, &head.target, &sum, text, now).await;
        let attempted = decide(head, &outcome, self.now());
        // What comes later is told by this mail only if this mail went out.
        let told = match outcome {
            Outcome::Taken { .. } => later.as_slice(),
            _ => &[],
        };
        self.record(head, &attempted, told).await
    }

    async fn record(
        &self,
        delivery: &Delivery,
        attempted: &Attempted,
        superseded: &[i64],
    ) -> Result<(), StoreError> {
        let owner = &self.0.notifier.owner;
        let stood = self
            .store()
            .delivery_attempted(delivery, owner, attempted, superseded, self.now())
            .await?;
        let outcome = match attempted.state {
            DeliveryState::Pending => "retried",
            other => other.as_str(),
        };
        metrics::counter!("tieline_deliveries_total", "channel" => delivery.channel.as_str(),
            "outcome" => outcome)
        .increment(1);
        let (channel, notice) = (delivery.channel, delivery.notice.id);
        let (status, attempt) = (attempted.status, delivery.attempts + 1);
        match attempted.error {
            None => tracing::info!(%channel, %notice, status, outcome, "a notice was delivered"),
            Some(code) => {
                tracing::warn!(%channel, %notice, status, code, attempt, outcome, "a delivery failed");
            }
        }
        if !stood {
            tracing::warn!(%channel, %notice, "a delivery took longer than it was held");
        }
        Ok(())
    }

    // === upkeep ===

    async fn run_upkeep(&self, stop: CancellationToken) {
        let mut measure = tokio::time::interval(MEASURE);
        let mut prune = tokio::time::interval(PRUNE);
        loop {
            let done = tokio::select! {
                () = stop.cancelled() => return,
                _ = measure.tick() => self.measure_outbox().await,
                _ = prune.tick() => self.prune_notices().await,
            };
            if let Err(error) = done {
                tracing::warn!(%error, "the outbox could not be looked after");
            }
        }
    }

    async fn measure_outbox(&self) -> Result<(), StoreError> {
        for depth in self.store().outbox_depth().await? {
            let channel = depth.channel.as_str();
            let age = depth.oldest.map_or(TimeDelta::zero(), |at| self.now() - at);
            let seconds = age.to_std().unwrap_or_default().as_secs_f64();
            #[expect(clippy::cast_precision_loss, reason = "a count is far below 2^53")]
            let pending = depth.pending as f64;
            metrics::gauge!("tieline_outbox_pending", "channel" => channel).set(pending);
            metrics::gauge!("tieline_outbox_oldest_seconds", "channel" => channel).set(seconds);
        }
        Ok(())
    }

    async fn prune_notices(&self) -> Result<(), StoreError> {
        self.store().outbox_prune(self.now()).await?;
        self.store().events_prune(self.now()).await?;
        Ok(())
    }
}

/// What a mail tells: from where the first began to where the last ended.
fn summed(head: &Delivery, behind: &[Delivery]) -> Notice {
    let last = behind.last().unwrap_or(head);
    let head = &head.notice;
    let from: Option<ConnectionState> = head.from;
    Notice {
        id: last.notice.id,
        from,
        from_since: head.from_since,
        ..last.notice.clone()
    }
}

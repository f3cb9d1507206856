//! Telling others: every change of an account's state, once, by webhook and by mail.
//!
//! What is to be told is written by the store in the transaction of the event itself; here it is
//! taken from the outbox, sent, and what came of it written down. Several servers share the work
//! by leases. A receiver may hear twice, with the same identifier, but never nothing.

mod http;
mod mail;
mod schedule;
mod text;
mod webhooks;
mod worker;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use secrecy::ExposeSecret;
use tieline_core::Language;
use tokio::sync::Notify;

pub use mail::{MailProblem, MailSettings, MailTls, mail_check};
pub use text::span as explain_span;
pub use webhooks::{WebhookForm, WebhookTrial};

/// What the configuration says of notices.
#[derive(Debug, Clone, Default)]
pub struct NotifySettings {
    /// The language of causes and remedies, and of mails.
    pub language: Language,
    /// How mails are sent; none sends none.
    pub mail: Option<MailSettings>,
}

/// What this process knows of its sending.
#[derive(Debug)]
pub(crate) struct Notifier {
    settings: NotifySettings,
    /// Names this process in leases: random, so that a restarted server is another owner.
    owner: String,
    /// Something was written into the outbox.
    wake: Notify,
    /// Attempts under way, by target.
    flights: Mutex<HashMap<String, u32>>,
}

impl Notifier {
    pub(crate) fn new(settings: NotifySettings) -> Self {
        let owner = tieline_vault::token::random().expose_secret().to_owned();
        Self {
            settings,
            owner,
            wake: Notify::new(),
            flights: Mutex::default(),
        }
    }

    /// Looks into the outbox at once.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    fn in_flight(&self, target: &str) -> u32 {
        let flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        flights.get(target).copied().unwrap_or_default()
    }

    fn departed(&self, target: &str) {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        *flights.entry(target.to_owned()).or_default() += 1;
    }

    fn landed(&self, target: &str) {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = flights.get_mut(target) {
            *count -= 1;
            if *count == 0 {
                flights.remove(target);
            }
        }
    }
}

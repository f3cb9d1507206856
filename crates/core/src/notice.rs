//! What is told to others of an account's events: webhooks, notices and their deliveries.

use chrono::{DateTime, Utc};

use crate::account::{UnknownWord, words};
use crate::ids::{AccountId, EventId, WebhookId, WorkspaceId};
use crate::state::{ConnectionState, Reason};

words! {
    /// What a notice is about; the `type` of a webhook's payload.
    NoticeType {
        /// The state of an account's connection changed.
        StateChanged => "integration_account.state_changed",
        /// The state stayed what it was, and has another reason now.
        ReasonChanged => "integration_account.reason_changed",
        /// The connection works, and one of its credentials ends soon or was refused.
        CredentialWarning => "integration_account.credential_warning",
        /// A webhook was disabled, because nobody took what it was sent.
        WebhookDisabled => "webhook.disabled",
        /// Somebody tries a webhook out.
        Test => "webhook.test",
    }
}

impl NoticeType {
    /// What a webhook is told of when nobody chose. A reason may change with every attempt while a
    /// service is in trouble, so who wants to follow that asks for it.
    pub const USUAL: [NoticeType; 3] = [
        NoticeType::StateChanged,
        NoticeType::CredentialWarning,
        NoticeType::WebhookDisabled,
    ];

    /// What a webhook can be told of. A test is sent to whoever is tested.
    pub const CHOICES: [NoticeType; 4] = [
        NoticeType::StateChanged,
        NoticeType::CredentialWarning,
        NoticeType::ReasonChanged,
        NoticeType::WebhookDisabled,
    ];
}

words! {
    /// Why a webhook is told nothing at present.
    DisabledReason {
        /// Somebody disabled it.
        Person => "person",
        /// It answered 410: there is nobody there any more.
        Gone => "gone",
        /// It took nothing for days.
        Failing => "failing",
    }
}

words! {
    /// By which way a notice travels.
    DeliveryChannel {
        /// A POST to a webhook.
        Webhook => "webhook",
        /// A mail.
        Mail => "mail",
    }
}

words! {
    /// What became of a delivery.
    DeliveryState {
        /// It is to be sent, or to be sent again.
        Pending => "pending",
        /// It was taken.
        Delivered => "delivered",
        /// It was given up.
        Failed => "failed",
        /// It was not sent, because what it would have said was over before its time came.
        Superseded => "superseded",
        /// It was not sent, because its webhook was disabled.
        Cancelled => "cancelled",
    }
}

/// An address that is told of events, by Standard Webhooks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Its identifier.
    pub id: WebhookId,
    /// The contact centre it belongs to.
    pub workspace_id: WorkspaceId,
    /// Where notices are posted.
    pub url: String,
    /// What it is for, in the words of whoever added it.
    pub description: String,
    /// What it is told of.
    pub events: Vec<NoticeType>,
    /// The accounts it is told of; none means every account, also those added later.
    pub accounts: Option<Vec<AccountId>>,
    /// Why it is told nothing at present, and since when; none while it is enabled.
    pub disabled: Option<(DisabledReason, DateTime<Utc>)>,
    /// Until when notices are signed with the secret before the present one as well.
    pub previous_secret_until: Option<DateTime<Utc>>,
    /// Since when every attempt has failed.
    pub failing_since: Option<DateTime<Utc>>,
    /// When it last took something.
    pub last_success_at: Option<DateTime<Utc>>,
    /// When it was added.
    pub created_at: DateTime<Utc>,
    /// Who added it.
    pub created_by: String,
}

impl Webhook {
    /// Whether it is told of events.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.disabled.is_none()
    }
}

/// Something to tell: facts as they were when it happened, so that a later attempt says the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Its identifier, which a webhook gets as `webhook-id`; that of the event, where it is one.
    pub id: EventId,
    /// What it is about.
    pub notice_type: NoticeType,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// The account, where it is about one.
    pub account_id: Option<AccountId>,
    /// The name of the account, or the address of the webhook, at that time.
    pub subject: String,
    /// The token endpoint of the account at that time, which reasons name.
    pub token_url: String,
    /// Who had consented, which reasons name.
    pub user: Option<String>,
    /// The state before; none when the account was new.
    pub from: Option<ConnectionState>,
    /// Since when that had lasted.
    pub from_since: Option<DateTime<Utc>>,
    /// The state entered.
    pub to: Option<ConnectionState>,
    /// Since when that lasts.
    pub since: Option<DateTime<Utc>>,
    /// Why.
    pub reason: Reason,
}

/// A notice on its way to one receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Counts deliveries; the order in which they were written.
    pub seq: i64,
    /// By which way.
    pub channel: DeliveryChannel,
    /// The identifier of the webhook, or a mail address.
    pub target: String,
    /// What is told.
    pub notice: Notice,
    /// What became of it.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was written.
    pub created_at: DateTime<Utc>,
    /// When it is tried next.
    pub next_at: Option<DateTime<Utc>>,
    /// When it was tried last.
    pub last_at: Option<DateTime<Utc>>,
    /// The status of the last answer: HTTP's or SMTP's.
    pub last_status: Option<u16>,
    /// Stable code of why the last attempt failed.
    pub last_error: Option<String>,
}

impl ConnectionState {
    /// Whether somebody should look at it.
    #[must_use]
    pub fn is_unwell(self) -> bool {
        !matches!(
            self,
            ConnectionState::Connected | ConnectionState::NotConnected
        )
    }
}

/// Whether a change is worth a mail: an account fell ill, is ill in another way, or recovered.
#[must_use]
pub fn is_worth_a_mail(from: Option<ConnectionState>, to: ConnectionState) -> bool {
    from != Some(to) && (to.is_unwell() || from.is_some_and(ConnectionState::is_unwell))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_tells_of_trouble_and_of_its_end() {
        use ConnectionState::{Connected, Degraded, NotConnected, Unreachable};
        assert!(is_worth_a_mail(Some(Connected), Degraded));
        assert!(is_worth_a_mail(Some(Degraded), Unreachable));
        assert!(is_worth_a_mail(Some(Unreachable), Connected));
        assert!(!is_worth_a_mail(Some(Degraded), Degraded));
        assert!(!is_worth_a_mail(None, NotConnected));
        assert!(!is_worth_a_mail(Some(NotConnected), Connected));
    }

    #[test]
    fn words_round_trip() {
        for word in NoticeType::ALL {
            assert_eq!(word.as_str().parse::<NoticeType>().as_ref(), Ok(word));
        }
        for word in DeliveryState::ALL {
            assert_eq!(word.as_str().parse::<DeliveryState>().as_ref(), Ok(word));
        }
    }
}

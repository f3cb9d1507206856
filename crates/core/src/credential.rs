//! Credentials of an application: how it proves to the token service who it is.
//!
//! An account may hold several at a time, so that none has to be changed at the very moment when
//! another ends. They are tried in turn, the one that worked last before all others.

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

use crate::account::{UnknownWord, words};

words! {
    /// The place of a credential. In this order they are tried while nothing is known of them: a
    /// certificate before a secret, because who adds one wants to leave the secret behind.
    CredentialSlot {
        /// The certificate.
        ClientCertificate => "client_certificate",
        /// The certificate that takes over when the first one ends.
        NextClientCertificate => "next_client_certificate",
        /// The client secret.
        ClientSecret => "client_secret",
        /// The secret that takes over when the first one ends.
        NextClientSecret => "next_client_secret",
    }
}

impl CredentialSlot {
    /// Whether a certificate stands here.
    #[must_use]
    pub fn is_certificate(self) -> bool {
        matches!(self, Self::ClientCertificate | Self::NextClientCertificate)
    }

    /// The place that takes over from this one; none for those that take over themselves.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        match self {
            Self::ClientCertificate => Some(Self::NextClientCertificate),
            Self::ClientSecret => Some(Self::NextClientSecret),
            Self::NextClientCertificate | Self::NextClientSecret => None,
        }
    }
}

/// What is known of a credential without opening it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialInfo {
    /// Its place.
    pub slot: CredentialSlot,
    /// When it was set.
    pub set_at: DateTime<Utc>,
    /// The day on which it ends: of a secret as told by the administrator, of a certificate as it
    /// says itself.
    #[serde(default)]
    pub expires_on: Option<NaiveDate>,
    /// Of a certificate: SHA-1 in hexadecimal, as the Azure portal shows it.
    #[serde(default)]
    pub thumbprint: Option<String>,
    /// Of a certificate: what to upload in the Azure portal (PEM). It is public.
    #[serde(default)]
    pub certificate: Option<String>,
    /// Since when it is the one that works.
    #[serde(default)]
    pub worked_at: Option<DateTime<Utc>>,
    /// Since when the token service refuses it, and why.
    #[serde(default)]
    pub refused: Option<CredentialRefusal>,
    /// The notice of its end that was given last, in days before it.
    #[serde(default)]
    pub noticed: Option<i64>,
}

/// Since when a credential is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialRefusal {
    /// Since when.
    pub since: DateTime<Utc>,
    /// Stable code; chooses the help text.
    pub code: String,
    /// What was observed, with secrets never in it.
    pub detail: String,
}

/// How many days before a credential's end somebody is told; the last is the day itself.
pub const EXPIRY_NOTICES: [i64; 5] = [30, 14, 7, 1, 0];

impl CredentialInfo {
    /// A credential of which nothing is known but its place.
    #[must_use]
    pub fn new(slot: CredentialSlot, set_at: DateTime<Utc>) -> Self {
        Self {
            slot,
            set_at,
            expires_on: None,
            thumbprint: None,
            certificate: None,
            worked_at: None,
            refused: None,
            noticed: None,
        }
    }

    /// Whole days until it ends; negative afterwards.
    #[must_use]
    pub fn days_left(&self, today: NaiveDate) -> Option<i64> {
        self.expires_on.map(|end| (end - today).num_days())
    }

    /// The notice that is due and was not given: the latest of those whose day has come.
    #[must_use]
    pub fn notice_due(&self, today: NaiveDate) -> Option<i64> {
        let left = self.days_left(today)?;
        let due = EXPIRY_NOTICES
            .into_iter()
            .filter(|days| left <= *days)
            .min()?;
        self.noticed.is_none_or(|given| due < given).then_some(due)
    }

    /// The day of the next notice that was not given.
    #[must_use]
    pub fn next_notice(&self) -> Option<NaiveDate> {
        let end = self.expires_on?;
        let left = EXPIRY_NOTICES
            .into_iter()
            .find(|days| self.noticed.is_none_or(|given| *days < given))?;
        end.checked_sub_days(chrono::Days::new(left.unsigned_abs()))
    }
}

/// The order in which credentials are tried: what worked last, then what was not refused, then the
/// rest, each in the order of [`CredentialSlot`]. A refused one is kept in line, because a refusal
/// may be of the token service's own making.
#[must_use]
pub fn trial_order(credentials: &[CredentialInfo]) -> Vec<CredentialSlot> {
    let mut order: Vec<&CredentialInfo> = credentials.iter().collect();
    order.sort_by_key(|info| {
        let place = CredentialSlot::ALL
            .iter()
            .position(|slot| *slot == info.slot);
        (
            info.refused.is_some(),
            std::cmp::Reverse(info.worked_at),
            place,
        )
    });
    order.into_iter().map(|info| info.slot).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().expect("a day")
    }

    fn info(slot: CredentialSlot) -> CredentialInfo {
        CredentialInfo::new(slot, DateTime::UNIX_EPOCH)
    }

    #[test]
    fn each_notice_is_due_once() {
        let mut secret = info(CredentialSlot::ClientSecret);
        assert_eq!(secret.notice_due(day("2026-11-01")), None);
        secret.expires_on = Some(day("2026-12-31"));
        let mut given = Vec::new();
        let mut today = day("2026-11-01");
        while today < day("2027-02-01") {
            if let Some(due) = secret.notice_due(today) {
                given.push((today.to_string(), due));
                secret.noticed = Some(due);
            }
            today = today.succ_opt().expect("a day");
        }
        let expected = [
            ("2026-12-01".to_owned(), 30),
            ("2026-12-17".to_owned(), 14),
            ("2026-12-24".to_owned(), 7),
            ("2026-12-30".to_owned(), 1),
            ("2026-12-31".to_owned(), 0),
        ];
        assert_eq!(given, expected);
    }

    #[test]
    fn a_server_that_was_off_gives_the_latest_notice_alone() {
        let mut secret = info(CredentialSlot::ClientSecret);
        secret.expires_on = Some(day("2026-12-31"));
        assert_eq!(secret.next_notice(), Some(day("2026-12-01")));
        assert_eq!(secret.notice_due(day("2026-12-26")), Some(7));
        secret.noticed = Some(7);
        assert_eq!(secret.next_notice(), Some(day("2026-12-30")));
        secret.noticed = Some(0);
        assert_eq!(secret.next_notice(), None);
    }

    #[test]
    fn what_worked_last_is_tried_first_and_what_is_refused_last() {
        use CredentialSlot::{ClientCertificate, ClientSecret, NextClientSecret};
        let mut all = [
            info(NextClientSecret),
            info(ClientSecret),
            info(ClientCertificate),
        ];
        let unknown = [ClientCertificate, ClientSecret, NextClientSecret];
        assert_eq!(trial_order(&all), unknown);
        all[0].worked_at = Some(DateTime::UNIX_EPOCH);
        all[2].refused = Some(CredentialRefusal {
            since: DateTime::UNIX_EPOCH,
            code: "certificate-unknown".to_owned(),
            detail: String::new(),
        });
        let known = [NextClientSecret, ClientSecret, ClientCertificate];
        assert_eq!(trial_order(&all), known);
    }
}

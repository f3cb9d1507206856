//! The shape of a connection test: ordered rungs, each with its own verdict.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::account::{UnknownWord, words};

words! {
    /// One check of the test ladder; the order is the order of the checks.
    Rung {
        /// Are the properties complete and do they fit together?
        Settings => "settings",
        /// Do the host names resolve to addresses that may be called?
        Name => "name",
        /// Does TLS succeed with certificates that we trust?
        Tls => "tls",
        /// Does the token service give a token?
        Token => "token",
        /// Is the token for this organization and this application?
        Claims => "claims",
        /// Does the organization know who we are?
        WhoAmI => "whoami",
        /// Which organization is it, and is it in order?
        Organization => "organization",
        /// May the connected user do the work of a contact centre?
        Privileges => "privileges",
        /// How much of the service protection limits is left?
        Headroom => "headroom",
    }
}

words! {
    /// What became of a rung.
    RungStatus {
        /// In order.
        Ok => "ok",
        /// It works, but somebody should look at it.
        Warning => "warning",
        /// It does not work.
        Failed => "failed",
        /// Not tried, because an earlier rung failed.
        NotReached => "not_reached",
    }
}

/// What Microsoft said, so that its support can find the case. Never a secret or a token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The host that was spoken to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// OAuth `error`, or the status line of an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// OAuth `suberror`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suberror: Option<String>,
    /// `AADSTS…` or a Dataverse code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The first line of the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// HTTP status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Entra's trace id, or Dataverse's request id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// Entra's correlation id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// Microsoft's own timestamp.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<String>,
}

/// The result of one rung.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RungReport {
    /// Which check.
    pub rung: Rung,
    /// What became of it.
    pub status: RungStatus,
    /// How long it took, in milliseconds.
    pub ms: u64,
    /// Stable code of the finding; `ok` or `not-reached` where there is none.
    pub code: String,
    /// What was found, in plain words.
    pub cause: String,
    /// What to do about it; empty when nothing is to be done.
    pub remedy: String,
    /// What was seen on the wire.
    pub evidence: Evidence,
}

/// The result of a whole test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LadderReport {
    /// Whether every rung is ok or only warned.
    pub ok: bool,
    /// When the test began.
    pub at: DateTime<Utc>,
    /// One report per rung, in order.
    pub rungs: Vec<RungReport>,
}

impl LadderReport {
    /// Sums up rungs: a test is good only if every rung was climbed.
    #[must_use]
    pub fn of(at: DateTime<Utc>, rungs: Vec<RungReport>) -> Self {
        let ok = rungs
            .iter()
            .all(|rung| matches!(rung.status, RungStatus::Ok | RungStatus::Warning));
        Self {
            ok: ok && !rungs.is_empty(),
            at,
            rungs,
        }
    }

    /// The rung that failed, if any.
    #[must_use]
    pub fn failure(&self) -> Option<&RungReport> {
        self.rungs
            .iter()
            .find(|rung| rung.status == RungStatus::Failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rung(rung: Rung, status: RungStatus) -> RungReport {
        RungReport {
            rung,
            status,
            ms: 1,
            code: "ok".into(),
            cause: String::new(),
            remedy: String::new(),
            evidence: Evidence::default(),
        }
    }

    #[test]
    fn a_test_is_good_only_when_every_rung_was_climbed() {
        let at = Utc::now();
        let good = vec![
            rung(Rung::Settings, RungStatus::Ok),
            rung(Rung::Name, RungStatus::Warning),
        ];
        assert!(LadderReport::of(at, good).ok);
        let bad = vec![
            rung(Rung::Settings, RungStatus::Failed),
            rung(Rung::Name, RungStatus::NotReached),
        ];
        let report = LadderReport::of(at, bad);
        assert!(!report.ok);
        assert_eq!(report.failure().map(|r| r.rung), Some(Rung::Settings));
        assert!(!LadderReport::of(at, vec![]).ok);
    }
}

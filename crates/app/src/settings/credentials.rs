//! Reads the credentials of a form: whether one is left, whether each is well-formed, and when it
//! ends.

use chrono::NaiveDate;
use secrecy::{ExposeSecret, SecretString};
use tieline_core::{CredentialInfo, CredentialSlot};
use tieline_entra::{ClientCertificate, is_guid};

use super::Circumstances;
use crate::form::{AccountForm, Field, Finding};

/// Microsoft's portal makes secrets of well under this; what is longer is a file pasted whole.
const SECRET_MAX: usize = 4096;
/// From how many days before its end on a credential is warned of; the first notice of
/// [`tieline_core::EXPIRY_NOTICES`].
const WARNED_DAYS: i64 = 30;

/// What the form tells of the ends of its secrets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expiries {
    pub(super) first: Option<NaiveDate>,
    pub(super) next: Option<NaiveDate>,
}

/// Judges every credential of a form.
pub(super) fn judge(
    form: &AccountForm,
    around: Circumstances<'_>,
    findings: &mut Vec<Finding>,
) -> Expiries {
    let left = left_of(form, around);
    for (slot, place) in [
        (CredentialSlot::ClientSecret, Field::ClientSecret),
        (CredentialSlot::NextClientSecret, Field::NextClientSecret),
    ] {
        if let Some(secret) = form.typed_credential(slot) {
            judge_secret(secret, place, findings);
        }
    }
    for slot in [
        CredentialSlot::ClientCertificate,
        CredentialSlot::NextClientCertificate,
    ] {
        if let Some(pem) = form.typed_credential(slot) {
            judge_certificate(pem, slot, around, findings);
        } else if let Some(info) = left.iter().find(|info| info.slot == slot) {
            judge_end(info.expires_on, slot, around, findings);
        }
    }
    judge_refusals(form, &left, findings);
    if left.is_empty() && form.client_secret.is_none() {
        findings.push(Finding::error(Field::ClientSecret, "client-secret-empty"));
    }
    Expiries {
        first: judge_day(
            &form.secret_expires_on,
            CredentialSlot::ClientSecret,
            around,
            findings,
        ),
        next: judge_day(
            &form.next_secret_expires_on,
            CredentialSlot::NextClientSecret,
            around,
            findings,
        ),
    }
}

/// The credentials that there would be after an Apply.
fn left_of(form: &AccountForm, around: Circumstances<'_>) -> Vec<CredentialInfo> {
    let mut left: Vec<CredentialInfo> = around
        .account
        .map(|account| account.credentials.clone())
        .unwrap_or_default();
    for slot in &form.remove {
        // What waits to take over does; nothing is known to be left in its own place then.
        if slot
            .next()
            .is_some_and(|next| left.iter().any(|info| info.slot == next))
        {
            left.retain(|info| info.slot != *slot);
            for info in &mut left {
                if Some(info.slot) == slot.next() {
                    info.slot = *slot;
                }
            }
        } else {
            left.retain(|info| info.slot != *slot);
        }
    }
    for held in around.held {
        left.retain(|info| info.slot != held.slot);
        left.push(held.clone());
    }
    for (slot, secret) in form.typed_credentials() {
        if !secret.expose_secret().is_empty() && !left.iter().any(|info| info.slot == slot) {
            left.push(CredentialInfo::new(slot, around.now));
        }
    }
    left
}

fn judge_secret(secret: &SecretString, field: Field, findings: &mut Vec<Finding>) {
    let text = secret.expose_secret().trim();
    if text.is_empty() {
        findings.push(Finding::error(field, "client-secret-empty"));
    } else if text.len() > SECRET_MAX || text.chars().any(char::is_control) {
        findings.push(Finding::error(field, "client-secret-malformed"));
    } else if is_guid(text) {
        findings.push(Finding::warning(field, "client-secret-looks-like-id"));
    }
}

fn judge_certificate(
    pem: &SecretString,
    slot: CredentialSlot,
    around: Circumstances<'_>,
    findings: &mut Vec<Finding>,
) {
    match ClientCertificate::parse(pem) {
        Ok(certificate) => {
            let end = certificate.not_after().date_naive();
            judge_end(Some(end), slot, around, findings);
        }
        Err(problem) => findings.push(Finding::error(Field::from(slot), problem.code())),
    }
}

fn judge_day(
    text: &str,
    slot: CredentialSlot,
    around: Circumstances<'_>,
    findings: &mut Vec<Finding>,
) -> Option<NaiveDate> {
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    let Ok(day) = NaiveDate::parse_from_str(text, "%Y-%m-%d") else {
        findings.push(Finding::error(day_field(slot), "secret-expiry-malformed"));
        return None;
    };
    judge_end(Some(day), slot, around, findings);
    Some(day)
}

fn judge_end(
    end: Option<NaiveDate>,
    slot: CredentialSlot,
    around: Circumstances<'_>,
    findings: &mut Vec<Finding>,
) {
    let Some(end) = end else {
        return;
    };
    let days = (end - around.now.date_naive()).num_days();
    let code = match (slot.is_certificate(), days) {
        (false, ..0) => "secret-expiry-past",
        (false, 0..=WARNED_DAYS) => "secret-expiry-soon",
        (true, ..0) => "certificate-expiry-past",
        (true, 0..=WARNED_DAYS) => "certificate-expiry-soon",
        _ => return,
    };
    findings.push(
        Finding::warning(day_field(slot), code)
            .with("date", end.to_string())
            .with("days", days.to_string()),
    );
}

/// Where something is said of a credential's end.
fn day_field(slot: CredentialSlot) -> Field {
    match slot {
        CredentialSlot::ClientSecret => Field::SecretExpiresOn,
        CredentialSlot::NextClientSecret => Field::NextSecretExpiresOn,
        other => Field::from(other),
    }
}

/// A credential that is refused while another works does no harm yet, and is forgotten easily.
fn judge_refusals(form: &AccountForm, left: &[CredentialInfo], findings: &mut Vec<Finding>) {
    if left.len() < 2 {
        return;
    }
    for info in left {
        if let Some(refusal) = &info.refused
            && form.typed_credential(info.slot).is_none()
        {
            let day = refusal.since.format("%Y-%m-%d").to_string();
            findings.push(
                Finding::warning(Field::from(info.slot), "credential-refused-since")
                    .with("date", day)
                    .with("why", refusal.detail.clone()),
            );
        }
    }
}

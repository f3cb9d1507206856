//! The credentials of an account: in which order they are tried, and what became of each.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use tieline_core::{Account, CredentialSlot, trial_order};
use tieline_entra::{CertificateProblem, ClientCertificate, Credential};
use tieline_store::{CredentialOutcome, Draft, Store, StoreError};

use crate::form::AccountForm;
use crate::obtain::{Failure, Offered, RefusedCredential};

/// The credentials of an account as they are tried.
///
/// # Errors
/// When the database does not answer, or one of them does not open.
pub(crate) async fn offered(store: &Store, account: &Account) -> Result<Vec<Offered>, StoreError> {
    let mut secrets = store.account_credentials(account.id).await?;
    let mut offers = Vec::new();
    for slot in trial_order(&account.credentials) {
        let Some(secret) = secrets.remove(&slot) else {
            continue;
        };
        match offer(slot, secret) {
            Ok(offered) => offers.push(offered),
            // It was read when it came in, so this is damage; the others may still do.
            Err(problem) => {
                tracing::error!(account = %account.id, %slot, %problem, "a credential is not usable");
            }
        }
    }
    Ok(offers)
}

/// The credentials of a form that is tested: what was typed, then what its draft keeps, then what
/// the account has; without those that the form wants removed.
///
/// # Errors
/// When the database does not answer, or one of them does not open.
pub(crate) async fn offered_to_test(
    store: &Store,
    form: &AccountForm,
    draft: Option<&Draft>,
    account: Option<&Account>,
) -> Result<Vec<Offered>, StoreError> {
    let mut secrets = HashMap::new();
    let mut known = Vec::new();
    if let Some(account) = account {
        secrets = store.account_credentials(account.id).await?;
        known.clone_from(&account.credentials);
        for slot in &form.remove {
            secrets.remove(slot);
        }
    }
    if let Some(draft) = draft {
        if let Some(secret) = store.draft_secret(draft.id).await? {
            secrets.insert(CredentialSlot::ClientSecret, secret);
        }
        secrets.extend(store.draft_credentials(draft.id).await?);
    }
    secrets.extend(form.typed_credentials());
    let mut order = trial_order(&known);
    order.extend(
        CredentialSlot::ALL
            .iter()
            .filter(|slot| !known.iter().any(|info| info.slot == **slot)),
    );
    let mut offers = Vec::new();
    for slot in order {
        if let Some(Ok(offered)) = secrets.remove(&slot).map(|secret| offer(slot, secret)) {
            offers.push(offered);
        }
    }
    Ok(offers)
}

/// A credential made ready for use.
///
/// # Errors
/// When a certificate cannot be read.
pub(crate) fn offer(
    slot: CredentialSlot,
    secret: SecretString,
) -> Result<Offered, CertificateProblem> {
    let credential = if slot.is_certificate() {
        Credential::Certificate(Arc::new(ClientCertificate::parse(&secret)?))
    } else {
        Credential::Secret(secret)
    };
    Ok(Offered { slot, credential })
}

/// Writes down which credential worked and which were refused, where that is news.
pub(crate) async fn note(
    store: &Store,
    account: &Account,
    worked: Option<CredentialSlot>,
    refused: &[RefusedCredential],
    now: DateTime<Utc>,
) {
    let outcome = CredentialOutcome {
        worked,
        refused: refused.iter().map(|one| (one.slot, one.reason())).collect(),
    };
    if !outcome.is_news(&account.credentials) {
        return;
    }
    for (slot, reason) in &outcome.refused {
        tracing::warn!(account = %account.id, %slot, code = %reason.code, "a credential is refused");
    }
    if let Err(error) = store.credentials_noted(account.id, &outcome, now).await {
        // It is found out again with the next renewal.
        tracing::warn!(account = %account.id, %error, "what became of a credential was not kept");
    }
}

/// The same for an attempt that brought nothing.
pub(crate) async fn note_failure(
    store: &Store,
    account: &Account,
    failure: &Failure,
    now: DateTime<Utc>,
) {
    if let Failure::Credentials(refused) = failure {
        note(store, account, None, refused, now).await;
    }
}

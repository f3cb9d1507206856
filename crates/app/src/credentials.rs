//! The credentials of an account: in which order they are tried, and what became of each.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Days, Utc};
use secrecy::SecretString;
use tieline_core::{
    Account, AccountId, Actor, CredentialInfo, CredentialSlot, GrantType, Language, Reason, User,
    trial_order,
};
use tieline_entra::{CertificateProblem, ClientCertificate, Credential, TokenClient};
use tieline_store::{CredentialChange, CredentialOutcome, Draft, Store, StoreError};
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::error::AppError;
use crate::form::{AccountForm, Applied, Field, Finding};
use crate::help::explain_plain;
use crate::obtain::{Attempt, Failure, Offered, RefusedCredential};
use crate::settings::Settings;

/// How often it is looked for credentials that end soon. The look is one indexed query.
const WATCH_EVERY: Duration = Duration::from_secs(60);
/// How long a certificate lasts that is made here: a year, which most tenants' policies allow.
pub const CERTIFICATE_DAYS: u16 = 365;

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
        accepted: Vec::new(),
    };
    write_down(store, account, &outcome, now).await;
}

async fn write_down(
    store: &Store,
    account: &Account,
    outcome: &CredentialOutcome,
    now: DateTime<Utc>,
) {
    if !outcome.is_news(&account.credentials) {
        return;
    }
    for (slot, reason) in &outcome.refused {
        tracing::warn!(account = %account.id, %slot, code = %reason.code, "a credential is refused");
    }
    if let Err(error) = store.credentials_noted(account.id, outcome, now).await {
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

// === what a form asks for ===

/// What is known of a credential that was typed.
pub(crate) fn info_of(
    slot: CredentialSlot,
    secret: &SecretString,
    now: DateTime<Utc>,
) -> CredentialInfo {
    let mut info = CredentialInfo::new(slot, now);
    if slot.is_certificate()
        && let Ok(certificate) = ClientCertificate::parse(secret)
    {
        info.expires_on = Some(certificate.not_after().date_naive());
        info.thumbprint = Some(certificate.thumbprint());
        info.certificate = Some(certificate.certificate_pem());
    }
    info
}

/// What becomes of the credentials besides the first client secret. What was typed goes before
/// what a draft brought.
pub(crate) fn changes(
    form: &AccountForm,
    mut brought: HashMap<CredentialSlot, SecretString>,
    settings: &Settings,
    account: Option<&Account>,
    now: DateTime<Utc>,
) -> Vec<(CredentialSlot, CredentialChange)> {
    brought.extend(form.typed_credentials());
    let mut changes = Vec::new();
    for slot in CredentialSlot::ALL.iter().copied() {
        if slot == CredentialSlot::ClientSecret {
            continue;
        }
        let next_secret = slot == CredentialSlot::NextClientSecret;
        if let Some(secret) = brought.remove(&slot) {
            let mut info = info_of(slot, &secret, now);
            if next_secret {
                info.expires_on = settings.next_secret_expires_on;
            }
            changes.push((slot, CredentialChange::Set { secret, info }));
        } else if form.remove.contains(&slot) {
            changes.push((slot, CredentialChange::Remove));
        } else if next_secret
            && let Some(info) = account.and_then(|account| account.credential(slot))
            && info.expires_on != settings.next_secret_expires_on
        {
            changes.push((
                slot,
                CredentialChange::Expiry(settings.next_secret_expires_on),
            ));
        }
    }
    changes
}

/// What is known of an account's credentials with those that a draft holds over them.
pub(crate) fn over(account: Option<&Account>, held: &[CredentialInfo]) -> Vec<CredentialInfo> {
    let saved = account.map(|account| account.credentials.clone());
    let mut all = saved.unwrap_or_default();
    all.retain(|info| !held.iter().any(|other| other.slot == info.slot));
    all.extend(held.iter().cloned());
    all
}

/// A credential's name in a language.
pub(crate) fn name_of(slot: CredentialSlot, language: Language) -> String {
    let code = match slot {
        CredentialSlot::ClientSecret => "credential-client_secret",
        CredentialSlot::NextClientSecret => "credential-next_client_secret",
        CredentialSlot::ClientCertificate => "credential-client_certificate",
        CredentialSlot::NextClientCertificate => "credential-next_client_certificate",
    };
    explain_plain(code, language).cause
}

// === certificates that are made here ===

impl App {
    /// Makes a key and a certificate for a form, and keeps both with its draft.
    ///
    /// # Errors
    /// When both places of a certificate are taken.
    pub async fn draft_certificate_generate(
        &self,
        user: &User,
        account: Option<AccountId>,
    ) -> Result<(), AppError> {
        let draft = self.draft_or_new(user, account).await?;
        let form = self.draft_form(&draft);
        let account = self.optional_account(account).await?;
        // One that was made for this form and never applied is simply made anew.
        let taken: Vec<CredentialSlot> = account
            .iter()
            .flat_map(|account| account.credentials.iter().map(|info| info.slot))
            .filter(|slot| !form.remove.contains(slot))
            .collect();
        let slot = free_place(&taken)?;
        let certificate = self.certificate_made(&form.name, CERTIFICATE_DAYS).await?;
        let info = info_of(slot, certificate.pem(), self.now());
        let credential = Some((certificate.pem().clone(), info));
        let store = self.store();
        Ok(store
            .draft_set_credential(draft.id, slot, credential, self.now())
            .await?)
    }

    /// Forgets a credential that a form holds and that was not applied yet.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn draft_credential_forget(
        &self,
        user: &User,
        account: Option<AccountId>,
        slot: CredentialSlot,
    ) -> Result<(), AppError> {
        let draft = self.draft_or_new(user, account).await?;
        let store = self.store();
        Ok(store
            .draft_set_credential(draft.id, slot, None, self.now())
            .await?)
    }

    /// Makes a key and a certificate for an account, and saves both. Where it has a certificate
    /// already, the new one waits to take over, so that it can be uploaded first.
    ///
    /// # Errors
    /// When both places of a certificate are taken.
    pub async fn account_certificate_generate(
        &self,
        by: &Actor,
        id: AccountId,
        days: u16,
    ) -> Result<(Applied, CredentialSlot), AppError> {
        let account = self.account(id).await?;
        let taken: Vec<_> = account.credentials.iter().map(|info| info.slot).collect();
        let slot = free_place(&taken)?;
        let certificate = self.certificate_made(account.name.as_str(), days).await?;
        let pem = Some(certificate.pem().clone());
        let mut form = AccountForm::of(&account);
        match slot {
            CredentialSlot::NextClientCertificate => form.next_client_certificate = pem,
            _ => form.client_certificate = pem,
        }
        let applied = self.account_edit(by, id, account.version, form).await?;
        Ok((applied, slot))
    }

    async fn certificate_made(&self, name: &str, days: u16) -> Result<ClientCertificate, AppError> {
        let name = format!("Tieline {}", name.trim());
        let (name, now, life) = (name.trim().to_owned(), self.now(), Days::new(days.into()));
        // An RSA key takes long enough to make others wait for the thread.
        let made =
            tokio::task::spawn_blocking(move || ClientCertificate::generate(&name, now, life))
                .await;
        match made {
            Ok(Ok(certificate)) => Ok(certificate),
            _ => Err(AppError::Refused {
                code: CertificateProblem::NotMade.code(),
            }),
        }
    }

    /// Gives the notices of credentials that end soon, until `stop` is cancelled.
    pub(crate) async fn watch_expiries(&self, stop: CancellationToken) {
        loop {
            if let Err(error) = self.watch_expiries_once().await {
                tracing::warn!(%error, "notices of credentials that end could not be given");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(WATCH_EVERY) => {}
            }
        }
    }

    async fn watch_expiries_once(&self) -> Result<(), StoreError> {
        let now = self.now();
        let given = self.store().expiry_notices(now).await?;
        if given > 0 {
            tracing::warn!(given, "credentials end soon");
        }
        if let Some(end) = self.store().soonest_expiry().await? {
            #[expect(
                clippy::cast_precision_loss,
                reason = "seconds of a few years are far below 2^53"
            )]
            let seconds = (end - now).num_seconds() as f64;
            metrics::gauge!("tieline_credential_soonest_expiry_seconds").set(seconds);
        }
        Ok(())
    }
}

/// The place for another certificate.
fn free_place(taken: &[CredentialSlot]) -> Result<CredentialSlot, AppError> {
    let places = [
        CredentialSlot::ClientCertificate,
        CredentialSlot::NextClientCertificate,
    ];
    let free = places.into_iter().find(|slot| !taken.contains(slot));
    free.ok_or_else(|| {
        let finding = Finding::error(Field::NextClientCertificate, "certificate-places-taken");
        AppError::Invalid(vec![finding])
    })
}

// === the test of each ===

/// What the token service said of one credential.
#[derive(Debug)]
pub(crate) struct Probe {
    pub(crate) slot: CredentialSlot,
    /// Why it was refused; none when it was not.
    pub(crate) refusal: Option<Reason>,
    /// Whether the token service said anything at all.
    answered: bool,
}

impl Probe {
    /// The result in a word or in the token service's own words.
    pub(crate) fn said(&self) -> &str {
        match &self.refusal {
            Some(reason) => &reason.detail,
            None if self.answered => "accepted",
            None => "no answer",
        }
    }
}

/// Asks the token service of each credential whether it accepts it. The application's own grant is
/// asked for, because it spends no refresh token; that it may be refused for other reasons says
/// nothing, since the proof of the client is looked at first.
pub(crate) async fn probe(app: &App, settings: &Settings, offered: Vec<Offered>) -> Vec<Probe> {
    let (Some(endpoints), Some(api)) = (&settings.endpoints, &settings.api) else {
        return Vec::new();
    };
    let tokens = TokenClient::new(app.outbound().http().clone());
    let mut probes = Vec::new();
    for Offered { slot, credential } in offered {
        let attempt = Attempt {
            endpoints,
            client_id: &settings.client_id,
            credentials: vec![Offered { slot, credential }],
            api_url: api.url(),
            grant: GrantType::ClientCredentials,
            refresh_token: None,
            previous: None,
            claims: None,
        };
        let (refusal, answered) = match attempt.run(&tokens, app.outbound(), app.now()).await {
            Ok(_) => (None, true),
            Err(Failure::Credentials(refused)) => {
                (refused.first().map(RefusedCredential::reason), true)
            }
            Err(other) => (None, other.is_dead()),
        };
        probes.push(Probe {
            slot,
            refusal,
            answered,
        });
    }
    probes
}

/// Writes down what a test found of each credential.
pub(crate) async fn note_probes(
    store: &Store,
    account: &Account,
    probes: &[Probe],
    now: DateTime<Utc>,
) {
    let outcome = CredentialOutcome {
        worked: None,
        accepted: probes
            .iter()
            .filter(|probe| probe.answered && probe.refusal.is_none())
            .map(|probe| probe.slot)
            .collect(),
        refused: probes
            .iter()
            .filter_map(|probe| Some((probe.slot, probe.refusal.clone()?)))
            .collect(),
    };
    write_down(store, account, &outcome, now).await;
}

//! Forms whose owner is away: what was typed is kept until it is applied or reset.
//!
//! There is one draft per user and account, and one per user for a new account. Its text is kept
//! as typed, right or wrong; its secrets are sealed like any other.

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use tieline_core::{
    Account, AccountId, Actor, ConsentInfo, CredentialInfo, CredentialSlot, DraftId, GrantType,
    LadderReport, RefreshTokenRotation, User,
};
use tieline_store::{Draft, SecretChange};

use crate::accounts::{Brought, typed_secret};
use crate::app::App;
use crate::credentials;
use crate::error::AppError;
use crate::form::{AccountForm, Applied, Field, Finding};
use crate::settings::client_key;

/// A form as it is shown.
#[derive(Debug, Clone)]
pub struct DraftView {
    /// The account that it edits; none for a new one.
    pub account: Option<Account>,
    /// What stands in the fields; never a secret.
    pub form: AccountForm,
    /// When the client secret was set, in the draft or in the account.
    pub secret_set_at: Option<DateTime<Utc>>,
    /// Whether that secret is not applied yet.
    pub secret_is_draft: bool,
    /// What is known of every credential, in the draft or in the account.
    pub credentials: Vec<CredentialInfo>,
    /// Those that are not applied yet.
    pub held: Vec<CredentialSlot>,
    /// Who consented, in the draft or in the account.
    pub consent: Option<ConsentInfo>,
    /// Whether that consent is not applied yet.
    pub consent_is_draft: bool,
    /// Whether something differs from what is saved.
    pub dirty: bool,
    /// What there is to say of the fields.
    pub findings: Vec<Finding>,
    /// The last connection test of this draft.
    pub report: Option<LadderReport>,
    /// What somebody else saved meanwhile, by property; none when nobody did.
    pub stale: Option<Vec<(Field, String)>>,
    /// The draft, where there is one.
    pub draft_id: Option<DraftId>,
    /// When the draft was last changed.
    pub updated_at: Option<DateTime<Utc>>,
}

/// The text of a form as a draft keeps it.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Typed {
    name: String,
    default: bool,
    authorization_url: String,
    token_url: String,
    api_url: String,
    client_id: String,
    secret_expires_on: String,
    next_secret_expires_on: String,
    remove: Vec<CredentialSlot>,
    grant: Option<GrantType>,
    rotation: Option<RefreshTokenRotation>,
    notes: String,
}

impl App {
    /// The form for an account, or for a new one: as it was left, or as it is saved.
    ///
    /// # Errors
    /// When there is no such account.
    pub async fn draft_open(
        &self,
        user: &User,
        account: Option<AccountId>,
    ) -> Result<DraftView, AppError> {
        let saved = self.saved(account).await?;
        let owner = user.id.to_string();
        let draft = self
            .store()
            .draft_for(self.workspace(), &owner, account)
            .await?;
        self.view(saved, draft).await
    }

    /// Keeps what was typed.
    ///
    /// # Errors
    /// When there is no such account.
    pub async fn draft_save(
        &self,
        user: &User,
        account: Option<AccountId>,
        form: AccountForm,
    ) -> Result<DraftView, AppError> {
        let saved = self.saved(account).await?;
        let draft = self.keep(user, saved.as_ref(), &form).await?;
        self.view(saved, Some(draft)).await
    }

    /// Saves a draft as the account: all of it or nothing.
    ///
    /// # Errors
    /// When the form has faults, or somebody else changed the account meanwhile. The draft stays.
    pub async fn draft_apply(
        &self,
        user: &User,
        account: Option<AccountId>,
    ) -> Result<Applied, AppError> {
        let owner = user.id.to_string();
        let by = Actor::User {
            id: user.id,
            email: user.email.as_str().to_owned(),
        };
        let saved = self.saved(account).await?;
        let draft = self
            .store()
            .draft_for(self.workspace(), &owner, account)
            .await?;
        let Some(draft) = draft else {
            return match saved {
                // Nothing was typed, so there is nothing to save.
                Some(account) => Ok(Applied {
                    account,
                    warnings: Vec::new(),
                }),
                None => {
                    self.add(&by, &self.blank().await?, Brought::default())
                        .await
                }
            };
        };
        let form = form_of(&draft);
        let brought = Brought {
            secret: self.store().draft_secret(draft.id).await?,
            credentials: self.store().draft_credentials(draft.id).await?,
            held: draft.held(),
            tokens: self.store().draft_tokens(draft.id).await?,
        };
        let applied = match &saved {
            Some(account) => {
                let base = draft.base_version.unwrap_or(account.version);
                self.edit(&by, account.id, base, &form, brought).await?
            }
            None => self.add(&by, &form, brought).await?,
        };
        self.store().draft_delete(draft.id).await?;
        Ok(applied)
    }

    /// Forgets what was typed.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn draft_reset(
        &self,
        user: &User,
        account: Option<AccountId>,
    ) -> Result<(), AppError> {
        let owner = user.id.to_string();
        if let Some(draft) = self
            .store()
            .draft_for(self.workspace(), &owner, account)
            .await?
        {
            self.store().draft_delete(draft.id).await?;
        }
        Ok(())
    }

    /// The draft of a user, made from what is saved when there is none yet.
    pub(crate) async fn draft_or_new(
        &self,
        user: &User,
        account: Option<AccountId>,
    ) -> Result<Draft, AppError> {
        let owner = user.id.to_string();
        if let Some(draft) = self
            .store()
            .draft_for(self.workspace(), &owner, account)
            .await?
        {
            return Ok(draft);
        }
        let saved = self.saved(account).await?;
        let form = match &saved {
            Some(account) => AccountForm::of(account),
            None => self.blank().await?,
        };
        self.keep(user, saved.as_ref(), &form).await
    }

    /// The form of a draft.
    pub(crate) fn draft_form(&self, draft: &Draft) -> AccountForm {
        form_of(draft)
    }

    async fn keep(
        &self,
        user: &User,
        saved: Option<&Account>,
        form: &AccountForm,
    ) -> Result<Draft, AppError> {
        let owner = user.id.to_string();
        let account = saved.map(|account| account.id);
        let now = self.now();
        let before = self
            .store()
            .draft_for(self.workspace(), &owner, account)
            .await?;
        let id = before
            .as_ref()
            .map_or_else(|| DraftId::generate(now), |draft| draft.id);
        // The base stays what the form was first filled from, so that a change by somebody else
        // in between is noticed when it is applied.
        let base = before
            .as_ref()
            .and_then(|draft| draft.base_version)
            .or_else(|| saved.map(|account| account.version));
        let secret = typed_secret(form).map_or(SecretChange::Keep, SecretChange::Set);
        let fields = serde_json::to_value(Typed::of(form)).unwrap_or_default();
        self.store()
            .draft_save(
                id,
                self.workspace(),
                &owner,
                account,
                base,
                &fields,
                secret,
                now,
            )
            .await?;
        self.keep_credentials(id, form).await?;
        self.keep_pasted_token(id, form).await?;
        let draft = self.store().draft(id).await?;
        draft.ok_or(AppError::NotFound { what: "draft" })
    }

    /// What was typed of the other credentials is kept, right or wrong.
    async fn keep_credentials(&self, id: DraftId, form: &AccountForm) -> Result<(), AppError> {
        for (slot, secret) in form.typed_credentials() {
            if slot != CredentialSlot::ClientSecret {
                let info = credentials::info_of(slot, &secret, self.now());
                self.store()
                    .draft_set_credential(id, slot, Some((secret, info)), self.now())
                    .await?;
            }
        }
        Ok(())
    }

    /// A refresh token that was pasted is kept like one that came from a consent.
    async fn keep_pasted_token(&self, id: DraftId, form: &AccountForm) -> Result<(), AppError> {
        use secrecy::ExposeSecret;
        let Some(token) = &form.refresh_token else {
            return Ok(());
        };
        let text = token.expose_secret().trim().to_owned();
        if text.is_empty() {
            return Ok(());
        }
        let tokens = tieline_store::NewTokens {
            refresh_token: Some(text.into()),
            access_token: None,
            access_expires_at: None,
            scope: None,
            client_key: client_key(&form.token_url, &form.client_id),
            consent: Some(ConsentInfo {
                user: None,
                at: self.now(),
                tenant: None,
                organization: form.api_url.trim().to_owned(),
            }),
        };
        Ok(self
            .store()
            .draft_set_tokens(id, tokens, self.now())
            .await?)
    }

    async fn saved(&self, account: Option<AccountId>) -> Result<Option<Account>, AppError> {
        match account {
            Some(id) => Ok(Some(self.account(id).await?)),
            None => Ok(None),
        }
    }

    /// A form with the credentials that its draft keeps, to be judged and never to be shown.
    pub(crate) async fn with_kept_secret(
        &self,
        form: &AccountForm,
        draft: Option<&Draft>,
    ) -> Result<AccountForm, AppError> {
        let mut whole = form.clone();
        if let Some(draft) = draft.filter(|draft| draft.has_secret) {
            whole.client_secret = self.store().draft_secret(draft.id).await?;
        }
        if let Some(draft) = draft.filter(|draft| !draft.credentials.is_empty()) {
            let mut kept = self.store().draft_credentials(draft.id).await?;
            let mut fill = |place: &mut Option<SecretString>, slot| {
                *place = place.take().or_else(|| kept.remove(&slot));
            };
            fill(
                &mut whole.next_client_secret,
                CredentialSlot::NextClientSecret,
            );
            fill(
                &mut whole.client_certificate,
                CredentialSlot::ClientCertificate,
            );
            fill(
                &mut whole.next_client_certificate,
                CredentialSlot::NextClientCertificate,
            );
        }
        Ok(whole)
    }

    /// An empty form; the first account of a type has *Default account* ticked.
    async fn blank(&self) -> Result<AccountForm, AppError> {
        let default = self
            .store()
            .account_default(self.workspace(), self.account_type())
            .await?;
        Ok(AccountForm {
            is_default: default.is_none(),
            ..AccountForm::default()
        })
    }

    async fn view(
        &self,
        account: Option<Account>,
        draft: Option<Draft>,
    ) -> Result<DraftView, AppError> {
        let saved_form = match &account {
            Some(account) => AccountForm::of(account),
            None => self.blank().await?,
        };
        let form = draft.as_ref().map_or_else(|| saved_form.clone(), form_of);
        let differences = form.differences(&saved_form);
        let secret_is_draft = draft.as_ref().is_some_and(|draft| draft.has_secret);
        let held = draft.as_ref().map(Draft::held).unwrap_or_default();
        let consent = draft.as_ref().and_then(|draft| draft.tokens.as_ref());
        let consent_is_draft = consent.is_some();
        let dirty =
            draft.is_some() && (!differences.is_empty() || !held.is_empty() || consent_is_draft);
        // A new form that nobody touched has nothing to complain about yet.
        let findings = match dirty || account.is_some() {
            true => {
                let whole = self.with_kept_secret(&form, draft.as_ref()).await?;
                self.judged(&whole, account.as_ref(), &held).await?.1
            }
            false => Vec::new(),
        };
        let stale = stale_fields(account.as_ref(), draft.as_ref(), &form, &saved_form);
        Ok(DraftView {
            secret_set_at: secret_set_at(account.as_ref(), draft.as_ref()),
            secret_is_draft,
            credentials: credentials::over(account.as_ref(), &held),
            held: held.iter().map(|info| info.slot).collect(),
            consent: consent
                .map(|tokens| tokens.consent.clone())
                .or_else(|| account.as_ref().and_then(|account| account.consent.clone())),
            consent_is_draft,
            dirty,
            findings,
            report: draft.as_ref().and_then(|draft| draft.report.clone()),
            stale,
            draft_id: draft.as_ref().map(|draft| draft.id),
            updated_at: draft.as_ref().map(|draft| draft.updated_at),
            account,
            form,
        })
    }
}

impl Typed {
    fn of(form: &AccountForm) -> Self {
        Self {
            name: form.name.clone(),
            default: form.is_default,
            authorization_url: form.authorization_url.clone(),
            token_url: form.token_url.clone(),
            api_url: form.api_url.clone(),
            client_id: form.client_id.clone(),
            secret_expires_on: form.secret_expires_on.clone(),
            next_secret_expires_on: form.next_secret_expires_on.clone(),
            remove: form.remove.clone(),
            grant: form.grant,
            rotation: form.rotation,
            notes: form.notes.clone(),
        }
    }
}

fn form_of(draft: &Draft) -> AccountForm {
    // A draft that an older version wrote differently loses the fields it cannot say.
    let typed: Typed = serde_json::from_value(draft.fields.clone()).unwrap_or_default();
    AccountForm {
        name: typed.name,
        is_default: typed.default,
        authorization_url: typed.authorization_url,
        token_url: typed.token_url,
        api_url: typed.api_url,
        client_id: typed.client_id,
        client_secret: None,
        secret_expires_on: typed.secret_expires_on,
        next_client_secret: None,
        next_secret_expires_on: typed.next_secret_expires_on,
        client_certificate: None,
        next_client_certificate: None,
        remove: typed.remove,
        refresh_token: None,
        grant: typed.grant,
        rotation: typed.rotation,
        notes: typed.notes,
    }
}

fn secret_set_at(account: Option<&Account>, draft: Option<&Draft>) -> Option<DateTime<Utc>> {
    draft
        .filter(|draft| draft.has_secret)
        .and_then(|draft| draft.secret_set_at)
        .or_else(|| {
            account
                .and_then(|a| a.client_secret.as_ref())
                .map(|secret| secret.set_at)
        })
}

/// What somebody else saved since the draft was begun.
fn stale_fields(
    account: Option<&Account>,
    draft: Option<&Draft>,
    form: &AccountForm,
    saved: &AccountForm,
) -> Option<Vec<(Field, String)>> {
    let (account, base) = (account?, draft?.base_version?);
    (account.version != base).then(|| {
        let fields = form.differences(saved).into_iter();
        fields.map(|field| (field, saved.text(field))).collect()
    })
}

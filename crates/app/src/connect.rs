//! Consent: the visit to Microsoft that ends with a refresh token.
//!
//! Authorization code with PKCE (RFC 7636). The state is single-use, bound to the browser's
//! session, and dead after ten minutes; the secret is in no URL. Every end of the visit is a page
//! that says what happened and what to do, so [`App::consent_finish`] has no error.

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use tieline_core::{Account, AccountId, Actor, ConsentInfo, Evidence, Language, User, UserId};
use tieline_dataverse::ApiAddress;
use tieline_entra::{
    AuthorizationRequest, Callback, ClientIdentity, CodeRedemption, Credential, Endpoints, Pkce,
    Prompt, Resource, TokenClient, random_token,
};
use tieline_store::{Consent, ConsentTarget as StoredTarget, NewConsent, NewTokens, TakeConsent};
use tieline_vault::token;
use url::Url;

use crate::app::App;
use crate::credentials::offered_to_test;
use crate::error::AppError;
use crate::form::{AccountForm, Field, Finding};
use crate::help::{Explanation, explain};
use crate::obtain::{Failure, Obtained, Offered, WhichToken, first_accepted};
use crate::settings::{Settings, client_key};

/// How long a person may take at Microsoft. An authorization code lives as long.
const CONSENT_LIFE: TimeDelta = TimeDelta::minutes(10);

/// What a consent is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsentTarget {
    /// A form that is not applied yet.
    Draft {
        /// Whose form.
        user: UserId,
        /// The account that it edits; none for a new one.
        account: Option<AccountId>,
    },
    /// An account as it is saved; for the command line and the API.
    Account(AccountId),
}

/// For whom consent is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsentPrompt {
    /// For the person who signs in.
    SelectAccount,
    /// By an administrator, on behalf of the organization.
    AdminConsent,
}

/// A consent that was begun.
#[derive(Debug, Clone)]
pub struct ConsentStart {
    /// Where to send the browser.
    pub url: Url,
    /// What to ask [`App::consent_outcome`] with.
    pub handle: String,
    /// When it is too late.
    pub expires_at: DateTime<Utc>,
}

/// How a consent ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ConsentEnd {
    /// Whether there are tokens now, or the organization's consent was given.
    pub ok: bool,
    /// Stable code with a text in every language.
    pub code: String,
    /// Values that the text names.
    pub args: Vec<(String, String)>,
    /// Who consented.
    pub user: Option<String>,
    /// The account; none while it is a new form, or when nobody knows.
    pub account: Option<AccountId>,
    /// What Microsoft said.
    pub evidence: Evidence,
}

impl ConsentEnd {
    /// Cause and remedy in a language.
    #[must_use]
    pub fn explain(&self, language: Language) -> Explanation {
        explain(&self.code, &self.args, language)
    }

    fn failed(code: impl Into<String>) -> Self {
        Self {
            ok: false,
            code: code.into(),
            args: Vec::new(),
            user: None,
            account: None,
            evidence: Evidence::default(),
        }
    }

    fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.args.push((name.to_owned(), value.into()));
        self
    }
}

impl App {
    /// Begins a consent. The browser's session, where there is one, must come back with it.
    ///
    /// # Errors
    /// When the settings are not complete enough to ask Microsoft anything.
    pub async fn consent_begin(
        &self,
        target: ConsentTarget,
        session: Option<&SecretString>,
        prompt: ConsentPrompt,
    ) -> Result<ConsentStart, AppError> {
        let (stored, settings) = self.consent_settings(target).await?;
        let (Some(endpoints), Some(api)) = (&settings.endpoints, &settings.api) else {
            return Err(AppError::Refused {
                code: "settings-incomplete",
            });
        };
        let claims = self.consent_claims(target).await?;
        let (state, nonce, pkce) = (random_token(), random_token(), Pkce::generate());
        let redirect_uri = self.redirect_uri();
        let resource = Resource::origin_of(api.url());
        let request = AuthorizationRequest {
            endpoints,
            client_id: &settings.client_id,
            redirect_uri: &redirect_uri,
            resource: &resource,
            state: state.expose_secret(),
            nonce: nonce.expose_secret(),
            challenge: &pkce.challenge,
            prompt: match prompt {
                ConsentPrompt::SelectAccount => Prompt::SelectAccount,
                ConsentPrompt::AdminConsent => Prompt::AdminConsent,
            },
            login_hint: None,
            claims: claims.as_deref(),
        };
        let url = request.url();
        let now = self.now();
        let expires_at = now + CONSENT_LIFE;
        let consent = NewConsent {
            state_hash: token::hash(state.expose_secret()),
            target: stored,
            session_binding: session.map(|session| token::hash(session.expose_secret())),
            verifier: pkce.verifier,
            nonce: nonce.expose_secret().to_owned(),
            redirect_uri,
            authorization_url: endpoints.authorization().to_string(),
            token_url: endpoints.token().to_string(),
            api_url: api.url().to_string(),
            client_id: settings.client_id.clone(),
            mode: match prompt {
                ConsentPrompt::SelectAccount => "user".to_owned(),
                ConsentPrompt::AdminConsent => "organization".to_owned(),
            },
            expires_at,
        };
        self.store().consent_begin(&consent, now).await?;
        let handle = state.expose_secret().to_owned();
        Ok(ConsentStart {
            url,
            handle,
            expires_at,
        })
    }

    /// Ends a consent with the query of the redirect.
    pub async fn consent_finish(&self, query: &str, session: Option<&SecretString>) -> ConsentEnd {
        let callback = Callback::parse(query);
        let Some(state) = callback.state().map(str::to_owned) else {
            return match callback {
                Callback::Denied {
                    error,
                    description,
                    codes,
                    ..
                } => denied(&error, description, &codes),
                _ => ConsentEnd::failed("consent-malformed"),
            };
        };
        let hash = token::hash(&state);
        let taken = match self.store().consent_take(hash, self.now()).await {
            Ok(taken) => taken,
            Err(error) => {
                tracing::error!(%error, "a consent could not be read");
                return ConsentEnd::failed("database-unavailable");
            }
        };
        let consent = match taken {
            TakeConsent::Taken(consent) => consent,
            TakeConsent::Unknown => return ConsentEnd::failed("consent-state-unknown"),
            TakeConsent::Expired => return ConsentEnd::failed("consent-expired"),
            TakeConsent::UsedBefore => return ConsentEnd::failed("consent-used"),
        };
        let mut end = self.conclude(&consent, callback, session).await;
        end.account = self.account_of(&consent).await;
        let outcome = serde_json::to_value(&end).unwrap_or_default();
        if let Err(error) = self
            .store()
            .consent_finish(hash, &outcome, self.now())
            .await
        {
            tracing::error!(%error, "the outcome of a consent could not be written down");
        }
        tracing::info!(ok = end.ok, code = %end.code, "a consent ended");
        end
    }

    /// How a consent ended; none while it is under way.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn consent_outcome(&self, handle: &str) -> Result<Option<ConsentEnd>, AppError> {
        let outcome = self.store().consent_outcome(token::hash(handle)).await?;
        Ok(outcome.and_then(|value| serde_json::from_value(value).ok()))
    }

    /// The claims that Microsoft asked for in vain: the person who consents is asked for them.
    async fn consent_claims(&self, target: ConsentTarget) -> Result<Option<String>, AppError> {
        let account = match target {
            ConsentTarget::Account(id) => Some(id),
            ConsentTarget::Draft { account, .. } => account,
        };
        let Some(account) = account else {
            return Ok(None);
        };
        let row = self.store().token(account).await?;
        Ok(row.and_then(|row| row.claims))
    }

    /// The settings to consent with, and where the tokens go.
    async fn consent_settings(
        &self,
        target: ConsentTarget,
    ) -> Result<(StoredTarget, Settings), AppError> {
        let (stored, form, account, held) = match target {
            ConsentTarget::Account(id) => {
                let account = self.account(id).await?;
                let form = AccountForm::of(&account);
                (StoredTarget::Account(id), form, Some(account), Vec::new())
            }
            ConsentTarget::Draft { user, account } => {
                let user = self.user(user).await?;
                let draft = self.draft_or_new(&user, account).await?;
                let saved = match account {
                    Some(id) => Some(self.account(id).await?),
                    None => None,
                };
                let form = self.draft_form(&draft);
                (StoredTarget::Draft(draft.id), form, saved, draft.held())
            }
        };
        let (settings, findings) = self.judged(&form, account.as_ref(), &held).await?;
        // A name that is taken does not stand in the way of a consent; what it needs must be there.
        let needed = [
            Field::AuthorizationUrl,
            Field::TokenUrl,
            Field::ApiUrl,
            Field::ClientId,
            Field::ClientSecret,
        ];
        let missing: Vec<Finding> = findings
            .into_iter()
            .filter(|finding| finding.is_error() && needed.contains(&finding.field))
            .collect();
        if missing.is_empty() {
            Ok((stored, settings))
        } else {
            Err(AppError::Invalid(missing))
        }
    }

    async fn conclude(
        &self,
        consent: &Consent,
        callback: Callback,
        session: Option<&SecretString>,
    ) -> ConsentEnd {
        let presented = session.map(|session| token::hash(session.expose_secret()));
        if consent.session_binding.is_some() && consent.session_binding != presented {
            return ConsentEnd::failed("consent-other-session")
                .with("url", self.public_url().as_str());
        }
        match callback {
            Callback::Code { code, .. } => match self.redeem(consent, &code).await {
                Ok(end) | Err(end) => end,
            },
            Callback::AdminConsent { granted: true, .. } => {
                let mut end = ConsentEnd::failed("admin-consent-granted");
                end.ok = true;
                end
            }
            Callback::AdminConsent { granted: false, .. } => ConsentEnd::failed("consent-denied"),
            Callback::Denied {
                error,
                description,
                codes,
                ..
            } => denied(&error, description, &codes),
            Callback::Malformed => ConsentEnd::failed("consent-malformed"),
        }
    }

    /// Trades the code for tokens and stores them where they belong.
    async fn redeem(
        &self,
        consent: &Consent,
        code: &SecretString,
    ) -> Result<ConsentEnd, ConsentEnd> {
        let incomplete = || ConsentEnd::failed("settings-incomplete");
        let endpoints = Endpoints::parse(&consent.authorization_url, &consent.token_url)
            .map_err(|_| incomplete())?
            .value;
        let api = ApiAddress::parse(&consent.api_url)
            .map_err(|_| incomplete())?
            .value;
        let failed = |failure: &Failure| {
            let mut end = ConsentEnd::failed(failure.code());
            end.evidence = failure.evidence();
            end.evidence.host = endpoints.token().host_str().map(str::to_owned);
            end.with("host", endpoints.token().host_str().unwrap_or_default())
        };
        self.outbound()
            .admit(endpoints.token())
            .map_err(|error| failed(&Failure::Outbound(error)))?;
        let credentials = self.consent_credentials(consent).await.map_err(|error| {
            tracing::error!(%error, "the credentials of a consent cannot be read");
            ConsentEnd::failed("database-unavailable")
        })?;
        let now = self.now();
        let redemption = CodeRedemption {
            code,
            redirect_uri: &consent.redirect_uri,
            verifier: &consent.verifier,
        };
        let tokens = TokenClient::new(self.outbound().http().clone());
        let resource = Resource::origin_of(api.url());
        let redeem = |credential: Option<Credential>| {
            let client = ClientIdentity {
                client_id: consent.client_id.clone(),
                credential,
                now,
            };
            let (tokens, endpoints, resource) = (&tokens, &endpoints, &resource);
            async move {
                let answer = tokens
                    .redeem_code(endpoints, &client, resource, redemption)
                    .await;
                (answer, WhichToken::Present)
            }
        };
        let obtained = first_accepted(credentials, redeem, now)
            .await
            .map_err(|failure| failed(&failure))?;
        self.keep_consented(consent, &endpoints, &api, obtained)
            .await
    }

    async fn keep_consented(
        &self,
        consent: &Consent,
        endpoints: &Endpoints,
        api: &ApiAddress,
        obtained: Obtained,
    ) -> Result<ConsentEnd, ConsentEnd> {
        if !nonce_fits(&obtained, &consent.nonce) {
            return Err(ConsentEnd::failed("consent-nonce"));
        }
        if obtained.refresh_token.is_none() {
            return Err(ConsentEnd::failed("refresh-token-not-given"));
        }
        let who = obtained
            .id_token
            .as_ref()
            .and_then(|token| tieline_entra::claims::decode(token).ok())
            .or_else(|| tieline_entra::claims::decode(&obtained.access_token).ok());
        let user = who
            .as_ref()
            .and_then(|claims| claims.upn.clone().or(claims.name.clone()));
        let info = ConsentInfo {
            user: user.clone(),
            at: self.now(),
            tenant: who
                .and_then(|claims| claims.tid)
                .or_else(|| endpoints.tenant().map(str::to_owned)),
            organization: api.origin(),
        };
        let tokens = NewTokens {
            refresh_token: obtained.refresh_token,
            access_token: Some(obtained.access_token),
            access_expires_at: Some(obtained.expires_at),
            scope: obtained.scope,
            client_key: client_key(&consent.token_url, &consent.client_id),
            consent: Some(info),
        };
        self.store_tokens(consent, tokens).await.map_err(|error| {
            tracing::error!(%error, "the tokens of a consent could not be stored");
            ConsentEnd::failed("database-unavailable")
        })?;
        let mut end =
            ConsentEnd::failed("consented").with("user", user.clone().unwrap_or_default());
        end.ok = true;
        end.user = user;
        Ok(end)
    }

    async fn store_tokens(&self, consent: &Consent, tokens: NewTokens) -> Result<(), AppError> {
        let now = self.now();
        match consent.target {
            StoredTarget::Draft(draft) => {
                self.store().draft_set_tokens(draft, tokens, now).await?;
            }
            StoredTarget::Account(id) => {
                // The schedule works out a better moment with its first look.
                let renew_at = tokens.access_expires_at.map(|end| now + (end - now) / 2);
                self.store()
                    .token_replace(id, tokens, renew_at, &Actor::System, now)
                    .await?;
                self.account_changed(id);
            }
        }
        Ok(())
    }

    async fn consent_credentials(&self, consent: &Consent) -> Result<Vec<Offered>, AppError> {
        let (draft, account) = match consent.target {
            StoredTarget::Account(id) => (None, Some(id)),
            StoredTarget::Draft(id) => {
                let draft = self.store().draft(id).await?;
                let account = draft.as_ref().and_then(|draft| draft.account_id);
                (draft, account)
            }
        };
        let account = self.optional_account(account).await?;
        let form = draft
            .as_ref()
            .map(|draft| self.draft_form(draft))
            .unwrap_or_default();
        let offered =
            offered_to_test(self.store(), &form, draft.as_ref(), account.as_ref()).await?;
        Ok(offered)
    }

    async fn account_of(&self, consent: &Consent) -> Option<AccountId> {
        match consent.target {
            StoredTarget::Account(id) => Some(id),
            StoredTarget::Draft(id) => self.store().draft(id).await.ok()??.account_id,
        }
    }

    pub(crate) async fn user(&self, id: UserId) -> Result<User, AppError> {
        self.store()
            .user(id)
            .await?
            .ok_or(AppError::NotFound { what: "user" })
    }

    pub(crate) async fn optional_account(
        &self,
        id: Option<AccountId>,
    ) -> Result<Option<Account>, AppError> {
        match id {
            Some(id) => Ok(Some(self.account(id).await?)),
            None => Ok(None),
        }
    }
}

/// The nonce of the id token, where both are given (OpenID Connect Core, section 3.1.3.7). Entra's
/// v1 endpoint leaves it out of the id token of a code redemption.
fn nonce_fits(obtained: &Obtained, expected: &str) -> bool {
    let told = obtained
        .id_token
        .as_ref()
        .and_then(|token| tieline_entra::claims::decode(token).ok())
        .and_then(|claims| claims.nonce);
    told.is_none_or(|told| told == expected)
}

fn denied(error: &str, description: String, codes: &[u32]) -> ConsentEnd {
    let slug = codes
        .iter()
        .find_map(|code| tieline_entra::codes::find(*code))
        .map(|c| c.slug);
    let code = slug.unwrap_or(match error {
        "access_denied" => "consent-denied",
        "consent_required" | "permission_denied" => "consent-admin-needed",
        "temporarily_unavailable" | "server_error" => "token-service-busy",
        _ => "consent-refused",
    });
    let mut end = ConsentEnd::failed(code);
    end.evidence = Evidence {
        error: Some(error.to_owned()),
        code: codes.first().map(|code| format!("AADSTS{code}")),
        message: (!description.is_empty()).then_some(description),
        ..Evidence::default()
    };
    end
}

//! Use cases of accounts: list, add, edit, make default, delete, restore.

use std::collections::HashMap;

use chrono::TimeDelta;
use secrecy::{ExposeSecret, SecretString};
use tieline_core::{
    Account, AccountEvent, AccountId, AccountName, Actor, ConnectionState, ConsentInfo,
    CredentialInfo, CredentialSlot, EventId, GrantType,
};
use tieline_store::{EventRange, NewTokens, SecretChange, StoreError, TimedEvent};

use crate::app::App;
use crate::credentials;
use crate::error::AppError;
use crate::form::{AccountForm, Applied, Field, Finding};
use crate::settings::{Circumstances, Settings, client_key, judge};

/// How far back the warning before a deletion looks.
const USED_RECENTLY: TimeDelta = TimeDelta::days(30);

/// Credentials that a draft brings along besides what its form says.
#[derive(Debug, Default)]
pub(crate) struct Brought {
    pub(crate) secret: Option<SecretString>,
    /// The others, by their places.
    pub(crate) credentials: HashMap<CredentialSlot, SecretString>,
    /// What is known of all of them.
    pub(crate) held: Vec<CredentialInfo>,
    pub(crate) tokens: Option<NewTokens>,
}

impl App {
    /// The accounts whose name or organization contains `query`, by name.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn account_list(&self, query: &str) -> Result<Vec<Account>, AppError> {
        let mut accounts = self.store().accounts(self.workspace()).await?;
        let query = AccountName::key_of(query);
        accounts.retain(|account| {
            query.is_empty()
                || account.name.key().contains(&query)
                || account.api_url.to_lowercase().contains(&query)
        });
        Ok(accounts)
    }

    /// How many accounts are in each state. Unlike the list it can be asked for with every page,
    /// however many there are.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn account_states(&self) -> Result<Vec<(ConnectionState, usize)>, AppError> {
        let counted = self.store().accounts_by_state().await?;
        let read = |(state, count): (String, i64)| {
            let state: Option<ConnectionState> = state.parse().ok();
            Some((state?, usize::try_from(count).unwrap_or_default()))
        };
        Ok(counted.into_iter().filter_map(read).collect())
    }

    /// An account by id or name.
    ///
    /// # Errors
    /// When there is none.
    pub async fn account_find(&self, reference: &str) -> Result<Account, AppError> {
        if let Ok(id) = reference.trim().to_uppercase().parse::<AccountId>()
            && let Some(account) = self.store().account(id).await?
        {
            return Ok(account);
        }
        let key = AccountName::key_of(reference);
        let found = self.store().account_by_name(self.workspace(), &key).await?;
        found.ok_or(AppError::NotFound { what: "account" })
    }

    /// The account's history, latest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn account_events(
        &self,
        id: AccountId,
        limit: u32,
    ) -> Result<Vec<AccountEvent>, AppError> {
        Ok(self.store().account_events(id, limit).await?)
    }

    /// A part of the account's history, latest first, with how long each entry lasted.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn account_timeline(
        &self,
        id: AccountId,
        range: EventRange,
        limit: u32,
    ) -> Result<Vec<TimedEvent>, AppError> {
        Ok(self.store().account_timeline(id, range, limit).await?)
    }

    /// The latest events of all accounts, latest first, each with its account.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn events_latest(
        &self,
        before: Option<EventId>,
        limit: u32,
    ) -> Result<Vec<(Account, AccountEvent)>, AppError> {
        let events = self.store().events_latest(self.workspace(), before, limit);
        let mut known: HashMap<AccountId, Account> = HashMap::new();
        let mut told = Vec::new();
        for event in events.await? {
            if !known.contains_key(&event.account_id)
                && let Some(account) = self.store().account(event.account_id).await?
            {
                known.insert(account.id, account);
            }
            if let Some(account) = known.get(&event.account_id) {
                told.push((account.clone(), event));
            }
        }
        Ok(told)
    }

    /// Names of the consumers that used the account in the last 30 days.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn account_used_by(&self, id: AccountId) -> Result<Vec<String>, AppError> {
        self.flush_uses_now().await?;
        Ok(self
            .store()
            .account_used_by(id, self.now() - USED_RECENTLY)
            .await?)
    }

    /// What there is to say of a form, without asking the network.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn account_check(
        &self,
        form: &AccountForm,
        account: Option<&Account>,
    ) -> Result<Vec<Finding>, AppError> {
        let (_, findings) = self.judged(form, account, &[]).await?;
        Ok(findings)
    }

    /// Adds an account.
    ///
    /// # Errors
    /// When the form has faults; nothing is saved then.
    pub async fn account_add(&self, by: &Actor, form: AccountForm) -> Result<Applied, AppError> {
        self.add(by, &form, Brought::default()).await
    }

    /// Changes an account that was read at version `base_version`.
    ///
    /// # Errors
    /// When the form has faults, or somebody else changed the account meanwhile.
    pub async fn account_edit(
        &self,
        by: &Actor,
        id: AccountId,
        base_version: i64,
        form: AccountForm,
    ) -> Result<Applied, AppError> {
        self.edit(by, id, base_version, &form, Brought::default())
            .await
    }

    /// Makes an account the default of its type.
    ///
    /// # Errors
    /// When there is no such account.
    pub async fn account_set_default(
        &self,
        by: &Actor,
        id: AccountId,
    ) -> Result<Account, AppError> {
        self.store()
            .account_set_default(id, by, self.now())
            .await
            .map_err(missing_account)?;
        self.account_changed(id);
        self.account(id).await
    }

    /// Deletes an account; it can be restored for 30 days.
    ///
    /// # Errors
    /// When there is no such account.
    pub async fn account_delete(&self, by: &Actor, id: AccountId) -> Result<(), AppError> {
        self.store()
            .account_delete(id, by, self.now())
            .await
            .map_err(missing_account)?;
        self.account_changed(id);
        tracing::info!(account = %id, by = %by, "an account was deleted");
        Ok(())
    }

    /// Restores a deleted account.
    ///
    /// # Errors
    /// When there is none, or its name was taken meanwhile.
    pub async fn account_restore(&self, by: &Actor, id: AccountId) -> Result<Account, AppError> {
        match self.store().account_restore(id, by, self.now()).await {
            Err(StoreError::NameTaken) => Err(AppError::Invalid(vec![Finding::error(
                Field::Name,
                "name-taken-restore",
            )])),
            other => {
                other.map_err(missing_account)?;
                self.account_changed(id);
                self.account(id).await
            }
        }
    }

    pub(crate) async fn judged(
        &self,
        form: &AccountForm,
        account: Option<&Account>,
        held: &[CredentialInfo],
    ) -> Result<(Settings, Vec<Finding>), AppError> {
        let around = Circumstances {
            account,
            held,
            outbound: self.outbound(),
            now: self.now(),
        };
        let (settings, mut findings) = judge(form, around);
        if let Some(name) = &settings.name {
            let holder = self
                .store()
                .account_by_name(self.workspace(), &name.key())
                .await?;
            if holder.is_some_and(|holder| account.is_none_or(|own| own.id != holder.id)) {
                findings.insert(0, name_taken(name.as_str()));
            }
        }
        Ok((settings, findings))
    }

    pub(crate) async fn add(
        &self,
        by: &Actor,
        form: &AccountForm,
        brought: Brought,
    ) -> Result<Applied, AppError> {
        let (settings, findings) = self.judged(form, None, &brought.held).await?;
        let (mut complete, warnings) = sound(&settings, findings)?;
        complete.credentials =
            credentials::changes(form, brought.credentials, &settings, None, self.now());
        let id = AccountId::generate(self.now());
        let secret = typed_secret(form).or(brought.secret);
        let tokens = self.tokens_of(form, &settings, brought.tokens);
        let connected = tokens.is_some();
        let added = self
            .store()
            .account_add(
                self.workspace(),
                id,
                self.account_type(),
                &complete,
                secret,
                tokens,
                by,
                self.now(),
            )
            .await;
        let account = added.map_err(|error| name_conflict(error, &complete.name))?;
        self.begin_connecting(&account, connected).await?;
        tracing::info!(account = %id, by = %by, "an account was added");
        let warnings = with_consent_hint(warnings, &account);
        Ok(Applied {
            account: self.account(id).await?,
            warnings,
        })
    }

    pub(crate) async fn edit(
        &self,
        by: &Actor,
        id: AccountId,
        base_version: i64,
        form: &AccountForm,
        brought: Brought,
    ) -> Result<Applied, AppError> {
        let current = self.account(id).await?;
        if current.version != base_version {
            return Err(stale(current, form));
        }
        let (settings, findings) = self.judged(form, Some(&current), &brought.held).await?;
        let (mut complete, warnings) = sound(&settings, findings)?;
        complete.credentials = credentials::changes(
            form,
            brought.credentials,
            &settings,
            Some(&current),
            self.now(),
        );
        let secret = match typed_secret(form).or(brought.secret) {
            Some(secret) => SecretChange::Set(secret),
            None if form.remove.contains(&CredentialSlot::ClientSecret) => SecretChange::Clear,
            None => SecretChange::Keep,
        };
        let tokens = self.tokens_of(form, &settings, brought.tokens);
        let connected = tokens.is_some();
        let saved = self
            .store()
            .account_update(id, base_version, &complete, secret, tokens, by, self.now())
            .await;
        let account = match saved {
            Ok(account) => account,
            Err(StoreError::Stale) => return Err(stale(self.account(id).await?, form)),
            Err(error) => return Err(name_conflict(error, &complete.name)),
        };
        self.account_changed(id);
        self.begin_connecting(&account, connected).await?;
        tracing::info!(account = %id, by = %by, "an account was changed");
        let warnings = with_consent_hint(warnings, &account);
        Ok(Applied {
            account: self.account(id).await?,
            warnings,
        })
    }

    /// Has the schedule look at the account at once: new settings may revive a connection, and a
    /// credential that needs no person connects by itself.
    async fn begin_connecting(&self, account: &Account, tokens: bool) -> Result<(), AppError> {
        let alone =
            account.grant == GrantType::ClientCredentials || tokens || account.consent.is_some();
        let healthy = account.connection.state == ConnectionState::Connected && tokens;
        if alone && !healthy {
            self.store()
                .token_schedule(account.id, Some(self.now()))
                .await?;
        }
        Ok(())
    }

    /// The tokens to save: those of a consent, or a pasted refresh token.
    fn tokens_of(
        &self,
        form: &AccountForm,
        settings: &Settings,
        consented: Option<NewTokens>,
    ) -> Option<NewTokens> {
        let pasted = form
            .refresh_token
            .as_ref()
            .map(|token| token.expose_secret().trim().to_owned())
            .filter(|token| !token.is_empty());
        let Some(token) = pasted else {
            return consented;
        };
        let endpoints = settings.endpoints.as_ref()?;
        let consent = ConsentInfo {
            user: None,
            at: self.now(),
            tenant: endpoints.tenant().map(str::to_owned),
            organization: settings.api.as_ref()?.origin(),
        };
        Some(NewTokens {
            refresh_token: Some(SecretString::from(token)),
            access_token: None,
            access_expires_at: None,
            scope: None,
            client_key: client_key(endpoints.token().as_str(), &settings.client_id),
            consent: Some(consent),
        })
    }
}

/// The settings, if nothing stands in the way of saving them.
fn sound(
    settings: &Settings,
    findings: Vec<Finding>,
) -> Result<(tieline_store::AccountSettings, Vec<Finding>), AppError> {
    if findings.iter().any(Finding::is_error) {
        return Err(AppError::Invalid(findings));
    }
    match settings.complete() {
        Some(complete) => Ok((complete, findings)),
        None => Err(AppError::Invalid(findings)),
    }
}

/// A secret as typed, without the white space that copying brings along.
pub(crate) fn typed_secret(form: &AccountForm) -> Option<SecretString> {
    form.client_secret
        .as_ref()
        .map(|secret| SecretString::from(secret.expose_secret().trim().to_owned()))
}

fn with_consent_hint(mut warnings: Vec<Finding>, account: &Account) -> Vec<Finding> {
    if account.grant == GrantType::AuthorizationCode && account.consent.is_none() {
        warnings.push(Finding::warning(
            Field::RefreshToken,
            "refresh-token-missing",
        ));
    }
    warnings
}

fn name_taken(name: &str) -> Finding {
    Finding::error(Field::Name, "name-taken").with("name", name)
}

fn name_conflict(error: StoreError, name: &AccountName) -> AppError {
    match error {
        StoreError::NameTaken => AppError::Invalid(vec![name_taken(name.as_str())]),
        other => missing_account(other),
    }
}

fn missing_account(error: StoreError) -> AppError {
    match error {
        StoreError::NotFound => AppError::NotFound { what: "account" },
        other => AppError::Store(other),
    }
}

fn stale(current: Account, form: &AccountForm) -> AppError {
    let saved = AccountForm::of(&current);
    let changed = form
        .differences(&saved)
        .into_iter()
        .filter(|field| *field != Field::RefreshToken && !field.is_credential())
        .collect();
    AppError::Stale {
        current: Box::new(current),
        changed,
    }
}

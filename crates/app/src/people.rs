//! Users: sign-in, sessions, roles.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::{ExposeSecret, SecretString};
use tieline_core::{Actor, AuditEvent, Email, Language, Role, SessionId, User, UserId};
use tieline_store::StoreError;
use tieline_vault::{password, token};
use tokio::sync::Semaphore;

use crate::app::App;
use crate::error::AppError;

/// How long a sign-in lasts: a working day and a little more.
const SESSION: TimeDelta = TimeDelta::hours(12);
/// Failures before an address has to wait.
const FREE_ATTEMPTS: u32 = 5;
/// Longest wait after failures.
const LONGEST_WAIT: TimeDelta = TimeDelta::minutes(15);
/// Addresses remembered for their failures; older ones are dropped first.
const REMEMBERED: usize = 10_000;
/// Shortest password (NIST SP 800-63B asks for at least eight, and recommends fifteen).
const PASSWORD_MIN: usize = 12;
/// Argon2 takes a core and 19 MiB for some tens of milliseconds: two at a time leave room for the
/// gateway.
static HASHING: Semaphore = Semaphore::const_new(2);

/// A person who has just signed in.
#[derive(Debug)]
pub struct SignedIn {
    /// The session's token, for the cookie.
    pub token: SecretString,
    /// Who it is.
    pub user: User,
    /// When the session ends.
    pub expires_at: DateTime<Utc>,
}

/// Failed attempts by address.
#[derive(Debug, Default)]
pub(crate) struct Attempts(Mutex<HashMap<String, Failures>>);

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    wait_until: DateTime<Utc>,
}

impl App {
    /// Signs a person in.
    ///
    /// # Errors
    /// When the address or the password is wrong, or too many attempts failed.
    pub async fn sign_in(
        &self,
        email: &str,
        password: &SecretString,
    ) -> Result<SignedIn, AppError> {
        let now = self.now();
        let key = email.trim().to_lowercase();
        self.0.attempts.admit(&key, now)?;
        let found = match email.parse::<Email>() {
            Ok(email) => self.store().user_by_email(&email).await?,
            Err(_) => None,
        };
        let (user, hash) = match found {
            Some((user, hash)) => (Some(user), hash),
            // The same work for an unknown address, or the time would tell which ones exist.
            None => (None, decoy().await),
        };
        let fits = verify(password.clone(), hash).await;
        let Some(user) = user.filter(|_| fits) else {
            self.0.attempts.failed(&key, now);
            tracing::warn!("a sign-in was refused");
            return Err(AppError::SignInRefused);
        };
        self.0.attempts.forget(&key);
        let session = token::random();
        let expires_at = now + SESSION;
        let hash = token::hash(session.expose_secret());
        self.store()
            .session_add(hash, SessionId::generate(now), user.id, now, expires_at)
            .await?;
        tracing::info!(user = %user.id, "a user signed in");
        Ok(SignedIn {
            token: session,
            user,
            expires_at,
        })
    }

    /// The user of a session; none when it has ended.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn session_user(&self, session: &SecretString) -> Result<Option<User>, AppError> {
        let hash = token::hash(session.expose_secret());
        Ok(self
            .store()
            .session(hash, self.now())
            .await?
            .map(|(_, user)| user))
    }

    /// Ends a session.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn sign_out(&self, session: &SecretString) -> Result<(), AppError> {
        Ok(self
            .store()
            .session_delete(token::hash(session.expose_secret()))
            .await?)
    }

    /// Chooses a user's language.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn user_set_language(
        &self,
        user: UserId,
        language: Language,
    ) -> Result<(), AppError> {
        Ok(self.store().user_set_language(user, language).await?)
    }

    /// The users, by address.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn user_list(&self) -> Result<Vec<User>, AppError> {
        Ok(self.store().users().await?)
    }

    /// Adds a user.
    ///
    /// # Errors
    /// When the address is none or taken, or the password is too short.
    pub async fn user_add(
        &self,
        by: &Actor,
        email: &str,
        password: &SecretString,
        role: Role,
    ) -> Result<User, AppError> {
        let email: Email = email.parse().map_err(|_| AppError::Refused {
            code: "email-malformed",
        })?;
        let hash = hash(password).await?;
        let now = self.now();
        let added = self
            .store()
            .user_add(UserId::generate(now), &email, &hash, role, by, now)
            .await;
        added.map_err(|error| match error {
            StoreError::NameTaken => AppError::Refused {
                code: "email-taken",
            },
            other => AppError::Store(other),
        })
    }

    /// Adds the first administrator, unless there is a user already. Tells whether it did.
    ///
    /// # Errors
    /// As [`App::user_add`].
    pub async fn first_administrator(
        &self,
        email: &str,
        password: &SecretString,
    ) -> Result<bool, AppError> {
        if self.store().user_count().await? > 0 {
            return Ok(false);
        }
        match self
            .user_add(&Actor::System, email, password, Role::Administrator)
            .await
        {
            // Another server on the same database was quicker.
            Err(AppError::Refused {
                code: "email-taken",
            }) => Ok(false),
            other => other.map(|_| true),
        }
    }

    /// Sets a user's password and ends their sessions.
    ///
    /// # Errors
    /// When there is no such user, or the password is too short.
    pub async fn user_set_password(
        &self,
        by: &Actor,
        reference: &str,
        password: &SecretString,
    ) -> Result<(), AppError> {
        let user = self.user_find(reference).await?;
        let hash = hash(password).await?;
        Ok(self
            .store()
            .user_set_password(user.id, &hash, by, self.now())
            .await?)
    }

    /// Changes a user's role.
    ///
    /// # Errors
    /// When there is no such user, or nobody would be left to administrate.
    pub async fn user_set_role(
        &self,
        by: &Actor,
        reference: &str,
        role: Role,
    ) -> Result<(), AppError> {
        let user = self.user_find(reference).await?;
        if role != Role::Administrator {
            self.keep_an_administrator(&user).await?;
        }
        Ok(self
            .store()
            .user_set_role(user.id, role, by, self.now())
            .await?)
    }

    /// Removes a user.
    ///
    /// # Errors
    /// When there is no such user, or nobody would be left to administrate.
    pub async fn user_remove(&self, by: &Actor, reference: &str) -> Result<(), AppError> {
        let user = self.user_find(reference).await?;
        self.keep_an_administrator(&user).await?;
        Ok(self.store().user_remove(user.id, by, self.now()).await?)
    }

    /// The latest entries of the audit log.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn audit_list(&self, limit: u32) -> Result<Vec<AuditEvent>, AppError> {
        Ok(self.store().audit(limit, None).await?)
    }

    async fn user_find(&self, reference: &str) -> Result<User, AppError> {
        let wanted = reference.trim();
        let users = self.user_list().await?;
        users
            .into_iter()
            .find(|user| {
                user.email.as_str().eq_ignore_ascii_case(wanted)
                    || user.id.to_string().eq_ignore_ascii_case(wanted)
            })
            .ok_or(AppError::NotFound { what: "user" })
    }

    async fn keep_an_administrator(&self, leaving: &User) -> Result<(), AppError> {
        let users = self.user_list().await?;
        let left = users
            .iter()
            .any(|user| user.id != leaving.id && user.role == Role::Administrator);
        if left {
            Ok(())
        } else {
            Err(AppError::Refused {
                code: "last-administrator",
            })
        }
    }
}

impl Attempts {
    fn admit(&self, key: &str, now: DateTime<Utc>) -> Result<(), AppError> {
        let failures = self.lock().get(key).copied();
        match failures {
            Some(failures) if failures.wait_until > now => Err(AppError::TooManyAttempts {
                retry_after: (failures.wait_until - now)
                    .to_std()
                    .unwrap_or(Duration::ZERO),
            }),
            _ => Ok(()),
        }
    }

    fn failed(&self, key: &str, now: DateTime<Utc>) {
        let mut known = self.lock();
        if known.len() >= REMEMBERED {
            known.retain(|_, failures| failures.wait_until > now);
        }
        let entry = known.entry(key.to_owned()).or_insert(Failures {
            count: 0,
            wait_until: now,
        });
        entry.count = entry.count.saturating_add(1);
        if entry.count >= FREE_ATTEMPTS {
            let doublings = (entry.count - FREE_ATTEMPTS).min(10);
            let wait = TimeDelta::seconds(1_i64 << doublings).min(LONGEST_WAIT);
            entry.wait_until = now + wait;
        }
    }

    fn forget(&self, key: &str) {
        self.lock().remove(key);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Failures>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn hash(password: &SecretString) -> Result<String, AppError> {
    if password.expose_secret().chars().count() < PASSWORD_MIN {
        return Err(AppError::Refused {
            code: "password-short",
        });
    }
    let password = password.clone();
    let hashed = on_a_worker(move || password::hash(&password)).await;
    match hashed {
        Some(Ok(hash)) => Ok(hash),
        _ => Err(AppError::Refused {
            code: "password-unusable",
        }),
    }
}

async fn verify(password: SecretString, hash: String) -> bool {
    on_a_worker(move || password::verify(&password, &hash))
        .await
        .unwrap_or(false)
}

/// A hash that no password fits.
async fn decoy() -> String {
    static DECOY: tokio::sync::OnceCell<String> = tokio::sync::OnceCell::const_new();
    DECOY
        .get_or_init(|| async {
            let made = on_a_worker(|| password::hash(&token::random())).await;
            made.and_then(Result::ok).unwrap_or_default()
        })
        .await
        .clone()
}

async fn on_a_worker<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let _permit = HASHING.acquire().await.ok()?;
    tokio::task::spawn_blocking(work).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_make_an_address_wait_and_only_that_one() {
        let attempts = Attempts::default();
        let now = Utc::now();
        for _ in 0..FREE_ATTEMPTS - 1 {
            attempts.failed("a@example.com", now);
            assert!(attempts.admit("a@example.com", now).is_ok());
        }
        attempts.failed("a@example.com", now);
        assert!(attempts.admit("a@example.com", now).is_err());
        assert!(attempts.admit("b@example.com", now).is_ok());
        assert!(
            attempts
                .admit("a@example.com", now + TimeDelta::seconds(2))
                .is_ok()
        );
        for _ in 0..40 {
            attempts.failed("a@example.com", now);
        }
        assert!(attempts.admit("a@example.com", now + LONGEST_WAIT).is_ok());
    }
}

//! The one handle: what every surface holds, and the tasks that run beside it.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tieline_core::{Account, AccountId, AccountType, Clock, WorkspaceId};
use tieline_entra::TokenClient;
use tieline_store::Store;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::error::AppError;
use crate::fair::Fair;
use crate::keeper::Keeper;
use crate::lines::Lines;
use crate::moment::Moment;
use crate::notify::{Notifier, NotifySettings};
use crate::outbound::Outbound;
use crate::people::Attempts;
use crate::trials::Trials;

/// Path of the redirect URI. The reference product uses the same, so that an app registration
/// made for it goes on working.
const CALLBACK_PATH: &str = "/admin/msdynamicscallback.html";

/// How long a renewal may go on after a signal: as long as a request to the token service may take,
/// and as a container is usually given to end.
const DRAIN: Duration = Duration::from_secs(30);

/// What an [`App`] is made of.
#[derive(Debug)]
pub struct Parts {
    /// The database.
    pub store: Store,
    /// Where the present moment comes from.
    pub clock: Arc<dyn Clock>,
    /// The way out.
    pub outbound: Outbound,
    /// Origin of the console as people reach it, such as `https://tieline.example.com`.
    pub public_url: Url,
    /// Origin of the gateway as applications reach it.
    pub gateway_url: Url,
    /// How others are told of events.
    pub notify: NotifySettings,
}

/// The use cases. Cheap to clone.
#[derive(Debug, Clone)]
pub struct App(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) outbound: Outbound,
    pub(crate) public_url: Url,
    pub(crate) gateway_url: Url,
    pub(crate) keeper: Keeper,
    pub(crate) notifier: Notifier,
    pub(crate) lines: Lines,
    pub(crate) fair: Fair,
    pub(crate) trials: Trials,
    pub(crate) attempts: Attempts,
}

impl App {
    /// Puts the parts together. Nothing runs until [`App::run_background`].
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts {
            store,
            clock,
            outbound,
            public_url,
            gateway_url,
            notify,
        } = parts;
        let tokens = TokenClient::new(outbound.http().clone());
        let keeper = Keeper::new(store.clone(), Arc::clone(&clock), outbound.clone(), tokens);
        Self(Arc::new(Inner {
            lines: Lines::default(),
            fair: Fair::new(),
            trials: Trials::default(),
            attempts: Attempts::default(),
            store,
            clock,
            outbound,
            public_url,
            gateway_url,
            keeper,
            notifier: Notifier::new(notify),
        }))
    }

    /// The present moment.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.0.clock.now()
    }

    /// The same by both clocks, for what a call asks of it.
    #[must_use]
    pub fn moment(&self) -> Moment {
        Moment::now(&*self.0.clock)
    }

    /// Origin of the console as people reach it.
    #[must_use]
    pub fn public_url(&self) -> &Url {
        &self.0.public_url
    }

    /// Origin of the gateway as applications reach it.
    #[must_use]
    pub fn gateway_url(&self) -> &Url {
        &self.0.gateway_url
    }

    /// The redirect URI to register with Microsoft.
    #[must_use]
    pub fn redirect_uri(&self) -> String {
        let base = self.0.public_url.as_str().trim_end_matches('/');
        format!("{base}{CALLBACK_PATH}")
    }

    /// The way out.
    #[must_use]
    pub fn outbound(&self) -> &Outbound {
        &self.0.outbound
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ready(&self) -> Result<(), AppError> {
        Ok(self.0.store.ping().await?)
    }

    /// Renews tokens ahead of time, follows what other processes change, tells others of events,
    /// and writes down in batches what was used; until `stop` is cancelled.
    pub async fn run_background(&self, stop: CancellationToken) {
        tokio::join!(
            self.follow_changes(stop.clone()),
            self.0.keeper.run_schedule(stop.clone()),
            self.watch_expiries(stop.clone()),
            self.run_notifier(stop.clone()),
            self.share_limits(stop.clone()),
            self.flush_uses(stop),
        );
    }

    /// Waits for renewals that are under way, so that no answer is lost: the last thing before the
    /// process ends.
    pub async fn drain(&self) {
        self.0.keeper.drain(DRAIN).await;
    }

    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(crate) fn workspace(&self) -> WorkspaceId {
        WorkspaceId::DEFAULT
    }

    pub(crate) fn account_type(&self) -> AccountType {
        AccountType::MicrosoftDynamics365
    }

    /// Reads an account that must exist.
    pub(crate) async fn account(&self, id: AccountId) -> Result<Account, AppError> {
        self.store()
            .account(id)
            .await?
            .ok_or(AppError::NotFound { what: "account" })
    }
}

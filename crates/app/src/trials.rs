//! Runs of the test ladder: started, watched while they go on, cancelled.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tieline_core::{AccountId, LadderReport, Language, Rung, RungReport, TestId, UserId};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::error::AppError;
use crate::form::AccountForm;
use crate::ladder::{Climb, Ground};

/// Runs that are remembered; the oldest is dropped first.
const REMEMBERED: usize = 256;

/// What is tested.
#[derive(Debug, Clone)]
pub enum TestTarget {
    /// An account as it is saved.
    Account(AccountId),
    /// A form that is not applied yet.
    Draft {
        /// Whose form.
        user: UserId,
        /// The account that it edits; none for a new one.
        account: Option<AccountId>,
    },
    /// Properties given with the request, kept nowhere.
    Form {
        /// The properties.
        form: Box<AccountForm>,
        /// An account whose secrets fill in those not given.
        account: Option<AccountId>,
    },
}

/// How far a run is.
#[derive(Debug, Clone, Default)]
pub struct TestProgress {
    /// The rungs behind us.
    pub rungs: Vec<RungReport>,
    /// The rung that is being climbed.
    pub running: Option<Rung>,
    /// The whole report, once there is one.
    pub report: Option<LadderReport>,
}

/// The runs of this process.
#[derive(Debug, Default)]
pub(crate) struct Trials(Mutex<HashMap<TestId, Trial>>);

#[derive(Debug, Clone)]
struct Trial {
    progress: watch::Receiver<TestProgress>,
    stop: CancellationToken,
}

impl App {
    /// Starts a run; it goes on by itself.
    ///
    /// # Errors
    /// When there is no such account.
    pub async fn test_start(
        &self,
        target: TestTarget,
        language: Language,
    ) -> Result<TestId, AppError> {
        let ground = self.test_ground(target).await?;
        let id = TestId::generate(self.now());
        let (report, progress) = watch::channel(TestProgress::default());
        let stop = CancellationToken::new();
        self.0.trials.remember(
            id,
            Trial {
                progress,
                stop: stop.clone(),
            },
        );
        let app = self.clone();
        tokio::spawn(async move {
            let climb = Climb::new(&app, &ground, language, Arc::new(report));
            tokio::select! {
                () = climb.run() => {}
                () = stop.cancelled() => tracing::info!("a connection test was cancelled"),
            }
        });
        Ok(id)
    }

    /// How far a run is; none when it is not known any more.
    #[must_use]
    pub fn test_progress(&self, id: TestId) -> Option<TestProgress> {
        Some(self.0.trials.find(id)?.progress.borrow().clone())
    }

    /// Ends a run early.
    pub fn test_cancel(&self, id: TestId) {
        if let Some(trial) = self.0.trials.find(id) {
            trial.stop.cancel();
        }
    }

    /// Waits for a run to end. None when it was cancelled or is not known.
    pub async fn test_wait(&self, id: TestId) -> Option<LadderReport> {
        let mut progress = self.0.trials.find(id)?.progress;
        let done = progress
            .wait_for(|progress| progress.report.is_some())
            .await
            .ok()?;
        done.report.clone()
    }

    async fn test_ground(&self, target: TestTarget) -> Result<Ground, AppError> {
        match target {
            TestTarget::Account(id) => {
                let account = self.account(id).await?;
                let form = AccountForm::of(&account);
                Ok(Ground {
                    form,
                    account: Some(account),
                    draft: None,
                })
            }
            TestTarget::Draft { user, account } => {
                let user = self.user(user).await?;
                let draft = self.draft_or_new(&user, account).await?;
                let form = self.draft_form(&draft);
                let account = self.optional_account(account).await?;
                Ok(Ground {
                    form,
                    account,
                    draft: Some(draft),
                })
            }
            TestTarget::Form { form, account } => {
                let account = self.optional_account(account).await?;
                Ok(Ground {
                    form: *form,
                    account,
                    draft: None,
                })
            }
        }
    }
}

impl Trials {
    fn remember(&self, id: TestId, trial: Trial) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            // Identifiers sort by time.
            if let Some(oldest) = known.keys().min().copied() {
                known.remove(&oldest);
            }
        }
        known.insert(id, trial);
    }

    fn find(&self, id: TestId) -> Option<Trial> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&id)
            .cloned()
    }
}

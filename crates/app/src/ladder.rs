//! The test ladder behind *Test connection*: ordered rungs that tell their faults apart.
//!
//! A test is good only after a real, authenticated read. Each rung says what was found, why we
//! think so and what to do; what Microsoft said stands beside it as evidence.

mod dynamics;
mod network;
mod token;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use tieline_core::{Account, Evidence, LadderReport, Language, Rung, RungReport, RungStatus};
use tieline_store::Draft;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::app::App;
use crate::form::{AccountForm, Finding};
use crate::help::{explain, explain_plain};
use crate::keeper::LiveToken;
use crate::settings::Settings;
use crate::trials::TestProgress;

/// What a test stands on.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) form: AccountForm,
    pub(crate) account: Option<Account>,
    pub(crate) draft: Option<Draft>,
}

/// What one rung found.
#[derive(Debug)]
pub(crate) struct Found {
    status: RungStatus,
    code: String,
    args: Vec<(&'static str, String)>,
    evidence: Evidence,
}

impl Found {
    pub(crate) fn ok(code: &str) -> Self {
        Self::of(RungStatus::Ok, code)
    }

    pub(crate) fn warning(code: &str) -> Self {
        Self::of(RungStatus::Warning, code)
    }

    pub(crate) fn failed(code: &str) -> Self {
        Self::of(RungStatus::Failed, code)
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.args.push((name, value.into()));
        self
    }

    pub(crate) fn evidence(mut self, evidence: Evidence) -> Self {
        self.evidence = evidence;
        self
    }

    fn of(status: RungStatus, code: &str) -> Self {
        Self {
            status,
            code: code.to_owned(),
            args: Vec::new(),
            evidence: Evidence::default(),
        }
    }
}

/// One climb of the ladder.
pub(crate) struct Climb<'a> {
    app: &'a App,
    ground: &'a Ground,
    language: Language,
    progress: Arc<watch::Sender<TestProgress>>,
}

/// What later rungs know from earlier ones.
#[derive(Debug, Default)]
struct Luggage {
    settings: Option<Settings>,
    token: Option<LiveToken>,
    dop_hint: Option<u32>,
    user_id: Option<String>,
}

impl<'a> Climb<'a> {
    pub(crate) fn new(
        app: &'a App,
        ground: &'a Ground,
        language: Language,
        progress: Arc<watch::Sender<TestProgress>>,
    ) -> Self {
        Self {
            app,
            ground,
            language,
            progress,
        }
    }

    /// Climbs as far as it goes.
    pub(crate) async fn run(&self) {
        let began = self.app.now();
        let mut luggage = Luggage::default();
        let mut rungs: Vec<RungReport> = Vec::new();
        for rung in Rung::ALL.iter().copied() {
            let failed = rungs.iter().any(|rung| rung.status == RungStatus::Failed);
            let report = if failed {
                self.not_reached(rung)
            } else {
                self.progress
                    .send_modify(|progress| progress.running = Some(rung));
                let start = Instant::now();
                let found = self.climb(rung, &mut luggage).await;
                self.report(rung, found, start)
            };
            rungs.push(report);
            self.progress.send_modify(|progress| {
                progress.running = None;
                progress.rungs.clone_from(&rungs);
            });
        }
        let report = LadderReport::of(began, rungs);
        self.remember(&report, began).await;
        metrics::counter!("tieline_tests_total", "ok" => report.ok.to_string()).increment(1);
        self.progress
            .send_modify(|progress| progress.report = Some(report));
    }

    async fn climb(&self, rung: Rung, luggage: &mut Luggage) -> Found {
        match rung {
            Rung::Settings => self.settings(luggage).await,
            Rung::Name => self.name(luggage).await,
            Rung::Tls => self.tls(luggage).await,
            Rung::Token => self.token(luggage).await,
            Rung::Claims => self.claims(luggage),
            Rung::WhoAmI => self.who_am_i(luggage).await,
            Rung::Organization => self.organization(luggage).await,
            Rung::Privileges => self.privileges(luggage).await,
            Rung::Headroom => self.headroom(luggage).await,
        }
    }

    /// Are the properties complete, and do they fit together?
    async fn settings(&self, luggage: &mut Luggage) -> Found {
        let draft = self.ground.draft.as_ref();
        let held = draft.map(Draft::held).unwrap_or_default();
        let account = self.ground.account.as_ref();
        let judged = async {
            let form = self.app.with_kept_secret(&self.ground.form, draft).await?;
            self.app.judged(&form, account, &held).await
        };
        let (settings, findings) = match judged.await {
            Ok(judged) => judged,
            Err(error) => return Found::failed(error.code()),
        };
        let worst = findings
            .iter()
            .find(|finding| finding.is_error())
            .or(findings.first());
        let found = match worst {
            None => Found::ok("settings-fit"),
            Some(finding) => self.finding(finding),
        };
        luggage.settings = Some(settings);
        found
    }

    fn finding(&self, finding: &Finding) -> Found {
        let mut found = if finding.is_error() {
            Found::failed(finding.code)
        } else {
            Found::warning(finding.code)
        };
        found.args.clone_from(&finding.args);
        found.evidence.message = Some(finding.field.as_str().to_owned());
        found
    }

    fn report(&self, rung: Rung, found: Found, start: Instant) -> RungReport {
        let text = explain(&found.code, &found.args, self.language);
        // A millisecond is the least that is shown: nothing takes no time.
        let ms = u64::try_from(start.elapsed().as_millis())
            .unwrap_or(u64::MAX)
            .max(1);
        RungReport {
            rung,
            status: found.status,
            ms,
            code: found.code,
            cause: text.cause,
            remedy: text.remedy,
            evidence: found.evidence,
        }
    }

    fn not_reached(&self, rung: Rung) -> RungReport {
        let text = explain_plain("not-reached", self.language);
        RungReport {
            rung,
            status: RungStatus::NotReached,
            ms: 0,
            code: "not-reached".to_owned(),
            cause: text.cause,
            remedy: text.remedy,
            evidence: Evidence::default(),
        }
    }

    async fn remember(&self, report: &LadderReport, now: DateTime<Utc>) {
        let Some(draft) = &self.ground.draft else {
            return;
        };
        if let Err(error) = self
            .app
            .store()
            .draft_set_report(draft.id, report, now)
            .await
        {
            tracing::warn!(%error, "the report of a connection test could not be kept");
        }
    }
}

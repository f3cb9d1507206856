//! The properties pane: a draft as fields, findings and the ladder.

use tieline_app::{AccountForm, DraftView, Explanation, Field, Finding, TestProgress};
use tieline_core::{
    Account, AccountEvent, ConnectionState, CredentialSlot, GrantType, LadderReport,
    RefreshTokenRotation, Rung, RungReport, RungStatus, TestId,
};

use crate::console::credentials::{self, CredentialView};
use crate::console::pages::evidence_rows;
use crate::console::view::{StateView, TextView, time};
use crate::site::Site;
use crate::words::Words;

/// The pane as its template shows it.
#[derive(Debug)]
pub(crate) struct Pane {
    pub(crate) title: String,
    pub(crate) is_new: bool,
    pub(crate) action: String,
    pub(crate) draft_url: String,
    pub(crate) consent_url: String,
    pub(crate) state: Option<StateView>,
    pub(crate) explanation: Option<TextView>,
    pub(crate) judged: bool,
    pub(crate) error_count: usize,
    pub(crate) stale: Option<Vec<(String, String)>>,
    pub(crate) unsaved: Option<String>,
    pub(crate) basic: Vec<FieldView>,
    pub(crate) refresh: FieldView,
    pub(crate) refresh_open: bool,
    pub(crate) rollover: Vec<FieldView>,
    pub(crate) certificates: Vec<FieldView>,
    pub(crate) certificate_open: bool,
    pub(crate) credentials: Vec<CredentialView>,
    pub(crate) credentials_open: bool,
    pub(crate) rotations: Vec<ChoiceView>,
    pub(crate) more: Vec<FieldView>,
    pub(crate) more_open: bool,
    pub(crate) client_credentials: bool,
    pub(crate) consent: Option<ConsentView>,
    pub(crate) redirect_uri: String,
    pub(crate) gateway: Option<String>,
    pub(crate) ladder: Option<LadderView>,
    pub(crate) saved: Option<SavedView>,
    pub(crate) pasted: String,
    pub(crate) proposed: bool,
    pub(crate) propose_problem: Option<TextView>,
}

/// One property.
#[derive(Debug, Default)]
pub(crate) struct FieldView {
    pub(crate) name: &'static str,
    pub(crate) label: String,
    pub(crate) kind: &'static str,
    pub(crate) value: String,
    pub(crate) placeholder: String,
    pub(crate) hint: String,
    pub(crate) checked: bool,
    pub(crate) locked: bool,
    pub(crate) focus: bool,
    pub(crate) findings: Vec<TextView>,
}

impl FieldView {
    pub(crate) fn invalid(&self) -> bool {
        self.findings.iter().any(|finding| finding.kind == "error")
    }

    pub(crate) fn described_by(&self) -> String {
        let hint = (!self.hint.is_empty()).then(|| format!("{}-hint", self.name));
        let findings = (!self.findings.is_empty()).then(|| format!("{}-findings", self.name));
        [hint, findings]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(" ")
    }
}

#[derive(Debug)]
pub(crate) struct ConsentView {
    pub(crate) user: String,
    pub(crate) at: String,
    pub(crate) organization: String,
    pub(crate) is_draft: bool,
}

/// What only a saved account has.
#[derive(Debug)]
pub(crate) struct SavedView {
    pub(crate) is_default: bool,
    pub(crate) default_url: String,
    pub(crate) delete_url: String,
    pub(crate) history_url: String,
    pub(crate) created: String,
    pub(crate) created_by: String,
    pub(crate) changed: String,
    pub(crate) changed_by: String,
    pub(crate) events: Vec<EventView>,
}

#[derive(Debug)]
pub(crate) struct EventView {
    pub(crate) state: StateView,
    pub(crate) text: String,
}

/// The test ladder, finished or under way.
#[derive(Debug)]
pub(crate) struct LadderView {
    pub(crate) poll: Option<String>,
    pub(crate) verdict: Option<VerdictView>,
    pub(crate) rungs: Vec<RungView>,
}

#[derive(Debug)]
pub(crate) struct VerdictView {
    pub(crate) class: &'static str,
    pub(crate) mark: &'static str,
    pub(crate) text: String,
    pub(crate) at: String,
}

#[derive(Debug)]
pub(crate) struct RungView {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) status: String,
    pub(crate) status_word: String,
    pub(crate) mark: &'static str,
    pub(crate) ms: u64,
    pub(crate) code: String,
    pub(crate) cause: String,
    pub(crate) remedy: String,
    pub(crate) evidence: Vec<(String, String)>,
}

/// How much of what is wrong is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Candour {
    /// Only what was typed and is wrong: somebody has just begun.
    Typed,
    /// Everything, what is missing too: somebody pressed a button.
    Everything,
}

impl Pane {
    /// The pane of a draft.
    pub(crate) fn of(
        site: &Site,
        words: Words,
        view: &DraftView,
        events: &[AccountEvent],
        candour: Candour,
    ) -> Self {
        let account = view.account.as_ref();
        let base = match account {
            Some(account) => format!("/accounts/{}", account.id),
            None => "/accounts/new".to_owned(),
        };
        let findings = spoken(view, candour);
        let error_count = findings.iter().filter(|finding| finding.is_error()).count();
        let mut basic = basic_fields(words, view, &findings);
        if candour == Candour::Everything
            && let Some(first) = basic.iter_mut().find(|field| field.invalid())
        {
            first.focus = true;
        }
        let refresh = refresh_field(words, &findings);
        let more = more_fields(words, view, &findings);
        let rollover = rollover_fields(words, view, &findings);
        let certificates = certificate_fields(words, &findings);
        let certificate_open = certificates.iter().any(|field| field.invalid());
        let credentials = credentials::views(words, view, &base);
        Self {
            credentials_open: certificate_open
                || rollover
                    .iter()
                    .chain(&certificates)
                    .any(|field| !field.findings.is_empty() || !field.value.is_empty())
                || credentials.len() > 1
                || credentials
                    .iter()
                    .any(|one| one.is_draft && one.download.is_some()),
            rollover,
            certificates,
            certificate_open,
            credentials,
            title: account.map_or_else(|| words.t("new-account"), |a| a.name.to_string()),
            is_new: account.is_none(),
            draft_url: format!("{base}/draft"),
            consent_url: format!("{base}/consent?type=microsoft_dynamics_365"),
            action: base,
            state: account.map(|a| StateView::of(a.connection.state, a.connection.since, words)),
            explanation: account.and_then(|account| reason_text(account, words)),
            judged: candour == Candour::Everything,
            error_count,
            stale: view.stale.as_ref().map(|rows| stale_rows(rows, words)),
            unsaved: view.updated_at.filter(|_| view.dirty).map(time),
            basic,
            refresh_open: !refresh.findings.is_empty(),
            refresh,
            more_open: more
                .iter()
                .any(|field| !field.findings.is_empty() || !field.value.is_empty())
                || view.form.rotation() != RefreshTokenRotation::Auto,
            rotations: rotations(view.form.rotation(), &words),
            more,
            client_credentials: view.form.grant() == GrantType::ClientCredentials,
            consent: view.consent.as_ref().map(|consent| ConsentView {
                user: consent
                    .user
                    .clone()
                    .unwrap_or_else(|| words.t("consent-unknown")),
                at: time(consent.at),
                organization: consent.organization.clone(),
                is_draft: view.consent_is_draft,
            }),
            redirect_uri: site.app.redirect_uri(),
            gateway: account.map(|account| gateway_address(site, account)),
            ladder: view
                .report
                .as_ref()
                .map(|report| LadderView::finished(report, words)),
            saved: account.map(|account| SavedView::of(account, events, words)),
            pasted: String::new(),
            proposed: false,
            propose_problem: None,
        }
    }

    /// The pane with a test under way.
    pub(crate) fn testing(mut self, ladder: LadderView) -> Self {
        self.ladder = Some(ladder);
        self
    }
}

impl SavedView {
    fn of(account: &Account, events: &[AccountEvent], words: Words) -> Self {
        Self {
            is_default: account.is_default,
            default_url: format!("/accounts/{}/default", account.id),
            delete_url: format!("/accounts/{}/delete", account.id),
            history_url: format!("/accounts/{}/history", account.id),
            created: time(account.created_at),
            created_by: account.created_by.clone(),
            changed: time(account.changed_at),
            changed_by: account.changed_by.clone(),
            events: events
                .iter()
                .map(|event| EventView {
                    state: StateView::of(event.to, event.at, words),
                    text: event_text(event, account, words),
                })
                .collect(),
        }
    }
}

impl LadderView {
    /// A run that has ended.
    pub(crate) fn finished(report: &LadderReport, words: Words) -> Self {
        let (class, mark, key) = if report.ok {
            ("verdict-ok", "✓", "test-ok")
        } else {
            ("verdict-failed", "✗", "test-failed")
        };
        Self {
            poll: None,
            verdict: Some(VerdictView {
                class,
                mark,
                text: words.t(key),
                at: time(report.at),
            }),
            rungs: report
                .rungs
                .iter()
                .map(|rung| RungView::of(rung, words))
                .collect(),
        }
    }

    /// A run as far as it is; finished when it is.
    pub(crate) fn of(progress: &TestProgress, base: &str, test: TestId, words: Words) -> Self {
        if let Some(report) = &progress.report {
            return Self::finished(report, words);
        }
        let mut rungs: Vec<RungView> = progress
            .rungs
            .iter()
            .map(|rung| RungView::of(rung, words))
            .collect();
        for rung in Rung::ALL.iter().skip(rungs.len()) {
            rungs.push(RungView::waiting(
                *rung,
                progress.running == Some(*rung),
                words,
            ));
        }
        Self {
            poll: Some(format!("{base}/test/{test}")),
            verdict: None,
            rungs,
        }
    }
}

impl RungView {
    fn of(report: &RungReport, words: Words) -> Self {
        Self {
            id: report.rung.to_string(),
            name: words.t(&format!("rung-{}", report.rung)),
            status: report.status.to_string(),
            status_word: words.t(&format!("status-{}", report.status)),
            mark: match report.status {
                RungStatus::Ok => "✓",
                RungStatus::Warning => "▲",
                RungStatus::Failed => "✗",
                RungStatus::NotReached => "–",
            },
            ms: report.ms,
            code: report.code.clone(),
            cause: report.cause.clone(),
            remedy: report.remedy.clone(),
            evidence: evidence_rows(&report.evidence, words),
        }
    }

    fn waiting(rung: Rung, running: bool, words: Words) -> Self {
        let status = if running { "running" } else { "not_reached" };
        Self {
            id: rung.to_string(),
            name: words.t(&format!("rung-{rung}")),
            status: status.to_owned(),
            status_word: words.t(&format!("status-{status}")),
            mark: if running { "…" } else { "" },
            ms: 0,
            code: String::new(),
            cause: String::new(),
            remedy: String::new(),
            evidence: Vec::new(),
        }
    }
}

/// The findings that are said. Who has just begun a form knows that it is not complete.
fn spoken(view: &DraftView, candour: Candour) -> Vec<Finding> {
    let typed = |finding: &&Finding| match finding.field {
        Field::ClientSecret => view.secret_set_at.is_some(),
        // What is said of these is said of one that is there.
        field if field.is_credential() => true,
        field => !view.form.text(field).trim().is_empty(),
    };
    match candour {
        Candour::Everything => view.findings.clone(),
        Candour::Typed => view.findings.iter().filter(typed).cloned().collect(),
    }
}

fn basic_fields(words: Words, view: &DraftView, findings: &[Finding]) -> Vec<FieldView> {
    let form = &view.form;
    let text = |field: Field, kind: &'static str, hint: &str, value: &str| FieldView {
        kind,
        value: value.to_owned(),
        hint: if hint.is_empty() {
            String::new()
        } else {
            words.t(hint)
        },
        ..field_view(words, field, findings)
    };
    let default_is = view
        .account
        .as_ref()
        .is_some_and(|account| account.is_default);
    vec![
        text(Field::Name, "text", "", &form.name),
        FieldView {
            kind: "checkbox",
            checked: form.is_default,
            // The only way to have another default is to choose it there.
            locked: default_is,
            hint: words.t(if default_is {
                "default-is"
            } else {
                "default-hint"
            }),
            ..field_view(words, Field::DefaultAccount, findings)
        },
        text(
            Field::AuthorizationUrl,
            "text",
            "url-hint",
            &form.authorization_url,
        ),
        text(Field::TokenUrl, "text", "", &form.token_url),
        text(Field::ApiUrl, "text", "api-hint", &form.api_url),
        text(Field::ClientId, "text", "client-hint", &form.client_id),
        FieldView {
            kind: "password",
            placeholder: secret_placeholder(words, view),
            hint: secret_hint(words, view),
            ..field_view(words, Field::ClientSecret, findings)
        },
    ]
}

fn more_fields(words: Words, view: &DraftView, findings: &[Finding]) -> Vec<FieldView> {
    vec![FieldView {
        kind: "textarea",
        value: view.form.notes.clone(),
        ..field_view(words, Field::Notes, findings)
    }]
}

/// When the secret ends, and the one that takes over from it.
fn rollover_fields(words: Words, view: &DraftView, findings: &[Finding]) -> Vec<FieldView> {
    let set_at = |slot| {
        let info = view.credentials.iter().find(|info| info.slot == slot);
        info.map(|info| info.set_at.format("%Y-%m-%d").to_string())
    };
    let next = set_at(CredentialSlot::NextClientSecret);
    vec![
        FieldView {
            kind: "date",
            value: view.form.secret_expires_on.clone(),
            hint: words.t("expiry-hint"),
            ..field_view(words, Field::SecretExpiresOn, findings)
        },
        FieldView {
            kind: "password",
            placeholder: next
                .map(|day| words.with("secret-set", "date", &day))
                .unwrap_or_default(),
            hint: words.t("next-secret-hint"),
            ..field_view(words, Field::NextClientSecret, findings)
        },
        FieldView {
            kind: "date",
            value: view.form.next_secret_expires_on.clone(),
            ..field_view(words, Field::NextSecretExpiresOn, findings)
        },
    ]
}

/// Where certificates are pasted; what is set is never shown again.
fn certificate_fields(words: Words, findings: &[Finding]) -> Vec<FieldView> {
    [Field::ClientCertificate, Field::NextClientCertificate]
        .map(|field| FieldView {
            kind: "textarea",
            ..field_view(words, field, findings)
        })
        .into()
}

fn refresh_field(words: Words, findings: &[Finding]) -> FieldView {
    FieldView {
        name: "refresh_token_pasted",
        kind: "password",
        ..field_view(words, Field::RefreshToken, findings)
    }
}

fn field_view(words: Words, field: Field, findings: &[Finding]) -> FieldView {
    let language = words.language();
    let findings = findings
        .iter()
        .filter(|finding| finding.field == field)
        .map(|finding| {
            let text = finding.explain(language);
            if finding.is_error() {
                TextView::error(text)
            } else {
                TextView::warning(text)
            }
        })
        .collect();
    FieldView {
        name: field.as_str(),
        label: words.t(field.as_str()),
        findings,
        ..FieldView::default()
    }
}

fn secret_placeholder(words: Words, view: &DraftView) -> String {
    match view.secret_set_at {
        Some(at) => words.with("secret-set", "date", &at.format("%Y-%m-%d").to_string()),
        None => String::new(),
    }
}

fn secret_hint(words: Words, view: &DraftView) -> String {
    if view.secret_set_at.is_none() {
        return words.t("secret-unset");
    }
    let expires = view.form.secret_expires_on.trim();
    let mut parts = Vec::new();
    if view.secret_is_draft {
        parts.push(words.t("secret-draft"));
    }
    if !expires.is_empty() {
        parts.push(words.with("expires", "date", expires));
    }
    parts.join(" · ")
}

fn stale_rows(rows: &[(Field, String)], words: Words) -> Vec<(String, String)> {
    rows.iter()
        .map(|(field, value)| (words.t(field.as_str()), value.clone()))
        .collect()
}

/// Why a connection is not well, and what to do.
fn reason_text(account: &Account, words: Words) -> Option<TextView> {
    if account.connection.state == ConnectionState::Connected {
        return None;
    }
    let reason = &account.connection.reason;
    let text: Explanation = tieline_app::explain_reason(reason, account, words.language());
    Some(TextView::warning(text))
}

/// What a change of state came from; a renewal is the usual case and needs no words.
pub(crate) fn event_text(event: &AccountEvent, account: &Account, words: Words) -> String {
    match event.reason.code.as_str() {
        "renewed" => String::new(),
        _ => tieline_app::explain_reason(&event.reason, account, words.language()).cause,
    }
}

pub(crate) fn host_of(url: &str) -> String {
    url::Url::parse(url)
        .ok()
        .and_then(|url| url.host_str().map(str::to_owned))
        .unwrap_or_else(|| url.to_owned())
}

/// Where applications call the account.
fn gateway_address(site: &Site, account: &Account) -> String {
    let mut url = site.app.gateway_url().clone();
    let api = url::Url::parse(&account.api_url).ok();
    let base = api.map(|api| api.path().to_owned()).unwrap_or_default();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().push(account.name.as_str());
    }
    format!("{url}{base}")
}

/// One of several values of a property.
#[derive(Debug)]
pub(crate) struct ChoiceView {
    pub(crate) value: &'static str,
    pub(crate) label: String,
    pub(crate) selected: bool,
}

fn rotations(chosen: RefreshTokenRotation, words: &Words) -> Vec<ChoiceView> {
    let choice = |rotation: &RefreshTokenRotation| ChoiceView {
        value: rotation.as_str(),
        label: words.t(&format!("rotation-{rotation}")),
        selected: *rotation == chosen,
    };
    RefreshTokenRotation::ALL.iter().map(choice).collect()
}

/// The form as posted by a browser.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct PostedForm {
    name: String,
    default: Option<String>,
    authorization_url: String,
    token_url: String,
    api_url: String,
    client_id: String,
    client_secret: String,
    secret_expires_on: String,
    next_client_secret: String,
    next_secret_expires_on: String,
    client_certificate: String,
    next_client_certificate: String,
    remove_client_secret: Option<String>,
    remove_next_client_secret: Option<String>,
    remove_client_certificate: Option<String>,
    remove_next_client_certificate: Option<String>,
    refresh_token_pasted: String,
    grant: String,
    refresh_token_rotation: String,
    notes: String,
    pub(crate) propose: String,
    #[serde(rename = "do")]
    pub(crate) action: String,
}

impl PostedForm {
    /// The properties. An empty secret keeps the one that is set.
    pub(crate) fn form(&self, is_default_already: bool) -> AccountForm {
        let secret = |text: &str| (!text.trim().is_empty()).then(|| text.to_owned().into());
        AccountForm {
            name: self.name.clone(),
            // A disabled checkbox is not sent.
            is_default: self.default.is_some() || is_default_already,
            authorization_url: self.authorization_url.clone(),
            token_url: self.token_url.clone(),
            api_url: self.api_url.clone(),
            client_id: self.client_id.clone(),
            client_secret: secret(&self.client_secret),
            secret_expires_on: self.secret_expires_on.clone(),
            refresh_token: secret(&self.refresh_token_pasted),
            grant: self.grant.parse().ok(),
            rotation: self.refresh_token_rotation.parse().ok(),
            // Browsers send line ends as CR LF.
            notes: self.notes.replace("\r\n", "\n"),
            next_client_secret: secret(&self.next_client_secret),
            next_secret_expires_on: self.next_secret_expires_on.clone(),
            client_certificate: secret(&self.client_certificate),
            next_client_certificate: secret(&self.next_client_certificate),
            remove: self.removed(),
        }
    }

    fn removed(&self) -> Vec<CredentialSlot> {
        let ticked = [
            (CredentialSlot::ClientSecret, &self.remove_client_secret),
            (
                CredentialSlot::NextClientSecret,
                &self.remove_next_client_secret,
            ),
            (
                CredentialSlot::ClientCertificate,
                &self.remove_client_certificate,
            ),
            (
                CredentialSlot::NextClientCertificate,
                &self.remove_next_client_certificate,
            ),
        ];
        let ticked = ticked.into_iter().filter(|(_, tick)| tick.is_some());
        ticked.map(|(slot, _)| slot).collect()
    }
}

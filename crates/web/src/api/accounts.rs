//! Integration accounts.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::DateTime;
use serde::{Deserialize, Serialize};
use tieline_app::{
    AccountForm, AppError, Applied, ConsentPrompt, ConsentTarget, EventRange, Explanation,
    Severity, TestTarget,
};
use tieline_core::{Account, AccountId, Evidence, LadderReport, Right};
use utoipa::{IntoParams, ToSchema};

use crate::api::account_json::{AccountJson, AppliedJson, EventJson, Properties, time};
use crate::api::body::{Body, Caller, Known};
use crate::api::problem::{FieldProblem, Problem, ProblemDocument};
use crate::api::webhooks::bad_cursor;
use crate::site::Site;

type Answer<T = Response> = Result<T, Problem>;

/// A list of accounts.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AccountsJson {
    accounts: Vec<AccountJson>,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(crate) struct Search {
    /// Part of a name or of an API URL.
    q: String,
}

/// Lists the accounts, by name.
#[utoipa::path(get, path = "/v1/integration-accounts", tag = "integration accounts",
    operation_id = "list_accounts", params(Search),
    responses((status = 200, body = AccountsJson), (status = 401, body = ProblemDocument)))]
pub(crate) async fn list(
    State(site): State<Site>,
    caller: Caller,
    Query(search): Query<Search>,
) -> Answer<Json<AccountsJson>> {
    let accounts = site
        .app
        .account_list(&search.q)
        .await
        .map_err(|e| caller.problem(&e))?;
    let accounts = accounts
        .iter()
        .map(|account| AccountJson::of(account, caller.language()))
        .collect();
    Ok(Json(AccountsJson { accounts }))
}

/// Adds an account.
#[utoipa::path(post, path = "/v1/integration-accounts", tag = "integration accounts",
    operation_id = "add_account", request_body = Properties,
    responses((status = 201, body = AppliedJson), (status = 401, body = ProblemDocument),
        (status = 403, body = ProblemDocument), (status = 409, body = ProblemDocument, description = "the name is taken"),
        (status = 422, body = ProblemDocument)))]
pub(crate) async fn create(
    State(site): State<Site>,
    caller: Caller,
    Body(properties): Body<Properties>,
) -> Answer {
    caller.require(Right::Manage)?;
    known_type(&properties)?;
    let states = site.app.account_states().await;
    let first = states.map_err(|e| caller.problem(&e))?.is_empty();
    // The first account of a type is its default, unless told otherwise; as in the console.
    let base = AccountForm {
        is_default: first,
        ..AccountForm::default()
    };
    let added = site
        .app
        .account_add(&caller.0.actor(), properties.over(base))
        .await;
    let applied = added.map_err(|error| caller.problem(&error))?;
    let location = format!("/api/v1/integration-accounts/{}", applied.account.id);
    let mut response = shown(StatusCode::CREATED, &applied, &caller);
    if let Ok(location) = location.parse() {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// Shows an account, by its id or its name.
#[utoipa::path(get, path = "/v1/integration-accounts/{account}", tag = "integration accounts",
    operation_id = "show_account", params(("account" = String, Path, description = "id or name")),
    responses((status = 200, body = AccountJson), (status = 404, body = ProblemDocument)))]
pub(crate) async fn show(
    State(site): State<Site>,
    caller: Caller,
    Path(account): Path<String>,
) -> Answer {
    let account = find(&site, &caller, &account).await?;
    let json = AccountJson::of(&account, caller.language());
    Ok((etag(account.version), Json(json)).into_response())
}

/// Changes the properties that are sent, and no others (RFC 7396).
#[utoipa::path(patch, path = "/v1/integration-accounts/{account}", tag = "integration accounts",
    operation_id = "change_account", params(("account" = String, Path, description = "id or name")),
    request_body = Properties,
    responses((status = 200, body = AppliedJson), (status = 404, body = ProblemDocument),
        (status = 409, body = ProblemDocument, description = "the name is taken, or somebody else was quicker"),
        (status = 412, body = ProblemDocument, description = "If-Match names another version"),
        (status = 422, body = ProblemDocument)))]
pub(crate) async fn patch(
    State(site): State<Site>,
    caller: Caller,
    Path(account): Path<String>,
    headers: HeaderMap,
    Body(properties): Body<Properties>,
) -> Answer {
    let account = find(&site, &caller, &account).await?;
    let base = AccountForm::of(&account);
    change(&site, &caller, &account, base, &headers, properties).await
}

/// Replaces every property except the secrets; those that are not sent become empty.
#[utoipa::path(put, path = "/v1/integration-accounts/{account}", tag = "integration accounts",
    operation_id = "replace_account", params(("account" = String, Path, description = "id or name")),
    request_body = Properties,
    responses((status = 200, body = AppliedJson), (status = 404, body = ProblemDocument),
        (status = 409, body = ProblemDocument), (status = 412, body = ProblemDocument), (status = 422, body = ProblemDocument)))]
pub(crate) async fn replace(
    State(site): State<Site>,
    caller: Caller,
    Path(account): Path<String>,
    headers: HeaderMap,
    Body(properties): Body<Properties>,
) -> Answer {
    let account = find(&site, &caller, &account).await?;
    change(
        &site,
        &caller,
        &account,
        AccountForm::default(),
        &headers,
        properties,
    )
    .await
}

async fn change(
    site: &Site,
    caller: &Caller,
    account: &Account,
    base: AccountForm,
    headers: &HeaderMap,
    properties: Properties,
) -> Answer {
    caller.require(Right::Manage)?;
    known_type(&properties)?;
    let if_match = if_match(headers)?;
    let version = if_match.or(properties.version).unwrap_or(account.version);
    let form = properties.over(base);
    let edited = site
        .app
        .account_edit(&caller.0.actor(), account.id, version, form)
        .await;
    match edited {
        Ok(applied) => Ok(shown(StatusCode::OK, &applied, caller)),
        Err(error) if if_match.is_some() => Err(caller.problem(&error).into_failed_precondition()),
        Err(error) => Err(caller.problem(&error)),
    }
}

/// Deletes an account; it can be restored for 30 days.
#[utoipa::path(delete, path = "/v1/integration-accounts/{account}", tag = "integration accounts",
    operation_id = "delete_account", params(("account" = String, Path, description = "id or name")),
    responses((status = 204), (status = 404, body = ProblemDocument)))]
pub(crate) async fn remove(
    State(site): State<Site>,
    caller: Caller,
    Path(account): Path<String>,
) -> Answer<StatusCode> {
    caller.require(Right::Manage)?;
    let account = find(&site, &caller, &account).await?;
    let deleted = site.app.account_delete(&caller.0.actor(), account.id).await;
    deleted.map_err(|error| caller.problem(&error))?;
    Ok(StatusCode::NO_CONTENT)
}

/// Brings a deleted account back, by its id.
#[utoipa::path(post, path = "/v1/integration-accounts/{account}/restore",
    tag = "integration accounts", operation_id = "restore_account",
    params(("account" = String, Path, description = "id")),
    responses((status = 200, body = AccountJson), (status = 404, body = ProblemDocument), (status = 409, body = ProblemDocument)))]
pub(crate) async fn restore(
    State(site): State<Site>,
    caller: Caller,
    Path(account): Path<String>,
) -> Answer<Json<AccountJson>> {
    caller.require(Right::Manage)?;
    let missing = |_| caller.problem(&AppError::NotFound { what: "account" });
    let id: AccountId = account.to_uppercase().parse().map_err(missing)?;
    let restored = site.app.account_restore(&caller.0.actor(), id).await;
    let account = restored.map_err(|error| caller.problem(&error))?;
    Ok(Json(AccountJson::of(&account, caller.language())))
}

/// Makes an account the default one of its type.
#[utoipa::path(post, path = "/v1/integration-accounts/{account}/default",
    tag = "integration accounts", operation_id = "make_account_default",
    params(("account" = String, Path, description = "id or name")),
    responses((status = 200, body = AccountJson), (status = 404, body = ProblemDocument)))]
pub(crate) async fn make_default(
    State(site): State<Site>,
    caller: Caller,
    Path(account): Path<String>,
) -> Answer<Json<AccountJson>> {
    caller.require(Right::Manage)?;
    let account = find(&site, &caller, &account).await?;
    let done = site
        .app
        .account_set_default(&caller.0.actor(), account.id)
        .await;
    let account = done.map_err(|error| caller.problem(&error))?;
    Ok(Json(AccountJson::of(&account, caller.language())))
}

/// The history of an account's state, latest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventsJson {
    events: Vec<EventJson>,
    /// Where the next page begins, as `cursor`; null on the last page.
    next: Option<String>,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(crate) struct EventPaging {
    /// Where the page begins: `next` of the page before.
    cursor: Option<String>,
    /// How many; 100 unless given, 500 at most.
    limit: Option<u32>,
    /// Only changes from this moment on (RFC 3339).
    since: Option<String>,
}

/// Shows how an account's state changed, latest first. Changes are kept for 400 days, 2,000 for
/// each account at most.
#[utoipa::path(get, path = "/v1/integration-accounts/{account}/events",
    tag = "integration accounts", operation_id = "list_account_events",
    params(("account" = String, Path, description = "id or name"), EventPaging),
    responses((status = 200, body = EventsJson), (status = 400, body = ProblemDocument), (status = 404, body = ProblemDocument)))]
pub(crate) async fn events(
    State(site): State<Site>,
    caller: Caller,
    Path(account): Path<String>,
    Query(paging): Query<EventPaging>,
) -> Answer<Json<EventsJson>> {
    let (usual, most) = (100, 500);
    let account = find(&site, &caller, &account).await?;
    let limit = paging.limit.unwrap_or(usual).clamp(1, most);
    let range = paging.range()?;
    let found = site
        .app
        .account_timeline(account.id, range, limit + 1)
        .await;
    let mut found = found.map_err(|error| caller.problem(&error))?;
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    Ok(Json(EventsJson {
        next: found
            .last()
            .filter(|_| more)
            .map(|last| last.event.id.to_string()),
        events: found
            .iter()
            .map(|timed| EventJson::of(timed, &account, caller.language()))
            .collect(),
    }))
}

impl EventPaging {
    fn range(&self) -> Result<EventRange, Problem> {
        let before = match &self.cursor {
            Some(cursor) => Some(cursor.parse().map_err(|_| bad_cursor())?),
            None => None,
        };
        let since = match &self.since {
            Some(text) => Some(
                // A plus sign that was not encoded arrives as a space.
                DateTime::parse_from_rfc3339(&text.trim().replace(' ', "+"))
                    .map_err(|_| bad_moment())?
                    .to_utc(),
            ),
            None => None,
        };
        Ok(EventRange { before, since })
    }
}

fn bad_moment() -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "moment-malformed",
        "'since' is not a moment.",
        "Write it by RFC 3339, such as 2026-11-23T08:00:00Z.",
    )
}

// === tests ===

/// What the test ladder found.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LadderJson {
    /// Whether no rung failed.
    ok: bool,
    /// When it was run, UTC.
    at: String,
    rungs: Vec<RungJson>,
}

/// One check.
#[derive(Debug, Serialize, ToSchema)]
struct RungJson {
    /// `settings`, `name`, `tls`, `token`, `claims`, `whoami`, `organization`, `privileges`,
    /// `headroom`.
    rung: &'static str,
    /// `ok`, `warning`, `failed`, `not_reached`.
    status: &'static str,
    /// Milliseconds.
    ms: u64,
    /// Stable code.
    code: String,
    cause: String,
    remedy: String,
    /// What Microsoft said: AADSTS or Dataverse code, trace and correlation id.
    #[schema(value_type = Object)]
    evidence: Evidence,
}

impl From<LadderReport> for LadderJson {
    fn from(report: LadderReport) -> Self {
        let rungs = report
            .rungs
            .into_iter()
            .map(|rung| RungJson {
                rung: rung.rung.as_str(),
                status: rung.status.as_str(),
                ms: rung.ms,
                code: rung.code,
                cause: rung.cause,
                remedy: rung.remedy,
                evidence: rung.evidence,
            })
            .collect();
        Self {
            ok: report.ok,
            at: time(report.at),
            rungs,
        }
    }
}

/// Tests an account as it is saved.
#[utoipa::path(post, path = "/v1/integration-accounts/{account}/test",
    tag = "integration accounts", operation_id = "test_account",
    params(("account" = String, Path, description = "id or name")),
    responses((status = 200, body = LadderJson), (status = 404, body = ProblemDocument)))]
pub(crate) async fn test_saved(
    State(site): State<Site>,
    caller: Caller,
    Path(account): Path<String>,
) -> Answer<Json<LadderJson>> {
    caller.require(Right::Test)?;
    let account = find(&site, &caller, &account).await?;
    run(&site, &caller, TestTarget::Account(account.id)).await
}

/// Tests properties that are not saved. With `account`, its secrets fill what is not sent.
#[utoipa::path(post, path = "/v1/integration-accounts/test", tag = "integration accounts",
    operation_id = "test_properties", request_body = Properties,
    responses((status = 200, body = LadderJson), (status = 404, body = ProblemDocument)))]
pub(crate) async fn test_properties(
    State(site): State<Site>,
    caller: Caller,
    Body(properties): Body<Properties>,
) -> Answer<Json<LadderJson>> {
    caller.require(Right::Manage)?;
    let (form, account) = over_account(&site, &caller, properties).await?;
    let account = account.map(|account| account.id);
    run(
        &site,
        &caller,
        TestTarget::Form {
            form: Box::new(form),
            account,
        },
    )
    .await
}

async fn run(site: &Site, caller: &Caller, target: TestTarget) -> Answer<Json<LadderJson>> {
    let started = site.app.test_start(target, caller.language()).await;
    let test = started.map_err(|error| caller.problem(&error))?;
    match site.app.test_wait(test).await {
        Some(report) => Ok(Json(report.into())),
        None => Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "test-cancelled",
            "The test was ended before it was done.",
            "Start it again.",
        )),
    }
}

/// What was found in properties without a word to anybody outside.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CheckJson {
    /// Whether they could be applied.
    ok: bool,
    /// What stops an Apply.
    errors: Vec<FieldProblem>,
    /// What does not.
    warnings: Vec<FieldProblem>,
}

/// Checks properties without saving them and without asking anybody outside.
#[utoipa::path(post, path = "/v1/integration-accounts/check", tag = "integration accounts",
    operation_id = "check_properties", request_body = Properties,
    responses((status = 200, body = CheckJson), (status = 404, body = ProblemDocument)))]
pub(crate) async fn check(
    State(site): State<Site>,
    caller: Caller,
    Body(properties): Body<Properties>,
) -> Answer<Json<CheckJson>> {
    caller.require(Right::Manage)?;
    let (form, account) = over_account(&site, &caller, properties).await?;
    let findings = site.app.account_check(&form, account.as_ref()).await;
    let findings = findings.map_err(|error| caller.problem(&error))?;
    let of = |severity| {
        findings
            .iter()
            .filter(|finding| finding.severity == severity)
            .map(|finding| FieldProblem::of(finding, caller.language()))
            .collect::<Vec<_>>()
    };
    let errors = of(Severity::Error);
    Ok(Json(CheckJson {
        ok: errors.is_empty(),
        errors,
        warnings: of(Severity::Warning),
    }))
}

async fn over_account(
    site: &Site,
    caller: &Caller,
    properties: Properties,
) -> Answer<(AccountForm, Option<Account>)> {
    known_type(&properties)?;
    match properties.account.clone() {
        Some(reference) => {
            let account = find(site, caller, &reference).await?;
            Ok((properties.over(AccountForm::of(&account)), Some(account)))
        }
        None => Ok((properties.over(AccountForm::default()), None)),
    }
}

// === consent ===

/// On whose behalf the consent is asked for.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(crate) struct ConsentAsked {
    /// `user` (the default) or `organization`.
    #[serde(rename = "for")]
    whom: Option<ConsentFor>,
}

#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum ConsentFor {
    User,
    Organization,
}

impl Known for ConsentAsked {
    const PROPERTIES: &'static [&'static str] = &["for"];
}

/// A consent that was begun.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConsentStarted {
    /// Where to send the browser that holds this session.
    url: String,
    /// Asks for the outcome.
    handle: String,
    /// When it is too late, UTC.
    expires_at: String,
}

/// Begins the consent for an account as it is saved.
#[utoipa::path(post, path = "/v1/integration-accounts/{account}/consent",
    tag = "integration accounts", operation_id = "begin_consent",
    params(("account" = String, Path, description = "id or name")), request_body = ConsentAsked,
    responses((status = 200, body = ConsentStarted), (status = 404, body = ProblemDocument), (status = 422, body = ProblemDocument)))]
pub(crate) async fn consent(
    State(site): State<Site>,
    caller: Caller,
    Path(account): Path<String>,
    Body(asked): Body<ConsentAsked>,
) -> Answer<Json<ConsentStarted>> {
    caller.require(Right::Manage)?;
    let account = find(&site, &caller, &account).await?;
    let prompt = match asked.whom {
        Some(ConsentFor::Organization) => ConsentPrompt::AdminConsent,
        _ => ConsentPrompt::SelectAccount,
    };
    let target = ConsentTarget::Account(account.id);
    let begun = site
        .app
        .consent_begin(target, Some(&caller.0.session), prompt)
        .await;
    let start = begun.map_err(|error| caller.problem(&error))?;
    Ok(Json(ConsentStarted {
        url: start.url.to_string(),
        handle: start.handle,
        expires_at: time(start.expires_at),
    }))
}

/// How a consent ended.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConsentOutcome {
    /// False while the person is still on the way.
    ended: bool,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
    /// What Microsoft said.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    evidence: Option<Evidence>,
}

/// Tells how a consent ended.
#[utoipa::path(get, path = "/v1/consents/{handle}", tag = "integration accounts",
    operation_id = "show_consent", params(("handle" = String, Path, description = "from the beginning")),
    responses((status = 200, body = ConsentOutcome)))]
pub(crate) async fn consent_outcome(
    State(site): State<Site>,
    caller: Caller,
    Path(handle): Path<String>,
) -> Answer<Json<ConsentOutcome>> {
    caller.require(Right::Manage)?;
    let outcome = site.app.consent_outcome(&handle).await;
    let outcome = outcome.map_err(|error| caller.problem(&error))?;
    Ok(Json(match outcome {
        None => ConsentOutcome {
            ended: false,
            ok: false,
            code: None,
            cause: None,
            remedy: None,
            evidence: None,
        },
        Some(end) => {
            let Explanation { cause, remedy } = end.explain(caller.language());
            ConsentOutcome {
                ended: true,
                ok: end.ok,
                code: Some(end.code),
                cause: Some(cause),
                remedy: Some(remedy),
                evidence: Some(end.evidence),
            }
        }
    }))
}

// === set-up help ===

/// Whatever an administrator has at hand.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(crate) struct Pasted {
    /// The organization's address, a tenant ID, a line of an endpoints page, or a discovery
    /// document.
    pasted: Option<String>,
}

impl Known for Pasted {
    const PROPERTIES: &'static [&'static str] = &["pasted"];
}

/// URLs that follow from what was pasted.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProposalJson {
    authorization_url: Option<String>,
    token_url: Option<String>,
    api_url: Option<String>,
    /// What should be known about them.
    notes: Vec<FieldProblem>,
}

/// Proposes an account's URLs from whatever was pasted; may ask the organization without a token.
#[utoipa::path(post, path = "/v1/setup/propose", tag = "integration accounts",
    operation_id = "propose_settings", request_body = Pasted,
    responses((status = 200, body = ProposalJson), (status = 422, body = ProblemDocument)))]
pub(crate) async fn propose(
    State(site): State<Site>,
    caller: Caller,
    Body(pasted): Body<Pasted>,
) -> Answer<Json<ProposalJson>> {
    caller.require(Right::Manage)?;
    let proposed = site
        .app
        .setup_propose(&pasted.pasted.unwrap_or_default())
        .await;
    let proposal = proposed.map_err(|error| caller.problem(&error))?;
    let notes = proposal
        .notes
        .iter()
        .map(|note| FieldProblem::of(note, caller.language()))
        .collect();
    Ok(Json(ProposalJson {
        authorization_url: proposal.authorization_url,
        token_url: proposal.token_url,
        api_url: proposal.api_url,
        notes,
    }))
}

// === small things ===

pub(crate) async fn find(site: &Site, caller: &Caller, reference: &str) -> Answer<Account> {
    site.app
        .account_find(reference)
        .await
        .map_err(|error| caller.problem(&error))
}

fn known_type(properties: &Properties) -> Answer<()> {
    if properties.type_known() {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "type-unknown",
        "There is no such type of account.",
        "Today there is one: microsoft_dynamics_365. The type may be left out.",
    ))
}

fn shown(status: StatusCode, applied: &Applied, caller: &Caller) -> Response {
    let json = AppliedJson::of(&applied.account, &applied.warnings, caller.language());
    (status, etag(applied.account.version), Json(json)).into_response()
}

pub(crate) fn etag(version: i64) -> [(header::HeaderName, String); 1] {
    [(header::ETAG, format!("\"{version}\""))]
}

fn if_match(headers: &HeaderMap) -> Answer<Option<i64>> {
    let Some(value) = headers.get(header::IF_MATCH) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let version = text.trim_start_matches("W/").trim_matches('"').parse();
    version.map(Some).map_err(|_| {
        Problem::new(
            StatusCode::PRECONDITION_FAILED,
            "if-match-unknown",
            "If-Match names no version of this account.",
            "Send the ETag of the answer that the change is based on, such as \"3\".",
        )
    })
}

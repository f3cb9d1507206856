//! Webhooks: who is told of events, and what became of what they were told.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use tieline_app::{WebhookForm, WebhookTrial, explain_plain};
use tieline_core::{Delivery, Language, Right, Webhook};
use utoipa::{IntoParams, ToSchema};

use crate::api::account_json::time;
use crate::api::body::{Body, Caller, Known};
use crate::api::problem::{Problem, ProblemDocument};
use crate::site::Site;

type Answer<T> = Result<T, Problem>;

/// Deliveries that a page holds unless another number is asked for, and at most.
const PAGE: u32 = 50;
const PAGE_MAX: u32 = 200;

/// An address that is told of events, by Standard Webhooks. The secret is never in it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Webhook)]
pub(crate) struct WebhookJson {
    id: String,
    url: String,
    description: String,
    /// What it is told of: `integration_account.state_changed`,
    /// `integration_account.credential_warning`, `integration_account.reason_changed`,
    /// `webhook.disabled`.
    events: Vec<&'static str>,
    /// Ids of the accounts that it is told of; null means every account.
    accounts: Option<Vec<String>>,
    enabled: bool,
    /// Why it is disabled: `person`, `gone` or `failing`; null while it is enabled.
    disabled_reason: Option<&'static str>,
    disabled_at: Option<String>,
    /// Until when the secret before the present one signs as well.
    previous_secret_until: Option<String>,
    /// Since when every attempt has failed; null while it takes what it is sent.
    failing_since: Option<String>,
    last_success_at: Option<String>,
    created_at: String,
    created_by: String,
}

/// A webhook with its secret, which is shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WebhookWithSecret {
    #[serde(flatten)]
    webhook: WebhookJson,
    /// `whsec_…`: what notices are signed with; it cannot be shown again.
    secret: String,
}

/// A list of webhooks.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WebhooksJson {
    webhooks: Vec<WebhookJson>,
}

/// A webhook to add, or what to change of one.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct WebhookProperties {
    /// Where notices are posted: https, at a public address.
    url: Option<String>,
    /// What it is for, up to 200 characters.
    description: Option<String>,
    /// What it is told of; usually everything but `integration_account.reason_changed`.
    events: Option<Vec<String>>,
    /// Names or ids of the accounts that it is told of; an empty list means every account.
    accounts: Option<Vec<String>>,
    /// Whether it is told of events. Disabling gives up what waits for it.
    enabled: Option<bool>,
}

impl Known for WebhookProperties {
    const PROPERTIES: &'static [&'static str] =
        &["url", "description", "events", "accounts", "enabled"];
}

/// What came of an attempt to try a webhook out.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TrialJson {
    /// Whether it answered with a status of 200 to 299.
    ok: bool,
    status: Option<u16>,
    /// Milliseconds.
    ms: u64,
    /// The `webhook-id` it was sent with.
    message_id: String,
    /// Stable code of the failure; null where it was taken.
    code: Option<&'static str>,
    cause: String,
    remedy: String,
}

/// A notice on its way to a webhook.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeliveryJson {
    /// The `webhook-id` it is sent with: the same with every attempt.
    message_id: String,
    /// What it is about.
    #[serde(rename = "type")]
    notice_type: &'static str,
    /// When that happened.
    at: String,
    /// The account it is about.
    account_id: Option<String>,
    /// Its name at that time.
    account_name: Option<String>,
    from: Option<&'static str>,
    to: Option<&'static str>,
    /// `pending`, `delivered`, `failed`, `superseded` or `cancelled`.
    state: &'static str,
    attempts: u32,
    last_at: Option<String>,
    /// HTTP status of the last answer.
    last_status: Option<u16>,
    /// Why the last attempt failed: a stable code.
    last_error: Option<String>,
    /// The same in words.
    last_error_cause: Option<String>,
    /// When it is tried next.
    next_at: Option<String>,
}

/// What a webhook was told, latest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeliveriesJson {
    deliveries: Vec<DeliveryJson>,
    /// Where the next page begins, as `cursor`; null on the last page.
    next: Option<String>,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(crate) struct Paging {
    /// Where the page begins: `next` of the page before.
    cursor: Option<String>,
    /// How many; 50 unless given, 200 at most.
    limit: Option<u32>,
}

impl WebhookJson {
    fn of(webhook: &Webhook, caller: &Caller) -> Self {
        // The query often holds a key: who may not change a webhook is not shown it.
        let url = match webhook.url.split_once('?') {
            Some((before, _)) if !caller.0.may(Right::Manage) => format!("{before}?…"),
            _ => webhook.url.clone(),
        };
        let ids =
            |ids: &Vec<tieline_core::AccountId>| ids.iter().map(ToString::to_string).collect();
        Self {
            id: webhook.id.to_string(),
            url,
            description: webhook.description.clone(),
            events: webhook.events.iter().map(|event| event.as_str()).collect(),
            accounts: webhook.accounts.as_ref().map(ids),
            enabled: webhook.is_enabled(),
            disabled_reason: webhook.disabled.map(|(reason, _)| reason.as_str()),
            disabled_at: webhook.disabled.map(|(_, at)| time(at)),
            previous_secret_until: webhook.previous_secret_until.map(time),
            failing_since: webhook.failing_since.map(time),
            last_success_at: webhook.last_success_at.map(time),
            created_at: time(webhook.created_at),
            created_by: webhook.created_by.clone(),
        }
    }
}

impl TrialJson {
    fn of(trial: &WebhookTrial, language: Language) -> Self {
        let told = trial.code.map(|code| explain_plain(code, language));
        let told = told.unwrap_or_default();
        Self {
            ok: trial.ok,
            status: trial.status,
            ms: u64::try_from(trial.took.as_millis()).unwrap_or(u64::MAX),
            message_id: trial.message_id.clone(),
            code: trial.code,
            cause: told.cause,
            remedy: told.remedy,
        }
    }
}

impl DeliveryJson {
    fn of(delivery: &Delivery, language: Language) -> Self {
        let notice = &delivery.notice;
        let error = delivery.last_error.as_deref();
        Self {
            message_id: format!("msg_{}", notice.id),
            notice_type: notice.notice_type.as_str(),
            at: time(notice.at),
            account_id: notice.account_id.map(|id| id.to_string()),
            account_name: notice.account_id.map(|_| notice.subject.clone()),
            from: notice.from.map(tieline_core::ConnectionState::as_str),
            to: notice.to.map(tieline_core::ConnectionState::as_str),
            state: delivery.state.as_str(),
            attempts: delivery.attempts,
            last_at: delivery.last_at.map(time),
            last_status: delivery.last_status,
            last_error: error.map(str::to_owned),
            last_error_cause: error.map(|code| explain_plain(code, language).cause),
            next_at: delivery.next_at.map(time),
        }
    }
}

impl WebhookProperties {
    fn form(&self) -> WebhookForm {
        WebhookForm {
            url: self.url.clone(),
            description: self.description.clone(),
            events: self.events.clone(),
            accounts: self.accounts.clone(),
        }
    }
}

/// Lists the webhooks, in the order in which they were added.
#[utoipa::path(get, path = "/v1/webhooks", tag = "webhooks", operation_id = "list_webhooks",
    responses((status = 200, body = WebhooksJson), (status = 401, body = ProblemDocument)))]
pub(crate) async fn list(State(site): State<Site>, caller: Caller) -> Answer<Json<WebhooksJson>> {
    let webhooks = site.app.webhook_list().await;
    let webhooks = webhooks.map_err(|error| caller.problem(&error))?;
    Ok(Json(WebhooksJson {
        webhooks: webhooks
            .iter()
            .map(|webhook| WebhookJson::of(webhook, &caller))
            .collect(),
    }))
}

/// Adds a webhook. Its secret is in the answer, this once.
#[utoipa::path(post, path = "/v1/webhooks", tag = "webhooks", operation_id = "add_webhook",
    request_body = WebhookProperties,
    responses((status = 201, body = WebhookWithSecret), (status = 403, body = ProblemDocument), (status = 422, body = ProblemDocument)))]
pub(crate) async fn create(
    State(site): State<Site>,
    caller: Caller,
    Body(properties): Body<WebhookProperties>,
) -> Answer<impl IntoResponse + use<>> {
    caller.require(Right::Manage)?;
    let by = caller.0.actor();
    let added = site.app.webhook_add(&by, &properties.form()).await;
    let (mut webhook, secret) = added.map_err(|error| caller.problem(&error))?;
    if properties.enabled == Some(false) {
        let id = webhook.id.to_string();
        let disabled = site.app.webhook_disable(&by, &id).await;
        webhook = disabled.map_err(|error| caller.problem(&error))?;
    }
    let location = [(header::LOCATION, format!("/api/v1/webhooks/{}", webhook.id))];
    let answer = WebhookWithSecret {
        webhook: WebhookJson::of(&webhook, &caller),
        secret: secret.expose_secret().to_owned(),
    };
    Ok((StatusCode::CREATED, location, Json(answer)))
}

/// Shows a webhook.
#[utoipa::path(get, path = "/v1/webhooks/{webhook}", tag = "webhooks",
    operation_id = "show_webhook", params(("webhook" = String, Path, description = "id")),
    responses((status = 200, body = WebhookJson), (status = 404, body = ProblemDocument)))]
pub(crate) async fn show(
    State(site): State<Site>,
    caller: Caller,
    Path(webhook): Path<String>,
) -> Answer<Json<WebhookJson>> {
    let webhook = site.app.webhook_find(&webhook).await;
    let webhook = webhook.map_err(|error| caller.problem(&error))?;
    Ok(Json(WebhookJson::of(&webhook, &caller)))
}

/// Changes what is given of a webhook.
#[utoipa::path(patch, path = "/v1/webhooks/{webhook}", tag = "webhooks",
    operation_id = "change_webhook", request_body = WebhookProperties,
    params(("webhook" = String, Path, description = "id")),
    responses((status = 200, body = WebhookJson), (status = 404, body = ProblemDocument), (status = 422, body = ProblemDocument)))]
pub(crate) async fn change(
    State(site): State<Site>,
    caller: Caller,
    Path(webhook): Path<String>,
    Body(properties): Body<WebhookProperties>,
) -> Answer<Json<WebhookJson>> {
    caller.require(Right::Manage)?;
    let by = caller.0.actor();
    let problem = |error| caller.problem(&error);
    let found = site.app.webhook_find(&webhook).await.map_err(problem)?;
    let id = found.id.to_string();
    let form = properties.form();
    let mut changed = site
        .app
        .webhook_edit(&by, &id, &form)
        .await
        .map_err(problem)?;
    if let Some(enabled) = properties.enabled {
        changed = match enabled {
            true => site.app.webhook_enable(&by, &id).await,
            false => site.app.webhook_disable(&by, &id).await,
        }
        .map_err(problem)?;
    }
    Ok(Json(WebhookJson::of(&changed, &caller)))
}

/// Removes a webhook with the log of what it was told.
#[utoipa::path(delete, path = "/v1/webhooks/{webhook}", tag = "webhooks",
    operation_id = "remove_webhook", params(("webhook" = String, Path, description = "id")),
    responses((status = 204), (status = 404, body = ProblemDocument)))]
pub(crate) async fn remove(
    State(site): State<Site>,
    caller: Caller,
    Path(webhook): Path<String>,
) -> Answer<StatusCode> {
    caller.require(Right::Manage)?;
    let removed = site.app.webhook_remove(&caller.0.actor(), &webhook).await;
    removed.map_err(|error| caller.problem(&error))?;
    Ok(StatusCode::NO_CONTENT)
}

/// Gives a webhook another secret. For a day notices carry a signature by either.
#[utoipa::path(post, path = "/v1/webhooks/{webhook}/rotate-secret", tag = "webhooks",
    operation_id = "rotate_webhook_secret", params(("webhook" = String, Path, description = "id")),
    responses((status = 200, body = WebhookWithSecret), (status = 404, body = ProblemDocument)))]
pub(crate) async fn rotate(
    State(site): State<Site>,
    caller: Caller,
    Path(webhook): Path<String>,
) -> Answer<Json<WebhookWithSecret>> {
    caller.require(Right::Manage)?;
    let rotated = site.app.webhook_rotate(&caller.0.actor(), &webhook).await;
    let (webhook, secret) = rotated.map_err(|error| caller.problem(&error))?;
    Ok(Json(WebhookWithSecret {
        webhook: WebhookJson::of(&webhook, &caller),
        secret: secret.expose_secret().to_owned(),
    }))
}

/// Sends a webhook a notice of the type `webhook.test`, once, and waits for the answer.
#[utoipa::path(post, path = "/v1/webhooks/{webhook}/test", tag = "webhooks",
    operation_id = "test_webhook", params(("webhook" = String, Path, description = "id")),
    responses((status = 200, body = TrialJson), (status = 404, body = ProblemDocument)))]
pub(crate) async fn test(
    State(site): State<Site>,
    caller: Caller,
    Path(webhook): Path<String>,
) -> Answer<Json<TrialJson>> {
    caller.require(Right::Test)?;
    let trial = site.app.webhook_test(&webhook).await;
    let trial = trial.map_err(|error| caller.problem(&error))?;
    Ok(Json(TrialJson::of(&trial, caller.language())))
}

/// Lists what a webhook was told in the last 30 days, latest first.
#[utoipa::path(get, path = "/v1/webhooks/{webhook}/deliveries", tag = "webhooks",
    operation_id = "list_deliveries",
    params(("webhook" = String, Path, description = "id"), Paging),
    responses((status = 200, body = DeliveriesJson), (status = 404, body = ProblemDocument)))]
pub(crate) async fn deliveries(
    State(site): State<Site>,
    caller: Caller,
    Path(webhook): Path<String>,
    Query(paging): Query<Paging>,
) -> Answer<Json<DeliveriesJson>> {
    let problem = |error| caller.problem(&error);
    let webhook = site.app.webhook_find(&webhook).await.map_err(problem)?;
    let before = match &paging.cursor {
        Some(cursor) => Some(cursor.parse::<i64>().map_err(|_| bad_cursor())?),
        None => None,
    };
    let limit = paging.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
    let found = site.app.webhook_deliveries(webhook.id, before, limit + 1);
    let mut found = found.await.map_err(problem)?;
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    Ok(Json(DeliveriesJson {
        next: found
            .last()
            .filter(|_| more)
            .map(|last| last.seq.to_string()),
        deliveries: found
            .iter()
            .map(|delivery| DeliveryJson::of(delivery, caller.language()))
            .collect(),
    }))
}

/// Sends a notice to a webhook once more, with the `webhook-id` it had.
#[utoipa::path(post, path = "/v1/webhooks/{webhook}/deliveries/{message}/resend", tag = "webhooks",
    operation_id = "resend_delivery",
    params(("webhook" = String, Path, description = "id"), ("message" = String, Path, description = "`message_id` of the delivery")),
    responses((status = 202), (status = 404, body = ProblemDocument), (status = 422, body = ProblemDocument)))]
pub(crate) async fn resend(
    State(site): State<Site>,
    caller: Caller,
    Path((webhook, message)): Path<(String, String)>,
) -> Answer<StatusCode> {
    caller.require(Right::Manage)?;
    let sent = site.app.webhook_resend(&webhook, &message).await;
    sent.map_err(|error| caller.problem(&error))?;
    Ok(StatusCode::ACCEPTED)
}

/// A cursor that no page gave.
pub(crate) fn bad_cursor() -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "cursor-unknown",
        "The cursor is not one that a page gave.",
        "Leave it out to begin anew, or send back next as it came.",
    )
}

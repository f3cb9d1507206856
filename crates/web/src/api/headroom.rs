//! How much an account still lets through, and the limits of accounts and consumers.

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use tieline_app::{AppError, ConsumerUse, Headroom, Used};
use tieline_core::{AccountLimits, ConsumerLimits, Right};
use utoipa::ToSchema;

use crate::api::account_json::time;
use crate::api::body::{Body, Caller, Known};
use crate::api::consumers::ConsumerJson;
use crate::api::problem::{Problem, ProblemDocument};
use crate::site::Site;

type Answer<T> = Result<T, Problem>;

/// What an account still lets through, of all servers together.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HeadroomJson {
    /// The account's id.
    account: String,
    /// Requests of the window, at the web servers of Microsoft's that were seen.
    requests: Amount,
    /// Seconds of execution of the window.
    execution_seconds: Amount,
    /// What is left of the window in percent, the lesser of both; null while nothing is known.
    percent_left: Option<u8>,
    /// Microsoft's web servers that answered of late: each has limits of its own.
    web_servers: usize,
    concurrency: ConcurrencyJson,
    waiting: WaitingJson,
    /// Until when nobody calls, because Microsoft asked for it.
    paused_until: Option<String>,
    /// Seconds that nobody might call.
    throttled_seconds: Spans,
    /// Servers of Tieline's that use the account now.
    servers: usize,
    consumers: Vec<ConsumerUseJson>,
    limits: AccountLimitsJson,
}

/// What is left, and of how much.
#[derive(Debug, Serialize, ToSchema)]
struct Amount {
    left: Option<f64>,
    of: Option<f64>,
}

/// Calls at a time.
#[derive(Debug, Serialize, ToSchema)]
struct ConcurrencyJson {
    in_use: u32,
    in_use_bulk: u32,
    /// How many may be under way, as far as Microsoft's answers tell.
    allowed: u32,
    allowed_bulk: u32,
}

/// Calls that wait for their turn.
#[derive(Debug, Serialize, ToSchema)]
struct WaitingJson {
    interactive: usize,
    bulk: usize,
}

/// A sum over five minutes and over a day.
#[derive(Debug, Serialize, ToSchema)]
struct Spans {
    last_5_minutes: f64,
    last_24_hours: f64,
}

/// What a consumer used of the account.
#[derive(Debug, Serialize, ToSchema)]
struct ConsumerUseJson {
    id: String,
    /// Empty when the consumer was removed.
    name: String,
    last_5_minutes: UsedJson,
    last_24_hours: UsedJson,
}

/// Calls in a time.
#[derive(Debug, Serialize, ToSchema)]
struct UsedJson {
    calls: i64,
    /// Those of bulk among them.
    bulk: i64,
    /// Calls turned away by Tieline.
    refused: i64,
    /// Refusals of Microsoft's, whether a caller noticed them or not.
    throttled: i64,
    /// Seconds that calls waited for their turn, in sum.
    waited_seconds: f64,
}

/// The limits that are reckoned with for an account.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AccountLimitsJson {
    concurrency: u32,
    requests: u32,
    execution_seconds: u32,
    window_seconds: u32,
    reserve_percent: u8,
}

impl AccountLimitsJson {
    fn of(limits: &AccountLimits) -> Self {
        Self {
            concurrency: limits.concurrency,
            requests: limits.requests,
            execution_seconds: limits.execution_seconds,
            window_seconds: limits.window_seconds,
            reserve_percent: limits.reserve_percent,
        }
    }
}

impl HeadroomJson {
    fn of(account: String, headroom: &Headroom) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "limits are small")]
        let float = |number: Option<i64>| number.map(|number| number as f64);
        let [minutes, day] = headroom.paused_seconds;
        Self {
            account,
            requests: Amount {
                left: float(headroom.requests_left),
                of: float(headroom.requests_of),
            },
            execution_seconds: Amount {
                left: headroom.execution_left,
                of: headroom.execution_of,
            },
            percent_left: headroom.percent(),
            web_servers: headroom.web_servers,
            concurrency: ConcurrencyJson {
                in_use: headroom.in_use,
                in_use_bulk: headroom.in_use_bulk,
                allowed: headroom.allowed,
                allowed_bulk: headroom.allowed_bulk,
            },
            waiting: WaitingJson {
                interactive: headroom.waiting,
                bulk: headroom.waiting_bulk,
            },
            paused_until: headroom.paused_until.map(time),
            throttled_seconds: Spans {
                last_5_minutes: minutes,
                last_24_hours: day,
            },
            servers: headroom.servers,
            consumers: headroom.consumers.iter().map(consumer_use).collect(),
            limits: AccountLimitsJson::of(&headroom.limits),
        }
    }
}

fn consumer_use(used: &ConsumerUse) -> ConsumerUseJson {
    let calls = |used: Used| UsedJson {
        calls: used.calls,
        bulk: used.bulk,
        refused: used.refused,
        throttled: used.throttled,
        waited_seconds: used.waited_seconds,
    };
    ConsumerUseJson {
        id: used.id.clone(),
        name: used.name.clone(),
        last_5_minutes: calls(used.minutes),
        last_24_hours: calls(used.day),
    }
}

/// Shows how much an account still lets through, and who used it.
#[utoipa::path(get, path = "/v1/integration-accounts/{account}/headroom",
    tag = "integration accounts", operation_id = "show_account_headroom",
    params(("account" = String, Path, description = "id or name")),
    responses((status = 200, body = HeadroomJson), (status = 404, body = ProblemDocument)))]
pub(crate) async fn show(
    State(site): State<Site>,
    caller: Caller,
    Path(account): Path<String>,
) -> Answer<Json<HeadroomJson>> {
    let problem = |error| caller.problem(&error);
    let account = site.app.account_find(&account).await.map_err(problem)?;
    let headroom = site.app.account_headroom(account.id).await;
    let headroom = headroom.map_err(problem)?;
    let id = account.id.to_string();
    Ok(Json(HeadroomJson::of(id, &headroom)))
}

/// Limits to reckon with; what is not sent stays as it is, what is null becomes Microsoft's.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct NewAccountLimits {
    /// Calls at once, of all servers together.
    #[serde(deserialize_with = "sent")]
    concurrency: Option<Option<u32>>,
    /// Requests in a window.
    #[serde(deserialize_with = "sent")]
    requests: Option<Option<u32>>,
    /// Combined seconds of execution in a window.
    #[serde(deserialize_with = "sent")]
    execution_seconds: Option<Option<u32>>,
    /// The window.
    #[serde(deserialize_with = "sent")]
    window_seconds: Option<Option<u32>>,
    /// What bulk leaves to interactive calls that have not been made yet, in percent.
    #[serde(deserialize_with = "sent")]
    reserve_percent: Option<Option<u8>>,
}

/// Tells what was not sent from what was sent as null.
fn sent<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Some)
}

impl Known for NewAccountLimits {
    const PROPERTIES: &'static [&'static str] = &[
        "concurrency",
        "requests",
        "execution_seconds",
        "window_seconds",
        "reserve_percent",
    ];
}

impl NewAccountLimits {
    fn over(self, now: AccountLimits) -> AccountLimits {
        let usual = AccountLimits::default();
        AccountLimits {
            concurrency: over(self.concurrency, now.concurrency, usual.concurrency),
            requests: over(self.requests, now.requests, usual.requests),
            execution_seconds: over(
                self.execution_seconds,
                now.execution_seconds,
                usual.execution_seconds,
            ),
            window_seconds: over(
                self.window_seconds,
                now.window_seconds,
                usual.window_seconds,
            ),
            reserve_percent: over(
                self.reserve_percent,
                now.reserve_percent,
                usual.reserve_percent,
            ),
        }
    }
}

fn over<T>(sent: Option<Option<T>>, now: T, usual: T) -> T {
    match sent {
        None => now,
        Some(None) => usual,
        Some(Some(value)) => value,
    }
}

/// Changes the limits that are reckoned with for an account; those that are not sent stay.
#[utoipa::path(patch, path = "/v1/integration-accounts/{account}/limits",
    tag = "integration accounts", operation_id = "change_account_limits",
    params(("account" = String, Path, description = "id or name")),
    request_body = NewAccountLimits,
    responses((status = 200, body = AccountLimitsJson), (status = 404, body = ProblemDocument),
        (status = 422, body = ProblemDocument)))]
pub(crate) async fn change(
    State(site): State<Site>,
    caller: Caller,
    Path(account): Path<String>,
    Body(new): Body<NewAccountLimits>,
) -> Answer<Json<AccountLimitsJson>> {
    caller.require(Right::Manage)?;
    let problem = |error| caller.problem(&error);
    let account = site.app.account_find(&account).await.map_err(problem)?;
    let now = site.app.account_limits(account.id).await.map_err(problem)?;
    let by = caller.0.actor();
    let set = site
        .app
        .account_limits_set(&by, account.id, new.over(now))
        .await;
    let set = set.map_err(problem)?;
    Ok(Json(AccountLimitsJson::of(&set)))
}

/// A consumer's part in the limits of accounts.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConsumerLimitsJson {
    /// `interactive`, `bulk`, or `bulk_unless_asked`: bulk, except calls that ask to be
    /// interactive by the header `Tieline-Priority`.
    priority: &'static str,
    /// Weight against other consumers of the same priority, 1 to 100.
    share: u8,
    /// Calls a second; null means as many as the account allows.
    rate: Option<f64>,
    /// Calls that may come at once before the rate holds.
    burst: Option<u32>,
    /// `wait`: what Dynamics will not take yet waits; `fail`: it gets the 429 at once.
    on_throttle: &'static str,
    /// Milliseconds that a call has in all, where it says nothing by `Tieline-Deadline`.
    deadline_ms: Option<u64>,
}

impl ConsumerLimitsJson {
    pub(crate) fn of(limits: &ConsumerLimits) -> Self {
        Self {
            priority: limits.priority.as_str(),
            share: limits.share,
            rate: limits.rate,
            burst: limits.burst,
            on_throttle: limits.on_throttle.as_str(),
            deadline_ms: limits.deadline_ms,
        }
    }
}

/// A consumer's limits to change; what is not sent stays as it is, what is null becomes the usual.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct NewConsumerLimits {
    /// `interactive`, `bulk` or `bulk_unless_asked`.
    #[serde(deserialize_with = "sent")]
    priority: Option<Option<String>>,
    /// 1 to 100.
    #[serde(deserialize_with = "sent")]
    share: Option<Option<u8>>,
    /// Calls a second.
    #[serde(deserialize_with = "sent")]
    rate: Option<Option<f64>>,
    /// Calls that may come at once before the rate holds.
    #[serde(deserialize_with = "sent")]
    burst: Option<Option<u32>>,
    /// `wait` or `fail`.
    #[serde(deserialize_with = "sent")]
    on_throttle: Option<Option<String>>,
    /// Milliseconds that a call has in all.
    #[serde(deserialize_with = "sent")]
    deadline_ms: Option<Option<u64>>,
}

impl Known for NewConsumerLimits {
    const PROPERTIES: &'static [&'static str] = &[
        "priority",
        "share",
        "rate",
        "burst",
        "on_throttle",
        "deadline_ms",
    ];
}

impl NewConsumerLimits {
    fn over(self, now: ConsumerLimits) -> Result<ConsumerLimits, AppError> {
        let usual = ConsumerLimits::default();
        let refused = |code| AppError::Refused { code };
        let priority = match self.priority {
            None => now.priority,
            Some(None) => usual.priority,
            Some(Some(word)) => word.parse().map_err(|_| refused("priority-malformed"))?,
        };
        let on_throttle = match self.on_throttle {
            None => now.on_throttle,
            Some(None) => usual.on_throttle,
            Some(Some(word)) => word.parse().map_err(|_| refused("on-throttle-malformed"))?,
        };
        Ok(ConsumerLimits {
            priority,
            on_throttle,
            share: over(self.share, now.share, usual.share),
            rate: self.rate.unwrap_or(now.rate),
            burst: self.burst.unwrap_or(now.burst),
            deadline_ms: self.deadline_ms.unwrap_or(now.deadline_ms),
        })
    }
}

/// Changes a consumer's part in the limits of accounts; what is not sent stays.
#[utoipa::path(patch, path = "/v1/consumers/{consumer}/limits", tag = "consumers",
    operation_id = "change_consumer_limits",
    params(("consumer" = String, Path, description = "id or name")),
    request_body = NewConsumerLimits,
    responses((status = 200, body = ConsumerJson), (status = 404, body = ProblemDocument),
        (status = 422, body = ProblemDocument)))]
pub(crate) async fn change_consumer(
    State(site): State<Site>,
    caller: Caller,
    Path(consumer): Path<String>,
    Body(new): Body<NewConsumerLimits>,
) -> Answer<Json<ConsumerJson>> {
    caller.require(Right::Manage)?;
    let problem = |error| caller.problem(&error);
    let found = site.app.consumer_find(&consumer).await.map_err(problem)?;
    let limits = new.over(found.limits).map_err(problem)?;
    let by = caller.0.actor();
    let set = site.app.consumer_limits_set(&by, &consumer, limits).await;
    let set = set.map_err(problem)?;
    Ok(Json(ConsumerJson::of(&set)))
}

#[cfg(test)]
mod tests {
    use tieline_core::Priority;

    use super::*;

    #[test]
    fn what_is_not_sent_stays_and_null_means_the_usual() {
        let now = ConsumerLimits {
            priority: Priority::Bulk,
            share: 40,
            rate: Some(3.0),
            ..ConsumerLimits::default()
        };
        let new: NewConsumerLimits =
            serde_json::from_str(r#"{"share": null, "rate": null, "burst": 7}"#).expect("JSON");
        let limits = new.over(now).expect("good");
        let usual = ConsumerLimits::default();
        assert_eq!(limits.priority, Priority::Bulk);
        assert_eq!((limits.share, limits.rate), (usual.share, None));
        assert_eq!(limits.burst, Some(7));
    }
}

//! Consumers and their API keys.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use tieline_app::AppError;
use tieline_core::{ApiKeyId, ApiKeyInfo, Consumer, ConsumerGrant, Right};
use utoipa::ToSchema;

use crate::api::account_json::time;
use crate::api::body::{Body, Caller, Known};
use crate::api::headroom::ConsumerLimitsJson;
use crate::api::problem::{Problem, ProblemDocument};
use crate::site::Site;

type Answer<T> = Result<T, Problem>;

/// An application that may use accounts.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConsumerJson {
    id: String,
    name: String,
    /// Ids of the accounts that it may use; null means every account.
    accounts: Option<Vec<String>>,
    /// Its part in the limits of accounts.
    limits: ConsumerLimitsJson,
    keys: Vec<KeyJson>,
    created_at: String,
}

/// An API key, never itself.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct KeyJson {
    id: String,
    /// Its first characters, to tell keys apart.
    prefix: String,
    created_at: String,
    revoked_at: Option<String>,
    last_used_at: Option<String>,
}

/// A consumer with its first key, which is shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConsumerAdded {
    #[serde(flatten)]
    consumer: ConsumerJson,
    /// The key itself; it cannot be shown again.
    api_key: String,
}

/// A key, which is shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct KeyAdded {
    #[serde(flatten)]
    key: KeyJson,
    /// The key itself; it cannot be shown again.
    api_key: String,
}

/// A list of consumers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConsumersJson {
    consumers: Vec<ConsumerJson>,
}

/// A consumer to add.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(crate) struct NewConsumer {
    /// Unique without regard to case.
    name: Option<String>,
    /// Names or ids of the accounts that it may use; absent means every account.
    accounts: Option<Vec<String>>,
}

impl Known for NewConsumer {
    const PROPERTIES: &'static [&'static str] = &["name", "accounts"];
}

impl ConsumerJson {
    pub(crate) fn of(consumer: &Consumer) -> Self {
        Self {
            id: consumer.id.to_string(),
            name: consumer.name.clone(),
            accounts: match &consumer.grant {
                ConsumerGrant::AllAccounts => None,
                ConsumerGrant::Accounts { accounts } => {
                    Some(accounts.iter().map(ToString::to_string).collect())
                }
            },
            limits: ConsumerLimitsJson::of(&consumer.limits),
            keys: consumer.keys.iter().map(KeyJson::of).collect(),
            created_at: time(consumer.created_at),
        }
    }
}

impl KeyJson {
    fn of(key: &ApiKeyInfo) -> Self {
        Self {
            id: key.id.to_string(),
            prefix: key.prefix.clone(),
            created_at: time(key.created_at),
            revoked_at: key.revoked_at.map(time),
            last_used_at: key.last_used_at.map(time),
        }
    }
}

/// Lists the consumers, by name.
#[utoipa::path(get, path = "/v1/consumers", tag = "consumers", operation_id = "list_consumers",
    responses((status = 200, body = ConsumersJson), (status = 401, body = ProblemDocument)))]
pub(crate) async fn list(State(site): State<Site>, caller: Caller) -> Answer<Json<ConsumersJson>> {
    let consumers = site
        .app
        .consumer_list()
        .await
        .map_err(|error| caller.problem(&error))?;
    Ok(Json(ConsumersJson {
        consumers: consumers.iter().map(ConsumerJson::of).collect(),
    }))
}

/// Adds a consumer with its first key.
#[utoipa::path(post, path = "/v1/consumers", tag = "consumers", operation_id = "add_consumer",
    request_body = NewConsumer,
    responses((status = 201, body = ConsumerAdded), (status = 409, body = ProblemDocument), (status = 422, body = ProblemDocument)))]
pub(crate) async fn create(
    State(site): State<Site>,
    caller: Caller,
    Body(new): Body<NewConsumer>,
) -> Answer<(StatusCode, Json<ConsumerAdded>)> {
    caller.require(Right::Manage)?;
    let grant = match new.accounts {
        None => ConsumerGrant::AllAccounts,
        Some(references) => {
            let mut accounts = Vec::with_capacity(references.len());
            for reference in references {
                let account = site.app.account_find(&reference).await;
                accounts.push(account.map_err(|error| caller.problem(&error))?.id);
            }
            ConsumerGrant::Accounts { accounts }
        }
    };
    let name = new.name.unwrap_or_default();
    let added = site.app.consumer_add(&caller.0.actor(), &name, grant).await;
    let (consumer, key) = added.map_err(|error| caller.problem(&error))?;
    let answer = ConsumerAdded {
        consumer: ConsumerJson::of(&consumer),
        api_key: key.expose_secret().to_owned(),
    };
    Ok((StatusCode::CREATED, Json(answer)))
}

/// Removes a consumer; its keys stop working at once.
#[utoipa::path(delete, path = "/v1/consumers/{consumer}", tag = "consumers",
    operation_id = "remove_consumer", params(("consumer" = String, Path, description = "id or name")),
    responses((status = 204), (status = 404, body = ProblemDocument)))]
pub(crate) async fn remove(
    State(site): State<Site>,
    caller: Caller,
    Path(consumer): Path<String>,
) -> Answer<StatusCode> {
    caller.require(Right::Manage)?;
    let removed = site.app.consumer_remove(&caller.0.actor(), &consumer).await;
    removed.map_err(|error| caller.problem(&error))?;
    Ok(StatusCode::NO_CONTENT)
}

/// Adds a key to a consumer.
#[utoipa::path(post, path = "/v1/consumers/{consumer}/keys", tag = "consumers",
    operation_id = "add_key", params(("consumer" = String, Path, description = "id or name")),
    responses((status = 201, body = KeyAdded), (status = 404, body = ProblemDocument)))]
pub(crate) async fn add_key(
    State(site): State<Site>,
    caller: Caller,
    Path(consumer): Path<String>,
) -> Answer<(StatusCode, Json<KeyAdded>)> {
    caller.require(Right::Manage)?;
    let added = site
        .app
        .consumer_key_add(&caller.0.actor(), &consumer)
        .await;
    let (info, key) = added.map_err(|error| caller.problem(&error))?;
    let answer = KeyAdded {
        key: KeyJson::of(&info),
        api_key: key.expose_secret().to_owned(),
    };
    Ok((StatusCode::CREATED, Json(answer)))
}

/// Revokes a key; it stops working at once.
#[utoipa::path(delete, path = "/v1/consumers/{consumer}/keys/{key}", tag = "consumers",
    operation_id = "revoke_key",
    params(("consumer" = String, Path, description = "id or name"), ("key" = String, Path, description = "id")),
    responses((status = 204), (status = 404, body = ProblemDocument)))]
pub(crate) async fn revoke_key(
    State(site): State<Site>,
    caller: Caller,
    Path((consumer, key)): Path<(String, String)>,
) -> Answer<StatusCode> {
    caller.require(Right::Manage)?;
    let missing = |_| caller.problem(&AppError::NotFound { what: "key" });
    let key: ApiKeyId = key.to_uppercase().parse().map_err(missing)?;
    let revoked = site
        .app
        .consumer_key_revoke(&caller.0.actor(), &consumer, key)
        .await;
    revoked.map_err(|error| caller.problem(&error))?;
    Ok(StatusCode::NO_CONTENT)
}

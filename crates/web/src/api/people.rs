//! Sessions, users and the audit log.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum_extra::extract::CookieJar;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use tieline_core::{Right, Role, User};
use utoipa::ToSchema;

use crate::api::account_json::time;
use crate::api::body::{Body, Caller, Known, language_of};
use crate::api::problem::{Problem, ProblemDocument};
use crate::site::Site;
use crate::visitor::{no_session_cookie, session_cookie};

type Answer<T> = Result<T, Problem>;

/// What signs a person in.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(crate) struct Credentials {
    email: Option<String>,
    #[schema(value_type = Option<String>)]
    password: Option<SecretString>,
}

impl Known for Credentials {
    const PROPERTIES: &'static [&'static str] = &["email", "password"];
}

/// A person who may use the console.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UserJson {
    id: String,
    email: String,
    /// `administrator` or `operator`.
    role: &'static str,
    created_at: String,
}

impl UserJson {
    fn of(user: &User) -> Self {
        Self {
            id: user.id.to_string(),
            email: user.email.as_str().to_owned(),
            role: user.role.as_str(),
            created_at: time(user.created_at),
        }
    }
}

/// A session.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SessionJson {
    user: UserJson,
    /// When it ends, UTC; absent where only the user was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
}

/// Signs in; the answer sets the session's cookie.
#[utoipa::path(post, path = "/v1/session", tag = "people", operation_id = "sign_in",
    request_body = Credentials,
    responses((status = 200, body = SessionJson), (status = 401, body = ProblemDocument), (status = 429, body = ProblemDocument)))]
pub(crate) async fn sign_in(
    State(site): State<Site>,
    headers: HeaderMap,
    Body(credentials): Body<Credentials>,
) -> Answer<(CookieJar, Json<SessionJson>)> {
    let email = credentials.email.unwrap_or_default();
    let password = credentials
        .password
        .unwrap_or_else(|| SecretString::from(String::new()));
    let signed_in = site.app.sign_in(&email, &password).await;
    let signed_in = signed_in.map_err(|error| Problem::of(&error, language_of(&headers)))?;
    let jar = CookieJar::new().add(session_cookie(&signed_in.token, &site.settings));
    let session = SessionJson {
        user: UserJson::of(&signed_in.user),
        expires_at: Some(time(signed_in.expires_at)),
    };
    Ok((jar, Json(session)))
}

/// Tells who is signed in.
#[utoipa::path(get, path = "/v1/session", tag = "people", operation_id = "who_am_i",
    responses((status = 200, body = SessionJson), (status = 401, body = ProblemDocument)))]
pub(crate) async fn who_am_i(caller: Caller) -> Json<SessionJson> {
    Json(SessionJson {
        user: UserJson::of(&caller.0.user),
        expires_at: None,
    })
}

/// Signs out.
#[utoipa::path(delete, path = "/v1/session", tag = "people", operation_id = "sign_out",
    responses((status = 204), (status = 401, body = ProblemDocument)))]
pub(crate) async fn sign_out(
    State(site): State<Site>,
    caller: Caller,
) -> Answer<(StatusCode, CookieJar)> {
    let ended = site.app.sign_out(&caller.0.session).await;
    ended.map_err(|error| caller.problem(&error))?;
    Ok((
        StatusCode::NO_CONTENT,
        CookieJar::new().add(no_session_cookie(&site.settings)),
    ))
}

/// A list of users.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UsersJson {
    users: Vec<UserJson>,
}

/// A user to add.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(crate) struct NewUser {
    email: Option<String>,
    /// 12 characters at least.
    #[schema(value_type = Option<String>)]
    password: Option<SecretString>,
    /// `administrator` or `operator`.
    #[schema(value_type = Option<String>)]
    role: Option<Role>,
}

impl Known for NewUser {
    const PROPERTIES: &'static [&'static str] = &["email", "password", "role"];
}

/// Lists the users.
#[utoipa::path(get, path = "/v1/users", tag = "people", operation_id = "list_users",
    responses((status = 200, body = UsersJson), (status = 403, body = ProblemDocument)))]
pub(crate) async fn users(State(site): State<Site>, caller: Caller) -> Answer<Json<UsersJson>> {
    caller.require(Right::Manage)?;
    let users = site
        .app
        .user_list()
        .await
        .map_err(|error| caller.problem(&error))?;
    Ok(Json(UsersJson {
        users: users.iter().map(UserJson::of).collect(),
    }))
}

/// Adds a user.
#[utoipa::path(post, path = "/v1/users", tag = "people", operation_id = "add_user",
    request_body = NewUser,
    responses((status = 201, body = UserJson), (status = 409, body = ProblemDocument), (status = 422, body = ProblemDocument)))]
pub(crate) async fn add_user(
    State(site): State<Site>,
    caller: Caller,
    Body(new): Body<NewUser>,
) -> Answer<(StatusCode, Json<UserJson>)> {
    caller.require(Right::Manage)?;
    let email = new.email.unwrap_or_default();
    let password = new
        .password
        .unwrap_or_else(|| SecretString::from(String::new()));
    let role = new.role.unwrap_or(Role::Operator);
    let added = site
        .app
        .user_add(&caller.0.actor(), &email, &password, role)
        .await;
    let user = added.map_err(|error| caller.problem(&error))?;
    Ok((StatusCode::CREATED, Json(UserJson::of(&user))))
}

/// Removes a user; the last administrator stays.
#[utoipa::path(delete, path = "/v1/users/{user}", tag = "people", operation_id = "remove_user",
    params(("user" = String, Path, description = "id or e-mail address")),
    responses((status = 204), (status = 404, body = ProblemDocument), (status = 422, body = ProblemDocument)))]
pub(crate) async fn remove_user(
    State(site): State<Site>,
    caller: Caller,
    Path(user): Path<String>,
) -> Answer<StatusCode> {
    caller.require(Right::Manage)?;
    let removed = site.app.user_remove(&caller.0.actor(), &user).await;
    removed.map_err(|error| caller.problem(&error))?;
    Ok(StatusCode::NO_CONTENT)
}

/// One entry of the audit log.
#[derive(Debug, Serialize, ToSchema)]
struct AuditJson {
    id: String,
    at: String,
    /// Who, in words.
    actor: String,
    operation: String,
    item_kind: String,
    item_id: Option<String>,
    item_name: String,
    detail: serde_json::Value,
}

/// The audit log, latest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AuditListJson {
    entries: Vec<AuditJson>,
}

/// Shows who changed what, latest first, 200 entries at most.
#[utoipa::path(get, path = "/v1/audit", tag = "people", operation_id = "list_audit",
    responses((status = 200, body = AuditListJson), (status = 403, body = ProblemDocument)))]
pub(crate) async fn audit(State(site): State<Site>, caller: Caller) -> Answer<Json<AuditListJson>> {
    const LIMIT: u32 = 200;
    caller.require(Right::Manage)?;
    let entries = site
        .app
        .audit_list(LIMIT)
        .await
        .map_err(|error| caller.problem(&error))?;
    let entries = entries
        .into_iter()
        .map(|entry| AuditJson {
            id: entry.id.to_string(),
            at: time(entry.at),
            actor: entry.actor.to_string(),
            operation: entry.operation,
            item_kind: entry.item_kind,
            item_id: entry.item_id,
            item_name: entry.item_name,
            detail: entry.detail,
        })
        .collect();
    Ok(Json(AuditListJson { entries }))
}

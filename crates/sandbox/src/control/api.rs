//! The control API.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::control::actions::{self, Narrow};
use crate::control::trouble::Trouble;
use crate::control::{entra, rows};
use crate::serve::Shared;

type Answer = Result<Json<Value>, Trouble>;

const READ: [&str; 12] = [
    "tenants",
    "applications",
    "users",
    "tokens",
    "consents",
    "organizations",
    "requests",
    "faults",
    "limits",
    "clock",
    "entra",
    "scenario",
];

const WRITE: [&str; 8] = [
    "faults",
    "limits",
    "limits/counters",
    "clock",
    "entra",
    "scenario",
    "requests",
    "reset",
];

pub(super) async fn index() -> Json<Value> {
    let under = |name: &str| format!("/_sandbox/api/{name}");
    Json(json!({"read": READ.map(under), "write": WRITE.map(under)}))
}

pub(super) async fn unknown(uri: Uri) -> Trouble {
    let detail = format!(
        "there is nothing at {}; /_sandbox/api says what there is",
        uri.path()
    );
    Trouble::new(StatusCode::NOT_FOUND, detail)
}

// === what there is ===

pub(super) async fn tenants(State(world): State<Shared>) -> Answer {
    Ok(Json(json!({"value": entra::tenants(&world)?})))
}

pub(super) async fn applications(State(world): State<Shared>) -> Answer {
    Ok(Json(json!({"value": entra::applications(&world)?})))
}

pub(super) async fn users(State(world): State<Shared>) -> Answer {
    Ok(Json(json!({"value": entra::users(&world)?})))
}

pub(super) async fn tokens(State(world): State<Shared>, uri: Uri) -> Answer {
    let narrow = Narrow::read(&query(&uri))?;
    Ok(Json(entra::tokens(&world, &narrow.whose)?))
}

pub(super) async fn consents(State(world): State<Shared>, uri: Uri) -> Answer {
    let narrow = Narrow::read(&query(&uri))?;
    Ok(Json(
        json!({"value": entra::consents(&world, &narrow.whose)?}),
    ))
}

pub(super) async fn organizations(State(world): State<Shared>) -> Answer {
    // Counting rows waits for whoever writes them.
    let counted = tokio::task::spawn_blocking(move || rows::organizations(&world)).await;
    let broken = |_| {
        Trouble::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the rows were not counted",
        )
    };
    Ok(Json(json!({"value": counted.map_err(broken)??})))
}

/// Rows, as the Web API shows them to somebody who may see everything.
pub(super) async fn rows(
    State(world): State<Shared>,
    Path((organization, path)): Path<(String, String)>,
    uri: Uri,
) -> Result<(StatusCode, Json<Value>), Trouble> {
    let query = uri.query().unwrap_or_default().to_owned();
    let asked = move || rows::ask(&world, &organization, &path, &query);
    let answered = tokio::task::spawn_blocking(asked).await;
    let broken = |_| {
        Trouble::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the rows could not be read",
        )
    };
    let (status, body) = answered.map_err(broken)??;
    Ok((status, Json(body)))
}

pub(super) async fn requests(State(world): State<Shared>, uri: Uri) -> Answer {
    let narrow = Narrow::read(&query(&uri))?;
    let lines = world.journal.last(narrow.most, |line| {
        let whose = &narrow.whose;
        narrow.side.as_ref().is_none_or(|side| *side == line.side)
            && (whose.application.is_none() || whose.application == line.application)
            && whose.user.as_ref().is_none_or(|user| {
                let known = line.user.as_ref();
                known.is_some_and(|known| known.eq_ignore_ascii_case(user))
            })
    });
    Ok(Json(json!({"value": lines})))
}

pub(super) async fn requests_clear(State(world): State<Shared>) -> StatusCode {
    world.journal.clear();
    StatusCode::NO_CONTENT
}

/// A query as an object: it is read like everything else that people write.
fn query(uri: &Uri) -> Value {
    let pairs = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let members = pairs.map(|(name, value)| (name.into_owned(), value.into_owned().into()));
    Value::Object(members.collect::<Map<String, Value>>())
}

// === faults ===

pub(super) async fn faults(State(world): State<Shared>) -> Json<Value> {
    Json(json!({"value": world.faults.list(world.clock.now())}))
}

pub(super) async fn fault_add(
    State(world): State<Shared>,
    body: Bytes,
) -> Result<Response, Trouble> {
    let armed = actions::fault_add(&world, &json_body(&body)?)?;
    let location = format!("/_sandbox/api/faults/{}", armed["id"]);
    let headers = [(header::LOCATION, location)];
    Ok((StatusCode::CREATED, headers, Json(armed)).into_response())
}

pub(super) async fn faults_clear(State(world): State<Shared>) -> StatusCode {
    world.faults.clear();
    StatusCode::NO_CONTENT
}

pub(super) async fn fault(State(world): State<Shared>, Path(id): Path<String>) -> Answer {
    let found = id.parse().ok();
    let found = found.and_then(|id| world.faults.find(id, world.clock.now()));
    found.map(Json).ok_or_else(|| no_fault(&id))
}

pub(super) async fn fault_remove(
    State(world): State<Shared>,
    Path(id): Path<String>,
) -> Result<StatusCode, Trouble> {
    let number = id.parse().map_err(|_| no_fault(&id))?;
    actions::fault_remove(&world, number)?;
    Ok(StatusCode::NO_CONTENT)
}

fn no_fault(id: &str) -> Trouble {
    Trouble::new(
        StatusCode::NOT_FOUND,
        format!("there is no fault of the number '{id}'"),
    )
}

// === limits and clock ===

pub(super) async fn limits(State(world): State<Shared>) -> Json<Value> {
    Json(actions::limits(&world))
}

pub(super) async fn limits_set(State(world): State<Shared>, body: Bytes) -> Answer {
    Ok(Json(actions::limits_set(&world, &json_body(&body)?)?))
}

pub(super) async fn counters_clear(State(world): State<Shared>) -> StatusCode {
    world.limits.reset_counters();
    StatusCode::NO_CONTENT
}

pub(super) async fn clock(State(world): State<Shared>) -> Json<Value> {
    Json(actions::clock(&world))
}

pub(super) async fn clock_change(State(world): State<Shared>, body: Bytes) -> Answer {
    Ok(Json(actions::clock_change(&world, &json_body(&body)?)?))
}

pub(super) async fn clock_reset(State(world): State<Shared>) -> Json<Value> {
    world.clock.reset();
    Json(actions::clock(&world))
}

// === Entra ID and scenarios ===

pub(super) async fn entra_actions() -> Json<Value> {
    let actions = entra::ACTIONS;
    let shown = actions.map(|(name, needs)| json!({"action": name, "fields": needs}));
    Json(json!({"value": shown}))
}

pub(super) async fn entra_act(State(world): State<Shared>, body: Bytes) -> Answer {
    Ok(Json(actions::entra_act(&world, &json_body(&body)?)?))
}

pub(super) async fn scenario(State(world): State<Shared>) -> Json<Value> {
    Json(actions::scenario(&world))
}

pub(super) async fn scenario_start(
    State(world): State<Shared>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let is_toml = kind.to_ascii_lowercase().starts_with("application/toml");
    Ok(Json(actions::scenario_start(
        &world,
        text(&body)?,
        is_toml,
    )?))
}

pub(super) async fn scenario_stop(State(world): State<Shared>) -> StatusCode {
    world.player.stop();
    StatusCode::NO_CONTENT
}

pub(super) async fn reset(State(world): State<Shared>) -> Answer {
    Ok(Json(actions::reset(&world)?))
}

fn text(body: &Bytes) -> Result<&str, Trouble> {
    let problem = |_| Trouble::new(StatusCode::BAD_REQUEST, "the body is not UTF-8");
    std::str::from_utf8(body).map_err(problem)
}

fn json_body(body: &Bytes) -> Result<Value, Trouble> {
    actions::json_of(text(body)?)
}

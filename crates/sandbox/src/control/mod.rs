//! The control page and API under `/_sandbox`: a look at what the sandbox holds and at what was
//! asked of it, and the switches that make it misbehave.
//!
//! `guard` decides who may ask, `api` answers in JSON, `page` in HTML with forms; both do what they
//! do through `actions`. `entra` and `rows` are all that knows of the directory and of rows.

mod actions;
mod api;
pub(crate) mod entra;
mod guard;
pub(crate) mod journal;
mod page;
mod rows;
mod rows_page;
mod trouble;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{delete, get, post};

use crate::serve::Shared;

/// A scenario is written by hand; so is everything else that is sent here.
const BODY_MAX: usize = 1 << 20;

pub(crate) fn router(world: &Shared) -> Router<Shared> {
    let guard = middleware::from_fn_with_state(Arc::clone(world), guard::guard);
    Router::new()
        .route("/_sandbox", get(page::show))
        .route("/_sandbox/", get(page::show))
        .route("/_sandbox/do/{action}", post(page::act))
        .route(
            "/_sandbox/organizations/{organization}/{set}",
            get(rows_page::show),
        )
        .route("/_sandbox/api", get(api::index))
        .route("/_sandbox/api/", get(api::index))
        .route("/_sandbox/api/tenants", get(api::tenants))
        .route("/_sandbox/api/applications", get(api::applications))
        .route("/_sandbox/api/users", get(api::users))
        .route("/_sandbox/api/tokens", get(api::tokens))
        .route("/_sandbox/api/consents", get(api::consents))
        .route("/_sandbox/api/organizations", get(api::organizations))
        .route(
            "/_sandbox/api/organizations/{organization}/{*path}",
            get(api::rows),
        )
        .route(
            "/_sandbox/api/requests",
            get(api::requests).delete(api::requests_clear),
        )
        .route(
            "/_sandbox/api/faults",
            get(api::faults)
                .post(api::fault_add)
                .delete(api::faults_clear),
        )
        .route(
            "/_sandbox/api/faults/{id}",
            get(api::fault).delete(api::fault_remove),
        )
        .route(
            "/_sandbox/api/limits",
            get(api::limits).post(api::limits_set),
        )
        .route("/_sandbox/api/limits/counters", delete(api::counters_clear))
        .route(
            "/_sandbox/api/clock",
            get(api::clock)
                .post(api::clock_change)
                .delete(api::clock_reset),
        )
        .route(
            "/_sandbox/api/entra",
            get(api::entra_actions).post(api::entra_act),
        )
        .route(
            "/_sandbox/api/scenario",
            get(api::scenario)
                .post(api::scenario_start)
                .delete(api::scenario_stop),
        )
        .route("/_sandbox/api/reset", post(api::reset))
        .route(
            "/_sandbox/{*rest}",
            get(api::unknown).fallback(api::unknown),
        )
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(guard)
}

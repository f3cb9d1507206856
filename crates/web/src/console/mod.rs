//! The console: pages rendered on the server.

mod accounts;
mod consent;
mod consumers;
mod credentials;
mod headroom;
mod notifications;
mod pages;
mod pane;
mod sign_in;
mod tables;
mod timeline;
mod view;

pub(crate) use pages::{Trouble, not_found, status_of};

use axum::Router;
use axum::response::Redirect;
use axum::routing::{get, post};

use crate::site::Site;

/// The console's routes. What a route demands stands in its handler's arguments: a `Visitor` is
/// signed in, and what changes something requires the right to manage.
pub(crate) fn routes() -> Router<Site> {
    Router::new()
        .route("/", get(|| async { Redirect::to("/accounts") }))
        .route("/sign-in", get(sign_in::page).post(sign_in::sign_in))
        .route("/sign-out", post(sign_in::sign_out))
        .route("/language", post(sign_in::language))
        .route("/accounts", get(accounts::list))
        .route("/accounts/types", get(accounts::types))
        .route(
            "/accounts/new",
            get(accounts::new).post(accounts::new_submit),
        )
        .route("/accounts/new/draft", post(accounts::new_draft))
        .route("/accounts/new/consent", get(consent::begin_new))
        .route("/accounts/new/test/{test}", get(accounts::new_test))
        .route(
            "/accounts/new/certificate/{slot}",
            get(credentials::certificate_of_new),
        )
        .route(
            "/accounts/{id}/certificate/{slot}",
            get(credentials::certificate_of),
        )
        .route("/accounts/{id}", get(accounts::show).post(accounts::submit))
        .route("/accounts/{id}/draft", post(accounts::draft))
        .route("/accounts/{id}/consent", get(consent::begin))
        .route("/accounts/{id}/test/{test}", get(accounts::test))
        .route("/accounts/{id}/default", post(accounts::make_default))
        .route(
            "/accounts/{id}/delete",
            get(accounts::delete_page).post(accounts::delete),
        )
        .route("/accounts/{id}/restore", post(accounts::restore))
        .route("/admin/msdynamicscallback.html", get(consent::callback))
        .route("/consumers", get(consumers::list).post(consumers::add))
        .route("/consumers/{id}/keys", post(consumers::key_add))
        .route(
            "/consumers/{id}/keys/{key}/revoke",
            post(consumers::key_revoke),
        )
        .route("/consumers/{id}/limits", post(consumers::limits))
        .route("/consumers/{id}/remove", post(consumers::remove))
        .route("/accounts/{id}/history", get(timeline::show))
        .route(
            "/notifications",
            get(notifications::list).post(notifications::add),
        )
        .route(
            "/notifications/{id}",
            get(notifications::show).post(notifications::edit),
        )
        .route("/notifications/{id}/test", post(notifications::test))
        .route("/notifications/{id}/enable", post(notifications::enable))
        .route("/notifications/{id}/disable", post(notifications::disable))
        .route("/notifications/{id}/rotate", post(notifications::rotate))
        .route("/notifications/{id}/remove", post(notifications::remove))
        .route(
            "/notifications/{id}/deliveries/{message}/resend",
            post(notifications::resend),
        )
        .route("/activity", get(tables::activity))
        .route("/audit", get(tables::audit))
        .route("/users", get(tables::users).post(tables::user_add))
        .route("/settings", get(tables::settings))
}

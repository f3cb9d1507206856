//! The JSON API, version 1: the console's use cases for programs.
//!
//! Authentication is the session's cookie, got by `POST /api/v1/session`. Failures are problem
//! documents (RFC 9457). What is deliberately absent: any rule about accounts.

mod account_json;
mod accounts;
mod body;
mod consumers;
mod credentials;
mod headroom;
mod people;
mod problem;
mod webhooks;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::problem::Problem;
use crate::site::Site;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tieline",
        description = "Integration accounts, their credentials and their state.\n\nTimes are UTC \
            (RFC 3339). Failures are problem documents (RFC 9457) with a stable `code`, and with \
            `errors` by field where properties are at fault. Sign in with `POST /api/v1/session` \
            and send the cookie that it sets.",
    ),
    servers((url = "/api")),
    tags(
        (name = "integration accounts", description = "Connections to an organization."),
        (name = "webhooks", description = "Who is told when the state of an account changes."),
        (name = "consumers", description = "Applications that may use accounts."),
        (name = "people", description = "Sessions, users and what they did."),
    ),
)]
struct Document;

/// The routes of the API, to be nested at `/api`.
pub(crate) fn routes() -> Router<Site> {
    let (router, _) = documented().split_for_parts();
    router
        .route("/v1/openapi.json", get(openapi))
        .fallback(no_such_address)
        .method_not_allowed_fallback(method_not_allowed)
}

/// The OpenAPI document of the JSON API, as JSON.
#[must_use]
pub fn openapi_document() -> String {
    let (_, document) = documented().split_for_parts();
    document.to_pretty_json().unwrap_or_default()
}

fn documented() -> OpenApiRouter<Site> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(accounts::list, accounts::create))
        .routes(routes!(
            accounts::show,
            accounts::replace,
            accounts::patch,
            accounts::remove
        ))
        .routes(routes!(accounts::test_saved))
        .routes(routes!(accounts::test_properties))
        .routes(routes!(accounts::check))
        .routes(routes!(accounts::make_default))
        .routes(routes!(accounts::restore))
        .routes(routes!(accounts::events))
        .routes(routes!(
            credentials::certificate_show,
            credentials::certificate_make
        ))
        .routes(routes!(accounts::consent))
        .routes(routes!(accounts::consent_outcome))
        .routes(routes!(accounts::propose))
        .routes(routes!(headroom::show))
        .routes(routes!(headroom::change))
        .routes(routes!(consumers::list, consumers::create))
        .routes(routes!(consumers::remove))
        .routes(routes!(headroom::change_consumer))
        .routes(routes!(consumers::add_key))
        .routes(routes!(consumers::revoke_key))
        .routes(routes!(webhooks::list, webhooks::create))
        .routes(routes!(webhooks::show, webhooks::change, webhooks::remove))
        .routes(routes!(webhooks::rotate))
        .routes(routes!(webhooks::test))
        .routes(routes!(webhooks::deliveries))
        .routes(routes!(webhooks::resend))
        .routes(routes!(people::sign_in, people::who_am_i, people::sign_out))
        .routes(routes!(people::users, people::add_user))
        .routes(routes!(people::remove_user))
        .routes(routes!(people::audit))
}

async fn openapi() -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "application/json")],
        openapi_document(),
    )
}

async fn no_such_address() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "no-such-address",
        "There is nothing at this address.",
        "GET /api/v1/openapi.json describes every address.",
    )
}

async fn method_not_allowed() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        "This address does not know the method.",
        "The Allow header lists those that it knows; GET /api/v1/openapi.json describes them.",
    )
}

#[cfg(test)]
mod tests {
    use super::openapi_document;

    #[test]
    fn the_document_names_every_address_once() {
        let document: serde_json::Value = serde_json::from_str(&openapi_document()).expect("JSON");
        let paths = document["paths"].as_object().expect("paths");
        for path in [
            "/v1/integration-accounts",
            "/v1/integration-accounts/{account}",
            "/v1/consumers",
        ] {
            assert!(
                paths.contains_key(path),
                "{path} is missing from {:?}",
                paths.keys()
            );
        }
        let mut operations: Vec<&str> = paths
            .values()
            .flat_map(|path| path.as_object().into_iter().flat_map(|path| path.values()))
            .filter_map(|operation| operation["operationId"].as_str())
            .collect();
        let all = operations.len();
        operations.sort_unstable();
        operations.dedup();
        assert_eq!(operations.len(), all, "operation ids are unique");
    }
}

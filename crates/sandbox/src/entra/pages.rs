//! The pages that people see.

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{Html, IntoResponse, Response};

use crate::entra::codes::{Refusal, Trace};
use crate::entra::params::origin;
use crate::serve::Shared;

#[derive(Debug, Template)]
#[template(path = "sign_in.html")]
pub(crate) struct SignInPage<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) application: &'a str,
    pub(crate) action: String,
    pub(crate) flow: &'a str,
    pub(crate) login: &'a str,
    pub(crate) problem: Option<String>,
    /// Who could sign in: everything here is made up, and nobody should have to look it up.
    pub(crate) users: Vec<(String, String)>,
}

#[derive(Debug, Template)]
#[template(path = "consent.html")]
pub(crate) struct ConsentPage<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) application: &'a str,
    pub(crate) user: &'a str,
    pub(crate) action: String,
    pub(crate) flow: &'a str,
    /// Whether the person may consent for everybody.
    pub(crate) may_for_all: bool,
    /// Whether consenting for everybody is what was asked for.
    pub(crate) for_all: bool,
    /// An administrator's approval is needed; this person cannot give it.
    pub(crate) blocked: bool,
    pub(crate) organization: String,
}

#[derive(Debug, Template)]
#[template(path = "error.html")]
struct ErrorPage {
    code: u32,
    text: String,
    trace_id: String,
    correlation_id: String,
    timestamp: String,
}

#[derive(Debug, Template)]
#[template(path = "auto_post.html")]
pub(crate) struct AutoPost<'a> {
    pub(crate) action: &'a str,
    pub(crate) fields: &'a [(String, String)],
}

#[derive(Debug, Template)]
#[template(path = "home.html")]
struct HomePage {
    origin: String,
    tenants: Vec<TenantRow>,
}

#[derive(Debug)]
struct TenantRow {
    name: String,
    id: String,
    users: Vec<(String, String, String)>,
    organizations: Vec<String>,
}

pub(crate) fn html(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => {
            let headers = [
                ("cache-control", "no-store, no-cache"),
                ("x-frame-options", "DENY"),
            ];
            (status, headers, Html(text)).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// What cannot be sent back to the application, because it is not known or not trusted.
pub(crate) fn error_page(refusal: &Refusal, trace: &Trace) -> Response {
    let page = ErrorPage {
        code: refusal.code,
        text: refusal.text.clone(),
        trace_id: trace.trace_id.to_string(),
        correlation_id: trace.correlation_id.to_string(),
        timestamp: trace.timestamp(),
    };
    html(StatusCode::BAD_REQUEST, &page)
}

/// What the sandbox holds.
pub(crate) async fn home(State(world): State<Shared>, headers: HeaderMap, uri: Uri) -> Response {
    let tenants = world.directory.tenants().iter().map(|tenant| TenantRow {
        name: tenant.name.clone(),
        id: tenant.id.to_string(),
        users: tenant
            .users
            .iter()
            .map(|user| {
                (
                    user.upn.clone(),
                    user.password.clone(),
                    user.roles.join(", "),
                )
            })
            .collect(),
        organizations: tenant
            .organizations
            .iter()
            .map(|own| own.friendly_name.clone())
            .collect(),
    });
    let tenants = tenants.collect();
    html(
        StatusCode::OK,
        &HomePage {
            origin: origin(&headers, &uri, &world.authority),
            tenants,
        },
    )
}

pub(crate) async fn not_found(State(world): State<Shared>, headers: HeaderMap) -> Response {
    let trace = Trace::of(&headers, world.clock.now());
    let text = "There is nothing at this address, or the sandbox does not have it yet.";
    let mut response = error_page(&Refusal::new("invalid_request", 90_023, text), &trace);
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

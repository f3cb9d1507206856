//! The pages that people see.

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{Html, IntoResponse, Response};

use crate::entra::account::Account;
use crate::entra::catalogue;
use crate::entra::codes::{Refusal, Trace};
use crate::entra::params::{Params, origin};
use crate::seed::Mfa;
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
#[template(path = "approve.html")]
pub(crate) struct ApprovePage<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) user: &'a str,
    pub(crate) action: String,
    pub(crate) flow: &'a str,
    /// The number that the authenticator would ask for.
    pub(crate) number: u8,
    /// Whether there is an authenticator; otherwise one is set up here.
    pub(crate) registered: bool,
    pub(crate) problem: Option<String>,
}

#[derive(Debug, Template)]
#[template(path = "password.html")]
pub(crate) struct PasswordPage<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) action: String,
    pub(crate) flow: &'a str,
    pub(crate) login: &'a str,
    pub(crate) problem: String,
}

#[derive(Debug, Template)]
#[template(path = "device.html")]
pub(crate) struct DevicePage<'a> {
    pub(crate) code: &'a str,
    pub(crate) problem: Option<String>,
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
    /// The code that says so.
    pub(crate) code: u32,
    /// Whether it is a device that is let in.
    pub(crate) device: bool,
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
#[template(path = "message.html")]
struct MessagePage<'a> {
    title: &'a str,
    heading: &'a str,
    text: &'a str,
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
    users: Vec<UserRow>,
    organizations: Vec<String>,
}

#[derive(Debug)]
struct UserRow {
    upn: String,
    password: String,
    roles: String,
    /// What is unusual about the account.
    state: String,
}

impl UserRow {
    fn of(account: &Account) -> Self {
        let person = &account.person;
        let unusual = [
            (person.seed.guest, "guest"),
            (account.disabled(), "disabled"),
            (person.locked() || account.home.locked(), "locked"),
            (account.home.must_change_password(), "password expired"),
            (account.mfa() == Mfa::Required, "second factor"),
        ];
        let words = unusual.iter().filter(|(is, _)| *is).map(|(_, word)| *word);
        Self {
            upn: person.upn().to_owned(),
            password: account.home.password().to_owned(),
            roles: person.seed.roles.join(", "),
            state: words.collect::<Vec<_>>().join(", "),
        }
    }
}

pub(crate) fn html(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => {
            let headers = [
                ("cache-control", "no-store, no-cache"),
                ("pragma", "no-cache"),
                ("x-frame-options", "DENY"),
                ("x-content-type-options", "nosniff"),
                ("referrer-policy", "strict-origin-when-cross-origin"),
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

/// A page that only says something.
pub(crate) fn message(status: StatusCode, title: &str, heading: &str, text: &str) -> Response {
    let page = MessagePage {
        title,
        heading,
        text,
    };
    html(status, &page)
}

/// What a code means: the address that stands in every refusal.
pub(crate) async fn code_page(uri: Uri) -> Response {
    let params = Params::of_query(&uri);
    let code = params.get("code").unwrap_or_default();
    let number: Option<u32> = code.trim_start_matches("AADSTS").parse().ok();
    match number.map(catalogue::find).filter(|known| known.code != 0) {
        Some(known) => {
            let heading = format!("AADSTS{}", known.code);
            let text = catalogue::fill(known.text, &[]);
            message(StatusCode::OK, "Error code", &heading, &text)
        }
        None => {
            let text = "The sandbox does not know this code.";
            message(StatusCode::NOT_FOUND, "Error code", "Unknown code", text)
        }
    }
}

/// What the sandbox holds.
pub(crate) async fn home(State(world): State<Shared>, headers: HeaderMap, uri: Uri) -> Response {
    let tenants = world
        .directory
        .tenants()
        .into_iter()
        .map(|tenant| TenantRow {
            name: tenant.name.clone(),
            id: tenant.id.to_string(),
            users: tenant
                .people
                .iter()
                .filter_map(|person| world.directory.account(&tenant, person.upn()))
                .map(|account| UserRow::of(&account))
                .collect(),
            organizations: tenant.organizations.clone(),
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
    let trace = Trace::of(&headers, &Params::default(), world.clock.now());
    let mut refusal = Refusal::of(9_002_313, &[]);
    refusal.text =
        "There is nothing at this address, or the sandbox does not have it yet.".to_owned();
    let mut response = error_page(&refusal, &trace);
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

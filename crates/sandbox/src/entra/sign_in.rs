//! Signing in, and going on to the consent or back to the application.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::{Deserialize, Serialize};

use crate::World;
use crate::entra::authorize::{refused, send_back};
use crate::entra::codes::{Refusal, Trace};
use crate::entra::consent;
use crate::entra::directory::{Flow, Purpose, random};
use crate::entra::pages::{SignInPage, error_page, html};
use crate::entra::params::{Params, cookie};
use crate::entra::token::hash;
use crate::serve::Shared;

/// The browser session's cookie; Entra's is called so.
pub(crate) const SESSION: &str = "ESTSAUTHPERSISTENT";

/// What a code stands for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CodeBody {
    pub(crate) flow: Flow,
    pub(crate) upn: String,
}

/// The page that asks who it is.
pub(crate) fn page(
    world: &World,
    id: &str,
    flow: &Flow,
    login: &str,
    problem: Option<String>,
    status: StatusCode,
) -> Response {
    let Some(tenant) = world.directory.tenant_of(flow.tenant) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let application = tenant
        .application(flow.client_id)
        .map_or("", |app| app.name.as_str());
    let users = tenant
        .users
        .iter()
        .map(|user| (user.upn.clone(), user.password.clone()))
        .collect();
    html(
        status,
        &SignInPage {
            tenant: &tenant.name,
            application,
            action: format!("/{}/login", tenant.id),
            flow: id,
            login,
            problem,
            users,
        },
    )
}

pub(crate) async fn sign_in(
    State(world): State<Shared>,
    Path(_): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let trace = Trace::of(&headers, world.clock.now());
    let params = Params::of_form(&body);
    let id = params.get("flow").unwrap_or_default();
    let Some(flow) = world.directory.flow(id) else {
        return flow_gone(&trace);
    };
    let login = params.get("login").unwrap_or_default().trim();
    let again = |refusal: Refusal| {
        let problem = format!("AADSTS{}: {}", refusal.code, refusal.text);
        page(&world, id, &flow, login, Some(problem), StatusCode::OK)
    };
    match check(
        &world,
        &flow,
        login,
        params.get("passwd").unwrap_or_default(),
    ) {
        Err(refusal) => again(refusal),
        Ok(upn) => {
            let session = world.directory.start_session(&upn);
            let mut response = go_on(&world, id, &upn, &trace);
            let cookie = format!("{SESSION}={session}; Path=/; Secure; HttpOnly; SameSite=None");
            if let Ok(cookie) = HeaderValue::from_str(&cookie) {
                response.headers_mut().append(header::SET_COOKIE, cookie);
            }
            response
        }
    }
}

/// Who it is, or what Entra says on its page.
fn check(world: &World, flow: &Flow, login: &str, password: &str) -> Result<String, Refusal> {
    let tenant = world.directory.tenant_of(flow.tenant);
    let Some(tenant) = tenant else {
        return Err(Refusal::new(
            "invalid_request",
            90_002,
            "The tenant was not found.",
        ));
    };
    if let Some(home) = world.directory.home_of(login)
        && home.id != tenant.id
    {
        let text = format!(
            "User account '{login}' from identity provider does not exist in tenant '{}' and \
             cannot access the application '{}' in that tenant. The account needs to be added as \
             an external user in the tenant first.",
            tenant.name, flow.client_id
        );
        return Err(Refusal::new("invalid_request", 50_020, text));
    }
    let Some(user) = tenant.user(login) else {
        let text = format!(
            "The user account {login} does not exist in the {} directory. To sign into this \
             application, the account must be added to the directory.",
            tenant.name
        );
        return Err(Refusal::new("invalid_grant", 50_034, text));
    };
    if user.password != password {
        let text = "Error validating credentials due to invalid username or password.";
        return Err(Refusal::new("invalid_grant", 50_126, text));
    }
    if user.disabled {
        return Err(Refusal::new(
            "invalid_grant",
            50_057,
            "The user account is disabled.",
        ));
    }
    Ok(user.upn.clone())
}

/// After the sign-in: the consent, where one is needed, or back to the application.
pub(crate) fn go_on(world: &World, id: &str, upn: &str, trace: &Trace) -> Response {
    world.directory.set_user(id, upn);
    let Some(flow) = world.directory.flow(id) else {
        return flow_gone(trace);
    };
    if consent::needed(world, &flow, upn) {
        consent::page(world, id, &flow, upn)
    } else {
        world.directory.end(id);
        arrive(world, &flow, upn, false)
    }
}

/// `prompt=none`: no page may be shown.
pub(crate) fn silently(world: &World, flow: &Flow, upn: &str, trace: &Trace) -> Response {
    if consent::needed(world, flow, upn) {
        let refusal = consent::not_consented(flow);
        let refusal = Refusal {
            error: "consent_required",
            ..refusal
        };
        return send_back(flow, &refused(flow, &refusal, trace));
    }
    arrive(world, flow, upn, false)
}

/// Back to the application: with a code, or with the news that an administrator consented.
pub(crate) fn arrive(world: &World, flow: &Flow, upn: &str, admin_consented: bool) -> Response {
    let mut answer = Vec::new();
    if flow.purpose == Purpose::AdminConsent {
        answer.push(("admin_consent".to_owned(), "True".to_owned()));
        answer.push(("tenant".to_owned(), flow.tenant.to_string()));
        if let Some(scope) = &flow.scope {
            answer.push(("scope".to_owned(), scope.clone()));
        }
        return send_back(flow, &answer);
    }
    let code = format!("0.{}", random());
    let body = CodeBody {
        flow: flow.clone(),
        upn: upn.to_owned(),
    };
    let body = serde_json::to_string(&body).unwrap_or_default();
    let at = world.clock.now().timestamp();
    if let Err(error) = world.state.keep_code(&hash(&code), at, &body) {
        tracing::error!(%error, "the sandbox could not keep a code");
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    answer.push(("code".to_owned(), code));
    if admin_consented && flow.prompt.as_deref() == Some("admin_consent") {
        answer.push(("admin_consent".to_owned(), "True".to_owned()));
    }
    answer.push(("session_state".to_owned(), uuid::Uuid::new_v4().to_string()));
    send_back(flow, &answer)
}

pub(crate) async fn sign_out(
    State(world): State<Shared>,
    Path(_): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    if let Some(session) = cookie(&headers, SESSION) {
        world.directory.end_session(session);
    }
    let params = Params::of_query(&uri);
    let back = params.get("post_logout_redirect_uri").filter(|uri| {
        let applications = world
            .directory
            .tenants()
            .iter()
            .flat_map(|tenant| &tenant.applications);
        applications
            .into_iter()
            .any(|app| app.redirect_uris.iter().any(|known| known == uri))
    });
    let mut response = match back {
        Some(uri) => Redirect::to(uri).into_response(),
        None => "You signed out of your account.".into_response(),
    };
    let cookie = format!("{SESSION}=; Path=/; Secure; HttpOnly; SameSite=None; Max-Age=0");
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

pub(crate) fn flow_gone(trace: &Trace) -> Response {
    let text = "The provided flow token is expired. Go back to the application and start again.";
    error_page(&Refusal::new("invalid_request", 50_089, text), trace)
}

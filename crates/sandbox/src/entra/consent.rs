//! Consent, by a user for themselves or by an administrator for everybody.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use crate::World;
use crate::entra::Version;
use crate::entra::authorize::{disabled, refused, send_back, unknown_application, unknown_tenant};
use crate::entra::codes::{Refusal, Trace};
use crate::entra::directory::{Flow, Purpose};
use crate::entra::pages::{ConsentPage, error_page, html};
use crate::entra::params::Params;
use crate::entra::sign_in::{self, arrive, flow_gone};
use crate::serve::Shared;
use crate::state::EVERYBODY;

/// Whether this person has to see the page.
pub(crate) fn needed(world: &World, flow: &Flow, upn: &str) -> bool {
    let asked = matches!(flow.prompt.as_deref(), Some("consent" | "admin_consent"));
    asked || flow.purpose == Purpose::AdminConsent || !given(world, flow, upn)
}

/// Whether consent was given, by the person or for everybody.
pub(crate) fn given(world: &World, flow: &Flow, upn: &str) -> bool {
    let (tenant, client) = (flow.tenant.to_string(), flow.client_id.to_string());
    world
        .state
        .consented(&tenant, &client, &upn.to_lowercase())
        .unwrap_or(false)
}

pub(crate) fn not_consented(flow: &Flow) -> Refusal {
    let text = format!(
        "The user or administrator has not consented to use the application with ID '{}'. Send an \
         interactive authorization request for this user and resource.",
        flow.client_id
    );
    Refusal::new("invalid_grant", 65_001, text).with_suberror("consent_required")
}

fn for_everybody(flow: &Flow) -> bool {
    flow.purpose == Purpose::AdminConsent || flow.prompt.as_deref() == Some("admin_consent")
}

pub(crate) fn page(world: &World, id: &str, flow: &Flow, upn: &str) -> Response {
    let Some(tenant) = world.directory.tenant_of(flow.tenant) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let admin = tenant.user(upn).is_some_and(|user| user.admin);
    let application = tenant
        .application(flow.client_id)
        .map_or("", |app| app.name.as_str());
    let organizations: Vec<&str> = tenant
        .organizations
        .iter()
        .map(|own| own.friendly_name.as_str())
        .collect();
    html(
        StatusCode::OK,
        &ConsentPage {
            tenant: &tenant.name,
            application,
            user: upn,
            action: format!("/{}/consent", tenant.id),
            flow: id,
            may_for_all: admin,
            for_all: for_everybody(flow),
            blocked: !admin && (for_everybody(flow) || !tenant.user_consent),
            organization: organizations.join(", "),
        },
    )
}

/// What was decided on the page.
pub(crate) async fn consent(
    State(world): State<Shared>,
    Path(_): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let trace = Trace::of(&headers, world.clock.now());
    let params = Params::of_form(&body);
    let id = params.get("flow").unwrap_or_default();
    let flow = world.directory.flow(id);
    let Some((flow, upn)) = flow.and_then(|flow| Some((flow.clone(), flow.upn?))) else {
        return flow_gone(&trace);
    };
    let Some(tenant) = world.directory.tenant_of(flow.tenant) else {
        return flow_gone(&trace);
    };
    world.directory.end(id);
    let admin = tenant.user(&upn).is_some_and(|user| user.admin);
    let everybody = for_everybody(&flow) || params.get("consent_all").is_some();
    let allowed = admin || (!everybody && tenant.user_consent);
    match params.get("decision") {
        Some("accept") if allowed => {
            let whom = if everybody {
                EVERYBODY.to_owned()
            } else {
                upn.to_lowercase()
            };
            let (tenant, client) = (flow.tenant.to_string(), flow.client_id.to_string());
            if let Err(error) = world.state.consent(&tenant, &client, &whom) {
                tracing::error!(%error, "the sandbox could not keep a consent");
                return StatusCode::INTERNAL_SERVER_ERROR.into_response();
            }
            arrive(&world, &flow, &upn, everybody)
        }
        Some("blocked" | "accept") => {
            let text = "An administrator of the directory has set a policy that prevents you from \
                        granting the application the permissions it is requesting. Contact an \
                        administrator, who can grant permissions to this application on your behalf.";
            let refusal = Refusal::new("access_denied", 90_094, text);
            send_back(&flow, &refused(&flow, &refusal, &trace))
        }
        _ => send_back(&flow, &cancelled(&flow, &trace)),
    }
}

fn cancelled(flow: &Flow, trace: &Trace) -> Vec<(String, String)> {
    let text = "User declined to consent to access the app.";
    let error = match (flow.purpose, flow.version) {
        (Purpose::AdminConsent, Version::V1) => "permission_denied",
        (Purpose::AdminConsent, Version::V2) => "consent_required",
        (Purpose::Authorize, _) => "access_denied",
    };
    let mut answer = refused(flow, &Refusal::new(error, 65_004, text), trace);
    if flow.purpose == Purpose::AdminConsent {
        answer.push(("admin_consent".to_owned(), "True".to_owned()));
        answer.push(("tenant".to_owned(), flow.tenant.to_string()));
    }
    answer
}

// === /adminconsent ===

pub(crate) async fn admin_consent_v1(
    State(world): State<Shared>,
    Path(tenant): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    admin_consent(&world, Version::V1, &tenant, &uri, &headers)
}

pub(crate) async fn admin_consent_v2(
    State(world): State<Shared>,
    Path(tenant): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    admin_consent(&world, Version::V2, &tenant, &uri, &headers)
}

fn admin_consent(
    world: &World,
    version: Version,
    segment: &str,
    uri: &Uri,
    headers: &HeaderMap,
) -> Response {
    let trace = Trace::of(headers, world.clock.now());
    let params = Params::of_query(uri);
    let client = params.get("client_id").unwrap_or_default();
    let client_id = client.parse().ok();
    let Some(tenant) = world.directory.tenant(segment, client_id) else {
        return error_page(&unknown_tenant(segment), &trace);
    };
    let Some(application) = client_id.and_then(|id| tenant.application(id)) else {
        return error_page(&unknown_application(client, &tenant.name), &trace);
    };
    if application.disabled {
        return error_page(&disabled(application), &trace);
    }
    let redirect_uri = params.get("redirect_uri").unwrap_or_default();
    if !application
        .redirect_uris
        .iter()
        .any(|known| known == redirect_uri)
    {
        let text = format!(
            "The redirect URI '{redirect_uri}' specified in the request does not match the \
             redirect URIs configured for the application '{client}'."
        );
        return error_page(&Refusal::new("invalid_request", 50_011, text), &trace);
    }
    let flow = Flow {
        version,
        purpose: Purpose::AdminConsent,
        tenant: tenant.id,
        tenant_segment: segment.to_owned(),
        client_id: application.client_id,
        redirect_uri: redirect_uri.to_owned(),
        response_mode: "query".to_owned(),
        response_type: String::new(),
        resource: None,
        scope: params.owned("scope"),
        state: params.owned("state"),
        nonce: None,
        prompt: None,
        challenge: None,
        challenge_method: None,
        upn: None,
        begun: world.clock.now(),
    };
    let id = world.directory.begin(flow.clone());
    sign_in::page(world, &id, &flow, "", None, StatusCode::OK)
}

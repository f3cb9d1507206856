//! The authorization endpoint: who is trusted, what goes back to the application, what stays on a
//! page.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use uuid::Uuid;

use crate::World;
use crate::entra::Version;
use crate::entra::codes::{Refusal, Trace};
use crate::entra::directory::{Flow, Purpose, is_shared};
use crate::entra::pages::{AutoPost, error_page, html};
use crate::entra::params::{Params, cookie};
use crate::entra::sign_in::{self, SESSION};
use crate::seed::{ApplicationSeed, TenantSeed};
use crate::serve::Shared;

pub(crate) async fn authorize_v1(
    State(world): State<Shared>,
    Path(tenant): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let params = Params::of_query(&uri).and(Params::of_form(&body));
    authorize(&world, Version::V1, &tenant, &headers, &params)
}

pub(crate) async fn authorize_v2(
    State(world): State<Shared>,
    Path(tenant): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let params = Params::of_query(&uri).and(Params::of_form(&body));
    authorize(&world, Version::V2, &tenant, &headers, &params)
}

fn authorize(
    world: &World,
    version: Version,
    segment: &str,
    headers: &HeaderMap,
    params: &Params,
) -> Response {
    let trace = Trace::of(headers, world.clock.now());
    let (tenant, application, redirect_uri) = match trusted(world, segment, params) {
        Ok(trusted) => trusted,
        Err(refusal) => return error_page(&refusal, &trace),
    };
    let flow = Flow {
        version,
        purpose: Purpose::Authorize,
        tenant: tenant.id,
        tenant_segment: segment.to_owned(),
        client_id: application.client_id,
        redirect_uri,
        response_mode: params.get("response_mode").unwrap_or("query").to_owned(),
        response_type: params.get("response_type").unwrap_or_default().to_owned(),
        resource: params.owned("resource"),
        scope: params.owned("scope"),
        state: params.owned("state"),
        nonce: params.owned("nonce"),
        prompt: params.owned("prompt"),
        challenge: params.owned("code_challenge"),
        challenge_method: params.owned("code_challenge_method"),
        upn: None,
        begun: world.clock.now(),
    };
    if let Err(refusal) = sound(world, &flow) {
        return send_back(&flow, &refused(&flow, &refusal, &trace));
    }
    let session = cookie(headers, SESSION).and_then(|cookie| world.directory.session(cookie));
    let session = session.filter(|session| tenant.user(&session.upn).is_some());
    match flow.prompt.as_deref() {
        Some("none") => match session {
            Some(session) => sign_in::silently(world, &flow, &session.upn, &trace),
            None => {
                let text = "Session information is not sufficient for single-sign-on.";
                let refusal = Refusal::new("login_required", 50_058, text);
                send_back(&flow, &refused(&flow, &refusal, &trace))
            }
        },
        prompt => {
            let hint = params.get("login_hint").unwrap_or_default();
            // Who is asked to choose an account or to sign in again sees the page in any case.
            let again = matches!(prompt, Some("login" | "select_account"));
            let known = session.filter(|_| !again);
            let login = known
                .as_ref()
                .map_or(hint, |session| session.upn.as_str())
                .to_owned();
            let id = world.directory.begin(flow.clone());
            match known {
                Some(session) => sign_in::go_on(world, &id, &session.upn, &trace),
                None => sign_in::page(world, &id, &flow, &login, None, StatusCode::OK),
            }
        }
    }
}

/// Tenant, application and reply URL: what fails here is shown, and never sent to an address that
/// nobody registered.
fn trusted<'a>(
    world: &'a World,
    segment: &str,
    params: &Params,
) -> Result<(&'a TenantSeed, &'a ApplicationSeed, String), Refusal> {
    let client = params
        .get("client_id")
        .ok_or_else(|| Refusal::missing("client_id"))?;
    let client_id: Option<Uuid> = client.parse().ok();
    let Some(tenant) = world.directory.tenant(segment, client_id) else {
        if is_shared(segment) {
            return Err(unknown_application(client, segment));
        }
        return Err(unknown_tenant(segment));
    };
    let application = client_id.and_then(|id| tenant.application(id));
    let application = application.ok_or_else(|| unknown_application(client, &tenant.name))?;
    if is_shared(segment) {
        let text = format!(
            "Application '{client}'({}) is not configured as a multi-tenant application. Usage of \
             the /common endpoint is not supported for such apps. Use a tenant-specific endpoint \
             or configure the application to be multi-tenant.",
            application.name
        );
        return Err(Refusal::new("invalid_request", 50_194, text));
    }
    if application.disabled {
        return Err(disabled(application));
    }
    // With one registered address the parameter may be left out.
    let only = match application.redirect_uris.as_slice() {
        [only] => Some(only.as_str()),
        _ => None,
    };
    let asked = params.get("redirect_uri").or(only);
    let asked = asked.ok_or_else(|| Refusal::missing("redirect_uri"))?;
    if !application
        .redirect_uris
        .iter()
        .any(|known| same_address(known, asked, application.public))
    {
        let text = format!(
            "The redirect URI '{asked}' specified in the request does not match the redirect URIs \
             configured for the application '{client}'. Make sure the redirect URI sent in the \
             request matches one added to your application in the Azure portal."
        );
        return Err(Refusal::new("invalid_request", 50_011, text));
    }
    Ok((tenant, application, asked.to_owned()))
}

/// Exactly, but for the port of a public client on this machine (RFC 8252, section 7.3).
fn same_address(known: &str, asked: &str, public: bool) -> bool {
    if known == asked {
        return true;
    }
    let (Ok(known), Ok(mut asked)) = (url::Url::parse(known), url::Url::parse(asked)) else {
        return false;
    };
    public
        && known.scheme() == "http"
        && matches!(known.host_str(), Some("localhost" | "127.0.0.1"))
        && asked.set_port(known.port()).is_ok()
        && known == asked
}

/// What the application did wrong, and hears back.
fn sound(world: &World, flow: &Flow) -> Result<(), Refusal> {
    if !flow.response_type.split(' ').any(|word| word == "code") {
        let text = match flow.response_type.as_str() {
            "" => return Err(Refusal::missing("response_type")),
            other => format!("The response_type '{other}' is not supported for the application."),
        };
        return Err(Refusal::new("unsupported_response_type", 700_054, text));
    }
    if !matches!(
        flow.response_mode.as_str(),
        "query" | "fragment" | "form_post"
    ) {
        let text = format!(
            "'{}' is not a supported value for 'response_mode'.",
            flow.response_mode
        );
        return Err(Refusal::new("invalid_request", 70_007, text));
    }
    match (&flow.challenge, flow.challenge_method.as_deref()) {
        (Some(_), None | Some("S256" | "plain")) | (None, None) => {}
        _ => {
            let text = "Invalid Code_Challenge_method or code_challenge parameter.";
            return Err(Refusal::new("invalid_request", 501_491, text));
        }
    }
    match flow.version {
        Version::V1 => match &flow.resource {
            Some(resource) => known_resource(world, flow.tenant, resource),
            None => Ok(()),
        },
        Version::V2 => {
            if flow.resource.is_some() {
                return Err(resource_not_supported());
            }
            let scope = flow
                .scope
                .as_deref()
                .ok_or_else(|| Refusal::missing("scope"))?;
            resource_of_scope(world, flow.tenant, scope).map(|_| ())
        }
    }
}

/// A resource must be an organization of the tenant.
pub(crate) fn known_resource(world: &World, tenant: Uuid, resource: &str) -> Result<(), Refusal> {
    let found = url::Url::parse(resource)
        .ok()
        .filter(|url| url.scheme() == "https" && url.path().trim_matches('/').is_empty())
        .and_then(|url| {
            let host = url.host_str()?.to_owned();
            let authority = url
                .port()
                .map_or(host.clone(), |port| format!("{host}:{port}"));
            world
                .directory
                .organization_at(&authority, &world.authority)
                .map(|(own, _)| own.id)
        });
    if found == Some(tenant) {
        return Ok(());
    }
    let name = world
        .directory
        .tenant_of(tenant)
        .map_or("", |tenant| tenant.name.as_str());
    let text = format!(
        "The resource principal named {resource} was not found in the tenant named {name}. This \
         can happen if the application has not been installed by the administrator of the tenant \
         or consented to by any user in the tenant. You might have sent your authentication \
         request to the wrong tenant."
    );
    Err(Refusal::new("invalid_resource", 500_011, text))
}

/// The one resource that v2's scopes name; none when they name only OpenID's.
pub(crate) fn resource_of_scope(
    world: &World,
    tenant: Uuid,
    scope: &str,
) -> Result<Option<String>, Refusal> {
    let mut resource: Option<String> = None;
    for word in scope.split_whitespace() {
        if matches!(word, "openid" | "profile" | "email" | "offline_access") {
            continue;
        }
        let Some((named, permission)) = word.rsplit_once('/') else {
            return Err(scope_invalid(word));
        };
        if !matches!(permission, ".default" | "user_impersonation") {
            return Err(scope_invalid(word));
        }
        if resource.as_deref().is_some_and(|known| known != named) {
            let text = format!(
                "The provided value for the input parameter 'scope' is not valid: one or more \
                 scopes in '{scope}' are not compatible with each other."
            );
            return Err(Refusal::new("invalid_scope", 28_000, text));
        }
        known_resource(world, tenant, named)?;
        resource = Some(named.to_owned());
    }
    Ok(resource)
}

fn scope_invalid(word: &str) -> Refusal {
    let text = format!(
        "The provided request must include a valid 'scope' input parameter. The scope {word} is \
         not valid."
    );
    Refusal::new("invalid_scope", 70_011, text)
}

pub(crate) fn resource_not_supported() -> Refusal {
    Refusal::new(
        "invalid_request",
        901_002,
        "The 'resource' request parameter is not supported.",
    )
}

pub(crate) fn unknown_tenant(segment: &str) -> Refusal {
    let text = format!(
        "Tenant '{segment}' not found. Check to make sure you have the correct tenant ID and are \
         signing into the correct cloud. Check with your subscription administrator, this may \
         happen if there are no active subscriptions for the tenant."
    );
    Refusal::new("invalid_request", 90_002, text)
}

pub(crate) fn unknown_application(client: &str, tenant: &str) -> Refusal {
    let text = format!(
        "Application with identifier '{client}' was not found in the directory '{tenant}'. This \
         can happen if the application has not been installed by the administrator of the tenant \
         or consented to by any user in the tenant. You may have sent your authentication request \
         to the wrong tenant."
    );
    Refusal::new("unauthorized_client", 700_016, text)
}

pub(crate) fn disabled(application: &ApplicationSeed) -> Refusal {
    let text = format!(
        "Application '{}'({}) is disabled.",
        application.client_id, application.name
    );
    Refusal::new("unauthorized_client", 7_000_112, text)
}

// === the way back ===

/// A refusal as parameters of a redirect.
pub(crate) fn refused(flow: &Flow, refusal: &Refusal, trace: &Trace) -> Vec<(String, String)> {
    let mut answer = vec![
        ("error".to_owned(), refusal.error.to_owned()),
        ("error_description".to_owned(), trace.describe(refusal)),
    ];
    if refusal.code == 65_004 && flow.version == Version::V1 {
        answer.insert(1, ("error_subcode".to_owned(), "cancel".to_owned()));
    }
    answer
}

/// Sends parameters to the application in the way it asked for.
pub(crate) fn send_back(flow: &Flow, answer: &[(String, String)]) -> Response {
    let mut answer = answer.to_vec();
    if let Some(state) = &flow.state {
        answer.push(("state".to_owned(), state.clone()));
    }
    if flow.response_mode == "form_post" {
        let page = AutoPost {
            action: &flow.redirect_uri,
            fields: &answer,
        };
        return html(StatusCode::OK, &page);
    }
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(&answer)
        .finish();
    let separator = match flow.response_mode.as_str() {
        "fragment" => '#',
        _ if flow.redirect_uri.contains('?') => '&',
        _ => '?',
    };
    let location = format!("{}{separator}{query}", flow.redirect_uri);
    (
        StatusCode::FOUND,
        [
            (header::LOCATION, location),
            (header::CACHE_CONTROL, "no-store, no-cache".to_owned()),
        ],
    )
        .into_response()
}

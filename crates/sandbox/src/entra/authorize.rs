//! The authorization endpoint: who is trusted, what goes back to the application, what stays on a
//! page.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use crate::World;
use crate::entra::Version;
use crate::entra::application::{Application, Platform};
use crate::entra::claims::Claims;
use crate::entra::codes::{Refusal, Trace};
use crate::entra::flow::{Flow, Purpose, SignedIn};
use crate::entra::pages::{AutoPost, error_page, html};
use crate::entra::params::{Params, origin};
use crate::entra::registration::{self, Registered};
use crate::entra::resource;
use crate::entra::session;
use crate::entra::sign_in;
use crate::serve::Shared;

pub(crate) async fn authorize_v1(
    State(world): State<Shared>,
    Path(tenant): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    authorize(&world, Version::V1, &tenant, &uri, &headers, &body)
}

pub(crate) async fn authorize_v2(
    State(world): State<Shared>,
    Path(tenant): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    authorize(&world, Version::V2, &tenant, &uri, &headers, &body)
}

fn authorize(
    world: &World,
    version: Version,
    segment: &str,
    uri: &Uri,
    headers: &HeaderMap,
    body: &Bytes,
) -> Response {
    let params = Params::of_query(uri).and(Params::of_form(body));
    let trace = Trace::of(headers, &params, world.clock.now());
    let mut response = match trusted(world, segment, &params) {
        Ok((registered, address, platform)) => {
            let begun = Begun {
                version,
                registered: &registered,
                address,
                platform,
                origin: origin(headers, uri, &world.authority),
            };
            visit(world, &begun, headers, &params, &trace)
        }
        Err(refusal) => error_page(&refusal, &trace),
    };
    trace.decorate(response.headers_mut());
    response
}

/// A request whose application and reply URL are trusted.
struct Begun<'a> {
    version: Version,
    registered: &'a Registered,
    address: String,
    platform: Platform,
    origin: String,
}

impl Begun<'_> {
    fn flow(&self, world: &World, params: &Params, claims: Claims) -> Flow {
        let response_type = params.get("response_type").unwrap_or_default().to_owned();
        // An ID token must not stand in a query, where servers would write it down.
        let mode = if response_type.split(' ').any(|word| word == "id_token") {
            "fragment"
        } else {
            "query"
        };
        let registered = self.registered;
        let bare = Flow::bare(
            self.version,
            Purpose::Authorize,
            &registered.application,
            registered.tenant.as_ref().map(|tenant| tenant.id),
            self.origin.clone(),
            world.clock.now(),
        );
        Flow {
            redirect_uri: self.address.clone(),
            platform: self.platform,
            response_mode: params.get("response_mode").unwrap_or(mode).to_owned(),
            response_type,
            resource: params.owned("resource"),
            scope: params.owned("scope"),
            state: params.owned("state"),
            nonce: params.owned("nonce"),
            prompt: params.owned("prompt"),
            login_hint: params.owned("login_hint"),
            challenge: params.owned("code_challenge"),
            challenge_method: params.owned("code_challenge_method"),
            claims,
            client_info: params.get("client_info") == Some("1"),
            ..bare
        }
    }
}

fn visit(
    world: &World,
    begun: &Begun<'_>,
    headers: &HeaderMap,
    params: &Params,
    trace: &Trace,
) -> Response {
    let claims = Claims::of(params);
    let flow = begun.flow(world, params, claims.clone().unwrap_or_default());
    let sound = claims.and_then(|_| sound(world, begun.registered, &flow));
    if let Err(refusal) = sound {
        return send_back(&flow, &refused(&flow, &refusal, trace));
    }
    let found = session::find(world, headers);
    let session = sign_in::session_for(world, &flow, found.clone());
    if flow.prompts("none") {
        return match session {
            Some(session) => sign_in::silently(world, &flow, &session, trace),
            None => nobody(&flow, found.as_ref(), trace),
        };
    }
    // Who is asked to choose an account or to sign in again sees the page in any case.
    let again = flow.prompts("login") || flow.prompts("select_account");
    match session.filter(|_| !again) {
        Some(session) => {
            let flow = sign_in::with_person(world, flow, session);
            let id = world.directory.flows.begin(flow);
            sign_in::go_on(world, &id, trace)
        }
        None => {
            let id = world.directory.flows.begin(flow.clone());
            let hint = flow.login_hint.clone().unwrap_or_default();
            sign_in::page(world, &id, &flow, &hint, None, StatusCode::OK)
        }
    }
}

/// `prompt=none` without a session that would do.
fn nobody(flow: &Flow, found: Option<&SignedIn>, trace: &Trace) -> Response {
    let hint = flow.login_hint.as_deref();
    // A session of the same person that does not count any more was ended by an event.
    let stale =
        found.is_some_and(|found| hint.is_none_or(|hint| hint.eq_ignore_ascii_case(&found.upn)));
    let code = if stale { 50_133 } else { 50_058 };
    let refusal = Refusal::of(code, &[]).with_error("login_required");
    send_back(flow, &refused(flow, &refusal, trace))
}

/// Tenant, application and reply URL: what fails here is shown, and never sent to an address that
/// nobody registered.
fn trusted(
    world: &World,
    segment: &str,
    params: &Params,
) -> Result<(Registered, String, Platform), Refusal> {
    let client = params
        .get("client_id")
        .ok_or_else(|| Refusal::missing("client_id"))?;
    let registered = registration::find(world, segment, client)?;
    let (address, platform) = reply_address(&registered.application, params)?;
    Ok((registered, address, platform))
}

/// The reply URL that is asked for, when it is a registered one.
pub(crate) fn reply_address(
    application: &Application,
    params: &Params,
) -> Result<(String, Platform), Refusal> {
    let asked = params.get("redirect_uri").or(application.only_address());
    let asked = asked.ok_or_else(|| Refusal::missing("redirect_uri"))?;
    let platform = application.platform(asked).ok_or_else(|| {
        let client = application.client_id().to_string();
        Refusal::of(50_011, &[("address", asked), ("client", &client)])
    })?;
    Ok((asked.to_owned(), platform))
}

/// What the application did wrong, and hears back.
fn sound(world: &World, registered: &Registered, flow: &Flow) -> Result<(), Refusal> {
    response_type(&registered.application, flow)?;
    let unsupported = |name: &str| Refusal::of(90_023, &[("parameter", name)]);
    let mut prompts = flow.prompt.as_deref().unwrap_or_default().split(' ');
    let known = |word: &str| match word {
        "" | "login" | "select_account" | "consent" => true,
        "none" => flow.prompt.as_deref() == Some("none"),
        "admin_consent" => flow.version == Version::V1,
        _ => false,
    };
    if !prompts.all(known) {
        return Err(unsupported("prompt"));
    }
    challenge(flow)?;
    let tenant = registered.tenant.as_deref();
    match flow.version {
        Version::V1 => {
            if let Some(named) = &flow.resource {
                let found = resource::find(world, tenant, named)?;
                resource::listed(&registered.application, &found)?;
            }
        }
        Version::V2 => {
            if flow.resource.is_some() {
                return Err(Refusal::of(901_002, &[]));
            }
            let scope = flow.scope.as_deref();
            let scope = scope.ok_or_else(|| Refusal::missing("scope"))?;
            for target in resource::scopes(world, tenant, scope)?.targets {
                resource::listed(&registered.application, &target.resource)?;
            }
        }
    }
    Ok(())
}

fn response_type(application: &Application, flow: &Flow) -> Result<(), Refusal> {
    if flow.response_type.is_empty() {
        return Err(Refusal::missing("response_type"));
    }
    for word in flow.response_type.split(' ') {
        match word {
            "code" => {}
            "id_token" if application.seed.id_tokens => {}
            "token" => return Err(Refusal::of(700_051, &[])),
            other => return Err(Refusal::of(700_054, &[("value", other)])),
        }
    }
    let mode = flow.response_mode.as_str();
    let known = match mode {
        "fragment" | "form_post" => true,
        "query" => !flow.answers_with("id_token"),
        _ => false,
    };
    if !known {
        return Err(Refusal::of(70_007, &[("value", mode)]));
    }
    if flow.answers_with("id_token") && flow.nonce.is_none() {
        return Err(Refusal::missing("nonce"));
    }
    Ok(())
}

/// A challenge is 43 to 128 characters (RFC 7636, section 4.2).
fn challenge(flow: &Flow) -> Result<(), Refusal> {
    let good = match (&flow.challenge, flow.challenge_method.as_deref()) {
        (Some(challenge), None | Some("S256" | "plain")) => {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
            (43..=128).contains(&challenge.len()) && challenge.bytes().all(plain)
        }
        (None, None) => true,
        _ => false,
    };
    if good {
        return Ok(());
    }
    Err(Refusal::of(501_491, &[]))
}

// === the way back ===

/// A refusal as parameters of a redirect.
pub(crate) fn refused(flow: &Flow, refusal: &Refusal, trace: &Trace) -> Vec<(String, String)> {
    let mut answer = vec![("error".to_owned(), refusal.error.to_owned())];
    if refusal.code == 65_004 && flow.version == Version::V1 {
        answer.push(("error_subcode".to_owned(), "cancel".to_owned()));
    }
    answer.push(("error_description".to_owned(), trace.describe(refusal)));
    let place = format!("{}/error?code={}", flow.origin, refusal.code);
    answer.push(("error_uri".to_owned(), place));
    if let Some(claims) = &refusal.claims {
        answer.push(("claims".to_owned(), claims.clone()));
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
        _ if flow.answers_with("id_token") => '#',
        _ if flow.redirect_uri.contains('?') => '&',
        _ => '?',
    };
    let location = format!("{}{separator}{query}", with_path(&flow.redirect_uri));
    let headers = [
        (header::LOCATION, location),
        (header::CACHE_CONTROL, "no-store, no-cache".to_owned()),
        (header::PRAGMA, "no-cache".to_owned()),
    ];
    (StatusCode::FOUND, headers).into_response()
}

/// An address without a path gets one before its parameters (RFC 3986, section 6.2.3).
fn with_path(address: &str) -> String {
    let bare = url::Url::parse(address).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.path() == "/"
            && url.query().is_none()
            && !address.ends_with('/')
    });
    if bare {
        return format!("{address}/");
    }
    address.to_owned()
}

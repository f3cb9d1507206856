//! Consent, by a user for themselves or by an administrator for everybody.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use crate::World;
use crate::entra::Version;
use crate::entra::account::Account;
use crate::entra::application::{Application, Platform};
use crate::entra::arrive;
use crate::entra::authorize::{refused, reply_address, send_back};
use crate::entra::codes::{Refusal, Trace, broken};
use crate::entra::control::Control;
use crate::entra::device;
use crate::entra::flow::{Flow, Purpose};
use crate::entra::pages::{ConsentPage, error_page, html};
use crate::entra::params::{Params, origin};
use crate::entra::registration::{self, Registered};
use crate::entra::sign_in::{self, Place, flow_gone, of_person};
use crate::serve::Shared;
use crate::state::EVERYBODY;

/// Whether this person has to see the page. A device is let in only by somebody who says so.
pub(crate) fn needed(world: &World, flow: &Flow, account: &Account) -> bool {
    let asked = flow.prompts("consent") || flow.prompts("admin_consent");
    asked || flow.purpose != Purpose::Authorize || !given(world, flow, account)
}

/// Whether consent was given, by the person or for everybody.
fn given(world: &World, flow: &Flow, account: &Account) -> bool {
    let (tenant, client) = (flow.tenant.to_string(), flow.client_id.to_string());
    world
        .state
        .consented(&tenant, &client, &account.key())
        .unwrap_or(false)
}

pub(crate) fn not_consented(application: &Application) -> Refusal {
    registration::of(65_001, application)
}

/// Whether this person may consent: administrators may, others where the tenant lets them.
fn may(flow: &Flow, place: &Place, account: &Account) -> bool {
    let admin = account.person.seed.admin;
    admin || (!flow.for_everybody() && place.tenant.policy.user_consent)
}

pub(crate) fn page(
    world: &World,
    id: &str,
    flow: &Flow,
    place: &Place,
    account: &Account,
) -> Response {
    let admin = account.person.seed.admin;
    let device = matches!(flow.purpose, Purpose::Device(_));
    let let_in = device && given(world, flow, account);
    let page = ConsentPage {
        tenant: &place.tenant.name,
        application: place.application.name(),
        user: account.person.upn(),
        action: format!("/{}/consent", place.tenant.id),
        flow: id,
        may_for_all: admin,
        for_all: flow.for_everybody(),
        blocked: !let_in && !may(flow, place, account),
        code: approval_code(place),
        device,
        organization: place.tenant.organizations.join(", "),
    };
    html(StatusCode::OK, &page)
}

/// What was decided on the page.
pub(crate) async fn consent(
    State(world): State<Shared>,
    Path(_): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let params = Params::of_form(&body);
    let now = world.clock.now();
    let trace = Trace::of(&headers, &params, now);
    let id = params.get("flow").unwrap_or_default();
    let flow = world.directory.flows.find(id, now);
    let Some((flow, place, account)) = flow.and_then(|flow| of_person(&world, flow)) else {
        return flow_gone(&trace);
    };
    world.directory.flows.end(id);
    let everybody = flow.for_everybody() || params.get("consent_all").is_some();
    let device = matches!(flow.purpose, Purpose::Device(_));
    let allowed = may(&flow, &place, &account) && (account.person.seed.admin || !everybody);
    match params.get("decision") {
        Some("accept") if device && given(&world, &flow, &account) => {
            arrive::back(&world, &flow, &place, &account, &trace)
        }
        Some("accept") if allowed => {
            let whom = if everybody {
                EVERYBODY.to_owned()
            } else {
                account.key()
            };
            if let Err(refusal) = keep(&world, &place, &whom) {
                return send_back(&flow, &refused(&flow, &refusal, &trace));
            }
            arrive::back(&world, &flow, &place, &account, &trace)
        }
        Some("blocked" | "accept") => {
            let refusal = registration::of(approval_code(&place), &place.application);
            turned_down(&world, &flow, &refusal, &trace)
        }
        _ => turned_down(&world, &flow, &Refusal::of(65_004, &[]), &trace),
    }
}

/// How it is said that an administrator has to consent: whether they can be asked to.
fn approval_code(place: &Place) -> u32 {
    match place.tenant.policy.admin_consent_requests {
        true => 90_095,
        false => 90_094,
    }
}

/// Keeps a consent; an application of another tenant has a service principal here from then on.
fn keep(world: &World, place: &Place, whom: &str) -> Result<(), Refusal> {
    let (tenant, client) = (place.tenant.id, place.application.client_id());
    if place.application.tenant != tenant {
        Control::of(world)
            .add_principal(tenant, client)
            .map_err(broken)?;
    }
    let kept = world
        .state
        .consent(&tenant.to_string(), &client.to_string(), whom);
    kept.map_err(broken)
}

fn turned_down(world: &World, flow: &Flow, refusal: &Refusal, trace: &Trace) -> Response {
    let error = match (&flow.purpose, flow.version) {
        (Purpose::Device(hash), _) => return device::declined(world, hash, trace),
        (Purpose::Authorize, _) => return send_back(flow, &refused(flow, refusal, trace)),
        (Purpose::AdminConsent, Version::V1) => "permission_denied",
        (Purpose::AdminConsent, Version::V2) => "consent_required",
    };
    let mut refusal = refusal.clone().with_error(error);
    if refusal.code == 65_004 {
        "The resource owner or authorization server denied the request."
            .clone_into(&mut refusal.text);
    }
    let mut answer = refused(flow, &refusal, trace);
    if flow.version == Version::V2 {
        answer.push(("admin_consent".to_owned(), "True".to_owned()));
        answer.push(("tenant".to_owned(), flow.tenant.to_string()));
    }
    send_back(flow, &answer)
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
    let params = Params::of_query(uri);
    let trace = Trace::of(headers, &params, world.clock.now());
    let begun = trusted(world, version, segment, &params);
    let mut response = match begun {
        Err(refusal) => error_page(&refusal, &trace),
        Ok((registered, address, platform)) => {
            let bare = Flow::bare(
                version,
                Purpose::AdminConsent,
                &registered.application,
                registered.tenant.as_ref().map(|tenant| tenant.id),
                origin(headers, uri, &world.authority),
                world.clock.now(),
            );
            let flow = Flow {
                redirect_uri: address,
                platform,
                scope: params.owned("scope"),
                state: params.owned("state"),
                ..bare
            };
            let id = world.directory.flows.begin(flow.clone());
            sign_in::page(world, &id, &flow, "", None, StatusCode::OK)
        }
    };
    trace.decorate(response.headers_mut());
    response.into_response()
}

fn trusted(
    world: &World,
    version: Version,
    segment: &str,
    params: &Params,
) -> Result<(Registered, String, Platform), Refusal> {
    let client = params
        .get("client_id")
        .ok_or_else(|| Refusal::missing("client_id"))?;
    // The second generation wants a tenant, or `organizations`.
    if version == Version::V2 && segment.eq_ignore_ascii_case("common") {
        return Err(Refusal::of(50_059, &[]));
    }
    let registered = registration::find(world, segment, client)?;
    let (address, platform) = reply_address(&registered.application, params)?;
    Ok((registered, address, platform))
}

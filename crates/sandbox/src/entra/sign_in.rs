//! Signing in, and going on to a second factor, the consent, or back to the application.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::World;
use crate::entra::account::Account;
use crate::entra::application::Application;
use crate::entra::authorize::{refused, send_back};
use crate::entra::codes::{Refusal, Trace};
use crate::entra::consent;
use crate::entra::control::{By, Control};
use crate::entra::directory::Tenant;
use crate::entra::flow::{Flow, Purpose, SignedIn};
use crate::entra::pages::{ApprovePage, PasswordPage, SignInPage, error_page, html};
use crate::entra::params::Params;
use crate::entra::policy::{self, Access};
use crate::entra::{arrive, resource, session};
use crate::seed::Mfa;
use crate::serve::Shared;

/// Entra's own minimum.
const PASSWORD_MIN: usize = 8;

/// The page that asks who it is.
pub(crate) fn page(
    world: &World,
    id: &str,
    flow: &Flow,
    login: &str,
    problem: Option<String>,
    status: StatusCode,
) -> Response {
    let Some(place) = Place::of(world, flow) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let page = SignInPage {
        tenant: place.title(flow),
        application: place.application.name(),
        action: format!("/{}/login", place.tenant.id),
        flow: id,
        login,
        problem,
        users: users(world, &place.tenant, flow),
    };
    html(status, &page)
}

/// Who could sign in here, with their passwords.
fn users(world: &World, tenant: &Tenant, flow: &Flow) -> Vec<(String, String)> {
    let tenants = world.directory.tenants();
    let mut people = Vec::new();
    for known in tenants
        .iter()
        .filter(|known| flow.open || known.id == tenant.id)
    {
        let here = known
            .people
            .iter()
            .filter(|person| !(flow.open && person.seed.guest));
        let accounts = here.filter_map(|person| world.directory.account(known, person.upn()));
        people.extend(
            accounts
                .filter(|account| !account.deleted())
                .map(|account| {
                    let password = account.home.password().to_owned();
                    (account.person.upn().to_owned(), password)
                }),
        );
    }
    people
}

/// Tenant and application of a visit.
pub(crate) struct Place {
    pub(crate) tenant: Arc<Tenant>,
    pub(crate) application: Application,
}

impl Place {
    pub(crate) fn of(world: &World, flow: &Flow) -> Option<Self> {
        Some(Self {
            tenant: world.directory.tenant_of(flow.tenant)?,
            application: world.directory.application(flow.client_id)?,
        })
    }

    /// What stands above the form.
    fn title(&self, flow: &Flow) -> &str {
        if flow.open {
            return "Work or school account";
        }
        &self.tenant.name
    }
}

pub(crate) async fn sign_in(
    State(world): State<Shared>,
    Path(_): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let params = Params::of_form(&body);
    let trace = Trace::of(&headers, &params, world.clock.now());
    let id = params.get("flow").unwrap_or_default();
    let Some(flow) = world.directory.flows.find(id, world.clock.now()) else {
        return flow_gone(&trace);
    };
    let login = params.get("login").unwrap_or_default().trim();
    let password = params.get("passwd").unwrap_or_default();
    match check(&world, &flow, login, password) {
        Err(refusal) => again(&world, id, &flow, login, &refusal),
        Ok(account) if account.home.must_change_password() => {
            let refusal = Refusal::of(50_055, &[]);
            password_page(&world, id, &flow, login, problem(&refusal))
        }
        Ok(account) => enter(&world, id, flow, &account, &trace),
    }
}

/// The page again, with what was wrong.
fn again(world: &World, id: &str, flow: &Flow, login: &str, refusal: &Refusal) -> Response {
    page(
        world,
        id,
        flow,
        login,
        Some(problem(refusal)),
        StatusCode::OK,
    )
}

fn problem(refusal: &Refusal) -> String {
    format!("AADSTS{}: {}", refusal.code, refusal.text)
}

/// Who it is, or what Entra says on its page.
fn check(world: &World, flow: &Flow, login: &str, password: &str) -> Result<Account, Refusal> {
    let place = Place::of(world, flow).ok_or_else(|| Refusal::of(90_002, &[]))?;
    let home = world.directory.home_of(login).filter(|_| flow.open);
    let tenant = home.unwrap_or(place.tenant);
    policy::identify(world, &tenant, &place.application, login, password)
}

/// Starts a session for who signed in, and goes on.
fn enter(world: &World, id: &str, flow: Flow, account: &Account, trace: &Trace) -> Response {
    let signed_in = SignedIn {
        upn: account.person.upn().to_owned(),
        at: world.clock.now().timestamp(),
        mfa: false,
        revocations: account.home.since.revocations,
        passwords: account.home.since.passwords,
    };
    let flow = with_person(world, flow, signed_in.clone());
    world.directory.flows.put(id, &flow);
    let mut response = go_on(world, id, trace);
    session::start(world, &signed_in, &mut response);
    response
}

/// A visit with its person; an open one is now a visit to the person's own tenant.
pub(crate) fn with_person(world: &World, flow: Flow, signed_in: SignedIn) -> Flow {
    let home = world
        .directory
        .home_of(&signed_in.upn)
        .filter(|_| flow.open);
    Flow {
        tenant: home.map_or(flow.tenant, |home| home.id),
        signed_in: Some(signed_in),
        ..flow
    }
}

/// A browser's session, when it will do for a visit: of a user of the tenant, of the one who is
/// hinted at, and not overtaken by an event.
pub(crate) fn session_for(
    world: &World,
    flow: &Flow,
    session: Option<SignedIn>,
) -> Option<SignedIn> {
    let session = session?;
    let hint = flow.login_hint.as_deref();
    if hint.is_some_and(|hint| !hint.eq_ignore_ascii_case(&session.upn)) {
        return None;
    }
    if flow
        .claims
        .not_before
        .is_some_and(|since| session.at < since)
    {
        return None;
    }
    let home = world.directory.home_of(&session.upn).filter(|_| flow.open);
    let tenant = match home {
        Some(home) => home,
        None => world.directory.tenant_of(flow.tenant)?,
    };
    if policy::too_old(&tenant, &session, world.clock.now().timestamp()).is_some() {
        return None;
    }
    let account = world.directory.account(&tenant, &session.upn)?;
    let since = &account.home.since;
    let current = since.revocations == session.revocations && since.passwords == session.passwords;
    (current && !account.deleted() && !account.disabled()).then_some(session)
}

// === what comes after the sign-in ===

/// After the sign-in: a second factor or the consent, where they are needed, or back.
pub(crate) fn go_on(world: &World, id: &str, trace: &Trace) -> Response {
    let flow = world.directory.flows.find(id, world.clock.now());
    let Some((flow, place, account)) = flow.and_then(|flow| of_person(world, flow)) else {
        return flow_gone(trace);
    };
    if let Err(refusal) = admitted(world, &flow, &place, &account) {
        return match refusal.code {
            50_076 | 50_079 => approve_page(id, &flow, &place, &account, None),
            500_011 | 70_011 => send_back(&flow, &refused(&flow, &refusal, trace)),
            _ => error_page(&refusal, trace),
        };
    }
    if consent::needed(world, &flow, &account) {
        return consent::page(world, id, &flow, &place, &account);
    }
    world.directory.flows.end(id);
    arrive::back(world, &flow, &place, &account, trace)
}

/// A visit with its place and the account of its person.
pub(crate) fn of_person(world: &World, flow: Flow) -> Option<(Flow, Place, Account)> {
    let place = Place::of(world, &flow)?;
    let upn = &flow.signed_in.as_ref()?.upn;
    let account = world.directory.account(&place.tenant, upn)?;
    Some((flow, place, account))
}

/// Whether the person may go on, by the tenant's rules.
fn admitted(world: &World, flow: &Flow, place: &Place, account: &Account) -> Result<(), Refusal> {
    policy::account(world, &place.tenant, account.person.upn())?;
    let Some(signed_in) = &flow.signed_in else {
        return Err(Refusal::of(50_058, &[]));
    };
    // An open visit named its resource before its tenant was known.
    if flow.open {
        if let Some(named) = &flow.resource {
            resource::find(world, Some(&place.tenant), named)?;
        }
        if let Some(scope) = flow.scope.as_deref().filter(|_| flow.resource.is_none()) {
            resource::scopes(world, Some(&place.tenant), scope)?;
        }
    }
    let access = Access {
        tenant: &place.tenant,
        application: &place.application,
        account,
        signed_in,
        claims: &flow.claims,
        resource: flow.resource.as_deref().unwrap_or(place.application.name()),
        now: world.clock.now().timestamp(),
    };
    // An administrator's consent is no sign-in to the application.
    if flow.purpose == Purpose::AdminConsent {
        return access.policies_met();
    }
    access.check()
}

/// `prompt=none`: no page may be shown.
pub(crate) fn silently(world: &World, flow: &Flow, session: &SignedIn, trace: &Trace) -> Response {
    let flow = with_person(world, flow.clone(), session.clone());
    let Some((flow, place, account)) = of_person(world, flow) else {
        return flow_gone(trace);
    };
    let consented = || match consent::needed(world, &flow, &account) {
        true => Err(consent::not_consented(&place.application)),
        false => Ok(()),
    };
    match admitted(world, &flow, &place, &account).and_then(|()| consented()) {
        Ok(()) => arrive::back(world, &flow, &place, &account, trace),
        Err(refusal) => {
            let refusal = match refusal.code {
                65_001 => refusal.with_error("consent_required"),
                _ => refusal.with_error("interaction_required"),
            };
            send_back(&flow, &refused(&flow, &refusal, trace))
        }
    }
}

// === the second factor ===

/// The page on which the sandbox's people answer their telephone.
fn approve_page(
    id: &str,
    flow: &Flow,
    place: &Place,
    account: &Account,
    problem: Option<String>,
) -> Response {
    let page = ApprovePage {
        tenant: &place.tenant.name,
        user: account.person.upn(),
        action: format!("/{}/approve", place.tenant.id),
        flow: id,
        number: flow.number,
        registered: account.mfa() != Mfa::None,
        problem,
    };
    html(StatusCode::OK, &page)
}

/// What was answered on the page.
pub(crate) async fn approve(
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
    let Some((mut flow, place, account)) = flow.and_then(|flow| of_person(&world, flow)) else {
        return flow_gone(&trace);
    };
    if params.get("decision") != Some("approve") {
        let problem = problem(&Refusal::of(500_121, &[]));
        return approve_page(id, &flow, &place, &account, Some(problem));
    }
    if account.mfa() == Mfa::None {
        let control = Control::of(&world);
        if let Err(error) = control.register_mfa(&account.home) {
            tracing::error!(%error, "the sandbox could not register a second factor");
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
    }
    if let Some(signed_in) = &mut flow.signed_in {
        signed_in.mfa = true;
        session::strengthen(&world, &headers, &signed_in.upn);
    }
    world.directory.flows.put(id, &flow);
    go_on(&world, id, &trace)
}

// === a new password ===

fn password_page(world: &World, id: &str, flow: &Flow, login: &str, problem: String) -> Response {
    let Some(place) = Place::of(world, flow) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let page = PasswordPage {
        tenant: place.title(flow),
        action: format!("/{}/password", place.tenant.id),
        flow: id,
        login,
        problem,
    };
    html(StatusCode::OK, &page)
}

/// A new password, in place of one that expired.
pub(crate) async fn new_password(
    State(world): State<Shared>,
    Path(_): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let params = Params::of_form(&body);
    let now = world.clock.now();
    let trace = Trace::of(&headers, &params, now);
    let id = params.get("flow").unwrap_or_default();
    let Some(flow) = world.directory.flows.find(id, now) else {
        return flow_gone(&trace);
    };
    let login = params.get("login").unwrap_or_default();
    let old = params.get("oldpasswd").unwrap_or_default();
    let new = params.get("newpasswd").unwrap_or_default();
    let account = match check(&world, &flow, login, old) {
        Ok(account) => account,
        Err(refusal) => return password_page(&world, id, &flow, login, problem(&refusal)),
    };
    let complaint = match () {
        () if params.get("confirm").unwrap_or_default() != new => "The passwords do not match.",
        () if new.chars().count() < PASSWORD_MIN => "A password has at least eight characters.",
        () if new == old => "The new password is the old one.",
        () => "",
    };
    if !complaint.is_empty() {
        return password_page(&world, id, &flow, login, complaint.to_owned());
    }
    let control = Control::of(&world);
    if let Err(error) = control.set_password(account.home.tenant, account.home.upn(), new, By::User)
    {
        tracing::error!(%error, "the sandbox could not keep a password");
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    match check(&world, &flow, login, new) {
        Ok(account) => enter(&world, id, flow, &account, &trace),
        Err(refusal) => again(&world, id, &flow, login, &refusal),
    }
}

pub(crate) fn flow_gone(trace: &Trace) -> Response {
    error_page(&Refusal::of(50_089, &[]), trace)
}

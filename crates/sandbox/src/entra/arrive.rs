//! Back to the application: with a code, an ID token, or the news that an administrator consented.
//! And out of the browser's session.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Redirect, Response};

use crate::World;
use crate::entra::account::Account;
use crate::entra::authorize::{refused, send_back};
use crate::entra::codes::{Refusal, Trace, broken};
use crate::entra::device;
use crate::entra::directory::random;
use crate::entra::flow::{Flow, Purpose};
use crate::entra::grant::{CodeBody, Grant};
use crate::entra::issue::{Carrier, Issue, Proof, client_info, hash};
use crate::entra::pages::message;
use crate::entra::params::Params;
use crate::entra::resource::scopes;
use crate::entra::session;
use crate::entra::sign_in::Place;
use crate::serve::Shared;

/// Ends a visit that went well.
pub(crate) fn back(
    world: &World,
    flow: &Flow,
    place: &Place,
    account: &Account,
    trace: &Trace,
) -> Response {
    match &flow.purpose {
        Purpose::AdminConsent => admin_consented(flow),
        Purpose::Device(hash) => device::approved(world, flow, hash, trace),
        Purpose::Authorize => match answer(world, flow, place, account) {
            Ok(answer) => send_back(flow, &answer),
            Err(refusal) => send_back(flow, &refused(flow, &refusal, trace)),
        },
    }
}

fn admin_consented(flow: &Flow) -> Response {
    let mut answer = vec![
        ("admin_consent".to_owned(), "True".to_owned()),
        ("tenant".to_owned(), flow.tenant.to_string()),
    ];
    if let Some(scope) = &flow.scope {
        answer.push(("scope".to_owned(), scope.clone()));
    }
    send_back(flow, &answer)
}

fn answer(
    world: &World,
    flow: &Flow,
    place: &Place,
    account: &Account,
) -> Result<Vec<(String, String)>, Refusal> {
    let now = world.clock.now();
    let Some(signed_in) = &flow.signed_in else {
        return Err(Refusal::of(50_058, &[]));
    };
    let grant = Grant::of(flow, signed_in, now);
    let mut answer = Vec::new();
    let mut code = None;
    if flow.answers_with("code") {
        let made = format!("1.{}{}{}{}", random(), random(), random(), random());
        let body = CodeBody {
            grant: grant.clone(),
            redirect_uri: flow.redirect_uri.clone(),
            challenge: flow.challenge.clone(),
            challenge_method: flow.challenge_method.clone(),
        };
        let body = serde_json::to_string(&body).unwrap_or_default();
        let kept = world.state.keep_code(&hash(&made), now.timestamp(), &body);
        kept.map_err(broken)?;
        answer.push(("code".to_owned(), made.clone()));
        code = Some(made);
    }
    if flow.client_info {
        answer.push(("client_info".to_owned(), client_info(account)));
    }
    if flow.answers_with("id_token") {
        let issue = Issue {
            world,
            version: flow.version,
            origin: &flow.origin,
            tenant: &place.tenant,
            application: &place.application,
            proof: Proof::Public,
            claims: &flow.claims,
            client_info: false,
        };
        let scope = flow.scope.as_deref().unwrap_or_default();
        let asked = scopes(world, Some(&place.tenant), scope).unwrap_or_default();
        let carrier = Carrier::Browser {
            code: code.as_deref(),
        };
        let token = issue.id_token(account, &grant, &asked, carrier);
        answer.push(("id_token".to_owned(), token));
    }
    if flow.prompts("admin_consent") {
        answer.push(("admin_consent".to_owned(), "True".to_owned()));
    }
    answer.push(("session_state".to_owned(), uuid::Uuid::new_v4().to_string()));
    Ok(answer)
}

pub(crate) async fn sign_out(
    State(world): State<Shared>,
    Path(_): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let params = Params::of_query(&uri).and(Params::of_form(&body));
    let known = |address: &str| {
        let tenants = world.directory.tenants();
        let mut applications = tenants.iter().flat_map(|tenant| &tenant.applications);
        applications.any(|application| application.platform(address).is_some())
    };
    let back = params
        .get("post_logout_redirect_uri")
        .filter(|uri| known(uri));
    let mut response = match back {
        Some(uri) => Redirect::to(&with_state(uri, params.get("state"))).into_response(),
        None => message(
            StatusCode::OK,
            "Sign out",
            "You signed out of your account.",
            "It's a good idea to close all browser windows.",
        ),
    };
    session::end(&world, &headers, &mut response);
    response
}

fn with_state(uri: &str, state: Option<&str>) -> String {
    match (url::Url::parse(uri), state) {
        (Ok(mut url), Some(state)) => {
            url.query_pairs_mut().append_pair("state", state);
            url.into()
        }
        _ => uri.to_owned(),
    }
}

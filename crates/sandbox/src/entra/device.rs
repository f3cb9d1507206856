//! The device code flow (RFC 8628): a device shows a code, a person enters it in a browser.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use rand::Rng as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::World;
use crate::entra::Version;
use crate::entra::claims::Claims;
use crate::entra::codes::{Refusal, Trace, broken};
use crate::entra::directory::random;
use crate::entra::flow::{Flow, Purpose};
use crate::entra::grant::Grant;
use crate::entra::issue::hash;
use crate::entra::ledger::{Device, DeviceRow, Ledger};
use crate::entra::pages::{DevicePage, error_page, html, message};
use crate::entra::params::{Params, origin};
use crate::entra::resource;
use crate::entra::sign_in;
use crate::entra::{registration, throttle::Counted};
use crate::serve::Shared;

/// A device's request is good for fifteen minutes.
const SECONDS: i64 = 900;
/// How long a device waits between two questions.
const INTERVAL: i64 = 5;
/// Letters and figures that nobody mixes up.
const ALPHABET: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
const CODE_LENGTH: usize = 9;

/// What a device asked for.
#[derive(Debug, Serialize, Deserialize)]
struct Request {
    version: Version,
    /// None when the address left the tenant open.
    tenant: Option<Uuid>,
    client_id: Uuid,
    scope: Option<String>,
    resource: Option<String>,
    acrs: Vec<String>,
    cae: bool,
}

pub(crate) async fn device_code_v1(
    State(world): State<Shared>,
    Path(tenant): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    start(&world, Version::V1, &tenant, &uri, &headers, &body)
}

pub(crate) async fn device_code_v2(
    State(world): State<Shared>,
    Path(tenant): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    start(&world, Version::V2, &tenant, &uri, &headers, &body)
}

fn start(
    world: &World,
    version: Version,
    segment: &str,
    uri: &Uri,
    headers: &HeaderMap,
    body: &Bytes,
) -> Response {
    let params = Params::of_form(body).and(Params::of_query(uri));
    let trace = Trace::of(headers, &params, world.clock.now());
    let origin = origin(headers, uri, &world.authority);
    match asked(world, version, segment, &params) {
        Ok(request) => match keep(world, &request, &origin) {
            Ok(answer) => trace.answer(StatusCode::OK, answer),
            Err(refusal) => trace.json(&refusal, &origin),
        },
        Err(refusal) => trace.json(&refusal, &origin),
    }
}

fn asked(
    world: &World,
    version: Version,
    segment: &str,
    params: &Params,
) -> Result<Request, Refusal> {
    let client = params
        .get("client_id")
        .ok_or_else(|| Refusal::missing("client_id"))?;
    let registered = registration::find(world, segment, client)?;
    let tenant = registered.tenant.as_deref();
    match version {
        Version::V1 => {
            let named = params
                .get("resource")
                .ok_or_else(|| Refusal::missing("resource"))?;
            resource::find(world, tenant, named)?;
        }
        Version::V2 => {
            let scope = params
                .get("scope")
                .ok_or_else(|| Refusal::missing("scope"))?;
            resource::scopes(world, tenant, scope)?.only(scope)?;
        }
    }
    let claims = Claims::of(params)?;
    Ok(Request {
        version,
        tenant: tenant.map(|tenant| tenant.id),
        client_id: registered.application.client_id(),
        scope: params.owned("scope"),
        resource: params.owned("resource"),
        acrs: claims.acrs,
        cae: claims.cae,
    })
}

fn keep(world: &World, request: &Request, origin: &str) -> Result<Value, Refusal> {
    let device_code = format!("{}{}{}", random(), random(), random());
    let user_code = user_code();
    let body = serde_json::to_string(request).unwrap_or_default();
    let at = world.clock.now().timestamp();
    let kept = Ledger(&world.state).keep_device(&hash(&device_code), &user_code, at, &body);
    kept.map_err(broken)?;
    let place = format!("{origin}/devicelogin");
    let message = format!(
        "To sign in, use a web browser to open the page {place} and enter the code {user_code} to \
         authenticate."
    );
    Ok(match request.version {
        Version::V1 => json!({
            "user_code": user_code, "device_code": device_code, "verification_url": place,
            "expires_in": SECONDS.to_string(), "interval": INTERVAL.to_string(),
            "message": message,
        }),
        Version::V2 => json!({
            "user_code": user_code, "device_code": device_code, "verification_uri": place,
            "expires_in": SECONDS, "interval": INTERVAL, "message": message,
        }),
    })
}

fn user_code() -> String {
    let mut rng = rand::rng();
    let letters = std::iter::repeat_with(|| ALPHABET.get(rng.random_range(0..ALPHABET.len())));
    letters
        .flatten()
        .take(CODE_LENGTH)
        .map(|byte| char::from(*byte))
        .collect()
}

// === the person's side ===

/// The page that asks for the code.
pub(crate) async fn device_page(uri: Uri) -> Response {
    let params = Params::of_query(&uri);
    enter_code(params.get("otc").unwrap_or_default(), None)
}

fn enter_code(code: &str, problem: Option<String>) -> Response {
    html(StatusCode::OK, &DevicePage { code, problem })
}

/// The code was entered.
pub(crate) async fn device_entered(
    State(world): State<Shared>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let params = Params::of_form(&body);
    let trace = Trace::of(&headers, &params, world.clock.now());
    let entered = params.get("otc").unwrap_or_default();
    let plain: String = entered
        .chars()
        .filter(|letter| letter.is_ascii_alphanumeric())
        .map(|letter| letter.to_ascii_uppercase())
        .collect();
    let found = match Ledger(&world.state).device_by_user_code(&plain) {
        Ok(found) => found,
        Err(error) => return error_page(&broken(error), &trace),
    };
    let origin = origin(&headers, &uri, &world.authority);
    match found.and_then(|row| flow_of(&world, &row, origin)) {
        Some(flow) => {
            let id = world.directory.flows.begin(flow.clone());
            sign_in::page(&world, &id, &flow, "", None, StatusCode::OK)
        }
        None => {
            let problem = "That code didn't work. Check the code and try again.";
            enter_code(entered, Some(problem.to_owned()))
        }
    }
}

/// The visit in which a person lets a device in; none when it is too late for that.
fn flow_of(world: &World, row: &DeviceRow, origin: String) -> Option<Flow> {
    let now = world.clock.now();
    if row.state != Device::Pending || now.timestamp() - row.at >= SECONDS {
        return None;
    }
    let request: Request = serde_json::from_str(&row.request).ok()?;
    let application = world.directory.application(request.client_id)?;
    let bare = Flow::bare(
        request.version,
        Purpose::Device(row.hash.clone()),
        &application,
        request.tenant,
        origin,
        now,
    );
    let claims = Claims {
        cae: request.cae,
        acrs: request.acrs,
        ..Claims::default()
    };
    Some(Flow {
        resource: request.resource,
        scope: request.scope,
        claims,
        ..bare
    })
}

/// The person let the device in.
pub(crate) fn approved(world: &World, flow: &Flow, hash: &[u8], trace: &Trace) -> Response {
    let Some(signed_in) = &flow.signed_in else {
        return sign_in::flow_gone(trace);
    };
    let grant = Grant::of(flow, signed_in, world.clock.now());
    let grant = serde_json::to_string(&grant).unwrap_or_default();
    settle(
        world,
        hash,
        &Device::Approved { grant },
        "You have signed in to the application on your device.",
        trace,
    )
}

/// The person did not.
pub(crate) fn declined(world: &World, hash: &[u8], trace: &Trace) -> Response {
    let text = "You cancelled the sign-in. The device was not let in.";
    settle(world, hash, &Device::Declined, text, trace)
}

fn settle(world: &World, hash: &[u8], to: &Device, text: &str, trace: &Trace) -> Response {
    match Ledger(&world.state).settle_device(hash, &Device::Pending, to) {
        Ok(true) => message(
            StatusCode::OK,
            "Device sign-in",
            text,
            "You may now close this window.",
        ),
        Ok(false) => sign_in::flow_gone(trace).into_response(),
        Err(error) => error_page(&broken(error), trace),
    }
}

// === the device's side ===

/// What a person granted a device, once.
///
/// # Errors
/// As long as nobody did, and when it is too late.
pub(crate) fn redeem(
    world: &World,
    version: Version,
    client: Uuid,
    code: &str,
) -> Result<Grant, Refusal> {
    let key = hash(code);
    let ledger = Ledger(&world.state);
    let row = ledger.device(&key).map_err(broken)?;
    let request: Option<(DeviceRow, Request)> = row.and_then(|row| {
        let request = serde_json::from_str(&row.request).ok()?;
        Some((row, request))
    });
    let Some((row, _)) = request.filter(|(_, request)| request.client_id == client) else {
        return Err(Refusal::of(70_018, &[]));
    };
    let now = world.clock.now().timestamp();
    match row.state {
        Device::Redeemed => Err(Refusal::of(54_005, &[])),
        Device::Declined => Err(Refusal::of(70_017, &[])),
        _ if now - row.at >= SECONDS => Err(expired(version)),
        Device::Pending => {
            let often = world.directory.throttle.count(Counted::Poll, &key, now);
            let pending = Refusal::of(70_016, &[]);
            Err(if often {
                pending.with_error("slow_down")
            } else {
                pending
            })
        }
        Device::Approved { ref grant } => {
            let parsed = serde_json::from_str(grant);
            let parsed = parsed.map_err(|_| Refusal::of(70_018, &[]))?;
            let first = ledger.settle_device(&key, &row.state, &Device::Redeemed);
            if !first.map_err(broken)? {
                return Err(Refusal::of(54_005, &[]));
            }
            Ok(parsed)
        }
    }
}

fn expired(version: Version) -> Refusal {
    let refusal = Refusal::of(70_020, &[]);
    match version {
        Version::V1 => refusal.with_error("code_expired"),
        Version::V2 => refusal,
    }
}

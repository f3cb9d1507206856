//! Who may use the control page: processes of the same machine, and pages of the sandbox itself.
//!
//! There is no password: whoever can run programs on the machine could read the sandbox's files
//! anyway. What has to be kept out is the network, and other sites that a browser on this machine
//! shows, which can send requests here but not read the answers.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::World;
use crate::control::trouble::Trouble;
use crate::entra;
use crate::serve::{Peer, Shared};

/// The header that a client can send in place of a content type; other sites cannot add it without
/// asking first (the Fetch standard, CORS-safelisted request headers).
const OWN_HEADER: &str = "x-sandbox-control";

pub(super) async fn guard(State(world): State<Shared>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>();
    let is_near = peer.is_some_and(|Peer(address)| address.ip().to_canonical().is_loopback());
    if !is_near || !is_own_name(&world, &request) {
        let headers = request.headers().clone();
        return entra::not_found(State(world), headers).await;
    }
    if let Err(trouble) = check_write(&world, &request) {
        return trouble.into_response();
    }
    world.player.catch_up(&world);
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// A name of somebody else's that leads to this machine must not open what is for it alone.
fn is_own_name(world: &World, request: &Request) -> bool {
    let Some(authority) = entra::authority(request.headers(), request.uri()) else {
        return false;
    };
    let host = entra::host_of(authority);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<std::net::IpAddr>()
        .is_ok_and(|address| address.is_loopback())
        || world
            .hosts
            .iter()
            .any(|name| name.eq_ignore_ascii_case(host))
}

fn check_write(world: &World, request: &Request) -> Result<(), Trouble> {
    if matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    ) {
        return Ok(());
    }
    let headers = request.headers();
    let own = entra::origin(headers, request.uri(), &world.authority);
    let origin = text(headers, "origin");
    let forbidden = |detail: &str| Err(Trouble::new(StatusCode::FORBIDDEN, detail));
    if origin.is_some_and(|origin| !origin.eq_ignore_ascii_case(&own)) {
        return forbidden("the request comes from a page of another origin");
    }
    if text(headers, "sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none")) {
        return forbidden("the request comes from a page of another site");
    }
    if request.uri().path().starts_with("/_sandbox/do/") {
        // Forms cannot carry a header; browsers say where they come from.
        let detail = "a form must say where it comes from (Origin); programs use /_sandbox/api";
        return origin.map_or_else(|| forbidden(detail), |_| Ok(()));
    }
    let kind = text(headers, "content-type").unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let is_data = matches!(
        kind.to_ascii_lowercase().as_str(),
        "application/json" | "application/toml"
    );
    if is_data || headers.contains_key(OWN_HEADER) || *request.method() == Method::DELETE {
        return Ok(());
    }
    Err(Trouble::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "send Content-Type: application/json (or application/toml for a scenario), or the header \
         X-Sandbox-Control: 1 with a request that has no body",
    ))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    // What is no text is no origin of ours either.
    headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}

//! Who is signed in in a browser.

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;

use crate::World;
use crate::entra::directory::random;
use crate::entra::flow::SignedIn;
use crate::entra::issue::hash;
use crate::entra::ledger::Ledger;
use crate::entra::params::cookie;

/// The session's cookie; Entra's is called so.
const NAME: &str = "ESTSAUTHPERSISTENT";

/// Who is signed in in the browser that asks.
pub(crate) fn find(world: &World, headers: &HeaderMap) -> Option<SignedIn> {
    let cookie = cookie(headers, NAME)?;
    let kept = Ledger(&world.state).session(&hash(cookie));
    // A session that cannot be read is none: the page comes again.
    serde_json::from_str(&kept.ok()??).ok()
}

/// Signs somebody in in the browser that gets the answer.
pub(crate) fn start(world: &World, signed_in: &SignedIn, response: &mut Response) {
    let cookie = random();
    keep(world, &cookie, signed_in);
    let text = format!("{NAME}={cookie}; Path=/; Secure; HttpOnly; SameSite=None");
    put(response, &text);
}

/// Notes that the person of a session also showed a second factor.
pub(crate) fn strengthen(world: &World, headers: &HeaderMap, upn: &str) {
    let found = find(world, headers).filter(|session| session.upn == upn);
    if let (Some(session), Some(cookie)) = (found, cookie(headers, NAME)) {
        let session = SignedIn {
            mfa: true,
            ..session
        };
        keep(world, cookie, &session);
    }
}

/// Signs out.
pub(crate) fn end(world: &World, headers: &HeaderMap, response: &mut Response) {
    if let Some(cookie) = cookie(headers, NAME)
        && let Err(error) = Ledger(&world.state).end_session(&hash(cookie))
    {
        tracing::error!(%error, "the sandbox could not end a session");
    }
    let text = format!("{NAME}=; Path=/; Secure; HttpOnly; SameSite=None; Max-Age=0");
    put(response, &text);
}

fn keep(world: &World, cookie: &str, signed_in: &SignedIn) {
    let body = serde_json::to_string(signed_in).unwrap_or_default();
    let at = world.clock.now().timestamp();
    // Without it, the person only signs in once more.
    if let Err(error) = Ledger(&world.state).keep_session(&hash(cookie), at, &body) {
        tracing::error!(%error, "the sandbox could not keep a session");
    }
}

fn put(response: &mut Response, cookie: &str) {
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
}

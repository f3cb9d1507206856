//! Who calls, and what is said to those who bring no good token.

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::World;
use crate::dataverse::organization::Organization;
use crate::entra::{self, Caller, Verdict};

/// What a request's token is worth to this organization.
pub(super) fn of(world: &World, organization: &Organization, headers: &HeaderMap) -> Verdict {
    let Some(token) = bearer(headers) else {
        return Verdict::Refused;
    };
    match world.directory.verdict(token, world.clock.now()) {
        Verdict::Good(caller) if !meant(world, organization, &caller) => Verdict::Refused,
        verdict => verdict,
    }
}

/// The token that a request brings.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Host and port of the resource that a token is for.
pub(super) fn audience_of(caller: &Caller) -> Option<String> {
    let audience = url::Url::parse(&caller.audience).ok()?;
    let host = audience.host_str()?;
    let port = audience.port().map(|port| format!(":{port}"));
    Some(format!("{host}{}", port.unwrap_or_default()))
}

/// Whether a token was issued for this organization.
fn meant(world: &World, organization: &Organization, caller: &Caller) -> bool {
    let found = audience_of(caller).and_then(|authority| {
        world
            .directory
            .organization_at(&authority, &world.authority)
    });
    found.is_some_and(|(_, meant)| meant.id == organization.id)
        && caller.tenant == organization.tenant
}

/// What is said to a token that an event overtook, when its client understands it.
pub(super) fn overtaken(world: &World, asked: &str, claims: &str) -> Response {
    let text = entra::challenge_header(&format!("https://{}", world.login_at(asked)), claims);
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, text)]).into_response()
}

/// What is said without a token: where to get one, and for what.
pub(super) fn challenge(world: &World, organization: &Organization, asked: &str) -> Response {
    let text = format!(
        "Bearer authorization_uri=https://{}/{}/oauth2/authorize, resource_id=https://{asked}/",
        world.login_at(asked),
        organization.tenant
    );
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, text)]).into_response()
}

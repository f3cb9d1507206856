//! What stands in front of the whole sandbox but its control page: it finds out whose request it
//! is, plays the scenario up to now, lets faults strike, and writes the request down.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::control::journal::Line;
use crate::entra;
use crate::faults::answers::{self, Scene};
use crate::faults::caller::Seen;
use crate::faults::fault::{Effect, Moment, Shape, Side};
use crate::faults::registry::Verdict;
use crate::serve::Shared;

/// The mark of an answer that is none: whoever holds the connection ends it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dropped;

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a fault ended the connection")
    }
}

impl std::error::Error for Dropped {}

impl IntoResponse for Dropped {
    fn into_response(self) -> Response {
        let mut response = StatusCode::SERVICE_UNAVAILABLE.into_response();
        response.extensions_mut().insert(Self);
        response
    }
}

/// A delay that a request waits for inside the service, where it counts as time of execution: only
/// so can limits of time and of concurrency be rehearsed. Whoever lets it pass waits on the way out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pause(Option<Arc<AtomicU64>>);

impl Pause {
    fn of(span: Duration) -> Self {
        let ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Self(Some(Arc::new(AtomicU64::new(ms))))
    }

    /// Waits, once.
    pub(crate) async fn wait(&self) {
        let left = self
            .0
            .as_ref()
            .map_or(0, |ms| ms.swap(0, Ordering::Relaxed));
        if left > 0 {
            tokio::time::sleep(Duration::from_millis(left)).await;
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Pause {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().cloned().unwrap_or_default())
    }
}

pub(crate) async fn rehearse(
    State(world): State<Shared>,
    request: Request,
    next: Next,
) -> Response {
    if world.faults.is_empty() && world.journal.is_off() && !world.player.is_playing() {
        return next.run(request).await;
    }
    let begun = Instant::now();
    let line = Line::begin(&request, world.clock.now());
    let (seen, request) = match Seen::of(&world, request).await {
        Ok(read) => read,
        Err(_) => return StatusCode::PAYLOAD_TOO_LARGE.into_response(),
    };
    world.player.arrive(&world, &seen);
    let verdict = world.faults.judge(&seen, world.clock.now());
    let struck = verdict.struck.clone();
    let response = strike(&world, &seen, verdict, request, next).await;
    let dropped = response.extensions().get::<Dropped>().is_some();
    let status = (!dropped).then(|| response.status());
    world
        .journal
        .write(line.end(&seen, status, begun.elapsed(), struck));
    response
}

async fn strike(
    world: &Shared,
    seen: &Seen,
    verdict: Verdict,
    mut request: Request,
    next: Next,
) -> Response {
    let scene = Scene {
        world,
        seen,
        headers: &request.headers().clone(),
        origin: entra::origin(request.headers(), request.uri(), &world.authority),
    };
    if let Some(effect) = &verdict.effect
        && let Some(response) = without_answer(&scene, effect)
    {
        tokio::time::sleep(verdict.before + verdict.after).await;
        return response;
    }
    let pause = Pause::of(verdict.before);
    if seen.side == Side::Dataverse {
        request.extensions_mut().insert(pause.clone());
    } else {
        pause.wait().await;
    }
    let response = next.run(request).await;
    pause.wait().await;
    if !verdict.after.is_zero() {
        tokio::time::sleep(verdict.after).await;
    }
    match verdict.effect {
        None => response,
        // Nothing of a body is sent to whoever asked for the head alone: there is nothing to cut.
        Some(Effect::Cut { .. }) if seen.method == Method::HEAD => Dropped.into_response(),
        Some(effect) => spoil(effect, response).await,
    }
}

/// The answer of a fault that leaves the request undone.
fn without_answer(scene: &Scene<'_>, effect: &Effect) -> Option<Response> {
    Some(match effect {
        Effect::Throttle {
            excess,
            retry_after,
        } => scene.throttle(*excess, *retry_after),
        Effect::RefuseEntra {
            code,
            suberror,
            claims,
        } => scene.refuse_entra(*code, *suberror, claims.as_deref()),
        Effect::RefuseDataverse {
            code,
            status,
            message,
        } => answers::refuse_dataverse(code, *status, message),
        Effect::Status {
            status,
            retry_after,
        } => scene.status(*status, *retry_after),
        Effect::Drop {
            moment: Moment::Before,
        } => Dropped.into_response(),
        Effect::Garbage(shape) => answers::garbage(*shape)?,
        Effect::Delay { .. } | Effect::Drop { .. } | Effect::Cut { .. } => return None,
    })
}

/// The true answer, after a fault has had it.
async fn spoil(effect: Effect, response: Response) -> Response {
    match effect {
        Effect::Drop { .. } => Dropped.into_response(),
        Effect::Cut { after } => answers::cut(response, after).await,
        Effect::Garbage(Shape::Truncated) => answers::truncated(response).await,
        Effect::Garbage(Shape::WrongType) => answers::as_text(response),
        _ => response,
    }
}

/// What hyper is to do with an answer: send it, or end the connection.
pub(crate) fn or_dropped(response: Response) -> Result<Response<Body>, Dropped> {
    match response.extensions().get::<Dropped>() {
        Some(dropped) => Err(*dropped),
        None => Ok(response),
    }
}

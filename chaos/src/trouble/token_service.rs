//! A token service that is slow, fails, hangs up, or talks nonsense. With Entra's rules an answer
//! that was lost costs nothing, so nothing may be lost.

use std::path::Path;

use serde_json::{Value, json};

use crate::database::Kind;
use crate::report::Findings;
use crate::service::Rules;
use crate::trouble::scene::{Good, Row, Scene, plan};
use crate::world::World;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Late,
    Slow,
    Unavailable,
    Throttled,
    HangsUp,
    LosesAnswers,
    CutsAnswers,
    Html,
    Truncated,
    Empty,
}

impl Way {
    pub(crate) const ALL: [Self; 10] = [
        Self::Late,
        Self::Slow,
        Self::Unavailable,
        Self::Throttled,
        Self::HangsUp,
        Self::LosesAnswers,
        Self::CutsAnswers,
        Self::Html,
        Self::Truncated,
        Self::Empty,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Late => "token service answers after 2 s, for 12 s",
            Self::Slow => "token service answers after 40 s, for 45 s",
            Self::Unavailable => "token service answers 503, for 12 s",
            Self::Throttled => "token service throttles (Retry-After: 5), for 12 s",
            Self::HangsUp => "token service hangs up, for 12 s",
            Self::LosesAnswers => "token service loses its answers, for 12 s",
            Self::CutsAnswers => "token service cuts its answers, for 12 s",
            Self::Html => "token service answers with a web page, for 12 s",
            Self::Truncated => "token service answers with half a JSON, for 12 s",
            Self::Empty => "token service answers with nothing, for 12 s",
        }
    }

    fn fault(self) -> (Value, u64) {
        match self {
            Self::Late => (json!({"kind": "delay", "ms": 2000, "when": "before"}), 12),
            Self::Slow => (json!({"kind": "delay", "ms": 40_000, "when": "before"}), 45),
            Self::Unavailable => (json!({"kind": "status", "status": 503}), 12),
            Self::Throttled => (json!({"kind": "throttle", "retry_after": 5}), 12),
            Self::HangsUp => (json!({"kind": "drop", "when": "before"}), 12),
            Self::LosesAnswers => (json!({"kind": "drop", "when": "after"}), 12),
            Self::CutsAnswers => (json!({"kind": "cut"}), 12),
            Self::Html => (json!({"kind": "garbage", "shape": "html"}), 12),
            Self::Truncated => (json!({"kind": "garbage", "shape": "truncated"}), 12),
            Self::Empty => (json!({"kind": "garbage", "shape": "empty"}), 12),
        }
    }
}

pub(crate) async fn run(way: Way, program: &Path, findings: &mut Findings) -> anyhow::Result<Row> {
    let world = World::make(plan(program, Kind::Sqlite, Rules::Entra, None)).await?;
    let mut scene = Scene::open(way.name(), world, &[]).await?;
    let before = scene.world.proxy.count();
    let (fault, seconds) = way.fault();
    scene.world.service.fault(fault).await?;
    scene.last(seconds).await;
    let asked = scene.world.proxy.count() - before;
    scene.world.service.heal().await?;
    scene.row.ending.clear();
    // One account in trouble asks about once a second at most: 100 ms of its caller's impatience
    // are not passed on.
    let most = usize::try_from(seconds)? * 2;
    findings.expect(asked <= most, || {
        format!("{}: {asked} requests in {seconds} s", way.name())
    });
    scene.close(Good::Untouched, findings).await
}

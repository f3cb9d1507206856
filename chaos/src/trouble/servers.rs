//! A server that is frozen in the middle of a renewal for longer than its lease, while another
//! serves; and its answer, which comes late.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::callers::Callers;
use crate::database::Kind;
use crate::process::signal;
use crate::proxy::Hold;
use crate::report::Findings;
use crate::service::Rules;
use crate::trouble::scene::{ENDING, Good, Row, Scene, plan};
use crate::trouble::what_stops::hold_an_answer;
use crate::world::{LEASE, World};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    HungLenient,
    HungStrict,
}

impl Way {
    pub(crate) const ALL: [Self; 2] = [Self::HungLenient, Self::HungStrict];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::HungLenient => "one of two servers hangs within a renewal, 40 s (Entra's rules)",
            Self::HungStrict => "one of two servers hangs within a renewal, 40 s (strict rules)",
        }
    }
}

pub(crate) async fn run(way: Way, program: &Path, findings: &mut Findings) -> anyhow::Result<Row> {
    let rules = match way {
        Way::HungLenient => Rules::Entra,
        Way::HungStrict => Rules::Strict,
    };
    let world = World::make(plan(program, Kind::Postgres, rules, None)).await?;
    let mut scene = Scene::open(way.name(), world, &[]).await?;
    let other = scene.world.server(1).await?;
    hold_an_answer(&scene).await?;
    signal("-STOP", &[scene.server.process.id()])?;
    scene.world.proxy.hold(Hold::Pass);
    let begun = Instant::now();
    let targets = [scene.world.target(ENDING)];
    let think = Duration::from_millis(100);
    let others = Callers::start(&other.gateway, &scene.world.key, &targets, think);
    // With Entra's rules the other server renews when the lease lapses. With strict rules nobody
    // but the one that hangs has a token that is good, and nobody may try.
    let patience = LEASE + Duration::from_secs(10);
    let missing = others.all_good(&[0], begun, patience).await;
    let took = begun.elapsed();
    if way == Way::HungLenient {
        findings.expect(missing.is_empty(), || {
            format!(
                "{}: nobody took over: {}",
                way.name(),
                others.answers().text()
            )
        });
    }
    let states = scene.world.states(&other).await?;
    let state = format!("{} ({})", states[ENDING].state, states[ENDING].reason);
    tokio::time::sleep(patience.saturating_sub(took)).await;
    signal("-CONT", &[scene.server.process.id()])?;
    scene.row.state = state;
    let over = Instant::now();
    let missing = others.all_good(&[0], over, LEASE * 2).await;
    findings.expect(missing.is_empty(), || {
        format!(
            "{}: the other server is not well: {}",
            way.name(),
            others.answers().text()
        )
    });
    let at_the_other = others.answers().text();
    drop(others);
    let mut row = scene.close(Good::Touched, findings).await?;
    row.ending = format!("at the other server: {at_the_other}");
    if way == Way::HungLenient {
        row.ending = format!(
            "taken over after {:.1} s; {}",
            took.as_secs_f64(),
            row.ending
        );
    }
    other.process.stop().await?;
    Ok(row)
}

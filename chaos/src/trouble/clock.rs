//! A server whose clock jumps, by Debian's libfaketime: a hundred days ahead or back, and home
//! again. The clocks of the token service and of the database stay.

use std::path::Path;

use crate::database::Kind;
use crate::report::Findings;
use crate::service::Rules;
use crate::trouble::scene::{Good, Row, Scene, plan};
use crate::world::World;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Ahead,
    Back,
    AheadPostgres,
}

impl Way {
    pub(crate) const ALL: [Self; 3] = [Self::Ahead, Self::Back, Self::AheadPostgres];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ahead => "clock jumps 100 days ahead, and home after 20 s",
            Self::Back => "clock jumps 100 days back, and home after 20 s",
            Self::AheadPostgres => "clock of one server jumps 100 days ahead, and home after 20 s",
        }
    }
}

const LIBRARIES: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
];

pub(crate) async fn run(way: Way, program: &Path, findings: &mut Findings) -> anyhow::Result<Row> {
    let library = LIBRARIES.iter().find(|path| Path::new(path).exists());
    let library = *library.ok_or_else(|| anyhow::anyhow!("libfaketime is not installed"))?;
    let database = match way {
        Way::AheadPostgres => Kind::Postgres,
        Way::Ahead | Way::Back => Kind::Sqlite,
    };
    // oidc-provider's certificate is good for ever, so that the jump is about tokens alone.
    let world = World::make(plan(program, database, Rules::OidcProvider, None)).await?;
    let file = world.path("clock");
    std::fs::write(&file, "+0\n")?;
    let file_name = file.display().to_string();
    let environment = [
        ("LD_PRELOAD", library),
        ("FAKETIME_TIMESTAMP_FILE", file_name.as_str()),
        ("FAKETIME_CACHE_DURATION", "1"),
        // When somebody sets a clock, the monotonic one goes on.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("DONT_FAKE_MONOTONIC", "1"),
    ];
    let mut scene = Scene::open(way.name(), world, &environment).await?;
    let before = scene.world.proxy.count();
    let jump = if way == Way::Back {
        "-100d\n"
    } else {
        "+100d\n"
    };
    std::fs::write(&file, jump)?;
    scene.last(20).await;
    std::fs::write(&file, "+0\n")?;
    let asked = scene.world.proxy.count() - before;
    findings.expect(asked <= 60, || {
        format!("{}: {asked} renewals in 20 s", way.name())
    });
    let jumped = scene.server.process.log();
    let now = chrono::Utc::now();
    let far = |line: &String| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
        let at = line["timestamp"]
            .as_str()
            .and_then(|text| text.parse().ok());
        at.is_some_and(|at: chrono::DateTime<chrono::Utc>| (at - now).num_days().abs() > 90)
    };
    findings.expect(jumped.iter().any(far), || {
        format!("{}: the server's clock did not jump", way.name())
    });
    scene.close(Good::Touched, findings).await
}

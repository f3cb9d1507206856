//! The same expiry for everybody: servers with callers each find the access token of an account
//! expired at the same moment. Whoever keeps it must ask once, answer all, and lose nothing.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use crate::models::{Kind, Model, Shared};
use crate::oauth::{Behaviour, First, Rotation, Servers};
use crate::seed::{self, Plan};
use crate::stats::{Waits, shown};
use crate::tieline::{Launch, Server};
use crate::tls::Tls;

/// What happens.
#[derive(Debug, Clone, Copy)]
struct Scenario {
    name: &'static str,
    behaviour: Behaviour,
    servers: usize,
    callers: usize,
    accounts: usize,
    /// How long after its requests have reached the token server the first server dies, with its
    /// callers. Those of the others come in between.
    crash: Option<Duration>,
    /// Whether callers who were refused ask again until they are answered or a minute has passed.
    persistent: Persistence,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Persistence {
    AskOnce,
    /// Every half second, for a minute.
    AskAgain,
}

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contender {
    Tieline,
    Model(Kind),
}

impl Contender {
    const ALL: [Self; 4] = [
        Self::Tieline,
        Self::Model(Kind::Simple),
        Self::Model(Kind::ProxyLock),
        Self::Model(Kind::NangoLock),
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Tieline => "Tieline",
            Self::Model(Kind::Simple) => "check, then refresh",
            Self::Model(Kind::ProxyLock) => "oauth2-proxy's way",
            Self::Model(Kind::NangoLock) => "Nango's way",
        }
    }
}

fn scenarios() -> Vec<Scenario> {
    let ms = Duration::from_millis;
    let mut all = Vec::new();
    for rotation in [Rotation::Strict, Rotation::Lenient] {
        let plain = Behaviour {
            rotation,
            latency: ms(50),
            first: First::Answered,
        };
        let base = Scenario {
            name: "one server",
            behaviour: plain,
            servers: 1,
            callers: 50,
            accounts: 20,
            crash: None,
            persistent: Persistence::AskOnce,
        };
        let three = Scenario {
            servers: 3,
            callers: 30,
            ..base
        };
        let few = Scenario {
            servers: 3,
            callers: 20,
            accounts: 5,
            ..base
        };
        all.extend([
            base,
            Scenario {
                name: "three servers",
                ..three
            },
            Scenario {
                name: "the answer takes 3 s",
                behaviour: Behaviour {
                    latency: ms(3_000),
                    ..plain
                },
                ..few
            },
            Scenario {
                name: "the answer takes 12 s",
                behaviour: Behaviour {
                    latency: ms(12_000),
                    ..plain
                },
                ..few
            },
            Scenario {
                name: "first refused with 503",
                behaviour: Behaviour {
                    first: First::Unavailable,
                    ..plain
                },
                persistent: Persistence::AskAgain,
                ..few
            },
            Scenario {
                name: "first answer cut off",
                behaviour: Behaviour {
                    first: First::Cut,
                    ..plain
                },
                persistent: Persistence::AskAgain,
                ..few
            },
            Scenario {
                name: "a server dies asking",
                behaviour: Behaviour {
                    latency: ms(3_000),
                    ..plain
                },
                crash: Some(ms(500)),
                persistent: Persistence::AskAgain,
                ..few
            },
        ]);
    }
    all
}

/// What a caller met.
struct Call {
    answered: Result<(), String>,
    wait: Duration,
}

/// The servers of a contender.
enum Field {
    Tieline {
        servers: Vec<Server>,
        api_key: String,
        launch: Launch,
    },
    Model {
        servers: Vec<Arc<Model>>,
        shared: Arc<Shared>,
        origin: String,
    },
}

/// Runs every scenario against everybody.
pub async fn run(program: &Path, postgres: &str, only: Option<&str>) -> anyhow::Result<()> {
    println!(
        "| token server | what happens | who | token requests per account (1 is right) | \
              second uses of a token | callers refused | accounts lost | wait p50 | p99 | longest |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for scenario in scenarios() {
        if only.is_some_and(|only| !scenario.name.contains(only)) {
            continue;
        }
        for contender in Contender::ALL {
            measure(program, postgres, contender, scenario).await?;
        }
    }
    Ok(())
}

async fn measure(
    program: &Path,
    postgres: &str,
    contender: Contender,
    scenario: Scenario,
) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let tls = Tls::make(directory.path())?;
    let servers = Servers::start(Arc::clone(&tls.server), scenario.behaviour).await?;
    let (mut field, accounts) = field(
        program,
        postgres,
        contender,
        scenario,
        directory.path(),
        &tls,
        &servers,
    )
    .await?;
    let client = tls.client()?;
    warm_up(&field, &client, scenario).await;
    let calls = play(&mut field, &client, scenario, &accounts, &servers).await;
    report(&field, &servers, contender, scenario, &accounts, calls).await
}

async fn field(
    program: &Path,
    postgres: &str,
    contender: Contender,
    scenario: Scenario,
    directory: &Path,
    tls: &Tls,
    token_server: &Servers,
) -> anyhow::Result<(Field, Vec<String>)> {
    let Contender::Model(kind) = contender else {
        return tieline(program, postgres, scenario, directory, tls, token_server).await;
    };
    let accounts: Vec<String> = (0..scenario.accounts)
        .map(|number| format!("account{number}"))
        .collect();
    let shared = Shared::new(&accounts, token_server.token_url(), tls.client()?);
    let servers = (0..scenario.servers)
        .map(|_| Model::new(kind, Arc::clone(&shared)))
        .collect();
    let origin = token_server.origin();
    Ok((
        Field::Model {
            servers,
            shared,
            origin,
        },
        accounts,
    ))
}

async fn tieline(
    program: &Path,
    postgres: &str,
    scenario: Scenario,
    directory: &Path,
    tls: &Tls,
    token_server: &Servers,
) -> anyhow::Result<(Field, Vec<String>)> {
    let url = crate::postgres::fresh(postgres).await?;
    let launch = Launch {
        program: program.to_owned(),
        data_dir: directory.join("server-0"),
        database_url: Some(url.clone()),
        authority: tls.authority.clone(),
    };
    launch.migrate().await?;
    let hour = 3_600_000;
    let plan = Plan {
        accounts: scenario.accounts,
        authorization_url: token_server.authorization_url(),
        token_url: token_server.token_url(),
        origin: token_server.origin(),
        // Expired, and not to be renewed ahead of the callers, as the keeper otherwise would.
        expires_in: -hour,
        due: (24 * hour, 0),
    };
    let seeded = seed::seed(&launch.data_dir, Some(&url), &plan).await?;
    let mut servers = vec![launch.serve().await?];
    for number in 1..scenario.servers {
        let beside = launch.beside(&directory.join(format!("server-{number}")))?;
        servers.push(beside.serve().await?);
    }
    Ok((
        Field::Tieline {
            servers,
            api_key: seeded.api_key,
            launch,
        },
        seeded.accounts,
    ))
}

/// Opens the connections that the callers use, so that no wait holds a handshake.
async fn warm_up(field: &Field, client: &reqwest::Client, scenario: Scenario) {
    let calls = (0..scenario.servers).flat_map(|server| {
        (0..scenario.callers).map(move |_| async move {
            let address = match field {
                Field::Tieline { servers, .. } => format!("{}/nothing", servers[server].gateway),
                Field::Model { origin, .. } => format!("{origin}/api/nothing"),
            };
            let _ = client.get(address).send().await;
        })
    });
    join_all(calls).await;
}

async fn play(
    field: &mut Field,
    client: &reqwest::Client,
    scenario: Scenario,
    accounts: &[String],
    token_server: &Servers,
) -> Vec<Call> {
    let mut calls = Vec::new();
    if let Some(after) = scenario.crash {
        let dying: Vec<_> = accounts
            .iter()
            .map(|account| start(field, client, scenario, account, 0..1))
            .collect();
        while accounts
            .iter()
            .any(|account| token_server.seen(account).requests == 0)
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let pending: Vec<_> = accounts
            .iter()
            .map(|account| start(field, client, scenario, account, 1..scenario.servers))
            .collect();
        tokio::time::sleep(after).await;
        crash(field, &dying).await;
        for started in dying.into_iter().chain(pending) {
            calls.extend(finish(started).await);
        }
    } else if scenario.latency() > Duration::from_millis(100) {
        // Slow: all accounts side by side.
        let pending: Vec<_> = accounts
            .iter()
            .map(|account| start(field, client, scenario, account, 0..scenario.servers))
            .collect();
        for started in pending {
            calls.extend(finish(started).await);
        }
    } else {
        for account in accounts {
            calls
                .extend(finish(start(field, client, scenario, account, 0..scenario.servers)).await);
        }
    }
    calls
}

impl Scenario {
    fn latency(&self) -> Duration {
        self.behaviour.latency
    }
}

/// The callers of one account, those of each server apart.
type Started = Vec<Vec<tokio::task::JoinHandle<Call>>>;

fn start(
    field: &Field,
    client: &reqwest::Client,
    scenario: Scenario,
    account: &str,
    servers: std::ops::Range<usize>,
) -> Started {
    servers
        .map(|server| {
            (0..scenario.callers)
                .map(|_| tokio::spawn(caller(field, client, scenario, server, account)))
                .collect()
        })
        .collect()
}

async fn finish(started: Started) -> Vec<Call> {
    let ended = join_all(started.into_iter().flatten()).await;
    // Who was with the server that died is not asked.
    ended.into_iter().filter_map(Result::ok).collect()
}

async fn crash(field: &mut Field, pending: &[Started]) {
    for callers in pending.iter().filter_map(|started| started.first()) {
        callers.iter().for_each(tokio::task::JoinHandle::abort);
    }
    match field {
        Field::Tieline { servers, .. } => servers[0].kill().await,
        // Its callers were all that ran in it: what they had locked stays locked.
        Field::Model { .. } => {}
    }
}

fn caller(
    field: &Field,
    client: &reqwest::Client,
    scenario: Scenario,
    server: usize,
    account: &str,
) -> impl Future<Output = Call> + Send + 'static {
    let (client, account) = (client.clone(), account.to_owned());
    let way = match field {
        Field::Tieline {
            servers, api_key, ..
        } => Way::Gateway(servers[server].gateway.clone(), api_key.clone()),
        Field::Model {
            servers, origin, ..
        } => Way::Model(Arc::clone(&servers[server]), origin.clone()),
    };
    async move {
        let begun = Instant::now();
        loop {
            let answered = way.call(&client, &account).await;
            let wait = begun.elapsed();
            let again =
                scenario.persistent == Persistence::AskAgain && wait < Duration::from_secs(60);
            if answered.is_ok() || !again {
                return Call { answered, wait };
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

enum Way {
    Gateway(String, String),
    Model(Arc<Model>, String),
}

impl Way {
    async fn call(&self, client: &reqwest::Client, account: &str) -> Result<(), String> {
        let request = match self {
            Way::Gateway(gateway, api_key) => client
                .get(format!("{gateway}/{account}/api/data/v9.2/WhoAmI"))
                .bearer_auth(api_key),
            Way::Model(model, origin) => {
                let token = model.token(account).await?;
                client
                    .get(format!("{origin}/api/data/v9.2/WhoAmI"))
                    .bearer_auth(token)
            }
        };
        let answer = request.send().await.map_err(|error| error.to_string())?;
        let status = answer.status();
        let text = answer.text().await.map_err(|error| error.to_string())?;
        if status == 200 {
            Ok(())
        } else {
            Err(format!("{status} {text}"))
        }
    }
}

async fn report(
    field: &Field,
    servers: &Servers,
    contender: Contender,
    scenario: Scenario,
    accounts: &[String],
    calls: Vec<Call>,
) -> anyhow::Result<()> {
    let (mut requests, mut reuses, mut lost) = (0, 0, 0);
    for account in accounts {
        let seen = servers.seen(account);
        requests += seen.requests;
        reuses += seen.reuses;
        let durable = match field {
            Field::Tieline { launch, .. } => {
                seed::durable(&launch.data_dir, launch.database_url.as_deref(), account).await?
            }
            Field::Model { shared, .. } => shared.durable(account),
        };
        lost += usize::from(!durable.is_some_and(|token| servers.would_accept(&token)));
    }
    let refused = calls.iter().filter(|call| call.answered.is_err()).count();
    if let Some(call) = calls.iter().find(|call| call.answered.is_err()) {
        eprintln!(
            "{}, {}: {:?}",
            contender.name(),
            scenario.name,
            call.answered
        );
    }
    let waits = Waits::new(calls.iter().map(|call| call.wait).collect());
    #[expect(clippy::cast_precision_loss, reason = "counts are small")]
    let per_account = f64::from(requests) / accounts.len() as f64;
    println!(
        "| {:?} | {} | {} | {per_account:.1} | {reuses} | {refused} of {} | {lost} of {} | {} | {} | {} |",
        scenario.behaviour.rotation,
        scenario.name,
        contender.name(),
        calls.len(),
        accounts.len(),
        shown(waits.percentile(50)),
        shown(waits.percentile(99)),
        shown(waits.longest()),
    );
    Ok(())
}

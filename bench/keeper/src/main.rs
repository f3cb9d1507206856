//! The keeper, measured. README.md says how and what came of it.

mod commits;
mod contend;
mod models;
mod oauth;
mod postgres;
mod scale;
mod seed;
mod stats;
mod ticks;
mod tieline;
mod tls;

use std::path::PathBuf;

use anyhow::{Context, bail};

const USAGE: &str = "tieline-bench-keeper contend [scenario]\n\
                     tieline-bench-keeper scale sqlite|postgres accounts used\n\
                     tieline-bench-keeper renew sqlite|postgres accounts seconds\n\
                     tieline-bench-keeper ticks sqlite|postgres\n\
                     tieline-bench-keeper commits\n\
                     BENCH_TIELINE: the program; BENCH_POSTGRES: postgres://… of a server";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let program = PathBuf::from(std::env::var("BENCH_TIELINE").context(USAGE)?);
    let postgres = std::env::var("BENCH_POSTGRES").unwrap_or_default();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let on = |database: &str| (database == "postgres").then(|| postgres.clone());
    match words.as_slice() {
        ["contend"] => contend::run(&program, &postgres, None).await,
        ["contend", only] => contend::run(&program, &postgres, Some(only)).await,
        ["scale", database, accounts, used] => {
            let (accounts, used) = (accounts.parse()?, used.parse()?);
            let scale = scale::Scale {
                program,
                postgres: on(database),
                accounts,
                used,
            };
            scale::rest_and_use(&scale).await
        }
        ["renew", database, accounts, seconds] => {
            let accounts = accounts.parse()?;
            let scale = scale::Scale {
                program,
                postgres: on(database),
                accounts,
                used: 0,
            };
            scale::renew(&scale, seconds.parse()?).await
        }
        ["ticks", database] => scale::ticks(&program, on(database).as_deref()).await,
        ["commits"] => commits::run(&program, &postgres).await,
        _ => bail!(USAGE),
    }
}

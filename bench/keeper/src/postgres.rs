//! Databases for a run, on a server that is given.

use std::str::FromStr;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions};

/// A new database on the same server; gives its URL.
pub async fn fresh(url: &str) -> anyhow::Result<String> {
    let mut connection: PgConnection = PgConnectOptions::from_str(url)?.connect().await?;
    let name = format!("bench_{}", ulid::Ulid::new().to_string().to_lowercase());
    sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}")))
        .execute(&mut connection)
        .await?;
    let base = url.rsplit_once('/').map_or(url, |(base, _)| base);
    Ok(format!("{base}/{name}"))
}

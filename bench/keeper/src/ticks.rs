//! The schedule's question, put to the database as the store puts it.

use std::time::Duration;

use tokio::time::Instant;

use crate::tieline::Launch;

/// As in `crates/store/src/token.rs`; with what is claimed left due, so that it can be claimed again.
const DUE: &str = "UPDATE account_token SET renew_at = renew_at WHERE renew_at <= $1 \
                   AND account_id IN (SELECT t.account_id FROM account_token t \
                   JOIN account a ON a.id = t.account_id \
                   WHERE t.renew_at <= $1 AND a.deleted_at IS NULL \
                   ORDER BY t.renew_at LIMIT $2) RETURNING account_id";
const BATCH: i64 = 128;
const ROUNDS: usize = 51;

/// The plan, and the median time, with so many accounts due.
pub async fn tick(launch: &Launch, due: i64) -> anyhow::Result<(String, Duration)> {
    let until = "SELECT renew_at FROM account_token ORDER BY renew_at LIMIT 1 OFFSET $1";
    match &launch.database_url {
        None => {
            let connection = rusqlite::Connection::open(launch.data_dir.join("tieline.db"))?;
            let now: i64 = connection.query_row(until, [due], |row| row.get(0))?;
            let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {DUE}"))?;
            let lines = plan.query_map([now - 1, BATCH], |row| row.get::<_, String>(3))?;
            let lines: Vec<String> = lines.collect::<Result<_, _>>()?;
            let mut query = connection.prepare(DUE)?;
            let mut times = Vec::new();
            for _ in 0..ROUNDS {
                let at = Instant::now();
                let rows = query.query_map([now - 1, BATCH], |row| row.get::<_, String>(0))?;
                let count = rows.count();
                times.push(at.elapsed());
                anyhow::ensure!(i64::try_from(count)? <= due);
            }
            Ok((lines.join("\n"), median(times)))
        }
        Some(url) => {
            let pool = sqlx::PgPool::connect(url).await?;
            let now: i64 = sqlx::query_scalar(until).bind(due).fetch_one(&pool).await?;
            let explain = format!("EXPLAIN (ANALYZE, BUFFERS) {DUE}");
            let lines: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(explain))
                .bind(now - 1)
                .bind(BATCH)
                .fetch_all(&pool)
                .await?;
            let mut times = Vec::new();
            for _ in 0..ROUNDS {
                let at = Instant::now();
                let _: Vec<String> = sqlx::query_scalar(DUE)
                    .bind(now - 1)
                    .bind(BATCH)
                    .fetch_all(&pool)
                    .await?;
                times.push(at.elapsed());
            }
            Ok((lines.join("\n"), median(times)))
        }
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

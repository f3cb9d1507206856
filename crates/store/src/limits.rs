//! Limits of accounts and consumers, and what servers tell each other about them.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use tieline_core::{AccountId, AccountLimits, Actor, ConsumerId, ConsumerLimits};

use crate::audit::note_audit;
use crate::change::{ChangeKind, note_change};
use crate::database::{Store, at, ms, reading, writing};
use crate::error::StoreError;

/// How finely uses are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// For the last five minutes.
    Minute,
    /// For the last day.
    Hour,
}

impl Span {
    const ALL: [Self; 2] = [Self::Minute, Self::Hour];

    fn ms(self) -> i64 {
        match self {
            Self::Minute => 60_000,
            Self::Hour => 3_600_000,
        }
    }

    /// How long slots are kept.
    fn kept(self) -> TimeDelta {
        match self {
            Self::Minute => TimeDelta::minutes(10),
            Self::Hour => TimeDelta::hours(25),
        }
    }

    fn slot(self, now: DateTime<Utc>) -> i64 {
        ms(now).div_euclid(self.ms()) * self.ms()
    }
}

/// What was used of an account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LimitUse {
    /// The consumer's identifier; empty for the account itself.
    pub consumer: String,
    /// Calls let through.
    pub calls: i64,
    /// Those of bulk among them.
    pub bulk: i64,
    /// Calls turned away by Tieline.
    pub refused: i64,
    /// Calls refused by Microsoft.
    pub throttled: i64,
    /// Milliseconds that calls waited for their turn.
    pub waited_ms: i64,
    /// Milliseconds that nobody might call.
    pub paused_ms: i64,
}

/// What one server last saw of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerShare {
    /// The account.
    pub account: AccountId,
    /// The server.
    pub server: String,
    /// Goes on as long as the server does.
    pub beat: i64,
    /// When it was written, by that server's clock.
    pub at: DateTime<Utc>,
    /// JSON of what it saw.
    pub shown: String,
}

type UseRow = (String, i64, i64, i64, i64, i64, i64);
type ShareRow = (String, String, i64, i64, String);

/// Rows of shares that nobody has renewed for so long are dropped.
const SHARES_KEPT: TimeDelta = TimeDelta::hours(1);

impl Store {
    /// Limits of every account that has some of its own.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn account_limits(&self) -> Result<Vec<(AccountId, AccountLimits)>, StoreError> {
        let sql = "SELECT account_id, limits FROM account_limits";
        let rows: Vec<(String, String)> =
            reading!(self, pool => sqlx::query_as(sql).fetch_all(pool).await)?;
        let parse = |(id, limits): (String, String)| {
            let limits = serde_json::from_str(&limits)
                .map_err(|e| StoreError::corrupt("account_limits.limits", e))?;
            Ok((account_id("account_limits.account_id", &id)?, limits))
        };
        rows.into_iter().map(parse).collect()
    }

    /// Sets an account's limits; those that Microsoft publishes take no row.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such account.
    pub async fn account_limits_set(
        &self,
        account: AccountId,
        limits: &AccountLimits,
        by: &Actor,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let found = self.account(account).await?.ok_or(StoreError::NotFound)?;
        let text = serde_json::to_string(limits).unwrap_or_default();
        let usual = *limits == AccountLimits::default();
        let insert = "INSERT INTO account_limits (account_id, limits) VALUES ($1, $2) \
                      ON CONFLICT (account_id) DO UPDATE SET limits = excluded.limits";
        writing!(self, tx => {
            if usual {
                sqlx::query("DELETE FROM account_limits WHERE account_id = $1")
                    .bind(account.to_string()).execute(&mut *tx).await?;
            } else {
                sqlx::query(insert).bind(account.to_string()).bind(&text)
                    .execute(&mut *tx).await?;
            }
            let detail = json!({ "limits": limits });
            note_audit!(tx, by, "account_limits_set", "account", account, found.name.as_str(),
                detail, now);
            note_change!(tx, ChangeKind::Limit, account, 0_i64, now);
        });
        Ok(())
    }

    /// Sets a consumer's part in the limits of accounts.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such consumer.
    pub async fn consumer_limits_set(
        &self,
        consumer: ConsumerId,
        limits: &ConsumerLimits,
        by: &Actor,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let found = self.consumer(consumer).await?.ok_or(StoreError::NotFound)?;
        let text = serde_json::to_string(limits).unwrap_or_default();
        writing!(self, tx => {
            sqlx::query("UPDATE consumer SET limits = $2 WHERE id = $1")
                .bind(consumer.to_string()).bind(&text).execute(&mut *tx).await?;
            let detail = json!({ "limits": limits });
            note_audit!(tx, by, "consumer_limits_set", "consumer", consumer, &found.name, detail,
                now);
            note_change!(tx, ChangeKind::Consumer, consumer, 0_i64, now);
        });
        Ok(())
    }

    /// Writes down until when an account's callers stay away, and tells the other servers. An end
    /// that is earlier than the known one changes nothing.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn account_pause(
        &self,
        account: AccountId,
        until: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO account_pause (account_id, until) \
                   SELECT id, $2 FROM account WHERE id = $1 \
                   ON CONFLICT (account_id) DO UPDATE SET until = excluded.until \
                   WHERE account_pause.until < excluded.until";
        writing!(self, tx => {
            let done = sqlx::query(sql).bind(account.to_string()).bind(ms(until))
                .execute(&mut *tx).await?;
            if done.rows_affected() > 0 {
                note_change!(tx, ChangeKind::Limit, account, ms(until), now);
            }
        });
        Ok(())
    }

    /// Pauses that are not over.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn account_pauses(
        &self,
        now: DateTime<Utc>,
    ) -> Result<Vec<(AccountId, DateTime<Utc>)>, StoreError> {
        let sql = "SELECT account_id, until FROM account_pause WHERE until > $1";
        let rows: Vec<(String, i64)> = reading!(self, pool => {
            sqlx::query_as(sql).bind(ms(now)).fetch_all(pool).await
        })?;
        rows.into_iter()
            .map(|(id, until)| Ok((account_id("account_pause.account_id", &id)?, at(until))))
            .collect()
    }

    /// Writes down what a server saw, and adds up what was used.
    ///
    /// # Errors
    /// When the database does not answer; then nothing of it was written.
    pub async fn limits_share(
        &self,
        shares: &[ServerShare],
        uses: &[(AccountId, LimitUse)],
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        if shares.is_empty() && uses.is_empty() {
            return Ok(());
        }
        writing!(self, tx => {
            for share in shares {
                sqlx::query(SHARE).bind(share.account.to_string()).bind(&share.server)
                    .bind(share.beat).bind(ms(share.at)).bind(&share.shown)
                    .execute(&mut *tx).await?;
            }
            for (account, used) in uses {
                for span in Span::ALL {
                    sqlx::query(USE).bind(account.to_string()).bind(&used.consumer)
                        .bind(span.ms()).bind(span.slot(now)).bind(used.calls).bind(used.bulk)
                        .bind(used.refused).bind(used.throttled).bind(used.waited_ms)
                        .bind(used.paused_ms).execute(&mut *tx).await?;
                }
            }
        });
        Ok(())
    }

    /// What servers saw of an account of late.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn limit_servers(
        &self,
        account: AccountId,
        since: DateTime<Utc>,
    ) -> Result<Vec<ServerShare>, StoreError> {
        let sql = "SELECT account_id, server, beat, at, shown FROM limit_server \
                   WHERE at >= $1 AND account_id = $2 ORDER BY server";
        let rows: Vec<ShareRow> = reading!(self, pool => {
            sqlx::query_as(sql).bind(ms(since)).bind(account.to_string()).fetch_all(pool).await
        })?;
        rows.into_iter().map(share_of).collect()
    }

    /// What all other servers saw of late, of all accounts.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn limit_servers_besides(
        &self,
        server: &str,
        since: DateTime<Utc>,
    ) -> Result<Vec<ServerShare>, StoreError> {
        // One's own rows may be a million; two ranges of the index pass them by, and `<>` does not.
        let sql = "SELECT account_id, server, beat, at, shown FROM limit_server \
                   WHERE server < $1 AND at >= $2 UNION ALL \
                   SELECT account_id, server, beat, at, shown FROM limit_server \
                   WHERE server > $1 AND at >= $2";
        let rows: Vec<ShareRow> = reading!(self, pool => {
            sqlx::query_as(sql).bind(server).bind(ms(since)).fetch_all(pool).await
        })?;
        rows.into_iter().map(share_of).collect()
    }

    /// What was used of an account since then, by consumer.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn limit_uses(
        &self,
        account: AccountId,
        span: Span,
        since: DateTime<Utc>,
    ) -> Result<Vec<LimitUse>, StoreError> {
        // PostgreSQL's sums of BIGINT are NUMERIC, which SQLite does not know.
        let sql = "SELECT consumer_id, CAST(SUM(calls) AS BIGINT), CAST(SUM(bulk) AS BIGINT), \
                   CAST(SUM(refused) AS BIGINT), CAST(SUM(throttled) AS BIGINT), \
                   CAST(SUM(waited_ms) AS BIGINT), CAST(SUM(paused_ms) AS BIGINT) \
                   FROM limit_use WHERE account_id = $1 AND span = $2 AND slot >= $3 \
                   GROUP BY consumer_id ORDER BY consumer_id";
        let rows: Vec<UseRow> = reading!(self, pool => {
            sqlx::query_as(sql).bind(account.to_string()).bind(span.ms())
                .bind(span.slot(since)).fetch_all(pool).await
        })?;
        let used =
            |(consumer, calls, bulk, refused, throttled, waited_ms, paused_ms): UseRow| LimitUse {
                consumer,
                calls,
                bulk,
                refused,
                throttled,
                waited_ms,
                paused_ms,
            };
        Ok(rows.into_iter().map(used).collect())
    }

    /// Forgets what nobody asks for any more.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn limits_prune(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        writing!(self, tx => {
            for span in Span::ALL {
                sqlx::query("DELETE FROM limit_use WHERE span = $1 AND slot < $2")
                    .bind(span.ms()).bind(ms(now - span.kept())).execute(&mut *tx).await?;
            }
            sqlx::query("DELETE FROM limit_server WHERE at < $1").bind(ms(now - SHARES_KEPT))
                .execute(&mut *tx).await?;
            sqlx::query("DELETE FROM account_pause WHERE until < $1").bind(ms(now))
                .execute(&mut *tx).await?;
        });
        Ok(())
    }
}

const SHARE: &str = "INSERT INTO limit_server (account_id, server, beat, at, shown) \
                     SELECT id, $2, $3, $4, $5 FROM account WHERE id = $1 \
                     ON CONFLICT (account_id, server) DO UPDATE SET beat = excluded.beat, \
                     at = excluded.at, shown = excluded.shown";

const USE: &str = "INSERT INTO limit_use (account_id, consumer_id, span, slot, calls, bulk, \
                   refused, throttled, waited_ms, paused_ms) \
                   SELECT id, $2, $3, $4, $5, $6, $7, $8, $9, $10 FROM account WHERE id = $1 \
                   ON CONFLICT (account_id, span, slot, consumer_id) DO UPDATE SET \
                   calls = limit_use.calls + excluded.calls, \
                   bulk = limit_use.bulk + excluded.bulk, \
                   refused = limit_use.refused + excluded.refused, \
                   throttled = limit_use.throttled + excluded.throttled, \
                   waited_ms = limit_use.waited_ms + excluded.waited_ms, \
                   paused_ms = limit_use.paused_ms + excluded.paused_ms";

fn share_of((account, server, beat, written, shown): ShareRow) -> Result<ServerShare, StoreError> {
    Ok(ServerShare {
        account: account_id("limit_server.account_id", &account)?,
        server,
        beat,
        at: at(written),
        shown,
    })
}

fn account_id(column: &'static str, text: &str) -> Result<AccountId, StoreError> {
    text.parse().map_err(|e| StoreError::corrupt(column, e))
}

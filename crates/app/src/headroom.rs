//! How much an account still lets through, who used it, and the settings of both.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tieline_core::{AccountId, AccountLimits, Actor, Consumer, ConsumerLimits, OutOfRange};
use tieline_store::{LimitUse, Span};

use crate::app::App;
use crate::error::AppError;
use crate::fair::Shown;

/// What servers wrote down longer ago is not the present.
const PRESENT: TimeDelta = TimeDelta::seconds(10);
/// A web server's window: what was seen longer ago says nothing about what is left.
const WINDOW: TimeDelta = TimeDelta::minutes(5);

/// An account's headroom, of all servers together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Headroom {
    /// Requests left in the window, at the web servers seen; none while nothing is known.
    pub requests_left: Option<i64>,
    /// Of so many.
    pub requests_of: Option<i64>,
    /// Time of execution left in the window, in seconds.
    pub execution_left: Option<f64>,
    /// Of so much.
    pub execution_of: Option<f64>,
    /// Microsoft's web servers that answered of late.
    pub web_servers: usize,
    /// Calls under way, and those of bulk among them.
    pub in_use: u32,
    /// Those of bulk among them.
    pub in_use_bulk: u32,
    /// How many may be.
    pub allowed: u32,
    /// How many of bulk may be.
    pub allowed_bulk: u32,
    /// Interactive calls that wait.
    pub waiting: usize,
    /// Calls of bulk that wait.
    pub waiting_bulk: usize,
    /// Until when everyone stays away, because Microsoft asked for it.
    pub paused_until: Option<DateTime<Utc>>,
    /// Servers of Tieline's that use the account now.
    pub servers: usize,
    /// Seconds that nobody might call: in five minutes, and in a day.
    pub paused_seconds: [f64; 2],
    /// What consumers used, by name.
    pub consumers: Vec<ConsumerUse>,
    /// The limits that are reckoned with.
    pub limits: AccountLimits,
}

/// What a consumer used of an account.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConsumerUse {
    /// Its identifier.
    pub id: String,
    /// Its name; empty when it was removed.
    pub name: String,
    /// In the last five minutes.
    pub minutes: Used,
    /// In the last day.
    pub day: Used,
}

/// Calls in a time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Used {
    /// Calls let through.
    pub calls: i64,
    /// Those of bulk among them.
    pub bulk: i64,
    /// Calls turned away by Tieline.
    pub refused: i64,
    /// Refusals of Microsoft's.
    pub throttled: i64,
    /// Seconds that calls waited for their turn, in sum.
    pub waited_seconds: f64,
}

impl Used {
    fn of(used: &LimitUse) -> Self {
        Self {
            calls: used.calls,
            bulk: used.bulk,
            refused: used.refused,
            throttled: used.throttled,
            waited_seconds: seconds(used.waited_ms),
        }
    }
}

fn seconds(ms: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a day has few milliseconds")]
    let seconds = ms as f64 / 1_000.0;
    seconds
}

impl App {
    /// How much an account still lets through, and who used it.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn account_headroom(&self, account: AccountId) -> Result<Headroom, AppError> {
        self.limits_flush_of(account).await?;
        let now = self.now();
        let mut headroom = self.headroom_now(account).await?;
        headroom.limits = self.account_limits(account).await?;
        let names = self.consumer_list().await?;
        let names: BTreeMap<String, String> = names
            .into_iter()
            .map(|consumer| (consumer.id.to_string(), consumer.name))
            .collect();
        let mut consumers: BTreeMap<String, ConsumerUse> = BTreeMap::new();
        for (index, (span, since)) in [
            (Span::Minute, now - TimeDelta::minutes(5)),
            (Span::Hour, now - TimeDelta::hours(24)),
        ]
        .into_iter()
        .enumerate()
        {
            for used in self.store().limit_uses(account, span, since).await? {
                if used.consumer.is_empty() {
                    headroom.paused_seconds[index] = seconds(used.paused_ms);
                    continue;
                }
                let entry = consumers.entry(used.consumer.clone()).or_default();
                match span {
                    Span::Minute => entry.minutes = Used::of(&used),
                    Span::Hour => entry.day = Used::of(&used),
                }
            }
        }
        headroom.consumers = consumers
            .into_iter()
            .map(|(id, used)| ConsumerUse {
                name: names.get(&id).cloned().unwrap_or_default(),
                id,
                ..used
            })
            .collect();
        headroom.consumers.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(headroom)
    }

    /// What all servers see of an account now: places and queues are added up, and of what is left
    /// the latest word counts, because all of them spend from the same.
    async fn headroom_now(&self, account: AccountId) -> Result<Headroom, AppError> {
        let now = self.now();
        let mut seen: Vec<(DateTime<Utc>, Shown)> = Vec::new();
        let mine = self.limits_shown(account);
        let me = self.0.fair.server();
        for row in self.store().limit_servers(account, now - WINDOW).await? {
            // This server knows better than its own row.
            let Ok(shown) = serde_json::from_str(&row.shown) else {
                continue;
            };
            if row.server != me || mine.is_none() {
                seen.push((row.at, shown));
            }
        }
        seen.extend(mine.map(|shown| (now, shown)));
        seen.sort_by_key(|(at, _)| *at);
        let mut sum = Headroom::default();
        for (at, shown) in &seen {
            if shown.requests_left.is_some() {
                sum.requests_left = shown.requests_left;
                sum.requests_of = shown.requests_ours;
                sum.execution_left = shown.execution_left_ms.map(seconds);
                sum.execution_of = shown.execution_ours_ms.map(seconds);
                sum.web_servers = shown.web_servers;
            }
            if *at >= now - PRESENT {
                sum.add(*at, shown, now);
            }
        }
        Ok(sum)
    }

    /// The limits that are reckoned with for an account.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn account_limits(&self, account: AccountId) -> Result<AccountLimits, AppError> {
        let all = self.store().account_limits().await?;
        let found = all.into_iter().find(|(id, _)| *id == account);
        Ok(found.map(|(_, limits)| limits).unwrap_or_default())
    }

    /// Sets the limits that are reckoned with for an account.
    ///
    /// # Errors
    /// When one is out of its range, or there is no such account.
    pub async fn account_limits_set(
        &self,
        by: &Actor,
        account: AccountId,
        limits: AccountLimits,
    ) -> Result<AccountLimits, AppError> {
        limits.check().map_err(out_of_range)?;
        self.store()
            .account_limits_set(account, &limits, by, self.now())
            .await?;
        self.limits_reload().await?;
        Ok(limits)
    }

    /// Sets a consumer's part in the limits of accounts.
    ///
    /// # Errors
    /// When a number is out of its range, or there is no such consumer.
    pub async fn consumer_limits_set(
        &self,
        by: &Actor,
        reference: &str,
        limits: ConsumerLimits,
    ) -> Result<Consumer, AppError> {
        limits.check().map_err(out_of_range)?;
        let consumer = self.consumer_find(reference).await?;
        self.store()
            .consumer_limits_set(consumer.id, &limits, by, self.now())
            .await?;
        self.consumers_changed();
        Ok(Consumer { limits, ..consumer })
    }
}

impl Headroom {
    fn add(&mut self, at: DateTime<Utc>, shown: &Shown, now: DateTime<Utc>) {
        self.servers += 1;
        self.in_use += shown.in_use;
        self.in_use_bulk += shown.in_use_bulk;
        self.allowed += shown.allowed;
        self.allowed_bulk += shown.allowed_bulk;
        self.waiting += shown.waiting;
        self.waiting_bulk += shown.waiting_bulk;
        let lasts = TimeDelta::from_std(Duration::from_millis(shown.paused_ms));
        let until = at + lasts.unwrap_or_default();
        if shown.paused_ms > 0 && until > now {
            self.paused_until = self.paused_until.max(Some(until));
        }
    }

    /// What part of the window is left, in percent; the lesser of requests and time.
    #[must_use]
    pub fn percent(&self) -> Option<u8> {
        let part = |left: f64, of: f64| (of > 0.0).then(|| (left / of * 100.0).clamp(0.0, 100.0));
        #[expect(clippy::cast_precision_loss, reason = "limits are small")]
        let requests = part(self.requests_left? as f64, self.requests_of? as f64);
        let time = part(
            self.execution_left.unwrap_or(1.0),
            self.execution_of.unwrap_or(1.0),
        );
        let least = requests?.min(time.unwrap_or(100.0));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and 100"
        )]
        let percent = least as u8;
        Some(percent)
    }
}

fn out_of_range(problem: OutOfRange) -> AppError {
    AppError::OutOfRange(problem)
}

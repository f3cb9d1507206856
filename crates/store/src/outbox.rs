//! The outbox: what is to be told to whom, written with the event itself and taken from here by
//! whichever server is first.
//!
//! A server holds what it takes by a lease. If it dies, the lease ends and another sends again, so
//! a receiver may hear twice but never nothing; the identifier is the same both times. Of what
//! waits for one target about one account only the oldest can be taken, which keeps the order.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use tieline_core::{
    AccountId, Actor, ConnectionState, ConsentInfo, Delivery, DeliveryChannel, DeliveryState,
    DisabledReason, EventId, Notice, NoticeType, Reason, WebhookId,
};

use crate::audit::note_audit;
use crate::change::{ChangeKind, note_change};
use crate::database::{Store, at, ms, reading, writing};
use crate::error::StoreError;
use crate::webhook::shown;

/// How long the log of deliveries is kept.
pub const DELIVERIES_KEPT: TimeDelta = TimeDelta::days(30);

/// Tells whoever wants to know of an event, within its transaction.
macro_rules! tell_of_event {
    ($tx:expr, $id:expr, $account:expr, $from:expr, $to:expr, $reason:expr, $now:expr) => {{
        let told = $crate::outbox::Told::of($from, $to, &$reason.code);
        sqlx::query($crate::outbox::NOTICE_OF_EVENT)
            .bind($id.to_string())
            .bind(told.notice_type.as_str())
            .bind($crate::database::ms($now))
            .bind($from)
            .bind($to)
            .bind(&$reason.code)
            .bind($crate::database::text(&$reason.detail))
            .bind($account.to_string())
            .execute(&mut *$tx)
            .await?;
        let written = sqlx::query($crate::outbox::DELIVERIES_OF_EVENT)
            .bind($id.to_string())
            .bind($account.to_string())
            .bind($crate::database::ms($now))
            .bind(told.notice_type.as_str())
            .bind(told.mail)
            .bind(told.order_of_mail(&$account.to_string(), &$id.to_string()))
            .execute(&mut *$tx)
            .await?
            .rows_affected();
        if written > 0 {
            use $crate::change::ChangeKind;
            $crate::change::note_change!($tx, ChangeKind::Notice, $id, 0_i64, $now);
        }
    }};
}
pub(crate) use tell_of_event;

/// What of an event is told.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) notice_type: NoticeType,
    pub(crate) mail: bool,
}

/// Reasons of events that leave the state as it is and warn of a credential.
const WARNINGS: [&str; 4] = [
    "credential-ends",
    "credential-refused",
    "certificate-expires-soon",
    "secret-expires-soon",
];

impl Told {
    pub(crate) fn of(from: Option<&str>, to: &str, code: &str) -> Self {
        if from == Some(to) && WARNINGS.contains(&code) {
            return Self {
                notice_type: NoticeType::CredentialWarning,
                mail: true,
            };
        }
        let notice_type = if from == Some(to) {
            NoticeType::ReasonChanged
        } else {
            NoticeType::StateChanged
        };
        let from = from.and_then(|word| word.parse().ok());
        let mail = to
            .parse::<ConnectionState>()
            .is_ok_and(|to| tieline_core::is_worth_a_mail(from, to));
        Self { notice_type, mail }
    }

    /// Mails about changes of an account's state are summed up, so they wait for each other; a
    /// warning is no part of that sum.
    pub(crate) fn order_of_mail(&self, account: &str, notice: &str) -> String {
        match self.notice_type {
            NoticeType::CredentialWarning => notice.to_owned(),
            _ => account.to_owned(),
        }
    }
}

/// The facts of an event. Nothing is written where nobody is told of anything.
pub(crate) const NOTICE_OF_EVENT: &str = "INSERT INTO notice (id, type, at, account_id, subject, \
    token_url, consent, from_state, from_since, to_state, since, reason_code, reason_detail) \
    SELECT $1, $2, $3, a.id, a.name, a.token_url, a.consent, $4, \
    (SELECT MAX(e.at) FROM account_event e WHERE e.account_id = a.id AND e.to_state = $4 \
    AND (e.from_state IS NULL OR e.from_state <> e.to_state)), $5, a.state_since, $6, $7 \
    FROM account a WHERE a.id = $8 \
    AND (EXISTS (SELECT 1 FROM webhook) OR EXISTS (SELECT 1 FROM mail_recipient))";

/// A delivery to everybody who wants to know. A mail waits for things to settle.
pub(crate) const DELIVERIES_OF_EVENT: &str = "INSERT INTO delivery \
    (notice_id, channel, target, order_key, state, attempts, created_at, next_at) \
    SELECT $1, 'webhook', w.id, $2, 'pending', 0, $3, $3 FROM webhook w \
    JOIN account a ON a.workspace_id = w.workspace_id AND a.id = $2 \
    WHERE w.disabled_at IS NULL AND w.events LIKE '%\"' || $4 || '\"%' \
    AND (w.accounts IS NULL OR w.accounts LIKE '%\"' || $2 || '\"%') \
    UNION ALL SELECT $1, 'mail', m.address, $6, 'pending', 0, $3, $3 + m.settle_ms \
    FROM mail_recipient m WHERE $5";

/// Writes a notice that is about no account.
macro_rules! note_plain {
    ($tx:expr, $id:expr, $type:expr, $subject:expr, $reason:expr, $now:expr) => {
        sqlx::query(
            "INSERT INTO notice (id, type, at, subject, token_url, reason_code, reason_detail) \
             VALUES ($1, $2, $3, $4, '', $5, $6)",
        )
        .bind($id.to_string())
        .bind($type.as_str())
        .bind(ms($now))
        .bind($subject)
        .bind(&$reason.code)
        .bind(&$reason.detail)
        .execute(&mut *$tx)
        .await?
    };
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT d.seq, d.channel, d.target, d.state, d.attempts, d.created_at, d.next_at, ",
            "d.last_at, d.last_status, d.last_error, n.id, n.type AS notice_type, n.at, ",
            "n.account_id, n.subject, n.token_url, n.consent, n.from_state, n.from_since, ",
            "n.to_state, n.since, n.reason_code, n.reason_detail ",
            "FROM delivery d JOIN notice n ON n.id = d.notice_id WHERE ",
            $rest
        )
    };
}

#[derive(sqlx::FromRow)]
struct Row {
    seq: i64,
    channel: String,
    target: String,
    state: String,
    attempts: i64,
    created_at: i64,
    next_at: Option<i64>,
    last_at: Option<i64>,
    last_status: Option<i64>,
    last_error: Option<String>,
    id: String,
    notice_type: String,
    at: i64,
    account_id: Option<String>,
    subject: String,
    token_url: String,
    consent: Option<String>,
    from_state: Option<String>,
    from_since: Option<i64>,
    to_state: Option<String>,
    since: Option<i64>,
    reason_code: String,
    reason_detail: String,
}

/// What came of an attempt.
#[derive(Debug, Clone)]
pub struct Attempted {
    /// What becomes of the delivery.
    pub state: DeliveryState,
    /// When it is tried again, while it is pending.
    pub next_at: Option<DateTime<Utc>>,
    /// The status of the answer, where there was one.
    pub status: Option<u16>,
    /// Stable code of the failure; none where it was taken.
    pub error: Option<&'static str>,
    /// Until when the receiver asked to be left alone.
    pub paused_until: Option<DateTime<Utc>>,
}

/// What waits in the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxDepth {
    /// By which way.
    pub channel: DeliveryChannel,
    /// How many.
    pub pending: i64,
    /// When the oldest was written.
    pub oldest: Option<DateTime<Utc>>,
}

impl Store {
    /// Takes what is due for a target, the longest due first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn deliveries_claim(
        &self,
        target: &str,
        owner: &str,
        lease_until: DateTime<Utc>,
        limit: u32,
        now: DateTime<Utc>,
    ) -> Result<Vec<Delivery>, StoreError> {
        let due = "SELECT d.seq FROM delivery d WHERE d.target = $1 AND d.state = 'pending' \
            AND d.next_at <= $2 AND (d.lease_until IS NULL OR d.lease_until <= $2) \
            AND NOT EXISTS (SELECT 1 FROM delivery e WHERE e.target = $1 \
            AND e.order_key = d.order_key AND e.state = 'pending' AND e.seq < d.seq) \
            ORDER BY d.next_at, d.seq LIMIT $3";
        // The look costs no write: most looks find nothing.
        let found: Vec<i64> = reading!(self, pool => {
            sqlx::query_scalar(due).bind(target).bind(ms(now)).bind(i64::from(limit))
                .fetch_all(pool).await
        })?;
        if found.is_empty() {
            return Ok(Vec::new());
        }
        // Another server may have been quicker; only whose update finds the row free has it.
        let take = "UPDATE delivery SET lease_owner = $2, lease_until = $3 WHERE seq = $1 \
                    AND state = 'pending' AND (lease_until IS NULL OR lease_until <= $4)";
        let taken = writing!(self, tx => {
            let mut taken = Vec::new();
            for seq in found {
                let done = sqlx::query(take).bind(seq).bind(owner).bind(ms(lease_until))
                    .bind(ms(now)).execute(&mut *tx).await?;
                if done.rows_affected() == 1 {
                    taken.push(seq);
                }
            }
            taken
        });
        let mut deliveries = Vec::with_capacity(taken.len());
        for seq in taken {
            deliveries.extend(self.delivery(seq).await?);
        }
        Ok(deliveries)
    }

    async fn delivery(&self, seq: i64) -> Result<Option<Delivery>, StoreError> {
        let sql = select!("d.seq = $1");
        let row: Option<Row> = reading!(self, pool => {
            sqlx::query_as(sql).bind(seq).fetch_optional(pool).await
        })?;
        row.map(Row::delivery).transpose()
    }

    /// What waits behind a delivery for the same target about the same account, oldest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn deliveries_behind(&self, head: &Delivery) -> Result<Vec<Delivery>, StoreError> {
        let sql = select!(
            "d.target = $1 AND d.state = 'pending' AND d.seq > $2 AND d.order_key = \
             (SELECT h.order_key FROM delivery h WHERE h.seq = $2) ORDER BY d.seq"
        );
        let rows: Vec<Row> = reading!(self, pool => {
            sqlx::query_as(sql).bind(&head.target).bind(head.seq).fetch_all(pool).await
        })?;
        rows.into_iter().map(Row::delivery).collect()
    }

    /// Writes down what came of an attempt, and drops what it made superfluous. Tells whether the
    /// lease still stood; if not, nothing was written.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn delivery_attempted(
        &self,
        delivery: &Delivery,
        owner: &str,
        attempted: &Attempted,
        superseded: &[i64],
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let sql = "UPDATE delivery SET state = $3, attempts = attempts + $8, next_at = $4, \
            last_at = $5, last_status = $6, last_error = $7, lease_owner = NULL, \
            lease_until = NULL WHERE seq = $1 AND lease_owner = $2";
        let tried = i64::from(attempted.state != DeliveryState::Superseded);
        Ok(writing!(self, tx => {
            let done = sqlx::query(sql).bind(delivery.seq).bind(owner)
                .bind(attempted.state.as_str()).bind(attempted.next_at.map(ms)).bind(ms(now))
                .bind(attempted.status.map(i64::from)).bind(attempted.error).bind(tried)
                .execute(&mut *tx).await?;
            if done.rows_affected() == 0 {
                return Ok(false);
            }
            for seq in superseded {
                let sql = "UPDATE delivery SET state = 'superseded', next_at = NULL \
                           WHERE seq = $1 AND state = 'pending'";
                sqlx::query(sql).bind(seq).execute(&mut *tx).await?;
            }
            if delivery.channel == DeliveryChannel::Webhook {
                let sql = if attempted.error.is_none() {
                    "UPDATE webhook SET failing_since = NULL, last_success_at = $2, \
                     paused_until = $3 WHERE id = $1"
                } else {
                    "UPDATE webhook SET failing_since = COALESCE(failing_since, $2), \
                     paused_until = $3 WHERE id = $1"
                };
                sqlx::query(sql).bind(&delivery.target).bind(ms(now))
                    .bind(attempted.paused_until.map(ms)).execute(&mut *tx).await?;
            }
            true
        }))
    }

    /// Puts a try-out of a webhook into the outbox, taken already by whoever makes it.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn delivery_of_test(
        &self,
        webhook: WebhookId,
        url: &str,
        owner: &str,
        lease_until: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Delivery, StoreError> {
        let id = EventId::generate(now);
        let reason = Reason::new("webhook-test", String::new());
        writing!(self, tx => {
            note_plain!(tx, id, NoticeType::Test, shown(url), reason, now);
            let sql = "INSERT INTO delivery (notice_id, channel, target, order_key, state, \
                attempts, created_at, next_at, lease_owner, lease_until) \
                VALUES ($1, 'webhook', $2, $1, 'pending', 0, $3, $3, $4, $5)";
            sqlx::query(sql).bind(id.to_string()).bind(webhook.to_string()).bind(ms(now))
                .bind(owner).bind(ms(lease_until)).execute(&mut *tx).await?;
        });
        let sql = select!("d.notice_id = $1");
        let row: Row = reading!(self, pool => {
            sqlx::query_as(sql).bind(id.to_string()).fetch_one(pool).await
        })?;
        row.delivery()
    }

    /// Disables a webhook that is enabled, gives up what waits for it, and tells the others. Tells
    /// whether it was enabled.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn webhook_disable(
        &self,
        webhook: &tieline_core::Webhook,
        reason: DisabledReason,
        by: &Actor,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let (id, url) = (webhook.id.to_string(), shown(&webhook.url));
        let notice = EventId::generate(now);
        let why = Reason::new(format!("webhook-{reason}"), String::new());
        let detail = json!({ "reason": reason.as_str() });
        Ok(writing!(self, tx => {
            let sql = "UPDATE webhook SET disabled_reason = $2, disabled_at = $3 \
                       WHERE id = $1 AND disabled_at IS NULL";
            let done = sqlx::query(sql).bind(&id).bind(reason.as_str()).bind(ms(now))
                .execute(&mut *tx).await?;
            if done.rows_affected() == 0 {
                return Ok(false);
            }
            let sql = "UPDATE delivery SET state = 'cancelled', next_at = NULL \
                       WHERE target = $1 AND state = 'pending'";
            sqlx::query(sql).bind(&id).execute(&mut *tx).await?;
            // Who disables one by hand knows it.
            if reason != DisabledReason::Person {
                note_plain!(tx, notice, NoticeType::WebhookDisabled, url, why, now);
                let sql = "INSERT INTO delivery (notice_id, channel, target, order_key, state, \
                    attempts, created_at, next_at) SELECT $1, 'webhook', w.id, $1, 'pending', 0, \
                    $2, $2 FROM webhook w WHERE w.disabled_at IS NULL AND w.workspace_id = $4 \
                    AND w.events LIKE '%\"' || $3 || '\"%' \
                    UNION ALL SELECT $1, 'mail', m.address, $1, 'pending', 0, $2, $2 \
                    FROM mail_recipient m";
                sqlx::query(sql).bind(notice.to_string()).bind(ms(now))
                    .bind(NoticeType::WebhookDisabled.as_str())
                    .bind(webhook.workspace_id.to_string()).execute(&mut *tx).await?;
                note_change!(tx, ChangeKind::Notice, notice, 0_i64, now);
            }
            note_audit!(tx, by, "webhook_disabled", "webhook", id, url, detail, now);
            true
        }))
    }

    /// The deliveries to a target, latest first; before `before`, where it is given.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn deliveries(
        &self,
        target: &str,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Delivery>, StoreError> {
        let sql =
            select!("d.target = $1 AND ($2 IS NULL OR d.seq < $2) ORDER BY d.seq DESC LIMIT $3");
        let rows: Vec<Row> = reading!(self, pool => {
            sqlx::query_as(sql).bind(target).bind(before).bind(i64::from(limit))
                .fetch_all(pool).await
        })?;
        rows.into_iter().map(Row::delivery).collect()
    }

    /// The latest mails, to whomever, latest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn mails(&self, limit: u32) -> Result<Vec<Delivery>, StoreError> {
        let sql = select!("d.channel = 'mail' ORDER BY d.seq DESC LIMIT $1");
        let rows: Vec<Row> = reading!(self, pool => {
            sqlx::query_as(sql).bind(i64::from(limit)).fetch_all(pool).await
        })?;
        rows.into_iter().map(Row::delivery).collect()
    }

    /// Sends a notice to a target once more, with the same identifier. Tells whether there is such
    /// a delivery that nobody is making at this moment.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn delivery_resend(
        &self,
        target: &str,
        notice: EventId,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let sql = "UPDATE delivery SET state = 'pending', attempts = 0, created_at = $3, \
            next_at = $3 WHERE target = $1 AND notice_id = $2 \
            AND (lease_until IS NULL OR lease_until <= $3)";
        Ok(writing!(self, tx => {
            let done = sqlx::query(sql).bind(target).bind(notice.to_string()).bind(ms(now))
                .execute(&mut *tx).await?;
            note_change!(tx, ChangeKind::Notice, notice, 0_i64, now);
            done.rows_affected() == 1
        }))
    }

    /// What waits, by way.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn outbox_depth(&self) -> Result<Vec<OutboxDepth>, StoreError> {
        let sql = "SELECT channel, COUNT(*), MIN(created_at) FROM delivery \
                   WHERE state = 'pending' GROUP BY channel";
        let rows: Vec<(String, i64, Option<i64>)> =
            reading!(self, pool => sqlx::query_as(sql).fetch_all(pool).await)?;
        let depth = |channel: DeliveryChannel| {
            let row = rows.iter().find(|row| row.0 == channel.as_str());
            OutboxDepth {
                channel,
                pending: row.map_or(0, |row| row.1),
                oldest: row.and_then(|row| row.2).map(at),
            }
        };
        Ok(DeliveryChannel::ALL.iter().copied().map(depth).collect())
    }

    /// Forgets deliveries that ended long ago, and notices that nobody waits for.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn outbox_prune(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        let before = ms(now - DELIVERIES_KEPT);
        let sql = "DELETE FROM notice WHERE at < $1 AND NOT EXISTS (SELECT 1 FROM delivery d \
                   WHERE d.notice_id = notice.id AND d.created_at >= $1)";
        writing!(self, tx => {
            // With a notice go its deliveries; a pending one of this age has lost its target.
            sqlx::query(sql).bind(before).execute(&mut *tx).await?;
        });
        Ok(())
    }

    /// Sets whom mails go to. Whoever is not named any more gets none of those that wait.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn mail_recipients_set(
        &self,
        addresses: &[String],
        settle: TimeDelta,
    ) -> Result<(), StoreError> {
        let present: Vec<(String, i64)> = reading!(self, pool => {
            let sql = "SELECT address, settle_ms FROM mail_recipient ORDER BY address";
            sqlx::query_as(sql).fetch_all(pool).await
        })?;
        let mut wanted: Vec<(String, i64)> = addresses
            .iter()
            .map(|address| (address.clone(), settle.num_milliseconds()))
            .collect();
        wanted.sort();
        wanted.dedup();
        if present == wanted {
            return Ok(());
        }
        writing!(self, tx => {
            for (address, _) in present.iter().filter(|(address, _)| !addresses.contains(address)) {
                let sql = "UPDATE delivery SET state = 'cancelled', next_at = NULL \
                           WHERE target = $1 AND state = 'pending'";
                sqlx::query(sql).bind(address).execute(&mut *tx).await?;
                let sql = "DELETE FROM mail_recipient WHERE address = $1";
                sqlx::query(sql).bind(address).execute(&mut *tx).await?;
            }
            for (address, settle_ms) in &wanted {
                let sql = "INSERT INTO mail_recipient (address, settle_ms) VALUES ($1, $2) \
                           ON CONFLICT (address) DO UPDATE SET settle_ms = excluded.settle_ms";
                sqlx::query(sql).bind(address).bind(settle_ms).execute(&mut *tx).await?;
            }
        });
        Ok(())
    }
}

impl Row {
    fn delivery(self) -> Result<Delivery, StoreError> {
        fn word<T: std::str::FromStr>(column: &'static str, word: &str) -> Result<T, StoreError>
        where
            T::Err: ToString,
        {
            word.parse().map_err(|e| StoreError::corrupt(column, e))
        }
        let state = |word_of: &Option<String>| {
            let found = word_of.as_deref().map(|text| word("notice.state", text));
            found.transpose()
        };
        let consent: Option<ConsentInfo> = self
            .consent
            .as_deref()
            .and_then(|text| serde_json::from_str(text).ok());
        let notice = Notice {
            id: word("notice.id", &self.id)?,
            notice_type: word("notice.type", &self.notice_type)?,
            at: at(self.at),
            account_id: match &self.account_id {
                Some(id) => Some(word::<AccountId>("notice.account_id", id)?),
                None => None,
            },
            from: state(&self.from_state)?,
            to: state(&self.to_state)?,
            subject: self.subject,
            token_url: self.token_url,
            user: consent.and_then(|consent| consent.user),
            from_since: self.from_since.map(at),
            since: self.since.map(at),
            reason: Reason::new(self.reason_code, self.reason_detail),
        };
        Ok(Delivery {
            seq: self.seq,
            channel: word("delivery.channel", &self.channel)?,
            target: self.target,
            notice,
            state: word("delivery.state", &self.state)?,
            attempts: u32::try_from(self.attempts).unwrap_or(u32::MAX),
            created_at: at(self.created_at),
            next_at: self.next_at.map(at),
            last_at: self.last_at.map(at),
            last_status: self
                .last_status
                .and_then(|status| u16::try_from(status).ok()),
            last_error: self.last_error,
        })
    }
}

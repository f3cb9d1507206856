//! Service protection limits: per user and web server, over a sliding window of five minutes, a
//! number of requests, a sum of execution time, and a number of requests at once.
//!
//! A window is a ring of one bucket per second, so that a user costs the same few kilobytes however
//! busy they are. A request is forgotten with its bucket: between 299 and 300 seconds after it came.
//! Refused requests count for nothing: whoever keeps pushing is told longer pauses, but the window
//! alone decides who may go on.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::Clock;
use crate::fields::{Fields, Read};

/// Windows are kept for so many users; then those who have not called for a whole window go.
const WINDOWS_MAX: usize = 4_096;
/// What a pause grows to at most.
const PAUSE_MAX: u64 = 300;
const JSON: &str = "application/json; odata.metadata=minimal";
const COOKIE: &str = "ARRAffinity";

/// The numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rules {
    pub(crate) enforced: Enforced,
    pub(crate) requests: u64,
    /// Combined execution time.
    pub(crate) busy_ms: u64,
    pub(crate) concurrent: u64,
    pub(crate) window_seconds: u64,
    pub(crate) servers: u64,
    /// What `x-ms-dop-hint` recommends.
    pub(crate) dop_hint: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Enforced {
    Yes,
    No,
}

impl Rules {
    /// Microsoft's numbers.
    pub(crate) const MICROSOFT: Self = Self {
        enforced: Enforced::Yes,
        requests: 6_000,
        busy_ms: 1_200_000,
        concurrent: 52,
        window_seconds: 300,
        servers: 1,
        dop_hint: 4,
    };

    /// The three limits times a factor; none falls below one.
    pub(crate) fn scaled(self, factor: f64) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a float becomes the nearest integer there is, and the limits are small"
        )]
        let scale = |limit: u64| ((limit as f64 * factor).round() as u64).clamp(1, 1_000_000_000);
        Self {
            requests: scale(self.requests),
            busy_ms: scale(self.busy_ms),
            concurrent: scale(self.concurrent),
            ..self
        }
    }

    /// Reads changes to rules: `mode`, `factor`, or single numbers.
    pub(crate) fn read(self, value: &Value, path: &str) -> Read<Self> {
        let mut fields = Fields::of(value, path)?;
        let mut rules = self;
        let modes = [("off", Enforced::No), ("microsoft", Enforced::Yes)];
        if let Some(enforced) = fields.choice("mode", &modes)? {
            rules = Self {
                enforced,
                servers: self.servers,
                dop_hint: self.dop_hint,
                ..Self::MICROSOFT
            };
        }
        if let Some(factor) = fields.number("factor", 0.000_001..=1_000.0)? {
            let whole = Self {
                servers: self.servers,
                dop_hint: self.dop_hint,
                ..Self::MICROSOFT
            };
            rules = whole.scaled(factor);
        }
        let explicit = [
            (
                fields.whole("requests", 1..=1_000_000_000)?,
                &mut rules.requests,
            ),
            (
                fields.whole("execution_ms", 1..=1_000_000_000)?,
                &mut rules.busy_ms,
            ),
            (
                fields.whole("concurrent", 1..=1_000_000)?,
                &mut rules.concurrent,
            ),
            (
                fields.whole("window_seconds", 1..=3_600)?,
                &mut rules.window_seconds,
            ),
        ];
        let mut any = false;
        for (wanted, slot) in explicit {
            if let Some(number) = wanted {
                *slot = number;
                any = true;
            }
        }
        if any && !fields.has("mode") {
            rules.enforced = Enforced::Yes;
        }
        if let Some(servers) = fields.whole("web_servers", 1..=1_000)? {
            rules.servers = servers;
        }
        if let Some(hint) = fields.whole("dop_hint", 1..=10_000)? {
            rules.dop_hint = hint;
        }
        fields.finish()?;
        Ok(rules)
    }

    pub(crate) fn shown(&self) -> Value {
        json!({
            "mode": match self.enforced {
                Enforced::No => "off",
                Enforced::Yes => "on",
            },
            "requests": self.requests,
            "execution_ms": self.busy_ms,
            "concurrent": self.concurrent,
            "window_seconds": self.window_seconds,
            "web_servers": self.servers,
            "dop_hint": self.dop_hint,
        })
    }
}

/// Which limit was exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Excess {
    Requests,
    Time,
    Concurrency,
}

impl Excess {
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Requests => "0x80072322",
            Self::Time => "0x80072321",
            Self::Concurrency => "0x80072326",
        }
    }

    pub(crate) fn message(self, rules: &Rules) -> String {
        let window = rules.window_seconds;
        match self {
            Self::Requests => format!(
                "Number of requests exceeded the limit of {} over time window of {window} seconds.",
                rules.requests
            ),
            Self::Time => format!(
                "Combined execution time of incoming requests exceeded limit of {} milliseconds \
                 over time window of {window} seconds. Decrease number of concurrent requests or \
                 reduce the duration of requests and try again later.",
                grouped(rules.busy_ms)
            ),
            Self::Concurrency => format!(
                "Number of concurrent requests exceeded the limit of {}.",
                rules.concurrent
            ),
        }
    }

    /// The answer, with what every answer of Dataverse carries left to the caller.
    pub(crate) fn response(self, rules: &Rules, retry_after: Option<u64>) -> Response {
        let body = json!({"error": {"code": self.code(), "message": self.message(rules)}});
        let kind = [(header::CONTENT_TYPE, JSON)];
        let mut response = (StatusCode::TOO_MANY_REQUESTS, kind, body.to_string()).into_response();
        if let Some(seconds) = retry_after {
            let value = HeaderValue::from(seconds);
            response.headers_mut().insert(header::RETRY_AFTER, value);
        }
        response
    }
}

/// `1200000` as `1,200,000`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The limits of all organizations.
#[derive(Debug)]
pub(crate) struct Limits {
    clock: Clock,
    /// What a reset goes back to.
    initial: Rules,
    ledger: Mutex<Ledger>,
    turn: AtomicU64,
    /// Makes the cookies of one sandbox differ from those of another.
    salt: Uuid,
}

#[derive(Debug)]
struct Ledger {
    rules: Rules,
    windows: HashMap<Key, Window>,
}

/// A user, as the token names it, at one web server.
type Key = (Uuid, u64);

#[derive(Debug)]
struct Window {
    buckets: Vec<Bucket>,
    /// The second that the newest bucket is for.
    newest: i64,
    requests: u64,
    busy_ms: u64,
    running: u64,
    /// Refusals since one was last let in.
    pushes: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    requests: u32,
    busy_ms: u32,
}

/// A request that was let in. It ends, and its time is counted, when this is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    limits: Arc<Limits>,
    key: Key,
    begun: Instant,
    counted: bool,
    remaining_requests: u64,
    remaining_ms: u64,
    marks: Marks,
}

/// A request that was not let in.
#[derive(Debug)]
pub(crate) struct Throttled {
    pub(crate) excess: Excess,
    pub(crate) retry_after: u64,
    rules: Rules,
    remaining_requests: u64,
    remaining_ms: u64,
    marks: Marks,
}

/// What every answer carries besides the remaining numbers.
#[derive(Debug, Clone)]
struct Marks {
    dop_hint: u64,
    /// The affinity cookie, when the client has sent none that is good.
    cookie: Option<String>,
}

impl Limits {
    pub(crate) fn new(rules: Rules, clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            clock,
            initial: rules,
            ledger: Mutex::new(Ledger {
                rules,
                windows: HashMap::new(),
            }),
            turn: AtomicU64::new(0),
            salt: Uuid::new_v4(),
        })
    }

    pub(crate) fn rules(&self) -> Rules {
        self.lock().rules
    }

    /// New rules; what was counted under a window of another length is forgotten.
    pub(crate) fn set_rules(&self, rules: Rules) {
        let mut ledger = self.lock();
        if ledger.rules.window_seconds != rules.window_seconds {
            ledger.forget();
        }
        ledger.rules = rules;
    }

    /// The rules that it was started with, and empty windows.
    pub(crate) fn reset(&self) {
        let mut ledger = self.lock();
        ledger.rules = self.initial;
        ledger.forget();
    }

    pub(crate) fn reset_counters(&self) {
        self.lock().forget();
    }

    /// Lets a request in, or refuses it. `user` is whom the token speaks for, `cookies` the headers
    /// that may hold the affinity cookie.
    pub(crate) fn enter(
        self: &Arc<Self>,
        user: Uuid,
        headers: &HeaderMap,
    ) -> Result<Permit, Throttled> {
        let now = self.clock.now().timestamp();
        let mut ledger = self.lock();
        let rules = ledger.rules;
        let (server, cookie) = self.server(&rules, headers);
        let marks = Marks {
            dop_hint: rules.dop_hint,
            cookie,
        };
        let key = (user, server);
        let counted = rules.enforced == Enforced::Yes;
        let mut permit = Permit {
            limits: Arc::clone(self),
            key,
            begun: Instant::now(),
            counted,
            remaining_requests: rules.requests.saturating_sub(1),
            remaining_ms: rules.busy_ms,
            marks,
        };
        if !counted {
            return Ok(permit);
        }
        let window = ledger.window(key, now);
        if let Some((excess, pause)) = window.excess(&rules) {
            window.pushes += 1;
            permit.counted = false;
            return Err(Throttled {
                excess,
                retry_after: (pause + window.pushes - 1).min(PAUSE_MAX.max(pause)),
                rules,
                remaining_requests: rules.requests.saturating_sub(window.requests),
                remaining_ms: rules.busy_ms.saturating_sub(window.busy_ms),
                marks: permit.marks.clone(),
            });
        }
        window.pushes = 0;
        window.running += 1;
        window.add(1, 0);
        permit.remaining_requests = rules.requests.saturating_sub(window.requests);
        permit.remaining_ms = rules.busy_ms.saturating_sub(window.busy_ms);
        Ok(permit)
    }

    /// How full the windows are, for the control page.
    pub(crate) fn usage(&self) -> Vec<Value> {
        let now = self.clock.now().timestamp();
        let mut ledger = self.lock();
        let length = ledger.rules.window_seconds;
        let mut rows: Vec<(Key, Value)> = Vec::new();
        for (key, window) in &mut ledger.windows {
            window.advance(now, length);
            if window.is_idle() {
                continue;
            }
            let row = json!({
                "user": key.0, "web_server": key.1, "requests": window.requests,
                "execution_ms": window.busy_ms, "concurrent": window.running,
                "refusals_in_a_row": window.pushes,
            });
            rows.push((*key, row));
        }
        rows.sort_by_key(|(key, _)| *key);
        rows.into_iter().map(|(_, row)| row).collect()
    }

    /// The server of the affinity cookie; without a good one, the next in turn and its cookie.
    fn server(&self, rules: &Rules, headers: &HeaderMap) -> (u64, Option<String>) {
        let sent = affinity(headers);
        let known = (0..rules.servers)
            .find(|server| sent.is_some_and(|sent| sent == self.cookie_value(*server)));
        if let Some(server) = known {
            return (server, None);
        }
        let server = self.turn.fetch_add(1, Ordering::Relaxed) % rules.servers.max(1);
        let value = self.cookie_value(server);
        (server, Some(value))
    }

    fn cookie_value(&self, server: u64) -> String {
        // Azure's are 64 hexadecimal digits as well.
        let first = Uuid::from_u64_pair(self.salt.as_u64_pair().0, server);
        format!("{}{}", self.salt.simple(), first.simple())
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        // Nothing that could panic runs while it is held.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn affinity(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE)
        .map(|(_, value)| value)
}

impl Ledger {
    fn window(&mut self, key: Key, now: i64) -> &mut Window {
        let length = self.rules.window_seconds;
        if self.windows.len() >= WINDOWS_MAX && !self.windows.contains_key(&key) {
            for window in self.windows.values_mut() {
                window.advance(now, length);
            }
            self.windows.retain(|_, window| !window.is_idle());
        }
        let window = self
            .windows
            .entry(key)
            .or_insert_with(|| Window::new(length, now));
        window.advance(now, length);
        window
    }

    /// Empties the windows; what is running goes on running.
    fn forget(&mut self) {
        let running = self
            .windows
            .iter()
            .filter(|(_, window)| window.running > 0)
            .map(|(key, window)| (*key, window.running));
        let kept: Vec<(Key, u64)> = running.collect();
        self.windows.clear();
        for (key, running) in kept {
            let mut window = Window::new(0, 0);
            window.running = running;
            self.windows.insert(key, window);
        }
    }
}

impl Window {
    fn new(length: u64, now: i64) -> Self {
        Self {
            buckets: vec![Bucket::default(); usize::try_from(length).unwrap_or_default()],
            newest: now,
            requests: 0,
            busy_ms: 0,
            running: 0,
            pushes: 0,
        }
    }

    fn is_idle(&self) -> bool {
        self.running == 0 && self.requests == 0 && self.busy_ms == 0
    }

    /// Forgets what has left the window by now.
    fn advance(&mut self, now: i64, length: u64) {
        let length = usize::try_from(length).unwrap_or_default();
        let passed = now.saturating_sub(self.newest);
        let all_passed = i64::try_from(length).is_ok_and(|length| passed >= length);
        // A clock that was moved back by more than a moment starts the window anew as well.
        if self.buckets.len() != length || all_passed || passed < -1 {
            let (running, pushes) = (self.running, self.pushes);
            *self = Self::new(length as u64, now);
            (self.running, self.pushes) = (running, pushes);
            return;
        }
        for second in (self.newest + 1)..=now {
            if let Some(bucket) = self.bucket(second) {
                let gone = std::mem::take(bucket);
                self.requests -= u64::from(gone.requests);
                self.busy_ms -= u64::from(gone.busy_ms);
            }
            self.newest = second;
        }
    }

    fn bucket(&mut self, second: i64) -> Option<&mut Bucket> {
        let length = i64::try_from(self.buckets.len()).ok().filter(|n| *n > 0)?;
        let index = usize::try_from(second.rem_euclid(length)).ok()?;
        self.buckets.get_mut(index)
    }

    fn add(&mut self, requests: u32, busy_ms: u32) {
        let newest = self.newest;
        let Some(bucket) = self.bucket(newest) else {
            return;
        };
        let added = (
            requests.min(u32::MAX - bucket.requests),
            busy_ms.min(u32::MAX - bucket.busy_ms),
        );
        bucket.requests += added.0;
        bucket.busy_ms += added.1;
        self.requests += u64::from(added.0);
        self.busy_ms += u64::from(added.1);
    }

    /// The limit that one more request would exceed, and in how many seconds it would not.
    fn excess(&self, rules: &Rules) -> Option<(Excess, u64)> {
        if self.running >= rules.concurrent {
            return Some((Excess::Concurrency, 1));
        }
        if self.requests >= rules.requests {
            let pause = self.until(
                |bucket| u64::from(bucket.requests),
                self.requests,
                rules.requests,
            );
            return Some((Excess::Requests, pause));
        }
        if self.busy_ms >= rules.busy_ms {
            let pause = self.until(
                |bucket| u64::from(bucket.busy_ms),
                self.busy_ms,
                rules.busy_ms,
            );
            return Some((Excess::Time, pause));
        }
        None
    }

    /// Seconds until so many of the oldest buckets have left that the sum is below the limit.
    fn until(&self, of: impl Fn(&Bucket) -> u64, sum: u64, limit: u64) -> u64 {
        let length = self.buckets.len();
        let mut left = sum;
        // The bucket after the newest, in the ring, is the oldest: it leaves in a second.
        let newest = i64::try_from(length)
            .ok()
            .filter(|length| *length > 0)
            .and_then(|length| usize::try_from(self.newest.rem_euclid(length)).ok())
            .unwrap_or_default();
        let from_oldest =
            (1..=length).map(|step| self.buckets.get((newest + step) % length.max(1)));
        for (index, bucket) in from_oldest.enumerate() {
            left = left.saturating_sub(bucket.map_or(0, &of));
            if left < limit {
                return index as u64 + 1;
            }
        }
        length as u64
    }
}

impl Permit {
    /// What the answer to this request carries.
    pub(crate) fn decorate(&self, headers: &mut HeaderMap) {
        if self.counted {
            let spent = milliseconds(self.begun.elapsed());
            let left = self.remaining_ms.saturating_sub(u64::from(spent));
            say_left(headers, self.remaining_requests, left);
        }
        mark(headers, &self.marks);
    }
}

impl Throttled {
    /// The answer, whole.
    pub(crate) fn into_response(self) -> Response {
        let mut response = self.excess.response(&self.rules, Some(self.retry_after));
        let headers = response.headers_mut();
        say_left(headers, self.remaining_requests, self.remaining_ms);
        mark(headers, &self.marks);
        response
    }
}

const REQUESTS_LEFT: HeaderName =
    HeaderName::from_static("x-ms-ratelimit-burst-remaining-xrm-requests");
const TIME_LEFT: HeaderName = HeaderName::from_static("x-ms-ratelimit-time-remaining-xrm-requests");
const DOP_HINT: HeaderName = HeaderName::from_static("x-ms-dop-hint");

/// What is left of the limits. Who has none says nothing of them, like an organization on premises:
/// a number that stays the same whatever is called would mislead whoever goes by it.
fn say_left(headers: &mut HeaderMap, requests: u64, ms: u64) {
    headers.insert(REQUESTS_LEFT, HeaderValue::from(requests));
    // Live answers say seconds with two decimals and an English thousands separator: `1,200.00`.
    let seconds = format!("{}.{:02}", grouped(ms / 1_000), ms % 1_000 / 10);
    if let Ok(value) = HeaderValue::from_str(&seconds) {
        headers.insert(TIME_LEFT, value);
    }
}

fn mark(headers: &mut HeaderMap, marks: &Marks) {
    headers.insert(DOP_HINT, HeaderValue::from(marks.dop_hint));
    if let Some(value) = &marks.cookie {
        let cookie = format!("{COOKIE}={value}; Path=/; HttpOnly; Secure; SameSite=None");
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            headers.append(header::SET_COOKIE, cookie);
        }
    }
}

fn milliseconds(span: Duration) -> u32 {
    u32::try_from(span.as_millis()).unwrap_or(u32::MAX)
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.counted {
            return;
        }
        let now = self.limits.clock.now().timestamp();
        let spent = milliseconds(self.begun.elapsed());
        let mut ledger = self.limits.lock();
        let window = ledger.window(self.key, now);
        window.running = window.running.saturating_sub(1);
        window.add(0, spent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicI64;

    const USER: Uuid = Uuid::from_u128(1);

    /// Limits at a moment that only this test moves.
    fn limits(rules: Rules) -> (Arc<Limits>, Arc<AtomicI64>) {
        let seconds = Arc::new(AtomicI64::new(1_750_000_000));
        let now = Arc::clone(&seconds);
        let clock = Clock::new(move || {
            chrono::DateTime::from_timestamp(now.load(Ordering::Relaxed), 0).unwrap()
        });
        (Limits::new(rules, clock), seconds)
    }

    fn rules(requests: u64) -> Rules {
        Rules {
            requests,
            ..Rules::MICROSOFT
        }
    }

    #[test]
    fn a_window_slides_by_the_second() {
        let (limits, seconds) = limits(rules(3));
        let none = HeaderMap::new();
        for step in [0, 100, 100] {
            seconds.fetch_add(step, Ordering::Relaxed);
            assert!(limits.enter(USER, &none).is_ok());
        }
        let refused = limits.enter(USER, &none).unwrap_err();
        assert_eq!(
            (refused.excess, refused.retry_after),
            (Excess::Requests, 100)
        );
        seconds.fetch_add(99, Ordering::Relaxed);
        assert_eq!(limits.enter(USER, &none).unwrap_err().retry_after, 2);
        seconds.fetch_add(1, Ordering::Relaxed);
        assert!(limits.enter(USER, &none).is_ok());
        assert!(limits.enter(USER, &none).is_err());
    }

    #[test]
    fn six_thousand_are_let_in_and_fifty_two_at_once() {
        let (limits, _) = limits(Rules::MICROSOFT);
        let none = HeaderMap::new();
        let running: Vec<Permit> = (0..52)
            .map_while(|_| limits.enter(USER, &none).ok())
            .collect();
        assert_eq!(running.len(), 52);
        let refused = limits.enter(USER, &none).unwrap_err();
        assert_eq!(refused.excess, Excess::Concurrency);
        drop(running);
        let let_in = (0..7_000)
            .map_while(|_| limits.enter(USER, &none).ok())
            .count();
        assert_eq!(let_in, 6_000 - 52);
    }

    #[test]
    fn a_clock_that_is_moved_empties_the_window_and_forgets_nobody_who_runs() {
        for moved in [-3_600, 3_600] {
            let (limits, seconds) = limits(rules(1));
            let none = HeaderMap::new();
            let running = limits.enter(USER, &none).unwrap();
            assert!(limits.enter(USER, &none).is_err());
            seconds.fetch_add(moved, Ordering::Relaxed);
            let other = limits.enter(USER, &none).unwrap();
            assert_eq!(limits.usage()[0]["concurrent"], 2);
            drop((running, other));
            assert_eq!(limits.usage()[0]["concurrent"], 0);
        }
    }

    #[test]
    fn rules_can_change_while_requests_run() {
        let (limits, _) = limits(rules(10));
        let none = HeaderMap::new();
        let running = limits.enter(USER, &none).unwrap();
        limits.set_rules(Rules {
            window_seconds: 7,
            ..rules(10)
        });
        limits.reset_counters();
        assert_eq!(limits.usage()[0]["concurrent"], 1);
        drop(running);
        assert!(limits.usage().is_empty() || limits.usage()[0]["concurrent"] == 0);
    }

    #[test]
    fn those_who_left_make_room() {
        let (limits, seconds) = limits(rules(10));
        let none = HeaderMap::new();
        for number in 0..WINDOWS_MAX {
            drop(limits.enter(Uuid::from_u128(number as u128), &none));
        }
        seconds.fetch_add(301, Ordering::Relaxed);
        drop(limits.enter(Uuid::from_u128(u128::MAX), &none));
        assert_eq!(limits.lock().windows.len(), 1);
    }

    #[test]
    fn numbers_are_grouped_as_in_english() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_200_000, "1,200,000"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn rules_are_changed_by_mode_factor_and_number() {
        let read = |text: &str| {
            let value: Value = serde_json::from_str(text).unwrap();
            Rules::MICROSOFT.read(&value, "").unwrap()
        };
        assert_eq!(read(r#"{"mode": "off"}"#).enforced, Enforced::No);
        assert_eq!(read(r#"{"factor": 0.01}"#).requests, 60);
        let both = read(r#"{"mode": "off", "requests": 5, "dop_hint": 8}"#);
        assert_eq!(
            (both.enforced, both.requests, both.dop_hint),
            (Enforced::No, 5, 8)
        );
    }
}

//! Phase six: what was seen of a call, in metrics and in the log. Paths and queries stay out of
//! both: they name customers.
//!
//! Looking a counter up by its labels costs more than the call's own bookkeeping, so each worker
//! keeps the counters of the lines and consumers that it serves. Only so many accounts get series
//! of their own: with a million of them the metrics would outgrow everything else.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use foldhash::fast::RandomState;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use metrics::{Counter, Histogram};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use tieline_app::{CallerPass, Line, Moment};
use tieline_core::{AccountId, ConsumerId};

use crate::marks::Marks;

/// How a caller names its call (W3C Trace Context).
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

thread_local! {
    static RANDOM: RefCell<SmallRng> = RefCell::new(SmallRng::from_os_rng());
}
/// Every byte in hexadecimal.
static HEX: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut all = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        all[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    all
};

/// Accounts with series of their own; those that are used later share one.
const NAMED_MAX: usize = 1000;
/// The label of accounts that share a series.
const OTHERS: &str = "(others)";

/// Which accounts have series of their own; all workers share it. A line is asked about once.
#[derive(Debug, Default)]
pub(crate) struct Named(Mutex<HashSet<AccountId>>);

impl Named {
    /// Whether a line has a series of its own.
    fn knows(&self, line: &Line) -> bool {
        *line.named.get_or_init(|| self.admits(line.account_id))
    }

    /// Whether an account has a series of its own, or gets one now.
    fn admits(&self, account: AccountId) -> bool {
        let mut named = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if named.len() < NAMED_MAX {
            named.insert(account);
        }
        named.contains(&account)
    }
}

/// Whose a series is; no account means that others share it.
type Owner = (Option<AccountId>, ConsumerId);

/// One worker's counters.
#[derive(Debug)]
pub(crate) struct Meters {
    named: Arc<Named>,
    series: RefCell<HashMap<Owner, Rc<Series>, RandomState>>,
}

/// The counters of one account and consumer.
#[derive(Debug)]
struct Series {
    /// The names are those of this version of the account, and this consumer: who is renamed gets
    /// new series.
    version: i64,
    account: String,
    consumer: String,
    seconds: Histogram,
    calls: RefCell<Vec<(u16, &'static str, Counter)>>,
}

impl Meters {
    pub(crate) fn new(named: Arc<Named>) -> Self {
        Self {
            named,
            series: RefCell::default(),
        }
    }

    fn series(&self, caller: &CallerPass, line: &Line) -> Rc<Series> {
        let mut all = self.series.borrow_mut();
        let (owner, account) = match self.named.knows(line) {
            true => (Some(line.account_id), line.name.as_str()),
            false => (None, OTHERS),
        };
        let key = (owner, caller.consumer_id);
        if let Some(series) = all.get(&key)
            && (owner.is_none() || series.version == line.version)
            && series.consumer == caller.consumer_name
        {
            return Rc::clone(series);
        }
        let series = Rc::new(Series {
            version: line.version,
            account: account.to_owned(),
            consumer: caller.consumer_name.clone(),
            seconds: metrics::histogram!("tieline_gateway_seconds", "account" => account.to_owned()),
            calls: RefCell::default(),
        });
        all.insert(key, Rc::clone(&series));
        series
    }
}

impl Series {
    fn count(&self, status: u16, failed: &'static str) {
        let mut calls = self.calls.borrow_mut();
        let known = calls
            .iter()
            .find(|(known, whose, _)| *known == status && *whose == failed);
        if let Some((.., counter)) = known {
            counter.increment(1);
            return;
        }
        let counter = calls_of(&self.account, &self.consumer, status, failed);
        counter.increment(1);
        calls.push((status, failed, counter));
    }
}

fn calls_of(account: &str, consumer: &str, status: u16, failed: &'static str) -> Counter {
    let labels = [
        ("account", account.to_owned()),
        ("consumer", consumer.to_owned()),
        ("status", status.to_string()),
        ("failed", failed.to_owned()),
    ];
    metrics::counter!("tieline_gateway_calls_total", &labels)
}

/// One call, from its first byte to the beginning of its answer.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) trace_id: TraceId,
    /// When it came.
    pub(crate) came: Moment,
    pub(crate) line: Option<Arc<Line>>,
    pub(crate) caller: Option<Arc<CallerPass>>,
}

impl Seen {
    pub(crate) fn new(headers: &HeaderMap, marks: Marks, came: Moment) -> Self {
        Self {
            trace_id: TraceId::of(headers, marks),
            came,
            line: None,
            caller: None,
        }
    }

    /// Writes it down.
    pub(crate) fn answered(
        &self,
        meters: &Meters,
        method: &Method,
        status: u16,
        failed: &'static str,
    ) {
        let elapsed = self.came.elapsed();
        let account = self.line.as_ref().map_or("", |line| &line.name);
        let consumer = self
            .caller
            .as_ref()
            .map_or("", |caller| &caller.consumer_name);
        match (&self.caller, &self.line) {
            (Some(caller), Some(line)) => {
                let series = meters.series(caller, line);
                series.count(status, failed);
                series.seconds.record(elapsed.as_secs_f64());
            }
            // A call that was refused before it was known whose it is.
            _ => calls_of(account, consumer, status, failed).increment(1),
        }
        tracing::debug!(
            trace_id = self.trace_id.as_str(),
            %method,
            account,
            consumer,
            status,
            failed,
            ms = elapsed.as_secs_f64() * 1000.0,
            "a call"
        );
    }
}

/// The name of a call in logs and answers: 32 hexadecimal digits (W3C Trace Context).
#[derive(Debug, Clone, Copy)]
pub(crate) struct TraceId([u8; Self::LENGTH]);

impl TraceId {
    const LENGTH: usize = 32;

    /// That of the caller's `traceparent`, or one of our own.
    fn of(headers: &HeaderMap, marks: Marks) -> Self {
        if !marks.has(Marks::TRACEPARENT) {
            return Self::random();
        }
        let given = headers.get(&TRACEPARENT).map(HeaderValue::as_bytes);
        let given = given.and_then(|value| value.split(|byte| *byte == b'-').nth(1));
        match given.and_then(|id| <[u8; Self::LENGTH]>::try_from(id).ok()) {
            Some(id) if id.iter().all(u8::is_ascii_hexdigit) => Self(id),
            _ => Self::random(),
        }
    }

    fn random() -> Self {
        // It names a call and keeps no secret: what is quick will do.
        let bytes = RANDOM.with_borrow_mut(|random| random.random::<u128>());
        let mut digits = [0; Self::LENGTH];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes.to_ne_bytes()) {
            pair.copy_from_slice(&HEX[usize::from(byte)]);
        }
        Self(digits)
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    pub(crate) fn header(&self) -> Option<HeaderValue> {
        HeaderValue::from_bytes(&self.0).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_goes_on_and_a_malformed_one_does_not() {
        let mut headers = HeaderMap::new();
        let given = "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        headers.insert("traceparent", HeaderValue::from_static(given));
        assert_eq!(
            TraceId::of(&headers, Marks::of(&headers)).as_str(),
            "0AF7651916cd43dd8448eb211c80319c"
        );
        for wrong in ["00-xyz-b7ad6b7169203331-01", "", "00"] {
            headers.insert("traceparent", HeaderValue::from_static(wrong));
            let made = TraceId::of(&headers, Marks::of(&headers));
            assert!(made.as_str().bytes().all(|byte| byte.is_ascii_hexdigit()));
            assert_ne!(
                made.as_str(),
                TraceId::of(&headers, Marks::of(&headers)).as_str()
            );
        }
    }

    #[test]
    fn only_so_many_accounts_have_series_of_their_own() {
        let named = Named::default();
        let now = std::time::SystemTime::UNIX_EPOCH.into();
        let first = AccountId::generate(now);
        assert!(named.admits(first));
        for _ in 1..NAMED_MAX {
            assert!(named.admits(AccountId::generate(now)));
        }
        assert!(!named.admits(AccountId::generate(now)));
        assert!(named.admits(first));
    }
}

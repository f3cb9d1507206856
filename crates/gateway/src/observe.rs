//! Phase six: what was seen of a call, in metrics and in the log. Paths and queries stay out of
//! both: they name customers.

use std::time::Instant;

use http::{HeaderMap, Method};
use rand::Rng as _;

/// One call, from its first byte to the beginning of its answer.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) trace_id: String,
    method: Method,
    began: Instant,
    pub(crate) account: String,
    pub(crate) consumer: String,
}

impl Seen {
    pub(crate) fn new(method: &Method, headers: &HeaderMap) -> Self {
        Self {
            trace_id: trace_id(headers),
            method: method.clone(),
            began: Instant::now(),
            account: String::new(),
            consumer: String::new(),
        }
    }

    /// Writes it down.
    pub(crate) fn answered(&self, status: u16, failed: &'static str) {
        let elapsed = self.began.elapsed();
        let labels = [
            ("account", self.account.clone()),
            ("consumer", self.consumer.clone()),
            ("status", status.to_string()),
            ("failed", failed.to_owned()),
        ];
        metrics::counter!("tieline_gateway_calls_total", &labels).increment(1);
        metrics::histogram!("tieline_gateway_seconds", "account" => self.account.clone())
            .record(elapsed.as_secs_f64());
        tracing::debug!(
            trace_id = %self.trace_id,
            method = %self.method,
            account = %self.account,
            consumer = %self.consumer,
            status,
            failed,
            ms = elapsed.as_secs_f64() * 1000.0,
            "a call"
        );
    }
}

/// The trace id of the caller's `traceparent` (W3C Trace Context), or one of our own.
fn trace_id(headers: &HeaderMap) -> String {
    let given = headers
        .get("traceparent")
        .and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.split('-').nth(1));
    match given {
        Some(id) if id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()) => id.to_owned(),
        _ => format!("{:032x}", rand::rng().random::<u128>()),
    }
}

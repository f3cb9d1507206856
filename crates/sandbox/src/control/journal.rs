//! The last requests, without their secrets.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, Uri};
use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

use crate::faults::{Seen, Side};

/// How many requests are remembered.
pub(crate) const KEPT: usize = 500;
/// Longer addresses are cut off.
const TARGET_MAX: usize = 2_000;

#[derive(Debug)]
pub(crate) struct Journal {
    lines: Option<Mutex<Lines>>,
}

#[derive(Debug, Default)]
struct Lines {
    count: u64,
    ring: VecDeque<Line>,
}

/// One request.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Line {
    pub(crate) number: u64,
    pub(crate) at: DateTime<Utc>,
    pub(crate) side: &'static str,
    pub(crate) method: String,
    /// Path and query, without what is secret.
    pub(crate) target: String,
    /// None when the connection was ended without an answer.
    pub(crate) status: Option<u16>,
    pub(crate) ms: f64,
    pub(crate) application: Option<Uuid>,
    pub(crate) user: Option<String>,
    pub(crate) client_request_id: Option<String>,
    /// Numbers of the faults that struck it.
    pub(crate) faults: Vec<u64>,
}

impl Journal {
    pub(crate) fn on() -> Self {
        Self {
            lines: Some(Mutex::default()),
        }
    }

    /// One that remembers nothing: nobody could look.
    pub(crate) fn off() -> Self {
        Self { lines: None }
    }

    pub(crate) fn is_off(&self) -> bool {
        self.lines.is_none()
    }

    pub(crate) fn write(&self, mut line: Line) {
        let Some(mut lines) = self.lock() else {
            return;
        };
        lines.count += 1;
        line.number = lines.count;
        if lines.ring.len() >= KEPT {
            lines.ring.pop_front();
        }
        lines.ring.push_back(line);
    }

    /// The newest first.
    pub(crate) fn last(&self, most: usize, keep: impl Fn(&Line) -> bool) -> Vec<Line> {
        let Some(lines) = self.lock() else {
            return Vec::new();
        };
        let newest_first = lines.ring.iter().rev();
        newest_first
            .filter(|line| keep(line))
            .take(most)
            .cloned()
            .collect()
    }

    pub(crate) fn clear(&self) {
        if let Some(mut lines) = self.lock() {
            lines.ring.clear();
        }
    }

    fn lock(&self) -> Option<MutexGuard<'_, Lines>> {
        let lines = self.lines.as_ref()?;
        // Nothing that could panic runs while it is held.
        Some(lines.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Line {
    pub(crate) fn begin(request: &Request, at: DateTime<Utc>) -> Self {
        Self {
            number: 0,
            at,
            side: "",
            method: request.method().to_string(),
            target: target(request.uri()),
            status: None,
            ms: 0.0,
            application: None,
            user: None,
            client_request_id: client_request_id(request.headers()),
            faults: Vec::new(),
        }
    }

    pub(crate) fn end(
        mut self,
        seen: &Seen,
        status: Option<StatusCode>,
        span: Duration,
        faults: Vec<u64>,
    ) -> Self {
        self.side = seen.side.name();
        self.status = status.map(|status| status.as_u16());
        self.ms = (span.as_secs_f64() * 100_000.0).round() / 100.0;
        self.application = seen.application;
        self.user.clone_from(&seen.upn);
        self.faults = faults;
        self
    }
}

fn client_request_id(headers: &HeaderMap) -> Option<String> {
    let found = ["client-request-id", "x-ms-client-request-id"]
        .into_iter()
        .find_map(|name| headers.get(name));
    let text = found?.to_str().ok()?;
    Some(text.chars().take(100).collect())
}

/// Parameters of Entra's endpoints that are safe to show. Of what is not listed only the name is.
const SHOWN: [&str; 16] = [
    "client_id",
    "response_type",
    "response_mode",
    "redirect_uri",
    "resource",
    "scope",
    "prompt",
    "login_hint",
    "domain_hint",
    "code_challenge_method",
    "tenant",
    "api-version",
    "authorization_endpoint",
    "error",
    "admin_consent",
    "appid",
];

/// Words that make a parameter secret on Dataverse's side, where everything else is a query.
const SECRET: [&str; 8] = [
    "token",
    "secret",
    "password",
    "code",
    "assertion",
    "sig",
    "key",
    "authorization",
];

/// Path and query; values that could be secrets are dots.
fn target(uri: &Uri) -> String {
    let mut text = uri.path().to_owned();
    let side = Side::of(uri.path());
    let pairs = uri.query().unwrap_or_default();
    for (index, pair) in pairs.split('&').filter(|pair| !pair.is_empty()).enumerate() {
        text.push(if index == 0 { '?' } else { '&' });
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decoded = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
        let decoded = decoded.to_ascii_lowercase();
        let shown = match side {
            Side::Entra => SHOWN.contains(&decoded.as_str()),
            Side::Dataverse => !is_secret(&decoded),
        };
        text.push_str(name);
        if pair.contains('=') {
            text.push('=');
            text.push_str(if shown || value.is_empty() {
                value
            } else {
                "…"
            });
        }
    }
    if text.len() > TARGET_MAX {
        let end = text.floor_char_boundary(TARGET_MAX);
        text.truncate(end);
        text.push('…');
    }
    text
}

/// `$skiptoken` and `$deltatoken` are pages and versions, not secrets.
fn is_secret(name: &str) -> bool {
    !name.starts_with('$') && SECRET.iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(uri: &str) -> String {
        target(&uri.parse().unwrap())
    }

    #[test]
    fn secrets_are_not_shown() {
        assert_eq!(
            shown("/contoso.example/oauth2/authorize?client_id=1&state=abc&c%6fde=xyz&empty="),
            "/contoso.example/oauth2/authorize?client_id=1&state=…&c%6fde=…&empty="
        );
        assert_eq!(
            shown("/api/data/v9.2/contacts?$skiptoken=5&$filter=a%20eq%20'b'&access_token=eyJ"),
            "/api/data/v9.2/contacts?$skiptoken=5&$filter=a%20eq%20'b'&access_token=…"
        );
    }

    #[test]
    fn long_addresses_are_cut_off() {
        let text = shown(&format!(
            "/api/data/v9.2/contacts?$filter={}",
            "x".repeat(9_000)
        ));
        assert!(text.len() <= TARGET_MAX + "…".len() && text.ends_with('…'));
    }

    #[test]
    fn only_so_many_are_kept() {
        let journal = Journal::on();
        let request = Request::new(axum::body::Body::empty());
        for _ in 0..(KEPT + 5) {
            journal.write(Line::begin(&request, DateTime::UNIX_EPOCH));
        }
        let lines = journal.last(usize::MAX, |_| true);
        assert_eq!((lines.len(), lines[0].number), (KEPT, KEPT as u64 + 5));
    }
}

//! An account's history as a timeline: each state, since when and for how long, why, and what
//! would change it.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use tieline_app::{EventRange, Resolution, TimedEvent, explain_reason, explain_span};
use tieline_core::{Account, ConnectionState};

use crate::console::accounts::account_id;
use crate::console::pages::{Trouble, html};
use crate::console::view::{Page, StateView, time};
use crate::site::Site;
use crate::visitor::Visitor;
use crate::words::Words;

/// Entries on a page.
const SHOWN: u32 = 50;
/// What the strip at the top looks back on, and how many changes of that it reads at most.
const STRIP: TimeDelta = TimeDelta::days(30);
const STRIP_MAX: u32 = 500;
/// Width of the strip in its own units.
const WIDTH: i64 = 1_000;

#[derive(Debug, Template)]
#[template(path = "timeline.html")]
struct TimelinePage {
    page: Page,
    name: String,
    back: String,
    now: StateView,
    /// What would change the present state; empty while it is well.
    change: String,
    /// When the keeper tries again by itself.
    next: Option<String>,
    strip: Vec<Segment>,
    usable: String,
    entries: Vec<Entry>,
    older: Option<String>,
}

/// A stretch of the strip.
#[derive(Debug, PartialEq, Eq)]
struct Segment {
    x: i64,
    width: i64,
    class: String,
    label: String,
}

#[derive(Debug)]
struct Entry {
    state: StateView,
    /// Whether the state stayed and only its reason changed.
    reason_only: bool,
    /// Whether it ended a spell of trouble.
    recovery: bool,
    lasted: String,
    lasts: bool,
    cause: String,
    remedy: String,
    detail: String,
    code: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Asked {
    before: String,
}

pub(crate) async fn show(
    State(site): State<Site>,
    visitor: Visitor,
    Path(id): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Response, Trouble> {
    let words = visitor.words;
    let trouble = |error| Trouble::new(error, words);
    let id = account_id(&visitor, &id)?;
    let account = site.app.account_find(&id.to_string()).await;
    let account = account.map_err(trouble)?;
    let range = EventRange {
        before: asked.before.parse().ok(),
        since: None,
    };
    let found = site.app.account_timeline(id, range, SHOWN + 1).await;
    let mut found = found.map_err(trouble)?;
    let more = found.len() > SHOWN as usize;
    found.truncate(SHOWN as usize);
    let now = site.app.now();
    let recent = EventRange {
        before: None,
        since: Some(now - STRIP),
    };
    let recent = site.app.account_timeline(id, recent, STRIP_MAX).await;
    let spells = spells(&recent.map_err(trouble)?, &account, now);
    let page = TimelinePage {
        page: Page::of(&site, &visitor, "/accounts").await,
        name: account.name.to_string(),
        back: format!("/accounts/{id}"),
        now: StateView::of(account.connection.state, account.connection.since, words),
        change: match Resolution::of(&account.connection) {
            Resolution::None => String::new(),
            other => words.t(&format!("resolution-{}", other.as_str())),
        },
        next: account.connection.next_attempt_at.map(time),
        usable: usable(&spells),
        strip: strip(&spells, words),
        older: found
            .last()
            .filter(|_| more)
            .map(|last| format!("/accounts/{id}/history?before={}", last.event.id)),
        entries: entries(&found, &account, now, words),
    };
    Ok(html(StatusCode::OK, &page))
}

/// The entries of a page, latest first.
fn entries(
    events: &[TimedEvent],
    account: &Account,
    now: DateTime<Utc>,
    words: Words,
) -> Vec<Entry> {
    // When the state of the entry at hand ended: a new reason does not end a state.
    let mut ended = events.first().and_then(|latest| latest.until);
    let mut shown = Vec::with_capacity(events.len());
    for timed in events {
        let event = &timed.event;
        let told = explain_reason(&event.reason, account, words.language());
        let reason_only = event.from == Some(event.to);
        let until = if reason_only { timed.until } else { ended };
        shown.push(Entry {
            state: StateView::of(event.to, event.at, words),
            reason_only,
            recovery: !event.to.is_unwell() && event.from.is_some_and(ConnectionState::is_unwell),
            lasted: explain_span(until.unwrap_or(now) - event.at, words.language()),
            lasts: until.is_none(),
            cause: told.cause,
            remedy: told.remedy,
            detail: event.reason.detail.clone(),
            code: event.reason.code.clone(),
        });
        if !reason_only {
            ended = Some(event.at);
        }
    }
    shown
}

/// A state from one moment to another.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Spell {
    state: ConnectionState,
    from: DateTime<Utc>,
    until: DateTime<Utc>,
}

/// The states of the last days, oldest first. What was before the account existed is left out.
fn spells(events: &[TimedEvent], account: &Account, now: DateTime<Utc>) -> Vec<Spell> {
    let begin = (now - STRIP).max(account.created_at);
    let mut spells = Vec::new();
    let mut until = now;
    let mut state = account.connection.state;
    for timed in events
        .iter()
        .filter(|timed| timed.event.from != Some(timed.event.to))
    {
        let event = &timed.event;
        if event.at < until {
            spells.push(Spell {
                state: event.to,
                from: event.at,
                until,
            });
            until = event.at;
        }
        state = event.from.unwrap_or(event.to);
    }
    if begin < until {
        spells.push(Spell {
            state,
            from: begin,
            until,
        });
    }
    spells.reverse();
    spells
}

fn strip(spells: &[Spell], words: Words) -> Vec<Segment> {
    let (Some(first), Some(last)) = (spells.first(), spells.last()) else {
        return Vec::new();
    };
    let whole = (last.until - first.from).num_milliseconds().max(1);
    let place = |at: DateTime<Utc>| (at - first.from).num_milliseconds() * WIDTH / whole;
    spells
        .iter()
        .map(|spell| {
            let (x, end) = (place(spell.from), place(spell.until));
            Segment {
                x,
                // What was short is still seen.
                width: (end - x).max(2),
                class: format!("state-{}", spell.state),
                label: format!(
                    "{}: {} – {} UTC",
                    words.t(&format!("state-{}", spell.state)),
                    spell.from.format("%Y-%m-%d %H:%M"),
                    spell.until.format("%Y-%m-%d %H:%M"),
                ),
            }
        })
        .collect()
}

/// How much of the time calls could be made, in percent.
fn usable(spells: &[Spell]) -> String {
    let sum = |wanted: &dyn Fn(&Spell) -> bool| -> i64 {
        spells
            .iter()
            .filter(|spell| wanted(spell))
            .map(|spell| (spell.until - spell.from).num_milliseconds())
            .sum()
    };
    let whole = sum(&|_| true).max(1);
    let good = sum(&|spell| {
        matches!(
            spell.state,
            ConnectionState::Connected | ConnectionState::Degraded
        )
    });
    // Rounded down: 100 is said only of what was never gone.
    let hundredths = good.saturating_mul(10_000) / whole;
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("a time")
    }

    fn spell(state: ConnectionState, from: &str, until: &str) -> Spell {
        Spell {
            state,
            from: at(from),
            until: at(until),
        }
    }

    #[test]
    fn what_is_usable_is_rounded_down() {
        let spells = [
            spell(
                ConnectionState::Connected,
                "2026-11-01T00:00:00Z",
                "2026-11-29T23:59:59Z",
            ),
            spell(
                ConnectionState::Unreachable,
                "2026-11-29T23:59:59Z",
                "2026-11-30T00:00:00Z",
            ),
        ];
        assert_eq!(usable(&spells), "99.99");
        assert_eq!(usable(&spells[..1]), "100.00");
        assert_eq!(usable(&[]), "0.00");
    }

    #[test]
    fn the_strip_has_every_spell_where_it_was() {
        let spells = [
            spell(
                ConnectionState::Connected,
                "2026-11-01T00:00:00Z",
                "2026-11-01T18:00:00Z",
            ),
            spell(
                ConnectionState::Degraded,
                "2026-11-01T18:00:00Z",
                "2026-11-02T00:00:00Z",
            ),
        ];
        let strip = strip(&spells, Words(tieline_core::Language::English));
        assert_eq!((strip[0].x, strip[0].width), (0, 750));
        assert_eq!((strip[1].x, strip[1].width), (750, 250));
        assert_eq!(strip[1].class, "state-degraded");
    }
}

//! An account's headroom, as a section of its page.

use tieline_app::Headroom;
use tieline_core::AccountId;

use crate::console::pages::Trouble;
use crate::console::view::time;
use crate::site::Site;
use crate::visitor::Visitor;
use crate::words::Words;

/// What the section shows.
#[derive(Debug)]
pub(crate) struct HeadroomView {
    /// Name, value, and what it is a part of.
    pub(crate) figures: Vec<(String, String)>,
    /// Percent left; none while nothing is known.
    pub(crate) percent: Option<u8>,
    /// Until when everybody waits.
    pub(crate) paused: Option<String>,
    pub(crate) consumers: Vec<UseRow>,
}

/// A consumer, in five minutes and in a day.
#[derive(Debug)]
pub(crate) struct UseRow {
    pub(crate) name: String,
    pub(crate) minutes: String,
    pub(crate) day: String,
    pub(crate) waited: String,
    pub(crate) refused: String,
}

/// The section of an account.
pub(crate) async fn section(
    site: &Site,
    visitor: &Visitor,
    account: AccountId,
) -> Result<HeadroomView, Trouble> {
    let headroom = site.app.account_headroom(account).await;
    let headroom = headroom.map_err(|error| Trouble::new(error, visitor.words))?;
    Ok(HeadroomView::of(&headroom, visitor.words))
}

impl HeadroomView {
    fn of(headroom: &Headroom, words: Words) -> Self {
        let unknown = || words.t("headroom-not-known");
        let part = |left: Option<String>, of: Option<String>| match (left, of) {
            (Some(left), Some(of)) => format!("{left} / {of}"),
            _ => unknown(),
        };
        let whole = |number: Option<i64>| number.map(|number| number.to_string());
        let seconds = |number: Option<f64>| number.map(|number| format!("{number:.0} s"));
        let [minutes, day] = headroom.paused_seconds;
        let figures = [
            (
                "headroom-requests",
                part(whole(headroom.requests_left), whole(headroom.requests_of)),
            ),
            (
                "headroom-time",
                part(
                    seconds(headroom.execution_left),
                    seconds(headroom.execution_of),
                ),
            ),
            (
                "headroom-in-use",
                format!(
                    "{} / {}",
                    headroom.in_use,
                    // Nobody calls: what would be allowed are the settings.
                    match headroom.servers {
                        0 => headroom.limits.concurrency,
                        _ => headroom.allowed,
                    }
                ),
            ),
            (
                "headroom-waiting",
                format!("{} + {}", headroom.waiting, headroom.waiting_bulk),
            ),
            ("headroom-throttled", format!("{minutes:.0} s / {day:.0} s")),
        ];
        Self {
            figures: figures
                .into_iter()
                .map(|(key, value)| (words.t(key), value))
                .collect(),
            percent: headroom.percent(),
            paused: headroom.paused_until.map(time),
            consumers: headroom
                .consumers
                .iter()
                .map(|used| row(used, words))
                .collect(),
        }
    }
}

fn row(used: &tieline_app::ConsumerUse, words: Words) -> UseRow {
    let name = match used.name.as_str() {
        "" => words.t("headroom-removed"),
        name => name.to_owned(),
    };
    let calls = |used: &tieline_app::Used| match used.bulk {
        0 => used.calls.to_string(),
        bulk => format!("{} ({bulk} {})", used.calls, words.t("priority-bulk")),
    };
    UseRow {
        name,
        minutes: calls(&used.minutes),
        day: calls(&used.day),
        waited: format!("{:.1} s", used.day.waited_seconds),
        refused: format!("{} / {}", used.day.refused, used.day.throttled),
    }
}

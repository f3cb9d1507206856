//! Small things that every page shows: the frame, states, times.

use chrono::{DateTime, Utc};
use tieline_app::{AppError, Explanation};
use tieline_core::{ConnectionState, Right};

use crate::assets;
use crate::site::Site;
use crate::visitor::Visitor;
use crate::words::Words;

/// The frame of a page.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) words: Words,
    pub(crate) user: String,
    pub(crate) here: String,
    pub(crate) attention: usize,
    pub(crate) may_manage: bool,
    section: &'static str,
}

#[derive(Debug)]
pub(crate) struct MenuItem {
    pub(crate) href: &'static str,
    pub(crate) label: String,
    pub(crate) current: bool,
}

const MENU: [(&str, &str); 7] = [
    ("/accounts", "accounts"),
    ("/consumers", "consumers"),
    ("/activity", "activity"),
    ("/notifications", "notifications"),
    ("/audit", "audit"),
    ("/users", "users"),
    ("/settings", "settings"),
];

impl Page {
    /// The frame around a section.
    pub(crate) async fn of(site: &Site, visitor: &Visitor, section: &'static str) -> Self {
        let states = site.app.account_states().await.unwrap_or_default();
        let unwell = |state| {
            !matches!(
                state,
                ConnectionState::Connected | ConnectionState::NotConnected
            )
        };
        let attention = states
            .iter()
            .filter(|(state, _)| unwell(*state))
            .map(|(_, count)| count)
            .sum();
        Self {
            words: visitor.words,
            user: visitor.user.email.as_str().to_owned(),
            here: visitor.here.clone(),
            attention,
            may_manage: visitor.may(Right::Manage),
            section,
        }
    }

    pub(crate) fn asset(&self, name: &str) -> String {
        assets::url(name)
    }

    pub(crate) fn menu(&self) -> Vec<MenuItem> {
        MENU.iter()
            .map(|(href, key)| MenuItem {
                href,
                label: self.words.t(key),
                current: *href == self.section,
            })
            .collect()
    }
}

/// A state with its shape and its word: never colour alone.
#[derive(Debug)]
pub(crate) struct StateView {
    pub(crate) shape: &'static str,
    pub(crate) word: String,
    pub(crate) class: String,
    pub(crate) since: String,
}

impl StateView {
    pub(crate) fn of(state: ConnectionState, since: DateTime<Utc>, words: Words) -> Self {
        let shape = match state {
            ConnectionState::Connected => "●",
            ConnectionState::Degraded => "▲",
            ConnectionState::NeedsConsent => "◆",
            ConnectionState::Misconfigured => "■",
            ConnectionState::NotConnected => "○",
            ConnectionState::Unreachable => "✕",
        };
        Self {
            shape,
            word: words.t(&format!("state-{state}")),
            class: format!("state-{state}"),
            since: time(since),
        }
    }
}

/// A finding or a refusal, as it is shown.
#[derive(Debug, Clone)]
pub(crate) struct TextView {
    pub(crate) kind: &'static str,
    pub(crate) cause: String,
    pub(crate) remedy: String,
}

impl TextView {
    /// What went wrong, in the visitor's words.
    pub(crate) fn problem(error: &AppError, words: Words) -> Self {
        Self::error(error.explain(words.language()))
    }

    pub(crate) fn error(text: Explanation) -> Self {
        Self {
            kind: "error",
            cause: text.cause,
            remedy: text.remedy,
        }
    }

    pub(crate) fn warning(text: Explanation) -> Self {
        Self {
            kind: "warning",
            cause: text.cause,
            remedy: text.remedy,
        }
    }
}

/// A moment as an element that the script shows in the reader's zone; without it, in UTC.
pub(crate) fn time(at: DateTime<Utc>) -> String {
    format!(
        "<time datetime=\"{}\">{} UTC</time>",
        at.format("%Y-%m-%dT%H:%M:%SZ"),
        at.format("%Y-%m-%d %H:%M")
    )
}

/// Text inside markup that is put together by hand.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use tieline_core::Language;

    #[test]
    fn every_state_has_a_shape_of_its_own_and_a_word() {
        for language in Language::ALL {
            let views: Vec<_> = ConnectionState::ALL
                .iter()
                .map(|state| StateView::of(*state, Utc::now(), Words(language)))
                .collect();
            let shapes: std::collections::HashSet<_> = views.iter().map(|v| v.shape).collect();
            assert_eq!(shapes.len(), ConnectionState::ALL.len());
            assert!(views.iter().all(|view| !view.word.starts_with("state-")));
        }
    }

    #[test]
    fn markup_is_escaped() {
        assert_eq!(
            escape("<a href='x'>&\"</a>"),
            "&lt;a href=&#39;x&#39;&gt;&amp;&quot;&lt;/a&gt;"
        );
    }
}

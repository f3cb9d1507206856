//! Cause and remedy, in plain words, for every code that people may see.
//!
//! The texts are in `locales/{en,ja}/help.ftl`: the message is the cause, its attribute `remedy`
//! says what to do. They live here rather than with the console because the same words answer in
//! the console, in the API, in the gateway and on the command line.

use std::sync::LazyLock;

use fluent_bundle::concurrent::FluentBundle;
use fluent_bundle::{FluentArgs, FluentResource};
use tieline_core::{Account, CredentialSlot, Language, Reason};
use unic_langid::langid;
use url::Url;

/// What happened and what to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Explanation {
    /// What happened.
    pub cause: String,
    /// What to do; empty when nothing is to be done.
    pub remedy: String,
}

type Bundle = FluentBundle<FluentResource>;

static ENGLISH: LazyLock<Bundle> =
    LazyLock::new(|| bundle(Language::English, include_str!("../locales/en/help.ftl")));
static JAPANESE: LazyLock<Bundle> =
    LazyLock::new(|| bundle(Language::Japanese, include_str!("../locales/ja/help.ftl")));

/// The explanation of a code. A code without a text is shown as it is: it can still be searched
/// for, which an invented sentence could not.
#[must_use]
pub fn explain(code: &str, args: &[(impl AsRef<str>, String)], language: Language) -> Explanation {
    let bundle = bundle_of(language);
    let Some(message) = bundle.get_message(code) else {
        return Explanation {
            cause: code.to_owned(),
            remedy: String::new(),
        };
    };
    let mut values = FluentArgs::new();
    for (name, value) in args {
        values.set(name.as_ref().to_owned(), value.clone());
    }
    let render = |pattern| {
        let mut errors = Vec::new();
        bundle
            .format_pattern(pattern, Some(&values), &mut errors)
            .into_owned()
    };
    Explanation {
        cause: message.value().map(render).unwrap_or_default(),
        remedy: message
            .get_attribute("remedy")
            .map(|a| render(a.value()))
            .unwrap_or_default(),
    }
}

/// The explanation of a code whose text names no values.
#[must_use]
pub fn explain_plain(code: &str, language: Language) -> Explanation {
    let none: [(&str, String); 0] = [];
    explain(code, &none, language)
}

/// Why an account is, or was, in a state. What a reason's text names is known from the account.
#[must_use]
pub fn explain_reason(reason: &Reason, account: &Account, language: Language) -> Explanation {
    let consent = account.consent.as_ref();
    let user = consent.and_then(|consent| consent.user.as_deref());
    explain_reason_of(reason, &account.token_url, user, language)
}

/// The same from what was known of an account at the time.
pub(crate) fn explain_reason_of(
    reason: &Reason,
    token_url: &str,
    user: Option<&str>,
    language: Language,
) -> Explanation {
    let host = host_of(token_url);
    let user = user.map(str::to_owned);
    let user = user.unwrap_or_else(|| explain_plain("somebody", language).cause);
    // What is said at the end of a visit to Microsoft looks ahead; a history looks back.
    let code = match reason.code.as_str() {
        "consented" => "state-consented",
        other => other,
    };
    let (credential, detail) = credential_of(&reason.detail, language);
    let args = [
        ("host", host),
        ("user", user),
        ("credential", credential),
        ("detail", detail),
    ];
    explain(code, &args, language)
}

/// Reasons that are about one credential begin their detail with its place.
fn credential_of(detail: &str, language: Language) -> (String, String) {
    let slot = detail.split_once(": ").and_then(|(word, rest)| {
        let slot: CredentialSlot = word.parse().ok()?;
        Some((crate::credentials::name_of(slot, language), rest.to_owned()))
    });
    slot.unwrap_or_else(|| (String::new(), detail.to_owned()))
}

pub(crate) fn host_of(url: &str) -> String {
    let host = Url::parse(url)
        .ok()
        .and_then(|url| url.host_str().map(str::to_owned));
    host.unwrap_or_else(|| url.to_owned())
}

/// Whether a code has a text.
#[must_use]
pub fn explain_known(code: &str) -> bool {
    Language::ALL
        .into_iter()
        .all(|language| bundle_of(language).has_message(code))
}

fn bundle_of(language: Language) -> &'static Bundle {
    match language {
        Language::English => &ENGLISH,
        Language::Japanese => &JAPANESE,
    }
}

fn bundle(language: Language, text: &str) -> Bundle {
    let id = match language {
        Language::English => langid!("en"),
        Language::Japanese => langid!("ja"),
    };
    let mut bundle = FluentBundle::new_concurrent(vec![id]);
    // Isolation marks are for right-to-left text; in a terminal and in JSON they are noise.
    bundle.set_use_isolating(false);
    // A broken line loses that message only; the test below keeps the files whole.
    let resource = FluentResource::try_new(text.to_owned()).unwrap_or_else(|(partial, _)| partial);
    bundle.add_resource_overriding(resource);
    bundle
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(text: &str) -> Vec<&str> {
        text.lines()
            .filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()))
            .filter_map(|line| line.split_once(" =").map(|(code, _)| code))
            .collect()
    }

    #[test]
    fn both_files_are_whole_and_hold_the_same_codes() {
        let english = include_str!("../locales/en/help.ftl");
        let japanese = include_str!("../locales/ja/help.ftl");
        assert!(FluentResource::try_new(english.to_owned()).is_ok());
        assert!(FluentResource::try_new(japanese.to_owned()).is_ok());
        assert_eq!(codes(english), codes(japanese));
        assert!(codes(english).len() > 60);
    }

    #[test]
    fn a_value_is_put_into_the_text() {
        let text = explain(
            "name-taken",
            &[("name", "Contoso".to_owned())],
            Language::English,
        );
        assert!(text.cause.contains("Contoso"), "{text:?}");
        assert!(!text.remedy.is_empty());
    }

    #[test]
    fn an_unknown_code_shows_itself() {
        let none: [(&str, String); 0] = [];
        assert_eq!(
            explain("no-such-code", &none, Language::Japanese).cause,
            "no-such-code"
        );
    }
}

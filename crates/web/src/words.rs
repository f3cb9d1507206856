//! The console's words in both languages.

use std::sync::LazyLock;

use fluent_bundle::concurrent::FluentBundle;
use fluent_bundle::{FluentArgs, FluentResource, FluentValue};
use tieline_core::Language;
use unic_langid::langid;

type Bundle = FluentBundle<FluentResource>;

static ENGLISH: LazyLock<Bundle> =
    LazyLock::new(|| bundle(Language::English, include_str!("../locales/en/console.ftl")));
static JAPANESE: LazyLock<Bundle> = LazyLock::new(|| {
    bundle(
        Language::Japanese,
        include_str!("../locales/ja/console.ftl"),
    )
});

/// A language to render in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Words(pub(crate) Language);

impl Words {
    pub(crate) fn language(&self) -> Language {
        self.0
    }

    pub(crate) fn tag(&self) -> &'static str {
        self.0.tag()
    }

    fn other(&self) -> Language {
        match self.0 {
            Language::English => Language::Japanese,
            Language::Japanese => Language::English,
        }
    }

    pub(crate) fn other_tag(&self) -> &'static str {
        self.other().tag()
    }

    /// A language is named in itself, so that whoever needs it can read it.
    pub(crate) fn other_name(&self) -> &'static str {
        match self.other() {
            Language::English => "English",
            Language::Japanese => "日本語",
        }
    }

    /// The text of a key.
    pub(crate) fn t(&self, key: &str) -> String {
        self.render(key, None)
    }

    /// The text of a key that names a value.
    pub(crate) fn with(&self, key: &str, name: &str, value: &str) -> String {
        let mut args = FluentArgs::new();
        args.set(name.to_owned(), value.to_owned());
        self.render(key, Some(&args))
    }

    /// The text of a key that counts.
    pub(crate) fn count(&self, key: &str, count: &usize) -> String {
        let mut args = FluentArgs::new();
        args.set("count", FluentValue::from(*count));
        self.render(key, Some(&args))
    }

    fn render(&self, key: &str, args: Option<&FluentArgs<'_>>) -> String {
        let bundle = match self.0 {
            Language::English => &ENGLISH,
            Language::Japanese => &JAPANESE,
        };
        let pattern = bundle.get_message(key).and_then(|message| message.value());
        let Some(pattern) = pattern else {
            return key.to_owned();
        };
        let mut errors = Vec::new();
        bundle
            .format_pattern(pattern, args, &mut errors)
            .into_owned()
    }
}

fn bundle(language: Language, text: &str) -> Bundle {
    let id = match language {
        Language::English => langid!("en"),
        Language::Japanese => langid!("ja"),
    };
    let mut bundle = FluentBundle::new_concurrent(vec![id]);
    bundle.set_use_isolating(false);
    let resource = FluentResource::try_new(text.to_owned()).unwrap_or_else(|(partial, _)| partial);
    bundle.add_resource_overriding(resource);
    bundle
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const EN: &str = include_str!("../locales/en/console.ftl");
    const JA: &str = include_str!("../locales/ja/console.ftl");

    fn keys(text: &str) -> BTreeSet<&str> {
        text.lines()
            .filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()))
            .filter_map(|line| line.split_once(" =").map(|(key, _)| key))
            .collect()
    }

    #[test]
    fn both_files_are_whole_and_hold_the_same_keys() {
        assert!(FluentResource::try_new(EN.to_owned()).is_ok());
        assert!(FluentResource::try_new(JA.to_owned()).is_ok());
        assert_eq!(keys(EN), keys(JA));
    }

    #[test]
    fn every_key_that_a_template_names_exists() {
        let known = keys(EN);
        let templates = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/templates"));
        let mut seen = 0;
        for entry in templates.expect("templates") {
            let text = std::fs::read_to_string(entry.expect("an entry").path()).expect("a file");
            for part in text.split("words.").skip(1) {
                let Some((call, rest)) = part.split_once("(\"") else {
                    continue;
                };
                if !matches!(call, "t" | "with" | "count") {
                    continue;
                }
                let key = rest.split('"').next().unwrap_or_default();
                assert!(known.contains(key), "no text for {key}");
                seen += 1;
            }
        }
        assert!(seen > 50);
    }

    #[test]
    fn counts_follow_the_language() {
        assert_eq!(
            Words(Language::English).count("attention", &1),
            "1 account needs attention"
        );
        assert_eq!(
            Words(Language::English).count("attention", &2),
            "2 accounts need attention"
        );
        assert!(
            Words(Language::Japanese)
                .count("attention", &2)
                .starts_with("2 件")
        );
    }
}

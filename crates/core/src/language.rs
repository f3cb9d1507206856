//! The languages that people read Tieline in.

use serde::{Deserialize, Serialize};

/// A language of the console, of errors and of help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Language {
    /// English, also the fallback.
    #[default]
    #[serde(rename = "en")]
    English,
    /// Japanese.
    #[serde(rename = "ja")]
    Japanese,
}

impl Language {
    /// Every language, in the order in which they are offered.
    pub const ALL: [Language; 2] = [Language::English, Language::Japanese];

    /// The tag of RFC 5646.
    #[must_use]
    pub fn tag(self) -> &'static str {
        match self {
            Language::English => "en",
            Language::Japanese => "ja",
        }
    }

    /// The language named by a tag such as `ja` or `en-GB`.
    #[must_use]
    pub fn from_tag(tag: &str) -> Option<Language> {
        let primary = tag.trim().split(['-', '_']).next()?;
        Language::ALL
            .into_iter()
            .find(|language| language.tag().eq_ignore_ascii_case(primary))
    }

    /// The best match for an `Accept-Language` header (RFC 9110, section 12.5.4).
    #[must_use]
    pub fn negotiate(accept_language: &str) -> Language {
        accept_language
            .split(',')
            .enumerate()
            .filter_map(|(position, range)| {
                let (tag, quality) = split_quality(range)?;
                // Of two equal weights the one named first wins.
                Some((Language::from_tag(tag)?, quality, position))
            })
            .filter(|(_, quality, _)| *quality > 0.0)
            .max_by(|a, b| a.1.total_cmp(&b.1).then(b.2.cmp(&a.2)))
            .map_or_else(Language::default, |(language, _, _)| language)
    }
}

fn split_quality(range: &str) -> Option<(&str, f32)> {
    let mut parts = range.split(';');
    let tag = parts.next()?.trim();
    let quality = parts
        .find_map(|part| part.trim().strip_prefix("q="))
        .map_or(Some(1.0), |text| text.trim().parse().ok())?;
    Some((tag, quality))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browser_headers_choose_the_language() {
        assert_eq!(
            Language::negotiate("ja,en-US;q=0.9,en;q=0.8"),
            Language::Japanese
        );
        assert_eq!(Language::negotiate("en-GB,ja;q=0.5"), Language::English);
        assert_eq!(
            Language::negotiate("de, ja;q=0.2, en;q=0.1"),
            Language::Japanese
        );
        assert_eq!(Language::negotiate("ja;q=0, en;q=0.1"), Language::English);
    }

    #[test]
    fn unknown_or_broken_headers_fall_back_to_english() {
        for header in ["", "fr", "*", ";;;,,", "ja;q=high"] {
            assert_eq!(Language::negotiate(header), Language::English, "{header}");
        }
    }
}

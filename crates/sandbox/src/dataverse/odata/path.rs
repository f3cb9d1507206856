//! The path of a resource: segments, and the keys in their parentheses.

use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::odata::expression::{Argument, Expression};
use crate::dataverse::odata::options::Aliases;

/// `contacts(…)`: a name and what stands in its parentheses, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) name: String,
    pub(crate) inside: Option<String>,
}

/// Segments of a path, more than any resource has.
const SEGMENTS_MAX: usize = 20;

/// Splits a path, as it came, into segments. Slashes separate, but not inside parentheses or
/// quotes; each segment is decoded by itself.
pub(crate) fn segments(path: &str) -> Outcome<Vec<Segment>> {
    let decoded = percent_encoding::percent_decode_str(path).decode_utf8();
    let decoded = decoded.map_err(|_| Fault::syntax("The URL is not encoded as UTF-8."))?;
    let (mut parts, mut depth, mut quoted) = (vec![String::new()], 0_usize, false);
    for character in decoded.chars() {
        match character {
            '\'' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth = depth.saturating_sub(1),
            '/' if !quoted && depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = parts.last_mut() {
            last.push(character);
        }
    }
    parts.retain(|part| !part.is_empty());
    if parts.len() > SEGMENTS_MAX {
        return Err(Fault::syntax("The request URI has too many segments."));
    }
    parts.iter().map(|part| Segment::parse(part)).collect()
}

impl Segment {
    fn parse(text: &str) -> Outcome<Self> {
        let Some((name, open)) = text.split_once('(') else {
            return Ok(Self {
                name: text.to_owned(),
                inside: None,
            });
        };
        let inside = open.strip_suffix(')').ok_or_else(|| {
            Fault::syntax(format!(
                "Bad Request - Error in query syntax: '{text}' has no closing parenthesis."
            ))
        })?;
        Ok(Self {
            name: name.to_owned(),
            inside: Some(inside.trim().to_owned()),
        })
    }

    /// `Microsoft.Dynamics.CRM.Merge` as `Merge`, when it is qualified so.
    pub(crate) fn qualified(&self) -> Option<&str> {
        self.name
            .strip_prefix("Microsoft.Dynamics.CRM.")
            .or_else(|| self.name.strip_prefix("mscrm."))
    }

    /// The key in the parentheses: one value without a name, or several with one each.
    pub(crate) fn key(&self, aliases: &Aliases) -> Outcome<Vec<KeyPart>> {
        let inside = self.inside.as_deref().unwrap_or_default();
        if inside.is_empty() {
            return Err(Fault::syntax(
                "The key value from request is not valid: it is empty.",
            ));
        }
        // Braces around an identifier are of old, and still taken.
        let bare = inside
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'))
            .unwrap_or(inside);
        Expression::arguments(bare, aliases)
    }
}

/// A part of a key: `accountnumber='A1'`, or just the value.
pub(crate) type KeyPart = Argument;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_keep_what_stands_in_quotes_and_parentheses() {
        let read = segments("contacts(a='x/y(')/fullname/$value").expect("segments");
        let names: Vec<&str> = read.iter().map(|segment| segment.name.as_str()).collect();
        assert_eq!(names, ["contacts", "fullname", "$value"]);
        assert_eq!(read[0].inside.as_deref(), Some("a='x/y('"));
        assert!(segments("").expect("no segments").is_empty());
        assert!(segments("contacts(1").is_err() && segments("%ff").is_err());
    }

    #[test]
    fn keys_have_names_or_stand_alone() {
        let aliases = Aliases::from([("@id", "3adbf27c-8efb-e511-80d2-00155db07c77")]);
        let key = |text: &str| {
            segments(text).expect("segments")[0]
                .key(&aliases)
                .expect("a key")
        };
        assert_eq!(
            key("a(@id)"),
            key("a({3ADBF27C-8EFB-E511-80D2-00155DB07C77})")
        );
        assert_eq!(key("a(n='1',m=2)")[1].name.as_deref(), Some("m"));
        assert!(segments("a()").expect("segments")[0].key(&aliases).is_err());
    }
}

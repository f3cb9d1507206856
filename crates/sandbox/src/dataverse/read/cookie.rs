//! The token of the next page: Dataverse's cookie, which holds the page's number and the values that
//! the last row of the page before has in the columns of the order.
//!
//! `<cookie pagenumber="2" pagingcookie="…" istracking="False" />`, with `<cookie page="1"><contactid
//! last="{…}" first="{…}" /></cookie>` inside, encoded twice. Clients hand it back as it is; those who
//! page FetchXML take the inner one out.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use rusqlite::types::Value;

use crate::dataverse::error::{Fault, Outcome};

/// What is encoded inside of a cookie: what would end an attribute or a query.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'*');

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cookie {
    /// The page that is asked for.
    pub(crate) page: u64,
    /// Names and values of the order's columns in the last row of the page before; none when that
    /// is not known, and rows have to be counted off.
    pub(crate) last: Option<Vec<(String, Value)>>,
    /// The version from which changes are to be told, while pages of a first reading go on.
    pub(crate) tracking: Option<i64>,
}

impl Cookie {
    /// The whole cookie, as it stands in a skip token before it is encoded for the URL.
    pub(crate) fn text(&self) -> String {
        self.text_from(&[])
    }

    /// The same, with the values of the page's first row.
    pub(crate) fn text_from(&self, first: &[Value]) -> String {
        let inner = encode_twice(&self.inner(first));
        let tracking = match self.tracking {
            Some(version) => format!("istracking=\"True\" version=\"{version}\""),
            None => "istracking=\"False\"".to_owned(),
        };
        format!(
            "<cookie pagenumber=\"{}\" pagingcookie=\"{inner}\" {tracking} />",
            self.page
        )
    }

    /// The inner cookie: what FetchXML calls `paging-cookie`.
    pub(crate) fn inner(&self, first: &[Value]) -> String {
        let mut text = format!("<cookie page=\"{}\">", self.page.saturating_sub(1));
        for (at, (name, value)) in self.last.iter().flatten().enumerate() {
            text.push_str(&format!("<{name} last{}", attribute(value)));
            if let Some(value) = first.get(at) {
                text.push_str(&format!(" first{}", attribute(value)));
            }
            text.push_str(" />");
        }
        text.push_str("</cookie>");
        text
    }

    /// Reads a skip token. Names of the values are those that were written.
    pub(crate) fn parse(text: &str) -> Outcome<Self> {
        let document = roxmltree::Document::parse(text).map_err(|_| malformed())?;
        let root = document.root_element();
        let number = |name: &str| root.attribute(name).and_then(|text| text.parse().ok());
        let page = number("pagenumber")
            .filter(|page| *page > 0)
            .ok_or_else(malformed)?;
        let inner = root.attribute("pagingcookie").unwrap_or_default();
        let tracking = root.attribute("version").and_then(|text| text.parse().ok());
        Ok(Self {
            page,
            last: Self::parse_inner(&decode(inner))?,
            tracking,
        })
    }

    /// Reads the values of an inner cookie, encoded or not.
    pub(crate) fn parse_inner(text: &str) -> Outcome<Option<Vec<(String, Value)>>> {
        let text = decode(text);
        if text.trim().is_empty() {
            return Ok(None);
        }
        // Some clients escape quotes and brackets and forget ampersands, which then stand bare.
        let repaired = bare_ampersands(&text);
        let document = roxmltree::Document::parse(&text)
            .or_else(|_| roxmltree::Document::parse(&repaired))
            .map_err(|_| malformed())?;
        let values = document
            .root_element()
            .children()
            .filter(roxmltree::Node::is_element);
        let read = values.map(|node| Some((node.tag_name().name().to_owned(), last_value(&node)?)));
        let read: Option<Vec<_>> = read.collect();
        let read = read.ok_or_else(malformed)?;
        Ok((!read.is_empty()).then_some(read))
    }

    /// The values, when they belong to these columns.
    pub(crate) fn values(self, names: &[String]) -> Outcome<Option<Vec<Value>>> {
        let Some(last) = self.last else {
            return Ok(None);
        };
        let same = last.len() == names.len()
            && last
                .iter()
                .zip(names)
                .all(|((known, _), name)| known == name);
        if !same {
            return Err(malformed());
        }
        Ok(Some(last.into_iter().map(|(_, value)| value).collect()))
    }
}

/// Escapes ampersands that begin no reference.
fn bare_ampersands(text: &str) -> String {
    let mut parts = text.split('&');
    let mut repaired = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let name = part.split_once(';').map(|(name, _)| name);
        let known = name.is_some_and(|name| {
            matches!(name, "amp" | "lt" | "gt" | "quot" | "apos") || name.starts_with('#')
        });
        repaired.push_str(if known { "&" } else { "&amp;" });
        repaired.push_str(part);
    }
    repaired
}

fn malformed() -> Fault {
    Fault::new(
        axum::http::StatusCode::BAD_REQUEST,
        "0x80040203",
        "Malformed XML in the Paging Cookie: it has to come back as it was given, with the same query.",
    )
}

/// `="5"` after `last` or `first`, with the kind of the value where the text does not tell it.
fn attribute(value: &Value) -> String {
    match value {
        Value::Null | Value::Blob(_) => "null=\"1\"".to_owned(),
        Value::Integer(whole) => format!("n=\"{whole}\""),
        Value::Real(real) => format!("r=\"{real:?}\""),
        Value::Text(text) if text.len() == 36 && text.parse::<uuid::Uuid>().is_ok() => {
            format!("=\"{{{}}}\"", text.to_uppercase())
        }
        Value::Text(text) => format!("=\"{}\"", escape(text)),
    }
}

fn last_value(node: &roxmltree::Node<'_, '_>) -> Option<Value> {
    if node.attribute("lastnull").is_some() {
        return Some(Value::Null);
    }
    if let Some(whole) = node.attribute("lastn") {
        return whole.parse().ok().map(Value::Integer);
    }
    if let Some(real) = node.attribute("lastr") {
        return real.parse().ok().map(Value::Real);
    }
    let text = node.attribute("last")?;
    let id = text
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
        .and_then(|id| id.parse::<uuid::Uuid>().ok());
    Some(Value::Text(
        id.map_or_else(|| text.to_owned(), |id| id.to_string()),
    ))
}

/// A text inside of an attribute of XML.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            // XML 1.0 has no way to write most control characters; line ends would be normalised.
            '\t' | '\n' | '\r' => escaped.push_str(&format!("&#{};", u32::from(character))),
            other if other.is_control() => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

pub(crate) fn encode_twice(text: &str) -> String {
    let once = utf8_percent_encode(text, ENCODED).to_string();
    utf8_percent_encode(&once, ENCODED).to_string()
}

/// Takes off every layer of percent encoding that is left.
fn decode(text: &str) -> String {
    let mut text = text.to_owned();
    for _ in 0..4 {
        if text.trim_start().starts_with('<') || !text.contains('%') {
            break;
        }
        text = percent_decode_str(&text).decode_utf8_lossy().into_owned();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_comes_back_as_it_went() {
        let cookie = Cookie {
            page: 3,
            last: Some(vec![
                (
                    "fullname".into(),
                    Value::Text("O'Neill & <Söhne> \"100%\"".into()),
                ),
                ("revenue".into(), Value::Real(0.1)),
                ("statecode".into(), Value::Integer(0)),
                ("parent".into(), Value::Null),
                (
                    "contactid".into(),
                    Value::Text("3adbf27c-8efb-e511-80d2-00155db07c77".into()),
                ),
            ]),
            tracking: Some(17),
        };
        assert_eq!(Cookie::parse(&cookie.text()).expect("a cookie"), cookie);
        let inner = cookie.inner(&[]);
        for text in [inner.clone(), encode_twice(&inner)] {
            assert_eq!(
                Cookie::parse_inner(&text).expect("values"),
                cookie.last,
                "{text}"
            );
        }
    }

    #[test]
    fn ampersands_that_a_client_forgot_are_read() {
        let inner = "<cookie page=\"1\"><name last=\"Smith & Sons &lt;&#33;\" /></cookie>";
        let values = Cookie::parse_inner(inner)
            .expect("a cookie")
            .expect("values");
        assert_eq!(
            values,
            [("name".to_owned(), Value::Text("Smith & Sons <!".to_owned()))]
        );
    }

    #[test]
    fn what_is_no_cookie_is_refused() {
        for text in [
            "",
            "1",
            "<cookie",
            "<cookie pagenumber=\"0\"/>",
            "<cookie pagenumber=\"2\" pagingcookie=\"%3Ca\"/>",
        ] {
            assert!(Cookie::parse(text).is_err(), "{text}");
        }
    }
}

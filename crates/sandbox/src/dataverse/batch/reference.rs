//! `$1`: the row that an earlier operation of the batch was about.

use std::collections::HashMap;

use bytes::Bytes;
use serde_json::Value;

use crate::dataverse::batch::multipart::shortened;
use crate::dataverse::error::{Fault, Outcome};

/// Addresses behind the service's own, such as `accounts(…)`, by content id.
#[derive(Debug, Clone, Default)]
pub(super) struct References(HashMap<String, String>);

/// What begins with a dollar sign and is no reference.
const SYSTEM: [&str; 6] = [
    "$metadata",
    "$batch",
    "$all",
    "$entity",
    "$crossjoin",
    "$root",
];

impl References {
    pub(super) fn insert(&mut self, id: &str, address: String) {
        self.0.insert(id.to_owned(), address);
    }

    /// A path with the reference at its beginning replaced.
    pub(super) fn path(&self, path: &str) -> Outcome<String> {
        let decoded = path.strip_prefix("%24").map(|rest| format!("${rest}"));
        let path = decoded.as_deref().unwrap_or(path);
        let first = path.split(['/', '(']).next().unwrap_or_default();
        if !path.starts_with('$') || SYSTEM.contains(&first) {
            return Ok(path.to_owned());
        }
        self.replaced(path)
    }

    /// A query whose `$id` is a reference.
    pub(super) fn query(&self, query: &str, base: &str) -> Outcome<String> {
        let mut options = Vec::new();
        for option in query.split('&') {
            let value = option
                .strip_prefix("$id=")
                .or_else(|| option.strip_prefix("%24id="));
            let value = value.map(|value| value.replacen("%24", "$", 1));
            match value.filter(|value| value.starts_with('$')) {
                Some(value) => options.push(format!("$id={base}{}", self.replaced(&value)?)),
                None => options.push(option.to_owned()),
            }
        }
        Ok(options.join("&"))
    }

    /// A body with the references in its bindings replaced by whole addresses.
    pub(super) fn body(&self, body: &Bytes, base: &str) -> Outcome<Bytes> {
        if !body.contains(&b'$') {
            return Ok(body.clone());
        }
        // What is no JSON is for the operation to refuse.
        let Ok(mut value) = serde_json::from_slice::<Value>(body) else {
            return Ok(body.clone());
        };
        if self.replace_in(&mut value, base)? == Changed::No {
            return Ok(body.clone());
        }
        Ok(serde_json::to_vec(&value).map_or_else(|_| body.clone(), Bytes::from))
    }

    fn replace_in(&self, value: &mut Value, base: &str) -> Outcome<Changed> {
        let mut changed = Changed::No;
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    let binds = name.ends_with("@odata.bind")
                        || matches!(name.as_str(), "@odata.id" | "@id");
                    let here = if binds {
                        self.bound(value, base)
                    } else {
                        self.replace_in(value, base)
                    };
                    changed = changed.or(here?);
                }
            }
            Value::Array(values) => {
                for value in values {
                    changed = changed.or(self.replace_in(value, base)?);
                }
            }
            _ => {}
        }
        Ok(changed)
    }

    fn bound(&self, value: &mut Value, base: &str) -> Outcome<Changed> {
        match value {
            Value::String(text) => {
                let bare = text.strip_prefix(base).unwrap_or(text);
                let bare = bare.strip_prefix('/').unwrap_or(bare);
                if !bare.starts_with('$') {
                    return Ok(Changed::No);
                }
                *text = format!("{base}{}", self.replaced(bare)?);
                Ok(Changed::Yes)
            }
            Value::Array(values) => {
                let mut changed = Changed::No;
                for value in values {
                    changed = changed.or(self.bound(value, base)?);
                }
                Ok(changed)
            }
            _ => Ok(Changed::No),
        }
    }

    /// `$1` or `$1/lastname`: the id is everything up to the slash.
    fn replaced(&self, text: &str) -> Outcome<String> {
        let (first, rest) = match text.find('/') {
            Some(at) => text.split_at_checked(at).unwrap_or((text, "")),
            None => (text, ""),
        };
        let known = first.strip_prefix('$').and_then(|id| self.0.get(id));
        let address = known.ok_or_else(|| {
            let first = shortened(first);
            Fault::syntax(format!(
                "Content-ID Reference: '{first}' does not exist in the batch context."
            ))
        })?;
        Ok(format!("{address}{rest}"))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Changed {
    Yes,
    No,
}

impl Changed {
    fn or(self, other: Self) -> Self {
        if self == Self::Yes { self } else { other }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn references() -> References {
        let mut references = References::default();
        references.insert("1", "contacts(a)".to_owned());
        references.insert("11", "accounts(b)".to_owned());
        references
    }

    #[test]
    fn an_id_is_taken_whole() {
        let path = |text| references().path(text).map_err(|fault| fault.message);
        assert_eq!(path("$1/lastname").as_deref(), Ok("contacts(a)/lastname"));
        assert_eq!(path("$11").as_deref(), Ok("accounts(b)"));
        assert_eq!(path("%2411").as_deref(), Ok("accounts(b)"));
        assert_eq!(path("$metadata").as_deref(), Ok("$metadata"));
        assert_eq!(
            path("$2/x").expect_err("undeclared"),
            "Content-ID Reference: '$2' does not exist in the batch context."
        );
    }

    #[test]
    fn bindings_are_replaced_and_other_texts_are_not() {
        let body = r#"{"name":"$1","a@odata.bind":"$1","b@odata.bind":["/$11","contacts(c)"],
            "deep":[{"@odata.id":"https://h/$1"}]}"#;
        let replaced = references()
            .body(&Bytes::from(body), "https://h/")
            .expect("a body");
        let value: Value = serde_json::from_slice(&replaced).expect("JSON");
        let wanted = serde_json::json!({"name": "$1", "a@odata.bind": "https://h/contacts(a)",
            "b@odata.bind": ["https://h/accounts(b)", "contacts(c)"],
            "deep": [{"@odata.id": "https://h/contacts(a)"}]});
        assert_eq!(value, wanted);
        let plain = Bytes::from(r#"{"price":"$100",  "x":1}"#);
        assert_eq!(
            references().body(&plain, "https://h/").expect("a body"),
            plain
        );
        let unknown = Bytes::from(r#"{"a@odata.bind":"$7"}"#);
        assert!(references().body(&unknown, "https://h/").is_err());
    }

    #[test]
    fn a_row_to_unlink_may_be_a_reference() {
        let query = references()
            .query("x=1&$id=$1", "https://h/")
            .expect("a query");
        assert_eq!(query, "x=1&$id=https://h/contacts(a)");
    }
}

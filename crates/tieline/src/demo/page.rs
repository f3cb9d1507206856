//! Reads the forms of a web page, as far as the consent's pages need it: fields with their values,
//! and buttons. No parser of HTML in general.

/// A form of a page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Form {
    /// Where it is sent, as written; empty is the page's own address.
    pub(crate) action: String,
    /// Hidden and visible fields with their values.
    pub(crate) fields: Vec<(String, String)>,
    /// Buttons: identifier, name, value.
    pub(crate) buttons: Vec<Button>,
}

/// A button that sends a form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Button {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) value: String,
    /// Where this button sends the form, if elsewhere.
    pub(crate) action: String,
}

impl Form {
    /// Whether there is a field of this name.
    pub(crate) fn has(&self, field: &str) -> bool {
        self.fields.iter().any(|(name, _)| name == field)
    }

    /// Fills in a field.
    pub(crate) fn set(&mut self, field: &str, value: &str) {
        for (name, held) in &mut self.fields {
            if name == field {
                value.clone_into(held);
            }
        }
    }

    /// The button of this identifier.
    pub(crate) fn button(&self, id: &str) -> Option<&Button> {
        self.buttons.iter().find(|button| button.id == id)
    }
}

/// The forms of a page, in order.
pub(crate) fn forms(html: &str) -> Vec<Form> {
    let mut forms = Vec::new();
    let mut open: Option<Form> = None;
    for tag in tags(html) {
        let form = open.as_mut();
        match (tag.name.as_str(), form) {
            ("form", _) => {
                let action = tag.value("action").unwrap_or_default();
                forms.extend(open.replace(Form {
                    action,
                    ..Form::default()
                }));
            }
            ("/form", _) => forms.extend(open.take()),
            ("input", Some(form)) if tag.value("type").as_deref() == Some("submit") => {
                form.buttons.push(tag.button());
            }
            ("button", Some(form)) => form.buttons.push(tag.button()),
            // An unticked box is not sent.
            ("input", Some(form)) if tag.value("type").as_deref() != Some("checkbox") => {
                if let Some(name) = tag.value("name") {
                    form.fields
                        .push((name, tag.value("value").unwrap_or_default()));
                }
            }
            _ => {}
        }
    }
    forms.extend(open);
    forms
}

struct Tag {
    name: String,
    attributes: Vec<(String, String)>,
}

impl Tag {
    fn value(&self, name: &str) -> Option<String> {
        let found = self.attributes.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone())
    }

    fn button(&self) -> Button {
        let value = |name| self.value(name).unwrap_or_default();
        Button {
            id: value("id"),
            name: value("name"),
            value: value("value"),
            action: value("formaction"),
        }
    }
}

fn tags(html: &str) -> Vec<Tag> {
    let mut found = Vec::new();
    let mut rest = html;
    while let Some(start) = rest.find('<') {
        rest = &rest[start + 1..];
        if let Some(comment) = rest.strip_prefix("!--") {
            rest = comment.split_once("-->").map_or("", |(_, after)| after);
            continue;
        }
        let end = end_of_tag(rest);
        found.push(read_tag(&rest[..end]));
        rest = &rest[end..];
    }
    found
}

/// Where a tag ends: at the first `>` outside quotes.
fn end_of_tag(text: &str) -> usize {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, '>') => return at,
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            _ => {}
        }
    }
    text.len()
}

fn read_tag(text: &str) -> Tag {
    let (name, mut rest) = text
        .split_once(|c: char| c.is_whitespace())
        .unwrap_or((text.trim_end_matches('/'), ""));
    let mut attributes = Vec::new();
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '/');
        if rest.is_empty() {
            break;
        }
        let end = rest
            .find(|c: char| c == '=' || c.is_whitespace())
            .unwrap_or(rest.len());
        let key = rest[..end].to_ascii_lowercase();
        rest = rest[end..].trim_start();
        let mut value = "";
        if let Some(after) = rest.strip_prefix('=') {
            (value, rest) = read_value(after.trim_start());
        }
        attributes.push((key, unescape(value)));
    }
    Tag {
        name: name.to_ascii_lowercase(),
        attributes,
    }
}

fn read_value(text: &str) -> (&str, &str) {
    for quote in ['"', '\''] {
        if let Some(inner) = text.strip_prefix(quote) {
            return inner.split_once(quote).unwrap_or((inner, ""));
        }
    }
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    text.split_at(end)
}

/// Character references, those that templates write.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('&') {
        plain.push_str(&rest[..start]);
        rest = &rest[start..];
        let decoded = rest
            .find(';')
            .and_then(|end| Some((character(&rest[1..end])?, end)));
        let (c, end) = decoded.unwrap_or(('&', 0));
        plain.push(c);
        rest = &rest[end + 1..];
    }
    plain.push_str(rest);
    plain
}

fn character(reference: &str) -> Option<char> {
    match reference {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = reference.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_with_its_fields_and_buttons() {
        let html = r#"<!-- <form action="/no"> --><form method="post" action='/login?a=1&amp;b=2'>
            <input type="hidden" name="flow" value="a&#x27;&quot;b &#60; c"/>
            <input name=login id=i0116>
            <input type="checkbox" name="consent_all" value="1" checked>
            <input type="submit" id="idSIButton9" value="Next > there">
            <button id="idBtn_Accept" name="decision" value="accept" formaction="/yes">OK</button>
            </form><form action="/other"></form>"#;
        let found = forms(html);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].action, "/login?a=1&b=2");
        let fields = [
            ("flow".to_owned(), "a'\"b < c".to_owned()),
            ("login".to_owned(), String::new()),
        ];
        assert_eq!(found[0].fields, fields);
        assert_eq!(
            found[0].button("idSIButton9").expect("there").value,
            "Next > there"
        );
        assert_eq!(
            found[0].button("idBtn_Accept").expect("there").action,
            "/yes"
        );
    }

    #[test]
    fn broken_pages_are_read_as_far_as_they_go() {
        for html in [
            "<",
            "<form",
            "<form action=\"",
            "<!--",
            "<form><input name='a'",
            "&#xd800;",
            "a<>b",
        ] {
            let _ = forms(html);
        }
        assert_eq!(
            forms("<form><input name='a' value='&nope;&'>")[0].fields[0].1,
            "&nope;&"
        );
    }
}

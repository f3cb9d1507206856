//! Links in JSON, turned while they stream by: those of an answer back to the gateway, those of a
//! request on to the organization.
//!
//! Only values of OData's link annotations are looked at, and only their beginning; nothing is held
//! back but a beginning that may still become the address. Text that only looks like a link is not
//! touched, and what is no JSON passes as it is.

use bytes::{BufMut as _, Bytes, BytesMut};

/// Deeper nesting than any answer of Dynamics has; what is deeper passes untouched.
const DEPTH_MAX: usize = 128;
/// Longer than any link annotation's name.
const KEY_MAX: usize = 200;

/// Which annotations hold links: those that Dynamics sends, and those that clients send.
const ENDINGS: [&[u8]; 9] = [
    b"@odata.nextLink",
    b"@odata.deltaLink",
    b"@odata.context",
    b"@odata.id",
    b"@odata.editLink",
    b"@odata.readLink",
    b"@odata.navigationLink",
    b"@odata.associationLink",
    b"@odata.bind",
];

/// Turns one address into another in one document.
#[derive(Debug)]
pub(crate) struct Links {
    from: Vec<u8>,
    to: Vec<u8>,
    state: State,
    stack: Vec<Container>,
    /// Whether what comes is the value of a link annotation.
    link: bool,
    key: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Container {
    /// In an object; whether a key comes next.
    Object { key_next: bool },
    /// In an array; whether its strings are links.
    Array { links: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Between,
    /// In a string of no interest.
    Text,
    TextEscape,
    Key,
    KeyEscape,
    /// In a link's value, so many bytes of which are those of the address.
    Begins(usize),
    /// Nothing is looked at any more.
    Asleep,
}

impl Links {
    /// Both addresses without a slash at the end, such as `https://contoso.crm.dynamics.com`.
    pub(crate) fn new(from: &str, to: &str) -> Self {
        Self {
            from: from.as_bytes().to_vec(),
            to: to.as_bytes().to_vec(),
            state: State::Between,
            stack: Vec::new(),
            link: false,
            key: Vec::new(),
        }
    }

    /// What becomes of a piece of the document.
    pub(crate) fn turn(&mut self, piece: Bytes) -> Bytes {
        let mut turned = BytesMut::new();
        let mut copied = 0;
        let mut at = 0;
        while at < piece.len() {
            match self.state {
                State::Asleep => break,
                State::Text => {
                    // Most of a document is text: it is skipped, not stepped through.
                    match memchr::memchr2(b'"', b'\\', &piece[at..]) {
                        Some(skipped) => at += skipped,
                        None => break,
                    }
                    self.state = if piece[at] == b'"' {
                        State::Between
                    } else {
                        State::TextEscape
                    };
                }
                State::Begins(matched) => {
                    let byte = piece[at];
                    if matched < self.from.len() && byte == self.from[matched] {
                        self.state = State::Begins(matched + 1);
                    } else {
                        let whole =
                            matched == self.from.len() && matches!(byte, b'/' | b'"' | b'?' | b'#');
                        // What was held back goes out, as it is or as the other address; the part
                        // of it that lies in this piece is not copied again.
                        let here = matched.min(at - copied);
                        turned.put_slice(&piece[copied..at - here]);
                        if whole {
                            turned.put_slice(&self.to);
                        } else {
                            turned.put_slice(&self.held(matched - here));
                            turned.put_slice(&piece[at - here..at]);
                        }
                        copied = at;
                        self.state = State::Text;
                        continue;
                    }
                }
                _ => self.step(piece[at]),
            }
            at += 1;
        }
        // What may still become the address waits for the next piece.
        let held = match self.state {
            State::Begins(matched) => matched.min(piece.len() - copied),
            _ => 0,
        };
        if copied == 0 && held == 0 && turned.is_empty() {
            return piece;
        }
        turned.put_slice(&piece[copied..piece.len() - held]);
        turned.freeze()
    }

    /// What is left when the document ends in the middle of a link.
    pub(crate) fn rest(&mut self) -> Bytes {
        let rest = match self.state {
            State::Begins(matched) => self.held(matched),
            _ => Vec::new(),
        };
        self.state = State::Asleep;
        Bytes::from(rest)
    }

    /// The first bytes of the address, which earlier pieces ended in.
    fn held(&self, count: usize) -> Vec<u8> {
        self.from[..count].to_vec()
    }

    fn step(&mut self, byte: u8) {
        match (self.state, byte) {
            (State::TextEscape, _) => self.state = State::Text,
            (State::Key, b'"') => {
                self.link = ENDINGS.iter().any(|ending| self.key.ends_with(ending));
                self.state = State::Between;
            }
            (State::Key, b'\\') => self.state = State::KeyEscape,
            (State::Key, byte) => {
                if self.key.len() < KEY_MAX {
                    self.key.push(byte);
                } else {
                    // A name that long is no annotation's, whatever it ends in.
                    self.key.clear();
                }
            }
            (State::KeyEscape, _) => {
                // No annotation's name has anything to escape.
                self.key.clear();
                self.state = State::Key;
            }
            (State::Between, b'"') => self.begin_string(),
            (State::Between, b'{') => self.open(Container::Object { key_next: true }),
            (State::Between, b'[') => {
                let links = self.link;
                self.open(Container::Array { links });
            }
            (State::Between, b'}' | b']') => {
                self.stack.pop();
                self.link = false;
            }
            (State::Between, b',') => {
                if let Some(Container::Object { key_next }) = self.stack.last_mut() {
                    *key_next = true;
                    self.link = false;
                }
            }
            _ => {}
        }
    }

    fn begin_string(&mut self) {
        self.state = match self.stack.last_mut() {
            Some(Container::Object { key_next }) if *key_next => {
                *key_next = false;
                self.key.clear();
                State::Key
            }
            Some(Container::Object { .. }) if self.link => State::Begins(0),
            Some(Container::Array { links: true }) => State::Begins(0),
            _ => State::Text,
        };
    }

    fn open(&mut self, container: Container) {
        self.link = false;
        if self.stack.len() == DEPTH_MAX {
            self.state = State::Asleep;
        } else {
            self.stack.push(container);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const FROM: &str = "https://contoso.crm.dynamics.com";
    const TO: &str = "http://gw:8421/Contoso";

    fn turned(pieces: &[&[u8]]) -> String {
        let mut links = Links::new(FROM, TO);
        let mut whole = Vec::new();
        for piece in pieces {
            whole.extend_from_slice(&links.turn(Bytes::copy_from_slice(piece)));
        }
        whole.extend_from_slice(&links.rest());
        String::from_utf8(whole).expect("UTF-8")
    }

    #[test]
    fn links_are_turned_and_what_looks_like_one_is_not() {
        let document = json!({
            "@odata.context": format!("{FROM}/api/data/v9.2/$metadata#contacts"),
            "@odata.nextLink": format!("{FROM}/api/data/v9.2/contacts?$skiptoken=1"),
            "x@odata.bind": [format!("{FROM}/api/data/v9.2/contacts(1)"), "contacts(2)"],
            "websiteurl": format!("{FROM}/about"),
            "description": format!("\"@odata.nextLink\":\"{FROM}/x\""),
            "value": [
                {"@odata.id": format!("{FROM}.evil.example/x"), "a@odata.nextLink": FROM},
                {"@odata.etag": "W/\"1\"", "list": [FROM]},
            ],
        });
        let text = turned(&[document.to_string().as_bytes()]);
        let seen: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(
            seen["@odata.context"],
            format!("{TO}/api/data/v9.2/$metadata#contacts")
        );
        assert_eq!(
            seen["@odata.nextLink"],
            format!("{TO}/api/data/v9.2/contacts?$skiptoken=1")
        );
        assert_eq!(
            seen["x@odata.bind"][0],
            format!("{TO}/api/data/v9.2/contacts(1)")
        );
        assert_eq!(seen["x@odata.bind"][1], "contacts(2)");
        assert_eq!(seen["websiteurl"], document["websiteurl"]);
        assert_eq!(seen["description"], document["description"]);
        assert_eq!(
            seen["value"][0]["@odata.id"],
            document["value"][0]["@odata.id"]
        );
        assert_eq!(seen["value"][0]["a@odata.nextLink"], TO);
        assert_eq!(seen["value"][1], document["value"][1]);
    }

    #[test]
    fn a_piece_without_links_is_not_copied() {
        let piece = Bytes::from_static(br#"{"value":[{"name":"x"}]}"#);
        let mut links = Links::new(FROM, TO);
        assert_eq!(links.turn(piece.clone()).as_ptr(), piece.as_ptr());
    }

    #[test]
    fn an_end_in_the_middle_of_a_link_loses_nothing() {
        let text = format!("{{\"@odata.id\":\"{}", &FROM[..12]);
        assert_eq!(turned(&[text.as_bytes()]), text);
    }

    /// The same, by way of a whole parse.
    fn oracle(value: Value, link: bool) -> Value {
        match value {
            Value::String(text) if link => match text.strip_prefix(FROM) {
                Some(rest) if rest.is_empty() || rest.starts_with(['/', '?', '#']) => {
                    Value::String(format!("{TO}{rest}"))
                }
                _ => Value::String(text),
            },
            Value::Array(items) => items
                .into_iter()
                .map(|item| {
                    let link = link && item.is_string();
                    oracle(item, link)
                })
                .collect(),
            Value::Object(members) => members
                .into_iter()
                .map(|(key, value)| {
                    let link = ENDINGS
                        .iter()
                        .any(|ending| key.as_bytes().ends_with(ending));
                    let value = oracle(value, link);
                    (key, value)
                })
                .collect(),
            other => other,
        }
    }

    fn documents() -> impl Strategy<Value = Value> {
        let text = prop_oneof![
            Just(format!("{FROM}/api/data/v9.2/contacts")),
            Just(FROM.to_owned()),
            Just(format!("{FROM}x/y")),
            Just(FROM[..9].to_owned()),
            Just(format!("{}{FROM}/x", &FROM[..8])),
            "[a-z\"\\\\\u{0}-\u{1f}é/:{}\\[\\],]{0,12}",
        ];
        let key = prop_oneof![
            Just("@odata.nextLink".to_owned()),
            Just("accountid@odata.bind".to_owned()),
            Just("@odata.id".to_owned()),
            "[a-z\"\\\\@.]{0,8}",
        ];
        let leaf = prop_oneof![
            text.prop_map(Value::String),
            any::<bool>().prop_map(Value::Bool),
            any::<i32>().prop_map(Value::from),
            Just(Value::Null),
        ];
        leaf.prop_recursive(4, 40, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
                prop::collection::vec((key.clone(), inner), 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_come_to_the_same(
            document in documents(),
            pretty in any::<bool>(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let text = if pretty {
                serde_json::to_string_pretty(&document).expect("JSON")
            } else {
                document.to_string()
            };
            let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            places.extend([0, text.len()]);
            places.sort_unstable();
            let pieces: Vec<&[u8]> =
                places.windows(2).map(|pair| &text.as_bytes()[pair[0]..pair[1]]).collect();
            let seen: Value = serde_json::from_str(&turned(&pieces)).expect("JSON");
            prop_assert_eq!(seen, oracle(document, false));
        }

        #[test]
        fn whatever_is_no_json_passes_whole(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut links = Links::new(FROM, TO);
            let mut out = links.turn(Bytes::from(bytes.clone())).to_vec();
            out.extend_from_slice(&links.rest());
            prop_assert_eq!(out, bytes);
        }
    }
}

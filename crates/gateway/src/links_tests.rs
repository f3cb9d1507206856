use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::address::Side;

const LINKS: [&str; 12] = [
    "nextLink",
    "deltaLink",
    "context",
    "id",
    "editLink",
    "readLink",
    "navigationLink",
    "associationLink",
    "mediaReadLink",
    "mediaEditLink",
    "type",
    "bind",
];
const FROM: &str = "https://contoso.crm.dynamics.com";
const TO: &str = "http://gw:8421/Contoso%20Sales";

fn turned(side: Side, pieces: &[&[u8]]) -> Vec<u8> {
    let mut links = Links::new(Arc::new(Turning::example(side)));
    let mut whole = Vec::new();
    for piece in pieces {
        whole.extend_from_slice(&links.turn(Bytes::copy_from_slice(piece)));
    }
    whole.extend_from_slice(&links.rest());
    whole
}

/// The same, byte by byte, with nothing told at a glance.
fn slowly(side: Side, document: &[u8]) -> Vec<u8> {
    let turning = Turning::example(side);
    let mut walk = Walk::new(&turning, document, Machine::new());
    while walk.at < document.len() {
        walk.step();
    }
    let held = &document[walk.end..];
    let turned = walk.out();
    let turned =
        turned.unwrap_or_else(|| Bytes::copy_from_slice(&document[..document.len() - held.len()]));
    [&turned, held].concat()
}

fn text(side: Side, document: &str) -> String {
    String::from_utf8(turned(side, &[document.as_bytes()])).expect("UTF-8")
}

#[test]
fn links_are_turned_and_what_looks_like_one_is_not() {
    let document = json!({
        "@odata.context": format!("{FROM}/api/data/v9.2/$metadata#contacts"),
        "@odata.nextLink": format!("{FROM}/api/data/v9.2/contacts?$skiptoken=1"),
        "@nextLink": format!("{FROM}/api/data/v9.2/contacts?$skiptoken=2"),
        "x@odata.bind": [format!("{FROM}/api/data/v9.2/contacts(1)"), "contacts(2)"],
        "websiteurl": format!("{FROM}/about"),
        "odata.nextLink": format!("{FROM}/no annotation"),
        "description": format!("\"@odata.nextLink\":\"{FROM}/x\""),
        "emailaddress1": "joe@id",
        "url": format!("{FROM}/x"),
        "x@Microsoft.Dynamics.CRM.lookuplogicalname": format!("{FROM}/x"),
        "@Microsoft.Dynamics.CRM.fetchxmlpagingcookie": format!("<cookie a=\"{FROM}/x\"/>"),
        "value": [
            {"@odata.id": format!("{FROM}.evil.example/x"), "a@odata.nextLink": FROM},
            {"@odata.etag": "W/\"1\"", "list": [FROM, "@odata.id", FROM]},
        ],
    });
    let seen: Value = serde_json::from_str(&text(Side::Back, &document.to_string())).expect("JSON");
    let mut expected = document;
    expected["@odata.context"] = format!("{TO}/api/data/v9.2/$metadata#contacts").into();
    expected["@odata.nextLink"] = format!("{TO}/api/data/v9.2/contacts?$skiptoken=1").into();
    expected["@nextLink"] = format!("{TO}/api/data/v9.2/contacts?$skiptoken=2").into();
    expected["x@odata.bind"][0] = format!("{TO}/api/data/v9.2/contacts(1)").into();
    expected["value"][0]["a@odata.nextLink"] = TO.into();
    assert_eq!(seen, expected);
}

#[test]
fn escapes_hide_nothing() {
    for (document, expected) in [
        (
            r#"{"@odata.nextLink":"https:\/\/contoso.crm.dynamics.com\/api\/x"}"#,
            r#"{"@odata.nextLink":"http://gw:8421/Contoso%20Sales\/api\/x"}"#,
        ),
        (
            r#"{"@odata.id" : "HTTPS:\u002f\u002FContoso.crm.dynamics.com:443/api/x"}"#,
            r#"{"@odata.id" : "http://gw:8421/Contoso%20Sales/api/x"}"#,
        ),
        (
            r#"{"x\u0040odata.nextL\u0069nk":"https://contoso.crm.dynamics.com/api"}"#,
            r#"{"x\u0040odata.nextL\u0069nk":"http://gw:8421/Contoso%20Sales/api"}"#,
        ),
    ] {
        assert_eq!(text(Side::Back, document), expected);
    }
    for untouched in [
        r#"{"a":"\\","description":"\\\"@odata.id\":\"https://contoso.crm.dynamics.com/x"}"#,
        r#"{"@odata.id":"\"https://contoso.crm.dynamics.com/x"}"#,
        r#"{"@odata.id\n":"https://contoso.crm.dynamics.com/x"}"#,
        r#"{"@odata.id":"https://contoso.crm.dynamics.co\u006d.evil.example/x"}"#,
    ] {
        assert_eq!(text(Side::Back, untouched), untouched);
    }
}

#[test]
fn what_a_client_learned_here_leads_back() {
    let document = r#"{"a@odata.bind":"/Contoso%20Sales/api/data/v9.2/accounts(1)",
        "b@odata.bind":["http://gw:8421/Contoso%20Sales/api/data/v9.2/accounts(1)","/accounts(2)","$1"],
        "@odata.id":"http://gw/api/data/v9.2/accounts(3)","name":"http://gw:8421/api"}"#;
    let expected = r#"{"a@odata.bind":"/api/data/v9.2/accounts(1)",
        "b@odata.bind":["https://contoso.crm.dynamics.com/api/data/v9.2/accounts(1)","/accounts(2)","$1"],
        "@odata.id":"https://contoso.crm.dynamics.com/api/data/v9.2/accounts(3)","name":"http://gw:8421/api"}"#;
    assert_eq!(text(Side::There, document), expected);
}

#[test]
fn a_piece_without_links_is_not_copied() {
    let piece = Bytes::from_static(br#"{"value":[{"@odata.etag":"W/\"1\"","name":"x"}]}"#);
    let mut links = Links::new(Arc::new(Turning::example(Side::Back)));
    assert_eq!(links.turn(piece.clone()).as_ptr(), piece.as_ptr());
}

#[test]
fn an_end_in_the_middle_of_a_link_loses_nothing() {
    let cut = format!("{{\"@odata.id\":\"{}", &FROM[..12]);
    assert_eq!(text(Side::Back, &cut), cut);
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
        Value::Array(items) => {
            // A list of links holds nothing else; where it does, the rest is none.
            let mut strings = link;
            let each = items.into_iter().map(|item| {
                strings &= item.is_string();
                oracle(item, strings)
            });
            each.collect()
        }
        Value::Object(members) => members
            .into_iter()
            .map(|(key, value)| {
                let link = key.rsplit_once('@').is_some_and(|(_, name)| {
                    LINKS.contains(&name.strip_prefix("odata.").unwrap_or(name))
                });
                let value = match value {
                    Value::Object(_) => oracle(value, false),
                    value => oracle(value, link),
                };
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
        Just("@odata.id".to_owned()),
        Just(format!("\"@odata.id\":\"{FROM}/x")),
        "[a-z@\"\\\\\u{0}-\u{1f}é/:{}\\[\\],]{0,12}",
    ];
    let key = prop_oneof![
        Just("@odata.nextLink".to_owned()),
        Just("accountid@odata.bind".to_owned()),
        Just("@odata.id".to_owned()),
        Just("a\"@id".to_owned()),
        Just("@context".to_owned()),
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

/// Writes characters as escapes, here and there.
fn escaped(text: &str, seed: u64) -> String {
    let mut out = String::new();
    let mut chance = seed;
    let mut in_text = false;
    let mut after_backslash = false;
    for character in text.chars() {
        chance = chance
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let plain = !after_backslash && character != '\\' && character != '"';
        match (chance >> 60, character) {
            (0..2, '/') if in_text && plain => out.push_str("\\/"),
            (2, _) if in_text && plain && character.is_ascii() => {
                out.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            _ => out.push(character),
        }
        in_text ^= character == '"' && !after_backslash;
        after_backslash = character == '\\' && !after_backslash;
    }
    out
}

pub(crate) fn pieces<'a>(text: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
    places.extend([0, text.len()]);
    places.sort_unstable();
    places
        .windows(2)
        .map(|pair| &text[pair[0]..pair[1]])
        .collect()
}

/// Text that is made of links, of what is nearly one, and of what links are made of.
fn lookalikes() -> impl Strategy<Value = String> {
    let link = [
        &["", "", "", "\"", "a", "\\", r"\\", "\"x@"][..],
        &["@", "@", "@", r"\u0040", r"\u0040", r"\U0040", "@@"],
        &[
            "odata.",
            "odata.",
            "",
            "",
            r"od\u0061ta.",
            r"\u006fdata.",
            r"o\u0064ata.",
            "odata",
            "odata.odata.",
        ],
        &[
            "id",
            "id",
            "type",
            "context",
            "nextLink",
            "navigationLink",
            "editLink",
            "bind",
            "etag",
            "mediaReadLink",
            "mediaEditLink",
            "associationLink",
            r"\u0069d",
            r"i\u0064",
            "i",
            "Id",
            r"next\u004cink",
            r"\u0040id",
            "deltaLink",
            "readLink",
            "idx",
            "",
            r"\u00e7id",
        ],
        &["\"", "\"", "\"", "\"", "", "\\\"", "\" "],
        &[
            ":\"",
            ":\"",
            ":\"",
            ": \"",
            "\n:\t\"",
            ":[\"",
            ": [ \"",
            ":[\"$1\",\"",
            ":[\"a\\\"\" , \"",
            ":",
            ",\"",
            ":[[\"",
            ":[1,\"",
        ],
        &[
            "https://contoso.crm.dynamics.com",
            "https://contoso.crm.dynamics.com",
            "https://contoso.crm.dynamics.com",
            "https://Contoso.crm.dynamics.com:443",
            r"https:\/\/contoso.crm.dynamics.com",
            r"\u0068ttps://contoso.crm.dynamics.com",
            "HTTPS://contoso.crm.dynamics.com",
            "http://contoso.crm.dynamics.com",
            "https://contoso.crm.dynamics.com.evil.example",
            "",
            "#",
            "https",
            "http://gw:8421/Contoso%20Sales",
            "HTTP://GW",
            "/Contoso%20Sales",
            r"\/Contoso%20Sales",
            "https:/",
            "@odata.id\":\"",
        ],
        &[
            "/api/data/v9.2/contacts(1)",
            "/api",
            r"\/api/x",
            "?x",
            "#x",
            "",
            "",
            "s",
            "/apis",
            r"\u002fapi/",
        ],
        &[
            "\"",
            "\"",
            "\"",
            "\",\"https://contoso.crm.dynamics.com/api\"]",
            "\\\"",
            "",
            "\",\"\\\"/api\",\"/api/x\"]",
            "\" , \"",
        ],
    ];
    let link: Vec<_> = link
        .into_iter()
        .map(|parts| prop::sample::select(parts.to_vec()))
        .collect();
    let link = link.prop_map(|parts| parts.concat());
    let text = prop::sample::select(vec![
        "@",
        r"\u0040",
        r"\u004",
        "odata.",
        "id",
        "\"",
        ":",
        ",",
        "[",
        "]",
        "{",
        "}",
        "\\",
        r"\n",
        r"\u00e7",
        r"\u",
        " ",
        "u004",
        "40",
        "https://contoso.crm.dynamics.com/",
        "h",
        "/",
        "/api/",
        r#""@odata.etag":"W/\"1\"""#,
        "x@example.com",
        r#","name":"#,
        r#""a":"h""#,
        "a text without anything in it that is long enough to fill a block of its own, or two of them",
    ]);
    let part = prop_oneof![link, text.prop_map(str::to_owned)];
    prop::collection::vec(part, 0..24).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn what_is_told_at_a_glance_is_what_every_byte_says(
        text in lookalikes(),
        there in any::<bool>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let side = if there { Side::There } else { Side::Back };
        let seen = turned(side, &pieces(text.as_bytes(), &cuts));
        let expected = slowly(side, text.as_bytes());
        prop_assert_eq!(String::from_utf8(seen), String::from_utf8(expected));
    }
}

proptest! {
    #[test]
    fn pieces_of_any_size_come_to_what_a_parser_sees(
        document in documents(),
        pretty in any::<bool>(),
        seed in any::<u64>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let text = if pretty {
            serde_json::to_string_pretty(&document).expect("JSON")
        } else {
            document.to_string()
        };
        // Escapes within `\u` of serde's own are left alone.
        let text = if text.contains("\\u") { text } else { escaped(&text, seed) };
        let again: Value = serde_json::from_str(&text).expect("JSON");
        prop_assert_eq!(&again, &document);
        let out = turned(Side::Back, &pieces(text.as_bytes(), &cuts));
        let seen: Value = serde_json::from_slice(&out).expect("JSON");
        prop_assert_eq!(seen, oracle(document, false));
    }

    #[test]
    fn byte_by_byte_is_the_same_as_whole(document in documents()) {
        let text = document.to_string();
        let each: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        prop_assert_eq!(turned(Side::Back, &each), turned(Side::Back, &[text.as_bytes()]));
    }

    #[test]
    fn whatever_is_no_json_passes_whole(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(turned(Side::Back, &[&bytes]), bytes);
    }
}

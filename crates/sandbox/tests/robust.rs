//! Whatever is asked: an answer, never a crash and never a 500.

use proptest::prelude::*;
use tieline_sandbox::fuzzing::Rows;

thread_local! {
    // Rows are made once; every request of a test goes to the same ones.
    static ROWS: Rows = Rows::new();
}

/// Words of the four languages, so that random texts get beyond the first sign.
const WORDS: &[&str] = &[
    "contacts",
    "accounts",
    "(",
    ")",
    "/",
    "?",
    "&",
    "=",
    ",",
    ";",
    "'",
    "\"",
    " ",
    "$select",
    "$filter",
    "$expand",
    "$orderby",
    "$top",
    "$count",
    "$ref",
    "$value",
    "$skiptoken",
    "$deltatoken",
    "fullname",
    "createdon",
    "statecode",
    "_ownerid_value",
    "parentcustomerid_account",
    "contact_customer_accounts",
    "ownerid",
    " eq ",
    " ne ",
    " gt ",
    " and ",
    " or ",
    "not ",
    "null",
    "true",
    "1",
    "-1",
    "1e400",
    "9223372036854775808",
    "'x'",
    "any(",
    "all(",
    "c:c/",
    "contains(",
    "Microsoft.Dynamics.CRM.",
    "LastXDays",
    "In(",
    "PropertyName=",
    "PropertyValue=",
    "PropertyValues=",
    "['1','2']",
    "@p",
    "2024-02-30",
    "2024-01-05T10:11:12Z",
    "3adbf27c-8efb-e511-80d2-00155db07c77",
    "%",
    "%25",
    "%00",
    "é",
    "\u{1f600}",
    "{",
    "}",
    "<fetch>",
    "</fetch>",
    "<fetch aggregate='true'>",
    "<entity name='contact'>",
    "</entity>",
    "<attribute name='fullname'/>",
    "<all-attributes/>",
    "<filter type='or'>",
    "</filter>",
    "<condition attribute='fullname' operator='like' value='%[a'/>",
    "<link-entity name='account' from='accountid' to='parentcustomerid' alias='a'>",
    "</link-entity>",
    "<order attribute='createdon'/>",
    "--b",
    "--b--",
    "\r\n",
    "\r\n\r\n",
    "Content-Type: application/http",
    "Content-Type: multipart/mixed; boundary=c",
    "--c",
    "Content-ID: 1",
    "GET contacts?$top=1 HTTP/1.1",
    "POST contacts HTTP/1.1",
    "PATCH $1 HTTP/1.1",
    "{\"lastname\":\"x\"}",
    "$1",
];

fn text() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        12 => proptest::sample::select(WORDS).prop_map(str::to_owned),
        1 => any::<String>(),
    ];
    proptest::collection::vec(word, 0..24).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_url_gets_an_answer(target in text()) {
        prop_assert_ne!(ROWS.with(|rows| rows.get(&target)), 500);
    }

    #[test]
    fn any_filter_gets_an_answer(filter in text()) {
        prop_assert_ne!(ROWS.with(|rows| rows.filter(&filter)), 500);
    }

    #[test]
    fn any_fetch_xml_gets_an_answer(xml in text()) {
        prop_assert_ne!(ROWS.with(|rows| rows.fetch_xml(&xml)), 500);
    }

    #[test]
    fn any_batch_gets_an_answer(body in text()) {
        prop_assert_ne!(ROWS.with(|rows| rows.batch(body.as_bytes())), 500);
    }

    #[test]
    fn any_body_gets_an_answer(body in text()) {
        prop_assert_ne!(ROWS.with(|rows| rows.write("contacts", body.as_bytes())), 500);
    }
}

#[test]
fn depth_and_length_have_an_end() {
    ROWS.with(|rows| {
        for inside in ["(", "not ", "[", "contact_customer_accounts/any(c:", "{"] {
            assert_eq!(rows.filter(&inside.repeat(100_000)), 400, "{inside}");
        }
        let wide = vec!["lastname eq 'x'"; 1_500].join(" or ");
        assert_eq!(rows.filter(&wide), 200);
        let endless = vec!["lastname eq 'x'"; 50_000].join(" or ");
        assert_eq!(rows.filter(&endless), 400);
        let expand = "contacts?$expand=parentcustomerid_account(".repeat(5_000);
        assert_eq!(rows.get(&expand), 400);
        let xml = "<filter>".repeat(100_000);
        assert_eq!(
            rows.fetch_xml(&format!("<fetch><entity name='contact'>{xml}")),
            400
        );
        let body = "[".repeat(1_000_000);
        assert_eq!(rows.write("contacts", body.as_bytes()), 400);
        assert_eq!(rows.write("contacts", &[0xff, 0xfe, 0x00]), 400);
    });
}

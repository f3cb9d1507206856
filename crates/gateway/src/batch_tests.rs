use proptest::prelude::*;

use super::*;
use crate::address::Side;
use crate::links::tests::pieces;

fn turned(side: Side, boundary: &str, pieces: &[&[u8]]) -> String {
    let mut batch = Batch::new(Arc::new(Turning::example(side)), boundary.as_bytes());
    let mut whole = Vec::new();
    for piece in pieces {
        whole.extend_from_slice(&batch.turn(Bytes::copy_from_slice(piece)));
    }
    whole.extend_from_slice(&batch.rest());
    String::from_utf8(whole).expect("UTF-8")
}

/// A request, and what it must become, written as one text: `«this|that»` becomes that.
fn both(text: &str) -> (String, String) {
    let (mut before, mut after) = (String::new(), String::new());
    let mut rest = text;
    while let Some((same, marked)) = rest.split_once('«') {
        let (pair, more) = marked.split_once('»').expect("a closing mark");
        let (this, that) = pair.split_once('|').expect("two sides");
        before += same;
        before += this;
        after += same;
        after += that;
        rest = more;
    }
    (before + rest, after + rest)
}

const ORGANIZATION: &str = "https://contoso.crm.dynamics.com";

fn request() -> (String, String) {
    let text = r#"a preamble with http://gw:8421/Contoso%20Sales/api/x
--batch_1
Content-Type: application/http
Content-Transfer-Encoding: binary

GET «http://gw:8421/Contoso%20Sales|ORG»/api/data/v9.2/contacts?$filter=fullname eq 'a b' HTTP/1.1
Accept: application/json
Host: «gw:8421|contoso.crm.dynamics.com»
«Authorization: Bearer tl_key
 folded
|»Prefer: odata.maxpagesize=5

--batch_1
Content-Type: multipart/mixed; boundary="change set"

--change set
Content-Type: application/http
Content-Transfer-Encoding: binary
Content-ID: 1
Content-Length: «207|191»

POST «/Contoso%20Sales|»/api/data/v9.2/accounts HTTP/1.1
Content-Type: application/json; type=entry
Content-Length: 18

{"name":"--batch"}
--change set
Content-Type: application/http
Content-ID: 2

PATCH $1 HTTP/1.1
Content-Type: application/json
Content-Length: «109|132»

{"a@odata.bind":"$1","b@odata.bind":"«http://gw/|ORG/»api/data/v9.2/c(1)",
"n":"http://gw:8421/Contoso%20Sales/api"}
--change set--
--batch_1

Content-Type: application/http

--batch_1
Content-Type: application/http

DELETE accounts(1)/c/$ref?$id=«http://gw:8421/Contoso%20Sales|ORG»/api/data/v9.2/c(1) HTTP/1.1

--batch_1--
an epilogue, and --batch_1
"#;
    both(&text.replace("ORG", ORGANIZATION))
}

#[test]
fn a_request_leads_on_to_the_organization() {
    let (before, after) = request();
    for end in ["\n", "\r\n"] {
        let (before, after) = (before.replace('\n', end), after.replace('\n', end));
        let seen = turned(Side::There, "batch_1", &[before.as_bytes()]);
        assert_eq!(seen, after);
    }
}

#[test]
fn lengths_stay_as_right_or_as_wrong_as_they_were() {
    let part = |mime: &str, length: &str, base: &str, tail: &str| {
        format!(
            "--b\r\nContent-Type: application/http\r\n{mime}\r\nPOST {base}/api/data/v9.2/x \
             HTTP/1.1\r\nContent-Type: application/json\r\n{length}\r\n\
             {{\"@odata.id\":\"{base}/api/x\"}}{tail}\r\n--b--\r\n"
        )
    };
    let (here, there) = ("http://gw:8421/Contoso%20Sales", ORGANIZATION);
    let grown = i64::try_from(there.len()).expect("small") - 30;
    let seen = |part: String| turned(Side::There, "b", &[part.as_bytes()]);
    for wrong in [0_i64, 7] {
        let length = |of: i64| format!("Content-Length: {}\r\n", of + wrong);
        let message = |base: &str, length: &str| {
            let part = part("", length, base, "");
            let (_, message) = part.split_once("\r\n\r\n").expect("a message");
            let (message, _) = message.split_once("\r\n--b").expect("an end");
            i64::try_from(message.len()).expect("small")
        };
        let body = |base: &str| i64::try_from(base.len()).expect("small") + 21;
        // In the head of the request alone.
        assert_eq!(
            seen(part("", &length(body(here)), here, "")),
            part("", &length(body(here) + grown), there, "")
        );
        // And in front of it, where the request's head counts, too.
        let (before, after) = (length(body(here)), length(body(here) + grown));
        assert_eq!(
            seen(part(&length(message(here, &before)), &before, here, "")),
            part(&length(message(there, &after)), &after, there, "")
        );
    }
    // A body that is too long to wait goes without.
    let tail = " ".repeat(KEPT_MAX);
    assert_eq!(
        seen(part("", "Content-Length: 1100000\r\n", here, &tail)),
        part("", "", there, &tail)
    );
}

#[test]
fn an_answer_leads_back() {
    let text = r#"--batchresponse_1
Content-Type: multipart/mixed; boundary=changesetresponse_2

--changesetresponse_2
Content-Type: application/http
Content-Transfer-Encoding: binary
Content-ID: 1

HTTP/1.1 204 No Content
OData-Version: 4.0
Location: «ORG|HERE»/api/data/v9.2/accounts(1)
OData-EntityId: «ORG|HERE»/api/data/v9.2/accounts(1)
«Set-Cookie: ARRAffinity=1
|»

--changesetresponse_2--
--batchresponse_1
Content-Type: application/http
Content-Transfer-Encoding: binary

HTTP/1.1 200 OK
Content-Type: application/json; odata.metadata=minimal; odata.streaming=true

{"@odata.context":"«ORG|HERE»/api/data/v9.2/$metadata#contacts","value":[
{"fullname":"ORG/","@odata.nextLink":"«https:\/\/contoso.crm.dynamics.com:443|HERE»\/api"}]}
--batchresponse_1
Content-Type: application/http

HTTP/1.1 200 OK
Content-Type: application/xml

<a xml:base="ORG/api/data">"@odata.context":"ORG/api"</a>
--batchresponse_1--"#;
    let here = "http://gw:8421/Contoso%20Sales";
    let (before, after) = both(&text.replace("ORG", ORGANIZATION).replace("HERE", here));
    let seen = turned(Side::Back, "batchresponse_1", &[before.as_bytes()]);
    assert_eq!(seen, after);
}

#[test]
fn boundaries_are_lines_and_nothing_else() {
    let text = "--b \t\r\nContent-Type: application/http\r\n\r\nPOST x HTTP/1.1\r\n\r\n\
                --bb\r\n --b\r\n--b-\r\n-\r\n--\r\n\r\n--b\r\nContent-Type: application/http\r\n\r\n\
                GET «/Contoso%20Sales|»/api/x HTTP/1.1\r\n\r\n--b-- \r\n--b\r\n\
                Content-Type: application/http\r\n\r\nGET /Contoso%20Sales/api/x HTTP/1.1\r\n";
    let (before, after) = both(text);
    assert_eq!(turned(Side::There, "b", &[before.as_bytes()]), after);
}

#[test]
fn a_change_set_that_is_not_closed_ends_with_the_batch() {
    let text = "--b\nContent-Type: multipart/mixed; boundary=c\n\n--c\nContent-Type: \
                application/http\n\nPOST «/Contoso%20Sales|»/api/x HTTP/1.1\n\n{}\n--b\n\
                Content-Type: application/http\n\nGET «/Contoso%20Sales|»/api/x HTTP/1.1\n\n--c\n\
                GET /Contoso%20Sales/api/x HTTP/1.1\n--b--\n";
    let (before, after) = both(text);
    assert_eq!(turned(Side::There, "b", &[before.as_bytes()]), after);
}

#[test]
fn what_a_caller_shows_to_the_gateway_stays_here_however_it_is_written() {
    let text = "--b\r\nContent-Type: application/http\r\n\r\n\r\nGET x HTTP/1.1\r\n\
                AUTHORIZATION : Bearer tl_1\r\n\tmore\r\nX: 1\r\nTieline-Key: tl_1\r\nCookie: a\r\n\
                Authorization: \u{fffd}tl_1";
    let seen = turned(Side::There, "b", &[text.as_bytes()]);
    assert!(seen.contains("X: 1\r\n"), "{seen}");
    let complete = &seen[..seen.rfind("Authorization").unwrap_or(seen.len())];
    assert!(!complete.contains("tl_1"), "{seen}");
}

#[test]
fn a_hundred_megabytes_are_never_held() {
    let mut batch = Batch::new(Arc::new(Turning::example(Side::There)), b"b");
    let head = "--b\r\nContent-Type: application/http\r\n\r\nPOST x HTTP/1.1\r\n\
                Content-Type: application/json\r\nContent-Length: 99999999\r\n\r\n{\"a\":\"";
    let mut length = batch.turn(Bytes::from(head)).len();
    let piece = Bytes::from(vec![b'x'; 64 << 10]);
    for _ in 0..1600 {
        length += batch.turn(piece.clone()).len();
        let Body::Kept { turned, .. } = &batch.body else {
            assert!(batch.buffer.capacity() < 1 << 20);
            continue;
        };
        assert!(turned.len() <= KEPT_MAX);
    }
    length += batch.rest().len();
    let said = "Content-Length: 99999999\r\n".len();
    assert_eq!(length, head.len() - said + 1600 * piece.len());
}

proptest! {
    #[test]
    fn pieces_of_any_size_come_to_the_same(
        crlf in any::<bool>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let (before, _) = request();
        let before = if crlf { before.replace('\n', "\r\n") } else { before };
        let whole = turned(Side::There, "batch_1", &[before.as_bytes()]);
        let cut = turned(Side::There, "batch_1", &pieces(before.as_bytes(), &cuts));
        prop_assert_eq!(cut, whole.clone());
        let each: Vec<&[u8]> = before.as_bytes().chunks(1).collect();
        prop_assert_eq!(turned(Side::There, "batch_1", &each), whole);
    }

    #[test]
    fn whatever_is_no_batch_passes_whole(text in "(--b|\r|\n|-|b|:| |GET x HTTP/1.1|\\{|\"|@id){0,40}") {
        let each: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        prop_assert_eq!(&turned(Side::There, "b", &[text.as_bytes()]), &text);
        prop_assert_eq!(&turned(Side::There, "b", &each), &text);
    }
}

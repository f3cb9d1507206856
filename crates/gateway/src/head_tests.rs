use super::*;

fn head(text: &str) -> Result<(Head, Bytes), Malformed> {
    match read(Bytes::copy_from_slice(text.as_bytes()), 0, &Method::GET)? {
        Came::Head(head, rest) => Ok((head, rest)),
        Came::Part(_) => panic!("{text:?} is only a part"),
    }
}

fn length(fields: &str) -> Result<Length, Malformed> {
    let text = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n");
    head(&text).map(|(head, _)| head.length)
}

#[test]
fn a_body_ends_where_its_head_says() {
    for (fields, expected) in [
        ("A: b", Length::UntilClose),
        ("Content-Length: 0", Length::Exact(0)),
        (
            "CONTENT-LENGTH:  18446744073709551615 ",
            Length::Exact(u64::MAX),
        ),
        (
            "content-length: 7, 7\r\ncontent-length: 7",
            Length::Exact(7),
        ),
        ("Transfer-Encoding: Chunked", Length::Chunked),
    ] {
        assert_eq!(length(fields), Ok(expected), "{fields}");
    }
}

#[test]
fn a_length_that_two_could_understand_in_two_ways_is_none() {
    for (fields, wrong) in [
        ("Content-Length: 7\r\nContent-Length: 8", Malformed::Length),
        ("Content-Length: 7, 8", Malformed::Length),
        ("Content-Length:", Malformed::Length),
        ("Content-Length: +7", Malformed::Length),
        ("Content-Length: -7", Malformed::Length),
        ("Content-Length: 7 7", Malformed::Length),
        ("Content-Length: 0x7", Malformed::Length),
        ("Content-Length: 18446744073709551616", Malformed::Length),
        ("Transfer-Encoding: gzip, chunked", Malformed::Coding),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            Malformed::Coding,
        ),
        ("Transfer-Encoding: xchunked", Malformed::Coding),
        ("Transfer-Encoding:", Malformed::Coding),
    ] {
        assert_eq!(length(fields), Err(wrong), "{fields}");
    }
    for fields in ["X Y: 1", "X : 1", "X: 1\r\n folded", "X: \x01", ": 1"] {
        let wrong = length(fields).expect_err(fields);
        assert!(matches!(wrong, Malformed::NotHttp(_)), "{fields}");
    }
}

#[test]
fn some_answers_have_no_body_whatever_they_say() {
    for status in ["204 No Content", "304 Not Modified"] {
        let text = format!("HTTP/1.1 {status}\r\nContent-Length: 9\r\n\r\nREST");
        let (head, rest) = head(&text).expect("a head");
        assert_eq!((head.length, &rest[..]), (Length::Exact(0), &b"REST"[..]));
        assert_eq!(head.headers["content-length"], "9");
        assert!(head.persists);
    }
    let text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let read = read(Bytes::from(text), 0, &Method::HEAD);
    let Ok(Came::Head(head, _)) = read else {
        panic!("{read:?}");
    };
    assert_eq!(head.length, Length::Exact(0));
}

#[test]
fn what_a_body_knows_is_not_said_beside_it() {
    let said = |text: &str| {
        let (head, _) = head(text).expect("a head");
        let mut names: Vec<_> = head.headers.keys().map(ToString::to_string).collect();
        names.sort();
        names.join(" ")
    };
    assert_eq!(
        said("HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 1\r\n\r\n"),
        "a"
    );
    assert_eq!(
        said("HTTP/1.1 200 OK\r\nA: b\r\nTransfer-Encoding: chunked\r\n\r\n"),
        "a"
    );
    let both = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n";
    assert_eq!(said(both), "content-length transfer-encoding");
    assert_eq!(
        said("HTTP/1.1 304 Not Modified\r\nContent-Length: 1\r\n\r\n"),
        "content-length"
    );
}

#[test]
fn a_connection_is_used_again_only_where_nothing_speaks_against_it() {
    for (text, persists) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n", true),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\n",
            true,
        ),
        ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", false),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: x, Close\r\n\r\n",
            false,
        ),
        ("HTTP/1.1 200 OK\r\n\r\n", false),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
            false,
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
            false,
        ),
    ] {
        let (head, _) = head(text).expect("a head");
        assert_eq!(head.persists, persists, "{text}");
    }
}

#[test]
fn a_head_may_come_in_pieces_and_behind_others() {
    let text = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n\
                HTTP/1.1 200 OK\r\nX: a\r\nX: b\r\nContent-Length: 3\r\n\r\nabc";
    for length in 1..text.len() {
        let (mut there, mut looked) = (Bytes::new(), 0);
        let mut pieces = text.as_bytes().chunks(length);
        let (head, rest) = loop {
            let piece = pieces.next().expect("a head before the end");
            let all = Bytes::from([&there, piece].concat());
            match read(all, looked, &Method::GET).expect("nothing wrong") {
                Came::Part(part) => (looked, there) = (part.len(), part),
                Came::Head(head, rest) => break (head, rest),
            }
        };
        assert_eq!(head.status, StatusCode::OK);
        assert_eq!(head.headers.get_all("x").iter().count(), 2);
        assert!(b"abc".starts_with(&rest), "{length}");
    }
}

#[test]
fn a_head_without_an_end_is_given_up() {
    let text = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(HEAD_MAX));
    let looked = text.len() - 1;
    for looked in [0, looked] {
        let read = read(Bytes::from(text.clone()), looked, &Method::GET);
        assert_eq!(read.err(), Some(Malformed::HeadTooLong));
    }
    let many = "X: 1\r\n".repeat(FIELDS_MAX + 1);
    assert!(length(&many).is_err());
}

#[test]
fn a_request_is_written_with_what_the_gateway_alone_says() {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("host", "gateway"),
        ("authorization", "Bearer tl_key"),
        ("content-length", "9"),
        ("transfer-encoding", "chunked"),
        ("accept-encoding", "br"),
        ("prefer", "a"),
    ] {
        headers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    headers.append("prefer", HeaderValue::from_static("b"));
    let written = |length| {
        let asked = Asked {
            method: &Method::POST,
            target: "/api/x?a=%20",
            headers: &headers,
            host: &HeaderValue::from_static("contoso.crm.dynamics.com"),
            token: Bearer::text("secret"),
            codings: "gzip",
            length,
        };
        let mut written = Vec::new();
        write(&asked, &mut written);
        String::from_utf8(written).expect("UTF-8")
    };
    let head = "POST /api/x?a=%20 HTTP/1.1\r\nhost: contoso.crm.dynamics.com\r\n\
                authorization: Bearer secret\r\naccept-encoding: gzip\r\nprefer: a\r\nprefer: b\r\n";
    assert_eq!(written(None), format!("{head}\r\n"));
    let exact = written(Some(Length::Exact(2048)));
    assert_eq!(exact, format!("{head}content-length: 2048\r\n\r\n"));
    let chunked = written(Some(Length::Chunked));
    assert_eq!(chunked, format!("{head}transfer-encoding: chunked\r\n\r\n"));
}

//! Links in bodies: in batches, in compressed answers, in queries.

use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::{GzEncoder, ZlibEncoder};

use crate::line::{Line, line};
use crate::upstream::{Seen, Upstream, answer};

/// The upstream's own address, as its answers hold it.
fn origin(seen: &Seen) -> String {
    format!("http://{}", seen.header("host").unwrap())
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// Head and body of an answer, its chunks put together.
fn parts(answer: &[u8]) -> (String, Vec<u8>) {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let (head, body) = answer.split_at(end.unwrap() + 4);
    let head = String::from_utf8(head.to_vec()).unwrap();
    if !head.contains("transfer-encoding: chunked\r\n") {
        return (head, body.to_vec());
    }
    let (mut whole, mut rest) = (Vec::new(), body);
    loop {
        let line = rest.iter().position(|byte| *byte == b'\n').unwrap();
        let size = std::str::from_utf8(&rest[..line]).unwrap().trim();
        let size = usize::from_str_radix(size, 16).unwrap();
        rest = &rest[line + 1..];
        if size == 0 {
            return (head, whole);
        }
        whole.extend_from_slice(&rest[..size]);
        rest = &rest[size + 2..];
    }
}

fn batch(base: &str, line: &str, filler: &str) -> String {
    format!(
        "--batch_1\r\nContent-Type: application/http\r\n\r\nGET {base}/api/data/v9.2/contacts \
         HTTP/1.1\r\nHost: {line}\r\n\r\n--batch_1\r\nContent-Type: multipart/mixed; \
         boundary=\"cs 1\"\r\n\r\n--cs 1\r\nContent-Type: application/http\r\nContent-ID: 1\r\n\r\n\
         POST {base}/api/data/v9.2/contacts HTTP/1.1\r\nContent-Type: application/json\r\n\r\n\
         {{\"a@odata.bind\":\"{base}/api/data/v9.2/accounts(1)\",\"n\":\"{filler}\"}}\r\n--cs 1\r\n\
         Content-Type: application/http\r\nContent-ID: 2\r\n\r\nPATCH $1 HTTP/1.1\r\n\
         Content-Type: application/json\r\n\r\n{{}}\r\n--cs 1--\r\n--batch_1--\r\n"
    )
}

const BATCH_TYPE: &str = "Content-Type: multipart/mixed; boundary=\"batch_1\"\r\n";

#[test]
fn a_batch_leads_on_and_its_answer_back() {
    let upstream = Upstream::start(|seen| {
        let origin = origin(seen);
        let body = format!(
            "--r\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 204 No Content\r\n\
             OData-EntityId: {origin}/api/data/v9.2/contacts(1)\r\n\r\n\r\n--r\r\n\
             Content-Type: application/http\r\n\r\nHTTP/1.1 200 OK\r\n\
             Content-Type: application/json\r\n\r\n{{\"@odata.context\":\"{origin}/api/x\"}}\r\n--r--\r\n"
        );
        answer(
            "200 OK",
            "Content-Type: multipart/mixed; boundary=r\r\n",
            &body,
        )
    });
    let line = line(&upstream);
    let here = format!("http://{}/Line", line.gateway);
    let host = upstream.origin.trim_start_matches("http://");
    let expected = batch(&upstream.origin, host, "x");
    for (target, base) in [
        ("/Line/api/data/v9.2/$batch", here.clone()),
        // Without the account's name, as by header.
        (
            "/Line/api/data/v9.2/$batch",
            format!("http://{}", line.gateway),
        ),
    ] {
        let body = batch(&base, &line.gateway, "x");
        let request = line.request(&format!("POST {target}"), BATCH_TYPE, &body);
        let (head, answered) = parts(&line.raw_bytes(request.as_bytes()));
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        let answered = String::from_utf8(answered).unwrap();
        assert!(
            answered.contains(&format!(
                "OData-EntityId: {here}/api/data/v9.2/contacts(1)\r\n"
            )),
            "{answered}"
        );
        assert!(
            answered.contains(&format!("{{\"@odata.context\":\"{here}/api/x\"}}")),
            "{answered}"
        );
        assert!(!answered.contains(&upstream.origin), "{answered}");
        let call = upstream.calls().pop().unwrap();
        assert_eq!(call.line, "POST /api/data/v9.2/$batch HTTP/1.1");
        assert_eq!(String::from_utf8(call.body.clone()).unwrap(), expected);
        let length = call.header("content-length").unwrap();
        assert_eq!(length, call.body.len().to_string());
    }
    // Paths from the root on, with the account's name and without it.
    for base in ["/Line", ""] {
        let body = batch(base, &line.gateway, "x");
        let request = line.request("POST /Line/api/data/v9.2/$batch", BATCH_TYPE, &body);
        line.raw(&request);
        let call = upstream.calls().pop().unwrap();
        let expected = batch("", host, "x");
        assert_eq!(String::from_utf8(call.body).unwrap(), expected);
    }
}

#[test]
fn a_batch_that_is_too_large_to_keep_streams() {
    let upstream = Upstream::start(|_| answer("200 OK", "", ""));
    let line = line(&upstream);
    let here = format!("http://{}/Line", line.gateway);
    let filler = "x".repeat(3 << 20);
    let body = batch(&here, &line.gateway, &filler);
    let request = line.request("POST /Line/api/data/v9.2/$batch", BATCH_TYPE, &body);
    let answered = line.raw(&request);
    assert!(answered.starts_with("HTTP/1.1 200 OK\r\n"), "{answered}");
    let call = upstream.calls().pop().unwrap();
    let host = upstream.origin.trim_start_matches("http://");
    assert!(call.body == batch(&upstream.origin, host, &filler).into_bytes());
    assert_eq!(call.header("content-length"), None);
}

#[test]
fn credentials_in_parts_stay_here() {
    let upstream = Upstream::start(|_| answer("200 OK", "", ""));
    let line = line(&upstream);
    let key = &line.key;
    let body = format!(
        "--batch_1\r\nContent-Type: application/http\r\n\r\nGET contacts HTTP/1.1\r\n\
         Authorization: Bearer {key}\r\nTieline-Key: {key}\r\nPrefer: x\r\n\r\n--batch_1--\r\n"
    );
    line.raw(&line.request("POST /api/data/v9.2/$batch", BATCH_TYPE, &body));
    let call = upstream.calls().pop().unwrap();
    let seen = String::from_utf8(call.body).unwrap();
    assert!(
        seen.contains("GET contacts HTTP/1.1\r\nPrefer: x\r\n"),
        "{seen}"
    );
    assert!(!seen.contains(key), "{seen}");
}

#[test]
fn an_address_in_a_query_or_a_body_leads_on_however_it_is_written() {
    let upstream = Upstream::start(|_| answer("204 No Content", "", ""));
    let line = line(&upstream);
    let (here, there) = (format!("http://{}/line", line.gateway), &upstream.origin);
    let reference = "DELETE /Line/api/data/v9.2/accounts(1)/contact_customer_accounts/$ref";
    line.raw(&line.request(
        &format!("{reference}?$id={here}/api/data/v9.2/contacts(2)"),
        "",
        "",
    ));
    let call = upstream.calls().pop().unwrap();
    assert_eq!(
        call.line,
        format!(
            "{} HTTP/1.1",
            format!("{reference}?$id={there}/api/data/v9.2/contacts(2)").replace("/Line", "")
        )
    );
    let escaped = here.replace('/', "\\/");
    let body = format!("{{\"@odata.id\":\"{escaped}\\/api\\/data\\/v9.2\\/contacts(2)\"}}");
    let json = "Content-Type: application/json\r\n";
    line.raw(&line.request("POST /Line/api/data/v9.2/accounts(1)/x/$ref", json, &body));
    let call = upstream.calls().pop().unwrap();
    let expected = body.replace(&escaped, there);
    assert_eq!(String::from_utf8(call.body.clone()).unwrap(), expected);
    assert_eq!(
        call.header("content-length"),
        Some(&*expected.len().to_string())
    );
}

/// Answers JSON with a link and a lot of rows, compressed as the path says.
fn compressing(seen: &Seen) -> Vec<u8> {
    let rows: String = (0..2000).map(|row| format!("{{\"row\":{row}}},")).collect();
    let origin = origin(seen);
    let body =
        format!("{{\"value\":[{rows}0],\"@odata.nextLink\":\"{origin}/api/data/v9.2/x?n\"}}");
    let (coding, mut bytes) = if seen.line.contains("deflate") {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(body.as_bytes()).unwrap();
        ("deflate", encoder.finish().unwrap())
    } else {
        ("gzip", gzip(&body))
    };
    if seen.line.contains("cut") {
        bytes.truncate(bytes.len() / 2);
    }
    let kind = if seen.line.contains("xml") {
        "application/xml"
    } else {
        "application/json; odata.metadata=minimal"
    };
    let length = bytes.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Encoding: {coding}\r\nETag: W/\"7\"\r\n\
         Content-Length: {length}\r\n\r\n"
    );
    [head.into_bytes(), bytes].concat()
}

fn ask(line: &Line, target: &str, headers: &str) -> (String, Vec<u8>) {
    let request = line.request(&format!("GET {target}"), headers, "");
    parts(&line.raw_bytes(request.as_bytes()))
}

#[test]
fn a_compressed_answer_stays_compressed_and_its_links_lead_back() {
    let upstream = Upstream::start(compressing);
    let line = line(&upstream);
    let link = format!(
        "\"@odata.nextLink\":\"http://{}/api/data/v9.2/x?n\"}}",
        line.gateway
    );
    let asked = || {
        upstream
            .calls()
            .pop()
            .unwrap()
            .header("accept-encoding")
            .map(str::to_owned)
    };

    let (head, body) = ask(
        &line,
        "/api/data/v9.2/x",
        "Accept-Encoding: br, gzip;q=0.9\r\n",
    );
    assert_eq!(asked().as_deref(), Some("gzip"));
    assert!(head.contains("content-encoding: gzip\r\n"), "{head}");
    assert!(head.contains("etag: W/\"7\"\r\n"), "{head}");
    assert!(head.contains("vary: Accept-Encoding\r\n"), "{head}");
    let mut text = String::new();
    MultiGzDecoder::new(&body[..])
        .read_to_string(&mut text)
        .unwrap();
    assert!(text.ends_with(&link), "{text}");
    assert!(body.len() * 2 < text.len());

    let (head, body) = ask(
        &line,
        "/api/data/v9.2/deflate",
        "Accept-Encoding: deflate\r\n",
    );
    assert_eq!(asked().as_deref(), Some("deflate"));
    assert!(head.contains("content-encoding: deflate\r\n"), "{head}");
    text.clear();
    flate2::read::ZlibDecoder::new(&body[..])
        .read_to_string(&mut text)
        .unwrap();
    assert!(text.ends_with(&link), "{text}");

    // Compressed although nobody asked for it.
    for target in ["/api/data/v9.2/x", "/api/data/v9.2/deflate"] {
        let (head, body) = ask(&line, target, "");
        assert_eq!(asked().as_deref(), Some("identity"));
        assert!(!head.contains("content-encoding"), "{head}");
        let text = String::from_utf8(body).unwrap();
        assert!(text.ends_with(&link), "{text}");
    }
}

#[test]
fn an_answer_that_is_there_goes_out_with_its_new_length() {
    let upstream = Upstream::start(|seen| {
        let body = format!("{{\"@odata.id\":\"{}/api/x\"}}", origin(seen));
        if seen.line.contains("begun") {
            let length = body.len() + 1;
            return format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}HANG"
            )
            .into_bytes();
        }
        answer("200 OK", "Content-Type: application/json\r\n", &body)
    });
    let line = line(&upstream);
    let answered = line.get("/api/data/v9.2/x", "");
    let body = format!("{{\"@odata.id\":\"http://{}/api/x\"}}", line.gateway);
    let length = format!("content-length: {}\r\n", body.len());
    assert!(answered.contains(&length), "{answered}");
    assert!(answered.ends_with(&format!("\r\n\r\n{body}")), "{answered}");
    // What has only begun is passed on as far as it has come.
    let mut stream = line.connect();
    let request = line.request("GET /api/data/v9.2/begun", "", "");
    stream.write_all(request.as_bytes()).unwrap();
    let mut come = String::new();
    while !come.contains(&body) {
        let mut piece = [0; 1000];
        let read = stream.read(&mut piece).unwrap();
        assert!(read > 0, "{come}");
        come += std::str::from_utf8(&piece[..read]).unwrap();
    }
    assert!(come.contains("transfer-encoding: chunked\r\n"), "{come}");
}

#[test]
fn what_has_no_links_passes_as_it_was_compressed() {
    let upstream = Upstream::start(compressing);
    let line = line(&upstream);
    let (head, body) = ask(&line, "/api/data/v9.2/xml", "Accept-Encoding: gzip\r\n");
    let call = upstream.calls().pop().unwrap();
    let sent = compressing(&call);
    assert!(sent.ends_with(&body) && body.len() > 1000);
    assert!(
        head.contains(&format!("content-length: {}\r\n", body.len())),
        "{head}"
    );
    assert!(head.contains("content-encoding: gzip\r\n"), "{head}");
}

#[test]
fn a_compressed_answer_that_was_cut_off_is_never_whole() {
    let upstream = Upstream::start(compressing);
    let line = line(&upstream);
    for accepted in ["Accept-Encoding: gzip\r\n", ""] {
        let answered = line.get("/api/data/v9.2/cut", accepted);
        assert!(answered.starts_with("HTTP/1.1 200 OK\r\n"), "{answered}");
        assert!(
            answered.contains("transfer-encoding: chunked\r\n"),
            "{answered}"
        );
        assert!(!answered.ends_with("0\r\n\r\n"), "{answered}");
    }
}

#[test]
fn a_compressed_request_passes_as_it_is() {
    let upstream = Upstream::start(|_| answer("204 No Content", "", ""));
    let line = line(&upstream);
    let body = gzip(&format!(
        "{{\"@odata.id\":\"http://{}/api/x\"}}",
        line.gateway
    ));
    let headers = format!(
        "Content-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n",
        body.len()
    );
    let head = line.request("POST /api/data/v9.2/x", &headers, "");
    line.raw_bytes(&[head.into_bytes(), body.clone()].concat());
    let call = upstream.calls().pop().unwrap();
    assert_eq!(call.body, body);
    assert_eq!(call.header("content-encoding"), Some("gzip"));
}

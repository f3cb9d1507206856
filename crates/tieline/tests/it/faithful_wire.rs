//! The wire itself: what is no request, what is no answer, and ends that come too early.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;

use crate::line::{line, line_with};
use crate::test_app::client;
use crate::upstream::{News, Seen, Upstream, answer};

const JSON: &str = "Content-Type: application/json\r\n";

fn ok(_: &Seen) -> Vec<u8> {
    answer("200 OK", JSON, "{}")
}

#[test]
fn bare_quotes_and_their_kin_arrive_percent_encoded() {
    let upstream = Upstream::start(ok);
    let line = line(&upstream);
    let answered = line.get("/api/data/v9.2/contacts?$filter=a%20eq%20\"b\"&x=<#>", "");
    assert!(answered.starts_with("HTTP/1.1 200 OK\r\n"), "{answered}");
    let call = upstream.calls().pop().unwrap();
    assert_eq!(
        call.line,
        "GET /api/data/v9.2/contacts?$filter=a%20eq%20%22b%22&x=%3C%23%3E HTTP/1.1"
    );
    // A second one on the same connection, behind a body that looks like one.
    let body = "{\"a\":\"?\\\"<>\"}";
    let first = line.request("POST /api/data/v9.2/x", JSON, body);
    let first = first.replace("Connection: close\r\n", "");
    let second = line.request("GET /api/data/v9.2/x?\"", "", "");
    let answered = line.raw(&format!("{first}{second}"));
    assert_eq!(answered.matches("HTTP/1.1 200 OK").count(), 2, "{answered}");
    let calls = upstream.calls();
    assert_eq!(calls[1].body, body.as_bytes());
    assert_eq!(calls[2].line, "GET /api/data/v9.2/x?%22 HTTP/1.1");
}

#[test]
fn a_request_of_doubtful_length_goes_nowhere() {
    let upstream = Upstream::start(ok);
    let line = line(&upstream);
    let smuggled = line.request("GET /api/data/v9.2/smuggled", "", "");
    for headers in [
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length : 5\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: chunked\r\n folded\r\n",
        "Transfer-Encoding\r\n",
    ] {
        let head = line.request("POST /api/data/v9.2/x", headers, "");
        let head = head.replace("Connection: close\r\n", "");
        let answered = line.raw(&format!("{head}0\r\n\r\n{smuggled}"));
        assert!(
            answered.starts_with("HTTP/1.1 400 "),
            "{headers}: {answered}"
        );
        assert_eq!(
            answered.matches("HTTP/1.1 ").count(),
            1,
            "{headers}: {answered}"
        );
    }
    assert_eq!(upstream.calls().len(), 0);
}

#[test]
fn an_answer_of_doubtful_length_is_refused() {
    let upstream = Upstream::start(|seen| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
        let rest = match seen.line.split(['/', ' ']).nth(5).unwrap() {
            "both" => "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
            "two" => "Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
            "signed" => "Content-Length: +5\r\n\r\nabcde",
            "name" => "X Y: 5\r\nContent-Length: 0\r\n\r\n",
            "switch" => return b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n".to_vec(),
            _ => return format!("{head}X: {}\r\nContent-Length: 0\r\n\r\n", "x".repeat(1 << 20)).into_bytes(),
        };
        format!("{head}{rest}").into_bytes()
    });
    let line = line(&upstream);
    for case in ["both", "two", "signed", "name", "switch", "long"] {
        let answered = line.get(&format!("/api/data/v9.2/{case}"), "");
        assert!(answered.starts_with("HTTP/1.1 502 "), "{case}: {answered}");
        assert!(
            answered.contains("tieline-failed: dynamics\r\n"),
            "{case}: {answered}"
        );
        assert!(
            answered.contains("{\"error\":{\"code\":\"dynamics-"),
            "{case}: {answered}"
        );
    }
}

#[test]
fn what_comes_before_an_answer_is_overlooked_and_what_comes_after_it_passes() {
    let upstream = Upstream::start(|_| {
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n\
          HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
          3\r\nabc\r\n0\r\nX-Sum: 6\r\n\r\n"
            .to_vec()
    });
    let line = line(&upstream);
    let answered = line.get("/api/data/v9.2/x", "TE: trailers\r\n");
    assert!(answered.starts_with("HTTP/1.1 200 OK\r\n"), "{answered}");
    assert!(
        answered
            .to_lowercase()
            .ends_with("3\r\nabc\r\n0\r\nx-sum: 6\r\n\r\n"),
        "{answered}"
    );
}

#[test]
fn heads_parts_and_unchanged_answers_keep_their_headers() {
    let upstream = Upstream::start(|seen| {
        let origin = format!("http://{}", seen.header("host").unwrap());
        let body = format!("{{\"@odata.id\":\"{origin}/api/x\"}}");
        let length = body.len();
        let json = format!(
            "Content-Type: application/json\r\nETag: \"1\"\r\nContent-Length: {length}\r\n"
        );
        let text = match seen.line.split(['/', ' ']).nth(5).unwrap() {
            "head" => format!("HTTP/1.1 200 OK\r\n{json}\r\n"),
            "bytes" => {
                "HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 7\r\n\r\n".into()
            }
            "part" => format!(
                "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1/9\r\n{json}\r\n{body}"
            ),
            "same" => "HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n".into(),
            _ => format!("HTTP/1.1 204 No Content\r\nOData-EntityId: {origin}/api/x\r\n\r\n"),
        };
        text.into_bytes()
    });
    let line = line(&upstream);
    let ask = |method: &str, name: &str, headers: &str| {
        line.raw(&line.request(&format!("{method} /api/data/v9.2/{name}"), headers, ""))
    };
    let head = ask("HEAD", "head", "");
    assert!(
        head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
    assert!(!head.contains("content-length"), "{head}");
    let bytes = ask("HEAD", "bytes", "");
    assert!(bytes.contains("content-length: 7\r\n"), "{bytes}");
    let part = ask("GET", "part", "Range: bytes=0-1\r\nIf-Range: \"1\"\r\n");
    assert!(part.contains("content-range: bytes 0-1/9\r\n"), "{part}");
    assert!(part.contains(&upstream.origin), "{part}");
    assert!(part.contains("content-length: "), "{part}");
    assert_eq!(
        upstream.calls().pop().unwrap().header("range"),
        Some("bytes=0-1")
    );
    let same = ask("GET", "same", "If-None-Match: \"1\"\r\n");
    assert!(
        same.starts_with("HTTP/1.1 304 ") && same.contains("etag: \"1\"\r\n"),
        "{same}"
    );
    let none = ask("GET", "none", "");
    let id = format!("odata-entityid: http://{}/api/x\r\n", line.gateway);
    assert!(
        none.starts_with("HTTP/1.1 204 ") && none.contains(&id),
        "{none}"
    );
}

#[test]
fn a_refused_caller_never_sends_its_body() {
    let upstream = Upstream::start(ok);
    let line = line(&upstream);
    let expecting = "Expect: 100-continue\r\nContent-Length: 2\r\n";
    let request = line.request("POST /api/data/v9.2/x", expecting, "");
    let mut stream = line.connect();
    stream
        .write_all(request.replace(&line.key, "tl_wrong").as_bytes())
        .unwrap();
    let mut answered = String::new();
    stream.read_to_string(&mut answered).unwrap();
    assert!(answered.starts_with("HTTP/1.1 401 "), "{answered}");
    // Who is admitted is told to go on.
    let mut stream = line.connect();
    stream.write_all(request.as_bytes()).unwrap();
    let mut told = [0; 25];
    stream.read_exact(&mut told).unwrap();
    assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"{}").unwrap();
    answered.clear();
    stream.read_to_string(&mut answered).unwrap();
    assert!(answered.starts_with("HTTP/1.1 200 OK\r\n"), "{answered}");
    assert_eq!(upstream.calls().len(), 1);
}

#[test]
fn who_sends_a_large_body_all_the_same_can_read_why_it_was_refused() {
    let upstream = Upstream::start(ok);
    let line = line(&upstream);
    let body = "x".repeat(4 << 20);
    let request = line.request("POST /api/data/v9.2/x", JSON, &body);
    let request = request.replace(&line.key, "tl_wrong");
    let mut stream = line.connect();
    let mut reading = stream.try_clone().unwrap();
    let sent = std::thread::spawn(move || stream.write_all(request.as_bytes()).is_ok());
    let mut answered = String::new();
    reading.read_to_string(&mut answered).unwrap();
    assert!(answered.starts_with("HTTP/1.1 401 "), "{answered}");
    assert!(answered.contains("api-key-unknown"), "{answered}");
    sent.join().unwrap();
}

#[test]
fn who_goes_away_takes_the_call_along() {
    let upstream = Upstream::start(|seen| {
        if seen.line.contains("begun") {
            b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nabcHANG".to_vec()
        } else {
            b"HANG".to_vec()
        }
    });
    let line = line(&upstream);
    let mut stream = line.connect();
    let request = line.request("GET /api/data/v9.2/silent", "", "");
    stream.write_all(request.as_bytes()).unwrap();
    upstream.wait_for(News::Called);
    drop(stream);
    upstream.wait_for(News::HungUp);
    // In the middle of an answer, too.
    let mut stream = line.connect();
    let request = line.request("GET /api/data/v9.2/begun", "", "");
    stream.write_all(request.as_bytes()).unwrap();
    let mut some = [0; 12];
    stream.read_exact(&mut some).unwrap();
    drop(stream);
    upstream.wait_for(News::HungUp);
    // And who only closes its own side, as far as can be told, has gone.
    let mut stream = line.connect();
    let request = line.request("GET /api/data/v9.2/silent", "", "");
    stream.write_all(request.as_bytes()).unwrap();
    upstream.wait_for(News::Called);
    stream.shutdown(Shutdown::Write).unwrap();
    upstream.wait_for(News::HungUp);
}

#[tokio::test]
async fn an_answer_that_was_cut_is_never_whole_over_http2_either() {
    let upstream = Upstream::start(|seen| {
        let kind = if seen.line.contains("json") {
            "json"
        } else {
            "xml"
        };
        format!("HTTP/1.1 200 OK\r\nContent-Type: application/{kind}\r\nContent-Length: 1000\r\n\r\n[CUT")
            .into_bytes()
    });
    let line = line(&upstream);
    for http in [client(None), http2()] {
        for kind in ["json", "xml"] {
            let url = format!("http://{}/api/data/v9.2/{kind}", line.gateway);
            let answered = http.get(url).bearer_auth(&line.key).send().await.unwrap();
            assert_eq!(answered.status(), 200);
            assert!(answered.bytes().await.is_err(), "{kind}");
        }
    }
}

#[test]
fn an_answer_that_was_cut_ends_in_a_reset_where_nothing_else_can_say_so() {
    let upstream = Upstream::start(|_| {
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n[CUT"
            .to_vec()
    });
    let line = line(&upstream);
    let request = line.request("GET /api/data/v9.2/x", "", "");
    let mut stream = line.connect();
    let request = request.replace("HTTP/1.1", "HTTP/1.0");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answered = Vec::new();
    let error = stream.read_to_end(&mut answered).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn a_body_of_unsaid_length_is_repeated_while_it_is_small() {
    let upstream = Upstream::start(|seen| match seen.token() {
        1 => answer("401 Unauthorized", "", ""),
        _ => answer("200 OK", "", ""),
    });
    let line = line(&upstream);
    let chunked = format!("{JSON}Transfer-Encoding: chunked\r\n");
    let head = line.request("POST /api/data/v9.2/x", &chunked, "");
    let body = "{\"@odata.id\":\"http://gw/x\"}";
    let half = body.len() / 2;
    let (one, other) = body.split_at(half);
    let request = format!(
        "{head}{half:x}\r\n{one}\r\n{:x};x=y\r\n{other}\r\n0\r\n\r\n",
        other.len()
    );
    let answered = line.raw(&request);
    assert!(answered.starts_with("HTTP/1.1 200 "), "{answered}");
    let calls = upstream.calls();
    assert_eq!(calls.len(), 2);
    assert!(
        calls.iter().all(|call| call.body == body.as_bytes()),
        "{calls:?}"
    );
    // One that is long streams on from where it was found to be.
    let long = "x".repeat(600_000);
    let chunk = format!("{:x}\r\n{long}\r\n", long.len());
    let answered = line.raw(&format!("{head}{chunk}{chunk}{chunk}0\r\n\r\n"));
    assert!(answered.starts_with("HTTP/1.1 200 "), "{answered}");
    assert!(upstream.calls()[2].body == long.repeat(3).as_bytes());
}

#[tokio::test]
async fn a_call_without_a_body_says_so() {
    let upstream = Upstream::start(ok);
    let line = line(&upstream);
    let lengths = || {
        let call = upstream.calls().pop().unwrap();
        call.header("content-length").map(str::to_owned)
    };
    line.raw(&line.request(
        "POST /api/data/v9.2/x",
        "Content-Type: application/json\r\nContent-Length: 0\r\n",
        "",
    ));
    assert_eq!(lengths().as_deref(), Some("0"));
    let chunked = format!("{JSON}Transfer-Encoding: chunked\r\n");
    let head = line.request("PATCH /api/data/v9.2/x", &chunked, "");
    line.raw(&format!("{head}0\r\n\r\n"));
    assert_eq!(lengths().as_deref(), Some("0"));
    let url = format!("http://{}/api/data/v9.2/x", line.gateway);
    http2()
        .post(url)
        .bearer_auth(&line.key)
        .send()
        .await
        .unwrap();
    assert_eq!(lengths().as_deref(), Some("0"));
    line.get("/api/data/v9.2/x", "");
    assert_eq!(lengths(), None);
}

#[test]
fn a_body_that_cannot_be_sent_again_is_the_callers_to_send_again() {
    let upstream = Upstream::start(|seen| match seen.token() {
        1 => answer("401 Unauthorized", "", ""),
        _ => answer("200 OK", "", ""),
    });
    let line = line(&upstream);
    let body = "x".repeat(2 << 20);
    let request = line.request("POST /api/data/v9.2/x", "", &body);
    let first = line.raw(&request);
    assert!(first.starts_with("HTTP/1.1 401 "), "{first}");
    assert!(first.contains("tieline-failed: dynamics\r\n"), "{first}");
    let second = line.raw(&request);
    assert!(second.starts_with("HTTP/1.1 200 "), "{second}");
    assert_eq!(upstream.tokens(), 2);
}

#[test]
fn a_connection_that_dynamics_closes_costs_nobody_a_call() {
    let upstream = Upstream::start(|_| answer("200 OK", "Connection: close\r\n", "CUT"));
    let line = line(&upstream);
    for _ in 0..5 {
        let answered = line.get("/api/data/v9.2/x", "");
        assert!(answered.starts_with("HTTP/1.1 200 OK\r\n"), "{answered}");
        assert!(answered.ends_with("\r\n\r\nCUT"), "{answered}");
    }
}

#[test]
fn heads_that_are_too_long_are_told_so() {
    let upstream = Upstream::start(ok);
    let line = line(&upstream);
    let long = format!("X-Long: {}\r\n", "x".repeat(300 << 10));
    let answered = line.get("/api/data/v9.2/x", &long);
    assert!(answered.starts_with("HTTP/1.1 431 "), "{answered}");
    // What Dynamics takes, the gateway takes: an address of 32 KB.
    let target = format!("/api/data/v9.2/x?{}", "y".repeat(32 << 10));
    let answered = line.get(&target, "");
    assert!(answered.starts_with("HTTP/1.1 200 "), "{answered}");
    assert_eq!(
        upstream.calls().pop().unwrap().line,
        format!("GET {target} HTTP/1.1")
    );
}

#[test]
fn an_address_with_its_host_in_front_is_the_same_address() {
    let upstream = Upstream::start(|seen| {
        let origin = format!("http://{}", seen.header("host").unwrap());
        answer(
            "200 OK",
            JSON,
            &format!("{{\"@odata.id\":\"{origin}/api/x\"}}"),
        )
    });
    let line = line_with(&upstream, "");
    for host in ["gw.example:99", "[::1]:8421"] {
        let answered = line.get(&format!("http://{host}/Line/api/data/v9.2/x"), "");
        assert!(answered.starts_with("HTTP/1.1 200 "), "{answered}");
        assert!(
            answered.contains(&format!("\"http://{host}/Line/api/x\"")),
            "{answered}"
        );
        let call = upstream.calls().pop().unwrap();
        assert_eq!(call.line, "GET /api/data/v9.2/x HTTP/1.1");
    }
    // Behind a proxy that terminates TLS.
    let answered = line.get("/api/data/v9.2/x", "X-Forwarded-Proto: https\r\n");
    assert!(answered.contains("\"@odata.id\""), "{answered}");
    let answered = line.get(
        "http://crm.example/api/data/v9.2/x",
        "X-Forwarded-Proto: https\r\n",
    );
    assert!(
        answered.contains("\"https://crm.example/api/x\""),
        "{answered}"
    );
}

/// A client that speaks HTTP/2 from its first byte on.
fn http2() -> reqwest::Client {
    reqwest::Client::builder()
        .tls_backend_preconfigured(no_tls())
        .http2_prior_knowledge()
        .no_proxy()
        .build()
        .unwrap()
}

/// TLS for clients that never use it: reqwest wants some.
fn no_tls() -> rustls::ClientConfig {
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth()
}

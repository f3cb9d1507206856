//! What the gateway does with calls and answers, to the byte.

use crate::line::line;
use crate::test_app::client;
use crate::upstream::{Seen, Upstream, answer};

fn ok(_: &Seen) -> Vec<u8> {
    answer("200 OK", "Content-Type: application/json\r\n", "{}")
}

#[test]
fn path_query_and_headers_arrive_as_they_were_sent() {
    let upstream = Upstream::start(ok);
    let line = line(&upstream);
    let target = "/api/data/v9.2/contacts(emailaddress1='a%2Fb')?$filter=name%20eq%20'%E5%96%B6'&name=営業&x=+%2b+{y}|'&&";
    let headers = "Prefer: odata.maxpagesize=5\r\nPrefer: return=minimal\r\nX-Empty: \r\n\
                   Cookie: a=b\r\nX-Hop: 1\r\nTE: trailers\r\nIf-None-Match: null\r\n";
    let answered = line.get(target, &format!("{headers}Connection: x-hop\r\n"));
    assert!(answered.starts_with("HTTP/1.1 200 OK\r\n"), "{answered}");
    let call = upstream.calls().pop().unwrap();
    assert_eq!(call.line, format!("GET {target} HTTP/1.1"));
    let host = upstream.origin.trim_start_matches("http://");
    assert_eq!(call.header("host"), Some(host));
    assert_eq!(call.token(), 1);
    assert_eq!(
        call.headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("prefer"))
            .count(),
        2
    );
    assert_eq!(call.header("if-none-match"), Some("null"));
    for gone in ["cookie", "x-hop", "te", "connection", "tieline-key"] {
        assert_eq!(call.header(gone), None, "{gone}");
    }
    // The same below an account's name, which is cut off and nothing else.
    line.get(&format!("/liNE{target}"), "");
    assert_eq!(
        upstream.calls().pop().unwrap().line,
        format!("GET {target} HTTP/1.1")
    );
}

#[test]
fn a_refused_token_is_renewed_once_and_the_call_repeated() {
    let upstream = Upstream::start(|seen| match seen.token() {
        1 => answer(
            "401 Unauthorized",
            "WWW-Authenticate: Bearer error=\"invalid_token\"\r\n",
            "",
        ),
        _ => answer("201 Created", "", "done"),
    });
    let line = line(&upstream);
    let (key, gateway) = (&line.key, &line.gateway);
    let request = format!(
        "POST /api/data/v9.2/contacts HTTP/1.1\r\nHost: {gateway}\r\nTieline-Key: {key}\r\n\
         Content-Type: application/json\r\nContent-Length: 11\r\nConnection: close\r\n\r\n{{\"a\": \"b\"}} "
    );
    let answered = line.raw(&request);
    assert!(
        answered.starts_with("HTTP/1.1 201 Created\r\n"),
        "{answered}"
    );
    assert!(
        !answered.to_lowercase().contains("tieline-failed"),
        "{answered}"
    );
    let calls = upstream.calls();
    assert_eq!(calls.iter().map(Seen::token).collect::<Vec<_>>(), [1, 2]);
    assert!(
        calls.iter().all(|call| call.body == b"{\"a\": \"b\"} "),
        "the same body both times"
    );
    assert_eq!(upstream.tokens(), 2);
}

#[test]
fn a_lasting_401_is_dynamics_own_and_costs_one_renewal() {
    let upstream = Upstream::start(|_| answer("401 Unauthorized", "", ""));
    let line = line(&upstream);
    let answered = line.get("/api/data/v9.2/WhoAmI", "");
    assert!(answered.starts_with("HTTP/1.1 401 "), "{answered}");
    assert!(
        answered.contains("tieline-failed: dynamics\r\n"),
        "{answered}"
    );
    assert_eq!(upstream.tokens(), 2);
    assert_eq!(upstream.calls().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_at_once_cost_one_token() {
    let upstream = Upstream::start(ok);
    let line = line(&upstream);
    let http = client(None);
    let url = format!("http://{}/api/data/v9.2/contacts", line.gateway);
    let calls = (0..100).map(|_| {
        let request = http.get(&url).bearer_auth(&line.key);
        tokio::spawn(async move { request.send().await.unwrap().status().as_u16() })
    });
    let calls: Vec<_> = calls.collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), 200);
    }
    assert_eq!(upstream.tokens(), 1);
    assert_eq!(upstream.calls().len(), 100);
    let metrics = http
        .get(format!("http://{}/metrics", line.console))
        .send()
        .await
        .unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(
        metrics.contains("tieline_renewals_total{outcome=\"renewed\"} 1\n"),
        "{metrics}"
    );
}

#[test]
fn an_answer_that_was_cut_is_never_passed_on_as_whole() {
    let upstream = Upstream::start(|_| {
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{\"value\":[CUT".to_vec()
    });
    let line = line(&upstream);
    let answered = line.get("/api/data/v9.2/contacts", "");
    assert!(answered.starts_with("HTTP/1.1 200 OK\r\n"), "{answered}");
    // Chunked, and without the last chunk that would make it whole (RFC 9112, section 8).
    assert!(
        answered.contains("transfer-encoding: chunked\r\n"),
        "{answered}"
    );
    assert!(!answered.ends_with("0\r\n\r\n"), "{answered}");
}

#[test]
fn redirects_are_handed_on_and_not_followed() {
    let upstream = Upstream::start(|_| {
        answer(
            "302 Found",
            "Location: https://elsewhere.example/x\r\nSet-Cookie: a=b\r\n",
            "",
        )
    });
    let line = line(&upstream);
    let answered = line.get("/api/data/v9.2/contacts", "");
    assert!(
        answered.contains("location: https://elsewhere.example/x\r\n"),
        "{answered}"
    );
    assert!(
        !answered.to_lowercase().contains("set-cookie"),
        "{answered}"
    );
    assert_eq!(upstream.calls().len(), 1);
}

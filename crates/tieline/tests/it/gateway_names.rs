//! Names by which the gateway is called: hosts of accounts' own, pages of other origins, and how
//! refusals look there.

use crate::line::{Line, line_with};
use crate::upstream::{Upstream, answer};

const CONFIGURATION: &str = "
[gateway]
host_suffix = \"gw.example\"
allowed_origins = \"https://desk.example.com, http://localhost:3000\"
";

fn linking() -> Upstream {
    Upstream::start(|seen| {
        let origin = format!("http://{}", seen.header("host").unwrap());
        let headers = "Content-Type: application/json\r\nETag: W/\"1\"\r\n\
                       Access-Control-Allow-Origin: *\r\nx-ms-service-request-id: 1\r\n";
        answer(
            "200 OK",
            headers,
            &format!("{{\"@odata.id\":\"{origin}/api/x\"}}"),
        )
    })
}

/// A request that names a host.
fn by_host(line: &Line, host: &str, request: &str, headers: &str) -> String {
    let request = line.request(request, headers, "");
    line.raw(&request.replace(&format!("Host: {}", line.gateway), &format!("Host: {host}")))
}

#[test]
fn an_account_has_a_host_of_its_own() {
    let upstream = linking();
    let line = line_with(&upstream, CONFIGURATION);
    let get = |host: &str| by_host(&line, host, "GET /api/data/v9.2/x", "");
    for host in ["line.gw.example", "LINE.gw.example:8421"] {
        let answered = get(host);
        assert!(answered.starts_with("HTTP/1.1 200 OK\r\n"), "{answered}");
        assert!(
            answered.contains(&format!("\"http://{host}/api/x\"")),
            "{answered}"
        );
    }
    let missing = get("nobody.gw.example");
    assert!(missing.starts_with("HTTP/1.1 404 "), "{missing}");
    assert!(
        missing.contains("{\"error\":{\"code\":\"account-unknown\""),
        "{missing}"
    );
    assert!(
        missing.contains("content-type: application/json"),
        "{missing}"
    );
}

#[test]
fn links_lead_back_the_way_that_each_call_came() {
    let upstream = linking();
    // One thread serves all of them, and remembers what the last one was called by.
    let line = line_with(&upstream, "[gateway]\nworkers = 1\n");
    let https = "X-Forwarded-Proto: https\r\n";
    for _ in 0..2 {
        for (host, account, headers, begin) in [
            ("a.example", "", "", "http://a.example"),
            ("b.example:99", "", "", "http://b.example:99"),
            ("a.example", "", https, "https://a.example"),
            ("a.example", "/Line", "", "http://a.example/Line"),
            ("a.example", "/line", "", "http://a.example/line"),
            ("A.example", "/line", https, "https://A.example/line"),
            ("a.example", "", "", "http://a.example"),
        ] {
            let answered = by_host(
                &line,
                host,
                &format!("GET {account}/api/data/v9.2/x"),
                headers,
            );
            let link = format!("{{\"@odata.id\":\"{begin}/api/x\"}}");
            assert!(answered.ends_with(&link), "{begin}: {answered}");
        }
    }
}

#[test]
fn refusals_speak_the_callers_language() {
    let upstream = linking();
    let line = line_with(&upstream, CONFIGURATION);
    for (request, status, odata) in [
        ("GET /Nobody/api/data/v9.2/x", 404, true),
        ("POST /Nobody/api/data/v9.2/$batch", 404, true),
        ("GET /nothing", 404, false),
        ("GET /Nobody/api/other", 404, false),
    ] {
        let answered = line.raw(&line.request(request, "", ""));
        assert!(
            answered.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answered}"
        );
        let kind = if odata {
            "application/json; odata.metadata=minimal"
        } else {
            "application/problem+json"
        };
        assert!(
            answered.contains(&format!("content-type: {kind}\r\n")),
            "{answered}"
        );
        assert!(
            answered.contains("tieline-failed: consumer\r\n"),
            "{answered}"
        );
        assert!(answered.contains("tieline-trace-id: "), "{answered}");
    }
    let head = line.raw(&line.request("HEAD /Nobody/api/data/v9.2/x", "", ""));
    assert!(
        head.starts_with("HTTP/1.1 404 ") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
    assert_eq!(upstream.calls().len(), 0);
}

#[test]
fn pages_of_listed_origins_may_call() {
    let upstream = linking();
    let line = line_with(&upstream, CONFIGURATION);
    let preflight = |origin: &str| {
        let request = format!(
            "OPTIONS /Line/api/data/v9.2/x HTTP/1.1\r\nHost: {}\r\nOrigin: {origin}\r\n\
             Access-Control-Request-Method: PATCH\r\n\
             Access-Control-Request-Headers: authorization,content-type\r\nConnection: close\r\n\r\n",
            line.gateway
        );
        line.raw(&request)
    };
    let origin = "https://desk.example.com";
    let told = preflight(origin);
    assert!(told.starts_with("HTTP/1.1 204 "), "{told}");
    for header in [
        "access-control-allow-origin: https://desk.example.com\r\n",
        "access-control-allow-headers: authorization,content-type\r\n",
        "access-control-allow-methods: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n",
        "vary: Origin",
    ] {
        assert!(told.contains(header), "{header}: {told}");
    }
    let refused = preflight("https://elsewhere.example");
    assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
    assert!(refused.contains("origin-not-allowed"), "{refused}");
    assert!(!refused.contains("access-control-"), "{refused}");
    assert_eq!(upstream.calls().len(), 0);

    let answered = line.get("/api/data/v9.2/x", &format!("Origin: {origin}\r\n"));
    assert!(
        answered.contains(&format!("access-control-allow-origin: {origin}\r\n")),
        "{answered}"
    );
    let exposed = answered
        .lines()
        .find(|line| line.starts_with("access-control-expose-headers"));
    let exposed = exposed.unwrap();
    for name in ["etag", "x-ms-service-request-id", "tieline-trace-id"] {
        assert!(exposed.contains(name), "{exposed}");
    }
    // A refusal can be read by the page, too.
    let request = line.request(
        "GET /Nobody/api/data/v9.2/x",
        &format!("Origin: {origin}\r\n"),
        "",
    );
    let refused = line.raw(&request);
    assert!(
        refused.contains(&format!("access-control-allow-origin: {origin}\r\n")),
        "{refused}"
    );
    // What Dynamics says of origins is about its own address.
    let other = line.get("/api/data/v9.2/x", "Origin: https://elsewhere.example\r\n");
    assert!(other.starts_with("HTTP/1.1 200 "), "{other}");
    assert!(!other.contains("access-control-"), "{other}");
}

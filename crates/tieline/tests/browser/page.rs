//! A page of another origin that calls the gateway, in a browser that enforces what it may.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::thread;

use crate::chrome::Chrome;
use crate::line::line_with;
use crate::upstream::{Upstream, answer};

/// Serves one page, whatever is asked for; gives the port.
fn serve(listener: TcpListener, page: String) {
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(&stream);
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                line.clear();
            }
            let length = page.len();
            let _ = write!(
                &stream,
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\n\
                 Connection: close\r\n\r\n{page}"
            );
        }
    });
}

#[tokio::test]
async fn a_page_of_a_listed_origin_reads_and_writes_and_others_do_not() {
    let upstream = Upstream::start(|seen| {
        let origin = format!("http://{}", seen.header("host").unwrap());
        let headers = format!(
            "Content-Type: application/json\r\nOData-EntityId: {origin}/api/data/v9.2/contacts(1)\r\n"
        );
        answer("200 OK", &headers, r#"{"fullname":"営業"}"#)
    });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let configuration = format!("[gateway]\nallowed_origins = \"http://127.0.0.1:{port}\"\n");
    let line = line_with(&upstream, &configuration);
    let (gateway, key) = (&line.gateway, &line.key);
    let page = format!(
        "<!doctype html><title>x</title><p id=said></p><script>
        const options = {{
            method: 'PATCH',
            headers: {{'Authorization': 'Bearer {key}', 'Content-Type': 'application/json', 'If-Match': '*'}},
            body: '{{\"lastname\":\"x\"}}',
        }};
        fetch('http://{gateway}/Line/api/data/v9.2/contacts(1)', options).then(
            async (answer) => {{
                const row = await answer.json();
                said.textContent = answer.status + ' ' + row.fullname + ' ' + answer.headers.get('OData-EntityId');
            }},
            (error) => {{ said.textContent = 'refused: ' + error; }},
        );
        </script>"
    );
    serve(listener, page);
    let chrome = Chrome::start("en", true).await;
    chrome
        .driver
        .goto(format!("http://127.0.0.1:{port}/"))
        .await
        .unwrap();
    let said = format!("200 営業 http://{gateway}/Line/api/data/v9.2/contacts(1)");
    chrome.find_with("#said", &said).await;
    assert_eq!(upstream.calls().len(), 1);
    // The same page under another name is of another origin.
    chrome
        .driver
        .goto(format!("http://localhost:{port}/"))
        .await
        .unwrap();
    chrome.find_with("#said", "refused: TypeError").await;
    assert_eq!(upstream.calls().len(), 1);
    chrome.close().await;
}

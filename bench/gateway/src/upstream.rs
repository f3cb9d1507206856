//! The organization: answers of fixed sizes, and 401 for whoever has not the account's token.

use std::io::Write as _;
use std::rc::Rc;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::words;

/// Answers, ready to be written.
pub struct Answers {
    small: Vec<u8>,
    page: Vec<u8>,
    file: Vec<u8>,
    large_page: Vec<u8>,
    large_file: Vec<u8>,
    zipped: Vec<u8>,
    refused: Vec<u8>,
}

impl Answers {
    pub fn of(origin: &str) -> Self {
        Self {
            small: json(origin, 600),
            page: json(origin, 100_000),
            file: bytes(100_000),
            large_page: json(origin, 10_000_000),
            large_file: bytes(10_000_000),
            zipped: zipped(&json(origin, 100_000)),
            refused: b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n".to_vec(),
        }
    }

    fn to(&self, path: &str) -> &[u8] {
        match path.rsplit('/').next() {
            Some("page") => &self.page,
            Some("file") => &self.file,
            Some("large_page") => &self.large_page,
            Some("large_file") => &self.large_file,
            Some("zipped") => &self.zipped,
            _ => &self.small,
        }
    }
}

/// A page of contacts with the links that Dynamics sends with full metadata.
fn json(origin: &str, size: usize) -> Vec<u8> {
    let mut body =
        format!(r#"{{"@odata.context":"{origin}/api/data/v9.2/$metadata#contacts","value":["#);
    let mut number = 0;
    while body.len() < size - 320 || number == 0 {
        let comma = if number == 0 { "" } else { "," };
        body += &format!(
            r#"{comma}{{"@odata.etag":"W/\"{number}\"","@odata.id":"{origin}/api/data/v9.2/contacts({number:08}-0000-4000-8000-000000000000)","contactid":"{number:08}-0000-4000-8000-000000000000","fullname":"Alex Fran\u00e7ois {number}","telephone1":"+1 425 555 {number:04}","emailaddress1":"alex{number}@example.com"}}"#
        );
        number += 1;
    }
    body += "]}";
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\nCache-Control: no-cache\r\nContent-Type: application/json; \
         odata.metadata=full\r\nContent-Length: {length}\r\nODATA-Version: 4.0\r\n\
         x-ms-service-request-id: 7d1c1a4c-5b5c-4b0a-9f0e-4b8f4b6c1e11\r\n\
         x-ms-ratelimit-burst-remaining-xrm-requests: 5999999\r\n\
         Date: Tue, 24 Nov 2026 12:00:00 GMT\r\n\r\n{body}"
    )
    .into_bytes()
}

/// The same answer, compressed.
fn zipped(answer: &[u8]) -> Vec<u8> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let (head, body) = answer.split_at(end.expect("a head") + 4);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).unwrap();
    let body = encoder.finish().unwrap();
    let mut answer = Vec::new();
    for line in head.split_inclusive(|&byte| byte == b'\n') {
        if line.starts_with(b"Content-Length") {
            let length = body.len();
            write!(
                answer,
                "Content-Encoding: gzip\r\nContent-Length: {length}\r\n"
            )
            .unwrap();
        } else {
            answer.extend_from_slice(line);
        }
    }
    answer.extend_from_slice(&body);
    answer
}

fn bytes(size: usize) -> Vec<u8> {
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {size}\r\n\
         Date: Tue, 24 Nov 2026 12:00:00 GMT\r\n\r\n"
    )
    .into_bytes();
    answer.resize(answer.len() + size, b'x');
    answer
}

/// Serves for ever.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    answers: Rc<Answers>,
) {
    let acceptor = tls.map(TlsAcceptor::from);
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (acceptor, answers) = (acceptor.clone(), Rc::clone(&answers));
        tokio::task::spawn_local(async move {
            match acceptor {
                None => converse(stream, &answers).await,
                Some(acceptor) => match acceptor.accept(stream).await {
                    Ok(stream) => converse(stream, &answers).await,
                    Err(error) => eprintln!("upstream: {error}"),
                },
            }
        });
    }
}

async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, answers: &Answers) {
    let mut buffer = Vec::with_capacity(32 * 1024);
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 48];
        let mut request = httparse::Request::new(&mut headers);
        let parsed = if buffer.is_empty() {
            Ok(httparse::Status::Partial)
        } else {
            request.parse(&buffer)
        };
        let head = match parsed.expect("a request") {
            httparse::Status::Complete(head) => head,
            httparse::Status::Partial => match stream.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(_) => continue,
            },
        };
        let header = |name: &str| {
            let found = request
                .headers
                .iter()
                .find(|header| header.name.eq_ignore_ascii_case(name));
            found.map_or(&b""[..], |header| header.value)
        };
        let length = std::str::from_utf8(header("content-length")).unwrap();
        let length: usize = length.parse().unwrap_or(0);
        assert!(
            header("transfer-encoding").is_empty() || length > 0,
            "a length is expected"
        );
        let right = words::is_token_of(header("authorization"), header("x-account"));
        let answer = if right {
            answers.to(request.path.unwrap_or_default())
        } else {
            &answers.refused
        };
        let whole: usize = head + length;
        while buffer.len() < whole {
            if !matches!(stream.read_buf(&mut buffer).await, Ok(read) if read > 0) {
                return;
            }
        }
        buffer.drain(..whole);
        if stream.write_all(answer).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

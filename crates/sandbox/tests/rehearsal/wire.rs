//! Connections that are cut, seen from beneath HTTP.

use std::sync::Arc;

use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::stage::Stage;

async fn connect(stage: &Stage, protocol: &[u8]) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    let pem = CertificateDer::from_pem_file(stage.sandbox.ca_file()).unwrap();
    roots.add(pem).unwrap();
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let tcp = TcpStream::connect(stage.sandbox.address()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
        .unwrap()
}

/// Sends a request over HTTP/1.1 and reads until the connection ends, however it does.
async fn exchange(stage: &Stage, token: &str, path: &str) -> String {
    let mut stream = connect(stage, b"http/1.1").await;
    let request = format!(
        "GET /api/data/v9.2/{path} HTTP/1.1\r\nHost: localhost:{}\r\n\
         Authorization: Bearer {token}\r\n\r\n",
        stage.sandbox.address().port()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut read = Vec::new();
    // It ends without TLS's own goodbye, which is an error to whoever listens well.
    let ended = stream.read_to_end(&mut read).await;
    assert!(ended.is_err(), "the connection was closed politely");
    String::from_utf8(read).unwrap()
}

#[tokio::test]
async fn a_dropped_connection_says_nothing() {
    let stage = Stage::open().await;
    let token = stage.token().await;
    for when in ["before", "after"] {
        stage
            .arm(json!({"kind": "drop", "when": when, "requests": 1}))
            .await;
        assert_eq!(exchange(&stage, &token, "accounts?$top=1").await, "");
    }
}

#[tokio::test]
async fn a_cut_answer_is_shorter_than_it_says() {
    let stage = Stage::open().await;
    let token = stage.token().await;
    for (fault, wanted) in [
        (json!({"kind": "cut", "requests": 1}), None),
        (json!({"kind": "cut", "bytes": 10, "requests": 1}), Some(10)),
        (json!({"kind": "cut", "bytes": 0, "requests": 1}), Some(0)),
        (
            json!({"kind": "cut", "bytes": 900_000, "requests": 1}),
            None,
        ),
    ] {
        stage.arm(fault.clone()).await;
        let answer = exchange(&stage, &token, "contacts?$top=40").await;
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let promised = head
            .lines()
            .find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length: ")
                    .map(str::to_owned)
            })
            .expect("a length");
        let promised: usize = promised.parse().unwrap();
        assert!(
            body.len() < promised,
            "{fault}: {} of {promised}",
            body.len()
        );
        if let Some(wanted) = wanted {
            assert_eq!(body.len(), wanted);
        }
    }
}

#[tokio::test]
async fn an_answer_without_a_body_is_cut_before_it_begins() {
    let stage = Stage::open().await;
    let token = stage.token().await;
    stage.arm(json!({"kind": "cut", "requests": 1})).await;
    let head = stage.http.head(stage.url("/api/data/v9.2/contacts"));
    let sent = head.bearer_auth(&token).send().await;
    assert!(sent.is_err(), "{sent:?}");
}

#[tokio::test]
async fn over_http2_the_stream_is_reset_and_the_connection_lives() {
    let stage = Stage::open().await;
    let token = stage.token().await;
    let stream = connect(&stage, b"h2").await;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = |path: &str| {
        hyper::Request::get(stage.url(&format!("/api/data/v9.2/{path}")))
            .header("authorization", format!("Bearer {token}"))
            .body(Empty::<bytes::Bytes>::new())
            .unwrap()
    };
    stage.arm(json!({"kind": "drop", "requests": 1})).await;
    let dropped = sender.send_request(request("accounts?$top=1")).await;
    assert!(dropped.is_err(), "{dropped:?}");

    stage
        .arm(json!({"kind": "cut", "bytes": 20, "requests": 1}))
        .await;
    let answer = sender
        .send_request(request("contacts?$top=9"))
        .await
        .unwrap();
    let mut body = answer.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first.len(), 20);
    let rest = body.frame().await.expect("an end");
    assert!(rest.is_err(), "the stream ended politely");

    let answer = sender
        .send_request(request("accounts?$top=1"))
        .await
        .unwrap();
    let whole = answer.into_body().collect().await.unwrap().to_bytes();
    let parsed: Value = serde_json::from_slice(&whole).unwrap();
    assert!(parsed["value"].is_array());
}

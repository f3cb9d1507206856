//! What an engineer writes in an afternoon with axum and reqwest: a map from keys to tokens, and
//! everything else passed on.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;

struct Peer {
    tokens: HashMap<String, String>,
    client: reqwest::Client,
    upstream: String,
}

async fn pass(State(peer): State<Arc<Peer>>, request: Request) -> Result<Response, StatusCode> {
    let (parts, body) = request.into_parts();
    let key = parts
        .headers
        .get(header::AUTHORIZATION)
        .and_then(|key| key.to_str().ok());
    let token = key
        .and_then(|key| peer.tokens.get(key))
        .ok_or(StatusCode::UNAUTHORIZED)?;
    let mut headers: HeaderMap = parts.headers.clone();
    headers.remove(header::HOST);
    headers.insert(
        header::AUTHORIZATION,
        token.parse().map_err(|_| StatusCode::BAD_GATEWAY)?,
    );
    let mut call = peer
        .client
        .request(parts.method, format!("{}{}", peer.upstream, parts.uri));
    call = call
        .headers(headers)
        .body(reqwest::Body::wrap_stream(body.into_data_stream()));
    let answer = call.send().await.map_err(|_| StatusCode::BAD_GATEWAY)?;
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        if name != header::TRANSFER_ENCODING && name != header::CONNECTION {
            response = response.header(name, value);
        }
    }
    response
        .body(Body::from_stream(answer.bytes_stream()))
        .map_err(|_| StatusCode::BAD_GATEWAY)
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let arguments: Vec<String> = std::env::args().collect();
    let [_, listen, upstream, ca, keys] = arguments.as_slice() else {
        panic!("axum-peer LISTEN UPSTREAM CA KEYS");
    };
    let ca = reqwest::Certificate::from_pem(&std::fs::read(ca).unwrap()).unwrap();
    let client = reqwest::Client::builder()
        .tls_certs_only([ca])
        .no_proxy()
        .build()
        .unwrap();
    let keys = std::fs::read_to_string(keys).unwrap();
    let tokens = keys.lines().filter_map(|line| line.split_once('\t'));
    let tokens = tokens
        .map(|(key, token)| (key.to_owned(), token.to_owned()))
        .collect();
    let peer = Arc::new(Peer {
        tokens,
        client,
        upstream: upstream.clone(),
    });
    let app = axum::Router::new().fallback(pass).with_state(peer);
    let listener = tokio::net::TcpListener::bind(listen).await.unwrap();
    axum::serve(listener, app).await.unwrap();
}

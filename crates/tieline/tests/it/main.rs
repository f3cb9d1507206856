//! Black-box tests: the real binary, its real sandbox, real sockets.
#![expect(clippy::unwrap_used, reason = "a panic in a test is the report")]

mod account;
mod api;
mod cli;
mod connect;
mod credentials;
mod fair;
mod faithful;
mod faithful_bodies;
mod faithful_connections;
mod faithful_wire;
mod gateway;
mod gateway_names;
mod keeper;
mod life;
mod line;
mod notices;
mod people;
mod postgres;
mod secrets;
mod smtp;
mod test_app;
mod upstream;
mod upstream_http2;

/// The demo's own way through the consent's pages, walked here from outside.
#[path = "../../src/demo"]
mod demo {
    pub(crate) mod page;
    pub(crate) mod walk;
}

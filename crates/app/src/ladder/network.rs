//! Name and TLS: can the hosts be found, and do they prove who they are?

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{CertificateError, Error as TlsError};
use tieline_core::Evidence;
use tokio_rustls::TlsConnector;
use url::Url;

use super::{Climb, Found, Luggage};
use crate::outbound::OutboundError;

/// A handshake that takes longer than this will not succeed.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// One host to speak to.
struct Host {
    name: String,
    port: u16,
    https: bool,
}

impl Climb<'_> {
    /// Do the names resolve to addresses that may be called?
    pub(super) async fn name(&self, luggage: &Luggage) -> Found {
        let outbound = self.app.outbound();
        for host in hosts(luggage) {
            if outbound.proxy_for(&host.name).is_some() {
                continue;
            }
            if let Err(error) = outbound.connect_addresses(&host.name, host.port).await {
                return refused(&host, &error);
            }
        }
        Found::ok("names-resolve")
    }

    /// Does TLS succeed, with certificates that we trust?
    pub(super) async fn tls(&self, luggage: &Luggage) -> Found {
        let mut plain = None;
        for host in hosts(luggage) {
            let stream = match self.app.outbound().connect(&host.name, host.port).await {
                Ok(stream) => stream,
                Err(error) => return refused(&host, &error),
            };
            if !host.https {
                plain = Some(host.name);
                continue;
            }
            let Ok(name) = ServerName::try_from(host.name.clone()) else {
                return Found::failed("tls-name-mismatch").with("host", host.name);
            };
            let connector = TlsConnector::from(Arc::clone(&self.app.outbound().tls()));
            let shaken =
                tokio::time::timeout(HANDSHAKE_TIMEOUT, connector.connect(name, stream)).await;
            match shaken {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return handshake_failed(&host.name, &error),
                Err(_) => {
                    return Found::failed("tls-slow").with("host", host.name.clone());
                }
            }
        }
        match plain {
            Some(host) => Found::warning("tls-none").with("host", host),
            None => Found::ok("tls-trusted"),
        }
    }
}

/// The token service and the organization, each once.
fn hosts(luggage: &Luggage) -> Vec<Host> {
    let Some(settings) = &luggage.settings else {
        return Vec::new();
    };
    let token = settings
        .endpoints
        .as_ref()
        .map(|endpoints| endpoints.token());
    let api = settings.api.as_ref().map(|api| api.url());
    let mut hosts: Vec<Host> = Vec::new();
    for url in [token, api].into_iter().flatten() {
        let host = host_of(url);
        if !hosts
            .iter()
            .any(|known| known.name == host.name && known.port == host.port)
        {
            hosts.push(host);
        }
    }
    hosts
}

fn host_of(url: &Url) -> Host {
    let name = url.host_str().unwrap_or_default();
    Host {
        // An IPv6 address stands in brackets in a URL and nowhere else.
        name: name
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned(),
        port: url.port_or_known_default().unwrap_or(443),
        https: url.scheme() == "https",
    }
}

fn refused(host: &Host, error: &OutboundError) -> Found {
    let code = match error {
        OutboundError::Unresolved { .. } => "name-unresolved",
        OutboundError::Connect { source, .. } => match source.kind() {
            io::ErrorKind::TimedOut => "connection-slow",
            _ => "connection-refused",
        },
        _ => "url-not-allowed",
    };
    let message = match error {
        OutboundError::Unresolved { source, .. } | OutboundError::Connect { source, .. } => {
            format!("{error}: {source}")
        }
        other => other.to_string(),
    };
    Found::failed(code)
        .with("host", host.name.clone())
        .evidence(Evidence {
            host: Some(host.name.clone()),
            message: Some(message),
            ..Evidence::default()
        })
}

fn handshake_failed(host: &str, error: &io::Error) -> Found {
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<TlsError>());
    let code = match tls {
        Some(TlsError::InvalidCertificate(certificate)) => certificate_code(certificate),
        Some(TlsError::InvalidMessage(_)) => "tls-not-spoken",
        Some(TlsError::AlertReceived(_)) => "tls-refused",
        Some(_) => "tls-failed",
        None => "connection-cut",
    };
    Found::failed(code).with("host", host).evidence(Evidence {
        host: Some(host.to_owned()),
        message: Some(error.to_string()),
        ..Evidence::default()
    })
}

fn certificate_code(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "tls-expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "tls-not-valid-yet"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "tls-name-mismatch"
        }
        CertificateError::UnknownIssuer => "tls-untrusted",
        CertificateError::Revoked => "tls-revoked",
        _ => "tls-failed",
    }
}

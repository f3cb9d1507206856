//! Connections to Dynamics: the outgoing policy, the forward proxy and TLS.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use tieline_app::{Line, Outbound, OutboundError};
use tokio_rustls::TlsConnector;

use crate::Protocols;
use crate::socket::{Ahead, Socket};

/// How long the handshake may take; the connection itself has the outgoing policy's limit.
const TLS_TIMEOUT: Duration = Duration::from_secs(10);
/// Organizations whose TLS sessions are remembered. A resumed handshake costs a third of a full
/// one (RFC 8446, section 2.2).
const SESSIONS: usize = 4096;

/// Makes connections; nothing that it makes breaks the policy. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Connector {
    outbound: Outbound,
    tls: TlsConnector,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    #[error("TLS: {0}")]
    Tls(io::Error),
    #[error("HTTP/2: {0}")]
    Http2(hyper::Error),
    #[error("the address has no host")]
    NoHost,
}

impl Connector {
    pub(crate) fn new(outbound: &Outbound, protocols: Protocols) -> Self {
        let mut tls: ClientConfig = (*outbound.tls()).clone();
        // Connections of different workers resume each other's sessions.
        tls.resumption = Resumption::in_memory_sessions(SESSIONS);
        tls.alpn_protocols = match protocols {
            Protocols::Http1 => vec![b"http/1.1".to_vec()],
            Protocols::Http2Too => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        };
        Self {
            outbound: outbound.clone(),
            tls: TlsConnector::from(Arc::new(tls)),
        }
    }

    /// A connection to a line's organization.
    pub(crate) async fn connect(&self, line: &Line) -> Result<Socket, ConnectError> {
        self.outbound.admit(&line.origin)?;
        let stream = self.outbound.connect(&line.host, line.port).await?;
        // Requests are written whole; waiting for more only delays them.
        let _ = stream.set_nodelay(true);
        if line.origin.scheme() != "https" {
            return Ok(Socket::Plain(stream));
        }
        let bare = line.host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(bare.to_owned()).map_err(|_| ConnectError::NoHost)?;
        let shaken =
            tokio::time::timeout(TLS_TIMEOUT, self.tls.connect(name, Ahead::new(stream))).await;
        let stream = shaken
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(ConnectError::Tls)?;
        Ok(Socket::Tls(Box::new(stream.into())))
    }
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

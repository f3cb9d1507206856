//! An authority and a certificate for localhost, made anew for each run.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{RootCertStore, ServerConfig};

/// What both ends need.
pub struct Tls {
    /// For the servers.
    pub server: Arc<ServerConfig>,
    /// The authority, as a file for `outbound.ca_file`.
    pub authority: PathBuf,
    roots: RootCertStore,
}

impl Tls {
    /// Makes both.
    pub fn make(directory: &Path) -> anyhow::Result<Self> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let leaf = CertificateParams::new(vec!["localhost".to_owned()])?;
        let certificate = leaf.signed_by(&key, &issuer)?;
        let authority = directory.join("authority.pem");
        std::fs::write(&authority, issuer.pem())?;
        let mut roots = RootCertStore::empty();
        roots.add(issuer.der().clone())?;
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut server = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)?;
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self {
            server: Arc::new(server),
            authority,
            roots,
        })
    }

    /// A client that trusts the authority.
    pub fn client(&self) -> anyhow::Result<reqwest::Client> {
        let tls = rustls::ClientConfig::builder()
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        Ok(reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .timeout(std::time::Duration::from_secs(60))
            .pool_max_idle_per_host(512)
            .build()?)
    }
}

//! The sandbox's own certificate authority, and a server certificate for every name it answers to.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Datelike, Utc};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::SandboxError;

const CA_FILE: &str = "ca.pem";
const CA_KEY_FILE: &str = "ca-key.pem";

pub(crate) struct Certificates {
    pub(crate) ca_file: PathBuf,
    pub(crate) server: Arc<ServerConfig>,
    /// Where the authority lives, when nobody said where.
    pub(crate) temporary: Option<tempfile::TempDir>,
}

/// The authority is made once and kept, so that whoever trusted it goes on doing so; the server's
/// certificate is made anew at every start, for the names of today.
pub(crate) fn prepare(
    data_dir: Option<&Path>,
    names: &[String],
    address: IpAddr,
    now: DateTime<Utc>,
) -> Result<Certificates, SandboxError> {
    let temporary = match data_dir {
        Some(_) => None,
        None => Some(tempfile::tempdir()?),
    };
    let own = temporary.as_ref().map(tempfile::TempDir::path);
    let directory = data_dir.or(own).unwrap_or(Path::new(".")).to_owned();
    fs::create_dir_all(&directory)?;
    let ca_file = directory.join(CA_FILE);
    let key_file = directory.join(CA_KEY_FILE);
    let ca_key = match fs::read_to_string(&key_file) {
        Ok(key) if ca_file.is_file() => KeyPair::from_pem(&key).map_err(failed)?,
        _ => {
            let key = KeyPair::generate().map_err(failed)?;
            let pem = authority(now).self_signed(&key).map_err(failed)?.pem();
            write_private(&key_file, &key.serialize_pem())?;
            fs::write(&ca_file, &pem)?;
            key
        }
    };
    // Name and key are all that a signature takes from the authority; both are always the same.
    let issuer = Issuer::new(authority(now), ca_key);
    let server_key = KeyPair::generate().map_err(failed)?;
    let certificate = server(names, address, now)?
        .signed_by(&server_key, &issuer)
        .map_err(failed)?;
    let chain = vec![CertificateDer::from(certificate.der().to_vec())];
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(server_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(failed)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(failed)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Certificates {
        ca_file,
        server: Arc::new(config),
        temporary,
    })
}

fn authority(now: DateTime<Utc>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, "Tieline sandbox authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = date_time_ymd(now.year() - 1, 1, 1);
    params.not_after = date_time_ymd(now.year() + 10, 1, 1);
    params
}

fn server(
    names: &[String],
    address: IpAddr,
    now: DateTime<Utc>,
) -> Result<CertificateParams, SandboxError> {
    let mut params = CertificateParams::new(names.to_vec()).map_err(failed)?;
    let mut addresses = vec![
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    ];
    if !address.is_unspecified() && !addresses.contains(&address) {
        addresses.push(address);
    }
    params
        .subject_alt_names
        .extend(addresses.into_iter().map(SanType::IpAddress));
    params
        .distinguished_name
        .push(DnType::CommonName, "Tieline sandbox");
    params.is_ca = IsCa::NoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // Browsers refuse certificates that are good for much longer than a year.
    params.not_before = date_time_ymd(now.year() - 1, 12, 1);
    params.not_after = date_time_ymd(now.year() + 1, 1, 1).saturating_add_weeks(4);
    Ok(params)
}

trait AddWeeks {
    fn saturating_add_weeks(self, weeks: i64) -> Self;
}

impl<T: Copy + std::ops::Add<std::time::Duration, Output = T>> AddWeeks for T {
    fn saturating_add_weeks(self, weeks: i64) -> Self {
        self + std::time::Duration::from_secs(u64::try_from(weeks).unwrap_or_default() * 604_800)
    }
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(path)?.write_all(text.as_bytes())
}

fn failed(error: impl std::fmt::Display) -> SandboxError {
    SandboxError::Certificates(error.to_string())
}

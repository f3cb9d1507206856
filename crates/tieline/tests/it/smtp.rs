//! A mail server of our own: it speaks enough of SMTP (RFC 5321), STARTTLS (RFC 3207) and
//! AUTH PLAIN (RFC 4954) to be told mail, and insists on all three.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Far longer than a mail takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A mail as it came in.
#[derive(Debug, Default, Clone)]
pub(crate) struct Mail {
    pub(crate) from: String,
    pub(crate) to: Vec<String>,
    /// What AUTH PLAIN said, decoded.
    pub(crate) login: Option<String>,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Mail {
    /// The body as people read it.
    pub(crate) fn text(&self) -> String {
        let encoding = self.head.to_ascii_lowercase();
        if encoding.contains("content-transfer-encoding: base64") {
            let compact: String = self.body.split_whitespace().collect();
            return String::from_utf8(STANDARD.decode(compact).unwrap()).unwrap();
        }
        if encoding.contains("content-transfer-encoding: quoted-printable") {
            return unquoted(&self.body);
        }
        self.body.clone()
    }
}

/// The server; it ends with the test's process.
pub(crate) struct MailServer {
    pub(crate) port: u16,
    /// Its certificate, to be trusted.
    pub(crate) certificate: String,
    got: Receiver<Mail>,
}

impl MailServer {
    pub(crate) fn start() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let tls = Arc::new(tls);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (tell, got): (Sender<Mail>, _) = channel();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (tls, tell) = (Arc::clone(&tls), tell.clone());
                // A client that hangs up ends its conversation, not the server.
                thread::spawn(move || converse(stream, tls, &tell));
            }
        });
        Self {
            port,
            certificate: made.cert.pem(),
            got,
        }
    }

    pub(crate) fn next(&self) -> Mail {
        self.got.recv_timeout(PATIENCE).expect("a mail comes")
    }

    pub(crate) fn assert_quiet(&self) {
        assert!(
            self.got.try_recv().is_err(),
            "a mail came that nobody expected"
        );
    }
}

/// In the clear nothing is taken but STARTTLS.
fn converse(stream: TcpStream, tls: Arc<ServerConfig>, tell: &Sender<Mail>) -> Option<()> {
    let mut writer = stream.try_clone().ok()?;
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    writer.write_all(b"220 localhost ready\r\n").ok()?;
    loop {
        let line = line(&mut reader)?;
        let reply: &[u8] = match verb(&line).as_str() {
            "EHLO" => b"250-localhost\r\n250 STARTTLS\r\n",
            "STARTTLS" => {
                writer.write_all(b"220 go on\r\n").ok()?;
                let connection = ServerConnection::new(tls).ok()?;
                return secured(StreamOwned::new(connection, stream), tell);
            }
            "QUIT" => return writer.write_all(b"221 bye\r\n").ok(),
            _ => b"530 must issue STARTTLS first\r\n",
        };
        writer.write_all(reply).ok()?;
    }
}

fn secured(stream: StreamOwned<ServerConnection, TcpStream>, tell: &Sender<Mail>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut mail = Mail::default();
    loop {
        let line = line(&mut reader)?;
        let reply: &[u8] = match verb(&line).as_str() {
            "EHLO" => b"250-localhost\r\n250 AUTH PLAIN\r\n",
            "AUTH" => {
                let encoded = line.split(' ').nth(2)?;
                let decoded = STANDARD.decode(encoded.trim()).ok()?;
                mail.login = Some(String::from_utf8(decoded).ok()?);
                b"235 welcome\r\n"
            }
            _ if mail.login.is_none() => b"530 authentication required\r\n",
            "MAIL" => {
                mail.from = address(&line);
                b"250 ok\r\n"
            }
            "RCPT" => {
                mail.to.push(address(&line));
                b"250 ok\r\n"
            }
            "DATA" => {
                reader.get_mut().write_all(b"354 go on\r\n").ok()?;
                read_message(&mut reader, &mut mail)?;
                let login = mail.login.clone();
                let _ = tell.send(std::mem::take(&mut mail));
                mail.login = login;
                b"250 taken\r\n"
            }
            "NOOP" | "RSET" => b"250 ok\r\n",
            "QUIT" => return reader.get_mut().write_all(b"221 bye\r\n").ok(),
            _ => b"500 unknown\r\n",
        };
        reader.get_mut().write_all(reply).ok()?;
    }
}

fn read_message(reader: &mut impl BufRead, mail: &mut Mail) -> Option<()> {
    let mut whole = String::new();
    loop {
        let line = line(reader)?;
        if line == "." {
            break;
        }
        whole.push_str(line.strip_prefix('.').unwrap_or(&line));
        whole.push('\n');
    }
    let (head, body) = whole.split_once("\n\n")?;
    mail.head = head.to_owned();
    mail.body = body.to_owned();
    Some(())
}

fn line(reader: &mut impl BufRead) -> Option<String> {
    let mut text = String::new();
    if reader.read_line(&mut text).ok()? == 0 {
        return None;
    }
    Some(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn verb(line: &str) -> String {
    line.split([' ', ':'])
        .next()
        .unwrap_or_default()
        .to_uppercase()
}

fn address(line: &str) -> String {
    let inside = line
        .split_once('<')
        .and_then(|(_, rest)| rest.split_once('>'));
    inside
        .map(|(inside, _)| inside.to_owned())
        .unwrap_or_default()
}

/// Quoted-printable (RFC 2045, section 6.7).
fn unquoted(text: &str) -> String {
    let joined = text.replace("=\n", "");
    let bytes = joined.as_bytes();
    let (mut at, mut plain) = (0, Vec::new());
    while at < bytes.len() {
        let hex = (bytes[at] == b'=')
            .then(|| joined.get(at + 1..at + 3))
            .flatten()
            .and_then(|pair| u8::from_str_radix(pair, 16).ok());
        match hex {
            Some(byte) => {
                plain.push(byte);
                at += 3;
            }
            None => {
                plain.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(plain).unwrap()
}

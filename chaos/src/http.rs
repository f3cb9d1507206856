//! As much of HTTP/1.1 as callers and the proxy need (RFC 9112): one message at a time, whole.

use std::io;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpStream;

/// A connection that was idle for longer is not used again, since the server may be closing it:
/// the gateway does after fifteen seconds (RFC 9112, section 9.5).
const IDLE: Duration = Duration::from_secs(10);

/// A request or an answer.
#[derive(Debug, Default)]
pub(crate) struct Message {
    /// The first line.
    pub(crate) start: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Message {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Of an answer.
    pub(crate) fn status(&self) -> u16 {
        let second = self.start.split(' ').nth(1);
        second.and_then(|text| text.parse().ok()).unwrap_or(0)
    }
}

/// Reads a message; none when the other side has closed.
pub(crate) async fn read(from: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Message>> {
    let mut message = Message {
        start: line(from).await?,
        ..Message::default()
    };
    if message.start.is_empty() {
        return Ok(None);
    }
    loop {
        let line = line(from).await?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        let pair = (name.to_owned(), value.trim().to_owned());
        message.headers.push(pair);
    }
    if let Some(length) = message
        .header("content-length")
        .and_then(|text| text.parse().ok())
    {
        message.body = vec![0; length];
        from.read_exact(&mut message.body).await?;
    } else if message.header("transfer-encoding").is_some() {
        chunks(from, &mut message.body).await?;
    }
    Ok(Some(message))
}

async fn line(from: &mut (impl AsyncBufRead + Unpin)) -> io::Result<String> {
    let mut line = String::new();
    from.read_line(&mut line).await?;
    let length = line.trim_end().len();
    line.truncate(length);
    Ok(line)
}

async fn chunks(from: &mut (impl AsyncBufRead + Unpin), body: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let size = line(from).await?;
        let size = usize::from_str_radix(size.split(';').next().unwrap_or_default(), 16)
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        let begin = body.len();
        body.resize(begin + size, 0);
        from.read_exact(&mut body[begin..]).await?;
        line(from).await?;
        if size == 0 {
            return Ok(());
        }
    }
}

/// A connection that is kept open between calls.
#[derive(Debug)]
pub(crate) struct Connection {
    address: String,
    stream: Option<BufStream<TcpStream>>,
    used: Instant,
}

impl Connection {
    pub(crate) fn to(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            stream: None,
            used: Instant::now(),
        }
    }

    /// Connects, so that what follows is not about connections.
    pub(crate) async fn open(&mut self) -> io::Result<&mut BufStream<TcpStream>> {
        if self.stream.is_none() || self.used.elapsed() > IDLE {
            let stream = TcpStream::connect(&self.address).await?;
            stream.set_nodelay(true)?;
            self.stream = Some(BufStream::new(stream));
            self.used = Instant::now();
        }
        self.stream
            .as_mut()
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// A GET with an API key. A connection that failed is not used again.
    pub(crate) async fn get(
        &mut self,
        path: &str,
        key: &str,
        patience: Duration,
    ) -> io::Result<Message> {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {key}\r\n\r\n",
            self.address
        );
        let call = async {
            let stream = self.open().await?;
            stream.write_all(request.as_bytes()).await?;
            stream.flush().await?;
            let answer = read(stream).await?;
            answer.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
        };
        let answer = tokio::time::timeout(patience, call)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let closes = |answer: &Message| {
            let connection = answer.header("connection");
            connection.is_some_and(|value| value.eq_ignore_ascii_case("close"))
        };
        self.used = Instant::now();
        if answer.as_ref().map_or(true, closes) {
            self.stream = None;
        }
        answer
    }
}

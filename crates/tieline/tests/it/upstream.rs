//! A token service and an organization in one small server of our own, for answers that the
//! sandbox does not give. It speaks plain http on loopback, which `--allow-loopback` lets pass.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

/// A request as it came in.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// Method, target and version, as on the wire.
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Which of the tokens that were given out it carries, counted from 1.
    pub(crate) fn token(&self) -> usize {
        let token = self
            .header("authorization")
            .and_then(|value| value.strip_prefix("Bearer token-"));
        token
            .and_then(|number| number.parse().ok())
            .unwrap_or_default()
    }
}

/// The server; it ends with the test's process.
pub(crate) struct Upstream {
    pub(crate) origin: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// Hears of every call that came, and of every connection that hung and was closed.
    news: Mutex<mpsc::Receiver<News>>,
}

/// What happened at the organization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    Called,
    HungUp,
}

impl Upstream {
    /// Gives tokens `token-1`, `token-2`, … and answers everything else as told.
    pub(crate) fn start(answer: impl Fn(&Seen) -> Vec<u8> + Send + Sync + 'static) -> Upstream {
        Self::listen(move |stream, kept, tell| converse(stream, kept, &answer, tell))
    }

    /// Gives tokens; any other call's head, and the connection that its body comes over, is for
    /// `talk`.
    pub(crate) fn talking(
        talk: impl Fn(&Seen, &mut BufReader<&TcpStream>) + Send + Sync + 'static,
    ) -> Upstream {
        Self::listen(move |stream, kept, tell| {
            let mut reader = BufReader::new(stream);
            while let Some(seen) = read_head(&mut reader) {
                kept.lock().unwrap().push(seen.clone());
                if is_token(&seen) {
                    read_body(&mut reader, &seen);
                    let _ = reader.get_mut().write_all(&token(1));
                    continue;
                }
                let _ = tell.send(News::Called);
                talk(&seen, &mut reader);
            }
        })
    }

    /// Has every connection served on a thread of its own.
    fn listen(
        serve: impl Fn(&TcpStream, &Mutex<Vec<Seen>>, &mpsc::Sender<News>) + Send + Sync + 'static,
    ) -> Upstream {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (kept, serve) = (Arc::clone(&seen), Arc::new(serve));
        let (tell, news) = mpsc::channel();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (kept, serve, tell) = (Arc::clone(&kept), Arc::clone(&serve), tell.clone());
                thread::spawn(move || serve(&stream, &kept, &tell));
            }
        });
        let news = Mutex::new(news);
        Upstream { origin, seen, news }
    }

    /// Waits until something has happened.
    pub(crate) fn wait_for(&self, wanted: News) {
        let news = self.news.lock().unwrap();
        while news.recv_timeout(Duration::from_secs(60)).unwrap() != wanted {}
    }

    /// The requests to the organization so far.
    pub(crate) fn calls(&self) -> Vec<Seen> {
        let seen = self.seen.lock().unwrap();
        seen.iter()
            .filter(|seen| !is_token(seen))
            .cloned()
            .collect()
    }

    /// How many tokens were asked for.
    pub(crate) fn tokens(&self) -> usize {
        self.seen
            .lock()
            .unwrap()
            .iter()
            .filter(|seen| is_token(seen))
            .count()
    }
}

fn is_token(seen: &Seen) -> bool {
    seen.line.starts_with("POST /token ")
}

/// An answer with a body of known length.
pub(crate) fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n{body}").into_bytes()
}

fn token(number: usize) -> Vec<u8> {
    let body =
        format!(r#"{{"access_token":"token-{number}","token_type":"Bearer","expires_in":3600}}"#);
    answer("200 OK", "Content-Type: application/json\r\n", &body)
}

/// An answer that ends in `CUT` is cut off there; one that ends in `HANG` goes on for ever.
fn converse(
    stream: &TcpStream,
    kept: &Mutex<Vec<Seen>>,
    answer_of: &impl Fn(&Seen) -> Vec<u8>,
    tell: &mpsc::Sender<News>,
) {
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    while let Some(seen) = read(&mut reader) {
        let mut all = kept.lock().unwrap();
        all.push(seen.clone());
        let tokens = all.iter().filter(|seen| is_token(seen)).count();
        drop(all);
        let bytes = if is_token(&seen) {
            token(tokens)
        } else {
            let _ = tell.send(News::Called);
            answer_of(&seen)
        };
        if let Some(beginning) = bytes.strip_suffix(b"HANG") {
            let _ = writer.write_all(beginning);
            let _ = std::io::copy(&mut reader, &mut std::io::sink());
            let _ = tell.send(News::HungUp);
            return;
        }
        if writer.write_all(&bytes).is_err() || bytes.ends_with(b"CUT") {
            return;
        }
    }
}

fn read(reader: &mut impl BufRead) -> Option<Seen> {
    let mut seen = read_head(reader)?;
    seen.body = read_body(reader, &seen)?;
    Some(seen)
}

fn read_head(reader: &mut impl BufRead) -> Option<Seen> {
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let mut seen = Seen {
        line: line.trim_end().to_owned(),
        ..Seen::default()
    };
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        seen.headers
            .push((name.to_owned(), value.trim().to_owned()));
    }
    Some(seen)
}

/// The body behind a head, without what stands around its chunks; trailers are lines of it.
pub(crate) fn read_body(reader: &mut impl BufRead, head: &Seen) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    let length = head.header("content-length");
    if let Some(length) = length.and_then(|text| text.parse().ok()) {
        body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
    } else if head.header("transfer-encoding").is_some() {
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let length = usize::from_str_radix(line.trim_end(), 16).ok()?;
            if length == 0 {
                break;
            }
            let mut piece = vec![0; length + 2];
            reader.read_exact(&mut piece).ok()?;
            body.extend_from_slice(&piece[..length]);
        }
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            match line.trim_end() {
                "" => break,
                trailer => body.extend_from_slice(trailer.as_bytes()),
            }
        }
    }
    Some(body)
}

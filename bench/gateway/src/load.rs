//! The clients: connections that stay open, each with one request under way.

use std::cell::Cell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::words;

/// What is asked.
#[derive(Clone, Copy)]
pub struct Question {
    pub path: &'static str,
    /// Bytes of a JSON body; none is a GET.
    pub body: usize,
}

/// Who is asked, and how the account is said.
#[derive(Clone)]
pub struct Door {
    pub address: SocketAddr,
    /// `/a7` in front of the path: the gateway's way to name an account.
    pub account_in_path: bool,
    /// The token itself instead of a key: who asks the upstream without a proxy.
    pub direct: Option<TlsConnector>,
    /// Accounts that are asked for in turn, by one key that may use all; none is one for each
    /// connection, by a key of its own.
    pub round: Option<Rc<Round>>,
}

impl Door {
    /// The gateway's, whose callers name their account in the path and have a key each.
    pub fn of_gateway(address: SocketAddr) -> Self {
        Self {
            address,
            account_in_path: true,
            direct: None,
            round: None,
        }
    }
}

/// Accounts, one after the other.
pub struct Round {
    pub accounts: usize,
    pub next: Cell<usize>,
    pub key: usize,
}

impl Round {
    fn take(&self) -> usize {
        let number = self.next.get();
        // A stride that shares no factor with the count visits all of them, far apart.
        self.next.set((number + 7919) % self.accounts);
        number
    }
}

/// Connections to one door.
pub struct Clients {
    door: Door,
    /// Taken in turn: a connection that nobody uses is closed after a while.
    open: VecDeque<Client>,
}

struct Client {
    stream: Stream,
    account: usize,
    buffer: Vec<u8>,
    request: Vec<u8>,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

impl Clients {
    pub async fn connect(door: Door, count: usize) -> Self {
        let mut open = VecDeque::with_capacity(count);
        for number in 0..count {
            open.push_back(Client::connect(&door, number).await);
        }
        Self { door, open }
    }

    /// Asks for a while; `lap` is called when the first moments are over and at the end.
    pub async fn run(&mut self, question: Question, time: [Duration; 2], mut lap: impl FnMut(u64)) {
        let (count, stop) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
        let mut tasks = Vec::with_capacity(self.open.len());
        for mut client in self.open.drain(..) {
            let (count, stop, door) = (Rc::clone(&count), Rc::clone(&stop), self.door.clone());
            tasks.push(tokio::task::spawn_local(async move {
                while !stop.get() {
                    client.ask(&door, question).await;
                    count.set(count.get() + 1);
                }
                client
            }));
        }
        for part in time {
            tokio::time::sleep(part).await;
            lap(count.get());
        }
        stop.set(true);
        for task in tasks {
            self.open.push_back(task.await.unwrap());
        }
    }

    /// Asks `count` times in all, as quickly as it goes.
    pub async fn ask_all(&mut self, question: Question, count: usize) {
        let left = Rc::new(Cell::new(count));
        let mut tasks = Vec::with_capacity(self.open.len());
        for mut client in self.open.drain(..) {
            let (left, door) = (Rc::clone(&left), self.door.clone());
            tasks.push(tokio::task::spawn_local(async move {
                while left.get() > 0 {
                    left.set(left.get() - 1);
                    client.ask(&door, question).await;
                }
                client
            }));
        }
        for task in tasks {
            self.open.push_back(task.await.unwrap());
        }
    }

    /// Asks `rate` times a second for a while; the microseconds that each answer took.
    pub async fn pace(&mut self, question: Question, rate: u32, time: Duration) -> Vec<f64> {
        // tokio's clock ticks in milliseconds; a thread's sleep is finer.
        let (beats, mut beat) = tokio::sync::mpsc::unbounded_channel();
        let thread = std::thread::spawn(move || {
            let (begin, step) = (Instant::now(), Duration::from_secs(1) / rate);
            for number in 0.. {
                let due = begin + step * number;
                if due - begin > time || beats.send(()).is_err() {
                    return;
                }
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
        });
        let (took, mut came) = tokio::sync::mpsc::unbounded_channel();
        let mut under_way = 0;
        let mut all = Vec::new();
        loop {
            tokio::select! {
                beaten = beat.recv() => {
                    let Some(()) = beaten else { break };
                    let Some(mut client) = self.open.pop_front() else { continue };
                    let (door, took) = (self.door.clone(), took.clone());
                    under_way += 1;
                    tokio::task::spawn_local(async move {
                        let begin = Instant::now();
                        client.ask(&door, question).await;
                        let _ = took.send((client, begin.elapsed().as_secs_f64() * 1e6));
                    });
                }
                Some((client, micros)) = came.recv() => {
                    under_way -= 1;
                    self.open.push_back(client);
                    all.push(micros);
                }
            }
        }
        while under_way > 0 {
            if let Some((client, micros)) = came.recv().await {
                under_way -= 1;
                self.open.push_back(client);
                all.push(micros);
            }
        }
        thread.join().unwrap();
        all
    }
}

impl Client {
    async fn connect(door: &Door, account: usize) -> Self {
        let stream = TcpStream::connect(door.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let stream = match &door.direct {
            None => Stream::Plain(stream),
            Some(connector) => {
                let name = "localhost".try_into().unwrap();
                Stream::Tls(Box::new(connector.connect(name, stream).await.unwrap()))
            }
        };
        Self {
            stream,
            account,
            buffer: vec![0; 256 * 1024],
            request: Vec::new(),
        }
    }

    async fn ask(&mut self, door: &Door, question: Question) {
        let (account, key) = match &door.round {
            Some(round) => (round.take(), round.key),
            None => (self.account, self.account),
        };
        self.write(door, question, account, key);
        let request = std::mem::take(&mut self.request);
        match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(&request).await.unwrap(),
            Stream::Tls(stream) => {
                stream.write_all(&request).await.unwrap();
                stream.flush().await.unwrap();
            }
        }
        self.request = request;
        self.read().await;
    }

    fn write(&mut self, door: &Door, question: Question, account: usize, key: usize) {
        use std::io::Write;
        // The same question of the same account is written once.
        if !self.request.is_empty() && door.round.is_none() {
            return;
        }
        self.request.clear();
        let to = &mut self.request;
        let method = if question.body == 0 { "GET" } else { "POST" };
        let front = if door.account_in_path {
            format!("/{}", words::account(account))
        } else {
            String::new()
        };
        let secret = if door.direct.is_some() {
            words::token(account)
        } else {
            words::key(key)
        };
        let port = door.address.port();
        write!(
            to,
            "{method} {front}/api/data/v9.2/{} HTTP/1.1\r\nHost: localhost:{port}\r\n\
             Authorization: Bearer {secret}\r\nx-account: {account}\r\nAccept: application/json\r\n\
             OData-MaxVersion: 4.0\r\nOData-Version: 4.0\r\nUser-Agent: bench\r\n",
            question.path
        )
        .unwrap();
        if question.body > 0 {
            let length = question.body;
            write!(
                to,
                "Content-Type: application/json\r\nContent-Length: {length}\r\n"
            )
            .unwrap();
        }
        to.extend_from_slice(b"\r\n");
        if question.body > 0 {
            let (begin, end) = (br#"{"description":""#, br#""}"#);
            to.extend_from_slice(begin);
            to.resize(to.len() + question.body - begin.len() - end.len(), b'y');
            to.extend_from_slice(end);
        }
    }

    async fn more(&mut self, at: usize) -> usize {
        let buffer = &mut self.buffer[at..];
        let read = match &mut self.stream {
            Stream::Plain(stream) => stream.read(buffer).await,
            Stream::Tls(stream) => stream.read(buffer).await,
        };
        let read = read.expect("an answer");
        assert!(read > 0, "the connection was closed");
        read
    }

    /// Reads an answer to its end and looks at its status.
    async fn read(&mut self) {
        let mut length = 0;
        let (head, body) = loop {
            length += self.more(length).await;
            let mut headers = [httparse::EMPTY_HEADER; 48];
            let mut answer = httparse::Response::new(&mut headers);
            if let httparse::Status::Complete(head) = answer.parse(&self.buffer[..length]).unwrap()
            {
                let whole = String::from_utf8_lossy(&self.buffer[..length.min(2000)]);
                assert_eq!(answer.code, Some(200), "{whole}");
                let found = answer
                    .headers
                    .iter()
                    .find(|h| h.name.eq_ignore_ascii_case("content-length"));
                let body = found.map(|h| {
                    std::str::from_utf8(h.value)
                        .unwrap()
                        .parse::<usize>()
                        .unwrap()
                });
                break (head, body);
            }
        };
        match body {
            Some(body) => {
                let mut left = (head + body).saturating_sub(length);
                while left > 0 {
                    left -= self.more(0).await;
                }
            }
            // Chunked; the bodies hold nothing that looks like the end.
            None => {
                const END: &[u8] = b"\r\n0\r\n\r\n";
                let mut tail =
                    self.buffer[head.max(length.saturating_sub(END.len()))..length].to_vec();
                while !tail.ends_with(END) {
                    let read = self.more(0).await;
                    tail.extend_from_slice(&self.buffer[read.saturating_sub(END.len())..read]);
                    let over = tail.len().saturating_sub(END.len());
                    tail.drain(..over);
                }
            }
        }
    }
}

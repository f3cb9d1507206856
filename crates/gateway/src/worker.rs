//! A thread of the gateway: a listener, the connections that came to it, and connections to
//! Dynamics of its own.
//!
//! A call stays on its thread from its first byte to its last, so nothing on its way is locked or
//! handed over. What needs the database, or must outlive a call (a renewal), runs on the server's
//! own runtime.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tieline_app::{Refused, Who};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio_rustls::{TlsAcceptor, TlsStream};
use tokio_util::sync::CancellationToken;

use crate::Inner;
use crate::front::Front;
use crate::guest::{Guest, Guests};
use crate::known::Known;
use crate::local::Local;
use crate::observe::Meters;
use crate::patience::Patience;
use crate::pool::Pool;
use crate::serve::answer;
use crate::socket::{Ahead, Socket};

/// Pause after the system could not accept a connection, such as for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often connections are looked over; limits in whole seconds need no better.
const BEAT: Duration = Duration::from_secs(1);
/// Connections to Dynamics are looked over less often.
const BEATS_OF_POOL: u32 = 5;
/// What is read of a client, or kept for it, at once. Heads that are longer are refused.
const BUFFER: usize = 128 * 1024;

/// What a call needs of its thread.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) inner: Arc<Inner>,
    pub(crate) pool: Rc<Pool>,
    pub(crate) meters: Meters,
    pub(crate) known: Known,
    pub(crate) patience: Rc<Patience>,
    /// The server's own runtime.
    home: tokio::runtime::Handle,
}

impl Worker {
    /// Runs what must not end with a call, or stands on connections that other threads use, where
    /// it belongs.
    pub(crate) async fn at_home<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Refused>> + Send + 'static,
    ) -> Result<T, Refused> {
        self.home.spawn(work).await.unwrap_or_else(|_| {
            let text = "Tieline is stopping, or a part of it broke down.";
            Err(Refused::new(Who::Tieline, 503, "stopping", text))
        })
    }
}

/// Serves one listener until `stop` is cancelled and its calls have ended, or time is up.
pub(crate) fn run(
    inner: Arc<Inner>,
    listener: std::net::TcpListener,
    tls: Option<Arc<ServerConfig>>,
    home: tokio::runtime::Handle,
    stop: &CancellationToken,
) -> io::Result<()> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())?;
    let drain = inner.settings.drain;
    runtime.block_on(async move {
        let listener = TcpListener::from_std(listener)?;
        let now = Rc::new(Cell::new(0));
        let guests = Rc::new(Guests::new(Rc::clone(&now)));
        let pool = Rc::new(Pool::new(inner.connector.clone(), Rc::clone(&now)));
        let patience = Rc::new(Patience::new(Rc::clone(&now)));
        let worker = Rc::new(Worker {
            meters: Meters::new(Arc::clone(&inner.named)),
            known: Known::default(),
            patience: Rc::clone(&patience),
            pool: Rc::clone(&pool),
            inner,
            home,
        });
        tokio::task::spawn_local(beat(now, Rc::clone(&guests), pool, patience));
        let acceptor = tls.map(TlsAcceptor::from);
        tokio::select! {
            () = stop.cancelled() => {}
            () = accept(&listener, acceptor, &worker, &guests) => {}
        }
        // Who comes from now on is told at once that nobody listens.
        drop(listener);
        if tokio::time::timeout(drain, guests.dismiss()).await.is_err() {
            tracing::warn!("calls through the gateway were cut off at shutdown");
        }
        Ok(())
    })
}

async fn beat(now: Rc<Cell<u32>>, guests: Rc<Guests>, pool: Rc<Pool>, patience: Rc<Patience>) {
    let mut beat = tokio::time::interval(BEAT);
    loop {
        beat.tick().await;
        now.set(now.get() + 1);
        guests.sweep();
        patience.sweep();
        if now.get().is_multiple_of(BEATS_OF_POOL) {
            pool.sweep();
        }
    }
}

async fn accept(
    listener: &TcpListener,
    acceptor: Option<TlsAcceptor>,
    worker: &Rc<Worker>,
    guests: &Rc<Guests>,
) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (worker, acceptor) = (Rc::clone(worker), acceptor.clone());
                let welcome = |guest| welcome(worker, stream, acceptor, guest);
                tokio::task::spawn_local(Rc::clone(guests).attend(welcome));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn welcome(
    worker: Rc<Worker>,
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    guest: Rc<Guest>,
) {
    // Answers are written whole; waiting for more only delays them.
    let _ = stream.set_nodelay(true);
    let secure = acceptor.is_some();
    let greeted = async {
        let socket = match acceptor {
            None => Socket::Plain(stream),
            Some(acceptor) => {
                let stream = acceptor.accept(Ahead::new(stream)).await?;
                Socket::Tls(Box::new(TlsStream::Server(stream)))
            }
        };
        let mut front = Front::new(socket, Rc::clone(&guest));
        let http2 = front.speaks_http2().await?;
        io::Result::Ok((front, http2))
    };
    match greeted.await {
        Ok((front, http2)) => converse(worker, front, guest, Manner { secure, http2 }).await,
        Err(error) => tracing::debug!(%error, "a client did not come to speak"),
    }
}

/// How a client speaks.
struct Manner {
    secure: bool,
    http2: bool,
}

async fn converse(worker: Rc<Worker>, front: Front, guest: Rc<Guest>, manner: Manner) {
    let scheme = if manner.secure { "https" } else { "http" };
    let at = Rc::clone(&guest);
    let service = hyper::service::service_fn(move |request| {
        answer(Rc::clone(&worker), at.calls(), request, scheme)
    });
    let front = TokioIo::new(front);
    let ended = if manner.http2 {
        guest.speaks_http2();
        let connection = http2::Builder::new(Local)
            .timer(TokioTimer::new())
            .adaptive_window(true)
            .serve_connection(front, service);
        guest
            .stay(
                connection,
                |connection: Pin<&mut http2::Connection<_, _, _>>| {
                    connection.graceful_shutdown();
                },
            )
            .await
    } else {
        let connection = http1::Builder::new()
            .max_buf_size(BUFFER)
            .serve_connection(front, service);
        guest
            .stay(
                connection,
                |connection: Pin<&mut http1::Connection<_, _>>| {
                    connection.graceful_shutdown();
                },
            )
            .await
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the gateway broke");
    }
}

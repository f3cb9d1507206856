//! Ctrl-C and SIGTERM: the first asks everything to finish, the second ends at once.

use anyhow::Context;
use tokio_util::sync::CancellationToken;

/// A shell's exit code for a process that SIGINT ended.
const INTERRUPTED: i32 = 130;

/// A token that the first signal cancels. The handlers stand when this returns, so a signal during
/// start-up is heard too.
///
/// # Errors
/// When the system does not let us listen.
pub(crate) fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    let mut signals = Signals::listen().context("failed to listen for signals")?;
    let stop = CancellationToken::new();
    let first = stop.clone();
    tokio::spawn(async move {
        signals.next().await;
        tracing::info!("finishing; a second signal ends at once");
        first.cancel();
        signals.next().await;
        end_at_once();
    });
    Ok(stop)
}

#[expect(
    clippy::disallowed_methods,
    reason = "somebody asked a second time: what is in flight is given up on purpose"
)]
fn end_at_once() -> ! {
    std::process::exit(INTERRUPTED)
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(windows)]
struct Signals(tokio::signal::windows::CtrlC);

#[cfg(windows)]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        tokio::signal::windows::ctrl_c().map(Self)
    }

    async fn next(&mut self) {
        self.0.recv().await;
    }
}

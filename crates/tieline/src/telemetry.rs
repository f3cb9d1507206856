//! Logs on stderr and metrics for Prometheus.
//!
//! Never logged: secrets, tokens, API keys, codes, query strings, bodies. The types that hold
//! secrets cannot print; and a bare level, `trace` included, opens only our own crates, because
//! what libraries say of a connection at their finest is the connection.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::config::{LogFormat, LogSettings};

/// Upper bounds of latency histograms, in seconds: from a warm gateway's overhead to a slow query.
const LATENCY_BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];
/// How often samples are moved into the buckets while nobody reads them.
const UPKEEP: Duration = Duration::from_secs(1);

/// A text that is neither a level nor a list of directives.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is neither a level nor a directive such as tieline_app=debug")]
pub(crate) struct BadLevel(String);

/// The filter that a level or a list of directives means.
///
/// # Errors
/// When it is neither.
pub(crate) fn filter(level: &str) -> Result<EnvFilter, BadLevel> {
    let level = level.trim().to_ascii_lowercase();
    let libraries = match level.as_str() {
        "error" => "error",
        "off" => "off",
        "warn" | "info" => "warn",
        "debug" | "trace" => "info",
        _ => return strict(&level),
    };
    // A target is matched by its beginning, so this is every crate of ours.
    strict(&format!("{libraries},tieline={level}"))
}

/// Starts logging. Later calls change nothing.
///
/// # Errors
/// When the level means nothing.
pub(crate) fn start_logs(settings: &LogSettings) -> anyhow::Result<()> {
    let filter = filter(&settings.level).context("failed to understand log.level")?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // A subscriber that is already there was set by this very function.
    let _ = match settings.format {
        LogFormat::Json => builder
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .try_init(),
        LogFormat::Text => builder
            .with_ansi(std::io::stderr().is_terminal())
            .try_init(),
    };
    Ok(())
}

/// Collects metrics from now on; the handle renders them.
///
/// # Errors
/// When something else collects them already.
pub(crate) fn start_metrics() -> anyhow::Result<PrometheusHandle> {
    let recorder = PrometheusBuilder::new()
        .set_buckets(LATENCY_BUCKETS)
        .context("failed to set the histogram's bounds")?
        .build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).context("failed to collect metrics")?;
    crate::meters::describe();
    Ok(handle)
}

/// Keeps histograms small while nobody reads them.
pub(crate) async fn keep_metrics(handle: PrometheusHandle, stop: CancellationToken) {
    let mut beat = tokio::time::interval(UPKEEP);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = beat.tick() => handle.run_upkeep(),
        }
    }
}

/// The text that `/metrics` answers with.
pub(crate) fn renderer(handle: PrometheusHandle) -> Arc<dyn Fn() -> String + Send + Sync> {
    Arc::new(move || handle.render())
}

/// A list of directives. The library takes a bare word for the name of a module; here it is more
/// likely a misspelled level.
fn strict(directives: &str) -> Result<EnvFilter, BadLevel> {
    let odd = directives.split(',').map(str::trim).find(|part| {
        part.is_empty() || !part.contains('=') && part.parse::<LevelFilter>().is_err()
    });
    if let Some(odd) = odd {
        return Err(BadLevel(odd.to_owned()));
    }
    EnvFilter::builder()
        .parse(directives)
        .map_err(|_| BadLevel(directives.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_level_opens_our_crates_only() {
        assert_eq!(
            filter("trace").expect("a level").to_string(),
            "tieline=trace,info"
        );
        assert_eq!(
            filter(" INFO ").expect("a level").to_string(),
            "tieline=info,warn"
        );
    }

    #[test]
    fn directives_are_taken_as_they_are() {
        assert!(filter("warn,tieline_gateway=debug").is_ok());
        for wrong in ["chatty=loud=x", "verbose", "", "info,loud"] {
            assert!(filter(wrong).is_err(), "{wrong}");
        }
    }
}

//! What a run says: figures, and violations that make it fail.

use std::collections::BTreeMap;
use std::time::Duration;

/// What was found to be false.
#[derive(Debug, Default)]
pub(crate) struct Findings(Vec<String>);

impl Findings {
    pub(crate) fn expect(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            let what = what();
            eprintln!("VIOLATION: {what}");
            self.0.push(what);
        }
    }

    /// The end of a run.
    pub(crate) fn end(self) -> anyhow::Result<()> {
        anyhow::ensure!(self.0.is_empty(), "{} violations", self.0.len());
        println!("\nno violations");
        Ok(())
    }
}

/// How often each thing happened.
#[derive(Debug, Default, Clone)]
pub(crate) struct Counts(pub(crate) BTreeMap<String, u64>);

impl Counts {
    pub(crate) fn add(&mut self, what: &str) {
        *self.0.entry(what.to_owned()).or_default() += 1;
    }

    pub(crate) fn of(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }

    pub(crate) fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// The most frequent first.
    pub(crate) fn text(&self) -> String {
        let mut all: Vec<_> = self.0.iter().collect();
        all.sort_by_key(|(what, count)| (std::cmp::Reverse(**count), (*what).clone()));
        let parts = all.iter().map(|(what, count)| format!("{count} × {what}"));
        let text = parts.collect::<Vec<_>>().join(", ");
        if text.is_empty() {
            "–".to_owned()
        } else {
            text
        }
    }
}

/// A share of sorted durations, by the nearest rank.
pub(crate) fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

pub(crate) fn ms(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64() * 1000.0)
}

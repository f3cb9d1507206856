//! Every metric there is: what it counts, and in which unit. `docs/metrics.md` has the same list
//! with labels; the tests below keep both in step with the code.

use metrics::Unit;

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Counter,
    Gauge,
    Histogram,
}

/// One metric: its name, what it is, and what it says.
type Meter = (&'static str, Type, Unit, &'static str);

const METERS: &[Meter] = &[
    (
        "tieline_gateway_calls_total",
        Type::Counter,
        Unit::Count,
        "Calls answered",
    ),
    (
        "tieline_gateway_seconds",
        Type::Histogram,
        Unit::Seconds,
        "From a call's first byte to the beginning of its answer",
    ),
    (
        "tieline_gateway_replays_total",
        Type::Counter,
        Unit::Count,
        "Calls repeated with a new token after a 401",
    ),
    (
        "tieline_fair_in_use",
        Type::Gauge,
        Unit::Count,
        "Calls to organizations under way",
    ),
    (
        "tieline_fair_waiting",
        Type::Gauge,
        Unit::Count,
        "Calls that wait for their turn",
    ),
    (
        "tieline_fair_paused_accounts",
        Type::Gauge,
        Unit::Count,
        "Accounts that wait because Dynamics asked for a pause",
    ),
    (
        "tieline_fair_wait_seconds",
        Type::Histogram,
        Unit::Seconds,
        "How long calls waited for their turn",
    ),
    (
        "tieline_fair_refused_total",
        Type::Counter,
        Unit::Count,
        "Calls that were not let wait any longer",
    ),
    (
        "tieline_fair_throttled_total",
        Type::Counter,
        Unit::Count,
        "Answers of Dynamics that ask for a pause",
    ),
    (
        "tieline_fair_waited_out_total",
        Type::Counter,
        Unit::Count,
        "Calls that waited such a pause out and were sent again",
    ),
    (
        "tieline_renewals_total",
        Type::Counter,
        Unit::Count,
        "Renewals by how they ended",
    ),
    (
        "tieline_renewal_failures_total",
        Type::Counter,
        Unit::Count,
        "Renewals that failed, by the state that they lead to and the reason",
    ),
    (
        "tieline_renewal_flights",
        Type::Gauge,
        Unit::Count,
        "Renewals under way",
    ),
    (
        "tieline_renewals_unstored",
        Type::Gauge,
        Unit::Count,
        "Results that the database has not taken yet",
    ),
    (
        "tieline_renewal_overdue_seconds",
        Type::Gauge,
        Unit::Seconds,
        "How late the most overdue renewal is",
    ),
    (
        "tieline_lease_waits_total",
        Type::Counter,
        Unit::Count,
        "Waits for a renewal of another server",
    ),
    (
        "tieline_lease_wait_seconds",
        Type::Histogram,
        Unit::Seconds,
        "How long waits for another server took",
    ),
    (
        "tieline_accounts",
        Type::Gauge,
        Unit::Count,
        "Accounts by the state of their connection",
    ),
    (
        "tieline_accounts_held",
        Type::Gauge,
        Unit::Count,
        "Accounts that this process holds in memory",
    ),
    (
        "tieline_tokens_held",
        Type::Gauge,
        Unit::Count,
        "Accounts held in memory with a token",
    ),
    (
        "tieline_token_first_expiry_seconds",
        Type::Gauge,
        Unit::Seconds,
        "Until the first of the tokens held ends",
    ),
    (
        "tieline_token_oldest_age_seconds",
        Type::Gauge,
        Unit::Seconds,
        "Age of the oldest of the tokens held",
    ),
    (
        "tieline_credential_soonest_expiry_seconds",
        Type::Gauge,
        Unit::Seconds,
        "Until the first client secret or certificate ends whose end is known",
    ),
    (
        "tieline_tests_total",
        Type::Counter,
        Unit::Count,
        "Runs of the test ladder",
    ),
    (
        "tieline_deliveries_total",
        Type::Counter,
        Unit::Count,
        "Attempts to deliver a notice",
    ),
    (
        "tieline_webhook_seconds",
        Type::Histogram,
        Unit::Seconds,
        "How long webhooks took to answer",
    ),
    (
        "tieline_outbox_pending",
        Type::Gauge,
        Unit::Count,
        "Deliveries that wait",
    ),
    (
        "tieline_outbox_oldest_seconds",
        Type::Gauge,
        Unit::Seconds,
        "Age of the oldest delivery that waits",
    ),
];

/// Tells the recorder what every metric means, so that `/metrics` says it too.
pub(crate) fn describe() {
    for (name, kind, unit, help) in METERS {
        match kind {
            Type::Counter => metrics::describe_counter!(*name, *unit, *help),
            Type::Gauge => metrics::describe_gauge!(*name, *unit, *help),
            Type::Histogram => metrics::describe_histogram!(*name, *unit, *help),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    fn root() -> &'static Path {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
        crates.and_then(Path::parent).expect("the workspace")
    }

    #[test]
    fn the_guide_lists_every_metric_with_its_type() {
        let page = std::fs::read_to_string(root().join("docs/metrics.md")).expect("the page");
        let listed: BTreeSet<(String, String)> = page
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
            .map(|(name, rest)| {
                (
                    name.to_owned(),
                    rest.split(' ').next().unwrap_or_default().to_owned(),
                )
            })
            .collect();
        let known = METERS
            .iter()
            .map(|(name, kind, ..)| ((*name).to_owned(), format!("{kind:?}").to_lowercase()))
            .collect();
        assert_eq!(listed, known, "docs/metrics.md and this list say the same");
    }

    #[test]
    fn every_metric_in_the_code_is_in_the_list() {
        let known: BTreeSet<&str> = METERS.iter().map(|(name, ..)| *name).collect();
        let mut found = 0;
        let mut files = Vec::new();
        for part in ["app", "gateway", "store", "tieline", "web"] {
            sources(&root().join("crates").join(part).join("src"), &mut files);
        }
        for text in &files {
            for macro_name in ["counter!(", "gauge!(", "histogram!("] {
                for call in text.split(macro_name).skip(1) {
                    let name = call
                        .trim_start()
                        .strip_prefix('"')
                        .and_then(|rest| rest.split('"').next());
                    // Not this test itself.
                    if let Some(name) = name.filter(|name| name.starts_with("tieline_")) {
                        assert!(
                            known.contains(name),
                            "{name}: add it here and to docs/metrics.md"
                        );
                        found += 1;
                    }
                }
            }
        }
        assert!(found >= 8, "the sources were not found");
    }

    fn sources(directory: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(std::fs::read_to_string(path).expect("a source file"));
            }
        }
    }
}

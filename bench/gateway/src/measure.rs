//! Samples that take turns, and what is made of them.

use std::time::{Duration, Instant};

use crate::load::{Clients, Question};
use crate::peers::Proxy;

/// The first moments of a sample, which belong to the one before.
const SETTLE: Duration = Duration::from_millis(60);
const SAMPLE: Duration = Duration::from_millis(190);
/// A proxy that is less busy than this waits for the load, and its figures are the load's.
const BUSY: f64 = 0.5;

/// A proxy with its clients.
pub struct Contender {
    pub proxy: Proxy,
    pub clients: Clients,
}

#[derive(Clone, Copy)]
pub struct Sample {
    /// Microseconds on the processor for each request.
    pub cpu: f64,
    pub rate: f64,
    pub busy: f64,
}

/// One cell's samples: for each contender one for each round, where it counts.
pub struct Samples {
    pub names: Vec<String>,
    pub rows: Vec<Vec<Option<Sample>>>,
}

/// Lets the contenders take turns.
pub async fn rounds(all: &mut [Contender], question: Question, rounds: usize) -> Samples {
    let mut rows = vec![vec![None; rounds]; all.len()];
    for contender in all.iter_mut() {
        // Connections are made and accounts looked up before anything counts.
        contender
            .clients
            .ask_all(question, 300_usize.min(40_000_000 / answer_size(question)))
            .await;
    }
    for round in 0..rounds {
        for turn in 0..all.len() {
            // Who follows whom changes too.
            let step = if round % 2 == 0 {
                turn
            } else {
                all.len() - 1 - turn
            };
            let at = (round + step) % all.len();
            rows[at][round] = sample(&mut all[at], question).await;
        }
    }
    Samples {
        names: all.iter().map(|c| c.proxy.name.clone()).collect(),
        rows,
    }
}

fn answer_size(question: Question) -> usize {
    match question.path {
        "page" | "file" => 100_000,
        "large_page" | "large_file" => 10_000_000,
        _ => 600,
    }
}

async fn sample(contender: &mut Contender, question: Question) -> Option<Sample> {
    let Contender { proxy, clients } = contender;
    let mut laps = Vec::with_capacity(2);
    let lap = |count| laps.push((Instant::now(), proxy.cpu(), count));
    clients.run(question, [SETTLE, SAMPLE], lap).await;
    let [(begin, cpu_begin, count_begin), (end, cpu_end, count_end)] = laps[..] else {
        return None;
    };
    let seconds = (end - begin).as_secs_f64();
    let (cpu, count) = (
        (cpu_end - cpu_begin) as f64 / 1e9,
        (count_end - count_begin) as f64,
    );
    let busy = cpu / seconds;
    (count > 0.0 && busy >= BUSY).then(|| Sample {
        cpu: cpu / count * 1e6,
        rate: count / seconds,
        busy,
    })
}

pub fn median(mut values: Vec<f64>) -> f64 {
    if values.is_empty() {
        return f64::NAN;
    }
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        f64::midpoint(values[middle - 1], values[middle])
    }
}

impl Samples {
    /// The median of the rounds' own ratios to the contender of a name.
    pub fn ratio(&self, at: usize, reference: usize, of: impl Fn(&Sample) -> f64) -> f64 {
        let pairs = self.rows[at].iter().zip(&self.rows[reference]);
        median(
            pairs
                .filter_map(|(a, b)| Some(of(a.as_ref()?) / of(b.as_ref()?)))
                .collect(),
        )
    }

    /// Prints a table against the first contender; says whether the second, which is the same
    /// program, came to the same.
    pub fn print(&self, cell: &str) -> bool {
        println!("\n### {cell}\n");
        println!("| proxy | CPU µs per request | × nginx | requests/s | × nginx | busy | rounds |");
        println!("|---|---|---|---|---|---|---|");
        for (at, name) in self.names.iter().enumerate() {
            let counted: Vec<Sample> = self.rows[at].iter().flatten().copied().collect();
            println!(
                "| {name} | {:.2} | {:.2} | {:.0} | {:.2} | {:.2} | {} |",
                median(counted.iter().map(|s| s.cpu).collect()),
                self.ratio(at, 0, |s| s.cpu),
                median(counted.iter().map(|s| s.rate).collect()),
                self.ratio(at, 0, |s| s.rate),
                median(counted.iter().map(|s| s.busy).collect()),
                counted.len(),
            );
        }
        let same = self.ratio(1, 0, |s| s.cpu);
        let holds = (0.95..=1.05).contains(&same);
        if !holds {
            println!("\nVOID: nginx against nginx came to {same:.2}.");
        }
        holds
    }
}

//! Callers of the gateway: each belongs to one account, calls, thinks, and calls again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::http::{Connection, Message};
use crate::report::Counts;

/// Longer than a lease and what follows it: a caller who gives up would hide who is stuck.
const PATIENCE: Duration = Duration::from_secs(75);

/// What callers of one account saw.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) answers: Counts,
    pub(crate) last_good: Option<Instant>,
    pub(crate) slowest: Duration,
}

/// Callers that go on until this is dropped.
#[derive(Debug)]
pub(crate) struct Callers {
    seen: Arc<Mutex<Vec<Seen>>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Callers {
    /// One caller for each target.
    pub(crate) fn start(gateway: &str, key: &str, targets: &[String], think: Duration) -> Self {
        let nothing = Seen {
            answers: Counts::default(),
            last_good: None,
            slowest: Duration::ZERO,
        };
        let seen = Arc::new(Mutex::new(vec![nothing; targets.len()]));
        let tasks = targets.iter().enumerate().map(|(number, target)| {
            let (seen, target, key) = (Arc::clone(&seen), target.clone(), key.to_owned());
            let mut connection = Connection::to(gateway);
            tokio::spawn(async move {
                loop {
                    let begun = Instant::now();
                    let answer = connection.get(&target, &key, PATIENCE).await;
                    note(&mut lock(&seen)[number], &answer, begun);
                    tokio::time::sleep(think).await;
                }
            })
        });
        Self {
            tasks: tasks.collect(),
            seen,
        }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        lock(&self.seen).clone()
    }

    /// Forgets what was seen so far.
    pub(crate) fn forget(&self) {
        for seen in lock(&self.seen).iter_mut() {
            seen.answers = Counts::default();
            seen.slowest = Duration::ZERO;
        }
    }

    /// What all of them saw.
    pub(crate) fn answers(&self) -> Counts {
        let mut all = Counts::default();
        for seen in self.seen() {
            for (what, count) in seen.answers.0 {
                *all.0.entry(what).or_default() += count;
            }
        }
        all
    }

    /// Waits until every account of a list has had a good answer since `since`. Gives those that
    /// have not.
    pub(crate) async fn all_good(
        &self,
        accounts: &[usize],
        since: Instant,
        patience: Duration,
    ) -> Vec<usize> {
        let until = Instant::now() + patience;
        loop {
            let seen = self.seen();
            let good = |at: &&usize| seen[**at].last_good.is_some_and(|good| good > since);
            let missing: Vec<usize> = accounts.iter().filter(|at| !good(at)).copied().collect();
            if missing.is_empty() || Instant::now() > until {
                return missing;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Drop for Callers {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn lock(seen: &Mutex<Vec<Seen>>) -> MutexGuard<'_, Vec<Seen>> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

fn note(seen: &mut Seen, answer: &std::io::Result<Message>, begun: Instant) {
    seen.answers.add(&word(answer));
    if answer.as_ref().is_ok_and(|answer| answer.status() == 200) {
        seen.last_good = Some(Instant::now());
    }
    if answer.is_ok() {
        seen.slowest = seen.slowest.max(begun.elapsed());
    }
}

/// An answer in a word or two.
pub(crate) fn word(answer: &std::io::Result<Message>) -> String {
    match answer {
        Ok(answer) if answer.status() == 200 => "200".to_owned(),
        Ok(answer) => {
            let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            let code = [&body["code"], &body["error"]["code"]];
            let code = code.iter().find_map(|code| code.as_str()).unwrap_or("?");
            format!("{} {code}", answer.status())
        }
        Err(error) if error.kind() == std::io::ErrorKind::TimedOut => "no answer".to_owned(),
        Err(_) => "connection lost".to_owned(),
    }
}

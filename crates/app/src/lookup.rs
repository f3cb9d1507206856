//! Names that are being looked up.
//!
//! The system's resolver takes a thread for each question. When a hundred calls open connections
//! to one organization at once they all ask the same, so whoever comes while a name is being looked
//! up waits for that answer. Nothing is kept: how long an answer is good is the resolver's to know.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::{BoxFuture, FutureExt, Shared, WeakShared};

use crate::maps::HashMap;

type Answer = Result<Vec<SocketAddr>, Failure>;
type Question = BoxFuture<'static, Answer>;

/// An error that several hear of.
#[derive(Debug, Clone)]
struct Failure(io::ErrorKind, String);

/// The lookups that are under way. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lookups(Arc<Mutex<UnderWay>>);

type UnderWay = HashMap<(String, u16), WeakShared<Question>>;

impl Lookups {
    /// Asks the system's resolver, or joins who asks already.
    pub(crate) async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let answer = self.join(host, port).await;
        answer.map_err(|Failure(kind, said)| io::Error::new(kind, said))
    }

    fn join(&self, host: &str, port: u16) -> Shared<Question> {
        let key = (host.to_owned(), port);
        let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A question that has its answer belongs to those who waited for it.
        let joined = under_way.get(&key).and_then(WeakShared::upgrade);
        if let Some(question) = joined.filter(|question| question.peek().is_none()) {
            return question;
        }
        // Those that ended, or were given up by all.
        under_way.retain(|_, question| question.upgrade().is_some());
        let question = ask(host.to_owned(), port).boxed().shared();
        if let Some(weak) = question.downgrade() {
            under_way.insert(key, weak);
        }
        question
    }
}

async fn ask(host: String, port: u16) -> Answer {
    match tokio::net::lookup_host((host, port)).await {
        Ok(found) => Ok(found.collect()),
        Err(error) => Err(Failure(error.kind(), error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_is_looked_up_once_for_all_who_ask_meanwhile_and_anew_afterwards() {
        let lookups = Lookups::default();
        let (first, second) = (
            lookups.join("localhost", 443),
            lookups.join("localhost", 443),
        );
        assert!(first.ptr_eq(&second));
        let other = lookups.join("localhost", 80);
        assert!(!first.ptr_eq(&other));
        let found = second.await.expect("addresses");
        assert!(found.iter().all(|address| address.ip().is_loopback()));
        let later = lookups.join("localhost", 443);
        assert!(!first.ptr_eq(&later), "an old answer was given");
        drop((first, later, other));
        lookups.join("127.0.0.1", 1).await.expect("an address");
        let left = lookups.0.lock().expect("a lock").len();
        assert_eq!(left, 1, "lookups that ended are remembered");
    }

    #[tokio::test]
    async fn everybody_hears_of_a_failure() {
        let lookups = Lookups::default();
        let (one, other) = tokio::join!(
            lookups.addresses("no-such-name.invalid", 443),
            lookups.addresses("no-such-name.invalid", 443)
        );
        let said = one.expect_err("no address").to_string();
        assert_eq!(said, other.expect_err("no address").to_string());
        assert!(!said.is_empty());
    }
}

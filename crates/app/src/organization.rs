//! Where an account's calls go: its organization, as the API URL names it.
//!
//! Many accounts have the same one. What is made of an address is a dozen pieces of memory, so they
//! share it.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use http::HeaderValue;
use url::Url;

use crate::maps::HashMap;

/// An organization's address, in the forms in which calls need it.
#[derive(Debug)]
pub struct Organization {
    /// Origin of the organization, such as `https://contoso.crm4.dynamics.com`.
    pub origin: Url,
    /// Host and port of that origin, as the `Host` header says them.
    pub authority: String,
    /// The same, ready to be sent.
    pub host_header: HeaderValue,
    /// Host alone, an IPv6 address in its brackets.
    pub host: String,
    /// Port, also where the address leaves it out.
    pub port: u16,
    /// Base of the Web API, such as `/api/data/v9.2`.
    pub base_path: String,
    /// What stands in front of `/api/`: nothing online, the organization's name on premises.
    pub front: String,
    /// Origin and front, as they stand at the beginning of every link of the organization.
    pub there: String,
}

impl Organization {
    /// None when the API URL is not one.
    fn of(api_url: &str) -> Option<Self> {
        let api = Url::parse(api_url).ok()?;
        let host = api.host_str()?;
        let authority = match api.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let origin = Url::parse(&api.origin().ascii_serialization()).ok()?;
        let base_path = api.path().trim_end_matches('/').to_owned();
        let front = in_front(&base_path).to_owned();
        Some(Self {
            host_header: HeaderValue::from_str(&authority).ok()?,
            host: host.to_owned(),
            port: api.port_or_known_default()?,
            there: format!("{}://{authority}{front}", origin.scheme()),
            origin,
            authority,
            base_path,
            front,
        })
    }
}

/// What stands in front of `/api/` in an account's API URL: nothing online, the organization's name
/// on premises.
fn in_front(base_path: &str) -> &str {
    base_path
        .split("/api/")
        .next()
        .filter(|front| *front != base_path)
        .unwrap_or_default()
}

/// Organizations that somebody holds, by their accounts' API URL.
#[derive(Debug, Default)]
pub(crate) struct Organizations(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    all: HashMap<Box<str>, Weak<Organization>>,
    /// How many there may be before those are looked for that nobody holds any more.
    enough: usize,
}

/// See [`Held::enough`]: at the least so many.
const FEW: usize = 1_000;

impl Organizations {
    /// The organization of an API URL. None when it is not one.
    pub(crate) fn of(&self, api_url: &str) -> Option<Arc<Organization>> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = held.all.get(api_url).and_then(Weak::upgrade) {
            return Some(known);
        }
        let made = Arc::new(Organization::of(api_url)?);
        if held.all.len() >= held.enough {
            held.all.retain(|_, known| known.strong_count() > 0);
            held.enough = FEW.max(2 * held.all.len());
        }
        held.all.insert(api_url.into(), Arc::downgrade(&made));
        Some(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_of_one_organization_share_it_and_none_is_kept_for_nobody() {
        let all = Organizations::default();
        let url = |number: usize| format!("https://org{number}.crm4.dynamics.com/api/data/v9.2");
        let first = all.of(&url(0)).expect("an address");
        assert!(Arc::ptr_eq(&first, &all.of(&url(0)).expect("an address")));
        assert_eq!(first.there, "https://org0.crm4.dynamics.com");
        for number in 1..3 * FEW {
            assert!(all.of(&url(number)).is_some());
        }
        let held = all.0.lock().expect("whole").all.len();
        assert!(held <= FEW, "{held}");
        assert!(all.of("nowhere").is_none());
    }

    #[test]
    fn on_premises_the_name_stands_in_front() {
        let all = Organizations::default();
        let found = all.of("https://crm.example.com:444/contoso/api/data/v9.1/");
        let found = found.expect("an address");
        assert_eq!(found.front, "/contoso");
        assert_eq!(found.base_path, "/contoso/api/data/v9.1");
        assert_eq!(found.there, "https://crm.example.com:444/contoso");
    }
}

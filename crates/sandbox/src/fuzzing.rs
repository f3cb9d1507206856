//! What fuzz targets and robustness tests call: requests to an organization in memory, without a
//! socket and without a token.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, Method, header};
use bytes::Bytes;
use chrono::{TimeZone as _, Utc};

use crate::control::journal::Journal;
use crate::dataverse::limits::Limits;
use crate::dataverse::{Operation, Organizations, Service};
use crate::entra::{Caller, Directory};
use crate::faults::Faults;
use crate::scenario::Player;
use crate::seed::Seed;
use crate::state::State;
use crate::{Clock, Control, LimitOptions, World};

/// An organization with a few rows, and the application that may do everything in it.
#[derive(Debug)]
pub struct Rows {
    world: Arc<World>,
    caller: Caller,
}

impl Default for Rows {
    fn default() -> Self {
        Self::new()
    }
}

impl Rows {
    /// Always the same rows, at the same moment.
    ///
    /// # Panics
    /// When the default seed cannot be used: a test proves that it can.
    #[must_use]
    #[expect(
        clippy::expect_used,
        reason = "a fuzz target without rows has nothing to do"
    )]
    pub fn new() -> Self {
        let mut seed = Seed::default();
        for organization in seed
            .tenants
            .iter_mut()
            .flat_map(|tenant| &mut tenant.organizations)
        {
            organization.contacts = 30;
        }
        let moment = Utc
            .with_ymd_and_hms(2026, 1, 15, 12, 0, 0)
            .single()
            .expect("a moment");
        let clock = Clock::new(move || moment);
        let state = State::open(None).expect("a state in memory");
        let organizations = Organizations::open(&seed, None, &clock).expect("organizations");
        let tenant = seed.tenants.first().expect("a tenant");
        let application = tenant.organizations[0].application_users[0].client_id;
        let caller = Caller {
            tenant: tenant.id,
            object_id: None,
            application: Some(application),
            app_only: true,
            audience: "https://localhost/".to_owned(),
            id: String::new(),
            understands_challenges: false,
            critical: 0,
        };
        let directory = Directory::open(seed, &state, &clock).expect("a directory");
        let world = World {
            directory,
            organizations,
            state,
            limits: Limits::new(LimitOptions::default().rules(), clock.clone()),
            clock,
            authority: "localhost".to_owned(),
            hosts: Vec::new(),
            control: Control::Off,
            journal: Journal::off(),
            faults: Faults::default(),
            player: Player::default(),
        };
        Self {
            world: Arc::new(world),
            caller,
        }
    }

    /// The status of a GET; the target is what stands behind `/api/data/v9.2/`.
    #[must_use]
    pub fn get(&self, target: &str) -> u16 {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        self.call(
            Method::GET,
            path,
            query.to_owned(),
            HeaderMap::new(),
            Bytes::new(),
        )
    }

    /// The status of a query for contacts with a filter.
    #[must_use]
    pub fn filter(&self, filter: &str) -> u16 {
        self.call(
            Method::GET,
            "contacts",
            option("$filter", filter),
            HeaderMap::new(),
            Bytes::new(),
        )
    }

    /// The status of a query in FetchXML for contacts.
    #[must_use]
    pub fn fetch_xml(&self, xml: &str) -> u16 {
        self.call(
            Method::GET,
            "contacts",
            option("fetchXml", xml),
            HeaderMap::new(),
            Bytes::new(),
        )
    }

    /// The status of a batch whose boundary is `b`.
    #[must_use]
    pub fn batch(&self, body: &[u8]) -> u16 {
        let kind = HeaderValue::from_static("multipart/mixed; boundary=b");
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, kind)]);
        self.call(
            Method::POST,
            "$batch",
            String::new(),
            headers,
            Bytes::copy_from_slice(body),
        )
    }

    /// The status of a POST or PATCH with a body.
    #[must_use]
    pub fn write(&self, target: &str, body: &[u8]) -> u16 {
        let method = if target.contains('(') {
            Method::PATCH
        } else {
            Method::POST
        };
        self.call(
            method,
            target,
            String::new(),
            HeaderMap::new(),
            Bytes::copy_from_slice(body),
        )
    }

    fn call(
        &self,
        method: Method,
        path: &str,
        query: String,
        headers: HeaderMap,
        body: Bytes,
    ) -> u16 {
        let Some(organization) = self.world.organizations.iter().next() else {
            return 404;
        };
        let service = Service {
            world: &self.world,
            organization,
            caller: &self.caller,
            base: "https://localhost/api/data/v9.2/",
            headers: &headers,
        };
        let operation = Operation {
            method,
            path: path.to_owned(),
            query,
            headers: headers.clone(),
            body,
        };
        service.serve(operation).status().as_u16()
    }
}

fn option(name: &str, value: &str) -> String {
    url::form_urlencoded::Serializer::new(String::new())
        .append_pair(name, value)
        .finish()
}

//! One caller's way into an organization: opens a connection for each operation, as whom it is done,
//! and whether it is kept.

use axum::http::{HeaderMap, Method, StatusCode};
use bytes::Bytes;
use rusqlite::Connection;
use uuid::Uuid;

use crate::World;
use crate::dataverse::answer::Answer;
use crate::dataverse::batch;
use crate::dataverse::context::Context;
use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::organization::Organization;
use crate::dataverse::resource;
use crate::dataverse::security::Member;
use crate::entra::Caller;

/// Headers that would make a request another one than it is; Dataverse knows none of them.
const OVERRIDES: [&str; 3] = [
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
];

/// What stays the same for everything in one request, a batch included.
#[derive(Clone, Copy)]
pub(crate) struct Service<'a> {
    pub(crate) world: &'a World,
    pub(crate) organization: &'a Organization,
    pub(crate) caller: &'a Caller,
    /// Address of the service, such as `https://localhost:8430/api/data/v9.2/`.
    pub(crate) base: &'a str,
    /// Headers of the outer request.
    pub(crate) headers: &'a HeaderMap,
}

/// One operation: a request of its own, or a part of a batch.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    pub(crate) method: Method,
    /// Behind the service's address, as it was written.
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Operation {
    pub(crate) fn reads(&self) -> bool {
        self.method == Method::GET || self.method == Method::HEAD
    }

    /// The address of the operation, for links to further pages.
    pub(crate) fn address(&self, base: &str) -> String {
        if self.query.is_empty() {
            format!("{base}{}", self.path)
        } else {
            format!("{base}{}?{}", self.path, self.query)
        }
    }
}

impl Service<'_> {
    /// Answers a request.
    pub(crate) fn serve(&self, operation: Operation) -> Answer {
        let overridden = OVERRIDES
            .into_iter()
            .find(|name| operation.headers.contains_key(*name));
        if let Some(name) = overridden {
            let text = format!(
                "The header '{name}' is not supported: the method of a request is what its first line says."
            );
            return Fault::syntax(text).answer();
        }
        let done = if batch::is_batch(&operation.path) {
            batch::answer(self, &operation)
        } else {
            self.execute(&operation)
        };
        done.unwrap_or_else(|fault| fault.answer_to(&operation.headers))
    }

    /// Does one operation by itself: what it wrote is kept when it succeeds.
    pub(crate) fn execute(&self, operation: &Operation) -> Outcome<Answer> {
        let store = &self.organization.store;
        if operation.reads() {
            store.read(|db| self.perform(db, operation))
        } else {
            store.write(|db| self.perform(db, operation))
        }
    }

    /// Does one operation with a connection: somebody else decides whether it is kept.
    pub(crate) fn perform(&self, db: &Connection, operation: &Operation) -> Outcome<Answer> {
        let member = self.member(db, &operation.headers)?;
        let context = Context {
            organization: self.organization,
            schema: &self.organization.schema,
            db,
            caller: &member,
            now: self.world.clock.now(),
            base: self.base,
            headers: &operation.headers,
        };
        resource::answer(&context, operation)
    }

    /// In whose name an operation is done: the caller's, or that of the one it names.
    fn member(&self, db: &Connection, headers: &HeaderMap) -> Outcome<Member> {
        let own = self.organization.member(db, self.caller)?;
        let named = |header: &str| {
            let own = headers.get(header).or_else(|| self.headers.get(header));
            own.and_then(|value| value.to_str().ok())
                .map(str::trim)
                .filter(|text| !text.is_empty())
        };
        let (column, text) = match (named("callerobjectid"), named("mscrmcallerid")) {
            (Some(text), _) => ("azureactivedirectoryobjectid", text),
            (None, Some(text)) => ("systemuserid", text),
            (None, None) => return Ok(own),
        };
        let text = text.trim_matches(['{', '}']);
        let id: Uuid = text.parse().map_err(|_| {
            Fault::argument(format!(
                "The header for impersonation holds '{text}', which is no identifier."
            ))
        })?;
        if id == own.id && column == "systemuserid" {
            return Ok(own);
        }
        let other = self
            .organization
            .member_by(db, column, id)?
            .ok_or_else(|| {
                Fault::new(
                    StatusCode::FORBIDDEN,
                    "0x80040204",
                    format!("User with {column}={id} does not exist in the organization."),
                )
            })?;
        own.act_as(other)
    }
}

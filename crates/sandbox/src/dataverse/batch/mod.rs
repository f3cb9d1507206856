//! `$batch`: many operations in one request, those of a change set all or nothing.

mod address;
mod multipart;
mod reference;
mod request;
mod response;

use axum::http::{HeaderMap, Method, StatusCode, header};
use rusqlite::Connection;
use serde_json::Value;

use crate::dataverse::answer::Answer;
use crate::dataverse::batch::address::Target;
use crate::dataverse::batch::reference::References;
use crate::dataverse::batch::request::{Inner, Step};
use crate::dataverse::batch::response::{Item, Reply};
use crate::dataverse::context::preferences;
use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::service::{Operation, Service};

/// Whether a path behind the service's address is that of batches.
pub(crate) fn is_batch(path: &str) -> bool {
    matches!(path.trim_end_matches('/'), "$batch" | "%24batch")
}

/// `POST /$batch`.
pub(crate) fn answer(service: &Service<'_>, operation: &Operation) -> Outcome<Answer> {
    if operation.method != Method::POST {
        return Err(Fault::method_not_allowed());
    }
    let kind = operation
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let steps = request::read(kind, &operation.body)?;
    let on_error = OnError::of(&operation.headers);
    let mut run = Run {
        service,
        inherited: inherited(&operation.headers),
        references: References::default(),
    };
    let mut items = Vec::new();
    let mut status = StatusCode::OK;
    for step in &steps {
        let item = run.step(step);
        let failed = item.failed();
        items.push(item);
        if failed && on_error == OnError::Stop {
            status = StatusCode::BAD_REQUEST;
            break;
        }
    }
    Ok(response::answer(status, &items))
}

/// What an error does to the operations behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnError {
    Stop,
    Continue,
}

impl OnError {
    fn of(headers: &HeaderMap) -> Self {
        let wanted = preferred(headers).any(|preference| {
            let (name, value) = preference.split_once('=').unwrap_or((&preference, "true"));
            let name = name.trim().to_ascii_lowercase();
            let named = matches!(
                name.as_str(),
                "odata.continue-on-error" | "continue-on-error"
            );
            named && !value.trim().eq_ignore_ascii_case("false")
        });
        if wanted { Self::Continue } else { Self::Stop }
    }
}

fn preferred(headers: &HeaderMap) -> impl Iterator<Item = String> {
    let all = headers.get_all("prefer").iter();
    all.filter_map(|value| value.to_str().ok())
        .flat_map(preferences)
}

/// Headers of the batch that hold for its operations: switches of the platform, and which
/// annotations are wanted. Whom it is done for, the service looks up by itself.
fn inherited(headers: &HeaderMap) -> HeaderMap {
    let mut own = HeaderMap::new();
    for (name, value) in headers {
        if name.as_str().starts_with("mscrm.") {
            own.append(name, value.clone());
        }
    }
    for preference in preferred(headers) {
        let annotations = preference
            .to_ascii_lowercase()
            .starts_with("odata.include-annotations");
        if let Some(value) = preference.parse().ok().filter(|_| annotations) {
            own.append("prefer", value);
        }
    }
    own
}

struct Run<'a> {
    service: &'a Service<'a>,
    inherited: HeaderMap,
    references: References,
}

impl Run<'_> {
    fn step(&mut self, step: &Step) -> Item {
        match step {
            Step::Single(inner) => {
                let done = self.done(inner, |service, operation| service.execute(operation));
                Item::One(reply(
                    inner,
                    done.unwrap_or_else(|fault| fault.answer_to(&self.inherited)),
                ))
            }
            Step::ChangeSet(set) => self.change_set(set),
        }
    }

    /// All of it, or nothing.
    fn change_set(&mut self, set: &[Inner]) -> Item {
        let before = self.references.clone();
        let store = &self.service.organization.store;
        let done = store.write(|db| self.replies(db, set));
        match done {
            Ok(replies) => Item::ChangeSet(replies),
            Err(Stopped { fault, content_id }) => {
                self.references = before;
                Item::One(Reply {
                    content_id,
                    answer: fault.answer_to(&self.inherited),
                })
            }
        }
    }

    fn replies(&mut self, db: &Connection, set: &[Inner]) -> Result<Vec<Reply>, Stopped> {
        let mut replies = Vec::new();
        for inner in set {
            let done = self.done(inner, |service, operation| service.perform(db, operation));
            let answer = done.map_err(|fault| Stopped {
                fault,
                content_id: inner.content_id.clone(),
            })?;
            replies.push(reply(inner, answer));
        }
        Ok(replies)
    }

    /// Does an operation and remembers which row it was about.
    fn done(
        &mut self,
        inner: &Inner,
        perform: impl FnOnce(&Service<'_>, &Operation) -> Outcome<Answer>,
    ) -> Outcome<Answer> {
        let target = Target::parse(&inner.address)?;
        let base = self.base(&target)?;
        let path = self.references.path(target.path)?;
        if is_batch(&path) {
            return Err(Fault::syntax(
                "A batch request cannot contain another batch request.",
            ));
        }
        let operation = Operation {
            method: if inner.method == Method::HEAD {
                Method::GET
            } else {
                inner.method.clone()
            },
            query: self.references.query(target.query, &base)?,
            headers: self.headers(inner),
            body: self.references.body(&inner.body, &base)?,
            path,
        };
        let service = Service {
            base: &base,
            ..*self.service
        };
        let answer = perform(&service, &operation)?;
        if let Some(id) = &inner.content_id {
            self.references.insert(id, self.about(&operation, &answer));
        }
        Ok(answer)
    }

    /// The service's address, in the version that the operation names.
    fn base(&self, target: &Target<'_>) -> Outcome<String> {
        let own = self.service.base;
        let Some(version) = target.version else {
            return Ok(own.to_owned());
        };
        crate::dataverse::version(&format!("/api/data/{version}/"))?;
        let origin = own.split("/api/data/").next().unwrap_or_default();
        Ok(format!("{origin}/api/data/{version}/"))
    }

    fn headers(&self, inner: &Inner) -> HeaderMap {
        let mut headers = inner.headers.clone();
        for (name, value) in &self.inherited {
            if name == "prefer" || !inner.headers.contains_key(name) {
                // The operation's own preference stands first, so that it counts.
                headers.append(name, value.clone());
            }
        }
        headers
    }

    /// The row that an operation was about, behind the service's address.
    fn about(&self, operation: &Operation, answer: &Answer) -> String {
        let address = answer
            .headers()
            .get("odata-entityid")
            .and_then(|value| value.to_str().ok());
        let path = address.and_then(|address| {
            Target::parse(address)
                .ok()
                .map(|target| target.path.to_owned())
        });
        path.or_else(|| self.shown(answer))
            .unwrap_or_else(|| operation.path.clone())
    }

    /// The row that an answer shows.
    fn shown(&self, answer: &Answer) -> Option<String> {
        let body: Value = serde_json::from_slice(answer.body()).ok()?;
        let context = body.get("@odata.context")?.as_str()?;
        let (_, fragment) = context.split_once('#')?;
        let set = fragment.split(['(', '/']).next()?;
        let table = self.service.organization.schema.by_set(set)?;
        let id = body.get(&table.key)?.as_str()?;
        Some(format!("{set}({id})"))
    }
}

fn reply(inner: &Inner, mut answer: Answer) -> Reply {
    if inner.method == Method::HEAD {
        answer.body_mut().clear();
    }
    Reply {
        content_id: inner.content_id.clone(),
        answer,
    }
}

/// Why a change set was given up, and at which operation.
struct Stopped {
    fault: Fault,
    content_id: Option<String>,
}

impl From<rusqlite::Error> for Stopped {
    fn from(error: rusqlite::Error) -> Self {
        Self {
            fault: error.into(),
            content_id: None,
        }
    }
}

//! A look at rows from inside of the sandbox, without a token and without limits.

use axum::http::{HeaderMap, Method};
use bytes::Bytes;

use crate::World;
use crate::dataverse::answer::Answer;
use crate::dataverse::context::Context;
use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::organization::Organization;
use crate::dataverse::resource;
use crate::dataverse::service::Operation;

/// What a GET would answer to somebody who may see everything; the path is what stands behind the
/// version of the Web API.
pub(crate) fn look(world: &World, organization: &Organization, path: &str, query: &str) -> Answer {
    answer(world, organization, path, query).unwrap_or_else(|fault| fault.answer())
}

fn answer(world: &World, organization: &Organization, path: &str, query: &str) -> Outcome<Answer> {
    let auditor = organization
        .auditor()
        .ok_or_else(|| Fault::no_segment(path))?;
    let operation = Operation {
        method: Method::GET,
        path: path.to_owned(),
        query: query.to_owned(),
        headers: HeaderMap::new(),
        body: Bytes::new(),
    };
    let base = format!("https://{}/api/data/v9.2/", world.authority);
    organization.store.read(|db| {
        let context = Context {
            organization,
            schema: &organization.schema,
            db,
            caller: &auditor,
            now: world.clock.now(),
            base: &base,
            headers: &operation.headers,
        };
        resource::answer(&context, &operation)
    })
}

//! Which operation a method and a path are.

use axum::http::{Method, StatusCode};
use uuid::Uuid;

use crate::dataverse::answer::{Answer, json_answer, no_content, text_answer};
use crate::dataverse::context::Context;
use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::fetch;
use crate::dataverse::functions::{self, Subject};
use crate::dataverse::odata::{QueryOptions, Segment, segments};
use crate::dataverse::read::{self, Parent, Raw};
use crate::dataverse::schema::definitions::{self, DefinitionsAnswer, DefinitionsRequest};
use crate::dataverse::schema::{self, Collection, Single, Table};
use crate::dataverse::service::Operation;
use crate::dataverse::write;

/// An operation whose path and options are read.
pub(crate) struct Request<'a, 's> {
    pub(crate) context: &'a Context<'s>,
    pub(crate) operation: &'a Operation,
    pub(crate) options: QueryOptions,
    /// The operation's own address.
    pub(crate) address: String,
}

impl Request<'_, '_> {
    pub(crate) fn method(&self) -> &Method {
        &self.operation.method
    }
}

pub(crate) fn answer<'s>(context: &Context<'s>, operation: &Operation) -> Outcome<Answer> {
    let request = Request {
        context,
        operation,
        options: QueryOptions::parse(&operation.query)?,
        address: operation.address(context.base),
    };
    let segments = segments(&operation.path)?;
    let Some((first, rest)) = segments.split_first() else {
        return root(&request, "");
    };
    if first.name == "$metadata" {
        return root(&request, &first.name);
    }
    if definitions::owns(&first.name) {
        return defined(&request, &segments);
    }
    let Some(table) = context.schema.by_set(&first.name) else {
        return functions::unbound(&request, first, rest);
    };
    if first.inside.is_none() {
        return set(&request, table, rest);
    }
    let key = first.key(&request.options.aliases)?;
    let target = write::Key::of(context, table, key)?;
    row(&request, table, target, rest)
}

/// What stands at the root: the sets, and the model.
fn root(request: &Request<'_, '_>, name: &str) -> Outcome<Answer> {
    if *request.method() != Method::GET {
        return Err(Fault::method_not_allowed());
    }
    let schema = request.context.schema;
    if request.options.text("sql").is_some() {
        return Err(Fault::not_yet("queries in SQL"));
    }
    if name.is_empty() {
        let document = schema::service_document(schema, request.context.base);
        return Ok(json_answer(StatusCode::OK, &document));
    }
    let annotations = match request.options.text("annotations") {
        Some("true") => schema::Annotations::With,
        _ => schema::Annotations::Without,
    };
    let document = schema::metadata_document(schema, annotations);
    Ok(text_answer(StatusCode::OK, "application/xml", document))
}

/// `/EntityDefinitions…` and its kin: to read.
fn defined(request: &Request<'_, '_>, segments: &[Segment]) -> Outcome<Answer> {
    if *request.method() != Method::GET {
        return Err(Fault::not_yet("writes of definitions"));
    }
    let metadata = request.context.metadata();
    let asked = DefinitionsRequest {
        segments,
        options: &request.options,
        metadata: &metadata,
    };
    let schema = request.context.schema;
    Ok(match definitions::answer(schema, &asked)? {
        DefinitionsAnswer::Json(body) => json_answer(StatusCode::OK, &body),
        DefinitionsAnswer::Text(text) => text_answer(StatusCode::OK, "text/plain", text),
        DefinitionsAnswer::Nothing => no_content(),
    })
}

/// `/contacts…`.
fn set<'s>(request: &Request<'_, 's>, table: &'s Table, rest: &[Segment]) -> Outcome<Answer> {
    let (context, options) = (request.context, &request.options);
    match (rest, request.method().as_str()) {
        ([], "GET") if options.text("fetchXml").is_some() => fetch::answer(context, table, options),
        ([], "GET") => read::many(context, table, None, options, &request.address),
        ([], "POST") => write::create(request, table, None),
        ([count], "GET") if count.name == "$count" => read::count(context, table, None, options),
        ([], _) => Err(Fault::method_not_allowed()),
        ([first, rest @ ..], _) if first.qualified().is_some() => {
            functions::bound(request, Subject::Set(table), first, rest)
        }
        ([other, ..], _) => Err(Fault::no_segment(&other.name)),
    }
}

/// `/contacts(…)…`.
fn row<'s>(
    request: &Request<'_, 's>,
    table: &'s Table,
    key: write::Key,
    rest: &[Segment],
) -> Outcome<Answer> {
    let context = request.context;
    let Some((first, rest)) = rest.split_first() else {
        return match request.method().as_str() {
            "GET" => read::one(
                context,
                table,
                key.existing(context, table)?,
                &request.options,
            ),
            "PATCH" => write::upsert(request, table, key),
            "DELETE" => write::delete(request, table, key.existing(context, table)?),
            _ => Err(Fault::method_not_allowed()),
        };
    };
    let id = key.existing(context, table)?;
    if let Some(name) = first.qualified() {
        // A cast to what the row is anyway.
        if name == table.name {
            return row(request, table, key, rest);
        }
        return functions::bound(request, Subject::Row(table, id), first, rest);
    }
    if let Some(single) = table.single(&first.name) {
        return single_valued(request, table, id, single, rest);
    }
    if let Some(collection) = table.collection(&first.name) {
        return collected(request, table, id, collection, first, rest);
    }
    let raw = match rest {
        [] => Raw::Json,
        [value] if value.name == "$value" => Raw::Text,
        [other, ..] => return Err(Fault::no_segment(&other.name)),
    };
    match (request.method().as_str(), raw) {
        ("GET", raw) => read::property(context, table, id, &first.name, raw),
        ("PUT" | "PATCH", Raw::Json) => write::set_property(request, table, id, &first.name),
        ("DELETE", Raw::Json) => write::clear_property(request, table, id, &first.name),
        _ => Err(Fault::method_not_allowed()),
    }
}

/// `/accounts(…)/primarycontactid…`.
fn single_valued<'s>(
    request: &Request<'_, 's>,
    table: &'s Table,
    id: Uuid,
    single: &'s Single,
    rest: &[Segment],
) -> Outcome<Answer> {
    let context = request.context;
    if let [reference] = rest
        && reference.name == "$ref"
    {
        return match request.method().as_str() {
            "GET" => Ok(read::followed(context, table, id, single)?
                .map_or_else(no_content, |(target, id)| {
                    read::reference(context, target, id)
                })),
            "PUT" => write::link_single(request, table, id, single),
            "DELETE" => write::unlink_single(request, table, id, single),
            _ => Err(Fault::method_not_allowed()),
        };
    }
    // Without `$ref` a delete would be that of the row behind the lookup, which nobody means.
    if rest.is_empty() && *request.method() == Method::DELETE {
        return Err(Fault::method_not_allowed());
    }
    match read::followed(context, table, id, single)? {
        Some((target, id)) => row(request, target, write::Key::Id(id), rest),
        None if rest.is_empty() && *request.method() == Method::GET => Ok(no_content()),
        None => Err(Fault::no_segment(&single.name)),
    }
}

/// `/accounts(…)/contact_customer_accounts…`.
fn collected<'s>(
    request: &Request<'_, 's>,
    table: &'s Table,
    id: Uuid,
    collection: &'s Collection,
    segment: &Segment,
    rest: &[Segment],
) -> Outcome<Answer> {
    let (context, options) = (request.context, &request.options);
    let target = context.schema.table(collection.target);
    let parent = Parent {
        table,
        id,
        collection,
    };
    if segment.inside.is_some() {
        let key = write::Key::of(context, target, segment.key(&options.aliases)?)?;
        if let [reference] = rest
            && reference.name == "$ref"
            && *request.method() == Method::DELETE
        {
            return write::unlink(request, parent, key.existing(context, target)?);
        }
        return row(request, target, key, rest);
    }
    match (rest, request.method().as_str()) {
        ([], "GET") => {
            context.demand_row(crate::dataverse::security::Access::Read, table, id)?;
            read::must_exist(context, table, id)?;
            read::many(context, target, Some(parent), options, &request.address)
        }
        ([], "POST") => write::create(request, target, Some(parent)),
        ([], "PUT") => write::replace_parties(request, parent),
        ([count], "GET") if count.name == "$count" => {
            read::count(context, target, Some(parent), options)
        }
        ([reference], "POST" | "PUT") if reference.name == "$ref" => write::link(request, parent),
        ([reference], "DELETE") if reference.name == "$ref" => write::unlink_named(request, parent),
        ([reference], "GET") if reference.name == "$ref" => {
            read::references(request.context, target, parent, options)
        }
        ([], _) => Err(Fault::method_not_allowed()),
        ([other, ..], _) => Err(Fault::no_segment(&other.name)),
    }
}

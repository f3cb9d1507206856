//! One row: all of it, one of its columns, or the row that a lookup leads to.

use axum::http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::dataverse::answer::{Answer, json_answer, no_content, set, text_answer};
use crate::dataverse::context::Context;
use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::odata::QueryOptions;
use crate::dataverse::plan::{Condition, Query, Sources};
use crate::dataverse::read::expand;
use crate::dataverse::read::present::{Presenter, json_value};
use crate::dataverse::read::rows::{self, Row};
use crate::dataverse::read::shape::Shape;
use crate::dataverse::records::{self, Cell};
use crate::dataverse::schema::{Single, Table};

/// `GET /contacts(…)`.
pub(crate) fn one<'s>(
    context: &Context<'s>,
    table: &'s Table,
    id: Uuid,
    options: &QueryOptions,
) -> Outcome<Answer> {
    let fragment = format!("{}{{}}/$entity", table.set);
    let mut answer = shown(context, table, id, options, &fragment, StatusCode::OK)?;
    if answer.status() == StatusCode::OK {
        context.applied(&mut answer, paged(context, options));
    }
    Ok(answer)
}

/// A page size counts for the collections that are expanded.
fn paged(context: &Context<'_>, options: &QueryOptions) -> Vec<String> {
    let size = context.prefers("odata.maxpagesize");
    let size = size.filter(|_| options.text("$expand").is_some());
    size.map(|size| format!("odata.maxpagesize={size}"))
        .into_iter()
        .collect()
}

/// The row as an answer to a write that wants it back.
pub(crate) fn representation<'s>(
    context: &Context<'s>,
    table: &'s Table,
    id: Uuid,
    options: &QueryOptions,
    status: StatusCode,
) -> Outcome<Answer> {
    let fragment = format!("{}{{}}/$entity", table.set);
    let mut answer = shown(context, table, id, options, &fragment, status)?;
    context.applied(&mut answer, vec!["return=representation".to_owned()]);
    Ok(answer)
}

fn shown<'s>(
    context: &Context<'s>,
    table: &'s Table,
    id: Uuid,
    options: &QueryOptions,
    fragment: &str,
    status: StatusCode,
) -> Outcome<Answer> {
    let mut sources = Sources::default();
    let shape = Shape::of(context, table, options)?;
    let row = row(context, &mut sources, &shape, id)?;
    if status == StatusCode::OK && unchanged(context, &shape, &row) {
        let mut answer = no_content();
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
        set(answer.headers_mut(), "etag", &row.etag());
        return Ok(answer);
    }
    let presenter = Presenter::new(context);
    let mut bodies = expand::present(&presenter, &mut sources, &shape, std::slice::from_ref(&row))?;
    let mut body = Map::new();
    presenter.context_of(&mut body, &fragment.replace("{}", &shape.listed()));
    body.extend(bodies.pop().unwrap_or_default());
    let mut answer = json_answer(status, &Value::Object(body));
    if let Ok(kind) = HeaderValue::from_str(presenter.content_type()) {
        answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    set(answer.headers_mut(), "etag", &row.etag());
    Ok(answer)
}

/// Nothing is sent again that the client has; but what was expanded may have changed behind it.
fn unchanged(context: &Context<'_>, shape: &Shape<'_>, row: &Row) -> bool {
    let Some(known) = context.header("if-none-match") else {
        return false;
    };
    let same = known.split(',').any(|etag| etag.trim() == row.etag());
    same && shape.expands.is_empty() && context.prefers("odata.include-annotations").is_none()
}

fn row<'s>(
    context: &Context<'s>,
    sources: &mut Sources,
    shape: &Shape<'s>,
    id: Uuid,
) -> Outcome<Row> {
    let mut query = Query::of(shape.table, sources);
    let root = query.select.root;
    context.demand_row(crate::dataverse::security::Access::Read, shape.table, id)?;
    query.select.condition = Condition::same(root.key(), Context::id_term(id));
    let mut rows = rows::fetch(context, &mut query, root, &shape.columns, Vec::new())?;
    rows.pop()
        .ok_or_else(|| Fault::no_row(&shape.table.name, id))
}

/// `GET /contacts(…)/fullname` and `…/fullname/$value`.
pub(crate) fn property<'s>(
    context: &Context<'s>,
    table: &'s Table,
    id: Uuid,
    name: &str,
    raw: Raw,
) -> Outcome<Answer> {
    let column = table
        .readable(name)
        .ok_or_else(|| Fault::no_segment(name))?;
    let mut shape = Shape::whole(table);
    shape.columns = vec![column];
    let mut row = row(context, &mut Sources::default(), &shape, id)?;
    let Some(cell) = row.cells.pop().flatten() else {
        return Ok(no_content());
    };
    let value = json_value(column, &cell);
    if raw == Raw::Text {
        let text = match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        return Ok(text_answer(StatusCode::OK, "text/plain", text));
    }
    let presenter = Presenter::new(context);
    let mut body = Map::new();
    presenter.context_of(&mut body, &format!("{}({id})/{name}", table.set));
    presenter.annotate(table, column, "", &cell, &mut body);
    body.insert("value".to_owned(), value);
    let mut answer = json_answer(StatusCode::OK, &Value::Object(body));
    context.applied(&mut answer, Vec::new());
    Ok(answer)
}

/// How one column is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Raw {
    Json,
    Text,
}

/// The row that a lookup leads to; none when it is empty.
pub(crate) fn followed<'s>(
    context: &Context<'s>,
    table: &'s Table,
    id: Uuid,
    single: &Single,
) -> Outcome<Option<(&'s Table, Uuid)>> {
    let Some(column) = table.columns.get(single.column) else {
        return Ok(None);
    };
    let mut shape = Shape::whole(table);
    shape.columns = vec![column];
    let mut row = row(context, &mut Sources::default(), &shape, id)?;
    let Some(Cell::Row(target, id)) = row.cells.pop().flatten() else {
        return Ok(None);
    };
    let index = context.schema.index_of(&target);
    let fits = index.filter(|index| *index == single.target || single.also.contains(index));
    Ok(fits.map(|index| (context.schema.table(index), id)))
}

/// `GET /accounts(…)/primarycontactid/$ref`.
pub(crate) fn reference(context: &Context<'_>, table: &Table, id: Uuid) -> Answer {
    let mut body = Map::new();
    Presenter::new(context).context_of(&mut body, "$ref");
    body.insert("@odata.id".to_owned(), context.address(table, id).into());
    json_answer(StatusCode::OK, &Value::Object(body))
}

/// Refuses what is asked of a row that is not there.
pub(crate) fn must_exist(context: &Context<'_>, table: &Table, id: Uuid) -> Outcome<()> {
    if records::exists(context.db, table, id)? {
        return Ok(());
    }
    Err(Fault::no_row(&table.name, id))
}

//! Reading rows.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::filter::{self, Filter};
use crate::dataverse::old_schema::{self, Column, Kind, Table};
use crate::dataverse::rows::{Row, View, shown};
use crate::dataverse::{Request, json_answer};

/// Rows of a page at most, and rows that are counted.
const PAGE_MAX: usize = 5_000;

/// What a row is shown with.
struct Shape {
    columns: Option<Vec<&'static str>>,
    expand: Vec<Expand>,
    annotate: bool,
}

/// A single-valued navigation property to be followed.
struct Expand {
    property: String,
    column: &'static str,
    target: &'static Table,
    columns: Option<Vec<&'static str>>,
}

/// `GET /contacts`.
pub(crate) fn many(request: &Request<'_>, table: &'static Table) -> Outcome<Response> {
    request.demand("Read", table)?;
    for (name, _) in &request.options {
        match name.as_str() {
            "$skip" => return Err(Fault::syntax("Skip Clause is not supported in CRM")),
            "$apply" | "fetchXml" | "savedQuery" | "userQuery" | "$search" => {
                return Err(Fault::not_yet(name));
            }
            "$select" | "$filter" | "$orderby" | "$top" | "$count" | "$expand" | "$skiptoken" => {}
            other if other.starts_with('$') => {
                return Err(Fault::syntax(format!(
                    "The query parameter {other} is not supported"
                )));
            }
            _ => {}
        }
    }
    let shape = shape(request, table)?;
    let filter = filter(request, table)?;
    let view = request.organization.view();
    let mut rows: Vec<(&Uuid, &Row)> = view
        .rows(table)
        .iter()
        .filter(|(id, row)| {
            filter
                .as_ref()
                .is_none_or(|filter| filter.passes(&view, table, **id, row))
        })
        .collect();
    order(request, table, &mut rows)?;
    let total = rows.len();

    let page_size = request
        .prefers("odata.maxpagesize")
        .and_then(|size| size.parse::<usize>().ok());
    let top = number(request, "$top")?;
    let page = skip_token(request)?;
    let size = page_size.map_or(PAGE_MAX, |size| size.clamp(1, PAGE_MAX));
    // With a page size, `$top` is not heeded.
    let limit = if page_size.is_some() {
        usize::MAX
    } else {
        top.unwrap_or(usize::MAX)
    };
    let start = (page - 1).saturating_mul(size);
    let end = start.saturating_add(size).min(limit).min(total);
    let shown: Vec<Value> = rows
        .get(start..end)
        .unwrap_or_default()
        .iter()
        .map(|(id, row)| present(&view, table, **id, row, &shape))
        .collect();

    let mut body = Map::new();
    let context = format!("{}$metadata#{}{}", request.base, table.set, listed(&shape));
    body.insert("@odata.context".to_owned(), context.into());
    if request.option("$count") == Some("true") {
        body.insert("@odata.count".to_owned(), total.min(PAGE_MAX).into());
    }
    body.insert("value".to_owned(), shown.into());
    if end < total.min(limit) {
        body.insert(
            "@odata.nextLink".to_owned(),
            next_link(request, page + 1).into(),
        );
    }
    let mut response = json_answer(StatusCode::OK, &Value::Object(body));
    if page_size.is_some() {
        let applied = format!("odata.maxpagesize={size}");
        if let Ok(applied) = HeaderValue::from_str(&applied) {
            response.headers_mut().insert("preference-applied", applied);
        }
    }
    Ok(response)
}

/// `GET /contacts/$count`.
pub(crate) fn count(request: &Request<'_>, table: &'static Table) -> Outcome<Response> {
    request.demand("Read", table)?;
    let filter = filter(request, table)?;
    let view = request.organization.view();
    let rows = view.rows(table).iter();
    let count = rows
        .filter(|(id, row)| {
            filter
                .as_ref()
                .is_none_or(|filter| filter.passes(&view, table, **id, row))
        })
        .count();
    let kind = [(header::CONTENT_TYPE, "text/plain")];
    // The byte order mark is Microsoft's.
    Ok((kind, format!("\u{feff}{}", count.min(PAGE_MAX))).into_response())
}

/// `GET /contacts(…)`.
pub(crate) fn one(request: &Request<'_>, table: &'static Table, id: Uuid) -> Outcome<Response> {
    request.demand("Read", table)?;
    let shape = shape(request, table)?;
    let view = request.organization.view();
    let row = view
        .row(table, id)
        .ok_or_else(|| Fault::no_row(table.name, id))?;
    if request.header("if-none-match") == Some(row.etag().as_str()) {
        return Ok(StatusCode::NOT_MODIFIED.into_response());
    }
    Ok(representation(
        request,
        &view,
        table,
        id,
        row,
        &shape,
        StatusCode::OK,
    ))
}

/// A row as the answer to a write.
pub(crate) fn written(
    request: &Request<'_>,
    table: &'static Table,
    id: Uuid,
    status: StatusCode,
) -> Outcome<Response> {
    let shape = shape(request, table)?;
    let view = request.organization.view();
    let row = view
        .row(table, id)
        .ok_or_else(|| Fault::no_row(table.name, id))?;
    let mut response = representation(request, &view, table, id, row, &shape, status);
    let applied = HeaderValue::from_static("return=representation");
    response.headers_mut().insert("preference-applied", applied);
    Ok(response)
}

fn representation(
    request: &Request<'_>,
    view: &View<'_>,
    table: &'static Table,
    id: Uuid,
    row: &Row,
    shape: &Shape,
    status: StatusCode,
) -> Response {
    let context = format!(
        "{}$metadata#{}{}/$entity",
        request.base,
        table.set,
        listed(shape)
    );
    let mut body = Map::new();
    body.insert("@odata.context".to_owned(), context.into());
    if let Value::Object(values) = present(view, table, id, row, shape) {
        body.extend(values);
    }
    let mut response = json_answer(status, &Value::Object(body));
    if let Ok(etag) = HeaderValue::from_str(&row.etag()) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    response
}

/// `GET /contacts(…)/fullname`, with or without `/$value`; along a navigation property, the row at
/// its end.
pub(crate) fn property(
    request: &Request<'_>,
    table: &'static Table,
    id: Uuid,
    name: &str,
    raw: bool,
) -> Outcome<Response> {
    request.demand("Read", table)?;
    let view = request.organization.view();
    let row = view
        .row(table, id)
        .ok_or_else(|| Fault::no_row(table.name, id))?;
    if let Some((column, target)) = table.navigation(name) {
        let target = old_schema::by_name(target).ok_or_else(|| Fault::no_segment(name))?;
        request.demand("Read", target)?;
        let at_end = row
            .lookup(column.name)
            .filter(|(found, _)| found.name == target.name);
        let found = at_end.and_then(|(_, id)| Some((id, view.row(target, id)?)));
        let Some((id, row)) = found else {
            return Ok(StatusCode::NO_CONTENT.into_response());
        };
        let shape = shape(request, target)?;
        return Ok(representation(
            request,
            &view,
            target,
            id,
            row,
            &shape,
            StatusCode::OK,
        ));
    }
    let column = readable(table, name).ok_or_else(|| Fault::no_segment(name))?;
    let value = shown(row, id, table, column);
    if value.is_null() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    if raw {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        return Ok(([(header::CONTENT_TYPE, "text/plain")], text).into_response());
    }
    let context = format!("{}$metadata#{}({id})/{name}", request.base, table.set);
    Ok(json_answer(
        StatusCode::OK,
        &json!({"@odata.context": context, "value": value}),
    ))
}

/// The row that a key names: its id, or values of an alternate key.
pub(crate) fn resolve(request: &Request<'_>, table: &'static Table, key: &str) -> Outcome<Uuid> {
    let bare = key
        .strip_prefix(table.key)
        .and_then(|rest| rest.strip_prefix('='))
        .unwrap_or(key);
    if let Ok(id) = bare.trim_matches('\'').parse::<Uuid>() {
        return Ok(id);
    }
    let Some((name, value)) = key.split_once('=') else {
        return Err(Fault::syntax(format!(
            "Bad Request - Error in query syntax: '{key}' is no key of '{}'.",
            table.name
        )));
    };
    if !table.alternate_keys.contains(&name) {
        let text = format!(
            "The specified key attributes are not a defined key for the {} entity",
            table.name
        );
        return Err(Fault::new(StatusCode::BAD_REQUEST, "0x80060890", text));
    }
    let value = value
        .strip_prefix('\'')
        .and_then(|rest| rest.strip_suffix('\''))
        .unwrap_or(value);
    let value = value.replace("''", "'");
    let view = request.organization.view();
    let mut found = view
        .rows(table)
        .iter()
        .filter(|(_, row)| row.text(name).eq_ignore_ascii_case(&value));
    match (found.next(), found.next()) {
        (Some((id, _)), None) => Ok(*id),
        (Some(_), Some(_)) => {
            let text = "Multiple records with the given key attributes exist.";
            Err(Fault::new(StatusCode::BAD_REQUEST, "0x8006089d", text))
        }
        _ => {
            let text = format!(
                "A record with the specified key values does not exist in {} entity",
                table.name
            );
            Err(Fault::new(StatusCode::NOT_FOUND, "0x80060891", text))
        }
    }
}

// === options ===

fn filter(request: &Request<'_>, table: &'static Table) -> Outcome<Option<Filter>> {
    let text = request.option("$filter");
    text.map(|text| filter::parse(text, table, &request.options))
        .transpose()
}

fn number(request: &Request<'_>, name: &str) -> Outcome<Option<usize>> {
    let Some(text) = request.option(name) else {
        return Ok(None);
    };
    let parsed = text.trim().parse().map(Some);
    parsed.map_err(|_| {
        Fault::syntax(format!(
            "Invalid value '{text}' for {name} query option found."
        ))
    })
}

fn order(request: &Request<'_>, table: &'static Table, rows: &mut [(&Uuid, &Row)]) -> Outcome<()> {
    let Some(text) = request.option("$orderby") else {
        return Ok(());
    };
    let mut keys = Vec::new();
    for part in text.split(',') {
        let mut words = part.split_whitespace();
        let name = words.next().unwrap_or_default();
        let descending = match words.next() {
            None | Some("asc") => false,
            Some("desc") => true,
            Some(other) => {
                return Err(Fault::syntax(format!(
                    "Syntax error at '{other}' in '{text}'."
                )));
            }
        };
        let column = readable(table, name).ok_or_else(|| Fault::no_property(name, table.name))?;
        keys.push((column, descending));
    }
    rows.sort_by(|(left_id, left), (right_id, right)| {
        let by_keys = keys.iter().map(|(column, descending)| {
            let left = shown(left, **left_id, table, column);
            let right = shown(right, **right_id, table, column);
            let order = filter::compare(&left, &right).unwrap_or(std::cmp::Ordering::Equal);
            if *descending { order.reverse() } else { order }
        });
        // Rows that are alike keep one order, or pages would overlap.
        by_keys
            .fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
            .then(left_id.cmp(right_id))
    });
    Ok(())
}

/// Clients take the token as it is; ours holds a page number, in the shape of Microsoft's.
fn skip_token(request: &Request<'_>) -> Outcome<usize> {
    let Some(token) = request.option("$skiptoken") else {
        return Ok(1);
    };
    let number = token
        .split("pagenumber=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    let page = number
        .and_then(|text| text.parse::<usize>().ok())
        .filter(|page| *page > 0);
    page.ok_or_else(|| Fault::new(StatusCode::BAD_REQUEST, "0x80040203", "Invalid skip token."))
}

fn next_link(request: &Request<'_>, page: usize) -> String {
    let cookie = format!("<cookie pagenumber=\"{page}\" pagingcookie=\"\" istracking=\"False\" />");
    let token: String = url::form_urlencoded::byte_serialize(cookie.as_bytes()).collect();
    let token = token.replace('+', "%20");
    let (path, query) = request
        .address
        .split_once('?')
        .unwrap_or((&request.address, ""));
    let is_token =
        |part: &&str| !part.starts_with("$skiptoken=") && !part.starts_with("%24skiptoken=");
    let mut parts: Vec<&str> = query
        .split('&')
        .filter(|part| !part.is_empty())
        .filter(is_token)
        .collect();
    let own = format!("$skiptoken={token}");
    parts.push(&own);
    format!("{path}?{}", parts.join("&"))
}

fn shape(request: &Request<'_>, table: &'static Table) -> Outcome<Shape> {
    let annotations = request
        .prefers("odata.include-annotations")
        .unwrap_or_default();
    let annotate = annotations.contains('*') || annotations.contains("FormattedValue");
    Ok(Shape {
        columns: request
            .option("$select")
            .map(|text| select(text, table))
            .transpose()?,
        expand: request
            .option("$expand")
            .map_or(Ok(Vec::new()), |text| expand(request, text, table))?,
        annotate,
    })
}

fn select(text: &str, table: &'static Table) -> Outcome<Vec<&'static str>> {
    let mut columns = Vec::new();
    for name in text
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty() && *name != "*")
    {
        let column = readable(table, name).ok_or_else(|| Fault::no_property(name, table.name))?;
        columns.push(column.name);
    }
    Ok(columns)
}

/// The column that a property reads: lookups only by `_<column>_value`.
fn readable(table: &'static Table, name: &str) -> Option<&'static Column> {
    table.lookup_value(name).or_else(|| {
        table
            .column(name)
            .filter(|column| !matches!(column.kind, Kind::Lookup(_)))
    })
}

fn expand(request: &Request<'_>, text: &str, table: &'static Table) -> Outcome<Vec<Expand>> {
    let mut expands = Vec::new();
    for part in split_list(text) {
        let (property, inside) = match part.strip_suffix(')').and_then(|open| open.split_once('('))
        {
            Some((property, inside)) => (property.trim(), inside),
            None => (part.trim(), ""),
        };
        let Some((column, target)) = table.navigation(property) else {
            if table.column(property).is_some() || property.contains('_') {
                return Err(Fault::not_yet(&format!("$expand of '{property}'")));
            }
            return Err(Fault::no_property(property, table.name));
        };
        let target = old_schema::by_name(target).ok_or_else(|| Fault::no_segment(target))?;
        request.demand("Read", target)?;
        let mut columns = None;
        for option in inside
            .split(';')
            .map(str::trim)
            .filter(|option| !option.is_empty())
        {
            match option.split_once('=') {
                Some(("$select", names)) => columns = Some(select(names, target)?),
                _ => {
                    let text = "Only $select and $filter clause can be provided while doing \
                                $expand on many-to-one relationship or nested one-to-many \
                                relationship.";
                    return Err(Fault::syntax(text));
                }
            }
        }
        expands.push(Expand {
            property: property.to_owned(),
            column: column.name,
            target,
            columns,
        });
    }
    Ok(expands)
}

/// Commas separate, but not inside parentheses.
fn split_list(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_i32, 0);
    for (at, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts.into_iter().filter(|part| !part.is_empty()).collect()
}

/// What the context says of the columns that were chosen.
fn listed(shape: &Shape) -> String {
    let mut names: Vec<String> = shape
        .columns
        .iter()
        .flatten()
        .map(|name| (*name).to_owned())
        .collect();
    names.extend(shape.expand.iter().map(|expand| {
        format!(
            "{}({})",
            expand.property,
            expand
                .columns
                .iter()
                .flatten()
                .copied()
                .collect::<Vec<_>>()
                .join(",")
        )
    }));
    if names.is_empty() {
        String::new()
    } else {
        format!("({})", names.join(","))
    }
}

// === rows as JSON ===

fn present(view: &View<'_>, table: &'static Table, id: Uuid, row: &Row, shape: &Shape) -> Value {
    let mut body = columns(
        view,
        table,
        id,
        row,
        shape.columns.as_deref(),
        shape.annotate,
    );
    for expand in &shape.expand {
        let at_end = row
            .lookup(expand.column)
            .filter(|(table, _)| table.name == expand.target.name);
        let found = at_end.and_then(|(_, id)| Some((id, view.row(expand.target, id)?)));
        let value = found.map_or(Value::Null, |(id, row)| {
            let columns = expand.columns.as_deref();
            Value::Object(self::columns(
                view,
                expand.target,
                id,
                row,
                columns,
                shape.annotate,
            ))
        });
        body.insert(expand.property.clone(), value);
    }
    Value::Object(body)
}

fn columns(
    view: &View<'_>,
    table: &'static Table,
    id: Uuid,
    row: &Row,
    chosen: Option<&[&'static str]>,
    annotate: bool,
) -> Map<String, Value> {
    let mut body = Map::new();
    body.insert("@odata.etag".to_owned(), row.etag().into());
    for column in &table.columns {
        // The key is always there.
        let wanted =
            chosen.is_none_or(|chosen| chosen.contains(&column.name) || column.name == table.key);
        if !wanted {
            continue;
        }
        let value = shown(row, id, table, column);
        let property = match column.kind {
            Kind::Lookup(_) => format!("_{}_value", column.name),
            _ => column.name.to_owned(),
        };
        if annotate {
            annotations(view, row, column, &property, &value, &mut body);
        }
        body.insert(property, value);
    }
    body
}

fn annotations(
    view: &View<'_>,
    row: &Row,
    column: &Column,
    property: &str,
    value: &Value,
    body: &mut Map<String, Value>,
) {
    const FORMATTED: &str = "@OData.Community.Display.V1.FormattedValue";
    let formatted = match (&column.kind, value) {
        (Kind::Lookup(targets), Value::String(_)) => {
            let Some((table, id)) = row.lookup(column.name) else {
                return;
            };
            let navigation = match targets.len() {
                1 => column.name.to_owned(),
                _ => format!("{}_{}", column.name, table.name),
            };
            let prefix = format!("{property}@Microsoft.Dynamics.CRM.");
            body.insert(
                format!("{prefix}associatednavigationproperty"),
                navigation.into(),
            );
            body.insert(format!("{prefix}lookuplogicalname"), table.name.into());
            view.row(table, id)
                .map(|row| row.text(table.title).to_owned())
        }
        (Kind::Choice(_), Value::Number(number)) => number
            .as_i64()
            .and_then(|number| column.label(number))
            .map(str::to_owned),
        (Kind::Boolean, Value::Bool(yes)) => Some(if *yes { "Yes" } else { "No" }.to_owned()),
        (Kind::DateTime, Value::String(text)) => {
            filter::moment(text).map(|at| at.format("%-m/%-d/%Y %-I:%M %p").to_string())
        }
        (Kind::Date, Value::String(text)) => {
            filter::moment(text).map(|at| at.format("%-m/%-d/%Y").to_string())
        }
        (Kind::Whole | Kind::Decimal, Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    if let Some(formatted) = formatted {
        body.insert(format!("{property}{FORMATTED}"), formatted.into());
    }
}

//! Many rows: a table's, or a collection's of one row; in pages.

use axum::http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::dataverse::answer::{Answer, json_answer, text_answer};
use crate::dataverse::context::Context;
use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::odata::{Expression, QueryOptions};
use crate::dataverse::plan::{self, Condition, Names, Order, Query, Source, Sources, Term};
use crate::dataverse::read::cookie::Cookie;
use crate::dataverse::read::present::Presenter;
use crate::dataverse::read::rows::Row;
use crate::dataverse::read::shape::Shape;
use crate::dataverse::read::{changes, expand, rows};
use crate::dataverse::schema::{Collection, Table};

/// Rows of a page at most, and rows that are counted.
pub(crate) const PAGE_MAX: u64 = 5_000;

/// The row whose collection is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parent<'s> {
    pub(crate) table: &'s Table,
    pub(crate) id: Uuid,
    pub(crate) collection: &'s Collection,
}

/// What is asked: the table's rows or a collection, with everything that restricts and orders them.
pub(crate) struct Asked<'s> {
    pub(crate) query: Query<'s>,
    /// The table whose rows are shown: the root, or what an intersect table leads to.
    pub(crate) source: Source<'s>,
}

/// `GET /contacts`, and `GET /accounts(…)/contact_customer_accounts`.
pub(crate) fn many<'s>(
    context: &Context<'s>,
    table: &'s Table,
    parent: Option<Parent<'s>>,
    options: &QueryOptions,
    address: &str,
) -> Outcome<Answer> {
    check_options(options)?;
    if let Some(token) = options.text("$deltatoken") {
        return changes::since(context, table, options, token, address);
    }
    let shape = Shape::of(context, table, options)?;
    let tracking = changes::wanted(context, table, options, parent.is_some())?;
    let cookie = options.text("$skiptoken").map(Cookie::parse).transpose()?;
    let version = match (&cookie, tracking) {
        (Some(cookie), _) if cookie.tracking.is_some() => cookie.tracking,
        (_, true) => Some(changes::now(context)?),
        _ => None,
    };
    let mut sources = Sources::default();
    let mut asked = asked(context, &mut sources, table, parent, options)?;
    let page = page(context, options)?;
    let (found, mut next) = turn(
        context,
        &mut sources,
        &mut asked,
        &shape,
        &page,
        cookie,
        options,
    )?;
    if let Some(next) = &mut next {
        next.tracking = version;
    }

    let presenter = Presenter::new(context);
    let bodies = expand::present(&presenter, &mut sources, &shape, &found)?;
    let mut body = Map::new();
    presenter.context_of(&mut body, &format!("{}{}", table.set, shape.listed()));
    counted(&presenter, &asked, options, &mut body)?;
    body.insert(
        "value".to_owned(),
        Value::Array(bodies.into_iter().map(Value::Object).collect()),
    );
    match (&next, version) {
        (Some(cookie), _) => {
            let link = with_token(address, "$skiptoken", &cookie.text());
            body.insert("@odata.nextLink".to_owned(), link.into());
        }
        (None, Some(version)) => {
            let link = changes::link(context, address, version);
            body.insert("@odata.deltaLink".to_owned(), link.into());
        }
        (None, None) => {}
    }
    let mut answer = json_answer(StatusCode::OK, &Value::Object(body));
    applied(context, &mut answer, &page, version.is_some());
    if let Ok(kind) = HeaderValue::from_str(presenter.content_type()) {
        answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    Ok(answer)
}

/// The rows of the page that is asked for, and the cookie of the one behind it.
fn turn<'s>(
    context: &Context<'s>,
    sources: &mut Sources,
    asked: &mut Asked<'s>,
    shape: &Shape<'s>,
    page: &Page,
    cookie: Option<Cookie>,
    options: &QueryOptions,
) -> Outcome<(Vec<Row>, Option<Cookie>)> {
    let number = cookie.as_ref().map_or(1, |cookie| cookie.page);
    let keys = order(context, sources, asked, options)?;
    let query = &mut asked.query;
    if let Some(cookie) = cookie {
        query.after = cookie.values(&keys)?;
        if query.after.is_none() {
            query.offset = (number - 1).saturating_mul(page.size);
        }
    }
    query.limit = Some(page.size + 1);
    let terms = query.order.iter().map(|order| order.term.clone()).collect();
    let mut found = rows::fetch(context, query, asked.source, &shape.columns, terms)?;
    let more = found.len() as u64 > page.size;
    found.truncate(usize::try_from(page.size).unwrap_or(usize::MAX));
    let last = found.last().filter(|_| more && page.goes_on);
    let next = last.map(|row| Cookie {
        page: number + 1,
        last: Some(keys.into_iter().zip(row.extra.iter().cloned()).collect()),
        tracking: None,
    });
    Ok((found, next))
}

/// `GET /accounts(…)/contact_customer_accounts/$ref`: addresses only.
pub(crate) fn references<'s>(
    context: &Context<'s>,
    table: &'s Table,
    parent: Parent<'s>,
    options: &QueryOptions,
) -> Outcome<Answer> {
    let mut sources = Sources::default();
    let mut asked = asked(context, &mut sources, table, Some(parent), options)?;
    asked.query.order = vec![Order {
        term: asked.source.key(),
        descending: false,
    }];
    asked.query.limit = Some(PAGE_MAX);
    let rows = rows::fetch(context, &mut asked.query, asked.source, &[], Vec::new())?;
    let links: Vec<Value> = rows
        .iter()
        .map(|row| json!({"@odata.id": context.address(table, row.id)}))
        .collect();
    let mut body = Map::new();
    Presenter::new(context).context_of(&mut body, "Collection($ref)");
    body.insert("value".to_owned(), Value::Array(links));
    Ok(json_answer(StatusCode::OK, &Value::Object(body)))
}

/// `GET /contacts/$count`: capped, as every count.
pub(crate) fn count<'s>(
    context: &Context<'s>,
    table: &'s Table,
    parent: Option<Parent<'s>>,
    options: &QueryOptions,
) -> Outcome<Answer> {
    check_options(options)?;
    if let Some(token) = options.text("$deltatoken") {
        let count = changes::count(context, table, token)?;
        return Ok(text_answer(StatusCode::OK, "text/plain", count.to_string()));
    }
    let asked = asked(context, &mut Sources::default(), table, parent, options)?;
    let count = number_of(context, &asked.query, PAGE_MAX)?;
    Ok(text_answer(StatusCode::OK, "text/plain", count.to_string()))
}

fn number_of(context: &Context<'_>, query: &Query<'_>, limit: u64) -> Outcome<i64> {
    let statement = plan::Statement::count(query, limit);
    let mut prepared = context.db.prepare_cached(&statement.sql)?;
    Ok(
        prepared.query_row(rusqlite::params_from_iter(statement.parameters), |row| {
            row.get(0)
        })?,
    )
}

/// `@odata.count`, up to 5,000; and whether there are more, for those who asked.
fn counted(
    presenter: &Presenter<'_, '_>,
    asked: &Asked<'_>,
    options: &QueryOptions,
    body: &mut Map<String, Value>,
) -> Outcome<()> {
    const TOTAL: &str = "Microsoft.Dynamics.CRM.totalrecordcount";
    const EXCEEDED: &str = "Microsoft.Dynamics.CRM.totalrecordcountlimitexceeded";
    let wanted = options.flag("$count")?;
    // Counted over everything that fits, whatever page is shown.
    let whole = if wanted {
        Some(count_all(presenter.context, asked)?)
    } else {
        None
    };
    let capped = whole.map_or(-1, |count| count.min(PAGE_MAX as i64));
    if wanted {
        body.insert("@odata.count".to_owned(), json!(capped));
    }
    for (name, value) in [
        (TOTAL, json!(capped)),
        (
            EXCEEDED,
            json!(whole.is_some_and(|count| count > PAGE_MAX as i64)),
        ),
    ] {
        if presenter.annotations.wants(name) {
            body.insert(format!("@{name}"), value);
        }
    }
    if presenter
        .annotations
        .wants("Microsoft.Dynamics.CRM.globalmetadataversion")
    {
        body.insert(
            "@Microsoft.Dynamics.CRM.globalmetadataversion".to_owned(),
            json!("1000000"),
        );
    }
    Ok(())
}

fn count_all(context: &Context<'_>, asked: &Asked<'_>) -> Outcome<i64> {
    number_of(context, &asked.query, PAGE_MAX + 1)
}

/// Tables, joins and conditions: of a whole table, or of a row's collection.
pub(crate) fn asked<'s>(
    context: &Context<'s>,
    sources: &mut Sources,
    table: &'s Table,
    parent: Option<Parent<'s>>,
    options: &QueryOptions,
) -> Outcome<Asked<'s>> {
    let mut query = Query::of(table, sources);
    let mut source = query.select.root;
    if let Some(parent) = parent {
        let outer = Source {
            id: sources.next(),
            table: parent.table,
        };
        let mut select = plan::related(context, sources, outer, parent.collection)?;
        select.condition = bind_outer(select.condition, outer, parent.id);
        source = select.joins.last().map_or(select.root, |join| join.source);
        query.select = select;
    }
    restrict(
        context,
        sources,
        &mut query,
        source,
        options.text("$filter"),
        options,
    )?;
    Ok(Asked { query, source })
}

/// Puts what the caller may see, and a filter, into a query.
pub(crate) fn restrict<'s>(
    context: &Context<'s>,
    sources: &mut Sources,
    query: &mut Query<'s>,
    source: Source<'s>,
    filter: Option<&str>,
    options: &QueryOptions,
) -> Outcome<()> {
    let mut condition = std::mem::replace(&mut query.select.condition, Condition::Always);
    condition = condition.and(context.visible(source)?);
    if let Some(text) = filter {
        let expression = Expression::filter(text, &options.aliases)?;
        condition = condition.and(plan::condition(
            context,
            sources,
            &mut query.select,
            source,
            &expression,
        )?);
    }
    query.select.condition = condition;
    Ok(())
}

/// The key of the outer row is known: it stands as a value where it would have been a column.
fn bind_outer<'s>(condition: Condition<'s>, outer: Source<'s>, id: Uuid) -> Condition<'s> {
    match condition {
        Condition::And(all) => Condition::And(
            all.into_iter()
                .map(|one| bind_outer(one, outer, id))
                .collect(),
        ),
        Condition::Compare(left, comparison, Term::Column(source, _)) if source == outer.id => {
            Condition::Compare(left, comparison, Context::id_term(id))
        }
        other => other,
    }
}

/// The order that was asked for, and then the key, so that rows that are alike keep one order.
/// Gives the names of the terms.
fn order<'s>(
    context: &Context<'s>,
    sources: &mut Sources,
    asked: &mut Asked<'s>,
    options: &QueryOptions,
) -> Outcome<Vec<String>> {
    let mut names = Names::of(context, sources, asked.source);
    let (mut order, mut keys) = (Vec::new(), Vec::new());
    for item in options.order()? {
        let (term, column) = names.ordered(&item.property)?;
        order.push(Order {
            term,
            descending: item.descending,
        });
        keys.push(column.name.clone());
    }
    asked.query.select.joins.extend(names.into_joins());
    order.push(Order {
        term: asked.source.key(),
        descending: false,
    });
    keys.push(asked.source.table.key.clone());
    asked.query.order = order;
    Ok(keys)
}

/// A page: its size, and whether others follow it.
struct Page {
    size: u64,
    goes_on: bool,
    preferred: Option<u64>,
}

/// How many rows the client wants in a page.
pub(crate) fn preferred_size(context: &Context<'_>) -> Outcome<Option<u64>> {
    let text = context
        .prefers("odata.maxpagesize")
        .or_else(|| context.prefers("maxpagesize"));
    let Some(text) = text else {
        return Ok(None);
    };
    let size = text.parse::<u64>().ok().filter(|size| *size > 0);
    size.map(Some).ok_or_else(|| {
        Fault::argument(format!(
            "The preference odata.maxpagesize is a whole number from 1 to {PAGE_MAX}, not '{text}'."
        ))
    })
}

/// With a preferred page size, `$top` counts for nothing.
fn page(context: &Context<'_>, options: &QueryOptions) -> Outcome<Page> {
    let preferred = preferred_size(context)?;
    let top = options.number("$top")?;
    Ok(match (preferred, top) {
        (Some(size), _) => Page {
            size: size.min(PAGE_MAX),
            goes_on: true,
            preferred,
        },
        (None, Some(top)) if top <= PAGE_MAX => Page {
            size: top,
            goes_on: false,
            preferred,
        },
        _ => Page {
            size: PAGE_MAX,
            goes_on: true,
            preferred,
        },
    })
}

fn applied(context: &Context<'_>, answer: &mut Answer, page: &Page, tracking: bool) {
    let mut own = Vec::new();
    if page.preferred.is_some() {
        own.push(format!("odata.maxpagesize={}", page.size));
    }
    if tracking {
        own.push("odata.track-changes".to_owned());
    }
    context.applied(answer, own);
}

/// The same address with another token.
pub(crate) fn with_token(address: &str, name: &str, token: &str) -> String {
    let encoded: String = url::form_urlencoded::byte_serialize(token.as_bytes()).collect();
    // Spaces as Dataverse writes them: some clients decode a plus only in forms.
    let encoded = encoded.replace('+', "%20");
    let (path, query) = address.split_once('?').unwrap_or((address, ""));
    let is_token = |part: &&str| {
        let key = part.split('=').next().unwrap_or_default();
        let key = percent_encoding::percent_decode_str(key).decode_utf8_lossy();
        !matches!(key.as_ref(), "$skiptoken" | "$deltatoken")
    };
    let mut parts: Vec<&str> = query
        .split('&')
        .filter(|part| !part.is_empty())
        .filter(is_token)
        .collect();
    let own = format!("{name}={encoded}");
    parts.push(&own);
    format!("{path}?{}", parts.join("&"))
}

fn check_options(options: &QueryOptions) -> Outcome<()> {
    for name in options.names() {
        match name {
            "$skip" => return Err(Fault::syntax("Skip Clause is not supported in CRM")),
            "$apply" | "$compute" => return Err(Fault::not_yet(name)),
            "savedQuery" | "userQuery" => return Err(Fault::not_yet("saved queries")),
            "sql" => return Err(Fault::not_yet("queries in SQL")),
            "$search" | "$levels" | "$format" | "$index" | "$schemaversion" => {
                return Err(Fault::syntax(format!(
                    "The query parameter {name} is not supported"
                )));
            }
            "$select" | "$filter" | "$orderby" | "$top" | "$count" | "$expand" | "$skiptoken"
            | "$deltatoken" => {}
            other if other.starts_with('$') => {
                return Err(Fault::syntax(format!(
                    "The query parameter {other} is not supported"
                )));
            }
            // Anything else is the client's own, such as `tag`.
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_token_takes_the_place_of_the_old_one() {
        let link = with_token(
            "https://h/contacts?%24skiptoken=a&$select=x&tag=1",
            "$skiptoken",
            "<b c>",
        );
        assert_eq!(
            link,
            "https://h/contacts?$select=x&tag=1&$skiptoken=%3Cb%20c%3E"
        );
        assert_eq!(
            with_token("https://h/contacts", "$skiptoken", "1"),
            "https://h/contacts?$skiptoken=1"
        );
    }
}

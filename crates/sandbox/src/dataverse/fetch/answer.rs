//! The rows of a FetchXML query as JSON. Columns that are empty are left out, as Dataverse does
//! here and only here.

use axum::http::{HeaderValue, StatusCode, header};
use rusqlite::types::Value as Sql;
use serde_json::{Map, Value, json};

use crate::dataverse::answer::{Answer, json_answer};
use crate::dataverse::context::Context;
use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::fetch::aggregate::ROWS_MAX;
use crate::dataverse::fetch::build::{Built, build};
use crate::dataverse::fetch::columns::{Output, Shown};
use crate::dataverse::fetch::tree::Fetch;
use crate::dataverse::fetch::{parse, refused};
use crate::dataverse::odata::QueryOptions;
use crate::dataverse::plan::{DatePart, Statement, Term};
use crate::dataverse::read::{Cookie, Presenter, formatted, grouped, json_value};
use crate::dataverse::records::{self, Cell};
use crate::dataverse::schema::{Column, Table};

const PAGE_MAX: u64 = 5_000;
/// Rows that can be reached by counting them off.
const COUNTED_MAX: u64 = 50_000;

const FORMATTED: &str = "OData.Community.Display.V1.FormattedValue";
const ATTRIBUTE: &str = "OData.Community.Display.V1.AttributeName";
const LOGICAL_NAME: &str = "Microsoft.Dynamics.CRM.lookuplogicalname";
const COOKIE: &str = "Microsoft.Dynamics.CRM.fetchxmlpagingcookie";
const MORE: &str = "Microsoft.Dynamics.CRM.morerecords";
const TOTAL: &str = "Microsoft.Dynamics.CRM.totalrecordcount";
const EXCEEDED: &str = "Microsoft.Dynamics.CRM.totalrecordcountlimitexceeded";
const VERSION: &str = "Microsoft.Dynamics.CRM.globalmetadataversion";

/// `GET /accounts?fetchXml=…`.
pub(crate) fn answer<'s>(
    context: &Context<'s>,
    table: &'s Table,
    options: &QueryOptions,
) -> Outcome<Answer> {
    let fetch = parse(&decoded(options.text("fetchXml").unwrap_or_default()))?;
    if fetch.entity.name != table.name {
        if context.schema.by_name(&fetch.entity.name).is_none() {
            return Err(super::no_entity(&fetch.entity.name));
        }
        return Err(refused(
            "0x80041128",
            format!(
                "The entity '{}' of the FetchXML is not that of the entity set '{}'.",
                fetch.entity.name, table.set
            ),
        ));
    }
    let mut built = build(context, table, &fetch)?;
    let page = Page::of(&fetch)?;
    page.cut(&fetch, &mut built)?;
    if fetch.aggregate {
        check_aggregate(context, &fetch, &built)?;
    }
    let mut rows = Found::read(context, table, &mut built)?;
    let size = usize::try_from(page.size).unwrap_or(usize::MAX);
    let more = rows.len() > size && fetch.top.is_none();
    rows.truncate(size);

    let presenter = Presenter::new(context);
    let mut body = Map::new();
    presenter.context_of(
        &mut body,
        &format!(
            "{}{}",
            table.set,
            listed(context, table, &fetch, &built.outputs)
        ),
    );
    if more {
        next(&presenter, &page, &built, &rows, &mut body);
    }
    if !fetch.aggregate {
        let wanted = fetch.total || options.flag("$count")?;
        totals(&presenter, wanted, &built, &mut body)?;
    }
    let shown: Vec<Value> = rows
        .iter()
        .map(|row| Value::Object(present(&presenter, table, &built.outputs, row)))
        .collect();
    body.insert("value".to_owned(), Value::Array(shown));
    let mut answer = json_answer(StatusCode::OK, &Value::Object(body));
    context.applied(&mut answer, Vec::new());
    if let Ok(kind) = HeaderValue::from_str(presenter.content_type()) {
        answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    Ok(answer)
}

/// Older clients encode the query twice.
fn decoded(text: &str) -> String {
    let mut text = text.to_owned();
    for _ in 0..2 {
        if !text.trim_start().starts_with('%') {
            break;
        }
        text = percent_encoding::percent_decode_str(&text)
            .decode_utf8_lossy()
            .into_owned();
    }
    text
}

// === pages ===

struct Page {
    size: u64,
    number: u64,
}

impl Page {
    fn of(fetch: &Fetch) -> Outcome<Self> {
        if let Some(top) = fetch.top {
            let paging = [
                ("page", fetch.page.is_some()),
                ("count", fetch.count.is_some()),
                ("paging-cookie", fetch.cookie.is_some()),
                ("returntotalrecordcount", fetch.total),
            ];
            if let Some((name, _)) = paging.iter().find(|(_, given)| *given) {
                return Err(Fault::argument(format!(
                    "The top attribute can't be specified with paging attribute {name}"
                )));
            }
            if top > PAGE_MAX {
                return Err(Fault::argument(format!(
                    "The value of the top attribute can't be more than {PAGE_MAX}, and is {top}."
                )));
            }
        }
        let size = fetch.top.or(fetch.count).unwrap_or(PAGE_MAX).min(PAGE_MAX);
        Ok(Self {
            size,
            number: fetch.page.unwrap_or(1),
        })
    }

    /// Cuts the page out of the query: behind the last row of the page before, or counted off.
    fn cut(&self, fetch: &Fetch, built: &mut Built<'_>) -> Outcome<()> {
        built.query.limit = Some(self.size + 1);
        if let (Some(text), Some(keys)) = (&fetch.cookie, &built.keys) {
            let cookie = Cookie {
                page: self.number,
                last: Cookie::parse_inner(text)?,
                tracking: None,
            };
            built.query.after = cookie.values(keys)?;
        }
        if built.query.after.is_none() {
            let before = (self.number - 1).saturating_mul(self.size);
            if before.saturating_add(self.size) > COUNTED_MAX && before > 0 {
                let text = "Paging cookie is required when trying to retrieve a set of records on any high pages.";
                return Err(refused("0x8004430a", text));
            }
            built.query.offset = before;
        }
        Ok(())
    }
}

fn next(
    presenter: &Presenter<'_, '_>,
    page: &Page,
    built: &Built<'_>,
    rows: &[Found],
    body: &mut Map<String, Value>,
) {
    if presenter.annotations.wants(COOKIE) {
        let values = |row: &Found| {
            built
                .keys
                .clone()
                .map(|keys| keys.into_iter().zip(row.order.iter().cloned()).collect())
        };
        let last = rows.last().and_then(values);
        let first = rows
            .first()
            .map(|row| row.order.as_slice())
            .unwrap_or_default();
        let cookie = Cookie {
            page: page.number + 1,
            last,
            tracking: None,
        };
        body.insert(format!("@{COOKIE}"), cookie.text_from(first).into());
    }
    if presenter.annotations.wants(MORE) {
        body.insert(format!("@{MORE}"), json!(true));
    }
}

fn totals(
    presenter: &Presenter<'_, '_>,
    wanted: bool,
    built: &Built<'_>,
    body: &mut Map<String, Value>,
) -> Outcome<()> {
    const MAX: i64 = PAGE_MAX as i64;
    let whole = if wanted {
        Some(count(presenter.context, built, PAGE_MAX + 1)?)
    } else {
        None
    };
    let capped = whole.map_or(-1, |count| count.min(MAX));
    if wanted {
        body.insert("@odata.count".to_owned(), json!(capped));
    }
    let annotations = [
        (TOTAL, json!(capped)),
        (EXCEEDED, json!(whole.is_some_and(|count| count > MAX))),
        (VERSION, json!("1000000")),
    ];
    for (name, value) in annotations {
        if presenter.annotations.wants(name) {
            body.insert(format!("@{name}"), value);
        }
    }
    Ok(())
}

fn count(context: &Context<'_>, built: &Built<'_>, limit: u64) -> Outcome<i64> {
    let statement = Statement::count(&built.query, limit);
    let mut prepared = context.db.prepare_cached(&statement.sql)?;
    Ok(
        prepared.query_row(rusqlite::params_from_iter(statement.parameters), |row| {
            row.get(0)
        })?,
    )
}

fn check_aggregate(context: &Context<'_>, fetch: &Fetch, built: &Built<'_>) -> Outcome<()> {
    let limit = fetch.aggregate_limit.unwrap_or(ROWS_MAX).min(ROWS_MAX);
    let found = count(context, built, limit + 1)?;
    if u64::try_from(found).unwrap_or_default() > limit {
        let text = "The maximum record limit is exceeded. Reduce the number of records.";
        return Err(refused(
            "0x8004e023",
            format!("AggregateQueryRecordLimit exceeded. Cannot perform this operation. {text}"),
        ));
    }
    Ok(())
}

// === rows ===

struct Found {
    /// The row that it is, where it is one.
    id: Option<(uuid::Uuid, i64)>,
    cells: Vec<Option<Cell>>,
    /// Values of the order's terms.
    order: Vec<Sql>,
}

impl Found {
    fn read<'s>(context: &Context<'s>, table: &Table, built: &mut Built<'s>) -> Outcome<Vec<Self>> {
        let Built {
            query,
            outputs,
            keys,
        } = built;
        query.columns = Vec::new();
        let root = query.select.root;
        if keys.is_some() {
            query.columns.push(root.key());
            query.columns.push(
                root.term("versionnumber")
                    .unwrap_or(Term::Value(Sql::Integer(0))),
            );
        }
        for output in outputs.iter() {
            query.columns.push(output.term.clone());
            query.columns.extend(output.target());
        }
        if keys.is_some() {
            query
                .columns
                .extend(query.order.iter().map(|order| order.term.clone()));
        }
        let statement = Statement::rows(query);
        let mut prepared = context.db.prepare_cached(&statement.sql)?;
        let width = query.columns.len();
        let mut rows = prepared.query(rusqlite::params_from_iter(statement.parameters))?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let (mut at, mut id) = (0, None);
            if keys.is_some() {
                let key: Option<String> = row.get(0)?;
                let version: Option<i64> = row.get(1)?;
                id = key
                    .and_then(|key| key.parse().ok())
                    .map(|key| (key, version.unwrap_or_default()));
                at = 2;
            }
            let mut cells = Vec::with_capacity(outputs.len());
            for output in outputs.iter() {
                let value: Sql = row.get(at)?;
                at += 1;
                let mut target = None;
                if output.target().is_some() {
                    target = row.get(at)?;
                    at += 1;
                }
                cells.push(records::cell(context.schema, output.column, value, target));
            }
            let order = (at..width)
                .map(|at| row.get(at))
                .collect::<Result<_, _>>()?;
            found.push(Self { id, cells, order });
        }
        tracing::trace!(
            table = table.name,
            rows = found.len(),
            "a FetchXML query was read"
        );
        Ok(found)
    }
}

fn present<'s>(
    presenter: &Presenter<'_, 's>,
    table: &'s Table,
    outputs: &[Output<'s>],
    row: &Found,
) -> Map<String, Value> {
    let mut body = row
        .id
        .map(|(id, version)| presenter.head(table, id, version))
        .unwrap_or_default();
    for (output, cell) in outputs.iter().zip(&row.cells) {
        let Some(cell) = cell else { continue };
        match output.shown {
            Shown::Own => {
                presenter.annotate(output.table, output.column, &output.name, cell, &mut body)
            }
            _ => annotate(presenter, output, cell, &mut body),
        }
        body.insert(output.name.clone(), value_of(output, cell));
    }
    body
}

fn value_of(output: &Output<'_>, cell: &Cell) -> Value {
    match (output.shown, cell) {
        (Shown::Count | Shown::Part(_), Cell::Value(Sql::Integer(whole))) => json!(whole),
        _ => json_value(output.column, cell),
    }
}

/// The annotations of a value under another name than its column's.
fn annotate(
    presenter: &Presenter<'_, '_>,
    output: &Output<'_>,
    cell: &Cell,
    body: &mut Map<String, Value>,
) {
    let name = &output.name;
    if presenter.annotations.wants(ATTRIBUTE) {
        body.insert(
            format!("{name}@{ATTRIBUTE}"),
            output.column.name.clone().into(),
        );
    }
    if presenter.annotations.wants(FORMATTED)
        && let Some(text) = text_of(presenter, output, cell)
    {
        body.insert(format!("{name}@{FORMATTED}"), text.into());
    }
    if let Cell::Row(target, _) = cell
        && presenter.annotations.wants(LOGICAL_NAME)
    {
        body.insert(format!("{name}@{LOGICAL_NAME}"), target.clone().into());
    }
}

fn text_of(presenter: &Presenter<'_, '_>, output: &Output<'_>, cell: &Cell) -> Option<String> {
    match (output.shown, cell.as_whole()) {
        (Shown::Part(DatePart::FiscalYear), Some(year)) => Some(format!("FY{year}")),
        (Shown::Part(DatePart::FiscalPeriod), Some(period)) => {
            Some(format!("Quarter {} FY{}", period % 10, period / 10))
        }
        (Shown::Count | Shown::Part(_), Some(whole)) => Some(grouped(&whole.to_string())),
        _ => formatted(presenter.context, &presenter.titles, output.column, cell),
    }
}

// === the context ===

/// The columns as a context names them: `(name,_primarycontactid_value,primarycontactid,accountid,primarycontactid())`.
fn listed(context: &Context<'_>, table: &Table, fetch: &Fetch, outputs: &[Output<'_>]) -> String {
    let selected = &fetch.entity.selected;
    if fetch.aggregate || selected.all || selected.silent() {
        return String::new();
    }
    let (mut names, mut followed) = (Vec::new(), Vec::new());
    for output in outputs
        .iter()
        .filter(|output| output.table.name == table.name && output.shown == Shown::Own)
    {
        names.push(output.name.clone());
        for navigation in navigations(context, table, output.column) {
            followed.push(format!("{navigation}()"));
            names.push(navigation);
        }
    }
    names.extend(followed);
    format!("({})", names.join(","))
}

fn navigations(context: &Context<'_>, table: &Table, column: &Column) -> Vec<String> {
    let crate::dataverse::schema::Kind::Lookup { targets, .. } = &column.kind else {
        return Vec::new();
    };
    let mut names: Vec<String> = Vec::new();
    for target in targets
        .iter()
        .filter(|target| **target < context.schema.tables.len())
    {
        let name = table
            .navigation_of(&column.name, *target)
            .map(|single| single.name.clone());
        names.extend(name.filter(|name| !names.contains(name)));
    }
    names
}

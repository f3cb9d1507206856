//! Navigation properties that are followed: one statement for each, however many rows there are.

use std::collections::HashMap;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::dataverse::context::Context;
use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::odata::QueryOptions;
use crate::dataverse::plan::{
    self, Condition, Join, JoinKind, Names, Order, Query, Source, Sources, Term,
};
use crate::dataverse::read::collection::{PAGE_MAX, preferred_size, restrict, with_token};
use crate::dataverse::read::cookie::Cookie;
use crate::dataverse::read::present::Presenter;
use crate::dataverse::read::rows::{self, Row};
use crate::dataverse::read::shape::{Expand, ExpandKind, Shape};
use crate::dataverse::records::Cell;
use crate::dataverse::schema::{Collection, CollectionBy, Side, Single, Table, TableIndex};

/// Keys in one statement: SQLite takes 32,766 parameters.
const KEYS: usize = 2_000;

type Body = Map<String, Value>;

/// Rows as JSON, with everything that was expanded.
pub(crate) fn present<'s>(
    presenter: &Presenter<'_, 's>,
    sources: &mut Sources,
    shape: &Shape<'s>,
    rows: &[Row],
) -> Outcome<Vec<Body>> {
    let context = presenter.context;
    let mut bodies: Vec<Body> = rows.iter().map(|row| presenter.row(shape, row)).collect();
    for expand in &shape.expands {
        match expand.kind {
            ExpandKind::Single(single) => {
                let targets = targets_of(context, shape.table, rows, single)?;
                let found = follow(presenter, sources, expand, single, &targets)?;
                for (body, target) in bodies.iter_mut().zip(targets) {
                    let value = target.and_then(|target| found.get(&target).cloned());
                    body.insert(
                        expand.name.clone(),
                        value.map_or(Value::Null, Value::Object),
                    );
                }
            }
            ExpandKind::Reference(single) => {
                let targets = targets_of(context, shape.table, rows, single)?;
                for (body, target) in bodies.iter_mut().zip(targets) {
                    let address =
                        target.map(|(table, id)| context.address(context.schema.table(table), id));
                    let value =
                        address.map_or(Value::Null, |address| json!({"@odata.id": address}));
                    body.insert(expand.name.clone(), value);
                }
            }
            ExpandKind::Collection(collection) => {
                let size = page_size(context, expand)?;
                let limit = match size {
                    Some(size) => size + 1,
                    None => expand
                        .options
                        .number("$top")?
                        .unwrap_or(PAGE_MAX)
                        .min(PAGE_MAX),
                };
                let mut found = gather(
                    presenter,
                    sources,
                    shape.table,
                    expand,
                    collection,
                    rows,
                    limit,
                )?;
                for (body, row) in bodies.iter_mut().zip(rows) {
                    let mut own = found.remove(&row.id).unwrap_or_default();
                    let mut link = Some(link_to_all(context, shape.table, row.id, expand));
                    if let Some(size) = size {
                        let more = own.len() as u64 > size;
                        own.truncate(usize::try_from(size).unwrap_or(usize::MAX));
                        link = link.filter(|_| more).map(|link| second_page(&link));
                    }
                    body.insert(
                        expand.name.clone(),
                        own.into_iter().map(Value::Object).collect(),
                    );
                    if let Some(link) = link {
                        body.insert(format!("{}@odata.nextLink", expand.name), link.into());
                    }
                }
            }
        }
    }
    Ok(bodies)
}

/// Rows of a collection that are shown when the client wants pages: only expansions within
/// expansions have them.
fn page_size(context: &Context<'_>, expand: &Expand<'_>) -> Outcome<Option<u64>> {
    if !expand.nested || expand.options.number("$top")?.is_some() {
        return Ok(None);
    }
    Ok(preferred_size(context)?.map(|size| size.min(PAGE_MAX)))
}

/// The link to what follows the first page. Its last row is not told: the rows are counted off.
fn second_page(link: &str) -> String {
    let cookie = Cookie {
        page: 2,
        last: None,
        tracking: None,
    };
    with_token(link, "$skiptoken", &cookie.text())
}

/// Where a lookup of each row leads, when it is to one of the property's tables.
fn targets_of<'s>(
    context: &Context<'s>,
    table: &'s Table,
    rows: &[Row],
    single: &Single,
) -> Outcome<Vec<Option<(TableIndex, Uuid)>>> {
    let Some(column) = table.columns.get(single.column) else {
        return Ok(vec![None; rows.len()]);
    };
    let mut sources = Sources::default();
    let mut found: HashMap<Uuid, (TableIndex, Uuid)> = HashMap::new();
    for chunk in rows.chunks(KEYS) {
        let mut query = Query::of(table, &mut sources);
        let root = query.select.root;
        query.select.condition = among(root.key(), chunk.iter().map(|row| row.id));
        for row in rows::fetch(context, &mut query, root, &[column], Vec::new())? {
            let Some(Some(Cell::Row(target, id))) = row.cells.into_iter().next() else {
                continue;
            };
            if let Some(index) = context.schema.index_of(&target)
                && (index == single.target || single.also.contains(&index))
            {
                found.insert(row.id, (index, id));
            }
        }
    }
    Ok(rows.iter().map(|row| found.get(&row.id).copied()).collect())
}

/// The rows that lookups lead to, by table and key.
fn follow<'s>(
    presenter: &Presenter<'_, 's>,
    sources: &mut Sources,
    expand: &Expand<'s>,
    single: &'s Single,
    targets: &[Option<(TableIndex, Uuid)>],
) -> Outcome<HashMap<(TableIndex, Uuid), Body>> {
    let mut all = HashMap::new();
    for index in std::iter::once(single.target).chain(single.also.iter().copied()) {
        let mut wanted: Vec<Uuid> = targets
            .iter()
            .flatten()
            .filter(|(table, _)| *table == index)
            .map(|(_, id)| *id)
            .collect();
        wanted.sort_unstable();
        wanted.dedup();
        if wanted.is_empty() {
            continue;
        }
        let other;
        let shape = if index == single.target {
            &expand.shape
        } else {
            other = in_table(&expand.shape, presenter.context.schema.table(index));
            &other
        };
        for chunk in wanted.chunks(KEYS) {
            let mut query = Query::of(shape.table, sources);
            let root = query.select.root;
            query.select.condition = among(root.key(), chunk.iter().copied());
            restrict(
                presenter.context,
                sources,
                &mut query,
                root,
                expand.options.text("$filter"),
                &expand.options,
            )?;
            let rows = rows::fetch(
                presenter.context,
                &mut query,
                root,
                &shape.columns,
                Vec::new(),
            )?;
            let bodies = present(presenter, sources, shape, &rows)?;
            all.extend(rows.iter().map(|row| (index, row.id)).zip(bodies));
        }
    }
    Ok(all)
}

/// What was asked of users, asked of teams: columns that both have.
fn in_table<'s>(shape: &Shape<'s>, table: &'s Table) -> Shape<'s> {
    let mut other = Shape::whole(table);
    if shape.selected.is_some() {
        let wanted =
            |name: &str| shape.columns.iter().any(|known| known.name == name) || name == table.key;
        other.columns.retain(|column| wanted(&column.name));
    }
    other
}

/// The rows of a collection, by the row that they belong to.
fn gather<'s>(
    presenter: &Presenter<'_, 's>,
    sources: &mut Sources,
    table: &'s Table,
    expand: &Expand<'s>,
    collection: &'s Collection,
    parents: &[Row],
    limit: u64,
) -> Outcome<HashMap<Uuid, Vec<Body>>> {
    let context = presenter.context;
    let mut all: HashMap<Uuid, Vec<Body>> = HashMap::new();
    for chunk in parents.chunks(KEYS) {
        let keys = || chunk.iter().map(|row| row.id);
        let (mut query, source, group) = children(context, sources, table, collection, keys)?;
        restrict(
            context,
            sources,
            &mut query,
            source,
            expand.options.text("$filter"),
            &expand.options,
        )?;
        order(context, sources, &mut query, source, &expand.options)?;
        let found = rows::fetch_ranked(
            context,
            &mut query,
            source,
            &expand.shape.columns,
            group,
            limit,
        )?;
        let (owners, rows): (Vec<String>, Vec<Row>) = found.into_iter().unzip();
        let bodies = present(presenter, sources, &expand.shape, &rows)?;
        for (owner, body) in owners.into_iter().zip(bodies) {
            if let Ok(owner) = owner.parse() {
                all.entry(owner).or_default().push(body);
            }
        }
    }
    Ok(all)
}

/// A query for the rows of many rows' collections, the source that is shown, and the term that says
/// whose a row is.
fn children<'s, I: Iterator<Item = Uuid>>(
    context: &Context<'s>,
    sources: &mut Sources,
    table: &'s Table,
    collection: &Collection,
    keys: impl Fn() -> I,
) -> Outcome<(Query<'s>, Source<'s>, Term<'s>)> {
    let schema = context.schema;
    let missing = || Fault::no_segment(&collection.name);
    let target = schema.table(collection.target);
    match &collection.by {
        CollectionBy::OneToMany(index) => {
            let relationship = schema.relationships.get(*index).ok_or_else(missing)?;
            let mut query = Query::of(target, sources);
            let root = query.select.root;
            let column = target.column(&relationship.column).ok_or_else(missing)?;
            let group = Term::Column(root.id, column);
            let mut condition = among(group.clone(), keys());
            if column.has_several_targets() {
                condition = condition.and(Condition::same(
                    Term::Target(root.id, column),
                    Term::text(&table.name),
                ));
            }
            query.select.condition = condition;
            Ok((query, root, group))
        }
        CollectionBy::ManyToMany(index, side) => {
            let relationship = schema.many_to_many.get(*index).ok_or_else(missing)?;
            let (own, other) = match side {
                Side::First => (&relationship.first_column, &relationship.second_column),
                Side::Second => (&relationship.second_column, &relationship.first_column),
            };
            let mut query = Query::of(schema.table(relationship.intersect), sources);
            let root = query.select.root;
            let source = Source {
                id: sources.next(),
                table: target,
            };
            let group = root.term(own).ok_or_else(missing)?;
            let on = Condition::same(source.key(), root.term(other).ok_or_else(missing)?);
            query.select.joins.push(Join {
                source,
                kind: JoinKind::Inner,
                on,
            });
            query.select.condition = among(group.clone(), keys());
            Ok((query, source, group))
        }
    }
}

fn order<'s>(
    context: &Context<'s>,
    sources: &mut Sources,
    query: &mut Query<'s>,
    source: Source<'s>,
    options: &QueryOptions,
) -> Outcome<()> {
    let mut names = Names::of(context, sources, source);
    for item in options.order()? {
        let (term, _) = names.ordered(&item.property)?;
        query.order.push(Order {
            term,
            descending: item.descending,
        });
    }
    query.select.joins.extend(names.into_joins());
    query.order.push(Order {
        term: source.key(),
        descending: false,
    });
    Ok(())
}

fn among<'s>(term: Term<'s>, ids: impl Iterator<Item = Uuid>) -> Condition<'s> {
    let ids: Vec<Uuid> = ids.collect();
    Condition::In(term, plan::ids(&ids))
}

/// `[base]/accounts(…)/Account_Tasks?$select=subject`.
fn link_to_all(context: &Context<'_>, table: &Table, id: Uuid, expand: &Expand<'_>) -> String {
    let options: Vec<String> = expand
        .written
        .iter()
        .map(|(name, value)| {
            let value: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
            format!("{name}={}", value.replace('+', "%20").replace("%2C", ","))
        })
        .collect();
    let query = if options.is_empty() {
        String::new()
    } else {
        format!("?{}", options.join("&"))
    };
    format!("{}/{}{query}", context.address(table, id), expand.name)
}

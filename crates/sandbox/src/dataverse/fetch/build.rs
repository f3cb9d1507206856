//! A tree against the schema: names become tables and columns, elements become a plan.

use crate::dataverse::context::Context;
use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::fetch::columns::Output;
use crate::dataverse::fetch::tree::{Entity, Fetch, Filter, Link};
use crate::dataverse::fetch::{no_entity, refused};
use crate::dataverse::plan::{Condition, Order, Query, Select, Source, Sources};
use crate::dataverse::schema::{Table, TableKind};

/// SQLite shows 2,000 columns; a lookup may take two of them.
const OUTPUTS_MAX: usize = 900;

/// A query, and what its columns are called.
pub(super) struct Built<'s> {
    pub(super) query: Query<'s>,
    pub(super) outputs: Vec<Output<'s>>,
    /// Names of the order's terms, for paging cookies; none when a row has no place of its own.
    pub(super) keys: Option<Vec<String>>,
}

/// A table in reach of a name.
#[derive(Clone)]
pub(super) struct Place<'s> {
    pub(super) alias: String,
    pub(super) source: Source<'s>,
}

/// A link whose table has its place in the statement.
pub(super) struct Linked<'f, 's> {
    pub(super) link: &'f Link,
    pub(super) place: Place<'s>,
    pub(super) inner: Vec<Linked<'f, 's>>,
}

pub(super) struct Builder<'c, 's> {
    pub(super) context: &'c Context<'s>,
    pub(super) sources: Sources,
    /// Tables in reach, the outermost first.
    pub(super) places: Vec<Place<'s>>,
    pub(super) raw_order: bool,
    /// Links without an alias are numbered.
    pub(super) unnamed: usize,
}

pub(super) fn build<'s>(
    context: &Context<'s>,
    table: &'s Table,
    fetch: &Fetch,
) -> Outcome<Built<'s>> {
    let mut sources = Sources::default();
    let mut query = Query::of(table, &mut sources);
    let root = Place {
        alias: table.name.clone(),
        source: query.select.root,
    };
    let mut builder = Builder {
        context,
        sources,
        places: vec![root.clone()],
        raw_order: fetch.raw_order,
        unnamed: 0,
    };
    let linked = builder.fill(&mut query.select, &fetch.entity, root.source)?;
    let outputs = if fetch.aggregate {
        builder.aggregates(&fetch.entity, &root, &linked)?
    } else {
        builder.outputs(fetch, &root, &linked)?
    };
    if outputs.len() > OUTPUTS_MAX {
        return Err(Fault::argument(format!(
            "A query shows {OUTPUTS_MAX} columns at most."
        )));
    }
    let mut keys = Vec::new();
    let wanted = builder.orders(
        &fetch.entity,
        &root,
        &linked,
        fetch.aggregate.then_some(&outputs),
    )?;
    for (name, order) in wanted {
        keys.push(name);
        query.order.push(order);
    }
    query.distinct = fetch.distinct && !fetch.aggregate;
    let whole = !fetch.distinct && !fetch.aggregate;
    if whole {
        builder.settle(&root, &linked, &mut keys, &mut query.order);
    } else {
        // Whatever was not ordered keeps one order through all pages.
        query.order.extend(outputs.iter().map(|output| Order {
            term: output.term.clone(),
            descending: false,
        }));
    }
    if fetch.aggregate {
        query.group = outputs
            .iter()
            .filter(|output| output.groups())
            .map(|output| output.term.clone())
            .collect();
    }
    Ok(Built {
        query,
        outputs,
        keys: whole.then_some(keys),
    })
}

impl<'s> Builder<'_, 's> {
    pub(super) fn table(&self, name: &str) -> Outcome<&'s Table> {
        self.context
            .schema
            .by_name(name)
            .ok_or_else(|| no_entity(name))
    }

    /// The rows of a table that the caller may see. Pairs of rows are nobody's.
    pub(super) fn visible(&self, source: Source<'s>) -> Outcome<Condition<'s>> {
        if source.table.kind == TableKind::Intersect {
            Ok(Condition::Always)
        } else {
            self.context.visible(source)
        }
    }

    /// Puts what an element restricts and links into a select over its table.
    pub(super) fn fill<'f>(
        &mut self,
        select: &mut Select<'s>,
        entity: &'f Entity,
        source: Source<'s>,
    ) -> Outcome<Vec<Linked<'f, 's>>> {
        let linked = self.place(entity)?;
        let mut condition =
            std::mem::replace(&mut select.condition, Condition::Always).and(self.visible(source)?);
        self.join(select, &mut condition, source, &linked)?;
        for link in entity.links.iter().filter(|link| link.kind.restricts()) {
            condition = condition.and(self.restriction(source, link)?);
        }
        condition = condition.and(self.filters(&entity.filters, source)?);
        select.condition = condition;
        Ok(linked)
    }

    pub(super) fn filters(
        &mut self,
        filters: &[Filter],
        source: Source<'s>,
    ) -> Outcome<Condition<'s>> {
        let mut condition = Condition::Always;
        for filter in filters {
            condition = condition.and(self.filter(filter, source)?);
        }
        Ok(condition)
    }

    /// The table that a name in `entityname` or before the dot of `valueof` means.
    pub(super) fn place_of(&self, name: &str) -> Outcome<Source<'s>> {
        let of_alias = self.places.iter().rev().find(|place| place.alias == name);
        let of_name = || {
            self.places
                .iter()
                .rev()
                .find(|place| place.source.table.name == name)
        };
        of_alias
            .or_else(of_name)
            .map(|place| place.source)
            .ok_or_else(|| {
                refused(
                    "0x80041126",
                    format!("LinkEntity with name or alias '{name}' is not found in the query."),
                )
            })
    }
}

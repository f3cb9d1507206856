//! What is shown of rows, under which names, and how rows are ordered.

use crate::dataverse::error::Outcome;
use crate::dataverse::fetch::build::{Builder, Linked, Place};
use crate::dataverse::fetch::tree::{self, Attribute, Entity, Fetch};
use crate::dataverse::fetch::{no_attribute, refused};
use crate::dataverse::plan::{Condition, DatePart, Order, Select, Source, Term};
use crate::dataverse::read::Shape;
use crate::dataverse::schema::{Column, Kind, Table};

/// A property of the rows that are shown.
pub(super) struct Output<'s> {
    pub(super) name: String,
    pub(super) table: &'s Table,
    pub(super) column: &'s Column,
    pub(super) term: Term<'s>,
    pub(super) shown: Shown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// A column of the table itself, under its own name.
    Own,
    /// A column under another name.
    Aliased,
    /// An aggregate that is of the column's own kind.
    Total,
    Count,
    Part(DatePart),
}

impl<'s> Output<'s> {
    fn own(source: Source<'s>, column: &'s Column) -> Self {
        let term = Term::Column(source.id, column);
        Self {
            name: column.property(),
            table: source.table,
            column,
            term,
            shown: Shown::Own,
        }
    }

    /// Whether rows are grouped by it, in a query of aggregates.
    pub(super) fn groups(&self) -> bool {
        matches!(self.shown, Shown::Aliased | Shown::Part(_))
    }

    /// The table that a lookup's value is a row of, where the column alone does not say it.
    pub(super) fn target(&self) -> Option<Term<'s>> {
        match &self.term {
            Term::Column(source, column) if column.has_several_targets() => {
                Some(Term::Target(*source, column))
            }
            _ => None,
        }
    }
}

/// Columns that are kept in their table.
fn shown(column: &Column) -> bool {
    !matches!(column.kind, Kind::Parties { .. } | Kind::Image)
}

impl<'s> Builder<'_, 's> {
    pub(super) fn outputs(
        &self,
        fetch: &Fetch,
        root: &Place<'s>,
        linked: &[Linked<'_, 's>],
    ) -> Outcome<Vec<Output<'s>>> {
        let mut outputs = Vec::new();
        let (source, selected) = (root.source, &fetch.entity.selected);
        if selected.all || selected.silent() {
            outputs.extend(
                Shape::whole(source.table)
                    .columns
                    .into_iter()
                    .map(|column| Output::own(source, column)),
            );
        }
        for attribute in &selected.attributes {
            outputs.extend(self.output(attribute, root, Prefix::None)?);
        }
        self.linked_outputs(linked, &mut outputs)?;
        if !fetch.distinct {
            Self::come_along(source, &mut outputs);
        }
        unique(outputs)
    }

    /// The currency of money and the key: shown unasked, unless something else has their name.
    fn come_along(source: Source<'s>, outputs: &mut Vec<Output<'s>>) {
        let money = |output: &Output<'_>| {
            output.shown == Shown::Own && matches!(output.column.kind, Kind::Money { .. })
        };
        let currency = if outputs.iter().any(money) {
            source.table.column("transactioncurrencyid")
        } else {
            None
        };
        for column in currency
            .into_iter()
            .chain(source.table.column(&source.table.key))
        {
            let output = Output::own(source, column);
            if !outputs.iter().any(|known| known.name == output.name) {
                outputs.push(output);
            }
        }
    }

    fn linked_outputs(
        &self,
        linked: &[Linked<'_, 's>],
        outputs: &mut Vec<Output<'s>>,
    ) -> Outcome<()> {
        for Linked { link, place, inner } in linked {
            if link.entity.selected.all {
                for column in Shape::whole(place.source.table).columns {
                    let mut output = Output::own(place.source, column);
                    output.name = format!("{}.{}", place.alias, column.name);
                    output.shown = Shown::Aliased;
                    outputs.push(output);
                }
            }
            for attribute in &link.entity.selected.attributes {
                outputs.extend(self.output(attribute, place, Prefix::Alias)?);
            }
            self.linked_outputs(inner, outputs)?;
        }
        Ok(())
    }

    fn output(
        &self,
        attribute: &Attribute,
        place: &Place<'s>,
        prefix: Prefix,
    ) -> Outcome<Option<Output<'s>>> {
        let source = place.source;
        let Some(column) = source.table.column(&attribute.name) else {
            // Names behind lookups and choices can be asked for; their values come as annotations.
            self.subject(source, &attribute.name)?;
            return Ok(None);
        };
        if attribute.count_children {
            let name = attribute
                .alias
                .clone()
                .unwrap_or_else(|| attribute.name.clone());
            let term = self.children(source)?;
            return Ok(Some(Output {
                name,
                table: source.table,
                column,
                term,
                shown: Shown::Count,
            }));
        }
        if !shown(column) || !column.access.read {
            return Ok(None);
        }
        let mut output = Output::own(source, column);
        match (&attribute.alias, prefix) {
            (Some(alias), _) => output.name.clone_from(alias),
            (None, Prefix::Alias) => output.name = format!("{}.{}", place.alias, column.name),
            (None, Prefix::None) => return Ok(Some(output)),
        }
        output.shown = Shown::Aliased;
        Ok(Some(output))
    }

    /// How many rows stand right under a row, in the hierarchy of its table.
    fn children(&self, source: Source<'s>) -> Outcome<Term<'s>> {
        let schema = self.context.schema;
        let found = schema.relationships.iter().find(|one| {
            one.referenced == one.referencing
                && schema.table(one.referenced).name == source.table.name
                && (one.column.starts_with("parent") || one.column == "managerid")
        });
        let missing = || {
            refused(
                "0x80047020",
                format!(
                    "The entity '{}' has no hierarchical relationship.",
                    source.table.name
                ),
            )
        };
        let column = found
            .and_then(|one| source.table.column(&one.column))
            .ok_or_else(missing)?;
        // A statement inside of a term has names of its own; none of the others is as high.
        let root = Source {
            id: source.id + CHILDREN,
            table: source.table,
        };
        let condition =
            Condition::same(Term::Column(root.id, column), source.key()).and(self.visible(root)?);
        Ok(Term::CountOf(Box::new(Select {
            root,
            joins: Vec::new(),
            condition,
        })))
    }

    // === orders ===

    /// The orders of the entity first, then those of its links, with their names.
    pub(super) fn orders(
        &self,
        entity: &Entity,
        root: &Place<'s>,
        linked: &[Linked<'_, 's>],
        aggregates: Option<&Vec<Output<'s>>>,
    ) -> Outcome<Vec<(String, Order<'s>)>> {
        let mut all = Vec::new();
        for order in &entity.orders {
            all.push(match aggregates {
                Some(outputs) => by_alias(order, outputs)?,
                None => self.order(order, root)?,
            });
        }
        for Linked { link, place, inner } in linked {
            all.extend(self.orders(&link.entity, place, inner, aggregates)?);
        }
        Ok(all)
    }

    fn order(&self, order: &tree::Order, place: &Place<'s>) -> Outcome<(String, Order<'s>)> {
        if order.alias.is_some() {
            return Err(refused(
                "0x80041132",
                "An alias cannot be specified for an order clause for a non-aggregate Query. Use an Attribute.",
            ));
        }
        let name = order.attribute.as_deref().ok_or_else(|| {
            refused(
                "0x80041133",
                "An attribute is required for an order clause for a non-aggregate Query.",
            )
        })?;
        let source = match &order.entity {
            Some(entity) => self.place_of(entity)?,
            None => place.source,
        };
        let subject = self.subject(source, name)?;
        let shown = source
            .table
            .column(name)
            .filter(|column| self.ordered_by_text(column));
        let term = shown
            .and_then(|column| self.shown_as(source, column))
            .unwrap_or_else(|| subject.term());
        Ok((
            self.key(source, name),
            Order {
                term,
                descending: order.descending,
            },
        ))
    }

    fn ordered_by_text(&self, column: &Column) -> bool {
        match column.kind {
            Kind::Lookup { .. } => true,
            Kind::Choice { .. } | Kind::State { .. } | Kind::Status { .. } => !self.raw_order,
            _ => false,
        }
    }

    /// Ends an order with keys, so that every row has one place.
    pub(super) fn settle(
        &self,
        root: &Place<'s>,
        linked: &[Linked<'_, 's>],
        keys: &mut Vec<String>,
        order: &mut Vec<Order<'s>>,
    ) {
        let name = self.key(root.source, &root.source.table.key);
        if !keys.contains(&name) {
            keys.push(name);
            order.push(Order {
                term: root.source.key(),
                descending: false,
            });
        }
        for Linked { place, inner, .. } in linked {
            self.settle(place, inner, keys, order);
        }
    }

    /// What a column is called in paging cookies.
    fn key(&self, source: Source<'s>, column: &str) -> String {
        let place = self
            .places
            .iter()
            .skip(1)
            .find(|place| place.source.id == source.id);
        place.map_or_else(
            || column.to_owned(),
            |place| format!("{}.{column}", place.alias),
        )
    }
}

/// Further than any request counts its sources.
const CHILDREN: usize = 100_000;

/// Whether columns stand under their table's alias.
#[derive(Clone, Copy)]
enum Prefix {
    None,
    Alias,
}

fn by_alias<'s>(order: &tree::Order, outputs: &[Output<'s>]) -> Outcome<(String, Order<'s>)> {
    let alias = match (&order.alias, &order.attribute) {
        (Some(alias), _) => alias,
        (None, Some(_)) => {
            let text = "An attribute cannot be specified for an order clause for an aggregate Query. Use an alias.";
            return Err(refused("0x80041131", text));
        }
        (None, None) => {
            return Err(refused(
                "0x80041134",
                "An alias is required for an order clause for an aggregate Query.",
            ));
        }
    };
    let output = outputs
        .iter()
        .find(|output| output.name == *alias)
        .ok_or_else(|| {
            refused(
                "0x8004110a",
                format!("The alias '{alias}' of an order clause does not exist in the query."),
            )
        })?;
    Ok((
        alias.clone(),
        Order {
            term: output.term.clone(),
            descending: order.descending,
        },
    ))
}

/// A name stands for one column. The same column again says nothing new.
pub(super) fn unique(outputs: Vec<Output<'_>>) -> Outcome<Vec<Output<'_>>> {
    let mut kept: Vec<Output<'_>> = Vec::new();
    let mut names = std::collections::HashMap::new();
    for output in outputs {
        match names.get(&output.name) {
            None => {
                names.insert(
                    output.name.clone(),
                    (output.column.name.clone(), output.shown),
                );
                kept.push(output);
            }
            Some((column, shown))
                if *column == output.column.name
                    && *shown == output.shown
                    && output.shown == Shown::Own => {}
            Some(_) => {
                return Err(refused(
                    "0x80041130",
                    format!("The alias '{}' is used by several attributes.", output.name),
                ));
            }
        }
    }
    Ok(kept)
}

/// The column of an attribute, in a query where there is no other way to it.
pub(super) fn needed<'s>(source: Source<'s>, name: &str) -> Outcome<&'s Column> {
    source
        .table
        .column(name)
        .filter(|column| shown(column))
        .ok_or_else(|| no_attribute(source.table, name))
}

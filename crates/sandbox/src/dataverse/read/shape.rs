//! `$select` and `$expand` against the schema.

use crate::dataverse::context::Context;
use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::odata::{ExpandItem, QueryOptions};
use crate::dataverse::plan::{Query, Sources};
use crate::dataverse::read::collection::restrict;
use crate::dataverse::schema::{Collection, Column, Kind, Single, Table};

/// Navigation properties that one query may expand.
const EXPANDS_MAX: usize = 15;
/// Levels of expands in expands: deeper ones no client needs.
const LEVELS_MAX: usize = 10;

/// What is shown of a table's rows.
#[derive(Debug)]
pub(crate) struct Shape<'s> {
    pub(crate) table: &'s Table,
    pub(crate) columns: Vec<&'s Column>,
    /// Names in `$select`, as the context repeats them.
    pub(crate) selected: Option<Vec<String>>,
    pub(crate) expands: Vec<Expand<'s>>,
}

/// A navigation property that is followed.
#[derive(Debug)]
pub(crate) struct Expand<'s> {
    pub(crate) name: String,
    pub(crate) kind: ExpandKind<'s>,
    pub(crate) shape: Shape<'s>,
    pub(crate) options: QueryOptions,
    /// Whether it stands in an expansion, or has one.
    pub(crate) nested: bool,
    /// The options as they were written, for the link to all of a collection.
    pub(crate) written: Vec<(String, String)>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum ExpandKind<'s> {
    Single(&'s Single),
    /// Only the address of the row.
    Reference(&'s Single),
    Collection(&'s Collection),
}

impl<'s> Shape<'s> {
    pub(crate) fn of(
        context: &Context<'s>,
        table: &'s Table,
        options: &QueryOptions,
    ) -> Outcome<Self> {
        let mut budget = EXPANDS_MAX;
        Self::nested(context, table, options, 0, &mut budget)
    }

    /// Everything that a row has, and nothing behind it.
    pub(crate) fn whole(table: &'s Table) -> Self {
        Self {
            table,
            columns: readable(table).collect(),
            selected: None,
            expands: Vec::new(),
        }
    }

    fn nested(
        context: &Context<'s>,
        table: &'s Table,
        options: &QueryOptions,
        level: usize,
        budget: &mut usize,
    ) -> Outcome<Self> {
        let mut expands = Vec::new();
        for item in options.expand()? {
            *budget = budget.checked_sub(1).ok_or_else(|| {
                Fault::syntax(format!(
                    "The query has more than {EXPANDS_MAX} $expand options, which is the maximum."
                ))
            })?;
            expands.push(Expand::of(context, table, item, options, level, budget)?);
        }
        let selected = options.select();
        let columns = match &selected {
            None => readable(table).collect(),
            Some(names) => chosen(table, names)?,
        };
        let selected = selected.map(|names| names.into_iter().map(str::to_owned).collect());
        let mut shape = Self {
            table,
            columns,
            selected,
            expands,
        };
        shape.complete();
        Ok(shape)
    }

    /// Columns that come along unasked: the key, also that of an owner, the currency of money, and
    /// the lookup that a reference was asked for.
    fn complete(&mut self) {
        let mut wanted = Vec::new();
        if self
            .columns
            .iter()
            .any(|column| matches!(column.kind, Kind::Money { .. }))
        {
            wanted.extend(self.table.column("transactioncurrencyid"));
        }
        for expand in &self.expands {
            if let ExpandKind::Reference(single) = expand.kind {
                wanted.extend(self.table.columns.get(single.column));
            }
        }
        wanted.extend(self.table.column(&self.table.key));
        if self.table.is_principal() {
            wanted.extend(self.table.column("ownerid"));
        }
        for column in wanted {
            self.need(column);
        }
    }

    /// Makes sure that a column is read and shown.
    pub(crate) fn need(&mut self, column: &'s Column) {
        if !self.columns.iter().any(|known| known.name == column.name) {
            self.columns.push(column);
        }
    }

    /// `(name,primarycontactid(fullname))`, as it stands in a context.
    pub(crate) fn listed(&self) -> String {
        let mut names: Vec<String> = self.selected.clone().unwrap_or_default();
        for expand in &self.expands {
            if matches!(expand.kind, ExpandKind::Reference(_)) {
                if !names.contains(&expand.name) {
                    names.push(expand.name.clone());
                }
                names.push(format!("{}/$ref()", expand.name));
                continue;
            }
            let inner = expand.shape.listed();
            names.push(format!(
                "{}{}",
                expand.name,
                if inner.is_empty() { "()" } else { &inner }
            ));
        }
        if names.is_empty() {
            String::new()
        } else {
            format!("({})", names.join(","))
        }
    }
}

fn readable(table: &Table) -> impl Iterator<Item = &Column> {
    table.columns.iter().filter(|column| {
        column.access.read && !matches!(column.kind, Kind::Parties { .. } | Kind::Image)
    })
}

fn chosen<'s>(table: &'s Table, names: &[&str]) -> Outcome<Vec<&'s Column>> {
    let mut columns: Vec<&Column> = Vec::new();
    for name in names {
        // The name of a navigation property chooses nothing that is shown.
        if table.readable(name).is_none()
            && (table.single(name).is_some() || table.collection(name).is_some())
        {
            continue;
        }
        let column = table
            .readable(name)
            .ok_or_else(|| Fault::no_property(name, &table.name))?;
        if !columns.iter().any(|known| known.name == column.name) {
            columns.push(column);
        }
    }
    Ok(columns)
}

impl<'s> Expand<'s> {
    fn of(
        context: &Context<'s>,
        table: &'s Table,
        item: ExpandItem,
        outer: &QueryOptions,
        level: usize,
        budget: &mut usize,
    ) -> Outcome<Self> {
        if level >= LEVELS_MAX {
            return Err(Fault::syntax(
                "The recursion limit has been exceeded while parsing the query.",
            ));
        }
        let options = QueryOptions::nested(&item, &outer.aliases)?;
        let (kind, target) = match (
            table.single(&item.property),
            table.collection(&item.property),
        ) {
            (Some(single), _) if item.reference => (ExpandKind::Reference(single), single.target),
            (Some(single), _) => (ExpandKind::Single(single), single.target),
            (None, Some(_)) if item.reference => {
                return Err(Fault::syntax(
                    "Expand with $ref is only supported on lookup type navigation property.",
                ));
            }
            (None, Some(collection)) => (ExpandKind::Collection(collection), collection.target),
            (None, None) => return Err(Fault::no_property(&item.property, &table.name)),
        };
        check_options(&options, kind, level)?;
        let target = context.schema.table(target);
        context.demand_read(target)?;
        let mut shape = Shape::nested(context, target, &options, level + 1, budget)?;
        if let ExpandKind::Collection(collection) = kind {
            shape.need_link_back(context, collection);
        }
        check_filter(context, target, &options)?;
        Ok(Self {
            name: item.property,
            kind,
            nested: level > 0 || !shape.expands.is_empty(),
            shape,
            options,
            written: item.options,
        })
    }
}

impl<'s> Shape<'s> {
    /// The lookup that makes a collection is shown with its rows.
    fn need_link_back(&mut self, context: &Context<'s>, collection: &Collection) {
        use crate::dataverse::schema::CollectionBy;
        if let CollectionBy::OneToMany(relationship) = collection.by
            && let Some(relationship) = context.schema.relationships.get(relationship)
            && let Some(column) = self.table.column(&relationship.column)
        {
            let key = self
                .columns
                .iter()
                .position(|known| known.name == self.table.key);
            if !self.columns.iter().any(|known| known.name == column.name) {
                self.columns
                    .insert(key.unwrap_or(self.columns.len()), column);
            }
        }
    }
}

/// A filter is read even where there is no row to try it on.
fn check_filter<'s>(
    context: &Context<'s>,
    table: &'s Table,
    options: &QueryOptions,
) -> Outcome<()> {
    let Some(filter) = options.text("$filter") else {
        return Ok(());
    };
    let mut sources = Sources::default();
    let mut query = Query::of(table, &mut sources);
    let root = query.select.root;
    restrict(
        context,
        &mut sources,
        &mut query,
        root,
        Some(filter),
        options,
    )
}

fn check_options(options: &QueryOptions, kind: ExpandKind<'_>, level: usize) -> Outcome<()> {
    for name in options.names() {
        let known = matches!(
            name,
            "$select" | "$filter" | "$orderby" | "$top" | "$expand" | "$count" | "$levels"
        );
        if !known {
            return Err(Fault::syntax(format!(
                "The query option '{name}' is not supported inside of $expand."
            )));
        }
        let narrow = level > 0 || !matches!(kind, ExpandKind::Collection(_));
        if narrow && !matches!(name, "$select" | "$filter" | "$expand") {
            return Err(Fault::syntax(
                "Only $select and $filter clause can be provided while doing $expand on many-to-one relationship or nested one-to-many relationship.",
            ));
        }
        if matches!(name, "$count" | "$levels") {
            return Err(Fault::syntax(format!(
                "The query option '{name}' is not supported inside of $expand."
            )));
        }
    }
    Ok(())
}

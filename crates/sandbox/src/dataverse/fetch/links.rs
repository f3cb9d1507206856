//! Links: as joins, and as conditions on rows of another table.

use crate::dataverse::error::Outcome;
use crate::dataverse::fetch::build::{Builder, Linked, Place};
use crate::dataverse::fetch::tree::{Entity, Link, LinkKind};
use crate::dataverse::fetch::{column_of, refused};
use crate::dataverse::plan::{Condition, Join, JoinKind, Select, Source, Term};
use crate::dataverse::schema::Table;

impl<'s> Builder<'_, 's> {
    /// Gives every table that an element links its place, so that names reach it from anywhere.
    pub(super) fn place<'f>(&mut self, entity: &'f Entity) -> Outcome<Vec<Linked<'f, 's>>> {
        let mut all = Vec::new();
        for link in entity.links.iter().filter(|link| !link.kind.restricts()) {
            let table = self.table(&link.entity.name)?;
            self.unnamed += 1;
            let alias = link
                .alias
                .clone()
                .unwrap_or_else(|| format!("{}{}", table.name, self.unnamed));
            if self.places.iter().skip(1).any(|place| place.alias == alias) {
                return Err(refused(
                    "0x80041130",
                    format!("The alias '{alias}' is used by several link-entity elements."),
                ));
            }
            let place = Place {
                alias,
                source: Source {
                    id: self.sources.next(),
                    table,
                },
            };
            self.places.push(place.clone());
            let inner = self.place(&link.entity)?;
            all.push(Linked { link, place, inner });
        }
        Ok(all)
    }

    /// Joins what was placed. Conditions that speak of several tables hold after all joins.
    pub(super) fn join(
        &mut self,
        select: &mut Select<'s>,
        after: &mut Condition<'s>,
        outer: Source<'s>,
        linked: &[Linked<'_, 's>],
    ) -> Outcome<()> {
        for Linked { link, place, inner } in linked {
            let source = place.source;
            let on = if link.kind == LinkKind::First {
                self.first(outer, link, source)?
            } else {
                self.own(outer, link, source)?
            };
            let others = link
                .entity
                .filters
                .iter()
                .filter(|filter| filter.speaks_of_others());
            for filter in others {
                let whole = std::mem::replace(after, Condition::Always);
                *after = whole.and(self.filter(filter, source)?);
            }
            let kind = if link.kind == LinkKind::Inner {
                JoinKind::Inner
            } else {
                JoinKind::Left
            };
            select.joins.push(Join { source, kind, on });
            self.join(select, after, source, inner)?;
        }
        Ok(())
    }

    /// The rows of a linked table that belong to a row, as far as they alone decide it.
    fn own(
        &mut self,
        outer: Source<'s>,
        link: &Link,
        source: Source<'s>,
    ) -> Outcome<Condition<'s>> {
        let mut on = self
            .matched(outer, link, source)?
            .and(self.visible(source)?);
        for nested in link
            .entity
            .links
            .iter()
            .filter(|nested| nested.kind.restricts())
        {
            on = on.and(self.restriction(source, nested)?);
        }
        for filter in link
            .entity
            .filters
            .iter()
            .filter(|filter| !filter.speaks_of_others())
        {
            on = on.and(self.filter(filter, source)?);
        }
        Ok(on)
    }

    /// One of the rows that match, whichever.
    fn first(
        &mut self,
        outer: Source<'s>,
        link: &Link,
        joined: Source<'s>,
    ) -> Outcome<Condition<'s>> {
        let root = Source {
            id: self.sources.next(),
            table: joined.table,
        };
        let condition = self.own(outer, link, root)?;
        let select = Select {
            root,
            joins: Vec::new(),
            condition,
        };
        Ok(Condition::IsFirst(
            joined.key(),
            root.key(),
            Box::new(select),
        ))
    }

    /// What a link says of the rows around it when it shows nothing.
    pub(super) fn restriction(&mut self, outer: Source<'s>, link: &Link) -> Outcome<Condition<'s>> {
        if !link.entity.selected.attributes.is_empty() || link.entity.selected.all {
            return Err(refused(
                "0x80041117",
                "A link-entity element of this link-type cannot have attributes.",
            ));
        }
        Ok(match link.kind {
            LinkKind::In => {
                let (from, to) = self.columns(outer.table, link)?;
                let root = Source {
                    id: self.sources.next(),
                    table: self.table(&link.entity.name)?,
                };
                let (from, to) = (column_of(root.table, &from)?, column_of(outer.table, &to)?);
                let (from, to) = (Term::Column(root.id, from), Term::Column(outer.id, to));
                let select = self.inside(root, link, Condition::Always)?;
                Condition::InSelect(to, from, Box::new(select))
            }
            LinkKind::NotAny => self.exists(outer, link)?.negated(),
            LinkKind::All => {
                // As documented: there are rows, and none of them satisfies the filters.
                let root = Source {
                    id: self.sources.next(),
                    table: self.table(&link.entity.name)?,
                };
                let condition = self.matched(outer, link, root)?.and(self.visible(root)?);
                let any = Condition::Exists(Box::new(Select {
                    root,
                    joins: Vec::new(),
                    condition,
                }));
                any.and(self.exists(outer, link)?.negated())
            }
            // `not all` is documented to be `any`.
            _ => self.exists(outer, link)?,
        })
    }

    fn exists(&mut self, outer: Source<'s>, link: &Link) -> Outcome<Condition<'s>> {
        let root = Source {
            id: self.sources.next(),
            table: self.table(&link.entity.name)?,
        };
        let matched = self.matched(outer, link, root)?;
        Ok(Condition::Exists(Box::new(
            self.inside(root, link, matched)?,
        )))
    }

    /// The rows of a linked table, with everything that the link holds.
    fn inside(
        &mut self,
        root: Source<'s>,
        link: &Link,
        matched: Condition<'s>,
    ) -> Outcome<Select<'s>> {
        let known = self.places.len();
        let alias = link
            .alias
            .clone()
            .unwrap_or_else(|| link.entity.name.clone());
        self.places.push(Place {
            alias,
            source: root,
        });
        let mut select = Select {
            root,
            joins: Vec::new(),
            condition: matched,
        };
        let filled = self.fill(&mut select, &link.entity, root).map(|_| ());
        self.places.truncate(known);
        filled.map(|()| select)
    }

    fn matched(
        &self,
        outer: Source<'s>,
        link: &Link,
        source: Source<'s>,
    ) -> Outcome<Condition<'s>> {
        let (from, to) = self.columns(outer.table, link)?;
        let (from, to) = (
            column_of(source.table, &from)?,
            column_of(outer.table, &to)?,
        );
        Ok(Condition::same(
            Term::Column(source.id, from),
            Term::Column(outer.id, to),
        ))
    }

    /// The columns of a link: those written, or those of the only relationship of the two tables.
    fn columns(&self, outer: &Table, link: &Link) -> Outcome<(String, String)> {
        if let Some(on) = &link.on {
            return Ok(on.clone());
        }
        let schema = self.context.schema;
        let (own, other) = (
            schema.index_of(&link.entity.name),
            schema.index_of(&outer.name),
        );
        let mut found = schema.relationships.iter().filter_map(|one| {
            let pair = (Some(one.referencing), Some(one.referenced));
            if pair == (own, other) {
                return Some((one.column.clone(), outer.key.clone()));
            }
            (pair == (other, own))
                .then(|| (schema.table(one.referenced).key.clone(), one.column.clone()))
        });
        match (found.next(), found.next()) {
            (Some(only), None) => Ok(only),
            _ => Err(refused(
                "0x80041111",
                format!(
                    "The link-entity element '{}' needs 'from' and 'to': its relationship to '{}' is not the only one.",
                    link.entity.name, outer.name
                ),
            )),
        }
    }
}

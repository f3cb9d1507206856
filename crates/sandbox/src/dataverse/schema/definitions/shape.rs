//! `$filter`, `$select` and `$expand` of definitions.

use serde_json::{Map, Value, json};

use super::super::model::Schema;
use super::super::vocabulary::{bare, vocabulary};
use super::filter;
use super::item::{Item, Related};
use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::odata::{ExpandItem, Expression, QueryOptions};

/// Shapes definitions of one declared type.
pub(super) struct Shaper<'s, 'd> {
    pub(super) schema: &'s Schema,
    pub(super) metadata: &'d str,
    pub(super) declared: &'d str,
}

/// A navigation property of `$expand`, and the type that a cast behind it asks for.
struct Expanded<'a> {
    item: &'a ExpandItem,
    name: &'a str,
    to: String,
}

impl<'s> Shaper<'s, '_> {
    /// Those that pass the filter.
    pub(super) fn kept<'a>(
        &self,
        items: Vec<Item<'a>>,
        options: &QueryOptions,
    ) -> Outcome<Vec<Item<'a>>>
    where
        's: 'a,
    {
        let Some(text) = options.text("$filter") else {
            return Ok(items);
        };
        let expression = Expression::filter(text, &options.aliases)?;
        filter::check(&expression, self.declared)?;
        let mut kept = Vec::new();
        for item in items {
            if filter::holds(&expression, &item.members(self.schema))? {
                kept.push(item);
            }
        }
        Ok(kept)
    }

    /// What is selected and expanded, as the context says it.
    pub(super) fn selection(&self, options: &QueryOptions) -> Outcome<String> {
        let mut parts: Vec<String> = Vec::new();
        for name in self.selected(options)?.into_iter().flatten() {
            parts.push(name.to_owned());
        }
        for item in &options.expand()? {
            let expanded = self.expanded(item)?;
            let nested = QueryOptions::nested(item, &options.aliases)?;
            let inner = self.of(&expanded.to).selection(&nested)?;
            let inner = if inner.is_empty() {
                "()".to_owned()
            } else {
                inner
            };
            parts.push(format!("{}{inner}", item.property));
        }
        if parts.is_empty() {
            return Ok(String::new());
        }
        Ok(format!("({})", parts.join(",")))
    }

    fn of<'d>(&self, declared: &'d str) -> Shaper<'s, 'd>
    where
        Self: 'd,
    {
        Shaper {
            schema: self.schema,
            metadata: "",
            declared,
        }
    }

    /// Names of `$select`, each of them known; none when everything is wanted.
    fn selected<'o>(&self, options: &'o QueryOptions) -> Outcome<Option<Vec<&'o str>>> {
        let Some(names) = options.select() else {
            return Ok(None);
        };
        let all = vocabulary();
        let mut known = Vec::with_capacity(names.len());
        for name in names {
            let head = name.split('/').next().unwrap_or(name);
            if all.property(self.declared, head).is_some() {
                known.push(head);
            } else if all.navigation(self.declared, head).is_none() {
                return Err(Fault::no_property(head, self.declared));
            }
        }
        Ok(Some(known))
    }

    fn expanded<'a>(&self, item: &'a ExpandItem) -> Outcome<Expanded<'a>> {
        let (name, cast) = match item.property.split_once('/') {
            Some((name, cast)) => (name, Some(cast)),
            None => (item.property.as_str(), None),
        };
        let all = vocabulary();
        let Some(to) = all.navigation(self.declared, name) else {
            return Err(Fault::no_property(name, self.declared));
        };
        if item.reference {
            return Err(Fault::syntax(
                "Definitions cannot be expanded as references.",
            ));
        }
        let to = match cast.map(bare) {
            None => bare(to),
            Some(cast) if all.derives(cast, bare(to)) => cast,
            Some(cast) => return Err(Fault::no_segment(cast)),
        };
        Ok(Expanded {
            item,
            name,
            to: to.to_owned(),
        })
    }

    /// A definition with what is selected and expanded; `inside` begins the contexts of the latter.
    pub(super) fn shaped(
        &self,
        item: &Item<'_>,
        options: &QueryOptions,
        inside: &str,
    ) -> Outcome<Map<String, Value>> {
        let mut members = item.members(self.schema);
        if let Some(mut names) = self.selected(options)? {
            // The identifier comes in any case.
            names.push("MetadataId");
            members.retain(|name, _| names.contains(&name.as_str()));
        }
        let mut shaped = Map::new();
        if item.type_name() != self.declared {
            let name = format!("#Microsoft.Dynamics.CRM.{}", item.type_name());
            shaped.insert("@odata.type".to_owned(), json!(name));
        }
        shaped.extend(members);
        for expanded in &options.expand()? {
            let expanded = self.expanded(expanded)?;
            self.expand(&mut shaped, item, &expanded, options, inside)?;
        }
        Ok(shaped)
    }

    fn expand(
        &self,
        shaped: &mut Map<String, Value>,
        item: &Item<'_>,
        expanded: &Expanded<'_>,
        options: &QueryOptions,
        inside: &str,
    ) -> Outcome<()> {
        let nested = QueryOptions::nested(expanded.item, &options.aliases)?;
        refuse(&nested)?;
        let shaper = Shaper {
            declared: &expanded.to,
            schema: self.schema,
            metadata: self.metadata,
        };
        let inside = format!("{inside}/{}", expanded.name);
        let selection = shaper.selection(&nested)?;
        let value = match item.related(self.schema, expanded.name) {
            Some(Related::Many(items)) => {
                let derives =
                    |item: &Item<'_>| vocabulary().derives(item.type_name(), &expanded.to);
                let items = items.into_iter().filter(derives).collect();
                let shape = |item: &Item<'_>| {
                    let inside = format!("{inside}({})", item.metadata_id(self.schema));
                    shaper.shaped(item, &nested, &inside).map(Value::Object)
                };
                let kept = shaper.kept(items, &nested)?;
                Value::Array(kept.iter().map(shape).collect::<Outcome<Vec<Value>>>()?)
            }
            Some(Related::One(Some(item))) => {
                Value::Object(shaper.shaped(&item, &nested, &inside)?)
            }
            Some(Related::One(None)) | None => Value::Null,
        };
        if !value.is_null() {
            let one = if value.is_array() { "" } else { "/$entity" };
            let context = format!("{}#{inside}{selection}{one}", self.metadata);
            shaped.insert(format!("{}@odata.context", expanded.name), json!(context));
        }
        shaped.insert(expanded.name.to_owned(), value);
        Ok(())
    }
}

/// Refuses options that an expanded definition does not take.
fn refuse(nested: &QueryOptions) -> Outcome<()> {
    let mut names = nested.names();
    match names.find(|name| !["$select", "$filter", "$expand"].contains(name)) {
        Some(name) => Err(Fault::syntax(format!(
            "The query parameter {name} is not supported"
        ))),
        None => Ok(()),
    }
}

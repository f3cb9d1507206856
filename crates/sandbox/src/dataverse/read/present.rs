//! Rows as JSON, with the annotations that were asked for.

use axum::http::HeaderMap;
use chrono::DateTime;
use rusqlite::types::Value as Sql;
use serde_json::{Map, Number, Value, json};
use uuid::Uuid;

use crate::dataverse::context::{Context, preference};
use crate::dataverse::read::formatted::{Titles, formatted};
use crate::dataverse::read::rows::Row;
use crate::dataverse::read::shape::Shape;
use crate::dataverse::records::Cell;
use crate::dataverse::schema::{Column, Kind, Table};

const FORMATTED: &str = "OData.Community.Display.V1.FormattedValue";
const NAVIGATION: &str = "Microsoft.Dynamics.CRM.associatednavigationproperty";
const LOGICAL_NAME: &str = "Microsoft.Dynamics.CRM.lookuplogicalname";

/// Names of annotations that a client wants, with wildcards; a minus excludes.
#[derive(Debug, Default)]
pub(crate) struct Annotations(Vec<String>);

impl Annotations {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let text = preference(headers, "odata.include-annotations").unwrap_or_default();
        Self(
            text.split(',')
                .map(|part| part.trim().to_owned())
                .filter(|part| !part.is_empty())
                .collect(),
        )
    }

    /// The last term that fits decides (OData 4.0 part 1, 8.2.8.4: the more specific one wins).
    pub(crate) fn wants(&self, name: &str) -> bool {
        let mut wanted = false;
        let mut length = 0;
        for term in &self.0 {
            let (yes, pattern) = match term.strip_prefix('-') {
                Some(pattern) => (false, pattern),
                None => (true, term.as_str()),
            };
            let fits = match pattern.strip_suffix('*') {
                Some(begin) => name.starts_with(begin),
                None => name == pattern,
            };
            if fits && pattern.len() >= length {
                (wanted, length) = (yes, pattern.len());
            }
        }
        wanted
    }
}

/// What an answer's rows share.
pub(crate) struct Presenter<'c, 's> {
    pub(crate) context: &'c Context<'s>,
    pub(crate) annotations: Annotations,
    pub(crate) titles: Titles,
    metadata: MetadataLevel,
}

/// How much a client wants to hear of what it could know (OData JSON format 4.0, 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MetadataLevel {
    None,
    Minimal,
    Full,
}

impl<'c, 's> Presenter<'c, 's> {
    pub(crate) fn new(context: &'c Context<'s>) -> Self {
        let accept = context
            .header("accept")
            .unwrap_or_default()
            .to_ascii_lowercase()
            .replace(' ', "");
        let metadata = if accept.contains("odata.metadata=none") {
            MetadataLevel::None
        } else if accept.contains("odata.metadata=full") {
            MetadataLevel::Full
        } else {
            MetadataLevel::Minimal
        };
        Self {
            context,
            annotations: Annotations::of(context.headers),
            titles: Titles::default(),
            metadata,
        }
    }

    /// `@odata.context`, unless the client wants none.
    pub(crate) fn context_of(&self, body: &mut Map<String, Value>, fragment: &str) {
        if self.metadata != MetadataLevel::None {
            let text = format!("{}#{fragment}", self.context.metadata());
            body.insert("@odata.context".to_owned(), text.into());
        }
    }

    /// What the answer says that it is.
    pub(crate) fn content_type(&self) -> &'static str {
        match self.metadata {
            MetadataLevel::None => "application/json; odata.metadata=none",
            MetadataLevel::Minimal => crate::dataverse::answer::JSON,
            MetadataLevel::Full => "application/json; odata.metadata=full",
        }
    }

    pub(crate) fn row(&self, shape: &Shape<'s>, row: &Row) -> Map<String, Value> {
        let table = shape.table;
        let mut body = self.head(table, row.id, row.version);
        for (column, cell) in shape.columns.iter().zip(&row.cells) {
            self.cell(table, column, cell.as_ref(), &mut body);
        }
        body
    }

    /// What stands in front of a row's columns.
    pub(crate) fn head(&self, table: &Table, id: Uuid, version: i64) -> Map<String, Value> {
        let mut body = Map::new();
        if self.metadata == MetadataLevel::Full {
            let address = format!("{}({id})", table.set);
            body.insert(
                "@odata.type".to_owned(),
                format!("#Microsoft.Dynamics.CRM.{}", table.name).into(),
            );
            body.insert(
                "@odata.id".to_owned(),
                self.context.address(table, id).into(),
            );
            body.insert("@odata.editLink".to_owned(), address.into());
        }
        if self.metadata != MetadataLevel::None && version != 0 {
            body.insert("@odata.etag".to_owned(), format!("W/\"{version}\"").into());
        }
        body
    }

    fn cell(
        &self,
        table: &Table,
        column: &Column,
        cell: Option<&Cell>,
        body: &mut Map<String, Value>,
    ) {
        let property = column.property();
        if let Some(cell) = cell {
            self.annotate(table, column, &property, cell, body);
        }
        let value = cell.map_or(Value::Null, |cell| json_value(column, cell));
        body.insert(property, value);
    }

    /// The annotations of one value, in front of it.
    pub(crate) fn annotate(
        &self,
        table: &Table,
        column: &Column,
        property: &str,
        cell: &Cell,
        body: &mut Map<String, Value>,
    ) {
        if self.annotations.wants(FORMATTED)
            && let Some(text) = formatted(self.context, &self.titles, column, cell)
        {
            body.insert(format!("{property}@{FORMATTED}"), text.into());
        }
        let Cell::Row(target, _) = cell else { return };
        if self.annotations.wants(NAVIGATION)
            && let Some(index) = self.context.schema.index_of(target)
            && let Some(single) = table.navigation_of(&column.name, index)
        {
            body.insert(
                format!("{property}@{NAVIGATION}"),
                single.name.clone().into(),
            );
        }
        if self.annotations.wants(LOGICAL_NAME) {
            body.insert(format!("{property}@{LOGICAL_NAME}"), target.clone().into());
        }
    }
}

/// A cell as a JSON value.
pub(crate) fn json_value(column: &Column, cell: &Cell) -> Value {
    let value = match cell {
        Cell::Row(_, id) => return json!(id),
        Cell::Value(value) => value,
    };
    match (&column.kind, value) {
        (Kind::Boolean { .. }, Sql::Integer(whole)) => json!(*whole != 0),
        (Kind::DateTime, Sql::Integer(seconds)) => stamp(*seconds, "%Y-%m-%dT%H:%M:%SZ"),
        (Kind::Date, Sql::Integer(seconds)) => stamp(*seconds, "%Y-%m-%d"),
        (_, Sql::Integer(whole)) => json!(whole),
        (_, Sql::Real(real)) => Number::from_f64(*real).map_or(Value::Null, Value::Number),
        (_, Sql::Text(text)) => json!(text),
        (_, Sql::Null | Sql::Blob(_)) => Value::Null,
    }
}

fn stamp(seconds: i64, form: &str) -> Value {
    DateTime::from_timestamp(seconds, 0)
        .map_or(Value::Null, |at| at.format(form).to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_specific_wish_wins() {
        let annotations = |text: &str| Annotations(text.split(',').map(str::to_owned).collect());
        assert!(annotations("*").wants(FORMATTED));
        assert!(annotations("OData.Community.Display.V1.FormattedValue").wants(FORMATTED));
        assert!(annotations("Microsoft.Dynamics.CRM.*").wants(LOGICAL_NAME));
        assert!(!annotations("*,-Microsoft.Dynamics.CRM.*").wants(NAVIGATION));
        assert!(!annotations("").wants(FORMATTED));
    }
}

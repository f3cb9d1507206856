//! What a JSON body says about a row: its columns, the rows it points at, and rows that come along.

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::dataverse::context::Context;
use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::records::{Cell, Cells};
use crate::dataverse::schema::{Collection, Column, Kind, Single, Table, TableKind};
use crate::dataverse::write::fault;
use crate::dataverse::write::parties;
use crate::dataverse::write::reference::resolve_among;
use crate::dataverse::write::value::Values;

pub(super) type Object = Map<String, Value>;

/// Whether a body makes a row or changes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Intent {
    Create,
    Update,
}

/// A body against the schema.
#[derive(Debug, Default)]
pub(super) struct Draft<'s, 'b> {
    /// The primary key, when the body brings one.
    pub(super) id: Option<Uuid>,
    pub(super) cells: Cells,
    /// Rows that are made first, because this one points at them.
    pub(super) ahead: Vec<(&'s Single, &'b Object)>,
    /// Rows of collections: they come after, because they point at this one.
    pub(super) behind: Vec<(&'s Collection, Child<'b>)>,
    /// The whole list of an activity's parties.
    pub(super) parties: Option<Vec<&'b Object>>,
}

#[derive(Debug)]
pub(super) enum Child<'b> {
    New(&'b Object),
    Existing(Uuid),
}

/// Reads the text of a body, which is an object.
pub(super) fn object(table: &Table, body: &[u8]) -> Outcome<Object> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    if body.iter().all(u8::is_ascii_whitespace) {
        let inner = "System.ArgumentNullException: Value cannot be null. The request has no body.";
        return Err(Fault::payload(table, inner));
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => Err(fault::node(table, "the body", &other, "StartObject")),
        Err(error) => Err(Fault::payload(
            table,
            format!(
                "Microsoft.OData.ODataException: The body is not JSON that can be read: {error}."
            ),
        )),
    }
}

/// The table that a new row is really of: a body may name the kind of an activity.
pub(super) fn meant<'s>(context: &Context<'s>, table: &'s Table, body: &Object) -> &'s Table {
    if table.kind != TableKind::ActivityPointer {
        return table;
    }
    let named = body
        .get("@odata.type")
        .and_then(Value::as_str)
        .map(type_name);
    let named = named.and_then(|name| context.schema.by_name(name));
    named
        .filter(|named| named.kind == TableKind::Activity)
        .unwrap_or(table)
}

/// `account`, as in `#Microsoft.Dynamics.CRM.account`.
fn type_name(text: &str) -> &str {
    let text = text.trim_start_matches('#');
    text.rsplit_once('.').map_or(text, |(_, name)| name)
}

impl<'s, 'b> Draft<'s, 'b> {
    pub(super) fn read(
        context: &Context<'s>,
        table: &'s Table,
        body: &'b Object,
        intent: Intent,
    ) -> Outcome<Self> {
        let mut reader = Reader {
            context,
            table,
            intent,
            values: Values::of(context, table),
            draft: Draft::default(),
        };
        for (name, value) in body {
            reader.member(name, value)?;
        }
        Ok(reader.draft)
    }
}

struct Reader<'c, 's, 'b> {
    context: &'c Context<'s>,
    table: &'s Table,
    intent: Intent,
    values: Values<'s>,
    draft: Draft<'s, 'b>,
}

impl<'s, 'b> Reader<'_, 's, 'b> {
    fn member(&mut self, name: &'b str, value: &'b Value) -> Outcome<()> {
        let table = self.table;
        if let Some((property, annotation)) = name.split_once('@') {
            return self.annotation(property, annotation, value);
        }
        if name == table.key {
            if !value.is_null() {
                self.draft.id = Some(self.values.guid(value)?);
            }
            return Ok(());
        }
        if let Some(single) = table.single(name) {
            return self.single(single, value);
        }
        if let Some(collection) = table.collection(name) {
            return self.collection(collection, value);
        }
        match table.column(name) {
            Some(column) if !column.is_lookup() && !column.is_parties() => {
                self.column(column, value)
            }
            None if table.lookup_value(name).is_some() => Err(fault::lookup_value()),
            _ => Err(fault::unknown_member(table, name)),
        }
    }

    /// `…@odata.bind` is the one annotation that says something; the others came with a row that was
    /// read before.
    fn annotation(&mut self, property: &'b str, annotation: &str, value: &'b Value) -> Outcome<()> {
        if property.is_empty() && annotation == "odata.type" {
            return self.check_type(value);
        }
        if annotation != "odata.bind" {
            let named = annotation
                .split_once('.')
                .is_some_and(|(front, back)| !front.is_empty() && !back.is_empty());
            return if named {
                Ok(())
            } else {
                Err(fault::annotation_name(self.table, annotation))
            };
        }
        let table = self.table;
        if let Some(single) = table.single(property) {
            let cell = match value {
                Value::Null => None,
                Value::String(address) => Some(self.bound(single, address)?),
                other => return Err(fault::node(table, property, other, "PrimitiveValue")),
            };
            self.lookup(single, cell);
            return Ok(());
        }
        let collection = table
            .collection(property)
            .ok_or_else(|| fault::undeclared(table, property))?;
        let Value::Array(addresses) = value else {
            return Err(fault::node(table, property, value, "StartArray"));
        };
        for address in addresses {
            let Value::String(address) = address else {
                return Err(fault::node(table, property, address, "PrimitiveValue"));
            };
            self.attach(collection, address)?;
        }
        Ok(())
    }

    /// A body that says what it is must be of this table.
    fn check_type(&self, value: &Value) -> Outcome<()> {
        match value.as_str().map(type_name) {
            Some(name)
                if name == self.table.name || name == "crmbaseentity" || name == "expando" =>
            {
                Ok(())
            }
            Some("activitypointer") if self.table.is_activity() => Ok(()),
            _ => Err(fault::other_type(self.table, value)),
        }
    }

    fn attach(&mut self, collection: &'s Collection, address: &str) -> Outcome<()> {
        let (_, id) = resolve_among(self.context, address, &[collection.target])?;
        self.draft.behind.push((collection, Child::Existing(id)));
        Ok(())
    }

    fn bound(&self, single: &Single, address: &str) -> Outcome<Cell> {
        let mut expected = vec![single.target];
        expected.extend(&single.also);
        let (index, id) = resolve_among(self.context, address, &expected)?;
        Ok(Cell::row(&self.context.schema.table(index).name, id))
    }

    fn lookup(&mut self, single: &Single, cell: Option<Cell>) {
        let Some(column) = self.table.columns.get(single.column) else {
            return;
        };
        if !self.writable(column) {
            return;
        }
        // Several properties write one lookup: the one that points at something wins.
        match cell {
            Some(cell) => {
                self.draft.cells.insert(column.name.clone(), cell);
            }
            None => {
                self.draft
                    .cells
                    .entry(column.name.clone())
                    .or_insert(Cell::NULL);
            }
        }
    }

    /// A nested row, or the address of one.
    fn single(&mut self, single: &'s Single, value: &'b Value) -> Outcome<()> {
        let nested = match value {
            Value::Null => {
                self.lookup(single, None);
                return Ok(());
            }
            Value::Object(nested) => nested,
            other => return Err(fault::node(self.table, &single.name, other, "StartObject")),
        };
        if let Some(Value::String(address)) = nested.get("@odata.id") {
            let cell = self.bound(single, address)?;
            self.lookup(single, Some(cell));
            return Ok(());
        }
        self.refuse_deep_update(&single.name)?;
        self.draft.ahead.push((single, nested));
        Ok(())
    }

    fn collection(&mut self, collection: &'s Collection, value: &'b Value) -> Outcome<()> {
        let Value::Array(items) = value else {
            return Err(fault::node(
                self.table,
                &collection.name,
                value,
                "StartArray",
            ));
        };
        let are_parties = parties::are(self.context.schema, collection);
        for item in items {
            let Value::Object(nested) = item else {
                return Err(fault::node(
                    self.table,
                    &collection.name,
                    item,
                    "StartObject",
                ));
            };
            if are_parties {
                self.draft.parties.get_or_insert_default().push(nested);
            } else if let Some(Value::String(address)) = nested.get("@odata.id") {
                self.attach(collection, address)?;
            } else {
                self.refuse_deep_update(&collection.name)?;
                self.draft.behind.push((collection, Child::New(nested)));
            }
        }
        if are_parties {
            self.draft.parties.get_or_insert_default();
        }
        Ok(())
    }

    fn refuse_deep_update(&self, property: &str) -> Outcome<()> {
        if self.intent == Intent::Create {
            return Ok(());
        }
        let text = format!(
            "Deep update is not supported: '{property}' holds a new row. Create it by itself, or link an existing one with '{property}@odata.bind'."
        );
        Err(Fault::syntax(text))
    }

    fn column(&mut self, column: &'s Column, value: &'b Value) -> Outcome<()> {
        // What the platform keeps to itself comes back in every row that was read: it is passed over.
        if !self.writable(column) {
            return Ok(());
        }
        let cell = self.values.cell(column, value)?;
        if column.kind != Kind::Image {
            self.draft.cells.insert(column.name.clone(), cell);
        }
        Ok(())
    }

    fn writable(&self, column: &Column) -> bool {
        match self.intent {
            // A row may be made in another state than the first, though definitions deny it.
            Intent::Create => column.access.create || matches!(column.kind, Kind::State { .. }),
            Intent::Update => column.access.update,
        }
    }
}

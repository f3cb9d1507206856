//! Tables as entity types.

use std::collections::HashSet;

use super::super::model::{
    Collection, CollectionBy, Column, Kind, Schema, Side, Single, Table, TableKind,
};
use super::{Annotations, Xml};

/// Users and teams derive from it: its key `ownerid` is theirs.
const PRINCIPAL: &str = "principal";

pub(super) fn write(xml: &mut Xml, schema: &Schema, annotations: Annotations) {
    xml.leaf(
        "EntityType",
        &[("Name", "crmbaseentity"), ("Abstract", "true")],
    );
    let base = ("BaseType", "mscrm.crmbaseentity");
    xml.leaf(
        "EntityType",
        &[("Name", "expando"), base, ("OpenType", "true")],
    );
    principal(xml, schema);
    let pointer = schema.by_name("activitypointer");
    for table in &schema.tables {
        let inherited = match table.kind {
            TableKind::Activity => pointer.map(Inherited::of).unwrap_or_default(),
            _ if is_principal(table) => Inherited::principal(schema),
            _ => Inherited::default(),
        };
        entity(xml, schema, table, &inherited, annotations);
    }
}

/// What a type has from the one that it derives from, and must not say again.
#[derive(Default)]
struct Inherited {
    columns: HashSet<String>,
    navigation: HashSet<String>,
}

impl Inherited {
    fn of(table: &Table) -> Self {
        let singles = table
            .singles()
            .into_iter()
            .map(|single| single.name.clone());
        let collections = table.collections();
        let collections = collections
            .into_iter()
            .map(|collection| collection.name.clone());
        Self {
            columns: table
                .columns
                .iter()
                .map(|column| column.name.clone())
                .collect(),
            navigation: singles.chain(collections).collect(),
        }
    }

    fn principal(schema: &Schema) -> Self {
        Self {
            columns: HashSet::from(["ownerid".to_owned()]),
            navigation: owned(schema).map(|(name, _, _)| name).collect(),
        }
    }
}

fn is_principal(table: &Table) -> bool {
    table.name == "systemuser" || table.name == "team"
}

/// Collections of what a principal owns: name, table, name of the way back.
fn owned(schema: &Schema) -> impl Iterator<Item = (String, &Table, String)> {
    let relationships = schema.relationships.iter();
    relationships
        .filter(|relationship| !relationship.also.is_empty())
        .map(|relationship| {
            let table = schema.table(relationship.referencing);
            (
                relationship.collection.clone(),
                table,
                relationship.single.clone(),
            )
        })
}

fn principal(xml: &mut Xml, schema: &Schema) {
    xml.open(
        "EntityType",
        &[("Name", PRINCIPAL), ("BaseType", "mscrm.crmbaseentity")],
    );
    key(xml, "ownerid");
    let own = [
        ("Name", "ownerid"),
        ("Type", "Edm.Guid"),
        ("Nullable", "false"),
    ];
    xml.leaf("Property", &own);
    for (name, table, back) in owned(schema) {
        let to = format!("Collection(mscrm.{})", table.name);
        xml.leaf(
            "NavigationProperty",
            &[("Name", &name), ("Type", &to), ("Partner", &back)],
        );
    }
    xml.close("EntityType");
}

fn key(xml: &mut Xml, name: &str) {
    xml.open("Key", &[]);
    xml.leaf("PropertyRef", &[("Name", name)]);
    xml.close("Key");
}

fn entity(
    xml: &mut Xml,
    schema: &Schema,
    table: &Table,
    inherited: &Inherited,
    annotations: Annotations,
) {
    let base = match table.kind {
        TableKind::Activity => "mscrm.activitypointer",
        _ if is_principal(table) => "mscrm.principal",
        _ => "mscrm.crmbaseentity",
    };
    xml.open("EntityType", &[("Name", &table.name), ("BaseType", base)]);
    if inherited.columns.is_empty() {
        key(xml, &table.key);
    }
    for column in &table.columns {
        if !inherited.columns.contains(&column.name) && !column.is_parties() {
            property(xml, column, annotations);
        }
    }
    for single in table.singles() {
        // Activities answer to two names for one lookup; only one is their own.
        let own = schema.relationships.get(single.relationship);
        let own = own.is_some_and(|own| own.single == single.name);
        if own && !inherited.navigation.contains(&single.name) {
            follow(xml, schema, table, single);
        }
    }
    for collection in table.collections() {
        if !inherited.navigation.contains(&collection.name) {
            collect(xml, schema, collection);
        }
    }
    alternate_keys(xml, table);
    if annotations == Annotations::With {
        describe(xml, &table.description, &table.label);
    }
    xml.close("EntityType");
}

fn property(xml: &mut Xml, column: &Column, annotations: Annotations) {
    let name = column.property();
    let mut attributes = vec![("Name", name.as_str()), ("Type", column.edm())];
    match column.kind {
        Kind::Key => attributes.push(("Nullable", "false")),
        Kind::Decimal { .. } | Kind::Money { .. } => attributes.push(("Scale", "variable")),
        Kind::Text { .. } | Kind::Memo { .. } | Kind::Choices { .. } | Kind::EntityName => {
            attributes.push(("Unicode", "false"));
        }
        _ => {}
    }
    if annotations == Annotations::Without {
        xml.leaf("Property", &attributes);
        return;
    }
    xml.open("Property", &attributes);
    describe(xml, &column.description, &column.label);
    if !column.access.create && !column.access.update {
        xml.open("Annotation", &[("Term", "Org.OData.Core.V1.Permissions")]);
        let read = "Org.OData.Core.V1.PermissionType/Read";
        xml.text
            .push_str(&format!("<EnumMember>{read}</EnumMember>\n"));
        xml.close("Annotation");
    }
    xml.close("Property");
}

fn describe(xml: &mut Xml, description: &str, label: &str) {
    let text = if description.is_empty() {
        label
    } else {
        description
    };
    let term = ("Term", "Org.OData.Core.V1.Description");
    xml.leaf("Annotation", &[term, ("String", text)]);
}

/// A single-valued navigation property with the lookup behind it.
fn follow(xml: &mut Xml, schema: &Schema, table: &Table, single: &Single) {
    let target = schema.table(single.target);
    let principal = !single.also.is_empty() || is_principal(target);
    let to = match single.also.is_empty() {
        true => format!("mscrm.{}", target.name),
        false => format!("mscrm.{PRINCIPAL}"),
    };
    let partner = schema.relationships.get(single.relationship);
    let partner = partner.map(|relationship| relationship.collection.as_str());
    let mut attributes = vec![("Name", single.name.as_str()), ("Type", to.as_str())];
    attributes.extend(partner.map(|partner| ("Partner", partner)));
    xml.open("NavigationProperty", &attributes);
    let lookup = table
        .columns
        .get(single.column)
        .map(Column::property)
        .unwrap_or_default();
    let referenced = if principal {
        "ownerid"
    } else {
        target.key.as_str()
    };
    let constraint = [
        ("Property", lookup.as_str()),
        ("ReferencedProperty", referenced),
    ];
    xml.leaf("ReferentialConstraint", &constraint);
    xml.close("NavigationProperty");
}

fn collect(xml: &mut Xml, schema: &Schema, collection: &Collection) {
    let to = format!("Collection(mscrm.{})", schema.table(collection.target).name);
    let partner = match collection.by {
        CollectionBy::OneToMany(index) => schema
            .relationships
            .get(index)
            .map(|relationship| relationship.single.as_str()),
        CollectionBy::ManyToMany(index, side) => {
            schema.many_to_many.get(index).map(|link| match side {
                Side::First => link.second_navigation.as_str(),
                Side::Second => link.first_navigation.as_str(),
            })
        }
    };
    let mut attributes = vec![("Name", collection.name.as_str()), ("Type", to.as_str())];
    attributes.extend(partner.map(|partner| ("Partner", partner)));
    xml.leaf("NavigationProperty", &attributes);
}

fn alternate_keys(xml: &mut Xml, table: &Table) {
    if table.keys.is_empty() {
        return;
    }
    xml.open(
        "Annotation",
        &[("Term", "OData.Community.Keys.V1.AlternateKeys")],
    );
    xml.open("Collection", &[]);
    for own in &table.keys {
        xml.open(
            "Record",
            &[("Type", "OData.Community.Keys.V1.AlternateKey")],
        );
        xml.open("PropertyValue", &[("Property", "Key")]);
        xml.open("Collection", &[]);
        for name in &own.columns {
            let property = table
                .column(name)
                .map_or_else(|| name.clone(), Column::property);
            xml.open("Record", &[("Type", "OData.Community.Keys.V1.PropertyRef")]);
            xml.leaf(
                "PropertyValue",
                &[("Property", "Alias"), ("String", &property)],
            );
            xml.leaf(
                "PropertyValue",
                &[("Property", "Name"), ("PropertyPath", &property)],
            );
            xml.close("Record");
        }
        xml.close("Collection");
        xml.close("PropertyValue");
        xml.close("Record");
    }
    xml.close("Collection");
    xml.close("Annotation");
}

use std::collections::{HashMap, HashSet};

use super::super::tests::with_example;
use super::*;

fn document() -> String {
    metadata_document(with_example(), Annotations::Without)
}

fn attribute<'a>(node: roxmltree::Node<'a, '_>, name: &str) -> &'a str {
    node.attribute(name).unwrap_or_default()
}

fn tag(name: &'static str) -> (&'static str, &'static str) {
    ("http://docs.oasis-open.org/odata/ns/edm", name)
}

fn children<'a, 'b>(
    node: roxmltree::Node<'a, 'b>,
    element: &'static str,
) -> impl Iterator<Item = roxmltree::Node<'a, 'b>> {
    node.children()
        .filter(move |child| child.has_tag_name(tag(element)))
}

/// A type with those that it derives from.
fn line<'a, 'b>(
    types: &HashMap<&str, roxmltree::Node<'a, 'b>>,
    name: &str,
) -> Vec<roxmltree::Node<'a, 'b>> {
    let mut line = Vec::new();
    let mut next = types.get(name).copied();
    while let Some(node) = next {
        line.push(node);
        next = node.attribute("BaseType").map(|base| {
            let base = base.strip_prefix("mscrm.").expect("an alias");
            *types.get(base).expect(base)
        });
    }
    line
}

fn entity_types<'a, 'b>(
    document: &'a roxmltree::Document<'b>,
) -> HashMap<&'a str, roxmltree::Node<'a, 'b>> {
    let found = document
        .descendants()
        .filter(|node| node.has_tag_name(tag("EntityType")));
    found
        .map(|node| (node.attribute("Name").expect("a name"), node))
        .collect()
}

#[test]
fn every_type_has_one_key_and_no_name_twice() {
    let text = document();
    let document = roxmltree::Document::parse(&text).expect("XML");
    let types = entity_types(&document);
    for (name, node) in &types {
        let line = line(&types, name);
        let keys = line.iter().flat_map(|node| children(*node, "Key")).count();
        let bare = ["crmbaseentity", "crmmodelbaseentity", "expando"].contains(name);
        assert_eq!(keys, usize::from(!bare), "{name}");
        let mut seen = HashSet::new();
        for node in &line {
            let members = children(*node, "Property").chain(children(*node, "NavigationProperty"));
            for member in members {
                assert!(seen.insert(attribute(member, "Name")), "{name}.{member:?}");
            }
        }
        assert_eq!(node.attribute("Name"), Some(*name));
    }
}

#[test]
fn every_partner_leads_back() {
    let text = document();
    let document = roxmltree::Document::parse(&text).expect("XML");
    let types = entity_types(&document);
    let mut checked = 0;
    for (name, node) in &types {
        for navigation in children(*node, "NavigationProperty") {
            let Some(partner) = navigation.attribute("Partner") else {
                continue;
            };
            let to = super::super::vocabulary::bare(attribute(navigation, "Type"));
            let line = line(&types, to);
            let mut all = line
                .iter()
                .flat_map(|node| children(*node, "NavigationProperty"));
            let back = all.find(|other| attribute(*other, "Name") == partner);
            let back = back.unwrap_or_else(|| panic!("{name}.{navigation:?}"));
            assert_eq!(
                attribute(back, "Partner"),
                attribute(navigation, "Name"),
                "{name}"
            );
            assert_eq!(
                super::super::vocabulary::bare(attribute(back, "Type")),
                *name
            );
            checked += 1;
        }
    }
    assert!(checked > 1_000, "{checked}");
}

#[test]
fn every_constraint_and_binding_names_what_is_there() {
    let text = document();
    let document = roxmltree::Document::parse(&text).expect("XML");
    let types = entity_types(&document);
    let has = |name: &str, element: &'static str, member: &str| {
        let line = line(&types, name);
        let mut all = line.iter().flat_map(|node| children(*node, element));
        all.any(|node| attribute(node, "Name") == member)
    };
    for (name, node) in &types {
        for navigation in children(*node, "NavigationProperty") {
            let to = super::super::vocabulary::bare(attribute(navigation, "Type"));
            for constraint in children(navigation, "ReferentialConstraint") {
                assert!(
                    has(name, "Property", attribute(constraint, "Property")),
                    "{constraint:?}"
                );
                assert!(has(
                    to,
                    "Property",
                    attribute(constraint, "ReferencedProperty")
                ));
            }
        }
    }
    let sets = document
        .descendants()
        .filter(|node| node.has_tag_name(tag("EntitySet")));
    let sets: Vec<_> = sets.collect();
    let names: HashSet<&str> = sets.iter().map(|set| attribute(*set, "Name")).collect();
    assert_eq!(names.len(), sets.len());
    for set in sets {
        let entity = super::super::vocabulary::bare(attribute(set, "EntityType"));
        for binding in children(set, "NavigationPropertyBinding") {
            assert!(names.contains(attribute(binding, "Target")), "{binding:?}");
            let path = attribute(binding, "Path");
            assert!(has(entity, "NavigationProperty", path), "{entity}.{path}");
        }
    }
}

#[test]
fn activities_and_principals_derive() {
    let text = document();
    let document = roxmltree::Document::parse(&text).expect("XML");
    let types = entity_types(&document);
    let base = |name: &str| attribute(types[name], "BaseType");
    assert_eq!(base("phonecall"), "mscrm.activitypointer");
    assert_eq!(base("cr_callnote"), "mscrm.activitypointer");
    assert_eq!(base("systemuser"), "mscrm.principal");
    assert_eq!(base("contact"), "mscrm.crmbaseentity");
    let own: Vec<&str> = children(types["phonecall"], "Property")
        .map(|node| attribute(node, "Name"))
        .collect();
    assert!(own.contains(&"phonenumber"));
    assert!(!own.contains(&"subject") && !own.contains(&"_ownerid_value"));
    let owner = children(types["contact"], "NavigationProperty")
        .find(|node| attribute(*node, "Name") == "ownerid");
    assert_eq!(
        attribute(owner.expect("an owner"), "Type"),
        "mscrm.principal"
    );
}

#[test]
fn operations_are_declared_and_imported() {
    let text = document();
    let document = roxmltree::Document::parse(&text).expect("XML");
    let functions: HashSet<&str> = document
        .descendants()
        .filter(|node| node.has_tag_name(tag("Function")))
        .map(|node| attribute(node, "Name"))
        .collect();
    for import in document
        .descendants()
        .filter(|node| node.has_tag_name(tag("FunctionImport")))
    {
        assert!(functions.contains(attribute(import, "Name")));
    }
    assert!(functions.contains("WhoAmI") && functions.contains("RetrievePrincipalAccess"));
    assert!(text.contains("<ActionImport Name=\"Merge\""));
    assert!(!text.contains("<ActionImport Name=\"CreateMultiple\""));
}

#[test]
fn keys_and_annotations_are_there_when_they_should_be() {
    let text = document();
    assert!(text.contains("<PropertyValue Property=\"Name\" PropertyPath=\"cr_plate\" />"));
    assert!(!text.contains("Org.OData.Core.V1.Description"));
    let with = metadata_document(with_example(), Annotations::With);
    roxmltree::Document::parse(&with).expect("XML");
    assert!(with.contains("A vehicle that customers call about."));
    assert!(with.contains("Org.OData.Core.V1.PermissionType/Read"));
}

#[test]
fn odd_labels_are_escaped() {
    let mut xml = Xml::default();
    xml.leaf("A", &[("b", "<x> & \"y\"\n\u{1}")]);
    assert_eq!(xml.text, "<A b=\"&lt;x&gt; &amp; &quot;y&quot; \" />\n");
}

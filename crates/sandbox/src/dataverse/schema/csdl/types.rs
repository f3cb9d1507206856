//! Enumerations, complex types, types of definitions, functions and actions.

use super::super::vocabulary::{
    EnumType, Member, Operation, OperationKind, StructuredType, Vocabulary,
};
use super::Xml;

pub(super) fn write(xml: &mut Xml, vocabulary: &Vocabulary) {
    xml.leaf(
        "EntityType",
        &[("Name", "crmmodelbaseentity"), ("Abstract", "true")],
    );
    for entity in &vocabulary.entities {
        structured(xml, "EntityType", entity);
    }
    for complex in &vocabulary.complex {
        structured(xml, "ComplexType", complex);
    }
    for one in &vocabulary.enums {
        enumeration(xml, one);
    }
    for function in &vocabulary.functions {
        operation(xml, OperationKind::Function, function);
    }
    for action in &vocabulary.actions {
        operation(xml, OperationKind::Action, action);
    }
}

fn structured(xml: &mut Xml, element: &str, of: &StructuredType) {
    let base = of.base.as_ref().map(|base| format!("mscrm.{base}"));
    let mut attributes = vec![("Name", of.name.as_str())];
    attributes.extend(base.as_deref().map(|base| ("BaseType", base)));
    if of.is_abstract {
        attributes.push(("Abstract", "true"));
    }
    xml.open(element, &attributes);
    let key = |name: &str| element == "EntityType" && name == "MetadataId";
    if of.properties.iter().any(|(name, _)| key(name)) {
        xml.open("Key", &[]);
        xml.leaf("PropertyRef", &[("Name", "MetadataId")]);
        xml.close("Key");
    }
    for (name, kind) in &of.properties {
        let mut attributes = vec![("Name", name.as_str()), ("Type", kind.as_str())];
        if key(name) {
            attributes.push(("Nullable", "false"));
        }
        if kind == "Edm.Decimal" {
            attributes.push(("Scale", "variable"));
        }
        xml.leaf("Property", &attributes);
    }
    for (name, kind) in &of.navigation {
        let mut attributes = vec![("Name", name.as_str()), ("Type", kind.as_str())];
        // Definitions are found through what they belong to.
        if element == "EntityType" {
            attributes.push(("ContainsTarget", "true"));
        }
        xml.leaf("NavigationProperty", &attributes);
    }
    xml.close(element);
}

fn enumeration(xml: &mut Xml, of: &EnumType) {
    let mut attributes = vec![("Name", of.name.as_str())];
    if of.flags {
        attributes.push(("IsFlags", "true"));
    }
    xml.open("EnumType", &attributes);
    for (name, value) in &of.members {
        xml.leaf("Member", &[("Name", name), ("Value", &value.to_string())]);
    }
    xml.close("EnumType");
}

fn operation(xml: &mut Xml, kind: OperationKind, of: &Operation) {
    let element = match kind {
        OperationKind::Function => "Function",
        OperationKind::Action => "Action",
    };
    let mut attributes = vec![("Name", of.name.as_str())];
    if of.bound.is_some() {
        attributes.push(("IsBound", "true"));
    }
    if of.bound.is_none() && of.parameters.is_empty() && of.returns.is_none() {
        xml.leaf(element, &attributes);
        return;
    }
    xml.open(element, &attributes);
    if let Some(bound) = &of.bound {
        let name = if bound.starts_with("Collection(") {
            "entityset"
        } else {
            "entity"
        };
        xml.leaf(
            "Parameter",
            &[("Name", name), ("Type", bound), ("Nullable", "false")],
        );
    }
    for parameter in &of.parameters {
        write_parameter(xml, parameter);
    }
    if let Some(returns) = &of.returns {
        xml.leaf("ReturnType", &[("Type", returns), ("Nullable", "false")]);
    }
    xml.close(element);
}

fn write_parameter(xml: &mut Xml, (name, kind): &Member) {
    xml.leaf("Parameter", &[("Name", name), ("Type", kind)]);
}

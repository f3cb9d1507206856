//! Members of the definitions of choices.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::super::model::{Choice, Column, Kind, OptionSet, Schema, Table};
use super::label::{Origin, label, managed, put};

/// A choice that several columns share, or that of one column.
#[derive(Clone)]
pub(super) enum Choices<'a> {
    Global(&'a OptionSet),
    Own(&'a Table, &'a Column),
}

impl Choices<'_> {
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Own(_, column) if matches!(column.kind, Kind::Boolean { .. }) => {
                "BooleanOptionSetMetadata"
            }
            _ => "OptionSetMetadata",
        }
    }

    pub(super) fn metadata_id(&self, _: &Schema) -> Uuid {
        Schema::metadata_id(&format!("choice/{}", self.name()))
    }

    fn name(&self) -> String {
        match self {
            Self::Global(set) => set.name.clone(),
            Self::Own(table, column) => format!("{}_{}", table.name, column.name),
        }
    }
}

pub(super) fn members(choices: &Choices<'_>) -> Map<String, Value> {
    let name = choices.name();
    let (shown, description, custom, global) = match choices {
        Choices::Global(set) => (set.label.as_str(), "", set.custom, true),
        Choices::Own(table, column) => {
            let custom = column.custom || table.custom;
            (
                column.label.as_str(),
                column.description.as_str(),
                custom,
                false,
            )
        }
    };
    let origin = Origin::of(custom);
    let kind = match choices {
        Choices::Global(_) => "Picklist",
        Choices::Own(_, column) => match column.kind {
            Kind::State { .. } => "State",
            Kind::Status { .. } => "Status",
            Kind::Boolean { .. } => "Boolean",
            _ => "Picklist",
        },
    };
    let mut members = Map::new();
    put(
        &mut members,
        [
            ("IsCustomOptionSet", json!(custom)),
            ("IsGlobal", json!(global)),
            ("IsManaged", json!(origin.managed())),
            ("ExternalTypeName", Value::Null),
            ("OptionSetType", json!(kind)),
            ("IntroducedVersion", json!(origin.version())),
            (
                "Description",
                label(&format!("choice/{name}/description"), description, origin),
            ),
            (
                "DisplayName",
                label(&format!("choice/{name}/name"), shown, origin),
            ),
            ("IsCustomizable", managed(true, "iscustomizable")),
        ],
    );
    options(&mut members, choices, &name, origin);
    put(&mut members, [("Name", json!(name))]);
    members
}

fn options(members: &mut Map<String, Value>, choices: &Choices<'_>, name: &str, origin: Origin) {
    let plain = |all: &[Choice]| -> Vec<Value> {
        all.iter()
            .map(|one| option(name, one.value, &one.label, origin))
            .collect()
    };
    let all = match choices {
        Choices::Global(set) => plain(&set.options),
        Choices::Own(_, column) => match &column.kind {
            Kind::Boolean { no, yes, .. } => {
                put(
                    members,
                    [
                        ("TrueOption", option(name, 1, yes, origin)),
                        ("FalseOption", option(name, 0, no, origin)),
                    ],
                );
                return;
            }
            Kind::Choice { options, .. } | Kind::Choices { options, .. } => plain(options),
            Kind::State { options } => options
                .iter()
                .map(|one| {
                    let more = [
                        (
                            "@odata.type",
                            json!("#Microsoft.Dynamics.CRM.StateOptionMetadata"),
                        ),
                        ("DefaultStatus", json!(one.default_status)),
                        ("InvariantName", json!(one.label)),
                    ];
                    with(option(name, one.value, &one.label, origin), more)
                })
                .collect(),
            Kind::Status { options } => options
                .iter()
                .map(|one| {
                    let more = [
                        (
                            "@odata.type",
                            json!("#Microsoft.Dynamics.CRM.StatusOptionMetadata"),
                        ),
                        ("State", json!(one.state)),
                        ("TransitionData", Value::Null),
                    ];
                    with(option(name, one.value, &one.label, origin), more)
                })
                .collect(),
            _ => Vec::new(),
        },
    };
    put(
        members,
        [
            ("Options", Value::Array(all)),
            ("ParentOptionSetName", Value::Null),
        ],
    );
}

fn with<const N: usize>(option: Value, more: [(&str, Value); N]) -> Value {
    let mut members = match option {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    put(&mut members, more);
    Value::Object(members)
}

fn option(set: &str, value: i64, text: &str, origin: Origin) -> Value {
    json!({
        "Value": value,
        "Label": label(&format!("choice/{set}/{value}"), text, origin),
        "Description": label("", "", origin),
        "Color": null,
        "IsManaged": origin.managed(),
        "ExternalValue": "",
        "ParentValues": [],
        "Tag": null,
        "IsHidden": false,
        "MetadataId": null,
        "HasChanged": null,
    })
}

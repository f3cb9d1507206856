//! Members of the definitions of relationships.

use serde_json::{Map, Value, json};

use super::super::model::{ManyToMany, OnDelete, Relationship, Schema};
use super::label::{Origin, managed, put};

fn base(members: &mut Map<String, Value>, name: &str, custom: bool, kind: &str) {
    let origin = Origin::of(custom);
    put(
        members,
        [
            ("SchemaName", json!(name)),
            ("RelationshipType", json!(kind)),
            ("SecurityTypes", json!("Append")),
            ("IsCustomRelationship", json!(custom)),
            ("IsValidForAdvancedFind", json!(true)),
            ("IntroducedVersion", json!(origin.version())),
            ("IsManaged", json!(origin.managed())),
            ("IsCustomizable", managed(true, "iscustomizable")),
        ],
    );
}

pub(super) fn one_to_many(schema: &Schema, one: &Relationship) -> Map<String, Value> {
    let mut members = Map::new();
    base(
        &mut members,
        &one.schema_name,
        one.custom,
        "OneToManyRelationship",
    );
    let referenced = schema.table(one.referenced);
    // Owners are users and teams: the platform has a table for both.
    let (referenced, key) = if one.also.is_empty() {
        (referenced.name.as_str(), referenced.key.as_str())
    } else {
        ("owner", "ownerid")
    };
    put(
        &mut members,
        [
            ("ReferencedEntity", json!(referenced)),
            ("ReferencedAttribute", json!(key)),
            (
                "ReferencingEntity",
                json!(schema.table(one.referencing).name),
            ),
            ("ReferencingAttribute", json!(one.column)),
            (
                "ReferencedEntityNavigationPropertyName",
                json!(one.collection),
            ),
            ("ReferencingEntityNavigationPropertyName", json!(one.single)),
            ("IsHierarchical", json!(false)),
            ("EntityKey", Value::Null),
            (
                "RelationshipBehavior",
                json!(i32::from(one.on_delete == OnDelete::Cascade)),
            ),
            ("IsDenormalizedLookup", json!(false)),
            ("DenormalizedAttributeName", Value::Null),
            ("AssociatedMenuConfiguration", menu()),
            ("CascadeConfiguration", cascade(one.on_delete)),
            ("RelationshipAttributes", json!([])),
        ],
    );
    members
}

fn cascade(on_delete: OnDelete) -> Value {
    let rest = match on_delete {
        OnDelete::Cascade => "Cascade",
        _ => "NoCascade",
    };
    let delete = match on_delete {
        OnDelete::RemoveLink => "RemoveLink",
        OnDelete::Cascade => "Cascade",
        OnDelete::Restrict => "Restrict",
        OnDelete::NoCascade => "NoCascade",
    };
    json!({
        "Assign": rest,
        "Delete": delete,
        "Archive": "NoCascade",
        "Merge": rest,
        "Reparent": rest,
        "Share": rest,
        "Unshare": rest,
        "RollupView": "NoCascade",
    })
}

fn menu() -> Value {
    json!({
        "Behavior": "UseCollectionName",
        "Group": "Details",
        "Label": {"LocalizedLabels": [], "UserLocalizedLabel": null},
        "Order": 10_000,
        "IsCustomizable": true,
        "Icon": null,
        "ViewId": "00000000-0000-0000-0000-000000000000",
        "AvailableOffline": true,
        "MenuId": null,
        "QueryApi": null,
    })
}

pub(super) fn many_to_many(schema: &Schema, one: &ManyToMany) -> Map<String, Value> {
    let mut members = Map::new();
    base(
        &mut members,
        &one.schema_name,
        one.custom,
        "ManyToManyRelationship",
    );
    put(
        &mut members,
        [
            ("Entity1LogicalName", json!(schema.table(one.first).name)),
            ("Entity2LogicalName", json!(schema.table(one.second).name)),
            (
                "IntersectEntityName",
                json!(schema.table(one.intersect).name),
            ),
            ("Entity1IntersectAttribute", json!(one.first_column)),
            ("Entity2IntersectAttribute", json!(one.second_column)),
            ("Entity1NavigationPropertyName", json!(one.first_navigation)),
            (
                "Entity2NavigationPropertyName",
                json!(one.second_navigation),
            ),
            ("Entity1AssociatedMenuConfiguration", menu()),
            ("Entity2AssociatedMenuConfiguration", menu()),
        ],
    );
    members
}

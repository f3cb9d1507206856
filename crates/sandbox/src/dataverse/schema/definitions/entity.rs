//! Members of the definitions of tables and alternate keys.

use serde_json::{Map, Value, json};

use super::super::model::{AlternateKey, Kind, Ownership, Schema, Table, TableIndex, TableKind};
use super::label::{MADE, Origin, label, managed, put, put_all};

/// What no table of the sandbox has.
const FALSE: [&str; 34] = [
    "AutoRouteToOwnerQueue",
    "EntityHelpUrlEnabled",
    "IsDocumentManagementEnabled",
    "IsOneNoteIntegrationEnabled",
    "IsInteractionCentricEnabled",
    "IsKnowledgeManagementEnabled",
    "IsSLAEnabled",
    "IsBPFEntity",
    "IsDocumentRecommendationsEnabled",
    "IsMSTeamsIntegrationEnabled",
    "AutoCreateAccessTeams",
    "IsRetrieveAuditEnabled",
    "IsRetrieveMultipleAuditEnabled",
    "IsArchivalEnabled",
    "IsRetentionEnabled",
    "IsAvailableOffline",
    "IsAIRUpdated",
    "IsBusinessProcessEnabled",
    "SyncToExternalSearchIndex",
    "IsEnabledForTrace",
    "IsQuickCreateEnabled",
    "EnforceStateTransitions",
    "IsEnabledForExternalChannels",
    "IsPrivate",
    "UsesBusinessDataLabelTable",
    "IsLogicalEntity",
    "HasFeedback",
    "IsSolutionAware",
    "IsActivity",
    "IsActivityParty",
    "IsIntersect",
    "HasNotes",
    "HasActivities",
    "HasEmailAddresses",
];

const TRUE: [&str; 4] = [
    "CanTriggerWorkflow",
    "IsEnabledForCharts",
    "IsReadingPaneEnabled",
    "IsImportable",
];

const NULL: [&str; 14] = [
    "EntityHelpUrl",
    "SettingOf",
    "DataProviderId",
    "DataSourceId",
    "IconLargeName",
    "IconMediumName",
    "IconSmallName",
    "IconVectorName",
    "RecurrenceBaseEntityLogicalName",
    "ExternalName",
    "EntityColor",
    "ExternalCollectionName",
    "OwnerId",
    "OwningBusinessUnit",
];

pub(super) fn members(schema: &Schema, index: TableIndex, table: &Table) -> Map<String, Value> {
    let origin = Origin::of(table.custom);
    let mut members = Map::new();
    put_all(&mut members, &FALSE, &json!(false));
    put_all(&mut members, &TRUE, &json!(true));
    put_all(&mut members, &NULL, &Value::Null);
    names(&mut members, table);
    flags(&mut members, schema, index, table);
    let text = |part: &str, text: &str| label(&format!("{}/{part}", table.name), text, origin);
    put(
        &mut members,
        [
            ("Description", text("description", &table.description)),
            ("DisplayName", text("name", &table.label)),
            ("DisplayCollectionName", text("plural", &table.label_plural)),
            ("IntroducedVersion", json!(origin.version())),
            ("IsManaged", json!(origin.managed())),
            ("CreatedOn", json!(MADE)),
            ("ModifiedOn", json!(MADE)),
            ("OwnerIdType", json!(8)),
            ("DaysSinceRecordLastModified", json!(0)),
            ("MobileOfflineFilters", json!("")),
            ("Privileges", privileges(table)),
            ("Settings", json!([])),
        ],
    );
    members
}

fn names(members: &mut Map<String, Value>, table: &Table) {
    let image = table
        .columns
        .iter()
        .find(|column| column.kind == Kind::Image);
    let title = (!table.title.is_empty()).then_some(&table.title);
    let collection = match table.label_plural.split_whitespace().collect::<String>() {
        plural if table.custom => format!(
            "{}s",
            if plural.is_empty() {
                ""
            } else {
                &table.schema_name
            }
        ),
        plural => plural,
    };
    let ownership = match table.ownership {
        Ownership::User => "UserOwned",
        Ownership::BusinessUnit => "BusinessOwned",
        Ownership::Organization => "OrganizationOwned",
        Ownership::None => "None",
    };
    put(
        members,
        [
            ("LogicalName", json!(table.name)),
            ("SchemaName", json!(table.schema_name)),
            ("EntitySetName", json!(table.set)),
            ("LogicalCollectionName", json!(table.set)),
            ("CollectionSchemaName", json!(collection)),
            ("PrimaryIdAttribute", json!(table.key)),
            ("PrimaryNameAttribute", json!(title)),
            (
                "PrimaryImageAttribute",
                json!(image.map(|column| &column.name)),
            ),
            (
                "ReportViewName",
                json!(format!("Filtered{}", table.schema_name)),
            ),
            ("ObjectTypeCode", json!(table.type_code)),
            ("OwnershipType", json!(ownership)),
            ("TableType", json!("Standard")),
        ],
    );
}

/// Whether a lookup of another table can point at this one.
fn pointed_at(schema: &Schema, index: TableIndex, table: &str, column: &str) -> bool {
    let column = schema.by_name(table).and_then(|table| table.column(column));
    let kind = column.map(|column| &column.kind);
    matches!(kind, Some(Kind::Lookup { targets, .. }) if targets.contains(&index))
}

fn flags(members: &mut Map<String, Value>, schema: &Schema, index: TableIndex, table: &Table) {
    let intersect = table.kind == TableKind::Intersect;
    let activity = table.is_activity();
    let is_email = |name: &str| name.starts_with("emailaddress");
    put(
        members,
        [
            ("ActivityTypeMask", json!(i32::from(activity))),
            ("IsActivity", json!(activity)),
            (
                "IsActivityParty",
                json!(pointed_at(schema, index, "activityparty", "partyid")),
            ),
            (
                "IsChildEntity",
                json!(table.ownership == Ownership::None && !intersect),
            ),
            ("IsCustomEntity", json!(table.custom)),
            ("IsIntersect", json!(intersect)),
            (
                "IsOptimisticConcurrencyEnabled",
                json!(table.optimistic_concurrency),
            ),
            ("ChangeTrackingEnabled", json!(table.change_tracking)),
            ("IsValidForAdvancedFind", json!(!intersect)),
            ("IsStateModelAware", json!(!table.states().is_empty())),
            (
                "HasNotes",
                json!(pointed_at(schema, index, "annotation", "objectid")),
            ),
            (
                "HasActivities",
                json!(pointed_at(
                    schema,
                    index,
                    "activitypointer",
                    "regardingobjectid"
                )),
            ),
            (
                "HasEmailAddresses",
                json!(table.columns.iter().any(|column| is_email(&column.name))),
            ),
        ],
    );
    managed_flags(members, schema, index, table);
}

/// What an administrator may change, and whether it may be changed.
fn managed_flags(
    members: &mut Map<String, Value>,
    schema: &Schema,
    index: TableIndex,
    table: &Table,
) {
    let intersect = table.kind == TableKind::Intersect;
    let queue = pointed_at(schema, index, "queueitem", "objectid");
    let connected = pointed_at(schema, index, "connection", "record1id");
    put(
        members,
        [
            ("IsAuditEnabled", managed(false, "canmodifyauditsettings")),
            ("IsValidForQueue", managed(queue, "canmodifyqueuesettings")),
            (
                "IsConnectionsEnabled",
                managed(connected, "canmodifyconnectionsettings"),
            ),
            ("IsCustomizable", managed(true, "iscustomizable")),
            ("IsRenameable", managed(true, "isrenameable")),
            ("IsMappable", managed(true, "ismappable")),
            (
                "IsDuplicateDetectionEnabled",
                managed(
                    table.duplicate_detection,
                    "canmodifyduplicatedetectionsettings",
                ),
            ),
            (
                "IsMailMergeEnabled",
                managed(false, "canmodifymailmergesettings"),
            ),
            (
                "IsVisibleInMobile",
                managed(false, "canmodifymobilevisibility"),
            ),
            (
                "IsVisibleInMobileClient",
                managed(false, "canmodifymobileclientvisibility"),
            ),
            (
                "IsReadOnlyInMobileClient",
                managed(false, "canmodifymobileclientreadonly"),
            ),
            (
                "IsOfflineInMobileClient",
                managed(false, "canmodifymobileclientoffline"),
            ),
        ],
    );
    for name in [
        "CanCreateAttributes",
        "CanCreateForms",
        "CanCreateViews",
        "CanCreateCharts",
        "CanBeRelatedEntityInRelationship",
        "CanBePrimaryEntityInRelationship",
        "CanBeInManyToMany",
        "CanBeInCustomEntityAssociation",
        "CanEnableSyncToExternalSearchIndex",
        "CanModifyAdditionalSettings",
        "CanChangeHierarchicalRelationship",
        "CanChangeTrackingBeEnabled",
    ] {
        members.insert(name.to_owned(), managed(!intersect, &name.to_lowercase()));
    }
}

/// What can be permitted with its rows, as far as the table has it.
fn privileges(table: &Table) -> Value {
    if table.ownership == Ownership::None {
        return json!([]);
    }
    let own = table.ownership != Ownership::Organization;
    let mut kinds = vec!["Create", "Read", "Write", "Delete"];
    if table.ownership == Ownership::User {
        kinds.extend(["Assign", "Share"]);
    }
    kinds.extend(["Append", "AppendTo"]);
    let all = kinds.into_iter().map(|kind| {
        let name = format!("prv{kind}{}", table.privilege);
        json!({
            "CanBeBasic": own,
            "CanBeDeep": own,
            "CanBeGlobal": true,
            "CanBeLocal": own,
            "CanBeEntityReference": false,
            "CanBeParentEntityReference": false,
            "PrivilegeId": crate::dataverse::security::privilege_id(&name),
            "Name": name,
            "PrivilegeType": kind,
        })
    });
    Value::Array(all.collect())
}

pub(super) fn key_members(table: &Table, key: &AlternateKey) -> Map<String, Value> {
    let mut members = Map::new();
    let path = format!("{}/key/{}", table.name, key.name);
    put(
        &mut members,
        [
            ("DisplayName", label(&path, &key.label, Origin::Custom)),
            ("LogicalName", json!(key.name)),
            ("SchemaName", json!(key.schema_name)),
            ("EntityLogicalName", json!(table.name)),
            ("KeyAttributes", json!(key.columns)),
            ("IsCustomizable", managed(true, "iscustomizable")),
            ("IsManaged", json!(false)),
            ("IntroducedVersion", json!(Origin::Custom.version())),
            ("EntityKeyIndexStatus", json!("Active")),
            ("AsyncJob", Value::Null),
            ("IsSynchronous", json!(false)),
            ("IsExportKey", json!(false)),
            ("IsSecondaryKey", json!(false)),
        ],
    );
    members
}

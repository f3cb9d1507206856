//! Members of the definitions of columns.

use serde_json::{Map, Value, json};

use super::super::model::{Column, Kind, LookupSort, Required, Schema, Table, TableIndex};
use super::label::{MADE, Origin, label, managed, put, put_all};

/// The type of a column's definition.
pub(super) fn type_name(column: &Column) -> &'static str {
    match column.kind {
        Kind::Text { .. } => "StringAttributeMetadata",
        Kind::Memo { .. } => "MemoAttributeMetadata",
        Kind::Whole { .. } => "IntegerAttributeMetadata",
        Kind::Big | Kind::Version => "BigIntAttributeMetadata",
        Kind::Decimal { .. } => "DecimalAttributeMetadata",
        Kind::Double { .. } => "DoubleAttributeMetadata",
        Kind::Money { .. } => "MoneyAttributeMetadata",
        Kind::Boolean { .. } => "BooleanAttributeMetadata",
        Kind::Choice { .. } => "PicklistAttributeMetadata",
        Kind::Choices { .. } => "MultiSelectPicklistAttributeMetadata",
        Kind::State { .. } => "StateAttributeMetadata",
        Kind::Status { .. } => "StatusAttributeMetadata",
        Kind::DateTime | Kind::Date => "DateTimeAttributeMetadata",
        Kind::Guid | Kind::Key => "UniqueIdentifierAttributeMetadata",
        Kind::Lookup { .. } | Kind::Parties { .. } => "LookupAttributeMetadata",
        Kind::EntityName => "EntityNameAttributeMetadata",
        Kind::Image => "ImageAttributeMetadata",
    }
}

/// `AttributeType`, and the name that newer types have instead.
fn type_codes(column: &Column) -> (&'static str, &'static str) {
    match column.kind {
        Kind::Text { .. } => ("String", "StringType"),
        Kind::Memo { .. } => ("Memo", "MemoType"),
        Kind::Whole { .. } => ("Integer", "IntegerType"),
        Kind::Big | Kind::Version => ("BigInt", "BigIntType"),
        Kind::Decimal { .. } => ("Decimal", "DecimalType"),
        Kind::Double { .. } => ("Double", "DoubleType"),
        Kind::Money { .. } => ("Money", "MoneyType"),
        Kind::Boolean { .. } => ("Boolean", "BooleanType"),
        Kind::Choice { .. } => ("Picklist", "PicklistType"),
        Kind::Choices { .. } => ("Virtual", "MultiSelectPicklistType"),
        Kind::State { .. } => ("State", "StateType"),
        Kind::Status { .. } => ("Status", "StatusType"),
        Kind::DateTime | Kind::Date => ("DateTime", "DateTimeType"),
        Kind::Guid | Kind::Key => ("Uniqueidentifier", "UniqueidentifierType"),
        Kind::Lookup {
            sort: LookupSort::Simple,
            ..
        } => ("Lookup", "LookupType"),
        Kind::Lookup {
            sort: LookupSort::Customer,
            ..
        } => ("Customer", "CustomerType"),
        Kind::Lookup {
            sort: LookupSort::Owner,
            ..
        } => ("Owner", "OwnerType"),
        Kind::Parties { .. } => ("PartyList", "PartyListType"),
        Kind::EntityName => ("EntityName", "EntityNameType"),
        Kind::Image => ("Virtual", "ImageType"),
    }
}

pub(super) fn members(
    schema: &Schema,
    table: &Table,
    position: usize,
    column: &Column,
) -> Map<String, Value> {
    let origin = Origin::of(column.custom || table.custom);
    let mut members = Map::new();
    naming(&mut members, table, position, column);
    flags(&mut members, column);
    let text = |part: &str, text: &str| {
        label(
            &format!("{}/{}/{part}", table.name, column.name),
            text,
            origin,
        )
    };
    let required = match column.required {
        Required::No => "None",
        Required::Recommended => "Recommended",
        Required::Application => "ApplicationRequired",
        Required::System => "SystemRequired",
    };
    put(
        &mut members,
        [
            ("Description", text("description", &column.description)),
            ("DisplayName", text("name", &column.label)),
            ("IntroducedVersion", json!(origin.version())),
            ("IsManaged", json!(origin.managed())),
            ("IsCustomAttribute", json!(column.custom)),
            (
                "RequiredLevel",
                json!({
                    "Value": required,
                    "CanBeChanged": column.required != Required::System,
                    "ManagedPropertyLogicalName": "canmodifyrequirementlevelsettings",
                }),
            ),
        ],
    );
    own(&mut members, schema, column);
    members
}

fn naming(members: &mut Map<String, Value>, table: &Table, position: usize, column: &Column) {
    let (code, name) = type_codes(column);
    let null = [
        "AttributeOf",
        "DeprecatedVersion",
        "LinkedAttributeId",
        "ExternalName",
        "InheritsFrom",
    ];
    put_all(members, &null, &Value::Null);
    // Calculated and rolled-up columns would be 1 and 2; kinds that cannot be have none.
    let sources = matches!(
        column.kind,
        Kind::Text { .. }
            | Kind::Whole { .. }
            | Kind::Decimal { .. }
            | Kind::Money { .. }
            | Kind::Boolean { .. }
            | Kind::Choice { .. }
            | Kind::Choices { .. }
            | Kind::DateTime
            | Kind::Date
    );
    put(
        members,
        [
            ("AttributeType", json!(code)),
            ("AttributeTypeName", json!({"Value": name})),
            ("ColumnNumber", json!(position + 1)),
            ("EntityLogicalName", json!(table.name)),
            ("LogicalName", json!(column.name)),
            ("SchemaName", json!(column.schema_name)),
            ("IsPrimaryId", json!(column.kind == Kind::Key)),
            ("IsPrimaryName", json!(column.name == table.title)),
            ("CreatedOn", json!(MADE)),
            ("ModifiedOn", json!(MADE)),
            ("SourceType", json!(sources.then_some(0))),
            ("AutoNumberFormat", json!(column.auto_number)),
            ("Settings", json!([])),
        ],
    );
}

fn flags(members: &mut Map<String, Value>, column: &Column) {
    let form = column.access.read && !matches!(column.kind, Kind::Version | Kind::Guid | Kind::Key);
    let securable = column.access.update && column.kind != Kind::Key;
    put_all(
        members,
        &[
            "IsSecured",
            "IsRetrievable",
            "IsFilterable",
            "IsRequiredForForm",
            "IsDataSourceSecret",
            "IsSearchable",
        ],
        &json!(false),
    );
    put(
        members,
        [
            ("IsValidODataAttribute", json!(true)),
            ("IsValidForCreate", json!(column.access.create)),
            // Parties are read through their own table, and the definition calls them readable.
            (
                "IsValidForRead",
                json!(column.access.read || column.is_parties()),
            ),
            ("IsValidForUpdate", json!(column.access.update)),
            ("CanBeSecuredForRead", json!(securable)),
            (
                "CanBeSecuredForCreate",
                json!(securable && column.access.create),
            ),
            ("CanBeSecuredForUpdate", json!(securable)),
            ("IsValidForForm", json!(form)),
            ("IsValidForGrid", json!(form)),
            (
                "IsLogical",
                json!(column.name.starts_with("address") && column.name.contains('_')),
            ),
            (
                "IsAuditEnabled",
                managed(column.access.update, "canmodifyauditsettings"),
            ),
            (
                "IsGlobalFilterEnabled",
                managed(false, "canmodifyglobalfiltersettings"),
            ),
            (
                "IsSortableEnabled",
                managed(false, "canmodifyissortablesettings"),
            ),
            ("IsCustomizable", managed(true, "iscustomizable")),
            ("IsRenameable", managed(true, "isrenameable")),
            (
                "IsValidForAdvancedFind",
                managed(form, "canmodifysearchsettings"),
            ),
            (
                "CanModifyAdditionalSettings",
                managed(true, "canmodifyadditionalsettings"),
            ),
        ],
    );
}

/// What only this kind of column has.
fn own(members: &mut Map<String, Value>, schema: &Schema, column: &Column) {
    match &column.kind {
        Kind::Text { max, format } => text(members, column, *max, format),
        Kind::Memo { max } => put(
            members,
            [
                ("Format", json!(column.format)),
                ("FormatName", json!({"Value": column.format})),
                ("ImeMode", json!("Auto")),
                ("MaxLength", json!(max)),
                ("IsLocalizable", json!(false)),
            ],
        ),
        Kind::Whole { min, max } => {
            put(
                members,
                [
                    ("Format", json!(column.format)),
                    ("MinValue", json!(min)),
                    ("MaxValue", json!(max)),
                ],
            );
            formula(members);
        }
        Kind::Big | Kind::Version => {
            put(
                members,
                [("MinValue", json!(i64::MIN)), ("MaxValue", json!(i64::MAX))],
            );
        }
        Kind::Decimal {
            precision,
            min,
            max,
        } => {
            number(members, *precision, *min, *max);
            formula(members);
        }
        Kind::Double {
            precision,
            min,
            max,
        } => number(members, *precision, *min, *max),
        Kind::Money {
            precision,
            min,
            max,
        } => {
            number(members, *precision, *min, *max);
            money(members, column);
        }
        Kind::Boolean { default, .. } => {
            put(members, [("DefaultValue", json!(default))]);
            formula(members);
        }
        Kind::Choice { default, .. } => picklist(members, default.unwrap_or(-1)),
        Kind::Choices { .. } => picklist(members, -1),
        Kind::State { .. } | Kind::Status { .. } => {
            put(members, [("DefaultFormValue", Value::Null)]);
        }
        Kind::DateTime | Kind::Date => date(members, column),
        Kind::Guid | Kind::Key => {}
        Kind::Lookup { targets, .. } => lookup(members, &names(schema, targets)),
        Kind::Parties { .. } => lookup(members, &parties(schema)),
        Kind::EntityName => put(
            members,
            [
                ("DefaultFormValue", Value::Null),
                ("IsEntityReferenceStored", json!(false)),
            ],
        ),
        Kind::Image => image(members),
    }
}

fn image(members: &mut Map<String, Value>) {
    put(
        members,
        [
            ("IsPrimaryImage", json!(true)),
            ("MaxHeight", json!(144)),
            ("MaxWidth", json!(144)),
            ("MaxSizeInKB", json!(10_240)),
            ("CanStoreFullImage", json!(false)),
        ],
    );
}

fn formula(members: &mut Map<String, Value>) {
    put(
        members,
        [
            ("FormulaDefinition", json!("")),
            ("SourceTypeMask", json!(0)),
        ],
    );
}

fn text(members: &mut Map<String, Value>, column: &Column, max: usize, format: &str) {
    let mode = if format == "Email" || format == "Url" {
        "Inactive"
    } else {
        "Auto"
    };
    let yomi = column.name.strip_prefix("yomi");
    put(
        members,
        [
            ("Format", json!(format)),
            ("FormatName", json!({"Value": format})),
            ("ImeMode", json!(mode)),
            ("MaxLength", json!(max)),
            ("YomiOf", json!(yomi)),
            ("IsLocalizable", json!(false)),
            // The database counts bytes of UTF-16.
            ("DatabaseLength", json!(max.saturating_mul(2))),
        ],
    );
    formula(members);
}

fn number(members: &mut Map<String, Value>, precision: u8, min: f64, max: f64) {
    put(
        members,
        [
            ("Precision", json!(precision)),
            ("MinValue", json!(min)),
            ("MaxValue", json!(max)),
            ("ImeMode", json!("Auto")),
        ],
    );
}

fn money(members: &mut Map<String, Value>, column: &Column) {
    let of = column.name.strip_suffix("_base");
    put(
        members,
        [
            // 2: the precision of the currency.
            ("PrecisionSource", json!(2)),
            ("CalculationOf", json!(of)),
            ("IsBaseCurrency", json!(of.is_some())),
        ],
    );
    formula(members);
}

fn picklist(members: &mut Map<String, Value>, default: i64) {
    put(
        members,
        [
            ("DefaultFormValue", json!(default)),
            ("ParentPicklistLogicalName", Value::Null),
            ("ChildPicklistLogicalNames", json!([])),
        ],
    );
    formula(members);
}

fn date(members: &mut Map<String, Value>, column: &Column) {
    let behavior = if column.kind == Kind::Date {
        "DateOnly"
    } else {
        "UserLocal"
    };
    put(
        members,
        [
            ("MinSupportedValue", json!("1753-01-01T00:00:00Z")),
            ("MaxSupportedValue", json!("9999-12-30T23:59:59Z")),
            ("Format", json!(column.format)),
            ("ImeMode", json!("Inactive")),
            ("DateTimeBehavior", json!({"Value": behavior})),
            (
                "CanChangeDateTimeBehavior",
                managed(column.custom, "canchangedatetimebehavior"),
            ),
        ],
    );
    formula(members);
}

fn lookup(members: &mut Map<String, Value>, targets: &[&str]) {
    put(
        members,
        [("Targets", json!(targets)), ("Format", json!("None"))],
    );
}

fn names<'a>(schema: &'a Schema, targets: &[TableIndex]) -> Vec<&'a str> {
    targets
        .iter()
        .map(|target| schema.table(*target).name.as_str())
        .collect()
}

/// Tables whose rows can be parties of an activity.
fn parties(schema: &Schema) -> Vec<&str> {
    let column = schema
        .by_name("activityparty")
        .and_then(|table| table.column("partyid"));
    match column.map(|column| &column.kind) {
        Some(Kind::Lookup { targets, .. }) => names(schema, targets),
        _ => Vec::new(),
    }
}

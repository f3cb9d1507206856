//! What a new row takes over from the row that it is made from.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::dataverse::answer::{Answer, json_answer};
use crate::dataverse::context::Context;
use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::functions::{Call, entity, platform};
use crate::dataverse::read;
use crate::dataverse::records;
use crate::dataverse::schema::{Kind, Table};
use crate::dataverse::security::Access;

/// Columns that go by the same name on both sides.
const SHARED: [&str; 30] = [
    "address1_city",
    "address1_country",
    "address1_county",
    "address1_fax",
    "address1_latitude",
    "address1_line1",
    "address1_line2",
    "address1_line3",
    "address1_longitude",
    "address1_name",
    "address1_postalcode",
    "address1_postofficebox",
    "address1_stateorprovince",
    "address1_telephone1",
    "address1_telephone2",
    "address1_upszone",
    "address2_city",
    "address2_country",
    "address2_line1",
    "address2_line2",
    "address2_postalcode",
    "address2_stateorprovince",
    "description",
    "emailaddress1",
    "fax",
    "telephone1",
    "telephone2",
    "telephone3",
    "websiteurl",
    "donotphone",
];
/// Columns of people.
const PERSONAL: [&str; 8] = [
    "firstname",
    "lastname",
    "middlename",
    "salutation",
    "jobtitle",
    "mobilephone",
    "pager",
    "emailaddress2",
];
/// Columns that go by another name: from, column, to, column.
const RENAMED: [(&str, &str, &str, &str); 7] = [
    ("lead", "companyname", "account", "name"),
    ("lead", "subject", "opportunity", "name"),
    ("lead", "budgetamount", "opportunity", "budgetamount"),
    ("lead", "emailaddress1", "opportunity", "emailaddress"),
    ("lead", "estimatedamount", "opportunity", "estimatedvalue"),
    ("opportunity", "name", "quote", "name"),
    ("quote", "name", "salesorder", "name"),
];
/// Lookups of the new row that point back at the old one: from, to, navigation property.
const BACK: [(&str, &str, &str); 14] = [
    ("account", "account", "parentaccountid"),
    ("account", "contact", "parentcustomerid_account"),
    ("contact", "contact", "parentcustomerid_contact"),
    ("account", "incident", "customerid_account"),
    ("contact", "incident", "customerid_contact"),
    ("account", "opportunity", "customerid_account"),
    ("contact", "opportunity", "customerid_contact"),
    ("account", "lead", "parentaccountid"),
    ("contact", "lead", "parentcontactid"),
    ("lead", "account", "originatingleadid"),
    ("lead", "contact", "originatingleadid"),
    ("lead", "opportunity", "originatingleadid"),
    ("opportunity", "quote", "opportunityid"),
    ("quote", "salesorder", "quoteid"),
];

/// The body of a new row that is made from another.
pub(super) fn mapped(
    context: &Context<'_>,
    (from, id): (&Table, Uuid),
    to: &Table,
) -> Outcome<Map<String, Value>> {
    let row = records::load(context.db, context.schema, from, id)?
        .ok_or_else(|| Fault::no_row(&from.name, id))?;
    let personal = |table: &Table| matches!(table.name.as_str(), "lead" | "contact");
    let shared = ["account", "contact", "lead"];
    let alike = shared.contains(&from.name.as_str()) && shared.contains(&to.name.as_str());
    let same = SHARED.iter().filter(|_| alike).map(|name| (*name, *name));
    let people = PERSONAL
        .iter()
        .filter(|_| personal(from) && personal(to) && from.name != to.name);
    let renamed = RENAMED
        .iter()
        .filter(|(source, _, target, _)| *source == from.name && *target == to.name);
    let pairs = same
        .chain(people.map(|name| (*name, *name)))
        .chain(renamed.map(|(_, own, _, other)| (*own, *other)));
    let mut body = Map::new();
    for (own, other) in pairs {
        let (Some(source), Some(target)) = (from.column(own), to.column(other)) else {
            continue;
        };
        let fits = target.access.create
            && std::mem::discriminant(&source.kind) == std::mem::discriminant(&target.kind);
        if let Some(cell) = row.get(own).filter(|_| fits) {
            body.insert(
                other.to_owned(),
                shortened(read::json_value(source, cell), &target.kind),
            );
        }
    }
    if let Some((_, _, navigation)) = BACK
        .iter()
        .find(|(source, target, _)| *source == from.name && *target == to.name)
    {
        body.insert(
            format!("{navigation}@odata.bind"),
            json!(format!("/{}({id})", from.set)),
        );
    }
    Ok(body)
}

/// A text that the new column has no room for is cut.
fn shortened(value: Value, kind: &Kind) -> Value {
    match (value, kind) {
        (Value::String(text), Kind::Text { max, .. } | Kind::Memo { max }) => {
            Value::String(text.chars().take(*max).collect())
        }
        (value, _) => value,
    }
}

/// `InitializeFrom`: the body alone; nothing is written.
pub(super) fn initialize(call: &Call<'_, '_>) -> Outcome<Answer> {
    let context = call.context();
    let moniker = call
        .arguments
        .required("EntityMoniker")?
        .as_object()
        .cloned()
        .unwrap_or_default();
    let (from, id) = entity::meant(context, &moniker, None)?;
    let name = call.arguments.text("TargetEntityName")?;
    let to = context
        .schema
        .by_name(name)
        .ok_or_else(|| platform::no_table(name))?;
    context.demand_row(Access::Read, from, id)?;
    let mut body = Map::from_iter([
        (
            "@odata.context".to_owned(),
            json!(format!("{}#{}/$entity", context.metadata(), to.set)),
        ),
        (
            "@odata.type".to_owned(),
            json!(format!("#Microsoft.Dynamics.CRM.{}", to.name)),
        ),
    ]);
    body.extend(mapped(context, (from, id), to)?);
    Ok(json_answer(StatusCode::OK, &Value::Object(body)))
}

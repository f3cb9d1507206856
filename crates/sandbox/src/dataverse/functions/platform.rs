//! Who calls, which organization it is, and what it holds.

use axum::http::HeaderValue;
use serde_json::{Value, json};

use crate::dataverse::answer::Answer;
use crate::dataverse::context::Context;
use crate::dataverse::discovery::{datacenter_id, environment_id};
use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::functions::Call;
use crate::dataverse::schema::Table;

/// Version of the platform that the sandbox imitates.
pub(crate) const VERSION: &str = "9.2.26104.00180";
/// Requests at once that a client is advised to send.
const HINT: &str = "4";
/// English, the only language that the sandbox speaks.
const LANGUAGE: i32 = 1033;

pub(super) fn who_am_i(call: &Call<'_, '_>) -> Outcome<Answer> {
    let context = call.context();
    let mut answer = call.answer(
        "WhoAmIResponse",
        json!({
            "BusinessUnitId": context.caller.business_unit,
            "UserId": context.caller.id,
            "OrganizationId": context.organization.id,
        }),
    );
    answer
        .headers_mut()
        .insert("x-ms-dop-hint", HeaderValue::from_static(HINT));
    Ok(answer)
}

pub(super) fn version(call: &Call<'_, '_>) -> Outcome<Answer> {
    Ok(call.answer("RetrieveVersionResponse", json!({"Version": VERSION})))
}

pub(super) fn current_organization(call: &Call<'_, '_>) -> Outcome<Answer> {
    let context = call.context();
    let own = context.organization;
    let origin = context.base.split("/api/data/").next().unwrap_or_default();
    Ok(call.answer("RetrieveCurrentOrganizationResponse", json!({
        "Detail": {
            "OrganizationId": own.id,
            "FriendlyName": own.friendly_name,
            "OrganizationVersion": VERSION,
            "EnvironmentId": environment_id(own.id),
            "DatacenterId": datacenter_id(),
            "Geo": "EMEA",
            "TenantId": own.tenant,
            "UrlName": own.unique_name,
            "UniqueName": own.unique_name,
            "Endpoints": {
                "Count": 2,
                "IsReadOnly": false,
                "Keys": ["WebApplication", "OrganizationService"],
                "Values": [format!("{origin}/"), format!("{origin}/XRMServices/2011/Organization.svc")],
            },
            "State": "Enabled",
        },
    })))
}

pub(super) fn total_record_count(call: &Call<'_, '_>) -> Outcome<Answer> {
    let context = call.context();
    let (mut keys, mut values) = (Vec::new(), Vec::new());
    for name in call.arguments.texts("EntityNames")? {
        let table = context.schema.by_name(name).ok_or_else(|| no_table(name))?;
        context.demand_read(table)?;
        keys.push(name);
        values.push(count(context, table)?);
    }
    let kind = "RetrieveTotalRecordCountResponse";
    Ok(call.answer(kind, json!({
        "EntityRecordCountCollection": {"Count": keys.len(), "IsReadOnly": false, "Keys": keys, "Values": values},
    })))
}

fn count(context: &Context<'_>, table: &Table) -> Outcome<i64> {
    let sql = format!(
        "SELECT count(*) FROM {}",
        crate::dataverse::store::quoted(&table.name)
    );
    Ok(context
        .db
        .prepare_cached(&sql)?
        .query_row([], |row| row.get(0))?)
}

/// A logical name that no table has.
pub(super) fn no_table(name: &str) -> Fault {
    let text = format!(
        "The entity with a name = '{name}' with namemapping = 'Logical' was not found in the MetadataCache."
    );
    Fault::new(axum::http::StatusCode::BAD_REQUEST, "0x80041102", text)
}

pub(super) fn available_languages(call: &Call<'_, '_>) -> Outcome<Answer> {
    Ok(call.answer(
        "RetrieveAvailableLanguagesResponse",
        json!({"LocaleIds": [LANGUAGE]}),
    ))
}

pub(super) fn provisioned_languages(call: &Call<'_, '_>) -> Outcome<Answer> {
    Ok(call.answer(
        "RetrieveProvisionedLanguagesResponse",
        json!({"RetrieveProvisionedLanguages": [LANGUAGE]}),
    ))
}

/// The version of the definitions: it stays while the sandbox runs.
pub(super) fn timestamp(call: &Call<'_, '_>) -> Outcome<Answer> {
    Ok(call.answer("RetrieveTimestampResponse", json!({"Timestamp": "1000000"})))
}

/// An address as it is written in most places: line, town with state and code, country.
pub(super) fn format_address(call: &Call<'_, '_>) -> Outcome<Answer> {
    let part = |name| {
        call.arguments
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .trim()
    };
    let joined = |parts: &[&str], sign: &str| {
        let some: Vec<&str> = parts
            .iter()
            .copied()
            .filter(|part| !part.is_empty())
            .collect();
        some.join(sign)
    };
    let region = joined(&[part("StateOrProvince"), part("PostalCode")], " ");
    let town = joined(&[part("City"), &region], ", ");
    let address = joined(&[part("Line1"), &town, part("Country")], "\r\n");
    Ok(call.answer("FormatAddressResponse", json!({"Address": address})))
}

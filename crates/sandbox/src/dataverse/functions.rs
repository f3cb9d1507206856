//! Functions of the Web API.

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::people;
use crate::dataverse::schema::Table;
use crate::dataverse::{Request, json_answer};

const VERSION: &str = "9.2.26104.00180";

/// Functions that stand alone. None when the segment is no function.
pub(crate) fn unbound(request: &Request<'_>, segment: &str) -> Outcome<Option<Response>> {
    let (name, _) = segment.split_once('(').unwrap_or((segment, ""));
    let known = matches!(
        name,
        "WhoAmI" | "RetrieveVersion" | "RetrieveCurrentOrganization"
    );
    if known && request.method != axum::http::Method::GET {
        return Err(Fault::no_segment(name));
    }
    let answer = match name {
        "WhoAmI" => json_answer(
            StatusCode::OK,
            &json!({
                "@odata.context": context(request, "WhoAmIResponse"),
                "BusinessUnitId": request.organization.business_unit,
                "UserId": request.member.id,
                "OrganizationId": request.organization.id,
            }),
        ),
        "RetrieveVersion" => json_answer(
            StatusCode::OK,
            &json!({
                "@odata.context": context(request, "RetrieveVersionResponse"),
                "Version": VERSION,
            }),
        ),
        "RetrieveCurrentOrganization" => organization(request),
        _ => return Ok(None),
    };
    Ok(Some(answer))
}

/// Functions of a row.
pub(crate) fn bound(
    request: &Request<'_>,
    table: &'static Table,
    id: Uuid,
    name: &str,
) -> Outcome<Response> {
    let short = name.trim_start_matches("Microsoft.Dynamics.CRM.");
    let (function, arguments) = short.split_once('(').unwrap_or((short, ""));
    match (table.name, function) {
        ("systemuser", "RetrieveUserSetOfPrivilegesByNames") => {
            privileges(request, id, arguments.trim_end_matches(')'))
        }
        _ => Err(Fault::not_yet(function)),
    }
}

fn context(request: &Request<'_>, kind: &str) -> String {
    format!("{}$metadata#Microsoft.Dynamics.CRM.{kind}", request.base)
}

fn organization(request: &Request<'_>) -> Response {
    let own = request.organization;
    let origin = request.base.split("/api/data/").next().unwrap_or_default();
    let environment = crate::entra::Directory::object_id(&format!("{}/environment", own.id));
    json_answer(
        StatusCode::OK,
        &json!({
            "@odata.context": context(request, "RetrieveCurrentOrganizationResponse"),
            "Detail": {
                "OrganizationId": own.id,
                "FriendlyName": own.friendly_name,
                "OrganizationVersion": VERSION,
                "EnvironmentId": environment,
                "DatacenterId": crate::entra::Directory::object_id("datacenter"),
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
        }),
    )
}

/// `RetrieveUserSetOfPrivilegesByNames(PrivilegeNames=@p)?@p=["prvReadContact"]`.
fn privileges(request: &Request<'_>, id: Uuid, arguments: &str) -> Outcome<Response> {
    if id != request.member.id {
        return Err(Fault::not_yet("the privileges of another user"));
    }
    let value = arguments
        .strip_prefix("PrivilegeNames=")
        .unwrap_or_default();
    let text = if value.starts_with('@') {
        request.option(value).unwrap_or_default()
    } else {
        value
    };
    let names: Vec<String> = serde_json::from_str(&text.replace('\'', "\"")).map_err(|_| {
        Fault::syntax(
            "The parameter 'PrivilegeNames' is a list of names, such as [\"prvReadContact\"].",
        )
    })?;
    let held: Vec<Value> = names
        .iter()
        .filter(|name| request.member.holds(name))
        .map(|name| {
            json!({
                "Depth": "Global",
                "PrivilegeId": people::privilege_id(name),
                "BusinessUnitId": request.organization.business_unit,
                "PrivilegeName": name,
                "RecordFilterId": Uuid::nil(),
                "RecordFilterUniqueName": "",
            })
        })
        .collect();
    Ok(json_answer(
        StatusCode::OK,
        &json!({
            "@odata.context": context(request, "RetrieveUserSetOfPrivilegesByNamesResponse"),
            "RolePrivileges": held,
        }),
    ))
}

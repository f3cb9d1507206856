//! What the control page knows of organizations: the only file here that reaches into their rows.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::World;
use crate::control::trouble::Trouble;
use crate::dataverse;

/// Every organization with the number of rows of each table that has any.
pub(crate) fn organizations(world: &World) -> Result<Value, Trouble> {
    let mut all = Vec::new();
    for (tenant, own) in world.directory.organizations() {
        let organization = world.organizations.find(own.id);
        let counts = organization.map(|organization| organization.row_counts());
        let counts = counts.transpose()?.unwrap_or_default().into_iter();
        let tables = counts.filter(|(_, rows)| *rows > 0).map(|(set, rows)| {
            let address = format!("/_sandbox/organizations/{}/{set}", own.unique_name);
            json!({"set": set, "rows": rows, "address": address})
        });
        all.push(json!({
            "id": own.id, "unique_name": own.unique_name, "friendly_name": own.friendly_name,
            "tenant": tenant.domain, "hosts": own.hosts,
            "tables": tables.collect::<Vec<_>>(),
        }));
    }
    Ok(Value::Array(all))
}

/// What the Web API of an organization answers to a GET, and with which status.
pub(crate) fn ask(
    world: &World,
    organization: &str,
    path: &str,
    query: &str,
) -> Result<(StatusCode, Value), Trouble> {
    let named = world.directory.organizations().find(|(_, own)| {
        own.unique_name.eq_ignore_ascii_case(organization) || own.id.to_string() == organization
    });
    let found = named.and_then(|(_, own)| world.organizations.find(own.id));
    let organization = found.ok_or_else(|| {
        let detail = format!(
            "there is no organization '{organization}'; /_sandbox/api/organizations lists them"
        );
        Trouble::new(StatusCode::NOT_FOUND, detail)
    })?;
    let answer = dataverse::look(world, organization, path, query);
    let text = String::from_utf8_lossy(answer.body());
    let body = serde_json::from_str(&text).unwrap_or_else(|_| Value::String(text.into_owned()));
    Ok((answer.status(), body))
}

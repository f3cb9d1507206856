//! What the control page knows of organizations: the only file here that reaches into their rows.

use serde_json::{Value, json};

use crate::World;
use crate::control::trouble::Trouble;

/// Every organization with the number of rows of each table that has any.
pub(crate) fn organizations(world: &World) -> Result<Value, Trouble> {
    let mut all = Vec::new();
    for (tenant, own) in world.directory.organizations() {
        let organization = world.organizations.find(own.id);
        let counts = organization.map(|organization| organization.row_counts());
        let counts = counts.transpose()?.unwrap_or_default().into_iter();
        let tables = counts.filter(|(_, rows)| *rows > 0).map(|(set, rows)| {
            let address = format!("https://{}/api/data/v9.2/{set}?$top=50", world.authority);
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

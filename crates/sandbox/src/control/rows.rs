//! What the control page knows of organizations: the only file here that reaches into their rows.

use serde_json::{Value, json};

use crate::World;

/// Every organization with the number of rows of each table.
pub(crate) fn organizations(world: &World) -> Value {
    let all = world.directory.organizations().map(|(tenant, own)| {
        let organization = world.organizations.find(own.id);
        let counts = organization.map(|organization| organization.row_counts());
        let counts = counts.unwrap_or_default().into_iter().map(|(set, rows)| {
            let address = format!("https://{}/api/data/v9.2/{set}?$top=50", world.authority);
            json!({"set": set, "rows": rows, "address": address})
        });
        json!({
            "id": own.id, "unique_name": own.unique_name, "friendly_name": own.friendly_name,
            "tenant": tenant.domain, "hosts": own.hosts,
            "tables": counts.collect::<Vec<_>>(),
        })
    });
    all.collect()
}

//! What an organization of a seed brings besides its name: security roles and tables of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::dataverse::Schema;
use crate::dataverse::custom::CustomSchema;
use crate::seed::OrganizationSeed;

/// A security role besides those that every organization has.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleSeed {
    /// Its name, as users and application users hold it.
    pub name: String,
    /// How far each privilege reaches, such as `prvReadContact = "Local"`: Basic, Local, Deep or
    /// Global.
    #[serde(default)]
    pub privileges: BTreeMap<String, String>,
}

impl OrganizationSeed {
    /// The tables of the organization.
    ///
    /// # Errors
    /// When a table of the seed contradicts itself or the standard ones.
    pub(crate) fn schema(&self) -> Result<Arc<Schema>, String> {
        let own = CustomSchema {
            choices: self.choices.clone(),
            tables: self.tables.clone(),
            extensions: self.extensions.clone(),
            links: self.links.clone(),
        };
        let none = own.choices.is_empty()
            && own.tables.is_empty()
            && own.extensions.is_empty()
            && own.links.is_empty();
        if none {
            return Ok(Schema::standard());
        }
        Schema::with_custom(&own).map(Arc::new)
    }
}

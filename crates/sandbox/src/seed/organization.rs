//! What an organization of a seed brings besides its name: security roles and tables of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::dataverse::Schema;
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
        Ok(Schema::standard())
    }
}

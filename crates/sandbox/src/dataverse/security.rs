//! Members of an organization, their roles, and the privileges that follow.

use std::collections::HashMap;
use std::sync::Arc;

use axum::http::StatusCode;
use uuid::Uuid;

use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::schema::{Schema, Table};
use crate::entra::Directory;
use crate::seed::RoleSeed;

/// What is done to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Create,
    Read,
    Write,
    Delete,
    Append,
    AppendTo,
    Assign,
    Share,
}

/// Which rows a privilege reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Depth {
    /// Those of the user and of the user's teams.
    Basic,
    /// Those of the user's business unit.
    Local,
    /// Those of the business unit and the ones below it.
    Deep,
    /// All.
    Global,
}

pub(crate) const ACCESSES: [Access; 8] = [
    Access::Create,
    Access::Read,
    Access::Write,
    Access::Delete,
    Access::Append,
    Access::AppendTo,
    Access::Assign,
    Access::Share,
];

/// Privileges that are of no table.
pub(crate) const ACT_ON_BEHALF: &str = "prvActOnBehalfOfAnotherUser";
const MISCELLANEOUS: [&str; 6] = [
    ACT_ON_BEHALF,
    "prvBypassCustomPlugins",
    "prvBypassCustomBusinessLogic",
    "prvBulkDelete",
    "prvMerge",
    "prvExportToExcel",
];

/// The role that may do everything.
pub(crate) const ADMINISTRATOR: &str = "System Administrator";

/// Roles that every organization has.
const STANDARD: [&str; 6] = [
    ADMINISTRATOR,
    "System Customizer",
    "Customer Service Representative",
    "Basic User",
    "Read Only",
    "Delegate",
];

impl Access {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Create => "Create",
            Self::Read => "Read",
            Self::Write => "Write",
            Self::Delete => "Delete",
            Self::Append => "Append",
            Self::AppendTo => "AppendTo",
            Self::Assign => "Assign",
            Self::Share => "Share",
        }
    }

    /// Its name among the rights to one row.
    pub(crate) fn right(self) -> &'static str {
        match self {
            Self::Create => "CreateAccess",
            Self::Read => "ReadAccess",
            Self::Write => "WriteAccess",
            Self::Delete => "DeleteAccess",
            Self::Append => "AppendAccess",
            Self::AppendTo => "AppendToAccess",
            Self::Assign => "AssignAccess",
            Self::Share => "ShareAccess",
        }
    }

    pub(crate) fn privilege(self, table: &Table) -> String {
        format!("prv{}{}", self.name(), table.privilege)
    }

    /// What a privilege allows to do with rows; none when it is about something else.
    pub(crate) fn of_privilege(name: &str) -> Option<Self> {
        let rest = name.strip_prefix("prv")?;
        // `AppendTo` begins as `Append` does.
        ACCESSES
            .into_iter()
            .filter(|access| rest.starts_with(access.name()))
            .max_by_key(|access| access.name().len())
    }
}

impl Depth {
    fn parse(text: &str) -> Option<Self> {
        Some(match text.to_ascii_lowercase().as_str() {
            "basic" | "user" => Self::Basic,
            "local" | "business unit" => Self::Local,
            "deep" | "parent: child business units" => Self::Deep,
            "global" | "organization" => Self::Global,
            _ => return None,
        })
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Basic => "Basic",
            Self::Local => "Local",
            Self::Deep => "Deep",
            Self::Global => "Global",
        }
    }

    /// Its bit in the rows that say what roles hold.
    pub(crate) fn bit(self) -> i64 {
        match self {
            Self::Basic => 1,
            Self::Local => 2,
            Self::Deep => 4,
            Self::Global => 8,
        }
    }
}

/// A security role: privileges by their names in lower case.
#[derive(Debug)]
pub(crate) struct Role {
    pub(crate) id: Uuid,
    pub(crate) name: String,
    privileges: HashMap<String, Depth>,
}

/// Every role of an organization, and the names of its privileges.
#[derive(Debug)]
pub(crate) struct Roles {
    by_id: HashMap<Uuid, Arc<Role>>,
    /// Privileges by their names in lower case, spelled as they are.
    privileges: HashMap<String, String>,
}

impl Roles {
    /// # Errors
    /// When a role of the seed names a privilege or a depth that does not exist.
    pub(crate) fn open(
        organization: Uuid,
        schema: &Schema,
        seeds: &[RoleSeed],
    ) -> Result<Self, String> {
        let tables = schema
            .tables
            .iter()
            .flat_map(|table| ACCESSES.map(|access| access.privilege(table)));
        let privileges: HashMap<String, String> = tables
            .chain(MISCELLANEOUS.map(str::to_owned))
            .map(|name| (name.to_ascii_lowercase(), name))
            .collect();
        let mut by_id = HashMap::new();
        for name in STANDARD {
            let held = privileges
                .iter()
                .filter_map(|(key, name_of)| Some((key.clone(), standard(name, name_of)?)));
            let role = Role {
                id: role_id(organization, name),
                name: name.to_owned(),
                privileges: held.collect(),
            };
            by_id.insert(role.id, Arc::new(role));
        }
        for seed in seeds {
            let role = Role::from_seed(organization, seed, &privileges)?;
            by_id.insert(role.id, Arc::new(role));
        }
        Ok(Self { by_id, privileges })
    }

    pub(crate) fn all(&self) -> Vec<&Role> {
        let mut all: Vec<&Role> = self.by_id.values().map(AsRef::as_ref).collect();
        all.sort_by(|left, right| left.name.cmp(&right.name));
        all
    }

    pub(crate) fn find(&self, id: Uuid) -> Option<&Arc<Role>> {
        self.by_id.get(&id)
    }

    /// The privilege of a name, whatever its case, as it is spelled.
    pub(crate) fn privilege(&self, name: &str) -> Option<&str> {
        self.privileges
            .get(&name.to_ascii_lowercase())
            .map(String::as_str)
    }

    pub(crate) fn privileges(&self) -> Vec<&str> {
        let mut all: Vec<&str> = self.privileges.values().map(String::as_str).collect();
        all.sort_unstable();
        all
    }
}

impl Role {
    fn from_seed(
        organization: Uuid,
        seed: &RoleSeed,
        known: &HashMap<String, String>,
    ) -> Result<Self, String> {
        let mut privileges = HashMap::new();
        for (name, depth) in &seed.privileges {
            let key = name.to_ascii_lowercase();
            if !known.contains_key(&key) {
                return Err(format!(
                    "the role {} names the privilege {name}, which does not exist",
                    seed.name
                ));
            }
            let depth = Depth::parse(depth).ok_or_else(|| {
                format!("the role {} gives {name} the depth {depth}; it is Basic, Local, Deep or Global", seed.name)
            })?;
            privileges.insert(key, depth);
        }
        Ok(Self {
            id: role_id(organization, &seed.name),
            name: seed.name.clone(),
            privileges,
        })
    }

    /// How far a privilege reaches, by its name in lower case.
    pub(crate) fn depth(&self, privilege: &str) -> Option<Depth> {
        self.privileges.get(privilege).copied()
    }
}

/// What the roles hold that every organization has.
fn standard(role: &str, privilege: &str) -> Option<Depth> {
    let rest = privilege.strip_prefix("prv").unwrap_or(privilege);
    let access = Access::of_privilege(privilege);
    let noun = access.map_or("", |access| {
        rest.get(access.name().len()..).unwrap_or_default()
    });
    let configuration = matches!(
        noun,
        "Role" | "Privilege" | "BusinessUnit" | "User" | "Organization" | "Team"
    );
    match role {
        ADMINISTRATOR => Some(Depth::Global),
        "System Customizer" => (!matches!(access, Some(Access::Delete | Access::Assign))
            || !configuration)
            .then_some(Depth::Global),
        "Customer Service Representative" => match access? {
            Access::Read | Access::Append | Access::AppendTo => Some(Depth::Global),
            Access::Create | Access::Write => [
                "Account",
                "Contact",
                "Incident",
                "Activity",
                "Note",
                "Lead",
                "QueueItem",
            ]
            .contains(&noun)
            .then_some(Depth::Global),
            Access::Delete => (noun == "Activity").then_some(Depth::Global),
            Access::Assign | Access::Share => None,
        },
        "Basic User" => match access? {
            Access::Read if configuration => Some(Depth::Global),
            Access::Create | Access::Write | Access::Delete if configuration => None,
            _ => Some(Depth::Basic),
        },
        "Read Only" => (access? == Access::Read).then_some(Depth::Global),
        "Delegate" => (privilege == ACT_ON_BEHALF).then_some(Depth::Global),
        _ => None,
    }
}

/// Always the same for the same role of an organization.
pub(crate) fn role_id(organization: Uuid, name: &str) -> Uuid {
    Directory::object_id(&format!("{organization}/role/{name}"))
}

/// Always the same for the same privilege, in every organization.
pub(crate) fn privilege_id(privilege: &str) -> Uuid {
    Directory::object_id(&privilege.to_ascii_lowercase())
}

/// A user of the organization who calls.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) id: Uuid,
    pub(crate) business_unit: Uuid,
    /// The business unit and those below it.
    pub(crate) units_below: Vec<Uuid>,
    pub(crate) teams: Vec<Uuid>,
    pub(crate) roles: Vec<Arc<Role>>,
    /// Who really calls, when it is in another's name: both must hold what is done.
    pub(crate) behind: Option<Box<Member>>,
}

impl Member {
    /// The widest reach that the roles give; none when they do not hold the privilege.
    pub(crate) fn holds(&self, privilege: &str) -> Option<Depth> {
        let key = privilege.to_ascii_lowercase();
        let own = self
            .roles
            .iter()
            .filter_map(|role| role.depth(&key))
            .max()?;
        match &self.behind {
            Some(behind) => behind.holds(privilege).map(|other| own.min(other)),
            None => Some(own),
        }
    }

    pub(crate) fn depth(&self, access: Access, table: &Table) -> Option<Depth> {
        self.holds(&access.privilege(table))
    }

    fn privilege_count(&self) -> usize {
        let mut names: Vec<&String> = self
            .roles
            .iter()
            .flat_map(|role| role.privileges.keys())
            .collect();
        names.sort_unstable();
        names.dedup();
        names.len()
    }

    pub(crate) fn denied(&self, access: Access, table: &Table) -> Fault {
        let privilege = access.privilege(table);
        Fault::new(
            StatusCode::FORBIDDEN,
            "0x80040220",
            format!(
                "Principal user (Id={id}, type=8, roleCount={roles}, privilegeCount={count}, accessMode=0), \
                 is missing {privilege} privilege (Id={privilege_id}) on OTC={otc} for entity '{name}'. \
                 context.Caller={id}",
                id = self.id,
                roles = self.roles.len(),
                count = self.privilege_count(),
                privilege_id = privilege_id(&privilege),
                otc = table.type_code,
                name = table.name,
            ),
        )
    }

    pub(crate) fn out_of_reach(&self, access: Access, table: &Table, id: Uuid) -> Fault {
        let text = format!(
            "SecLib::AccessCheckEx failed. Principal with id {} does not have {} right(s) for record with id {id} of entity {}.",
            self.id,
            access.right(),
            table.name
        );
        Fault::new(StatusCode::FORBIDDEN, "0x80048306", text)
    }

    /// The member in whose name another one calls.
    ///
    /// # Errors
    /// When the caller does not hold the privilege that it takes.
    pub(crate) fn act_as(self, other: Member) -> Outcome<Member> {
        if self.holds(ACT_ON_BEHALF).is_none() {
            let text = format!(
                "Principal user (Id={}, type=8) is missing {ACT_ON_BEHALF} privilege (Id={})",
                self.id,
                privilege_id(ACT_ON_BEHALF)
            );
            return Err(Fault::new(StatusCode::FORBIDDEN, "0x8004a110", text));
        }
        Ok(Member {
            behind: Some(Box::new(self)),
            ..other
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_hold_what_their_names_say() {
        assert_eq!(
            standard(ADMINISTRATOR, "prvDeleteContact"),
            Some(Depth::Global)
        );
        let agent = |privilege| standard("Customer Service Representative", privilege);
        assert_eq!(agent("prvCreateActivity"), Some(Depth::Global));
        assert_eq!(agent("prvAppendToContact"), Some(Depth::Global));
        assert!(agent("prvDeleteContact").is_none() && agent("prvWriteUser").is_none());
        assert!(agent(ACT_ON_BEHALF).is_none());
        assert_eq!(
            standard("Basic User", "prvWriteContact"),
            Some(Depth::Basic)
        );
        assert_eq!(standard("Delegate", ACT_ON_BEHALF), Some(Depth::Global));
        assert!(standard("Read Only", "prvCreateContact").is_none());
    }

    #[test]
    fn depths_are_in_the_order_of_their_reach() {
        assert!(Depth::Basic < Depth::Local && Depth::Deep < Depth::Global);
        assert_eq!(Depth::parse("organization"), Some(Depth::Global));
        assert_eq!(Depth::parse("everywhere"), None);
    }
}

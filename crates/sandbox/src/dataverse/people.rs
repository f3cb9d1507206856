//! Members of an organization, their roles, and the privileges that follow.

use uuid::Uuid;

use crate::dataverse::old_schema::{self, Table};
use crate::entra::Directory;

/// A user of the organization who calls.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) id: Uuid,
    pub(crate) roles: Vec<String>,
}

const ACCESSES: [&str; 8] = [
    "Create", "Read", "Write", "Delete", "Append", "AppendTo", "Assign", "Share",
];

impl Member {
    /// Whether one of the roles holds a privilege.
    pub(crate) fn holds(&self, privilege: &str) -> bool {
        let Some((access, noun)) = split(privilege) else {
            return false;
        };
        self.roles.iter().any(|role| match role.as_str() {
            "System Administrator" => true,
            "Customer Service Representative" => match access {
                "Read" | "Append" | "AppendTo" => true,
                "Create" | "Write" => {
                    ["Account", "Contact", "Incident", "Activity"].contains(&noun)
                }
                "Delete" => noun == "Activity",
                _ => false,
            },
            "Read Only" => access == "Read",
            _ => false,
        })
    }

    pub(crate) fn privilege_count(&self) -> usize {
        let nouns = old_schema::tables().iter().map(noun);
        nouns
            .flat_map(|noun| {
                ACCESSES
                    .iter()
                    .map(move |access| format!("prv{access}{noun}"))
            })
            .filter(|privilege| self.holds(privilege))
            .count()
    }
}

/// `prvReadContact` is the access and its noun, whatever the case; none when there is no such
/// privilege.
fn split(privilege: &str) -> Option<(&'static str, &'static str)> {
    let rest = privilege
        .get(..3)
        .filter(|prefix| prefix.eq_ignore_ascii_case("prv"));
    let rest = rest.and_then(|_| privilege.get(3..))?;
    let starts = |word: &str| {
        rest.get(..word.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(word))
    };
    // The longer of two accesses that begin alike.
    let access = ACCESSES
        .into_iter()
        .filter(|access| starts(access))
        .max_by_key(|access| access.len())?;
    let named = rest.get(access.len()..)?;
    let noun = old_schema::tables()
        .iter()
        .map(noun)
        .find(|noun| noun.eq_ignore_ascii_case(named))?;
    Some((access, noun))
}

/// Activities share their privileges; so are users named.
fn noun(table: &Table) -> &'static str {
    match table.name {
        "account" => "Account",
        "contact" => "Contact",
        "incident" => "Incident",
        "systemuser" => "User",
        _ => "Activity",
    }
}

pub(crate) fn privilege_name(access: &str, table: &Table) -> String {
    format!("prv{access}{}", noun(table))
}

/// Always the same for the same privilege, in every organization.
pub(crate) fn privilege_id(privilege: &str) -> Uuid {
    Directory::object_id(&privilege.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(role: &str) -> Member {
        Member {
            id: Uuid::nil(),
            roles: vec![role.to_owned()],
        }
    }

    #[test]
    fn roles_hold_what_their_names_say() {
        assert!(member("System Administrator").holds("prvDeleteContact"));
        assert!(!member("System Administrator").holds("prvReadUnicorn"));
        let agent = member("Customer Service Representative");
        assert!(agent.holds("prvcreateactivity") && agent.holds("prvAppendToContact"));
        assert!(!agent.holds("prvDeleteContact") && !agent.holds("prvWriteUser"));
        assert!(!member("Unknown").holds("prvReadContact"));
    }
}

//! Rights that depend on what is written: to append a row to another, and to leave business logic
//! out.

use axum::http::StatusCode;
use uuid::Uuid;

use crate::dataverse::context::Context;
use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::records::Cells;
use crate::dataverse::schema::Table;
use crate::dataverse::security::{Access, privilege_id};

/// Headers that leave business logic out, with the privilege that it takes.
const BYPASSES: [(&str, &str); 3] = [
    (
        "mscrm.bypasscustompluginexecution",
        "prvBypassCustomPlugins",
    ),
    (
        "mscrm.bypassbusinesslogicexecution",
        "prvBypassCustomBusinessLogic",
    ),
    (
        "mscrm.bypassbusinesslogicexecutionstepids",
        "prvBypassCustomBusinessLogic",
    ),
];

/// To point at a row, a caller needs Append on the one that points and AppendTo on the other.
pub(super) fn demand_links(
    context: &Context<'_>,
    table: &Table,
    id: Option<Uuid>,
    cells: &Cells,
) -> Outcome<()> {
    let mut appended = false;
    for (name, cell) in cells {
        // Who owns a row is a matter of Assign.
        let Some((target, target_id)) = cell.as_row().filter(|_| name != "ownerid") else {
            continue;
        };
        let Some(target) = context.schema.by_name(target) else {
            continue;
        };
        if !appended {
            demand(context, Access::Append, table, id)?;
            appended = true;
        }
        demand(context, Access::AppendTo, target, Some(target_id))?;
    }
    Ok(())
}

fn demand(context: &Context<'_>, access: Access, table: &Table, id: Option<Uuid>) -> Outcome<()> {
    match id {
        Some(id) => context.demand_row(access, table, id),
        None => context.demand(access, table).map(|_| ()),
    }
}

/// There is no business logic here to leave out; but who may not ask for it is told so.
pub(super) fn demand_bypass(context: &Context<'_>) -> Outcome<()> {
    for (header, privilege) in BYPASSES {
        let Some(value) = context.header(header) else {
            continue;
        };
        let asked = !value.trim().is_empty() && !value.trim().eq_ignore_ascii_case("false");
        if asked && context.caller.holds(privilege).is_none() {
            let text = format!(
                "Principal user (Id={}, type=8) is missing {privilege} privilege (Id={}).",
                context.caller.id,
                privilege_id(privilege)
            );
            return Err(Fault::new(StatusCode::FORBIDDEN, "0x80040220", text));
        }
    }
    Ok(())
}

//! States of rows, and the time that was spent on cases.

use serde_json::{Value, json};

use crate::dataverse::answer::Answer;
use crate::dataverse::error::Outcome;
use crate::dataverse::functions::{Call, entity};
use crate::dataverse::read;
use crate::dataverse::security::Access;

pub(super) fn is_valid_transition(call: &Call<'_, '_>) -> Outcome<Answer> {
    let context = call.context();
    let target = call
        .arguments
        .required("Entity")?
        .as_object()
        .cloned()
        .unwrap_or_default();
    let (table, id) = entity::meant(context, &target, None)?;
    context.demand_row(Access::Read, table, id)?;
    read::must_exist(context, table, id)?;
    let wanted = call.arguments.text("NewState")?;
    let status = call.arguments.get("NewStatus").and_then(Value::as_i64);
    let state = table.states().iter().find(|state| {
        state.label.eq_ignore_ascii_case(wanted) || wanted.parse() == Ok(state.value)
    });
    let valid = state.is_some_and(|state| {
        status.is_none_or(|wanted| {
            table
                .statuses()
                .iter()
                .any(|status| status.value == wanted && status.state == state.value)
        })
    });
    Ok(call.answer("IsValidStateTransitionResponse", json!({"IsValid": valid})))
}

/// Minutes of the activities about a case that are done.
pub(super) fn total_time(call: &Call<'_, '_>) -> Outcome<Answer> {
    let (context, (table, id)) = (call.context(), call.row()?);
    context.demand_row(Access::Read, table, id)?;
    read::must_exist(context, table, id)?;
    let sql = "SELECT coalesce(sum(actualdurationminutes), 0) FROM activitypointer \
               WHERE regardingobjectid = ?1 AND statecode = 1";
    let minutes: i64 = context
        .db
        .prepare_cached(sql)?
        .query_row([id.to_string()], |row| row.get(0))?;
    Ok(call.answer(
        "CalculateTotalTimeIncidentResponse",
        json!({"TotalTime": minutes}),
    ))
}

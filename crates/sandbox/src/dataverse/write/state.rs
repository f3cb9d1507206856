//! State and status reason: which go together, and which follows from the other.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::dataverse::error::Outcome;
use crate::dataverse::records::{Cell, Cells};
use crate::dataverse::schema::{StateOption, StatusOption, Table};
use crate::dataverse::write::fault;

const STATE: &str = "statecode";
const STATUS: &str = "statuscode";
/// The state of an activity that is done.
const COMPLETED: i64 = 1;

/// Completes the state of a new row, or of a change to an old one.
pub(super) fn settle(
    table: &Table,
    id: Uuid,
    old: Option<&Cells>,
    cells: &mut Cells,
    now: DateTime<Utc>,
) -> Outcome<()> {
    let Some(first) = table.states().first() else {
        return Ok(());
    };
    let whole = |cells: &Cells, name: &str| cells.get(name).and_then(Cell::as_whole);
    let before = old.and_then(|old| whole(old, STATE));
    let (state, status) = match (whole(cells, STATE), whole(cells, STATUS)) {
        (None, None) if old.is_some() => {
            // Neither can be emptied.
            cells.remove(STATE);
            cells.remove(STATUS);
            return Ok(());
        }
        (None, None) => (first.value, first.default_status),
        (Some(state), Some(status)) => (state, status),
        (Some(state), None) if before == Some(state) => (
            state,
            old.and_then(|old| whole(old, STATUS))
                .unwrap_or(first.default_status),
        ),
        (Some(state), None) => (
            state,
            state_option(table, state).map_or(first.default_status, |own| own.default_status),
        ),
        (None, Some(status)) => (
            status_option(table, status).map_or(first.value, |own| own.state),
            status,
        ),
    };
    // An activity begins open, whatever comes of it later.
    let fits = status_option(table, status).is_some_and(|own| own.state == state);
    if !fits || (old.is_none() && table.is_activity() && state != first.value) {
        let shown = if fits { first.value } else { state };
        let label = state_option(table, shown)
            .map_or_else(|| shown.to_string(), |own| own.label.replace(' ', ""));
        return Err(fault::status(table, status, &label, id));
    }
    cells.insert(STATE.to_owned(), Cell::whole(state));
    cells.insert(STATUS.to_owned(), Cell::whole(status));
    let completed = table.is_activity() && state == COMPLETED && before != Some(COMPLETED);
    let ended = cells
        .get("actualend")
        .or_else(|| old.and_then(|old| old.get("actualend")));
    if completed && ended.is_none_or(Cell::is_null) && table.column("actualend").is_some() {
        cells.insert("actualend".to_owned(), Cell::whole(now.timestamp()));
    }
    Ok(())
}

fn state_option(table: &Table, value: i64) -> Option<&StateOption> {
    table.states().iter().find(|state| state.value == value)
}

fn status_option(table: &Table, value: i64) -> Option<&StatusOption> {
    table.statuses().iter().find(|status| status.value == value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataverse::schema::Schema;

    fn settled(
        table: &str,
        old: Option<(i64, i64)>,
        new: &[(&str, i64)],
    ) -> Outcome<(Option<i64>, Option<i64>)> {
        let schema = Schema::standard();
        let table = schema.by_name(table).expect("a table");
        let cells = |pairs: &[(&str, i64)]| -> Cells {
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), Cell::whole(*value)))
                .collect()
        };
        let old = old.map(|(state, status)| cells(&[(STATE, state), (STATUS, status)]));
        let mut new = cells(new);
        settle(
            table,
            Uuid::nil(),
            old.as_ref(),
            &mut new,
            DateTime::UNIX_EPOCH,
        )?;
        Ok((
            new.get(STATE).and_then(Cell::as_whole),
            new.get(STATUS).and_then(Cell::as_whole),
        ))
    }

    #[test]
    fn one_of_the_two_brings_the_other() {
        assert_eq!(
            settled("account", None, &[]).expect("active"),
            (Some(0), Some(1))
        );
        assert_eq!(
            settled("account", Some((0, 1)), &[(STATE, 1)]).expect("inactive"),
            (Some(1), Some(2))
        );
        assert_eq!(
            settled("incident", Some((0, 1)), &[(STATUS, 5)]).expect("resolved"),
            (Some(1), Some(5))
        );
        assert_eq!(
            settled("incident", Some((0, 3)), &[(STATE, 0)]).expect("as before"),
            (Some(0), Some(3))
        );
    }

    #[test]
    fn a_status_of_another_state_is_refused() {
        let fault =
            settled("phonecall", Some((0, 1)), &[(STATE, 1), (STATUS, 3)]).expect_err("a refusal");
        assert_eq!(fault.code, "0x80048408");
        assert!(
            fault.message.contains("PhoneCallState.Completed"),
            "{}",
            fault.message
        );
    }

    #[test]
    fn an_activity_begins_open() {
        assert!(settled("phonecall", None, &[(STATE, 1), (STATUS, 2)]).is_err());
        assert!(settled("phonecall", None, &[(STATUS, 4)]).is_err());
        assert!(settled("phonecall", None, &[(STATE, 0)]).is_ok());
        assert_eq!(
            settled("account", None, &[(STATE, 1)]).expect("inactive"),
            (Some(1), Some(2))
        );
    }
}

//! Cases, opportunities, quotes and orders that end: each leaves an activity that says how.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::dataverse::answer::{Answer, no_content};
use crate::dataverse::context::Context;
use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::functions::{Call, entity};
use crate::dataverse::records::{self, Cell};
use crate::dataverse::schema::Table;
use crate::dataverse::write::{create_from, update_from};

/// What an action closes, and how.
struct Closing {
    /// The parameter that holds the activity, and the activity's table.
    parameter: &'static str,
    activity: &'static str,
    /// What is closed, and the lookup of the activity that points at it.
    table: &'static str,
    lookup: &'static str,
    /// The state that it takes.
    state: i64,
    /// What is said when it is not open any more.
    over: (&'static str, &'static str),
}

const CASE: Closing = Closing {
    parameter: "IncidentResolution",
    activity: "incidentresolution",
    table: "incident",
    lookup: "incidentid",
    state: 1,
    over: ("0x80044411", "Already Closed or Canceled"),
};
const WON: Closing = Closing {
    parameter: "OpportunityClose",
    activity: "opportunityclose",
    table: "opportunity",
    lookup: "opportunityid",
    state: 1,
    over: ("0x80040515", "The opportunity has already been closed."),
};
const LOST: Closing = Closing { state: 2, ..WON };
const QUOTE_WON: Closing = Closing {
    parameter: "QuoteClose",
    activity: "quoteclose",
    table: "quote",
    lookup: "quoteid",
    state: 2,
    over: ("0x80040233", "The quote has already been won or closed."),
};
const QUOTE_CLOSED: Closing = Closing {
    state: 3,
    ..QUOTE_WON
};
const ORDER_FULFILLED: Closing = Closing {
    parameter: "OrderClose",
    activity: "orderclose",
    table: "salesorder",
    lookup: "salesorderid",
    state: 3,
    over: (
        "0x80040233",
        "The order has already been fulfilled or canceled.",
    ),
};
const ORDER_CANCELED: Closing = Closing {
    state: 2,
    ..ORDER_FULFILLED
};

pub(super) fn close_incident(call: &Call<'_, '_>) -> Outcome<Answer> {
    CASE.close(call)
}

pub(super) fn win_opportunity(call: &Call<'_, '_>) -> Outcome<Answer> {
    WON.close(call)
}

pub(super) fn lose_opportunity(call: &Call<'_, '_>) -> Outcome<Answer> {
    LOST.close(call)
}

pub(super) fn win_quote(call: &Call<'_, '_>) -> Outcome<Answer> {
    QUOTE_WON.close(call)
}

pub(super) fn close_quote(call: &Call<'_, '_>) -> Outcome<Answer> {
    QUOTE_CLOSED.close(call)
}

pub(super) fn fulfill_order(call: &Call<'_, '_>) -> Outcome<Answer> {
    ORDER_FULFILLED.close(call)
}

pub(super) fn cancel_order(call: &Call<'_, '_>) -> Outcome<Answer> {
    ORDER_CANCELED.close(call)
}

impl Closing {
    fn close(&self, call: &Call<'_, '_>) -> Outcome<Answer> {
        let context = call.context();
        let activity = call
            .arguments
            .required(self.parameter)?
            .as_object()
            .cloned()
            .unwrap_or_default();
        let status = call.arguments.whole("Status")?;
        let table = context
            .schema
            .by_name(self.table)
            .ok_or_else(|| Fault::no_segment(self.table))?;
        let id = self.closed(context, table, &activity)?;
        let row = records::load(context.db, context.schema, table, id)?;
        let row = row.ok_or_else(|| Fault::no_row(&table.name, id))?;
        let state = row.get("statecode").and_then(Cell::as_whole).unwrap_or(0);
        // A quote is a draft before it is active; everything else is open in its first state alone.
        if state != 0 && !(self.table == "quote" && state == 1) {
            let (code, text) = self.over;
            return Err(Fault::new(StatusCode::BAD_REQUEST, code, text));
        }
        let mut change = Map::from_iter([("statecode".to_owned(), json!(self.state))]);
        if status != -1 {
            change.insert("statuscode".to_owned(), json!(status));
        }
        if self.table == "opportunity" {
            change.extend(outcome(context, &activity));
        }
        update_from(context, table, id, &change)?;
        self.leave(context, &activity)?;
        Ok(no_content())
    }

    /// The row that the activity points at.
    fn closed(
        &self,
        context: &Context<'_>,
        table: &Table,
        activity: &Map<String, Value>,
    ) -> Outcome<Uuid> {
        let bound = activity
            .get(&format!("{}@odata.bind", self.lookup))
            .and_then(Value::as_str);
        let (found, id) = match (bound, activity.get(self.lookup).and_then(Value::as_object)) {
            (Some(address), _) => entity::at(context, address)?,
            (None, Some(row)) => entity::meant(context, row, context.schema.by_name(self.table))?,
            (None, None) => {
                return Err(Fault::argument(format!(
                    "'{}' names what it closes by '{}@odata.bind'.",
                    self.parameter, self.lookup
                )));
            }
        };
        if found.name != table.name {
            return Err(Fault::argument(format!(
                "'{}' closes a row of '{}', not of '{}'.",
                self.parameter, table.name, found.name
            )));
        }
        Ok(id)
    }

    /// The activity, which is done as soon as it is there.
    fn leave(&self, context: &Context<'_>, activity: &Map<String, Value>) -> Outcome<()> {
        let table = context
            .schema
            .by_name(self.activity)
            .ok_or_else(|| Fault::no_segment(self.activity))?;
        let mut body = activity.clone();
        body.retain(|name, _| !matches!(name.as_str(), "@odata.type" | "statecode" | "statuscode"));
        let id = create_from(context, table, &body, None)?;
        update_from(
            context,
            table,
            id,
            &Map::from_iter([("statecode".to_owned(), json!(1))]),
        )
    }
}

/// What an opportunity came to, and when.
fn outcome(context: &Context<'_>, activity: &Map<String, Value>) -> Map<String, Value> {
    let mut change = Map::new();
    if let Some(revenue) = activity
        .get("actualrevenue")
        .filter(|value| value.is_number())
    {
        change.insert("actualvalue".to_owned(), revenue.clone());
    }
    let end = activity
        .get("actualend")
        .and_then(Value::as_str)
        .and_then(|text| text.get(..10))
        .map(str::to_owned);
    let day = end.unwrap_or_else(|| context.now.format("%Y-%m-%d").to_string());
    change.insert("actualclosedate".to_owned(), json!(day));
    change
}

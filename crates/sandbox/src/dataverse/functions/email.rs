//! E-mail: the sandbox sends none, and says that it did.

use axum::http::StatusCode;
use serde_json::{Map, json};

use crate::dataverse::answer::Answer;
use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::functions::Call;
use crate::dataverse::records::{self, Cell, Cells};
use crate::dataverse::write::update_from;

/// Participation of those who get it: to, copy, blind copy.
const RECIPIENTS: &str = "2, 3, 4";
const SENT: i64 = 3;

pub(super) fn send(call: &Call<'_, '_>) -> Outcome<Answer> {
    let (context, (table, id)) = (call.context(), call.row()?);
    call.arguments.required("IssueSend")?;
    let row = records::load(context.db, context.schema, table, id)?
        .ok_or_else(|| Fault::no_row(&table.name, id))?;
    if row.get("statecode").and_then(Cell::as_whole).unwrap_or(0) != 0 {
        let text = "The e-mail must be a draft: it has been sent, or canceled.";
        return Err(Fault::new(StatusCode::BAD_REQUEST, "0x80043500", text));
    }
    let sql = format!(
        "SELECT 1 FROM activityparty WHERE activityid = ?1 AND participationtypemask IN ({RECIPIENTS})"
    );
    if !context.db.prepare_cached(&sql)?.exists([id.to_string()])? {
        let text = "The e-mail must have at least one recipient before it can be sent.";
        return Err(Fault::new(StatusCode::BAD_REQUEST, "0x80040b04", text));
    }
    let change = Map::from_iter([
        ("statecode".to_owned(), json!(1)),
        ("statuscode".to_owned(), json!(SENT)),
    ]);
    update_from(context, table, id, &change)?;
    let cells = Cells::from([("senton".to_owned(), context.now.timestamp().into())]);
    records::update(context.db, table, id, &cells)?;
    let subject = row
        .get("subject")
        .and_then(Cell::as_text)
        .unwrap_or_default();
    Ok(call.answer("SendEmailResponse", json!({"Subject": subject})))
}

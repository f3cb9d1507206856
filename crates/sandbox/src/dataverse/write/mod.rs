//! Writing rows: what a body says, what the platform adds, and what may be done.

mod key;

use uuid::Uuid;

use crate::dataverse::answer::Answer;
use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::read::Parent;
use crate::dataverse::resource::Request;
use crate::dataverse::schema::{Single, Table};

pub(crate) use key::Key;

/// `POST /contacts`, and `POST /accounts(…)/contact_customer_accounts`.
pub(crate) fn create<'s>(
    _request: &Request<'_, 's>,
    _table: &'s Table,
    _parent: Option<Parent<'s>>,
) -> Outcome<Answer> {
    Err(Fault::not_yet("writing"))
}
/// `PATCH /contacts(…)`.
pub(crate) fn upsert<'s>(
    _request: &Request<'_, 's>,
    _table: &'s Table,
    _key: Key,
) -> Outcome<Answer> {
    Err(Fault::not_yet("writing"))
}
/// `DELETE /contacts(…)`.
pub(crate) fn delete<'s>(
    _request: &Request<'_, 's>,
    _table: &'s Table,
    _id: Uuid,
) -> Outcome<Answer> {
    Err(Fault::not_yet("writing"))
}
/// `PUT /contacts(…)/telephone1`.
pub(crate) fn set_property<'s>(
    _request: &Request<'_, 's>,
    _table: &'s Table,
    _id: Uuid,
    _name: &str,
) -> Outcome<Answer> {
    Err(Fault::not_yet("writing"))
}
/// `DELETE /contacts(…)/telephone1`.
pub(crate) fn clear_property<'s>(
    _request: &Request<'_, 's>,
    _table: &'s Table,
    _id: Uuid,
    _name: &str,
) -> Outcome<Answer> {
    Err(Fault::not_yet("writing"))
}
/// `PUT /accounts(…)/primarycontactid/$ref`.
pub(crate) fn link_single<'s>(
    _request: &Request<'_, 's>,
    _table: &'s Table,
    _id: Uuid,
    _single: &'s Single,
) -> Outcome<Answer> {
    Err(Fault::not_yet("writing"))
}
/// `DELETE /accounts(…)/primarycontactid/$ref`.
pub(crate) fn unlink_single<'s>(
    _request: &Request<'_, 's>,
    _table: &'s Table,
    _id: Uuid,
    _single: &'s Single,
) -> Outcome<Answer> {
    Err(Fault::not_yet("writing"))
}
/// `POST /accounts(…)/contact_customer_accounts/$ref`.
pub(crate) fn link<'s>(_request: &Request<'_, 's>, _parent: Parent<'s>) -> Outcome<Answer> {
    Err(Fault::not_yet("writing"))
}
/// `DELETE /accounts(…)/contact_customer_accounts(…)/$ref`.
pub(crate) fn unlink<'s>(
    _request: &Request<'_, 's>,
    _parent: Parent<'s>,
    _id: Uuid,
) -> Outcome<Answer> {
    Err(Fault::not_yet("writing"))
}
/// `DELETE /accounts(…)/contact_customer_accounts/$ref?$id=…`.
pub(crate) fn unlink_named<'s>(_request: &Request<'_, 's>, _parent: Parent<'s>) -> Outcome<Answer> {
    Err(Fault::not_yet("writing"))
}
/// `PUT /emails(…)/email_activity_parties`: the whole list anew.
pub(crate) fn replace_parties<'s>(
    _request: &Request<'_, 's>,
    _parent: Parent<'s>,
) -> Outcome<Answer> {
    Err(Fault::not_yet("writing"))
}

/// Keeps the row of `activitypointer` that shows an activity.
pub(crate) fn shadow_activity(
    _db: &rusqlite::Connection,
    _schema: &crate::dataverse::schema::Schema,
    _table: &Table,
    _id: Uuid,
) -> rusqlite::Result<()> {
    Ok(())
}

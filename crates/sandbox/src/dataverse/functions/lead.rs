//! A lead that is qualified becomes an account, a contact and an opportunity.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::dataverse::answer::{Answer, json_answer};
use crate::dataverse::context::Context;
use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::functions::{Call, entity, mapping};
use crate::dataverse::records::{self, Cell};
use crate::dataverse::schema::Table;
use crate::dataverse::write::{create_from, update_from};

pub(super) fn qualify(call: &Call<'_, '_>) -> Outcome<Answer> {
    let (context, (lead, id)) = (call.context(), call.row()?);
    let row = records::load(context.db, context.schema, lead, id)?
        .ok_or_else(|| Fault::no_row(&lead.name, id))?;
    if row.get("statecode").and_then(Cell::as_whole).unwrap_or(0) != 0 {
        return Err(Fault::new(
            StatusCode::BAD_REQUEST,
            "0x80040519",
            "The lead is already closed.",
        ));
    }
    let status = call.arguments.whole("Status")?;
    let wanted = |name: &str| -> Outcome<bool> {
        Ok(call.arguments.required(name)?.as_bool().unwrap_or(false))
    };
    let making = Making { call, lead, id };
    let mut made: Vec<(&Table, Uuid)> = Vec::new();
    let mut change = Map::from_iter([
        ("statecode".to_owned(), json!(1)),
        ("statuscode".to_owned(), json!(status)),
    ]);
    if status == -1 {
        change.remove("statuscode");
    }
    let mut account = None;
    if wanted("CreateAccount")? {
        let found = making.row("account", Map::new())?;
        account = Some(address(found));
        change.insert(
            "parentaccountid@odata.bind".to_owned(),
            json!(address(found)),
        );
        made.push(found);
    }
    let mut contact = None;
    if wanted("CreateContact")? {
        let parent = account.as_ref().map(|account| {
            (
                "parentcustomerid_account@odata.bind".to_owned(),
                json!(account),
            )
        });
        let found = making.row("contact", Map::from_iter(parent))?;
        contact = Some(address(found));
        change.insert(
            "parentcontactid@odata.bind".to_owned(),
            json!(address(found)),
        );
        made.push(found);
    }
    if wanted("CreateOpportunity")? {
        made.push(making.row("opportunity", making.opportunity(account, contact)?)?);
    }
    update_from(context, lead, id, &change)?;
    Ok(shown(context, &made))
}

fn address((table, id): (&Table, Uuid)) -> String {
    format!("/{}({id})", table.set)
}

fn shown(context: &Context<'_>, made: &[(&Table, Uuid)]) -> Answer {
    let rows = made.iter().map(|(table, id)| {
        json!({"@odata.type": format!("#Microsoft.Dynamics.CRM.{}", table.name), table.key.as_str(): id})
    });
    let value: Vec<Value> = rows.collect();
    let context = format!(
        "{}#Collection(Microsoft.Dynamics.CRM.crmbaseentity)",
        context.metadata()
    );
    json_answer(
        StatusCode::OK,
        &json!({"@odata.context": context, "value": value}),
    )
}

struct Making<'c, 'a, 's> {
    call: &'c Call<'a, 's>,
    lead: &'s Table,
    id: Uuid,
}

impl<'s> Making<'_, '_, 's> {
    /// Makes a row from what the lead knows.
    fn row(&self, name: &str, more: Map<String, Value>) -> Outcome<(&'s Table, Uuid)> {
        let context = self.call.context();
        let table = context
            .schema
            .by_name(name)
            .ok_or_else(|| Fault::no_segment(name))?;
        let mut body = mapping::mapped(context, (self.lead, self.id), table)?;
        body.extend(more);
        Ok((table, create_from(context, table, &body, None)?))
    }

    /// Customer, currency and campaign of the opportunity.
    fn opportunity(
        &self,
        account: Option<String>,
        contact: Option<String>,
    ) -> Outcome<Map<String, Value>> {
        let (context, arguments) = (self.call.context(), &self.call.arguments);
        let mut body = Map::new();
        let named = |name: &str| arguments.get(name).and_then(Value::as_object);
        if let Some(customer) = named("OpportunityCustomerId") {
            let (table, id) = entity::meant(context, customer, None)?;
            body.insert(
                format!("customerid_{}@odata.bind", table.name),
                json!(address((table, id))),
            );
        } else if let Some(account) = &account {
            body.insert("customerid_account@odata.bind".to_owned(), json!(account));
        } else if let Some(contact) = &contact {
            body.insert("customerid_contact@odata.bind".to_owned(), json!(contact));
        }
        for (parameter, property, of) in [
            (
                "OpportunityCurrencyId",
                "transactioncurrencyid",
                "transactioncurrency",
            ),
            ("SourceCampaignId", "campaignid", "campaign"),
        ] {
            if let Some(row) = named(parameter) {
                let row = entity::meant(context, row, context.schema.by_name(of))?;
                body.insert(format!("{property}@odata.bind"), json!(address(row)));
            }
        }
        Ok(body)
    }
}

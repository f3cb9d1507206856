//! Functions and actions. What there is stands in the vocabulary, from which `$metadata` is made,
//! too; here is what each of them does.

mod arguments;
mod bulk_delete;
mod closing;
mod duplicates;
mod email;
mod entity;
mod lead;
mod mapping;
mod merge;
mod platform;
mod privileges;
mod queue;
mod sharing;
mod states;
mod team;
mod time_zones;

pub(crate) use entity::typed;
pub(crate) use platform::VERSION;
pub(crate) use privileges::right_bit;

use axum::http::{Method, StatusCode};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::dataverse::answer::{Answer, json_answer};
use crate::dataverse::bulk;
use crate::dataverse::context::Context;
use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::functions::arguments::Arguments;
use crate::dataverse::odata::Segment;
use crate::dataverse::resource::Request;
use crate::dataverse::schema::{Operation, OperationKind, Table, vocabulary};

/// What an operation is called on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Subject<'s> {
    Service,
    Set(&'s Table),
    Row(&'s Table, Uuid),
}

/// One call of a function or an action.
pub(crate) struct Call<'a, 's> {
    pub(crate) request: &'a Request<'a, 's>,
    pub(crate) subject: Subject<'s>,
    arguments: Arguments,
}

type Handler = fn(&Call<'_, '_>) -> Outcome<Answer>;

/// What an operation of the vocabulary does.
fn handler(name: &str) -> Option<Handler> {
    Some(match name {
        "WhoAmI" => platform::who_am_i,
        "RetrieveVersion" => platform::version,
        "RetrieveCurrentOrganization" => platform::current_organization,
        "RetrieveTotalRecordCount" => platform::total_record_count,
        "RetrieveAvailableLanguages" => platform::available_languages,
        "RetrieveProvisionedLanguages" => platform::provisioned_languages,
        "RetrieveTimestamp" => platform::timestamp,
        "FormatAddress" => platform::format_address,
        "GetTimeZoneCodeByLocalizedName" => time_zones::code_by_name,
        "RetrieveUserPrivileges" => privileges::of_user,
        "RetrieveUserPrivilegeByPrivilegeId" | "RetrieveUserSetOfPrivilegesByIds" => {
            privileges::by_ids
        }
        "RetrieveUserPrivilegeByPrivilegeName" | "RetrieveUserSetOfPrivilegesByNames" => {
            privileges::by_names
        }
        "RetrieveRolePrivilegesRole" => privileges::of_role,
        "RetrievePrincipalAccess" => privileges::principal_access,
        "RetrieveSharedPrincipalsAndAccess" => sharing::principals,
        "RetrieveDuplicates" => duplicates::retrieve,
        "InitializeFrom" => mapping::initialize,
        "IsValidStateTransition" => states::is_valid_transition,
        "CalculateTotalTimeIncident" => states::total_time,
        other => return action(other),
    })
}

fn action(name: &str) -> Option<Handler> {
    Some(match name {
        "CloseIncident" => closing::close_incident,
        "WinOpportunity" => closing::win_opportunity,
        "LoseOpportunity" => closing::lose_opportunity,
        "WinQuote" => closing::win_quote,
        "CloseQuote" => closing::close_quote,
        "FulfillSalesOrder" => closing::fulfill_order,
        "CancelSalesOrder" => closing::cancel_order,
        "QualifyLead" => lead::qualify,
        "Merge" => merge::merge,
        "AddMembersTeam" => team::add_members,
        "RemoveMembersTeam" => team::remove_members,
        "AddListMembersList" => team::add_list_members,
        "AddMemberList" => team::add_list_member,
        "RemoveMemberList" => team::remove_list_member,
        "AddToQueue" => queue::add,
        "RemoveFromQueue" => queue::remove,
        "PickFromQueue" => queue::pick,
        "ReleaseToQueue" => queue::release,
        "AddPrincipalToQueue" => queue::add_principal,
        "SendEmail" => email::send,
        "GrantAccess" => sharing::grant,
        "ModifyAccess" => sharing::modify,
        "RevokeAccess" => sharing::revoke,
        "BulkDelete" => bulk_delete::delete,
        "CreateMultiple" => bulk::create_multiple,
        "UpdateMultiple" => bulk::update_multiple,
        "UpsertMultiple" => bulk::upsert_multiple,
        "DeleteMultiple" => bulk::delete_multiple,
        _ => return None,
    })
}

/// What Dataverse has and the sandbox knows by name only.
const NOT_YET: [&str; 59] = [
    "AddPrivilegesRole",
    "AddSolutionComponent",
    "BulkDetectDuplicates",
    "CalculateRollupField",
    "CanBeReferenced",
    "CanBeReferencing",
    "CanManyToMany",
    "CommitAnnotationBlocksUpload",
    "CommitAttachmentBlocksUpload",
    "CommitFileBlocksUpload",
    "CreateCustomerRelationships",
    "CreateEntities",
    "CreatePolymorphicLookupAttribute",
    "DeleteFile",
    "DeleteOptionValue",
    "DownloadBlock",
    "ExecuteCosmosSqlQuery",
    "ExecuteWorkflow",
    "ExportSolution",
    "ExportSolutionAsync",
    "GetFileSasUrl",
    "GetValidManyToMany",
    "GetValidReferencedEntities",
    "GetValidReferencingEntities",
    "ImportSolution",
    "ImportSolutionAsync",
    "InitializeAnnotationBlocksDownload",
    "InitializeAnnotationBlocksUpload",
    "InitializeAttachmentBlocksDownload",
    "InitializeAttachmentBlocksUpload",
    "InitializeFileBlocksDownload",
    "InitializeFileBlocksUpload",
    "InsertOptionValue",
    "InsertStatusValue",
    "InstallSampleData",
    "OrderOption",
    "PublishAllXml",
    "PublishXml",
    "RemovePrivilegeRole",
    "RemoveSolutionComponent",
    "ReplacePrivilegesRole",
    "RetrieveAllEntities",
    "RetrieveAttributeChangeHistory",
    "RetrieveDependenciesForDelete",
    "RetrieveDependenciesForUninstall",
    "RetrieveDependentComponents",
    "RetrieveEntity",
    "RetrieveRecordChangeHistory",
    "RetrieveRequiredComponents",
    "SetAutoNumberSeed",
    "UninstallSampleData",
    "UpdateOptionValue",
    "UpdateStateValue",
    "UploadBlock",
    "searchautocomplete",
    "searchquery",
    "searchstatistics",
    "searchstatus",
    "searchsuggest",
];

/// `/WhoAmI`, `/Merge`: what is called on nothing.
pub(crate) fn unbound(
    request: &Request<'_, '_>,
    segment: &Segment,
    rest: &[Segment],
) -> Outcome<Answer> {
    let Some((kind, operation)) = vocabulary()
        .operation(&segment.name)
        .filter(|(_, one)| one.bound.is_none())
    else {
        return Err(unknown(&segment.name));
    };
    call(request, kind, operation, Subject::Service, segment, rest)
}

/// `/systemusers(…)/Microsoft.Dynamics.CRM.RetrieveUserPrivileges()`: what is called on a row, or
/// on the rows of a set.
pub(crate) fn bound<'s>(
    request: &Request<'_, 's>,
    subject: Subject<'s>,
    segment: &Segment,
    rest: &[Segment],
) -> Outcome<Answer> {
    let name = segment.qualified().unwrap_or(&segment.name);
    let found = vocabulary().operation(name);
    let fitting = found.filter(|(_, one)| {
        one.bound
            .as_deref()
            .is_some_and(|bound| fits(bound, subject))
    });
    let Some((kind, operation)) = fitting else {
        return Err(if found.is_some() {
            Fault::no_segment(&segment.name)
        } else {
            unknown(name)
        });
    };
    call(request, kind, operation, subject, segment, rest)
}

fn unknown(name: &str) -> Fault {
    if NOT_YET.contains(&name) {
        Fault::not_yet(name)
    } else {
        Fault::no_segment(name)
    }
}

/// Whether an operation of a type can be called on something.
fn fits(bound: &str, subject: Subject<'_>) -> bool {
    let of = |table: &Table, bound: &str| match bound {
        "mscrm.crmbaseentity" => true,
        "mscrm.principal" => matches!(table.name.as_str(), "systemuser" | "team"),
        other => other
            .strip_prefix("mscrm.")
            .is_some_and(|name| name == table.name),
    };
    let collection = bound
        .strip_prefix("Collection(")
        .and_then(|inside| inside.strip_suffix(')'));
    match (subject, collection) {
        (Subject::Row(table, _), None) => of(table, bound),
        (Subject::Set(table), Some(member)) => of(table, member),
        _ => false,
    }
}

fn call<'s>(
    request: &Request<'_, 's>,
    kind: OperationKind,
    operation: &'static Operation,
    subject: Subject<'s>,
    segment: &Segment,
    rest: &[Segment],
) -> Outcome<Answer> {
    if let Some(other) = rest.first() {
        return Err(Fault::no_segment(&other.name));
    }
    let arguments = match (kind, request.method()) {
        (OperationKind::Function, &Method::GET) => Arguments::of_function(
            operation,
            segment.inside.as_deref(),
            &request.options.aliases,
        )?,
        (OperationKind::Function, _) => return Err(no_resource(request)),
        (OperationKind::Action, &Method::POST) => {
            Arguments::of_action(operation, &request.operation.body)?
        }
        (OperationKind::Action, _) => return Err(Fault::method_not_allowed()),
    };
    let handler = handler(&operation.name).ok_or_else(|| Fault::not_yet(&operation.name))?;
    handler(&Call {
        request,
        subject,
        arguments,
    })
}

/// What is said to a function that is posted to.
fn no_resource(request: &Request<'_, '_>) -> Fault {
    let text = format!(
        "No HTTP resource was found that matches the request URI '{}'.",
        request.address
    );
    Fault::new(StatusCode::NOT_FOUND, "", text)
}

impl<'s> Call<'_, 's> {
    pub(crate) fn context(&self) -> &Context<'s> {
        self.request.context
    }

    pub(crate) fn arguments(&self) -> &Arguments {
        &self.arguments
    }

    /// The row that it is called on.
    fn row(&self) -> Outcome<(&'s Table, Uuid)> {
        match self.subject {
            Subject::Row(table, id) => Ok((table, id)),
            Subject::Service | Subject::Set(_) => {
                Err(Fault::argument("The operation is called on a row."))
            }
        }
    }

    /// An answer of a type that has members of its own.
    pub(crate) fn answer(&self, kind: &str, members: Value) -> Answer {
        let context = format!(
            "{}#Microsoft.Dynamics.CRM.{kind}",
            self.context().metadata()
        );
        let mut body = Map::from_iter([("@odata.context".to_owned(), Value::String(context))]);
        if let Value::Object(members) = members {
            body.extend(members);
        }
        json_answer(StatusCode::OK, &Value::Object(body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_described_is_done_and_what_is_not_is_not() {
        let all = vocabulary();
        for one in all.functions.iter().chain(&all.actions) {
            assert!(
                handler(&one.name).is_some(),
                "{} stands in $metadata and nothing does it",
                one.name
            );
        }
        for name in NOT_YET {
            assert!(
                all.operation(name).is_none() && handler(name).is_none(),
                "{name}"
            );
        }
    }

    #[test]
    fn operations_fit_what_they_are_bound_to() {
        let schema = crate::dataverse::schema::Schema::standard();
        let table = |name| schema.by_name(name).expect("a table");
        let row = |name| Subject::Row(table(name), Uuid::nil());
        assert!(fits("mscrm.principal", row("team")) && !fits("mscrm.principal", row("account")));
        assert!(fits(
            "Collection(mscrm.crmbaseentity)",
            Subject::Set(table("account"))
        ));
        assert!(!fits("Collection(mscrm.crmbaseentity)", row("account")));
        assert!(!fits("mscrm.incident", Subject::Set(table("incident"))));
    }
}

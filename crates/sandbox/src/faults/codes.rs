//! The codes that Dataverse refuses with, and what it says with them.

use crate::fields::nearest;

/// A code with its status and text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) code: String,
    pub(crate) status: u16,
    pub(crate) message: &'static str,
}

/// Code, name, status, and a message as Dataverse words it; where it names a row or a column, an
/// example stands in its place.
const CODES: [(&str, &str, u16, &str); 50] = [
    (
        "0x80040217",
        "ObjectDoesNotExist",
        404,
        "contact With Id = 00000000-0000-0000-0000-000000000001 Does Not Exist",
    ),
    (
        "0x80060891",
        "RecordNotFoundByEntityKey",
        404,
        "A record with the specified key values does not exist in contact entity",
    ),
    (
        "0x80060890",
        "EntityKeyNotDefined",
        400,
        "The specified key attributes are not a defined key for the contact entity",
    ),
    (
        "0x8006089d",
        "MultipleRecordsFoundByEntityKey",
        400,
        "More than one record exists for entity contact with entity key involving attributes",
    ),
    (
        "0x80040237",
        "DuplicateRecord",
        412,
        "A record with matching key values already exists.",
    ),
    (
        "0x80060892",
        "DuplicateRecordEntityKey",
        412,
        "A record that has the attribute values already exists. The entity key requires that this set of attributes contains unique values.",
    ),
    (
        "0x80040333",
        "DuplicateRecordsFound",
        412,
        "A record was not created or updated because a duplicate of the current record already exists.",
    ),
    (
        "0x80060882",
        "ConcurrencyVersionMismatch",
        412,
        "The version of the existing record doesn't match the RowVersion property provided.",
    ),
    (
        "0x80060883",
        "ConcurrencyVersionNotProvided",
        400,
        "The RowVersion property must be provided when the value of ConcurrencyBehavior is IfVersionMatches.",
    ),
    (
        "0x8006088d",
        "OptimisticConcurrencyNotEnabled",
        400,
        "Optimistic concurrency isn't enabled for entity type contact.",
    ),
    (
        "0x80040220",
        "PrivilegeDenied",
        403,
        "Principal user (Id=00000000-0000-0000-0000-000000000001, type=8, roleCount=1, privilegeCount=465, accessMode=0), is missing prvReadContact privilege (Id=00000000-0000-0000-0000-000000000002) on OTC=2 for entity 'contact'. context.Caller=00000000-0000-0000-0000-000000000001",
    ),
    (
        "0x80048306",
        "unManagedIdsAccessDenied",
        403,
        "Not enough privilege to access the Microsoft Dynamics 365 object or perform the requested operation.",
    ),
    (
        "0x80040231",
        "PrincipalPrivilegeDenied",
        403,
        "Principal privilege denied.",
    ),
    ("0x80048405", "AccessDenied", 403, "Access denied."),
    (
        "0x80040256",
        "CrmSecurityError",
        403,
        "Caller does not have privilege to perform this action.",
    ),
    (
        "0x80072560",
        "UserNotMemberOfOrg",
        403,
        "The user is not a member of the organization.",
    ),
    (
        "0x80040225",
        "unManagedidsusernotenabled",
        403,
        "The specified user is either disabled or is not a member of any business unit.",
    ),
    (
        "0x8004a110",
        "CannotActOnBehalfOfAnotherUser",
        403,
        "User does not have the privilege to act on behalf another user.",
    ),
    (
        "0x8004f504",
        "AttributePermissionReadIsMissing",
        403,
        "The user does not have AttributePrivilege Read on a secured attribute.",
    ),
    (
        "0x8004f507",
        "AttributePermissionUpdateIsMissingDuringUpdate",
        403,
        "The user does not have AttributePrivilege Update on a secured attribute.",
    ),
    (
        "0x80044302",
        "RequestIsNotAuthenticated",
        401,
        "The request is not authenticated.",
    ),
    ("0x80040204", "InvalidUserAuth", 401, "Invalid user auth."),
    (
        "0x80060888",
        "ODataError",
        400,
        "Could not find a property named 'nothing' on type 'Microsoft.Dynamics.CRM.contact'.",
    ),
    (
        "0x8006088a",
        "CrmHttpError",
        404,
        "Resource not found for the segment 'Contact'.",
    ),
    (
        "0x80048d19",
        "PayloadError",
        400,
        "Error identified in Payload provided by the user for Entity :'contacts'",
    ),
    ("0x80040203", "InvalidArgument", 400, "Invalid Argument."),
    (
        "0x80044331",
        "StringLengthTooLong",
        400,
        "A validation error occurred.  The length of the 'lastname' attribute of the 'contact' entity exceeded the maximum allowed length of '50'.",
    ),
    (
        "0x8004431a",
        "PicklistValueOutOfRange",
        400,
        "A validation error occurred. The value of a choice column is outside the valid range.",
    ),
    (
        "0x8004432f",
        "IntegerValueOutOfRange",
        400,
        "A validation error occurred. An integer is outside the valid range.",
    ),
    (
        "0x80044330",
        "DecimalValueOutOfRange",
        400,
        "A validation error occurred. A decimal is outside the valid range.",
    ),
    (
        "0x80048408",
        "InvalidStateCodeStatusCode",
        400,
        "State code is invalid or state code is valid but status code is invalid for a specified state code.",
    ),
    (
        "0x80040227",
        "CannotDeleteDueToAssociation",
        405,
        "The object you tried to delete is associated with another object and cannot be deleted.",
    ),
    (
        "0x80040265",
        "IsvAborted",
        400,
        "ISV code aborted the operation.",
    ),
    (
        "0x80040224",
        "IsvUnExpected",
        500,
        "An unexpected error occurred from ISV code.",
    ),
    (
        "0x8004e023",
        "AggregateQueryRecordLimitExceeded",
        400,
        "The maximum record limit is exceeded. Reduce the number of records.",
    ),
    (
        "0x80040216",
        "UnExpected",
        500,
        "An unexpected error occurred.",
    ),
    (
        "0x80044150",
        "unManagedidssqlerror",
        400,
        "Sql error: Generic SQL error.",
    ),
    (
        "0x80044151",
        "unManagedidssqltimeouterror",
        500,
        "Sql error: SQL timeout expired.",
    ),
    (
        "0x80041103",
        "QueryBuilderNoAttribute",
        400,
        "'contact' entity doesn't contain attribute with that name.",
    ),
    (
        "0x80041102",
        "QueryBuilderNoEntity",
        400,
        "The entity with that name was not found in the MetadataCache.",
    ),
    (
        "0x80044411",
        "IncidentIsAlreadyClosedOrCancelled",
        400,
        "This case has already been resolved. Close and reopen the case record to see the updates.",
    ),
    (
        "0x8004a104",
        "OrganizationDisabled",
        403,
        "The organization is disabled.",
    ),
    (
        "0x80072559",
        "AADError",
        400,
        "There was an error communicating with Microsoft Entra ID.",
    ),
    (
        "0x80048d0b",
        "FeatureDisabled",
        400,
        "Dataverse Search feature is disabled for this organization.",
    ),
    (
        "0x80072491",
        "ChangeTrackingNotEnabledForEntity",
        400,
        "Change tracking is not enabled for the entity.",
    ),
    (
        "0x80044352",
        "ExpiredVersionStamp",
        400,
        "Version stamp associated with the client has expired. Please perform a full sync.",
    ),
    (
        "0x8004020d",
        "InvalidAccessRights",
        400,
        "Invalid access rights.",
    ),
    (
        "0x80072322",
        "ThrottlingBurstRequestLimitExceededError",
        429,
        "Number of requests exceeded the limit of 6000 over time window of 300 seconds.",
    ),
    (
        "0x80072321",
        "ThrottlingTimeExceededError",
        429,
        "Combined execution time of incoming requests exceeded limit of 1,200,000 milliseconds over time window of 300 seconds. Decrease number of concurrent requests or reduce the duration of requests and try again later.",
    ),
    (
        "0x80072326",
        "ThrottlingConcurrencyLimitExceededError",
        429,
        "Number of concurrent requests exceeded the limit of 52.",
    ),
];

/// A code by its name or its hexadecimal number; a number that is not known is taken as it is.
pub(crate) fn find(text: &str) -> Result<Known, String> {
    let text = text.trim();
    let same = |(code, name, ..): &&(&str, &str, u16, &str)| {
        code.eq_ignore_ascii_case(text) || name.eq_ignore_ascii_case(text)
    };
    if let Some((code, _, status, message)) = CODES.iter().find(same) {
        return Ok(Known {
            code: (*code).to_owned(),
            status: *status,
            message,
        });
    }
    let hexadecimal = text
        .strip_prefix("0x")
        .or_else(|| text.strip_prefix("0X"))
        .filter(|digits| (1..=8).contains(&digits.len()))
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if let Some(digits) = hexadecimal {
        return Ok(Known {
            code: format!("0x{}", digits.to_ascii_lowercase()),
            status: 400,
            message: "An error occurred.",
        });
    }
    let names: Vec<&str> = CODES.iter().map(|(_, name, ..)| *name).collect();
    let meant = nearest(text, &names)
        .map(|name| format!("; did you mean {name}?"))
        .unwrap_or_default();
    Err(format!(
        "'{text}' is neither the name of a code that is known here, such as PrivilegeDenied, nor a \
         hexadecimal code such as 0x80040220{meant}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_found_by_name_and_by_number() {
        let by_name = find("privilegedenied").unwrap();
        assert_eq!((by_name.code.as_str(), by_name.status), ("0x80040220", 403));
        assert_eq!(find("0X80040220").unwrap(), by_name);
        let strange = find("0x8004ABCD").unwrap();
        assert_eq!((strange.code.as_str(), strange.status), ("0x8004abcd", 400));
    }

    #[test]
    fn a_misspelt_name_is_refused_with_the_nearest() {
        let problem = find("PrivilegeDenid").unwrap_err();
        assert!(
            problem.contains("did you mean PrivilegeDenied?"),
            "{problem}"
        );
        assert!(find("0x").is_err() && find("0x123456789").is_err());
    }

    #[test]
    fn no_code_is_there_twice() {
        for (index, (code, name, ..)) in CODES.iter().enumerate() {
            let later = CODES.iter().skip(index + 1);
            let twice = later.filter(|(other, other_name, ..)| other == code || other_name == name);
            assert_eq!(twice.count(), 0, "{code} {name}");
        }
    }
}

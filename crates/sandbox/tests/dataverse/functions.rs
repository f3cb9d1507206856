//! Functions and actions.

use reqwest::Method;
use serde_json::json;

use crate::support::Service;

async fn who(service: &Service) -> String {
    service.read("WhoAmI").await["UserId"]
        .as_str()
        .expect("a user")
        .to_owned()
}

#[tokio::test]
async fn who_am_i_names_user_unit_and_organization() {
    let service = Service::start().await;
    let answer = service.get("WhoAmI").await;
    assert_eq!((answer.status, answer.header("x-ms-dop-hint")), (200, "4"));
    let body = answer.json();
    let context = body["@odata.context"].as_str().expect("a context");
    assert!(
        context.ends_with("/$metadata#Microsoft.Dynamics.CRM.WhoAmIResponse"),
        "{context}"
    );
    for member in ["UserId", "BusinessUnitId", "OrganizationId"] {
        assert!(body[member].is_string(), "{body}");
    }
    assert_eq!(service.read("WhoAmI()").await, body);
}

#[tokio::test]
async fn a_function_is_not_posted_to_and_an_action_is_not_read() {
    let service = Service::start().await;
    let answer = service.post("WhoAmI", json!({})).await;
    assert_eq!(answer.refusal(), (404, String::new()));
    assert!(
        answer
            .message()
            .starts_with("No HTTP resource was found that matches the request URI 'https://")
    );
    assert_eq!(service.get("Merge").await.status, 405);
    let answer = service.get("NoSuchFunction()").await;
    assert_eq!(
        answer.message(),
        "Resource not found for the segment 'NoSuchFunction'."
    );
}

#[tokio::test]
async fn parameters_stand_inline_or_behind_aliases() {
    let service = Service::start().await;
    let forms = [
        "RetrieveTotalRecordCount(EntityNames=['contact','account'])",
        "RetrieveTotalRecordCount(EntityNames=@p1)?@p1=[\"contact\",\"account\"]",
        "RetrieveTotalRecordCount(EntityNames=@names)?%40names=%5B'contact','account'%5D",
    ];
    for form in forms {
        let counts = &service.read(form).await["EntityRecordCountCollection"];
        assert_eq!(
            (&counts["Count"], &counts["Keys"]),
            (&json!(2), &json!(["contact", "account"])),
            "{form}"
        );
        assert_eq!(counts["Values"][0], 12);
    }
    let zone = "GetTimeZoneCodeByLocalizedName(LocalizedStandardName=@p1,LocaleId=@p2)?@p1='Pacific%20Standard%20Time'&@p2=1033";
    assert_eq!(service.read(zone).await["TimeZoneCode"], 4);
}

#[tokio::test]
async fn parameters_that_do_not_fit_are_refused() {
    let service = Service::start().await;
    let status = |path: &'static str| {
        let service = &service;
        async move { service.get(path).await.status }
    };
    assert_eq!(status("RetrieveTotalRecordCount()").await, 404);
    assert_eq!(
        status("RetrieveTotalRecordCount(Names=['contact'])").await,
        404
    );
    assert_eq!(
        status("RetrieveTotalRecordCount(EntityNames='contact')").await,
        400
    );
    assert_eq!(
        status("RetrieveTotalRecordCount(EntityNames=['nothing'])").await,
        400
    );
    assert_eq!(status("WhoAmI()/UserId").await, 404);
    let answer = service.post("GrantAccess", json!({"Whom": 1})).await;
    assert_eq!(
        answer.message(),
        "The parameter 'Whom' in the request payload is not a valid parameter for the operation 'GrantAccess'."
    );
}

#[tokio::test]
async fn the_organization_tells_of_itself() {
    let service = Service::start().await;
    let path = "RetrieveCurrentOrganization(AccessType=@p1)?@p1=Microsoft.Dynamics.CRM.EndpointAccessType'Default'";
    let detail = &service.read(path).await["Detail"];
    let version = service.read("RetrieveVersion()").await;
    assert_eq!(detail["OrganizationVersion"], version["Version"]);
    assert_eq!(detail["State"], "Enabled");
    assert_eq!(
        detail["Endpoints"]["Values"][0],
        format!("{}/", service.sandbox.origin())
    );
}

#[tokio::test]
async fn privileges_that_are_held_are_given() {
    let service = Service::start().await;
    let user = who(&service).await;
    let names = r#"["prvreadcontact","prvCreateActivity","prvNothing"]"#;
    let path = format!(
        "systemusers({user})/Microsoft.Dynamics.CRM.RetrieveUserSetOfPrivilegesByNames(PrivilegeNames=@p)?@p={names}"
    );
    let held = service.read(&path).await["RolePrivileges"].clone();
    let names: Vec<&str> = held
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|one| one["PrivilegeName"].as_str())
        .collect();
    assert_eq!(names, ["prvReadContact", "prvCreateActivity"]);
    let id = held[0]["PrivilegeId"].as_str().expect("an id");
    let path = format!(
        "systemusers({user})/Microsoft.Dynamics.CRM.RetrieveUserSetOfPrivilegesByIds(PrivilegeIds=[{id}])"
    );
    assert_eq!(service.read(&path).await["RolePrivileges"][0], held[0]);
    let all = service
        .read(&format!(
            "systemusers({user})/Microsoft.Dynamics.CRM.RetrieveUserPrivileges()"
        ))
        .await;
    assert!(
        all["RolePrivileges"]
            .as_array()
            .expect("a list")
            .contains(&held[0])
    );
    let other = service
        .get(&format!(
            "contacts({user})/Microsoft.Dynamics.CRM.RetrieveUserPrivileges()"
        ))
        .await;
    assert_eq!(other.status, 404);
}

#[tokio::test]
async fn the_privileges_of_a_role_are_listed() {
    let service = Service::start().await;
    let roles = service
        .read("roles?$select=name&$filter=name eq 'Read Only'")
        .await;
    let role = roles["value"][0]["roleid"]
        .as_str()
        .expect("a role")
        .to_owned();
    let path = format!("RetrieveRolePrivilegesRole(RoleId={role})");
    let listed = service.read(&path).await["RolePrivileges"].clone();
    let listed = listed.as_array().expect("a list");
    let of = |name: &str| listed.iter().find(|one| one["PrivilegeName"] == name);
    assert_eq!(
        of("prvReadContact").expect("a privilege")["Depth"],
        "Global"
    );
    assert_eq!(of("prvWriteContact"), None);
    let rows = service
        .read(&format!(
            "roles({role})/roleprivileges_association?$select=name&$count=true&$filter=name eq 'prvReadContact' or name eq 'prvWriteContact'"
        ))
        .await;
    assert_eq!(rows["@odata.count"], 1);
    assert_eq!(
        rows["value"][0]["privilegeid"],
        of("prvReadContact").expect("a privilege")["PrivilegeId"]
    );
    let nobody = "RetrieveRolePrivilegesRole(RoleId=00000000-0000-0000-0000-0000000000aa)";
    assert_eq!(
        service.get(nobody).await.refusal(),
        (404, "0x80040217".to_owned())
    );
}

#[tokio::test]
async fn rights_to_a_row_follow_from_roles() {
    let service = Service::start().await;
    let user = who(&service).await;
    let row =
        service.read("contacts?$top=1&$select=contactid").await["value"][0]["contactid"].clone();
    let row = row.as_str().expect("a contact");
    let access = |user: &str| {
        format!(
            "systemusers({user})/Microsoft.Dynamics.CRM.RetrievePrincipalAccess(Target=@t)?@t={{'@odata.id':'contacts({row})'}}"
        )
    };
    let rights = service.read(&access(&user)).await["AccessRights"].clone();
    assert_eq!(
        rights,
        "ReadAccess, WriteAccess, AppendAccess, AppendToAccess, CreateAccess, DeleteAccess, ShareAccess, AssignAccess"
    );
    let missing = access(&user).replace(row, "00000000-0000-0000-0000-0000000000aa");
    assert_eq!(service.get(&missing).await.refusal().0, 404);
}

#[tokio::test]
async fn what_the_sandbox_does_not_have_yet_says_so() {
    let service = Service::start().await;
    let body = json!({});
    for (method, path, what) in [
        (Method::POST, "BulkDetectDuplicates", "BulkDetectDuplicates"),
        (
            Method::POST,
            "InitializeFileBlocksUpload",
            "InitializeFileBlocksUpload",
        ),
        (Method::POST, "EntityDefinitions", "writes of definitions"),
        (
            Method::DELETE,
            "EntityDefinitions(LogicalName='account')",
            "writes of definitions",
        ),
        (
            Method::POST,
            "GlobalOptionSetDefinitions",
            "writes of definitions",
        ),
        (
            Method::GET,
            "accounts?$apply=aggregate($count as n)",
            "$apply",
        ),
        (
            Method::GET,
            "accounts?savedQuery=00000000-0000-0000-0000-000000000001",
            "saved queries",
        ),
        (
            Method::GET,
            "accounts?sql=SELECT name FROM account",
            "queries in SQL",
        ),
        (
            Method::GET,
            "?sql=SELECT name FROM account",
            "queries in SQL",
        ),
    ] {
        let body = (method == Method::POST).then_some(&body);
        let answer = service.send(method, path, &[], body).await;
        assert_eq!(answer.refusal(), (501, "0x80060888".to_owned()), "{path}");
        assert_eq!(
            answer.message(),
            format!("The sandbox does not have {what} yet; the real service does.")
        );
    }
}

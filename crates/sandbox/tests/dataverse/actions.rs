//! Actions of service, sales, queues, teams, and sharing.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::Service;

async fn case(service: &Service) -> String {
    let account = service.create("accounts", json!({"name": "Adatum"})).await;
    let body =
        json!({"title": "Late", "customerid_account@odata.bind": format!("/accounts({account})")});
    service.create("incidents", body).await
}

#[tokio::test]
async fn a_case_is_closed_once() {
    let service = Service::start().await;
    let id = case(&service).await;
    let body = json!({"IncidentResolution": {"subject": "Sent again", "timespent": 60,
        "incidentid@odata.bind": format!("/incidents({id})")}, "Status": 5});
    let answer = service.post("CloseIncident", body.clone()).await;
    assert_eq!(
        (answer.status, answer.text.as_str()),
        (204, ""),
        "{}",
        answer.text
    );
    let row = service
        .read(&format!("incidents({id})?$select=statecode,statuscode"))
        .await;
    assert_eq!(
        (&row["statecode"], &row["statuscode"]),
        (&json!(1), &json!(5))
    );
    let left = service
        .read("incidentresolutions?$select=subject,statecode,_incidentid_value")
        .await;
    assert_eq!(
        (&left["value"][0]["subject"], &left["value"][0]["statecode"]),
        (&json!("Sent again"), &json!(1))
    );
    assert_eq!(left["value"][0]["_incidentid_value"], id);
    assert_eq!(
        service.post("CloseIncident", body).await.refusal(),
        (400, "0x80044411".to_owned())
    );
}

#[tokio::test]
async fn a_case_is_not_closed_by_a_reason_of_another_state() {
    let service = Service::start().await;
    let id = case(&service).await;
    let body = |status: i64| {
        json!({"IncidentResolution": {"subject": "x",
        "incidentid@odata.bind": service.url(&format!("incidents({id})"))}, "Status": status})
    };
    assert_eq!(
        service.post("CloseIncident", body(6)).await.refusal(),
        (400, "0x80048408".to_owned())
    );
    assert_eq!(service.read("incidentresolutions/$count").await, 0);
    assert_eq!(service.post("CloseIncident", body(-1)).await.status, 204);
    let missing = service
        .post(
            "CloseIncident",
            json!({"IncidentResolution": {"subject": "x"}, "Status": 5}),
        )
        .await;
    assert!(
        missing.message().contains("incidentid@odata.bind"),
        "{}",
        missing.message()
    );
}

#[tokio::test]
async fn time_spent_on_a_case_is_added_up() {
    let service = Service::start().await;
    let id = case(&service).await;
    for minutes in [30, 60] {
        let body = json!({"subject": "Work", "actualdurationminutes": minutes,
            "regardingobjectid_incident_task@odata.bind": format!("/incidents({id})")});
        let task = service.create("tasks", body).await;
        assert_eq!(
            service
                .patch(&format!("tasks({task})"), json!({"statecode": 1}))
                .await
                .status,
            204
        );
    }
    let path = format!("incidents({id})/Microsoft.Dynamics.CRM.CalculateTotalTimeIncident()");
    assert_eq!(service.read(&path).await["TotalTime"], 90);
}

#[tokio::test]
async fn opportunities_are_won_and_lost() {
    let service = Service::start().await;
    for (action, status, state) in [("WinOpportunity", 3, 1), ("LoseOpportunity", 4, 2)] {
        let id = service
            .create("opportunities", json!({"name": action}))
            .await;
        let body = json!({"OpportunityClose": {"subject": "Done", "actualrevenue": 250.5,
            "opportunityid@odata.bind": format!("opportunities({id})")}, "Status": status});
        let answer = service.post(action, body.clone()).await;
        assert_eq!(answer.status, 204, "{}", answer.text);
        let row = service
            .read(&format!(
                "opportunities({id})?$select=statecode,statuscode,actualvalue,actualclosedate"
            ))
            .await;
        assert_eq!(
            (&row["statecode"], &row["statuscode"]),
            (&json!(state), &json!(status))
        );
        assert_eq!(
            (&row["actualvalue"], row["actualclosedate"].as_str()),
            (&json!(250.5), Some(&service.now()[..10]))
        );
        assert_eq!(service.post(action, body).await.refusal().1, "0x80040515");
    }
}

#[tokio::test]
async fn a_lead_becomes_account_contact_and_opportunity() {
    let service = Service::start().await;
    let body = json!({"subject": "New shop", "companyname": "Litware", "firstname": "Ann", "lastname": "Beebe",
        "emailaddress1": "ann@litware.example", "address1_city": "Redmond"});
    let id = service.create("leads", body).await;
    let path = format!("leads({id})/Microsoft.Dynamics.CRM.QualifyLead");
    let asked = json!({"CreateAccount": true, "CreateContact": true, "CreateOpportunity": true, "Status": 3});
    let answer = service.post(&path, asked.clone()).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let made = answer.json()["value"].clone();
    let types: Vec<&str> = made
        .as_array()
        .expect("rows")
        .iter()
        .filter_map(|row| row["@odata.type"].as_str())
        .collect();
    assert_eq!(
        types,
        ["account", "contact", "opportunity"].map(|name| format!("#Microsoft.Dynamics.CRM.{name}"))
    );
    let (account, contact) = (
        made[0]["accountid"].as_str().expect("an id"),
        made[1]["contactid"].as_str().expect("an id"),
    );
    let row = service.read(&format!("contacts({contact})?$select=fullname,address1_city,_parentcustomerid_value,_originatingleadid_value")).await;
    assert_eq!(
        (&row["fullname"], &row["address1_city"]),
        (&json!("Ann Beebe"), &json!("Redmond"))
    );
    assert_eq!(
        (
            &row["_parentcustomerid_value"],
            &row["_originatingleadid_value"]
        ),
        (&json!(account), &json!(id))
    );
    let opportunity = made[2]["opportunityid"].as_str().expect("an id");
    let row = service
        .read(&format!(
            "opportunities({opportunity})?$select=name,_customerid_value"
        ))
        .await;
    assert_eq!(
        (&row["name"], &row["_customerid_value"]),
        (&json!("New shop"), &json!(account))
    );
    assert_eq!(
        service
            .read(&format!("leads({id})?$select=statecode"))
            .await["statecode"],
        1
    );
    assert_eq!(service.post(&path, asked).await.refusal().1, "0x80040519");
}

#[tokio::test]
async fn merged_rows_leave_what_hung_on_them_to_the_other() {
    let service = Service::start().await;
    let mut ids = Vec::new();
    for name in ["Account 1", "Account 2"] {
        ids.push(service.create("accounts", json!({"name": name})).await);
    }
    let bound = format!("/accounts({})", ids[1]);
    let contact = service
        .create(
            "contacts",
            json!({"lastname": "Child", "parentcustomerid_account@odata.bind": bound}),
        )
        .await;
    let account =
        |id: &str| json!({"accountid": id, "@odata.type": "Microsoft.Dynamics.CRM.account"});
    let body = json!({"Target": account(&ids[0]), "Subordinate": account(&ids[1]), "PerformParentingChecks": false,
        "UpdateContent": {"accountnumber": "1234", "@odata.type": "Microsoft.Dynamics.CRM.account"}});
    let answer = service.post("Merge", body.clone()).await;
    assert_eq!(answer.status, 204, "{}", answer.text);
    let child = service
        .read(&format!(
            "contacts({contact})?$select=_parentcustomerid_value"
        ))
        .await;
    assert_eq!(child["_parentcustomerid_value"], ids[0]);
    let master = service
        .read(&format!(
            "accounts({})?$select=accountnumber,merged",
            ids[0]
        ))
        .await;
    assert_eq!(
        (&master["accountnumber"], &master["merged"]),
        (&json!("1234"), &json!(false))
    );
    let other = service
        .read(&format!(
            "accounts({})?$select=merged,statecode,_masterid_value",
            ids[1]
        ))
        .await;
    assert_eq!(
        (
            &other["merged"],
            &other["statecode"],
            &other["_masterid_value"]
        ),
        (&json!(true), &json!(1), &json!(ids[0]))
    );
    assert_eq!(service.post("Merge", body).await.refusal().1, "0x80045304");
    let itself = json!({"Target": account(&ids[0]), "Subordinate": account(&ids[0])});
    assert_eq!(
        service.post("Merge", itself).await.refusal().1,
        "0x80045305"
    );
}

#[tokio::test]
async fn what_is_queued_is_picked_released_and_taken_out() {
    let service = Service::start().await;
    let queue = service
        .create("queues", json!({"name": "Front desk"}))
        .await;
    let letter = service
        .create("letters", json!({"subject": "Complaint"}))
        .await;
    let path = format!("queues({queue})/Microsoft.Dynamics.CRM.AddToQueue");
    let target =
        json!({"Target": {"activityid": letter, "@odata.type": "Microsoft.Dynamics.CRM.letter"}});
    let answer = service.post(&path, target.clone()).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let item = answer.json()["QueueItemId"]
        .as_str()
        .expect("an id")
        .to_owned();
    assert_eq!(
        service.post(&path, target).await.json()["QueueItemId"],
        item
    );
    let alex = service.user("Alex Wilber").await;
    let item = format!("queueitems({item})");
    let pick = json!({"SystemUser": {"systemuserid": alex}, "RemoveQueueItem": false});
    assert_eq!(
        service
            .post(
                &format!("{item}/Microsoft.Dynamics.CRM.PickFromQueue"),
                pick
            )
            .await
            .status,
        204
    );
    let row = service
        .read(&format!("{item}?$select=title,_workerid_value"))
        .await;
    assert_eq!(
        (&row["title"], &row["_workerid_value"]),
        (&json!("Complaint"), &json!(alex))
    );
    let release = service
        .post(
            &format!("{item}/Microsoft.Dynamics.CRM.ReleaseToQueue"),
            json!({}),
        )
        .await;
    assert_eq!(release.status, 204, "{}", release.text);
    assert_eq!(
        service
            .read(&format!("{item}?$select=_workerid_value"))
            .await["_workerid_value"],
        Value::Null
    );
    let remove = service
        .send(
            Method::POST,
            &format!("{item}/Microsoft.Dynamics.CRM.RemoveFromQueue"),
            &[],
            None,
        )
        .await;
    assert_eq!((remove.status, service.get(&item).await.status), (204, 404));
}

#[tokio::test]
async fn users_join_and_leave_teams() {
    let service = Service::start().await;
    let team = service
        .create("teams", json!({"name": "Night shift", "teamtype": 0}))
        .await;
    let alex = service.user("Alex Wilber").await;
    let members = json!({"Members": [{"systemuserid": alex, "@odata.type": "Microsoft.Dynamics.CRM.systemuser"}]});
    let list = format!("teams({team})/teammembership_association?$select=fullname");
    for expected in [1, 1] {
        let answer = service
            .post(
                &format!("teams({team})/Microsoft.Dynamics.CRM.AddMembersTeam"),
                members.clone(),
            )
            .await;
        assert_eq!(answer.status, 204, "{}", answer.text);
        assert_eq!(
            service.read(&list).await["value"].as_array().map(Vec::len),
            Some(expected)
        );
    }
    let answer = service
        .post(
            &format!("teams({team})/Microsoft.Dynamics.CRM.RemoveMembersTeam"),
            members.clone(),
        )
        .await;
    assert_eq!(answer.status, 204, "{}", answer.text);
    assert_eq!(service.read(&list).await["value"], json!([]));
    let default = service
        .read("teams?$filter=isdefault eq true&$select=teamid")
        .await["value"][0]["teamid"]
        .clone();
    let path = format!(
        "teams({})/Microsoft.Dynamics.CRM.AddMembersTeam",
        default.as_str().expect("an id")
    );
    assert_eq!(service.post(&path, members).await.refusal().1, "0x8004830b");
}

#[tokio::test]
async fn an_email_is_sent_once_and_to_somebody() {
    let service = Service::start().await;
    let nobody = service
        .create("emails", json!({"subject": "To nobody"}))
        .await;
    let send = |id: &str| format!("emails({id})/Microsoft.Dynamics.CRM.SendEmail");
    let issue = json!({"IssueSend": true});
    assert_eq!(
        service
            .post(&send(&nobody), issue.clone())
            .await
            .refusal()
            .1,
        "0x80040b04"
    );
    let body = json!({"subject": "Hello", "email_activity_parties": [
        {"addressused": "somebody@example.com", "participationtypemask": 2}]});
    let id = service.create("emails", body).await;
    let answer = service.post(&send(&id), issue.clone()).await;
    assert_eq!(
        (answer.status, &answer.json()["Subject"]),
        (200, &json!("Hello"))
    );
    let row = service
        .read(&format!("emails({id})?$select=statecode,statuscode,senton"))
        .await;
    assert_eq!(
        (&row["statecode"], &row["statuscode"], &row["senton"]),
        (&json!(1), &json!(3), &json!(service.now()))
    );
    assert_eq!(service.post(&send(&id), issue).await.status, 400);
}

/// A user who reaches only rows of her own.
async fn with_narrow_role() -> (Service, String) {
    let service = Service::with(|seed| {
        let user = seed.tenants[0]
            .users
            .iter_mut()
            .find(|user| user.upn.starts_with("alex"))
            .expect("a user");
        user.roles = vec!["Basic User".to_owned()];
    })
    .await;
    let alex = service.user("Alex Wilber").await;
    (service, alex)
}

#[tokio::test]
async fn a_row_that_is_shared_is_within_reach() {
    let (service, alex) = with_narrow_role().await;
    let id = service.create("accounts", json!({"name": "Shared"})).await;
    let her = [("MSCRMCallerID", alex.as_str())];
    let row = format!("accounts({id})?$select=name");
    let list = "accounts?$select=name&$filter=name eq 'Shared'";
    let seen = |answer: crate::support::Answer| answer.json()["value"].as_array().map(Vec::len);
    assert_eq!(
        service.send(Method::GET, &row, &her, None).await.status,
        403
    );
    assert_eq!(
        seen(service.send(Method::GET, list, &her, None).await),
        Some(0)
    );
    let target = json!({"accountid": id, "@odata.type": "Microsoft.Dynamics.CRM.account"});
    let principal =
        json!({"systemuserid": alex, "@odata.type": "Microsoft.Dynamics.CRM.systemuser"});
    let share = |mask: &str| json!({"Target": target, "PrincipalAccess": {"AccessMask": mask, "Principal": principal}});
    let answer = service.post("GrantAccess", share("ReadAccess")).await;
    assert_eq!((answer.status, answer.text.as_str()), (204, ""));
    assert_eq!(
        service.send(Method::GET, &row, &her, None).await.status,
        200
    );
    assert_eq!(
        seen(service.send(Method::GET, list, &her, None).await),
        Some(1)
    );
    let change = json!({"name": "Hers"});
    let path = format!("accounts({id})");
    assert_eq!(
        service
            .send(Method::PATCH, &path, &her, Some(&change))
            .await
            .status,
        403
    );
    assert_eq!(
        service
            .post("ModifyAccess", share("ReadAccess, WriteAccess"))
            .await
            .status,
        204
    );
    assert_eq!(
        service
            .send(Method::PATCH, &path, &her, Some(&change))
            .await
            .status,
        204
    );
    let access = format!(
        "systemusers({alex})/Microsoft.Dynamics.CRM.RetrievePrincipalAccess(Target=@t)?@t={{'@odata.id':'accounts({id})'}}"
    );
    assert_eq!(
        service.read(&access).await["AccessRights"],
        "ReadAccess, WriteAccess"
    );
    let shared =
        format!("RetrieveSharedPrincipalsAndAccess(Target=@t)?@t={{'@odata.id':'accounts({id})'}}");
    let shared = service.read(&shared).await["PrincipalAccesses"][0].clone();
    assert_eq!(
        (&shared["AccessMask"], &shared["Principal"]["systemuserid"]),
        (&json!("ReadAccess, WriteAccess"), &json!(alex))
    );
    let revoke = json!({"Target": target, "Revokee": principal});
    assert_eq!(service.post("RevokeAccess", revoke).await.status, 204);
    assert_eq!(
        service.send(Method::GET, &row, &her, None).await.status,
        403
    );
}

#[tokio::test]
async fn rights_that_do_not_exist_are_not_granted() {
    let service = Service::start().await;
    let id = service.create("accounts", json!({"name": "Mine"})).await;
    let alex = service.user("Alex Wilber").await;
    let body = |mask: &str| {
        json!({"Target": {"@odata.id": format!("accounts({id})")},
        "PrincipalAccess": {"AccessMask": mask, "Principal": {"systemuserid": alex}}})
    };
    assert_eq!(
        service
            .post("GrantAccess", body("FlyAccess"))
            .await
            .refusal()
            .1,
        "0x8004020d"
    );
    let body = json!({"Target": {"@odata.id": format!("accounts({id})")},
        "PrincipalAccess": {"AccessMask": "ReadAccess", "Principal": {"@odata.id": format!("accounts({id})")}}});
    assert_eq!(
        service.post("GrantAccess", body).await.refusal().1,
        "0x8004020c"
    );
}

#[tokio::test]
async fn a_new_row_is_prepared_from_another() {
    let service = Service::start().await;
    let id = service
        .create(
            "accounts",
            json!({"name": "Parent", "telephone1": "555", "address1_city": "Bonn"}),
        )
        .await;
    let path = format!(
        "InitializeFrom(EntityMoniker=@p1,TargetEntityName=@p2,TargetFieldType=@p3)?@p1={{'@odata.id':'accounts({id})'}}&@p2='contact'&@p3=Microsoft.Dynamics.CRM.TargetFieldType'ValidForCreate'"
    );
    let body = service.read(&path).await;
    assert_eq!(
        (&body["telephone1"], &body["address1_city"]),
        (&json!("555"), &json!("Bonn"))
    );
    assert_eq!(
        body["parentcustomerid_account@odata.bind"],
        format!("/accounts({id})")
    );
    assert_eq!(body["@odata.type"], "#Microsoft.Dynamics.CRM.contact");
}

#[tokio::test]
async fn transitions_between_states_are_checked() {
    let service = Service::start().await;
    let id = case(&service).await;
    let valid = |state: &str, status: i64| {
        format!(
            "IsValidStateTransition(Entity=@p1,NewState=@p2,NewStatus=@p3)?@p1={{'@odata.id':'incidents({id})'}}&@p2='{state}'&@p3={status}"
        )
    };
    assert_eq!(service.read(&valid("Resolved", 5)).await["IsValid"], true);
    assert_eq!(service.read(&valid("Resolved", 6)).await["IsValid"], false);
    assert_eq!(service.read(&valid("Nowhere", 5)).await["IsValid"], false);
}

#[tokio::test]
async fn duplicates_of_a_row_are_found() {
    let service = Service::start().await;
    let body =
        json!({"firstname": "Monte", "lastname": "Orton", "emailaddress1": "monte@example.com"});
    let first = service.create("contacts", body.clone()).await;
    let second = service.create("contacts", body).await;
    let path = format!(
        "RetrieveDuplicates(BusinessEntity=@p1,MatchingEntityName=@p2,PagingInfo=@p3)?@p1={{'@odata.type':'Microsoft.Dynamics.CRM.contact','contactid':'{first}'}}&@p2='contact'&@p3={{'PageNumber':1,'Count':50}}"
    );
    let found = service.read(&path).await;
    assert!(
        found["@odata.context"]
            .as_str()
            .expect("a context")
            .ends_with("$metadata#contacts")
    );
    let ids: Vec<&str> = found["value"]
        .as_array()
        .expect("rows")
        .iter()
        .filter_map(|row| row["contactid"].as_str())
        .collect();
    assert_eq!(ids, [second]);
}

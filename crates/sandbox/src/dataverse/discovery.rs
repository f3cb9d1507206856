//! Global Discovery: the organizations that a user can work in, whichever tenant and region they
//! are of.

mod filter;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use chrono::SecondsFormat;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::World;
use crate::dataverse::answer::{Answer, json_answer, text_answer};
use crate::dataverse::caller::{audience_of, bearer, overtaken};
use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::functions::VERSION;
use crate::dataverse::odata::{Expression, KeyPart, Literal, QueryOptions, Segment, segments};
use crate::dataverse::organization::Organization;
use crate::dataverse::security::ADMINISTRATOR;
use crate::dataverse::{authority_of, cors, decorate};
use crate::entra::{Caller, Directory, Verdict};
use crate::serve::Shared;

/// An organization, member by member.
type Instance = Map<String, Value>;

/// What an instance has, with the types of the entity data model.
const PROPERTIES: [(&str, &str); 20] = [
    ("Id", "Edm.Guid"),
    ("UniqueName", "Edm.String"),
    ("UrlName", "Edm.String"),
    ("FriendlyName", "Edm.String"),
    ("State", "Edm.Int32"),
    ("Version", "Edm.String"),
    ("Url", "Edm.String"),
    ("ApiUrl", "Edm.String"),
    ("LastUpdated", "Edm.DateTimeOffset"),
    ("SchemaType", "Edm.String"),
    ("Region", "Edm.String"),
    ("OrganizationType", "Edm.Int32"),
    ("TenantId", "Edm.Guid"),
    ("EnvironmentId", "Edm.String"),
    ("DatacenterId", "Edm.Guid"),
    ("DatacenterName", "Edm.String"),
    ("StatusMessage", "Edm.Int32"),
    ("TrialExpirationDate", "Edm.DateTimeOffset"),
    ("Purpose", "Edm.String"),
    ("IsUserSysAdmin", "Edm.Boolean"),
];

/// Names that published requests use for the same things.
const OTHER_NAMES: [(&str, &str); 3] = [
    ("DisplayName", "FriendlyName"),
    ("Type", "OrganizationType"),
    ("Description", "Purpose"),
];

pub(crate) async fn serve(
    State(world): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    if let Some(answer) = cors::options(&method, &headers) {
        return answer;
    }
    let authority = authority_of(&world, &uri, &headers);
    let caller = match caller(&world, &authority, &headers) {
        Verdict::Good(caller) => caller,
        Verdict::Refused => return challenge(&world, &authority),
        Verdict::Challenged { claims } => return overtaken(&world, &authority, &claims),
    };
    let work = move || match method {
        Method::GET | Method::HEAD => Question {
            authority: &authority,
            caller: &caller,
            world: &world,
        }
        .answer(&uri),
        _ => Err(Fault::method_not_allowed()),
    };
    // Every organization is asked whether it knows the caller, and SQLite blocks.
    let answered = tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(Fault::unexpected()));
    let mut answer = answered
        .unwrap_or_else(|fault| fault.answer())
        .map(Body::from);
    decorate(answer.headers_mut(), Uuid::new_v4());
    answer
}

/// Whose token it is, when it is one for discovery: its resource is discovery's own host, or the
/// place that was asked.
fn caller(world: &World, authority: &str, headers: &HeaderMap) -> Verdict {
    let Some(token) = bearer(headers) else {
        return Verdict::Refused;
    };
    let meant = |caller: &Caller| {
        audience_of(caller)
            .is_some_and(|named| is_discovery(&named) || named.eq_ignore_ascii_case(authority))
    };
    match world.directory.verdict(token, world.clock.now()) {
        Verdict::Good(caller) if !meant(&caller) => Verdict::Refused,
        verdict => verdict,
    }
}

fn is_discovery(authority: &str) -> bool {
    authority.to_ascii_lowercase().starts_with("globaldisco.")
}

fn challenge(world: &World, authority: &str) -> Response {
    let text = format!(
        "Bearer authorization_uri=https://{}/common/oauth2/authorize, resource_id=https://{authority}/",
        world.login_at(authority)
    );
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, text)]).into_response()
}

struct Question<'a> {
    world: &'a World,
    caller: &'a Caller,
    /// The host that was asked, with its port.
    authority: &'a str,
}

impl Question<'_> {
    fn answer(&self, uri: &Uri) -> Outcome<Answer> {
        let path = uri
            .path()
            .strip_prefix("/api/discovery/")
            .unwrap_or_default();
        let path = path.strip_prefix("v2.0").ok_or_else(|| {
            let text = "Global Discovery has the version v2.0; the regional discovery services are retired.";
            Fault::new(StatusCode::NOT_FOUND, "0x80060888", text)
        })?;
        let options = QueryOptions::parse(uri.query().unwrap_or_default())?;
        let segments = segments(path)?;
        let context = format!("https://{}/api/discovery/v2.0/$metadata", self.authority);
        match segments.as_slice() {
            [] => {
                let sets = json!([{"name": "Instances", "kind": "EntitySet", "url": "Instances"}]);
                Ok(json_answer(
                    StatusCode::OK,
                    &json!({"@odata.context": context, "value": sets}),
                ))
            }
            [only] if only.name == "$metadata" => {
                Ok(text_answer(StatusCode::OK, "application/xml", metadata()))
            }
            [only] if only.name == "Instances" => self.instances(only, &options, &context),
            [other] | [_, other, ..] => Err(Fault::no_segment(&other.name)),
        }
    }

    fn instances(
        &self,
        segment: &Segment,
        options: &QueryOptions,
        context: &str,
    ) -> Outcome<Answer> {
        if self.caller.app_only {
            let text = "Global Discovery answers users; the token is an application's own.";
            return Err(Fault::new(StatusCode::FORBIDDEN, "0x80048405", text));
        }
        let selected = selected(options)?;
        let listed = selected
            .as_ref()
            .map_or_else(String::new, |names| format!("({})", names.join(",")));
        let shown = |instance: Instance| shown(instance, selected.as_deref());
        let mut all = self.all();
        if segment.inside.is_some() {
            let key = segment.key(&options.aliases)?;
            let found = all
                .into_iter()
                .find(|instance| has_key(instance, &key))
                .ok_or_else(|| {
                    Fault::new(
                        StatusCode::NOT_FOUND,
                        "0x80040217",
                        "There is no such instance, or you are no user of it.",
                    )
                })?;
            let context = json!(format!("{context}#Instances{listed}/$entity"));
            let mut body = Map::from_iter([("@odata.context".to_owned(), context)]);
            body.extend(shown(found));
            return Ok(json_answer(StatusCode::OK, &Value::Object(body)));
        }
        if let Some(text) = options.text("$filter") {
            let condition = Expression::filter(text, &options.aliases)?;
            let mut kept = Vec::new();
            for instance in all {
                if filter::holds(&condition, &|name| value(&instance, name))? {
                    kept.push(instance);
                }
            }
            all = kept;
        }
        if let Some(top) = options.number("$top")? {
            all.truncate(usize::try_from(top).unwrap_or(usize::MAX));
        }
        let value: Vec<Value> = all
            .into_iter()
            .map(|instance| Value::Object(shown(instance)))
            .collect();
        let context = format!("{context}#Instances{listed}");
        Ok(json_answer(
            StatusCode::OK,
            &json!({"@odata.context": context, "value": value}),
        ))
    }

    /// The organizations of the caller's tenant that know the caller.
    fn all(&self) -> Vec<Instance> {
        let organizations = self.world.organizations.iter().enumerate();
        let own =
            organizations.filter(|(_, organization)| organization.tenant == self.caller.tenant);
        let known = own.filter_map(|(index, organization)| {
            let member = organization
                .store
                .read(|db| organization.member(db, self.caller))
                .ok()?;
            let administrator = member.roles.iter().any(|role| role.name == ADMINISTRATOR);
            Some(self.instance(
                organization,
                &self.origin(organization, index == 0),
                administrator,
            ))
        });
        known.collect()
    }

    /// Where an organization is: the first one at the sandbox's own address, unless Microsoft's
    /// names are in use.
    fn origin(&self, organization: &Organization, first: bool) -> String {
        let named = is_discovery(self.authority) || !first;
        match organization.hosts.first().filter(|_| named) {
            Some(host) => {
                let port = self
                    .authority
                    .rsplit_once(':')
                    .and_then(|(_, port)| port.parse::<u16>().ok());
                port.map_or_else(
                    || format!("https://{host}"),
                    |port| format!("https://{host}:{port}"),
                )
            }
            None => format!("https://{}", self.world.authority),
        }
    }

    fn instance(&self, organization: &Organization, origin: &str, administrator: bool) -> Instance {
        let value = json!({
            "Id": organization.id,
            "UniqueName": organization.unique_name,
            "UrlName": organization.unique_name,
            "FriendlyName": organization.friendly_name,
            "State": 0,
            "Version": VERSION,
            "Url": origin,
            "ApiUrl": origin,
            "LastUpdated": self.world.clock.now().to_rfc3339_opts(SecondsFormat::Secs, true),
            "SchemaType": "Full",
            "Region": "EMEA",
            "OrganizationType": 0,
            "TenantId": organization.tenant,
            "EnvironmentId": environment_id(organization.id),
            "DatacenterId": datacenter_id(),
            "DatacenterName": "Sandbox",
            "StatusMessage": 0,
            "TrialExpirationDate": null,
            "Purpose": null,
            "IsUserSysAdmin": administrator,
        });
        match value {
            Value::Object(members) => members,
            _ => Map::new(),
        }
    }
}

/// The environment that an organization is of.
pub(crate) fn environment_id(organization: Uuid) -> Uuid {
    Directory::object_id(&format!("{organization}/environment"))
}

pub(crate) fn datacenter_id() -> Uuid {
    Directory::object_id("datacenter")
}

/// The property that a name means; none when there is none.
fn property(name: &str) -> Option<&str> {
    let other = OTHER_NAMES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, own)| *own);
    let known = PROPERTIES.iter().any(|(known, _)| *known == name);
    other.or(known.then_some(name))
}

fn value(instance: &Instance, name: &str) -> Outcome<Value> {
    let property = property(name).ok_or_else(|| Fault::no_property(name, "Instance"))?;
    Ok(instance.get(property).cloned().unwrap_or(Value::Null))
}

fn selected(options: &QueryOptions) -> Outcome<Option<Vec<String>>> {
    let Some(names) = options.select() else {
        return Ok(None);
    };
    for name in &names {
        property(name).ok_or_else(|| Fault::no_property(name, "Instance"))?;
    }
    Ok(Some(names.into_iter().map(str::to_owned).collect()))
}

fn shown(instance: Instance, selected: Option<&[String]>) -> Instance {
    let Some(names) = selected else {
        return instance;
    };
    names
        .iter()
        .map(|name| (name.clone(), value(&instance, name).unwrap_or(Value::Null)))
        .collect()
}

/// `(<id>)`, `(UniqueName='contoso')`.
fn has_key(instance: &Instance, key: &[KeyPart]) -> bool {
    !key.is_empty()
        && key.iter().all(|part| {
            let name = part.name.as_deref().unwrap_or("Id");
            let wanted = match &part.value {
                Expression::Literal(Literal::Guid(id)) => id.to_string(),
                Expression::Literal(Literal::Text(text)) => text.clone(),
                _ => return false,
            };
            let own = value(instance, name).unwrap_or(Value::Null);
            own.as_str()
                .is_some_and(|own| own.eq_ignore_ascii_case(&wanted))
        })
}

fn metadata() -> String {
    let properties: Vec<String> = PROPERTIES
        .iter()
        .map(|(name, of)| {
            format!(
                "<Property Name=\"{name}\" Type=\"{of}\"{}/>",
                if *name == "Id" {
                    " Nullable=\"false\""
                } else {
                    ""
                }
            )
        })
        .collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><edmx:Edmx Version=\"4.0\" xmlns:edmx=\"http://docs.oasis-open.org/odata/ns/edmx\">\
         <edmx:DataServices><Schema Namespace=\"Microsoft.Dynamics.CRM.Discovery\" xmlns=\"http://docs.oasis-open.org/odata/ns/edm\">\
         <EntityType Name=\"Instance\"><Key><PropertyRef Name=\"Id\"/></Key>{}</EntityType>\
         <EntityContainer Name=\"Container\"><EntitySet Name=\"Instances\" EntityType=\"Microsoft.Dynamics.CRM.Discovery.Instance\"/>\
         </EntityContainer></Schema></edmx:DataServices></edmx:Edmx>",
        properties.concat()
    )
}

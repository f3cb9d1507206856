//! What tokens are for: organizations, Global Discovery, Graph, and applications' own interfaces.

use uuid::Uuid;

use crate::World;
use crate::entra::Version;
use crate::entra::application::Application;
use crate::entra::codes::Refusal;
use crate::entra::directory::Tenant;

/// Where a token goes that names no resource.
const GRAPH: &str = "https://graph.microsoft.com";
const GRAPH_ID: &str = "00000003-0000-0000-c000-000000000000";
/// Global Discovery of the clouds that are in use.
const DISCOVERY: [&str; 5] = [
    "globaldisco.crm.dynamics.com",
    "globaldisco.crm9.dynamics.com",
    "globaldisco.crm.microsoftdynamics.us",
    "globaldisco.crm.appsplatform.us",
    "globaldisco.crm.dynamics.cn",
];
const OPENID: [&str; 4] = ["openid", "profile", "email", "offline_access"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Organization,
    Discovery,
    Graph,
    /// An application's own interface.
    Application(Uuid),
}

/// A resource, by the name that it was asked by: that is the token's audience.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resource {
    pub(crate) name: String,
    pub(crate) kind: Kind,
}

/// A resource with the permissions that were asked of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) resource: Resource,
    /// The words as they were written.
    words: Vec<String>,
    permissions: Vec<String>,
}

/// What a `scope` of v2 asks for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    pub(crate) targets: Vec<Target>,
    openid: Vec<String>,
}

impl Resource {
    /// The one that nothing else was named beside.
    fn graph() -> Self {
        Self {
            name: GRAPH.to_owned(),
            kind: Kind::Graph,
        }
    }

    /// Whether continuous access evaluation is possible there.
    pub(crate) fn evaluates_continuously(&self) -> bool {
        matches!(self.kind, Kind::Organization | Kind::Graph)
    }
}

impl Target {
    /// A resource of which nothing in particular was asked.
    pub(crate) fn whole(resource: Resource) -> Self {
        Self {
            resource,
            words: Vec::new(),
            permissions: Vec::new(),
        }
    }

    /// The claim `scp` of a token.
    pub(crate) fn permissions(&self) -> String {
        let usual = match self.resource.kind {
            Kind::Organization | Kind::Discovery => return "user_impersonation".to_owned(),
            Kind::Graph => "User.Read",
            Kind::Application(_) => "access_as_user",
        };
        let mut named: Vec<&str> = self.permissions.iter().map(String::as_str).collect();
        named.retain(|word| *word != ".default");
        if named.is_empty() {
            named.push(usual);
        }
        named.join(" ")
    }

    /// What a v2 answer says was granted: at least the words that were asked, since clients look
    /// their tokens up by them.
    pub(crate) fn granted(&self, openid: &[String]) -> String {
        let name = &self.resource.name;
        let mut words: Vec<String> = match self.resource.kind {
            Kind::Graph => openid
                .iter()
                .filter(|word| *word != "offline_access")
                .cloned()
                .collect(),
            _ => Vec::new(),
        };
        let permissions = self.permissions();
        let long = permissions.split(' ').map(|word| match self.resource.kind {
            Kind::Graph if !self.words.iter().any(|asked| asked.contains('/')) => word.to_owned(),
            _ => format!("{name}/{word}"),
        });
        words.extend(long);
        let mut asked = self.words.clone();
        if asked.is_empty() && self.resource.kind != Kind::Graph {
            asked.push(format!("{name}/.default"));
        }
        for word in asked {
            if !words.contains(&word) {
                words.push(word);
            }
        }
        words.join(" ")
    }
}

impl Asked {
    pub(crate) fn has(&self, word: &str) -> bool {
        self.openid.iter().any(|known| known == word)
    }

    pub(crate) fn openid(&self) -> &[String] {
        &self.openid
    }

    /// The first resource; Graph when only OpenID's own words stand there.
    pub(crate) fn first(&self) -> Target {
        let first = self.targets.first().cloned();
        first.unwrap_or_else(|| Target::whole(Resource::graph()))
    }

    /// The one resource.
    ///
    /// # Errors
    /// When there are several: a token is for one.
    pub(crate) fn only(&self, scope: &str) -> Result<Target, Refusal> {
        if self.targets.len() > 1 {
            return Err(Refusal::of(28_000, &[("value", scope)]));
        }
        Ok(self.first())
    }
}

/// Reads a `scope`. Without a tenant, any tenant's resources will do for now.
///
/// # Errors
/// When a word is no scope, or names a resource that is not there.
pub(crate) fn scopes(
    world: &World,
    tenant: Option<&Tenant>,
    scope: &str,
) -> Result<Asked, Refusal> {
    let mut asked = Asked::default();
    for word in scope.split_whitespace() {
        if OPENID.contains(&word) {
            asked.openid.push(word.to_owned());
            continue;
        }
        let invalid = || Refusal::of(70_011, &[("value", word)]);
        let (resource, permission) = match word.rsplit_once('/') {
            Some((named, permission)) => (find(world, tenant, named)?, permission),
            None if bare(word) => (Resource::graph(), word),
            None => return Err(invalid()),
        };
        if !possible(resource.kind, permission) {
            return Err(invalid());
        }
        let known = asked
            .targets
            .iter_mut()
            .find(|known| known.resource == resource);
        let target = match known {
            Some(known) => known,
            None => {
                asked.targets.push(Target::whole(resource));
                match asked.targets.last_mut() {
                    Some(last) => last,
                    None => return Err(invalid()),
                }
            }
        };
        target.words.push(word.to_owned());
        target.permissions.push(permission.to_owned());
    }
    Ok(asked)
}

/// Words without a resource are Graph's: `User.Read`, `.default`.
fn bare(word: &str) -> bool {
    let letters = |part: &str| part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    word.contains('.') && word.split('.').all(letters)
}

fn possible(kind: Kind, permission: &str) -> bool {
    match kind {
        Kind::Organization | Kind::Discovery => {
            matches!(permission, ".default" | "user_impersonation")
        }
        Kind::Graph | Kind::Application(_) => !permission.is_empty(),
    }
}

/// The resource of a name. Without a tenant, any tenant's will do.
///
/// # Errors
/// When there is none: in Entra's words, no such principal in the tenant.
pub(crate) fn find(
    world: &World,
    tenant: Option<&Tenant>,
    name: &str,
) -> Result<Resource, Refusal> {
    let kind = kind(world, tenant, name).ok_or_else(|| {
        let tenant = tenant.map_or("the directory", |tenant| tenant.name.as_str());
        Refusal::of(500_011, &[("resource", name), ("tenant", tenant)])
    })?;
    Ok(Resource {
        name: name.to_owned(),
        kind,
    })
}

fn kind(world: &World, tenant: Option<&Tenant>, name: &str) -> Option<Kind> {
    if name == GRAPH_ID {
        return Some(Kind::Graph);
    }
    let of_application = name.strip_prefix("api://").unwrap_or(name);
    if let Ok(id) = of_application.parse::<Uuid>() {
        let application = world.directory.application(id)?;
        let here = tenant.is_none_or(|tenant| {
            application.tenant == tenant.id || tenant.principals.contains(&id)
        });
        return here.then_some(Kind::Application(id));
    }
    let url = url::Url::parse(name).ok()?;
    let bare = url.scheme() == "https" && url.path().trim_matches('/').is_empty();
    let host = url.host_str().filter(|_| bare)?;
    if name.trim_end_matches('/') == GRAPH {
        return Some(Kind::Graph);
    }
    if DISCOVERY.contains(&host) {
        return Some(Kind::Discovery);
    }
    let authority = url
        .port()
        .map_or(host.to_owned(), |port| format!("{host}:{port}"));
    let found = world
        .directory
        .organization_at(&authority, &world.authority);
    let (owner, _) = found?;
    let here = tenant.is_none_or(|tenant| tenant.id == owner.id);
    here.then_some(Kind::Organization)
}

/// Refuses a resource that the registration does not list.
///
/// # Errors
/// When Dataverse is asked for and does not stand among the permissions.
pub(crate) fn listed(application: &Application, resource: &Resource) -> Result<(), Refusal> {
    let dataverse = matches!(resource.kind, Kind::Organization | Kind::Discovery);
    if !dataverse || application.seed.dataverse {
        return Ok(());
    }
    let client = application.client_id().to_string();
    let values = [
        ("client", client.as_str()),
        ("application", application.name()),
        ("resource", resource.name.as_str()),
    ];
    Err(Refusal::of(650_057, &values))
}

/// What a request and what came before it ask a token for.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    pub(crate) version: Version,
    /// The parameters of this request.
    pub(crate) resource: Option<&'a str>,
    pub(crate) scope: Option<&'a str>,
    /// Those of the request that this one goes on from.
    pub(crate) earlier_resource: Option<&'a str>,
    pub(crate) earlier_scope: Option<&'a str>,
    pub(crate) several: Several,
}

/// What is done about a scope that names several resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Several {
    /// A code is redeemed for one.
    Refused,
    /// A refresh is for the first.
    FirstOnly,
}

impl Question<'_> {
    /// The resource and the OpenID words that the answer is about.
    ///
    /// # Errors
    /// When nothing is named, or something that is not there.
    pub(crate) fn answer(
        &self,
        world: &World,
        tenant: &Tenant,
    ) -> Result<(Target, Asked), Refusal> {
        let earlier = match self.earlier_scope {
            Some(scope) if self.version == Version::V2 || self.earlier_resource.is_none() => {
                scopes(world, Some(tenant), scope).unwrap_or_default()
            }
            _ => Asked::default(),
        };
        let whole = |name: &str| find(world, Some(tenant), name).map(Target::whole);
        if self.version == Version::V1 {
            let named = self.resource.or(self.earlier_resource);
            let target = match (named, earlier.targets.first()) {
                (Some(name), _) => whole(name)?,
                (None, Some(target)) => target.clone(),
                (None, None) => return Err(Refusal::missing("resource")),
            };
            return Ok((target, earlier));
        }
        if self.resource.is_some() {
            return Err(Refusal::of(901_002, &[]));
        }
        let asked = match self.scope {
            Some(scope) => scopes(world, Some(tenant), scope)?,
            None => Asked::default(),
        };
        let target = match (self.several, self.scope) {
            (Several::Refused, Some(scope)) if asked.targets.len() > 1 => asked.only(scope)?,
            _ if !asked.targets.is_empty() => asked.first(),
            _ => match self.earlier_resource {
                Some(name) => whole(name)?,
                None => earlier.first(),
            },
        };
        let mut openid = asked.openid;
        openid.extend(earlier.openid);
        openid.dedup();
        let words = Asked {
            targets: Vec::new(),
            openid,
        };
        Ok((target, words))
    }
}

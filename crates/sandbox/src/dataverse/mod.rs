//! The Dataverse Web API: authentication, routing, and the shape of answers.

mod error;
mod filter;
mod functions;
pub(crate) mod limits;
mod people;
mod populate;
mod query;
mod rows;
mod schema;
mod write;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::World;
use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::people::Member;
pub(crate) use crate::dataverse::rows::{Organization, Organizations};
use crate::dataverse::schema::Table;
use crate::entra::Caller;
use crate::faults::Pause;
use crate::serve::Shared;

/// One request of a member of an organization.
pub(crate) struct Request<'a> {
    pub(crate) world: &'a World,
    pub(crate) organization: &'a Organization,
    pub(crate) member: &'a Member,
    pub(crate) method: &'a Method,
    pub(crate) headers: &'a HeaderMap,
    /// Address of the service, such as `https://localhost:8430/api/data/v9.2/`.
    pub(crate) base: String,
    /// The address as it was asked for, for the link to the next page.
    pub(crate) address: String,
    pub(crate) options: Vec<(String, String)>,
    pub(crate) body: &'a Bytes,
}

impl Request<'_> {
    pub(crate) fn option(&self, name: &str) -> Option<&str> {
        let found = self.options.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The preferences of every `Prefer` header (RFC 7240).
    pub(crate) fn prefers(&self, wanted: &str) -> Option<String> {
        let all = self.headers.get_all("prefer");
        let parts = all
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(split_preferences);
        parts.into_iter().find_map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part.as_str(), ""));
            let same = name.trim().eq_ignore_ascii_case(wanted);
            same.then(|| value.trim().trim_matches('"').to_owned())
        })
    }

    pub(crate) fn returns_representation(&self) -> bool {
        self.prefers("return").as_deref() == Some("representation")
    }

    /// Refuses what the member's roles do not hold.
    pub(crate) fn demand(&self, access: &str, table: &Table) -> Outcome<()> {
        let privilege = people::privilege_name(access, table);
        if self.member.holds(&privilege) {
            return Ok(());
        }
        Err(Fault::new(
            StatusCode::FORBIDDEN,
            "0x80040220",
            format!(
                "Principal user (Id={id}, type=8, roleCount={roles}, privilegeCount={count}, \
                 accessMode=0), is missing {privilege} privilege (Id={privilege_id}) on OTC={otc} \
                 for entity '{name}'. context.Caller={id}",
                id = self.member.id,
                roles = self.member.roles.len(),
                count = self.member.privilege_count(),
                privilege_id = people::privilege_id(&privilege),
                otc = table.type_code,
                name = table.name,
            ),
        ))
    }
}

/// Commas stand between preferences, and inside the quotes of some.
fn split_preferences(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut quoted = false;
    for character in text.chars() {
        match character {
            ',' | ';' if !quoted => parts.push(String::new()),
            other => {
                quoted ^= other == '"';
                if let Some(last) = parts.last_mut() {
                    last.push(other);
                }
            }
        }
    }
    parts
        .into_iter()
        .map(|part| part.trim().to_owned())
        .collect()
}

pub(crate) async fn serve(
    State(world): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    pause: Pause,
    body: Bytes,
) -> Response {
    let id = Uuid::new_v4();
    let mut response = match answer(&world, &method, &uri, &headers, &body, &pause).await {
        Ok(response) => response,
        Err(fault) => fault.into_response(),
    };
    decorate(response.headers_mut(), id);
    response
}

/// Headers that every answer carries.
fn decorate(headers: &mut HeaderMap, id: Uuid) {
    headers.insert("odata-version", HeaderValue::from_static("4.0"));
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-cache"));
    if let Ok(id) = HeaderValue::from_str(&id.to_string()) {
        headers.insert("x-ms-service-request-id", id.clone());
        headers.insert("req_id", id);
    }
}

async fn answer(
    world: &World,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &Bytes,
    pause: &Pause,
) -> Outcome<Response> {
    let of_uri = uri.authority().map(axum::http::uri::Authority::as_str);
    let host = of_uri.or_else(|| {
        headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok())
    });
    let authority = host.unwrap_or(&world.authority).to_owned();
    let found = world
        .directory
        .organization_at(&authority, &world.authority);
    let organization = found.and_then(|(_, own)| world.organizations.find(own.id));
    let Some(organization) = organization else {
        let text = format!("There is no organization at {authority}.");
        return Err(Fault::new(StatusCode::NOT_FOUND, "0x80040217", text));
    };
    let origin = format!("https://{authority}");
    let Some(caller) = caller(world, organization, headers) else {
        return Ok(challenge(world, organization, &origin));
    };
    let principal = caller.object_id.or(caller.application).unwrap_or_default();
    let permit = match world.limits.enter(principal, headers) {
        Ok(permit) => permit,
        Err(throttled) => return Ok(throttled.into_response()),
    };
    // A delay that was ordered counts as time of execution.
    pause.wait().await;
    let answered = serve_member(
        world,
        organization,
        &caller,
        method,
        uri,
        headers,
        body,
        &origin,
    );
    let mut response = answered.unwrap_or_else(IntoResponse::into_response);
    permit.decorate(response.headers_mut());
    Ok(response)
}

#[expect(
    clippy::too_many_arguments,
    reason = "the parts of one request, handed on as they came"
)]
fn serve_member(
    world: &World,
    organization: &Organization,
    caller: &Caller,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &Bytes,
    origin: &str,
) -> Outcome<Response> {
    let member = organization.member(caller)?;
    let path = uri.path().strip_prefix("/api/data/").unwrap_or_default();
    let (version, rest) = path.split_once('/').unwrap_or((path, ""));
    let known = version
        .strip_prefix("v9.")
        .is_some_and(|minor| matches!(minor, "0" | "1" | "2"));
    if !known {
        let text = format!("The Web API has no version '{version}' here; v9.2 is current.");
        return Err(Fault::new(StatusCode::NOT_FOUND, "0x80060888", text));
    }
    let decoded = percent_encoding::percent_decode_str(rest).decode_utf8();
    let path = decoded.map_err(|_| Fault::syntax("The URL is not UTF-8."))?;
    let request = Request {
        world,
        organization,
        member: &member,
        method,
        headers,
        base: format!("{origin}/api/data/{version}/"),
        address: format!(
            "{origin}{uri}",
            uri = uri.path_and_query().map_or("", |path| path.as_str())
        ),
        options: options(uri.query().unwrap_or_default())?,
        body,
    };
    route(&request, path.trim_end_matches('/'))
}

/// Who calls, when the token is a good one for this organization.
fn caller(world: &World, organization: &Organization, headers: &HeaderMap) -> Option<Caller> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let caller = world
        .directory
        .key
        .verify(token.trim(), world.clock.now())?;
    let audience = url::Url::parse(&caller.audience).ok()?;
    let host = audience.host_str()?;
    let authority = audience
        .port()
        .map_or(host.to_owned(), |port| format!("{host}:{port}"));
    let (_, meant) = world
        .directory
        .organization_at(&authority, &world.authority)?;
    (meant.id == organization.id && caller.tenant == organization.tenant).then_some(caller)
}

/// What is said without a token: where to get one, and for what.
fn challenge(world: &World, organization: &Organization, origin: &str) -> Response {
    let text = format!(
        "Bearer authorization_uri=https://{}/{}/oauth2/authorize, resource_id={origin}/",
        world.authority, organization.tenant
    );
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, text)]).into_response()
}

fn options(query: &str) -> Outcome<Vec<(String, String)>> {
    let mut options: Vec<(String, String)> = Vec::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()).into_owned() {
        if name.starts_with('$') && options.iter().any(|(known, _)| *known == name) {
            let text = format!(
                "Query option '{name}' was specified more than once, but it must be specified at most once."
            );
            return Err(Fault::syntax(text));
        }
        options.push((name, value));
    }
    Ok(options)
}

fn route(request: &Request<'_>, path: &str) -> Outcome<Response> {
    let segments = split_path(path);
    let first = segments.first().map_or("", String::as_str);
    if let Some(answer) = functions::unbound(request, first)? {
        return Ok(answer);
    }
    match first {
        "" => return service_document(request),
        "$metadata" | "$batch" => return Err(Fault::not_yet(first)),
        _ => {}
    }
    let (set, key) = split_key(first);
    let table = schema::by_set(set).ok_or_else(|| Fault::no_segment(set))?;
    let Some(key) = key else {
        return match (segments.get(1).map(String::as_str), request.method.as_str()) {
            (None, "GET") => query::many(request, table),
            (None, "POST") => write::create(request, table),
            (Some("$count"), "GET") => query::count(request, table),
            (None, _) => Err(Fault::method_not_allowed()),
            (Some(other), _) => Err(Fault::no_segment(other)),
        };
    };
    let id = query::resolve(request, table, key)?;
    match (&segments[1..], request.method.as_str()) {
        ([], "GET") => query::one(request, table, id),
        ([], "PATCH") => write::update(request, table, id),
        ([], "DELETE") => write::delete(request, table, id),
        ([name], _) if name.starts_with("Microsoft.Dynamics.CRM.") => {
            functions::bound(request, table, id, name)
        }
        ([name], "GET") => query::property(request, table, id, name, false),
        ([name, value], "GET") if value == "$value" => {
            query::property(request, table, id, name, true)
        }
        ([name], "PUT") => write::set_property(request, table, id, name),
        ([name], "DELETE") => write::clear_property(request, table, id, name),
        ([_, other, ..], _) => Err(Fault::no_segment(other)),
        _ => Err(Fault::method_not_allowed()),
    }
}

fn service_document(request: &Request<'_>) -> Outcome<Response> {
    let sets: Vec<Value> = schema::tables()
        .iter()
        .map(|table| json!({"name": table.set, "kind": "EntitySet", "url": table.set}))
        .collect();
    let context = format!("{}$metadata", request.base);
    Ok(json_answer(
        StatusCode::OK,
        &json!({"@odata.context": context, "value": sets}),
    ))
}

/// Slashes separate segments, but not inside parentheses or quotes.
fn split_path(path: &str) -> Vec<String> {
    let mut segments = vec![String::new()];
    let (mut depth, mut quoted) = (0_i32, false);
    for character in path.chars() {
        match character {
            '\'' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            '/' if !quoted && depth == 0 => {
                segments.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = segments.last_mut() {
            last.push(character);
        }
    }
    segments
}

/// `contacts(…)` is the set and its key.
fn split_key(segment: &str) -> (&str, Option<&str>) {
    match segment
        .strip_suffix(')')
        .and_then(|open| open.split_once('('))
    {
        Some((set, key)) => (set, Some(key)),
        None => (segment, None),
    }
}

pub(crate) fn json_answer(status: StatusCode, body: &Value) -> Response {
    let kind = [(
        header::CONTENT_TYPE,
        "application/json; odata.metadata=minimal",
    )];
    (status, kind, body.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_keep_what_stands_in_quotes_and_parentheses() {
        assert_eq!(
            split_path("contacts(a='x/y')/fullname"),
            ["contacts(a='x/y')", "fullname"]
        );
        assert_eq!(split_path(""), [""]);
        assert_eq!(split_key("contacts(1)"), ("contacts", Some("1")));
        assert_eq!(split_key("contacts"), ("contacts", None));
    }

    #[test]
    fn preferences_are_split_outside_quotes() {
        let text = r#"return=representation,odata.include-annotations="A,B""#;
        assert_eq!(
            split_preferences(text),
            [
                "return=representation",
                r#"odata.include-annotations="A,B""#
            ]
        );
    }
}

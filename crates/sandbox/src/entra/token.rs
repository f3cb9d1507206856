//! The token endpoint.

use aws_lc_rs::digest::{SHA256, digest};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::World;
use crate::entra::Version;
use crate::entra::authorize::{
    disabled, known_resource, resource_not_supported, resource_of_scope, unknown_application,
    unknown_tenant,
};
use crate::entra::codes::{Refusal, Trace};
use crate::entra::consent;
use crate::entra::directory::{Flow, is_shared, object_id, random};
use crate::entra::jwt;
use crate::entra::params::{Params, origin};
use crate::entra::sign_in::CodeBody;
use crate::seed::{ApplicationSeed, TenantSeed, UserSeed};
use crate::serve::Shared;

/// Codes live about ten minutes.
const CODE_SECONDS: i64 = 600;
/// Refresh tokens die of ninety days of silence.
const REFRESH_SECONDS: i64 = 90 * 86_400;
/// Access tokens live 60 to 90 minutes; an hour makes rehearsals predictable.
const ACCESS_SECONDS: i64 = 3_599;

/// What a refresh token stands for.
#[derive(Debug, Serialize, Deserialize)]
struct RefreshBody {
    flow: Flow,
    upn: String,
    resource: String,
}

pub(crate) async fn token_v1(
    State(world): State<Shared>,
    Path(tenant): Path<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    token(&world, Version::V1, &tenant, &method, &uri, &headers, &body)
}

pub(crate) async fn token_v2(
    State(world): State<Shared>,
    Path(tenant): Path<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    token(&world, Version::V2, &tenant, &method, &uri, &headers, &body)
}

fn token(
    world: &World,
    version: Version,
    segment: &str,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &Bytes,
) -> Response {
    let trace = Trace::of(headers, world.clock.now());
    let origin = origin(headers, uri, &world.authority);
    let answered = if method == Method::POST {
        grant(world, version, segment, headers, body, &origin)
    } else {
        let text = "The endpoint only accepts POST requests. Received a GET request.";
        Err(Refusal::new("invalid_request", 900_561, text))
    };
    match answered {
        Ok(answer) => {
            let mut response = (StatusCode::OK, trace.headers(), Json(answer)).into_response();
            let kind = HeaderValue::from_static("application/json; charset=utf-8");
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            response
        }
        Err(refusal) => trace.json(&refusal, &origin),
    }
}

fn grant(
    world: &World,
    version: Version,
    segment: &str,
    headers: &HeaderMap,
    body: &Bytes,
    origin: &str,
) -> Result<Value, Refusal> {
    let mut params = Params::of_form(body);
    basic(headers, &mut params);
    let client = params
        .get("client_id")
        .ok_or_else(|| Refusal::missing("client_id"))?;
    let client_id: Option<Uuid> = client.parse().ok();
    let grant_type = params
        .get("grant_type")
        .ok_or_else(|| Refusal::missing("grant_type"))?;
    let Some(tenant) = world.directory.tenant(segment, client_id) else {
        let shared = is_shared(segment);
        return Err(if shared {
            unknown_application(client, segment)
        } else {
            unknown_tenant(segment)
        });
    };
    let application = client_id.and_then(|id| tenant.application(id));
    let application = application.ok_or_else(|| unknown_application(client, &tenant.name))?;
    if application.disabled {
        return Err(disabled(application));
    }
    let call = Call {
        world,
        version,
        tenant,
        application,
        params: &params,
        origin,
    };
    match grant_type {
        "authorization_code" => {
            call.authenticate()?;
            call.redeem()
        }
        "refresh_token" => {
            call.authenticate()?;
            call.refresh()
        }
        "client_credentials" => {
            if is_shared(segment) {
                let text = "The grant type 'client_credentials' is not supported over the /common \
                            or /consumers endpoints. Please use the /organizations or \
                            tenant-specific endpoint.";
                return Err(Refusal::new("invalid_request", 9_001_023, text));
            }
            call.authenticate()?;
            call.application_only()
        }
        other => {
            let text = format!("The app requested an unsupported grant type '{other}'.");
            Err(Refusal::new("unsupported_grant_type", 70_003, text))
        }
    }
}

/// Client authentication by HTTP Basic: both halves are form-encoded first (RFC 6749, 2.3.1).
fn basic(headers: &HeaderMap, params: &mut Params) {
    let value = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let Some((scheme, encoded)) = value.and_then(|value| value.split_once(' ')) else {
        return;
    };
    if !scheme.eq_ignore_ascii_case("basic") {
        return;
    }
    let Ok(decoded) = STANDARD.decode(encoded.trim()) else {
        return;
    };
    let Some((id, secret)) = String::from_utf8(decoded).ok().and_then(|text| {
        text.split_once(':')
            .map(|(id, secret)| (decode(id), decode(secret)))
    }) else {
        return;
    };
    params.set("client_id", id);
    params.set("client_secret", secret);
}

fn decode(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_encoding::percent_decode_str(&spaced)
        .decode_utf8_lossy()
        .into_owned()
}

pub(crate) fn hash(text: &str) -> Vec<u8> {
    digest(&SHA256, text.as_bytes()).as_ref().to_vec()
}

/// One request to the token endpoint.
struct Call<'a> {
    world: &'a World,
    version: Version,
    tenant: &'a TenantSeed,
    application: &'a ApplicationSeed,
    params: &'a Params,
    origin: &'a str,
}

impl Call<'_> {
    fn client(&self) -> String {
        self.application.client_id.to_string()
    }

    fn authenticate(&self) -> Result<(), Refusal> {
        let secret = self.params.get("client_secret");
        if self.params.get("client_assertion").is_some() {
            let text = "Client assertion failed signature validation: the sandbox does not check \
                        certificates yet.";
            return Err(Refusal::client(700_027, text));
        }
        if self.application.public {
            return match secret {
                None => Ok(()),
                Some(_) => Err(Refusal::client(
                    700_025,
                    "Client is public so neither 'client_assertion' nor 'client_secret' should be \
                     presented.",
                )),
            };
        }
        let Some(secret) = secret else {
            let text = "The request body must contain the following parameter: 'client_assertion' \
                        or 'client_secret'.";
            return Err(Refusal::client(7_000_218, text));
        };
        let Some(known) = self
            .application
            .secrets
            .iter()
            .find(|known| known.value == secret)
        else {
            let text = format!(
                "Invalid client secret provided. Ensure the secret being sent in the request is \
                 the client secret value, not the client secret ID, for a secret added to app \
                 '{}'.",
                self.client()
            );
            return Err(Refusal::client(7_000_215, text));
        };
        let today = self.world.clock.now().date_naive();
        if known.expires_on.is_some_and(|last| last < today) {
            let text = format!(
                "The provided client secret keys for app '{}' are expired. Visit the Azure portal \
                 to create new keys for your app, or consider using certificate credentials for \
                 added security.",
                self.client()
            );
            return Err(Refusal::client(7_000_222, text));
        }
        Ok(())
    }

    // === grants ===

    fn redeem(&self) -> Result<Value, Refusal> {
        let malformed = || {
            let text =
                "Error(s): 70000 - The provided value for the 'code' parameter is not valid.";
            Refusal::new("invalid_grant", 70_000, text)
        };
        let code = self
            .params
            .get("code")
            .ok_or_else(|| Refusal::missing("code"))?;
        let key = hash(code);
        let kept = self
            .world
            .state
            .code(&key)
            .map_err(broken)?
            .ok_or_else(malformed)?;
        let body: CodeBody = serde_json::from_str(&kept.body).map_err(|_| malformed())?;
        if kept.used {
            return Err(used_already());
        }
        if self.world.clock.now().timestamp() - kept.at > CODE_SECONDS {
            let text = "The provided authorization code or refresh token has expired due to \
                        inactivity. Send a new interactive authorization request for this user and \
                        resource.";
            return Err(Refusal::new("invalid_grant", 70_008, text));
        }
        if body.flow.client_id != self.application.client_id {
            let text = "Provided authorization code was issued to another client.";
            return Err(Refusal::new("invalid_grant", 70_000, text));
        }
        if body.flow.tenant != self.tenant.id {
            let text = "Provided Authorization Code is intended to use against other tenant, thus \
                        rejected.";
            return Err(Refusal::new("invalid_grant", 700_005, text));
        }
        let redirect = self.params.get("redirect_uri").unwrap_or_default();
        if redirect != body.flow.redirect_uri {
            let text = format!(
                "The reply address '{redirect}' does not match the reply address '{}' provided \
                 when requesting Authorization code.",
                body.flow.redirect_uri
            );
            return Err(Refusal::new("invalid_client", 500_112, text));
        }
        self.verify_challenge(&body.flow)?;
        let resource = self.resource(body.flow.resource.as_deref(), body.flow.scope.as_deref())?;
        if !self.world.state.use_code(&key).map_err(broken)? {
            return Err(used_already());
        }
        let user = self.person(&body.upn)?;
        self.tokens(&body.flow, user, &resource)
    }

    fn verify_challenge(&self, flow: &Flow) -> Result<(), Refusal> {
        let Some(challenge) = &flow.challenge else {
            return Ok(());
        };
        let verifier = self.params.get("code_verifier").unwrap_or_default();
        let derived = match flow.challenge_method.as_deref() {
            Some("S256") => URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes())),
            _ => verifier.to_owned(),
        };
        if derived == *challenge {
            return Ok(());
        }
        let text = "The Code_Verifier does not match the code_challenge supplied in the \
                    authorization request.";
        Err(Refusal::new("invalid_grant", 501_481, text))
    }

    fn refresh(&self) -> Result<Value, Refusal> {
        let malformed = || {
            let text = "Provided grant is invalid or malformed.";
            Refusal::new("invalid_grant", 70_000, text).with_suberror("bad_token")
        };
        let token = self
            .params
            .get("refresh_token")
            .ok_or_else(|| Refusal::missing("refresh_token"))?;
        let key = hash(token);
        let kept = self
            .world
            .state
            .refresh_token(&key)
            .map_err(broken)?
            .ok_or_else(malformed)?;
        let body: RefreshBody = serde_json::from_str(&kept.body).map_err(|_| malformed())?;
        let now = self.world.clock.now();
        if now.timestamp() - kept.at > REFRESH_SECONDS {
            let text = format!(
                "The refresh token has expired due to inactivity. The token was issued on {} and \
                 was inactive for 90.00:00:00.",
                chrono::DateTime::from_timestamp(kept.at, 0)
                    .unwrap_or_default()
                    .format("%Y-%m-%dT%H:%M:%SZ")
            );
            return Err(Refusal::new("invalid_grant", 700_082, text));
        }
        if body.flow.client_id != self.application.client_id {
            let text = "Provided refresh token was issued to another client.";
            return Err(
                Refusal::new("invalid_grant", 70_000, text).with_suberror("client_mismatch")
            );
        }
        let user = self.person(&body.upn)?;
        if !consent::given(self.world, &body.flow, &body.upn) {
            return Err(consent::not_consented(&body.flow));
        }
        let resource = self.resource(Some(&body.resource), None)?;
        let answer = self.tokens(&body.flow, user, &resource)?;
        // The old one stays good: Entra does not revoke it.
        self.world
            .state
            .touch_refresh_token(&key, now.timestamp())
            .map_err(broken)?;
        Ok(answer)
    }

    fn application_only(&self) -> Result<Value, Refusal> {
        if self.application.public {
            let text = "Public clients can't request app-only tokens.";
            return Err(Refusal::new("unauthorized_client", 700_016, text));
        }
        let resource = match self.version {
            Version::V1 => {
                let resource = self
                    .params
                    .get("resource")
                    .ok_or_else(|| Refusal::missing("resource"))?;
                known_resource(self.world, self.tenant.id, resource)?;
                resource.to_owned()
            }
            Version::V2 => {
                if self.params.get("resource").is_some() {
                    return Err(resource_not_supported());
                }
                let scope = self
                    .params
                    .get("scope")
                    .ok_or_else(|| Refusal::missing("scope"))?;
                let Some(resource) = scope.strip_suffix("/.default") else {
                    let text = format!(
                        "The provided value for scope {scope} is not valid. Client credential flows \
                         must have a scope value with /.default suffixed to the resource \
                         identifier (application ID URI)."
                    );
                    return Err(Refusal::new("invalid_scope", 1_002_012, text));
                };
                known_resource(self.world, self.tenant.id, resource)?;
                resource.to_owned()
            }
        };
        let now = self.world.clock.now();
        let oid = object_id(&format!("{}/{}", self.tenant.id, self.client()));
        let claims = json!({
            "aud": resource, "iss": self.issuer(), "iat": now.timestamp(),
            "nbf": now.timestamp() - 300, "exp": now.timestamp() + ACCESS_SECONDS,
            "appid": self.client(), "appidacr": "1", "idtyp": "app", "oid": oid, "sub": oid,
            "tid": self.tenant.id, "uti": random()[..22].to_owned(), "ver": "1.0",
        });
        let access = self.world.directory.key.sign(&claims);
        Ok(Value::Object(self.lifetimes(&resource, access)))
    }

    // === what goes into an answer ===

    /// The resource that a token is for: what this request asks, else what was asked before.
    fn resource(
        &self,
        before: Option<&str>,
        scope_before: Option<&str>,
    ) -> Result<String, Refusal> {
        let asked = match self.version {
            Version::V1 => self.params.owned("resource"),
            Version::V2 => {
                if self.params.get("resource").is_some() {
                    return Err(resource_not_supported());
                }
                match self.params.get("scope") {
                    Some(scope) => resource_of_scope(self.world, self.tenant.id, scope)?,
                    None => None,
                }
            }
        };
        let earlier = match scope_before {
            Some(scope) if self.version == Version::V2 => {
                resource_of_scope(self.world, self.tenant.id, scope)?
            }
            _ => None,
        };
        let resource = asked.or(earlier).or_else(|| before.map(str::to_owned));
        let resource = resource.ok_or_else(|| Refusal::missing("resource"))?;
        known_resource(self.world, self.tenant.id, &resource)?;
        Ok(resource)
    }

    fn person(&self, upn: &str) -> Result<&UserSeed, Refusal> {
        let Some(user) = self.tenant.user(upn) else {
            let text = format!("The user account {upn} does not exist in the directory.");
            return Err(Refusal::new("invalid_grant", 50_034, text));
        };
        if user.disabled {
            return Err(Refusal::new(
                "invalid_grant",
                50_057,
                "The user account is disabled.",
            ));
        }
        Ok(user)
    }

    fn issuer(&self) -> String {
        format!("{}/{}/", self.origin, self.tenant.id)
    }

    fn tokens(&self, flow: &Flow, user: &UserSeed, resource: &str) -> Result<Value, Refusal> {
        let now = self.world.clock.now();
        let (given, family) = user
            .name
            .split_once(' ')
            .unwrap_or((user.name.as_str(), ""));
        let sub = object_id(&format!("{}/{}", self.client(), user.object_id()));
        // Dataverse's registration asks for tokens of version 1, whichever endpoint gives them.
        let claims = json!({
            "aud": resource, "iss": self.issuer(), "iat": now.timestamp(),
            "nbf": now.timestamp() - 300, "exp": now.timestamp() + ACCESS_SECONDS,
            "acr": "1", "amr": ["pwd"], "appid": self.client(),
            "appidacr": if self.application.public { "0" } else { "1" },
            "family_name": family, "given_name": given, "name": user.name,
            "oid": user.object_id(), "scp": "user_impersonation", "sub": sub,
            "tid": self.tenant.id, "unique_name": user.upn, "upn": user.upn,
            "uti": random()[..22].to_owned(), "ver": "1.0",
        });
        let access = self.world.directory.key.sign(&claims);
        let mut answer = self.lifetimes(resource, access);
        let scopes = flow.scope.as_deref().unwrap_or_default();
        let asked = |word: &str| {
            let now = self.params.get("scope").unwrap_or(scopes);
            now.split_whitespace()
                .chain(scopes.split_whitespace())
                .any(|known| known == word)
        };
        let scope = match self.version {
            Version::V1 => "user_impersonation".to_owned(),
            Version::V2 => format!("{resource}/user_impersonation {resource}/.default"),
        };
        answer.insert("scope".to_owned(), scope.into());
        if self.version == Version::V1 || asked("offline_access") {
            let token = format!("1.{}{}{}", random(), random(), random());
            let body = RefreshBody {
                flow: flow.clone(),
                upn: user.upn.clone(),
                resource: resource.to_owned(),
            };
            let body = serde_json::to_string(&body).unwrap_or_default();
            let kept = self
                .world
                .state
                .keep_refresh_token(&hash(&token), now.timestamp(), &body);
            kept.map_err(broken)?;
            answer.insert("refresh_token".to_owned(), token.into());
        }
        if self.version == Version::V1 || asked("openid") {
            answer.insert("id_token".to_owned(), self.id_token(flow, user, sub).into());
        }
        if self.version == Version::V2 {
            let info = json!({"uid": user.object_id(), "utid": self.tenant.id});
            answer.insert(
                "client_info".to_owned(),
                URL_SAFE_NO_PAD.encode(info.to_string()).into(),
            );
        }
        Ok(Value::Object(answer))
    }

    fn id_token(&self, flow: &Flow, user: &UserSeed, sub: Uuid) -> String {
        let now = self.world.clock.now();
        let mut claims = json!({
            "aud": self.client(), "iat": now.timestamp(), "nbf": now.timestamp(),
            "exp": now.timestamp() + ACCESS_SECONDS, "name": user.name, "oid": user.object_id(),
            "sub": sub, "tid": self.tenant.id,
        });
        if let Some(nonce) = &flow.nonce {
            claims["nonce"] = nonce.as_str().into();
        }
        match self.version {
            Version::V1 => {
                claims["iss"] = self.issuer().into();
                claims["upn"] = user.upn.as_str().into();
                claims["unique_name"] = user.upn.as_str().into();
                claims["ver"] = "1.0".into();
                jwt::unsigned(&claims)
            }
            Version::V2 => {
                claims["iss"] = format!("{}/{}/v2.0", self.origin, self.tenant.id).into();
                claims["preferred_username"] = user.upn.as_str().into();
                claims["ver"] = "2.0".into();
                self.world.directory.key.sign(&claims)
            }
        }
    }

    /// Strings in v1, numbers in v2.
    fn lifetimes(&self, resource: &str, access: String) -> Map<String, Value> {
        let now = self.world.clock.now();
        let seconds = |value: i64| match self.version {
            Version::V1 => Value::String(value.to_string()),
            Version::V2 => Value::from(value),
        };
        let mut answer = Map::new();
        answer.insert("token_type".to_owned(), "Bearer".into());
        answer.insert("expires_in".to_owned(), seconds(ACCESS_SECONDS));
        answer.insert("ext_expires_in".to_owned(), seconds(ACCESS_SECONDS));
        if self.version == Version::V1 {
            let expires = (now + TimeDelta::seconds(ACCESS_SECONDS)).timestamp();
            answer.insert("expires_on".to_owned(), seconds(expires));
            answer.insert("not_before".to_owned(), seconds(now.timestamp() - 300));
            answer.insert("resource".to_owned(), resource.into());
        }
        answer.insert("access_token".to_owned(), access.into());
        answer
    }
}

fn used_already() -> Refusal {
    let text = "OAuth2 Authorization code was already redeemed, please retry with a new valid code \
                or use an existing refresh token.";
    Refusal::new("invalid_grant", 54_005, text)
}

fn broken(error: rusqlite::Error) -> Refusal {
    tracing::error!(%error, "the sandbox's database failed");
    let text = "A transient error has occurred. Please try again.";
    let refusal = Refusal::new("temporarily_unavailable", 90_033, text);
    Refusal {
        status: StatusCode::SERVICE_UNAVAILABLE,
        ..refusal
    }
}

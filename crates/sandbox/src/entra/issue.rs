//! The tokens themselves, and the answer that carries them.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::World;
use crate::entra::Version;
use crate::entra::account::Account;
use crate::entra::application::Application;
use crate::entra::claims::Claims;
use crate::entra::codes::{Refusal, broken};
use crate::entra::directory::{LONGEST_TOKEN_SECONDS, Tenant, object_id, random};
use crate::entra::grant::Grant;
use crate::entra::jwt;
use crate::entra::ledger::{Issued, Ledger};
use crate::entra::resource::{Asked, Kind, Target};

/// Access tokens live 60 to 90 minutes; an hour makes rehearsals predictable.
const ACCESS_SECONDS: i64 = 3_599;
/// ID tokens live an hour.
const ID_SECONDS: i64 = 3_600;
/// Tokens are good five minutes before they were issued, for clocks that are behind.
const SKEW_SECONDS: i64 = 300;
/// The answer counts a second as spent: a token of an hour is said to live 3,599.
const SPENT_SECONDS: i64 = 1;
/// Refresh tokens are a kilobyte and more; whoever keeps them should notice here.
const REFRESH_WORDS: usize = 28;
/// Role templates of the directory: Global Administrator, and the one that everybody has.
const ADMINISTRATOR: &str = "62e90394-69f5-4237-9190-012177145e10";
const EVERYBODY: &str = "b79fbf4d-3ef9-4689-8143-76b194e85509";

/// How the client showed who it is; the claim `appidacr`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    Public,
    Secret,
    Certificate,
}

impl Proof {
    fn class(self) -> &'static str {
        match self {
            Self::Public => "0",
            Self::Secret => "1",
            Self::Certificate => "2",
        }
    }
}

/// Whether a refresh token belongs to an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lasting {
    No,
    /// One that begins a new family.
    First,
    /// One that goes on a family.
    Next(String),
}

/// Who carries an ID token to the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carrier<'a> {
    /// The token endpoint's answer.
    Answer,
    /// A person's browser, perhaps beside a code.
    Browser { code: Option<&'a str> },
}

/// One answer in the making.
#[derive(Debug)]
pub(crate) struct Issue<'a> {
    pub(crate) world: &'a World,
    pub(crate) version: Version,
    pub(crate) origin: &'a str,
    pub(crate) tenant: &'a Tenant,
    pub(crate) application: &'a Application,
    pub(crate) proof: Proof,
    pub(crate) claims: &'a Claims,
    /// Whether the answer tells who signed in, for the client's cache.
    pub(crate) client_info: bool,
}

impl Issue<'_> {
    fn now(&self) -> DateTime<Utc> {
        self.world.clock.now()
    }

    fn client(&self) -> String {
        self.application.client_id().to_string()
    }

    fn issuer(&self) -> String {
        format!("{}/{}/", self.origin, self.tenant.id)
    }

    /// The answer for a person.
    pub(crate) fn for_person(
        &self,
        account: &Account,
        grant: &Grant,
        target: &Target,
        asked: &Asked,
        lasting: &Lasting,
    ) -> Result<Value, Refusal> {
        let cae = (self.claims.cae || grant.cae) && target.resource.evaluates_continuously();
        let seconds = self.seconds(cae);
        let access = self.access_token(account, grant, target, cae)?;
        let mut answer = self.lifetimes(&target.resource.name, access, seconds);
        let scope = match self.version {
            Version::V1 => target.permissions(),
            Version::V2 => target.granted(asked.openid()),
        };
        answer.insert("scope".to_owned(), scope.into());
        if *lasting != Lasting::No {
            let token = self.refresh_token(account, grant, target, lasting)?;
            answer.insert("refresh_token".to_owned(), token.into());
        }
        if self.version == Version::V1 || asked.has("openid") {
            let token = self.id_token(account, grant, asked, Carrier::Answer);
            answer.insert("id_token".to_owned(), token.into());
        }
        if self.client_info {
            let info = client_info(account);
            answer.insert("client_info".to_owned(), info.into());
        }
        Ok(Value::Object(answer))
    }

    /// The answer for an application without a person.
    pub(crate) fn for_application(&self, resource: &str) -> Result<Value, Refusal> {
        let seconds = self.seconds(false);
        let oid = object_id(&format!("{}/{}", self.tenant.id, self.client()));
        let mut claims = self.frame(resource, seconds);
        merge(
            &mut claims,
            json!({
                "appid": self.client(), "appidacr": self.proof.class(), "idtyp": "app",
                "idp": self.issuer(), "oid": oid, "sub": oid,
            }),
        );
        let access = self.sign(&claims, None)?;
        Ok(Value::Object(self.lifetimes(resource, access, seconds)))
    }

    // === access tokens ===

    /// How long an access token lives: what the application says, else an hour, or a day and more
    /// where a client can be told that it was overtaken.
    fn seconds(&self, cae: bool) -> i64 {
        match self.application.access_token_seconds() {
            Some(seconds) => i64::from(seconds),
            None if cae => LONGEST_TOKEN_SECONDS,
            None => ACCESS_SECONDS,
        }
    }

    fn frame(&self, resource: &str, seconds: i64) -> Value {
        let now = self.now().timestamp();
        json!({
            "aud": resource, "iss": self.issuer(), "iat": now, "nbf": now - SKEW_SECONDS,
            "exp": now + seconds + SPENT_SECONDS, "tid": self.tenant.id,
            "uti": random().get(..22).unwrap_or_default(), "ver": "1.0",
        })
    }

    fn access_token(
        &self,
        account: &Account,
        grant: &Grant,
        target: &Target,
        cae: bool,
    ) -> Result<String, Refusal> {
        let person = &account.person;
        let (given, family) = person.name().split_once(' ').unwrap_or((person.name(), ""));
        let mut methods = vec!["pwd"];
        if grant.signed_in.mfa {
            methods.push("mfa");
        }
        let mut roles = vec![EVERYBODY];
        if person.seed.admin {
            roles.insert(0, ADMINISTRATOR);
        }
        // Dataverse's registration asks for tokens of version 1, whichever endpoint gives them.
        let mut claims = self.frame(&target.resource.name, self.seconds(cae));
        merge(
            &mut claims,
            json!({
                "acr": "1", "amr": methods, "appid": self.client(),
                "appidacr": self.proof.class(), "family_name": family, "given_name": given,
                "ipaddr": "127.0.0.1", "name": person.name(), "oid": person.object_id(),
                "rh": jwt::recheck(account.critical()), "scp": target.permissions(),
                "sub": self.pairwise(account), "unique_name": person.upn(),
                "upn": upn_in(account, self.tenant), "wids": roles,
            }),
        );
        if person.seed.guest {
            claims["idp"] = format!("{}/{}/", self.origin, account.home.tenant).into();
        }
        if cae {
            claims["xms_cc"] = json!(["cp1"]);
        }
        let mut acrs = grant.acrs.clone();
        acrs.extend(self.claims.acrs.iter().cloned());
        acrs.dedup();
        if !acrs.is_empty() {
            claims["acrs"] = json!(acrs);
        }
        if let Kind::Application(id) = target.resource.kind {
            // An application's own interface is named by its identifier.
            claims["aud"] = json!(id);
        }
        self.sign(&claims, Some(account))
    }

    /// Signs an access token, and notes that it was issued.
    fn sign(&self, claims: &Value, account: Option<&Account>) -> Result<String, Refusal> {
        let issued = Issued {
            id: text_of(&claims["uti"]),
            tenant: self.tenant.id.to_string(),
            application: self.client(),
            user: account.map(Account::key),
            resource: text_of(&claims["aud"]),
            issued: self.now().timestamp(),
            expires: claims["exp"].as_i64(),
            last_used: None,
            fate: None,
        };
        let ledger = Ledger(&self.world.state);
        ledger.keep_access(&issued).map_err(broken)?;
        Ok(self.world.directory.key.sign(claims))
    }

    /// The same person is somebody else to every application.
    fn pairwise(&self, account: &Account) -> Uuid {
        object_id(&format!("{}/{}", self.client(), account.person.object_id()))
    }

    // === refresh tokens ===

    fn refresh_token(
        &self,
        account: &Account,
        grant: &Grant,
        target: &Target,
        lasting: &Lasting,
    ) -> Result<String, Refusal> {
        let random: String = std::iter::repeat_with(random).take(REFRESH_WORDS).collect();
        let token = format!("1.{random}");
        let kept = Grant {
            resource: Some(target.resource.name.clone()),
            cae: grant.cae || self.claims.cae,
            ..grant.clone()
        };
        let family = match lasting {
            Lasting::Next(family) => family.clone(),
            Lasting::No | Lasting::First => Uuid::new_v4().to_string(),
        };
        let issued = Issued {
            id: family,
            tenant: self.tenant.id.to_string(),
            application: self.client(),
            user: Some(account.key()),
            resource: target.resource.name.clone(),
            issued: self.now().timestamp(),
            expires: None,
            last_used: None,
            fate: None,
        };
        let body = serde_json::to_string(&kept).unwrap_or_default();
        let ledger = Ledger(&self.world.state);
        let kept = ledger.keep_refresh(&hash(&token), &issued, &body);
        kept.map_err(broken)?;
        Ok(token)
    }

    // === ID tokens ===

    /// Who signed in: unsigned from v1's token endpoint, signed from v2 and wherever a browser
    /// carries it, then with the hash of the code beside it (OpenID Connect Core, section 3.3.2.11).
    pub(crate) fn id_token(
        &self,
        account: &Account,
        grant: &Grant,
        asked: &Asked,
        carrier: Carrier<'_>,
    ) -> String {
        let now = self.now().timestamp();
        let person = &account.person;
        let mut claims = json!({
            "aud": self.client(), "iat": now, "nbf": now - SKEW_SECONDS, "exp": now + ID_SECONDS,
            "name": person.name(), "oid": person.object_id(), "sub": self.pairwise(account),
            "tid": self.tenant.id, "rh": jwt::recheck(account.critical()),
            "uti": random().get(..22).unwrap_or_default(),
            "auth_time": grant.signed_in.at,
        });
        if let Some(nonce) = &grant.nonce {
            claims["nonce"] = nonce.as_str().into();
        }
        if let Carrier::Browser { code: Some(code) } = carrier {
            let whole = digest(&SHA256, code.as_bytes());
            let half = whole.as_ref().get(..16).unwrap_or_default();
            claims["c_hash"] = URL_SAFE_NO_PAD.encode(half).into();
        }
        match self.version {
            Version::V1 => {
                let upn = upn_in(account, self.tenant);
                merge(
                    &mut claims,
                    json!({
                        "iss": self.issuer(), "upn": upn, "unique_name": person.upn(),
                        "ver": "1.0", "amr": ["pwd"],
                    }),
                );
                if carrier == Carrier::Answer {
                    return jwt::unsigned(&claims);
                }
            }
            Version::V2 => {
                claims["iss"] = format!("{}/{}/v2.0", self.origin, self.tenant.id).into();
                claims["preferred_username"] = person.upn().into();
                claims["ver"] = "2.0".into();
                if asked.has("email") {
                    claims["email"] = person.upn().into();
                }
            }
        }
        self.world.directory.key.sign(&claims)
    }

    /// Strings in v1, numbers in v2.
    fn lifetimes(&self, resource: &str, access: String, lifetime: i64) -> Map<String, Value> {
        let now = self.now().timestamp();
        let seconds = |value: i64| match self.version {
            Version::V1 => Value::String(value.to_string()),
            Version::V2 => Value::from(value),
        };
        let mut answer = Map::new();
        answer.insert("token_type".to_owned(), "Bearer".into());
        answer.insert("expires_in".to_owned(), seconds(lifetime));
        answer.insert("ext_expires_in".to_owned(), seconds(lifetime));
        if self.version == Version::V1 {
            answer.insert(
                "expires_on".to_owned(),
                seconds(now + lifetime + SPENT_SECONDS),
            );
            answer.insert("not_before".to_owned(), seconds(now - SKEW_SECONDS));
            answer.insert("resource".to_owned(), resource.into());
        }
        answer.insert("access_token".to_owned(), access.into());
        answer
    }
}

/// Who signed in, for a client's cache: identifiers of the account at home.
pub(crate) fn client_info(account: &Account) -> String {
    let info = json!({"uid": account.home.object_id(), "utid": account.home.tenant});
    URL_SAFE_NO_PAD.encode(info.to_string())
}

/// The user principal name in the tenant: a guest's tells where they come from.
fn upn_in(account: &Account, tenant: &Tenant) -> String {
    let upn = account.person.upn();
    if account.person.seed.guest {
        return format!("{}#EXT#@{}", upn.replace('@', "_"), tenant.domain);
    }
    upn.to_owned()
}

pub(crate) fn hash(text: &str) -> Vec<u8> {
    digest(&SHA256, text.as_bytes()).as_ref().to_vec()
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn merge(claims: &mut Value, more: Value) {
    if let (Value::Object(claims), Value::Object(more)) = (claims, more) {
        claims.extend(more);
    }
}

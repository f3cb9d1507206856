//! The grants of the token endpoint.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use uuid::Uuid;

use crate::entra::Version;
use crate::entra::account::Account;
use crate::entra::application::Platform;
use crate::entra::client_auth::Client;
use crate::entra::codes::{Refusal, broken};
use crate::entra::directory::Tenant;
use crate::entra::flow::SignedIn;
use crate::entra::grant::{self, CodeBody, Grant, instant};
use crate::entra::issue::{Issue, Lasting, Proof, hash};
use crate::entra::ledger::{Fate, Ledger, Refresh};
use crate::entra::policy::{self, Access};
use crate::entra::resource::{self, Asked, Kind, Question, Several, Target};
use crate::entra::throttle::Counted;
use crate::entra::token::Call;
use crate::entra::{device, registration};

/// Codes live about ten minutes.
const CODE_SECONDS: i64 = 600;

impl Call<'_> {
    fn now(&self) -> i64 {
        self.world.clock.now().timestamp()
    }

    fn required(&self, parameter: &str) -> Result<&str, Refusal> {
        let value = self.params.get(parameter);
        value.ok_or_else(|| Refusal::missing(parameter))
    }

    fn authenticate(&self, platform: Option<Platform>) -> Result<Proof, Refusal> {
        let client = Client {
            application: self.application,
            params: self.params,
            platform,
            audiences: &self.audiences,
            now: self.world.clock.now(),
        };
        client.authenticate()
    }

    // === the code ===

    pub(crate) fn code(&self) -> Result<Value, Refusal> {
        let malformed = || Refusal::of(70_000, &[]).with_suberror(None);
        let code = self.params.get("code");
        let key = hash(code.unwrap_or_default());
        let kept = self.world.state.code(&key).map_err(broken)?;
        let body: Option<CodeBody> = kept
            .as_ref()
            .and_then(|kept| serde_json::from_str(&kept.body).ok());
        let body = body.filter(|body| body.grant.client_id == self.application.client_id());
        let platform = body.as_ref().map(|body| body.grant.platform);
        let proof = self.authenticate(platform)?;
        self.required("code")?;
        let (Some(kept), Some(body)) = (kept, body) else {
            return Err(malformed());
        };
        if kept.used {
            return Err(Refusal::of(54_005, &[]));
        }
        if self.now() - kept.at > CODE_SECONDS {
            return Err(Refusal::of(70_008, &[]));
        }
        let tenant = self.tenant_of(&body.grant)?;
        self.same_address(&body)?;
        self.across_origins(body.grant.platform)?;
        self.proves_key(&body)?;
        let (target, asked) = self.question(&body.grant, Several::Refused, &tenant)?;
        if !self.world.state.use_code(&key).map_err(broken)? {
            return Err(Refusal::of(54_005, &[]));
        }
        let account = self.account(&tenant, &body.grant, &target, kept.at)?;
        let issue = self.issue(&tenant, proof);
        let lasting = self.lasting(&asked);
        issue.for_person(&account, &body.grant, &target, &asked, &lasting)
    }

    fn tenant_of(&self, grant: &Grant) -> Result<std::sync::Arc<Tenant>, Refusal> {
        match &self.tenant {
            Some(tenant) if tenant.id == grant.tenant => Ok(std::sync::Arc::clone(tenant)),
            Some(_) => Err(Refusal::of(700_005, &[])),
            None => {
                let tenant = self.world.directory.tenant_of(grant.tenant);
                tenant.ok_or_else(|| Refusal::of(90_002, &[]))
            }
        }
    }

    fn same_address(&self, body: &CodeBody) -> Result<(), Refusal> {
        // Who has one address may leave it out, both times.
        let only = self.application.only_address();
        let Some(address) = self.params.get("redirect_uri").or(only) else {
            return Err(Refusal::of(700_009, &[]));
        };
        if address == body.redirect_uri {
            return Ok(());
        }
        let values = [
            ("address", address),
            ("expected", body.redirect_uri.as_str()),
        ];
        Err(Refusal::of(500_112, &values))
    }

    /// Only single-page applications ask from a browser, and they ask only from there.
    fn across_origins(&self, platform: Platform) -> Result<(), Refusal> {
        match (platform, self.from) {
            (Platform::SinglePage, None) => Err(Refusal::of(9_002_327, &[])),
            (Platform::SinglePage, Some(_)) | (_, None) => Ok(()),
            (_, Some(origin)) => Err(Refusal::of(9_002_326, &[("origin", origin)])),
        }
    }

    /// The verifier has to belong to the challenge (RFC 7636, section 4.6).
    fn proves_key(&self, body: &CodeBody) -> Result<(), Refusal> {
        let Some(challenge) = &body.challenge else {
            if body.grant.platform == Platform::SinglePage {
                return Err(Refusal::of(9_002_325, &[]));
            }
            return Ok(());
        };
        let verifier = self.params.get("code_verifier").unwrap_or_default();
        let derived = match body.challenge_method.as_deref() {
            Some("S256") => URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes())),
            _ => verifier.to_owned(),
        };
        if derived == *challenge {
            return Ok(());
        }
        Err(Refusal::of(501_481, &[]))
    }

    // === the refresh token ===

    pub(crate) fn refresh(&self) -> Result<Value, Refusal> {
        let token = self.params.get("refresh_token");
        let key = hash(token.unwrap_or_default());
        let ledger = Ledger(&self.world.state);
        let kept = ledger.refresh(&key).map_err(broken)?;
        let body: Option<Grant> = kept
            .as_ref()
            .and_then(|kept| serde_json::from_str(&kept.body).ok());
        let of_client = body
            .as_ref()
            .filter(|grant| grant.client_id == self.application.client_id());
        let proof = self.authenticate(of_client.map(|grant| grant.platform))?;
        self.required("refresh_token")?;
        let (Some(kept), Some(grant)) = (kept, &body) else {
            return Err(Refusal::of(70_000, &[]));
        };
        if of_client.is_none() {
            return Err(Refusal::of(70_000, &[]).with_suberror(Some("client_mismatch")));
        }
        let now = self.now();
        if self
            .world
            .directory
            .throttle
            .count(Counted::Refresh, &key, now)
        {
            return Err(Refusal::of(50_196, &[]));
        }
        self.across_origins(grant.platform)?;
        grant.alive(kept.issued, kept.used, now)?;
        self.settled(&kept)?;
        let tenant = self.tenant_of(grant)?;
        let (target, asked) = self.question(grant, Several::FirstOnly, &tenant)?;
        let account = self.account(&tenant, grant, &target, kept.issued)?;
        // The old one stays good: Entra does not revoke it. Strict servers do.
        let then = match self.application.strict_rotation() {
            true => Fate::Superseded,
            false => Fate::Good,
        };
        if !ledger.use_refresh(&key, now, then).map_err(broken)? {
            return Err(self.reused(&kept));
        }
        let issue = self.issue(&tenant, proof);
        let lasting = match self.lasting(&asked) {
            Lasting::No => Lasting::No,
            Lasting::First | Lasting::Next(_) => Lasting::Next(kept.family),
        };
        issue.for_person(&account, grant, &target, &asked, &lasting)
    }

    fn settled(&self, kept: &Refresh) -> Result<(), Refusal> {
        let when = instant(kept.issued);
        match kept.fate {
            Fate::Good => Ok(()),
            Fate::Superseded => Err(self.reused(kept)),
            Fate::Expired => Err(Refusal::of(700_082, &[("when", &when)])),
            Fate::Ended => Err(Refusal::of(70_000, &[])),
            Fate::Revoked => {
                let values = [("when", when.as_str()), ("after", when.as_str())];
                Err(Refusal::of(50_173, &values))
            }
        }
    }

    /// A token that is good once was used again: somebody has a copy, and all of its kin end.
    fn reused(&self, kept: &Refresh) -> Refusal {
        let ended = Ledger(&self.world.state).end_family(&kept.family);
        match ended {
            Ok(()) => Refusal::of(70_000, &[]),
            Err(error) => broken(error),
        }
    }

    // === the device ===

    pub(crate) fn device(&self) -> Result<Value, Refusal> {
        let code = self.params.get("device_code").or(self.params.get("code"));
        let code = code.ok_or_else(|| Refusal::missing("device_code"))?;
        let proof = self.authenticate(None)?;
        let client = self.application.client_id();
        let grant = device::redeem(self.world, self.version, client, code)?;
        let tenant = self.tenant_of(&grant)?;
        let (target, asked) = self.question(&grant, Several::FirstOnly, &tenant)?;
        let account = self.account(&tenant, &grant, &target, grant.begun)?;
        let issue = self.issue(&tenant, proof);
        issue.for_person(&account, &grant, &target, &asked, &self.lasting(&asked))
    }

    // === the password ===

    pub(crate) fn password(&self) -> Result<Value, Refusal> {
        let login = self.required("username")?;
        let password = self.required("password")?;
        let proof = self.authenticate(None)?;
        let tenant = match &self.tenant {
            Some(tenant) => std::sync::Arc::clone(tenant),
            None => {
                let home = self.world.directory.home_of(login);
                home.ok_or_else(|| Refusal::of(50_059, &[]))?
            }
        };
        let identified = policy::identify(self.world, &tenant, self.application, login, password);
        let account = identified.map_err(|refusal| match refusal.code {
            50_020 => refusal.with_error("invalid_grant"),
            _ => refusal,
        })?;
        if account.home.must_change_password() {
            return Err(Refusal::of(50_055, &[]));
        }
        let since = &account.home.since;
        let grant = Grant {
            tenant: tenant.id,
            client_id: self.application.client_id(),
            signed_in: SignedIn {
                upn: account.person.upn().to_owned(),
                at: self.now(),
                mfa: false,
                revocations: since.revocations,
                passwords: since.passwords,
            },
            begun: self.now(),
            scope: self.params.owned("scope"),
            resource: self.params.owned("resource"),
            nonce: None,
            platform: match self.application.public() {
                true => Platform::Native,
                false => Platform::Web,
            },
            acrs: Vec::new(),
            cae: self.claims.cae,
        };
        let (target, asked) = self.question(&grant, Several::Refused, &tenant)?;
        let account = self.account(&tenant, &grant, &target, self.now())?;
        let issue = self.issue(&tenant, proof);
        issue.for_person(&account, &grant, &target, &asked, &self.lasting(&asked))
    }

    // === on behalf of somebody ===

    pub(crate) fn on_behalf_of(&self) -> Result<Value, Refusal> {
        let assertion = self.required("assertion")?;
        if self.params.get("requested_token_use") != Some("on_behalf_of") {
            return Err(Refusal::missing("requested_token_use"));
        }
        let proof = self.authenticate(None)?;
        let (tenant, signed_in) = self.speaks_for(assertion)?;
        let mut grant = Grant {
            tenant,
            client_id: self.application.client_id(),
            signed_in,
            begun: self.now(),
            scope: self.params.owned("scope"),
            resource: self.params.owned("resource"),
            nonce: None,
            platform: Platform::Web,
            acrs: Vec::new(),
            cae: self.claims.cae,
        };
        let tenant = self.tenant_of(&grant)?;
        let account = policy::account(self.world, &tenant, &grant.signed_in.upn)?;
        grant.signed_in.revocations = account.home.since.revocations;
        grant.signed_in.passwords = account.home.since.passwords;
        let (target, asked) = self.question(&grant, Several::Refused, &tenant)?;
        let account = self.account(&tenant, &grant, &target, self.now())?;
        let issue = self.issue(&tenant, proof);
        issue.for_person(&account, &grant, &target, &asked, &self.lasting(&asked))
    }

    /// The tenant and the person that a token speaks for which was issued for this application.
    fn speaks_for(&self, assertion: &str) -> Result<(Uuid, SignedIn), Refusal> {
        let invalid = |reason: &str| Refusal::of(50_013, &[("reason", reason)]);
        let claims = self.world.directory.key.claims(assertion);
        let claims = claims.ok_or_else(|| invalid("The key was not found."))?;
        let now = self.now();
        let until = claims["exp"].as_i64().unwrap_or_default();
        if until <= now {
            let (now, until) = (instant(now), instant(until));
            let values = [("now", now.as_str()), ("until", until.as_str())];
            return Err(Refusal::of(500_133, &values));
        }
        let client = self.application.client_id().to_string();
        let audience = claims["aud"].as_str().unwrap_or_default();
        if audience.trim_start_matches("api://") != client {
            return Err(invalid(
                "Assertion audience does not match the client app presenting the assertion.",
            ));
        }
        let id = claims["tid"].as_str().and_then(|text| text.parse().ok());
        let (Some(id), Some(upn)) = (id, claims["unique_name"].as_str()) else {
            let reason = "An app-only token cannot be used on behalf of a user.";
            return Err(invalid(reason));
        };
        let mut methods = claims["amr"].as_array().into_iter().flatten();
        let signed_in = SignedIn {
            upn: upn.to_owned(),
            at: claims["iat"].as_i64().unwrap_or(now),
            mfa: methods.any(|method| *method == "mfa"),
            revocations: 0,
            passwords: 0,
        };
        Ok((id, signed_in))
    }

    // === the application alone ===

    pub(crate) fn application_only(&self) -> Result<Value, Refusal> {
        let proof = self.authenticate(None)?;
        if proof == Proof::Public {
            return Err(Refusal::of(7_000_218, &[]));
        }
        let tenant = self.tenant.as_ref();
        let tenant = tenant.ok_or_else(|| Refusal::of(50_059, &[]))?;
        let client = self.application.client_id();
        if self.application.tenant != tenant.id && !tenant.principals.contains(&client) {
            let client = client.to_string();
            return Err(registration::unknown_application(&client, &tenant.name));
        }
        let named = match self.version {
            Version::V1 => self.required("resource")?,
            Version::V2 => {
                if self.params.get("resource").is_some() {
                    return Err(Refusal::of(901_002, &[]));
                }
                let scope = self.required("scope")?;
                let default = scope.strip_suffix("/.default");
                default.ok_or_else(|| Refusal::of(1_002_012, &[("value", scope)]))?
            }
        };
        let found = resource::find(self.world, Some(tenant), named)?;
        policy::blocked(self.application.conditional_access())?;
        let audience = match found.kind {
            Kind::Application(id) => id.to_string(),
            _ => found.name,
        };
        self.issue(tenant, proof).for_application(&audience)
    }

    // === what the grants of people share ===

    /// What is asked for, by this request or the one before it.
    fn question(
        &self,
        grant: &Grant,
        several: Several,
        tenant: &Tenant,
    ) -> Result<(Target, Asked), Refusal> {
        let question = Question {
            version: self.version,
            resource: self.params.get("resource"),
            scope: self.params.get("scope"),
            earlier_resource: grant.resource.as_deref(),
            earlier_scope: grant.scope.as_deref(),
            several,
        };
        let (target, asked) = question.answer(self.world, tenant)?;
        resource::listed(self.application, &target.resource)?;
        Ok((target, asked))
    }

    /// The person of a grant, when nothing stands between them and a token.
    fn account(
        &self,
        tenant: &Tenant,
        grant: &Grant,
        target: &Target,
        issued: i64,
    ) -> Result<Account, Refusal> {
        let account = policy::account(self.world, tenant, &grant.signed_in.upn)?;
        grant.stands(&account, self.application, issued)?;
        grant::consented(self.world, tenant, self.application, &account)?;
        let access = Access {
            tenant,
            application: self.application,
            account: &account,
            signed_in: &grant.signed_in,
            claims: &self.claims,
            resource: &target.resource.name,
            now: self.now(),
        };
        access.check()?;
        Ok(account)
    }

    fn issue<'b>(&'b self, tenant: &'b Tenant, proof: Proof) -> Issue<'b> {
        Issue {
            world: self.world,
            version: self.version,
            origin: self.origin,
            tenant,
            application: self.application,
            proof,
            claims: &self.claims,
            client_info: self.params.get("client_info") == Some("1"),
        }
    }

    /// v1 always gives a refresh token, v2 to who asked for offline access.
    fn lasting(&self, asked: &Asked) -> Lasting {
        if self.version == Version::V1 || asked.has("offline_access") {
            Lasting::First
        } else {
            Lasting::No
        }
    }
}

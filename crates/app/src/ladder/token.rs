//! Token and claims: does the token service give a token, and is it the right one?

use secrecy::SecretString;
use tieline_core::{Actor, ConsentInfo, Evidence, GrantType};
use tieline_entra::{Claims, ClaimsError, Dialect, TokenClient, is_guid};
use tieline_store::NewTokens;

use super::{Climb, Found, Luggage};
use crate::app::App;
use crate::credentials;
use crate::error::{AppError, Refused};
use crate::form::Field;
use crate::keeper::{LiveToken, Reuse, reuse_of};
use crate::obtain::{Attempt, Failure, Obtained, Offered};
use crate::settings::{Settings, client_key};

/// Where the refresh token of a test came from, and so where a new one belongs.
enum Origin {
    /// The form that is tested.
    Draft,
    /// The saved account.
    Account,
    /// The request; it is kept nowhere.
    Request,
}

/// What a test of changed settings asks with.
struct Credentials {
    offered: Vec<Offered>,
    refresh_token: Option<SecretString>,
    previous: Option<SecretString>,
    consent: Option<ConsentInfo>,
    origin: Origin,
}

impl Climb<'_> {
    /// Does the token service give a token?
    pub(super) async fn token(&self, luggage: &mut Luggage) -> Found {
        let result = match self.unchanged() {
            // What is tested is what the keeper uses: its own renewal is the test.
            Some(account) => self
                .app
                .0
                .keeper
                .renew_now(account)
                .await
                .map_err(found_of_refusal),
            None => self.obtain_changed(luggage).await,
        };
        let host = luggage
            .settings
            .as_ref()
            .and_then(|settings| settings.endpoints.as_ref())
            .and_then(|endpoints| endpoints.token().host_str())
            .unwrap_or_default()
            .to_owned();
        match result {
            Ok(token) => {
                let seconds = (token.expires_at() - self.app.now()).num_seconds().max(0);
                luggage.token = Some(token);
                self.each_credential(luggage)
                    .await
                    .with("minutes", (seconds / 60).to_string())
            }
            Err(mut found) => {
                found.evidence.host = Some(host.clone());
                found.with("host", host)
            }
        }
    }

    /// A token was given; would every credential have brought it?
    async fn each_credential(&self, luggage: &Luggage) -> Found {
        let given = Found::ok("token-given");
        let Some(settings) = &luggage.settings else {
            return given;
        };
        let ground = self.ground;
        let (draft, account) = (ground.draft.as_ref(), ground.account.as_ref());
        let offered =
            credentials::offered_to_test(self.app.store(), &ground.form, draft, account).await;
        let offered = match offered {
            Ok(offered) if offered.len() > 1 => offered,
            Ok(_) => return given,
            Err(error) => {
                tracing::error!(%error, "the credentials of a test cannot be read");
                return given;
            }
        };
        let probes = credentials::probe(self.app, settings, offered).await;
        if let (Some(account), Some(_)) = (account, self.unchanged()) {
            credentials::note_probes(self.app.store(), account, &probes, self.app.now()).await;
        }
        let said: Vec<String> = probes
            .iter()
            .map(|probe| format!("{}: {}", probe.slot, probe.said()))
            .collect();
        let refused: Vec<String> = probes
            .iter()
            .filter(|probe| probe.refusal.is_some())
            .map(|probe| credentials::name_of(probe.slot, self.language))
            .collect();
        let found = if refused.is_empty() {
            given
        } else {
            Found::warning("token-given-not-by-all").with("credentials", refused.join(", "))
        };
        let message = Some(said.join(" | "));
        found.evidence(Evidence {
            message,
            ..Evidence::default()
        })
    }

    /// Is the token for this organization, tenant and application?
    pub(super) fn claims(&self, luggage: &Luggage) -> Found {
        let (Some(settings), Some(token)) = (&luggage.settings, &luggage.token) else {
            return Found::failed("settings-incomplete");
        };
        let entra = settings
            .endpoints
            .as_ref()
            .is_some_and(|e| matches!(e.dialect(), Dialect::EntraV1 | Dialect::EntraV2));
        match tieline_entra::claims::decode(&token.secret()) {
            Ok(claims) => self.judge_claims(&claims, settings),
            Err(ClaimsError::Opaque) if !entra => Found::ok("claims-opaque"),
            Err(_) => Found::warning("claims-opaque"),
        }
    }

    fn judge_claims(&self, claims: &Claims, settings: &Settings) -> Found {
        let origin = settings
            .api
            .as_ref()
            .map(|api| api.origin())
            .unwrap_or_default();
        let meant = |audience: &String| same_resource(audience, &origin);
        if !claims.aud.is_empty() && !claims.aud.iter().any(meant) {
            return Found::failed("audience-differs")
                .with("audience", claims.aud.join(", "))
                .with("expected", origin);
        }
        let now = self.app.now();
        if claims.exp.is_some_and(|end| end <= now) || claims.nbf.is_some_and(|from| from > now) {
            return Found::warning("clock-differs");
        }
        if let Some(appid) = &claims.appid
            && !appid.eq_ignore_ascii_case(&settings.client_id)
        {
            return Found::warning("application-differs").with("application", appid.clone());
        }
        let tenant = settings
            .endpoints
            .as_ref()
            .and_then(|endpoints| endpoints.tenant());
        if let (Some(tenant), Some(tid)) = (tenant, &claims.tid)
            && is_guid(tenant)
            && !tenant.eq_ignore_ascii_case(tid)
        {
            return Found::warning("tenant-differs").with("tenant", tid.clone());
        }
        let delegated = settings.grant == GrantType::AuthorizationCode;
        if delegated
            && !claims.scp.is_empty()
            && !claims.scp.iter().any(|s| s == "user_impersonation")
        {
            return Found::warning("scope-missing").with("scope", claims.scp.join(" "));
        }
        Found::ok("claims-fit")
    }

    /// The account, if nothing that a token depends on differs from what is saved.
    fn unchanged(&self) -> Option<tieline_core::AccountId> {
        let account = self.ground.account.as_ref()?;
        let saved = crate::form::AccountForm::of(account);
        let depends = [
            Field::AuthorizationUrl,
            Field::TokenUrl,
            Field::ApiUrl,
            Field::ClientId,
            Field::ClientSecret,
            Field::NextClientSecret,
            Field::ClientCertificate,
            Field::NextClientCertificate,
            Field::RefreshToken,
            Field::Grant,
            Field::RefreshTokenRotation,
        ];
        let changed = self.ground.form.differences(&saved);
        let brought = self
            .ground
            .draft
            .as_ref()
            .is_some_and(|draft| !draft.held().is_empty() || draft.tokens.is_some());
        (!brought && !changed.iter().any(|field| depends.contains(field))).then_some(account.id)
    }

    async fn obtain_changed(&self, luggage: &Luggage) -> Result<LiveToken, Found> {
        let settings = luggage
            .settings
            .clone()
            .ok_or_else(|| Found::failed("settings-incomplete"))?;
        let credentials = self.credentials(&settings).await.map_err(|error| {
            tracing::error!(%error, "the credentials of a test cannot be read");
            Found::failed("database-unavailable")
        })?;
        let app = self.app.clone();
        let draft = self.ground.draft.as_ref().map(|draft| draft.id);
        let account = self.ground.account.as_ref().map(|account| account.id);
        // In a task of its own: a test that is cancelled must not lose a token that was rotated.
        let asking = tokio::spawn(async move {
            let asked = ask(&app, &settings, &credentials);
            let spends = settings.grant == GrantType::AuthorizationCode;
            let obtained = match (&credentials.origin, account, &credentials.refresh_token) {
                (Origin::Account, Some(account), Some(token)) if spends => {
                    let spent = app.0.keeper.spend(account, token, asked).await;
                    spent.map_err(found_of_refusal)?
                }
                _ => asked.await,
            };
            let obtained = obtained.map_err(found_of_failure)?;
            keep_rotated(&app, &settings, &credentials, &obtained, draft, account).await;
            LiveToken::unkept(
                &obtained.access_token,
                obtained.obtained_at,
                obtained.expires_at,
            )
            .ok_or_else(|| found_of_failure(Failure::UnusableToken))
        });
        match asking.await {
            Ok(found) => found,
            Err(_) => Err(Found::failed("renewal-ended")),
        }
    }

    async fn credentials(&self, settings: &Settings) -> Result<Credentials, AppError> {
        let ground = self.ground;
        let store = self.app.store();
        let offered = credentials::offered_to_test(
            store,
            &ground.form,
            ground.draft.as_ref(),
            ground.account.as_ref(),
        )
        .await?;
        let none = |origin| Credentials {
            offered: Vec::new(),
            refresh_token: None,
            previous: None,
            consent: None,
            origin,
        };
        if let Some(token) = &ground.form.refresh_token {
            let refresh_token = Some(token.clone());
            return Ok(Credentials {
                offered,
                refresh_token,
                ..none(Origin::Request)
            });
        }
        if let Some(draft) = &ground.draft
            && let Some(tokens) = store.draft_tokens(draft.id).await?
        {
            return Ok(Credentials {
                offered,
                refresh_token: tokens.refresh_token,
                consent: tokens.consent,
                ..none(Origin::Draft)
            });
        }
        let Some(account) = &ground.account else {
            return Ok(Credentials {
                offered,
                ..none(Origin::Draft)
            });
        };
        let row = store.token(account.id).await?;
        let token_url = settings
            .endpoints
            .as_ref()
            .map(|e| e.token().as_str())
            .unwrap_or_default();
        let key = client_key(token_url, &settings.client_id);
        let same_client = row
            .as_ref()
            .and_then(|row| row.client_key.as_deref())
            .is_none_or(|known| known == key);
        let row = row.filter(|_| same_client);
        Ok(Credentials {
            offered,
            refresh_token: row.as_ref().and_then(|row| row.refresh_token.clone()),
            previous: row
                .filter(|row| reuse_of(account, row) == Reuse::Harmless)
                .and_then(|row| row.previous_refresh_token),
            consent: account.consent.clone(),
            origin: Origin::Account,
        })
    }
}

async fn ask(
    app: &App,
    settings: &Settings,
    credentials: &Credentials,
) -> Result<Obtained, Failure> {
    let (Some(endpoints), Some(api)) = (&settings.endpoints, &settings.api) else {
        return Err(Failure::Settings);
    };
    let attempt = Attempt {
        endpoints,
        client_id: &settings.client_id,
        credentials: credentials.offered.clone(),
        api_url: api.url(),
        grant: settings.grant,
        refresh_token: credentials.refresh_token.clone(),
        previous: credentials.previous.clone(),
        claims: None,
    };
    let tokens = TokenClient::new(app.outbound().http().clone());
    attempt.run(&tokens, app.outbound(), app.now()).await
}

/// Keeps a refresh token that the test rotated where the old one came from: a server that rotates
/// strictly has already burnt that one.
async fn keep_rotated(
    app: &App,
    settings: &Settings,
    credentials: &Credentials,
    obtained: &Obtained,
    draft: Option<tieline_core::DraftId>,
    account: Option<tieline_core::AccountId>,
) {
    let (Some(refresh_token), Some(endpoints)) = (&obtained.refresh_token, &settings.endpoints)
    else {
        return;
    };
    if settings.grant == GrantType::ClientCredentials {
        return;
    }
    let tokens = NewTokens {
        refresh_token: Some(refresh_token.clone()),
        access_token: Some(obtained.access_token.clone()),
        access_expires_at: Some(obtained.expires_at),
        scope: obtained.scope.clone(),
        client_key: client_key(endpoints.token().as_str(), &settings.client_id),
        consent: credentials.consent.clone(),
    };
    let now = app.now();
    let kept = match (&credentials.origin, draft, account) {
        (Origin::Draft, Some(draft), _) => app.store().draft_set_tokens(draft, tokens, now).await,
        (Origin::Account, _, Some(account)) => {
            let renew_at = Some(now + (obtained.expires_at - now) / 2);
            let kept = app
                .store()
                .token_replace(account, tokens, renew_at, &Actor::System, now)
                .await;
            app.account_changed(account);
            kept
        }
        _ => Ok(()),
    };
    if let Err(error) = kept {
        tracing::error!(%error, "a refresh token that a test rotated could not be kept");
    }
}

fn found_of_failure(failure: Failure) -> Found {
    Found::failed(failure.code()).evidence(failure.evidence())
}

fn found_of_refusal(refused: Refused) -> Found {
    let evidence: Evidence = refused.evidence.as_deref().cloned().unwrap_or_default();
    Found::failed(refused.code).evidence(evidence)
}

/// Entra writes the audience with or without a slash at the end.
fn same_resource(audience: &str, origin: &str) -> bool {
    audience
        .trim_end_matches('/')
        .eq_ignore_ascii_case(origin.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::same_resource;

    #[test]
    fn a_slash_makes_no_other_resource_and_a_host_does() {
        let org = "https://contoso.crm4.dynamics.com";
        assert!(same_resource("https://contoso.crm4.dynamics.com/", org));
        assert!(same_resource("https://Contoso.crm4.dynamics.com", org));
        assert!(!same_resource("https://fabrikam.crm4.dynamics.com", org));
        assert!(!same_resource("00000003-0000-0000-c000-000000000000", org));
    }
}

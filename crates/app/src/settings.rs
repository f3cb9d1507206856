//! Reads a form as settings: complete, well-formed, and fitting together.
//!
//! Nothing here asks the network; that is the ladder's work. Findings name the property at fault
//! and carry a stable code, so that the console can stand them where they belong.

mod credentials;

use chrono::{DateTime, NaiveDate, Utc};
use secrecy::ExposeSecret;
use tieline_core::{
    Account, AccountName, CredentialInfo, GrantType, NameProblem, RefreshTokenRotation,
};
use tieline_dataverse::ApiAddress;
use tieline_entra::{Dialect, EndpointField, Endpoints, is_guid};
use tieline_store::AccountSettings;

use crate::form::{AccountForm, Field, Finding};
use crate::outbound::{Outbound, is_loopback_host};

/// Refresh tokens of Entra are one to two kilobytes; others are shorter.
const REFRESH_TOKEN_MAX: usize = 16_384;
/// Longest note.
const NOTES_MAX: usize = 4000;

/// A form that was understood.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Name, where it is one.
    pub(crate) name: Option<AccountName>,
    pub(crate) is_default: bool,
    pub(crate) endpoints: Option<Endpoints>,
    pub(crate) api: Option<ApiAddress>,
    pub(crate) client_id: String,
    pub(crate) secret_expires_on: Option<NaiveDate>,
    pub(crate) next_secret_expires_on: Option<NaiveDate>,
    pub(crate) grant: GrantType,
    pub(crate) rotation: RefreshTokenRotation,
    pub(crate) notes: String,
}

impl Settings {
    /// The settings as the store keeps them; none while something is missing.
    pub(crate) fn complete(&self) -> Option<AccountSettings> {
        let endpoints = self.endpoints.as_ref()?;
        Some(AccountSettings {
            name: self.name.clone()?,
            is_default: self.is_default,
            authorization_url: endpoints.authorization().to_string(),
            token_url: endpoints.token().to_string(),
            api_url: self.api.as_ref()?.url().to_string(),
            client_id: self.client_id.clone(),
            grant: self.grant,
            rotation: self.rotation,
            notes: self.notes.clone(),
            secret_expires_on: self.secret_expires_on,
            credentials: Vec::new(),
        })
    }
}

/// What the judgement rests on besides the form.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Circumstances<'a> {
    /// The account that the form edits; none for a new one.
    pub(crate) account: Option<&'a Account>,
    /// The credentials that a draft holds and the form does not repeat.
    pub(crate) held: &'a [CredentialInfo],
    /// The way out, whose policy the URLs must meet.
    pub(crate) outbound: &'a Outbound,
    /// The present moment.
    pub(crate) now: DateTime<Utc>,
}

/// Reads a form. The settings hold what was understood, the findings the rest.
pub(crate) fn judge(form: &AccountForm, around: Circumstances<'_>) -> (Settings, Vec<Finding>) {
    let mut findings = Vec::new();
    let name = judge_name(&form.name, &mut findings);
    let endpoints = judge_endpoints(form, around.outbound, &mut findings);
    let api = judge_api(&form.api_url, around.outbound, &mut findings);
    judge_clouds(endpoints.as_ref(), api.as_ref(), &mut findings);
    let client_id = judge_client_id(&form.client_id, endpoints.as_ref(), &mut findings);
    let expiries = credentials::judge(form, around, &mut findings);
    judge_grant(form, endpoints.as_ref(), &mut findings);
    judge_refresh_token(form, &mut findings);
    if form.notes.chars().count() > NOTES_MAX {
        findings.push(
            Finding::error(Field::Notes, "notes-too-long").with("max", NOTES_MAX.to_string()),
        );
    }
    let settings = Settings {
        name,
        is_default: form.is_default,
        endpoints,
        api,
        client_id,
        secret_expires_on: expiries.first,
        next_secret_expires_on: expiries.next,
        grant: form.grant(),
        rotation: form.rotation(),
        notes: form.notes.clone(),
    };
    // The order of the form, so that the first finding is the topmost field; errors go first.
    findings.sort_by_key(|finding| {
        let place = Field::ALL.iter().position(|field| *field == finding.field);
        (place, !finding.is_error())
    });
    (settings, findings)
}

/// Which client configuration a refresh token was issued to. A token of another client is refused
/// with the same `invalid_grant` as a dead one, so it must not be sent there in the first place.
pub(crate) fn client_key(token_url: &str, client_id: &str) -> String {
    format!(
        "{}|{}",
        token_url.trim().to_lowercase(),
        client_id.trim().to_lowercase()
    )
}

fn judge_name(text: &str, findings: &mut Vec<Finding>) -> Option<AccountName> {
    match text.parse::<AccountName>() {
        // The first segment of a gateway path is an account, unless it is the API's own.
        Ok(name) if name.key() == "api" || name.key() == "healthz" => {
            findings.push(Finding::error(Field::Name, "name-reserved").with("name", name.as_str()));
            None
        }
        Ok(name) => Some(name),
        Err(problem) => {
            let code = match problem {
                NameProblem::Empty => "name-empty",
                NameProblem::TooLong => "name-too-long",
                NameProblem::ControlCharacter => "name-control-character",
            };
            findings.push(Finding::error(Field::Name, code));
            None
        }
    }
}

fn judge_endpoints(
    form: &AccountForm,
    outbound: &Outbound,
    findings: &mut Vec<Finding>,
) -> Option<Endpoints> {
    match Endpoints::parse(&form.authorization_url, &form.token_url) {
        Ok(judged) => {
            for warning in &judged.warnings {
                findings.push(Finding::warning(Field::AuthorizationUrl, warning.code()));
            }
            let endpoints = judged.value;
            let admitted = [
                (Field::AuthorizationUrl, endpoints.authorization()),
                (Field::TokenUrl, endpoints.token()),
            ]
            .map(|(field, url)| admit(field, url, outbound, findings));
            admitted.into_iter().all(|fine| fine).then_some(endpoints)
        }
        Err(problems) => {
            for problem in problems {
                let field = match problem.field {
                    EndpointField::AuthorizationUrl => Field::AuthorizationUrl,
                    EndpointField::TokenUrl => Field::TokenUrl,
                };
                findings.push(Finding::error(field, problem.kind.code()));
            }
            None
        }
    }
}

fn judge_api(text: &str, outbound: &Outbound, findings: &mut Vec<Finding>) -> Option<ApiAddress> {
    match ApiAddress::parse(text) {
        Ok(judged) => {
            for warning in &judged.warnings {
                findings.push(Finding::warning(Field::ApiUrl, warning.code()));
            }
            admit(Field::ApiUrl, judged.value.url(), outbound, findings).then_some(judged.value)
        }
        Err(problem) => {
            findings.push(Finding::error(Field::ApiUrl, problem.code()));
            None
        }
    }
}

/// Whether the policy lets a URL be called at all.
fn admit(field: Field, url: &url::Url, outbound: &Outbound, findings: &mut Vec<Finding>) -> bool {
    let refused = outbound.admit(url).is_err()
        || (is_loopback_host(url) && outbound.policy() == crate::outbound::Policy::PublicOnly);
    if refused {
        let host = url.host_str().unwrap_or_default().to_owned();
        findings.push(Finding::error(field, "url-not-allowed").with("host", host));
    }
    !refused
}

/// A login host of one cloud with an organization of another works for nobody.
fn judge_clouds(
    endpoints: Option<&Endpoints>,
    api: Option<&ApiAddress>,
    findings: &mut Vec<Finding>,
) {
    let login = endpoints.and_then(Endpoints::cloud);
    let organization = api
        .and_then(|api| api.url().host_str())
        .and_then(tieline_entra::cloud_of_api_host);
    if let (Some(login), Some(organization)) = (login, organization)
        && !login.serves(organization)
    {
        findings.push(Finding::warning(Field::ApiUrl, "cloud-differs"));
    }
}

fn judge_client_id(
    text: &str,
    endpoints: Option<&Endpoints>,
    findings: &mut Vec<Finding>,
) -> String {
    let text = text.trim();
    let entra =
        endpoints.is_some_and(|e| matches!(e.dialect(), Dialect::EntraV1 | Dialect::EntraV2));
    if text.is_empty() {
        findings.push(Finding::error(Field::ClientId, "client-id-empty"));
    } else if text.chars().any(char::is_whitespace) || text.len() > 255 {
        findings.push(Finding::error(Field::ClientId, "client-id-malformed"));
    } else if entra && !is_guid(text) {
        findings.push(Finding::warning(Field::ClientId, "client-id-not-guid"));
    }
    text.to_owned()
}

/// The application's own grant is refused over `/common` (AADSTS9001023): it names no tenant.
fn judge_grant(form: &AccountForm, endpoints: Option<&Endpoints>, findings: &mut Vec<Finding>) {
    let shared = endpoints
        .and_then(Endpoints::tenant)
        .is_some_and(|tenant| matches!(tenant, "common" | "organizations" | "consumers"));
    if form.grant() == GrantType::ClientCredentials && shared {
        findings.push(Finding::error(Field::TokenUrl, "grant-needs-tenant"));
    }
}

fn judge_refresh_token(form: &AccountForm, findings: &mut Vec<Finding>) {
    let Some(token) = &form.refresh_token else {
        return;
    };
    let text = token.expose_secret().trim();
    if text.len() > REFRESH_TOKEN_MAX || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        findings.push(Finding::error(
            Field::RefreshToken,
            "refresh-token-malformed",
        ));
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;
    use crate::outbound::{OutboundSettings, Policy};

    const TENANT: &str = "https://login.microsoftonline.com/8d2c0f1e-3b57-4a3e-9a0b-5f7a2f5b1c01";

    fn good() -> AccountForm {
        AccountForm {
            name: "Contoso Sales".into(),
            authorization_url: format!("{TENANT}/oauth2/authorize"),
            token_url: format!("{TENANT}/oauth2/token"),
            api_url: "https://contoso.crm4.dynamics.com/api/data/v9.0".into(),
            client_id: "1b0c2c39-6f8f-4b0e-8a37-2f6a8f0d9a55".into(),
            client_secret: Some(SecretString::from("a+b%c&d~")),
            ..AccountForm::default()
        }
    }

    fn codes(form: &AccountForm) -> Vec<(&'static str, &'static str)> {
        let outbound = Outbound::new(&OutboundSettings::default()).expect("outbound");
        let around = Circumstances {
            account: None,
            held: &[],
            outbound: &outbound,
            now: "2026-11-23T00:00:00Z".parse().expect("a date"),
        };
        let (_, findings) = judge(form, around);
        for finding in &findings {
            assert!(
                crate::help::explain_known(finding.code),
                "no text for {}",
                finding.code
            );
        }
        findings
            .iter()
            .map(|f| (f.field.as_str(), f.code))
            .collect()
    }

    #[test]
    fn a_complete_form_has_no_findings() {
        assert_eq!(codes(&good()), []);
    }

    #[test]
    fn an_empty_form_names_every_field_in_order() {
        let fields: Vec<_> = codes(&AccountForm::default())
            .iter()
            .map(|(f, _)| *f)
            .collect();
        let expected = [
            "name",
            "authorization_url",
            "token_url",
            "api_url",
            "client_id",
            "client_secret",
        ];
        assert_eq!(fields, expected);
    }

    #[test]
    fn the_id_of_a_secret_is_recognised() {
        let mut form = good();
        form.client_secret = Some(SecretString::from("3f2504e0-4f89-11d3-9a0c-0305e82c3301"));
        assert_eq!(
            codes(&form),
            [("client_secret", "client-secret-looks-like-id")]
        );
    }

    #[test]
    fn an_expiry_is_seen_coming() {
        let mut form = good();
        form.secret_expires_on = "2026-12-01".into();
        assert_eq!(codes(&form), [("secret_expires_on", "secret-expiry-soon")]);
        form.secret_expires_on = "2026-11-22".into();
        assert_eq!(codes(&form), [("secret_expires_on", "secret-expiry-past")]);
        form.secret_expires_on = "1 Dec".into();
        assert_eq!(
            codes(&form),
            [("secret_expires_on", "secret-expiry-malformed")]
        );
    }

    #[test]
    fn the_applications_own_grant_needs_a_tenant() {
        let mut form = good();
        form.authorization_url = "https://login.microsoftonline.com/common/oauth2/authorize".into();
        form.token_url = "https://login.microsoftonline.com/common/oauth2/token".into();
        form.grant = Some(GrantType::ClientCredentials);
        assert!(codes(&form).contains(&("token_url", "grant-needs-tenant")));
    }

    #[test]
    fn loopback_is_refused_where_the_configuration_does_not_allow_it() {
        let mut form = good();
        form.api_url = "https://localhost:8430/api/data/v9.0".into();
        assert!(codes(&form).contains(&("api_url", "url-not-allowed")));
        let open = Outbound::new(&OutboundSettings {
            policy: Policy::LoopbackToo,
            ..OutboundSettings::default()
        })
        .expect("outbound");
        let around = Circumstances {
            account: None,
            held: &[],
            outbound: &open,
            now: Utc::now(),
        };
        let (settings, findings) = judge(&form, around);
        assert!(
            findings.iter().all(|finding| !finding.is_error()),
            "{findings:?}"
        );
        assert!(settings.complete().is_some());
    }

    #[test]
    fn a_name_that_the_gateway_needs_for_itself_is_refused() {
        let mut form = good();
        form.name = "API".into();
        assert_eq!(codes(&form), [("name", "name-reserved")]);
    }
}

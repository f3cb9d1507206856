//! Set-up help: from what an administrator has at hand to what the form asks for.
//!
//! Given the organization's address alone, it is asked without a token, and its challenge names
//! the tenant (facts of the Web API: `WWW-Authenticate: Bearer authorization_uri=…`). A tenant ID,
//! an endpoint or a discovery document is understood too.

use tieline_dataverse::{ApiAddress, WebApi};
use tieline_entra::{Challenge, Dialect, Endpoints, is_guid};
use url::Url;

use crate::app::App;
use crate::error::AppError;
use crate::form::{Field, Finding};

/// What could be filled in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proposal {
    /// Authorization URL.
    pub authorization_url: Option<String>,
    /// Token URL.
    pub token_url: Option<String>,
    /// API URL.
    pub api_url: Option<String>,
    /// What should be known about it.
    pub notes: Vec<Finding>,
}

impl App {
    /// Proposes the URLs of a form from whatever was pasted.
    ///
    /// # Errors
    /// When it cannot be made sense of, or the organization cannot be asked.
    pub async fn setup_propose(&self, pasted: &str) -> Result<Proposal, AppError> {
        let pasted = pasted.trim().trim_matches('"');
        if pasted.is_empty() {
            return Err(AppError::Refused {
                code: "setup-empty",
            });
        }
        if is_guid(pasted) {
            return Ok(of_tenant(&public_authority(), pasted, Dialect::EntraV1));
        }
        if pasted.starts_with('{') {
            return of_discovery_document(pasted);
        }
        if let Some(proposal) = of_endpoint(pasted) {
            return Ok(proposal);
        }
        self.of_organization(pasted).await
    }

    async fn of_organization(&self, pasted: &str) -> Result<Proposal, AppError> {
        let with_scheme = if pasted.contains("://") {
            pasted.to_owned()
        } else {
            format!("https://{pasted}")
        };
        let address = ApiAddress::parse(&with_scheme).map_err(|problem| {
            AppError::Invalid(vec![Finding::error(Field::ApiUrl, problem.code())])
        })?;
        self.outbound().admit(address.value.url()).map_err(|_| {
            let host = address
                .value
                .url()
                .host_str()
                .unwrap_or_default()
                .to_owned();
            AppError::Invalid(vec![
                Finding::error(Field::ApiUrl, "url-not-allowed").with("host", host),
            ])
        })?;
        let api_url = address.value.url().to_string();
        let web_api = WebApi::new(self.outbound().http().clone(), address.value);
        let header = web_api.probe_without_token().await.map_err(|error| {
            tracing::info!(%error, "an organization could not be asked for its challenge");
            AppError::Refused {
                code: "setup-unreachable",
            }
        })?;
        let challenge = header.as_deref().and_then(Challenge::parse);
        let Some(authorization) = challenge.and_then(|challenge| challenge.authorization_uri)
        else {
            return Err(AppError::Refused {
                code: "setup-no-challenge",
            });
        };
        let mut proposal = of_endpoint(authorization.as_str()).unwrap_or_default();
        proposal.api_url = Some(api_url);
        Ok(proposal)
    }
}

fn public_authority() -> Url {
    const AUTHORITY: &str = "https://login.microsoftonline.com";
    Url::parse(AUTHORITY).expect("the address of Entra is a URL")
}

fn of_tenant(authority: &Url, tenant: &str, dialect: Dialect) -> Proposal {
    let endpoints = Endpoints::for_tenant(authority, tenant, dialect);
    Proposal {
        authorization_url: Some(endpoints.authorization().to_string()),
        token_url: Some(endpoints.token().to_string()),
        ..Proposal::default()
    }
}

/// An endpoint of either kind, or the address of a discovery document: all name the tenant.
fn of_endpoint(pasted: &str) -> Option<Proposal> {
    let url = Url::parse(pasted).ok()?;
    let path = url.path().trim_end_matches('/');
    let shaped = path.contains("/oauth2/")
        || path.ends_with("/.well-known/openid-configuration")
        || path.ends_with("/v2.0");
    let tenant = path
        .trim_start_matches('/')
        .split('/')
        .next()
        .filter(|part| !part.is_empty())?;
    if !shaped {
        return None;
    }
    if tenant == "adfs" {
        let base = format!("{}/adfs/oauth2", url.origin().ascii_serialization());
        return Some(Proposal {
            authorization_url: Some(format!("{base}/authorize")),
            token_url: Some(format!("{base}/token")),
            ..Proposal::default()
        });
    }
    let dialect = if path.contains("/v2.0") {
        Dialect::EntraV2
    } else {
        Dialect::EntraV1
    };
    let authority = Url::parse(&url.origin().ascii_serialization()).ok()?;
    Some(of_tenant(&authority, tenant, dialect))
}

fn of_discovery_document(pasted: &str) -> Result<Proposal, AppError> {
    let unreadable = || AppError::Refused {
        code: "setup-not-understood",
    };
    let document: serde_json::Value = serde_json::from_str(pasted).map_err(|_| unreadable())?;
    let text = |name: &str| {
        document
            .get(name)
            .and_then(|v| v.as_str())
            .map(str::to_owned)
    };
    let proposal = Proposal {
        authorization_url: text("authorization_endpoint"),
        token_url: text("token_endpoint"),
        ..Proposal::default()
    };
    if proposal.authorization_url.is_none() || proposal.token_url.is_none() {
        return Err(unreadable());
    }
    Ok(proposal)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUID: &str = "8d2c0f1e-3b57-4a3e-9a0b-5f7a2f5b1c01";

    #[test]
    fn a_v2_endpoint_gives_the_pair_of_v2() {
        let url = format!("https://login.microsoftonline.us/{GUID}/oauth2/v2.0/token");
        let proposal = of_endpoint(&url).expect("a proposal");
        let expected = format!("https://login.microsoftonline.us/{GUID}/oauth2/v2.0/authorize");
        assert_eq!(proposal.authorization_url, Some(expected));
    }

    #[test]
    fn the_address_of_a_discovery_document_names_the_tenant() {
        let url =
            format!("https://login.microsoftonline.com/{GUID}/.well-known/openid-configuration");
        let proposal = of_endpoint(&url).expect("a proposal");
        let expected = format!("https://login.microsoftonline.com/{GUID}/oauth2/token");
        assert_eq!(proposal.token_url, Some(expected));
    }

    #[test]
    fn a_discovery_document_is_read() {
        let document = r#"{"authorization_endpoint":"https://a/x","token_endpoint":"https://a/y"}"#;
        let proposal = of_discovery_document(document).expect("a proposal");
        assert_eq!(proposal.token_url.as_deref(), Some("https://a/y"));
        assert!(of_discovery_document("{").is_err());
        assert!(of_discovery_document("{}").is_err());
    }

    #[test]
    fn an_organization_is_no_endpoint() {
        assert!(of_endpoint("https://contoso.crm4.dynamics.com").is_none());
        assert!(of_endpoint("https://contoso.crm4.dynamics.com/api/data/v9.2").is_none());
    }
}

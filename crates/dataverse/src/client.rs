//! The calls that Tieline itself makes: who am I, where am I, what may I do.

use std::time::Duration;

use http::header::{ACCEPT, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{RequestBuilder, Response};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::address::ApiAddress;
use crate::error::{ApiError, ApiRefusal};

/// Largest answer that is read.
const ANSWER_MAX: usize = 1024 * 1024;

/// A client of one organization. Cheap to clone.
#[derive(Debug, Clone)]
pub struct WebApi {
    http: reqwest::Client,
    address: ApiAddress,
}

/// The answer to `WhoAmI`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WhoAmI {
    /// The system user.
    pub user_id: String,
    /// Its business unit.
    pub business_unit_id: String,
    /// The organization.
    pub organization_id: String,
    /// How many calls the organization recommends to make at a time.
    pub dop_hint: Option<u32>,
}

/// What is known of an organization.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OrganizationDetail {
    /// Its name for people.
    pub friendly_name: Option<String>,
    /// Its unique name.
    pub unique_name: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Its tenant.
    pub tenant_id: Option<String>,
}

impl WebApi {
    /// A client on an HTTP client that follows no redirects.
    #[must_use]
    pub fn new(http: reqwest::Client, address: ApiAddress) -> Self {
        Self { http, address }
    }

    /// Asks who the token's user is.
    ///
    /// # Errors
    /// When the organization does not say.
    pub async fn who_am_i(&self, token: &SecretString) -> Result<WhoAmI, ApiError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Raw {
            user_id: String,
            business_unit_id: String,
            organization_id: String,
        }
        let response = self
            .get(token, "WhoAmI")
            .send()
            .await
            .map_err(ApiError::transport)?;
        let dop_hint = response
            .headers()
            .get("x-ms-dop-hint")
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.trim().parse().ok());
        let raw: Raw = read(response).await?;
        Ok(WhoAmI {
            user_id: raw.user_id,
            business_unit_id: raw.business_unit_id,
            organization_id: raw.organization_id,
            dop_hint,
        })
    }

    /// Asks which organization this is.
    ///
    /// # Errors
    /// When the organization does not say.
    pub async fn current_organization(
        &self,
        token: &SecretString,
    ) -> Result<OrganizationDetail, ApiError> {
        let rest = "RetrieveCurrentOrganization(AccessType=@p1)?\
                    @p1=Microsoft.Dynamics.CRM.EndpointAccessType'Default'";
        let response = self
            .get(token, rest)
            .send()
            .await
            .map_err(ApiError::transport)?;
        let value: Value = read(response).await?;
        let text = |name: &str| {
            value["Detail"][name]
                .as_str()
                .map(str::to_owned)
                .filter(|s| !s.is_empty())
        };
        Ok(OrganizationDetail {
            friendly_name: text("FriendlyName"),
            unique_name: text("UniqueName"),
            version: text("OrganizationVersion"),
            tenant_id: text("TenantId"),
        })
    }

    /// Those of `needed` that a user does not have. The function answers one row per privilege that
    /// the user has, without its name, so each is asked for by itself only when some are missing.
    ///
    /// # Errors
    /// When the organization does not say.
    pub async fn privileges_missing(
        &self,
        token: &SecretString,
        user_id: &str,
        needed: &[&str],
    ) -> Result<Vec<String>, ApiError> {
        if self.privileges_held(token, user_id, needed).await? >= needed.len() {
            return Ok(Vec::new());
        }
        let mut missing = Vec::new();
        for name in needed {
            if self.privileges_held(token, user_id, &[name]).await? == 0 {
                missing.push((*name).to_owned());
            }
        }
        Ok(missing)
    }

    async fn privileges_held(
        &self,
        token: &SecretString,
        user_id: &str,
        names: &[&str],
    ) -> Result<usize, ApiError> {
        let rest = format!(
            "systemusers({user_id})/Microsoft.Dynamics.CRM.RetrieveUserSetOfPrivilegesByNames\
             (PrivilegeNames=@p)"
        );
        let list = serde_json::to_string(names).unwrap_or_default();
        let request = self.get(token, &rest).query(&[("@p", list)]);
        let value: Value = read(request.send().await.map_err(ApiError::transport)?).await?;
        Ok(value["RolePrivileges"].as_array().map_or(0, Vec::len))
    }

    /// Asks without a token, for the challenge: `WWW-Authenticate` as it stands.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn probe_without_token(&self) -> Result<Option<String>, ApiError> {
        let request = self
            .http
            .get(self.address.below(""))
            .header(ACCEPT, "application/json");
        let response = request.send().await.map_err(ApiError::transport)?;
        Ok(header(&response, WWW_AUTHENTICATE.as_str()))
    }

    fn get(&self, token: &SecretString, rest: &str) -> RequestBuilder {
        self.http
            .get(self.address.below(rest))
            .bearer_auth(token.expose_secret())
            .header(ACCEPT, "application/json")
            .header("OData-MaxVersion", "4.0")
            .header("OData-Version", "4.0")
    }
}

async fn read<T: DeserializeOwned>(response: Response) -> Result<T, ApiError> {
    let status = response.status().as_u16();
    let mut refusal = ApiRefusal {
        status,
        request_id: header(&response, "x-ms-service-request-id")
            .or_else(|| header(&response, "REQ_ID")),
        retry_after: header(&response, RETRY_AFTER.as_str())
            .and_then(|text| text.trim().parse().ok())
            .map(Duration::from_secs),
        challenge: header(&response, WWW_AUTHENTICATE.as_str()),
        ..ApiRefusal::default()
    };
    let body = bounded(response, status).await?;
    if (200..300).contains(&status) {
        return serde_json::from_slice(&body).map_err(|_| ApiError::Unintelligible { status });
    }
    let spoken = refusal.read(&body);
    // A bad token is answered with an empty body and a challenge; limits may come from in front.
    if spoken || matches!(status, 401 | 403 | 429 | 500..) {
        return Err(ApiError::Refused(Box::new(refusal)));
    }
    Err(ApiError::Unintelligible { status })
}

async fn bounded(mut response: Response, status: u16) -> Result<Vec<u8>, ApiError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(ApiError::transport)? {
        if body.len() + chunk.len() > ANSWER_MAX {
            return Err(ApiError::Unintelligible { status });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn header(response: &Response, name: &str) -> Option<String> {
    response
        .headers()
        .get(name)
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned)
}

//! Credentials as JSON, and certificates that are made here.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tieline_app::{AppError, CERTIFICATE_DAYS, explain};
use tieline_core::{Account, CredentialInfo, CredentialSlot, Language, Right, trial_order};
use utoipa::{IntoParams, ToSchema};

use crate::api::account_json::time;
use crate::api::accounts::{etag, find};
use crate::api::body::{Body, Caller, Known};
use crate::api::problem::{Problem, ProblemDocument};
use crate::site::Site;

/// Longest life of a certificate that is made here, in days: Microsoft's own templates end there.
const DAYS_MAX: u16 = 730;

/// Whether a secret is set.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SecretJson {
    set: bool,
    set_at: Option<String>,
    /// Date, `YYYY-MM-DD`, where it was told.
    expires_on: Option<String>,
}

impl SecretJson {
    pub(crate) fn of(account: &Account, slot: CredentialSlot) -> Self {
        let info = account.credential(slot);
        Self {
            set: info.is_some(),
            set_at: info.map(|info| time(info.set_at)),
            expires_on: info.and_then(expires_on),
        }
    }
}

/// A certificate, without its key.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CertificateJson {
    set: bool,
    set_at: Option<String>,
    /// Date, `YYYY-MM-DD`, as it says itself.
    expires_on: Option<String>,
    /// SHA-1 in hexadecimal, as the Azure portal shows it.
    thumbprint: Option<String>,
}

impl CertificateJson {
    pub(crate) fn of(account: &Account, slot: CredentialSlot) -> Self {
        let info = account.credential(slot);
        Self {
            set: info.is_some(),
            set_at: info.map(|info| time(info.set_at)),
            expires_on: info.and_then(expires_on),
            thumbprint: info.and_then(|info| info.thumbprint.clone()),
        }
    }
}

/// A secret or certificate, and what became of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CredentialJson {
    /// `client_secret`, `next_client_secret`, `client_certificate`, `next_client_certificate`.
    credential: &'static str,
    set_at: String,
    expires_on: Option<String>,
    /// Whether it is the one that worked last.
    in_use: bool,
    /// Since when it is the one that works, where that is known.
    worked_at: Option<String>,
    /// Why it no longer works, where it does not.
    refused: Option<RefusalJson>,
}

/// Since when and why a credential is refused.
#[derive(Debug, Serialize, ToSchema)]
struct RefusalJson {
    since: String,
    /// Stable code.
    code: String,
    /// What the token service said.
    detail: String,
    cause: String,
    remedy: String,
}

impl CredentialJson {
    /// Every credential, in the order in which they are tried.
    pub(crate) fn all(account: &Account, language: Language) -> Vec<Self> {
        let latest = account
            .credentials
            .iter()
            .filter_map(|info| info.worked_at)
            .max();
        trial_order(&account.credentials)
            .into_iter()
            .filter_map(|slot| account.credential(slot))
            .map(|info| Self {
                credential: info.slot.as_str(),
                set_at: time(info.set_at),
                expires_on: expires_on(info),
                in_use: latest.is_some() && info.worked_at == latest,
                worked_at: info.worked_at.map(time),
                refused: info.refused.as_ref().map(|refused| {
                    let none: [(&str, String); 0] = [];
                    let text = explain(&refused.code, &none, language);
                    RefusalJson {
                        since: time(refused.since),
                        code: refused.code.clone(),
                        detail: refused.detail.clone(),
                        cause: text.cause,
                        remedy: text.remedy,
                    }
                }),
            })
            .collect()
    }
}

fn expires_on(info: &CredentialInfo) -> Option<String> {
    info.expires_on.map(|day| day.to_string())
}

// === certificates ===

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(crate) struct Which {
    /// `client_certificate` (the default) or `next_client_certificate`.
    credential: Option<String>,
}

/// What to make.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(crate) struct CertificateAsked {
    /// How many days it is to last, 1 to 730; 365 unless told otherwise.
    days: Option<u16>,
}

impl Known for CertificateAsked {
    const PROPERTIES: &'static [&'static str] = &["days"];
}

/// A certificate that was made.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CertificateMade {
    /// Where it stands: `client_certificate`, or `next_client_certificate` where there was one.
    credential: &'static str,
    /// What to upload in the Azure portal (PEM). The private key never leaves the server.
    certificate: String,
    /// SHA-1 in hexadecimal, as the Azure portal shows it.
    thumbprint: String,
    /// Date, `YYYY-MM-DD`.
    expires_on: Option<String>,
}

/// Downloads a certificate's public half, to be uploaded in the Azure portal.
#[utoipa::path(get, path = "/v1/integration-accounts/{account}/certificate",
    tag = "integration accounts", operation_id = "download_certificate",
    params(("account" = String, Path, description = "id or name"), Which),
    responses((status = 200, body = String, content_type = "application/x-pem-file"),
        (status = 404, body = ProblemDocument)))]
pub(crate) async fn certificate_show(
    State(site): State<Site>,
    caller: Caller,
    Path(account): Path<String>,
    Query(which): Query<Which>,
) -> Result<Response, Problem> {
    let account = find(&site, &caller, &account).await?;
    let slot = match which.credential.as_deref() {
        None => Some(CredentialSlot::ClientCertificate),
        Some(word) => word.parse().ok(),
    };
    let certificate = slot
        .and_then(|slot| account.credential(slot))
        .and_then(|info| info.certificate.clone());
    let missing = AppError::NotFound {
        what: "certificate",
    };
    let pem = certificate.ok_or_else(|| caller.problem(&missing))?;
    Ok(([(header::CONTENT_TYPE, "application/x-pem-file")], pem).into_response())
}

/// Makes a key and a certificate for an account, and saves both. Where it has a certificate
/// already, the new one waits to take over until it was uploaded in the Azure portal.
#[utoipa::path(post, path = "/v1/integration-accounts/{account}/certificate",
    tag = "integration accounts", operation_id = "make_certificate",
    params(("account" = String, Path, description = "id or name")), request_body = CertificateAsked,
    responses((status = 201, body = CertificateMade), (status = 404, body = ProblemDocument),
        (status = 422, body = ProblemDocument, description = "both places are taken")))]
pub(crate) async fn certificate_make(
    State(site): State<Site>,
    caller: Caller,
    Path(account): Path<String>,
    Body(asked): Body<CertificateAsked>,
) -> Result<Response, Problem> {
    caller.require(Right::Manage)?;
    let account = find(&site, &caller, &account).await?;
    let days = asked.days.unwrap_or(CERTIFICATE_DAYS);
    if !(1..=DAYS_MAX).contains(&days) {
        return Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "days-out-of-range",
            "A certificate lasts 1 to 730 days.",
            "Send another number, or none for a year.",
        ));
    }
    let made = site
        .app
        .account_certificate_generate(&caller.0.actor(), account.id, days)
        .await;
    let (applied, slot) = made.map_err(|error| caller.problem(&error))?;
    let info = applied.account.credential(slot);
    let json = CertificateMade {
        credential: slot.as_str(),
        certificate: info
            .and_then(|info| info.certificate.clone())
            .unwrap_or_default(),
        thumbprint: info
            .and_then(|info| info.thumbprint.clone())
            .unwrap_or_default(),
        expires_on: info.and_then(expires_on),
    };
    let version = etag(applied.account.version);
    Ok((StatusCode::CREATED, version, Json(json)).into_response())
}

//! Failures as problem documents (RFC 9457).

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tieline_app::{AppError, Finding, Severity};
use tieline_core::Language;
use utoipa::ToSchema;

use crate::api::account_json::AccountJson;
use crate::console::status_of;

/// What failed, as `application/problem+json` (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemDocument {
    /// A URN made of the code.
    #[serde(rename = "type")]
    kind: String,
    /// What happened, in the language that was asked for.
    title: String,
    /// HTTP status.
    status: u16,
    /// What to do; absent when there is nothing to do.
    #[serde(skip_serializing_if = "String::is_empty")]
    detail: String,
    /// Stable code, the same in every language.
    code: String,
    /// What was found at which property.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldProblem>,
    /// After a lost race: the account as it is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<Box<AccountJson>>,
    /// After a lost race: the properties in which the request differs from it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    changed: Vec<String>,
    #[serde(skip)]
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// A handler's failure. Boxed, because every handler's result has room for one.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct Problem(Box<ProblemDocument>);

/// What was found at one property.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct FieldProblem {
    /// The property, by its name in the API.
    pub(crate) field: String,
    /// Stable code.
    pub(crate) code: String,
    /// What is wrong.
    pub(crate) cause: String,
    /// What to do.
    pub(crate) remedy: String,
}

impl FieldProblem {
    /// A finding of the use cases.
    pub(crate) fn of(finding: &Finding, language: Language) -> Self {
        let text = finding.explain(language);
        Self {
            field: finding.field.as_str().to_owned(),
            code: finding.code.to_owned(),
            cause: text.cause,
            remedy: text.remedy,
        }
    }
}

impl Problem {
    pub(crate) fn new(
        status: StatusCode,
        code: &str,
        title: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        Self(Box::new(ProblemDocument {
            kind: format!("urn:tieline:problem:{code}"),
            title: title.into(),
            status: status.as_u16(),
            detail: detail.into(),
            code: code.to_owned(),
            errors: Vec::new(),
            current: None,
            changed: Vec::new(),
            headers: Vec::new(),
        }))
    }

    pub(crate) fn with_errors(mut self, errors: Vec<FieldProblem>) -> Self {
        self.0.errors = errors;
        self
    }

    pub(crate) fn with_header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.0.headers.push((name, value));
        }
        self
    }

    /// A precondition in a header has a status of its own (RFC 9110, section 13.1.1).
    pub(crate) fn into_failed_precondition(mut self) -> Self {
        if self.0.code == "stale" {
            self.0.status = StatusCode::PRECONDITION_FAILED.as_u16();
        }
        self
    }

    pub(crate) fn of(error: &AppError, language: Language) -> Self {
        let status = status_of(error);
        if status.is_server_error() {
            tracing::error!(%error, "a request to the API failed");
        }
        let text = match error {
            AppError::Invalid(_) => tieline_app::explain_plain("invalid", language),
            other => other.explain(language),
        };
        let mut problem = Self::new(status, error.code(), text.cause, text.remedy);
        match error {
            AppError::Invalid(findings) => {
                problem.0.errors = findings
                    .iter()
                    .filter(|finding| finding.severity == Severity::Error)
                    .map(|finding| FieldProblem::of(finding, language))
                    .collect();
            }
            AppError::Stale { current, changed } => {
                problem.0.current = Some(Box::new(AccountJson::of(current, language)));
                problem.0.changed = changed
                    .iter()
                    .map(|field| field.as_str().to_owned())
                    .collect();
            }
            AppError::TooManyAttempts { retry_after } => {
                let seconds = retry_after.as_secs().max(1).to_string();
                problem = problem.with_header(header::RETRY_AFTER, &seconds);
            }
            _ => {}
        }
        problem
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let text = serde_json::to_vec(&self).unwrap_or_default();
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        let mut response = (status, kind, text).into_response();
        response.headers_mut().extend(self.0.headers);
        response
    }
}

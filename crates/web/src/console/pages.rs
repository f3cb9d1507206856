//! Pages without the frame: trouble, and the ends of a consent.

use askama::Template;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use tieline_app::AppError;
use tieline_core::Evidence;

use crate::assets;
use crate::visitor::Guest;
use crate::words::Words;

/// A page with a title, some sentences and a way on.
#[derive(Debug, Template)]
#[template(path = "plain.html")]
pub(crate) struct Plain {
    pub(crate) words: Words,
    pub(crate) ok: bool,
    pub(crate) title: String,
    pub(crate) texts: Vec<String>,
    pub(crate) evidence: Vec<(String, String)>,
    pub(crate) link: Option<(String, String)>,
    /// Where the page leads by itself.
    pub(crate) forward: Option<String>,
    /// Whether the callback's script runs.
    pub(crate) script: bool,
}

impl Plain {
    pub(crate) fn new(words: Words, title: String, texts: Vec<String>) -> Self {
        Self {
            words,
            ok: false,
            title,
            texts: texts.into_iter().filter(|text| !text.is_empty()).collect(),
            evidence: Vec::new(),
            link: None,
            forward: None,
            script: false,
        }
    }

    fn asset(&self, name: &str) -> String {
        assets::url(name)
    }
}

/// Renders a template.
pub(crate) fn html(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(text) => (status, Html(text)).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page could not be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// A use case that failed, as a page.
#[derive(Debug)]
pub(crate) struct Trouble {
    error: AppError,
    words: Words,
}

impl Trouble {
    pub(crate) fn new(error: AppError, words: Words) -> Self {
        Self { error, words }
    }
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        let status = status_of(&self.error);
        if status.is_server_error() {
            tracing::error!(error = %self.error, "a page could not be shown");
        }
        let text = self.error.explain(self.words.language());
        let title = self.words.t("error-title");
        let mut page = Plain::new(self.words, title, vec![text.cause, text.remedy]);
        page.evidence = vec![(self.words.t("error-code"), self.error.code().to_owned())];
        page.link = Some(("/accounts".to_owned(), self.words.t("accounts")));
        html(status, &page)
    }
}

/// HTTP's word for a failure; the use cases know none.
pub(crate) fn status_of(error: &AppError) -> StatusCode {
    match error {
        AppError::NotFound { .. } => StatusCode::NOT_FOUND,
        AppError::Invalid(findings)
            if findings.iter().any(|f| f.code.starts_with("name-taken")) =>
        {
            StatusCode::CONFLICT
        }
        AppError::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
        AppError::Refused { code } if code.ends_with("-taken") => StatusCode::CONFLICT,
        AppError::Refused { .. } | AppError::OutOfRange(_) => StatusCode::UNPROCESSABLE_ENTITY,
        AppError::Stale { .. } => StatusCode::CONFLICT,
        AppError::SignInRefused => StatusCode::UNAUTHORIZED,
        AppError::TooManyAttempts { .. } => StatusCode::TOO_MANY_REQUESTS,
        AppError::Forbidden => StatusCode::FORBIDDEN,
        AppError::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// No such page.
pub(crate) async fn not_found(guest: Guest) -> Response {
    let words = guest.words;
    let mut page = Plain::new(words, words.t("not-found"), vec![words.t("not-found-lead")]);
    page.link = Some(("/accounts".to_owned(), words.t("accounts")));
    html(StatusCode::NOT_FOUND, &page)
}

/// What Microsoft said, by name.
pub(crate) fn evidence_rows(evidence: &Evidence, words: Words) -> Vec<(String, String)> {
    let status = evidence.status.map(|status| status.to_string());
    [
        ("host", evidence.host.as_ref()),
        ("error", evidence.error.as_ref()),
        ("suberror", evidence.suberror.as_ref()),
        ("code", evidence.code.as_ref()),
        ("message", evidence.message.as_ref()),
        ("status", status.as_ref()),
        ("trace_id", evidence.trace_id.as_ref()),
        ("correlation_id", evidence.correlation_id.as_ref()),
        ("timestamp", evidence.timestamp.as_ref()),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((words.t(&format!("evidence-{name}")), value?.clone())))
    .collect()
}

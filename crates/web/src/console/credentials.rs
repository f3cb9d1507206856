//! The credentials of a form: roll-over secrets, certificates, and what became of each.

use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tieline_app::{AppError, DraftView};
use tieline_core::{AccountId, CredentialInfo, CredentialSlot};

use crate::console::accounts::account_id;
use crate::console::pages::Trouble;
use crate::site::Site;
use crate::visitor::Visitor;
use crate::words::Words;

/// A credential as the form shows it; the thing itself is never shown.
#[derive(Debug)]
pub(crate) struct CredentialView {
    pub(crate) slot: &'static str,
    pub(crate) label: String,
    /// What is known of it.
    pub(crate) about: String,
    /// How it is doing, where there is something to say.
    pub(crate) status: String,
    /// `good`, `bad` or nothing.
    pub(crate) status_class: &'static str,
    /// Why it is refused.
    pub(crate) why: String,
    pub(crate) is_draft: bool,
    /// Where its public half is downloaded.
    pub(crate) download: Option<String>,
    /// Whether Apply removes it.
    pub(crate) removed: bool,
    /// What a removal means.
    pub(crate) remove_label: String,
}

/// Every credential of a form, in the order of their places.
pub(crate) fn views(words: Words, view: &DraftView, base: &str) -> Vec<CredentialView> {
    let latest = view
        .credentials
        .iter()
        .filter_map(|info| info.worked_at)
        .max();
    let mut credentials: Vec<&CredentialInfo> = view.credentials.iter().collect();
    credentials.sort_by_key(|info| {
        // As in the form: the secrets first, which most accounts have.
        (info.slot.is_certificate(), info.slot.next().is_none())
    });
    credentials
        .into_iter()
        .map(|info| {
            let in_use = latest.is_some() && info.worked_at == latest;
            let is_draft = view.held.contains(&info.slot);
            let (status, status_class) = status_of(words, info, in_use);
            let next_waits = info
                .slot
                .next()
                .is_some_and(|next| view.credentials.iter().any(|other| other.slot == next));
            CredentialView {
                slot: info.slot.as_str(),
                label: words.t(&format!("place-{}", info.slot)),
                about: about(words, info),
                status,
                status_class,
                why: info
                    .refused
                    .as_ref()
                    .map(|refused| refused.detail.clone())
                    .unwrap_or_default(),
                is_draft,
                download: info
                    .certificate
                    .as_ref()
                    .map(|_| format!("{base}/certificate/{}", info.slot)),
                removed: view.form.remove.contains(&info.slot),
                remove_label: words.t(if next_waits {
                    "credential-remove-next"
                } else {
                    "credential-remove"
                }),
            }
        })
        .collect()
}

fn status_of(words: Words, info: &CredentialInfo, in_use: bool) -> (String, &'static str) {
    if let Some(refused) = &info.refused {
        let day = refused.since.format("%Y-%m-%d %H:%M UTC").to_string();
        return (words.with("credential-refused", "date", &day), "bad");
    }
    if in_use {
        return (words.t("credential-in-use"), "good");
    }
    (String::new(), "")
}

fn about(words: Words, info: &CredentialInfo) -> String {
    let day = info.set_at.format("%Y-%m-%d").to_string();
    let mut parts = vec![words.with("credential-set", "date", &day)];
    if let Some(end) = info.expires_on {
        parts.push(words.with("expires", "date", &end.to_string()));
    }
    if let Some(thumbprint) = &info.thumbprint {
        parts.push(words.with("thumbprint", "thumbprint", thumbprint));
    }
    parts.join(" · ")
}

// === the public half of a certificate ===

pub(crate) async fn certificate_of_new(
    State(site): State<Site>,
    visitor: Visitor,
    Path(slot): Path<String>,
) -> Result<Response, Trouble> {
    certificate(&site, &visitor, None, &slot).await
}

pub(crate) async fn certificate_of(
    State(site): State<Site>,
    visitor: Visitor,
    Path((id, slot)): Path<(String, String)>,
) -> Result<Response, Trouble> {
    let id = account_id(&visitor, &id)?;
    certificate(&site, &visitor, Some(id), &slot).await
}

async fn certificate(
    site: &Site,
    visitor: &Visitor,
    account: Option<AccountId>,
    slot: &str,
) -> Result<Response, Trouble> {
    let trouble = |error| Trouble::new(error, visitor.words);
    let view = site
        .app
        .draft_open(&visitor.user, account)
        .await
        .map_err(trouble)?;
    let wanted: Option<CredentialSlot> = slot.parse().ok();
    let info = view
        .credentials
        .into_iter()
        .find(|info| Some(info.slot) == wanted);
    let pem = info.and_then(|info| Some((info.certificate?, info.thumbprint?)));
    let Some((pem, thumbprint)) = pem else {
        return Err(trouble(AppError::NotFound {
            what: "certificate",
        }));
    };
    // The portal takes .cer, .pem and .crt.
    let name = format!("attachment; filename=\"tieline-{thumbprint}.cer\"");
    let mut response = (StatusCode::OK, pem).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/x-pem-file"),
    );
    if let Ok(value) = HeaderValue::try_from(name) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}

//! The way to Microsoft and back.

use axum::extract::{OriginalUri, Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use tieline_app::{AppError, ConsentPrompt, ConsentTarget};
use tieline_core::{AccountId, Language, Right};

use crate::console::accounts::{account_id, address};
use crate::console::pages::{Plain, Trouble, evidence_rows, html, status_of};
use crate::site::Site;
use crate::visitor::{Visitor, chosen_language, session_token};
use crate::words::Words;

#[derive(Debug, Default, Deserialize)]
pub(crate) struct For {
    #[serde(default, rename = "for")]
    whom: String,
}

pub(crate) async fn begin_new(
    State(site): State<Site>,
    visitor: Visitor,
    headers: HeaderMap,
    Query(asked): Query<For>,
) -> Response {
    begin_for(&site, &visitor, &headers, None, &asked).await
}

pub(crate) async fn begin(
    State(site): State<Site>,
    visitor: Visitor,
    Path(id): Path<String>,
    headers: HeaderMap,
    Query(asked): Query<For>,
) -> Response {
    match account_id(&visitor, &id) {
        Ok(id) => begin_for(&site, &visitor, &headers, Some(id), &asked).await,
        Err(trouble) => trouble.into_response(),
    }
}

/// Sends the browser to Microsoft with the settings of the draft.
async fn begin_for(
    site: &Site,
    visitor: &Visitor,
    headers: &HeaderMap,
    account: Option<AccountId>,
    asked: &For,
) -> Response {
    let words = visitor.words;
    // Another site must not begin a consent in somebody's name.
    let cross_site = headers
        .get("sec-fetch-site")
        .is_some_and(|site| site == "cross-site");
    if cross_site || !visitor.may(Right::Manage) {
        return Trouble::new(AppError::Forbidden, words).into_response();
    }
    let prompt = match asked.whom.as_str() {
        "organization" => ConsentPrompt::AdminConsent,
        _ => ConsentPrompt::SelectAccount,
    };
    let target = ConsentTarget::Draft {
        user: visitor.user.id,
        account,
    };
    match site
        .app
        .consent_begin(target, Some(&visitor.session), prompt)
        .await
    {
        Ok(start) => Redirect::to(start.url.as_str()).into_response(),
        Err(error) => not_begun(&error, words, account),
    }
}

/// The settings do not suffice: said here, field by field, with the way back.
fn not_begun(error: &AppError, words: Words, account: Option<AccountId>) -> Response {
    let texts = match error {
        AppError::Invalid(findings) => findings
            .iter()
            .map(|finding| {
                let text = finding.explain(words.language());
                format!(
                    "{}: {} {}",
                    words.t(finding.field.as_str()),
                    text.cause,
                    text.remedy
                )
            })
            .collect(),
        other => {
            let text = other.explain(words.language());
            vec![text.cause, text.remedy]
        }
    };
    let mut page = Plain::new(words, words.t("consent-not-done"), texts);
    page.link = Some((address(account), words.t("consent-back")));
    html(status_of(error), &page)
}

/// The page that leads to Microsoft for a browser without scripts. A form's answer may not lead
/// to another site (`form-action`), but a page may.
pub(crate) fn leave(words: Words, account: Option<AccountId>, whom: &str) -> Response {
    let to = format!("{}/consent?for={whom}", address(account));
    let mut page = Plain::new(
        words,
        words.t("consent-title"),
        vec![words.t("consent-leave-lead")],
    );
    page.ok = true;
    page.link = Some((to.clone(), words.t("consent-leave")));
    page.forward = Some(to);
    html(StatusCode::OK, &page)
}

/// The redirect URI: what Microsoft answered, in words.
pub(crate) async fn callback(
    State(site): State<Site>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Response {
    let session = session_token(&headers);
    let end = site
        .app
        .consent_finish(uri.query().unwrap_or_default(), session.as_ref())
        .await;
    let of_user = language_of(&site, &headers).await;
    let words = Words(chosen_language(&headers, of_user));
    let text = end.explain(words.language());
    let title = words.t(if end.ok {
        "consent-done"
    } else {
        "consent-not-done"
    });
    let mut page = Plain::new(words, title, vec![text.cause, text.remedy]);
    page.ok = end.ok;
    page.script = true;
    page.evidence = evidence_rows(&end.evidence, words);
    page.link = Some((address(end.account), words.t("consent-back")));
    // A person who said no has made no bad request; an address that nobody was sent to is one.
    let status = if end.code == "consent-malformed" {
        StatusCode::BAD_REQUEST
    } else {
        StatusCode::OK
    };
    html(status, &page)
}

async fn language_of(site: &Site, headers: &HeaderMap) -> Option<Language> {
    let session = session_token(headers)?;
    site.app
        .session_user(&session)
        .await
        .ok()
        .flatten()?
        .language
}

//! Sign-in, sign-out, and the choice of language.

use askama::Template;
use axum::Form;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::CookieJar;
use secrecy::SecretString;
use serde::Deserialize;
use tieline_core::Language;

use crate::assets;
use crate::console::pages::{html, status_of};
use crate::console::view::TextView;
use crate::site::Site;
use crate::visitor::{
    Guest, language_cookie, local_path, no_session_cookie, session_cookie, session_token,
};
use crate::words::Words;

#[derive(Debug, Template)]
#[template(path = "sign_in.html")]
struct SignInPage {
    words: Words,
    next: String,
    email: String,
    problem: Option<TextView>,
}

impl SignInPage {
    fn asset(&self, name: &str) -> String {
        assets::url(name)
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct Way {
    #[serde(default)]
    next: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Credentials {
    #[serde(default)]
    email: String,
    #[serde(default = "nothing")]
    password: SecretString,
    #[serde(default)]
    next: String,
}

fn nothing() -> SecretString {
    SecretString::from("")
}

#[derive(Debug, Deserialize)]
pub(crate) struct Choice {
    language: String,
    #[serde(default)]
    next: String,
}

pub(crate) async fn page(guest: Guest, Query(way): Query<Way>) -> Response {
    let next = local_path(&way.next).to_owned();
    let page = SignInPage {
        words: guest.words,
        next,
        email: String::new(),
        problem: None,
    };
    html(StatusCode::OK, &page)
}

pub(crate) async fn sign_in(
    State(site): State<Site>,
    guest: Guest,
    Form(form): Form<Credentials>,
) -> Response {
    let next = local_path(&form.next).to_owned();
    match site.app.sign_in(&form.email, &form.password).await {
        Ok(signed_in) => {
            let cookie = session_cookie(&signed_in.token, &site.settings);
            (CookieJar::new().add(cookie), Redirect::to(&next)).into_response()
        }
        Err(error) => {
            let problem = Some(TextView::problem(&error, guest.words));
            let page = SignInPage {
                words: guest.words,
                next,
                email: form.email,
                problem,
            };
            html(status_of(&error), &page)
        }
    }
}

pub(crate) async fn sign_out(State(site): State<Site>, headers: HeaderMap) -> Response {
    if let Some(session) = session_token(&headers)
        && let Err(error) = site.app.sign_out(&session).await
    {
        tracing::warn!(%error, "a session could not be ended");
    }
    let jar = CookieJar::new().add(no_session_cookie(&site.settings));
    (jar, Redirect::to("/sign-in")).into_response()
}

pub(crate) async fn language(
    State(site): State<Site>,
    headers: HeaderMap,
    Form(choice): Form<Choice>,
) -> Response {
    let language = Language::from_tag(&choice.language).unwrap_or_default();
    if let Some(session) = session_token(&headers)
        && let Ok(Some(user)) = site.app.session_user(&session).await
        && let Err(error) = site.app.user_set_language(user.id, language).await
    {
        tracing::warn!(%error, "a language could not be kept");
    }
    let next = if choice.next.starts_with("/sign-in") {
        "/sign-in"
    } else {
        local_path(&choice.next)
    };
    let jar = CookieJar::new().add(language_cookie(language, &site.settings));
    (jar, Redirect::to(next)).into_response()
}

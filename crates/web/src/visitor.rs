//! Who asks: the session's user, or a guest, and in which language.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, OriginalUri};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::CookieJar;
use axum_extra::extract::cookie::{Cookie, SameSite};
use secrecy::{ExposeSecret, SecretString};
use tieline_app::AppError;
use tieline_core::{Actor, Language, Right, User};

use crate::console::Trouble;
use crate::site::{Site, WebSettings};
use crate::words::Words;

const SESSION: &str = "tieline_session";
const LANGUAGE: &str = "tieline_language";

/// A signed-in user. A handler that takes one is closed to everybody else.
#[derive(Debug, Clone)]
pub(crate) struct Visitor {
    pub(crate) user: User,
    pub(crate) session: SecretString,
    pub(crate) words: Words,
    /// Path and query of the request, for the way back.
    pub(crate) here: String,
}

/// Anybody.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Guest {
    pub(crate) words: Words,
}

impl Visitor {
    /// Who acts, for the audit log.
    pub(crate) fn actor(&self) -> Actor {
        Actor::User {
            id: self.user.id,
            email: self.user.email.as_str().to_owned(),
        }
    }

    /// Whether the user's role includes a right.
    pub(crate) fn may(&self, right: Right) -> bool {
        self.user.role.may(right)
    }

    /// Refuses what the user's role does not include.
    pub(crate) fn require(&self, right: Right) -> Result<(), AppError> {
        if self.may(right) {
            Ok(())
        } else {
            Err(AppError::Forbidden)
        }
    }
}

impl FromRequestParts<Site> for Guest {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _site: &Site) -> Result<Self, Infallible> {
        Ok(Self {
            words: Words(chosen_language(&parts.headers, None)),
        })
    }
}

impl FromRequestParts<Site> for Visitor {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, site: &Site) -> Result<Self, Response> {
        match signed_in(parts, site).await {
            Ok(Some(visitor)) => Ok(visitor),
            Ok(None) => Err(Redirect::to(&sign_in_address(parts, &here(parts))).into_response()),
            Err(error) => {
                let words = Words(chosen_language(&parts.headers, None));
                Err(Trouble::new(error, words).into_response())
            }
        }
    }
}

/// Whom the request's session belongs to; none without a session, or when it has ended.
pub(crate) async fn signed_in(parts: &Parts, site: &Site) -> Result<Option<Visitor>, AppError> {
    let Some(session) = session_token(&parts.headers) else {
        return Ok(None);
    };
    let user = site.app.session_user(&session).await?;
    Ok(user.map(|user| {
        let words = Words(chosen_language(&parts.headers, user.language));
        Visitor {
            user,
            session,
            words,
            here: here(parts),
        }
    }))
}

/// The session's token, where the request brings one.
pub(crate) fn session_token(headers: &HeaderMap) -> Option<SecretString> {
    let jar = CookieJar::from_headers(headers);
    jar.get(SESSION)
        .map(|cookie| SecretString::from(cookie.value().to_owned()))
}

/// What people chose goes before what their browser says.
pub(crate) fn chosen_language(headers: &HeaderMap, of_user: Option<Language>) -> Language {
    let jar = CookieJar::from_headers(headers);
    let cookie = jar
        .get(LANGUAGE)
        .and_then(|cookie| Language::from_tag(cookie.value()));
    cookie.or(of_user).unwrap_or_else(|| {
        let header = headers
            .get(header::ACCEPT_LANGUAGE)
            .and_then(|value| value.to_str().ok());
        Language::negotiate(header.unwrap_or_default())
    })
}

/// The cookie of a session. `Lax`, because the way back from Microsoft is a navigation from
/// another site, and the consent must find its session then.
pub(crate) fn session_cookie(token: &SecretString, settings: &WebSettings) -> Cookie<'static> {
    cookie(SESSION, token.expose_secret().to_owned(), settings)
}

/// The cookie that ends a session in the browser.
pub(crate) fn no_session_cookie(settings: &WebSettings) -> Cookie<'static> {
    let mut cookie = cookie(SESSION, String::new(), settings);
    cookie.make_removal();
    cookie
}

/// The cookie of a chosen language.
pub(crate) fn language_cookie(language: Language, settings: &WebSettings) -> Cookie<'static> {
    let mut cookie = cookie(LANGUAGE, language.tag().to_owned(), settings);
    cookie.make_permanent();
    cookie
}

fn cookie(name: &'static str, value: String, settings: &WebSettings) -> Cookie<'static> {
    Cookie::build((name, value))
        .path("/")
        .http_only(true)
        .secure(settings.secure_cookies)
        .same_site(SameSite::Lax)
        .build()
}

/// Only a path of ours: a full address would let a link lead a person elsewhere after sign-in.
pub(crate) fn local_path(next: &str) -> &str {
    let local = next.starts_with('/')
        && !next.starts_with("//")
        && !next.contains(['\\', '\r', '\n'])
        && !next.starts_with("/sign-in");
    if local { next } else { "/accounts" }
}

fn here(parts: &Parts) -> String {
    let uri = parts
        .extensions
        .get::<OriginalUri>()
        .map_or(&parts.uri, |original| &original.0);
    uri.path_and_query()
        .map_or_else(|| "/".to_owned(), |path| path.as_str().to_owned())
}

fn sign_in_address(parts: &Parts, here: &str) -> String {
    // A form that was sent without a session leads back to the page, not to the sending.
    let next = if parts.method == http::Method::GET {
        here
    } else {
        "/accounts"
    };
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("next", next);
    format!("/sign-in?{}", query.finish())
}

#[cfg(test)]
mod tests {
    use super::local_path;

    #[test]
    fn a_way_back_stays_on_this_site() {
        assert_eq!(local_path("/accounts/01H?q=x"), "/accounts/01H?q=x");
        for wrong in [
            "https://evil.example/",
            "//evil.example",
            "/\\evil.example",
            "",
            "accounts",
            "/sign-in?next=/",
        ] {
            assert_eq!(local_path(wrong), "/accounts", "{wrong}");
        }
    }
}

//! Walks a consent as a browser would: over HTTP, with cookies, through the sandbox's pages and
//! back to the console's own callback page.

use anyhow::{Context, bail};
use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use reqwest::{Client, RequestBuilder, Response};
use url::Url;

use crate::demo::page::{self, Form};

/// A sign-in, a consent and their redirects are eight pages; a loop is more.
const PAGES_MAX: usize = 20;

/// Who signs in.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) upn: String,
    pub(crate) password: String,
}

/// Opens `start`, signs in, consents, and follows until a page that asks for nothing.
///
/// # Errors
/// When a page cannot be had, or asks for something that a person would have to decide.
pub(crate) async fn walk(http: &Client, start: &Url, person: &Person) -> anyhow::Result<()> {
    let mut browser = Browser {
        http,
        jar: Vec::new(),
    };
    let mut at = start.clone();
    let mut request = http.get(start.clone());
    for _ in 0..PAGES_MAX {
        let response = browser.send(request, &at).await?;
        if let Some(next) = redirect(&response, &at)? {
            request = http.get(next.clone());
            at = next;
            continue;
        }
        let status = response.status();
        let html = response
            .text()
            .await
            .context("failed to read a page of the consent")?;
        if !status.is_success() {
            bail!("{} answered {status}", address(&at));
        }
        let Some((form, target)) = next_form(&html, person, &at)? else {
            return Ok(());
        };
        request = http.post(target.clone()).form(&form);
        at = target;
    }
    bail!("the consent leads in circles at {}", address(&at))
}

/// Fields of a form, and where they are sent.
type Sending = (Vec<(String, String)>, Url);

/// What to send next: the sign-in, then the acceptance. None on a page that asks for neither.
fn next_form(html: &str, person: &Person, at: &Url) -> anyhow::Result<Option<Sending>> {
    let mut forms = page::forms(html);
    if let Some(form) = forms
        .iter_mut()
        .find(|form| form.has("login") || form.has("passwd"))
    {
        form.set("login", &person.upn);
        form.set("passwd", &person.password);
        return press(form, "idSIButton9", at).map(Some);
    }
    match forms
        .iter()
        .find(|form| form.button("idBtn_Accept").is_some())
    {
        Some(form) => press(form, "idBtn_Accept", at).map(Some),
        None => Ok(None),
    }
}

/// The fields that a button sends, and where to.
fn press(form: &Form, button: &str, at: &Url) -> anyhow::Result<Sending> {
    let mut fields = form.fields.clone();
    let mut action = form.action.as_str();
    if let Some(button) = form.button(button) {
        if !button.name.is_empty() {
            fields.push((button.name.clone(), button.value.clone()));
        }
        if !button.action.is_empty() {
            action = &button.action;
        }
    }
    let target = at
        .join(action)
        .context("failed to understand where a form is sent")?;
    Ok((fields, target))
}

fn redirect(response: &Response, at: &Url) -> anyhow::Result<Option<Url>> {
    if !response.status().is_redirection() {
        return Ok(None);
    }
    let location = response
        .headers()
        .get(LOCATION)
        .context("a redirect leads nowhere")?;
    let location = location
        .to_str()
        .context("a redirect's address is not text")?;
    at.join(location)
        .context("failed to understand a redirect")
        .map(Some)
}

/// A URL without its query, which holds a code or a state.
fn address(url: &Url) -> String {
    let mut shown = url.clone();
    shown.set_query(None);
    shown.to_string()
}

/// A client that keeps cookies, by host and port, as long as it lives.
struct Browser<'a> {
    http: &'a Client,
    jar: Vec<Cookie>,
}

struct Cookie {
    origin: url::Origin,
    name: String,
    value: String,
}

impl Browser<'_> {
    async fn send(&mut self, request: RequestBuilder, at: &Url) -> anyhow::Result<Response> {
        let origin = at.origin();
        let mine = self.jar.iter().filter(|cookie| cookie.origin == origin);
        let pairs: Vec<_> = mine
            .map(|cookie| format!("{}={}", cookie.name, cookie.value))
            .collect();
        let request = if pairs.is_empty() {
            request
        } else {
            request.header(COOKIE, pairs.join("; "))
        };
        let request = request
            .build()
            .context("failed to make a request of the consent")?;
        let response = self
            .http
            .execute(request)
            .await
            // Without the URL: it may hold a code.
            .map_err(reqwest::Error::without_url)
            .with_context(|| format!("failed to open {}", address(at)))?;
        for set in response.headers().get_all(SET_COOKIE) {
            self.keep(set.to_str().unwrap_or_default(), &origin);
        }
        Ok(response)
    }

    fn keep(&mut self, set: &str, origin: &url::Origin) {
        let pair = set.split(';').next().unwrap_or_default();
        let Some((name, value)) = pair.split_once('=') else {
            return;
        };
        let (name, value) = (name.trim().to_owned(), value.trim().to_owned());
        self.jar
            .retain(|cookie| !(cookie.origin == *origin && cookie.name == name));
        self.jar.push(Cookie {
            origin: origin.clone(),
            name,
            value,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person() -> Person {
        Person {
            upn: "megan@contoso.example".into(),
            password: "p+w".into(),
        }
    }

    #[test]
    fn the_sign_in_comes_before_the_consent() {
        let at = Url::parse("https://localhost:1/t/authorize?x=1").expect("a URL");
        let html = r#"<form action="/login"><input name="flow" value="7"><input name="login">
            <input name="passwd"><input type="submit" id="idSIButton9" name="b" value="1"></form>"#;
        let (fields, target) = next_form(html, &person(), &at)
            .expect("read")
            .expect("a form");
        assert_eq!(target.as_str(), "https://localhost:1/login");
        let sent: Vec<_> = fields.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(
            sent,
            ["flow=7", "login=megan@contoso.example", "passwd=p+w", "b=1"]
        );
    }

    #[test]
    fn a_consent_is_accepted_and_a_plain_page_is_the_end() {
        let at = Url::parse("https://localhost:1/consent").expect("a URL");
        let html = r#"<form><input name="flow" value="7"><button id="idBtn_Back" name="d"
            value="no">Cancel</button><button id="idBtn_Accept" name="d" value="yes">Accept
            </button></form>"#;
        let (fields, target) = next_form(html, &person(), &at)
            .expect("read")
            .expect("a form");
        assert_eq!((fields[1].1.as_str(), target), ("yes", at.clone()));
        assert!(
            next_form("<p>done</p>", &person(), &at)
                .expect("read")
                .is_none()
        );
    }
}

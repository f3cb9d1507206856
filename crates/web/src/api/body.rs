//! Who calls, and what they sent, read strictly: a misspelt property is an error, not silence.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tieline_app::AppError;
use tieline_core::{Language, Right};

use crate::api::problem::{FieldProblem, Problem};
use crate::site::Site;
use crate::visitor::{Visitor, signed_in};

/// A signed-in user of the API.
#[derive(Debug)]
pub(crate) struct Caller(pub(crate) Visitor);

impl Caller {
    pub(crate) fn language(&self) -> Language {
        self.0.words.language()
    }

    pub(crate) fn require(&self, right: Right) -> Result<(), Problem> {
        self.0.require(right).map_err(|error| self.problem(&error))
    }

    pub(crate) fn problem(&self, error: &AppError) -> Problem {
        Problem::of(error, self.language())
    }
}

impl FromRequestParts<Site> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, site: &Site) -> Result<Self, Problem> {
        match signed_in(parts, site).await {
            Ok(Some(mut visitor)) => {
                if let Some(language) = asked_language(&parts.headers) {
                    visitor.words = crate::words::Words(language);
                }
                Ok(Self(visitor))
            }
            Ok(None) => Err(not_signed_in()),
            Err(error) => Err(Problem::of(&error, language_of(&parts.headers))),
        }
    }
}

/// A program says in each request which language it wants; that goes before what the user chose.
fn asked_language(headers: &HeaderMap) -> Option<Language> {
    let header = headers.get(header::ACCEPT_LANGUAGE)?.to_str().ok()?;
    (header.trim() != "*").then(|| Language::negotiate(header))
}

pub(crate) fn language_of(headers: &HeaderMap) -> Language {
    asked_language(headers).unwrap_or(Language::English)
}

fn not_signed_in() -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "not-signed-in",
        "There is no session, or it has ended.",
        "Sign in with POST /api/v1/session and send the cookie that it sets.",
    )
    // RFC 9110 asks for a challenge with every 401.
    .with_header(header::WWW_AUTHENTICATE, "Session realm=\"tieline\"")
}

/// Names of the properties that a body may hold.
pub(crate) trait Known: DeserializeOwned {
    const PROPERTIES: &'static [&'static str];
}

/// A JSON object, read property by property so that every fault is named where it is.
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T);

impl<T: Known> FromRequest<Site> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, site: &Site) -> Result<Self, Problem> {
        let bytes = match Bytes::from_request(request, site).await {
            Ok(bytes) => bytes,
            Err(rejection) => {
                let title = "The body could not be read.";
                return Err(Problem::new(
                    rejection.status(),
                    "body-unreadable",
                    title,
                    rejection.body_text(),
                ));
            }
        };
        read(&bytes).map(Self)
    }
}

fn read<T: Known>(bytes: &[u8]) -> Result<T, Problem> {
    let value: Value = if bytes.iter().all(u8::is_ascii_whitespace) {
        Value::Object(Map::new())
    } else {
        serde_json::from_slice(bytes).map_err(|error| {
            // Where, not what: the text may hold a secret.
            let place = format!("line {}, column {}", error.line(), error.column());
            Problem::new(
                StatusCode::BAD_REQUEST,
                "body-not-json",
                format!("The body is not JSON: it goes wrong at {place}."),
                "Send a JSON object with the content type application/json.",
            )
        })?
    };
    let Value::Object(object) = value else {
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "body-not-an-object",
            "The body is JSON, but not an object.",
            "Send a JSON object, such as {\"name\": \"Contoso\"}.",
        ));
    };
    let mut errors: Vec<FieldProblem> = object
        .keys()
        .filter(|name| !T::PROPERTIES.contains(&name.as_str()))
        .map(|name| unknown::<T>(name))
        .collect();
    for (name, value) in object
        .iter()
        .filter(|(name, _)| T::PROPERTIES.contains(&name.as_str()))
    {
        let alone = Map::from_iter([(name.clone(), value.clone())]);
        if let Err(error) = serde_json::from_value::<T>(Value::Object(alone)) {
            errors.push(mistyped(name, value, &error));
        }
    }
    if errors.is_empty()
        && let Ok(body) = serde_json::from_value(Value::Object(object))
    {
        return Ok(body);
    }
    Err(Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "invalid",
        "Some properties cannot be read.",
        "Correct the properties listed under errors; nothing was changed.",
    )
    .with_errors(errors))
}

fn unknown<T: Known>(name: &str) -> FieldProblem {
    let nearest = T::PROPERTIES
        .iter()
        .map(|known| (strsim::damerau_levenshtein(name, known), *known))
        .min()
        .filter(|(distance, known)| *distance <= known.len().div_ceil(2));
    let remedy = match nearest {
        Some((_, known)) => format!("Did you mean '{known}'?"),
        None => format!("Known here are: {}.", T::PROPERTIES.join(", ")),
    };
    FieldProblem {
        field: name.to_owned(),
        code: "unknown-property".to_owned(),
        cause: format!("There is no property '{name}' here."),
        remedy,
    }
}

fn mistyped(name: &str, value: &Value, error: &serde_json::Error) -> FieldProblem {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    // serde says after "expected" what it wanted; what stands before may quote the value.
    let message = error.to_string();
    let expected = message
        .rsplit_once("expected ")
        .map(|(_, expected)| expected);
    FieldProblem {
        field: name.to_owned(),
        code: "wrong-type".to_owned(),
        cause: format!("'{name}' is {found} that cannot be used."),
        remedy: expected
            .map(|expected| format!("What is expected: {expected}."))
            .unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, serde::Deserialize)]
    #[serde(default)]
    struct Thing {
        name: Option<String>,
        default: Option<bool>,
    }

    impl Known for Thing {
        const PROPERTIES: &'static [&'static str] = &["name", "default"];
    }

    fn errors_of(text: &str) -> Vec<(String, String, String)> {
        let problem = read::<Thing>(text.as_bytes()).expect_err("a problem");
        let value = serde_json::to_value(&problem).expect("JSON");
        value["errors"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|error| {
                let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
                (text("field"), text("code"), text("remedy"))
            })
            .collect()
    }

    #[test]
    fn every_fault_is_named_at_once_and_the_nearest_name_is_offered() {
        let errors = errors_of(r#"{"nmae": "x", "default": "yes", "colour": 1}"#);
        assert_eq!(errors.len(), 3, "{errors:?}");
        assert!(errors.iter().any(|(field, code, remedy)| field == "nmae"
            && code == "unknown-property"
            && remedy.contains("'name'")));
        assert!(errors.iter().any(|(field, code, remedy)| field == "default"
            && code == "wrong-type"
            && remedy.contains("a boolean")));
        assert!(
            errors
                .iter()
                .any(|(field, _, remedy)| field == "colour" && remedy.contains("name, default"))
        );
    }

    #[test]
    fn what_is_no_object_is_refused_and_not_quoted() {
        let problem = read::<Thing>(b"{\"client_secret\": \"hunter2").expect_err("a problem");
        assert!(!format!("{problem:?}").contains("hunter2"));
        assert!(read::<Thing>(b"[1]").is_err());
        let empty = read::<Thing>(b"").expect("an empty body is an empty object");
        assert!(empty.name.is_none() && empty.default.is_none());
    }
}

//! What a function or an action is given: in the parentheses of its name and in aliases, or in the
//! body.

use axum::http::StatusCode;
use serde_json::{Map, Number, Value};
use uuid::Uuid;

use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::odata::{Aliases, Expression, Literal};
use crate::dataverse::schema::Operation;

/// Values by the names of their parameters; what is null is left out.
#[derive(Debug)]
pub(crate) struct Arguments {
    operation: &'static Operation,
    values: Map<String, Value>,
}

impl Arguments {
    /// `(EntityNames=@p1)?@p1=['account']`.
    pub(super) fn of_function(
        operation: &'static Operation,
        inside: Option<&str>,
        aliases: &Aliases,
    ) -> Outcome<Self> {
        let mut values = Map::new();
        for argument in Expression::arguments(inside.unwrap_or_default(), aliases)? {
            let name = argument.name.unwrap_or_default();
            let of = parameter(operation, &name).ok_or_else(|| no_overload(operation))?;
            let value = json(&argument.value)?;
            if !of_type(&value, of) {
                return Err(Fault::syntax(format!(
                    "The value {value} of the parameter '{name}' of '{}' is not of the type '{of}'.",
                    operation.name
                )));
            }
            values.insert(name, value);
        }
        if values.len() != operation.parameters.len() {
            return Err(no_overload(operation));
        }
        values.retain(|_, value| !value.is_null());
        Ok(Self { operation, values })
    }

    /// `{"Status": 3, "OpportunityClose": {…}}`.
    pub(super) fn of_action(operation: &'static Operation, body: &[u8]) -> Outcome<Self> {
        let mut values = match serde_json::from_slice(body) {
            Ok(Value::Object(values)) => values,
            _ if body.trim_ascii().is_empty() => Map::new(),
            _ => {
                return Err(Fault::syntax(
                    "The request payload is not a valid JSON object.",
                ));
            }
        };
        values.retain(|name, value| !value.is_null() && !name.contains("@odata."));
        for (name, value) in &values {
            let of = parameter(operation, name).ok_or_else(|| {
                Fault::syntax(format!(
                    "The parameter '{name}' in the request payload is not a valid parameter for the operation '{}'.",
                    operation.name
                ))
            })?;
            if !of_type(value, of) {
                return Err(Fault::syntax(format!(
                    "Cannot convert the literal '{}' to the expected type '{of}'.",
                    literal(value)
                )));
            }
        }
        Ok(Self { operation, values })
    }

    /// Name of the operation that was called.
    pub(super) fn operation(&self) -> &'static str {
        &self.operation.name
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    pub(super) fn required(&self, name: &str) -> Outcome<&Value> {
        self.get(name).ok_or_else(|| {
            Fault::syntax(format!(
                "One or more parameters of the operation '{}' are missing from the request payload. The missing parameters are: {name}.",
                self.operation.name
            ))
        })
    }

    pub(super) fn text(&self, name: &str) -> Outcome<&str> {
        Ok(self.required(name)?.as_str().unwrap_or_default())
    }

    pub(super) fn optional_text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Value::as_str)
    }

    pub(super) fn whole(&self, name: &str) -> Outcome<i64> {
        Ok(self.required(name)?.as_i64().unwrap_or_default())
    }

    pub(crate) fn list(&self, name: &str) -> Outcome<&[Value]> {
        Ok(self
            .required(name)?
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default())
    }

    pub(super) fn texts(&self, name: &str) -> Outcome<Vec<&str>> {
        Ok(self.list(name)?.iter().filter_map(Value::as_str).collect())
    }
}

fn parameter(operation: &'static Operation, name: &str) -> Option<&'static str> {
    let mut all = operation.parameters.iter();
    all.find(|(known, _)| known == name)
        .map(|(_, of)| of.as_str())
}

/// A function is found by its name and the names of its parameters.
fn no_overload(operation: &Operation) -> Fault {
    let names: Vec<&str> = operation
        .parameters
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    let takes = match names.as_slice() {
        [] => "no parameters".to_owned(),
        names => format!("exactly these parameters: {}", names.join(", ")),
    };
    let text = format!(
        "Resource not found for the segment '{0}'. The function '{0}' takes {takes}.",
        operation.name
    );
    Fault::new(StatusCode::NOT_FOUND, "0x80060888", text)
}

fn literal(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn of_type(value: &Value, of: &str) -> bool {
    if value.is_null() {
        return true;
    }
    if let Some(member) = of
        .strip_prefix("Collection(")
        .and_then(|inside| inside.strip_suffix(')'))
    {
        return value
            .as_array()
            .is_some_and(|values| values.iter().all(|value| of_type(value, member)));
    }
    match of {
        "Edm.String" => value.is_string(),
        "Edm.Boolean" => value.is_boolean(),
        "Edm.Int32" => value
            .as_i64()
            .is_some_and(|whole| i32::try_from(whole).is_ok()),
        "Edm.Int64" => value.is_i64(),
        "Edm.Guid" => value
            .as_str()
            .is_some_and(|text| text.parse::<Uuid>().is_ok()),
        "Edm.DateTimeOffset" => value.is_string(),
        // A member of an enumeration is a text or its number; everything else is an object.
        _ => value.is_object() || is_enumeration(of) && (value.is_string() || value.is_i64()),
    }
}

fn is_enumeration(of: &str) -> bool {
    let name = of.strip_prefix("mscrm.").unwrap_or(of);
    crate::dataverse::schema::vocabulary()
        .enums
        .iter()
        .any(|one| one.name == name)
}

/// A value of a URL as JSON.
fn json(value: &Expression) -> Outcome<Value> {
    Ok(match value {
        Expression::List(values) => Value::Array(values.iter().map(json).collect::<Outcome<_>>()?),
        Expression::Literal(literal) => match literal {
            Literal::Null => Value::Null,
            Literal::Boolean(value) => Value::Bool(*value),
            Literal::Whole(value) => Value::from(*value),
            Literal::Decimal(value) => Number::from_f64(*value).map_or(Value::Null, Value::Number),
            Literal::Text(text) | Literal::Member(_, text) => Value::String(text.clone()),
            Literal::Guid(id) => Value::String(id.to_string()),
            Literal::Moment(at) => {
                Value::String(at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true))
            }
            Literal::Date(date) => Value::String(date.to_string()),
            Literal::Json(text) => object(text)?,
        },
        _ => {
            return Err(Fault::syntax(
                "The value of a parameter is a literal, a list or an object.",
            ));
        }
    })
}

/// An object whose texts stand in double quotes, as in JSON, or in single ones, as in OData.
pub(super) fn object(text: &str) -> Outcome<Value> {
    if let Ok(value) = serde_json::from_str(text) {
        return Ok(value);
    }
    let (mut json, mut quote, mut escaped) = (String::with_capacity(text.len()), None, false);
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match quote {
            None if matches!(character, '\'' | '"') => {
                quote = Some(character);
                json.push('"');
            }
            Some(_) if escaped => {
                escaped = false;
                // JSON knows no `\'`.
                if character != '\'' {
                    json.push('\\');
                }
                json.push(character);
            }
            Some(_) if character == '\\' => escaped = true,
            Some('\'') if character == '\'' && characters.next_if_eq(&'\'').is_some() => {
                json.push('\'')
            }
            Some(open) if character == open => {
                quote = None;
                json.push('"');
            }
            Some(_) if character == '"' => json.push_str("\\\""),
            _ => json.push(character),
        }
    }
    serde_json::from_str(&json)
        .map_err(|_| Fault::syntax(format!("The object '{text}' is not valid JSON.")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::dataverse::schema::vocabulary;

    fn operation(name: &str) -> &'static Operation {
        vocabulary().operation(name).expect("an operation").1
    }

    #[test]
    fn objects_have_either_kind_of_quotes() {
        assert_eq!(
            object("{'@odata.id':'accounts(1)','n':1}").ok(),
            Some(json!({"@odata.id": "accounts(1)", "n": 1}))
        );
        assert_eq!(
            object(r#"{'a':'O''Brien "x" \'y\' \n'}"#).ok(),
            Some(json!({"a": "O'Brien \"x\" 'y' \n"}))
        );
        assert_eq!(object(r#"{"a":"it's"}"#).ok(), Some(json!({"a": "it's"})));
        assert!(object("{'a'").is_err());
    }

    #[test]
    fn functions_take_values_inline_and_by_alias() {
        let aliases = Aliases::from([("@p1", "['account']")]);
        let count = operation("RetrieveTotalRecordCount");
        let inline = Arguments::of_function(count, Some("EntityNames=['account']"), &aliases)
            .expect("inline");
        let alias =
            Arguments::of_function(count, Some("EntityNames=@p1"), &aliases).expect("an alias");
        assert_eq!(
            inline.texts("EntityNames").ok(),
            alias.texts("EntityNames").ok()
        );
        for wrong in [
            "",
            "Names=['account']",
            "EntityNames='account'",
            "EntityNames=['account'],Other=1",
        ] {
            assert!(
                Arguments::of_function(count, Some(wrong), &aliases).is_err(),
                "{wrong}"
            );
        }
    }

    #[test]
    fn actions_refuse_what_they_do_not_take() {
        let refused = |body: &str| {
            Arguments::of_action(operation("WinOpportunity"), body.as_bytes())
                .expect_err("refused")
                .message
        };
        assert!(
            refused(r#"{"Other":1}"#)
                .contains("'Other' in the request payload is not a valid parameter")
        );
        assert!(refused(r#"{"Status":"won"}"#).contains("Cannot convert the literal 'won'"));
        assert!(refused("[1]").contains("not a valid JSON object"));
        let empty = Arguments::of_action(operation("WinOpportunity"), b" ").expect("nothing given");
        assert!(
            empty
                .required("Status")
                .expect_err("missing")
                .message
                .ends_with("The missing parameters are: Status.")
        );
    }

    proptest::proptest! {
        #[test]
        fn broken_objects_and_arguments_never_panic(text in "[ '\"{}\\[\\]:,=@a1\\\\é-]{0,40}") {
            let aliases = Aliases::from([("@a", text.as_str())]);
            let _ = object(&text);
            let _ = Arguments::of_function(operation("RetrieveDuplicates"), Some(&text), &aliases);
            let _ = Arguments::of_action(operation("GrantAccess"), text.as_bytes());
        }
    }
}

//! Whether an answer has the shape of a printed one.

use serde_json::{Map, Value};

/// What is missing or of another type; nothing when the shapes agree.
pub(crate) fn differences(printed: &Value, own: &Value) -> Vec<String> {
    let mut all = Vec::new();
    compare("", printed, own, &mut all);
    all
}

fn compare(at: &str, printed: &Value, own: &Value, all: &mut Vec<String>) {
    match (printed, own) {
        (Value::Object(printed), own) if printed.contains_key("$shape") => {
            if !own.is_string() {
                all.push(format!("{at} is no text"));
            }
        }
        (Value::Object(printed), Value::Object(own)) => members(at, printed, own, all),
        (Value::Array(printed), Value::Array(own)) => rows(at, printed, own, all),
        // An empty column says nothing of its type, on either side.
        (Value::Null, _) | (_, Value::Null) => {}
        (Value::Bool(_), Value::Bool(_))
        | (Value::Number(_), Value::Number(_))
        | (Value::String(_), Value::String(_)) => {}
        _ => all.push(format!("{at}: {printed} was printed, {own} came")),
    }
}

fn members(
    at: &str,
    printed: &Map<String, Value>,
    own: &Map<String, Value>,
    all: &mut Vec<String>,
) {
    for (name, value) in printed {
        let place = format!("{at}/{name}");
        match (name.as_str(), own.get(name)) {
            (_, None) => all.push(format!("{place} is missing")),
            ("@odata.context", Some(own)) => {
                let (printed, own) = (text(value), text(own));
                if outline(printed) != outline(own) {
                    all.push(format!("{place}: {printed} was printed, {own} came"));
                }
            }
            (_, Some(own)) => compare(&place, value, own, all),
        }
    }
}

/// Every printed element has one of its shape among ours.
fn rows(at: &str, printed: &[Value], own: &[Value], all: &mut Vec<String>) {
    for (number, row) in printed.iter().enumerate() {
        let best = own
            .iter()
            .map(|own| {
                let mut found = Vec::new();
                compare(&format!("{at}[{number}]"), row, own, &mut found);
                found
            })
            .min_by_key(Vec::len);
        match best {
            None => return all.push(format!("{at} is empty")),
            Some(found) => all.extend(found),
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// `accounts` and whether it is one row: how columns stand in between has changed over the years.
fn outline(context: &str) -> (&str, bool) {
    let fragment = context.split_once('#').map_or("", |(_, fragment)| fragment);
    let head = fragment.split(['(', '/']).next().unwrap_or_default();
    (head, fragment.ends_with("/$entity"))
}

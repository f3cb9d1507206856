//! The parts of a batch's answer.

use serde_json::Value;

/// A part: a change set, or an answer.
#[derive(Debug)]
pub(crate) enum Part {
    Changes(Vec<Part>),
    Answer {
        status: u16,
        headers: Vec<String>,
        body: Option<Value>,
    },
}

/// The parts of a text that begins with its boundary.
pub(crate) fn parts(text: &str) -> Vec<Part> {
    let text = text.replace("\r\n", "\n");
    let Some(at) = text.find("--") else {
        return Vec::new();
    };
    let boundary = text[at..].lines().next().unwrap_or_default().to_owned();
    text[at..]
        .split(&boundary)
        .skip(1)
        .filter(|part| !part.starts_with("--"))
        .map(part)
        .collect()
}

fn part(text: &str) -> Part {
    let (head, rest) = text.split_once("\n\n").unwrap_or((text, ""));
    if head.contains("multipart/mixed") {
        return Part::Changes(parts(rest));
    }
    let (head, body) = rest.split_once("\n\n").unwrap_or((rest, ""));
    let mut lines = head.lines();
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|status| status.parse().ok())
        .unwrap_or_else(|| panic!("no status: {text}"));
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name.trim().to_ascii_lowercase())
        .collect();
    Part::Answer {
        status,
        headers,
        body: serde_json::from_str(body.trim()).ok(),
    }
}

/// Where the parts of an answer differ from the printed ones.
pub(crate) fn differences(printed: &[Part], own: &[Part]) -> Vec<String> {
    if printed.len() != own.len() {
        return vec![format!(
            "{} parts were printed, {} came",
            printed.len(),
            own.len()
        )];
    }
    let pairs = printed.iter().zip(own);
    pairs
        .flat_map(|(printed, own)| difference(printed, own))
        .collect()
}

fn difference(printed: &Part, own: &Part) -> Vec<String> {
    match (printed, own) {
        (Part::Changes(printed), Part::Changes(own)) => differences(printed, own),
        (
            Part::Answer {
                status,
                headers,
                body,
            },
            Part::Answer {
                status: own_status,
                headers: own_headers,
                body: own_body,
            },
        ) => {
            let mut all = Vec::new();
            if status != own_status {
                all.push(format!(
                    "{status} was printed, {own_status} came: {own_body:?}"
                ));
            }
            let missing = headers.iter().filter(|name| !own_headers.contains(name));
            all.extend(missing.map(|name| format!("{name} is missing")));
            match (body, own_body) {
                (Some(printed), Some(own)) => all.extend(crate::shape::differences(printed, own)),
                (Some(_), None) => all.push("there is no body".to_owned()),
                (None, _) => {}
            }
            all
        }
        _ => vec!["a change set stands where an answer does, or the other way round".to_owned()],
    }
}

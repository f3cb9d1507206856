//! The control page: what there is, and forms that work without a script.

use std::sync::Arc;

use askama::Template;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use serde_json::{Map, Value};

use crate::World;
use crate::control::actions;
use crate::control::entra;
use crate::control::journal::Line;
use crate::control::rows;
use crate::control::trouble::Trouble;
use crate::serve::Shared;

/// Nothing but the page itself: it has no script and loads nothing.
pub(super) const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; \
                                 form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

#[derive(Debug, Template)]
#[template(path = "control.html")]
struct ControlPage {
    origin: String,
    /// What was just done.
    done: Option<&'static str>,
    /// What was not, and the form that it was typed into.
    problem: Option<(String, String)>,
    typed: Map<String, Value>,
    now: String,
    moved: Option<String>,
    scenario: Option<Value>,
    faults: Vec<FaultRow>,
    rules: Value,
    usage: Vec<Value>,
    tenants: Vec<Value>,
    applications: Vec<Value>,
    users: Vec<Value>,
    refresh_tokens: Vec<Value>,
    access_tokens: Vec<Value>,
    consents: Vec<Value>,
    organizations: Vec<Value>,
    requests: Vec<Line>,
    actions: Vec<(&'static str, &'static str)>,
}

#[derive(Debug)]
struct FaultRow {
    id: u64,
    what: String,
    state: String,
    struck: String,
    ends: String,
}

impl ControlPage {
    /// Counting rows waits for whoever writes them: that must not hold up what else there is to do.
    async fn look(world: &Shared) -> Result<Self, Trouble> {
        let world = Arc::clone(world);
        let looked = tokio::task::spawn_blocking(move || Self::of(&world)).await;
        looked.map_err(|_| {
            let detail = "the page could not be made; the log says why";
            Trouble::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
        })
    }

    fn of(world: &World) -> Self {
        let now = world.clock.now();
        let offset = world.clock.offset();
        let tokens = entra::tokens(world, &entra::Whose::default()).unwrap_or_default();
        Self {
            origin: format!("https://{}", world.authority),
            done: None,
            problem: None,
            typed: Map::new(),
            now: now.format("%Y-%m-%d %H:%M:%S UTC").to_string(),
            moved: (!offset.is_zero()).then(|| moved(offset)),
            scenario: Some(world.player.shown(now)).filter(|shown| !shown.is_null()),
            faults: world.faults.list(now).iter().map(FaultRow::of).collect(),
            rules: world.limits.rules().shown(),
            usage: world.limits.usage(),
            tenants: entra::tenants(world).map(list).unwrap_or_default(),
            applications: entra::applications(world).map(list).unwrap_or_default(),
            users: entra::users(world).map(list).unwrap_or_default(),
            refresh_tokens: list(tokens["refresh"].clone()),
            access_tokens: list(tokens["access"].clone()),
            consents: entra::consents(world, &entra::Whose::default())
                .map(list)
                .unwrap_or_default(),
            organizations: rows::organizations(world).map(list).unwrap_or_default(),
            requests: world.journal.last(100, |_| true),
            actions: entra::ACTIONS.to_vec(),
        }
    }

    /// What was typed into a field of the form that had a problem.
    fn typed(&self, form: &str, field: &str) -> &str {
        match &self.problem {
            Some((of, _)) if of == form => text(&self.typed, field),
            _ => "",
        }
    }

    fn trouble_of(&self, form: &str) -> Option<&str> {
        let (of, detail) = self.problem.as_ref()?;
        (of == form).then_some(detail.as_str())
    }

    fn kinds(&self) -> [(&'static str, &'static str); 7] {
        [
            ("throttle", "throttle (429)"),
            ("refuse", "refuse with a code"),
            ("delay", "delay"),
            ("drop", "drop the connection"),
            ("cut", "cut the answer"),
            ("status", "5xx"),
            ("garbage", "garbage"),
        ]
    }

    /// A member as people read it.
    fn show(&self, value: &Value, member: &str) -> String {
        self.plain(value.get(member).unwrap_or(&Value::Null))
    }

    fn plain(&self, value: &Value) -> String {
        match value {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }

    /// A moment, whether it is written in seconds since 1970 or as RFC 3339.
    fn time(&self, value: &Value, member: &str) -> String {
        match value.get(member) {
            Some(Value::String(text)) => moment(text),
            Some(Value::Number(number)) => number
                .as_i64()
                .and_then(|seconds| chrono::DateTime::from_timestamp(seconds, 0))
                .map(|at| at.format("%Y-%m-%d %H:%M:%S").to_string())
                .unwrap_or_default(),
            _ => String::new(),
        }
    }

    fn is(&self, value: &Value, member: &str) -> bool {
        value
            .get(member)
            .and_then(Value::as_bool)
            .unwrap_or_default()
    }

    fn items<'a>(&self, value: &'a Value, member: &str) -> &'a [Value] {
        let found = value.get(member).and_then(Value::as_array);
        found.map_or(&[], Vec::as_slice)
    }

    fn joined(&self, value: &Value, member: &str) -> String {
        let items = self.items(value, member).iter();
        items
            .map(|item| self.plain(item))
            .collect::<Vec<_>>()
            .join(", ")
    }

    fn respond(&self, status: StatusCode) -> Response {
        let Ok(text) = self.render() else {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        };
        let mut response = (status, Html(text)).into_response();
        let policy = HeaderValue::from_static(POLICY);
        response
            .headers_mut()
            .insert(header::CONTENT_SECURITY_POLICY, policy);
        response
    }
}

impl FaultRow {
    fn of(shown: &Value) -> Self {
        let written = shown["fault"].as_object().cloned().unwrap_or_default();
        let parts = written.iter().map(|(name, value)| match value {
            Value::String(text) => format!("{name} {text}"),
            other => format!("{name} {other}"),
        });
        let left = shown["requests_left"].as_u64();
        let until = shown["ends_at"]
            .as_str()
            .map(|at| format!("at {}", moment(at)));
        Self {
            id: shown["id"].as_u64().unwrap_or_default(),
            what: parts.collect::<Vec<_>>().join(", "),
            state: text_of(&shown["state"]).to_owned(),
            struck: format!("{} of {}", shown["struck"], shown["matched"]),
            ends: match (left, until) {
                (Some(left), Some(until)) => format!("after {left} more, or {until}"),
                (Some(left), None) => format!("after {left} more"),
                (None, Some(until)) => until,
                (None, None) => "when it is removed".to_owned(),
            },
        }
    }
}

pub(super) async fn show(State(world): State<Shared>, uri: Uri) -> Result<Response, Trouble> {
    let mut page = ControlPage::look(&world).await?;
    let said = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes())
        .find(|(name, _)| name == "done")
        .map(|(_, value)| value.into_owned());
    page.done = said
        .and_then(|form| Form::named(&form))
        .map(|form| form.said);
    Ok(page.respond(StatusCode::OK))
}

/// A form of the page.
struct Form {
    name: &'static str,
    /// Where on the page it stands.
    section: &'static str,
    /// What is said when it was done.
    said: &'static str,
    act: fn(&World, &Value) -> Result<(), Trouble>,
}

const FORMS: [Form; 11] = [
    Form {
        name: "fault-add",
        section: "faults",
        said: "The fault is armed.",
        act: |world, typed| actions::fault_add(world, typed).map(|_| ()),
    },
    Form {
        name: "fault-remove",
        section: "faults",
        said: "The fault is removed.",
        act: |world, typed| {
            let id = typed["id"].as_str().and_then(|id| id.parse().ok());
            actions::fault_remove(world, id.unwrap_or_default())
        },
    },
    Form {
        name: "faults-clear",
        section: "faults",
        said: "All faults are removed.",
        act: |world, _| {
            world.faults.clear();
            Ok(())
        },
    },
    Form {
        name: "limits-set",
        section: "limits",
        said: "The limits are changed.",
        act: |world, typed| actions::limits_set(world, typed).map(|_| ()),
    },
    Form {
        name: "counters-clear",
        section: "limits",
        said: "The counters are empty.",
        act: |world, _| {
            world.limits.reset_counters();
            Ok(())
        },
    },
    Form {
        name: "clock-change",
        section: "clock",
        said: "The clock is moved.",
        act: |world, typed| actions::clock_change(world, typed).map(|_| ()),
    },
    Form {
        name: "entra-act",
        section: "entra",
        said: "It is done.",
        act: |world, typed| actions::entra_act(world, typed).map(|_| ()),
    },
    Form {
        name: "scenario-start",
        section: "scenario",
        said: "The scenario has begun.",
        act: |world, typed| {
            let toml = typed["toml"].as_str().unwrap_or_default();
            actions::scenario_start(world, toml, true).map(|_| ())
        },
    },
    Form {
        name: "scenario-stop",
        section: "scenario",
        said: "The scenario is stopped. What its steps did stays.",
        act: |world, _| {
            world.player.stop();
            Ok(())
        },
    },
    Form {
        name: "requests-clear",
        section: "requests",
        said: "The requests are forgotten.",
        act: |world, _| {
            world.journal.clear();
            Ok(())
        },
    },
    Form {
        name: "reset",
        section: "top",
        said: "Everything is as it was at the start, but for tokens and rows.",
        act: |world, _| actions::reset(world).map(|_| ()),
    },
];

impl Form {
    fn named(name: &str) -> Option<&'static Self> {
        FORMS.iter().find(|form| form.name == name)
    }
}

pub(super) async fn act(
    State(world): State<Shared>,
    Path(action): Path<String>,
    uri: Uri,
    body: Bytes,
) -> Result<Response, Trouble> {
    let Some(form) = Form::named(&action) else {
        let detail = format!("there is nothing at {}", uri.path());
        return Err(Trouble::new(StatusCode::NOT_FOUND, detail));
    };
    // A field that was left empty was not filled in.
    let typed: Map<String, Value> = url::form_urlencoded::parse(&body)
        .filter(|(_, value)| !value.trim().is_empty())
        .map(|(name, value)| (name.into_owned(), value.into_owned().into()))
        .collect();
    let typed = Value::Object(typed);
    match (form.act)(&world, &typed) {
        Ok(()) => {
            let address = format!("/_sandbox/?done={}#{}", form.name, form.section);
            Ok(Redirect::to(&address).into_response())
        }
        Err(trouble) => {
            let mut page = ControlPage::look(&world).await?;
            let field = trouble.field.map(|field| format!("{field}: "));
            let detail = format!("{}{}", field.unwrap_or_default(), trouble.detail);
            page.problem = Some((form.name.to_owned(), detail));
            if let Value::Object(typed) = typed {
                page.typed = typed;
            }
            Ok(page.respond(trouble.status))
        }
    }
}

// === for the template ===

fn list(value: Value) -> Vec<Value> {
    match value {
        Value::Array(values) => values,
        _ => Vec::new(),
    }
}

fn text<'a>(map: &'a Map<String, Value>, field: &str) -> &'a str {
    map.get(field).map_or("", text_of)
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// `2026-03-31T12:00:00.123456Z` without what nobody reads.
fn moment(rfc3339: &str) -> String {
    let short = rfc3339.get(..19).unwrap_or(rfc3339);
    short.replace('T', " ")
}

fn moved(offset: chrono::TimeDelta) -> String {
    let direction = if offset < chrono::TimeDelta::zero() {
        "back"
    } else {
        "forward"
    };
    let span = offset.abs();
    let (days, hours) = (span.num_days(), span.num_hours() % 24);
    let (minutes, seconds) = (span.num_minutes() % 60, span.num_seconds() % 60);
    let parts = [(days, "d"), (hours, "h"), (minutes, "m"), (seconds, "s")];
    let shown = parts.iter().filter(|(number, _)| *number > 0);
    let text: Vec<String> = shown
        .map(|(number, unit)| format!("{number}{unit}"))
        .collect();
    format!("{} {direction}", text.join(" "))
}

//! What can be done to a sandbox, for the API and for the page.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use crate::World;
use crate::control::entra::{self, Switch};
use crate::control::trouble::Trouble;
use crate::faults::Fault;
use crate::fields::Fields;
use crate::scenario::{ClockChange, Scenario, ScenarioError};

pub(super) type Done = Result<Value, Trouble>;

pub(super) fn fault_add(world: &World, value: &Value) -> Done {
    let fault = Fault::read(value, "")?;
    let now = world.clock.now();
    let id = world.faults.arm(fault, now).map_err(|_| {
        let detail = "a thousand faults are armed already; clear them with DELETE";
        Trouble::new(StatusCode::CONFLICT, detail)
    })?;
    Ok(world.faults.find(id, now).unwrap_or_default())
}

pub(super) fn fault_remove(world: &World, id: u64) -> Result<(), Trouble> {
    if world.faults.disarm(id) {
        return Ok(());
    }
    let detail = format!("there is no fault of the number {id}");
    Err(Trouble::new(StatusCode::NOT_FOUND, detail))
}

pub(super) fn limits(world: &World) -> Value {
    json!({"rules": world.limits.rules().shown(), "usage": world.limits.usage()})
}

pub(super) fn limits_set(world: &World, value: &Value) -> Done {
    let rules = world.limits.rules().read(value, "")?;
    world.limits.set_rules(rules);
    Ok(limits(world))
}

pub(super) fn clock(world: &World) -> Value {
    let offset = world.clock.offset();
    json!({"now": world.clock.now(), "moved_by_ms": offset.num_milliseconds()})
}

pub(super) fn clock_change(world: &World, value: &Value) -> Done {
    ClockChange::read(value, "")?.apply(&world.clock)?;
    Ok(clock(world))
}

pub(super) fn entra_act(world: &World, value: &Value) -> Done {
    let switch = Switch::read(value, "")?;
    Ok(entra::apply(world, &switch)?)
}

pub(super) fn scenario(world: &World) -> Value {
    json!({"scenario": world.player.shown(world.clock.now())})
}

/// A scenario as TOML, or the same as JSON.
pub(super) fn scenario_start(world: &World, text: &str, is_toml: bool) -> Done {
    let read = if is_toml {
        Scenario::parse(text)
    } else {
        Scenario::read(&json_of(text)?).map_err(ScenarioError::from)
    };
    let parsed = read.map_err(|error| match error {
        ScenarioError::Field(problem) => Trouble::from(problem),
        ScenarioError::Syntax(detail) => Trouble::new(StatusCode::BAD_REQUEST, detail),
    })?;
    world.player.start(world, parsed);
    Ok(scenario(world))
}

/// Everything as it was at the start, but for tokens and rows.
pub(super) fn reset(world: &World) -> Done {
    world.player.stop();
    world.faults.clear();
    world.limits.reset();
    world.clock.reset();
    world.journal.clear();
    entra::reset(world)?;
    Ok(json!({"reset": ["scenario", "faults", "limits", "clock", "requests", "entra"]}))
}

/// The body of a request, which may be empty.
pub(super) fn json_of(text: &str) -> Result<Value, Trouble> {
    if text.trim().is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    serde_json::from_str(text).map_err(|error| {
        let detail = format!("the body is no JSON: {error}");
        Trouble::new(StatusCode::BAD_REQUEST, detail)
    })
}

/// What a list is narrowed down by.
pub(super) struct Narrow {
    pub(super) most: usize,
    pub(super) side: Option<String>,
    pub(super) whose: entra::Whose,
}

impl Narrow {
    pub(super) fn read(query: &Value) -> Result<Self, Trouble> {
        let mut fields = Fields::of(query, "")?;
        let sides = [
            ("entra", Some("entra")),
            ("dataverse", Some("dataverse")),
            ("all", None),
        ];
        let read = Self {
            most: usize::try_from(fields.whole("limit", 1..=10_000)?.unwrap_or(500)).unwrap_or(500),
            side: fields.choice("side", &sides)?.flatten().map(str::to_owned),
            whose: entra::Whose {
                tenant: fields.text("tenant")?,
                application: fields.id("application")?,
                user: fields.text("user")?,
            },
        };
        fields.finish()?;
        Ok(read)
    }
}

//! A bad day as a timeline: what goes wrong when, from a TOML file that people write.
//!
//! Steps are played in their order, each at its time or after so many requests since the step
//! before. Nothing can be noticed without a request, so a step is played when the first request
//! after its moment arrives, before that request is answered: there is no task that could be late.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::control::entra::{self, Switch};
use crate::dataverse::limits::Rules;
use crate::faults::{Fault, Seen, Target};
use crate::fields::{Fields, Problem, Read};
use crate::{Clock, World};

/// A file's worth of steps is written by hand.
const STEPS_MAX: usize = 1_000;

/// What happens, and when.
#[derive(Debug, Clone)]
pub struct Scenario {
    name: String,
    description: Option<String>,
    steps: Vec<Step>,
}

/// Why a scenario cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScenarioError {
    /// It is no TOML.
    #[error("{0}")]
    Syntax(String),
    /// A field is wrong.
    #[error(transparent)]
    Field(#[from] Problem),
}

#[derive(Debug, Clone)]
struct Step {
    when: When,
    note: Option<String>,
    actions: Vec<Action>,
}

#[derive(Debug, Clone)]
enum When {
    /// So long after the start, by the sandbox's clock. What steps themselves move it by does not
    /// count.
    At(TimeDelta),
    /// After so many requests since the step before.
    After { requests: u64, target: Target },
}

#[derive(Debug, Clone)]
enum Action {
    ClearFaults,
    Disarm(String),
    Clock(ClockChange),
    Entra(Switch),
    /// Changes to the rules as they are then; read once already.
    Limits(Value),
    Arm(Box<Fault>),
}

/// What can be done to the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClockChange {
    Move(TimeDelta),
    Set(DateTime<Utc>),
    Reset,
}

impl ClockChange {
    pub(crate) fn read(value: &Value, path: &str) -> Read<Self> {
        let mut fields = Fields::of(value, path)?;
        let by = fields.span("move")?.map(Self::Move);
        let to = fields.moment("set")?.map(Self::Set);
        let reset = fields.flag("reset")?.unwrap_or_default();
        let reset = reset.then_some(Self::Reset);
        let wrong = fields.problem(
            "move",
            "or set or reset must be there, and only one of them: \
             {\"move\": \"91d\"}, {\"set\": \"2026-03-31T12:00:00Z\"} or {\"reset\": true}",
        );
        fields.finish()?;
        match (by, to, reset) {
            (Some(change), None, None)
            | (None, Some(change), None)
            | (None, None, Some(change)) => Ok(change),
            _ => Err(wrong),
        }
    }

    pub(crate) fn apply(self, clock: &Clock) -> Read<()> {
        let far = |field: &str| Problem::new(field, crate::TooFar.to_string());
        match self {
            Self::Move(by) => clock.shift(by).map_err(|_| far("move")),
            Self::Set(to) => clock.set(to).map_err(|_| far("set")),
            Self::Reset => {
                clock.reset();
                Ok(())
            }
        }
    }
}

// === reading ===

impl Scenario {
    /// Reads a scenario.
    ///
    /// # Errors
    /// When it is no TOML, or a field is unknown, missing or wrong.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let table: toml::Table =
            toml::from_str(text).map_err(|error| ScenarioError::Syntax(error.to_string()))?;
        Ok(Self::read(&as_json(toml::Value::Table(table)))?)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn read(value: &Value) -> Read<Self> {
        let mut fields = Fields::of(value, "")?;
        let name = fields.text("name")?;
        let description = fields.text("description")?;
        let steps = match fields.value("step") {
            Some(Value::Array(steps)) if !steps.is_empty() && steps.len() <= STEPS_MAX => steps,
            _ => {
                let detail = "there must be at least one [[step]], and at most 1,000";
                return Err(fields.problem("step", detail));
            }
        };
        fields.finish()?;
        let mut read = Vec::new();
        let mut latest = TimeDelta::zero();
        for (index, step) in steps.iter().enumerate() {
            // People count from one.
            let path = format!("step[{}]", index + 1);
            let step = Step::read(step, &path)?;
            if let When::At(at) = step.when {
                if at < latest {
                    let detail = "is earlier than the step before: steps are played in their order";
                    return Err(Problem::new(format!("{path}.at"), detail));
                }
                latest = at;
            }
            read.push(step);
        }
        Ok(Self {
            name: name.unwrap_or_else(|| "unnamed".to_owned()),
            description,
            steps: read,
        })
    }
}

impl Step {
    fn read(value: &Value, path: &str) -> Read<Self> {
        let mut fields = Fields::of(value, path)?;
        let at = fields.span("at")?;
        if at.is_some_and(|at| at < TimeDelta::zero()) {
            return Err(fields.problem("at", "must not be before the start"));
        }
        let after = fields
            .value("after")
            .map(|value| after(value, &fields.at("after")))
            .transpose()?;
        let when = match (at, after) {
            (Some(at), None) => When::At(at),
            (None, Some(after)) => after,
            _ => {
                let detail = "or after must be there, and not both: at = \"10m\", or after = \
                              { requests = 100 }";
                return Err(fields.problem("at", detail));
            }
        };
        let note = fields.text("note")?;
        let actions = actions(&mut fields)?;
        fields.finish()?;
        if actions.is_empty() && note.is_none() {
            let detail = "nothing happens: give it a note, clear, clock, entra, limits or fault";
            return Err(Problem::new(path, detail));
        }
        Ok(Self {
            when,
            note,
            actions,
        })
    }
}

fn after(value: &Value, path: &str) -> Read<When> {
    let mut fields = Fields::of(value, path)?;
    let Some(requests) = fields.whole("requests", 1..=1_000_000_000)? else {
        return Err(fields.problem("requests", "is missing: after how many requests"));
    };
    let target = Target::read(&mut fields)?;
    fields.finish()?;
    Ok(When::After { requests, target })
}

/// What a step does, in the order in which it is done: faults come last, so that their time is
/// counted by the clock as it is then.
fn actions(fields: &mut Fields<'_>) -> Read<Vec<Action>> {
    let mut actions = Vec::new();
    for (value, path) in one_or_many(fields, "clear") {
        match value {
            Value::Bool(true) => actions.push(Action::ClearFaults),
            Value::String(name) => actions.push(Action::Disarm(name.clone())),
            _ => {
                let detail = "must be true for all faults, or the name of those that end";
                return Err(Problem::new(path, detail));
            }
        }
    }
    for (value, path) in one_or_many(fields, "clock") {
        actions.push(Action::Clock(ClockChange::read(value, &path)?));
    }
    for (value, path) in one_or_many(fields, "entra") {
        actions.push(Action::Entra(Switch::read(value, &path)?));
    }
    for (value, path) in one_or_many(fields, "limits") {
        Rules::MICROSOFT.read(value, &path)?;
        actions.push(Action::Limits(value.clone()));
    }
    for (value, path) in one_or_many(fields, "fault") {
        actions.push(Action::Arm(Box::new(Fault::read(value, &path)?)));
    }
    Ok(actions)
}

/// A table, or a list of them.
fn one_or_many<'a>(fields: &mut Fields<'a>, name: &'static str) -> Vec<(&'a Value, String)> {
    let path = fields.at(name);
    match fields.value(name) {
        None => Vec::new(),
        Some(Value::Array(many)) => {
            let numbered = many.iter().enumerate();
            numbered
                .map(|(index, value)| (value, format!("{path}[{}]", index + 1)))
                .collect()
        }
        Some(one) => vec![(one, path)],
    }
}

/// TOML as JSON; its dates become texts.
fn as_json(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => number.into(),
        toml::Value::Boolean(flag) => flag.into(),
        toml::Value::Datetime(moment) => moment.to_string().into(),
        toml::Value::Array(values) => values.into_iter().map(as_json).collect(),
        toml::Value::Table(table) => {
            let members = table.into_iter();
            Value::Object(members.map(|(key, value)| (key, as_json(value))).collect())
        }
    }
}

// === playing ===

/// The scenario that is played, if any.
#[derive(Debug, Default)]
pub(crate) struct Player {
    play: Mutex<Option<Play>>,
    playing: AtomicBool,
}

#[derive(Debug)]
struct Play {
    scenario: Arc<Scenario>,
    started: DateTime<Utc>,
    /// How far its own steps moved the clock.
    moved: TimeDelta,
    /// Requests that the next step has counted.
    counted: u64,
    played: Vec<Played>,
}

#[derive(Debug)]
struct Played {
    at: DateTime<Utc>,
    problems: Vec<Problem>,
}

impl Player {
    /// Starts a scenario in place of what was played before; its first steps happen at once.
    pub(crate) fn start(&self, world: &World, scenario: Scenario) {
        let mut play = self.lock();
        *play = Some(Play {
            scenario: Arc::new(scenario),
            started: world.clock.now(),
            moved: TimeDelta::zero(),
            counted: 0,
            played: Vec::new(),
        });
        self.playing.store(true, Ordering::Release);
        self.play_on(&mut play, world);
    }

    /// Ends it; what its steps did stays.
    pub(crate) fn stop(&self) {
        *self.lock() = None;
        self.playing.store(false, Ordering::Release);
    }

    pub(crate) fn is_playing(&self) -> bool {
        self.playing.load(Ordering::Acquire)
    }

    /// A request arrives: what is due is played before it, and it is counted.
    pub(crate) fn arrive(&self, world: &World, seen: &Seen) {
        if !self.is_playing() {
            return;
        }
        let mut play = self.lock();
        self.play_on(&mut play, world);
        let Some(play) = play.as_mut() else {
            return;
        };
        if let Some(When::After { target, .. }) = play.next().map(|step| &step.when)
            && target.matches(seen)
        {
            play.counted += 1;
        }
    }

    /// Plays what is due.
    pub(crate) fn catch_up(&self, world: &World) {
        if self.is_playing() {
            self.play_on(&mut self.lock(), world);
        }
    }

    fn play_on(&self, play: &mut Option<Play>, world: &World) {
        let Some(play) = play.as_mut() else {
            return;
        };
        let scenario = Arc::clone(&play.scenario);
        while let Some(step) = scenario.steps.get(play.played.len()) {
            if !play.is_due(&step.when, world.clock.now()) {
                return;
            }
            play.perform(step, world);
        }
        self.playing.store(false, Ordering::Release);
    }

    /// What is played, as the control API shows it.
    pub(crate) fn shown(&self, now: DateTime<Utc>) -> Value {
        match self.lock().as_ref() {
            None => Value::Null,
            Some(play) => play.shown(now),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Play>> {
        self.play.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Play {
    fn next(&self) -> Option<&Step> {
        self.scenario.steps.get(self.played.len())
    }

    fn elapsed(&self, now: DateTime<Utc>) -> TimeDelta {
        now - self.started - self.moved
    }

    fn is_due(&self, when: &When, now: DateTime<Utc>) -> bool {
        match when {
            When::At(at) => self.elapsed(now) >= *at,
            When::After { requests, .. } => self.counted >= *requests,
        }
    }

    fn perform(&mut self, step: &Step, world: &World) {
        let offset = world.clock.offset();
        let mut problems = Vec::new();
        for action in &step.actions {
            if let Err(problem) = action.perform(world) {
                tracing::warn!(scenario = %self.scenario.name, %problem, "a step failed");
                problems.push(problem);
            }
        }
        self.moved += world.clock.offset() - offset;
        self.counted = 0;
        let number = self.played.len() + 1;
        let note = step.note.as_deref().unwrap_or_default();
        tracing::info!(scenario = %self.scenario.name, step = number, note, "a step was played");
        let at = world.clock.now();
        self.played.push(Played { at, problems });
    }

    fn shown(&self, now: DateTime<Utc>) -> Value {
        let steps = self.scenario.steps.iter().enumerate().map(|(index, step)| {
            let played = self.played.get(index);
            let problems = played.map_or(&[][..], |played| played.problems.as_slice());
            let is_next = index == self.played.len();
            json!({
                "number": index + 1,
                "when": step.when.shown(),
                "note": step.note,
                "played_at": played.map(|played| played.at),
                "requests_counted": is_next.then_some(self.counted),
                "problems": problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
            })
        });
        let finished = self.played.len() == self.scenario.steps.len();
        json!({
            "name": self.scenario.name,
            "description": self.scenario.description,
            "state": if finished { "played" } else { "playing" },
            "started": self.started,
            "elapsed_seconds": self.elapsed(now).num_seconds(),
            "steps": steps.collect::<Vec<_>>(),
        })
    }
}

impl When {
    fn shown(&self) -> String {
        match self {
            Self::At(at) => {
                let seconds = at.num_seconds();
                let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
                format!("at {hours:02}:{minutes:02}:{:02}", seconds % 60)
            }
            Self::After { requests, target } => match &target.path {
                Some(path) => format!("after {requests} requests to {path}"),
                None => format!("after {requests} requests"),
            },
        }
    }
}

impl Action {
    fn perform(&self, world: &World) -> Read<()> {
        match self {
            Self::ClearFaults => world.faults.clear(),
            Self::Disarm(name) => {
                world.faults.disarm_named(name);
            }
            Self::Clock(change) => change.apply(&world.clock)?,
            Self::Entra(switch) => {
                entra::apply(world, switch)?;
            }
            Self::Limits(changes) => {
                let rules = world.limits.rules().read(changes, "limits")?;
                world.limits.set_rules(rules);
            }
            Self::Arm(fault) => {
                let full = |_| Problem::new("fault", "too many faults are armed");
                let armed = world.faults.arm(Fault::clone(fault), world.clock.now());
                armed.map_err(full)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> String {
        Scenario::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        let text = problem("[[step]]\nat = \"0s\"\nfalt = { kind = \"drop\" }\nnote = \"x\"");
        assert!(
            text.contains("step[1].falt") && text.contains("'fault'?"),
            "{text}"
        );
        let text = problem(
            "[[step]]\nat = \"0s\"\nnote = \"x\"\n[[step]]\nat = \"1s\"\n\
             fault = [{ kind = \"drop\" }, { kind = \"cut\", ms = 4 }]",
        );
        assert!(text.contains("step[2].fault[2].ms"), "{text}");
        assert!(problem("name = ").contains("line 1"));
        assert!(problem("name = \"empty\"").contains("at least one [[step]]"));
    }

    #[test]
    fn a_step_says_when_and_what() {
        assert!(problem("[[step]]\nnote = \"x\"").contains("at = \"10m\""));
        assert!(problem("[[step]]\nat = \"1s\"").contains("nothing happens"));
        let both = "[[step]]\nat = \"1s\"\nafter = { requests = 1 }\nnote = \"x\"";
        assert!(problem(both).contains("not both"));
        let back = "[[step]]\nat = \"5s\"\nnote = \"x\"\n[[step]]\nat = \"4s\"\nnote = \"y\"";
        assert!(problem(back).contains("earlier than the step before"));
    }

    #[test]
    fn a_clock_is_moved_one_way_only() {
        let read = |text: &str| ClockChange::read(&serde_json::from_str(text).unwrap(), "clock");
        assert_eq!(
            read(r#"{"move": "-1h"}"#),
            Ok(ClockChange::Move(TimeDelta::hours(-1)))
        );
        assert_eq!(read(r#"{"reset": true}"#), Ok(ClockChange::Reset));
        assert!(read(r#"{"move": "1h", "reset": true}"#).is_err());
        assert!(read(r#"{"set": "tomorrow"}"#).is_err());
        assert!(read("{}").is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_text_does_harm(
            at in "\\PC{0,8}", key in "[a-z]{1,8}", value in "[0-9a-z\"{}=.\\[\\]-]{0,20}",
        ) {
            let _ = Scenario::parse(&at);
            let _ = Scenario::parse(&format!("[[step]]\nat = {at:?}\n{key} = {value}"));
            let _ = Scenario::parse(&format!("[[step]]\nat = \"1s\"\nfault = {{ kind = \"drop\", {key} = {value} }}"));
        }
    }
}

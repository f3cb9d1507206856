//! What a fault is, and how it is written.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use chrono::TimeDelta;
use serde_json::Value;
use uuid::Uuid;

use crate::dataverse::limits::Excess;
use crate::faults::caller::Seen;
use crate::faults::codes;
use crate::faults::glob::Pattern;
use crate::fields::{Fields, Read};

/// What goes wrong, for whom, and for how long.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) name: Option<String>,
    pub(crate) effect: Effect,
    pub(crate) target: Target,
    pub(crate) extent: Extent,
    /// As it was written, for whoever looks at what is armed.
    pub(crate) written: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Effect {
    /// 429; none sends no `Retry-After`.
    Throttle {
        excess: Excess,
        retry_after: Option<u64>,
    },
    RefuseEntra {
        code: u32,
        suberror: Option<&'static str>,
        claims: Option<String>,
    },
    RefuseDataverse {
        code: String,
        status: StatusCode,
        message: String,
    },
    Delay {
        pause: Duration,
        moment: Moment,
    },
    /// The connection ends, and nobody answers.
    Drop {
        moment: Moment,
    },
    /// The connection ends in the middle of the answer's body.
    Cut {
        after: CutAfter,
    },
    Status {
        status: StatusCode,
        retry_after: Option<u64>,
    },
    Garbage(Shape),
}

/// Whether the request was carried out when the fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    Before,
    After,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CutAfter {
    Half,
    Bytes(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// The page of some proxy in between.
    Html,
    /// The true answer, which ends too early; its length says that it is whole.
    Truncated,
    /// The true answer as `text/plain`.
    WrongType,
    /// 200 without a body.
    Empty,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Entra,
    Dataverse,
}

impl Side {
    pub(crate) fn of(path: &str) -> Self {
        if path.starts_with("/api/") {
            Self::Dataverse
        } else {
            Self::Entra
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Entra => "entra",
            Self::Dataverse => "dataverse",
        }
    }
}

/// Whose requests; what is not said matches everything.
#[derive(Debug, Clone, Default)]
pub(crate) struct Target {
    pub(crate) side: Option<Side>,
    pub(crate) application: Option<Uuid>,
    /// User principal name or object id.
    pub(crate) user: Option<String>,
    pub(crate) path: Option<Pattern>,
    pub(crate) method: Option<Method>,
}

impl Target {
    pub(crate) fn read(fields: &mut Fields<'_>) -> Read<Self> {
        let sides = [
            ("entra", Some(Side::Entra)),
            ("dataverse", Some(Side::Dataverse)),
            ("all", None),
        ];
        let path = match fields.text("path")? {
            None => None,
            Some(text) => {
                Some(Pattern::parse(&text).map_err(|detail| fields.problem("path", detail))?)
            }
        };
        let method = match fields.text("method")? {
            None => None,
            Some(text) => {
                let all_letters = text.bytes().all(|byte| byte.is_ascii_alphabetic());
                let method = Method::from_bytes(text.to_ascii_uppercase().as_bytes()).ok();
                let problem = || fields.problem("method", "must be a method such as GET or POST");
                Some(method.filter(|_| all_letters).ok_or_else(problem)?)
            }
        };
        Ok(Self {
            side: fields.choice("side", &sides)?.flatten(),
            application: fields.id("application")?,
            user: fields.text("user")?,
            path,
            method,
        })
    }

    pub(crate) fn matches(&self, seen: &Seen) -> bool {
        self.side.is_none_or(|side| side == seen.side)
            && (self.application.is_none() || self.application == seen.application)
            && self
                .method
                .as_ref()
                .is_none_or(|method| *method == seen.method)
            && self.user.as_ref().is_none_or(|user| seen.is_user(user))
            && self
                .path
                .as_ref()
                .is_none_or(|path| path.matches(&seen.path))
    }
}

/// How long, and how often.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Extent {
    /// After so many hits it is over.
    pub(crate) requests: Option<u64>,
    /// After so much time it is over.
    pub(crate) span: Option<TimeDelta>,
    /// So many matching requests are left alone at first.
    pub(crate) skip: u64,
    pub(crate) rhythm: Rhythm,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Rhythm {
    Each,
    EveryNth(u64),
    /// By chance, but always by the same one: replays repeat.
    Chance {
        share: f64,
        seed: u64,
    },
}

impl Extent {
    fn read(fields: &mut Fields<'_>) -> Read<Self> {
        let span = fields.span("for")?;
        if span.is_some_and(|span| span <= TimeDelta::zero()) {
            return Err(fields.problem("for", "must be longer than nothing"));
        }
        let every = fields.whole("every", 1..=1_000_000)?;
        let share = fields.number("probability", 0.0..=1.0)?;
        let seed = fields.whole("seed", 0..=u64::MAX)?;
        let rhythm = match (every, share, seed) {
            (Some(_), Some(_), _) => {
                let detail = "cannot stand beside every: choose one of them";
                return Err(fields.problem("probability", detail));
            }
            (_, None, Some(_)) => {
                let detail = "starts the chance of probability, which is missing";
                return Err(fields.problem("seed", detail));
            }
            (Some(nth), None, None) => Rhythm::EveryNth(nth),
            (None, Some(share), seed) => Rhythm::Chance {
                share,
                seed: seed.unwrap_or(1),
            },
            (None, None, None) => Rhythm::Each,
        };
        Ok(Self {
            requests: fields.whole("requests", 1..=1_000_000_000)?,
            span,
            skip: fields.whole("skip", 0..=1_000_000_000)?.unwrap_or(0),
            rhythm,
        })
    }
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Throttle,
    Refuse,
    Delay,
    Drop,
    Cut,
    Status,
    Garbage,
}

const KINDS: [(&str, Kind); 7] = [
    ("throttle", Kind::Throttle),
    ("refuse", Kind::Refuse),
    ("delay", Kind::Delay),
    ("drop", Kind::Drop),
    ("cut", Kind::Cut),
    ("status", Kind::Status),
    ("garbage", Kind::Garbage),
];

/// Those that Microsoft's own clients know.
const SUBERRORS: [(&str, &str); 10] = [
    ("basic-action", "basic_action"),
    ("additional-action", "additional_action"),
    ("message-only", "message_only"),
    ("consent-required", "consent_required"),
    ("user-password-expired", "user_password_expired"),
    ("bad-token", "bad_token"),
    ("token-expired", "token_expired"),
    ("protection-policy-required", "protection_policy_required"),
    ("client-mismatch", "client_mismatch"),
    (
        "device-authentication-failed",
        "device_authentication_failed",
    ),
];

const MOMENTS: [(&str, Moment); 2] = [("before", Moment::Before), ("after", Moment::After)];

impl Fault {
    /// Reads a fault as it stands in JSON, in a scenario or in a form.
    pub(crate) fn read(value: &Value, path: &str) -> Read<Self> {
        let mut fields = Fields::of(value, path)?;
        let Some(kind) = fields.choice("kind", &KINDS)? else {
            let words = KINDS.map(|(word, _)| word).join(", ");
            return Err(fields.problem("kind", format!("is missing; it is one of {words}")));
        };
        let name = fields.text("name")?;
        let mut target = Target::read(&mut fields)?;
        let extent = Extent::read(&mut fields)?;
        let effect = effect(kind, &mut fields)?;
        let meant = match effect {
            Effect::RefuseEntra { .. } => Some(Side::Entra),
            Effect::RefuseDataverse { .. } => Some(Side::Dataverse),
            _ => None,
        };
        if let (Some(meant), Some(said)) = (meant, target.side)
            && meant != said
        {
            let detail = format!("must be {}, where this code comes from", meant.name());
            return Err(fields.problem("side", detail));
        }
        target.side = target.side.or(meant);
        fields.finish()?;
        Ok(Self {
            name,
            effect,
            target,
            extent,
            written: value.clone(),
        })
    }
}

fn effect(kind: Kind, fields: &mut Fields<'_>) -> Read<Effect> {
    Ok(match kind {
        Kind::Throttle => {
            let limits = [
                ("requests", Excess::Requests),
                ("time", Excess::Time),
                ("concurrency", Excess::Concurrency),
            ];
            Effect::Throttle {
                excess: fields.choice("limit", &limits)?.unwrap_or(Excess::Requests),
                retry_after: retry_after(fields, Some(30))?,
            }
        }
        Kind::Refuse => refusal(fields)?,
        Kind::Delay => {
            let Some(ms) = fields.whole("ms", 1..=600_000)? else {
                return Err(fields.problem("ms", "is missing: how many milliseconds to wait"));
            };
            Effect::Delay {
                pause: Duration::from_millis(ms),
                moment: moment(fields)?,
            }
        }
        Kind::Drop => Effect::Drop {
            moment: moment(fields)?,
        },
        Kind::Cut => {
            let bytes = fields.whole("bytes", 0..=1_000_000_000)?;
            let bytes = bytes.and_then(|bytes| usize::try_from(bytes).ok());
            Effect::Cut {
                after: bytes.map_or(CutAfter::Half, CutAfter::Bytes),
            }
        }
        Kind::Status => {
            let number = fields.whole("status", 500..=599)?.unwrap_or(503);
            let status = u16::try_from(number).ok();
            let status = status.and_then(|number| StatusCode::from_u16(number).ok());
            Effect::Status {
                status: status.unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
                retry_after: retry_after(fields, None)?,
            }
        }
        Kind::Garbage => {
            let shapes = [
                ("html", Shape::Html),
                ("truncated", Shape::Truncated),
                ("wrong-type", Shape::WrongType),
                ("empty", Shape::Empty),
            ];
            Effect::Garbage(fields.choice("shape", &shapes)?.unwrap_or(Shape::Html))
        }
    })
}

fn moment(fields: &mut Fields<'_>) -> Read<Moment> {
    Ok(fields.choice("when", &MOMENTS)?.unwrap_or(Moment::Before))
}

/// Seconds, or the word `none` for an answer that does not say how long to wait.
fn retry_after(fields: &mut Fields<'_>, default: Option<u64>) -> Read<Option<u64>> {
    if fields.text("retry_after")?.as_deref() == Some("none") {
        return Ok(None);
    }
    Ok(fields.whole("retry_after", 0..=86_400)?.or(default))
}

fn refusal(fields: &mut Fields<'_>) -> Read<Effect> {
    let aadsts = fields.text("aadsts")?;
    let dataverse = fields.text("dataverse")?;
    match (aadsts, dataverse) {
        (Some(text), None) => {
            let digits = text.trim();
            let digits = match digits.get(..6) {
                Some(prefix) if prefix.eq_ignore_ascii_case("AADSTS") => {
                    digits.get(6..).unwrap_or_default()
                }
                _ => digits,
            };
            let code = digits.parse::<u32>().ok().filter(|code| *code > 0);
            let detail = "must be the number of an AADSTS code, such as 50173";
            let code = code.ok_or_else(|| fields.problem("aadsts", detail))?;
            Ok(Effect::RefuseEntra {
                code,
                suberror: fields.choice("suberror", &SUBERRORS)?,
                claims: fields.text("claims")?,
            })
        }
        (None, Some(text)) => {
            let known = codes::find(&text).map_err(|detail| fields.problem("dataverse", detail))?;
            let status = fields.whole("status", 400..=599)?;
            let status = status.and_then(|number| u16::try_from(number).ok());
            let message = fields.text("message")?;
            Ok(Effect::RefuseDataverse {
                status: StatusCode::from_u16(status.unwrap_or(known.status))
                    .unwrap_or(StatusCode::BAD_REQUEST),
                message: message.unwrap_or_else(|| known.message.to_owned()),
                code: known.code,
            })
        }
        _ => Err(fields.problem(
            "aadsts",
            "or dataverse must be there, and not both: the code to refuse with",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: Value) -> Read<Fault> {
        Fault::read(&value, "")
    }

    #[test]
    fn a_code_says_which_side_is_meant() {
        let fault = read(json!({"kind": "refuse", "aadsts": "AADSTS50173"})).unwrap();
        assert_eq!(fault.target.side, Some(Side::Entra));
        let fault = read(json!({"kind": "refuse", "dataverse": "0x80040217"})).unwrap();
        assert_eq!(fault.target.side, Some(Side::Dataverse));
        let wrong = json!({"kind": "refuse", "aadsts": 50173, "side": "dataverse"});
        assert_eq!(read(wrong).unwrap_err().field, "side");
    }

    #[test]
    fn what_does_not_belong_to_a_kind_is_refused() {
        for (value, field) in [
            (json!({"kind": "drop", "ms": 5}), "ms"),
            (json!({"kind": "delay"}), "ms"),
            (json!({"kind": "refuse"}), "aadsts"),
            (
                json!({"kind": "refuse", "aadsts": 1, "dataverse": "0x1"}),
                "aadsts",
            ),
            (json!({"kind": "status", "status": 404}), "status"),
            (json!({"kind": "throttel"}), "kind"),
            (json!({}), "kind"),
            (
                json!({"kind": "drop", "every": 2, "probability": 0.5}),
                "probability",
            ),
            (json!({"kind": "drop", "seed": 2}), "seed"),
            (json!({"kind": "drop", "for": "-5s"}), "for"),
            (json!({"kind": "drop", "path": "contacts"}), "path"),
            (json!({"kind": "drop", "method": "G ET"}), "method"),
            (
                json!({"kind": "drop", "application": "tieline"}),
                "application",
            ),
        ] {
            assert_eq!(read(value.clone()).unwrap_err().field, field, "{value}");
        }
    }

    #[test]
    fn a_throttle_can_keep_to_itself_how_long_to_wait() {
        let fault = read(json!({"kind": "throttle", "retry_after": "none"})).unwrap();
        let silent = Effect::Throttle {
            excess: Excess::Requests,
            retry_after: None,
        };
        assert_eq!(fault.effect, silent);
    }
}

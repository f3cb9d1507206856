//! Rehearsals: faults, limits, the clock, the control API and its page, and scenarios, all over
//! https.

#![expect(
    clippy::unwrap_used,
    reason = "a panic is how a test reports, in its helpers as well"
)]

mod clock;
mod control;
mod entra;
mod faults;
mod limits;
mod page;
mod scenario;
mod stage;
mod wire;

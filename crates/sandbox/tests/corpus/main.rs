//! The examples that Microsoft published, sent to a sandbox. They lie beside the project, never in
//! it: where they are absent, the tests say so and pass.
//!
//! What is compared is the shape of an answer: its status, the headers that are contract, the
//! pattern of `@odata.context`, names of members and their JSON types. Ours may have more members,
//! because a printed answer is shortened.

#[path = "../entra/rig.rs"]
#[expect(
    dead_code,
    clippy::unwrap_used,
    reason = "it serves the tests of sign-in, which need more of it"
)]
mod rig;
#[path = "../dataverse/support.rs"]
#[expect(
    dead_code,
    reason = "it serves the tests of the Web API, which need more of it"
)]
mod support;

mod batch;
mod examples;
mod oauth;
mod scope;
mod shape;
mod stage;
mod webapi;

//! Entra ID as clients and browsers see it, over https.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says where it stopped"
)]

mod applications;
mod authorize;
mod device;
mod discovery;
mod people;
mod rig;
mod tokens;

//! Entra ID: the authorization and token endpoints of both generations, with their pages.

mod authorize;
mod codes;
mod consent;
mod directory;
mod discovery;
mod jwt;
mod pages;
mod params;
mod sign_in;
mod token;

pub(crate) use authorize::{authorize_v1, authorize_v2};
pub(crate) use codes::{Refusal, Trace};
pub(crate) use consent::{admin_consent_v1, admin_consent_v2, consent};
pub(crate) use directory::{Directory, host_of};
pub(crate) use discovery::{instance, keys, metadata_v1, metadata_v2};
pub(crate) use jwt::Caller;
pub(crate) use pages::{error_page, home, not_found};
pub(crate) use params::{authority, origin};
pub(crate) use sign_in::{sign_in, sign_out};
pub(crate) use token::{token_v1, token_v2};

/// Which generation of endpoints was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Version {
    V1,
    V2,
}

//! Entra ID: the authorization and token endpoints of both generations, with their pages.

mod account;
mod application;
mod arrive;
mod authorize;
mod catalogue;
mod certificate;
mod claims;
mod client_auth;
mod codes;
mod consent;
mod control;
mod device;
mod directory;
mod discovery;
mod flow;
mod grant;
mod grants;
mod issue;
mod jwt;
mod ledger;
mod pages;
mod params;
mod policy;
mod registration;
mod rehearsal;
mod resource;
mod session;
mod sign_in;
mod throttle;
mod token;
mod view;

#[cfg(test)]
mod tests;

pub(crate) use arrive::sign_out;
pub(crate) use authorize::{authorize_v1, authorize_v2};
pub(crate) use claims::{challenge_header, policy_claims};
pub(crate) use codes::{Refusal, Trace, fault_answer};
pub(crate) use consent::{admin_consent_v1, admin_consent_v2, consent};
pub(crate) use control::{
    ApplicationChange, By, Control, ControlError, NewPassword, SecretFate, Selector, TenantChange,
    UserChange,
};
pub(crate) use device::{device_code_v1, device_code_v2, device_entered, device_page};
pub(crate) use directory::{Directory, Verdict, host_of};
pub(crate) use discovery::{
    instance, keys, keys_v2, metadata_v1, metadata_v2, user_info, user_realm,
};
pub(crate) use jwt::Caller;
pub(crate) use pages::{code_page, error_page, home, not_found};
pub(crate) use params::{Params, authority, origin};
pub(crate) use rehearsal::{holder_of_code, holder_of_refresh_token};
pub(crate) use sign_in::{approve, new_password, sign_in};
pub(crate) use token::{token_v1, token_v2};
pub(crate) use view::{ApplicationView, UserView};

/// Which generation of endpoints was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Version {
    V1,
    V2,
}

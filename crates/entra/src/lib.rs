//! OAuth 2.0 / OpenID Connect client of the Microsoft identity platform, version 1 and 2, in every
//! cloud; AD FS and other OAuth 2.0 servers where they speak the same.
//!
//! What is deliberately absent: our domain, storage, and any decision about what to do next.

mod authorize;
mod callback;
mod certificate;
mod challenge;
pub mod claims;
mod client;
mod cloud;
pub mod codes;
mod endpoints;
mod error;

pub use authorize::{AuthorizationRequest, Pkce, Prompt, random_token};
pub use callback::Callback;
pub use certificate::{CertificateProblem, ClientCertificate};
pub use challenge::Challenge;
pub use claims::{Claims, ClaimsError};
pub use client::{ClientIdentity, CodeRedemption, Credential, Resource, TokenAnswer, TokenClient};
pub use cloud::{Cloud, cloud_of_api_host, cloud_of_login_host};
pub use endpoints::{
    Dialect, EndpointField, EndpointProblem, EndpointProblemKind, EndpointWarning, Endpoints,
    Judged, is_guid,
};
pub use error::{Reach, Refusal, TokenError, TransportFault, TransportKind, Verdict};

//! A small client of the Dataverse Web API: enough to know an organization, and to tell its errors
//! apart.
//!
//! What is deliberately absent: our domain, and where tokens come from.

mod address;
mod client;
mod error;

pub use address::{AddressProblem, AddressWarning, ApiAddress, JudgedAddress};
pub use client::{OrganizationDetail, WebApi, WhoAmI};
pub use error::{ApiClass, ApiError, ApiRefusal, ApiTransport};

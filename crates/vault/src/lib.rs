//! Sealing of secrets, and hashing of what is only ever compared.
//!
//! What is deliberately absent: a database, a network, and any idea of what is sealed.

pub mod api_key;
mod keys;
pub mod password;
mod seal;
pub mod signing;
pub mod token;

pub use keys::{KeyId, KeyRing, KeyRingError};
pub use seal::{AssociatedData, OpenError, Sealed};

//! The configuration: read raw ([`load`]), resolved once into typed settings ([`resolve`]), and
//! passed down. Nothing below the binary reads a file or a variable for its settings.

mod error;
mod keys;
mod load;
mod notices;
mod resolve;

pub(crate) use error::ConfigError;
pub(crate) use load::{Search, Sources};
pub(crate) use resolve::{Listener, LogFormat, LogSettings, MasterKeys, Settings, TlsFiles};

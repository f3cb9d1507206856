//! The JSON API and the console: two renderings of the same use cases.
//!
//! Handlers unpack, make one call into `app`, and render. What is deliberately absent: SQL, the
//! wire of OAuth, and any decision about accounts.

mod api;
mod assets;
mod console;
mod guard;
mod serve;
mod site;
mod visitor;
mod words;

pub use api::openapi_document;
pub use serve::{ServeError, serve};
pub use site::{WebSettings, router};

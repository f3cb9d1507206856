//! Tables, columns and relationships of an organization, and how it describes them: in
//! `$metadata`, in the service document and in `EntityDefinitions`.

mod build;
mod csdl;
#[expect(
    unreachable_pub,
    reason = "its seeds are shown by the crate; the way to them is not"
)]
pub mod custom;
pub(crate) mod definitions;
mod kinds;
mod load;
mod model;
mod raw;
mod service_document;
mod vocabulary;

pub(crate) use csdl::{Annotations, metadata_document};
pub(crate) use model::*;
pub(crate) use service_document::service_document;
pub(crate) use vocabulary::{Operation, OperationKind, vocabulary};

#[cfg(test)]
mod tests;

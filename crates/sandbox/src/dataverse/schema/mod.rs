//! Tables, columns and relationships of an organization, and how it describes them: in
//! `$metadata`, in the service document and in `EntityDefinitions`.

mod build;
mod kinds;
mod load;
mod model;
mod raw;

pub(crate) use model::*;

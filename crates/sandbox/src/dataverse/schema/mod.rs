//! Tables, columns and relationships of an organization, and how it describes them: in
//! `$metadata`, in the service document and in `EntityDefinitions`.

mod build;
pub mod custom;
mod kinds;
mod load;
mod model;
mod raw;

pub(crate) use model::*;

#[cfg(test)]
mod tests;

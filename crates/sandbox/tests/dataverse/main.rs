//! The Dataverse Web API as clients see it: a sandbox on a free port, spoken to over https.

mod support;

mod actions;
mod batch;
mod bulk;
mod creating;
mod discovery;
mod functions;

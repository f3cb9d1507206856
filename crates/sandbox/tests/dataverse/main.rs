//! The Dataverse Web API as clients see it: a sandbox on a free port, spoken to over https.

mod support;

mod actions;
mod activities;
mod batch;
mod bulk;
mod changing;
mod creating;
mod deleting;
mod discovery;
mod duplicates;
mod expanding;
mod fetch;
mod fetch_pages;
mod functions;
mod keys;
mod linking;
mod reading;
mod rights;
mod showing;
mod tracking;
mod values;

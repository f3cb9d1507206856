//! Everything SQL: one text for SQLite and PostgreSQL, one file per noun.
//!
//! Secrets are sealed at this door: they go in and come out as `SecretString`, and no function
//! writes one unsealed. Transactions are short; none is open across HTTP, which this crate does
//! not know.

mod account;
mod audit;
mod change;
mod commit;
mod consent;
mod consumer;
mod credential;
mod database;
mod draft;
mod error;
mod event;
mod limits;
mod master_key;
mod outbox;
mod session;
mod token;
mod user;
mod webhook;

pub use account::{AccountSettings, NewTokens, SecretChange};
pub use change::{Change, ChangeFeed, ChangeKind};
pub use consent::{Consent, ConsentTarget, NewConsent, TakeConsent};
pub use credential::{CredentialChange, CredentialOutcome};
pub use database::{Migrations, Store};
pub use draft::{Draft, DraftTokens};
pub use error::StoreError;
pub use event::{EVENTS_KEPT, EVENTS_PER_ACCOUNT, EventRange, TimedEvent};
pub use limits::{LimitUse, ServerShare, Span};
pub use outbox::{Attempted, DELIVERIES_KEPT, OutboxDepth};
pub use token::{
    FailedRenewal, Lease, LeasePurpose, LeaseWish, MarkAfter, RenewedTokens, Spending, StateChange,
    TokenRow,
};
pub use webhook::{WebhookSecrets, WebhookSettings};

//! The words and rules of Tieline: typed identifiers, accounts and their states, consumers,
//! users, and the shape of a connection test.
//!
//! Nothing here performs input or output. What is deliberately absent: a runtime, SQL, HTTP.

mod account;
mod audit;
mod clock;
mod consumer;
mod credential;
mod ids;
mod ladder;
mod language;
mod limits;
mod notice;
mod state;
mod user;

pub use account::{
    Account, AccountName, AccountType, ConsentInfo, GrantType, NameProblem, RefreshTokenRotation,
    RotationSeen, SecretInfo, UnknownWord,
};
pub use audit::{Actor, AuditEvent};
pub use clock::{Clock, ManualClock, SystemClock};
pub use consumer::{ApiKeyInfo, Consumer, ConsumerGrant};
pub use credential::{
    CredentialInfo, CredentialRefusal, CredentialSlot, EXPIRY_NOTICES, trial_order,
};
pub use ids::{
    AccountId, ApiKeyId, AuditId, ConsumerId, DraftId, EventId, IdProblem, SessionId, TestId,
    UserId, WebhookId, WorkspaceId,
};
pub use ladder::{Evidence, LadderReport, Rung, RungReport, RungStatus};
pub use language::Language;
pub use limits::{AccountLimits, ConsumerLimits, OnThrottle, OutOfRange, Priority};
pub use notice::{
    Delivery, DeliveryChannel, DeliveryState, DisabledReason, Notice, NoticeType, Webhook,
    is_worth_a_mail,
};
pub use state::{AccountEvent, Connection, ConnectionState, Reason};
pub use user::{Email, EmailProblem, Right, Role, User};

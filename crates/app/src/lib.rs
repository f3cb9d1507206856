//! The use cases of Tieline: the only place that decides.
//!
//! The console, the JSON API, the gateway and the command line all call [`App`] and render what
//! it says. What is deliberately absent: routes, SQL, HTML.

mod accounts;
mod app;
mod connect;
mod consumers;
mod credentials;
mod drafts;
mod error;
mod fair;
mod form;
mod headroom;
mod help;
mod keeper;
mod ladder;
mod lines;
mod lookup;
mod maps;
mod moment;
mod notify;
mod obtain;
mod organization;
mod outbound;
mod people;
mod resolution;
mod settings;
mod setup;
mod trials;

pub use app::{App, Parts};
pub use connect::{ConsentEnd, ConsentPrompt, ConsentStart, ConsentTarget};
pub use credentials::CERTIFICATE_DAYS;
pub use drafts::DraftView;
pub use error::{AppError, Refused, Who};
pub use fair::{Admitted, Class, Limit, Terms, Told, Wish};
pub use form::{AccountForm, Applied, Field, Finding, Severity};
pub use headroom::{ConsumerUse, Headroom, Used};
pub use help::{Explanation, explain, explain_known, explain_plain, explain_reason};
pub use keeper::{Bearer, LiveToken};
pub use lines::{CallerPass, Line};
pub use moment::Moment;
pub use notify::{
    MailProblem, MailSettings, MailTls, NotifySettings, WebhookForm, WebhookTrial, explain_span,
    mail_check,
};
pub use organization::Organization;
pub use outbound::{Outbound, OutboundError, OutboundSettings, Policy};
pub use people::SignedIn;
pub use resolution::Resolution;
pub use setup::Proposal;
pub use trials::{TestProgress, TestTarget};

pub use tieline_core::TestId;
pub use tieline_store::{EventRange, TimedEvent};

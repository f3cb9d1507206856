//! The keeper among processes: several servers, callers, a token service, and ends without notice.

mod challenges;
mod crashes;
mod drain;
mod line;
mod lost_notice;
mod outage;
mod servers;

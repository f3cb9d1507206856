//! The keeper among processes: several servers, callers, a token service, and ends without notice.

mod crashes;
mod line;
mod servers;

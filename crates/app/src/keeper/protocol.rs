//! The decisions of a renewal, without input or output.
//!
//! The keeper asks here what to do, and so does the model check, which goes through every order in
//! which servers can interleave, crash and come late. What the database decides in SQL is said here
//! once more ([`Ledger`]); a test holds both against each other.

use tieline_core::{RefreshTokenRotation, RotationSeen};
use tieline_store::MarkAfter;

use super::Need;

/// What a second use of a refresh token does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Reuse {
    /// Nothing: the server gives new tokens for it.
    Harmless,
    /// It ends the grant: a server that rotates takes it for theft (RFC 9700, section 4.14.2).
    Punished,
}

/// Who wrote the token endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Maker {
    /// Microsoft documents that a used refresh token is not revoked ("Refresh tokens in the
    /// Microsoft identity platform").
    Entra,
    /// Somebody else.
    Other,
}

/// What a second use would do. A server of which nothing is known is taken to be strict: being
/// wrong costs one consent, being wrong the other way costs the grant.
pub(crate) fn reuse(
    setting: RefreshTokenRotation,
    maker: Maker,
    seen: Option<RotationSeen>,
) -> Reuse {
    match (setting, maker, seen) {
        (RefreshTokenRotation::Lenient, ..) => Reuse::Harmless,
        (RefreshTokenRotation::Strict, ..) | (_, _, Some(RotationSeen::Punishes)) => {
            Reuse::Punished
        }
        (RefreshTokenRotation::Auto, Maker::Entra, _)
        | (RefreshTokenRotation::Auto, Maker::Other, Some(RotationSeen::Keeps)) => Reuse::Harmless,
        (RefreshTokenRotation::Auto, Maker::Other, Some(RotationSeen::Rotates) | None) => {
            Reuse::Punished
        }
    }
}

/// What a row says, as far as the decision goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct View {
    /// Counts renewals.
    pub(crate) generation: i64,
    /// Whether it holds a token that may be handed out.
    pub(crate) token: Stored,
    /// Whether Dynamics asked for claims that the token does not meet.
    pub(crate) claims: Claims,
    /// What is held of the credential.
    pub(crate) credential: Standing,
    /// Whether somebody's lease stands.
    pub(crate) lease: Lease,
    /// Whether the refresh token may have been spent.
    pub(crate) mark: Mark,
    /// What a second use would do.
    pub(crate) reuse: Reuse,
}

/// A stored access token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Stored {
    /// May be handed out.
    Fresh,
    /// There is none, or it is too old.
    Stale,
}

/// Claims of a challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Claims {
    /// None are asked for.
    Met,
    /// They are not met.
    Unmet,
}

/// How a credential is thought of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Standing {
    /// It may be used.
    Good,
    /// A pause after a failure goes on.
    Paused,
    /// Dead, and nothing has changed since.
    Dead,
}

/// A lease as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Lease {
    /// Nobody's, or lapsed.
    Free,
    /// Somebody works.
    Held,
}

/// The mark on a refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Mark {
    /// It was not sent since it came, or is none that a use could spend.
    Unspent,
    /// It was sent, and no definite answer is known.
    Unanswered,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// Hand out what is stored.
    Adopt,
    /// Ask nobody: the answer is known.
    Refuse,
    /// Ask nobody before the pause is over.
    Pause,
    /// Wait for whoever holds the lease.
    Wait,
    /// Say that nobody knows what became of the refresh token. It is not sent again.
    GiveUp,
    /// Take the lease and ask.
    Ask(Use),
}

/// Which use of a refresh token it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Use {
    /// The first, as far as is known.
    First,
    /// Perhaps a second one.
    Again,
}

/// Decides on a row that was read.
pub(crate) fn step(view: &View, need: Need) -> Step {
    if satisfies(view, need) {
        return Step::Adopt;
    }
    match (view.credential, need) {
        (_, Need::Now) => {}
        (Standing::Dead, _) => return Step::Refuse,
        (Standing::Paused, Need::Fresh | Need::After(_)) => return Step::Pause,
        _ => {}
    }
    match (view.lease, view.mark, view.reuse) {
        (Lease::Held, ..) => Step::Wait,
        (Lease::Free, Mark::Unanswered, Reuse::Punished) => Step::GiveUp,
        (Lease::Free, Mark::Unanswered, Reuse::Harmless) => Step::Ask(Use::Again),
        (Lease::Free, Mark::Unspent, _) => Step::Ask(Use::First),
    }
}

fn satisfies(view: &View, need: Need) -> bool {
    let usable = view.token == Stored::Fresh && view.claims == Claims::Met;
    usable
        && match need {
            Need::Fresh => true,
            Need::After(seen) | Need::Due(seen) => view.generation > seen,
            Need::Now => false,
        }
}

/// How a request ended that brought no tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Ending {
    /// Nothing left this machine.
    Unsent,
    /// The server said that it gave nothing.
    Refused,
    /// No answer, a broken one, or one that says nothing of what was done.
    Unknown,
}

/// What becomes of the mark.
pub(crate) fn mark_after(ending: Ending) -> MarkAfter {
    match ending {
        Ending::Unsent | Ending::Refused => MarkAfter::Clear,
        Ending::Unknown => MarkAfter::Keep,
    }
}

/// Whether a request that ended like this is the last that is made with the refresh token.
pub(crate) fn is_last(ending: Ending, reuse: Reuse) -> bool {
    ending == Ending::Unknown && reuse == Reuse::Punished
}

#[cfg(test)]
mod agreement;
#[cfg(test)]
mod ledger;
#[cfg(test)]
mod model;

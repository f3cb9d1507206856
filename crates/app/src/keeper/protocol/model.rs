//! The protocol of renewals, checked in every order in which servers can act, crash, hang and come
//! late.
//!
//! A state is the row of one account, the token service, and what each server is doing. The
//! decisions are [`step`], [`mark_after`] and [`is_last`], which the keeper uses, and the ledger,
//! which `agreement` holds against the store's SQL. The checker goes through all interleavings
//! within the bounds of [`Bounds`].
//!
//! A lease may lapse at any moment: that is what a server which hangs, clocks that differ, and a
//! database that cannot be reached come to.
//!
//! A checker that cannot fail shows nothing, so [`Flaw`] lists mistakes that one could make, and a
//! test has each of them found.

use stateright::{Checker, HasDiscoveries, Model, Property};
use tieline_store::{LeasePurpose, MarkAfter};

use super::ledger::Ledger;
use super::{
    Claims, Ending, Lease, Mark, Reuse, Standing, Step, Stored, Use, View, is_last, mark_after,
    step,
};
use crate::keeper::Need;

type Attempt = u8;
/// Refresh tokens are numbered in the order in which the service gave them.
type Refresh = u8;

/// A mistake that is made on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    /// Nobody looks whether somebody else has the lease.
    NoLease,
    /// The row may have changed since it was read, and the lease is given all the same.
    BlindLease,
    /// The refresh token is sent without a mark.
    NoMark,
    /// A request that was cut off clears the mark.
    UnknownClears,
    /// What is marked is sent again, whoever the server.
    SendsAgain,
    /// Any result is stored, whatever happened meanwhile.
    NoFence,
    /// A result is stored only while the lease stands.
    LeaseIsTheFence,
    /// Callers get what came before it is stored.
    ShownFirst,
    /// A lease whose acknowledgement was lost is left as it is.
    NeverReleased,
}

/// How often what may happen, so that the check ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Bounds {
    crashes: u8,
    lapses: u8,
    losses: u8,
    expiries: u8,
    consents: u8,
    unacknowledged: u8,
}

#[derive(Debug, Clone)]
struct Keepers {
    servers: usize,
    reuse: Reuse,
    flaw: Flaw,
    bounds: Bounds,
}

/// What one server is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Doing {
    Nothing,
    /// It has read the row.
    Looked(Row),
    /// It has the lease and is about to send.
    Leased(Task),
    /// It has sent.
    Sent(Task),
    /// New tokens came.
    Holds(Task, Refresh),
    /// The request failed.
    Failed(Task, Ending),
    /// It does not know whether it got the lease.
    Unsure(Attempt),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Task {
    attempt: Attempt,
    seen: i64,
    refresh: Refresh,
}

/// The account's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Row {
    ledger: Ledger<Attempt>,
    refresh: Refresh,
    token: Stored,
    /// Given up: nobody asks until something changes.
    dead: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    row: Row,
    servers: Vec<Doing>,
    attempts: Attempt,
    /// How many refresh tokens the service has given.
    given: Refresh,
    /// The one that a strict service takes.
    current: Refresh,
    /// How often each arrived.
    arrived: Vec<u8>,
    /// Which refresh token each generation was stored with.
    stored: Vec<(i64, Refresh)>,
    /// What callers were given: a generation, and the refresh token that came with it.
    shown: Option<(i64, Refresh)>,
    left: Bounds,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Action {
    Look(usize),
    Decide(usize),
    /// The lease is taken, and the acknowledgement is lost.
    DecideUnacknowledged(usize),
    Release(usize),
    Send(usize),
    /// The service takes the request and its answer arrives.
    Answer(usize),
    /// The service takes the request and its answer is lost.
    AnswerLost(usize),
    /// The request is lost on its way.
    RequestLost(usize),
    /// The service says that it did nothing.
    TurnedAway(usize),
    Store(usize),
    /// The result is stored, and the acknowledgement is lost.
    StoreUnacknowledged(usize),
    Crash(usize),
    Lapse,
    Expire,
    Consent,
}

impl World {
    fn view(&self, row: &Row, reuse: Reuse) -> View {
        View {
            generation: row.ledger.generation,
            token: row.token,
            claims: Claims::Met,
            credential: match row.dead {
                true => Standing::Dead,
                false => Standing::Good,
            },
            lease: match row.ledger.lease {
                Some(_) => Lease::Held,
                None => Lease::Free,
            },
            mark: match row.ledger.mark {
                Some(_) => Mark::Unanswered,
                None => Mark::Unspent,
            },
            reuse,
        }
    }

    /// The service takes a refresh token. None when it refuses it.
    fn redeem(&mut self, refresh: Refresh, reuse: Reuse) -> Option<Refresh> {
        self.arrived[usize::from(refresh)] += 1;
        if reuse == Reuse::Punished && refresh != self.current {
            return None;
        }
        self.given += 1;
        self.arrived.push(0);
        self.current = self.given;
        Some(self.given)
    }

    /// Whether a server is at work on an attempt.
    fn carries(&self, attempt: Attempt) -> bool {
        self.servers.iter().any(|doing| match doing {
            Doing::Leased(task)
            | Doing::Sent(task)
            | Doing::Holds(task, _)
            | Doing::Failed(task, _) => task.attempt == attempt,
            Doing::Unsure(own) => *own == attempt,
            Doing::Nothing | Doing::Looked(_) => false,
        })
    }

    fn in_flight(&self) -> usize {
        let flies = |doing: &&Doing| matches!(doing, Doing::Leased(_) | Doing::Sent(_));
        self.servers.iter().filter(flies).count()
    }
}

impl Keepers {
    fn first(&self) -> World {
        World {
            row: Row {
                ledger: Ledger {
                    generation: 1,
                    lease: None,
                    mark: None,
                },
                refresh: 0,
                token: Stored::Stale,
                dead: false,
            },
            servers: vec![Doing::Nothing; self.servers],
            attempts: 0,
            given: 0,
            current: 0,
            arrived: vec![0],
            stored: vec![(1, 0)],
            shown: None,
            left: self.bounds,
        }
    }

    fn take(&self, row: &mut Row, attempt: Attempt, seen: &Row, purpose: LeasePurpose) -> bool {
        let mut seen = seen.ledger;
        match self.flaw {
            Flaw::NoLease => row.ledger.lease = None,
            Flaw::BlindLease => {
                (seen.generation, seen.mark) = (row.ledger.generation, row.ledger.mark);
            }
            _ => {}
        }
        let purpose = match self.flaw {
            Flaw::NoMark => LeasePurpose::Other,
            _ => purpose,
        };
        row.ledger.take(attempt, &seen, purpose)
    }

    fn accepts(&self, row: &Row, task: &Task) -> bool {
        match self.flaw {
            Flaw::NoFence => true,
            Flaw::LeaseIsTheFence => {
                row.ledger.lease == Some(task.attempt) && row.ledger.generation == task.seen
            }
            _ => row.ledger.accepts(task.attempt, task.seen),
        }
    }

    fn decide(&self, world: &mut World, server: usize, seen: Row) -> Doing {
        let reuse = match self.flaw {
            Flaw::SendsAgain => Reuse::Harmless,
            _ => self.reuse,
        };
        let mut view = world.view(&seen, reuse);
        if self.flaw == Flaw::NoLease {
            view.lease = Lease::Free;
        }
        let decision = step(&view, Need::Fresh);
        world.attempts += 1;
        let task = Task {
            attempt: world.attempts,
            seen: seen.ledger.generation,
            refresh: seen.refresh,
        };
        let mut row = world.row;
        let doing = match decision {
            Step::Adopt => {
                world.shown = Some((seen.ledger.generation, seen.refresh));
                Doing::Nothing
            }
            Step::GiveUp if self.take(&mut row, task.attempt, &seen, LeasePurpose::Other) => {
                Doing::Failed(task, Ending::Unknown)
            }
            Step::Ask(Use::First | Use::Again)
                if self.take(&mut row, task.attempt, &seen, LeasePurpose::Spend) =>
            {
                Doing::Leased(task)
            }
            _ => Doing::Nothing,
        };
        if doing == Doing::Nothing {
            // An attempt that never was needs no name.
            world.attempts -= 1;
        }
        world.row = row;
        world.servers[server] = doing;
        doing
    }

    fn store(&self, world: &mut World, task: &Task, came: Refresh) {
        if !self.accepts(&world.row, task) {
            return;
        }
        let generation = world.row.ledger.generation + 1;
        world.row = Row {
            ledger: Ledger {
                generation,
                lease: None,
                mark: None,
            },
            refresh: came,
            token: Stored::Fresh,
            dead: false,
        };
        world.stored.push((generation, came));
        world.shown = Some((task.seen + 1, came));
    }

    fn record(&self, world: &mut World, task: &Task, ending: Ending) {
        if !self.accepts(&world.row, task) {
            return;
        }
        let after = match (self.flaw, ending) {
            (Flaw::UnknownClears, Ending::Unknown) => MarkAfter::Clear,
            _ => mark_after(ending),
        };
        world.row.ledger.failed(task.attempt, task.seen, after);
        world.row.dead = is_last(ending, self.reuse);
    }
}

impl Model for Keepers {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![self.first()]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        let left = &world.left;
        for (server, doing) in world.servers.iter().enumerate() {
            match doing {
                Doing::Nothing => actions.push(Action::Look(server)),
                Doing::Looked(_) => {
                    actions.push(Action::Decide(server));
                    if left.unacknowledged > 0 {
                        actions.push(Action::DecideUnacknowledged(server));
                    }
                }
                Doing::Unsure(_) => actions.push(Action::Release(server)),
                Doing::Leased(_) => actions.push(Action::Send(server)),
                Doing::Sent(_) => {
                    actions.push(Action::Answer(server));
                    if left.losses > 0 {
                        actions.push(Action::AnswerLost(server));
                        actions.push(Action::RequestLost(server));
                        actions.push(Action::TurnedAway(server));
                    }
                }
                Doing::Holds(..) | Doing::Failed(..) => {
                    actions.push(Action::Store(server));
                    if left.unacknowledged > 0 {
                        actions.push(Action::StoreUnacknowledged(server));
                    }
                }
            }
            if *doing != Doing::Nothing && left.crashes > 0 {
                actions.push(Action::Crash(server));
            }
        }
        if left.lapses > 0 && world.row.ledger.lease.is_some() {
            actions.push(Action::Lapse);
        }
        if left.expiries > 0 && world.row.token == Stored::Fresh {
            actions.push(Action::Expire);
        }
        if left.consents > 0 {
            actions.push(Action::Consent);
        }
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let mut world = last.clone();
        match action {
            Action::Look(server) => world.servers[server] = Doing::Looked(world.row),
            Action::Decide(server) => {
                let Doing::Looked(seen) = world.servers[server] else {
                    return None;
                };
                self.decide(&mut world, server, seen);
            }
            Action::DecideUnacknowledged(server) => {
                let Doing::Looked(seen) = world.servers[server] else {
                    return None;
                };
                let Doing::Leased(task) = self.decide(&mut world, server, seen) else {
                    return None;
                };
                world.left.unacknowledged -= 1;
                world.servers[server] = Doing::Unsure(task.attempt);
            }
            Action::Release(server) => {
                let Doing::Unsure(attempt) = world.servers[server] else {
                    return None;
                };
                if self.flaw != Flaw::NeverReleased {
                    world.row.ledger.release(attempt);
                }
                world.servers[server] = Doing::Nothing;
            }
            Action::Send(server) => {
                let Doing::Leased(task) = world.servers[server] else {
                    return None;
                };
                world.servers[server] = Doing::Sent(task);
            }
            Action::Answer(server)
            | Action::AnswerLost(server)
            | Action::RequestLost(server)
            | Action::TurnedAway(server) => self.answer(&mut world, server, &action)?,
            Action::Store(server) | Action::StoreUnacknowledged(server) => {
                match world.servers[server] {
                    Doing::Holds(task, came) => self.store(&mut world, &task, came),
                    Doing::Failed(task, ending) => self.record(&mut world, &task, ending),
                    _ => return None,
                }
                if matches!(action, Action::StoreUnacknowledged(_)) {
                    // It is offered again, whatever has become of the first time.
                    world.left.unacknowledged -= 1;
                    world.shown = last.shown;
                } else {
                    world.servers[server] = Doing::Nothing;
                }
            }
            Action::Crash(server) => {
                world.left.crashes -= 1;
                world.servers[server] = Doing::Nothing;
            }
            Action::Lapse => {
                world.left.lapses -= 1;
                world.row.ledger.lease = None;
            }
            Action::Expire => {
                world.left.expiries -= 1;
                world.row.token = Stored::Stale;
            }
            Action::Consent => self.consent(&mut world),
        }
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties()
    }
}

impl Keepers {
    fn answer(&self, world: &mut World, server: usize, action: &Action) -> Option<()> {
        let Doing::Sent(task) = world.servers[server] else {
            return None;
        };
        let arrives = matches!(action, Action::Answer(_) | Action::AnswerLost(_));
        let came = match arrives {
            true => world.redeem(task.refresh, self.reuse),
            false => None,
        };
        if !matches!(action, Action::Answer(_)) {
            world.left.losses -= 1;
        }
        world.servers[server] = match (action, came) {
            (Action::Answer(_), Some(came)) => {
                if self.flaw == Flaw::ShownFirst {
                    world.shown = Some((task.seen + 1, came));
                }
                Doing::Holds(task, came)
            }
            (Action::Answer(_) | Action::TurnedAway(_), _) => Doing::Failed(task, Ending::Refused),
            _ => Doing::Failed(task, Ending::Unknown),
        };
        Some(())
    }

    /// Somebody consents: another grant, whose tokens replace whatever is there.
    fn consent(&self, world: &mut World) {
        world.left.consents -= 1;
        world.given += 1;
        world.arrived.push(0);
        world.current = world.given;
        let generation = world.row.ledger.generation + 1;
        world.row = Row {
            ledger: Ledger {
                generation,
                lease: None,
                mark: None,
            },
            refresh: world.given,
            token: Stored::Fresh,
            dead: false,
        };
        world.stored.push((generation, world.given));
    }
}

const ONCE: &str = "a refresh token goes to a strict server once";
const NEWEST: &str = "a refresh token without a mark is the one that a strict server takes";
const KEPT: &str = "a result that exists nowhere else is taken";
const ALONE: &str = "one renewal is in flight while leases stand";
const DURABLE: &str = "what callers see is stored";
const GROWING: &str = "generations only grow";
const FREE: &str = "nobody waits for a lease that lapsed";
const ALIVE: &str = "with a lenient server no account is lost";
const PATIENT: &str = "no account is given up while a lease stands";
const GROUNDS: &str = "no account is given up without a cause";
const LATE: &str = "a late answer revives an account";
const TWICE: &str = "a lenient server is asked again";

fn properties() -> Vec<Property<Keepers>> {
    vec![
        Property::always(ONCE, |model: &Keepers, world: &World| {
            model.reuse == Reuse::Harmless || world.arrived.iter().all(|times| *times <= 1)
        }),
        Property::always(NEWEST, |model: &Keepers, world: &World| {
            let unmarked = world.row.ledger.mark.is_none();
            model.reuse == Reuse::Harmless || !unmarked || world.row.refresh == world.current
        }),
        Property::always(KEPT, |model: &Keepers, world: &World| {
            model.reuse == Reuse::Harmless
                || world.servers.iter().all(|doing| match doing {
                    Doing::Holds(task, came) if *came == world.current => {
                        let stored = world.row.refresh == *came;
                        stored || model.accepts(&world.row, task)
                    }
                    _ => true,
                })
        }),
        Property::always(ALONE, |model: &Keepers, world: &World| {
            let undisturbed = world.left.lapses == model.bounds.lapses
                && world.left.consents == model.bounds.consents;
            !undisturbed || world.in_flight() <= 1
        }),
        Property::always(DURABLE, |_: &Keepers, world: &World| {
            world
                .shown
                .is_none_or(|shown| world.stored.contains(&shown))
        }),
        Property::always(GROWING, |_: &Keepers, world: &World| {
            world.stored.windows(2).all(|pair| pair[0].0 < pair[1].0)
                && world.stored.last().map(|last| last.0) == Some(world.row.ledger.generation)
        }),
        Property::always(FREE, |model: &Keepers, world: &World| {
            let decision = step(&world.view(&world.row, model.reuse), Need::Fresh);
            world.row.ledger.lease.is_some() || decision != Step::Wait
        }),
        Property::always(ALIVE, |model: &Keepers, world: &World| {
            model.reuse == Reuse::Punished || !world.row.dead
        }),
        Property::always(PATIENT, |model: &Keepers, world: &World| {
            let cause = world.left.crashes < model.bounds.crashes
                || world.left.losses < model.bounds.losses
                || world.left.lapses < model.bounds.lapses;
            !world.row.dead || cause
        }),
        Property::always(GROUNDS, |model: &Keepers, world: &World| {
            let lost = world.left.crashes < model.bounds.crashes
                || world.left.losses < model.bounds.losses;
            // Whoever sent it is on the way to say what came of it.
            let answered = world.row.ledger.mark.is_none_or(|mark| world.carries(mark));
            !world.row.dead || lost || answered
        }),
        Property::sometimes(LATE, |model: &Keepers, world: &World| {
            // Given up once, which only a lapse can have led to here, and stored after that.
            let lapsed = world.left.lapses < model.bounds.lapses;
            let undisturbed = world.left.consents == model.bounds.consents;
            let renewed = world.stored.len() > 1 && !world.row.dead;
            lapsed && undisturbed && renewed
        }),
        Property::sometimes(TWICE, |model: &Keepers, world: &World| {
            model.reuse == Reuse::Punished || world.arrived.iter().any(|times| *times > 1)
        }),
    ]
}

fn check(servers: usize, reuse: Reuse, flaw: Flaw, bounds: Bounds) -> impl Checker<Keepers> {
    let model = Keepers {
        servers,
        reuse,
        flaw,
        bounds,
    };
    model.checker().threads(2).spawn_bfs().join()
}

/// Two servers and everything that can go wrong.
const TWO: Bounds = Bounds {
    crashes: 1,
    lapses: 1,
    losses: 1,
    expiries: 1,
    consents: 1,
    unacknowledged: 1,
};

/// Two servers over more renewals, with leases that lapse again and again.
const LONG: Bounds = Bounds {
    crashes: 1,
    lapses: 2,
    losses: 1,
    expiries: 1,
    consents: 0,
    unacknowledged: 0,
};

/// Three servers and what matters most.
const THREE: Bounds = Bounds {
    crashes: 1,
    lapses: 1,
    losses: 1,
    expiries: 0,
    consents: 0,
    unacknowledged: 0,
};

#[test]
fn two_servers_keep_a_strict_account() {
    check(2, Reuse::Punished, Flaw::None, TWO).assert_properties();
}

#[test]
fn two_servers_keep_a_lenient_account() {
    check(2, Reuse::Harmless, Flaw::None, TWO).assert_properties();
}

#[test]
fn they_do_while_leases_lapse_again_and_again() {
    for reuse in [Reuse::Punished, Reuse::Harmless] {
        check(2, reuse, Flaw::None, LONG).assert_properties();
    }
}

#[test]
fn three_servers_do_too() {
    for reuse in [Reuse::Punished, Reuse::Harmless] {
        check(3, reuse, Flaw::None, THREE).assert_properties();
    }
}

#[test]
fn every_mistake_is_found() {
    for (flaw, found) in [
        (Flaw::NoLease, PATIENT),
        (Flaw::BlindLease, ONCE),
        (Flaw::NoMark, ONCE),
        (Flaw::UnknownClears, NEWEST),
        (Flaw::SendsAgain, ONCE),
        (Flaw::NoFence, NEWEST),
        (Flaw::LeaseIsTheFence, KEPT),
        (Flaw::ShownFirst, DURABLE),
        (Flaw::NeverReleased, GROUNDS),
    ] {
        let bounds = match flaw {
            // Found where nothing else could be the cause.
            Flaw::NeverReleased => Bounds {
                crashes: 0,
                losses: 0,
                ..TWO
            },
            _ => TWO,
        };
        let model = Keepers {
            servers: 2,
            reuse: Reuse::Punished,
            flaw,
            bounds,
        };
        let until = HasDiscoveries::AnyOf([found].into());
        let checker = model.checker().finish_when(until).spawn_bfs().join();
        assert!(checker.discovery(found).is_some(), "{flaw:?}: {found}");
    }
}

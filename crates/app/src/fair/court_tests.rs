//! Hours of Microsoft's limits, simulated event by event: the service of the sandbox's rules, a
//! job that sends as much as it may, and a caller who asks once a second.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use super::*;

const IVR: Flow = 1;
const JOB: Flow = 2;

/// Microsoft: requests per window and server, calls at a time, and how many it works on at once.
struct Service {
    requests: usize,
    concurrent: u32,
    capacity: u32,
    takes: Micros,
    servers: Vec<Server>,
    arrivals: usize,
    /// Which server is next: in turn, or by chance.
    scatter: Option<u64>,
}

#[derive(Default)]
struct Server {
    window: VecDeque<Micros>,
    running: u32,
}

impl Service {
    fn new(servers: usize) -> Self {
        Self {
            requests: 6_000,
            concurrent: 52,
            capacity: 20,
            takes: SECOND / 10,
            servers: (0..servers).map(|_| Server::default()).collect(),
            arrivals: 0,
            scatter: None,
        }
    }

    fn next_server(&mut self) -> usize {
        self.arrivals += 1;
        match &mut self.scatter {
            None => self.arrivals % self.servers.len(),
            Some(seed) => {
                // A linear congruential generator (Knuth's numbers): the same chance every time.
                *seed = seed
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (*seed >> 33) as usize % self.servers.len()
            }
        }
    }

    /// The server, when the answer comes, and what it says.
    fn arrive(&mut self, now: Micros) -> (usize, Micros, Told) {
        let index = self.next_server();
        let running: u32 = self.servers.iter().map(|server| server.running).sum();
        let server = &mut self.servers[index];
        while server
            .window
            .front()
            .is_some_and(|came| came + 300 * SECOND <= now)
        {
            server.window.pop_front();
        }
        let mut told = Told {
            server: index as u64 + 1,
            ..Told::default()
        };
        let refuse = |limit, pause| {
            Some(Refusal {
                limit,
                pause: Some(pause),
                rule: None,
            })
        };
        if server.running >= self.concurrent {
            told.refusal = refuse(Limit::Concurrency, SECOND);
        } else if server.window.len() >= self.requests {
            let free = server.window[0] + 300 * SECOND - now;
            told.refusal = refuse(Limit::Requests, free);
        } else {
            server.window.push_back(now);
        }
        told.left.requests = Some((self.requests - server.window.len()) as u64);
        server.running += 1;
        let waits = u64::from((running + 1).div_ceil(self.capacity));
        let takes = match told.refusal {
            Some(_) => SECOND / 100,
            None => self.takes * waits,
        };
        (index, now + takes, told)
    }
}

enum Event {
    Answer(usize, Flow, Micros, Told),
    Ask(Flow),
    Look,
    GiveUp(Ticket, Flow),
}

#[derive(Debug, Default)]
struct Outcome {
    /// When the job was done.
    done_at: Micros,
    refused_by_microsoft: [u64; 2],
    turned_away: [u64; 2],
    longest_wait: [Micros; 2],
    answered: [u64; 2],
    most_at_once: u32,
}

struct Simulation {
    court: Court,
    service: Service,
    outcome: Outcome,
    events: BinaryHeap<Reverse<(Micros, u64)>>,
    what: BTreeMap<u64, Event>,
    waiting: BTreeMap<Ticket, (Flow, Micros)>,
    number: u64,
    /// Calls that the job has still to make.
    left: u64,
    now: Micros,
    /// When the next look is due; one is enough.
    look_at: Micros,
}

fn class_of(flow: Flow) -> Class {
    if flow == IVR {
        Class::Interactive
    } else {
        Class::Bulk
    }
}

impl Simulation {
    fn new(service: Service, job: u64) -> Self {
        Self {
            court: Court::new(Rules::default()),
            service,
            outcome: Outcome::default(),
            events: BinaryHeap::new(),
            what: BTreeMap::new(),
            waiting: BTreeMap::new(),
            number: 0,
            left: job,
            now: 1_000 * SECOND,
            look_at: Micros::MAX,
        }
    }

    fn at(&mut self, when: Micros, event: Event) {
        self.number += 1;
        self.events.push(Reverse((when, self.number)));
        self.what.insert(self.number, event);
    }

    fn run(mut self, workers: u32, limit: Micros) -> Outcome {
        let began = self.now;
        for _ in 0..workers {
            self.at(began, Event::Ask(JOB));
        }
        self.at(began, Event::Ask(IVR));
        while let Some(Reverse((when, number))) = self.events.pop() {
            self.now = when;
            assert!(
                when - began < limit,
                "it takes too long: {:?}",
                self.outcome
            );
            match self.what.remove(&number) {
                Some(event) => self.happens(event),
                None => continue,
            }
            if self.left == 0 && self.court.gate.running_of(Class::Bulk) == 0 {
                self.outcome.done_at = self.now - began;
                break;
            }
            self.look();
        }
        self.outcome
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Look => {
                if self.look_at <= self.now {
                    self.look_at = Micros::MAX;
                }
            }
            Event::Ask(flow) => {
                if flow == IVR {
                    self.at(self.now + SECOND, Event::Ask(IVR));
                } else if self.left == 0 {
                    return;
                } else {
                    self.left -= 1;
                }
                self.asks(flow);
            }
            Event::GiveUp(ticket, flow) => {
                if self.waiting.remove(&ticket).is_some() {
                    self.court.queue.remove(ticket);
                    self.turned_away(flow, self.now);
                }
            }
            Event::Answer(server, flow, begun, told) => {
                self.service.servers[server].running -= 1;
                let class = class_of(flow);
                self.court.answered(self.now, begun, flow, class, &told);
                if told.refusal.is_some() {
                    self.outcome.refused_by_microsoft[class.index()] += 1;
                    // As the gateway does: it asks again, unnoticed by who called.
                    self.asks(flow);
                } else {
                    self.outcome.answered[class.index()] += 1;
                    if flow == JOB {
                        self.at(self.now, Event::Ask(JOB));
                    }
                }
            }
        }
    }

    fn asks(&mut self, flow: Flow) {
        let class = class_of(flow);
        self.number += 1;
        let ticket = self.number;
        let give_up = self.now + 100 * SECOND;
        let ask = Ask {
            flow,
            share: 10,
            class,
            give_up,
        };
        match self.court.ask(self.now, &ask, ticket) {
            Verdict::Go => self.goes(flow, self.now),
            Verdict::Wait => {
                self.waiting.insert(ticket, (flow, self.now));
                self.at(give_up, Event::GiveUp(ticket, flow));
            }
            Verdict::Paused(until) | Verdict::Full(until) => self.turned_away(flow, until),
        }
    }

    /// A job comes back when it was told to.
    fn turned_away(&mut self, flow: Flow, until: Micros) {
        self.outcome.turned_away[class_of(flow).index()] += 1;
        if flow == JOB {
            self.left += 1;
            // `Retry-After` is in whole seconds.
            self.at(until.div_ceil(SECOND) * SECOND, Event::Ask(JOB));
        }
    }

    fn goes(&mut self, flow: Flow, since: Micros) {
        let class = class_of(flow);
        let longest = &mut self.outcome.longest_wait[class.index()];
        *longest = (*longest).max(self.now - since);
        let running = self.court.gate.running();
        self.outcome.most_at_once = self.outcome.most_at_once.max(running);
        let (server, when, told) = self.service.arrive(self.now);
        self.at(when, Event::Answer(server, flow, self.now, told));
    }

    fn look(&mut self) {
        let mut granted = Vec::new();
        let waiting = &mut self.waiting;
        let next = self.court.pump(self.now, |ticket| {
            let (flow, since) = waiting.remove(&ticket)?;
            granted.push((flow, since));
            Some((flow, class_of(flow)))
        });
        for (flow, since) in granted {
            self.goes(flow, since);
        }
        if let Some(next) = next.filter(|next| *next < self.look_at) {
            self.look_at = next;
            self.at(next, Event::Look);
        }
    }
}

#[test]
fn a_job_of_hours_takes_what_the_limits_allow_and_nobody_else_notices() {
    // Beside 300 calls of the other 60,000 take eleven windows: ten times 300 seconds at best.
    let outcome = Simulation::new(Service::new(1), 60_000).run(64, 4_000 * SECOND);
    assert_eq!(outcome.refused_by_microsoft, [0, 0], "{outcome:?}");
    assert_eq!(outcome.turned_away[0], 0);
    assert!(outcome.longest_wait[0] < SECOND / 10, "{outcome:?}");
    assert!(outcome.done_at < 3_300 * SECOND, "{outcome:?}");
}

#[test]
fn several_web_servers_let_more_through() {
    // 20 servers: 120,000 at once, the rest one window later.
    for scatter in [None, Some(7)] {
        let mut service = Service::new(20);
        service.capacity = 100;
        service.scatter = scatter;
        let outcome = Simulation::new(service, 200_000).run(64, 2_000 * SECOND);
        assert_eq!(outcome.refused_by_microsoft, [0, 0], "{outcome:?}");
        // At best: a window, and 80,000 at 45 in a tenth of a second.
        assert!(outcome.done_at < 530 * SECOND, "{outcome:?}");
        assert!(outcome.longest_wait[0] < SECOND / 10, "{outcome:?}");
    }
}

#[test]
fn never_more_at_once_than_settings_allow() {
    let mut service = Service::new(1);
    service.concurrent = 10_000;
    service.capacity = 10_000;
    let outcome = Simulation::new(service, 5_000).run(200, 1_000 * SECOND);
    assert!(outcome.most_at_once <= 50, "{outcome:?}");
    assert!(outcome.most_at_once >= 40, "{outcome:?}");
}

#[test]
fn a_service_that_takes_few_at_once_is_not_pushed_for_long() {
    let mut service = Service::new(1);
    service.concurrent = 5;
    service.capacity = 5;
    let outcome = Simulation::new(service, 5_000).run(64, 1_000 * SECOND);
    let [interactive, bulk] = outcome.refused_by_microsoft;
    assert!(bulk < 40 && interactive < 5, "{outcome:?}");
    // At best 5,000 calls of a tenth of a second, five at a time.
    assert!(outcome.done_at < 160 * SECOND, "{outcome:?}");
}

#[test]
fn an_interactive_flood_does_not_starve_bulk() {
    let mut court = Court::new(Rules::default());
    let (mut bulk, mut now) = (0, SECOND);
    let mut waiting = BTreeMap::new();
    for ticket in 0..2_000 {
        let (flow, class) = if ticket % 10 == 0 {
            (JOB, Class::Bulk)
        } else {
            (IVR, Class::Interactive)
        };
        let ask = Ask {
            flow,
            share: 10,
            class,
            give_up: u64::MAX,
        };
        match court.ask(now, &ask, ticket) {
            Verdict::Go => {}
            Verdict::Wait => {
                waiting.insert(ticket, class);
            }
            other => panic!("{other:?}"),
        }
        now += 1_000;
        if ticket % 2 == 1 {
            let class = match court.gate.running_of(Class::Bulk) {
                0 => Class::Interactive,
                _ => Class::Bulk,
            };
            court.answered(now, now - 1_000, 0, class, &Told::default());
            court.pump(now, |ticket| {
                let class = waiting.remove(&ticket)?;
                bulk += u32::from(class == Class::Bulk);
                Some((0, class))
            });
        }
    }
    assert!(bulk > 20, "{bulk}");
}

#[test]
fn a_pause_stops_everyone_and_ends() {
    let mut court = Court::new(Rules::default());
    let ask = |class, give_up| Ask {
        flow: 1,
        share: 10,
        class,
        give_up,
    };
    let now = 10 * SECOND;
    court.pause(now, now + 20 * SECOND);
    court.pause(now, now + 5 * SECOND);
    let patient = ask(Class::Interactive, now + 30 * SECOND);
    assert_eq!(court.ask(now, &patient, 1), Verdict::Wait);
    let hasty = ask(Class::Interactive, now + 10 * SECOND);
    let until = Verdict::Paused(now + 20 * SECOND);
    assert_eq!(court.ask(now, &hasty, 2), until);
    let next = court.pump(now + 19 * SECOND, |_| panic!("it is paused"));
    assert_eq!(next, Some(now + 20 * SECOND));
    let mut went = 0;
    court.pump(now + 20 * SECOND, |_| {
        went += 1;
        Some((1, Class::Interactive))
    });
    assert_eq!((went, court.throttled), (1, 20 * SECOND));
}

#[test]
fn an_organization_that_says_nothing_of_limits_is_not_taken_to_have_any() {
    let mut court = Court::new(Rules::default());
    let mut now = SECOND;
    for call in 0..10_000 {
        let ask = Ask {
            flow: JOB,
            share: 10,
            class: Class::Bulk,
            give_up: now,
        };
        assert_eq!(court.ask(now, &ask, call), Verdict::Go, "call {call}");
        now += SECOND / 100;
        court.answered(now, now - 1, JOB, Class::Bulk, &Told::default());
    }
    assert_eq!(court.room(now), None);
}

#[test]
fn time_of_execution_is_a_limit_too() {
    // Calls of ten seconds: 1,200 seconds of them are used up by 120.
    let mut court = Court::new(Rules::default());
    let mut now = SECOND;
    let mut spent: Micros = 0;
    let mut calls = 0;
    loop {
        let ask = Ask {
            flow: JOB,
            share: 10,
            class: Class::Bulk,
            give_up: now,
        };
        match court.ask(now, &ask, calls) {
            Verdict::Go => calls += 1,
            Verdict::Paused(until) => {
                assert!(until > now + 30 * SECOND, "{until}");
                break;
            }
            other => panic!("{other:?}"),
        }
        spent += 10 * SECOND;
        let left = (1_200 * SECOND).saturating_sub(spent);
        let told = Told {
            left: super::super::lane::Left {
                requests: None,
                time: Some(left),
            },
            ..Told::default()
        };
        court.answered(
            now + 1,
            now.saturating_sub(10 * SECOND),
            JOB,
            Class::Bulk,
            &told,
        );
        now += SECOND;
    }
    assert!((100..120).contains(&calls), "{calls}");
}

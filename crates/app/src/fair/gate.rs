//! How many calls may be under way.
//!
//! Two bounds. The first is Microsoft's: 52 for a user at one web server; a 429 for concurrency
//! lowers it, and it grows again one by one, but not to where it was refused before five minutes
//! are over. The second is for bulk alone, and looks for the knee: as long as more calls at a time
//! bring more answers a second it grows, and when they only make each other wait it goes back.
//! What interactive calls notice of bulk is that waiting.

use super::{Class, Micros, SECOND};

/// Between two steps up after a refusal.
const STEP: Micros = 10 * SECOND;
/// How long a level that was refused is not tried again.
const MEMORY: Micros = 300 * SECOND;
/// A change of level must bring, or cost, this part of what it would in proportion.
const WORTH: f64 = 0.3;
/// Measurements at one level before another is tried.
const HOLD: u32 = 8;
/// The level to begin with; Microsoft advises to begin low.
const BEGIN: f64 = 4.0;

/// Calls under way, and how many may be.
#[derive(Debug)]
pub(super) struct Gate {
    running: [u32; 2],
    /// What a refusal left of the bound; grows again.
    ceiling: f64,
    /// Few accounts ever have one.
    refused: Option<Box<Refusal>>,
    /// Made with the first call of bulk.
    climb: Option<Box<Climb>>,
}

#[derive(Debug, Clone, Copy)]
struct Refusal {
    /// How many were under way.
    level: f64,
    at: Micros,
    stepped: Micros,
}

impl Gate {
    pub(super) fn new() -> Self {
        Self {
            running: [0; 2],
            ceiling: f64::INFINITY,
            refused: None,
            climb: None,
        }
    }

    /// The search for the knee.
    pub(super) fn climb(&mut self) -> &mut Climb {
        self.climb.get_or_insert_default()
    }

    /// The level that the search is at.
    pub(super) fn level(&self) -> u32 {
        let climb = self.climb.as_ref();
        climb.map_or_else(|| Climb::default().level(), |climb| climb.level())
    }

    pub(super) fn running(&self) -> u32 {
        self.running[0] + self.running[1]
    }

    pub(super) fn running_of(&self, class: Class) -> u32 {
        self.running[class.index()]
    }

    pub(super) fn enter(&mut self, class: Class) {
        self.running[class.index()] += 1;
    }

    pub(super) fn leave(&mut self, class: Class) {
        let running = &mut self.running[class.index()];
        *running = running.saturating_sub(1);
    }

    /// How many may be under way, of a bound by settings.
    pub(super) fn allowed(&self, bound: u32) -> u32 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between one and the bound"
        )]
        let ceiling = self.ceiling.min(f64::from(bound)) as u32;
        ceiling.max(1)
    }

    /// How many of bulk may be: some places are always left for interactive calls.
    pub(super) fn allowed_bulk(&self, bound: u32) -> u32 {
        let allowed = self.allowed(bound);
        let kept = if allowed < 4 {
            0
        } else {
            (allowed / 10).max(1)
        };
        (allowed - kept).min(self.level())
    }

    pub(super) fn may_enter(&self, class: Class, bound: u32) -> bool {
        let free = self.running() < self.allowed(bound);
        match class {
            Class::Interactive => free,
            Class::Bulk => free && self.running_of(class) < self.allowed_bulk(bound),
        }
    }

    /// Microsoft refused a call that began at `begun`, for concurrency. `under_way` counts it.
    pub(super) fn refused(&mut self, begun: Micros, now: Micros, under_way: u32) {
        // Calls that were sent before the last cut say nothing about the level after it; but when
        // the others of the same gust have been refused, those that are left were let in.
        if self.refused.as_ref().is_some_and(|last| begun < last.at) {
            let left = f64::from(under_way.saturating_sub(1).max(1));
            self.ceiling = self.ceiling.min(left);
            return;
        }
        let level = f64::from(under_way.max(1)).min(self.ceiling);
        self.ceiling = (level * 0.75).floor().max(1.0);
        self.refused = Some(Box::new(Refusal {
            level,
            at: now,
            stepped: now,
        }));
    }

    /// Lets the ceiling grow with time.
    pub(super) fn grow(&mut self, now: Micros, bound: u32) {
        let Some(refused) = &mut self.refused else {
            return;
        };
        let forgiven = now.saturating_sub(refused.at) >= MEMORY;
        let top = if forgiven {
            f64::from(bound)
        } else {
            (refused.level - 1.0).max(1.0)
        };
        let steps = now.saturating_sub(refused.stepped) / STEP;
        if steps > 0 {
            refused.stepped += steps * STEP;
            let steps = u32::try_from(steps).unwrap_or(u32::MAX);
            self.ceiling = (self.ceiling + f64::from(steps)).min(top).max(self.ceiling);
        }
        if self.ceiling >= f64::from(bound) {
            self.ceiling = f64::INFINITY;
            self.refused = None;
        }
    }
}

/// The search for the knee.
#[derive(Debug)]
pub(super) struct Climb {
    level: f64,
    /// The level to go back to, and what it brought.
    base: Option<(f64, f64)>,
    direction: Direction,
    /// Whether it has found a knee yet; until then it doubles.
    settled: bool,
    held: u32,
    epoch: Option<Epoch>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

#[derive(Debug, Clone, Copy)]
struct Epoch {
    began: Micros,
    answers: u32,
}

impl Default for Climb {
    fn default() -> Self {
        Self {
            level: BEGIN,
            base: None,
            direction: Direction::Up,
            settled: false,
            held: 0,
            epoch: None,
        }
    }
}

impl Climb {
    pub(super) fn level(&self) -> u32 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between one and the bound"
        )]
        let level = self.level as u32;
        level.max(1)
    }

    /// One answer. `hungry` says that calls of bulk were waiting for nothing but a place.
    pub(super) fn answered(&mut self, now: Micros, hungry: Hungry, most: u32) {
        if hungry == Hungry::No {
            // Whatever was measured is not what this level can bring.
            self.epoch = None;
            return;
        }
        let epoch = self.epoch.get_or_insert(Epoch {
            began: now,
            answers: 0,
        });
        epoch.answers += 1;
        let passed = now.saturating_sub(epoch.began);
        if f64::from(epoch.answers) < self.level * 4.0 || passed < SECOND / 20 {
            return;
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "an epoch is far shorter than that"
        )]
        let rate = f64::from(epoch.answers - 1) / passed as f64;
        self.epoch = None;
        self.judge(rate, f64::from(most.max(1)));
    }

    fn judge(&mut self, rate: f64, most: f64) {
        let Some((base, before)) = self.base else {
            self.held += 1;
            if self.settled && self.held < HOLD {
                return;
            }
            self.try_another(rate, most);
            return;
        };
        let proportional = self.level / base - 1.0;
        let change = rate / before - 1.0;
        let good = if proportional > 0.0 {
            change >= WORTH * proportional
        } else {
            change >= WORTH * proportional || proportional == 0.0
        };
        self.base = None;
        if good {
            // On in the same direction, at once.
            self.try_another(rate, most);
        } else {
            self.level = base;
            self.settled = true;
            self.held = 0;
            self.direction = match self.direction {
                Direction::Up => Direction::Down,
                Direction::Down => Direction::Up,
            };
        }
    }

    fn try_another(&mut self, rate: f64, most: f64) {
        let step = (self.level / 8.0).ceil();
        let next = match (self.direction, self.settled) {
            (Direction::Up, false) => self.level * 2.0,
            (Direction::Up, true) => self.level + step,
            (Direction::Down, _) => self.level - step,
        };
        let next = next.clamp(1.0, most);
        if next == self.level {
            self.settled = true;
            self.held = 0;
            self.direction = match self.direction {
                Direction::Up => Direction::Down,
                Direction::Down => Direction::Up,
            };
            return;
        }
        self.base = Some((self.level, rate));
        self.level = next;
    }
}

/// Whether a class had more to send than it was let.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hungry {
    Yes,
    No,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that works on so many calls at a time; the others wait. Gives the levels seen in
    /// the second half of a long run.
    fn levels_at(capacity: u32) -> Vec<u32> {
        let mut climb = Climb::default();
        let (mut now, mut levels) = (0, Vec::new());
        for answer in 0..40_000 {
            let working = climb.level().min(capacity);
            now += 100_000 / u64::from(working);
            climb.answered(now, Hungry::Yes, 52);
            if answer > 20_000 {
                levels.push(climb.level());
            }
        }
        levels.sort_unstable();
        levels
    }

    #[test]
    fn bulk_finds_the_knee() {
        for capacity in [1, 2, 5, 10, 30] {
            let levels = levels_at(capacity);
            let middle = levels[levels.len() / 2];
            let high = levels[levels.len() * 9 / 10];
            assert!(
                middle >= capacity * 8 / 10 && high <= capacity * 3 / 2 + 2,
                "capacity {capacity}: mostly {middle}, at times {high}"
            );
        }
        let wide = levels_at(1_000);
        assert!(wide[wide.len() / 2] >= 45, "{}", wide[wide.len() / 2]);
        assert!(wide.iter().all(|level| *level <= 52));
    }

    #[test]
    fn a_refusal_lowers_the_bound_once_and_is_remembered() {
        let mut gate = Gate::new();
        assert_eq!(gate.allowed(52), 52);
        gate.refused(5, 10, 20);
        assert_eq!(gate.allowed(52), 15);
        // The others of the same gust.
        gate.refused(6, 11, 19);
        assert_eq!(gate.allowed(52), 15);
        gate.grow(200 * SECOND, 52);
        assert_eq!(gate.allowed(52), 19);
        gate.grow(320 * SECOND, 52);
        assert!(gate.allowed(52) > 19);
        gate.grow(2_000 * SECOND, 52);
        assert_eq!(gate.allowed(52), 52);
        for refusal in 0..50 {
            gate.refused(3_000 * SECOND + refusal, 3_000 * SECOND + refusal, 1);
        }
        assert_eq!((gate.allowed(52), gate.allowed_bulk(52)), (1, 1));
    }

    #[test]
    fn bulk_leaves_places_to_interactive_calls() {
        let mut gate = Gate::new();
        gate.climb().level = 1_000.0;
        while gate.may_enter(Class::Bulk, 50) {
            gate.enter(Class::Bulk);
        }
        assert_eq!(gate.running(), 45);
        while gate.may_enter(Class::Interactive, 50) {
            gate.enter(Class::Interactive);
        }
        assert_eq!(gate.running(), 50);
    }
}

//! Service protection limits as whoever starts a sandbox asks for them.

use std::num::NonZeroU16;
use std::str::FromStr;

use crate::dataverse::limits::{Enforced, Rules};

/// How strict the limits are.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum LimitMode {
    /// Nobody is ever throttled.
    Off,
    /// Microsoft's numbers.
    #[default]
    Microsoft,
    /// Microsoft's numbers times a factor; a hundredth makes a limit easy to reach.
    Scaled(f64),
}

impl FromStr for LimitMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let factor = || {
            let factor = text.parse::<f64>().ok();
            factor.filter(|factor| (0.000_001..=1_000.0).contains(factor))
        };
        match text {
            "off" => Ok(Self::Off),
            "microsoft" => Ok(Self::Microsoft),
            _ => factor().map(Self::Scaled).ok_or_else(|| {
                "must be off, microsoft, or a factor from 0.000001 to 1000, such as 0.01".to_owned()
            }),
        }
    }
}

/// Limits, and the farm that keeps them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LimitOptions {
    /// How strict they are.
    pub mode: LimitMode,
    /// How many web servers an organization has: each counts for itself.
    pub web_servers: NonZeroU16,
    /// The degree of parallelism that answers recommend.
    pub dop_hint: NonZeroU16,
}

impl Default for LimitOptions {
    fn default() -> Self {
        const HINT: NonZeroU16 = NonZeroU16::new(4).unwrap();
        Self {
            mode: LimitMode::default(),
            web_servers: NonZeroU16::MIN,
            dop_hint: HINT,
        }
    }
}

impl LimitOptions {
    pub(crate) fn rules(self) -> Rules {
        let rules = Rules {
            servers: u64::from(self.web_servers.get()),
            dop_hint: u64::from(self.dop_hint.get()),
            ..Rules::MICROSOFT
        };
        match self.mode {
            LimitMode::Microsoft => rules,
            LimitMode::Scaled(factor) => rules.scaled(factor),
            LimitMode::Off => Rules {
                enforced: Enforced::No,
                ..rules
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_a_word_or_a_factor() {
        assert_eq!("off".parse(), Ok(LimitMode::Off));
        assert_eq!("0.01".parse(), Ok(LimitMode::Scaled(0.01)));
        for wrong in ["", "on", "0", "-1", "NaN", "inf"] {
            assert!(wrong.parse::<LimitMode>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_factor_keeps_every_limit_above_nothing() {
        let options = LimitOptions {
            mode: LimitMode::Scaled(0.001),
            ..LimitOptions::default()
        };
        let rules = options.rules();
        assert_eq!(
            (rules.requests, rules.busy_ms, rules.concurrent),
            (6, 1_200, 1)
        );
    }
}

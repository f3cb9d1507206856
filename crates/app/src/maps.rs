//! The maps that every call looks into.
//!
//! Their keys are made here, or are hashed with a seed that nobody outside knows; the standard
//! hasher's strength costs a call more than all of its look-ups together.

use foldhash::fast::RandomState;

pub(crate) type HashMap<K, V> = std::collections::HashMap<K, V, RandomState>;
pub(crate) type HashSet<K> = std::collections::HashSet<K, RandomState>;
/// Reads take no lock.
pub(crate) type ConcurrentMap<K, V> = papaya::HashMap<K, V, RandomState>;

//! A map that mostly holds one entry.
//!
//! An account is used by one application, answered by one web server. With a million accounts a
//! table for each of these would be a piece of memory and a miss of the caches of its own, so the
//! first entry stands where the map does, and only the others take a table.

use std::fmt;
use std::hash::Hash;

use crate::maps::HashMap;

/// Entries by key.
#[derive(Debug)]
pub(super) struct Few<K: Copy, V> {
    first: Option<(Key<K>, V)>,
    more: Option<Box<HashMap<K, V>>>,
}

/// A key that stands at any multiple of eight: one of sixteen bytes would otherwise have everything
/// around it take multiples of sixteen.
#[derive(Clone, Copy)]
#[repr(Rust, packed(8))]
struct Key<K: Copy>(K);

impl<K: Copy + fmt::Debug> fmt::Debug for Key<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.0;
        key.fmt(f)
    }
}

impl<K: Copy, V> Default for Few<K, V> {
    fn default() -> Self {
        Self {
            first: None,
            more: None,
        }
    }
}

impl<K: Copy + Eq + Hash, V> Few<K, V> {
    pub(super) fn get(&self, key: K) -> Option<&V> {
        match &self.first {
            Some((first, value)) if { first.0 } == key => Some(value),
            _ => self.more.as_ref()?.get(&key),
        }
    }

    pub(super) fn get_mut(&mut self, key: K) -> Option<&mut V> {
        match &mut self.first {
            Some((first, value)) if { first.0 } == key => Some(value),
            _ => self.more.as_mut()?.get_mut(&key),
        }
    }

    /// The entry of a key, made where there is none.
    pub(super) fn entry(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        // A key stands in one place only: what made room first is filled first only while there
        // is no table.
        if self.more.is_none() && self.first.is_none() {
            return &mut self.first.insert((Key(key), make())).1;
        }
        match &mut self.first {
            Some((first, value)) if { first.0 } == key => value,
            _ => self
                .more
                .get_or_insert_default()
                .entry(key)
                .or_insert_with(make),
        }
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.more.as_ref().map_or(0, |more| more.len())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(K, &V) -> bool) {
        self.first.take_if(|(key, value)| !keep(key.0, value));
        if let Some(more) = &mut self.more {
            more.retain(|key, value| keep(*key, value));
            if more.is_empty() {
                self.more = None;
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        let first = self.first.iter().map(|(key, value)| (key.0, value));
        let more = self.more.iter().flat_map(|more| more.iter());
        first.chain(more.map(|(key, value)| (*key, value)))
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        let first = self.first.iter_mut().map(|(_, value)| value);
        first.chain(self.more.iter_mut().flat_map(|more| more.values_mut()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_one_entry_however_they_come_and_go() {
        let mut few: Few<u64, u64> = Few::default();
        assert!(few.is_empty());
        for key in [1, 2, 3, 2, 1] {
            *few.entry(key, || 0) += 1;
        }
        assert_eq!((few.len(), few.get(1), few.get(3)), (3, Some(&2), Some(&1)));
        // The first one goes, and a key that is in the table does not come a second time.
        few.retain(|key, _| key != 1);
        *few.entry(2, || 0) += 1;
        assert_eq!((few.len(), few.get(1), few.get(2)), (2, None, Some(&3)));
        let all: u64 = few.iter().map(|(_, value)| value).sum();
        assert_eq!(all, 4);
        few.values_mut().for_each(|value| *value = 0);
        assert_eq!(few.get_mut(3), Some(&mut 0));
        few.retain(|_, _| false);
        assert!(few.is_empty() && few.more.is_none());
        few.entry(9, || 9);
        assert!(few.first.is_some() && few.more.is_none());
        assert!(align_of::<Few<u128, u64>>() == 8 && few.get(9) == Some(&9));
    }
}

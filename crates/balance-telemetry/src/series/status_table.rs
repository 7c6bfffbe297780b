//! Counts per method and status, each made on first use.
//!
//! All combinations would be 9,000 cells for every route and worker. Real traffic uses a handful, so they
//! live in a small open-addressed table, and what finds no place there in a larger one made on demand.
//! A backend that answers with ever new codes fills both; the rest is counted as method and status `other`.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use balance_core::Method;

use crate::cell::Counter;

/// One writer, any reader.
#[derive(Debug)]
pub(crate) struct StatusTable {
    near: [Slot; NEAR_SLOTS],
    far: OnceLock<Box<[Slot; FAR_SLOTS]>>,
    other: Counter,
}

/// The combination that came first. Nearly all that a route answers has it, so it has a place beside what else is
/// written for each request.
#[derive(Debug)]
pub(crate) struct FirstStatus(Slot);

/// `key` is written once, before the first count.
#[derive(Debug)]
struct Slot {
    /// 0 while unused.
    key: AtomicU32,
    count: Counter,
}

impl FirstStatus {
    pub(crate) const fn new() -> Self {
        Self(Slot::new())
    }

    /// Whether the combination has its place here, and is counted.
    #[inline]
    pub(crate) fn count(&self, method: Method, status: u16) -> bool {
        let key = key_of(method, status);
        self.0.key.load(Ordering::Relaxed) == key && {
            self.0.count.increment();
            true
        } || self.claim(key)
    }

    /// As [`StatusTable::for_each`].
    pub(crate) fn for_each(&self, visit: impl FnMut(Option<(Method, u16)>, u64)) {
        visit_all([&self.0], visit);
    }

    #[cold]
    #[inline(never)]
    fn claim(&self, key: u32) -> bool {
        probe(std::slice::from_ref(&self.0), 0, 1, key)
    }
}

impl StatusTable {
    pub(crate) const fn new() -> Self {
        Self {
            near: [const { Slot::new() }; NEAR_SLOTS],
            far: OnceLock::new(),
            other: Counter::new(),
        }
    }

    /// In the usual case: one index, one compare, one store.
    #[inline]
    pub(crate) fn count(&self, method: Method, status: u16) {
        let key = key_of(method, status);
        let slot = &self.near[near_index(key)];
        if slot.key.load(Ordering::Relaxed) == key {
            slot.count.increment();
        } else {
            self.count_elsewhere(key);
        }
    }

    /// Calls `visit` with each combination that was counted, as (method, status, count). `None` stands
    /// for those that found no place.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(Option<(Method, u16)>, u64)) {
        let far = self.far.get().into_iter().flat_map(|slots| slots.iter());
        visit_all(self.near.iter().chain(far), &mut visit);
        let other = self.other.value();
        if other > 0 {
            visit(None, other);
        }
    }

    #[cold]
    #[inline(never)]
    fn count_elsewhere(&self, key: u32) {
        let near = &self.near;
        if probe(near, near_index(key), NEAR_PROBES, key) {
            return;
        }
        let far = self
            .far
            .get_or_init(|| Box::new([const { Slot::new() }; FAR_SLOTS]));
        if !probe(&far[..], scatter(key) % FAR_SLOTS, FAR_SLOTS, key) {
            self.other.increment();
        }
    }
}

impl Slot {
    const fn new() -> Self {
        Self {
            key: AtomicU32::new(0),
            count: Counter::new(),
        }
    }
}

fn visit_all<'a>(
    slots: impl IntoIterator<Item = &'a Slot>,
    mut visit: impl FnMut(Option<(Method, u16)>, u64),
) {
    for slot in slots {
        let key = slot.key.load(Ordering::Acquire);
        if key != 0 {
            visit(Some(parts_of(key)), slot.count.value());
        }
    }
}

/// Counts `key` in its slot or in the first free one of `probes` from `start`.
fn probe(slots: &[Slot], start: usize, probes: usize, key: u32) -> bool {
    for step in 0..probes {
        let slot = &slots[(start + step) % slots.len()];
        let found = slot.key.load(Ordering::Relaxed);
        if found == 0 {
            slot.key.store(key, Ordering::Release);
        }
        if found == 0 || found == key {
            slot.count.increment();
            return true;
        }
    }
    false
}

fn key_of(method: Method, status: u16) -> u32 {
    (u32::from(status) << 8) | (method as u32 + 1)
}

fn parts_of(key: u32) -> (Method, u16) {
    let method = METHODS[(key & 0xff) as usize - 1];
    let status = u16::try_from(key >> 8).expect("made from a u16");
    (method, status)
}

fn near_index(key: u32) -> usize {
    scatter(key) % NEAR_SLOTS
}

/// Fibonacci hashing: the multiplication mixes status and method into the upper bits.
fn scatter(key: u32) -> usize {
    (key.wrapping_mul(0x9E37_79B9) >> 16) as usize
}

const METHODS: [Method; Method::COUNT] = [
    Method::Get,
    Method::Head,
    Method::Post,
    Method::Put,
    Method::Delete,
    Method::Connect,
    Method::Options,
    Method::Trace,
    Method::Patch,
    Method::Other,
];

/// 256 bytes per route and worker.
const NEAR_SLOTS: usize = 16;
/// A combination that is not at its place is found a few steps on, or far away.
const NEAR_PROBES: usize = 4;
/// 4 KiB, made only for a route that answers in many ways.
const FAR_SLOTS: usize = 256;

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::{METHODS, StatusTable};
    use balance_core::Method;

    fn counts(table: &StatusTable) -> HashMap<Option<(Method, u16)>, u64> {
        let mut counts = HashMap::new();
        table.for_each(|key, count| {
            assert!(counts.insert(key, count).is_none(), "{key:?} twice");
        });
        counts
    }

    #[test]
    fn methods_stand_at_their_discriminants() {
        for (index, method) in METHODS.iter().enumerate() {
            assert_eq!(*method as usize, index);
        }
    }

    #[test]
    fn each_combination_has_its_own_count() {
        let table = StatusTable::new();
        let statuses = [
            0, 200, 201, 204, 206, 301, 302, 304, 400, 404, 499, 500, 502, 503, 504,
        ];
        for round in 1..=2 {
            for method in METHODS {
                for status in statuses {
                    table.count(method, status);
                }
            }
            let counts = counts(&table);
            assert_eq!(counts.len(), METHODS.len() * statuses.len());
            assert!(counts.values().all(|count| *count == round));
        }
    }

    #[test]
    fn a_backend_with_endless_codes_takes_bounded_memory_and_loses_no_count() {
        let table = StatusTable::new();
        for status in 100..1_000 {
            table.count(Method::Get, status);
        }
        let counts = counts(&table);
        assert!(counts.len() <= 16 + 256 + 1);
        assert_eq!(counts.values().sum::<u64>(), 900);
        assert!(counts[&None] > 600);
    }
}

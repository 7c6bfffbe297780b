//! The indexes of all hosts, found by name.
//!
//! With thousands of hosts a lookup costs the memory that it fetches. A general map fetches a line of its control octets,
//! two of the entry and one of the name; here the table is small enough to stay in a cache, and the name lies beside the
//! texts that are asked for next.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use crate::path_index::PathIndex;

/// Immutable.
#[derive(Debug)]
pub(crate) struct HostMap {
    /// A power of two, at least half of them free: a search ends at the first that is. Empty without hosts.
    slots: Box<[Slot]>,
    hosts: Box<[PathIndex]>,
}

/// Where a host may be.
#[derive(Clone, Copy, Debug)]
struct Slot {
    /// Of its hash: names are only compared when it is the same.
    tag: u32,
    /// The position of the host; [`FREE`] without one.
    host: u32,
}

impl HostMap {
    /// Of indexes whose names differ.
    pub(crate) fn new(hosts: Vec<PathIndex>) -> Self {
        let len = match hosts.len() {
            0 => 0,
            hosts => (2 * hosts).next_power_of_two(),
        };
        let mut map = Self {
            slots: vec![Slot { tag: 0, host: FREE }; len].into_boxed_slice(),
            hosts: hosts.into_boxed_slice(),
        };
        for (position, host) in (0_u32..).zip(&map.hosts) {
            let (tag, mut at) = place(host.name(), map.slots.len());
            while map.slots[at].host != FREE {
                at = (at + 1) % len;
            }
            map.slots[at] = Slot {
                tag,
                host: position,
            };
        }
        map
    }

    pub(crate) fn get(&self, name: &[u8]) -> Option<&PathIndex> {
        if self.slots.is_empty() {
            return None;
        }
        let (tag, mut at) = place(name, self.slots.len());
        loop {
            let slot = self.slots[at];
            if slot.host == FREE {
                return None;
            }
            if slot.tag == tag {
                let host = &self.hosts[slot.host as usize];
                if host.name() == name {
                    return Some(host);
                }
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }
}

/// The tag of a name, and the slot where its search begins. Only names of the configuration are inserted, so nobody
/// outside can make them collide, and a fixed seed is safe.
fn place(name: &[u8], slots: usize) -> (u32, usize) {
    let hash = FixedState::default().hash_one(name);
    let [tag, place] = [hash >> 32, hash & u64::from(u32::MAX)].map(|half| half as u32);
    (tag, place as usize & (slots - 1))
}

const FREE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_host_is_found_and_no_other() {
        for count in [0, 1, 2, 3, 1_000] {
            let name = |number: usize| format!("h{number}.example").into_bytes();
            let hosts = (0..count).map(|number| PathIndex::compile(&name(number), [].into_iter()));
            let map = HostMap::new(hosts.collect());
            for number in 0..count {
                let found = map.get(&name(number)).map(PathIndex::name);
                assert_eq!(found, Some(&name(number)[..]));
            }
            for number in count..2 * count + 2 {
                assert!(map.get(&name(number)).is_none());
            }
            assert!(map.get(b"").is_none());
        }
    }
}

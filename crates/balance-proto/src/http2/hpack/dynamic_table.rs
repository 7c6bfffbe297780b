//! The dynamic table of a decoder (RFC 7541 §2.3.2 and §4).
//!
//! Names and values stand one behind the other in one arena, so an insertion copies bytes and allocates
//! nothing once the arena has grown to what the connection uses.

use super::name::NameKind;
use std::collections::VecDeque;

/// Entries, the newest first.
///
/// Invariant: `size` is the sum of the entries' sizes and at most `size_max`; the arena's bytes from the
/// oldest entry on are the entries in the order of insertion, without gaps.
#[derive(Debug)]
pub(super) struct DynamicTable {
    entries: VecDeque<Entry>,
    arena: Vec<u8>,
    /// How many bytes were ever dropped from the front of the arena, wrapping: entries count from the beginning.
    dropped: u32,
    size: usize,
    size_max: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Counted from the first byte that was ever inserted, wrapping.
    start: u32,
    /// Names and values are smaller than the table, and that is far below 4 GiB.
    name_len: u32,
    value_len: u32,
    kind: NameKind,
    is_value_valid: bool,
}

/// One entry as it is looked up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'a> {
    pub(super) name: &'a [u8],
    pub(super) value: &'a [u8],
    pub(super) kind: NameKind,
    pub(super) is_value_valid: bool,
}

/// Where the name of a new entry comes from.
#[derive(Clone, Copy, Debug)]
pub(super) enum NewName<'a> {
    Bytes(&'a [u8]),
    /// That of the entry at this position of the table itself.
    OfEntry(usize),
}

impl Entry {
    /// RFC 7541 §4.1.
    fn size(&self) -> usize {
        entry_size(self.name_len as usize, self.value_len as usize)
    }
}

impl DynamicTable {
    pub(super) fn new(size_max: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            arena: Vec::new(),
            dropped: 0,
            size: 0,
            size_max,
        }
    }

    /// The entry at `position`, the newest at 0.
    pub(super) fn get(&self, position: usize) -> Option<Found<'_>> {
        let entry = self.entries.get(position)?;
        let start = self.arena_position(entry.start);
        let name_end = start.checked_add(entry.name_len as usize)?;
        let value_end = name_end.checked_add(entry.value_len as usize)?;
        Some(Found {
            name: self.arena.get(start..name_end)?,
            value: self.arena.get(name_end..value_end)?,
            kind: entry.kind,
            is_value_valid: entry.is_value_valid,
        })
    }

    /// Inserts an entry, for which the oldest ones give way. One that is larger than the table empties it
    /// (RFC 7541 §4.4).
    pub(super) fn insert(
        &mut self,
        name: NewName<'_>,
        value: &[u8],
        kind: NameKind,
        is_value_valid: bool,
    ) {
        let name_len = match name {
            NewName::Bytes(name) => name.len(),
            NewName::OfEntry(position) => self
                .entries
                .get(position)
                .map_or(0, |entry| entry.name_len as usize),
        };
        let size = entry_size(name_len, value.len());
        if size > self.size_max {
            self.evict_down_to(0);
            self.compact();
            return;
        }
        // Copied before anything is evicted: the name may be that of an entry that gives way (§4.4).
        let start = self.dropped.wrapping_add(self.arena.len() as u32);
        match name {
            NewName::Bytes(name) => self.arena.extend_from_slice(name),
            NewName::OfEntry(position) => self.copy_name(position),
        }
        self.arena.extend_from_slice(value);
        self.evict_down_to(self.size_max.saturating_sub(size));
        self.size = self.size.saturating_add(size);
        self.entries.push_front(Entry {
            start,
            name_len: name_len as u32,
            value_len: value.len() as u32,
            kind,
            is_value_valid,
        });
        self.compact();
    }

    /// Changes the maximum size (RFC 7541 §4.3).
    pub(super) fn resize(&mut self, size_max: usize) {
        self.size_max = size_max;
        self.evict_down_to(size_max);
        self.compact();
    }

    /// Gives back what the entries do not need.
    pub(super) fn shrink(&mut self) {
        self.entries.shrink_to_fit();
        self.arena.shrink_to_fit();
    }

    fn copy_name(&mut self, position: usize) {
        if let Some(entry) = self.entries.get(position) {
            let start = self.arena_position(entry.start);
            let end = start.saturating_add(entry.name_len as usize);
            self.arena.extend_from_within(start..end);
        }
    }

    fn evict_down_to(&mut self, size: usize) {
        while self.size > size {
            let Some(oldest) = self.entries.pop_back() else {
                break;
            };
            self.size = self.size.saturating_sub(oldest.size());
        }
    }

    /// Moves what is alive to the front of the arena when more than that is dead: each byte is moved once for
    /// each one that is inserted.
    fn compact(&mut self) {
        let dead = match self.entries.back() {
            Some(oldest) => self.arena_position(oldest.start),
            None => self.arena.len(),
        };
        let alive = self.arena.len().saturating_sub(dead);
        if dead > alive {
            self.arena.drain(..dead);
            self.dropped = self.dropped.wrapping_add(dead as u32);
        }
    }

    /// The difference is below the arena's length, so it fits.
    fn arena_position(&self, start: u32) -> usize {
        start.wrapping_sub(self.dropped) as usize
    }
}

/// RFC 7541 §4.1: what an entry counts.
pub(super) const fn entry_size(name_len: usize, value_len: usize) -> usize {
    name_len.saturating_add(value_len).saturating_add(32)
}

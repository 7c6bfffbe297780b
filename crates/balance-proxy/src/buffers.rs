//! Buffers of one worker: the scratch that every read goes into, and free lists of what active
//! exchanges own. In steady state nothing on the data path allocates.

use std::cell::{RefCell, RefMut};

/// Where every read of the worker goes first. It is borrowed inside one poll and never across one:
/// whatever must survive is copied into something owned.
pub(crate) struct Scratch {
    bytes: RefCell<Vec<u8>>,
}

impl Scratch {
    /// 256 KiB: with it, 64 KiB bodies cost 11–13 % less CPU than with 64 KiB, and an L4 copy half.
    pub(crate) const BYTES: usize = 256 * 1024;

    pub(crate) fn new() -> Self {
        Self {
            bytes: RefCell::new(vec![0; Self::BYTES]),
        }
    }

    pub(crate) fn borrow(&self) -> RefMut<'_, Vec<u8>> {
        self.bytes.borrow_mut()
    }
}

/// Things that are used again rather than made again. At most `kept_max` wait here; more are freed.
pub(crate) struct FreeList<T> {
    items: RefCell<Vec<T>>,
    kept_max: usize,
}

impl<T> FreeList<T> {
    pub(crate) fn new(kept_max: usize) -> Self {
        Self {
            items: RefCell::new(Vec::new()),
            kept_max,
        }
    }

    pub(crate) fn take(&self, make: impl FnOnce() -> T) -> T {
        self.items.borrow_mut().pop().unwrap_or_else(make)
    }

    /// The caller has cleared it and bounded what it holds.
    pub(crate) fn give_back(&self, item: T) {
        let mut items = self.items.borrow_mut();
        if items.len() < self.kept_max {
            items.push(item);
        }
    }
}

/// Empties a buffer for reuse; one that grew beyond `keep_bytes` is given back to the allocator, so
/// that a burst of large messages does not stay in memory.
pub(crate) fn recycle(buffer: &mut Vec<u8>, keep_bytes: usize) {
    buffer.clear();
    if buffer.capacity() > keep_bytes {
        *buffer = Vec::new();
    }
}

/// What a buffer of an exchange may keep between two exchanges.
pub(crate) const KEPT_BYTES: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::{FreeList, recycle};

    #[test]
    fn a_list_reuses_up_to_its_limit() {
        let list = FreeList::new(1);
        let made = Cell::new(0);
        let make = || made.replace(made.get() + 1) + 1;
        let (first, second) = (list.take(make), list.take(make));
        list.give_back(first);
        list.give_back(second);
        assert_eq!(list.take(make), 1);
        assert_eq!(list.take(make), 3);
        assert_eq!(made.get(), 3);
    }

    #[test]
    fn a_buffer_that_grew_is_freed() {
        let mut buffer = vec![0; 100];
        recycle(&mut buffer, 50);
        assert_eq!(buffer.capacity(), 0);
    }
}

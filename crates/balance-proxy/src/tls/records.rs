//! Where records are read and written: once for each worker, borrowed within one poll.

use std::cell::{OnceCell, RefCell, RefMut};

use balance_tls::{RECORD_PLAINTEXT_MAX, sealed_bytes_max};

use crate::buffers::Scratch;

/// The buffers that all TLS connections of a worker share. They are made when the first one comes.
#[derive(Default)]
pub(crate) struct RecordBuffers {
    buffers: OnceCell<RefCell<Buffers>>,
}

/// Plaintext and ciphertext never lie in one buffer: rustls hands out plaintext while it holds the records.
pub(super) struct Buffers {
    /// Records as they come.
    pub(super) incoming: Vec<u8>,
    /// Records as they go.
    pub(super) outgoing: Vec<u8>,
    /// One record's plaintext.
    pub(super) stage: Vec<u8>,
}

impl RecordBuffers {
    pub(super) fn borrow(&self) -> RefMut<'_, Buffers> {
        let buffers = self.buffers.get_or_init(|| {
            RefCell::new(Buffers {
                incoming: vec![0; Scratch::BYTES],
                outgoing: vec![0; REPLIES_BYTES_MAX + sealed_bytes_max(SEALED_AT_ONCE_MAX)],
                stage: vec![0; RECORD_PLAINTEXT_MAX],
            })
        });
        buffers.borrow_mut()
    }
}

/// Plaintext that one write seals: a full scratch with the head in front of it.
pub(super) const SEALED_AT_ONCE_MAX: usize = Scratch::BYTES + 16 * 1024;
/// Replies (tickets, KeyUpdate, alerts) that may go out together with the next records.
pub(super) const REPLIES_BYTES_MAX: usize = 4096;

//! What came for one stream and was not taken yet.

use balance_proto::http2::{Connection, Trailers};

use crate::buffers::{KEPT_BYTES, recycle};

/// Its content, then perhaps trailers. `S` is what a side has of its own for each stream.
#[derive(Default)]
pub(super) struct Inbox<S> {
    arrived: Vec<u8>,
    /// How much of `arrived` was taken.
    taken: usize,
    is_ended: bool,
    trailers: Trailers,
    has_trailers: bool,
    pub(super) slot: S,
}

impl<S: super::link::Slot> Inbox<S> {
    /// For a new stream; `ends`: nothing comes.
    pub(super) fn begin(&mut self, ends: bool) {
        self.is_ended = ends;
    }

    /// Forgets the stream, keeps the memory.
    pub(super) fn clear(&mut self) {
        recycle(&mut self.arrived, KEPT_BYTES);
        self.taken = 0;
        self.is_ended = false;
        self.trailers.clear();
        self.trailers.shrink(KEPT_BYTES);
        self.has_trailers = false;
        self.slot.clear();
    }

    pub(super) fn deliver(&mut self, bytes: &[u8], ends: bool) {
        self.arrived.extend_from_slice(bytes);
        self.is_ended |= ends;
    }

    /// Takes the trailers that the engine has read last.
    pub(super) fn deliver_trailers(&mut self, engine: &mut Connection) {
        engine.take_trailers(&mut self.trailers);
        self.has_trailers = true;
        self.is_ended = true;
    }

    /// Whether the message has come to its end, taken or not.
    pub(super) fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// Octets that were not taken.
    pub(super) fn arrived_bytes(&self) -> usize {
        self.arrived.len() - self.taken
    }

    /// Takes what came into `buffer`: how much, and whether it was the last. `None`: nothing came.
    pub(super) fn take(&mut self, buffer: &mut [u8]) -> Option<(usize, bool)> {
        let arrived = &self.arrived[self.taken..];
        let len = arrived.len().min(buffer.len());
        if len == 0 && !self.is_ended {
            return None;
        }
        buffer[..len].copy_from_slice(&arrived[..len]);
        self.taken += len;
        let is_empty = self.taken == self.arrived.len();
        if is_empty {
            recycle(&mut self.arrived, KEPT_BYTES);
            self.taken = 0;
        }
        Some((len, is_empty && self.is_ended))
    }

    /// Swaps in the trailers that came; whether there are any. For the end of the message.
    pub(super) fn take_trailers(&mut self, trailers: &mut Trailers) -> bool {
        let has_trailers = std::mem::take(&mut self.has_trailers);
        if has_trailers {
            std::mem::swap(&mut self.trailers, trailers);
        }
        has_trailers
    }
}

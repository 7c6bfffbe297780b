//! The sending half of one stream: what its windows let pass goes out, the rest is kept, and trailers follow it.

use balance_proto::http2::{Connection, StreamId, Trailers};

use crate::buffers::{KEPT_BYTES, recycle};

/// What is still to be sent of one message; its memory serves the next one.
///
/// What is put on the stream counts as sent: its connection has a deadline of its own for a peer that does not read.
#[derive(Default)]
pub(super) struct Outgoing {
    /// Content that the windows did not let pass.
    kept: Vec<u8>,
    /// The end of the message stands behind what is kept.
    kept_ends: bool,
    trailers: Trailers,
    has_trailers: bool,
    /// The end of the message is on the stream.
    has_ended: bool,
    is_blocked: bool,
    /// Something could not be put on the stream any more.
    is_lost: bool,
    sent_bytes: u64,
}

/// Where it goes: a stream of a connection, and the connection's output.
pub(super) struct Wire<'w> {
    pub(super) engine: &'w mut Connection,
    pub(super) out: &'w mut Vec<u8>,
    pub(super) stream: StreamId,
}

impl Outgoing {
    pub(super) fn clear(&mut self) {
        recycle(&mut self.kept, KEPT_BYTES);
        self.trailers.clear();
        self.trailers.shrink(KEPT_BYTES);
        self.kept_ends = false;
        self.has_trailers = false;
        self.has_ended = false;
        self.is_blocked = false;
        self.is_lost = false;
        self.sent_bytes = 0;
    }

    /// So many bytes of a head were put on the stream, which it `ends` or not.
    pub(super) fn on_head(&mut self, bytes: usize, ends: bool) {
        self.sent_bytes += bytes as u64;
        self.has_ended |= ends;
    }

    /// A head was taken back.
    pub(super) fn on_head_taken_back(&mut self, bytes: usize) {
        self.sent_bytes -= bytes as u64;
    }

    /// The stream takes nothing more.
    pub(super) fn lose(&mut self) {
        self.is_lost = true;
    }

    pub(super) fn is_lost(&self) -> bool {
        self.is_lost
    }

    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.is_blocked
    }

    pub(super) fn sent_bytes(&self) -> u64 {
        self.sent_bytes
    }

    pub(super) fn kept_bytes(&self) -> usize {
        self.kept.len()
    }

    /// What the message ends with, behind its last piece.
    pub(super) fn add_trailers(&mut self, trailers: &Trailers) {
        self.trailers.clone_from(trailers);
        self.has_trailers = true;
    }

    /// Puts a piece on the stream as far as its windows allow, and keeps the rest.
    pub(super) fn push(&mut self, wire: &mut Wire<'_>, bytes: &[u8], last: bool) {
        if self.has_ended {
            return;
        }
        let mut sent = 0;
        if self.kept.is_empty() {
            sent = self.send(wire, bytes, last);
        }
        self.kept.extend_from_slice(&bytes[sent..]);
        self.kept_ends = last && !self.has_ended;
        self.is_blocked = !self.kept.is_empty();
    }

    /// Puts on the stream what was kept, if the connection's output `has_room`. Whether nothing has to wait.
    pub(super) fn flush(&mut self, wire: &mut Wire<'_>, has_room: bool) -> bool {
        if !self.kept.is_empty() && has_room {
            let kept = std::mem::take(&mut self.kept);
            let sent = self.send(wire, &kept, self.kept_ends);
            self.kept = kept;
            self.kept.drain(..sent);
        }
        if self.has_ended {
            self.is_blocked = false;
            return true;
        }
        let may_send = wire.engine.room(wire.stream) > 0;
        if !may_send {
            wire.engine.await_room(wire.stream);
        }
        self.is_blocked = !self.kept.is_empty() || !may_send || !has_room;
        !self.is_blocked
    }

    fn send(&mut self, wire: &mut Wire<'_>, bytes: &[u8], last: bool) -> usize {
        let Wire {
            engine,
            out,
            stream,
        } = wire;
        let ends = last && !self.has_trailers;
        let Ok(sent) = engine.send_data(out, *stream, bytes, ends) else {
            self.is_lost = true;
            return 0;
        };
        self.sent_bytes += sent as u64;
        if last && sent == bytes.len() {
            if self.has_trailers {
                let before = out.len();
                self.is_lost |= engine.send_trailers(out, *stream, &self.trailers).is_err();
                self.sent_bytes += (out.len() - before) as u64;
            }
            self.has_ended = true;
        }
        sent
    }
}

//! One stream (RFC 9113 §5.1), and all that are not closed.

use super::error::Malformed;
use super::flow::{ReceiveWindow, SendWindow};
use super::frame::StreamId;
use balance_core::Method;
use std::collections::VecDeque;

/// A stream that is not closed on both sides.
///
/// ```text
///        HEADERS                    END_STREAM from the peer
///   idle ───────▶ open ─────────────────────────────▶ half-closed (remote)
///                  │ END_STREAM from us                    │ END_STREAM from us
///                  ▼                                       ▼
///          half-closed (local) ────────────────────────▶ closed: not in the table any more
///                        END_STREAM from the peer          ▲
///   any of them ─── RST_STREAM from either side, GOAWAY ───┘
/// ```
///
/// `receive` is the peer's half and says what may come next on it; `may_send` is ours.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    pub(super) id: StreamId,
    pub(super) receive: Receive,
    pub(super) may_send: bool,
    /// Nobody wants its content: it was refused, and the caller answers.
    pub(super) discards: bool,
    /// Of the request: decides what its answer may have.
    pub(super) method: Method,
    pub(super) send_window: SendWindow,
    pub(super) receive_window: ReceiveWindow,
    /// Octets that were given to the caller and not yet released.
    pub(super) held: u32,
    /// What Content-Length leaves to come (RFC 9113 §8.1.1).
    pub(super) content_left: Option<u64>,
    pub(super) wait: Wait,
}

/// The peer's half of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receive {
    /// The head of a response, after any number of interim ones.
    Head,
    /// DATA, then trailers.
    Content,
    /// The peer has ended it.
    Ended,
}

impl Receive {
    /// What follows a request's head.
    pub(super) const fn after(ends: bool) -> Self {
        match ends {
            true => Self::Ended,
            false => Self::Content,
        }
    }
}

/// What a stream that wants to send is waiting for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Wait {
    /// Nothing.
    #[default]
    None,
    /// A window of its own.
    ForStream,
    /// Its turn: it is in the ready list, once.
    InTurn,
}

impl Stream {
    /// Accounts for `octets` of content, the last ones if it `ends`.
    pub(super) fn take_content(&mut self, octets: u32, ends: bool) -> Result<(), Malformed> {
        let Some(left) = self.content_left else {
            return Ok(());
        };
        let left = left.checked_sub(u64::from(octets));
        match (left, ends) {
            (None, _) | (Some(1..), true) => Err(Malformed::LengthMismatch),
            (Some(left), _) => {
                self.content_left = Some(left);
                Ok(())
            }
        }
    }

    /// Puts it in line, once, among those that want to send more; behind its own window when that is shut.
    pub(super) fn await_turn(&mut self, ready: &mut VecDeque<StreamId>) {
        if self.wait == Wait::InTurn {
            return;
        }
        self.wait = match self.send_window.available() {
            0 => Wait::ForStream,
            _ => {
                ready.push_back(self.id);
                Wait::InTurn
            }
        };
    }

    pub(super) fn is_closed(&self) -> bool {
        self.receive == Receive::Ended && !self.may_send
    }
}

/// The streams of a connection that are not closed, by id.
///
/// Ids only grow, so they are appended in order; what ends soon is near the end, and to take it out moves little. The
/// memory stays for the next ones until it is asked back.
#[derive(Debug, Default)]
pub(super) struct Streams(Vec<Stream>);

impl Streams {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `stream` has a higher id than all others.
    pub(super) fn push(&mut self, stream: Stream) {
        debug_assert!(self.0.last().is_none_or(|last| last.id < stream.id));
        self.0.push(stream);
    }

    pub(super) fn get(&self, id: StreamId) -> Option<&Stream> {
        self.0.get(self.position(id)?)
    }

    pub(super) fn get_mut(&mut self, id: StreamId) -> Option<&mut Stream> {
        let position = self.position(id)?;
        self.0.get_mut(position)
    }

    pub(super) fn remove(&mut self, id: StreamId) -> Option<Stream> {
        let position = self.position(id)?;
        Some(self.0.remove(position))
    }

    pub(super) fn last_id(&self) -> Option<StreamId> {
        self.0.last().map(|stream| stream.id)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.0.iter_mut()
    }

    pub(super) fn release_memory(&mut self) {
        if self.0.is_empty() {
            self.0 = Vec::new();
        }
    }

    fn position(&self, id: StreamId) -> Option<usize> {
        self.0.binary_search_by_key(&id, |stream| stream.id).ok()
    }
}

/// How a stream came to be closed, as far as it is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// We reset it: frames that were on their way are no mistake (RFC 9113 §5.1).
    ByUs,
    /// Both sides ended it, or the peer reset it: frames behind that are a mistake.
    ByPeer,
    /// Long ago, or never opened and skipped.
    Unknown,
}

/// The last streams that were closed.
///
/// Bounded: a peer that still sends on a stream that we reset more than 64 resets ago is taken for one that sends on a
/// stream that has ended, and loses the connection.
#[derive(Clone, Debug)]
pub(super) struct ClosedStreams {
    /// Most connections have none.
    by_us: Option<Box<Ring<64>>>,
    by_peer: Ring<16>,
}

impl ClosedStreams {
    pub(super) const fn new() -> Self {
        Self {
            by_us: None,
            by_peer: Ring::new(),
        }
    }

    pub(super) fn push(&mut self, id: StreamId, closed: Closed) {
        match closed {
            Closed::ByUs => self
                .by_us
                .get_or_insert_with(|| Box::new(Ring::new()))
                .push(id),
            Closed::ByPeer => self.by_peer.push(id),
            Closed::Unknown => {}
        }
    }

    pub(super) fn find(&self, id: StreamId) -> Closed {
        if self.by_us.as_ref().is_some_and(|ring| ring.contains(id)) {
            Closed::ByUs
        } else if self.by_peer.contains(id) {
            Closed::ByPeer
        } else {
            Closed::Unknown
        }
    }
}

#[derive(Clone, Debug)]
struct Ring<const N: usize> {
    ids: [StreamId; N],
    next: usize,
}

impl<const N: usize> Ring<N> {
    const fn new() -> Self {
        Self {
            ids: [StreamId::CONNECTION; N],
            next: 0,
        }
    }

    fn push(&mut self, id: StreamId) {
        if let Some(place) = self.ids.get_mut(self.next) {
            *place = id;
        }
        self.next = self.next.wrapping_add(1).checked_rem(N).unwrap_or(0);
    }

    fn contains(&self, id: StreamId) -> bool {
        self.ids.contains(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::{Closed, ClosedStreams};
    use crate::http2::frame::StreamId;

    #[test]
    fn the_last_closed_streams_are_remembered() {
        let mut closed = ClosedStreams::new();
        for number in 1..=100 {
            closed.push(StreamId::new(number), Closed::ByUs);
        }
        closed.push(StreamId::new(101), Closed::ByPeer);
        closed.push(StreamId::new(102), Closed::Unknown);
        for (number, expected) in [
            (36, Closed::Unknown),
            (37, Closed::ByUs),
            (100, Closed::ByUs),
            (101, Closed::ByPeer),
            (102, Closed::Unknown),
        ] {
            assert_eq!(closed.find(StreamId::new(number)), expected);
        }
    }
}

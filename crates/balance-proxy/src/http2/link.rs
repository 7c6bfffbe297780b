//! What a connection and its exchanges share: the engine, the output, and what came for each exchange.

use std::cell::RefCell;
use std::rc::Rc;

use balance_proto::http2::{Connection, ErrorCode, StreamId};

use super::inbox::Inbox;
use super::outgoing::Wire;
use crate::exchange::sides::ClientError;

/// Borrowed for one operation, never across a poll of something else.
pub(super) type SharedLink = Rc<RefCell<Link<Fate>>>;

/// See the module. `S` is what each side has of its own for every exchange.
pub(super) struct Link<S> {
    pub(super) engine: Connection,
    /// What is to be written, and was not.
    pub(super) out: Vec<u8>,
    /// How much was written before `out`.
    written: u64,
    /// The socket did not take all of `out` when it was offered.
    is_blocked: bool,
    inboxes: Vec<Inbox<S>>,
    /// Places of `inboxes` that no exchange has.
    free: Vec<usize>,
    /// The exchanges' places by their streams, whose ids only grow.
    open: Vec<(StreamId, usize)>,
    /// Places whose exchanges wait until `out` is written.
    waiting: Vec<usize>,
    /// Places whose exchanges are polled again behind all others of this round.
    gathered: Vec<usize>,
    /// Others have their turn in this round, too.
    gathers: bool,
    /// Octets in all inboxes.
    inbox_bytes: usize,
}

/// Of a client's stream: why it exists no more, if so.
#[derive(Default)]
pub(super) struct Fate(Option<ClientError>);

/// What each exchange of a connection has beside its content.
pub(super) trait Slot: Default {
    /// Makes it new for the next exchange.
    fn clear(&mut self);
}

impl Slot for Fate {
    fn clear(&mut self) {
        self.0 = None;
    }
}

impl<S: Slot> Link<S> {
    pub(super) fn new(engine: Connection) -> Self {
        Self {
            engine,
            out: Vec::new(),
            written: 0,
            is_blocked: false,
            inboxes: Vec::new(),
            free: Vec::new(),
            open: Vec::new(),
            waiting: Vec::new(),
            gathered: Vec::new(),
            gathers: false,
            inbox_bytes: 0,
        }
    }

    /// Gives a new stream a place; `None` when all of `places_max` are taken.
    pub(super) fn open(
        &mut self,
        stream: StreamId,
        ends: bool,
        places_max: usize,
    ) -> Option<usize> {
        let place = match self.free.pop() {
            Some(place) => place,
            None if self.inboxes.len() < places_max => {
                self.inboxes.push(Inbox::default());
                self.inboxes.len() - 1
            }
            None => return None,
        };
        self.inboxes[place].begin(ends);
        self.open.push((stream, place));
        Some(place)
    }

    /// The exchange is over. What its peer may still think is to come is given up with `code`.
    pub(super) fn close(&mut self, stream: StreamId, code: ErrorCode) {
        self.engine.reset(&mut self.out, stream, code);
        if let Ok(position) = self.position(stream) {
            let (_, place) = self.open.remove(position);
            let inbox = &mut self.inboxes[place];
            self.inbox_bytes -= inbox.arrived_bytes();
            inbox.clear();
            self.free.push(place);
        }
    }

    /// Content came; the place of its exchange.
    pub(super) fn deliver(&mut self, stream: StreamId, bytes: &[u8], ends: bool) -> Option<usize> {
        let place = self.place(stream)?;
        self.inboxes[place].deliver(bytes, ends);
        self.inbox_bytes += bytes.len();
        Some(place)
    }

    /// Trailers came, which the engine has; the place of their exchange.
    pub(super) fn deliver_trailers(&mut self, stream: StreamId) -> Option<usize> {
        let place = self.place(stream)?;
        self.inboxes[place].deliver_trailers(&mut self.engine);
        Some(place)
    }

    pub(super) fn inbox(&self, place: usize) -> &Inbox<S> {
        &self.inboxes[place]
    }

    pub(super) fn inbox_mut(&mut self, place: usize) -> &mut Inbox<S> {
        &mut self.inboxes[place]
    }

    /// Takes what came into `buffer`: how much, and whether it was the last. `None`: nothing came.
    pub(super) fn take(&mut self, place: usize, buffer: &mut [u8]) -> Option<(usize, bool)> {
        let taken = self.inboxes[place].take(buffer);
        if let Some((len, _)) = taken {
            self.inbox_bytes -= len;
        }
        taken
    }

    /// The engine, and what an exchange has of its own.
    pub(super) fn with_engine(&mut self, place: usize) -> (&mut Connection, &mut S) {
        (&mut self.engine, &mut self.inboxes[place].slot)
    }

    /// Where the sending half of a stream goes.
    pub(super) fn wire(&mut self, stream: StreamId) -> Wire<'_> {
        Wire {
            engine: &mut self.engine,
            out: &mut self.out,
            stream,
        }
    }

    /// All exchanges, with their places.
    pub(super) fn for_each(&mut self, mut on_place: impl FnMut(usize, &mut S)) {
        for (_, place) in &self.open {
            on_place(*place, &mut self.inboxes[*place].slot);
        }
    }

    /// Whether no exchange has a place.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Octets that came for all of them and were not taken.
    pub(super) fn inbox_bytes(&self) -> usize {
        self.inbox_bytes
    }

    /// How much may be put into `out` at once. Content that comes with a head is put there without asking whether there
    /// is room, by all exchanges of a turn.
    pub(super) fn room(&self) -> usize {
        TURN_BYTES_MAX.saturating_sub(self.out.len())
    }

    /// Whether more may be put into `out`; if not, the exchange in this place is told when it is written.
    pub(super) fn has_room(&mut self, place: usize) -> bool {
        let has_room = self.out.len() < OUT_BYTES_MAX;
        if !has_room {
            self.wait_for_output(place);
        }
        has_room
    }

    /// How far the output goes, counted from the beginning of the connection.
    pub(super) fn output_end(&self) -> u64 {
        self.written + self.out.len() as u64
    }

    /// Whether the output up to `end` is in the kernel, or will be in this turn: little of it goes where the last was
    /// taken. If not, the exchange in this place is told when it is.
    pub(super) fn is_sent(&mut self, place: usize, end: u64) -> bool {
        let is_sent =
            end <= self.written || (!self.is_blocked && self.out.len() <= SENT_AT_ONCE_BYTES_MAX);
        if !is_sent {
            self.wait_for_output(place);
        }
        is_sent
    }

    /// So many exchanges have their turn now.
    pub(super) fn begin_round(&mut self, exchanges: usize) {
        self.gathers = exchanges > 1;
    }

    /// Whether the exchange in this place has its turn again in this round, behind all others.
    pub(super) fn gather(&mut self, place: usize) -> bool {
        if self.gathers {
            self.gathered.push(place);
        }
        self.gathers
    }

    /// Those that have their turn again, in `places`.
    pub(super) fn end_round(&mut self, places: &mut Vec<usize>) {
        self.gathers = false;
        places.clear();
        places.append(&mut self.gathered);
    }

    fn wait_for_output(&mut self, place: usize) {
        if !self.waiting.contains(&place) {
            self.waiting.push(place);
        }
    }

    /// The socket does not take more.
    pub(super) fn on_blocked(&mut self) {
        self.is_blocked = true;
    }

    /// `out` was written. Whoever waited for that is told.
    pub(super) fn on_written(&mut self, mut on_place: impl FnMut(usize, &S)) {
        self.written = self.output_end();
        self.is_blocked = false;
        self.out.clear();
        for place in self.waiting.drain(..) {
            on_place(place, &self.inboxes[place].slot);
        }
    }

    /// The place of a stream's exchange.
    pub(super) fn place(&self, stream: StreamId) -> Option<usize> {
        let position = self.position(stream).ok()?;
        Some(self.open[position].1)
    }

    /// Gives back what only streams need. For a connection without any.
    pub(super) fn release_memory(&mut self) {
        self.engine.release_memory();
        if self.open.is_empty() {
            self.inboxes = Vec::new();
            self.free = Vec::new();
            self.open = Vec::new();
            self.waiting = Vec::new();
            self.gathered = Vec::new();
        }
        if self.out.is_empty() {
            self.out = Vec::new();
        }
    }

    fn position(&self, stream: StreamId) -> Result<usize, usize> {
        self.open.binary_search_by_key(&stream, |(id, _)| *id)
    }
}

impl Link<Fate> {
    /// A stream is gone; the place of its exchange.
    pub(super) fn lose(&mut self, stream: StreamId, error: ClientError) -> Option<usize> {
        let place = self.place(stream)?;
        self.inboxes[place].slot.0 = Some(error);
        Some(place)
    }

    /// The client is gone, and with it all streams.
    pub(super) fn lose_all(&mut self, mut on_place: impl FnMut(usize)) {
        self.for_each(|place, Fate(fate)| {
            *fate = fate.or(Some(ClientError::Closed));
            on_place(place);
        });
    }

    pub(super) fn fate(&self, place: usize) -> Option<ClientError> {
        self.inboxes[place].slot.0
    }
}

/// Above it, exchanges wait until it is written: four records of TLS, and a body of 64 KiB in one write.
const OUT_BYTES_MAX: usize = 64 * 1024;

/// Above it, exchanges read small pieces: four bodies of 64 KiB go out in one write.
const TURN_BYTES_MAX: usize = 4 * OUT_BYTES_MAX;

/// One record of TLS. The smallest buffer that Linux gives a socket holds it, and one that takes less is blocked.
const SENT_AT_ONCE_BYTES_MAX: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use balance_proto::http2::{Connection, ConnectionSettings, Role, StreamId};

    use super::{Fate, Link, SENT_AT_ONCE_BYTES_MAX};

    /// A client that vanishes while its response is here did not get it: that must not be told as complete.
    #[test]
    fn output_is_sent_when_it_was_written_or_will_be_at_once() {
        let settings = ConnectionSettings::default();
        let mut link = Link::<Fate>::new(Connection::new(Role::Server, settings));
        for number in [1, 3, 5, 7] {
            link.open(StreamId::new(number), true, 4);
        }
        let mut told = Vec::new();

        link.out.resize(SENT_AT_ONCE_BYTES_MAX, 0);
        let end = link.output_end();
        assert!(link.is_sent(1, end));
        link.on_blocked();
        assert!(!link.is_sent(1, end) && !link.is_sent(1, end));
        link.on_written(|place, _| told.push(place));
        assert_eq!(told, [1], "once");
        assert!(link.is_sent(1, end));

        link.out.resize(SENT_AT_ONCE_BYTES_MAX + 1, 0);
        assert!(link.is_sent(1, end), "what comes behind it changes nothing");
        let end = link.output_end();
        assert!(!link.is_sent(2, end));
        link.on_written(|place, _| told.push(place));
        assert_eq!(told, [1, 2]);
        link.out.push(0);
        assert!(link.is_sent(2, end));
        let end = link.output_end();
        assert!(link.is_sent(3, end), "it is blocked no more");
    }

    /// Sending is what costs most of a small request, and least when nothing comes between.
    #[test]
    fn who_begins_beside_others_has_its_turn_again_behind_them() {
        let settings = ConnectionSettings::default();
        let mut link = Link::<Fate>::new(Connection::new(Role::Server, settings));
        let mut places = vec![7];

        link.begin_round(1);
        assert!(!link.gather(7), "there is nobody to wait for");
        link.end_round(&mut places);
        assert_eq!(places, []);

        link.begin_round(2);
        assert!(link.gather(4) && link.gather(2));
        link.end_round(&mut places);
        assert_eq!(places, [4, 2]);
        assert!(!link.gather(4), "the round is over");
        link.end_round(&mut places);
        assert_eq!(places, []);
    }
}

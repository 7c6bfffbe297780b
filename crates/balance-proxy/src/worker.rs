//! Workers: one thread each, one runtime, its own sockets; control reaches them only by mailbox.
//!
//! Everything here is `!Send` but the mailbox and [`Shared`]: a worker shares nothing on the path but what
//! architecture §4 names.

mod accept;
mod complaint;
mod connected;
#[cfg(test)]
mod for_test;
mod housekeeping;
mod listener;
mod mailbox;
mod preamble;
mod series;
mod session;
mod snapshot;
mod thread;
mod tracker;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use balance_core::Cause;
use balance_lb::Rng;
use balance_net::{BufferSource, PipeCache};
use balance_telemetry::{WorkerLog, WorkerMetrics};

use crate::budget::Budget;
use crate::buffers::{FreeList, Scratch};
use crate::clock::Clock;
use crate::http1::{Server, UpstreamParts};
use crate::http2::{Http2UpstreamParts, StreamServer};
use crate::shared::Shared;
use crate::tls::{HandshakeTurns, RecordBuffers};
use crate::upstream::IdleLimits;
use crate::wheel::Wheel;

pub use mailbox::{Message, SendError, Workers};

pub(crate) use accept::serve_protocol;
pub(crate) use connected::{Connected, Counted, ends_of};
use housekeeping::Housekeeping;
pub(crate) use listener::WorkerListener;
pub(crate) use session::Session;
pub(crate) use snapshot::{WorkerPool, WorkerSnapshot};
use tracker::Tracker;

/// What every connection of a worker stands on.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) clock: Clock,
    pub(crate) scratch: Scratch,
    pub(crate) budget: Rc<Budget>,
    pub(crate) records: Rc<RecordBuffers>,
    pub(crate) handshakes: HandshakeTurns,
    pub(crate) wheel: Wheel,
    pub(crate) rng: RefCell<Rng>,
    pub(crate) metrics: WorkerMetrics,
    pub(crate) log: RefCell<Option<WorkerLog>>,
    pub(crate) servers: FreeList<Box<Server>>,
    pub(crate) stream_servers: FreeList<Box<StreamServer>>,
    pub(crate) upstream_parts: FreeList<Box<UpstreamParts>>,
    pub(crate) http2_upstream_parts: FreeList<Box<Http2UpstreamParts>>,
    pub(crate) relay_buffers: RelayBuffers,
    pub(crate) pipes: PipeCache,
    housekeeping: Housekeeping,
    idle_limits: Rc<IdleLimits>,
    snapshot: RefCell<Rc<WorkerSnapshot>>,
    listeners: RefCell<Vec<Rc<WorkerListener>>>,
    tracker: Tracker,
    is_draining: Cell<bool>,
    is_cut: Cell<bool>,
}

impl Worker {
    /// Whether every response must end its connection.
    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.get()
    }

    /// Whether what is still in flight ends now, finished or not.
    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut.get()
    }

    /// A panic in a connection that served nothing which could be settled: it has no other end.
    fn on_panic(&self) {
        self.metrics.panicked();
        self.metrics.cause(Cause::ProxyInternalError);
    }

    /// 32 hex digits. Even, not secret: request ids are no credentials.
    pub(crate) fn new_request_id(&self) -> [u8; 32] {
        let mut rng = self.rng.borrow_mut();
        let mut id = [0; 32];
        for half in id.chunks_exact_mut(16) {
            let number = rng.next_u64();
            half[..8].copy_from_slice(&hex((number >> 32) as u32));
            half[8..].copy_from_slice(&hex(number as u32));
        }
        id
    }

    /// Runs a task that belongs to no connection. A drain waits for it.
    pub(crate) fn spawn(self: &Rc<Self>, task: impl Future<Output = ()> + 'static) {
        tracker::spawn(self, task);
    }

    /// Something was logged, or a connection became idle: housekeeping has to look after it.
    pub(crate) fn touch(&self, now_ms: u64) {
        self.housekeeping.arm(now_ms);
    }
}

/// Buffers for what a relay's receiver does not take at once.
pub(crate) struct RelayBuffers(FreeList<Vec<u8>>);

impl BufferSource for RelayBuffers {
    fn take(&self) -> Vec<u8> {
        self.0.take(Vec::new)
    }

    fn give(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        if buffer.capacity() <= RELAY_BUFFER_KEPT_BYTES {
            self.0.give_back(buffer);
        }
    }
}

/// The eight hex digits of a number, all at once: every exchange makes an id of four of these.
fn hex(number: u32) -> [u8; 8] {
    // Each step halves the pieces and moves them apart, until every byte holds four bits.
    let mut nibbles = u64::from(number);
    nibbles = (nibbles | nibbles << 16) & 0x0000_ffff_0000_ffff;
    nibbles = (nibbles | nibbles << 8) & 0x00ff_00ff_00ff_00ff;
    nibbles = (nibbles | nibbles << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    // 6 more carries those from ten on into bit 4: they are letters.
    let letters = (nibbles + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    let distance = u64::from(b'a' - b'0' - 10);
    (nibbles + 0x3030_3030_3030_3030 + letters * distance).to_be_bytes()
}

/// The wall clock, for logs only.
pub(crate) fn unix_ms() -> u64 {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

/// How long an idle connection is kept while its worker drains: a request that is on its way arrives
/// within a round trip, and a close would lose it.
pub(crate) const DRAIN_IDLE_MS: u64 = 1_000;

/// How long a connection is read after its last response, for what the client is still sending: without
/// a byte, and in total.
pub(crate) const LINGER_IDLE_MS: u64 = 5_000;
pub(crate) const LINGER_TOTAL_MS: u64 = 30_000;

/// How long a client may take for our answer to a request that could not be read.
pub(crate) const ANSWER_MS: u64 = 5_000;

/// How many of each kind of reusable part a worker keeps, each at most a few times `KEPT_BYTES`. A burst
/// above it allocates, and gives back.
const PARTS_KEPT_MAX: usize = 256;
const RELAY_BUFFER_KEPT_BYTES: usize = 64 * 1024;
const RELAY_BUFFERS_KEPT_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::hex;

    #[test]
    fn hex_digits_are_those_of_the_standard_library() {
        for number in (0..32).map(|bit| 0x0123_4567_u32.rotate_left(bit)).chain([
            0,
            9,
            0xa,
            0x99aa_f0ff,
            u32::MAX,
        ]) {
            assert_eq!(hex(number), *format!("{number:08x}").as_bytes());
        }
    }
}

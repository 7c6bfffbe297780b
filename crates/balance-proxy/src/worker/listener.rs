//! A listener as one worker has it: the rules its connections are served by, and whether it still accepts.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use balance_proto::Scheme;
use balance_proto::http1::HeadSettings;
use balance_proto::http2::ConnectionSettings;
use balance_telemetry::ListenerSeries;
use balance_tls::ServerPolicy;
use tokio::sync::Notify;

use super::snapshot::WorkerSnapshot;
use crate::clock::millis;
use crate::listener::ListenerKey;

/// Shared by the listener's connections.
pub(crate) struct WorkerListener {
    key: ListenerKey,
    rules: RefCell<Rules>,
    pub(super) series: Rc<ListenerSeries>,
    is_retired: Cell<bool>,
    /// Told when it is to stop accepting.
    pub(super) stop: Notify,
}

/// The rules of the current snapshot, or of the last one that had this listener.
struct Rules {
    snapshot: Rc<WorkerSnapshot>,
    index: usize,
    head_settings: HeadSettings,
    http2: Arc<ConnectionSettings>,
}

impl WorkerListener {
    pub(super) fn new(
        key: ListenerKey,
        snapshot: &Rc<WorkerSnapshot>,
        series: Rc<ListenerSeries>,
    ) -> Option<Self> {
        let rules = Rules::find(&key, snapshot)?;
        Some(Self {
            key,
            rules: RefCell::new(rules),
            series,
            is_retired: Cell::new(false),
            stop: Notify::new(),
        })
    }

    pub(super) fn key(&self) -> &ListenerKey {
        &self.key
    }

    /// Follows a new snapshot. A listener that is not in it keeps the rules it had.
    pub(super) fn follow(&self, snapshot: &Rc<WorkerSnapshot>) {
        if let Some(rules) = Rules::find(&self.key, snapshot) {
            *self.rules.borrow_mut() = rules;
        }
    }

    /// No more connections; those it has end with their next response.
    pub(super) fn retire(&self) {
        self.is_retired.set(true);
        self.stop.notify_one();
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.is_retired.get()
    }

    pub(crate) fn snapshot(&self) -> Rc<WorkerSnapshot> {
        Rc::clone(&self.rules.borrow().snapshot)
    }

    /// The position in [`WorkerListener::snapshot`].
    pub(crate) fn index(&self) -> usize {
        self.rules.borrow().index
    }

    pub(crate) fn head_settings(&self) -> HeadSettings {
        self.rules.borrow().head_settings
    }

    /// What connections of HTTP/2 are held to, by how URLs of theirs begin: one that a reload found secured otherwise
    /// keeps its scheme.
    pub(crate) fn http2_settings(&self, scheme: Scheme) -> Arc<ConnectionSettings> {
        let settings = Arc::clone(&self.rules.borrow().http2);
        match settings.head.scheme == scheme {
            true => settings,
            false => Arc::new(ConnectionSettings {
                head: HeadSettings {
                    scheme,
                    ..settings.head
                },
                ..*settings
            }),
        }
    }

    /// How many requests a connection of HTTP/2 serves.
    pub(crate) fn http2_requests_max(&self) -> u32 {
        let rules = self.rules.borrow();
        let limits = &rules.snapshot.rules.listeners[rules.index].limits;
        match limits.http2.requests_max {
            0 => u32::MAX, // more than there are ids of streams
            max => max,
        }
    }

    /// The deadlines of a head and of an idle connection, in ms; 0 = none.
    pub(crate) fn connection_timeouts(&self) -> (u64, u64) {
        let rules = self.rules.borrow();
        let timeouts = &rules.snapshot.rules.listeners[rules.index].timeouts;
        (millis(timeouts.head), millis(timeouts.idle))
    }

    /// How long a client may take nothing of what is written, in ms; 0 = for ever.
    pub(crate) fn write_progress_ms(&self) -> u64 {
        let rules = self.rules.borrow();
        millis(
            rules.snapshot.rules.listeners[rules.index]
                .timeouts
                .write_progress,
        )
    }

    /// Whether HTTP/2 is spoken here.
    pub(crate) fn enables_http2(&self) -> bool {
        let rules = self.rules.borrow();
        rules.snapshot.rules.listeners[rules.index]
            .protocol
            .enable_http2
    }

    /// How connections that come now are secured.
    pub(crate) fn tls(&self) -> Option<Arc<ServerPolicy>> {
        let rules = self.rules.borrow();
        rules.snapshot.rules.listeners[rules.index].tls.clone()
    }

    pub(crate) fn lingering_bytes_max(&self) -> u64 {
        let rules = self.rules.borrow();
        rules.snapshot.rules.listeners[rules.index]
            .limits
            .lingering_bytes_max
    }
}

impl Rules {
    fn find(key: &ListenerKey, snapshot: &Rc<WorkerSnapshot>) -> Option<Self> {
        let listeners = &snapshot.rules.listeners;
        let index = listeners.iter().position(|listener| listener.key == *key)?;
        let rules = &listeners[index];
        Some(Self {
            snapshot: Rc::clone(snapshot),
            index,
            head_settings: rules.head_settings(),
            http2: Arc::new(rules.http2_settings()),
        })
    }
}

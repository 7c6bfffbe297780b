//! A worker's thread: makes the runtime, takes messages, drains, ends.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use balance_core::WorkerId;
use balance_lb::{AdminState, Rng};
use balance_net::Acceptor;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinError;

use super::housekeeping::{self, Housekeeping};
use super::mailbox::Message;
use super::snapshot::{Parts, WorkerSnapshot};
use super::tracker::{self, Tracker};
use super::{PARTS_KEPT_MAX, RELAY_BUFFERS_KEPT_MAX, RelayBuffers, Worker, WorkerListener, accept};
use crate::budget::Budget;
use crate::buffers::{FreeList, Scratch};
use crate::clock::millis;
use crate::listener::{ListenerKey, ListenerSocket};
use crate::shared::Shared;
use crate::snapshot::Snapshot;
use crate::tls::HandshakeTurns;
use crate::upstream::{IdleLimits, Member};
use crate::wheel::Wheel;

/// What a thread starts with.
pub(super) struct Start {
    pub(super) id: WorkerId,
    pub(super) shared: Arc<Shared>,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) messages: mpsc::Receiver<Message>,
    /// Told at the end whether everything in flight was finished.
    pub(super) ending: oneshot::Sender<bool>,
}

/// Starts a thread.
pub(super) fn spawn(start: Start) -> io::Result<JoinHandle<()>> {
    let name = format!("worker-{}", start.id.0);
    // The runtime is local to its thread, so it is made there; what can fail is reported from there.
    let (made, is_made) = std::sync::mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build_local(LocalOptions::default());
        match runtime {
            Err(error) => drop(made.send(Err(error))),
            Ok(runtime) => {
                start.shared.add_runtime(start.id, runtime.metrics());
                drop(made.send(Ok(())));
                runtime.block_on(run(start));
            }
        }
    })?;
    is_made
        .recv()
        .unwrap_or_else(|_| Err(io::Error::other("a worker thread ended at once")))?;
    Ok(thread)
}

async fn run(mut start: Start) {
    let worker = Rc::new(Worker::new(&start));
    let mut deadlines = tracker::spawn_local(worker.wheel.clone().drive(worker.clock));
    let mut housekeeping = tracker::spawn_local(housekeeping::run(Rc::clone(&worker)));
    let turns = Rc::clone(&worker);
    let mut turns = tracker::spawn_local(async move { turns.handshakes.run().await });
    let limit = loop {
        let message = tokio::select! {
            biased;
            ended = &mut turns => return go_down(ended),
            ended = &mut deadlines => return go_down(ended),
            ended = &mut housekeeping => return go_down(ended),
            message = start.messages.recv() => message,
        };
        match message {
            // Nobody is left who could say anything: the process ends.
            None => break Some(Duration::ZERO),
            Some(Message::Drain { limit }) => break limit,
            Some(message) => worker.on_message(start.id, message),
        }
    };
    let finished = worker.drain(limit, &mut start.messages).await;
    if let Some(log) = worker.log.borrow().as_ref() {
        log.flush();
    }
    // The receiver may be gone if control does not wait.
    let _ = start.ending.send(finished);
}

/// A part of the worker itself has ended, which only a panic does. Without deadlines nothing would ever end, so
/// the thread ends as well: control takes that for what it is, and drains the other workers.
fn go_down(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && let Ok(panic) = error.try_into_panic()
    {
        std::panic::resume_unwind(panic);
    }
}

impl Worker {
    pub(super) fn new(start: &Start) -> Self {
        let shared = Arc::clone(&start.shared);
        let clock = shared.clock;
        let wheel = Wheel::new(clock.now_ms());
        let metrics = shared.registry.worker();
        let idle_share = (shared.idle_upstream_max / shared.worker_count).max(1);
        let idle_limits = Rc::new(IdleLimits::new(idle_share));
        let snapshot = WorkerSnapshot::new(
            Arc::clone(&start.snapshot),
            &Parts {
                metrics: &metrics,
                idle_limits: &idle_limits,
                worker_count: shared.worker_count,
                previous: None,
            },
        );
        // Workers must not make the same choices at the same time.
        let seed = shared.seed ^ u64::from(start.id.0).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self {
            clock,
            scratch: Scratch::new(),
            budget: Rc::new(Budget::new(
                shared.buffered_bytes_max,
                shared.worker_count,
                metrics.buffered_bytes(),
            )),
            records: Rc::default(),
            handshakes: HandshakeTurns::new(),
            rng: RefCell::new(Rng::new(seed)),
            metrics,
            log: RefCell::new(start.snapshot.access_log.as_ref().map(|log| log.worker())),
            servers: FreeList::new(PARTS_KEPT_MAX),
            stream_servers: FreeList::new(PARTS_KEPT_MAX),
            upstream_parts: FreeList::new(PARTS_KEPT_MAX),
            http2_upstream_parts: FreeList::new(PARTS_KEPT_MAX),
            relay_buffers: RelayBuffers(FreeList::new(RELAY_BUFFERS_KEPT_MAX)),
            pipes: shared.pipes.worker(),
            housekeeping: Housekeeping::new(&wheel),
            idle_limits,
            snapshot: RefCell::new(Rc::new(snapshot)),
            listeners: RefCell::new(Vec::new()),
            tracker: Tracker::default(),
            is_draining: Cell::new(false),
            is_cut: Cell::new(false),
            wheel,
            shared,
        }
    }

    fn on_message(self: &Rc<Self>, id: WorkerId, message: Message) {
        match message {
            Message::Publish { snapshot, seen } => {
                self.follow(snapshot);
                // Control may have stopped waiting.
                let _ = seen.try_send(id);
            }
            Message::AddListener(socket) => self.add_listener(socket),
            Message::RemoveListener(key) => self.remove_listener(&key),
            Message::CloseIdle { pool, backend } => self.close_idle(&pool, &backend),
            Message::Drain { .. } => debug_assert!(false, "the loop ends with a drain"),
        }
    }

    fn follow(&self, rules: Arc<Snapshot>) {
        let previous = Rc::clone(&self.snapshot.borrow());
        let log_stays = match (&previous.rules.access_log, &rules.access_log) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            (None, None) => true,
            _ => false,
        };
        if !log_stays {
            let old = self
                .log
                .replace(rules.access_log.as_ref().map(|log| log.worker()));
            if let Some(old) = old {
                old.flush();
            }
        }
        let snapshot = Rc::new(WorkerSnapshot::new(
            rules,
            &Parts {
                metrics: &self.metrics,
                idle_limits: &self.idle_limits,
                worker_count: self.shared.worker_count,
                previous: Some(&previous),
            },
        ));
        // Connections to a backend that is gone close now, and those in use when they are given back.
        for member in previous.members() {
            if !snapshot.has(member) {
                member.idle().configure(0, 0);
                member.close_idle();
            }
        }
        let is_out = |member: &&Member| member.admin_state() != AdminState::Enabled;
        snapshot
            .members()
            .filter(is_out)
            .for_each(Member::close_idle);
        for listener in self.listeners.borrow().iter() {
            listener.follow(&snapshot);
        }
        *self.snapshot.borrow_mut() = snapshot;
    }

    fn add_listener(self: &Rc<Self>, listener: ListenerSocket) {
        let snapshot = Rc::clone(&self.snapshot.borrow());
        let name = snapshot
            .rules
            .listeners
            .iter()
            .find(|rules| rules.key == listener.key)
            .map_or("", |rules| &rules.name);
        let series = self.metrics.listener_series(name);
        let Some(rules) = WorkerListener::new(listener.key, &snapshot, series) else {
            // Control publishes the snapshot first; a listener without rules would serve nobody.
            tracing::error!("a listener is not in the snapshot");
            return;
        };
        let rules = Rc::new(rules);
        match Acceptor::new(listener.socket) {
            Ok(acceptor) => {
                self.listeners.borrow_mut().push(Rc::clone(&rules));
                tracker::spawn(self, accept::run(Rc::clone(self), rules, acceptor));
            }
            Err(error) => {
                tracing::error!(listener = %rules.key(), %error, "cannot accept on a listener");
            }
        }
    }

    fn remove_listener(&self, key: &ListenerKey) {
        self.listeners.borrow_mut().retain(|listener| {
            let goes = listener.key() == key;
            if goes {
                listener.retire();
            }
            !goes
        });
        self.wheel.wake_all();
    }

    fn close_idle(&self, pool: &str, backend: &str) {
        let snapshot = Rc::clone(&self.snapshot.borrow());
        for member in snapshot.members() {
            let identity = member.identity();
            if identity.pool == pool && identity.name == backend {
                member.close_idle();
            }
        }
    }

    /// Stops accepting and waits for what is in flight. Whether all of it was finished.
    async fn drain(
        self: &Rc<Self>,
        limit: Option<Duration>,
        messages: &mut mpsc::Receiver<Message>,
    ) -> bool {
        self.is_draining.set(true);
        for listener in self.listeners.borrow_mut().drain(..) {
            listener.retire();
        }
        self.wheel.wake_all();
        self.wait_until_drained(limit, messages).await;
        if self.tracker.active() == 0 {
            return true;
        }
        // What is left ends as if all its deadlines had passed: each exchange with its cause.
        self.is_cut.set(true);
        self.wheel.expire_all();
        tokio::select! {
            () = self.tracker.idle() => {}
            () = tokio::time::sleep(CUT_LIMIT) => tracing::warn!("connections do not end"),
        }
        false
    }

    async fn wait_until_drained(
        &self,
        limit: Option<Duration>,
        messages: &mut mpsc::Receiver<Message>,
    ) {
        // On the wheel: what came while the worker stood still is not late here either.
        let timer = self.wheel.timer();
        let deadline = async |limit: Option<Duration>| match limit {
            None => std::future::pending().await,
            Some(Duration::ZERO) => {}
            Some(limit) => {
                timer.set(self.clock.now_ms(), millis(limit));
                timer.expired().await;
            }
        };
        tokio::select! {
            biased;
            () = self.tracker.idle() => {}
            () = deadline(limit) => {}
            // A second drain, of an impatient operator, ends it at its own limit.
            limit = next_drain(messages) => tokio::select! {
                () = self.tracker.idle() => {}
                () = deadline(limit) => {}
            },
        }
    }
}

async fn next_drain(messages: &mut mpsc::Receiver<Message>) -> Option<Duration> {
    loop {
        match messages.recv().await {
            Some(Message::Drain { limit }) => return limit,
            Some(_) => {} // a configuration for connections that are about to end
            None => return Some(Duration::ZERO),
        }
    }
}

/// Connections that are cut off get this long to say so to their clients and to be settled.
const CUT_LIMIT: Duration = Duration::from_millis(500);

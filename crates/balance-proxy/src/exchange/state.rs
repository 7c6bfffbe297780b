//! What one exchange knows, from its head to its settlement.
//!
//! Exchanges are used again: [`Exchange::begin`] makes one new and keeps its memory.

use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;
use std::time::Duration;

use balance_core::{Cause, PoolId, RouteId, Timeouts};
use balance_proto::hygiene::{HygieneError, RequestIdChoice, edit_request, edit_response};
use balance_proto::{HeadEdits, RequestView, ResponseView, Scheme};
use balance_telemetry::{AccessRecord, PhaseTimes};

use super::decision::{Scope, Sender, client_of, filter_context, forward_context, name_backend};
use super::retry::RetryState;
use super::sides::{ClientEvent, Downstream, Replay};
use crate::budget::Held;
use crate::buffers::KEPT_BYTES;
use crate::clock::millis;
use crate::filter::{Filter, FilterContext, Needs};
use crate::mirror::Collecting;
use crate::snapshot::ListenerRules;
use crate::upstream::{Member, Selection};
use crate::wheel::Timer;
use crate::worker::{Worker, WorkerSnapshot, unix_ms};

/// Where and when a request arrived.
pub(crate) struct Arrival {
    pub(crate) snapshot: Rc<WorkerSnapshot>,
    /// The listener's position in the snapshot.
    pub(crate) listener: usize,
    pub(crate) peer: IpAddr,
    /// Of the client's connection.
    pub(crate) scheme: Scheme,
    pub(crate) now_us: u64,
    /// The listener was removed: its connections end with their next response.
    pub(crate) listener_is_retired: bool,
}

/// One exchange.
pub(crate) struct Exchange {
    arrival: Option<Arrival>,
    route: Option<RouteId>,
    pool: Option<PoolId>,
    backend: Option<Member>,
    pub(crate) client: IpAddr,
    request_id: RequestId,
    pub(crate) request_edits: HeadEdits,
    pub(crate) response_edits: HeadEdits,
    pub(super) selection: Selection,
    pub(crate) replay: Option<Replay>,
    /// `None` where the pool has no policy, and before there is a pool.
    pub(super) retry: Option<RetryState>,
    /// The copy of a request whose body is still coming.
    pub(crate) collecting: Option<Box<Collecting>>,
    /// A part of the request body was taken from the client.
    pub(crate) upload_began: bool,
    /// All of the request was taken from the client.
    pub(crate) upload_is_complete: bool,
    pub(crate) response_began: bool,
    /// The client's connection ends with this response.
    pub(crate) closes: bool,
    pub(crate) interim_responses: u32,
    pub(crate) interim_responses_max: u32,
    status: u16,
    /// It was counted and logged.
    is_settled: bool,
    times: Times,
    /// When the whole exchange must be over.
    pub(crate) deadline_ms: Option<u64>,
    /// When its caller stops waiting, where a request says so.
    caller_deadline_ms: Option<u64>,
    /// What is counted against the worker's budget.
    held: Option<Held>,
}

/// Points in time, in microseconds of the process clock; 0 = did not happen.
#[derive(Clone, Copy, Debug, Default)]
struct Times {
    started: u64,
    /// How long it waited in a queue.
    wait: u64,
    attempt: u64,
    connect: u64,
    /// Of which the handshakes of TLS that succeeded.
    tls: Option<u64>,
    first_byte: u64,
    /// The latest reading, and whether it was made in this turn of the worker.
    recent: u64,
    recent_is_fresh: bool,
}

#[derive(Clone, Copy, Debug)]
enum RequestId {
    /// Answered before one was needed.
    None,
    /// The field of the request that carries it.
    Kept(usize),
    Made([u8; 32]),
}

impl Exchange {
    pub(crate) fn new() -> Self {
        Self {
            arrival: None,
            route: None,
            pool: None,
            backend: None,
            client: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            request_id: RequestId::None,
            request_edits: HeadEdits::default(),
            response_edits: HeadEdits::default(),
            selection: Selection::default(),
            replay: None,
            retry: None,
            collecting: None,
            upload_began: false,
            upload_is_complete: false,
            response_began: false,
            closes: false,
            interim_responses: 0,
            interim_responses_max: 0,
            status: 0,
            is_settled: false,
            times: Times::default(),
            deadline_ms: None,
            caller_deadline_ms: None,
            held: None,
        }
    }

    /// Starts over with a new request.
    pub(crate) fn begin(&mut self, arrival: Arrival) {
        let listener = &arrival.snapshot.rules.listeners[arrival.listener];
        self.interim_responses_max = listener.limits.interim_responses_max;
        self.interim_responses = 0;
        self.client = arrival.peer;
        self.times = Times {
            started: arrival.now_us,
            recent: arrival.now_us,
            recent_is_fresh: true,
            ..Times::default()
        };
        self.route = None;
        self.pool = None;
        self.backend = None;
        // A position kept from another request would log a field of this one, whatever is in it.
        self.request_id = RequestId::None;
        self.request_edits.clear();
        self.response_edits.clear();
        self.selection.clear();
        self.replay = None;
        self.retry = None;
        self.upload_began = false;
        self.upload_is_complete = false;
        self.response_began = false;
        self.closes = false;
        self.status = 0;
        self.is_settled = false;
        self.deadline_ms = None;
        self.caller_deadline_ms = None;
        self.arrival = Some(arrival);
    }

    /// Lets go of everything that must not outlive the exchange; the memory stays.
    pub(crate) fn end(&mut self) {
        self.request_edits.shrink(KEPT_BYTES);
        self.response_edits.shrink(KEPT_BYTES);
        self.arrival = None;
        self.backend = None;
        self.retry = None;
        self.selection.take_place();
        self.collecting = None;
        if let Some(held) = &mut self.held {
            held.set(0);
        }
    }

    /// Its two sides hold so many bytes.
    pub(super) fn hold(&mut self, worker: &Worker, bytes: usize) {
        self.held
            .get_or_insert_with(|| worker.budget.holder())
            .set(bytes);
    }

    fn arrival(&self) -> &Arrival {
        self.arrival
            .as_ref()
            .expect("an exchange has arrived until it ends")
    }

    pub(crate) fn snapshot(&self) -> &WorkerSnapshot {
        &self.arrival().snapshot
    }

    /// A handle on the snapshot, for what is borrowed from it while the exchange changes.
    pub(crate) fn snapshot_handle(&self) -> Rc<WorkerSnapshot> {
        Rc::clone(&self.arrival().snapshot)
    }

    pub(crate) fn listener(&self) -> &ListenerRules {
        &self.snapshot().rules.listeners[self.arrival().listener]
    }

    pub(crate) fn started_ms(&self) -> u64 {
        self.times.started / 1000
    }

    /// The client address that hashing, limits and the log use.
    pub(crate) fn find_client<V: RequestView>(&mut self, request: &V) {
        self.client = client_of(self.listener(), request, self.arrival().peer);
    }

    pub(crate) fn on_route(&mut self, route: Option<RouteId>) {
        self.route = route;
    }

    pub(super) fn route(&self) -> Option<RouteId> {
        self.route
    }

    pub(super) fn on_pool<V: RequestView>(&mut self, pool: PoolId, request: &V) {
        self.pool = Some(pool);
        self.bound();
        let snapshot = self.snapshot_handle();
        self.retry = RetryState::of(&snapshot, pool);
        self.selection
            .set_hash(&snapshot, pool, self.client, |name| {
                request.get(name.as_bytes())
            });
    }

    /// Bounds the whole exchange by `request` of its scope: of the route at first, then of the pool, too.
    pub(super) fn bound(&mut self) {
        let whole = self.timeouts_in(self.snapshot()).request;
        if !whole.is_zero() {
            let deadline_ms = self.started_ms() + millis(whole);
            let caller_ms = self.caller_deadline_ms.unwrap_or(u64::MAX);
            self.deadline_ms = Some(deadline_ms.min(caller_ms));
        }
    }

    /// Bounds the whole exchange by how long its caller waits.
    pub(crate) fn bound_by_caller(&mut self, timeout_ms: u64) {
        let deadline_ms = self.started_ms().saturating_add(timeout_ms);
        self.caller_deadline_ms = Some(deadline_ms);
        self.deadline_ms = Some(deadline_ms);
    }

    fn scope(&self) -> Scope {
        Scope {
            listener: self.arrival().listener,
            route: self.route,
            pool: self.pool,
        }
    }

    pub(crate) fn timeouts_in<'s>(&self, snapshot: &'s WorkerSnapshot) -> &'s Timeouts {
        self.scope().timeouts(&snapshot.rules)
    }

    pub(crate) fn filters_in<'s>(&self, snapshot: &'s WorkerSnapshot) -> &'s [Filter] {
        self.scope().filters(&snapshot.rules)
    }

    /// What filters may know.
    pub(super) fn filter_context(&self) -> FilterContext {
        filter_context(self.listener(), self.client, self.arrival().scheme)
    }

    pub(crate) fn needs(&self) -> Needs {
        match (self.route, self.pool.or(self.listener().pool)) {
            (Some(route), _) => self.snapshot().route_needs(route),
            (None, Some(pool)) => self.snapshot().pools[pool.index()].needs,
            (None, None) => Needs::default(),
        }
    }

    /// Hygiene of the request head (conventions: hop-by-hop, X-Forwarded-*, Via, X-Request-ID).
    pub(super) fn clean_request<V: RequestView>(
        &mut self,
        worker: &Worker,
        request: &V,
    ) -> Result<(), HygieneError> {
        let arrival = self
            .arrival
            .as_ref()
            .expect("an exchange has arrived until it ends");
        let listener = &arrival.snapshot.rules.listeners[arrival.listener];
        let new_request_id = worker.new_request_id();
        let sender = Sender {
            peer: arrival.peer,
            client: self.client,
            scheme: arrival.scheme,
        };
        let via_name = &worker.shared.via_name;
        let context = forward_context(listener, sender, via_name, &new_request_id);
        self.request_id = match edit_request(request, &mut self.request_edits, &context)? {
            RequestIdChoice::Kept(index) => RequestId::Kept(index),
            RequestIdChoice::Made => RequestId::Made(new_request_id),
        };
        Ok(())
    }

    /// Hygiene of a response head. Interim ones get no more: filters are for what the client asked for.
    pub(crate) fn clean_response<V: ResponseView>(&mut self, response: &V) {
        self.response_edits.clear();
        // No Via towards clients: by default they are told nothing of the way.
        edit_response(response, &mut self.response_edits, None);
    }

    /// Hygiene and filters of a response head.
    pub(crate) fn edit_response<V: ResponseView>(&mut self, response: &V) {
        self.clean_response(response);
        if self.needs().response {
            let snapshot = self.snapshot_handle();
            let context = self.filter_context();
            for filter in self.filters_in(&snapshot) {
                filter.on_response(response, &mut self.response_edits, &context);
            }
        }
    }

    pub(super) fn on_attempt(&mut self, member: &Member) {
        self.backend = Some(member.clone());
        self.times.attempt = self.times.recent;
    }

    pub(super) fn on_connect_end(&mut self, worker: &Worker) {
        let before_us = self.times.recent;
        self.times.connect += self.read_clock(worker).saturating_sub(before_us);
    }

    pub(super) fn on_handshake(&mut self, handshake_us: Option<u64>) {
        if let Some(handshake_us) = handshake_us {
            *self.times.tls.get_or_insert(0) += handshake_us;
        }
    }

    /// Gives a request without authority that of its backend.
    pub(super) fn name_backend(&mut self) {
        if let Some(backend) = &self.backend {
            name_backend(&mut self.request_edits, backend);
        }
    }

    /// The latest reading of the clock, in milliseconds: never later than now.
    pub(crate) fn known_ms(&self) -> u64 {
        self.times.recent / 1000
    }

    /// How long the backend took to the head of its response. `None`: the client had its part in it, by its upload.
    #[inline]
    pub(super) fn answered_in_us(&self) -> Option<u64> {
        (!self.upload_began).then(|| self.times.first_byte.saturating_sub(self.times.attempt))
    }

    /// Whether the client's connection must not outlive this exchange: the worker drains, or the
    /// listener is gone.
    pub(crate) fn must_close(&self, worker: &Worker) -> bool {
        worker.is_draining() || self.arrival().listener_is_retired
    }

    /// The response head of the backend has come.
    pub(crate) fn on_response_head<V: ResponseView>(&mut self, worker: &Worker, response: &V) {
        self.times.first_byte = self.read_clock(worker);
        self.edit_response(response);
        self.status = response.status();
        if let Some(backend) = &self.backend {
            backend.on_success();
        }
    }

    /// A response was put aside for another attempt: the backend was asked and has answered.
    pub(super) fn on_put_aside(&mut self, worker: &Worker) {
        let now_us = self.read_clock(worker);
        if let Some(backend) = &self.backend {
            backend.on_success();
            let duration_us = now_us.saturating_sub(self.times.attempt);
            backend.series().record(duration_us);
        }
    }

    /// Of the response that is passed on.
    pub(super) fn status(&self) -> u16 {
        self.status
    }

    pub(super) fn on_own_response(&mut self, worker: &Worker, status: u16) {
        self.status = status;
        self.response_began = true;
        self.read_clock(worker);
    }

    /// A reading that holds for the rest of this turn.
    fn read_clock(&mut self, worker: &Worker) -> u64 {
        self.times.recent = worker.clock.now_us();
        self.times.recent_is_fresh = true;
        self.times.recent
    }

    /// It joins a queue. The time at which it does.
    pub(super) fn on_wait_begin(&mut self, worker: &Worker) -> u64 {
        self.read_clock(worker)
    }

    pub(super) fn on_wait_end(&mut self, worker: &Worker, began_us: u64) {
        self.times.wait = self.read_clock(worker).saturating_sub(began_us).max(1);
    }

    /// The exchange waits: what was read from the clock is not the time any more.
    pub(super) fn on_pause(&mut self) {
        self.times.recent_is_fresh = false;
    }

    /// The time in milliseconds, read from the clock only if it was not read in this turn already.
    pub(crate) fn recent_ms(&mut self, worker: &Worker) -> u64 {
        self.recent_us(worker) / 1000
    }

    fn recent_us(&mut self, worker: &Worker) -> u64 {
        if !self.times.recent_is_fresh {
            self.times.recent = worker.clock.now_us();
        }
        self.times.recent_is_fresh = false;
        self.times.recent
    }

    /// Sets the deadline of one wait: its own, or that of the whole exchange where that is sooner.
    pub(super) fn arm(&self, timer: &Timer, now_ms: u64, timeout: Duration) {
        timer.set_unless_never(now_ms, self.after_ms(now_ms, timeout));
    }

    /// How long one wait may last from `now_ms` on; `u64::MAX` = for ever.
    pub(super) fn after_ms(&self, now_ms: u64, timeout: Duration) -> u64 {
        let after_ms = if timeout.is_zero() {
            u64::MAX
        } else {
            millis(timeout)
        };
        match self.deadline_ms {
            Some(deadline_ms) => after_ms.min(deadline_ms.saturating_sub(now_ms)),
            None => after_ms,
        }
    }

    /// Whether the whole exchange has used up its time.
    pub(super) fn is_overdue(&self, worker: &Worker) -> bool {
        self.deadline_ms
            .is_some_and(|deadline_ms| deadline_ms <= worker.clock.now_ms())
    }

    /// Whether what a waiting client did ends its exchange (robustness BE-04).
    pub(super) fn ends_with(&self, event: ClientEvent) -> bool {
        match event {
            ClientEvent::Gone => true,
            ClientEvent::HalfClosed => self.listener().protocol.abort_on_close,
        }
    }

    pub(super) fn arm_write(&self, worker: &Worker, timer: &Timer) {
        let timeout = self.timeouts_in(self.snapshot()).write_progress;
        timer.set_unless_zero(worker.clock.now_ms(), millis(timeout));
    }

    /// The exchange ended in a panic: counts and logs it, unless the panic came after that.
    pub(crate) fn on_panic<D: Downstream>(&mut self, worker: &Worker, down: &D) {
        worker.metrics.panicked();
        if !self.is_settled {
            self.settle(worker, down, Cause::ProxyInternalError);
        }
    }

    /// The exchange is over: counts and logs it, once.
    pub(crate) fn settle<D: Downstream>(&mut self, worker: &Worker, down: &D, cause: Cause) {
        debug_assert!(!self.is_settled, "an exchange is settled once");
        // First of all: a panic from here on must not settle it again.
        self.is_settled = true;
        self.selection.take_place();
        let now_us = self.recent_us(worker);
        let duration_us = now_us.saturating_sub(self.times.started);
        let (received, sent) = (down.received_bytes(), down.sent_bytes());
        let arrival = self.arrival();
        let snapshot = &arrival.snapshot;
        let status = if self.response_began { self.status } else { 0 };
        let series = snapshot.request_series(worker, arrival.listener, self.route, self.pool);
        series.record(down.request().method_kind(), status, duration_us);
        if let Some(backend) = self.backend.as_ref().filter(|_| self.times.first_byte != 0) {
            backend
                .series()
                .record(now_us.saturating_sub(self.times.attempt));
        }
        worker.metrics.cause(cause);
        worker.metrics.bytes_received(received);
        worker.metrics.bytes_sent(sent);
        if let Some(log) = worker.log.borrow().as_ref() {
            log.record(&self.access_record(
                down.request(),
                cause,
                status,
                duration_us,
                received,
                sent,
            ));
            worker.touch(now_us / 1000);
        }
    }

    fn access_record<'r, V: RequestView>(
        &'r self,
        request: &'r V,
        cause: Cause,
        status: u16,
        duration_us: u64,
        bytes_in: u64,
        bytes_out: u64,
    ) -> AccessRecord<'r> {
        let snapshot = self.snapshot();
        let first_byte_us = match self.times.first_byte {
            0 => None,
            at => Some(at.saturating_sub(self.times.started)),
        };
        AccessRecord {
            ts_ms: unix_ms(),
            request_id: match &self.request_id {
                RequestId::None => b"",
                RequestId::Made(id) => id,
                RequestId::Kept(index) => request.field(*index).value,
            },
            trace_id: b"",
            client: Some(self.client),
            listener: &self.listener().name,
            route: self
                .route
                .map_or("", |route| &snapshot.rules.routes[route.index()].name),
            pool: self
                .pool
                .map_or("", |pool| &snapshot.rules.pools[pool.index()].name),
            backend: self.backend.as_ref().map_or("", |backend| backend.name()),
            method: request.method(),
            host: request.authority(),
            path: request.path_and_query(),
            protocol: request.version().name(),
            status,
            cause,
            bytes_in,
            bytes_out,
            duration_us,
            phases: PhaseTimes {
                wait_us: (self.times.wait != 0).then_some(self.times.wait),
                first_byte_us,
                total_us: first_byte_us.map(|_| duration_us),
                ..PhaseTimes::of_opening(self.times.connect, self.times.tls)
            },
            attempts: self.selection.attempts(),
            user_agent: request.get(b"user-agent").unwrap_or_default(),
            referer: request.get(b"referer").unwrap_or_default(),
        }
    }
}

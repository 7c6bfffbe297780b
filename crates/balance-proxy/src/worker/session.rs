//! What ends without having been an exchange: a TCP session, or a request that could not be read.

use std::net::IpAddr;
use std::rc::Rc;

use balance_core::{Cause, Method, PoolId};
use balance_lb::PoolPlace;
use balance_telemetry::{AccessRecord, PhaseTimes};

use super::{Worker, WorkerListener, WorkerSnapshot, unix_ms};
use crate::snapshot::Mode;
use crate::upstream::Member;

/// One session, to be settled.
pub(crate) struct Session {
    pub(crate) peer: IpAddr,
    pub(crate) started_us: u64,
    /// The pool that is asked, in the snapshot where that position means something. Not there any more once a
    /// backend is reached: a session may outlive many snapshots.
    pub(crate) asked: Option<(Rc<WorkerSnapshot>, PoolId)>,
    /// The route that took it, by its name: a session may outlive many snapshots.
    pub(crate) route: String,
    /// The server that its client named.
    pub(crate) server_name: String,
    pub(crate) backend: Option<Member>,
    /// Among those that the pool may use, where it has a limit.
    pub(crate) place: Option<PoolPlace>,
    pub(crate) attempts: u32,
    /// Opening connections to backends, handshakes of TLS included.
    pub(crate) connect_us: u64,
    pub(crate) tls_us: Option<u64>,
    /// Of the answer to a request that could not be read; 0 where nothing was asked.
    pub(crate) status: u16,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
}

impl Session {
    pub(crate) fn new(peer: IpAddr, started_us: u64) -> Self {
        Self {
            peer,
            started_us,
            asked: None,
            route: String::new(),
            server_name: String::new(),
            backend: None,
            place: None,
            attempts: 0,
            connect_us: 0,
            tls_us: None,
            status: 0,
            bytes_in: 0,
            bytes_out: 0,
        }
    }

    /// Counts and logs it, once.
    pub(crate) fn settle(self, worker: &Worker, listener: &WorkerListener, cause: Cause) {
        let now_us = worker.clock.now_us();
        let duration_us = now_us.saturating_sub(self.started_us);
        // A session may outlive reloads, and positions only mean something in the snapshot they are from: the
        // listener's own goes with its index, and a pool is known by the backend that was picked from it.
        let snapshot = listener.snapshot();
        let rules = &snapshot.rules.listeners[listener.index()];
        let pool = match (&self.backend, &self.asked) {
            (Some(backend), _) => backend.identity().pool.as_str(),
            (None, Some((snapshot, pool))) => &snapshot.rules.pools[pool.index()].name,
            (None, None) => "",
        };
        // A connection that ends before its first request is not one.
        if rules.mode == Mode::Http && self.status != 0 {
            snapshot
                .request_series(worker, listener.index(), None, None)
                .record(Method::Other, self.status, duration_us);
        }
        worker.metrics.cause(cause);
        worker.metrics.bytes_received(self.bytes_in);
        worker.metrics.bytes_sent(self.bytes_out);
        if let Some(log) = worker.log.borrow().as_ref() {
            log.record(&AccessRecord {
                ts_ms: unix_ms(),
                request_id: b"",
                trace_id: b"",
                client: Some(self.peer),
                listener: &rules.name,
                route: &self.route,
                pool,
                backend: self.backend.as_ref().map_or("", Member::name),
                method: b"",
                host: self.server_name.as_bytes(),
                path: b"",
                protocol: if rules.mode == Mode::Tcp { "TCP" } else { "" },
                status: self.status,
                cause,
                bytes_in: self.bytes_in,
                bytes_out: self.bytes_out,
                duration_us,
                phases: PhaseTimes::of_opening(self.connect_us, self.tls_us),
                attempts: self.attempts,
                user_agent: b"",
                referer: b"",
            });
            worker.touch(now_us / 1000);
        }
    }
}

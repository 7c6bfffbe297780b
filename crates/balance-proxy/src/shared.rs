//! What all workers of the process share besides the snapshot: a handful of counters and budgets.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use balance_core::WorkerId;
use balance_net::PipePool;
use balance_telemetry::Registry;
use parking_lot::Mutex;
use tokio::runtime::RuntimeMetrics;

use crate::clock::Clock;

/// How the process was started: nothing of it changes while it runs.
pub struct SharedOptions {
    pub registry: Arc<Registry>,
    /// `balance-<8 hex>` or the configured `via_name`.
    pub via_name: String,
    pub worker_count: usize,
    /// Idle upstream connections of the process, divided over the workers.
    pub idle_upstream_max: usize,
    /// Bytes that connections may hold for peers which are not ready, divided over the workers. 0 = unlimited.
    pub buffered_bytes_max: usize,
    /// Whether TCP relays may splice.
    pub zero_copy: bool,
    /// Seeds each worker's random numbers (balancing, request ids, jitter).
    pub seed: u64,
}

/// Process-wide state of the data path.
pub struct Shared {
    pub(crate) registry: Arc<Registry>,
    pub(crate) via_name: String,
    pub(crate) worker_count: usize,
    pub(crate) idle_upstream_max: usize,
    pub(crate) buffered_bytes_max: usize,
    pub(crate) zero_copy: bool,
    pub(crate) seed: u64,
    pub(crate) pipes: PipePool,
    pub(crate) clock: Clock,
    connections: AtomicUsize,
    handshakes: AtomicUsize,
    /// The runtimes of the workers, for who asks how many tasks there are.
    runtimes: Mutex<Vec<(WorkerId, RuntimeMetrics)>>,
    per_ip: Mutex<HashMap<IpAddr, u32, foldhash::fast::RandomState>>,
}

impl Shared {
    pub fn new(options: SharedOptions) -> Self {
        Self {
            registry: options.registry,
            via_name: options.via_name,
            worker_count: options.worker_count.max(1),
            idle_upstream_max: options.idle_upstream_max,
            buffered_bytes_max: options.buffered_bytes_max,
            zero_copy: options.zero_copy,
            seed: options.seed,
            pipes: PipePool::new(),
            clock: Clock::start(),
            connections: AtomicUsize::new(0),
            handshakes: AtomicUsize::new(0),
            runtimes: Mutex::new(Vec::new()),
            per_ip: Mutex::new(HashMap::default()),
        }
    }

    /// Our name in Via.
    pub fn via_name(&self) -> &str {
        &self.via_name
    }

    /// The clock that backend states are told the time of.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Open client connections.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Tasks that are alive, for each worker.
    pub fn tasks(&self) -> Vec<(WorkerId, usize)> {
        let runtimes = self.runtimes.lock();
        let tasks = runtimes
            .iter()
            .map(|(id, runtime)| (*id, runtime.num_alive_tasks()));
        tasks.collect()
    }

    pub(crate) fn add_runtime(&self, id: WorkerId, runtime: RuntimeMetrics) {
        self.runtimes.lock().push((id, runtime));
    }

    /// Counts a connection in, or refuses it.
    pub(crate) fn admit(
        self: &Arc<Self>,
        client: Option<IpAddr>,
        connections_max: usize,
        per_ip_max: usize,
    ) -> Result<ConnectionGuard, Refused> {
        let before = self.connections.fetch_add(1, Ordering::Relaxed);
        let mut guard = ConnectionGuard {
            shared: Arc::clone(self),
            counted_ip: None,
        };
        if connections_max != 0 && before >= connections_max {
            return Err(Refused::Total);
        }
        if let Some(ip) = client {
            guard.claim(ip, per_ip_max)?;
        }
        Ok(guard)
    }
}

impl Shared {
    /// Counts a TLS handshake in; `None` when as many are in progress as may be.
    pub(crate) fn begin_handshake(
        self: &Arc<Self>,
        handshakes_max: usize,
    ) -> Option<HandshakeGuard> {
        let before = self.handshakes.fetch_add(1, Ordering::Relaxed);
        let guard = HandshakeGuard {
            shared: Arc::clone(self),
        };
        (before < handshakes_max).then_some(guard)
    }
}

/// Counts one handshake until it is dropped.
pub(crate) struct HandshakeGuard {
    shared: Arc<Shared>,
}

impl Drop for HandshakeGuard {
    fn drop(&mut self) {
        self.shared.handshakes.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why a connection was closed right after it was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Total,
    PerIp,
}

/// Counts one client connection until it is dropped.
pub(crate) struct ConnectionGuard {
    shared: Arc<Shared>,
    counted_ip: Option<IpAddr>,
}

impl ConnectionGuard {
    /// Counts it among the connections of its client, once that is known.
    pub(crate) fn claim(&mut self, client: IpAddr, per_ip_max: usize) -> Result<(), Refused> {
        if per_ip_max == 0 {
            return Ok(());
        }
        let mut per_ip = self.shared.per_ip.lock();
        let count = per_ip.entry(client).or_insert(0);
        if *count as usize >= per_ip_max {
            return Err(Refused::PerIp);
        }
        *count += 1;
        self.counted_ip = Some(client);
        Ok(())
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.shared.connections.fetch_sub(1, Ordering::Relaxed);
        if let Some(ip) = self.counted_ip {
            let mut per_ip = self.shared.per_ip.lock();
            // An address without connections leaves the map, so clients cannot grow it.
            if let Some(count) = per_ip.get_mut(&ip) {
                *count -= 1;
                if *count == 0 {
                    per_ip.remove(&ip);
                }
            }
        }
    }
}

//! Active health checks: a thread of its own probes backends, so that nothing slow (a reload, a name that does not
//! resolve, an admin request) ever delays a probe.
//!
//! ```text
//!   publish ── targets ──► health thread: one task for each address and check ──► Backend::set_health
//!                                                                                    │ one word, relaxed
//!                                                              every worker's next pick ◄┘
//! ```
//!
//! What a probe does is in [`probe`] and [`http`], when it is made and what it changes in [`watch`]; when a backend
//! counts as healthy is decided by [`balance_lb::HealthMachine`].

mod http;
mod http2;
mod judge;
mod probe;
mod watch;

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use balance_core::{BackendAddress, HealthCheck};
use balance_lb::Rng;
use balance_proxy::{Clock, Endpoint, OwnConnector};
use balance_tls::ClientPolicy;
use tokio::runtime::Builder;
use tokio::sync::{Semaphore, watch as channel};
use tokio::task::{AbortHandle, JoinSet, LocalSet};
use tokio::time::{MissedTickBehavior, interval};

use judge::Judge;
use probe::Probing;
use watch::{Watch, Watched};

pub(crate) use judge::JudgedPool;

/// A backend, and how it is probed.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) endpoint: Arc<Endpoint>,
    /// `None`: not at all.
    pub(crate) check: Option<HealthCheck>,
    /// How connections to it are secured, if they are.
    pub(crate) tls: Option<Arc<ClientPolicy>>,
}

/// What a configuration wants to know about its backends.
#[derive(Clone, Default)]
pub(crate) struct Targets {
    pub(crate) probed: Vec<Target>,
    /// One for each pool.
    pub(crate) judged: Vec<JudgedPool>,
}

/// Probes backends for as long as it lives.
pub(crate) struct HealthThread {
    /// Its end ends the thread.
    targets: channel::Sender<Targets>,
}

impl HealthThread {
    /// Starts with nothing to probe.
    ///
    /// # Errors
    /// There is no thread, or no epoll, to be had.
    pub(crate) fn spawn(clock: Clock, seed: u64) -> io::Result<Self> {
        let (targets, receiver) = channel::channel(Targets::default());
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()?;
        std::thread::Builder::new()
            .name("balance-health".to_owned())
            .spawn(move || {
                let supervised = supervise(receiver, clock, Rng::new(seed));
                runtime.block_on(LocalSet::new().run_until(supervised));
            })?;
        Ok(Self { targets })
    }

    /// From now on these are probed and judged, and no others.
    pub(crate) fn set_targets(&self, targets: Targets) {
        self.targets.send_replace(targets);
    }
}

/// What makes two backends one to the probes: under several names or in several pools, an address is asked once. Under
/// TLS each backend is verified by itself.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    address: BackendAddress,
    check: HealthCheck,
    tls: Option<Policy>,
}

/// A policy, equal to none but itself.
#[derive(Clone)]
struct Policy(Arc<ClientPolicy>);

impl PartialEq for Policy {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Policy {}

impl Hash for Policy {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

/// The probes of a configuration.
struct Probes {
    groups: HashMap<Key, Group>,
    tasks: JoinSet<()>,
    places: Arc<Semaphore>,
    clock: Clock,
    rng: Rng,
    connector: OwnConnector,
}

struct Group {
    watched: Arc<Watched>,
    task: AbortHandle,
}

async fn supervise(mut targets: channel::Receiver<Targets>, clock: Clock, rng: Rng) {
    let mut probes = Probes {
        groups: HashMap::new(),
        tasks: JoinSet::new(),
        places: Arc::new(Semaphore::new(PROBES_MAX)),
        clock,
        rng,
        connector: OwnConnector::default(),
    };
    let mut judges: Vec<Judge> = Vec::new();
    let mut turn = interval(JUDGED_EVERY);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            changed = targets.changed() => {
                if changed.is_err() {
                    return;
                }
                let wanted = targets.borrow_and_update().clone();
                probes.retarget(wanted.probed);
                judges = appoint(wanted.judged, judges);
            }
            _ = turn.tick(), if !judges.is_empty() => {
                for judge in &mut judges {
                    judge.judge(clock.now_ms());
                }
            }
            Some(ended) = probes.tasks.join_next(), if !probes.tasks.is_empty() => {
                if ended.is_err_and(|error| error.is_panic()) {
                    tracing::error!("a health check panicked, which is a bug; it begins again");
                    probes.restart_ended();
                }
            }
        }
    }
}

/// The judges of a new configuration. Backends that nobody judges any more are not ejected.
fn appoint(wanted: Vec<JudgedPool>, mut previous: Vec<Judge>) -> Vec<Judge> {
    let mut judges = Vec::new();
    for JudgedPool { endpoints, checks } in wanted {
        if let Some(checks) = checks {
            judges.push(Judge::new(endpoints, checks, &mut previous));
        }
    }
    // What is left in them was not taken over, and those judged anew have said so already.
    let kept: Vec<_> = judges.iter().flat_map(|judge| judge.endpoints()).collect();
    for judge in previous {
        judge.dismiss(&kept);
    }
    judges
}

impl Probes {
    /// Takes over a new set of backends; those that stay under the same check keep their state and their rhythm.
    #[expect(
        clippy::mutable_key_type,
        reason = "a policy is told from others by where it is, which does not change"
    )]
    fn retarget(&mut self, targets: Vec<Target>) {
        let mut wanted: HashMap<Key, Vec<Arc<Endpoint>>> = HashMap::new();
        for Target {
            endpoint,
            check,
            tls,
        } in targets
        {
            match check {
                None => endpoint.set_health(None),
                Some(check) => {
                    let key = Key {
                        address: endpoint.identity().address.clone(),
                        check,
                        tls: tls.map(Policy),
                    };
                    wanted.entry(key).or_default().push(endpoint);
                }
            }
        }
        self.groups.retain(|key, group| match wanted.remove(key) {
            Some(endpoints) => {
                group.watched.set_endpoints(endpoints);
                true
            }
            None => {
                group.task.abort();
                false
            }
        });
        for (key, endpoints) in wanted {
            let watched = Arc::new(Watched::new(endpoints, self.clock.now_ms()));
            self.begin(key, watched);
        }
    }

    fn begin(&mut self, key: Key, watched: Arc<Watched>) {
        let watch = Watch {
            watched: Arc::clone(&watched),
            probe: Probing {
                connector: self.connector.clone(),
                check: key.check.clone(),
                tls: key.tls.as_ref().map(|policy| Arc::clone(&policy.0)),
            },
            places: Arc::clone(&self.places),
            clock: self.clock,
            rng: Rng::new(self.rng.next_u64()),
        };
        let task = self.tasks.spawn_local(watch.run());
        self.groups.insert(key, Group { watched, task });
    }

    /// A task ends by itself only in a panic.
    fn restart_ended(&mut self) {
        let ended = self
            .groups
            .extract_if(|_, group| group.task.is_finished())
            .collect::<Vec<_>>();
        for (key, group) in ended {
            self.begin(key, group.watched);
        }
    }
}

/// As long as a share of failures may go unnoticed: short beside the time in which people notice.
const JUDGED_EVERY: Duration = Duration::from_millis(100);
/// Probes under way at once, a descriptor each; the others wait.
const PROBES_MAX: usize = 256;

#[cfg(test)]
mod tests;

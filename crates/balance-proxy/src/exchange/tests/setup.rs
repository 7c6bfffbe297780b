//! A worker with one listener, and one exchange played on it.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use balance_core::{
    Algorithm, BackendAddress, HashKey, IdleSettings, Limits, ListenAddress, MirrorId, PoolId,
    ProtocolSettings, RetryPolicy, Timeouts, Weight,
};
use balance_lb::{Backend, BackendIdentity, Balancer, Cursor, Places};
use balance_route::{RouteSpec, RouteTable};
use balance_telemetry::{BuildInfo, Registry, Value};
use tokio::runtime::{Builder, LocalOptions};

use super::super::memory::{Client, Connect, Journal, MemoryTransport};
use crate::exchange::{Arrival, Context, Ended, Exchange, Next, run};
use crate::filter::Filter;
use crate::worker::Worker;
use crate::{
    Action, Endpoint, ListenerKey, ListenerRules, MirrorRules, Mode, Policy, PoolRules, RetryRules,
    RouteRules, Shared, SharedOptions, Snapshot, SplitRules, UpstreamAddress,
};

/// What an exchange is played on. By default a listener without routes, whose pool has the backend `a`.
pub(super) struct Setup {
    pub(super) routes: Vec<(RouteSpec, Action)>,
    pub(super) splits: Vec<SplitRules>,
    /// Of the first route.
    pub(super) mirror: Option<MirrorRules>,
    /// Of all routes, and of requests that reach the pool without one.
    pub(super) filters: Vec<Filter>,
    /// Each pool's backends.
    pub(super) pools: &'static [&'static [&'static str]],
    pub(super) listener_pool: Option<PoolId>,
    /// Of every pool.
    pub(super) retry: Option<RetryPolicy>,
    /// Retries of others that are under way in every pool.
    pub(super) retries_under_way: u32,
    pub(super) max_connections: u32,
    /// Places that are taken at every backend.
    pub(super) taken: u32,
    pub(super) timeouts: Timeouts,
    pub(super) limits: Limits,
    pub(super) protocol: ProtocolSettings,
    pub(super) trusted: &'static [&'static str],
    pub(super) peer: &'static str,
    pub(super) is_draining: bool,
    pub(super) is_retired: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            routes: Vec::new(),
            splits: Vec::new(),
            mirror: None,
            filters: Vec::new(),
            pools: &[&["a"]],
            listener_pool: Some(PoolId(0)),
            retry: None,
            retries_under_way: 0,
            max_connections: 0,
            taken: 0,
            timeouts: Timeouts::default(),
            limits: Limits::default(),
            protocol: ProtocolSettings::default(),
            trusted: &[],
            peer: "192.0.2.1",
            is_draining: false,
            is_retired: false,
        }
    }
}

/// What an exchange came to.
pub(super) struct Seen {
    /// As [`super::sum`] writes it. A tunnel is not settled: its cause is `-`.
    pub(super) sum: String,
    pub(super) journal: Journal,
    /// The route and pool that it was counted for.
    pub(super) series: String,
    /// What became of copies: outcomes and how many.
    pub(super) copies: String,
    /// The same, when the exchange was over and no task had run since.
    pub(super) copies_at_end: String,
    /// Reasons of retries, then of refusals, and how many.
    pub(super) retries: String,
    /// Places of the retry budget that were not given back.
    pub(super) retries_under_way: u32,
    /// What was counted as its duration.
    pub(super) duration: Duration,
    backends: Vec<Arc<Endpoint>>,
    now_ms: u64,
}

impl Seen {
    /// The journal without what `backend` did.
    pub(super) fn lines_without(&self, backend: &str) -> Vec<String> {
        let lines = self.journal.lines().into_iter();
        lines
            .filter(|line| line.split(' ').next() != Some(backend))
            .collect()
    }

    pub(super) fn check(&self, name: &str, sum: &str, journal: &[&str]) {
        assert_eq!(self.journal.lines(), journal, "{name}");
        assert_eq!(self.sum, sum, "{name}");
    }

    /// Failed connects that a backend is blamed for.
    pub(super) fn failures(&self, name: &str) -> u32 {
        self.backend(name).snapshot_state(self.now_ms).failures
    }

    /// Attempts that passive checks hold against a backend.
    pub(super) fn backend_failures(&self, name: &str) -> u64 {
        self.backend(name).take_tallied().failures
    }

    pub(super) fn is_resting(&self, name: &str) -> bool {
        self.backend(name).gate().name() == "resting"
    }

    fn backend(&self, name: &str) -> &Backend {
        let found = |endpoint: &&Arc<Endpoint>| endpoint.identity().name == name;
        self.backends
            .iter()
            .find(found)
            .expect("a backend of the setup")
            .backend()
    }
}

/// Plays one exchange.
///
/// Whatever the script is: every exchange is settled exactly once, every place at a backend is given
/// back, and every connection of the script was asked for.
pub(super) fn play(
    setup: Setup,
    mut client: Client,
    connects: Vec<(&'static str, Connect)>,
) -> Seen {
    let journal = Journal::default();
    client.attach(&journal);
    let transport = MemoryTransport::new(&journal, connects);
    let registry = Registry::new(BuildInfo {
        version: "0",
        revision: "",
    });
    let shared = Arc::new(Shared::new(SharedOptions {
        registry: Arc::clone(&registry),
        via_name: "balance-test".to_owned(),
        worker_count: 1,
        idle_upstream_max: 16,
        buffered_bytes_max: 0,
        zero_copy: false,
        seed: 1,
    }));
    let (peer, is_draining, is_retired) = (setup.peer, setup.is_draining, setup.is_retired);
    let (taken, others_retrying) = (setup.taken, setup.retries_under_way);
    let backends = setup.endpoints();
    let snapshot = Arc::new(setup.compile(&backends));
    let budgets = snapshot.pools.iter().filter_map(|pool| pool.retry.as_ref());
    let budgets: Vec<Arc<Places>> = budgets.map(|rules| Arc::clone(&rules.under_way)).collect();
    let others = budgets
        .iter()
        .flat_map(|budget| (0..others_retrying).map(|_| budget.take(0)));
    let others: Vec<_> = others.collect();
    for endpoint in backends.iter().flatten() {
        for _ in 0..taken {
            endpoint.try_lease().expect("fewer than max_connections");
        }
    }
    let worker = Worker::for_test(&shared, &snapshot);
    if is_draining {
        worker.set_draining_for_test();
    }
    let (ended, copies_at_end) = Builder::new_current_thread()
        .enable_time()
        .build_local(LocalOptions::default())
        .expect("a runtime")
        .block_on(async {
            let arrival = arrive(&worker, peer, is_retired);
            let ended = play_on(&worker, arrival, &mut client, &transport).await;
            let copies_at_end = copies(&registry);
            finish_copies(&worker).await;
            (ended, copies_at_end)
        });
    assert_eq!(transport.unused(), 0, "connections nobody asked for");
    let backends: Vec<Arc<Endpoint>> = backends.into_iter().flatten().collect();
    for endpoint in &backends {
        assert_eq!(endpoint.in_flight(), taken, "a place was not given back");
    }
    drop(others);
    let (sum, series) = counted(&registry, ended);
    Seen {
        sum,
        journal,
        series,
        copies: copies(&registry),
        copies_at_end,
        retries: retries(&registry),
        retries_under_way: budgets.iter().map(|budget| budget.in_use()).sum(),
        duration: duration(&registry),
        backends,
        now_ms: worker.clock.now_ms(),
    }
}

fn arrive(worker: &Worker, peer: &str, listener_is_retired: bool) -> Arrival {
    Arrival {
        snapshot: worker.snapshot_for_test(),
        listener: 0,
        peer: peer.parse::<IpAddr>().expect("an address"),
        scheme: balance_proto::Scheme::Http,
        now_us: worker.clock.now_us(),
        listener_is_retired,
    }
}

async fn play_on(
    worker: &Rc<Worker>,
    arrival: Arrival,
    client: &mut Client,
    transport: &MemoryTransport,
) -> &'static str {
    let timer = worker.wheel.timer();
    let context = Context {
        worker,
        timer: &timer,
        transport,
    };
    let mut exchange = Exchange::new();
    exchange.begin(arrival);
    let ended = tokio::select! {
        biased;
        ended = run(&context, &mut exchange, client) => ended,
        () = worker.wheel.clone().drive(worker.clock) => panic!("the wheel stopped"),
        () = tokio::time::sleep(HANGS_AFTER) => panic!("the exchange hangs"),
    };
    exchange.end();
    match ended {
        Ended::Exchange(Next::Keep) => "keep",
        Ended::Exchange(Next::Close) => "close",
        Ended::Exchange(Next::Linger) => "linger",
        Ended::Exchange(Next::Abort) => "abort",
        Ended::Tunnel(tunnel) => {
            assert_eq!(
                tunnel.lease.backend().in_flight(),
                1,
                "a tunnel has a place"
            );
            "tunnel"
        }
    }
}

/// Copies of a request outlive its exchange.
async fn finish_copies(worker: &Rc<Worker>) {
    tokio::select! {
        biased;
        () = worker.idle_for_test() => {}
        () = worker.wheel.clone().drive(worker.clock) => panic!("the wheel stopped"),
        () = tokio::time::sleep(HANGS_AFTER) => panic!("a copy hangs"),
    }
}

/// What the metrics say. Exactly one exchange was counted, and under one cause, except for a tunnel.
fn counted(registry: &Registry, ended: &str) -> (String, String) {
    let families = registry.families();
    let samples = |name: &str| -> Vec<Vec<(&'static str, String)>> {
        families
            .iter()
            .filter(|family| family.name == name)
            .flat_map(|family| &family.samples)
            .flat_map(|sample| match sample.value {
                Value::Integer(count) => vec![sample.labels.clone(); count as usize],
                _ => Vec::new(),
            })
            .collect()
    };
    let causes = samples("balance_exchange_cause");
    let requests = samples("balance_http_requests");
    let label = |labels: &[(&'static str, String)], name: &str| {
        let found = labels.iter().find(|(key, _)| *key == name);
        found.expect("a label").1.clone()
    };
    if ended == "tunnel" {
        assert_eq!((causes.len(), requests.len()), (0, 0), "settled too early");
        return ("tunnel, -, -".to_owned(), String::new());
    }
    assert_eq!((causes.len(), requests.len()), (1, 1), "settled once");
    let (cause, status) = (label(&causes[0], "cause"), label(&requests[0], "status"));
    let (route, pool) = (label(&requests[0], "route"), label(&requests[0], "pool"));
    (
        format!("{ended}, {cause}, {status}"),
        format!("{route}/{pool}"),
    )
}

fn copies(registry: &Registry) -> String {
    happened(registry, &["balance_mirror_requests"])
}

fn retries(registry: &Registry) -> String {
    happened(registry, &["balance_retries", "balance_retries_refused"])
}

/// The last labels of what was counted at all, and how often.
fn happened(registry: &Registry, names: &[&str]) -> String {
    let families = registry.families();
    let counted = families
        .iter()
        .filter(|family| names.contains(&family.name))
        .flat_map(|family| &family.samples)
        .filter_map(|sample| match (&sample.value, sample.labels.last()) {
            (Value::Integer(count @ 1..), Some((_, label))) => Some(format!("{label} {count}")),
            _ => None,
        });
    counted.collect::<Vec<_>>().join(", ")
}

fn duration(registry: &Registry) -> Duration {
    let families = registry.families();
    let sum_us: u64 = families
        .iter()
        .filter(|family| family.name == "balance_http_request_duration_seconds")
        .flat_map(|family| &family.samples)
        .map(|sample| match &sample.value {
            Value::Histogram(totals) => totals.sum_us,
            _ => 0,
        })
        .sum();
    Duration::from_micros(sum_us)
}

impl Setup {
    /// The backends, by pool.
    fn endpoints(&self) -> Vec<Vec<Arc<Endpoint>>> {
        let endpoint = |pool: usize, name: &str| {
            let address = BackendAddress::parse("127.0.0.1:9001").expect("a literal");
            let backend = Backend::new(BackendIdentity {
                pool: format!("pool{pool}"),
                name: name.to_owned(),
                address,
            });
            backend.set_max_connections(self.max_connections);
            let nowhere = UpstreamAddress::Unix("/nonexistent".to_owned());
            Arc::new(Endpoint::new(backend, vec![nowhere]))
        };
        let pools = self.pools.iter().enumerate();
        pools
            .map(|(pool, names)| names.iter().map(|name| endpoint(pool, name)).collect())
            .collect()
    }

    fn compile(self, backends: &[Vec<Arc<Endpoint>>]) -> Snapshot {
        let (mut specs, mut actions) = (Vec::new(), Vec::new());
        for (spec, action) in self.routes {
            specs.push(spec);
            actions.push(action);
        }
        // There are routes or there are none: one of the two has the filters.
        let (route_filters, pool_filters) = match actions.len() {
            0 => (Vec::new(), self.filters),
            _ => (self.filters, Vec::new()),
        };
        let has_mirror = self.mirror.is_some();
        let mut route_filters = Some(route_filters);
        let routes = actions
            .into_iter()
            .enumerate()
            .map(|(index, action)| RouteRules {
                name: format!("route{index}").into(),
                action,
                mirror: (index == 0 && has_mirror).then_some(MirrorId(0)),
                filters: route_filters.take().unwrap_or_default().into(),
                timeouts: Arc::new(self.timeouts.clone()),
            });
        let mut pool_filters = Some(pool_filters);
        let pools = backends
            .iter()
            .enumerate()
            .map(|(index, members)| PoolRules {
                name: format!("pool{index}"),
                policy: Policy::new(balancer(members)),
                hash_key: HashKey::SourceIp,
                members: members.clone(),
                send_proxy: None,
                protocol: balance_core::UpstreamProtocol::Http1,
                tls: None,
                idle: IdleSettings::default(),
                limits: crate::upstream::PoolLimits::default(),
                timeouts: self.timeouts.clone(),
                filters: pool_filters.take().unwrap_or_default(),
                retry: self.retry.clone().map(|policy| RetryRules {
                    policy,
                    under_way: Arc::default(),
                }),
            });
        let listener = ListenerRules {
            key: ListenerKey {
                address: ListenAddress::Wildcard { port: 0 },
                mode: Mode::Http,
            },
            name: "web".to_owned(),
            mode: Mode::Http,
            table: Arc::new(RouteTable::compile(specs).expect("valid routes")),
            server_names: None,
            pool: self.listener_pool,
            proxy_sources: None,
            scheme: balance_proto::Scheme::Http,
            tls: None,
            trusted_proxies: self
                .trusted
                .iter()
                .map(|net| net.parse().expect("a network"))
                .collect(),
            protocol: self.protocol,
            limits: self.limits,
            timeouts: self.timeouts.clone(),
        };
        Snapshot {
            generation: 1,
            routes: routes.collect(),
            splits: self.splits,
            mirrors: self.mirror.into_iter().collect(),
            pools: pools.collect(),
            listeners: vec![listener],
            access_log: None,
        }
    }
}

fn balancer(members: &[Arc<Endpoint>]) -> Balancer {
    let members: Vec<_> = members
        .iter()
        .map(|endpoint| balance_lb::Member::new(&endpoint.identity().name, Weight::ONE))
        .collect();
    Balancer::compile(Algorithm::RoundRobin, &members, Arc::new(Cursor::new()))
}

/// Far above every deadline of the tests: only a bug reaches it.
const HANGS_AFTER: Duration = Duration::from_secs(20);

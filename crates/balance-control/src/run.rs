//! The life of the process: start, serve, reload, drain.
//!
//! ```text
//!   Starting ──── workers serve, addresses are bound ────► Ready ──── SIGTERM, SIGINT, SIGQUIT ────► Draining
//!                                                          │  ▲                                       │
//!                                                          └──┘ SIGHUP, POST /reload                  │
//!      readiness fails · still accepting for `shutdown.delay` · accepting ends · in flight finishes ◄─┘
//! ```
//!
//! **Exit.** An operator's stop is a success however it ends: a tunnel may live for days, so that a drain
//! reaches its limit is normal, and a failing exit would have every such stop reported as a crash. The log
//! says whether something was cut off. The process fails if it could not start, or if a worker ended by itself.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use balance_config::{Diagnostic, Logging, Sources};
use balance_core::WorkerId;
use balance_proxy::{Shared, SharedOptions, Workers};
use balance_telemetry::{BuildInfo, Registry};
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::admin::{AdminServer, AdminSocketKind};
use crate::certificates::ExpiryGauges;
use crate::compile::{Compiled, Prepared};
use crate::handle::{ControlHandle, ControlRequest, Phase, ProcessIdentity};
use crate::health::HealthThread;
use crate::metrics::BackendGauges;
use crate::profiling::{ProfileFiles, RunProfiles};
use crate::reload::{Control, load_and_compile, log_diagnostics, resolve_names};
use crate::resolve::{LOOKUPS_MAX, Resolver, SystemLookup};
use crate::signals::{Request, Signals};
use crate::socket_path::AdminSocket;

/// Who is told what happens: the command line.
pub trait Observer {
    /// The logging settings, at the start and after each reload.
    fn on_logging(&mut self, logging: &Logging);

    /// Addresses that are bound and accept from now on, at the start and after a reload that added some.
    fn on_listening(&mut self, added: &[Listening]);

    /// Everything of the start is done.
    fn on_ready(&mut self);
}

/// How to run.
pub struct RunOptions {
    /// Where the configuration comes from, now and at every reload.
    pub sources: Box<dyn Sources>,
    pub path: String,
    pub version: &'static str,
    /// Of the source; empty if unknown.
    pub revision: &'static str,
    pub admin: Box<dyn AdminServer>,
    /// Whether `balance reload` and `balance health` find this process by its configuration's path.
    pub has_admin_socket: bool,
    /// Profiles of the whole run.
    pub profiles: ProfileFiles,
    pub observer: Box<dyn Observer>,
}

/// An address on which the process accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listening {
    pub name: String,
    /// `http`, `tcp`, `admin`, `metrics` or `profiling`.
    pub mode: &'static str,
    /// The real one: port 0 has become a number.
    pub address: String,
}

/// Why the process did not run, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("the configuration cannot be used")]
    Config(Vec<Diagnostic>),
    #[error("cannot listen to signals: {0}")]
    Signals(io::Error),
    #[error("cannot start the control thread's runtime: {0}{remedy}", remedy = remedy(.0))]
    Runtime(io::Error),
    #[error("cannot start the thread of health checks: {0}{remedy}", remedy = remedy(.0))]
    Health(io::Error),
    #[error("cannot start the workers: {0}{remedy}", remedy = remedy(.0))]
    Workers(io::Error),
    #[error("{0}")]
    Profile(String),
    #[error("worker {index} has ended by itself, which is a bug; start again", index = .0.0)]
    WorkerEnded(WorkerId),
}

/// What to do about it, where that is known.
fn remedy(error: &io::Error) -> &'static str {
    if balance_net::is_out_of_resources(error) {
        "; raise LimitNOFILE= (systemd) or `ulimit -n`, and look at the limit on threads"
    } else {
        ""
    }
}

/// Runs Balance on this thread until it is told to stop.
///
/// # Errors
/// See [`RunError`].
pub fn run(options: RunOptions) -> Result<(), RunError> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(LOOKUPS_MAX)
        .thread_name("balance-resolve")
        .build()
        .map_err(RunError::Runtime)?;
    let result = runtime.block_on(serve(options));
    // A name that is still being looked up must not hold up the end.
    runtime.shutdown_background();
    result
}

async fn serve(options: RunOptions) -> Result<(), RunError> {
    let mut signals = Signals::listen().map_err(RunError::Signals)?;
    raise_descriptors();
    let (sender, requests) = mpsc::channel(REQUESTS_WAITING_MAX);
    let (mut control, own_socket) = start(options, sender).await?;

    control.handle.set_phase(Phase::Ready);
    control.observer.on_listening(&listening(&control.current));
    control.observer.on_ready();
    let stopped = until_stopped(&mut control, &mut signals, requests).await;
    if let Err(error) = &stopped {
        tracing::error!("{error}");
    }
    let how = *stopped.as_ref().unwrap_or(&Request::Stop);
    drain(&mut control, &mut signals, how).await;
    control.profiles.finish();
    drop(own_socket);
    stopped.map(|_| ())
}

/// Everything from the file to workers that accept.
async fn start(
    options: RunOptions,
    requests: mpsc::Sender<ControlRequest>,
) -> Result<(Control, Option<AdminSocket>), RunError> {
    let RunOptions {
        sources,
        path,
        version,
        revision,
        admin,
        profiles,
        mut observer,
        ..
    } = options;
    let registry = Registry::new(BuildInfo { version, revision });
    let (prepared, mut remarks) =
        load_and_compile(&*sources, &path, None, &registry).map_err(RunError::Config)?;
    observer.on_logging(&prepared.next.config.logging);
    let profiles = RunProfiles::start(&profiles, &prepared.next.config)?;
    remarks.extend(resolve_names(&prepared).await);
    log_diagnostics(&remarks);

    let Prepared {
        next,
        added,
        admin: admin_listeners,
        backends,
        view,
        ..
    } = prepared;
    let worker_count = next.worker_count;
    let shared = Arc::new(Shared::new(SharedOptions {
        registry: Arc::clone(&registry),
        via_name: next.config.via_name.clone().unwrap_or_else(via_name),
        worker_count,
        idle_upstream_max: next.config.idle_upstream_max,
        buffered_bytes_max: next.config.buffered_bytes_max,
        zero_copy: next.config.zero_copy,
        seed: random(),
    }));
    let now_ms = shared.clock().now_ms();
    backends.iter().for_each(|rules| rules.apply(now_ms));
    let workers = Workers::spawn(&shared, &next.snapshot).map_err(RunError::Workers)?;
    for sockets in added {
        workers
            .add_listener(sockets)
            .map_err(|error| RunError::Workers(io::Error::other(error)))?;
    }

    let health = HealthThread::spawn(shared.clock(), random()).map_err(RunError::Health)?;
    health.set_targets(next.health_targets());
    let resolver = Resolver::spawn(SystemLookup, random());
    resolver.set_targets(next.endpoints());
    let identity = ProcessIdentity {
        version,
        config: path.clone(),
        workers: worker_count,
    };
    let handle = ControlHandle::new(requests, view, Arc::clone(&registry), shared, identity);
    registry.add_collector(BackendGauges::new(&handle));
    let expiry = ExpiryGauges::default();
    registry.add_collector(expiry.clone());
    let bound = options
        .has_admin_socket
        .then(|| bind_own_socket(&path))
        .flatten();
    let (own_socket, fresh) = bound.unzip();
    let mut control = Control {
        current: next,
        workers,
        handle,
        resolver,
        health,
        registry,
        admin,
        profiles,
        own_socket: own_socket
            .as_ref()
            .map(|one| one.path().display().to_string()),
        sources,
        path,
        observer,
        expiry,
    };
    control.look_at_certificates();
    control.serve_admin(admin_listeners, fresh);
    Ok((control, own_socket))
}

/// Serves requests and signals until one of them says stop.
///
/// # Errors
/// A worker has ended by itself. Its sockets queue connections for nobody and cannot be taken back, so the
/// process ends (the others drain) and its supervisor starts a new one.
async fn until_stopped(
    control: &mut Control,
    signals: &mut Signals,
    mut requests: mpsc::Receiver<ControlRequest>,
) -> Result<Request, RunError> {
    let mut looks = interval(CERTIFICATE_LOOK_PERIOD);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let asked = tokio::select! {
            worker = control.workers.any_ended() => return Err(RunError::WorkerEnded(worker)),
            _ = looks.tick() => {
                control.look_at_certificates();
                continue;
            }
            request = signals.next() => match request {
                Request::Reload => None,
                Request::ReopenLogs => {
                    control.reopen_logs();
                    continue;
                }
                Request::Stop | Request::StopUnlimited => return Ok(request),
            },
            // Control holds a sender itself, so this never ends.
            Some(request) = requests.recv() => Some(request),
        };
        // One at a time. A stop does not wait for names that do not resolve; whoever asked is told by the end of its reply.
        tokio::select! {
            biased;
            stop = signals.next_stop() => return Ok(stop),
            () = serve_request(control, asked) => {}
        }
    }
}

/// `None`: a signal asks for a reload. Whoever asked may have gone away meanwhile.
async fn serve_request(control: &mut Control, asked: Option<ControlRequest>) {
    match asked {
        // Boxed: it holds a whole configuration, and is rare.
        None => drop(Box::pin(control.reload()).await),
        Some(ControlRequest::Reload(reply)) => {
            let _ = reply.send(Box::pin(control.reload()).await);
        }
        Some(ControlRequest::SetWeight(request)) => control.set_weight(request).await,
        Some(ControlRequest::Refresh(reply)) => {
            control.publish_anew().await;
            let _ = reply.send(());
        }
    }
}

async fn drain(control: &mut Control, signals: &mut Signals, stop: Request) {
    let shutdown = control.current.config.shutdown;
    let limit = (stop == Request::Stop).then_some(shutdown.limit);
    control.handle.set_phase(Phase::Draining);
    tracing::info!(
        delay = ?shutdown.delay, ?limit, connections = control.handle.connections(), "draining"
    );
    let is_cut = tokio::select! {
        () = sleep(shutdown.delay) => false,
        _ = signals.next_stop() => true,
    };
    // Our descriptors go first: a socket that one of us still holds would queue connections for nobody.
    let addresses = std::mem::take(&mut control.current.listeners);
    let files: Vec<_> = addresses
        .iter()
        .map(|address| address.local.clone())
        .collect();
    drop(addresses);

    if is_cut {
        cut(control).await;
    } else {
        finish(control, signals, limit).await;
    }
    for file in files
        .iter()
        .chain(control.current.admin.iter().map(|address| &address.local))
    {
        // Best effort: the next start replaces a stale file.
        let _ = file.remove_file();
    }
    if let Some(log) = &control.current.log
        && !log.log.flush(LOG_FLUSH_LIMIT)
    {
        tracing::warn!("the access log could not be written to its end");
    }
    tracing::info!("stopped");
}

/// Waits for what is in flight, within the limit, unless a second signal comes.
async fn finish(control: &mut Control, signals: &mut Signals, limit: Option<Duration>) {
    let started = Instant::now();
    control.workers.drain(limit);
    // Workers keep the limit themselves; this is for one that is stuck.
    let patience = limit.map_or(Duration::MAX, |limit| limit.saturating_add(DRAIN_GRACE));
    let finished = tokio::select! {
        finished = timeout(patience, control.workers.finished()) => finished.ok(),
        _ = signals.next_stop() => None,
    };
    match finished {
        Some(true) => {
            tracing::info!(took = ?started.elapsed(), "everything in flight has finished");
        }
        Some(false) => {
            tracing::warn!(
                ?limit,
                "the drain ended before everything in flight: the rest was cut off"
            );
        }
        None => cut(control).await,
    }
}

/// Ends at once, as a second signal asks. The workers get a moment to close what they have, so that clients
/// see an end rather than silence; the process does not wait for their threads.
async fn cut(control: &mut Control) {
    let connections = control.handle.connections();
    tracing::warn!(
        connections,
        "stopping at once: open connections are cut off"
    );
    control.workers.stop();
    let closed = async {
        while control.handle.connections() > 0 {
            sleep(CUT_STEP).await;
        }
    };
    if timeout(CUT_LIMIT, closed).await.is_err() {
        tracing::error!("a worker does not stop; the process ends without it");
    }
}

/// Every address of a configuration, those of the admin API last.
pub(crate) fn listening(current: &Compiled) -> Vec<Listening> {
    let traffic = current.listeners.iter().map(|address| Listening {
        name: address.name(&current.config).to_owned(),
        mode: address.mode_name(),
        address: address.local.to_string(),
    });
    let admin = current.admin.iter().map(|address| Listening {
        name: address.role.to_owned(),
        mode: address.role,
        address: address.local.to_string(),
    });
    traffic.chain(admin).collect()
}

fn bind_own_socket(path: &str) -> Option<(AdminSocket, AdminSocketKind)> {
    match AdminSocket::bind(Path::new(path)) {
        Ok((socket, listener)) => Some((socket, AdminSocketKind::Unix(listener))),
        Err(error) => {
            tracing::warn!(%error, "`balance reload` and `balance health` will not find this process");
            None
        }
    }
}

fn raise_descriptors() {
    if let Err(error) = balance_net::raise_descriptor_limit() {
        tracing::warn!(%error, "cannot raise the limit on file descriptors");
    }
}

/// Random per start, so that only our own name in Via is a loop and chains of Balance work.
fn via_name() -> String {
    format!("balance-{:08x}", random() as u32)
}

/// The standard library seeds its hash maps from the operating system; this is that seed.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Two of them after a change its certificates are in use.
const CERTIFICATE_LOOK_PERIOD: Duration = Duration::from_secs(1);
/// More callers than this are not waiting for a reload, they are flooding.
const REQUESTS_WAITING_MAX: usize = 16;
/// How long cut connections may take to close, and how often that is looked at.
const CUT_LIMIT: Duration = Duration::from_secs(1);
const CUT_STEP: Duration = Duration::from_millis(5);
/// Beyond a limit that the workers keep themselves.
const DRAIN_GRACE: Duration = Duration::from_secs(5);
const LOG_FLUSH_LIMIT: Duration = Duration::from_secs(2);

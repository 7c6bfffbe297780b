//! From the file on disk to what runs: load, compile, resolve, publish.
//!
//! ```text
//!   load ─► compile ─► resolve new names (≤ 2 s) ─► publish
//!     │        │              │                        │
//!     └─ refused: nothing     └─ may be abandoned:     └─ cannot fail: gone addresses stop accepting,
//!        has changed             nothing has changed      workers take the snapshot, new addresses begin
//! ```

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use balance_config::{Config, Diagnostic, PoolKind, Severity, Sources, load};
use balance_proxy::{Endpoint, SendError, Snapshot, Workers};
use balance_telemetry::Registry;

use crate::admin::{AdminListener, AdminRules, AdminServer, AdminSocketKind};
use crate::certificates::{self, ExpiryGauges};
use crate::check;
use crate::compile::{self, Compiled, Prepared, metrics_path};
use crate::handle::{Changes, ControlHandle, Problem, ReloadOutcome, ReloadSummary};
use crate::health::{HealthThread, JudgedPool, Target, Targets};
use crate::profiling::RunProfiles;
use crate::resolve::{Resolver, SystemLookup, resolve_first};
use crate::run::{Observer, listening};

/// What control owns while the process serves.
pub(crate) struct Control {
    pub(crate) current: Compiled,
    pub(crate) workers: Workers,
    pub(crate) handle: ControlHandle,
    pub(crate) resolver: Resolver,
    pub(crate) health: HealthThread,
    pub(crate) registry: Arc<Registry>,
    pub(crate) admin: Box<dyn AdminServer>,
    pub(crate) profiles: RunProfiles,
    /// The path of our own unix socket, if there is one: it is served whatever the configuration says.
    pub(crate) own_socket: Option<String>,
    pub(crate) sources: Box<dyn Sources>,
    pub(crate) path: String,
    pub(crate) observer: Box<dyn Observer>,
    pub(crate) expiry: ExpiryGauges,
}

impl Control {
    /// Makes the file what runs, or says why not and changes nothing. Dropped while it waits for names, it
    /// has changed nothing either.
    pub(crate) async fn reload(&mut self) -> ReloadOutcome {
        let started = Instant::now();
        let result = load_and_compile(
            &*self.sources,
            &self.path,
            Some(&self.current),
            &self.registry,
        );
        let (prepared, mut remarks) = match result {
            Ok(ready) => ready,
            Err(diagnostics) => return self.refuse(&diagnostics),
        };
        remarks.extend(resolve_names(&prepared).await);

        let summary = ReloadSummary {
            generation: prepared.next.snapshot.generation,
            listeners: Changes::between(
                &listener_names(&self.current),
                &listener_names(&prepared.next),
            ),
            pools: Changes::between(&pool_names(&self.current), &pool_names(&prepared.next)),
            backends: Changes::between(
                &self.current.identities.names(),
                &prepared.next.identities.names(),
            ),
            routes: prepared.next.config.routes.len(),
            warnings: remarks.iter().map(Problem::from).collect(),
            took: Duration::ZERO,
        };
        self.publish(prepared).await;
        self.registry.config_reloaded(true);
        let summary = ReloadSummary {
            took: started.elapsed(),
            ..summary
        };
        log_diagnostics(&remarks);
        log_summary(&summary);
        ReloadOutcome::Applied(summary)
    }

    /// Certificates that were renewed are taken into use, and those that end soon are warned about.
    pub(crate) fn look_at_certificates(&mut self) {
        let Compiled { config, tls, .. } = &mut self.current;
        let renewed = certificates::look(config, tls, &*self.sources, SystemTime::now());
        for pool in renewed {
            let members = config.pools[pool].members.iter();
            for backend in members.map(|id| &config.backends[id.index()]) {
                report(
                    "close idle connections",
                    self.workers.close_idle(&backend.pool, &backend.name),
                );
            }
        }
        self.expiry.set(certificates::expiring(config, tls));
    }

    /// SIGUSR1.
    pub(crate) fn reopen_logs(&self) {
        if let Some(log) = &self.current.log {
            log.log.reopen();
        }
        tracing::info!("log files are opened anew");
    }

    fn refuse(&self, diagnostics: &[Diagnostic]) -> ReloadOutcome {
        self.registry.config_reloaded(false);
        log_diagnostics(diagnostics);
        tracing::error!("the configuration was not reloaded: the old one stays in use");
        ReloadOutcome::Refused(diagnostics.iter().map(Problem::from).collect())
    }

    /// The order matters: connections that wait at a removed address are still accepted under the rules
    /// they came for, and no worker accepts at an address before it has rules for it.
    async fn publish(&mut self, prepared: Prepared) {
        let Prepared {
            next,
            added,
            removed,
            admin,
            backends,
            view,
            remarks: _,
        } = prepared;
        // Our descriptors first: while one is open, the kernel queues connections that nobody accepts.
        for address in &mut self.current.listeners {
            if removed.contains(&address.key) {
                *address = Arc::new(address.without_sockets());
            }
        }
        for key in &removed {
            report("stop accepting", self.workers.remove_listener(key));
        }
        let now_ms = self.handle.now_ms();
        backends.iter().for_each(|rules| rules.apply(now_ms));
        let previous = std::mem::replace(&mut self.current, next);
        self.publish_snapshot(&Arc::clone(&self.current.snapshot))
            .await;
        for sockets in added {
            report("begin to accept", self.workers.add_listener(sockets));
        }
        self.resolver.set_targets(self.current.endpoints());
        self.health.set_targets(self.current.health_targets());
        for gone in previous.identities.gone(&self.current.identities) {
            report(
                "close idle connections",
                self.workers.close_idle(&gone.pool, &gone.name),
            );
        }
        self.profiles.follow(&self.current.config);
        self.serve_admin(admin, None);
        self.look_at_certificates();
        self.handle.set_view(view);
        self.observer.on_logging(&self.current.config.logging);
        let before = listening(&previous);
        let mut added = listening(&self.current);
        added.retain(|one| !before.contains(one));
        if !added.is_empty() {
            self.observer.on_listening(&added);
        }
        self.remove_files_of(&previous);
    }

    /// Returns when every worker goes by it.
    pub(crate) async fn publish_snapshot(&self, snapshot: &Arc<Snapshot>) {
        report(
            "take the snapshot",
            self.workers.publish(snapshot, PUBLISH_LIMIT).await,
        );
    }

    /// Serves the configured addresses and our own socket. `fresh` is that socket, the first time.
    pub(crate) fn serve_admin(
        &mut self,
        mut listeners: Vec<AdminListener>,
        fresh: Option<AdminSocketKind>,
    ) {
        if let Some(path) = &self.own_socket {
            let metrics_path = Some(metrics_path(&self.current.config));
            let rules = AdminRules {
                api: true,
                profiling: false,
                metrics_path,
                token: None,
            };
            listeners.push(AdminListener {
                address: path.clone(),
                rules,
                socket: fresh,
            });
        }
        self.admin.serve(listeners, &self.handle);
    }

    /// Files of unix sockets that `previous` had and that nobody accepts on any more.
    fn remove_files_of(&self, previous: &Compiled) {
        for address in &previous.listeners {
            if !self
                .current
                .listeners
                .iter()
                .any(|other| other.local == address.local)
            {
                address.remove_file();
            }
        }
        for address in &previous.admin {
            if !self
                .current
                .admin
                .iter()
                .any(|other| other.local == address.local)
                && let Err(error) = address.local.remove_file()
            {
                tracing::warn!(address = %address.local, %error, "cannot remove the socket's file");
            }
        }
    }
}

impl Compiled {
    /// All backends, of all definitions.
    pub(crate) fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        self.identities.endpoints().cloned().collect()
    }

    /// All backends, and how each is probed and judged.
    pub(crate) fn health_targets(&self) -> Targets {
        let config = &self.config;
        let pools = config.pools.iter().zip(&self.tls.pools);
        let definitions = pools.filter(|(pool, _)| pool.kind == PoolKind::Definition);
        let mut targets = Targets::default();
        for (pool, secured) in definitions {
            let mut endpoints = Vec::with_capacity(pool.members.len());
            for backend in pool.members.iter().map(|id| &config.backends[id.index()]) {
                let endpoint = self.identities.endpoint(backend);
                let policy = secured
                    .as_ref()
                    .and_then(|secured| secured.policy(&backend.name));
                targets.probed.push(Target {
                    endpoint: Arc::clone(endpoint),
                    check: pool.health.check.clone(),
                    tls: policy.cloned(),
                });
                endpoints.push(Arc::clone(endpoint));
            }
            targets.judged.push(JudgedPool {
                endpoints,
                checks: pool.health.passive.clone(),
            });
        }
        targets
    }
}

/// Reads the file and compiles it. What is left of the diagnostics on success are remarks.
///
/// # Errors
/// All diagnostics, in the order of their places.
pub(crate) fn load_and_compile(
    sources: &dyn Sources,
    path: &str,
    previous: Option<&Compiled>,
    registry: &Arc<Registry>,
) -> Result<(Prepared, Vec<Diagnostic>), Vec<Diagnostic>> {
    let mut loaded = load(sources, path);
    let mut diagnostics = std::mem::take(&mut loaded.diagnostics);
    let compiled = match loaded.config.take() {
        Some(config) => compile::compile(config, sources, previous, registry),
        None => Err(check::parts(sources, &loaded)),
    };
    match compiled {
        Ok(mut prepared) => {
            diagnostics.append(&mut prepared.remarks);
            Ok((prepared, diagnostics))
        }
        Err(errors) => {
            diagnostics.extend(errors);
            diagnostics.sort_by(|a, b| a.place.cmp(&b.place));
            Err(diagnostics)
        }
    }
}

/// Asks for names that are new. One that does not resolve is a warning, never a refusal.
pub(crate) async fn resolve_names(prepared: &Prepared) -> Vec<Diagnostic> {
    let config: &Config = &prepared.next.config;
    let unresolved = resolve_first(SystemLookup, &prepared.next.endpoints(), RESOLVE_LIMIT).await;
    let reasons: Vec<(String, String)> = unresolved
        .into_iter()
        .map(|one| (one.endpoint.identity().address.to_string(), one.reason))
        .collect();
    let warn = |backend: &balance_config::Backend| {
        let address = backend.address.value.to_string();
        let (_, reason) = reasons
            .iter()
            .find(|(unresolved, _)| *unresolved == address)?;
        let message = format!(
            "backend `{}`: {address} does not resolve: {reason}",
            backend.name
        );
        let help = "it gets no traffic until the name resolves; Balance keeps asking";
        let place = &backend.address.place;
        Some(Diagnostic::new(Severity::Warning, place, message).with_help(help))
    };
    if reasons.is_empty() {
        return Vec::new();
    }
    config.backends.iter().filter_map(warn).collect()
}

/// One log line for each, help included: log readers know no continuation lines.
pub(crate) fn log_diagnostics(diagnostics: &[Diagnostic]) {
    for Diagnostic {
        severity,
        place,
        message,
        help,
        ..
    } in diagnostics
    {
        let separator = if help.is_some() { "; " } else { "" };
        let help = help.as_deref().unwrap_or_default();
        match severity {
            Severity::Error => tracing::error!("{place}: {message}{separator}{help}"),
            Severity::Warning => tracing::warn!("{place}: {message}{separator}{help}"),
            Severity::Note => tracing::info!("{place}: {message}{separator}{help}"),
        }
    }
}

fn log_summary(summary: &ReloadSummary) {
    tracing::info!(
        generation = summary.generation,
        listeners_added = ?summary.listeners.added,
        listeners_removed = ?summary.listeners.removed,
        pools_added = ?summary.pools.added,
        pools_removed = ?summary.pools.removed,
        backends_added = ?summary.backends.added,
        backends_removed = ?summary.backends.removed,
        took = ?summary.took,
        "the configuration was reloaded"
    );
}

/// A worker that takes no messages is stuck; the others go on, and so does control.
fn report(what: &str, result: Result<(), SendError>) {
    if let Err(error) = result {
        tracing::error!(%error, "a worker was told to {what} and did not");
    }
}

/// `name (address)`, without duplicates.
fn listener_names(compiled: &Compiled) -> Vec<String> {
    let mut seen = HashSet::new();
    compiled
        .listeners
        .iter()
        .map(|address| format!("{} ({})", address.name(&compiled.config), address.local))
        .filter(|name| seen.insert(name.clone()))
        .collect()
}

fn pool_names(compiled: &Compiled) -> Vec<String> {
    compiled
        .config
        .pools
        .iter()
        .map(|pool| pool.name.clone())
        .collect()
}

/// A worker takes a snapshot within one turn of its loop. This is for one that is stuck.
const PUBLISH_LIMIT: Duration = Duration::from_secs(5);
/// For all new names together, at a start and at a reload.
const RESOLVE_LIMIT: Duration = Duration::from_secs(2);

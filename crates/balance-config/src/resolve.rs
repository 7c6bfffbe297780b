//! The sections together: what they say about one another, inheritance, names to positions. Its result
//! is complete only when no error was reported.

mod listeners;
mod mode;
mod overrides;
mod pools;
mod routes;
mod server_names;
mod tls;

use std::sync::Arc;

use crate::config::{Config, Mode, Version};
use crate::diagnostics::{Diagnostic, Diagnostics, Severity};
use crate::sections::timeouts::{self, TimeoutsLayer};
use crate::sections::{http, limits, listener, pool, route, security, telemetry, transform};
use crate::sources::Sources;
use crate::value::Block;

/// Makes the configuration of a file whose values were checked one by one.
pub(crate) fn resolve(
    root: &Block,
    sources: &dyn Sources,
    file: &Arc<str>,
    diagnostics: &mut Diagnostics,
) -> Config {
    let version = match root.integer("version") {
        Some(2) => Version::V2,
        _ => Version::V1,
    };
    let layers = file_timeouts(root, diagnostics);
    let layers = [&layers.0, &layers.1];
    let top_transform = transform::read(root.block("transform"), diagnostics);

    let mut pools = pools::resolve(pool_drafts(root, version, diagnostics), layers, diagnostics);
    let mut routes = routes::resolve(
        route_drafts(root, version, diagnostics),
        &mut pools,
        layers,
        &top_transform,
        diagnostics,
    );

    let overrides = overrides::read(sources, diagnostics);
    let mut drafts: Vec<listener::ListenerDraft> =
        listener::read_main(root, diagnostics).into_iter().collect();
    drafts.extend(
        root.list("listeners")
            .iter()
            .filter_map(|item| listener::read(item.block()?, diagnostics)),
    );
    overrides.apply(root, &mut drafts, diagnostics);
    warn_orphans(root, &drafts, diagnostics);
    let default_mode = mode::Default::of(root, overrides.mode);
    let mut context = listeners::Context {
        version,
        file,
        pools: &mut pools,
        routes: &mut routes,
        default_mode,
        transform: &top_transform,
    };
    let listeners = listeners::resolve(drafts, root, &mut context, diagnostics);

    let has_http = listeners.iter().any(|listener| listener.mode == Mode::Http);
    let mode = if has_http { Mode::Http } else { Mode::Tcp };
    if mode == Mode::Tcp {
        let has_session_routes = routes.iter().any(|route| route.server_names.is_some());
        mode::warn_without_effect(root, has_session_routes, diagnostics);
    }
    listeners::warn_hash_keys(&listeners, &pools.pools, diagnostics);

    let admin = telemetry::read_admin(root.block("admin"));
    let metrics = telemetry::read_metrics(root.block("metrics"));
    let profiling = telemetry::read_profiling(root.block("profiling"));
    let own = [
        (admin.as_ref().map(|admin| &admin.listen), "admin"),
        (metrics.as_ref().map(|metrics| &metrics.listen), "metrics"),
        (profiling.as_ref().map(|one| &one.listen), "profiling"),
    ];
    listeners::check_addresses(&listeners, &own, diagnostics);
    let mut logging = telemetry::read_logging(root.block("logging"));
    logging.level = overrides.level.unwrap_or(logging.level);

    let http = root.block("http");
    let limits = root.block("limits");
    let protection = security::connection_protection(root.block("security"));
    let file_timeouts = timeouts::resolve(&layers);
    let (worker_threads, zero_copy) = limits::read_performance(root.block("performance"));
    Config {
        version,
        listeners,
        pools: pools.pools,
        backends: pools.backends,
        routes,
        transform: top_transform,
        admin,
        metrics,
        profiling,
        logging,
        limits: limits::read(limits, protection, diagnostics),
        connections_max_place: limits
            .and_then(|limits| limits.item("connections_max"))
            .map(|item| item.place.clone()),
        idle: http::read_idle(http, root.block("connection_pool"), mode, diagnostics),
        idle_upstream_max: limits::read_idle_upstream_max(limits),
        buffered_bytes_max: limits::read_buffered_bytes_max(limits),
        protocol: http::read_protocol(http),
        worker_threads,
        zero_copy,
        shutdown: limits::read_shutdown(root.block("shutdown"), file_timeouts.drain),
        timeouts: file_timeouts,
        via_name: root.text("via_name").map(str::to_owned),
    }
}

/// `defaults.timeouts` and the top-level ones, which lie over them.
fn file_timeouts(root: &Block, diagnostics: &mut Diagnostics) -> (TimeoutsLayer, TimeoutsLayer) {
    let defaults = root
        .block("defaults")
        .and_then(|defaults| defaults.block("timeouts"));
    let defaults = TimeoutsLayer::read(defaults, diagnostics);
    let written = root.block("timeouts");
    let mut top = TimeoutsLayer::read(written, diagnostics);
    let security = root.block("security");
    if let Some(head) = security::head_timeout(security) {
        let clash = top.head().filter(|other| *other != head);
        if clash.is_some()
            && let (Some(protection), Some(written)) =
                (security::connection_protection(security), written)
        {
            diagnostics.push(
                Diagnostic::new(
                    Severity::Warning,
                    protection.key_place("read_timeout"),
                    "`read_timeout` and `timeouts.head` differ: the smaller wins",
                )
                .with_related(written.key_place("head"), "the other one is here"),
            );
        }
        top.set_head(clash.map_or(head, |other| other.min(head)));
    }
    (defaults, top)
}

/// Top-level keys that belong to a listener or pool which the file does not make.
fn warn_orphans(
    root: &Block,
    listeners: &[listener::ListenerDraft],
    diagnostics: &mut Diagnostics,
) {
    let mut warn = |key: &str, owner: &str| {
        if root.has(key) {
            let message = format!("`{key}` has no effect: it belongs to {owner}");
            diagnostics.warning(root.key_place(key), message);
        }
    };
    if !listeners
        .iter()
        .any(|draft| draft.name.value == listener::MAIN)
    {
        warn(
            "trusted_proxies",
            "the listener that a top-level `listen` makes",
        );
    }
    if !root.has("backends") {
        for key in ["load_balancer", "health_check", "resilience"] {
            warn(key, "the pool that top-level `backends` make");
        }
        if let Some(tls) = root.enabled_block("tls").filter(|tls| tls.has("backend")) {
            diagnostics.warning(
                tls.key_place("backend"),
                "`backend` has no effect: it belongs to the pool that top-level `backends` make",
            );
        }
    }
}

/// `default` first, then `pools` in file order.
fn pool_drafts(
    root: &Block,
    version: Version,
    diagnostics: &mut Diagnostics,
) -> Vec<pool::PoolDraft> {
    let mut drafts: Vec<_> = pool::read_default(root, version, diagnostics)
        .into_iter()
        .collect();
    let defaults = root.block("defaults");
    for (name, item) in root.map("pools") {
        // One that is wrong as a whole still has its name, so that nobody is told that it does not exist.
        let absent = Block::absent(&pool::POOL, item.place.clone());
        let block = item.block().unwrap_or(&absent);
        drafts.push(pool::read(name, block, defaults, version, diagnostics));
    }
    drafts
}

/// `http.routes` first, then `routes`: both in file order.
fn route_drafts(
    root: &Block,
    version: Version,
    diagnostics: &mut Diagnostics,
) -> Vec<route::RouteDraft> {
    let flat = root
        .block("http")
        .map_or(&[][..], |http| http.list("routes"));
    flat.iter()
        .chain(root.list("routes"))
        .filter_map(|item| Some(route::read(item.block()?, version, diagnostics)))
        .collect()
}

//! What is shown, as JSON with stable names.

use std::time::UNIX_EPOCH;

use balance_control::{
    BackendView, BreakerView, Changes, ConditionView, ControlHandle, EjectionView, HealthView,
    ListenerView, PoolLimitsView, PoolView, Problem, RampState, ReloadSummary, RouteView, Setting,
};
use serde_json::{Value, json};

pub(crate) fn version(control: &ControlHandle) -> Value {
    json!({ "name": "balance", "version": control.identity().version })
}

pub(crate) fn status(control: &ControlHandle) -> Value {
    let view = control.view();
    let identity = control.identity();
    let published = view
        .published
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    json!({
        "version": identity.version,
        "phase": control.phase().name(),
        "pid": std::process::id(),
        "uptime_seconds": control.uptime().as_secs(),
        "workers": identity.workers,
        "connections": control.connections(),
        "config": {
            "path": identity.config,
            "generation": view.generation,
            "published_timestamp": published.as_secs(),
        },
        "listeners": view.listeners.iter().map(listener).collect::<Vec<_>>(),
        "pools": view.pools.iter().map(|pool| summary(pool, control)).collect::<Vec<_>>(),
    })
}

pub(crate) fn config(control: &ControlHandle) -> Value {
    let view = control.view();
    json!({
        "path": control.identity().config,
        "generation": view.generation,
        "listeners": view.listeners.iter().map(listener).collect::<Vec<_>>(),
        "pools": view.pools.iter().map(|one| pool(one, control)).collect::<Vec<_>>(),
        "routes": view.routes.iter().map(route).collect::<Vec<_>>(),
        "settings": settings(&view.settings),
    })
}

pub(crate) fn pools(control: &ControlHandle) -> Value {
    let view = control.view();
    let pools: Vec<Value> = view.pools.iter().map(|one| pool(one, control)).collect();
    json!({ "generation": view.generation, "pools": pools })
}

pub(crate) fn routes(control: &ControlHandle) -> Value {
    let view = control.view();
    let routes: Vec<Value> = view.routes.iter().map(route).collect();
    json!({ "generation": view.generation, "routes": routes })
}

pub(crate) fn reloaded(summary: &ReloadSummary) -> Value {
    json!({
        "result": "applied",
        "generation": summary.generation,
        "took_ms": u64::try_from(summary.took.as_millis()).unwrap_or(u64::MAX),
        "listeners": changes(&summary.listeners),
        "pools": changes(&summary.pools),
        "backends": changes(&summary.backends),
        "routes": summary.routes,
        "problems": problems(&summary.warnings),
    })
}

pub(crate) fn refused(list: &[Problem]) -> Value {
    json!({ "result": "refused", "problems": problems(list) })
}

/// An answer that is not what was asked for.
pub(crate) fn error(message: &str, help: Option<&str>) -> Value {
    json!({ "error": message, "help": help })
}

fn listener(listener: &ListenerView) -> Value {
    json!({
        "name": listener.name,
        "mode": listener.mode,
        "address": listener.address,
        "routes": listener.routes,
        "pool": listener.pool,
    })
}

/// A pool in one line: how much of it can be used.
fn summary(pool: &PoolView, control: &ControlHandle) -> Value {
    let backends = control.backends(pool);
    let pickable = backends
        .iter()
        .filter(|backend| backend.is_pickable)
        .count();
    json!({
        "name": pool.name,
        "backends": backends.len(),
        "pickable": pickable,
        "in_flight": backends.iter().map(|backend| u64::from(backend.in_flight)).sum::<u64>(),
    })
}

fn pool(pool: &PoolView, control: &ControlHandle) -> Value {
    let backends = control.backends(pool);
    json!({
        "name": pool.name,
        "view_of": pool.view_of,
        "algorithm": pool.algorithm,
        "hash_key": pool.hash_key,
        "slow_start_ms": u64::try_from(pool.slow_start.as_millis()).unwrap_or(u64::MAX),
        "limits": pool.limits().map(|one| limits(&one)),
        "backends": backends
            .iter()
            .map(backend)
            .collect::<Vec<_>>(),
    })
}

fn limits(limits: &PoolLimitsView) -> Value {
    let queued = &limits.queued;
    json!({
        "max_connections": limits.max_connections,
        "in_use": limits.in_use,
        "queue": limits.queue,
        "queue_timeout_ms": u64::try_from(limits.queue_timeout.as_millis()).unwrap_or(u64::MAX),
        "waiting": queued.waiting,
        "served": queued.served,
        "refused": queued.refused,
        "timed_out": queued.timed_out,
        "left": queued.left,
    })
}

pub(crate) fn backend(backend: &BackendView) -> Value {
    json!({
        "name": backend.name,
        "address": backend.address,
        "resolved": backend.resolved,
        "state": backend.state,
        "pickable": backend.is_pickable,
        "rest_left_ms": u64::try_from(backend.rest_left.as_millis()).unwrap_or(u64::MAX),
        "failures": backend.failures,
        "rests": backend.rests,
        "weight": backend.weight.0,
        "configured_weight": backend.configured_weight.0,
        "in_flight": backend.in_flight,
        "max_connections": backend.max_connections,
        "slow_start": backend.ramp.map(ramp),
        "health": backend.health.as_ref().map(health),
        "ejection": backend.ejection.as_ref().map(ejection),
        "circuit_breaker": backend.breaker.as_ref().map(breaker),
    })
}

fn ramp(ramp: RampState) -> Value {
    json!({ "percent": ramp.percent, "left_ms": ramp.left_ms })
}

fn breaker(breaker: &BreakerView) -> Value {
    json!({
        "state": breaker.state.name(),
        "age_ms": u64::try_from(breaker.age.as_millis()).unwrap_or(u64::MAX),
        "left_ms": u64::try_from(breaker.left.as_millis()).unwrap_or(u64::MAX),
        "openings": breaker.openings,
        "reason": &*breaker.reason,
    })
}

fn ejection(ejection: &EjectionView) -> Value {
    json!({
        "ejections": ejection.ejections,
        "left_ms": u64::try_from(ejection.left.as_millis()).unwrap_or(u64::MAX),
        "reason": &*ejection.reason,
    })
}

fn health(health: &HealthView) -> Value {
    json!({
        "state": health.state,
        "age_ms": u64::try_from(health.age.as_millis()).unwrap_or(u64::MAX),
        "reason": &*health.reason,
        "probes": health.probes,
        "failed_probes": health.failed_probes,
    })
}

fn route(route: &RouteView) -> Value {
    json!({
        "name": route.name,
        "place": route.place,
        "priority": route.priority,
        "match": {
            "hosts": route.hosts,
            "sni": route.server_names,
            "path": route.path,
            "methods": route.methods,
            "headers": conditions(&route.headers),
            "query": conditions(&route.query),
            "cookie": conditions(&route.cookies),
        },
        "action": route.action,
        "mirror": route.mirror,
    })
}

/// In the form that the configuration has them.
fn conditions(conditions: &[(String, ConditionView)]) -> Value {
    let show = |condition: &ConditionView| match condition {
        ConditionView::Value(value) => json!(value),
        ConditionView::Regex(pattern) => json!({ "regex": pattern }),
        ConditionView::Present(present) => json!({ "present": present }),
    };
    let pairs = conditions
        .iter()
        .map(|(name, one)| (name.clone(), show(one)));
    Value::Object(pairs.collect())
}

fn settings(view: &[(&'static str, Setting)]) -> Value {
    let entries = view
        .iter()
        .map(|(name, value)| ((*name).to_owned(), setting(value)));
    Value::Object(entries.collect())
}

fn setting(value: &Setting) -> Value {
    match value {
        Setting::Number(number) => json!(number),
        Setting::Text(text) => json!(text),
        Setting::Flag(flag) => json!(flag),
        Setting::Group(group) => settings(group),
        Setting::Absent => Value::Null,
    }
}

fn changes(changes: &Changes) -> Value {
    json!({ "added": changes.added, "removed": changes.removed, "kept": changes.kept })
}

fn problems(list: &[Problem]) -> Vec<Value> {
    let show = |problem: &Problem| {
        json!({
            "severity": problem.severity,
            "file": problem.file,
            "line": problem.line,
            "column": problem.column,
            "message": problem.message,
            "help": problem.help,
        })
    };
    list.iter().map(show).collect()
}

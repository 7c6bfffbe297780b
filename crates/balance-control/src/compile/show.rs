//! The view of a configuration for the admin API.

use std::sync::Arc;
use std::time::SystemTime;

use balance_config::{
    Action, Config, HostPattern, NamedMatch, PathMatch, Pool, PoolKind, Route, Share, ValueMatch,
    Version,
};
use balance_core::{HashKey, Http2Limits, PoolId, Timeouts};

use super::BoundAddress;
use super::pools;
use super::routes::Tables;
use crate::identity::Identities;
use crate::view::{
    ConditionView, ListenerView, MemberView, PoolView, RouteView, Running, Setting, SettingsView,
    View,
};

pub(super) fn view(
    running: Running,
    identities: &Identities,
    tables: &[Tables],
    addresses: &[Arc<BoundAddress>],
    generation: u64,
) -> View {
    let config = &*running.config;
    let listener = |address: &Arc<BoundAddress>| {
        let listener = &config.listeners[address.listener()];
        let table = &tables[address.listener()].routes;
        ListenerView {
            name: listener.name.clone(),
            mode: listener.mode.name(),
            address: address.local.to_string(),
            routes: table
                .routes()
                .map(|one| config.routes[one.id.index()].name.clone())
                .collect(),
            pool: listener
                .pool
                .map(|pool| config.pools[pool.index()].name.clone()),
        }
    };
    View {
        generation,
        published: SystemTime::now(),
        listeners: addresses.iter().map(listener).collect(),
        pools: config
            .pools
            .iter()
            .map(|one| pool(config, one, identities))
            .collect(),
        routes: config.routes.iter().map(|one| route(config, one)).collect(),
        settings: settings(config),
        running,
    }
}

fn pool(config: &Config, pool: &Pool, identities: &Identities) -> PoolView {
    let member = |id: &balance_core::BackendId| {
        let backend = &config.backends[id.index()];
        MemberView {
            configured_weight: backend.weight,
            endpoint: Arc::clone(identities.endpoint(backend)),
        }
    };
    PoolView {
        name: pool.name.clone(),
        view_of: match pool.kind {
            PoolKind::Definition => None,
            PoolKind::View { of, .. } => Some(config.pools[of.index()].name.clone()),
        },
        algorithm: pool.algorithm.name(),
        hash_key: pool.algorithm.needs_hash().then(|| match &pool.hash_key {
            HashKey::SourceIp => "source-ip".to_owned(),
            HashKey::Header(name) => format!("header:{name}"),
        }),
        slow_start: pool.slow_start,
        members: pool.members.iter().map(member).collect(),
        limits: pools::limits(pool, identities),
    }
}

fn route(config: &Config, route: &Route) -> RouteView {
    let host = |host: &HostPattern| match host {
        HostPattern::Any => "*".to_owned(),
        HostPattern::Exact(name) => name.clone(),
        HostPattern::Under(name) => format!("*.{name}"),
    };
    let name = |pool: PoolId| config.pools[pool.index()].name.as_str();
    RouteView {
        name: route.name.clone(),
        place: route.place.to_string(),
        priority: route.priority,
        hosts: route.matches.hosts.iter().map(host).collect(),
        server_names: route.server_names.iter().flatten().map(host).collect(),
        path: match &route.matches.path {
            PathMatch::Any => "any".to_owned(),
            PathMatch::BytePrefix(path) | PathMatch::SegmentPrefix(path) => {
                format!("prefix {path}")
            }
            PathMatch::Exact(path) => format!("exact {path}"),
            PathMatch::Regex(pattern) => format!("regex {}", pattern.value),
        },
        methods: route.matches.methods.clone(),
        headers: conditions(&route.matches.headers),
        query: conditions(&route.matches.query),
        cookies: conditions(&route.matches.cookies),
        action: match &route.action {
            Action::Forward(pool) => format!("pool {}", name(*pool)),
            Action::Split(shares) => {
                let share = |share: &Share| format!("{} {}", name(share.pool), share.weight.0);
                format!(
                    "split {}",
                    shares.iter().map(share).collect::<Vec<_>>().join(", ")
                )
            }
            Action::Redirect(redirect) => format!("redirect {}", redirect.status),
            Action::Respond(respond) => format!("respond {}", respond.status),
        },
        mirror: route.mirror.as_ref().map(|mirror| {
            let percent = mirror.sample * 100.0;
            format!("{} {percent}%", name(mirror.pool))
        }),
    }
}

fn conditions(conditions: &[NamedMatch]) -> Vec<(String, ConditionView)> {
    let show = |condition: &NamedMatch| match &condition.value {
        ValueMatch::Exact(value) => ConditionView::Value(value.clone()),
        ValueMatch::Regex(pattern) => ConditionView::Regex(pattern.value.clone()),
        ValueMatch::Present => ConditionView::Present(true),
        ValueMatch::Absent => ConditionView::Present(false),
    };
    conditions
        .iter()
        .map(|condition| (condition.name.clone(), show(condition)))
        .collect()
}

fn settings(config: &Config) -> SettingsView {
    vec![
        (
            "version",
            Setting::Number(if config.version == Version::V2 { 2 } else { 1 }),
        ),
        ("timeouts", timeouts(&config.timeouts).into()),
        ("limits", limits(config).into()),
        (
            "max_idle_conns_per_host",
            config.idle.max_idle_conns_per_host.into(),
        ),
        ("idle_conn_timeout", config.idle.idle_conn_timeout.into()),
        ("enable_http2", config.protocol.enable_http2.into()),
        ("enable_websocket", config.protocol.enable_websocket.into()),
        (
            "worker_threads",
            config
                .worker_threads
                .map(std::num::NonZeroUsize::get)
                .into(),
        ),
        ("zero_copy", config.zero_copy.into()),
        (
            "shutdown",
            vec![
                ("delay", config.shutdown.delay.into()),
                ("limit", config.shutdown.limit.into()),
            ]
            .into(),
        ),
        (
            "admin",
            config
                .admin
                .as_ref()
                .map(|one| one.listen.value.to_string())
                .into(),
        ),
        (
            "metrics",
            config
                .metrics
                .as_ref()
                .map(|one| one.listen.value.to_string())
                .into(),
        ),
    ]
}

fn timeouts(timeouts: &Timeouts) -> SettingsView {
    vec![
        ("connect", timeouts.connect.into()),
        ("head", timeouts.head.into()),
        ("first_byte", timeouts.first_byte.into()),
        ("read", timeouts.read.into()),
        ("write_progress", timeouts.write_progress.into()),
        ("request", timeouts.request.into()),
        ("idle", timeouts.idle.into()),
        ("tunnel", timeouts.tunnel.into()),
        ("drain", timeouts.drain.into()),
    ]
}

fn http2_limits(limits: &Http2Limits) -> SettingsView {
    let number = |number: u32| Setting::Number(number.into());
    vec![
        (
            "max_concurrent_streams",
            number(limits.max_concurrent_streams),
        ),
        ("stream_window", number(limits.stream_window)),
        ("connection_window", number(limits.connection_window)),
        ("resets_max", number(limits.resets_max)),
        ("idle_frames_max", number(limits.idle_frames_max)),
        ("budget_window", limits.budget_window.into()),
        ("continuations_max", number(limits.continuations_max)),
        ("requests_max", number(limits.requests_max)),
    ]
}

fn limits(config: &Config) -> SettingsView {
    let limits = &config.limits;
    vec![
        ("head_bytes_max", limits.head_bytes_max.into()),
        ("fields_max", limits.fields_max.into()),
        ("target_bytes_max", limits.target_bytes_max.into()),
        ("body_bytes_max", limits.body_bytes_max.into()),
        ("connections_max", limits.connections_max.into()),
        (
            "connections_per_ip_max",
            limits.connections_per_ip_max.into(),
        ),
        ("lingering_bytes_max", limits.lingering_bytes_max.into()),
        (
            "interim_responses_max",
            Setting::Number(limits.interim_responses_max.into()),
        ),
        ("handshakes_max", limits.handshakes_max.into()),
        ("handshake_timeout", limits.handshake_timeout.into()),
        ("http2", http2_limits(&limits.http2).into()),
        ("idle_upstream_max", config.idle_upstream_max.into()),
        ("buffered_bytes_max", config.buffered_bytes_max.into()),
    ]
}

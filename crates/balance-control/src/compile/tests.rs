mod checks;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use balance_config::{Config, Diagnostic, MemorySources, load};
use balance_core::{Algorithm, ListenAddress};
use balance_lb::{Backend, Pick, PickRequest, Rng, TriedSet};
use balance_proxy::{Action, Endpoint, Mode};
use balance_telemetry::{BuildInfo, Registry};

use super::{Compiled, Prepared, check, compile};

fn registry() -> Arc<Registry> {
    Registry::new(BuildInfo {
        version: "0",
        revision: "",
    })
}

fn config(yaml: &str) -> Config {
    let loaded = load(&MemorySources::file("t.yaml", yaml), "t.yaml");
    loaded
        .config
        .unwrap_or_else(|| panic!("{:#?}", loaded.diagnostics))
}

fn prepare(yaml: &str, previous: Option<&Compiled>) -> Result<Prepared, Vec<Diagnostic>> {
    compile(
        config(yaml),
        &MemorySources::default(),
        previous,
        &registry(),
    )
}

fn prepared(yaml: &str, previous: Option<&Compiled>) -> Prepared {
    prepare(yaml, previous).unwrap_or_else(|diagnostics| panic!("{diagnostics:#?}"))
}

fn refused(yaml: &str, previous: Option<&Compiled>) -> Vec<String> {
    match prepare(yaml, previous) {
        Ok(_) => panic!("it was not refused"),
        Err(diagnostics) => diagnostics.iter().map(ToString::to_string).collect(),
    }
}

/// The members of the pool at `index`.
fn members(compiled: &Compiled, index: usize) -> &[Arc<Endpoint>] {
    &compiled.snapshot.pools[index].members
}

fn ports(prepared: &Prepared) -> Vec<u16> {
    let port = |address: &Arc<super::BoundAddress>| address.key.address.port().unwrap();
    prepared.next.listeners.iter().map(port).collect()
}

const TWO: &str = "
version: 2
performance: { worker_threads: 2 }
listeners:
  - { name: web, listen: '127.0.0.1:0', mode: http, pool: p }
  - { name: raw, listen: '127.0.0.1:0', mode: tcp, pool: p }
pools:
  p:
    backends:
      - { name: a, address: '127.0.0.1:9001', max_connections: 5 }
      - { name: b, address: '127.0.0.1:9002' }
routes:
  - { name: only-b, match: { path_prefix: /b }, pool: p, backends: [b] }
  - { name: moved, match: { path: /old }, redirect: { path: /new, status: 308 } }
";

#[test]
fn a_route_with_backends_is_a_view_of_the_same_objects() {
    let prepared = prepared(TWO, None);
    let snapshot = &prepared.next.snapshot;
    let [_, b] = members(&prepared.next, 0) else {
        panic!("two members");
    };
    let [same] = members(&prepared.next, 1) else {
        panic!("one member");
    };
    assert!(Arc::ptr_eq(b, same));
    assert_eq!(snapshot.pools[1].name, "route:only-b");
    assert!(matches!(snapshot.routes[0].action, Action::Forward(pool) if pool.index() == 1));
    assert!(matches!(snapshot.routes[1].action, Action::Redirect(_)));
    assert_eq!(snapshot.listeners[0].table.len(), 2);
    assert_eq!(snapshot.listeners[1].mode, Mode::Tcp);
}

#[test]
fn every_worker_gets_a_socket_and_port_0_becomes_real() {
    let prepared = prepared(TWO, None);
    let ports = ports(&prepared);
    assert!(ports.iter().all(|port| *port != 0));
    assert_ne!(ports[0], ports[1]);
    assert_eq!(prepared.added.len(), 2);
    assert!(prepared.added.iter().all(|sockets| sockets.len() == 2));
    let keys: Vec<_> = prepared
        .next
        .snapshot
        .listeners
        .iter()
        .map(|rules| &rules.key)
        .collect();
    for (key, sockets) in keys.iter().zip(&prepared.added) {
        assert_eq!(**key, sockets[0].key);
    }
}

#[test]
fn backends_and_cursors_are_carried_by_identity() {
    let first = prepared(TWO, None).next;
    let a = &members(&first, 0)[0];
    let b = &members(&first, 0)[1];
    a.try_lease().unwrap();
    b.on_connect_failure(1, 0);
    assert_eq!(next_pick(&first), 0);

    // Another order, another weight, a new one, and `b` at another address.
    let yaml = TWO
        .replace(
            "- { name: b, address: '127.0.0.1:9002' }",
            "- { name: c, address: '127.0.0.1:9003' }",
        )
        .replace(
            "5 }",
            "7, weight: 3 }\n      - { name: b, address: '127.0.0.1:9099' }",
        );
    let second = prepared(&yaml, Some(&first));
    let [a2, b2, _c] = members(&second.next, 0) else {
        panic!("three members");
    };
    assert!(Arc::ptr_eq(a, a2));
    assert_eq!(a2.in_flight(), 1);
    assert!(!Arc::ptr_eq(b, b2), "another address is another backend");
    assert_eq!(b2.snapshot_state(1).failures, 0);
    assert_eq!(next_pick(&second.next), 1, "the cursor goes on");

    let gone: Vec<_> = first.identities.gone(&second.next.identities).collect();
    assert_eq!(gone.len(), 1);
    assert_eq!(gone[0].name, "b");
    assert_eq!(
        a.max_connections(),
        0,
        "limits change at publish, not before"
    );
    second.backends.iter().for_each(|rules| rules.apply(0));
    assert_eq!(a.max_connections(), 7);
}

#[test]
fn splits_and_copies_under_way_are_carried_by_the_name_of_their_route() {
    let yaml = |weight: u32, sample: &str, name: &str| {
        let pools =
            "  q: { backends: ['127.0.0.1:9003'] }\n  s: { backends: ['127.0.0.1:9004'] }\n";
        let route = format!(
            "  - {{ name: {name}, split: [ {{ pool: p, weight: {weight} }}, {{ pool: q, weight: 1 }} ], mirror: {{ pool: s, sample: {sample} }} }}\n"
        );
        TWO.replace("routes:\n", &format!("{pools}routes:\n{route}"))
    };
    let first = prepared(&yaml(1, "10%", "r"), None).next;
    let snapshot = &first.snapshot;
    assert!(matches!(snapshot.routes[0].action, Action::Split(id) if id.index() == 0));
    let shares = snapshot.splits[0].shares().iter();
    let shares: Vec<_> = shares
        .map(|share| (share.pool.index(), share.weight.0))
        .collect();
    assert_eq!(shares, [(0, 1), (1, 1)]);
    assert_eq!(snapshot.routes[0].mirror.map(|id| id.index()), Some(0));
    let mirror = &snapshot.mirrors[0];
    assert_eq!((mirror.route.index(), mirror.pool.index()), (0, 2));

    let second = prepared(&yaml(9, "100%", "r"), Some(&first)).next;
    let same = |a: &Compiled, b: &Compiled| {
        let name = |one: &Compiled| one.config.routes[0].name.clone();
        let cursors = [a, b].map(|one| one.identities.split(&name(one)));
        let places = [a, b].map(|one| Arc::clone(&one.snapshot.mirrors[0].in_flight));
        (
            Arc::ptr_eq(&cursors[0], &cursors[1]),
            Arc::ptr_eq(&places[0], &places[1]),
        )
    };
    assert_eq!(same(&first, &second), (true, true));
    let renamed = prepared(&yaml(9, "100%", "other"), Some(&second)).next;
    assert_eq!(same(&second, &renamed), (false, false));
}

fn next_pick(compiled: &Compiled) -> usize {
    let pool = &compiled.snapshot.pools[0];
    assert_eq!(compiled.config.pools[0].algorithm, Algorithm::RoundRobin);
    let mut request = PickRequest {
        now_ms: 1_000_000,
        hash: 0,
        random: &mut Rng::new(1),
        tried: &TriedSet::new(),
    };
    let backends: Vec<&Backend> = pool.members.iter().map(|one| one.backend()).collect();
    match pool.policy.balancer().pick(&backends, &mut request) {
        Pick::Picked(index) => {
            pool.members[index].release();
            index
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn unchanged_addresses_are_not_bound_again() {
    let first = prepared(TWO, None);
    let before = ports(&first);
    let second = prepared(TWO, Some(&first.next));
    assert_eq!(ports(&second), before);
    assert!(second.added.is_empty());
    assert!(second.removed.is_empty());
    assert_eq!(second.next.snapshot.generation, 2);

    let renamed = prepared(&TWO.replace("name: web", "name: site"), Some(&second.next));
    assert!(renamed.added.is_empty() && renamed.removed.is_empty());
    assert_eq!(renamed.next.snapshot.listeners[0].name, "site");
}

#[test]
fn removed_addresses_are_named_and_free_afterwards() {
    let first = prepared(TWO, None);
    let local = SocketAddr::from(([127, 0, 0, 1], ports(&first)[1]));
    let without = TWO.replace(
        "  - { name: raw, listen: '127.0.0.1:0', mode: tcp, pool: p }\n",
        "",
    );
    let second = prepared(&without, Some(&first.next));
    assert_eq!(second.removed.len(), 1);
    assert_eq!(second.removed[0].address, ListenAddress::Ip(local));
    assert!(TcpListener::bind(local).is_err());
    drop(first);
    assert!(
        TcpListener::bind(local).is_ok(),
        "nobody holds the socket any more"
    );
}

#[test]
fn another_mode_takes_the_same_sockets_over() {
    let first = prepared(TWO, None);
    let changed = TWO.replace("mode: tcp", "mode: http");
    let second = prepared(&changed, Some(&first.next));
    assert_eq!(ports(&second), ports(&first));
    assert_eq!(second.removed.len(), 1);
    assert_eq!(second.removed[0].mode, Mode::Tcp);
    assert_eq!(second.added.len(), 1);
    assert_eq!(second.added[0][0].key.mode, Mode::Http);
}

#[test]
fn a_failure_changes_nothing_and_lets_go_of_what_was_bound() {
    let first = prepared(TWO, None).next;
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let yaml = format!(
        "{TWO}admin: {{ listen: '127.0.0.1:0', token_file: /nonexistent/token }}\n\
         logging: {{ access_log: /nonexistent/access.log }}\n"
    )
    .replace(
        "routes:",
        "  q: { backends: ['127.0.0.1:9005'] }\nroutes:\n  - { name: q, match: { host: q.test }, pool: q }",
    )
    .replace(
        "pools:",
        &format!(
            "  - {{ name: new, listen: '{free}', mode: http, pool: p }}\n  \
             - {{ name: dup, listen: '{}', mode: http, pool: p }}\npools:",
            taken.local_addr().unwrap()
        ),
    );
    let mut errors = refused(&yaml, Some(&first));
    errors.retain(|one| one.contains(": error: "));
    for part in [
        "is in use",
        "token_file /nonexistent/token",
        "/nonexistent/access.log",
    ] {
        assert!(
            errors.iter().any(|error| error.contains(part)),
            "{part}: {errors:#?}"
        );
    }
    assert_eq!(errors.len(), 3, "{errors:#?}");
    assert!(
        errors.iter().all(|error| error.starts_with("t.yaml:")),
        "{errors:#?}"
    );
    assert_eq!(first.snapshot.generation, 1);
    assert_eq!(first.identities.names().len(), 2);
    assert!(
        TcpListener::bind(free).is_ok(),
        "what was bound meanwhile is free again"
    );
}

#[test]
fn an_address_that_overlaps_with_our_own_is_explained() {
    let first = prepared(TWO, None);
    let port = ports(&first)[0];
    let wider = TWO.replacen("127.0.0.1:0", &format!(":{port}"), 1);
    let errors = refused(&wider, Some(&first.next));
    assert!(
        errors[0].contains("overlaps with 127.0.0.1:0"),
        "{errors:#?}"
    );
}

#[test]
fn settings_of_the_process_wait_for_the_next_start() {
    let first = prepared(TWO, None);
    let changed = TWO.replace("worker_threads: 2", "worker_threads: 3, zero_copy: false");
    let second = prepared(&changed, Some(&first.next));
    let remarks: Vec<String> = second.remarks.iter().map(ToString::to_string).collect();
    let about = |key: &str| remarks.iter().any(|remark| remark.contains(key));
    assert!(
        about("performance.worker_threads") && about("performance.zero_copy"),
        "{remarks:?}"
    );
    assert_eq!(second.next.worker_count, 2);
}

#[test]
fn checking_binds_nothing() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let yaml = TWO.replacen("127.0.0.1:0", &taken.local_addr().unwrap().to_string(), 1);
    let errors: Vec<_> = check(&config(&yaml))
        .into_iter()
        .filter(|one| one.severity == balance_config::Severity::Error)
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

#[test]
fn metrics_on_the_admin_address_share_its_listener() {
    let shared = format!("{TWO}admin: {{ listen: ':0' }}\nmetrics: {{ listen: ':0', path: /m }}\n");
    let one = prepared(&shared, None);
    assert_eq!(one.admin.len(), 1);
    assert!(one.admin[0].rules.api);
    assert_eq!(one.admin[0].rules.metrics_path.as_deref(), Some("/m"));
    assert!(one.admin[0].socket.is_some());

    let apart = shared.replace(
        "metrics: { listen: ':0'",
        "metrics: { listen: '127.0.0.1:0'",
    );
    let two = prepared(&apart, Some(&one.next));
    assert_eq!(two.admin.len(), 2);
    assert!(
        two.admin[0].socket.is_none(),
        "the admin address is the same"
    );
    assert!(two.admin[1].socket.is_some());
    assert!(!two.admin[1].rules.api);
}

#[test]
fn the_places_and_the_queue_of_a_pool_are_carried_over_a_reload() {
    let yaml = TWO.replace(
        "    backends:\n",
        "    limits: { max_connections: 9 }\n    backends:\n",
    );
    let first = prepared(&yaml, None).next;
    let second = prepared(&yaml, Some(&first)).next;
    let limits = |compiled: &Compiled| compiled.snapshot.pools[0].limits.clone();
    let (before, after) = (limits(&first), limits(&second));
    assert_eq!(after.max_connections, 9);
    assert!(Arc::ptr_eq(&before.places, &after.places));
    assert!(Arc::ptr_eq(&before.queue, &after.queue));
}

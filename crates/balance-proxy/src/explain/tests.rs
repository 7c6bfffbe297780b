use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use balance_core::{Algorithm, BackendAddress, ListenAddress, PoolId, RouteId, Weight};
use balance_lb::{Backend, BackendIdentity, Balancer, Cursor, Member};
use balance_route::{RouteSpec, RouteTable};

use super::{Explainer, Forward, NotOneHead, Outcome, Stage};
use crate::filter::scripted::Scripted;
use crate::filter::{Filter, HeaderAction, HeaderRule, Verdict};
use crate::own_response::OwnResponse;
use crate::snapshot::{Action, ListenerRules, Mode, PoolRules, RouteRules, Snapshot};
use crate::{Endpoint, ListenerKey, Policy};

/// One listener, one route with these filters, one backend.
fn snapshot(filters: Vec<Filter>) -> Snapshot {
    let backend = Backend::new(BackendIdentity {
        pool: "p".to_owned(),
        name: "a".to_owned(),
        address: BackendAddress::parse("192.0.2.9:80").unwrap(),
    });
    let member = Member::new("a", Weight::ONE);
    let table = RouteTable::compile(vec![RouteSpec::any(RouteId(0))]).unwrap();
    Snapshot {
        generation: 1,
        listeners: vec![ListenerRules {
            key: ListenerKey {
                address: ListenAddress::Wildcard { port: 80 },
                mode: Mode::Http,
            },
            name: "web".to_owned(),
            mode: Mode::Http,
            table: Arc::new(table),
            server_names: None,
            pool: None,
            proxy_sources: None,
            scheme: balance_proto::Scheme::Http,
            tls: None,
            trusted_proxies: Vec::new(),
            protocol: Default::default(),
            limits: Default::default(),
            timeouts: Default::default(),
        }],
        routes: vec![RouteRules {
            name: "r".into(),
            action: Action::Forward(PoolId(0)),
            mirror: None,
            filters: filters.into(),
            timeouts: Default::default(),
        }],
        splits: Vec::new(),
        mirrors: Vec::new(),
        pools: vec![PoolRules {
            name: "p".to_owned(),
            policy: Policy::new(Balancer::compile(
                Algorithm::RoundRobin,
                &[member],
                Arc::new(Cursor::new()),
            )),
            hash_key: Default::default(),
            members: vec![Arc::new(Endpoint::new(backend, Vec::new()))],
            send_proxy: None,
            protocol: balance_core::UpstreamProtocol::Http1,
            tls: None,
            idle: Default::default(),
            limits: Default::default(),
            timeouts: Default::default(),
            filters: Vec::new(),
            retry: None,
        }],
        access_log: None,
    }
}

fn explainer(snapshot: &Snapshot) -> Explainer<'_> {
    Explainer {
        snapshot,
        listener: 0,
        peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
        server_name: None,
        certificates: None,
        via_name: "balance-test",
        now_ms: 0,
        seed: 1,
        is_tracing: true,
    }
}

fn forward(snapshot: &Snapshot, head: &[u8]) -> Box<Forward> {
    match explainer(snapshot).request(head).unwrap().outcome {
        Outcome::Forwarded(forward) => forward,
        other => panic!("{other:?}"),
    }
}

const HEAD: &[u8] = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";

#[test]
fn a_filter_that_asks_somebody_is_named_and_not_waited_for() {
    let waits = Scripted(Box::new(|| Verdict::Wait(Box::pin(std::future::pending()))));
    let adds = HeaderRule::new(HeaderAction::Add, "X-After", "1").unwrap();
    let snapshot = snapshot(vec![
        Filter::Scripted(waits),
        Filter::RequestHeaders(vec![adds]),
    ]);
    let forward = forward(&snapshot, HEAD);
    assert_eq!(forward.waiting_filters, [0]);
    assert!(
        forward
            .head
            .fields
            .iter()
            .any(|field| field.name == "X-After")
    );
}

#[test]
fn a_filter_that_answers_is_named() {
    let answers = Scripted(Box::new(|| {
        Verdict::Respond(OwnResponse::bad_request("not like this"))
    }));
    let passes = Scripted(Box::new(|| Verdict::Continue));
    let snapshot = snapshot(vec![Filter::Scripted(passes), Filter::Scripted(answers)]);
    match explainer(&snapshot).request(HEAD).unwrap().outcome {
        Outcome::Answered(answer) => {
            assert_eq!((answer.stage, answer.status), (Stage::Filter(1), 400));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_that_names_no_host_gets_that_of_the_backend() {
    let snapshot = snapshot(Vec::new());
    let forward = forward(&snapshot, b"GET / HTTP/1.0\r\n\r\n");
    assert_eq!(forward.head.fields[0].value, "192.0.2.9:80");
}

#[test]
fn what_is_not_one_head_is_no_question() {
    let snapshot = snapshot(Vec::new());
    let ask = |head: &[u8]| explainer(&snapshot).request(head).unwrap_err();
    assert_eq!(ask(b"GET / HTTP/1.1\r\nHost: a"), NotOneHead::Incomplete);
    assert_eq!(ask(&[HEAD, HEAD].concat()), NotOneHead::Several);
}

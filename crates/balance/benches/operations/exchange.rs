//! An exchange in memory: everything that Balance does for a request and its response except the kernel's part and the
//! switching of tasks.

use std::hint::black_box;

use balance_core::{Algorithm, Method};
use balance_lb::{Lease, Pick, PickRequest, Rng, TriedSet};
use balance_proto::http1::{
    ConnectionLine, HeadSettings, RequestHead, ResponseHead, encode_request, encode_response,
};
use balance_proto::hygiene::{edit_request, edit_response};
use balance_proto::{FramingLine, HeadEdits, Version};
use balance_telemetry::LogFormat;

use crate::balancing::{backends, balancer};
use crate::codec::{BROWSER_REQUEST, FORWARD, RESPONSE, RESPONSE_CONTEXT, SMALL_REQUEST};
use crate::operation::{Operation, Repeat, repeat};
use crate::router::{host_and_path, table};
use crate::telemetry::{access_log, record, registry};

pub(crate) fn operations() -> Vec<Operation> {
    vec![
        Operation::new("exchange/small", || exchange(SMALL_REQUEST)),
        Operation::new("exchange/browser", || exchange(BROWSER_REQUEST)),
    ]
}

fn exchange(request: &'static [u8]) -> Repeat {
    let settings = HeadSettings::default();
    let (routes, facts) = table(host_and_path, 100);
    let backends = backends(3);
    let balancer = balancer(Algorithm::RoundRobin, &backends);
    let mut random = Rng::new(1);
    let series = registry().worker().request_series("web", "api", "main");
    let log = access_log(LogFormat::Json);
    let log_worker = log.worker();
    let (mut head, mut answer) = (RequestHead::default(), ResponseHead::default());
    let (mut edits, mut out) = (HeadEdits::default(), Vec::new());
    repeat(move || {
        black_box(&log);
        head.clear();
        head.parse(black_box(request), &settings).unwrap();
        assert!(routes.decide(black_box(&facts[7])).is_some());
        edits.clear();
        edit_request(&head, &mut edits, &FORWARD).unwrap();
        let asked = &mut PickRequest {
            now_ms: 0,
            hash: 0,
            random: &mut random,
            tried: &TriedSet::new(),
        };
        let Pick::Picked(index) = balancer.pick(&backends, asked) else {
            unreachable!("every backend is pickable and without limit");
        };
        let lease = Lease::adopt(&*backends[index]);
        out.clear();
        encode_request(
            &mut out,
            &head,
            &edits,
            FramingLine::None,
            ConnectionLine::None,
        );
        black_box(&out);

        answer.clear();
        answer
            .parse(black_box(RESPONSE), RESPONSE_CONTEXT, &settings)
            .unwrap();
        edits.clear();
        edit_response(&answer, &mut edits, None);
        out.clear();
        let (to, framing) = (Version::Http11, FramingLine::Length(128));
        encode_response(&mut out, &answer, &edits, to, framing, ConnectionLine::None);
        black_box(&out);
        drop(lease);
        series.record(Method::Get, 200, 345);
        log_worker.record(&record(128));
    })
}

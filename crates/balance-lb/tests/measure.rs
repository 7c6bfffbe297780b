//! How long a pick with its lease takes. Not run by default: it needs a quiet machine and an optimised build.
//! `cargo test -p balance-lb --release --test measure -- --ignored --nocapture`

#![cfg(not(loom))]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement prints, and stops when its own input is wrong"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use balance_core::{Algorithm, BackendAddress, Weight};
use balance_lb::{
    Backend, BackendIdentity, Balancer, Cursor, Lease, Member, Pick, PickRequest, Rng, TriedSet,
};

fn measure(name: &str, algorithm: Algorithm, n: usize, is_disturbed: bool) {
    let backends: Vec<Arc<Backend>> = (0..n)
        .map(|i| {
            Arc::new(Backend::new(BackendIdentity {
                pool: "p".to_owned(),
                name: format!("b{i}"),
                address: BackendAddress::parse("127.0.0.1:9001").unwrap(),
            }))
        })
        .collect();
    let members: Vec<Member> = backends
        .iter()
        .map(|backend| Member::new(&backend.identity().name, Weight(2)))
        .collect();
    let balancer = Balancer::compile(algorithm, &members, Arc::new(Cursor::new()));
    let is_done = AtomicBool::new(!is_disturbed);
    let each = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                for backend in &backends {
                    drop(balance_lb::lease(&**backend));
                }
            }
        });
        let mut random = Rng::new(1);
        let tried = TriedSet::new();
        let begin = Instant::now();
        for _ in 0..PICKS {
            let pick = balancer.pick(
                black_box(&backends),
                &mut PickRequest {
                    now_ms: 0,
                    hash: random.next_u64(),
                    random: &mut random.clone(),
                    tried: &tried,
                },
            );
            let Pick::Picked(index) = pick else {
                unreachable!("every backend is pickable and without limit");
            };
            drop(Lease::adopt(&*backends[index]));
        }
        let each = begin.elapsed() / PICKS;
        is_done.store(true, Ordering::Relaxed);
        each
    });
    let load = if is_disturbed {
        "another thread leasing"
    } else {
        "quiet"
    };
    println!("{name:28} {n:4} backends, {load}: {each:?}");
}

#[test]
#[ignore = "a measurement, for a quiet machine and an optimised build: ci/long measurements"]
fn picks() {
    for (name, algorithm) in Algorithm::ALL {
        for n in [3, 100] {
            measure(name, *algorithm, n, false);
            measure(name, *algorithm, n, true);
        }
    }
}

const PICKS: u32 = 1_000_000;

//! A pick with its lease, by every algorithm, alone and while another thread takes and gives back leases of the same
//! backends.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use balance_core::{Algorithm, BackendAddress, Weight};
use balance_lb::{
    Backend, BackendIdentity, Balancer, Cursor, Lease, Member, Pick, PickRequest, Rng, TriedSet,
};

use crate::operation::{Operation, Repeat};

pub(crate) fn operations() -> Vec<Operation> {
    let mut all = Vec::new();
    for (name, algorithm) in Algorithm::ALL {
        for backends in [3, 100, 1_000] {
            for is_disturbed in [false, true] {
                let load = if is_disturbed { "shared" } else { "alone" };
                let title = format!("pick/{name}/{backends}/{load}");
                all.push(Operation::new(title, move || {
                    picks(*algorithm, backends, is_disturbed)
                }));
            }
        }
    }
    all
}

fn picks(algorithm: Algorithm, count: usize, is_disturbed: bool) -> Repeat {
    let backends = backends(count);
    let balancer = balancer(algorithm, &backends);
    let disturbance = is_disturbed.then(|| Disturbance::start(&backends));
    let mut random = Rng::new(1);
    let tried = TriedSet::new();
    Box::new(move |times| {
        black_box(&disturbance);
        for _ in 0..times {
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
    })
}

pub(crate) fn backends(count: usize) -> Vec<Arc<Backend>> {
    let backend = |index| {
        Arc::new(Backend::new(BackendIdentity {
            pool: "p".to_owned(),
            name: format!("b{index}"),
            address: BackendAddress::parse("127.0.0.1:9001").unwrap(),
        }))
    };
    (0..count).map(backend).collect()
}

pub(crate) fn balancer(algorithm: Algorithm, backends: &[Arc<Backend>]) -> Balancer {
    let member = |backend: &Arc<Backend>| Member::new(&backend.identity().name, Weight(2));
    let members: Vec<Member> = backends.iter().map(member).collect();
    Balancer::compile(algorithm, &members, Arc::new(Cursor::new()))
}

/// Another thread that changes what is in flight, until it is dropped.
struct Disturbance {
    is_done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Disturbance {
    fn start(backends: &[Arc<Backend>]) -> Self {
        let is_done = Arc::new(AtomicBool::new(false));
        let (backends, flag) = (backends.to_vec(), Arc::clone(&is_done));
        let thread = std::thread::spawn(move || {
            while !flag.load(Ordering::Relaxed) {
                for backend in &backends {
                    drop(balance_lb::lease(&**backend));
                }
            }
        });
        Self {
            is_done,
            thread: Some(thread),
        }
    }
}

impl Drop for Disturbance {
    fn drop(&mut self) {
        self.is_done.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("it only counts");
        }
    }
}

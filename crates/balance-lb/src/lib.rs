//! Balancing algorithms and the shared state of backends, free of I/O.
//!
//! Three things live here: [`Backend`], the little that all workers share about one backend (its gate and its
//! leases); [`Balancer`], the compiled and immutable policy of one pool view, whose [`pick`](Balancer::pick)
//! chooses a backend and leases it in one step; and [`Split`], which divides requests over pools by weight.
//!
//! It reads no clock and draws no randomness: a caller passes `now_ms` (any monotonic count of milliseconds,
//! the same for all workers) and an [`Rng`] that it has seeded. It opens no connection and closes none.
//!
//! ```
//! use std::sync::Arc;
//! use balance_core::{Algorithm, BackendAddress, Weight};
//! use balance_lb::{Backend, BackendIdentity, Balancer, Cursor, Lease, Member, Pick, PickRequest, Rng, TriedSet};
//!
//! let backends: Vec<Arc<Backend>> = ["a", "b"]
//!     .iter()
//!     .map(|name| Arc::new(Backend::new(BackendIdentity {
//!         pool: "default".to_owned(),
//!         name: (*name).to_owned(),
//!         address: BackendAddress::parse("127.0.0.1:9001").expect("a literal"),
//!     })))
//!     .collect();
//! let members: Vec<Member> = backends.iter().map(|b| Member::new(&b.identity().name, Weight::ONE)).collect();
//! let balancer = Balancer::compile(Algorithm::RoundRobin, &members, Arc::new(Cursor::new()));
//!
//! let mut rng = Rng::new(1);
//! let tried = TriedSet::new();
//! let mut request = PickRequest { now_ms: 0, hash: 0, random: &mut rng, tried: &tried };
//! let Pick::Picked(index) = balancer.pick(&backends, &mut request) else { unreachable!() };
//! let lease = Lease::adopt(Arc::clone(&backends[index])); // gives the place back when dropped
//! assert_eq!(lease.backend().in_flight(), 1);
//! ```

mod backend;
mod balancer;
mod breaker;
mod cache_line;
mod cursor;
mod ejection;
mod gate;
mod hash;
mod health;
mod lease;
mod places;
mod planted;
mod queue;
mod ramp;
mod retry;
mod rng;
#[cfg(all(test, not(loom)))]
mod simulation;
mod split;
mod sync;
mod tally;
mod tried;

pub use backend::{Backend, BackendIdentity, BackendState};
pub use balancer::{Balancer, Member, NoBackend, Pick, PickRequest, Rehearsal};
pub use breaker::{
    BreakerChange, BreakerMachine, BreakerRecord, BreakerRules, BreakerState, Trial,
};
pub use cursor::Cursor;
pub use ejection::{
    EjectionMachine, EjectionRecord, EjectionRules, Judgement, PoolSituation, Reason, ejectable,
    usual_latency_us,
};
pub use gate::{AdminState, GateState, Passed, Rest};
pub use hash::{hash_ip, hash_key};
pub use health::{Health, HealthMachine, HealthRecord, HealthRules};
pub use lease::{Lease, lease};
pub use places::{Full, Place, Places};
pub use queue::{PoolPlace, Queue, QueueFull, QueueRecord, Ticket};
pub use ramp::RampState;
pub use retry::{AttemptFailure, Retries, Retry, RetryQuestion, retries_max};
pub use rng::Rng;
pub use split::{Split, SplitError};
pub use tally::{Outcome, Tallied, Tally};
pub use tried::TriedSet;

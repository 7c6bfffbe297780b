//! `cargo bench -- --profile-mem FILE [FILTER]`: who allocates in the operations of `cargo bench`, with the allocator that
//! Balance has. The other bench target counts allocations, by an allocator of its own. Without the flag it does nothing.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement prints, and stops when its own input is wrong"
)]

#[path = "operations/arguments.rs"]
mod arguments;
#[path = "operations/balancing.rs"]
mod balancing;
#[path = "operations/codec.rs"]
mod codec;
#[path = "operations/exchange.rs"]
mod exchange;
#[path = "operations/operation.rs"]
mod operation;
#[path = "operations/parts.rs"]
mod parts;
#[path = "operations/router.rs"]
mod router;
#[path = "operations/telemetry.rs"]
mod telemetry;

use arguments::{filter, value_of};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    let Some(file) = value_of("--profile-mem") else {
        return;
    };
    let filter = filter();
    balance_profile::set_heap_profiling(true).unwrap();
    let groups = [
        codec::operations(),
        router::operations(),
        balancing::operations(),
        telemetry::operations(),
        parts::operations(),
        exchange::operations(),
    ];
    let all = groups.into_iter().flatten();
    let chosen = all.filter(|one| one.name.contains(&filter));
    // What they hold is what is seen: they live until the profile is taken.
    let mut made: Vec<_> = chosen.map(|one| (one.make)()).collect();
    assert!(!made.is_empty(), "no operation has `{filter}` in its name");
    made.iter_mut().for_each(|repeat| repeat(TIMES));
    std::fs::write(&file, balance_profile::heap_profile().unwrap()).unwrap();
    println!("{file}: {} operations, {TIMES} times each", made.len());
}

const TIMES: u64 = 10_000;

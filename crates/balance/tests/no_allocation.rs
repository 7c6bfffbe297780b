//! The operations of `cargo bench` that every request goes through allocate nothing once they have their buffers. Those of
//! the router and the telemetry have such tests in their crates. Alone in its process, because the allocator is the process's.
#![expect(
    clippy::unwrap_used,
    reason = "a test stops when its own input is wrong"
)]

#[path = "../benches/operations/balancing.rs"]
mod balancing;
#[path = "../benches/operations/codec.rs"]
mod codec;
#[path = "../benches/operations/operation.rs"]
mod operation;
#[path = "../benches/operations/parts.rs"]
mod parts;

/// The second time: the first one gets the buffers.
fn allocations(mut repeat: operation::Repeat) -> u64 {
    repeat(TIMES);
    allocation_counter::measure(|| repeat(TIMES)).count_total
}

#[test]
fn what_every_request_goes_through_allocates_nothing() {
    // Tables for 1,000 backends take long to make in a build for tests, and pick as those for 100 do; but a ring keeps
    // in mind whom it has met.
    let is_wanted = |one: &operation::Operation| {
        let is_small = !one.name.contains("/1000/") || one.name.contains("consistent-hash");
        is_small && !one.name.contains("/shared")
    };
    let picks = balancing::operations().into_iter().filter(is_wanted);
    let all = codec::operations()
        .into_iter()
        .chain(picks)
        .chain(parts::operations());
    for one in all {
        assert_eq!(allocations((one.make)()), 0, "{}", one.name);
    }
}

#[test]
fn the_counter_counts() {
    let once = || drop(std::hint::black_box(Box::new(1)));
    assert_eq!(allocations(operation::repeat(once)), TIMES);
}

const TIMES: u64 = 200;

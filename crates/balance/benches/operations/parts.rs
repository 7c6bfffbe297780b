//! What a worker keeps for its exchanges: buffers, deadlines, connections to backends.

use balance_proxy::measured;

use crate::operation::Operation;

pub(crate) fn operations() -> Vec<Operation> {
    let mut all = vec![Operation::new(
        "worker/buffer-free-list",
        measured::free_list,
    )];
    for timers in [100, 50_000] {
        all.push(Operation::new(
            format!("worker/timer-wheel/{timers}"),
            move || measured::wheel(timers),
        ));
    }
    for kept in [1, 100] {
        all.push(Operation::new(
            format!("worker/idle-connections/{kept}"),
            move || measured::idle_connections(kept).unwrap(),
        ));
    }
    all
}

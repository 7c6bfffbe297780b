//! Tests of deadlines, whose times mean something only beside each other.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// How many times longer than written the times of a test are.
#[derive(Clone, Copy, Debug)]
pub struct Pace(u32);

impl Pace {
    /// A time of the test. `{:?}` of it is as a configuration has it.
    #[must_use]
    pub fn ms(self, written: u64) -> Duration {
        Duration::from_millis(written) * self.0
    }
}

/// Runs a test in which something must come before a deadline that is near. A machine on which a thread stands
/// still for longer than that proves nothing about the proxy, so the test is run again with all its times longer,
/// and only fails when it fails at every pace. A proxy that is wrong is so at every one.
///
/// # Panics
/// As the test does at the slowest pace.
pub fn at_some_pace(test: impl Fn(Pace)) {
    for faster in [1, 4] {
        if catch_unwind(AssertUnwindSafe(|| test(Pace(faster)))).is_ok() {
            return;
        }
    }
    test(Pace(16));
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn a_test_that_passes_is_not_run_again_and_one_that_never_does_fails() {
        let run = |passes_from: u64| {
            let tried = RefCell::new(Vec::new());
            let result = catch_unwind(AssertUnwindSafe(|| {
                at_some_pace(|pace| {
                    let time = pace.ms(100);
                    tried.borrow_mut().push(format!("{time:?}"));
                    assert!(time >= Duration::from_millis(passes_from), "too fast");
                });
            }));
            (result.is_ok(), tried.into_inner())
        };
        assert_eq!(run(100), (true, vec!["100ms".to_owned()]));
        let (is_ok, tried) = run(1_600);
        assert!(is_ok);
        assert_eq!(tried, ["100ms", "400ms", "1.6s"]);
        assert!(!run(2_000).0);
    }
}

//! The one place where a test may wait for time itself.

use std::time::Duration;

/// Lets time pass where time is what is tested (a delay, a deadline, two reads instead of one). It is not for
/// waiting until something has happened: that has an event.
#[expect(
    clippy::disallowed_methods,
    reason = "a test thread is no worker, and here time is the subject"
)]
pub fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

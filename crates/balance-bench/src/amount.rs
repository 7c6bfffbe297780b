//! How much is measured.

use std::time::Duration;

/// Where a measurement ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Amount {
    Time(Duration),
    Requests(u64),
}

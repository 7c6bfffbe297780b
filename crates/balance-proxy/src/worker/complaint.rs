//! Saying that something fails again and again: at once, then now and then with a count. A failure that is tried
//! again every few milliseconds would fill the log, and the log's disk.

/// One kind of failure at one place.
#[derive(Debug, Default)]
pub(super) struct Complaint {
    /// From when on it may be said again, on the process clock.
    due_ms: u64,
    /// Failures that were not said.
    unsaid: u64,
}

impl Complaint {
    /// How many failures to say now, this one included; `None` when it is too early.
    pub(super) fn on_failure(&mut self, now_ms: u64) -> Option<u64> {
        self.unsaid += 1;
        if now_ms < self.due_ms {
            return None;
        }
        self.due_ms = now_ms + PERIOD_MS;
        Some(std::mem::take(&mut self.unsaid))
    }
}

/// Often enough for whoever looks, seldom enough to be left alone for a night: 8,640 lines a day.
const PERIOD_MS: u64 = 10_000;

#[cfg(test)]
mod tests {
    use super::{Complaint, PERIOD_MS};

    #[test]
    fn the_first_failure_is_said_at_once_and_the_others_are_counted() {
        let mut complaint = Complaint::default();
        assert_eq!(complaint.on_failure(5), Some(1));
        for now_ms in (25..PERIOD_MS).step_by(20) {
            assert_eq!(complaint.on_failure(now_ms), None);
        }
        let unsaid = (25..PERIOD_MS).step_by(20).count() as u64;
        assert_eq!(complaint.on_failure(PERIOD_MS + 5), Some(unsaid + 1));
        assert_eq!(complaint.on_failure(PERIOD_MS + 6), None);
        assert_eq!(complaint.on_failure(5 * PERIOD_MS), Some(2));
    }
}

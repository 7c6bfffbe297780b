//! What a measurement has done so far, on one line of a terminal.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// A line that is written over. Without a terminal nothing is written.
pub(crate) struct Progress {
    is_shown: bool,
    start: Instant,
    duration: Option<Duration>,
    last: (Instant, u64),
}

impl Progress {
    /// On standard error, so that standard output has the result alone. `duration`: how long it will take.
    pub(crate) fn on_stderr(duration: Option<Duration>) -> Self {
        let now = Instant::now();
        Self {
            is_shown: std::io::stderr().is_terminal(),
            start: now,
            duration,
            last: (now, 0),
        }
    }

    pub(crate) fn show(&mut self, completed: u64, failed: u64) {
        if !self.is_shown {
            return;
        }
        let line = self.line(Instant::now(), completed, failed);
        self.write(&line);
    }

    /// Any text, for what is not counted in requests.
    pub(crate) fn show_text(&mut self, text: &str) {
        if self.is_shown {
            self.write(text);
        }
    }

    /// Takes the line away.
    pub(crate) fn clear(&self) {
        if self.is_shown {
            self.write("");
        }
    }

    /// The rate is that since the last line.
    fn line(&mut self, now: Instant, completed: u64, failed: u64) -> String {
        let (then, before) = self.last;
        self.last = (now, completed);
        let seconds = now.saturating_duration_since(then).as_secs_f64();
        let rate = crate::http::per(completed.saturating_sub(before) as f64, seconds);
        let elapsed = now.saturating_duration_since(self.start).as_secs_f64();
        let of = self
            .duration
            .map(|all| format!(" of {:.0}", all.as_secs_f64()))
            .unwrap_or_default();
        format!("{elapsed:.0}{of} s, {completed} requests, {rate:.0}/s, {failed} errors")
    }

    fn write(&self, line: &str) {
        // Back to the first column and clear to the end. Nothing can be done when standard error is closed.
        let mut stderr = std::io::stderr().lock();
        let _ = write!(stderr, "\r\x1b[K{line}").and_then(|()| stderr.flush());
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Progress;

    #[test]
    fn the_rate_is_that_since_the_last_line() {
        let start = Instant::now();
        let mut progress = Progress {
            is_shown: true,
            start,
            duration: Some(Duration::from_secs(10)),
            last: (start, 0),
        };
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(
            progress.line(at(2), 100, 0),
            "2 of 10 s, 100 requests, 50/s, 0 errors"
        );
        assert_eq!(
            progress.line(at(3), 110, 4),
            "3 of 10 s, 110 requests, 10/s, 4 errors"
        );
    }
}

//! What went wrong, counted by kind and explained.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};

use balance_tls::SessionError;
use rustix::io::Errno;

/// Errors of a measurement. An error is never silent and never ends the measurement by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Failures {
    counts: BTreeMap<Kind, u64>,
    /// What was said about the first one of each kind that has many reasons.
    first_words: BTreeMap<Kind, String>,
}

/// Ordered as they are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Refused,
    Reset,
    Closed,
    TimedOut,
    Unreachable,
    PortsExhausted,
    DescriptorsExhausted,
    Tls,
    BadResponse,
    Status,
    Other,
}

impl Kind {
    /// The key under `errors` in the JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::Closed => "closed",
            Self::TimedOut => "timed_out",
            Self::Unreachable => "unreachable",
            Self::PortsExhausted => "ports_exhausted",
            Self::DescriptorsExhausted => "descriptors_exhausted",
            Self::Tls => "tls",
            Self::BadResponse => "bad_response",
            Self::Status => "status",
            Self::Other => "other",
        }
    }

    fn explanation(self) -> &'static str {
        match self {
            Self::Refused => "nothing listens on the target's port, or its backlog is full",
            Self::Reset => "the target reset the connection",
            Self::Closed => "the target closed before its answer was complete",
            Self::TimedOut => "no answer within the time limit",
            Self::Unreachable => "no route to the target",
            Self::PortsExhausted => {
                "no local port left for this source and target: wait a minute, or give more --sources"
            }
            Self::DescriptorsExhausted => "no descriptor left: raise `ulimit -n`",
            Self::Tls => "no agreement with the target on TLS, which says",
            Self::BadResponse => "the answer is not the protocol, or not the bytes that were sent",
            Self::Status => "the answer's status is 400 or above",
            Self::Other => "the system says",
        }
    }

    pub(crate) fn of(error: &io::Error) -> Self {
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::MFILE | Errno::NFILE) => return Self::DescriptorsExhausted,
            Some(Errno::ADDRNOTAVAIL | Errno::ADDRINUSE) => return Self::PortsExhausted,
            Some(Errno::HOSTUNREACH | Errno::NETUNREACH) => return Self::Unreachable,
            _ => {}
        }
        if error
            .get_ref()
            .is_some_and(|inner| inner.is::<SessionError>())
        {
            return Self::Tls;
        }
        match error.kind() {
            ErrorKind::ConnectionRefused => Self::Refused,
            ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => {
                Self::Reset
            }
            ErrorKind::UnexpectedEof => Self::Closed,
            ErrorKind::TimedOut | ErrorKind::WouldBlock => Self::TimedOut,
            ErrorKind::InvalidData => Self::BadResponse,
            _ => Self::Other,
        }
    }
}

impl Failures {
    pub(crate) fn count(&mut self, kind: Kind) {
        self.count_n(kind, 1);
    }

    pub(crate) fn count_n(&mut self, kind: Kind, count: u64) {
        if count > 0 {
            *self.counts.entry(kind).or_default() += count;
        }
    }

    /// An error that so many requests have met.
    pub(crate) fn count_error_n(&mut self, error: &io::Error, count: u64) {
        let kind = Kind::of(error);
        if matches!(kind, Kind::Tls | Kind::Other) {
            let words = self.first_words.entry(kind);
            words.or_insert_with(|| error.to_string());
        }
        self.count_n(kind, count);
    }

    pub(crate) fn count_error(&mut self, error: &io::Error) {
        self.count_error_n(error, 1);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (kind, count) in &other.counts {
            self.count_n(*kind, *count);
        }
        for (kind, words) in &other.first_words {
            let own = self.first_words.entry(*kind);
            own.or_insert_with(|| words.clone());
        }
    }

    pub(crate) fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    pub(crate) fn counts(&self) -> impl Iterator<Item = (Kind, u64)> + '_ {
        self.counts.iter().map(|(kind, count)| (*kind, *count))
    }

    pub(crate) fn of_kind(&self, kind: Kind) -> u64 {
        self.counts.get(&kind).copied().unwrap_or(0)
    }

    pub(crate) fn to_json(&self) -> serde_json::Value {
        self.counts
            .iter()
            .map(|(kind, count)| (kind.name(), *count))
            .collect()
    }

    /// One line each, or one that says that there are none.
    pub(crate) fn lines(&self) -> Vec<String> {
        if self.counts.is_empty() {
            return vec!["errors            none".to_owned()];
        }
        let line = |(kind, count): (&Kind, &u64)| {
            let said = self.first_words.get(kind).map(|said| format!(": {said}"));
            let said = said.unwrap_or_default();
            format!(
                "errors            {count} {}: {}{said}",
                kind.name(),
                kind.explanation()
            )
        };
        self.counts.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::{Failures, Kind};

    #[test]
    fn system_errors_have_kinds() {
        for (number, kind) in [
            (24, Kind::DescriptorsExhausted),
            (99, Kind::PortsExhausted),
            (104, Kind::Reset),
            (111, Kind::Refused),
            (113, Kind::Unreachable),
        ] {
            assert_eq!(
                Kind::of(&io::Error::from_raw_os_error(number)),
                kind,
                "errno {number}"
            );
        }
    }

    #[test]
    fn what_has_no_kind_keeps_the_words_of_the_system() {
        let mut failures = Failures::default();
        failures.count_error(&io::Error::from_raw_os_error(95));
        failures.count_error(&io::Error::from_raw_os_error(22));
        let lines = failures.lines();
        assert!(
            lines.len() == 1 && lines[0].contains("2 other"),
            "{lines:?}"
        );
        assert!(lines[0].contains("not supported"), "{lines:?}");
    }

    #[test]
    fn counts_are_merged() {
        let mut failures = Failures::default();
        assert_eq!(failures.lines(), ["errors            none"]);
        failures.count(Kind::Reset);
        let mut other = failures.clone();
        other.merge(&failures);
        assert_eq!((other.total(), other.of_kind(Kind::Reset)), (2, 2));
        assert_eq!(other.to_json().to_string(), r#"{"reset":2}"#);
    }
}

//! What went wrong, counted by kind and explained.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};

use rustix::io::Errno;

/// Errors of a measurement. An error is never silent and never ends the measurement by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Failures(BTreeMap<Kind, u64>);

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
            Self::BadResponse => "the answer is not HTTP/1, or not the bytes that were sent",
            Self::Status => "the answer's status is 400 or above",
            Self::Other => "see the system's message above",
        }
    }

    pub(crate) fn of(error: &io::Error) -> Self {
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::MFILE | Errno::NFILE) => return Self::DescriptorsExhausted,
            Some(Errno::ADDRNOTAVAIL | Errno::ADDRINUSE) => return Self::PortsExhausted,
            Some(Errno::HOSTUNREACH | Errno::NETUNREACH) => return Self::Unreachable,
            _ => {}
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
        *self.0.entry(kind).or_default() += 1;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (kind, count) in &other.0 {
            *self.0.entry(*kind).or_default() += count;
        }
    }

    pub(crate) fn total(&self) -> u64 {
        self.0.values().sum()
    }

    pub(crate) fn of_kind(&self, kind: Kind) -> u64 {
        self.0.get(&kind).copied().unwrap_or(0)
    }

    pub(crate) fn to_json(&self) -> serde_json::Value {
        self.0
            .iter()
            .map(|(kind, count)| (kind.name(), *count))
            .collect()
    }

    /// One line each, or one that says that there are none.
    pub(crate) fn lines(&self) -> Vec<String> {
        if self.0.is_empty() {
            return vec!["errors            none".to_owned()];
        }
        let line = |(kind, count): (&Kind, &u64)| {
            format!(
                "errors            {count} {}: {}",
                kind.name(),
                kind.explanation()
            )
        };
        self.0.iter().map(line).collect()
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

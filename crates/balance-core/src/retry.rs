//! When a failed attempt is repeated: settings that a configuration has and the data path follows.

use std::time::Duration;

use crate::cause::Cause;

/// How the exchanges of a pool repeat failed attempts. What needs no configuration (another backend after a failed
/// connect, a fresh connection in place of one that was closed) happens besides, and first.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Attempts of one exchange, the first one included.
    pub max_attempts: u32,
    pub backoff: Backoff,
    pub on: RetryConditions,
    /// From the start of an attempt to the head of its response. `Duration::ZERO` = no such deadline.
    pub per_try: Duration,
    /// The share of a pool's live requests that may be retries, 0 to 1. [`RetryPolicy::RETRIES_MIN`] always may.
    pub budget: f64,
    /// Exact names; `None`: the idempotent methods (RFC 9110 §9.2.2).
    pub methods: Option<Vec<String>>,
    /// A body up to here is kept until the response begins, so that it can be sent again. 0 = none.
    pub body_bytes_max: usize,
}

/// How long a retry waits. The n-th one: `initial × multiplier^(n-1)`, never more than `max`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    pub initial: Duration,
    /// Not below `initial`.
    pub max: Duration,
    /// At least 1.
    pub multiplier: f64,
    /// The share of a delay that is random, 0 to 1. 1 is full jitter: clients that failed together come back apart.
    pub jitter: f64,
}

/// Why an attempt failed, as a metric tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RetryReason {
    /// No connection: nothing was sent.
    ConnectFailure,
    /// The connection was lost before the head of a response was complete.
    Reset,
    /// No response head in time.
    Timeout,
    /// What came is not HTTP.
    ProtocolError,
    /// A status of the backend.
    Status,
}

/// Why a failure that is worth another attempt is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RetryRefusal {
    /// The method is not idempotent, or a part of the body is gone.
    NotRepeatable,
    Attempts,
    /// The delay would outlast the exchange.
    Deadline,
    Budget,
}

/// Failures that are worth another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryConditions {
    /// A bit for each [`Cause`].
    causes: u64,
    /// A bit for each status from 500 on.
    server_errors: u128,
    too_many_requests: bool,
}

/// The word names nothing that can be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownCondition;

impl RetryPolicy {
    /// So many retries may be under way at once whatever the share says: 20 % of three requests would be none.
    pub const RETRIES_MIN: u32 = 3;
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            backoff: Backoff::default(),
            on: RetryConditions::default(),
            per_try: Duration::ZERO,
            budget: 0.2,
            methods: None,
            body_bytes_max: 64 * 1024,
        }
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(100),
            max: Duration::from_secs(10),
            multiplier: 2.0,
            jitter: 1.0,
        }
    }
}

impl RetryReason {
    pub const ALL: [Self; 5] = [
        Self::ConnectFailure,
        Self::Reset,
        Self::Timeout,
        Self::ProtocolError,
        Self::Status,
    ];

    /// The label value.
    pub fn name(self) -> &'static str {
        match self {
            Self::ConnectFailure => "connect_failure",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::ProtocolError => "protocol_error",
            Self::Status => "status",
        }
    }

    /// What kind of failure a cause is; `None`: one that another attempt does not mend.
    pub fn of_cause(cause: Cause) -> Option<Self> {
        GROUPS
            .iter()
            .find(|group| group.causes.contains(&cause))
            .map(|group| group.reason)
    }
}

impl RetryRefusal {
    pub const ALL: [Self; 4] = [
        Self::NotRepeatable,
        Self::Attempts,
        Self::Deadline,
        Self::Budget,
    ];

    /// The label value.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotRepeatable => "not_repeatable",
            Self::Attempts => "attempts",
            Self::Deadline => "deadline",
            Self::Budget => "budget",
        }
    }
}

impl RetryConditions {
    pub const NONE: Self = Self {
        causes: 0,
        server_errors: 0,
        too_many_requests: false,
    };

    /// What holds where a configuration names none.
    pub const DEFAULT_WORDS: [&str; 6] =
        ["connect-failure", "reset", "timeout", "502", "503", "504"];

    /// Adds what a word means: a group ([`RetryConditions::words`]), a cause, 429, or a status from 500 on.
    ///
    /// # Errors
    /// It means nothing here.
    pub fn add(&mut self, word: &str) -> Result<(), UnknownCondition> {
        if let Some(group) = GROUPS.iter().find(|group| group.word == word) {
            group
                .causes
                .iter()
                .for_each(|cause| self.causes |= bit(*cause));
            return Ok(());
        }
        if word == ANY_SERVER_ERROR {
            // 501 and 505 are about what the client asked for: the next backend would say the same.
            for status in [500, 502, 503, 504] {
                self.add_status(status)?;
            }
            return Ok(());
        }
        if let Ok(status) = word.parse::<u16>() {
            return self.add_status(status);
        }
        let mut causes = GROUPS.iter().flat_map(|group| group.causes);
        let cause = causes.find(|cause| cause.name() == word);
        self.causes |= bit(*cause.ok_or(UnknownCondition)?);
        Ok(())
    }

    /// Every word that is known, but the statuses.
    pub fn words() -> impl Iterator<Item = &'static str> {
        let groups = GROUPS.iter().map(|group| group.word);
        let causes = GROUPS
            .iter()
            .flat_map(|group| group.causes)
            .map(|cause| cause.name());
        groups.chain([ANY_SERVER_ERROR]).chain(causes)
    }

    pub fn has_cause(&self, cause: Cause) -> bool {
        self.causes & bit(cause) != 0
    }

    pub fn has_status(&self, status: u16) -> bool {
        match status {
            TOO_MANY_REQUESTS => self.too_many_requests,
            SERVER_ERRORS_FROM..=599 => {
                self.server_errors >> (status - SERVER_ERRORS_FROM) & 1 == 1
            }
            _ => false,
        }
    }

    /// What is in it, in the fewest words: for people.
    pub fn describe(&self) -> Vec<String> {
        let mut words = Vec::new();
        for group in GROUPS {
            if group.causes.iter().all(|cause| self.has_cause(*cause)) {
                words.push(group.word.to_owned());
            } else {
                let causes = group.causes.iter().filter(|cause| self.has_cause(**cause));
                words.extend(causes.map(|cause| cause.name().to_owned()));
            }
        }
        let statuses = [TOO_MANY_REQUESTS]
            .into_iter()
            .chain(SERVER_ERRORS_FROM..=599);
        let statuses = statuses.filter(|status| self.has_status(*status));
        words.extend(statuses.map(|status| status.to_string()));
        words
    }

    fn add_status(&mut self, status: u16) -> Result<(), UnknownCondition> {
        match status {
            TOO_MANY_REQUESTS => self.too_many_requests = true,
            SERVER_ERRORS_FROM..=599 => self.server_errors |= 1 << (status - SERVER_ERRORS_FROM),
            _ => return Err(UnknownCondition),
        }
        Ok(())
    }
}

impl Default for RetryConditions {
    /// Everything that says "not now" rather than "not this": what is lost, what is late, and 502, 503, 504. A 500 may
    /// be a fault in the answer to this very request.
    fn default() -> Self {
        let mut conditions = Self::NONE;
        for word in Self::DEFAULT_WORDS {
            conditions.add(word).expect("the defaults are known");
        }
        conditions
    }
}

/// Causes that one word stands for.
struct Group {
    word: &'static str,
    reason: RetryReason,
    causes: &'static [Cause],
}

const GROUPS: &[Group] = &[
    Group {
        word: "connect-failure",
        reason: RetryReason::ConnectFailure,
        causes: &[
            Cause::DnsError,
            Cause::DnsTimeout,
            Cause::DestinationUnavailable,
            Cause::ConnectionRefused,
            Cause::ConnectionTimeout,
            Cause::TlsProtocolError,
            Cause::TlsCertificateError,
        ],
    },
    Group {
        word: "reset",
        reason: RetryReason::Reset,
        causes: &[Cause::ConnectionTerminated, Cause::HttpResponseIncomplete],
    },
    Group {
        word: "timeout",
        reason: RetryReason::Timeout,
        causes: &[Cause::HttpResponseTimeout, Cause::ConnectionWriteTimeout],
    },
    Group {
        word: "protocol-error",
        reason: RetryReason::ProtocolError,
        causes: &[Cause::HttpProtocolError],
    },
];

/// 500, 502, 503 and 504.
const ANY_SERVER_ERROR: &str = "5xx";
const TOO_MANY_REQUESTS: u16 = 429;
const SERVER_ERRORS_FROM: u16 = 500;

const _: () = assert!(Cause::COUNT <= 64, "a bit for each cause");

const fn bit(cause: Cause) -> u64 {
    1 << cause as u8
}

#[cfg(test)]
mod tests {
    use super::{RetryConditions, RetryReason, RetryRefusal, UnknownCondition};
    use crate::cause::{Cause, Fault};

    fn of(words: &[&str]) -> RetryConditions {
        let mut conditions = RetryConditions::NONE;
        words
            .iter()
            .for_each(|word| conditions.add(word).expect("a known word"));
        conditions
    }

    #[test]
    fn words_and_statuses_say_what_they_mean() {
        let connect = of(&["connect-failure"]);
        assert!(connect.has_cause(Cause::ConnectionRefused) && connect.has_cause(Cause::DnsError));
        assert!(!connect.has_cause(Cause::ConnectionTerminated) && !connect.has_status(503));
        let one = of(&["connection_refused", "429", "503"]);
        assert!(one.has_cause(Cause::ConnectionRefused) && !one.has_cause(Cause::DnsError));
        let statuses = [429, 500, 501, 502, 503, 504, 505, 599];
        let known = |conditions: RetryConditions| -> Vec<u16> {
            let all = 0..=u16::MAX;
            all.filter(|status| conditions.has_status(*status))
                .collect()
        };
        assert_eq!(known(one), [429, 503]);
        assert_eq!(known(of(&["5xx"])), [500, 502, 503, 504]);
        assert_eq!(
            known(of(&statuses
                .map(|one| one.to_string())
                .each_ref()
                .map(String::as_str))),
            statuses
        );
        for word in RetryConditions::words() {
            assert_ne!(of(&[word]), RetryConditions::NONE, "{word}");
        }
        for word in [
            "",
            "4xx",
            "404",
            "499",
            "600",
            "completed",
            "client_closed",
            "Reset",
        ] {
            assert_eq!(
                RetryConditions::NONE.clone().add(word),
                Err(UnknownCondition),
                "{word}"
            );
        }
    }

    #[test]
    fn the_description_is_in_the_words_that_are_read() {
        for words in [
            &RetryConditions::DEFAULT_WORDS[..],
            &["connection_refused", "protocol-error", "429", "500"],
        ] {
            assert_eq!(of(words).describe(), words);
        }
    }

    #[test]
    fn only_what_a_backend_is_to_blame_for_is_repeated() {
        for cause in Cause::ALL {
            let is_known = RetryReason::of_cause(*cause).is_some();
            assert!(
                !is_known || cause.fault() == Fault::Upstream,
                "{}",
                cause.name()
            );
        }
        for (index, reason) in RetryReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
        for (index, refusal) in RetryRefusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal as usize, index);
        }
    }
}

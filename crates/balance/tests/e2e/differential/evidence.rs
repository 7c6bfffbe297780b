//! Three reports of the same requests, and whether they agree: Balance's access log, the bytes that it sent, read
//! strictly, and the log of the origin.

use std::collections::{HashMap, HashSet};

use balance_testkit::{Recorded, Sight, StrictError};
use serde_json::Value;

/// All that was written down in one run.
pub(super) struct Evidence {
    /// By X-Request-ID: one for each attempt.
    sent: HashMap<String, Vec<Recorded>>,
    /// Why a strict server would refuse what was sent.
    violations: Vec<String>,
    /// By X-Request-ID, of requests that reached the origin.
    log: HashMap<String, Value>,
    decided: usize,
    sights: Vec<Sight>,
}

impl Evidence {
    /// `sent` is what each connection to the origin carried, `log` the access log.
    pub(super) fn new(sent: &[Vec<u8>], log: &str) -> Self {
        let mut evidence = Self {
            sent: HashMap::new(),
            violations: Vec::new(),
            log: HashMap::new(),
            decided: 0,
            sights: Vec::new(),
        };
        for bytes in sent {
            let (requests, end) = Recorded::parse_until_error(bytes);
            // A client that breaks off has its request broken off.
            if !matches!(end, StrictError::Closed | StrictError::Truncated) {
                let bytes = bytes.escape_ascii();
                evidence.violations.push(format!(
                    "sent what a strict server refuses ({end}): {bytes}"
                ));
            }
            for request in requests {
                let id = request.headers("x-request-id").join(", ");
                evidence.sent.entry(id).or_default().push(request);
            }
        }
        for line in log.lines() {
            let entry: Value = serde_json::from_str(line).unwrap();
            evidence.decided += 1;
            if entry["attempts"] != 0 {
                let id = entry["request_id"].as_str().unwrap().to_owned();
                evidence.log.insert(id, entry);
            }
        }
        evidence
    }

    /// How many requests Balance has decided about.
    pub(super) fn decided(&self) -> usize {
        self.decided
    }

    pub(super) fn take_sights(&mut self, sights: Vec<Sight>) {
        self.sights = sights;
    }

    /// Whether the origin has reported everything that it answered well.
    pub(super) fn is_whole(&self) -> bool {
        self.missing().next().is_none()
    }

    /// What does not agree.
    pub(super) fn check(&self) -> Vec<String> {
        let mut problems = self.violations.clone();
        let missing = self
            .missing()
            .map(|request| format!("the origin did not see {}", describe(request)));
        problems.extend(missing);
        problems.extend(
            self.sent
                .iter()
                .filter_map(|(id, sent)| self.check_log(id, sent).err()),
        );
        let unsent = self
            .log
            .iter()
            .filter(|(id, entry)| was_answered(entry) && !self.sent.contains_key(*id));
        problems.extend(unsent.map(|(_, entry)| format!("logged, but never sent: {entry}")));
        let mut seen: HashMap<&str, usize> = HashMap::new();
        for sight in &self.sights {
            if sight.id.is_empty() {
                if !self.is_refused_by_origin(sight) {
                    problems.push(format!("seen, but no request that was sent: {sight:?}"));
                }
                continue;
            }
            *seen.entry(&sight.id).or_default() += 1;
            match self.sent.get(&sight.id) {
                None => problems.push(format!("never sent, but seen: {sight:?}")),
                Some(sent) if sent.len() < seen[sight.id.as_str()] => {
                    problems.push(format!("seen more often than it was sent: {sight:?}"));
                }
                Some(sent) => problems.extend(self.compare(&sent[0], sight).err()),
            }
        }
        problems
    }

    /// Complete requests with a good answer that the origin says nothing of.
    fn missing(&self) -> impl Iterator<Item = &Recorded> {
        let seen: HashSet<&str> = self.sights.iter().map(|sight| sight.id.as_str()).collect();
        self.sent
            .iter()
            .filter(move |(id, _)| {
                self.log.get(*id).is_some_and(was_answered) && !seen.contains(id.as_str())
            })
            .filter_map(|(_, sent)| sent.iter().find(|request| request.is_complete))
    }

    /// What was sent against the access log.
    fn check_log(&self, id: &str, sent: &[Recorded]) -> Result<(), String> {
        let first = &sent[0];
        let Some(entry) = self.log.get(id) else {
            return Err(format!("sent, but not logged: {}", describe(first)));
        };
        let text = |name: &str| entry[name].as_str().unwrap_or_default();
        let path = text("path");
        // The log has the target as it was received: a whole URL may stand for its path.
        let is_path = path == first.target
            || (path.to_ascii_lowercase().starts_with("http://")
                && path.ends_with(first.target.trim_start_matches(['/', '*'])));
        let is_same = [
            (
                "attempts",
                entry["attempts"]
                    .as_u64()
                    .is_some_and(|attempts| attempts >= sent.len() as u64),
            ),
            ("method", text("method") == first.method),
            ("path", is_path),
            (
                "copies",
                sent.iter()
                    .all(|other| other.raw == first.raw || !other.is_complete),
            ),
        ];
        match is_same.iter().find(|(_, is_same)| !is_same) {
            Some((what, _)) => Err(format!(
                "another {what} in the log: {entry} of {}",
                describe(first)
            )),
            None => Ok(()),
        }
    }

    /// What was sent against what the origin made of it.
    fn compare(&self, sent: &Recorded, sight: &Sight) -> Result<(), String> {
        let body_is_same =
            !sent.is_complete || sight.body.as_ref().is_none_or(|body| *body == sent.body);
        // Who refuses a request may leave its body unread, and closes the connection then.
        let entry = self.log.get(&sight.id);
        let reads_all = entry.is_some_and(was_answered);
        let length_is_same = match sight.wire_bytes {
            Some(bytes) if sent.is_complete && reads_all => bytes == sent.raw.len(),
            Some(bytes) if sent.is_complete => bytes <= sent.raw.len(),
            _ => true,
        };
        let markers = sent.headers("x-marker");
        let marker_is_same = list(&sight.marker) == list(&markers.join(","))
            || sight.marker == as_logged(markers.first().copied());
        let is_same = [
            ("method", sight.method == sent.method),
            ("target", sight.target == sent.target),
            ("host", sight.host == as_logged(sent.header("host"))),
            ("marker", marker_is_same),
            ("body", body_is_same),
            ("length", length_is_same),
        ];
        match is_same.iter().find(|(_, is_same)| !is_same) {
            Some((what, _)) => Err(format!("another {what}: {sight:?} of {}", describe(sent))),
            None => Ok(()),
        }
    }

    /// What an origin cannot read has no id there: it must be a request that was sent and that it refused, not a
    /// part of another one.
    fn is_refused_by_origin(&self, sight: &Sight) -> bool {
        self.sent.iter().any(|(id, sent)| {
            let is_target = sight.target.is_empty() || sent[0].target == sight.target;
            is_target && self.log.get(id).is_some_and(|entry| !was_answered(entry))
        })
    }
}

/// `-` alone stands for nothing in these logs.
fn as_logged(value: Option<&str>) -> &str {
    value.filter(|value| *value != "-").unwrap_or_default()
}

/// The elements of a list, however they are joined.
fn list(value: &str) -> Vec<&str> {
    value.split(',').map(str::trim_ascii).collect()
}

/// Whether the client got an answer that is no refusal.
fn was_answered(entry: &Value) -> bool {
    let status = entry["status"].as_u64();
    status.is_some_and(|status| (200..400).contains(&status))
}

fn describe(request: &Recorded) -> String {
    request.raw.escape_ascii().to_string()
}

//! The handshakes of a measurement: how many, and what was agreed on.

use balance_tls::Agreement;
use serde_json::{Value, json};

/// Counted by what was agreed on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Handshakes(Vec<(Agreement, u64)>);

impl Handshakes {
    pub(crate) fn count(&mut self, agreement: Agreement) {
        self.count_n(agreement, 1);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (agreement, count) in &other.0 {
            self.count_n(*agreement, *count);
        }
    }

    pub(crate) fn total(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }

    /// One line for each agreement.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(agreement, count)| {
            let kind = if agreement.is_resumed {
                "resumed"
            } else {
                "full"
            };
            let (version, cipher) = (agreement.version.name(), agreement.cipher_suite.name());
            let group = group(agreement).unwrap_or_else(|| "no key exchange".to_owned());
            format!("TLS {version}, {cipher}, {group}: {count} {kind} handshakes")
        })
    }

    pub(crate) fn to_json(&self) -> Value {
        let each = self.0.iter().map(|(agreement, count)| {
            json!({
                "version": agreement.version.name(),
                "cipher": agreement.cipher_suite.name(),
                "group": group(agreement),
                "resumed": agreement.is_resumed,
                "handshakes": count,
            })
        });
        each.collect()
    }

    fn count_n(&mut self, agreement: Agreement, count: u64) {
        match self.0.iter_mut().find(|(known, _)| *known == agreement) {
            Some((_, known)) => *known += count,
            None => self.0.push((agreement, count)),
        }
    }
}

/// By the name that IANA has for it.
fn group(agreement: &Agreement) -> Option<String> {
    agreement.group.map(|group| format!("{group:?}"))
}

//! What a connection test has shown.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use crate::failures::Failures;
use crate::summary::{Lines, write_json};
use crate::target::Usage;
use crate::tls::Handshakes;

/// What stopped the test before its goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    None,
    /// The limit on open descriptors of this process.
    Descriptors(u64),
    Ports,
}

impl Limit {
    pub(super) fn name(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Descriptors(_) => Some("descriptors"),
            Self::Ports => Some("ports"),
        }
    }
}

/// The target's memory at three times.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    pub(super) base: Usage,
    pub(super) loaded: Usage,
    pub(super) held: Usage,
}

#[derive(Debug)]
pub(super) struct Report {
    pub(super) wanted: usize,
    pub(super) opened: usize,
    pub(super) open_time: Duration,
    pub(super) verified: usize,
    pub(super) lost: u64,
    pub(super) failures: Failures,
    pub(super) handshakes: Handshakes,
    pub(super) limit: Limit,
    pub(super) memory: Option<Memory>,
}

/// The number of connections for which the memory is computed: the project's target.
const COMPUTED_FOR: f64 = 50_000.0;

impl Report {
    /// 0: all opened and the sample intact. 3: a limit of this machine stopped it. 1: the target failed.
    pub(super) fn exit_code(&self) -> ExitCode {
        match (self.failures.total(), self.limit) {
            (_, Limit::Descriptors(_) | Limit::Ports) if self.lost == 0 => ExitCode::from(3),
            (0, _) if self.opened == self.wanted => ExitCode::SUCCESS,
            _ => ExitCode::from(1),
        }
    }

    /// Prints it, and writes the JSON where asked.
    ///
    /// # Errors
    /// The file could not be written.
    pub(super) fn write(&self, json: Option<&Path>) -> anyhow::Result<()> {
        std::io::stdout().write_all(self.to_text().as_bytes())?;
        write_json(json, &self.to_json())
    }

    pub(super) fn to_text(&self) -> String {
        let mut lines = Lines::default();
        let seconds = self.open_time.as_secs_f64();
        lines.push(
            "connections",
            format!("{} of {} in {seconds:.2} s", self.opened, self.wanted),
        );
        for agreed in self.handshakes.lines() {
            lines.push("tls", agreed);
        }
        lines.push(
            "sample",
            format!("{} verified again, {} lost", self.verified, self.lost),
        );
        if let Some(memory) = &self.memory {
            let row = |usage: &Usage| {
                format!(
                    "{:.1} MB (Pss {:.1} MB)",
                    mb(usage.rss_bytes),
                    mb(usage.pss_bytes)
                )
            };
            lines.push("memory before", row(&memory.base));
            lines.push("memory opened", row(&memory.loaded));
            lines.push("memory held", row(&memory.held));
            let each = self.bytes_per_connection();
            lines.push("per connection", format!("{each:.0} bytes"));
            let total = memory.base.rss_bytes as f64 + each * COMPUTED_FOR;
            let how = if self.opened as f64 >= COMPUTED_FOR {
                ""
            } else {
                " (computed)"
            };
            lines.push("at 50,000", format!("{:.1} MB{how}", total / 1e6));
        }
        match self.limit {
            Limit::None => {}
            Limit::Descriptors(limit) => lines.push(
                "LIMITED",
                format!("by descriptors: this process may open {limit} (`ulimit -Hn`)"),
            ),
            Limit::Ports => lines.push("LIMITED", "by local ports: give more --sources".to_owned()),
        }
        for failure in self.failures.lines() {
            lines.push_line(&failure);
        }
        lines.into_text()
    }

    fn to_json(&self) -> serde_json::Value {
        let memory = self.memory.as_ref().map(|memory| {
            json!({
                "base_rss_bytes": memory.base.rss_bytes,
                "base_pss_bytes": memory.base.pss_bytes,
                "opened_rss_bytes": memory.loaded.rss_bytes,
                "opened_pss_bytes": memory.loaded.pss_bytes,
                "held_rss_bytes": memory.held.rss_bytes,
                "held_pss_bytes": memory.held.pss_bytes,
                "bytes_per_connection": self.bytes_per_connection(),
            })
        });
        json!({
            "connections": self.opened,
            "connections_wanted": self.wanted,
            "open_s": self.open_time.as_secs_f64(),
            "verified": self.verified,
            "lost": self.lost,
            "tls": self.handshakes.to_json(),
            "limited_by": self.limit.name(),
            "memory": memory,
            "errors": self.failures.to_json(),
        })
    }

    /// Growth of resident memory while holding, divided by the connections.
    pub(super) fn bytes_per_connection(&self) -> f64 {
        let Some(memory) = &self.memory else {
            return 0.0;
        };
        let growth = memory.held.rss_bytes as f64 - memory.base.rss_bytes as f64;
        growth / self.opened.max(1) as f64
    }
}

fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

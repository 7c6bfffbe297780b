//! `metrics`, `admin`, `logging`, `tracing` and `profiling`: what the process shows of itself.

use balance_core::ListenAddress;

use crate::config::{AccessLog, Admin, LogFormat, LogLevel, Logging, Metrics, Profiling};
use crate::diagnostics::Spanned;
use crate::table::{ENABLED, Key, Kind, Table};
use crate::value::{Block, Value};

pub(crate) static METRICS: Table = Table {
    name: "metrics",
    doc: "Prometheus metrics. An address equal to the admin's shares its listener.",
    main: Some("listen"),
    keys: &[
        ENABLED,
        Key::new(
            "listen",
            Kind::ListenAddress,
            DEFAULT_LISTEN,
            "Where it is scraped.",
        ),
        Key::new("path", Kind::UrlPath, "/metrics", "Under which path."),
    ],
};

pub(crate) static ADMIN: Table = Table {
    name: "admin",
    doc: "Health, readiness, status, pools, reload. None unless configured.",
    main: Some("listen"),
    keys: &[
        ENABLED,
        Key::new(
            "listen",
            Kind::ListenAddress,
            DEFAULT_LISTEN,
            "Its address; not one that clients reach.",
        ),
        Key::new(
            "token_file",
            Kind::Text,
            "",
            "A file with the token that callers show. Off loopback without one, only health, readiness, version and metrics are open.",
        ).example("/etc/balance/admin.token"),
    ],
};

pub(crate) static LOGGING: Table = Table {
    name: "logging",
    doc: "What is logged and how.",
    main: Some("level"),
    keys: &[
        Key::new("level", LEVEL, "info", "From which level on."),
        Key::new(
            "format",
            Kind::Choice(&["text", "json"], &[]),
            "text",
            "Of the log and the access log.",
        ),
        Key::new(
            "add_caller",
            Kind::Bool,
            "false",
            "Of the original format; has no effect here.",
        ),
        Key::new(
            "access_log",
            Kind::BoolOrText,
            "false",
            "A line for each exchange: true or `stdout`, `stderr`, or a file.",
        )
        .example("/var/log/balance/access.log"),
    ],
};

pub(crate) static TRACING: Table = Table {
    name: "tracing",
    doc: "Spans over OTLP.",
    main: Some("endpoint"),
    keys: &[
        ENABLED,
        Key::new(
            "service_name",
            Kind::Text,
            "balance-proxy",
            "The name in the spans.",
        ),
        Key::new(
            "endpoint",
            Kind::Text,
            "",
            "Where they are sent, like `http://otel:4318`.",
        )
        .example("\"http://otel:4318\""),
        Key::new(
            "sample_rate",
            Kind::Share,
            "1.0",
            "The share of exchanges that is traced.",
        ),
    ],
};

pub(crate) static PROFILING: Table = Table {
    name: "profiling",
    doc: "CPU and heap profiles of the running process, for `go tool pprof`. They are protected as the admin API is: by its token, else to callers on loopback only.",
    main: Some("http_addr"),
    keys: &[
        ENABLED,
        Key::new(
            "http_addr",
            Kind::ListenAddress,
            DEFAULT_PROFILING,
            "Where they are served, under /debug/pprof/. It may be the admin's or the metrics' address.",
        ),
        Key::new(
            "cpu_profile",
            Kind::Text,
            "",
            "A file for a CPU profile of the whole run, written at its end.",
        )
        .example("cpu.prof"),
        Key::new(
            "mem_profile",
            Kind::Text,
            "",
            "A file for a heap profile, written at the end of the run.",
        )
        .example("mem.prof"),
    ],
};

/// Levels, as `BALANCE_LOG_LEVEL` takes them too.
pub(crate) const LEVEL: Kind = Kind::Choice(&["trace", "debug", "info", "warn", "error"], &[]);

/// The original's; both share the listener then.
const DEFAULT_LISTEN: &str = ":9090";
const DEFAULT_ADDRESS: ListenAddress = ListenAddress::Wildcard { port: 9090 };
/// The port that Go programs have theirs on.
const DEFAULT_PROFILING: &str = ":6060";
const DEFAULT_PROFILING_ADDRESS: ListenAddress = ListenAddress::Wildcard { port: 6060 };

/// Reads `metrics`, when it is in force.
pub(crate) fn read_metrics(block: Option<&Block>) -> Option<Metrics> {
    let block = block.filter(|block| block.is_enabled())?;
    Some(Metrics {
        listen: listen_of(block, "listen", DEFAULT_ADDRESS),
        path: block.text("path").unwrap_or("/metrics").to_owned(),
    })
}

/// Reads `admin`, when it is in force.
pub(crate) fn read_admin(block: Option<&Block>) -> Option<Admin> {
    let block = block.filter(|block| block.is_enabled())?;
    Some(Admin {
        listen: listen_of(block, "listen", DEFAULT_ADDRESS),
        token_file: block.spanned_text("token_file"),
    })
}

/// Reads `profiling`, when it is in force.
pub(crate) fn read_profiling(block: Option<&Block>) -> Option<Profiling> {
    let block = block.filter(|block| block.is_enabled())?;
    Some(Profiling {
        listen: listen_of(block, "http_addr", DEFAULT_PROFILING_ADDRESS),
        cpu_profile: block.spanned_text("cpu_profile"),
        mem_profile: block.spanned_text("mem_profile"),
    })
}

/// Reads `logging`.
pub(crate) fn read_logging(block: Option<&Block>) -> Logging {
    let defaults = Logging::default();
    let Some(block) = block else { return defaults };
    let access_log = block.item("access_log").map(|item| match &item.value {
        Value::Bool(true) => AccessLog::Stdout,
        Value::Text(text) if text == "stdout" => AccessLog::Stdout,
        Value::Text(text) if text == "stderr" => AccessLog::Stderr,
        Value::Text(path) => AccessLog::File(Spanned::new(path.clone(), item.place.clone())),
        _ => AccessLog::Off,
    });
    Logging {
        level: block
            .text("level")
            .and_then(level_named)
            .unwrap_or(defaults.level),
        format: match block.text("format") {
            Some("json") => LogFormat::Json,
            _ => LogFormat::Text,
        },
        access_log: access_log.unwrap_or(defaults.access_log),
    }
}

/// The level of a name of [`LEVEL`].
pub(crate) fn level_named(name: &str) -> Option<LogLevel> {
    Some(match name {
        "trace" => LogLevel::Trace,
        "debug" => LogLevel::Debug,
        "info" => LogLevel::Info,
        "warn" => LogLevel::Warn,
        "error" => LogLevel::Error,
        _ => return None,
    })
}

fn listen_of(block: &Block, key: &str, default: ListenAddress) -> Spanned<ListenAddress> {
    let address = block.listen(key).cloned().unwrap_or(default);
    let place = block.item(key).map_or(&block.place, |item| &item.place);
    Spanned::new(address, place.clone())
}

#[cfg(test)]
mod tests {
    use super::{DEFAULT_ADDRESS, DEFAULT_LISTEN, DEFAULT_PROFILING, DEFAULT_PROFILING_ADDRESS};

    #[test]
    fn the_default_addresses_are_those_shown() {
        assert_eq!(DEFAULT_ADDRESS.to_string(), DEFAULT_LISTEN);
        assert_eq!(DEFAULT_PROFILING_ADDRESS.to_string(), DEFAULT_PROFILING);
    }
}

//! The process log: to stderr, as text or JSON. A reload may change its level.

mod queue;

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use balance_config::{LogFormat, LogLevel, Logging};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::{Layered, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use queue::LineQueue;

type Filtered = Layered<reload::Layer<LevelFilter, Registry>, Registry>;
type BoxedFormat = Box<dyn Layer<Filtered> + Send + Sync>;

/// The installed log and how to change it.
pub(crate) struct Log {
    level: reload::Handle<LevelFilter, Registry>,
    format: reload::Handle<BoxedFormat, Filtered>,
    current: LogFormat,
    /// Not there when no thread could be started: then lines are written where they are logged.
    queue: Option<LineQueue>,
}

impl Log {
    /// Installs the log with the defaults, which hold until a configuration is read.
    pub(crate) fn install() -> Self {
        let defaults = Logging::default();
        let (level, level_handle) = reload::Layer::new(filter(defaults.level));
        let queue = LineQueue::start(io::stderr()).ok();
        let (format, format_handle) = reload::Layer::new(layer(defaults.format, queue.as_ref()));
        // Fails only if there is a log already: then that one stays.
        let _ = tracing_subscriber::registry()
            .with(level)
            .with(format)
            .try_init();
        Self {
            level: level_handle,
            format: format_handle,
            current: defaults.format,
            queue,
        }
    }

    /// Makes the log what the configuration says.
    pub(crate) fn apply(&mut self, settings: &Logging) {
        // Both fail only when the subscriber is gone, at the very end of the process.
        let _ = self.level.reload(filter(settings.level));
        if self.current != settings.format {
            let _ = self
                .format
                .reload(layer(settings.format, self.queue.as_ref()));
            self.current = settings.format;
        }
    }

    /// A line as it is, for scripts.
    pub(crate) fn line(&self, text: impl Display) {
        let line = format!("{text}\n");
        // A reader that has gone away is no reason to fail.
        let _ = match &self.queue {
            Some(queue) => { queue }.write_all(line.as_bytes()),
            None => io::stderr().write_all(line.as_bytes()),
        };
    }

    /// How lines look at the moment.
    pub(crate) fn format(&self) -> LogFormat {
        self.current
    }
}

impl Drop for Log {
    /// What was logged last says why the process ends.
    fn drop(&mut self) {
        if let Some(queue) = &self.queue {
            queue.flush(FLUSH_LIMIT);
        }
    }
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Trace => LevelFilter::TRACE,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    }
}

fn layer(format: LogFormat, queue: Option<&LineQueue>) -> BoxedFormat {
    let writer = match queue {
        Some(queue) => BoxMakeWriter::new(queue.clone()),
        None => BoxMakeWriter::new(io::stderr),
    };
    match format {
        LogFormat::Text => fmt::layer()
            .with_writer(writer)
            .with_ansi(io::stderr().is_terminal())
            .with_target(false)
            .boxed(),
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_writer(writer)
            .boxed(),
    }
}

/// How long the end of the process waits for who reads its log.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

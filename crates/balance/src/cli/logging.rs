//! The process log: to stderr, as text or JSON. A reload may change its level.

use std::io::{self, IsTerminal};

use balance_config::{LogFormat, LogLevel, Logging};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Layered, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

type Filtered = Layered<reload::Layer<LevelFilter, Registry>, Registry>;
type BoxedFormat = Box<dyn Layer<Filtered> + Send + Sync>;

/// The installed log and how to change it.
pub(crate) struct Log {
    level: reload::Handle<LevelFilter, Registry>,
    format: reload::Handle<BoxedFormat, Filtered>,
    current: LogFormat,
}

impl Log {
    /// Installs the log with the defaults, which hold until a configuration is read.
    pub(crate) fn install() -> Self {
        let defaults = Logging::default();
        let (level, level_handle) = reload::Layer::new(filter(defaults.level));
        let (format, format_handle) = reload::Layer::new(layer(defaults.format));
        // Fails only if there is a log already: then that one stays.
        let _ = tracing_subscriber::registry()
            .with(level)
            .with(format)
            .try_init();
        Self {
            level: level_handle,
            format: format_handle,
            current: defaults.format,
        }
    }

    /// Makes the log what the configuration says.
    pub(crate) fn apply(&mut self, settings: &Logging) {
        // Both fail only when the subscriber is gone, at the very end of the process.
        let _ = self.level.reload(filter(settings.level));
        if self.current != settings.format {
            let _ = self.format.reload(layer(settings.format));
            self.current = settings.format;
        }
    }

    /// How lines look at the moment.
    pub(crate) fn format(&self) -> LogFormat {
        self.current
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

fn layer(format: LogFormat) -> BoxedFormat {
    match format {
        LogFormat::Text => fmt::layer()
            .with_writer(io::stderr)
            .with_ansi(io::stderr().is_terminal())
            .with_target(false)
            .boxed(),
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_writer(io::stderr)
            .boxed(),
    }
}

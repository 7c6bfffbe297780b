//! The access log: opened when its target is new, kept when it is the same.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use balance_config::{
    AccessLog as AccessLogConfig, Config, Diagnostic, LogFormat as FormatConfig, Place, Severity,
    Spanned,
};
use balance_telemetry::{AccessLog, AccessLogOptions, LogFormat, LogTarget, Registry, open_file};

use super::Compiled;

/// An open access log and what it was opened with.
pub(crate) struct OpenLog {
    options: AccessLogOptions,
    pub(crate) log: Arc<AccessLog>,
}

/// Opens the log of `config` unless `previous` has it. An error goes to `diagnostics`.
pub(super) fn acquire(
    config: &Config,
    previous: Option<&Compiled>,
    registry: &Arc<Registry>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<OpenLog> {
    let options = options(config)?;
    let running = previous.and_then(|previous| previous.log.as_ref());
    if let Some(known) = running.filter(|known| known.options == options) {
        return Some(OpenLog {
            options,
            log: Arc::clone(&known.log),
        });
    }
    match AccessLog::spawn(options.clone(), Arc::clone(registry)) {
        Ok(log) => Some(OpenLog {
            options,
            log: Arc::new(log),
        }),
        Err(error) => {
            diagnostics.push(explain(config, &error));
            None
        }
    }
}

/// Whether the log could be opened, without creating it.
pub(super) fn check(config: &Config) -> Option<Diagnostic> {
    let AccessLogConfig::File(path) = &config.logging.access_log else {
        return None;
    };
    let opened = match open_file(&mut OpenOptions::new(), Path::new(&path.value)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = Path::new(&path.value)
                .parent()
                .filter(|one| !one.as_os_str().is_empty());
            std::fs::metadata(folder.unwrap_or(Path::new("."))).map(|_| ())
        }
        other => other.map(|_| ()),
    };
    opened.err().map(|error| explain(config, &error))
}

fn options(config: &Config) -> Option<AccessLogOptions> {
    let target = match &config.logging.access_log {
        AccessLogConfig::Off => return None,
        AccessLogConfig::Stdout => LogTarget::Stdout,
        AccessLogConfig::Stderr => LogTarget::Stderr,
        AccessLogConfig::File(path) => LogTarget::File(PathBuf::from(&path.value)),
    };
    let format = match config.logging.format {
        FormatConfig::Text => LogFormat::Text,
        FormatConfig::Json => LogFormat::Json,
    };
    Some(AccessLogOptions { target, format })
}

fn explain(config: &Config, error: &io::Error) -> Diagnostic {
    match &config.logging.access_log {
        AccessLogConfig::File(Spanned { value, place }) => {
            let message = format!("the access log {value} cannot be opened: {error}");
            Diagnostic::new(Severity::Error, place, message)
                .with_help("its folder must exist and be writable for the user Balance runs as")
        }
        _ => {
            let file = config
                .listeners
                .first()
                .map(|listener| &listener.place.file);
            let place = Place::whole(&file.cloned().unwrap_or_default());
            let message = format!("the access log cannot be opened: {error}");
            Diagnostic::new(Severity::Error, &place, message)
        }
    }
}

//! Settings that a running process cannot change: a reload accepts the file and says so.

use std::sync::Arc;

use balance_config::{Config, Diagnostic, Place, Severity};

use super::Compiled;

/// One warning for each setting that waits for the next start.
pub(super) fn remarks(config: &Config, previous: Option<&Compiled>) -> Vec<Diagnostic> {
    let (Some(previous), Some(listener)) = (previous, config.listeners.first()) else {
        return Vec::new();
    };
    let running: &Config = &previous.config;
    let place = Place::whole(&Arc::clone(&listener.place.file));
    let fixed = [
        (
            "performance.worker_threads",
            config.worker_threads != running.worker_threads,
        ),
        (
            "performance.zero_copy",
            config.zero_copy != running.zero_copy,
        ),
        (
            "limits.idle_upstream_max",
            config.idle_upstream_max != running.idle_upstream_max,
        ),
        (
            "limits.buffered_bytes_max",
            config.buffered_bytes_max != running.buffered_bytes_max,
        ),
        ("via_name", config.via_name != running.via_name),
        (
            "profiling.cpu_profile and profiling.mem_profile",
            profile_files(config) != profile_files(running),
        ),
    ];
    fixed
        .into_iter()
        .filter(|(_, has_changed)| *has_changed)
        .map(|(key, _)| {
            let message = format!("a change of {key} takes effect at the next start");
            Diagnostic::new(Severity::Warning, &place, message)
        })
        .collect()
}

/// The files that profiles of the whole run go to.
fn profile_files(config: &Config) -> Option<[Option<&str>; 2]> {
    let profiling = config.profiling.as_ref()?;
    let files = [&profiling.cpu_profile, &profiling.mem_profile];
    let named = files.map(|file| file.as_ref().map(|file| file.value.as_str()));
    (named != [None, None]).then_some(named)
}

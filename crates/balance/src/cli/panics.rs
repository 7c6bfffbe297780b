//! What a panic says: one line in the log, with its place. The data path closes that connection only.

use std::panic::{self, PanicHookInfo};
use std::thread;

/// Replaces the standard hook, whose several lines on stderr no log reader understands.
pub(crate) fn install_hook() {
    panic::set_hook(Box::new(|info| {
        let thread = thread::current();
        let location = info.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(
            thread = thread.name().unwrap_or("?"),
            at = location,
            "panic: {}",
            message(info)
        );
    }));
}

fn message<'a>(info: &'a PanicHookInfo<'_>) -> &'a str {
    info.payload_as_str().unwrap_or("without a message")
}

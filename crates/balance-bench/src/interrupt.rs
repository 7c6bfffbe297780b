//! Ctrl-C and SIGTERM end a measurement early; they do not throw its results away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};

/// A flag that Ctrl-C and SIGTERM set.
pub(crate) fn flag() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    // Without the thread Ctrl-C ends the program at once, which is no harm to the measurement.
    let _ = std::thread::Builder::new()
        .name("interrupt".to_owned())
        .spawn(move || {
            if wait().is_ok() {
                flag.store(true, Ordering::Relaxed);
            }
        });
    stop
}

/// Blocks until the process is asked to end.
///
/// # Errors
/// The signal handler could not be installed.
pub(crate) fn wait() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(signalled())
}

/// Completes when the process is asked to end.
///
/// # Errors
/// The signal handler could not be installed.
async fn signalled() -> std::io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

//! Ctrl-C and SIGTERM end a measurement early; they do not throw its results away.

use tokio::signal::unix::{SignalKind, signal};

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
pub(crate) async fn signalled() -> std::io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

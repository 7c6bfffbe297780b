//! Signals, as one stream of what an operator asked for.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// SIGHUP.
    Reload,
    /// SIGTERM, SIGINT: drain with a limit; the second one ends the process at once.
    Stop,
    /// SIGQUIT: drain for as long as it takes.
    StopUnlimited,
    /// SIGUSR1: log files were moved away.
    ReopenLogs,
}

/// All signals that Balance listens to. From its creation on none of them kills the process.
pub(crate) struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    user1: Signal,
}

impl Signals {
    /// Must be called inside the control runtime.
    ///
    /// # Errors
    /// What sigaction(2) says.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            user1: signal(SignalKind::user_defined1())?,
        })
    }

    /// The next one. Several of a kind that came at once count once, as signals do.
    pub(crate) async fn next(&mut self) -> Request {
        tokio::select! {
            // Stopping wins over whatever else is pending.
            biased;
            _ = self.terminate.recv() => Request::Stop,
            _ = self.interrupt.recv() => Request::Stop,
            _ = self.quit.recv() => Request::StopUnlimited,
            _ = self.hangup.recv() => Request::Reload,
            _ = self.user1.recv() => Request::ReopenLogs,
        }
    }

    /// The next request to stop; the others keep waiting for [`Signals::next`].
    pub(crate) async fn next_stop(&mut self) -> Request {
        tokio::select! {
            _ = self.terminate.recv() => Request::Stop,
            _ = self.interrupt.recv() => Request::Stop,
            _ = self.quit.recv() => Request::StopUnlimited,
        }
    }
}

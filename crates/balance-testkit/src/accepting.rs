//! A listener with the thread that takes in its connections: what every server here begins with and ends with.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crate::PATIENCE;

/// A free port of 127.0.0.1.
pub(crate) const ANY_PORT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A running listener. Dropping it stops it and waits for its thread.
#[derive(Debug)]
pub(crate) struct Accepting {
    address: SocketAddr,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// The connections of a listener, until it is stopped.
pub(crate) struct Incoming {
    listener: TcpListener,
    stopping: Arc<AtomicBool>,
}

impl Accepting {
    /// Runs `take_in` on a thread of its own. `stopping` is set when it is to end; connections that wait may look.
    pub(crate) fn start(
        listen: SocketAddr,
        stopping: &Arc<AtomicBool>,
        take_in: impl FnOnce(Incoming) + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind(listen).expect("a test can listen on its address");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let incoming = Incoming {
            listener,
            stopping: Arc::clone(stopping),
        };
        Self {
            address,
            stopping: Arc::clone(stopping),
            thread: Some(std::thread::spawn(move || take_in(incoming))),
        }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.address
    }

    /// No connection is taken in from now on.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        // Wakes accept(); when nobody listens any more there is nothing to wake.
        let _ = TcpStream::connect_timeout(&self.address, PATIENCE);
    }

    /// Waits for the thread, which [`Accepting::stop`] lets end.
    pub(crate) fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Accepting {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.stop();
            self.join();
        }
    }
}

impl Iterator for Incoming {
    type Item = (TcpStream, SocketAddr);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let accepted = self.listener.accept();
            if self.stopping.load(Ordering::Acquire) {
                return None;
            }
            if let Ok(accepted) = accepted {
                return Some(accepted);
            }
        }
    }
}

/// The threads of a server's connections.
#[derive(Default)]
pub(crate) struct Threads {
    running: Vec<JoinHandle<()>>,
}

impl Threads {
    /// Lets go of those that have ended: each would keep its stack, and tens of thousands use up the mappings that a
    /// process may have.
    pub(crate) fn spawn(&mut self, serve: impl FnOnce() + Send + 'static) {
        self.running.retain(|thread| !thread.is_finished());
        self.running.push(std::thread::spawn(serve));
    }

    /// Waits for all of them.
    pub(crate) fn join(self) {
        for thread in self.running {
            let _ = thread.join();
        }
    }
}

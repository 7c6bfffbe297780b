//! A TCP proxy that does to one exchange what networks and dying peers do: delay, drip, RST or FIN at byte N,
//! half-close, silence, garbage, in either direction.
//!
//! It stands between Balance and an origin, or between a client and Balance, and keeps what passes: without a
//! fault it is a wire-tap. It knows nothing of HTTP: who uses it counts the bytes.
//!
//! ```text
//!   near (who connected) ── up ──► far (the target)
//!                        ◄── down ──
//! ```

mod pump;

use std::collections::VecDeque;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::PATIENCE;
use crate::client::reset;
use pump::{Direction, Pump};

/// What goes wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub place: Place,
    pub action: FaultAction,
}

/// Where a fault strikes. Bytes are counted from the first one that [`FaultProxy::begin`] has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The connection was accepted, and no byte was read.
    Accept,
    /// So many bytes were passed on to the target. 0: the first ones have come and none was passed on.
    Up(u64),
    /// So many bytes of the target were passed back.
    Down(u64),
}

/// What happens at that place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultAction {
    /// RST to both sides.
    Reset,
    /// FIN to both sides. What still comes is read, so that no reset follows.
    Close,
    /// FIN in this direction only; the other one goes on.
    HalfClose,
    /// Nothing passes any more in either direction, and nobody is told.
    Blackhole,
    /// Reads nothing more in this direction: its sender's buffers fill.
    Stall,
    /// Sends these bytes in place of all that follows in this direction.
    Garbage(Vec<u8>),
    /// Waits once for so long, then goes on.
    Delay(Duration),
    /// Goes on byte by byte, with a pause before each.
    Drip(Duration),
}

impl FaultAction {
    /// Whether nothing passes any more, in either direction.
    fn is_cut(&self) -> bool {
        matches!(self, Self::Reset | Self::Close | Self::Blackhole)
    }
}

/// What passed since [`FaultProxy::begin`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// The connections that sent something, in the order of their first byte: each attempt is one of them.
    pub senders: Vec<usize>,
    /// What they sent, faults or not.
    pub up: Vec<u8>,
    /// What the target sent.
    pub down: Vec<u8>,
    /// How many faults have struck.
    pub faults: usize,
}

/// A running proxy. Dropping it closes everything.
#[derive(Debug)]
pub struct FaultProxy {
    addresses: Vec<SocketAddr>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_stopping: bool,
    /// Threads that have not ended.
    threads: usize,
    /// Faults whose place was reached and that have not struck yet.
    striking: usize,
    /// Each strikes one connection, in this order.
    armed: VecDeque<Fault>,
    links: Vec<Link>,
    carried: Carried,
}

/// One connection and its other half.
#[derive(Debug)]
struct Link {
    /// Gone when both directions have ended.
    streams: Option<(TcpStream, TcpStream)>,
    /// The one that was armed when this connection began to send.
    fault: Option<Fault>,
    /// All that it sent to the target, faults or not.
    sent: Vec<u8>,
    passed_up: u64,
    passed_down: u64,
    /// The direction that goes byte by byte, until the next exchange.
    drips: Option<(Direction, Duration)>,
    /// Nothing is passed on any more.
    is_cut: bool,
    /// Directions that have ended.
    ended: usize,
}

impl FaultProxy {
    /// Listens on a free port of 127.0.0.1 and passes everything on to `target`.
    pub fn start(target: SocketAddr) -> Self {
        Self::with_addresses(target, 1)
    }

    /// As [`FaultProxy::start`], on several addresses: to a balancer they are several backends.
    pub fn with_addresses(target: SocketAddr, count: usize) -> Self {
        let shared = Arc::new(Shared {
            target,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let listen = |_| {
            let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
            let address = listener.local_addr();
            shared.spawn(move |shared| shared.accept_all(&listener));
            address.expect("a bound socket has an address")
        };
        let addresses = (0..count).map(listen).collect();
        Self { addresses, shared }
    }

    /// The first address.
    pub fn addr(&self) -> SocketAddr {
        self.addresses[0]
    }

    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Begins a new record, and arms these faults: the first one strikes the connection that sends the next
    /// byte (or, at [`Place::Accept`], is accepted next), the second one the connection that begins to send
    /// after it. Whoever comes later is served without.
    pub fn begin(&self, faults: impl IntoIterator<Item = Fault>) {
        self.shared.change(|state| {
            state.armed = faults.into_iter().collect();
            state.carried = Carried::default();
        });
    }

    /// What passed since then.
    pub fn carried(&self) -> Carried {
        self.shared.state().carried.clone()
    }

    /// What each connection has sent so far, in the order of accepting.
    pub fn sent(&self) -> Vec<Vec<u8>> {
        let state = self.shared.state();
        state.links.iter().map(|link| link.sent.clone()).collect()
    }

    /// How many connections were accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.state().links.len()
    }

    /// Waits until so many faults have struck since [`FaultProxy::begin`].
    ///
    /// # Panics
    /// When that takes longer than [`PATIENCE`].
    pub fn wait_for_faults(&self, count: usize) {
        self.wait_until(&format!("{count} faults"), |state| {
            state.carried.faults >= count
        });
    }

    /// Waits until every fault whose place was reached has struck. Who gets the last byte before one may be faster.
    ///
    /// # Panics
    /// When that takes longer than [`PATIENCE`].
    pub fn wait_until_struck(&self) {
        self.wait_until("end of the faults", |state| state.striking == 0);
    }

    /// Waits until no connection is open.
    ///
    /// # Panics
    /// When that takes longer than [`PATIENCE`].
    pub fn wait_until_closed(&self) {
        self.wait_until("end of all connections", |state| {
            state.links.iter().all(|link| link.streams.is_none())
        });
    }

    /// Closes every connection that is open now, with FIN to both sides. Who looks next finds it closed.
    pub fn close_connections(&self) {
        for (near, far) in self.shared.state().open_streams() {
            // Either may have been closed by its peer, which is the same.
            let _ = near.shutdown(Shutdown::Both);
            let _ = far.shutdown(Shutdown::Both);
        }
    }

    fn wait_until(&self, what: &str, is_met: impl Fn(&State) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.shared.state();
        while !is_met(&state) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "no {what} at the fault proxy: {:?}",
                state.carried
            );
            state = self.shared.wait(state, left);
        }
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.shared.change(|state| state.is_stopping = true);
        for address in &self.addresses {
            // Wakes accept(); when nobody listens any more there is nothing to wake.
            let _ = TcpStream::connect_timeout(address, PATIENCE);
        }
        self.close_connections();
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.shared.state();
        while state.threads > 0 && Instant::now() < deadline {
            state = self.shared.wait(state, PATIENCE);
        }
    }
}

impl State {
    fn open_streams(&self) -> impl Iterator<Item = &(TcpStream, TcpStream)> {
        self.links.iter().filter_map(|link| link.streams.as_ref())
    }

    /// The fault of a connection that was just accepted, if one waits for that.
    fn fault_at_accept(&mut self) -> Option<FaultAction> {
        let is_next = self
            .armed
            .front()
            .is_some_and(|fault| fault.place == Place::Accept);
        let fault = if is_next {
            self.armed.pop_front()
        } else {
            None
        };
        self.striking += usize::from(fault.is_some());
        fault.map(|fault| fault.action)
    }
}

impl Shared {
    /// A test that fails in a wait panics with the lock; the state is as good as before, and the drop that
    /// follows needs it.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let result = act(&mut self.state());
        self.changed.notify_all();
        result
    }

    fn wait<'s>(&self, state: MutexGuard<'s, State>, limit: Duration) -> MutexGuard<'s, State> {
        let waited = self.changed.wait_timeout(state, limit);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Runs `act` on a thread that the drop waits for. Not joined: thousands of connections come and go, and
    /// each handle would keep its stack.
    fn spawn(self: &Arc<Self>, act: impl FnOnce(&Arc<Self>) + Send + 'static) {
        self.change(|state| state.threads += 1);
        let shared = Arc::clone(self);
        std::thread::spawn(move || {
            act(&shared);
            shared.change(|state| state.threads -= 1);
        });
    }

    fn accept_all(self: &Arc<Self>, listener: &TcpListener) {
        while let Ok((near, _)) = listener.accept() {
            if self.state().is_stopping {
                return;
            }
            // Who cannot be served is reset, as by a target that is gone.
            if self.serve(&near).is_err() {
                let _ = reset(&near);
            }
        }
    }

    fn serve(self: &Arc<Self>, near: &TcpStream) -> std::io::Result<()> {
        let far = TcpStream::connect_timeout(&self.target, PATIENCE)?;
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        let link = Link {
            streams: Some((near.try_clone()?, far.try_clone()?)),
            fault: None,
            sent: Vec::new(),
            passed_up: 0,
            passed_down: 0,
            drips: None,
            is_cut: false,
            ended: 0,
        };
        let (number, fault) = self.change(|state| {
            state.links.push(link);
            (state.links.len() - 1, state.fault_at_accept())
        });
        for direction in [Direction::Up, Direction::Down] {
            let (near, far) = (near.try_clone()?, far.try_clone()?);
            let mut pump = Pump::new(Arc::clone(self), number, direction, near, far);
            let strikes = fault.clone().filter(|_| direction == Direction::Up);
            self.spawn(move |_| pump.run(strikes));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

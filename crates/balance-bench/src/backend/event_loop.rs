//! The thread of a built-in backend: one epoll instance, its own accept sockets, its own connections.
//!
//! Level-triggered, one read and usually one write per request: beside a proxy that is being measured,
//! a runtime would be the larger part of the cost.

use std::collections::VecDeque;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use balance_tls::SessionError;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};

use super::Shared;
use super::connection::{Connection, Interest, Next, Turn};
use super::scanner::Seen;
use crate::link::Link;
use crate::tls::{Records, TlsStream};

/// Connections accepted before those that are open have their turn.
const ACCEPTS_PER_TURN: usize = 64;
const EVENTS_PER_TURN: usize = 1024;
/// As much as a proxy's socket is likely to hold: fewer system calls in bulk.
const SCRATCH_BYTES: usize = 256 * 1024;
/// How long accepting rests when descriptors have run out, so that it is no busy loop.
const ACCEPT_REST: Duration = Duration::from_millis(100);

const WAKE_TOKEN: u64 = u64::MAX;
const LISTENER_TOKENS: u64 = u64::MAX - 1024;

pub(super) struct EventLoop {
    shared: Arc<Shared>,
    epoll: OwnedFd,
    listeners: Vec<TcpListener>,
    accept_rests_until: Option<Instant>,
    slots: Vec<Slot>,
    /// Slots without a connection, ready for the next one.
    free: Vec<u32>,
    /// Slots that became free in this turn. An event of the same turn may still name them.
    freed_now: Vec<u32>,
    /// Answers that wait for the delay. It is the same for all, so this is in the order of time.
    delayed: VecDeque<(Instant, u64)>,
    scratch: Vec<u8>,
    seen: Vec<Seen>,
    records: Records,
}

/// A place for a connection. The generation tells an event for an earlier one in the same place.
struct Slot {
    generation: u32,
    open: Option<(Connection, Interest)>,
}

impl EventLoop {
    pub(super) fn new(
        shared: Arc<Shared>,
        listeners: Vec<TcpListener>,
        wake: &OwnedFd,
    ) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(
            &epoll,
            wake,
            epoll::EventData::new_u64(WAKE_TOKEN),
            epoll::EventFlags::IN,
        )?;
        let event_loop = Self {
            shared,
            epoll,
            listeners,
            accept_rests_until: None,
            slots: Vec::new(),
            free: Vec::new(),
            freed_now: Vec::new(),
            delayed: VecDeque::new(),
            scratch: vec![b'.'; SCRATCH_BYTES],
            seen: Vec::new(),
            records: Records::default(),
        };
        event_loop.watch_listeners()?;
        Ok(event_loop)
    }

    /// Runs until the backend is stopped.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(EVENTS_PER_TURN);
        loop {
            let timeout = self.time_to_next(Instant::now());
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            if self.shared.stopping.load(Ordering::Acquire) {
                return Ok(());
            }
            for event in &events {
                let (token, flags) = (event.data.u64(), event.flags);
                if token >= LISTENER_TOKENS {
                    self.accept((token - LISTENER_TOKENS) as usize)?;
                } else {
                    self.on_event(token, flags);
                }
            }
            if !self.delayed.is_empty() || self.accept_rests_until.is_some() {
                self.on_time(Instant::now())?;
            }
            self.free.append(&mut self.freed_now);
        }
    }

    fn watch_listeners(&self) -> io::Result<()> {
        for (index, listener) in self.listeners.iter().enumerate() {
            let data = epoll::EventData::new_u64(LISTENER_TOKENS + index as u64);
            epoll::add(&self.epoll, listener, data, epoll::EventFlags::IN)?;
        }
        Ok(())
    }

    fn time_to_next(&self, now: Instant) -> Option<Timespec> {
        let delayed = self.delayed.front().map(|(due, _)| *due);
        let next = [delayed, self.accept_rests_until]
            .into_iter()
            .flatten()
            .min()?;
        let wait = next.saturating_duration_since(now);
        Timespec::try_from(wait).ok()
    }

    fn on_time(&mut self, now: Instant) -> io::Result<()> {
        while let Some((due, token)) = self.delayed.front().copied()
            && due <= now
        {
            self.delayed.pop_front();
            self.with_connection(token, |connection, turn| {
                (connection.on_delay_over(turn), 0)
            });
        }
        if self.accept_rests_until.is_some_and(|until| until <= now) {
            self.accept_rests_until = None;
            self.watch_listeners()?;
        }
        Ok(())
    }

    fn accept(&mut self, index: usize) -> io::Result<()> {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(listener) = self.listeners.get(index) else {
                return Ok(());
            };
            match accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok(socket) => self.open(TcpStream::from(socket)),
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                    return self.rest_accepting();
                }
                Err(_) => {} // that connection failed before it was accepted (accept(2))
            }
        }
        Ok(())
    }

    fn rest_accepting(&mut self) -> io::Result<()> {
        if self.accept_rests_until.is_none() {
            for listener in &self.listeners {
                epoll::delete(&self.epoll, listener)?;
            }
            self.accept_rests_until = Some(Instant::now() + ACCEPT_REST);
        }
        Ok(())
    }

    fn open(&mut self, stream: TcpStream) {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 0,
                open: None,
            });
            u32::try_from(self.slots.len() - 1).expect("fewer connections than 2^32")
        });
        let slot = &mut self.slots[index as usize];
        slot.generation = slot.generation.wrapping_add(1) & (u32::MAX >> 1);
        let token = u64::from(slot.generation) << 32 | u64::from(index);
        let interest = Connection::first_interest(self.shared.mode);
        let data = epoll::EventData::new_u64(token);
        if epoll::add(&self.epoll, stream.as_fd(), data, flags(interest)).is_err() {
            self.freed_now.push(index); // no memory for it in the kernel: the connection is dropped
            return;
        }
        self.shared.connections.fetch_add(1, Ordering::Relaxed);
        let Ok(link) = link(&self.shared, stream) else {
            self.freed_now.push(index); // no randomness: there is no TLS without
            return;
        };
        slot.open = Some((Connection::new(link, self.shared.mode), interest));
    }

    fn on_event(&mut self, token: u64, flags: epoll::EventFlags) {
        use epoll::EventFlags as Flags;
        if flags.intersects(Flags::OUT) {
            self.with_connection(token, |connection, turn| (connection.on_writable(turn), 0));
        }
        if flags.intersects(Flags::IN) {
            self.with_connection(token, Connection::on_readable);
        } else if flags.intersects(Flags::ERR | Flags::HUP) {
            self.with_connection(token, |_, _| (Next::Close, 0));
        }
    }

    /// Gives one connection its turn and does what it asks for.
    fn with_connection(
        &mut self,
        token: u64,
        act: impl FnOnce(&mut Connection, &mut Turn<'_>) -> (Next, usize),
    ) {
        let (index, generation) = (token as u32, (token >> 32) as u32);
        let Some(slot) = self.slots.get_mut(index as usize) else {
            return;
        };
        let Some((connection, interest)) = &mut slot.open else {
            return;
        };
        if slot.generation != generation {
            return;
        }
        let mut turn = Turn {
            shared: &self.shared,
            scratch: &mut self.scratch,
            seen: &mut self.seen,
            records: &mut self.records,
        };
        let (next, to_delay) = act(connection, &mut turn);
        if to_delay > 0 {
            let due = Instant::now() + self.shared.delay;
            self.delayed
                .extend(std::iter::repeat_n((due, token), to_delay));
        }
        let is_open = match next {
            Next::Wait(wanted) if wanted == *interest => true,
            Next::Wait(wanted) => {
                *interest = wanted;
                let data = epoll::EventData::new_u64(token);
                epoll::modify(
                    &self.epoll,
                    connection.socket().as_fd(),
                    data,
                    flags(wanted),
                )
                .is_ok()
            }
            Next::Close => false,
        };
        if !is_open {
            slot.open = None; // closing the descriptor takes it out of epoll
            self.freed_now.push(index);
        }
    }
}

fn link(shared: &Shared, stream: TcpStream) -> Result<Link, SessionError> {
    Ok(match &shared.tls {
        None => Link::Plain(stream),
        Some(policy) => Link::Tls(Box::new(TlsStream::new(stream, policy.accept(&[])?))),
    })
}

fn flags(interest: Interest) -> epoll::EventFlags {
    let mut flags = epoll::EventFlags::empty();
    flags.set(epoll::EventFlags::IN, interest.read);
    flags.set(epoll::EventFlags::OUT, interest.write);
    flags
}

//! Parts of a worker as operations of a benchmark: each returns a function that does it so many times. With the feature
//! `measured` only, which nothing but `cargo bench` switches on.

use std::hint::black_box;
use std::io;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::task::{Context, Waker};

use balance_net::Stream;
use tokio::runtime::Builder;

use crate::buffers::{FreeList, KEPT_BYTES, recycle};
use crate::maybe_tls::MaybeTls;
use crate::upstream::{IdleConnection, IdleConnections, IdleLimits};
use crate::wheel::Wheel;

/// An operation, to be done so many times.
pub type Repeat = Box<dyn FnMut(u64)>;

/// Takes a buffer of a head from the free list, and gives it back.
pub fn free_list() -> Repeat {
    let list: FreeList<Vec<u8>> = FreeList::new(256);
    Box::new(move |times| {
        for _ in 0..times {
            let mut buffer = list.take(|| Vec::with_capacity(KEPT_BYTES));
            black_box(&mut buffer);
            recycle(&mut buffer, KEPT_BYTES);
            list.give_back(buffer);
        }
    })
}

/// Moves one of `timers` deadlines and looks whether it has passed, as every wait of an exchange does.
pub fn wheel(timers: usize) -> Repeat {
    let wheel = Wheel::new(0);
    let timers: Vec<_> = (0..timers).map(|_| wheel.timer()).collect();
    let mut next = 0;
    let mut now_ms = 0;
    Box::new(move |times| {
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..times {
            let timer = &timers[next % timers.len()];
            next += 1;
            now_ms += u64::from(next % 64 == 0);
            timer.set(now_ms, 30_000);
            black_box(timer.poll_expired(&mut context).is_ready());
        }
    })
}

/// Takes an idle connection to a backend and keeps it again, among `kept` of them.
///
/// # Errors
/// There are no sockets.
pub fn idle_connections(kept: usize) -> io::Result<Repeat> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let idle = IdleConnections::new(kept, Rc::new(IdleLimits::new(kept)));
    let mut peers = Vec::new();
    {
        let _inside = runtime.enter();
        for _ in 0..kept {
            let (ours, theirs) = UnixStream::pair()?;
            ours.set_nonblocking(true)?;
            peers.push(theirs);
            idle.keep(IdleConnection {
                stream: MaybeTls::Plain(Stream::from_unix_fd(ours.into())?),
                since_ms: 0,
                expires_ms: u64::MAX,
                announced: None,
            });
        }
    }
    // Each has been found silent once, as in a worker: from here on no system call is made.
    runtime.block_on(async { idle.expire(0) });
    Ok(Box::new(move |times| {
        // The other ends and the runtime live as long as the connections.
        black_box((&runtime, &peers));
        for _ in 0..times {
            let connection = idle.take(0, None).expect("their other ends are open");
            idle.keep(connection);
        }
    }))
}

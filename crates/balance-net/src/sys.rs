//! The calls that have no safe wrapper in rustix, socket2 or tokio. Sampling of call stacks has a file of its own.
#![expect(
    unsafe_code,
    reason = "setsockopt(TCP_DEFER_ACCEPT) and AsyncFd::register have no safe wrapper"
)]

mod sampling;

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

pub(crate) use sampling::{ThreadTimer, install_handler};

/// Wakes the listener only once a connection's first bytes are there (tcp(7), TCP_DEFER_ACCEPT),
/// or about `seconds` after a silent client's handshake.
pub(crate) fn set_defer_accept(socket: impl AsFd, seconds: libc::c_int) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<libc::c_int>()).expect("an int is 4 bytes");
    // SAFETY: the descriptor is open for the length of the call because it is borrowed, and the
    // pointer is to a live int whose size is passed along.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            length,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Registers a descriptor with the current runtime, for reading.
pub(crate) fn register_readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is open, always answers with the same descriptor, and moves into the AsyncFd,
    // which is used through shared references only: nobody can close or exchange it before it is dropped.
    let registered = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    Ok(registered?)
}

//! A connection as the data path polls it: TCP or unix, one type for both sides.
//!
//! Waiting is tokio's; reading and writing one buffer are system calls of our own, because the C library's are
//! cancellation points, which costs four calls more per exchange. Readiness is cleared after a short read or write,
//! without which a pooled connection always looks readable and is thrown away.

use std::io::{self, IoSlice};
use std::net;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncWrite, Interest};
use tokio::net::{TcpStream, UnixStream};

use rustix::net::{RecvFlags, SendFlags};

use crate::socket;

/// A registered, non-blocking connection.
#[derive(Debug)]
pub enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Registers a non-blocking TCP socket with the current runtime.
    ///
    /// # Errors
    /// What epoll_ctl(2) says.
    pub fn from_tcp_fd(fd: OwnedFd) -> io::Result<Self> {
        TcpStream::from_std(net::TcpStream::from(fd)).map(Self::Tcp)
    }

    /// Registers a non-blocking unix socket with the current runtime.
    ///
    /// # Errors
    /// What epoll_ctl(2) says.
    pub fn from_unix_fd(fd: OwnedFd) -> io::Result<Self> {
        UnixStream::from_std(unix::net::UnixStream::from(fd)).map(Self::Unix)
    }

    /// Whether it is a TCP connection.
    #[inline]
    pub fn is_tcp(&self) -> bool {
        matches!(self, Self::Tcp(_))
    }

    /// Reads into `buffer`. 0 means the peer's FIN (or an empty buffer).
    #[inline]
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_read_ready(cx))?;
            let mut read = 0;
            let result = self.try_io(Interest::READABLE, || {
                (read, _) = rustix::net::recv(&*self, &mut *buffer, RecvFlags::empty())?;
                or_exhausted(read, buffer.len())
            });
            match settled(result, read) {
                Poll::Pending => {} // registers again
                ready => return ready,
            }
        }
    }

    /// Writes what the socket takes of `bytes`.
    #[inline]
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_write_ready(cx))?;
            let mut written = 0;
            let result = self.try_io(Interest::WRITABLE, || {
                written = rustix::net::send(&*self, bytes, SendFlags::NOSIGNAL)?;
                or_exhausted(written, bytes.len())
            });
            match settled(result, written) {
                Poll::Pending => {} // registers again
                ready => return ready,
            }
        }
    }

    /// Writes what the socket takes of `slices`, in one system call.
    #[inline]
    pub fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(tcp) => Pin::new(tcp).poll_write_vectored(cx, slices),
            Self::Unix(unix) => Pin::new(unix).poll_write_vectored(cx, slices),
        }
    }

    /// Ready when a read would not wait, as far as the runtime knows: no system call. On a connection
    /// that should be silent, ready means closed or garbage.
    #[inline]
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(tcp) => tcp.poll_read_ready(cx),
            Self::Unix(unix) => unix.poll_read_ready(cx),
        }
    }

    /// Ready when a write would not wait, as far as the runtime knows.
    #[inline]
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(tcp) => tcp.poll_write_ready(cx),
            Self::Unix(unix) => unix.poll_write_ready(cx),
        }
    }

    /// Runs `operation` if the runtime believes the socket ready for `interest`; when it answers
    /// `WouldBlock`, that belief is cleared and the next `poll_*_ready` waits for the kernel.
    ///
    /// # Errors
    /// What `operation` says, or `WouldBlock` without calling it.
    #[inline]
    pub fn try_io<R>(
        &self,
        interest: Interest,
        operation: impl FnOnce() -> io::Result<R>,
    ) -> io::Result<R> {
        match self {
            Self::Tcp(tcp) => tcp.try_io(interest, operation),
            Self::Unix(unix) => unix.try_io(interest, operation),
        }
    }

    /// Sends our FIN; reading goes on. Takes effect at once, nothing is buffered here.
    ///
    /// # Errors
    /// What shutdown(2) says; a connection that is gone already is no error.
    #[inline]
    pub fn shutdown_write(&self) -> io::Result<()> {
        socket::shutdown_write(self)
    }

    /// Deregisters the connection and hands out its descriptor, still non-blocking.
    ///
    /// # Errors
    /// What epoll_ctl(2) says.
    pub fn into_fd(self) -> io::Result<OwnedFd> {
        match self {
            Self::Tcp(tcp) => tcp.into_std().map(OwnedFd::from),
            Self::Unix(unix) => unix.into_std().map(OwnedFd::from),
        }
    }
}

/// What an operation that moved `moved` of at most `len` bytes tells the runtime. After a short one the socket has
/// nothing more for now: `WouldBlock` clears its readiness and saves the call that would find out.
#[inline]
fn or_exhausted(moved: usize, len: usize) -> io::Result<()> {
    if moved == 0 || moved == len {
        return Ok(());
    }
    Err(io::ErrorKind::WouldBlock.into())
}

/// What became of an operation: pending when it could do nothing.
#[inline]
fn settled(result: io::Result<()>, moved: usize) -> Poll<io::Result<usize>> {
    match result {
        Err(error) if moved == 0 && error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        Err(error) if moved == 0 => Poll::Ready(Err(error)),
        _ => Poll::Ready(Ok(moved)),
    }
}

impl AsFd for Stream {
    #[inline]
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(tcp) => tcp.as_fd(),
            Self::Unix(unix) => unix.as_fd(),
        }
    }
}

impl From<TcpStream> for Stream {
    fn from(tcp: TcpStream) -> Self {
        Self::Tcp(tcp)
    }
}

impl From<UnixStream> for Stream {
    fn from(unix: UnixStream) -> Self {
        Self::Unix(unix)
    }
}

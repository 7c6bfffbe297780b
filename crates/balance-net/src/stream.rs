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

use rustix::io::Errno;
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
            match rustix::net::recv(&*self, &mut *buffer, RecvFlags::empty()) {
                Ok((read, _)) => {
                    self.on_moved(Interest::READABLE, read, buffer.len());
                    return Poll::Ready(Ok(read));
                }
                Err(error) => self.on_error(Interest::READABLE, error)?, // registers again
            }
        }
    }

    /// Writes what the socket takes of `bytes`.
    #[inline]
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_write_ready(cx))?;
            match rustix::net::send(&*self, bytes, SendFlags::NOSIGNAL) {
                Ok(written) => {
                    self.on_moved(Interest::WRITABLE, written, bytes.len());
                    return Poll::Ready(Ok(written));
                }
                Err(error) => self.on_error(Interest::WRITABLE, error)?, // registers again
            }
        }
    }

    /// As [`Stream::poll_write`], but asks the kernel at once: where nothing waits to be sent there is nearly always
    /// room, and what the runtime believes need not be looked up. 0 when there is none; `poll_write` then waits.
    ///
    /// # Errors
    /// What send(2) says.
    #[inline]
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match rustix::net::send(self, bytes, SendFlags::NOSIGNAL) {
            Ok(written) => Ok(written),
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(error) => Err(error.into()),
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

    /// After an operation that moved `moved` of at most `len` bytes: after a short one the socket has nothing more
    /// for now, and forgetting its readiness saves the call that would find out.
    #[inline]
    fn on_moved(&self, interest: Interest, moved: usize, len: usize) {
        if moved != 0 && moved != len {
            self.forget_readiness(interest);
        }
    }

    /// After an operation that failed: forgets the readiness when there was none.
    #[inline]
    fn on_error(&self, interest: Interest, error: Errno) -> io::Result<()> {
        match error {
            Errno::AGAIN => self.forget_readiness(interest),
            Errno::INTR => {}
            error => return Err(error.into()),
        }
        Ok(())
    }

    /// Nothing can have become ready since the operation, as far as the runtime knows: both run on this thread.
    #[inline]
    fn forget_readiness(&self, interest: Interest) {
        let nothing = || Err::<(), _>(io::Error::from(io::ErrorKind::WouldBlock));
        let _: io::Result<()> = self.try_io(interest, nothing); // always this error
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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::Stream;

    #[tokio::test]
    async fn what_a_socket_does_not_take_is_waited_for() {
        let (here, mut there) = UnixStream::pair().unwrap();
        here.set_nonblocking(true).unwrap();
        let mut stream = Stream::from_unix_fd(here.into()).unwrap();
        let mut sent = 0;
        loop {
            match stream.try_write(&[7; 4096]).unwrap() {
                0 => break,
                taken => sent += taken,
            }
        }
        let reader = std::thread::spawn(move || {
            let mut got = Vec::new();
            there.read_to_end(&mut got).unwrap();
            got.len()
        });
        sent += poll_fn(|cx| stream.poll_write(cx, b"more")).await.unwrap();
        drop(stream);
        assert_eq!(reader.join().unwrap(), sent);
    }
}

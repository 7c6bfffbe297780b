//! A connection as the data path polls it: cleartext, or under TLS.
//!
//! An enum and no trait object: what is spoken is known when a connection begins, and cleartext pays one
//! predictable branch for TLS to exist.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::task::{Context, Poll, Waker, ready};

use balance_net::{PeerState, RelayEnd, Stream, peer_state};
use balance_proto::Scheme;
use balance_tls::{TlsFault, TlsIdentity};
use tokio::io::Interest;

use crate::tls::TlsStream;

/// A connection on either side.
pub(crate) enum MaybeTls {
    Plain(Stream),
    /// Boxed: a session is large, and a connection is moved about.
    Tls(Box<TlsStream>),
}

impl MaybeTls {
    /// How URLs of this connection begin.
    pub(crate) fn scheme(&self) -> Scheme {
        match self {
            Self::Plain(_) => Scheme::Http,
            Self::Tls(_) => Scheme::Https,
        }
    }

    /// Whether HTTP/2 was agreed on in its handshake; `None` without one.
    pub(crate) fn agreed_on_http2(&self) -> Option<bool> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(tls) => Some(tls.speaks_http2()),
        }
    }

    /// Whom the client named in its handshake.
    pub(crate) fn server_name(&self) -> Option<&str> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(tls) => tls.server_name(),
        }
    }

    /// How long the handshake with a backend took; `None` without TLS.
    pub(crate) fn handshake_us(&self) -> Option<u64> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(tls) => Some(tls.handshake_us()),
        }
    }

    /// Reads into `buffer`, which under TLS has room for a record. 0: the peer sends no more. An end that was not
    /// announced (RFC 8446 §6.1) is an error under TLS: anybody on the way can send a FIN.
    #[inline]
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => stream.poll_read(cx, buffer),
            Self::Tls(tls) => tls.poll_read(cx, buffer),
        }
    }

    /// Writes what the socket takes of `bytes`. After `Pending`, what is offered next begins with the same bytes:
    /// under TLS they are sealed already.
    #[inline]
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => stream.poll_write(cx, bytes),
            Self::Tls(tls) => tls.poll_write(cx, &[IoSlice::new(bytes)]),
        }
    }

    /// Writes at once what can be written, where nothing waits to be sent ([`Stream::try_write`]). Under TLS that is
    /// left to `poll_write`, which keeps what was sealed.
    ///
    /// # Errors
    /// What send(2) says.
    #[inline]
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.try_write(bytes),
            Self::Tls(_) => Ok(0),
        }
    }

    /// As [`MaybeTls::poll_write`], of several slices at once.
    #[inline]
    pub(crate) fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => stream.poll_write_vectored(cx, slices),
            Self::Tls(tls) => tls.poll_write(cx, slices),
        }
    }

    /// Says that we send no more, by close_notify where there is one and by FIN; reading goes on.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Poll::Ready(stream.shutdown_write()),
            Self::Tls(tls) => tls.poll_shutdown(cx),
        }
    }

    /// Says that we send no more, as far as that can be said without waiting. For a connection that is dropped next:
    /// a TLS peer that is told nothing must take what it has for cut off.
    pub(crate) fn end(&mut self) {
        if let Self::Tls(tls) = self {
            // Who takes nothing any more cannot be told anything.
            let _ = tls.poll_shutdown(&mut Context::from_waker(Waker::noop()));
        }
    }

    /// Watches a peer from whom nothing is read: ready when it did something. Under TLS only reading shows what; its
    /// bytes go to `unread` if `takes_data`.
    pub(crate) fn poll_peer(
        &mut self,
        cx: &mut Context<'_>,
        unread: &mut Vec<u8>,
        takes_data: bool,
    ) -> Poll<PeerState> {
        let state = loop {
            let stream = self.stream();
            if ready!(stream.poll_read_ready(cx)).is_err() {
                return Poll::Ready(PeerState::Reset);
            }
            let seen = stream.try_io(Interest::READABLE, || match peer_state(stream) {
                PeerState::Quiet => Err(io::ErrorKind::WouldBlock.into()),
                other => Ok(other),
            });
            match seen {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {} // registers again
                seen => break seen.unwrap_or(PeerState::Reset),
            }
        };
        match self {
            Self::Tls(tls) if takes_data && state == PeerState::Data => tls.poll_peer(cx, unread),
            _ => Poll::Ready(state),
        }
    }

    /// What a connection to a backend was secured under; `None`: it was not.
    #[inline]
    pub(crate) fn identity(&self) -> Option<TlsIdentity> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(tls) => tls.identity(),
        }
    }

    /// Whether nothing that came waits underneath. Of cleartext there is no underneath.
    #[inline]
    pub(crate) fn is_drained(&self) -> bool {
        match self {
            Self::Plain(_) => true,
            Self::Tls(tls) => tls.is_drained(),
        }
    }

    /// What TLS ended with, after an error.
    pub(crate) fn fault(&self) -> Option<TlsFault> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(tls) => tls.fault(),
        }
    }

    /// The socket underneath.
    #[inline]
    pub(crate) fn stream(&self) -> &Stream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(tls) => tls.stream(),
        }
    }
}

impl From<Stream> for MaybeTls {
    fn from(stream: Stream) -> Self {
        Self::Plain(stream)
    }
}

impl AsFd for MaybeTls {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream().as_fd()
    }
}

impl RelayEnd for MaybeTls {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        Self::poll_read(self, cx, buffer)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Self::poll_write(self, cx, bytes)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_shutdown(self, cx)
    }

    fn bare(&self) -> Option<&Stream> {
        match self {
            Self::Plain(stream) => Some(stream),
            Self::Tls(_) => None,
        }
    }
}

//! A connection under TLS: a session on a socket.
//!
//! It owns no buffer while it is idle. Records are read into and written from the worker's buffers; what is left is
//! kept in between: ciphertext that is not a whole record yet, and ciphertext that the socket did not take.

use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use balance_net::{PeerState, Stream};
use balance_tls::{
    Agreement, Opened, Output, RECORD_BYTES_MAX, RECORD_PLAINTEXT_MAX, Session, SessionError,
    TlsFault, TlsIdentity,
};

use super::records::{Buffers, REPLIES_BYTES_MAX, RecordBuffers, SEALED_AT_ONCE_MAX};

/// A connection under TLS.
pub(crate) struct TlsStream {
    stream: Stream,
    session: Session,
    buffers: Rc<RecordBuffers>,
    /// Ciphertext that came and was not opened.
    unread: Vec<u8>,
    /// Ciphertext to be sent.
    unsent: Vec<u8>,
    /// How much of `unsent` is sent.
    sent: usize,
    /// Plaintext that is sealed and was not reported as written: what is offered next begins with it.
    sealed: usize,
    /// What the session ended with.
    failure: Option<SessionError>,
    /// rustls does not tell it of a session without buffers.
    server_name: Option<Box<str>>,
    /// What a session with a backend was made under.
    identity: Option<TlsIdentity>,
    /// How long the handshake with a backend took.
    handshake_us: u64,
}

impl TlsStream {
    /// `unread`: what was read before, and belongs to the session.
    pub(super) fn new(
        stream: Stream,
        session: Session,
        buffers: Rc<RecordBuffers>,
        unread: Vec<u8>,
    ) -> Self {
        Self {
            stream,
            session,
            buffers,
            unread,
            unsent: Vec::new(),
            sent: 0,
            sealed: 0,
            failure: None,
            server_name: None,
            identity: None,
            handshake_us: 0,
        }
    }

    /// A connection to a backend, with the beginning of the handshake ready to be sent.
    pub(super) fn connected(
        stream: Stream,
        (session, identity): (Session, TlsIdentity),
        buffers: Rc<RecordBuffers>,
    ) -> Result<Self, SessionError> {
        let mut tls = Self::new(stream, session, buffers, Vec::new());
        tls.identity = Some(identity);
        tls.session.open(&mut [], &mut [], &mut tls.unsent)?;
        Ok(tls)
    }

    pub(crate) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Which server the client named in the handshake (RFC 6066 §3), in lower case.
    pub(crate) fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    pub(super) fn set_server_name(&mut self, name: Option<String>) {
        self.server_name = name.map(String::into_boxed_str);
    }

    pub(crate) fn agreement(&self) -> Option<Agreement> {
        self.session.agreement()
    }

    /// What the session with a backend was made under.
    pub(crate) fn identity(&self) -> Option<TlsIdentity> {
        self.identity
    }

    /// How long the handshake with a backend took.
    pub(crate) fn handshake_us(&self) -> u64 {
        self.handshake_us
    }

    pub(crate) fn set_handshake_us(&mut self, handshake_us: u64) {
        self.handshake_us = handshake_us;
    }

    /// Whether nothing is left of what came: neither a record that was not opened, nor an end.
    pub(crate) fn is_drained(&self) -> bool {
        self.unread.is_empty() && !self.session.is_closed_by_peer() && self.failure.is_none()
    }

    /// What the session ended with, if TLS itself is why.
    pub(crate) fn fault(&self) -> Option<TlsFault> {
        self.failure.as_ref().map(SessionError::fault)
    }

    /// Whether HTTP/2 was agreed on (RFC 9113 §3.2).
    pub(crate) fn speaks_http2(&self) -> bool {
        self.session.alpn_protocol() == Some(b"h2")
    }

    /// Ready when the handshake is over.
    pub(super) fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.session.is_handshaking() {
            // What we have to say first: the peer waits for it.
            ready!(self.poll_flush(cx))?;
            ready!(self.poll_records(cx, &mut []))?;
        }
        // What is left goes with the first thing that is said, or with the first wait for the peer.
        Poll::Ready(Ok(()))
    }

    /// See [`MaybeTls::poll_read`](crate::maybe_tls::MaybeTls::poll_read).
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        debug_assert!(buffer.len() >= RECORD_PLAINTEXT_MAX, "a record has room");
        let read = self.poll_records(cx, buffer);
        if read.is_pending()
            && let Poll::Ready(Err(error)) = self.poll_flush(cx)
        {
            return Poll::Ready(Err(error)); // our replies
        }
        read
    }

    /// See [`MaybeTls::poll_write`](crate::maybe_tls::MaybeTls::poll_write).
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.sealed == 0 {
            if self.unsent.len() - self.sent > REPLIES_BYTES_MAX {
                ready!(self.poll_flush(cx))?;
            }
            self.seal_and_send(cx, slices)?;
        } else if let Poll::Ready(Err(error)) = self.poll_flush(cx) {
            return Poll::Ready(Err(error));
        }
        // A record is longer than what it says, so of what is sealed at most this is unsent.
        let unsent = self.sealed.min(self.unsent.len() - self.sent);
        let written = self.sealed - unsent;
        self.sealed = unsent;
        if written == 0 {
            return Poll::Pending;
        }
        Poll::Ready(Ok(written))
    }

    /// See [`MaybeTls::poll_shutdown`](crate::maybe_tls::MaybeTls::poll_shutdown).
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.failure.is_none()
            && let Err(error) = self.session.close(&mut self.unread, &mut self.unsent)
        {
            return Poll::Ready(Err(self.fail(error)));
        }
        ready!(self.poll_flush(cx))?;
        Poll::Ready(self.stream.shutdown_write())
    }

    /// Looks at what came from a peer from whom nothing is read. Pending: nothing that it said.
    pub(crate) fn poll_peer(
        &mut self,
        cx: &mut Context<'_>,
        unread: &mut Vec<u8>,
    ) -> Poll<PeerState> {
        let mut plaintext = [0; RECORD_PLAINTEXT_MAX];
        match ready!(self.poll_read(cx, &mut plaintext)) {
            Ok(0) => Poll::Ready(PeerState::Closed),
            Ok(bytes) => {
                unread.extend_from_slice(&plaintext[..bytes]);
                Poll::Ready(PeerState::Data)
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Poll::Ready(PeerState::Closed)
            }
            Err(_) => Poll::Ready(PeerState::Reset),
        }
    }

    /// Why the session is over, if TLS itself is why.
    pub(super) fn take_failure(&mut self) -> Option<SessionError> {
        self.failure.take()
    }

    /// Reads and opens records until there is plaintext, or the end. With an empty `plaintext`, for the handshake,
    /// until a step of it is done.
    fn poll_records(
        &mut self,
        cx: &mut Context<'_>,
        plaintext: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if self.session.is_closed_by_peer() {
            return Poll::Ready(Ok(0));
        }
        if self.failure.is_some() {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        let shared = Rc::clone(&self.buffers);
        let incoming = &mut shared.borrow().incoming;
        let mut held = self.unread.len();
        incoming[..held].copy_from_slice(&self.unread);
        self.unread = Vec::new();
        // One more record behind what is held: a message may go on in it (a long chain of a client's certificates).
        let room = plaintext.len().max(held + RECORD_BYTES_MAX);
        let room = room.min(incoming.len());
        let read = self.poll_records_in(cx, &mut incoming[..room], &mut held, plaintext);
        self.unread.extend_from_slice(&incoming[..held]);
        read
    }

    /// `held` bytes of `incoming` are ciphertext.
    fn poll_records_in(
        &mut self,
        cx: &mut Context<'_>,
        incoming: &mut [u8],
        held: &mut usize,
        plaintext: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            if !self.session.has_record(&incoming[..*held]) {
                let bytes = ready!(self.stream.poll_read(cx, &mut incoming[*held..]))?;
                if bytes == 0 {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                *held += bytes;
            }
            let ciphertext = &mut incoming[..*held];
            let opened = self
                .session
                .open(ciphertext, plaintext, &mut self.unsent)
                .map_err(|error| self.fail(error));
            let Opened {
                consumed,
                plaintext: bytes,
            } = match opened {
                Ok(opened) => opened,
                Err(error) => {
                    // The alert; nobody waits for it to be taken.
                    let _ = self.poll_flush(cx);
                    return Poll::Ready(Err(error));
                }
            };
            incoming.copy_within(consumed..*held, 0);
            *held -= consumed;
            let is_over = plaintext.is_empty() && !self.session.is_handshaking();
            let has_reply = plaintext.is_empty() && !self.unsent.is_empty();
            if bytes > 0 || is_over || has_reply || self.session.is_closed_by_peer() {
                return Poll::Ready(Ok(bytes));
            }
        }
    }

    /// Seals as much of `slices` as one write may carry, and sends what the socket takes.
    fn seal_and_send(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> io::Result<()> {
        let shared = Rc::clone(&self.buffers);
        let Buffers {
            outgoing, stage, ..
        } = &mut *shared.borrow();
        let replies = self.unsent.len() - self.sent;
        outgoing[..replies].copy_from_slice(&self.unsent[self.sent..]);
        let mut left = SEALED_AT_ONCE_MAX;
        let parts = slices.iter().map(|slice| {
            let part = &slice[..slice.len().min(left)];
            left -= part.len();
            part
        });
        let output = Output {
            records: outgoing,
            filled: replies,
            stage,
        };
        let sealed = self.session.seal(parts, &mut self.unread, output);
        let filled = sealed.map_err(|error| self.fail(error))?;
        self.sealed = SEALED_AT_ONCE_MAX - left;
        self.unsent = Vec::new();
        self.sent = 0;
        let mut records = &outgoing[..filled];
        records = &records[self.stream.try_write(records)?..];
        while !records.is_empty() {
            match self.stream.poll_write(cx, records) {
                Poll::Ready(Ok(bytes)) => records = &records[bytes..],
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => {
                    self.unsent = records.to_vec();
                    break;
                }
            }
        }
        Ok(())
    }

    /// Ready when nothing is unsent.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.sent == 0 && !self.unsent.is_empty() {
            // At once: the runtime does not know yet that a new connection takes what it is given.
            self.sent = self.stream.try_write(&self.unsent)?;
        }
        while self.sent < self.unsent.len() {
            let bytes = ready!(self.stream.poll_write(cx, &self.unsent[self.sent..]))?;
            if bytes == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += bytes;
        }
        self.unsent = Vec::new();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    fn fail(&mut self, error: SessionError) -> io::Error {
        self.failure = Some(error);
        io::ErrorKind::InvalidData.into()
    }
}

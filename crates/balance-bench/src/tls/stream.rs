//! A connection under TLS, for sockets that block and for those that do not.
//!
//! It holds no buffer while nothing is under way: records are read into and written from those of the thread.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use balance_tls::{
    Agreement, Output, RECORD_BYTES_MAX, RECORD_PLAINTEXT_MAX, Session, sealed_bytes_max,
};

/// Either side of a connection.
pub(crate) struct TlsStream {
    stream: TcpStream,
    session: Session,
    /// Ciphertext that came and was not opened.
    unread: Vec<u8>,
    /// Ciphertext to be sent.
    unsent: Vec<u8>,
    /// The last read left nothing in the socket.
    is_drained: bool,
}

/// Where records are read and written: once for each thread.
pub(crate) struct Records {
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    stage: Vec<u8>,
}

/// What a read has brought. No byte: the peer sends no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) bytes: usize,
    /// There is nothing more until the socket says so.
    pub(crate) is_drained: bool,
}

/// Plaintext that one write seals.
const SEALED_AT_ONCE_MAX: usize = 64 * 1024;
/// Handshake messages, tickets and alerts of ours that may go out together with the next records.
const REPLIES_BYTES_MAX: usize = 16 * 1024;
/// Several records and what is left of one.
const INCOMING_BYTES: usize = 4 * RECORD_BYTES_MAX;

impl Default for Records {
    fn default() -> Self {
        Self {
            incoming: vec![0; INCOMING_BYTES],
            outgoing: vec![0; REPLIES_BYTES_MAX + sealed_bytes_max(SEALED_AT_ONCE_MAX)],
            stage: vec![0; RECORD_PLAINTEXT_MAX],
        }
    }
}

impl TlsStream {
    pub(crate) fn new(stream: TcpStream, session: Session) -> Self {
        Self {
            stream,
            session,
            unread: Vec::new(),
            unsent: Vec::new(),
            is_drained: false,
        }
    }

    /// Begins as a client: its first message goes out with the first [`TlsStream::handshake`].
    pub(super) fn start(&mut self) -> io::Result<()> {
        let opened = self.session.open(&mut [], &mut [], &mut self.unsent);
        opened.map_err(io::Error::other)?;
        Ok(())
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        &self.stream
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    pub(crate) fn agreement(&self) -> Option<Agreement> {
        self.session.agreement()
    }

    pub(crate) fn alpn_protocol(&self) -> Option<&[u8]> {
        self.session.alpn_protocol()
    }

    /// Whether records wait until the socket takes them.
    pub(crate) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Goes on with the handshake to its end. What is left to be said then goes with the first write, or flush.
    ///
    /// # Errors
    /// `WouldBlock`, or why there is no connection.
    pub(crate) fn handshake(&mut self, records: &mut Records) -> io::Result<()> {
        while self.is_handshaking() {
            self.flush()?;
            self.step(&mut [], records)?;
        }
        Ok(())
    }

    /// Reads into `plaintext`, which has room for a record.
    ///
    /// # Errors
    /// `WouldBlock`; `UnexpectedEof` for an end that was not announced (RFC 8446 §6.1); or what is wrong.
    pub(crate) fn read(
        &mut self,
        plaintext: &mut [u8],
        records: &mut Records,
    ) -> io::Result<Received> {
        while !self.session.is_closed_by_peer() {
            let bytes = self.step(plaintext, records)?;
            if bytes > 0 {
                let is_drained = self.is_drained && !self.session.has_record(&self.unread);
                return Ok(Received { bytes, is_drained });
            }
        }
        Ok(Received {
            bytes: 0,
            is_drained: true,
        })
    }

    /// Seals what fits, and sends what the socket takes of it; the rest goes with the next write or flush.
    ///
    /// # Errors
    /// `WouldBlock` when what was sealed before is not sent, or why nothing can be sent.
    pub(crate) fn write(&mut self, plaintext: &[u8], records: &mut Records) -> io::Result<usize> {
        if self.unsent.len() > REPLIES_BYTES_MAX {
            self.flush()?;
        }
        let taken = plaintext.len().min(SEALED_AT_ONCE_MAX);
        let replies = self.unsent.len();
        records.outgoing[..replies].copy_from_slice(&self.unsent);
        self.unsent.clear();
        let output = Output {
            records: &mut records.outgoing,
            filled: replies,
            stage: &mut records.stage,
        };
        let parts = std::iter::once(&plaintext[..taken]);
        let sealed = self.session.seal(parts, &mut self.unread, output);
        let filled = sealed.map_err(io::Error::other)?;
        let written = write_some(&mut self.stream, &records.outgoing[..filled])?;
        self.unsent
            .extend_from_slice(&records.outgoing[written..filled]);
        Ok(taken)
    }

    /// Sends what waits to be sent.
    ///
    /// # Errors
    /// `WouldBlock`, or why it cannot be sent.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let written = write_some(&mut self.stream, &self.unsent)?;
        self.unsent.drain(..written);
        if self.unsent.is_empty() {
            return Ok(());
        }
        Err(ErrorKind::WouldBlock.into())
    }

    /// Says that we send no more, as far as the socket takes that now.
    ///
    /// # Errors
    /// The connection is gone already.
    pub(crate) fn shutdown(&mut self) -> io::Result<()> {
        let closed = self.session.close(&mut self.unread, &mut self.unsent);
        closed.map_err(io::Error::other)?;
        self.flush()?;
        self.stream.shutdown(Shutdown::Write)
    }

    /// Opens the next records, and reads before that when none is there. Returns how much plaintext they had.
    fn step(&mut self, plaintext: &mut [u8], records: &mut Records) -> io::Result<usize> {
        let incoming = &mut records.incoming;
        let mut held = self.unread.len();
        incoming[..held].copy_from_slice(&self.unread);
        self.unread.clear();
        let bytes = self.step_in(incoming, &mut held, plaintext);
        self.unread.extend_from_slice(&incoming[..held]);
        bytes
    }

    /// `held` bytes of `incoming` are ciphertext.
    fn step_in(
        &mut self,
        incoming: &mut [u8],
        held: &mut usize,
        plaintext: &mut [u8],
    ) -> io::Result<usize> {
        if !self.session.has_record(&incoming[..*held]) {
            let room = &mut incoming[*held..];
            let read = self.stream.read(room)?;
            if read == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            self.is_drained = read < room.len();
            *held += read;
        }
        let ciphertext = &mut incoming[..*held];
        let opened = self.session.open(ciphertext, plaintext, &mut self.unsent);
        let opened = opened.map_err(|error| {
            // The alert; nobody waits for it to be taken.
            let _ = self.flush();
            io::Error::other(error)
        })?;
        incoming.copy_within(opened.consumed..*held, 0);
        *held -= opened.consumed;
        Ok(opened.plaintext)
    }
}

/// As much as the socket takes. None is no error.
fn write_some(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match stream.write(&bytes[written..]) {
            Ok(more) => written += more,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}

//! One TLS connection without its socket: ciphertext in, plaintext out, and the bytes that must be sent.
//!
//! It stands on rustls' unbuffered API, which does all of the protocol (TLS 1.2, 1.3, KeyUpdate). What this adds is
//! who owns the bytes: records are opened out of the caller's buffer and sealed into the caller's buffer, and an
//! idle session holds none. Plaintext that the caller has no room for stays where it is, as ciphertext.
//!
//! ```text
//!                 open                                   seal
//!   ciphertext ─────────► plaintext        plaintext ─────────► records ──► to be sent
//!                 └─────► replies (handshake, KeyUpdate, alerts) ─────────►
//! ```

mod drive;

use std::sync::Arc;

use balance_core::TlsVersion;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::{
    ClientConfig, CommonState, Error, HandshakeKind, NamedGroup, ProtocolVersion, ServerConfig,
};

use crate::fault::TlsFault;
use crate::suites::CipherSuite;

use drive::Drive;

/// A connection's TLS state, for either side.
pub struct Session {
    side: Side,
    drive: Drive,
}

/// Boxed: it is large, and what holds a session is moved about.
enum Side {
    Server(Box<UnbufferedServerConnection>),
    Client(Box<UnbufferedClientConnection>),
}

/// What [`Session::open`] made of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// How much ciphertext, from the front, is done with. The rest comes first the next time.
    pub consumed: usize,
    /// How much plaintext was written.
    pub plaintext: usize,
}

/// What both sides agreed on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Agreement {
    pub version: TlsVersion,
    pub cipher_suite: CipherSuite,
    /// What the keys were agreed on with; `None` where no new ones were (a resumed session of TLS 1.2).
    pub group: Option<NamedGroup>,
    /// Whether the session was resumed: nobody signed anything.
    pub is_resumed: bool,
}

/// Why a session is over. Alerts for the peer are among the replies already.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SessionError(#[from] Error);

impl SessionError {
    /// What it comes down to.
    pub fn fault(&self) -> TlsFault {
        TlsFault::of(&self.0)
    }
}

impl Session {
    pub(crate) fn server(config: Arc<ServerConfig>) -> Result<Self, SessionError> {
        let connection = UnbufferedServerConnection::new(config)?;
        Ok(Self {
            side: Side::Server(Box::new(connection)),
            drive: Drive::default(),
        })
    }

    /// # Errors
    /// When there is no randomness.
    pub fn client(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Self, SessionError> {
        let connection = UnbufferedClientConnection::new(config, name)?;
        Ok(Self {
            side: Side::Client(Box::new(connection)),
            drive: Drive::default(),
        })
    }

    /// Takes `ciphertext`, which begins with what the last call did not consume, and writes what it says into
    /// `plaintext`. An empty `plaintext` is for the handshake: it stops where application data begins. Else there is
    /// room for a record, [`RECORD_PLAINTEXT_MAX`]. What has to be sent is appended to `replies`.
    ///
    /// # Errors
    /// The session is over. `replies` has the alert that says why.
    pub fn open(
        &mut self,
        ciphertext: &mut [u8],
        plaintext: &mut [u8],
        replies: &mut Vec<u8>,
    ) -> Result<Opened, SessionError> {
        let drive = &mut self.drive;
        match &mut self.side {
            Side::Server(side) => drive.open(&mut **side, ciphertext, plaintext, replies),
            Side::Client(side) => drive.open(&mut **side, ciphertext, plaintext, replies),
        }
    }

    /// Writes `parts`, one behind the other, as records into `records` from `filled` on, as few as possible; returns
    /// the new `filled`. `stage` has room for a record and is used for those that reach over the end of a part.
    ///
    /// There is enough room: [`sealed_bytes_max`]. `unread` is the ciphertext that `open` did not consume.
    ///
    /// # Errors
    /// The session is over.
    pub fn seal<'p>(
        &mut self,
        parts: impl Iterator<Item = &'p [u8]>,
        unread: &mut [u8],
        output: Output<'_>,
    ) -> Result<usize, SessionError> {
        let drive = &mut self.drive;
        match &mut self.side {
            Side::Server(side) => drive.seal(&mut **side, parts, unread, output),
            Side::Client(side) => drive.seal(&mut **side, parts, unread, output),
        }
    }

    /// Appends our close_notify to `replies`: nothing is sealed any more. `unread` as in [`Session::seal`].
    ///
    /// # Errors
    /// The session is over.
    pub fn close(&mut self, unread: &mut [u8], replies: &mut Vec<u8>) -> Result<(), SessionError> {
        let drive = &mut self.drive;
        match &mut self.side {
            Side::Server(side) => drive.close(&mut **side, unread, replies),
            Side::Client(side) => drive.close(&mut **side, unread, replies),
        }
    }

    /// Whether there is something to open in `ciphertext`, which begins with what the last [`Session::open`] did not
    /// consume: a whole record that it has not seen, or something that is none and can be refused at once.
    pub fn has_record(&self, ciphertext: &[u8]) -> bool {
        let fresh = ciphertext.get(self.drive.seen()..).unwrap_or_default();
        drive::record_bytes(fresh).is_some_and(|bytes| bytes <= fresh.len())
    }

    pub fn is_handshaking(&self) -> bool {
        self.state().is_handshaking()
    }

    /// Whether the peer said that it sends no more (RFC 8446 §6.1). An end of the connection without that may be
    /// somebody else's doing.
    pub fn is_closed_by_peer(&self) -> bool {
        self.drive.is_closed_by_peer()
    }

    /// Of a handshake that is over.
    pub fn agreement(&self) -> Option<Agreement> {
        let state = self.state();
        Some(Agreement {
            version: match state.protocol_version()? {
                ProtocolVersion::TLSv1_3 => TlsVersion::Tls13,
                _ => TlsVersion::Tls12,
            },
            cipher_suite: CipherSuite::of(state.negotiated_cipher_suite()?)?,
            group: state
                .negotiated_key_exchange_group()
                .map(|group| group.name()),
            is_resumed: state.handshake_kind()? == HandshakeKind::Resumed,
        })
    }

    /// What was agreed on by ALPN (RFC 7301).
    pub fn alpn_protocol(&self) -> Option<&[u8]> {
        self.state().alpn_protocol()
    }

    fn state(&self) -> &CommonState {
        match &self.side {
            Side::Server(side) => side,
            Side::Client(side) => side,
        }
    }
}

/// Where [`Session::seal`] writes.
pub struct Output<'o> {
    pub records: &'o mut [u8],
    pub filled: usize,
    /// [`RECORD_PLAINTEXT_MAX`] bytes, whatever is in them.
    pub stage: &'o mut [u8],
}

/// How many bytes records for `plaintext_bytes` take at most, with a reply or two in front.
pub const fn sealed_bytes_max(plaintext_bytes: usize) -> usize {
    let records = plaintext_bytes / RECORD_PLAINTEXT_MAX + 2;
    plaintext_bytes + records * RECORD_OVERHEAD_MAX
}

/// RFC 8446 §5.1.
pub const RECORD_PLAINTEXT_MAX: usize = 1 << 14;
/// A record as it may come: header and at most 2^14 + 2,048 bytes (RFC 5246 §6.2.3; TLS 1.3 allows less).
pub const RECORD_BYTES_MAX: usize = 5 + RECORD_PLAINTEXT_MAX + 2048;
/// Of those that we send: header, explicit nonce, content type and tag.
const RECORD_OVERHEAD_MAX: usize = 64;

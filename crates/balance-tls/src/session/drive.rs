//! The loop around rustls' states, the same for a server and a client.

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic,
};
use rustls::{CommonState, Error};

use super::{Opened, Output, RECORD_BYTES_MAX, RECORD_PLAINTEXT_MAX, SessionError};

/// A side of a connection, as rustls has it.
pub(super) trait Engine {
    type Data;

    fn process<'c, 'i>(
        &'c mut self,
        ciphertext: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data>;

    fn state(&self) -> &CommonState;
}

impl Engine for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(
        &'c mut self,
        ciphertext: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, ServerConnectionData> {
        self.process_tls_records(ciphertext)
    }

    fn state(&self) -> &CommonState {
        self
    }
}

impl Engine for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(
        &'c mut self,
        ciphertext: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, ClientConnectionData> {
        self.process_tls_records(ciphertext)
    }

    fn state(&self) -> &CommonState {
        self
    }
}

/// What is known between two calls.
#[derive(Debug, Default)]
pub(super) struct Drive {
    /// How much of the unconsumed ciphertext rustls has seen and wants to see again, in front of what follows: a
    /// handshake message that goes on in the next record.
    seen: usize,
    is_closed_by_peer: bool,
    is_closed: bool,
}

impl Drive {
    pub(super) fn seen(&self) -> usize {
        self.seen
    }

    pub(super) fn is_closed_by_peer(&self) -> bool {
        self.is_closed_by_peer
    }

    /// Records are shown to rustls one by one, and only those whose plaintext has room.
    pub(super) fn open<E: Engine>(
        &mut self,
        engine: &mut E,
        ciphertext: &mut [u8],
        plaintext: &mut [u8],
        replies: &mut Vec<u8>,
    ) -> Result<Opened, SessionError> {
        let (mut start, mut end) = (0, self.seen);
        let mut written = 0;
        loop {
            let UnbufferedStatus { discard, state, .. } =
                engine.process(&mut ciphertext[start..end]);
            let wants_more = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let payload = record?.payload;
                        let room = plaintext.get_mut(written..written + payload.len());
                        room.ok_or_else(misused)?.copy_from_slice(payload);
                        written += payload.len();
                    }
                    false
                }
                Ok(ConnectionState::EncodeTlsData(data)) => {
                    encode(data, replies)?;
                    false
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    false
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.is_closed_by_peer = true;
                    false
                }
                Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => true,
                Ok(ConnectionState::Closed) => {
                    // Whatever stands behind a close_notify is ignored (RFC 8446 §6.1).
                    start = ciphertext.len();
                    end = start;
                    break;
                }
                Ok(_) => return Err(misused()), // early data is never accepted
                Err(error) => {
                    self.seen = 0;
                    collect_alert(engine, replies);
                    return Err(error.into());
                }
            };
            start += discard;
            if !wants_more {
                continue;
            }
            if self.is_closed_by_peer {
                start = ciphertext.len();
                end = start;
                break;
            }
            let has_no_room = plaintext.is_empty() && !engine.state().is_handshaking();
            let next = record_bytes(&ciphertext[end..]);
            let next = next.filter(|bytes| *bytes <= ciphertext.len() - end);
            match next {
                // The payload of a record is shorter than the record, and never longer than it may be.
                Some(bytes)
                    if !has_no_room
                        && (plaintext.is_empty()
                            || written + bytes.min(RECORD_PLAINTEXT_MAX) <= plaintext.len()) =>
                {
                    end += bytes;
                }
                _ => break,
            }
        }
        self.seen = end - start;
        Ok(Opened {
            consumed: start,
            plaintext: written,
        })
    }

    pub(super) fn seal<'p, E: Engine>(
        &mut self,
        engine: &mut E,
        parts: impl Iterator<Item = &'p [u8]>,
        unread: &mut [u8],
        output: Output<'_>,
    ) -> Result<usize, SessionError> {
        let Output {
            records,
            mut filled,
            stage,
        } = output;
        let mut replies = Vec::new();
        self.settle(engine, unread, &mut replies)?;
        let room = records.get_mut(filled..filled + replies.len());
        room.ok_or_else(misused)?.copy_from_slice(&replies);
        filled += replies.len();
        let ConnectionState::WriteTraffic(traffic) =
            engine.process(&mut unread[..self.seen]).state?
        else {
            return Err(misused());
        };
        let mut sealer = Sealer {
            traffic,
            records,
            filled,
        };
        sealer.seal(parts, stage)?;
        Ok(sealer.filled)
    }

    pub(super) fn close<E: Engine>(
        &mut self,
        engine: &mut E,
        unread: &mut [u8],
        replies: &mut Vec<u8>,
    ) -> Result<(), SessionError> {
        if self.is_closed {
            return Ok(());
        }
        self.is_closed = true;
        self.settle(engine, unread, replies)?;
        let state = engine.process(&mut unread[..self.seen]).state?;
        if let ConnectionState::WriteTraffic(mut traffic) = state {
            let mut alert = [0; ALERT_BYTES_MAX];
            let bytes = traffic.queue_close_notify(&mut alert).map_err(encrypting)?;
            replies.extend_from_slice(&alert[..bytes]);
        }
        Ok(())
    }

    /// Takes what rustls has to say until it has nothing more to say.
    fn settle<E: Engine>(
        &mut self,
        engine: &mut E,
        unread: &mut [u8],
        replies: &mut Vec<u8>,
    ) -> Result<(), SessionError> {
        loop {
            match engine.process(&mut unread[..self.seen]).state? {
                ConnectionState::EncodeTlsData(data) => encode(data, replies)?,
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed => self.is_closed_by_peer = true,
                _ => return Ok(()),
            }
        }
    }
}

/// Cuts plaintext into records. Those that lie within a part are sealed from where they are.
struct Sealer<'s, D> {
    traffic: WriteTraffic<'s, D>,
    records: &'s mut [u8],
    filled: usize,
}

impl<D> Sealer<'_, D> {
    fn seal<'p>(
        &mut self,
        parts: impl Iterator<Item = &'p [u8]>,
        stage: &mut [u8],
    ) -> Result<(), SessionError> {
        let mut staged = 0;
        for mut part in parts {
            if staged > 0 {
                let taken = part.len().min(RECORD_PLAINTEXT_MAX - staged);
                stage[staged..staged + taken].copy_from_slice(&part[..taken]);
                staged += taken;
                part = &part[taken..];
                if staged < RECORD_PLAINTEXT_MAX {
                    continue;
                }
                self.encrypt(&stage[..staged])?;
            }
            let whole = part.len() - part.len() % RECORD_PLAINTEXT_MAX;
            self.encrypt(&part[..whole])?; // rustls cuts it into full records
            let rest = &part[whole..];
            stage[..rest.len()].copy_from_slice(rest);
            staged = rest.len();
        }
        self.encrypt(&stage[..staged])
    }

    fn encrypt(&mut self, plaintext: &[u8]) -> Result<(), SessionError> {
        let room = &mut self.records[self.filled..];
        self.filled += self.traffic.encrypt(plaintext, room).map_err(encrypting)?;
        Ok(())
    }
}

/// The length of the record that `ciphertext` begins with; `None` when not even its header is there. What is no
/// record has the length that is there: so rustls sees it, and refuses it at once.
pub(super) fn record_bytes(ciphertext: &[u8]) -> Option<usize> {
    let header = ciphertext.first_chunk::<5>()?;
    let bytes = 5 + usize::from(u16::from_be_bytes([header[3], header[4]]));
    // rustls waits for the rest of a record with a version of SSL 2 or DTLS, too.
    let is_version = matches!(header[1..3], [3, _] | [0, 2] | [0xfe, 0xfc | 0xfd | 0xff]);
    let is_record = (20..=24).contains(&header[0]) && is_version && bytes <= RECORD_BYTES_MAX;
    Some(if is_record { bytes } else { ciphertext.len() })
}

fn encode<D>(mut data: EncodeTlsData<'_, D>, replies: &mut Vec<u8>) -> Result<(), SessionError> {
    let filled = replies.len();
    let Err(EncodeError::InsufficientSize(error)) = data.encode(&mut []) else {
        return Ok(()); // nothing to say
    };
    replies.resize(filled + error.required_size, 0);
    data.encode(&mut replies[filled..]).map_err(|_| misused())?;
    Ok(())
}

/// After an error rustls still has the alert that says so. It must not be shown the record again.
fn collect_alert<E: Engine>(engine: &mut E, replies: &mut Vec<u8>) {
    while engine.state().wants_write() {
        let encoded = match engine.process(&mut []).state {
            Ok(ConnectionState::EncodeTlsData(data)) => encode(data, replies),
            _ => return,
        };
        if encoded.is_err() {
            return;
        }
    }
}

fn encrypting(error: EncryptError) -> SessionError {
    Error::General(error.to_string()).into()
}

/// Not to be expected, and no reason to end more than this session.
fn misused() -> SessionError {
    debug_assert!(false, "rustls' states are followed");
    Error::General("the TLS session is in a state that cannot be".to_owned()).into()
}

const ALERT_BYTES_MAX: usize = 64;

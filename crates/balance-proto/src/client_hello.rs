//! The first message of a TLS client (RFC 8446 §4.1.2), read without being a part of the handshake: whom the client
//! asks for, before anybody has answered.
//!
//! Strict where it could be read two ways: a backend that finds another name in it than we do would serve somebody
//! else's client. Nothing is decrypted and nothing is answered. A name inside of Encrypted Client Hello is not visible;
//! the one outside of it is.

use crate::authority::Authority;

/// What a client asks for in the clear.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    server_name: Option<String>,
    /// The list as it was sent, checked: each name behind a byte with its length.
    protocols: Vec<u8>,
}

impl ClientHello {
    /// The name of the server (RFC 6066 §3): lower case, without a trailing dot.
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// The protocols that are offered (ALPN, RFC 7301), the client's favourite first.
    pub fn protocols(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = Reader(&self.protocols);
        std::iter::from_fn(move || rest.block8())
    }
}

/// How far [`parse`] came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Good so far; more is needed.
    Partial,
    /// The first bytes are not those of TLS: another protocol, or one in which the server speaks first.
    NotTls,
    /// The whole message, however many records it came in.
    Complete(ClientHello),
}

/// Why the first message cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientHelloError {
    /// It ends behind [`CLIENT_HELLO_BYTES_MAX`].
    #[error("the ClientHello is too long")]
    TooLong,
    /// A record that carries something else, or nothing, before the message is complete.
    #[error("the record layer of the ClientHello is malformed")]
    Record,
    /// A handshake that begins with another message.
    #[error("the handshake does not begin with a ClientHello")]
    Message,
    /// The message breaks its grammar.
    #[error("the ClientHello is malformed")]
    Malformed,
    /// What it names is no host, or it names several.
    #[error("the ClientHello does not name one server")]
    ServerName,
}

/// Reads the first bytes of a connection. Give all of them again when it was partial.
///
/// # Errors
/// It begins as TLS and goes on as something that must not be passed on by its name.
pub fn parse(input: &[u8]) -> Result<Progress, ClientHelloError> {
    if begins_otherwise(input) {
        return Ok(Progress::NotTls);
    }
    let window = input.get(..CLIENT_HELLO_BYTES_MAX).unwrap_or(input);
    let Some(message_len) = message_len(window)? else {
        return partial(input);
    };
    let mut message = Vec::with_capacity(message_len);
    for fragment in Records(window) {
        message.extend_from_slice(fragment?);
        if message.len() >= message_len {
            break;
        }
    }
    match message.get(HANDSHAKE_HEADER_LEN..message_len) {
        None => partial(input),
        Some(body) => read(body).map(Progress::Complete),
    }
}

/// What is looked at, records and all. Hellos have some hundred bytes, with post-quantum keys about two thousand.
pub const CLIENT_HELLO_BYTES_MAX: usize = 16 * 1024;

fn partial(input: &[u8]) -> Result<Progress, ClientHelloError> {
    if input.len() < CLIENT_HELLO_BYTES_MAX {
        Ok(Progress::Partial)
    } else {
        Err(ClientHelloError::TooLong)
    }
}

/// RFC 8446 §5.1: a handshake record, of the version 3 that all of SSL 3.0 to TLS 1.3 have on this layer.
fn begins_otherwise(input: &[u8]) -> bool {
    !matches!(
        input,
        [] | [HANDSHAKE] | [HANDSHAKE, 3] | [HANDSHAKE, 3, 0..=4, ..]
    )
}

/// The length of the handshake message with its header, once that is there.
fn message_len(window: &[u8]) -> Result<Option<usize>, ClientHelloError> {
    let mut header = [0; HANDSHAKE_HEADER_LEN];
    let mut places = header.iter_mut();
    let mut kind = None;
    for fragment in Records(window) {
        let fragment = fragment?;
        kind = kind.or_else(|| fragment.first().copied());
        if kind.is_some_and(|kind| kind != CLIENT_HELLO) {
            return Err(ClientHelloError::Message);
        }
        // The fragment first: asking the other side first would lose a place when it ends.
        for (byte, place) in fragment.iter().zip(places.by_ref()) {
            *place = *byte;
        }
        if places.len() == 0 {
            break;
        }
    }
    if places.len() > 0 {
        return Ok(None);
    }
    let [_, high, middle, low] = header;
    let length = u32::from_be_bytes([0, high, middle, low]);
    let whole = usize::try_from(length)
        .ok()
        .and_then(|length| length.checked_add(HANDSHAKE_HEADER_LEN))
        .filter(|whole| *whole <= CLIENT_HELLO_BYTES_MAX);
    whole.map(Some).ok_or(ClientHelloError::TooLong)
}

/// The fragments of a handshake, a record each; the last one as far as it has come.
struct Records<'a>(&'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = Result<&'a [u8], ClientHelloError>;

    fn next(&mut self) -> Option<Self::Item> {
        let &[kind, major, minor, ref rest @ ..] = self.0 else {
            // Of the first record that much is known to be good. What stands here may be wrong already.
            let is_good = matches!(self.0, [] | [HANDSHAKE] | [HANDSHAKE, 3]);
            self.0 = &[];
            return (!is_good).then_some(Err(ClientHelloError::Record));
        };
        // An alert or application data in the middle of a handshake message (RFC 8446 §5.1).
        if (kind, major) != (HANDSHAKE, 3) || minor > 4 {
            return Some(Err(ClientHelloError::Record));
        }
        let &[high, low, ref rest @ ..] = rest else {
            self.0 = &[];
            return None;
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        // RFC 8446 §5.1: no empty fragments of handshakes, none longer than 2^14.
        if length == 0 || length > FRAGMENT_BYTES_MAX {
            return Some(Err(ClientHelloError::Record));
        }
        let (fragment, rest) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        self.0 = rest;
        Some(Ok(fragment))
    }
}

/// The body of the message.
fn read(body: &[u8]) -> Result<ClientHello, ClientHelloError> {
    let mut reader = Reader(body);
    let mut hello = ClientHello::default();
    let Some(extensions) = reader.up_to_extensions() else {
        return Err(ClientHelloError::Malformed);
    };
    let mut extensions = Reader(extensions);
    let (mut has_name, mut has_protocols) = (false, false);
    while !extensions.is_empty() {
        let (Some(kind), Some(data)) = (extensions.u16(), extensions.block16()) else {
            return Err(ClientHelloError::Malformed);
        };
        // RFC 8446 §4.2: at most one of each type. Of those that are not read it does not matter here.
        let seen = match kind {
            SERVER_NAME => &mut has_name,
            ALPN => &mut has_protocols,
            _ => continue,
        };
        if std::mem::replace(seen, true) {
            return Err(ClientHelloError::Malformed);
        }
        if kind == SERVER_NAME {
            hello.server_name = Some(server_name(data)?);
        } else {
            hello.protocols = protocols(data).ok_or(ClientHelloError::Malformed)?;
        }
    }
    Ok(hello)
}

/// RFC 6066 §3. One name: there may be one of each type, and only one type was ever defined.
fn server_name(data: &[u8]) -> Result<String, ClientHelloError> {
    let mut reader = Reader(data);
    let mut list = Reader(reader.block16().ok_or(ClientHelloError::Malformed)?);
    let (Some(HOST_NAME), Some(name)) = (list.u8(), list.block16()) else {
        return Err(ClientHelloError::ServerName);
    };
    if !list.is_empty() {
        return Err(ClientHelloError::ServerName);
    }
    if !reader.is_empty() {
        return Err(ClientHelloError::Malformed);
    }
    // The grammar of Host, without a port: one notion of what a name is.
    let name = Authority::new(name)
        .ok()
        .filter(|name| !name.as_bytes().contains(&b':'))
        .ok_or(ClientHelloError::ServerName)?;
    let name = str::from_utf8(name.host()).map_err(|_| ClientHelloError::ServerName)?;
    Ok(name.to_ascii_lowercase())
}

/// RFC 7301 §3.1: at least one name, none empty.
fn protocols(data: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader(data);
    let list = reader.block16().filter(|list| !list.is_empty())?;
    let mut names = Reader(list);
    while !names.is_empty() {
        names.block8().filter(|name| !name.is_empty())?;
    }
    reader.is_empty().then(|| list.to_vec())
}

/// Bytes that are taken from the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The extensions: none in the hellos of old clients. `None`: what stands before them, or their length, is wrong.
    fn up_to_extensions(&mut self) -> Option<&'a [u8]> {
        self.take(VERSION_LEN + RANDOM_LEN)?;
        let session = self.block8()?;
        let suites = self.block16()?;
        let compressions = self.block8()?;
        let is_good = session.len() <= 32
            && !suites.is_empty()
            && suites.len().is_multiple_of(2)
            && !compressions.is_empty();
        if !is_good {
            return None;
        }
        if self.is_empty() {
            return Some(&[]);
        }
        self.block16().filter(|_| self.is_empty())
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes([self.u8()?, self.u8()?]))
    }

    /// What stands behind a length of one byte.
    fn block8(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.u8()?);
        self.take(length)
    }

    /// What stands behind a length of two bytes.
    fn block16(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.u16()?);
        self.take(length)
    }
}

/// The content type of a record, and the type of the first message in it.
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;

/// Type and length of a handshake message.
const HANDSHAKE_HEADER_LEN: usize = 4;
const FRAGMENT_BYTES_MAX: usize = 1 << 14;
const VERSION_LEN: usize = 2;
const RANDOM_LEN: usize = 32;

/// Extensions, and the type of a name in the first of them.
const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const HOST_NAME: u8 = 0;

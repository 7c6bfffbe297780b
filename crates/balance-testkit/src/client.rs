//! A client that sends exactly the bytes it is given and reads responses strictly.

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use crate::strict::{Field, Framing, StrictError, StrictReader, declared_framing, require, values};
use crate::{PATIENCE, pause};

/// Long enough that two writes are two reads on the other side, even on a loaded machine.
const BETWEEN_PARTS: Duration = Duration::from_millis(3);

/// One response as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    /// `HTTP/1.1` or `HTTP/1.0`.
    pub version: String,
    pub fields: Vec<Field>,
    pub framing: Framing,
    /// Without its framing.
    pub body: Vec<u8>,
    pub trailers: Vec<Field>,
    /// The 1xx that came before it, except 101, which is a final response.
    pub interim: Vec<u16>,
    /// The exact bytes of head and body, without the interim ones.
    pub raw: Vec<u8>,
}

impl Response {
    /// Reads all responses that these bytes are, as a client would that then sees FIN. `is_head`: they
    /// answer HEAD.
    ///
    /// # Errors
    /// A strict client would refuse them.
    pub fn parse_all(bytes: &[u8], is_head: bool) -> Result<Vec<Self>, StrictError> {
        let mut reader = StrictReader::new(bytes);
        let mut responses = Vec::new();
        loop {
            match read_response(&mut reader, is_head) {
                Ok(response) => responses.push(response),
                Err(StrictError::Closed) => return Ok(responses),
                Err(error) => return Err(error),
            }
        }
    }

    /// The value of the first field of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).first().copied()
    }

    /// The values of all fields of this name, in order.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        values(&self.fields, name)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether the connection may be used again after it (RFC 9112 §9.3).
    pub fn keeps_alive(&self) -> bool {
        let options = self.headers("connection").join(",").to_ascii_lowercase();
        let mut options = options.split(',').map(str::trim);
        match self.version.as_str() {
            "HTTP/1.1" => options.all(|option| option != "close"),
            _ => options.any(|option| option == "keep-alive"),
        }
    }
}

/// A blocking connection with deadlines.
#[derive(Debug)]
pub struct RawClient {
    stream: TcpStream,
    reader: StrictReader<TcpStream>,
}

impl RawClient {
    /// Connects within [`PATIENCE`], which is also the limit of every read and write.
    ///
    /// # Errors
    /// The connection was refused or timed out.
    pub fn connect(address: SocketAddr) -> std::io::Result<Self> {
        Self::over(TcpStream::connect_timeout(&address, PATIENCE)?)
    }

    /// As [`RawClient::connect`], from this source address.
    ///
    /// # Errors
    /// The source cannot be used, or the connection was refused or timed out.
    pub fn connect_from(source: IpAddr, address: SocketAddr) -> std::io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
        socket.connect_timeout(&address.into(), PATIENCE)?;
        Self::over(socket.into())
    }

    fn over(stream: TcpStream) -> std::io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let reader = StrictReader::new(stream.try_clone()?);
        Ok(Self { stream, reader })
    }

    /// How long a read may wait from now on.
    ///
    /// # Errors
    /// The option could not be set.
    pub fn set_read_timeout(&self, timeout: Duration) -> std::io::Result<()> {
        self.stream.set_read_timeout(Some(timeout))
    }

    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.stream.local_addr()
    }

    /// The socket, for what this type does not offer.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends these bytes.
    ///
    /// # Errors
    /// The peer has reset the connection or does not read.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<(), StrictError> {
        Ok(self.stream.write_all(bytes.as_ref())?)
    }

    /// Sends the parts so that the peer reads them one by one.
    ///
    /// # Errors
    /// As [`RawClient::send`].
    pub fn send_parts(&mut self, parts: &[&[u8]]) -> Result<(), StrictError> {
        for (index, part) in parts.iter().filter(|part| !part.is_empty()).enumerate() {
            if index > 0 {
                pause(BETWEEN_PARTS);
            }
            self.send(part)?;
        }
        Ok(())
    }

    /// Sends a request and reads its response.
    ///
    /// # Errors
    /// As [`RawClient::read_response`].
    pub fn exchange(&mut self, request: impl AsRef<[u8]>) -> Result<Response, StrictError> {
        let request = request.as_ref();
        self.send(request)?;
        if request.starts_with(b"HEAD ") {
            self.read_head_response()
        } else {
            self.read_response()
        }
    }

    /// Reads the final response to anything but HEAD, and the interim ones before it.
    ///
    /// # Errors
    /// Nothing came, it broke off, or a strict client would refuse it.
    pub fn read_response(&mut self) -> Result<Response, StrictError> {
        self.read_final_response(false)
    }

    /// Reads the final response to HEAD: it has no body, whatever its fields say.
    ///
    /// # Errors
    /// As [`RawClient::read_response`].
    pub fn read_head_response(&mut self) -> Result<Response, StrictError> {
        self.read_final_response(true)
    }

    /// Reads one response, be it interim or final.
    ///
    /// # Errors
    /// As [`RawClient::read_response`].
    pub fn read_any_response(&mut self, is_head: bool) -> Result<Response, StrictError> {
        read_response(&mut self.reader, is_head)
    }

    /// Reads exactly this many bytes, past any parsing.
    ///
    /// # Errors
    /// They did not come.
    pub fn read_exact(&mut self, count: usize) -> Result<Vec<u8>, StrictError> {
        Ok(self.reader.read_body(Framing::Length(count as u64))?.bytes)
    }

    /// Reads everything until FIN, past any parsing.
    ///
    /// # Errors
    /// The connection was reset, or FIN did not come.
    pub fn read_to_end(&mut self) -> Result<Vec<u8>, StrictError> {
        let mut bytes = Vec::new();
        self.reader.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Whether the peer closes without another byte: true for FIN and for RST.
    pub fn is_closed_by_peer(&mut self) -> bool {
        match self.read_to_end() {
            Ok(bytes) => bytes.is_empty(),
            Err(error) => error == StrictError::Reset,
        }
    }

    /// Sends FIN and goes on reading.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn half_close(&self) -> std::io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    /// Closes with RST.
    ///
    /// # Errors
    /// The option could not be set.
    pub fn reset(self) -> std::io::Result<()> {
        reset(&self.stream)
    }

    /// Reads the final response, to HEAD or to another method, and the interim ones before it.
    ///
    /// # Errors
    /// As [`RawClient::read_response`].
    pub fn read_final_response(&mut self, is_head: bool) -> Result<Response, StrictError> {
        let mut interim = Vec::new();
        loop {
            let response = self.read_any_response(is_head)?;
            if response.status >= 200 || response.status == 101 {
                return Ok(Response {
                    interim,
                    ..response
                });
            }
            interim.push(response.status);
        }
    }
}

impl Read for RawClient {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.stream.read(into)
    }
}

/// Calls `check` with the input cut in two at every place, both ends included.
pub fn at_every_split(bytes: &[u8], mut check: impl FnMut([&[u8]; 2])) {
    for at in 0..=bytes.len() {
        check([&bytes[..at], &bytes[at..]]);
    }
}

/// Makes the close of this socket an RST, and sends it now.
pub(crate) fn reset(stream: &TcpStream) -> std::io::Result<()> {
    SockRef::from(stream).set_linger(Some(Duration::ZERO))?;
    // The descriptor may be open elsewhere (a clone), so closing it would send nothing yet.
    rustix::net::connect_unspec(stream)?;
    Ok(())
}

fn read_response<R: Read>(
    reader: &mut StrictReader<R>,
    is_head: bool,
) -> Result<Response, StrictError> {
    reader.take_log();
    let head = reader.read_head()?;
    let (version, status) = parse_status_line(&head.start_line)?;
    let declared = declared_framing(&head.fields)?;
    let has_no_body = is_head || status < 200 || status == 204 || status == 304;
    // RFC 9112 §6.3 item 8: a response that declares nothing ends with its connection.
    let framing = if has_no_body {
        Framing::None
    } else {
        declared.unwrap_or(Framing::UntilClose)
    };
    let body = reader.read_body(framing)?;
    Ok(Response {
        status,
        version,
        fields: head.fields,
        framing,
        body: body.bytes,
        trailers: body.trailers,
        interim: Vec::new(),
        raw: reader.take_log(),
    })
}

fn parse_status_line(line: &str) -> Result<(String, u16), StrictError> {
    let bad = || StrictError::Malformed(format!("status line {line:?}"));
    let (version, rest) = line.split_once(' ').ok_or_else(bad)?;
    let (status, _reason) = rest.split_once(' ').ok_or_else(bad)?;
    let number: u16 = status.parse().map_err(|_| bad())?;
    require(matches!(version, "HTTP/1.1" | "HTTP/1.0"), || {
        format!("status line {line:?}")
    })?;
    require(status.len() == 3 && (100..=999).contains(&number), || {
        format!("status line {line:?}")
    })?;
    Ok((version.to_owned(), number))
}

//! One request and its response on a blocking connection.

use std::io::{self, ErrorKind, Read, Write};

/// Nothing this command asks for has a longer head or chunk line.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// Sends the request, reads the response to its end and returns its status.
///
/// # Errors
/// The connection failed, or `InvalidData`: what came is not an HTTP/1 response that keeps the connection.
pub(super) fn exchange(stream: &mut (impl Read + Write), request: &str) -> io::Result<u16> {
    stream.write_all(request.as_bytes())?;
    let mut reader = Reader {
        stream,
        buffer: Vec::new(),
    };
    loop {
        let status = reader.read_response()?;
        if status >= 200 {
            // Bytes behind the response would be taken for the next one.
            return if reader.buffer.is_empty() {
                Ok(status)
            } else {
                invalid()
            };
        }
    }
}

struct Reader<'a, S> {
    stream: &'a mut S,
    /// Read and not used yet.
    buffer: Vec<u8>,
}

enum Length {
    Exact(usize),
    Chunked,
}

impl<S: Read> Reader<'_, S> {
    fn read_response(&mut self) -> io::Result<u16> {
        let start = self.read_line()?;
        let status = parse_status(&start)?;
        let mut length = None;
        loop {
            let line = self.read_line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or(ErrorKind::InvalidData)?;
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                length = Some(Length::Exact(
                    value.parse().map_err(|_| ErrorKind::InvalidData)?,
                ));
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                length = Some(Length::Chunked);
            }
        }
        match length {
            _ if status < 200 || status == 204 || status == 304 => {}
            Some(Length::Exact(length)) => self.skip(length)?,
            Some(Length::Chunked) => self.skip_chunks()?,
            // It ends with the connection, so there would be none to hold.
            None => return invalid(),
        }
        Ok(status)
    }

    fn skip_chunks(&mut self) -> io::Result<()> {
        loop {
            let line = self.read_line()?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(digits, 16).map_err(|_| ErrorKind::InvalidData)?;
            if size == 0 {
                while !self.read_line()?.is_empty() {}
                return Ok(());
            }
            self.skip(size)?;
            self.skip(2)?;
        }
    }

    fn read_line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            if self.buffer.len() > LINE_BYTES_MAX {
                return invalid();
            }
            self.fill()?;
        }
    }

    fn skip(&mut self, mut count: usize) -> io::Result<()> {
        loop {
            let step = count.min(self.buffer.len());
            self.buffer.drain(..step);
            count -= step;
            if count == 0 {
                return Ok(());
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut block = [0; 4096];
        match self.stream.read(&mut block)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            read => {
                self.buffer.extend_from_slice(&block[..read]);
                Ok(())
            }
        }
    }
}

fn parse_status(line: &str) -> io::Result<u16> {
    let rest = line.strip_prefix("HTTP/1.").ok_or(ErrorKind::InvalidData)?;
    let status = rest
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    status.ok_or_else(|| ErrorKind::InvalidData.into())
}

fn invalid<T>() -> io::Result<T> {
    Err(ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use std::io::{self, Cursor, ErrorKind, Read, Write};

    use super::exchange;

    /// Reads what was given, one byte at a time; takes everything written.
    struct Peer(Cursor<Vec<u8>>);

    impl Read for Peer {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            self.0.read(&mut into[..1])
        }
    }

    impl Write for Peer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn check(response: &str, expected: Result<u16, ErrorKind>) {
        let mut peer = Peer(Cursor::new(response.as_bytes().to_vec()));
        let seen = exchange(&mut peer, "GET / HTTP/1.1\r\n\r\n");
        assert_eq!(seen.map_err(|error| error.kind()), expected, "{response:?}");
    }

    #[test]
    fn responses() {
        check("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", Ok(200));
        check("HTTP/1.1 100 \r\n\r\nHTTP/1.1 204 \r\n\r\n", Ok(204));
        check(
            "HTTP/1.1 404 x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
            Ok(404),
        );
        check("HTTP/1.1 200 OK\r\n\r\nabc", Err(ErrorKind::InvalidData));
        check("SSH-2.0\r\n", Err(ErrorKind::InvalidData));
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na",
            Err(ErrorKind::UnexpectedEof),
        );
    }
}

//! One request and its response on a blocking connection.

use std::io::{self, ErrorKind, Read, Write};

use balance_tls::RECORD_PLAINTEXT_MAX;

use crate::response::Reader;

/// Room for a record of TLS.
const BLOCK_BYTES: usize = RECORD_PLAINTEXT_MAX;

/// Sends the request, reads the response to its end and returns its status.
///
/// # Errors
/// The connection failed, or `InvalidData`: what came is not an HTTP/1 response that keeps the connection.
pub(super) fn exchange(stream: &mut (impl Read + Write), request: &str) -> io::Result<u16> {
    stream.write_all(request.as_bytes())?;
    stream.flush()?;
    let mut reader = Reader::new(false);
    let mut block = [0; BLOCK_BYTES];
    loop {
        let read = stream.read(&mut block)?;
        if read == 0 {
            // One that ends with the connection is complete here, but there is none to hold.
            return Err(match reader.on_close() {
                Some(_) => ErrorKind::InvalidData.into(),
                None => ErrorKind::UnexpectedEof.into(),
            });
        }
        let (used, response) = reader
            .feed(&block[..read])
            .map_err(|_| ErrorKind::InvalidData)?;
        if let Some(response) = response {
            // Bytes behind the response would be taken for the next one.
            return if response.keep_alive && used == read {
                Ok(response.status)
            } else {
                Err(ErrorKind::InvalidData.into())
            };
        }
    }
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
    fn only_a_complete_response_that_keeps_the_connection_will_do() {
        check("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", Ok(200));
        check("HTTP/1.1 100 \r\n\r\nHTTP/1.1 204 \r\n\r\n", Ok(204));
        check("HTTP/1.1 200 OK\r\n\r\nabc", Err(ErrorKind::InvalidData));
        check(
            "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
            Err(ErrorKind::InvalidData),
        );
        check("SSH-2.0\r\n", Err(ErrorKind::InvalidData));
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na",
            Err(ErrorKind::UnexpectedEof),
        );
    }
}

//! One thread per connection: read a request strictly, record it, answer by script.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::request::read_request_head;
use super::script::After;
use super::{OnConnect, Recorded, Script, Shared};
use crate::accepting::{Incoming, Threads};
use crate::client::reset;
use crate::pause;
use crate::strict::{Body, Framing, StrictError, StrictReader, values};

/// Pieces that must not be joined on their way.
const BETWEEN_PIECES: Duration = Duration::from_millis(2);

const BAD_REQUEST: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// Accepts until the origin stops, then waits for the connections it has.
pub(super) fn serve_all(incoming: Incoming, shared: &Arc<Shared>) {
    let mut threads = Threads::default();
    for (stream, _) in incoming {
        let Ok(kept) = stream.try_clone() else {
            continue;
        };
        let number = shared.change(|log| {
            log.connections.push(Some(kept));
            log.connections.len() - 1
        });
        let shared = Arc::clone(shared);
        threads.spawn(move || {
            let mut connection = Connection {
                stream,
                number,
                shared: &shared,
            };
            connection.run();
            // The order matters: who waits for the number of open connections must find this one closed.
            drop(connection.stream);
            shared.change(|log| log.connections[number] = None);
        });
    }
    for stream in shared.log().connections.iter().flatten() {
        // A connection that was accepted while the origin stopped.
        let _ = stream.shutdown(Shutdown::Both);
    }
    threads.join();
}

struct Connection<'a> {
    stream: TcpStream,
    number: usize,
    shared: &'a Shared,
}

/// Whether the connection is good for another request.
enum Next {
    Request,
    End,
}

impl Connection<'_> {
    fn run(&mut self) {
        let _ = self.stream.set_nodelay(true); // only timing depends on it
        match &self.shared.options.on_connect {
            OnConnect::Serve => {}
            OnConnect::Close => return,
            OnConnect::Reset => {
                let _ = reset(&self.stream); // it may be gone already
                return;
            }
            OnConnect::Ignore => return self.wait_for_stop(),
            OnConnect::SendFirst(bytes) => {
                if self.stream.write_all(bytes).is_err() {
                    return;
                }
            }
        }
        let Ok(source) = self.stream.try_clone() else {
            return;
        };
        let mut reader = StrictReader::new(source);
        let requests_max = match self.shared.options.requests_per_connection_max {
            0 => usize::MAX,
            max => max,
        };
        for index in 0..requests_max {
            let timeout = self.shared.options.idle_timeout.filter(|_| index > 0);
            if self.stream.set_read_timeout(timeout).is_err() {
                return;
            }
            match self.serve_one(&mut reader, index) {
                Ok(Next::Request) => {}
                Ok(Next::End) | Err(_) => return,
            }
        }
    }

    fn serve_one(
        &mut self,
        reader: &mut StrictReader<TcpStream>,
        index: usize,
    ) -> Result<Next, StrictError> {
        reader.take_log();
        let (recorded, framing) = match self.read_head(reader, index) {
            Ok(head) => head,
            Err(StrictError::Malformed(reason)) => return self.refuse(reader, index, reason),
            Err(error) => return Err(error),
        };
        self.stream.set_read_timeout(None)?;
        let script = (self.shared.script)(&recorded);
        let place = self.shared.change(|log| {
            log.requests.push(recorded.clone());
            log.requests.len() - 1
        });
        if script.is_early {
            let sent = self.answer(&script, &recorded.method, &[])?;
            if script.leaves_unread {
                let after = match script.after {
                    After::NextRequest => After::Hang,
                    after => after,
                };
                return self.finish(reader, sent.unwrap_or(after));
            }
            self.read_body(reader, framing, place)?;
            return self.finish(reader, sent.unwrap_or(script.after));
        }
        let expects = values(&recorded.fields, "expect");
        if expects.contains(&"100-continue") && !script.withholds_continue {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let body = self.read_body(reader, framing, place)?;
        let cut = self.answer(&script, &recorded.method, &body)?;
        let closes = values(&recorded.fields, "connection")
            .iter()
            .any(|value| value.to_ascii_lowercase().contains("close"));
        match cut.unwrap_or(script.after) {
            After::NextRequest if closes => Ok(Next::End),
            after => self.finish(reader, after),
        }
    }

    fn read_head(
        &self,
        reader: &mut StrictReader<TcpStream>,
        index: usize,
    ) -> Result<(Recorded, Framing), StrictError> {
        let (recorded, framing) = read_request_head(reader)?;
        let recorded = Recorded {
            connection: self.number,
            index,
            ..recorded
        };
        Ok((recorded, framing))
    }

    /// Reads the body and completes the record, with what there is of it when it breaks off.
    fn read_body(
        &self,
        reader: &mut StrictReader<TcpStream>,
        framing: Framing,
        place: usize,
    ) -> Result<Vec<u8>, StrictError> {
        let mut body = Body::default();
        let result = reader.read_body_into(framing, &mut body);
        self.shared.change(|log| {
            let recorded = &mut log.requests[place];
            recorded.raw = reader.take_log();
            recorded.body.clone_from(&body.bytes);
            recorded.trailers = body.trailers;
            recorded.is_complete = result.is_ok();
            if let Err(StrictError::Malformed(reason)) = &result {
                recorded.violation = Some(reason.clone());
            }
        });
        result.map(|()| body.bytes)
    }

    /// Records what a strict backend refuses, with everything that came along.
    fn refuse(
        &mut self,
        reader: &mut StrictReader<TcpStream>,
        index: usize,
        reason: String,
    ) -> Result<Next, StrictError> {
        let raw = reader.take_log();
        let connection = self.number;
        let violation = Some(reason);
        let recorded = Recorded {
            connection,
            index,
            raw,
            violation,
            ..Recorded::default()
        };
        self.shared.change(|log| log.requests.push(recorded));
        self.stream.write_all(BAD_REQUEST)?;
        Ok(Next::End)
    }

    /// Sends the answer, or the part that the script allows: then says what follows the cut.
    fn answer(
        &mut self,
        script: &Script,
        method: &str,
        request_body: &[u8],
    ) -> Result<Option<After>, StrictError> {
        if !script.delay.is_zero() {
            pause(script.delay);
        }
        for interim in &script.interim {
            self.stream.write_all(interim)?;
        }
        let mut bytes = script.encode(method, request_body);
        let cut = script.cut;
        if let Some((length, _)) = cut {
            bytes.truncate(length);
        }
        match script.pause {
            Some((offset, duration)) if offset < bytes.len() => {
                self.write(&bytes[..offset], script)?;
                pause(duration);
                self.write(&bytes[offset..], script)?;
            }
            _ => self.write(&bytes, script)?,
        }
        Ok(cut.map(|(_, after)| after))
    }

    fn write(&mut self, bytes: &[u8], script: &Script) -> std::io::Result<()> {
        let Some(piece_len) = script.bytes_per_write else {
            return self.stream.write_all(bytes);
        };
        for piece in bytes.chunks(piece_len) {
            self.stream.write_all(piece)?;
            pause(BETWEEN_PIECES);
        }
        Ok(())
    }

    fn finish(
        &mut self,
        reader: &mut StrictReader<TcpStream>,
        after: After,
    ) -> Result<Next, StrictError> {
        match after {
            After::NextRequest => return Ok(Next::Request),
            After::Close => self.close_in_order(),
            After::Reset => reset(&self.stream)?,
            After::Hang => self.wait_for_stop(),
            After::Tunnel => self.tunnel(reader)?,
        }
        Ok(Next::End)
    }

    /// FIN, without the RST that closing with unread input would send. What the peer still sends is dropped.
    fn close_in_order(&self) {
        let _ = self.stream.shutdown(Shutdown::Write); // the peer may have closed first
    }

    /// Sends back what comes after the request, until FIN.
    fn tunnel(&mut self, reader: &mut StrictReader<TcpStream>) -> Result<(), StrictError> {
        loop {
            let bytes = reader.read_some()?;
            if bytes.is_empty() {
                return Ok(());
            }
            // Kept first: who has the bytes back finds them in the record.
            self.shared
                .change(|log| log.tunnelled.push((self.number, bytes.clone())));
            self.stream.write_all(&bytes)?;
        }
    }

    /// Keeps the connection open, without reading, until the peer resets it or the origin stops.
    fn wait_for_stop(&self) {
        let mut byte = [0];
        loop {
            // Peeking leaves the data where it is. RST and the origin's own shutdown both end it.
            match self.stream.peek(&mut byte) {
                Ok(0) | Err(_) => return,
                Ok(_) if self.shared.stopping.load(Ordering::Acquire) => return,
                Ok(_) => pause(BETWEEN_PIECES),
            }
        }
    }
}

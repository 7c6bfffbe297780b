//! A backend whose every frame the test writes.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::{
    ACK, DATA, END_HEADERS, END_STREAM, Frame, HEADERS, PING, PREFACE, SETTINGS, block, read_frame,
};
use crate::PATIENCE;
use crate::accepting::{ANY_PORT, Accepting, Threads};
use crate::client::reset;

/// A running backend. Dropping it stops it.
#[derive(Debug)]
pub struct Http2Backend {
    accepting: Accepting,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    panics: Arc<AtomicUsize>,
}

/// One connection to it, from the backend's side.
#[derive(Debug)]
pub struct Http2Peer {
    stream: TcpStream,
    /// Which connection it is, from 0 on.
    pub number: usize,
    requests: Arc<AtomicUsize>,
}

/// The head of a request.
#[derive(Clone, Debug)]
pub struct Asked {
    pub stream: u32,
    /// Its field block as text: Balance writes literals without Huffman coding.
    pub text: String,
    pub ends: bool,
}

impl Http2Backend {
    /// Runs `serve` for each connection, whose preface was read.
    pub fn start(serve: impl Fn(&mut Http2Peer) + Send + Sync + 'static) -> Self {
        let connections = Arc::new(AtomicUsize::new(0));
        let requests = Arc::new(AtomicUsize::new(0));
        let panics = Arc::new(AtomicUsize::new(0));
        let (counted, asked) = (Arc::clone(&connections), Arc::clone(&requests));
        let seen_panics = Arc::clone(&panics);
        let serve = Arc::new(serve);
        let stopping = Arc::new(AtomicBool::new(false));
        let accepting = Accepting::start(ANY_PORT, &stopping, move |incoming| {
            let mut threads = Threads::default();
            for (stream, _) in incoming {
                let mut peer = Http2Peer {
                    stream,
                    number: counted.fetch_add(1, Ordering::AcqRel),
                    requests: Arc::clone(&asked),
                };
                let (serve, panics) = (Arc::clone(&serve), Arc::clone(&seen_panics));
                threads.spawn(move || {
                    let served = catch_unwind(AssertUnwindSafe(|| {
                        if peer.begin().is_ok() {
                            serve(&mut peer);
                        }
                    }));
                    if served.is_err() {
                        panics.fetch_add(1, Ordering::AcqRel);
                    }
                });
            }
            threads.join();
        });
        Self {
            accepting,
            connections,
            requests,
            panics,
        }
    }

    pub fn addr(&self) -> SocketAddr {
        self.accepting.addr()
    }

    /// Connections that were accepted.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Acquire)
    }

    /// Heads of requests that were read.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Acquire)
    }
}

/// Waits for its connections, which end with the process that they are of. What a test asserts in them counts.
impl Drop for Http2Backend {
    fn drop(&mut self) {
        self.accepting.stop();
        self.accepting.join();
        let panics = self.panics.load(Ordering::Acquire);
        assert!(
            panics == 0 || std::thread::panicking(),
            "{panics} connections of a backend did not go as expected"
        );
    }
}

impl Http2Peer {
    fn begin(&mut self) -> io::Result<()> {
        self.stream.set_read_timeout(Some(PATIENCE))?;
        self.stream.set_write_timeout(Some(PATIENCE))?;
        self.stream.set_nodelay(true)?;
        let mut preface = [0; PREFACE.len()];
        self.stream.read_exact(&mut preface)?;
        match preface == *PREFACE {
            true => Ok(()),
            false => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Says what a server says first.
    pub fn settings(&mut self, settings: &[(u16, u32)]) {
        self.send(&Frame::settings(settings));
    }

    /// A client that is gone is not the backend's business.
    pub fn send(&mut self, frame: &Frame) {
        self.send_bytes(&frame.bytes());
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// The next frame; SETTINGS and PING are acknowledged on the way.
    pub fn read(&mut self) -> Option<Frame> {
        let frame = self.read_silently()?;
        if matches!(frame.kind, SETTINGS | PING) && !frame.has(ACK) {
            let payload = if frame.kind == PING {
                frame.payload.clone()
            } else {
                Vec::new()
            };
            self.send(&Frame::new(frame.kind, ACK, 0, payload));
        }
        Some(frame)
    }

    /// The next frame; nothing is acknowledged.
    pub fn read_silently(&mut self) -> Option<Frame> {
        read_frame(&mut self.stream)
    }

    /// The next frame of that kind; `None` at the end of the connection.
    pub fn read_kind(&mut self, kind: u8) -> Option<Frame> {
        loop {
            let frame = self.read()?;
            if frame.kind == kind {
                return Some(frame);
            }
        }
    }

    /// The next request.
    pub fn asked(&mut self) -> Option<Asked> {
        let head = self.read_kind(HEADERS)?;
        assert!(head.has(END_HEADERS), "a head of one frame");
        self.requests.fetch_add(1, Ordering::AcqRel);
        Some(Asked {
            stream: head.stream,
            text: String::from_utf8_lossy(&head.payload).into_owned(),
            ends: head.has(END_STREAM),
        })
    }

    /// The content of a request to its end.
    pub fn content(&mut self, asked: &Asked) -> Vec<u8> {
        let mut content = Vec::new();
        let mut has_ended = asked.ends;
        while !has_ended {
            let Some(frame) = self.read() else {
                break;
            };
            if frame.kind == DATA && frame.stream == asked.stream {
                content.extend(&frame.payload);
            }
            has_ended = frame.stream == asked.stream && frame.has(END_STREAM);
        }
        content
    }

    /// The head of a response.
    pub fn head(&mut self, stream: u32, fields: &[(&str, &str)], flags: u8) {
        let head = Frame::new(HEADERS, END_HEADERS | flags, stream, block(fields));
        self.send(&head);
    }

    /// A response with this content.
    pub fn answer(&mut self, stream: u32, content: &str) {
        self.head(stream, &[(":status", "200")], 0);
        self.send(&Frame::new(DATA, END_STREAM, stream, content));
    }

    /// Answers whatever comes with `here`, to the end of the connection.
    pub fn answer_all(&mut self) {
        while let Some(asked) = self.asked() {
            self.answer(asked.stream, "here");
        }
    }

    /// Says nothing more, and reads to the end of the connection, so that it is a FIN that the other side sees.
    pub fn close(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
        self.drain();
    }

    /// Ends the connection by RST.
    pub fn reset(&mut self) {
        let _ = reset(&self.stream);
    }

    /// Reads to the end of the connection.
    pub fn drain(&mut self) {
        while self.read().is_some() {}
    }
}

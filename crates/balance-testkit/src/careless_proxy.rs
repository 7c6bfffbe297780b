//! Proxies with a planted fault each, for tests of tests: who judges a proxy must be able to tell them from a good one.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;

use crate::RawClient;
use crate::accepting::{ANY_PORT, Accepting, Incoming};

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carelessness {
    /// Passes bytes in both directions without a look at them.
    PassesBytes,
    /// Reads and never answers.
    Swallows,
    /// Drops Transfer-Encoding and believes Content-Length.
    IgnoresEncoding,
    /// Drops Content-Length: the body becomes the next request.
    IgnoresLength,
    /// Sends each response twice: the second one answers the next request.
    AnswersTwice,
    /// Answers 400 and forwards the request all the same.
    ForwardsWhatItRefuses,
}

/// A running proxy. Dropping it stops it, once its clients have closed.
#[derive(Debug)]
pub struct CarelessProxy {
    accepting: Accepting,
}

impl CarelessProxy {
    /// Listens on a free port of 127.0.0.1, in front of this backend.
    pub fn start(backend: SocketAddr, carelessness: Carelessness) -> Self {
        let take_in = move |incoming: Incoming| {
            let threads: Vec<_> = incoming
                .map(|(client, _)| {
                    std::thread::spawn(move || {
                        // A connection that breaks is over, as everywhere.
                        let _ = serve(client, backend, carelessness);
                    })
                })
                .collect();
            for thread in threads {
                let _ = thread.join();
            }
        };
        Self {
            accepting: Accepting::start(ANY_PORT, &Arc::default(), take_in),
        }
    }

    pub fn addr(&self) -> SocketAddr {
        self.accepting.addr()
    }
}

fn serve(
    mut client: TcpStream,
    backend: SocketAddr,
    carelessness: Carelessness,
) -> anyhow::Result<()> {
    match carelessness {
        Carelessness::PassesBytes => return relay(&client, &TcpStream::connect(backend)?),
        Carelessness::Swallows => {
            std::io::copy(&mut client, &mut std::io::sink())?;
            return Ok(());
        }
        _ => {}
    }
    let mut upstream = RawClient::connect(backend)?;
    let mut input = Vec::new();
    while let Some(head) = take_head(&mut client, &mut input)? {
        let length = match carelessness {
            Carelessness::IgnoresLength => 0,
            _ => content_length(&head),
        };
        let body = take_exact(&mut client, &mut input, length)?;
        let dropped = match carelessness {
            Carelessness::IgnoresLength => "content-length",
            _ => "transfer-encoding",
        };
        upstream.send([without_field(&head, dropped), body].concat())?;
        let answer = upstream.read_any_response(head.starts_with(b"HEAD "))?.raw;
        match carelessness {
            Carelessness::AnswersTwice => client.write_all(&answer.repeat(2))?,
            Carelessness::ForwardsWhatItRefuses => {
                client.write_all(REFUSAL)?;
                client.shutdown(Shutdown::Write)?;
                std::io::copy(&mut client, &mut std::io::sink())?;
                return Ok(());
            }
            _ => client.write_all(&answer)?,
        }
    }
    Ok(())
}

fn relay(client: &TcpStream, upstream: &TcpStream) -> anyhow::Result<()> {
    std::thread::scope(|scope| {
        scope.spawn(|| copy_until_fin(client, upstream));
        copy_until_fin(upstream, client);
    });
    Ok(())
}

fn copy_until_fin(mut from: &TcpStream, mut to: &TcpStream) {
    // What ends a direction, FIN or an error, ends it on the other side as well.
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

/// Up to the first empty line; `None` when there is no more of that.
fn take_head(client: &mut TcpStream, input: &mut Vec<u8>) -> std::io::Result<Option<Vec<u8>>> {
    loop {
        if let Some(end) = input.windows(4).position(|four| four == b"\r\n\r\n") {
            return Ok(Some(input.drain(..end + 4).collect()));
        }
        if read_more(client, input)? == 0 {
            return Ok(None);
        }
    }
}

fn take_exact(
    client: &mut TcpStream,
    input: &mut Vec<u8>,
    length: usize,
) -> std::io::Result<Vec<u8>> {
    while input.len() < length {
        if read_more(client, input)? == 0 {
            break;
        }
    }
    Ok(input.drain(..length.min(input.len())).collect())
}

fn read_more(client: &mut TcpStream, input: &mut Vec<u8>) -> std::io::Result<usize> {
    let mut block = [0; 4096];
    let read = client.read(&mut block)?;
    input.extend_from_slice(&block[..read]);
    Ok(read)
}

fn content_length(head: &[u8]) -> usize {
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    let value = text.split("content-length:").nth(1).unwrap_or_default();
    let line = value.split('\r').next().unwrap_or_default();
    line.trim().parse().unwrap_or_default()
}

fn without_field(head: &[u8], name: &str) -> Vec<u8> {
    let is_kept = |line: &&[u8]| {
        !line
            .get(..name.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes()))
    };
    let lines = head.split_inclusive(|byte| *byte == b'\n').filter(is_kept);
    lines.flatten().copied().collect()
}

const REFUSAL: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
